"""The team, its CRM, and the mails of a scenario, each with what must become of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
from collections.abc import Sequence
from email.utils import format_datetime
from typing import Final, Literal

TEAM: Final = "team"
OWN: Final = "corp.example"
BLOCKED: Final = "rival.example"
LATE_DOMAIN: Final = "latecomer.example"
"""A prospect's domain that the CRM gets while the scenario runs."""

ACCOUNTS: Final = tuple(f"account{n}" for n in range(6))
WINDOW: Final = dt.timedelta(days=7)
DEAL_AGE: Final = dt.timedelta(days=30)
OLD_DEAL_AGE: Final = dt.timedelta(days=90)

LARGE_TEXT: Final = 300 * 1024
"""Bytes: Gmail hands such a text out apart, by an attachmentId, for units of its own. (The sandbox does above 256 KiB.)"""
LARGE_SHARE: Final = 0.06

Category = Literal["customer", "internal", "stranger", "blocked", "auto_reply", "campaign", "late"]
"""What a mail is about. campaign: automated, unless somebody of the team wrote to its author. late: of LATE_DOMAIN."""

BASE_RULE: Final[dict[Category, str]] = {
    "customer": "customer", "internal": "participants.internal", "stranger": "crm.no_match", "blocked": "blocked.team",
    "auto_reply": "automated.reply", "campaign": "automated.", "late": "crm.no_match",
}  # fmt: skip


def users(count: int) -> list[str]:
    """The addresses of the team's mailboxes."""
    return [f"user{n:02}@{OWN}" for n in range(count)]


def has_deal(number: int) -> bool:
    """Whether user `number` owns an opportunity, so that the window reaches back DEAL_AGE instead of WINDOW."""
    return number % 2 == 0


def crm_csv(count: int, today: dt.date) -> str:
    """The CRM file of a team with `count` users."""
    lines = [
        "kind,id,name,address,domain,account_id,owner,opened_on",
        f"own_domain,,,,{OWN},,,",
        f"blocked,,,,{BLOCKED},,,",
    ]
    lines += [f"user,u{n},User {n},{address},,,," for n, address in enumerate(users(count))]
    for n, account in enumerate(ACCOUNTS):
        lines.append(f"account,{account},Account {n},,customer{n}.example,,,")
        lines += [f"contact,c{n}-{m},Person {m},person{m}@customer{n}.example,,{account},," for m in range(3)]
    opened = (today - DEAL_AGE).isoformat()
    lines += [f"opportunity,o{n},Deal {n},,,account0,u{n},{opened}" for n in range(count) if has_deal(n)]
    return "\n".join(lines) + "\n"


def late_crm_csv() -> str:
    """The prospect that the CRM learns of only now."""
    return f"kind,id,name,domain\naccount,latecomer,Latecomer,{LATE_DOMAIN}\n"


def old_deal_csv(number: int, today: dt.date) -> str:
    """An opportunity of user `number` that is older than any before."""
    opened = (today - OLD_DEAL_AGE).isoformat()
    return f"kind,id,name,account_id,owner,opened_on\nopportunity,old{number},Old deal,account1,u{number},{opened}\n"


@dataclasses.dataclass(frozen=True)
class Mail:
    """One mail, of which several mailboxes may hold copies.

    `key` names it in reports. `message_id` is "" where it has none. `accounts` are those that it must be linked to.
    """

    key: str
    category: Category
    message_id: str
    sender: str
    to: tuple[str, ...]
    cc: tuple[str, ...]
    subject: str
    body: str
    sent_at: dt.datetime
    headers: tuple[tuple[str, str], ...] = ()
    html: bool = False
    account: str = ""
    answers_campaign: str = ""

    def raw(self) -> bytes:
        """RFC 822 bytes."""
        fields = [
            ("From", self.sender), ("To", ", ".join(self.to)), *([("Cc", ", ".join(self.cc))] if self.cc else []),
            ("Subject", self.subject), ("Date", format_datetime(self.sent_at)),
            *([("Message-ID", f"<{self.message_id}>")] if self.message_id else []), *self.headers, ("MIME-Version", "1.0"),
            ("Content-Type", f"text/{'html' if self.html else 'plain'}; charset=utf-8"),
        ]  # fmt: skip
        head = "".join(f"{name}: {value}\r\n" for name, value in fields)
        return (head + "\r\n" + self.body.replace("\n", "\r\n")).encode()

    @property
    def people(self) -> frozenset[tuple[str, str]]:
        """(role, address) of each participant, as they must be stored."""
        return frozenset([*(("to", a) for a in self.to), *(("cc", a) for a in self.cc), ("from", self.sender)])


