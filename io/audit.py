"""The audit: what Gmail has in a mailbox's window against what the ledger knows, and the way back to 100 %.

Completeness is counted over messages that qualify for a look: all of the window but drafts, chats, spam and trash. A message
counts as known when the ledger holds it, decided or pending. What Gmail no longer has though a copy is kept is looked up
one by one: only Gmail's own 404 says that it was deleted.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import sqlalchemy as sa

from ..transforms.claim_messages import LedgerRow, is_reopenable, net_changes
from ..transforms.decisions import LABEL_RULES
from ..transforms.errors import (
    GmailQuotaError,
    GmailUnavailableError,
    HistoryExpiredError,
    MessageGoneError,
    PageTokenExpiredError,
)
from ..transforms.settings import TeamSettings
from . import listings, mailboxes, schema, search_plan
from .database import Database
from .gmail import Gmail
from .google_signin import GmailAccounts
from .ledger import Ledger
from .ledger_changes import ledger_rows, reopen
from .listings import Listing
from .mailboxes import Mailboxes, MailboxRow
from .quota import Quota

_RESTARTS: Final = 3
_CHUNK: Final = 500
_message = schema.message.c


@dataclasses.dataclass(frozen=True, slots=True)
class MailboxAudit:
    """One mailbox's answer, at `at` (UTC). Gmail ids are in order, newest first.

    missing: Gmail has them and the ledger does not. shut: the ledger dropped them by a label, or as not found, and Gmail now
    shows them as ordinary mail. stale: a copy is kept of what Gmail no longer has at all, though the team's policy (on_delete) is
    to let it go. discarded: the same of what lies in trash or spam (on_trash, on_spam). unasked: how many a first sync by search
    left out on purpose (io/search_plan.py); they count as known, unless its sample shows that it missed a customer's mail. repaired: whether the rest was handed back to the normal path.
    unchecked: how many kept copies, not listed by Gmail, could not be looked up within the audit's share of the quota: the next audit goes on.
    """

    mailbox_id: str
    at: dt.datetime
    in_gmail: int
    missing: tuple[str, ...]
    shut: tuple[str, ...]
    stale: tuple[str, ...]
    pending: int
    unasked: int = 0
    repaired: bool = False
    discarded: tuple[str, ...] = ()
    unchecked: int = 0

    @property
    def completeness(self) -> float:
        """Percent of what Gmail has that the ledger knows rightly; 100 where there is nothing to know."""
        wrong = len(self.missing) + len(self.shut)
        return 100.0 if not self.in_gmail else 100.0 * (self.in_gmail - wrong) / self.in_gmail

    @property
    def is_clean(self) -> bool:
        """Nothing missing, nothing kept that the team's policies let go, and nothing left to look up."""
        return not (self.missing or self.shut or self.stale or self.discarded or self.unchecked)


