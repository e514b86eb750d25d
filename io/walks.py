"""Walks through Gmail's search, a page at a time: what is listed comes into the ledger, and the walk's row says where to go on."""

from __future__ import annotations

import datetime as dt
import logging
import random
from collections.abc import Callable

import sqlalchemy as sa

from ..transforms.claim_messages import decide_listed
from ..transforms.errors import GmailQuotaError, GmailUnavailableError, PageTokenExpiredError, TokenRefreshError
from . import listings, mailboxes, search_plan
from .cheap_calls import CheapCalls
from .database import Database
from .gmail import Gmail
from .gmail_errors import GmailRequestError
from .ledger import Ledger
from .ledger_changes import ledger_rows, reopen, reopen_by_crm
from .listings import Listing
from .mailboxes import MailboxRow
from .refusals import wait_after

_log = logging.getLogger(__name__)


class Walks:
    """Goes on with mailboxes' walks. Safe to share between threads."""

    def __init__(
        self, database: Database, calls: CheapCalls, now: Callable[[], dt.datetime], jitter: random.Random, *, may_search: bool
    ) -> None:  # fmt: skip
        """`may_search`: whether a first sync may ask Gmail's search for the CRM's people where that is cheaper."""
        self._database = database
        self._calls = calls
        self._now = now
        self._jitter = jitter
        self._may_search = may_search
        self._ledger = Ledger(database)

    def walk_on(self, mailbox: MailboxRow, gmail: Gmail, *, live_only: bool) -> tuple[MailboxRow, bool]:
        """A page of the first listing that may go on (`live_only`: of a recovery); and whether Gmail's quota allowed it.

        What Gmail has against a list is the list's own trouble: live mail must not wait with old mail. Where it is the whole
        mailbox's, reading a message will show it.

        Raises:
            LostRaceError: somebody else moved the cursor meanwhile.
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
            # Perhaps a page token that is no longer good, in words that are not known here.
            anew = isinstance(error, GmailRequestError)
            self._database.transaction(lambda connection: listings.put_off(connection, listing, name, until, anew=anew))
            return mailbox, name != GmailQuotaError.__name__

    def _walk(self, mailbox: MailboxRow, gmail: Gmail, listing: Listing) -> MailboxRow:
        """One page of a listing. Compare-and-set here too: a history page stored in between may know better."""
        if listing.kind == "reopen":
            return self._reopen(mailbox, listing)
        if listing.kind == "plan":
            return self._choose(mailbox, gmail, listing)
        self._calls.spend(mailbox.id, self._calls.limits.list)
        try:
            page = gmail.list_page(listing.search, listing.page_token)
        except PageTokenExpiredError:
            self._database.transaction(lambda connection: listings.restart(connection, listing))
            return mailbox
        now = self._now()

        def work(connection: sa.Connection) -> MailboxRow:
            moved = mailboxes.must_advance(connection, mailbox)
            rows = ledger_rows(connection, mailbox.id, page.gmail_ids)
            crm_changed = listing.kind == "targeted"
            actions = {i: decide_listed(rows.get(i), crm_changed=crm_changed) for i in page.gmail_ids}
            new = [gmail_id for gmail_id, action in actions.items() if action == "insert"]
            if listing.kind == "sample":
                new = search_plan.note_sample(connection, listing, new, page.next_page_token, now)
            else:
                listings.page_done(connection, listing, len(page.gmail_ids), page.estimate, page.next_page_token, now)
            self._ledger.add_pending(connection, moved, new, listing.lane, now)
            again = [gmail_id for gmail_id, action in actions.items() if action == "reopen"]
            reopen(connection, moved, again, listing.lane, now)
            return moved

        return self._database.transaction(work)

    def _choose(self, mailbox: MailboxRow, gmail: Gmail, listing: Listing) -> MailboxRow:
        """How the first sync goes: by the CRM's searches, or through everything, as it does where Gmail will not say how much there is."""
        with self._database.reading() as connection:
            searches = search_plan.crm_searches(connection, mailbox.team_id) if self._may_search else []
        if searches and listing.refusals < search_plan.ESTIMATES:
            self._calls.spend(mailbox.id, self._calls.limits.list)
            page = gmail.list_page(listing.search)
            total = max(page.estimate, len(page.gmail_ids)) if page.next_page_token else len(page.gmail_ids)
            plan = search_plan.choose(total, len(searches), self._calls.limits)
        else:
            plan = "everything"
        now = self._now()

        def work(connection: sa.Connection) -> MailboxRow:
            moved = mailboxes.must_advance(connection, mailbox)
            listings.page_done(connection, listing, 0, 0, "", now)
            by = searches if plan == "search" else []
            search_plan.start(connection, moved, "first_sync", listing.after_at, now, searches=by)
            return moved

        return self._database.transaction(work)

    def _reopen(self, mailbox: MailboxRow, listing: Listing) -> MailboxRow:
        """What Gmail's search cannot find, but the ledger can: no call, one step."""
        now = self._now()

        def work(connection: sa.Connection) -> MailboxRow:
            moved = mailboxes.must_advance(connection, mailbox)
            reopen_by_crm(connection, moved, listing.query.split(), now)
            listings.page_done(connection, listing, 0, 0, "", now)
            return moved

        return self._database.transaction(work)
