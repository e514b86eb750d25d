"""What is so: every message of every mailbox as the events made it, and what the job must have made of each."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import Final

from .mails import BASE_RULE, DEAL_AGE, OLD_DEAL_AGE, WINDOW, Mail, has_deal

SHUT: Final = {"DRAFT": "label.draft", "SPAM": "label.spam", "TRASH": "label.trash", "CHAT": "label.chat"}
NO_ROW: Final = "no row"
IMPORTED: Final = "imported"
AUTOMATED: Final = "automated.*"
LABEL: Final = "label.*"
GONE: Final = "gone.*"


@dataclasses.dataclass(eq=False)
class Item:
    """One message of one mailbox. `was_open`: it once had no label that keeps mail out. `loaded`: there before the first sync."""

    mail: Mail
    address: str
    gmail_id: str
    labels: set[str]
    loaded: bool = False
    exists: bool = True
    was_open: bool = False
    is_kept: bool = False
    """No event may delete or move it: the fate of another one hangs on it."""

    def __post_init__(self) -> None:
        """An item that arrives open was open."""
        self.relabelled()

    def relabelled(self) -> None:
        """Call after a change of labels."""
        self.was_open = self.was_open or not self.shut

    @property
    def shut(self) -> bool:
        """Whether a label keeps it out now."""
        return not self.labels.isdisjoint(SHUT)


class Truth:
    """All items, and what of the CRM has changed since the start (UTC)."""

    def __init__(self, addresses: list[str], start: dt.datetime) -> None:
        self.addresses = addresses
        self.start = start
        self.items: list[Item] = []
        self.late_domain_known = False
        self.extended: set[str] = set()
        self.written_to: set[str] = set()
        self.events = 0

    def add(self, item: Item) -> Item:
        """Remember a new item."""
        self.items.append(item)
        return item

    def living(self) -> Iterator[Item]:
        """What is in Gmail and free to be changed."""
        return (item for item in self.items if item.exists and not item.is_kept)

    def window_from(self, address: str) -> dt.datetime:
        """Where the mailbox's look-back begins (give or take a day; no mail lies near)."""
        age = DEAL_AGE if has_deal(self.addresses.index(address)) else WINDOW
        return self.start - (OLD_DEAL_AGE if address in self.extended else age)

    def base(self, item: Item) -> str:
        """The decision that content and window ask for: IMPORTED, AUTOMATED, or a rule."""
        if item.mail.sent_at < self.window_from(item.address):
            return "window.before"
        category = item.mail.category
        if category == "customer" or (category == "late" and self.late_domain_known):
            return IMPORTED
        if category == "campaign":
            return IMPORTED if item.mail.sender in self.written_to else AUTOMATED
        return BASE_RULE[category]

    def allowed(self, item: Item) -> set[str]:
        """Every end that is right for `item` now."""
        base = self.base(item)
        if item.exists and not item.shut:
            return {base, NO_ROW} if base == "window.before" else {base}
        dropped = {LABEL, NO_ROW, GONE} if not item.exists else {LABEL, NO_ROW}
        before = {base, *({"crm.no_match"} if item.mail.category == "late" else ())}
        before |= {AUTOMATED} if item.mail.category == "campaign" else set()
        before |= {"window.before"} if item.address in self.extended else set()
        if not item.exists or not item.was_open:
            before.discard(IMPORTED)
        return dropped | before


def is_among(decision: str, allowed: set[str]) -> bool:
    """Whether a decision (IMPORTED, NO_ROW, or a rule) is one of `allowed`, where a name may end in `.*`."""
    return decision in allowed or f"{decision.partition('.')[0]}.*" in allowed
