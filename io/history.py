"""Gmail's history, read from the stored cursor, and what begins where there is no cursor: a first sync, or a recovery.

Whatever is found moves the cursor in the transaction that stores it; who finds it moved already has lost, and reads again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Final

import sqlalchemy as sa

from ..transforms.claim_messages import CRM_RULES, SCORED_RULES, net_changes
from ..transforms.errors import HistoryExpiredError
from ..transforms.records import DueMailbox
from . import listings, mailboxes, schema, search_plan, watch
from .cheap_calls import CheapCalls
from .claim_settings import ClaimSettings
from .database import Database
from .gmail import Gmail
from .ledger import Ledger
from .ledger_changes import apply, reopen_before_window, reopen_by_crm, reopen_personal
from .mailboxes import MailboxRow
from .poll_times import next_poll

_LOOK_AFTER_PUSH: Final = dt.timedelta(seconds=2)


class HistoryReading:
    """Reads mailboxes' histories. Safe to share between threads."""

    def __init__(
        self, database: Database, calls: CheapCalls, settings: ClaimSettings, now: Callable[[], dt.datetime]
    ) -> None:
        self._database = database
        self._calls = calls
        self._settings = settings
        self._now = now
        self._ledger = Ledger(database)

    def read_if_due(self, mailbox: MailboxRow, gmail: Gmail, due: DueMailbox) -> MailboxRow:
        """The mailbox's row afterwards; nothing is asked where neither its poll is due nor a push came.

        Raises:
            LostRaceError: somebody else moved the cursor meanwhile.
            MailboxError, GmailQuotaError, GmailUnavailableError, TokenRefreshError, TerminalError: what Gmail says.
        """
        if mailbox.history_id is None:
            return self._begin(mailbox, gmail)
        if due.reason == "push" or mailbox.is_poll_due(self._now()):
            return self._read_history(mailbox, gmail, by_poll=due.reason != "push")
        return mailbox

    def _begin(self, mailbox: MailboxRow, gmail: Gmail) -> MailboxRow:
        """First sync: the cursor is pinned before the first list call, so what arrives meanwhile is in the history after it."""
        now = self._now()
        self._calls.spend(mailbox.id, self._calls.limits.profile)
        profile = gmail.profile()
        with self._database.reading() as connection:
            window_from = self._wanted_window(connection, mailbox, now)
        if mailbox.window_from is not None:
            window_from = min(window_from, mailbox.window_from)

        def work(connection: sa.Connection) -> MailboxRow:
            moved = mailboxes.must_advance(
                connection, mailbox, history_id=profile.history_id, confirmed_at=now, window_from=window_from, last_poll_at=now,
                next_poll_at=next_poll(mailbox.id, now, self._settings.poll_interval),
            )  # fmt: skip
            reopen_personal(connection, moved, now)
            if mailbox.window_from is None:  # it became another user's: no look back has reached it since
                reopen_by_crm(connection, moved, sorted(CRM_RULES | SCORED_RULES), now)
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
            self._calls.spend(mailbox.id, self._calls.limits.history)
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
            moved = mailboxes.must_advance(connection, mailbox, **columns)
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
        between labels. Where the CRM learned of somebody since, their mail may have been in the trash or in spam when Gmail was
        searched for it, and the lost history would have told: then the look back is made again, over all that the CRM keeps out. A new pin is the mailbox's newest record, so this cannot go round in circles.
        """
        now = self._now()
        self._calls.spend(mailbox.id, self._calls.limits.profile)
        profile = gmail.profile()

        def work(connection: sa.Connection) -> MailboxRow:
            window_from = mailbox.window_from or self._wanted_window(connection, mailbox, now)
            moved = mailboxes.must_advance(
                connection, mailbox, history_id=profile.history_id, confirmed_at=now, last_poll_at=now, window_from=window_from,
                expired_cursors=mailbox.expired_cursors + 1, next_poll_at=next_poll(mailbox.id, now, self._settings.poll_interval),
            )  # fmt: skip
            since = max(window_from, (mailbox.confirmed_at or window_from) - self._settings.overlap)
            listings.start(connection, moved, "recover", since, now)
            if since > window_from:
                search_plan.start(connection, moved, "repair", window_from, now)
            if listings.has_looked_back(connection, mailbox.id, since):
                listings.start(connection, moved, "targeted", window_from, now)
            return moved

        return self._database.transaction(work)

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