class Writer:
    """Writes the mails of one scenario, one after the other, from one source of chance; a `large` share has a large text."""

    def __init__(
        self, chance: random.Random, addresses: Sequence[str], seed: int, *, large: float = LARGE_SHARE
    ) -> None:
        self._chance = chance
        self._addresses = addresses
        self._seed = seed
        self._large_share = large
        self._large = random.Random(f"large:{seed}")
        self._count = 0

    def mail(self, category: Category, owner: str, at: dt.datetime, *, outbound: bool = False, to: str = "") -> Mail:
        """A mail of `category` that `owner` receives, or sends where `outbound` (then to `to`, if given)."""
        self._count += 1
        key = f"s{self._seed}-{self._count}"
        outside, account = self._outsider(category)
        outside = to or outside
        message_id = f"{key}@mail.example" if category != "customer" or self._chance.random() < 0.93 else ""
        text = f"{self._words()}\n\nReference {key}.\n"
        if self._large.random() < self._large_share:
            line = "A line of a long text.\n"  # between words of a person: a long text of nobody to nobody looks like a campaign
            text = f"Hi Ann,\n\nI have copied my whole list for you.\n\n{text}{line * (LARGE_TEXT // len(line) + 1)}\nMany thanks\nPaul\n"
        sender, recipients = (owner, (outside,)) if outbound else (outside, (owner,))
        if category == "internal":
            sender, recipients = (owner, (self._other(owner),)) if outbound else (self._other(owner), (owner,))
        made = Mail(
            key, category, message_id, sender, recipients, (), f"{self._words(3)} {key}", text, at, account=account
        )
        if category == "auto_reply":
            headers = (("Auto-Submitted", "auto-replied"), ("X-Autoreply", "yes"), ("Precedence", "auto_reply"))
            made = dataclasses.replace(made, subject=f"Automatic reply: {made.subject}", headers=headers)
        if category == "campaign":
            made = self._campaign(made)
        return made

    def several(self, category: Category, owner: str, at: dt.datetime, copies: int) -> tuple[Mail, list[str]]:
        """A mail to `owner` and others of the team; and who they are. Some are in To, some in Cc."""
        made = self.mail(category, owner, at)
        others = self._chance.sample([a for a in self._addresses if a != owner], copies - 1)
        split = self._chance.randrange(copies)
        return dataclasses.replace(made, to=(owner, *others[:split]), cc=tuple(others[split:])), [owner, *others]

    def _outsider(self, category: Category) -> tuple[str, str]:
        n = self._chance.randrange(len(ACCOUNTS))
        person = self._chance.randrange(5)  # two of five are no contacts: only the domain matches
        if category in {"customer", "auto_reply"}:
            return f"person{person}@customer{n}.example", ACCOUNTS[n]
        if category == "campaign":
            return f"club{self._count}@customer{n}.example", ACCOUNTS[n]
        domain = {"blocked": BLOCKED, "late": LATE_DOMAIN}.get(category, f"stranger{n}.example")
        return f"person{person}@{domain}", "latecomer" if category == "late" else ""

    def _other(self, owner: str) -> str:
        return self._chance.choice([address for address in self._addresses if address != owner])

    def _words(self, count: int = 12) -> str:
        words = (
            "price offer date meeting truck order plan thanks tomorrow drawing invoice gate sample answer question week"
        )
        return " ".join(self._chance.choices(words.split(), k=count)).capitalize()

    def _campaign(self, made: Mail) -> Mail:
        site = made.sender.rpartition("@")[2]
        headers = (
            ("List-Unsubscribe", f"<https://{site}/u/{made.key}>, <mailto:unsubscribe-{made.key}@{site}>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"), ("Precedence", "bulk"), ("List-ID", f"<news.{site}>"),
            ("Feedback-ID", f"{made.key}:campaign:{site}:esp"), ("X-Campaign-ID", made.key),
        )  # fmt: skip
        rows = "".join(
            f'<p><img src="https://{site}/i/{n}.jpg"><a href="https://{site}/c/{n}?utm_source=newsletter">Shop now</a></p>'
            for n in range(4)
        )
        page = (
            f'<html><body><a href="https://{site}/view">View this email in your browser</a><h2>Save 20% until Sunday</h2>{rows}'
            f"<p>{made.body}</p><p>You are receiving this email because you subscribed to our newsletter. "
            f'<a href="https://{site}/unsubscribe">Unsubscribe</a> | Update your preferences</p></body></html>'
        )
        return dataclasses.replace(made, subject=f"Save 20%: {made.subject}", body=page, html=True, headers=headers)
