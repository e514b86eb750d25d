"""The scheduled audit: each mailbox compared with Gmail once a period, and repaired, between the passes of the local service."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from ..io.claims import next_poll
from ..transforms.errors import DealmailError

_log = logging.getLogger(__name__)

LOOK_EVERY = dt.timedelta(minutes=1)
TRY_AGAIN = dt.timedelta(minutes=30)


class Found(Protocol):
    """What an audit says; see io/audit.py."""

    @property
    def completeness(self) -> float:
        """Percent."""

    @property
    def is_clean(self) -> bool:
        """Nothing missing, nothing kept that is gone."""


class ScheduledAudit:
    """Audits one mailbox a call at the most, each once a `period`, spread over it by a hash of the mailbox's id.

    Args:
        mailboxes: ids of the mailboxes whose import is on.
        audit: audits and repairs one; None where its first sync has not begun.
        period: the time between two audits of a mailbox.
        now: the clock (UTC).
    """

    def __init__(
        self,
        mailboxes: Callable[[], Iterable[str]],
        audit: Callable[[str], Found | None],
        period: dt.timedelta,
        now: Callable[[], dt.datetime],
    ) -> None:
        if period <= dt.timedelta(0):
            raise ValueError(f"an audit every {period}: the period must be longer than nothing")
        self._mailboxes = mailboxes
        self._audit = audit
        self._period = period
        self._now = now
        self._begun = now()
        self._next: dict[str, dt.datetime] = {}
        self._look_at = self._begun

    def __call__(self) -> None:
        """Audit the mailbox that is due first, if any is. What stands in its way is logged by class and tried again later."""
        now = self._now()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY
        known = set(self._mailboxes())
        self._next = {
            mailbox: self._next.get(mailbox) or next_poll(mailbox, self._begun, self._period, None) for mailbox in known
        }
        due = min(known, key=lambda mailbox: (self._next[mailbox], mailbox), default=None)
        if due is None or self._next[due] > now:
            return
        try:
            found = self._audit(due)
        except DealmailError as error:
            _log.warning("audit of mailbox %s: %s; tried again later", due, type(error).__name__)
            self._next[due] = now + TRY_AGAIN
            return
        self._next[due] = next_poll(due, now, self._period, None)
        self._look_at = now  # the next one may be due as well
        if found is not None:
            level = logging.INFO if found.is_clean else logging.WARNING
            _log.log(
                level,
                "audit of mailbox %s: %.2f %% complete%s",
                due,
                found.completeness,
                "" if found.is_clean else ", repaired",
            )
