"""The calls that find out what is new cost little, and come before any message: each is debited just before it is made."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable

from ..transforms.errors import GmailQuotaError
from .database import Database
from .quota import Quota


class CheapCalls:
    """Debits them. Messages leave room for them: knowing what is new must not wait behind those. Safe to share between threads."""

    def __init__(self, database: Database, quota: Quota, now: Callable[[], dt.datetime], jitter: random.Random) -> None:
        self._database = database
        self._quota = quota
        self._now = now
        self._jitter = jitter
        self.limits = quota.limits
        """What each call costs."""

    def spend(self, mailbox_id: str, units: int) -> None:
        """Debit a call before it is made.

        Raises:
            GmailQuotaError: not even that is left of this minute, and Gmail would refuse, too.
        """
        if not self.may_spend(mailbox_id, units):
            rest = dt.timedelta(seconds=60 - self._now().timestamp() % 60 + 3 * self._jitter.random())
            raise GmailQuotaError("the minute's or the day's units are spent", retry_after=rest)

    def may_spend(self, mailbox_id: str, units: int) -> bool:
        """Debit a call if there is room for it; whether there was."""
        now = self._now()
        return self._database.transaction(lambda c: self._quota.grant(c, mailbox_id, units, 1, now)) > 0
