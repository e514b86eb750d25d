"""Events: what people and servers do to the mailboxes, done to the sandbox and noted in the truth at once."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from dealmail.sandbox.client import SandboxClient

from .mails import Category, Mail, Writer
from .truth import Item, Truth

CATEGORIES: Final[dict[Category, int]] = {
    "customer": 45, "internal": 10, "stranger": 12, "blocked": 5, "auto_reply": 5, "campaign": 10, "late": 8,
}  # fmt: skip
OPEN: Final = ("INBOX", "UNREAD")


class Events:
    """One scenario's stream of events. Equal seeds make equal streams."""

    def __init__(self, client: SandboxClient, truth: Truth, seed: int, now: Callable[[], dt.datetime]) -> None:
        self._client = client
        self._truth = truth
        self._chance = random.Random(f"events:{seed}")
        self._writer = Writer(self._chance, truth.addresses, seed)
        self._now = now
        self._drafts: list[tuple[str, str, Item]] = []
        self._kinds: dict[Callable[[], bool], int] = {
            self.arrive: 26, self.arrive_for_several: 16, self.send: 12, self.import_old: 8, self.arrive_as_spam: 5,
            self.save_draft: 8, self.edit_draft: 8, self.send_draft: 7, self.discard_draft: 2, self.trash: 7, self.take_back: 8,
            self.delete: 8, self.relabel: 5, self.to_spam: 3, self.write_to_campaign: 5, self.add_and_delete: 3,
        }  # fmt: skip

    def load(self) -> None:
        """What lies in the mailboxes before anybody looks."""
        for address in self._truth.addresses:
            messages = []
            for number in range(self._chance.randrange(1, 6)):
                age = self._chance.choice([self._recent(), self._recent(), self._middle(), self._old()])
                mail = self._writer.mail(self._category(), address, self._now() - age)
                labels = (
                    {"INBOX"} if self._chance.random() < 0.85 else {self._chance.choice(["TRASH", "SPAM", "DRAFT"])}
                )
                milliseconds = int(mail.sent_at.timestamp() * 1000)
                gmail_id = f"{milliseconds << 20 | number:x}"
                messages.append(_message(mail, sorted(labels), milliseconds) | {"id": gmail_id})
                self._truth.add(Item(mail, address, gmail_id, labels, loaded=True))
            self._client.call("deliver_many", mailbox=address, messages=messages, loaded=True)

    def happen(self, count: int) -> None:
        """`count` events, one after the other."""
        kinds, weights = list(self._kinds), list(self._kinds.values())
        while count:
            if self._chance.choices(kinds, weights)[0]():
                self._truth.events += 1
                count -= 1

    # --- mail comes and goes ---------------------------------------------------------------------------------------
    def arrive(self) -> bool:
        """A mail for one mailbox."""
        address = self._address()
        return self._deliver(self._writer.mail(self._category(), address, self._now()), [address])

    def arrive_at(self, address: str) -> None:
        """A customer's mail for this mailbox, now."""
        self._deliver(self._writer.mail("customer", address, self._now()), [address])
        self._truth.events += 1

    def arrive_for_several(self) -> bool:
        """A mail of which several mailboxes get a copy."""
        mail, addresses = self._writer.several(
            self._chance.choice(["customer", "customer", "late"]),
            self._address(),
            self._now(),
            self._chance.randrange(2, 5),
        )
        return self._deliver(mail, addresses)

    def send(self) -> bool:
        """A user sends a mail; at times a colleague gets a copy."""
        address = self._address()
        mail = self._writer.mail(self._chance.choice(["customer", "internal"]), address, self._now(), outbound=True)
        if mail.category == "customer" and self._chance.random() < 0.4:
            colleague = self._address()
            if colleague != address:
                mail = dataclasses.replace(mail, cc=(colleague,))
                self._deliver(mail, [colleague])
        return self._deliver(mail, [address], ["SENT"])

    def import_old(self) -> bool:
        """Mail of other days is imported: by its date inside the window, or before it."""
        address = self._address()
        age = self._chance.choice([self._recent(), self._middle(), self._old()])
        return self._deliver(self._writer.mail(self._category(), address, self._now() - age), [address])

    def arrive_as_spam(self) -> bool:
        """Gmail takes a mail for spam."""
        address = self._address()
        return self._deliver(self._writer.mail(self._category(), address, self._now()), [address], ["SPAM"])

    def add_and_delete(self) -> bool:
        """A mail that is gone before anybody looked."""
        address = self._address()
        self._deliver(self._writer.mail("customer", address, self._now()), [address])
        return self._remove(self._truth.items[-1])

    def delete(self) -> bool:
        """A message is removed for good."""
        item = self._pick(lambda one: "DRAFT" not in one.labels)
        return item is not None and self._remove(item)

    # --- drafts ----------------------------------------------------------------------------------------------------
    def save_draft(self) -> bool:
        """A user begins a mail."""
        address = self._address()
        mail = self._writer.mail("customer", address, self._now(), outbound=True)
        draft, gmail_id = self._client.save_draft(address, mail.raw())
        item = self._truth.add(Item(mail, address, gmail_id, {"DRAFT"}, is_kept=True))
        self._drafts.append((address, draft, item))
        return True

    def edit_draft(self) -> bool:
        """A draft is saved again: its message gets a new id, and the old one is gone."""
        if not self._drafts:
            return False
        n = self._chance.randrange(len(self._drafts))
        address, draft, old = self._drafts[n]
        mail = self._writer.mail("customer", address, self._now(), outbound=True)
        _, gmail_id = self._client.save_draft(address, mail.raw(), draft)
        old.exists = False
        self._drafts[n] = (address, draft, self._truth.add(Item(mail, address, gmail_id, {"DRAFT"}, is_kept=True)))
        return True

    def send_draft(self) -> bool:
        """A draft is sent: the draft's message is gone, another one labelled SENT is there."""
        if not self._drafts:
            return False
        address, draft, old = self._drafts.pop(self._chance.randrange(len(self._drafts)))
        gmail_id = self._client.send_draft(address, draft)
        old.exists = False
        self._truth.add(Item(old.mail, address, gmail_id, {"SENT"}))
        return True

    def discard_draft(self) -> bool:
        """A draft is thrown away."""
        if not self._drafts:
            return False
        address, _, item = self._drafts.pop(self._chance.randrange(len(self._drafts)))
        self._client.delete(address, item.gmail_id)
        item.exists = False
        return True

    # --- moves -----------------------------------------------------------------------------------------------------
    def trash(self) -> bool:
        """A message goes to the trash."""
        return self._relabel(self._pick(lambda one: not one.shut), ["TRASH"], ["INBOX"])

    def to_spam(self) -> bool:
        """A user reports spam."""
        return self._relabel(self._pick(lambda one: not one.shut), ["SPAM"], ["INBOX"])

    def take_back(self) -> bool:
        """A message comes back from the trash or from spam."""
        item = self._pick(lambda one: not one.labels.isdisjoint({"TRASH", "SPAM"}))
        return self._relabel(item, ["INBOX"], ["TRASH", "SPAM"])

    def relabel(self) -> bool:
        """Labels that say nothing come and go."""
        item = self._pick(lambda one: "DRAFT" not in one.labels)
        return self._relabel(item, *self._chance.choice([(["STARRED"], ["UNREAD"]), ([], ["INBOX"]), (["UNREAD"], [])]))

    def write_to_campaign(self) -> bool:
        """Somebody writes to the author of what counted as a campaign: from now on it is wanted."""
        item = self._pick(lambda one: one.mail.category == "campaign" and one.mail.sender not in self._truth.written_to)
        if item is None:
            return False
        address = self._address()
        mail = self._writer.mail("customer", address, self._now(), outbound=True, to=item.mail.sender)
        self._deliver(dataclasses.replace(mail, account=item.mail.account), [address], ["SENT"])
        self._truth.items[-1].is_kept = True
        self._truth.written_to.add(item.mail.sender)
        return True

    # --- inside ----------------------------------------------------------------------------------------------------
    def _deliver(self, mail: Mail, addresses: Sequence[str], labels: Sequence[str] = OPEN) -> bool:
        for address in addresses:
            gmail_id = self._client.deliver(address, mail.raw(), labels, int(mail.sent_at.timestamp() * 1000))
            self._truth.add(Item(mail, address, gmail_id, set(labels)))
        return True

    def _remove(self, item: Item) -> bool:
        self._client.delete(item.address, item.gmail_id)
        item.exists = False
        return True

    def _relabel(self, item: Item | None, add: Sequence[str], remove: Sequence[str]) -> bool:
        if item is None:
            return False
        self._client.modify(item.address, item.gmail_id, add, remove)
        item.labels = (item.labels | set(add)) - set(remove)
        item.relabelled()
        return True

    def _pick(self, wanted: Callable[[Item], bool]) -> Item | None:
        found = [item for item in self._truth.living() if wanted(item)]
        return self._chance.choice(found) if found else None

    def _category(self) -> Category:
        return self._chance.choices(list(CATEGORIES), list(CATEGORIES.values()))[0]

    def _address(self) -> str:
        return self._chance.choice(self._truth.addresses)

    def _recent(self) -> dt.timedelta:
        return dt.timedelta(days=self._chance.uniform(0.01, 4))

    def _middle(self) -> dt.timedelta:
        return dt.timedelta(days=self._chance.uniform(12, 22))

    def _old(self) -> dt.timedelta:
        return dt.timedelta(days=self._chance.uniform(50, 70))


def _message(mail: Mail, labels: Sequence[str], milliseconds: int) -> dict[str, Any]:
    return {"raw": base64.b64encode(mail.raw()).decode("ascii"), "labels": list(labels), "internal_date": milliseconds}
