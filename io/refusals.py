"""What a refusal does to a mailbox: it pauses, or it waits for somebody who can help; its state says which."""

from __future__ import annotations

import datetime as dt
import logging
import random
import re
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from ..transforms.errors import GmailQuotaError, LostRaceError, MailboxError, TransientError
from . import mailboxes
from .database import Database
from .gmail_errors import OAuthClientError
from .google_signin import GmailAccounts
from .mailboxes import Mailboxes, MailboxRow, is_over

_log = logging.getLogger(__name__)

_QUOTA_CAP: Final = dt.timedelta(seconds=64)
_CAP: Final = dt.timedelta(seconds=300)


def pause_after(attempt: int, cap: dt.timedelta, jitter: random.Random) -> dt.timedelta:
    """The wait after the `attempt`th refusal in a row (from 0): 2^attempt s and up to a second more, at most `cap`."""
    return min(dt.timedelta(seconds=2.0 ** min(attempt, 20) + jitter.random()), cap)


def wait_after(error: Exception, attempt: int, jitter: random.Random) -> dt.timedelta:
    """How long to wait after `error`, the `attempt`th in a row (from 0): as long as Gmail asks, and never less than `pause_after`.

    A Retry-After of nothing, or of a date that is past, must not become a loop.
    """
    asked = error.retry_after if isinstance(error, TransientError) else None
    wait = pause_after(attempt, _QUOTA_CAP if isinstance(error, GmailQuotaError) else _CAP, jitter)
    return max(wait, asked or wait)


class Refusals:
    """Notes refusals with the mailboxes that they are about. Safe to share between threads."""

    def __init__(
        self, database: Database, accounts: GmailAccounts, now: Callable[[], dt.datetime], jitter: random.Random
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._now = now
        self._jitter = jitter
        self._mailboxes = Mailboxes(database, now)

    def block(self, mailbox: MailboxRow, consent: bytes | None, error: MailboxError, next_poll_at: dt.datetime) -> None:
        """Nobody but a person can help: the state says who. The cursor stays, so nothing is missed once they have.

        Raises:
            LostRaceError: `consent`, the credential that was refused, is not the one that is stored now.
        """
        now = self._now()

        def work(connection: sa.Connection) -> None:
            renew_at = mailboxes.lock(self._database, connection, mailbox.id).watch_renew_at
            if self._accounts.sealed(connection, mailbox.id) != consent:
                raise LostRaceError(mailbox.id)  # connected anew meanwhile: the old token's refusal is no news
            self._mailboxes.set_state_in(
                connection, mailbox.id, error.state, type(error).__name__, next_poll_at=next_poll_at, not_before=None, last_poll_at=now,
                # The watch waits with the poll: where it was due, it would have the mailbox looked at all the time.
                watch_renew_at=next_poll_at if renew_at and is_over(renew_at, next_poll_at) else renew_at,
            )  # fmt: skip

        self._database.transaction(work)
        _log.warning("mailbox %s: %s (%s)", mailbox.id, error.state, error)

    def pause(self, mailbox: MailboxRow, error: Exception) -> None:
        """Come back later, a little later each time. Only quota is a state of its own: everything else stays connected."""
        now, name = self._now(), type(error).__name__
        tried = re.fullmatch(rf"{name} x(\d+)", mailbox.state_reason)
        # A reason without a pause is that of a listing, whose refusals are its own (io/walks.py).
        attempt = int(tried[1]) if tried and mailbox.not_before else 0
        wait = wait_after(error, attempt, self._jitter)
        is_ours = isinstance(error, OAuthClientError)
        if is_ours:
            self._accounts.forget(mailbox.id)  # a client, or a key, that is put right is then used without a restart
        level = logging.ERROR if is_ours else logging.INFO
        _log.log(level, "mailbox %s pauses %.1f s: %s", mailbox.id, wait.total_seconds(), error)
        polls = [mailbox.next_poll_at, now + wait] if mailbox.next_poll_at else [now + wait]
        state = "quota_delayed" if isinstance(error, GmailQuotaError) else mailbox.state
        self._mailboxes.set_state(
            mailbox.id, state, f"{name} x{attempt + 1}", not_before=now + wait, next_poll_at=min(t for t in polls if t is not None),
        )  # fmt: skip
