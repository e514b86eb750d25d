"""Claims: Gmail's history and search on one side, the ledger on the other, and the cursor that must never run ahead of it.

Gmail is asked with no transaction open. What it answered is then stored in one transaction that begins with a
compare-and-set on the mailbox's `cursor_seq`: the cursor moves together with the ids it passes, or not at all. Whoever
loses the race reads again. Leasing is a transaction of its own, because what it takes is in the ledger already.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import random
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import sqlalchemy as sa

from ..transforms.claim_messages import decide_listed, net_changes
from ..transforms.errors import (
    GmailQuotaError,
    GmailUnavailableError,
    HistoryExpiredError,
    LostRaceError,
    MailboxError,
    PageTokenExpiredError,
    TerminalError,
    TokenRefreshError,
)
from ..transforms.records import ClaimedMessage, DueMailbox
from . import listings, mailboxes, schema, search_plan, watch
from .database import Database
from .gmail import Gmail
from .gmail_errors import GmailRequestError
from .google_signin import GmailAccounts
from .leasing import PACED, LeaseSettings, Leasing
from .ledger import BLOCKED, PENDING_AGAIN, RESTING, Ledger
from .ledger_changes import apply, ledger_rows, reopen_before_window, reopen_by_crm, reopen_personal, set_rows
from .listings import Listing
from .mailboxes import Mailboxes, MailboxRow, UnknownMailboxError
from .poll_times import next_poll
from .quota import Quota
from .refusals import Refusals, wait_after
from .secret_refs import SecretNotFoundError
from .vault import VaultError

_log = logging.getLogger(__name__)

_LOOK_AFTER_PUSH: Final = dt.timedelta(seconds=2)


@dataclasses.dataclass(frozen=True)
class ClaimSettings(LeaseSettings):
    """How claims are made, beside how much is leased.

    poll_interval: the time between two looks at a mailbox that no push announced. look_back: the least first sync. overlap: how far
    before the last confirmed time a recovery begins. topic: where Gmail pushes to; "" does without. search_plan: whether a first
    sync may ask Gmail's search for the CRM's people where that is cheaper. races: how often a claim reads again after somebody
    else moved the cursor.
    """

    poll_interval: dt.timedelta = dt.timedelta(minutes=15)
    look_back: dt.timedelta = dt.timedelta(days=7)
    overlap: dt.timedelta = dt.timedelta(hours=1)
    topic: str = ""
    search_plan: bool = False
    races: int = 3

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: a value out of range, or a topic of another form; the text shows it.
        """
        super().__post_init__()
        if self.races < 1:
            raise ValueError(f"races {self.races}: must be positive")
        if min(self.poll_interval, self.look_back) <= dt.timedelta(0) or self.overlap < dt.timedelta(0):
            raise ValueError("poll_interval and look_back must be positive, overlap must not be negative")
        if self.topic and not re.fullmatch(r"projects/[^/]+/topics/[^/]+", self.topic):
            raise ValueError(f"topic {self.topic!r}: write projects/PROJECT/topics/TOPIC")


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
        self._limits = quota.limits
        self._settings = settings
        self._now = now
        self._jitter = jitter or random.SystemRandom()
        self._ledger = Ledger(database)
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
                return []
            try:
                return self._claim(mailbox, due)
            except LostRaceError:
                continue
        # Others have read meanwhile, but perhaps a moment too early for what this push was about.
        self._database.transaction(lambda connection: mailboxes.look_soon(connection, due.mailbox_id, self._now()))
        return []

    def _claim(self, mailbox: MailboxRow, due: DueMailbox) -> list[ClaimedMessage]:
        with self._database.reading() as connection:
            consent = self._accounts.sealed(connection, mailbox.id)
        is_mere_push = due.reason == "push" and not due.turn and mailbox.history_id is not None
        try:
            gmail = self._accounts.open(mailbox.id)
            gmail.sign_in()  # before any quota is debited, or a message leased, for a mailbox that cannot be read
            current = self._read_history_if_due(mailbox, gmail, due)
            claimed: list[ClaimedMessage] = []
            # A blocked mailbox is read only when a look at its history has just worked.
            if current.state not in BLOCKED or current.cursor_seq != mailbox.cursor_seq:
                current, has_quota = self._walk_on(current, gmail, live_only=is_mere_push)
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
        if self._settings.topic and not is_mere_push and watch.is_due(current, self._now()):
            self._renew_watch(current, gmail)
        return claimed

    def _may_read(self, mailbox: MailboxRow, due: DueMailbox) -> bool:
        if not mailbox.import_on or mailbox.state in RESTING:
            return False
        return not mailbox.is_paused(self._now()) or (due.reason == "push" and mailbox.state_reason == PACED)

    # --- asking Gmail ----------------------------------------------------------------------------------------------
    def _read_history_if_due(self, mailbox: MailboxRow, gmail: Gmail, due: DueMailbox) -> MailboxRow:
        if mailbox.history_id is None:
            return self._begin(mailbox, gmail)
        if due.reason == "push" or mailbox.is_poll_due(self._now()):
            return self._read_history(mailbox, gmail, by_poll=due.reason != "push")
        return mailbox

    def _begin(self, mailbox: MailboxRow, gmail: Gmail) -> MailboxRow:
        """First sync: the cursor is pinned before the first list call, so what arrives meanwhile is in the history after it."""
        now = self._now()
        self._spend(mailbox, self._limits.profile)
        profile = gmail.profile()
        with self._database.reading() as connection:
            window_from = self._wanted_window(connection, mailbox, now)
        if mailbox.window_from is not None:
            window_from = min(window_from, mailbox.window_from)

        def work(connection: sa.Connection) -> MailboxRow:
            moved = self._advance(
                connection, mailbox, history_id=profile.history_id, confirmed_at=now, window_from=window_from, last_poll_at=now,
                next_poll_at=next_poll(mailbox.id, now, self._settings.poll_interval),
            )  # fmt: skip
            reopen_personal(connection, moved, now)
            if self._settings.search_plan:
                listings.start(connection, moved, "plan", window_from, now)
            else:
                search_plan.start(connection, moved, "first_sync", window_from, now, searches=[])
            return moved

        return self._database.transaction(work)

    def _read_history(self, mailbox: MailboxRow, gmail: Gmail, *, by_poll: bool) -> MailboxRow:
        """One page of records. With more to come the cursor is the page's last record, and the mailbox stays due."""
        start, now, token, newest = mailbox.history_id or 0, self._now(), "", None
        while True:
            self._spend(mailbox, self._limits.history)
            try:
                page = gmail.history_page(start, token)
            except HistoryExpiredError:
                return self._recover(mailbox, gmail)
            # Whether later pages of one answer hold what came after the first is not documented: the smallest id is safe.
            newest = page.history_id if newest is None else min(newest, page.history_id)
            if page.records or not page.next_page_token:
                break
            token = page.next_page_token  # an empty page has no record to continue from
        changes = net_changes(page.records)
        more = bool(page.next_page_token)
        last = max((_record_id(record) for record in page.records), default=start)
        reached = last if more else max(last, newest)

        def work(connection: sa.Connection) -> MailboxRow:
            polled = mailbox.is_poll_due(now)
            found = any(change.added and not change.deleted for change in changes)
            columns: dict[str, Any] = {
                "history_id": max(reached, start),
                "last_poll_at": now,
                "next_poll_at": self._next_look(mailbox, now, more=more, polled=polled, pushed=found and not by_poll),
                **({} if more else {"confirmed_at": now}),
                **({"last_mail_at": now} if found else {}),
                **watch.unpushed(mailbox, found_by_poll=found and by_poll, now=now),
            }
            wanted = self._wanted_window(connection, mailbox, now)
            if extended := mailbox.window_from is not None and wanted < mailbox.window_from:
                columns["window_from"] = wanted
            moved = self._advance(connection, mailbox, **columns)
            if extended:
                search_plan.start(connection, moved, "extend", wanted, now, before_at=mailbox.window_from)
                reopen_before_window(connection, moved, now)
            apply(self._ledger, connection, moved, changes, now)
            return moved

        return self._database.transaction(work)

    def _next_look(
        self, mailbox: MailboxRow, now: dt.datetime, *, more: bool, polled: bool, pushed: bool
    ) -> dt.datetime | None:
        """When the mailbox is polled next.

        Gmail drops a mailbox's notifications beyond one a second (push guide), so after a push that brought mail a look
        follows soon: the mail of the same second must not wait for the next interval.
        """
        if more:
            return now
        regular = next_poll(mailbox.id, now, self._settings.poll_interval) if polled else mailbox.next_poll_at
        return min(regular or now, now + _LOOK_AFTER_PUSH) if pushed else regular

    def _recover(self, mailbox: MailboxRow, gmail: Gmail) -> MailboxRow:
        """The cursor expired: pin a new one, list what came since the last confirmed time, then check the whole window.

        The second listing is for mail whose date lies before that time though it came later (imports), and for moves
        between labels. A new pin is the mailbox's newest record, so this cannot go round in circles.
        """
        now = self._now()
        self._spend(mailbox, self._limits.profile)
        profile = gmail.profile()

        def work(connection: sa.Connection) -> MailboxRow:
            window_from = mailbox.window_from or self._wanted_window(connection, mailbox, now)
            moved = self._advance(
                connection, mailbox, history_id=profile.history_id, confirmed_at=now, last_poll_at=now, window_from=window_from,
                expired_cursors=mailbox.expired_cursors + 1, next_poll_at=next_poll(mailbox.id, now, self._settings.poll_interval),
            )  # fmt: skip
            since = max(window_from, (mailbox.confirmed_at or window_from) - self._settings.overlap)
            listings.start(connection, moved, "recover", since, now)
            if since > window_from:
                search_plan.start(connection, moved, "repair", window_from, now)
            return moved

        return self._database.transaction(work)

    def _walk_on(self, mailbox: MailboxRow, gmail: Gmail, *, live_only: bool) -> tuple[MailboxRow, bool]:
        """A page of the first listing that may go on (`live_only`: of a recovery); and whether Gmail's quota allowed it.

        What Gmail has against a list is the list's own trouble: live mail must not wait with old mail. Where it is the whole
        mailbox's, reading a message will show it.
        """
        now = self._now()
        with self._database.reading() as connection:
            waiting = [one for one in listings.unfinished(connection, mailbox.id) if not one.is_paused(now)]
        listing = next((one for one in waiting if one.lane == "live" or not live_only), None)
        if listing is None:
            return mailbox, True
        try:
            return self._walk(mailbox, gmail, listing), True
        except (GmailQuotaError, GmailUnavailableError, TokenRefreshError, GmailRequestError) as error:
            name, until = type(error).__name__, now + wait_after(error, listing.refusals, self._jitter)
            _log.info("a listing of mailbox %s pauses until %s: %s", mailbox.id, until, error)
            self._database.transaction(lambda connection: listings.put_off(connection, listing, name, until))
            return mailbox, name != GmailQuotaError.__name__

    def _walk(self, mailbox: MailboxRow, gmail: Gmail, listing: Listing) -> MailboxRow:
        """One page of a listing. Compare-and-set here too: a history page stored in between may know better."""
        if listing.kind == "reopen":
            return self._reopen(mailbox, listing)
        if listing.kind == "plan":
            return self._choose(mailbox, gmail, listing)
        self._spend(mailbox, self._limits.list)
        try:
            page = gmail.list_page(listing.search, listing.page_token)
        except PageTokenExpiredError:
            self._database.transaction(lambda connection: listings.restart(connection, listing))
            return mailbox
        now = self._now()

        def work(connection: sa.Connection) -> MailboxRow:
            moved = self._advance(connection, mailbox)
            rows = ledger_rows(connection, mailbox.id, page.gmail_ids)
            crm_changed = listing.kind == "targeted"
            by_name = bool(listing.query)
            actions = {i: decide_listed(rows.get(i), crm_changed=crm_changed, by_name=by_name) for i in page.gmail_ids}
            new = [gmail_id for gmail_id, action in actions.items() if action == "insert"]
            if listing.kind == "sample":
                new = search_plan.note_sample(connection, listing, new, page.next_page_token, now)
            else:
                listings.page_done(connection, listing, len(page.gmail_ids), page.estimate, page.next_page_token, now)
            self._ledger.add_pending(connection, moved, new, listing.lane, now)
            set_rows(
                connection,
                moved,
                [i for i, a in actions.items() if a == "reopen"],
                **PENDING_AGAIN,
                lane=0,
                found_at=now,
            )
            return moved

        return self._database.transaction(work)

    def _choose(self, mailbox: MailboxRow, gmail: Gmail, listing: Listing) -> MailboxRow:
        """How the first sync goes: by the CRM's searches, or through everything, as it does where Gmail will not say how much there is."""
        with self._database.reading() as connection:
            searches = search_plan.crm_searches(connection, mailbox.team_id) if self._settings.search_plan else []
        if searches and listing.refusals < search_plan.ESTIMATES:
            self._spend(mailbox, self._limits.list)
            page = gmail.list_page(listing.search)
            total = max(page.estimate, len(page.gmail_ids)) if page.next_page_token else len(page.gmail_ids)
            plan = search_plan.choose(total, len(searches), self._limits)
        else:
            plan = "everything"
        now = self._now()

        def work(connection: sa.Connection) -> MailboxRow:
            moved = self._advance(connection, mailbox)
            listings.page_done(connection, listing, 0, 0, "", now)
            by = searches if plan == "search" else []
            search_plan.start(connection, moved, "first_sync", listing.after_at, now, searches=by)
            return moved

        return self._database.transaction(work)

    def _reopen(self, mailbox: MailboxRow, listing: Listing) -> MailboxRow:
        """What Gmail's search cannot find, but the ledger can: no call, one step."""
        now = self._now()

        def work(connection: sa.Connection) -> MailboxRow:
            moved = self._advance(connection, mailbox)
            reopen_by_crm(connection, moved, listing.query.split(), now)
            listings.page_done(connection, listing, 0, 0, "", now)
            return moved

        return self._database.transaction(work)

    def _renew_watch(self, mailbox: MailboxRow, gmail: Gmail) -> None:
        """After everything else: no mail waits for the watch, whatever becomes of it."""

        def spend(units: int) -> None:
            self._quota.debit(mailbox.id, units, self._now())

        if self._may_spend(mailbox, self._limits.watch):
            columns = watch.renew(mailbox, gmail, self._settings.topic, self._now(), self._limits, spend)
        else:
            columns = watch.put_off(self._now(), self._jitter)
        try:
            self._database.transaction(lambda connection: self._advance(connection, mailbox, **columns))
        except LostRaceError:
            if self._mailboxes.get(mailbox.id).import_on:
                return  # somebody read it meanwhile: the watch is still due, and is asked for again
            spend(self._limits.stop)  # turned off meanwhile, and this watch made after that
            try:
                gmail.stop()
            except watch.FAILURES as error:
                _log.warning("mailbox %s: its watch could not be stopped and runs out: %s", mailbox.id, error)

    # --- the transaction's pieces ----------------------------------------------------------------------------------
    def _advance(self, connection: sa.Connection, mailbox: MailboxRow, **columns: Any) -> MailboxRow:
        moved = mailboxes.advance(connection, mailbox, **columns)
        if moved is None:
            raise LostRaceError(mailbox.id)
        return moved

    def _spend(self, mailbox: MailboxRow, units: int) -> None:
        """Debit a cheap call before it is made. Messages leave room for it: knowing what is new must not wait behind them.

        Raises:
            GmailQuotaError: not even that is left of this minute, and Gmail would refuse, too.
        """
        if not self._may_spend(mailbox, units):
            rest = dt.timedelta(seconds=60 - self._now().timestamp() % 60 + 3 * self._jitter.random())
            raise GmailQuotaError("the minute's or the day's units are spent", retry_after=rest)

    def _may_spend(self, mailbox: MailboxRow, units: int) -> bool:
        now = self._now()
        return self._database.transaction(lambda c: self._quota.grant(c, mailbox.id, units, 1, now)) > 0

    def _wanted_window(self, connection: sa.Connection, mailbox: MailboxRow, now: dt.datetime) -> dt.datetime:
        """Midnight (UTC) of the day on which the user's oldest open opportunity was opened, or `look_back` ago if earlier."""
        table = schema.opportunity.c
        oldest = connection.scalar(
            sa.select(sa.func.min(table.opened_on)).where(
                table.team_id == mailbox.team_id, table.owner_user_id == mailbox.user_id, table.is_open.is_(True)
            )
        )
        least = now - self._settings.look_back
        return least if oldest is None else min(least, dt.datetime.combine(oldest, dt.time(), dt.UTC))


def _record_id(record: Mapping[str, Any]) -> int:
    value = record.get("id")
    return (
        int(value) if isinstance(value, int) or (isinstance(value, str) and value.isascii() and value.isdigit()) else 0
    )