class Audit:
    """Compares mailboxes. Costs 5 units for each 500 messages of the window, and 20 for each candidate for letting go."""

    def __init__(
        self, database: Database, accounts: GmailAccounts, quota: Quota, now: Callable[[], dt.datetime]
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._quota = quota
        self._now = now
        self._mailboxes = Mailboxes(database, now)
        self._ledger = Ledger(database)

    def run(self, mailbox_id: str, *, repair: bool = False) -> MailboxAudit | None:
        """Audit one mailbox; None where its import is off, or its first sync has not begun, so that there is no window yet.

        With `repair`, what is missing becomes pending and what is shut is opened again, for the next claims to take; copies that
        the team's policies let go, because Gmail deleted the mail or it lies in trash or spam, go.

        Raises:
            MailboxError: the mailbox cannot be read until somebody acts.
            GmailQuotaError, GmailUnavailableError, TokenRefreshError: not now.
            UnknownMailboxError: there is no such mailbox.
            StoreUnavailableError: the database cannot be reached.
        """
        mailbox = self._mailboxes.get(mailbox_id)
        if not mailbox.import_on or mailbox.window_from is None:
            return None
        gmail = self._accounts.open(mailbox_id)
        listed = self._list(mailbox, gmail, mailbox.window_from)
        on_the_way = self._on_the_way(mailbox, gmail)
        listed = [gmail_id for gmail_id in listed if gmail_id not in on_the_way]
        with self._database.reading() as connection:
            unknown, shut = _compare(connection, mailbox_id, listed)
            pending = connection.scalar(
                sa.select(sa.func.count()).where(_message.mailbox_id == mailbox_id, _message.state == "pending")
            )
            kept = set(
                connection.scalars(
                    sa.select(_message.gmail_id).where(
                        _message.mailbox_id == mailbox_id, _message.outcome == "imported"
                    )
                )
            )
            plan = _choosing(connection, mailbox_id) or search_plan.sampling(connection, mailbox_id)
            settings = _settings(connection, mailbox.team_id)
        left_out: set[str] = set()
        if plan is not None and unknown and not self._has_missed(mailbox_id):
            left_out.update(self._list(mailbox, gmail, mailbox.window_from, before_at=plan.created_at))
        missing = tuple(gmail_id for gmail_id in unknown if gmail_id not in left_out)
        stale, discarded, unchecked = self._let_go(mailbox, gmail, kept.difference(listed, on_the_way), settings)
        unasked = len(unknown) - len(missing)
        found = MailboxAudit(
            mailbox_id,
            self._now(),
            len(listed),
            missing,
            tuple(shut),
            stale,
            pending or 0,
            unasked,
            discarded=tuple(discarded),
            unchecked=unchecked,
        )
        if repair and not found.is_clean:
            self._repair(mailbox, found, discarded)
            found = dataclasses.replace(found, repaired=True)
        return found

    def _has_missed(self, mailbox_id: str) -> bool:
        """Whether the sample shows that a first sync by search missed a customer's mail: what it left out is then missing."""
        checked = search_plan.check(self._database, mailbox_id)
        return checked is not None and checked.missed > 0

    def _on_the_way(self, mailbox: MailboxRow, gmail: Gmail) -> set[str]:
        """What the next claim will hear of: neither missing nor stale, only new. Asked for after the list, so that it covers it."""
        ids: set[str] = set()
        token = ""
        try:
            while True:
                self._spend(mailbox, self._quota.limits.history)
                page = gmail.history_page(mailbox.history_id or 0, token)
                ids |= {change.gmail_id for change in net_changes(page.records)}
                token = page.next_page_token
                if not token:
                    return ids
        except HistoryExpiredError:
            return ids  # the next claim recovers; until then everything it will find is honestly missing

    def _list(
        self, mailbox: MailboxRow, gmail: Gmail, window_from: dt.datetime, *, before_at: dt.datetime | None = None,
        spam_trash: bool = False, terms: str = "",
    ) -> list[str]:  # fmt: skip
        search = listings.search_for(window_from, before_at, terms)
        for _ in range(_RESTARTS):
            found: dict[str, None] = {}
            token = ""
            try:
                while True:
                    self._spend(mailbox, self._quota.limits.list)
                    page = gmail.list_page(search, token, spam_trash=spam_trash)
                    found |= dict.fromkeys(page.gmail_ids)
                    token = page.next_page_token
                    if not token:
                        return list(found)
            except PageTokenExpiredError:
                continue
        raise GmailUnavailableError("list: page tokens expire too soon")

    def _let_go(
        self, mailbox: MailboxRow, gmail: Gmail, candidates: set[str], settings: TeamSettings
    ) -> tuple[tuple[str, ...], dict[str, str], int]:
        """Which of the kept copies that Gmail does not list the team's policies let go: the deleted ones, and Gmail id to rule for
        those in trash and spam; and how many were left when the quota's share was spent. What a policy keeps is not asked for.
        """
        places = {
            label: term
            for label, term, policy in (("TRASH", "in:trash", settings.on_trash), ("SPAM", "in:spam", settings.on_spam))
            if policy == "remove"
        }
        if not candidates or not (places or settings.on_delete == "remove"):
            return (), {}, 0
        assert mailbox.window_from is not None
        asked: set[str] = set()
        for term in places.values():
            asked.update(self._list(mailbox, gmail, mailbox.window_from, spam_trash=True, terms=term))
        asked &= candidates
        if settings.on_delete == "remove":
            hidden = self._list(mailbox, gmail, mailbox.window_from, spam_trash=True)
            asked |= candidates.difference(hidden)
        stale: list[str] = []
        discarded: dict[str, str] = {}
        left = len(asked)
        for gmail_id in _shuffled(asked, self._now()):
            try:
                labels = self._labels(mailbox, gmail, gmail_id)
            except (GmailQuotaError, GmailUnavailableError):
                break  # there may be one that Gmail never answers for: what else was found is mended all the same
            left -= 1
            if labels is None:
                stale += [gmail_id] if settings.on_delete == "remove" else []
            elif here := [label for label in places if label in labels]:
                discarded[gmail_id] = LABEL_RULES[here[0]]
        return tuple(sorted(stale, reverse=True)), dict(sorted(discarded.items(), reverse=True)), left

    def _labels(self, mailbox: MailboxRow, gmail: Gmail, gmail_id: str) -> tuple[str, ...] | None:
        """The message's labels; None: Gmail has deleted it. One that Gmail has may be older than the window by its own date."""
        self._spend(mailbox, self._quota.limits.get)
        try:
            return gmail.labels_of(gmail_id)
        except MessageGoneError:
            return None

    def _spend(self, mailbox: MailboxRow, units: int) -> None:
        """An audit waits for nobody and must not make others wait: it takes half of the quota at the most.

        Raises:
            GmailQuotaError: half of the minute's units are spent.
        """

        def work(connection: sa.Connection) -> None:
            now = self._now()
            if self._quota.room(connection, mailbox.id, now, 0.5) < units:
                raise GmailQuotaError("audit: paused for live mail", retry_after=dt.timedelta(seconds=30))
            self._quota.spend(connection, mailbox.id, units, now)

        self._database.transaction(work)

    def _repair(self, mailbox: MailboxRow, found: MailboxAudit, discarded: Mapping[str, str]) -> None:
        def work(connection: sa.Connection) -> None:
            now = self._now()
            current = mailboxes.lock(self._database, connection, mailbox.id)
            if not current.import_on:
                return
            self._ledger.add_pending(connection, current, found.missing, "backfill", now)
            reopen(connection, current, found.shut, "backfill", now)
            self._ledger.mark_deleted(connection, current, found.stale, now)
            self._ledger.mark_trashed(connection, current, discarded, now)

        self._database.transaction(work)


def _choosing(connection: sa.Connection, mailbox_id: str) -> Listing | None:
    """The listing of a first sync that has not chosen its way yet: it may leave out what comes before it."""
    return next((one for one in listings.unfinished(connection, mailbox_id) if one.kind == "plan"), None)


def _settings(connection: sa.Connection, team_id: str) -> TeamSettings:
    return TeamSettings.from_json(
        connection.scalar(sa.select(schema.team.c.settings).where(schema.team.c.id == team_id)) or {}
    )


def _compare(connection: sa.Connection, mailbox_id: str, listed: Sequence[str]) -> tuple[list[str], list[str]]:
    """Which of the ids the ledger lacks, and which it has shut out. A few at a time: there may be a million."""
    unknown: list[str] = []
    shut: list[str] = []
    for begin in range(0, len(listed), _CHUNK):
        some = listed[begin : begin + _CHUNK]
        rows = ledger_rows(connection, mailbox_id, some)
        unknown += [gmail_id for gmail_id in some if gmail_id not in rows]
        shut += [gmail_id for gmail_id in some if gmail_id in rows and _is_shut(rows[gmail_id])]
    return unknown, shut


def _shuffled(ids: Iterable[str], now: dt.datetime) -> list[str]:
    """In another order at another time: what turns out to be there still must not stand before the rest in every audit."""
    return sorted(ids, key=lambda gmail_id: hashlib.sha256(f"{now.isoformat()} {gmail_id}".encode()).digest())


def _is_shut(row: LedgerRow) -> bool:
    return not row.pending and is_reopenable(row)
