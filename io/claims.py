"""Claims: one mailbox's history, then its walks, then messages leased; and what becomes of the mailbox where Gmail refuses.

Gmail is asked with no transaction open. What it answered is then stored in one transaction that begins with a
compare-and-set on the mailbox's `cursor_seq`: the cursor moves together with the ids it passes, or not at all. Whoever
loses the race reads again. Leasing is a transaction of its own, because what it takes is in the ledger already.
"""

from __future__ import annotations

import datetime as dt
import logging
import random
from collections.abc import Callable

from ..transforms.errors import (
    GmailQuotaError,
    GmailUnavailableError,
    LostRaceError,
    MailboxError,
    TerminalError,
    TokenRefreshError,
)
from ..transforms.records import ClaimedMessage, DueMailbox
from . import mailboxes, watch
from .cheap_calls import CheapCalls
from .claim_settings import ClaimSettings
from .database import Database
from .gmail import Gmail
from .google_signin import GmailAccounts
from .history import HistoryReading
from .leasing import PACED, Leasing
from .ledger import BLOCKED, RESTING
from .mailboxes import Mailboxes, MailboxRow, UnknownMailboxError
from .poll_times import next_poll
from .quota import Quota
from .refusals import Refusals
from .secret_refs import SecretNotFoundError
from .vault import VaultError
from .walks import Walks

_log = logging.getLogger(__name__)


class GmailClaims:
    """Implements transforms.claim_messages.Claims. Safe to share between threads."""

    def __init__(
        self,
        database: Database,
        accounts: GmailAccounts,
        quota: Quota,
        settings: ClaimSettings,
        now: Callable[[], dt.datetime],
        jitter: random.Random | None = None,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._quota = quota
        self._settings = settings
        self._now = now
        self._jitter = jitter or random.SystemRandom()
        self._calls = CheapCalls(database, quota, now, self._jitter)
        self._history = HistoryReading(database, self._calls, settings, now)
        self._walks = Walks(database, self._calls, now, self._jitter, may_search=settings.search_plan)
        self._refusals = Refusals(database, accounts, now, self._jitter)
        self._leasing = Leasing(database, quota, settings, now, self._jitter)
        self._mailboxes = Mailboxes(database, now)

    def claim(self, due: DueMailbox) -> list[ClaimedMessage]:
        """See transforms.claim_messages.Claims."""
        for _ in range(self._settings.races):
            try:
                mailbox = self._mailboxes.get(due.mailbox_id)
            except UnknownMailboxError:
                return []
            if not self._may_read(mailbox, due):
                if due.reason == "push" and mailbox.is_paused(self._now()):
                    self._look_soon(mailbox.id)  # the pause began after the push was noted
                return []
            try:
                return self._claim(mailbox, due)
            except LostRaceError:
                continue
        # Others have read meanwhile, but perhaps a moment too early for what this push was about.
        self._look_soon(due.mailbox_id)
        return []

    def _claim(self, mailbox: MailboxRow, due: DueMailbox) -> list[ClaimedMessage]:
        with self._database.reading() as connection:
            consent = self._accounts.sealed(connection, mailbox.id)
        is_mere_push = due.reason == "push" and not due.turn and mailbox.history_id is not None
        try:
            gmail = self._accounts.open(mailbox.id)
            gmail.sign_in()  # before any quota is debited, or a message leased, for a mailbox that cannot be read
            current = self._history.read_if_due(mailbox, gmail, due)
            claimed: list[ClaimedMessage] = []
            # A blocked mailbox is read only when a look at its history has just worked.
            if current.state not in BLOCKED or current.cursor_seq != mailbox.cursor_seq:
                current, has_quota = self._walks.walk_on(current, gmail, live_only=is_mere_push)
                live_only = is_mere_push or not has_quota
                claimed = self._leasing.lease(current, live_only=live_only, old_messages=due.old_messages)
        except MailboxError as error:
            later = next_poll(mailbox.id, self._now(), self._settings.poll_interval)
            self._refusals.block(mailbox, consent, error, later)
            return []
        except (GmailQuotaError, GmailUnavailableError, TokenRefreshError) as error:
            self._refusals.pause(mailbox, error)
            return []
        except (TerminalError, VaultError, SecretNotFoundError) as error:
            _log.error("mailbox %s cannot be read: %s", mailbox.id, error)
            self._refusals.pause(mailbox, error)
            return []
        if not is_mere_push and watch.is_due(current, self._now()):
            if self._settings.topic:
                self._renew_watch(current, gmail)
            elif current.watch_renew_at:
                # A job with a topic has made it: due and never renewed, it would have every pass look at the mailbox.
                self._database.transaction(
                    lambda connection: mailboxes.advance(connection, current, watch_renew_at=None)
                )
        return claimed

    def _look_soon(self, mailbox_id: str) -> None:
        self._database.transaction(lambda connection: mailboxes.look_soon(connection, mailbox_id, self._now()))

    def _may_read(self, mailbox: MailboxRow, due: DueMailbox) -> bool:
        if not mailbox.import_on or mailbox.state in RESTING:
            return False
        return not mailbox.is_paused(self._now()) or (due.reason == "push" and mailbox.state_reason == PACED)

    def _renew_watch(self, mailbox: MailboxRow, gmail: Gmail) -> None:
        """After everything else: no mail waits for the watch, whatever becomes of it."""

        def spend(units: int) -> None:
            self._quota.debit(mailbox.id, units, self._now())

        if self._calls.may_spend(mailbox.id, self._calls.limits.watch):
            columns = watch.renew(mailbox, gmail, self._settings.topic, self._now(), self._calls.limits, spend)
        else:
            columns = watch.put_off(self._now(), self._jitter)
        try:
            self._database.transaction(lambda connection: mailboxes.must_advance(connection, mailbox, **columns))
        except LostRaceError:
            if self._mailboxes.get(mailbox.id).import_on:
                return  # somebody read it meanwhile: the watch is still due, and is asked for again
            spend(self._calls.limits.stop)  # turned off meanwhile, and this watch made after that
            try:
                gmail.stop()
            except watch.FAILURES as error:
                _log.warning("mailbox %s: its watch could not be stopped and runs out: %s", mailbox.id, error)
