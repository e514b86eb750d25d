"""FindDueMailboxes: notifications and ticks in, the mailboxes that have something to do out, each once."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

from .records import DueMailbox


class MailboxRegister(Protocol):
    """What this step asks of the database."""

    def due(self, now: dt.datetime) -> list[DueMailbox]:
        """Mailboxes whose poll is due, or that have claimable work, a listing to walk or a watch to renew, at `now` (UTC)."""

    def touched(self, address: str, now: dt.datetime) -> list[DueMailbox]:
        """The mailboxes that a push for `address` (any case) concerns; notes the push. Unknown or off: none, no trace."""
