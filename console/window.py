"""Reading the mail of a mailbox's window for a look that stores nothing: for the preview and for trying a rule set."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections import Counter
from collections.abc import Iterator

import sqlalchemy as sa

from ..io import listings, schema
from ..io.claims import ClaimSettings
from ..io.database import Database
from ..io.gmail import Gmail
from ..io.google_signin import GmailAccounts
from ..io.mailboxes import MailboxRow
from ..io.message_reader import GmailMessageReader
from ..io.quota import Quota, QuotaLimits, kept_limits
from ..transforms.errors import GmailQuotaError, MalformedMessageError
from ..transforms.normalize_messages import normalize
from ..transforms.records import ClaimedMessage, Decision, Failure, FetchedMessage, NormalizedMessage
from .connecting import utc_now

BATCH = 50


@dataclasses.dataclass
class WindowCounts:
    """What was seen: messages that Gmail lists in the window (about, where there are more pages), read, and not readable."""

    listed: int = 0
    read: int = 0
    unread: Counter[str] = dataclasses.field(default_factory=Counter)


def window_start(database: Database, box: MailboxRow, now: dt.datetime) -> dt.datetime:
    """The mailbox's look-back window; before a first sync, the one it would get."""
    if box.window_from is not None:
        return box.window_from
    deal = schema.opportunity.c
    chosen = sa.select(sa.func.min(deal.opened_on)).where(
        deal.team_id == box.team_id, deal.owner_user_id == box.user_id, deal.is_open.is_(True)
    )
    with database.reading() as connection:
        oldest = connection.scalar(chosen)
    least = now - ClaimSettings().look_back
    return least if oldest is None else min(least, dt.datetime.combine(oldest, dt.time(), dt.UTC))


class Window:
    """The newest messages of one mailbox's window, read in memory. What is asked of Gmail is debited from the shared quota."""

    def __init__(
        self,
        database: Database,
        accounts: GmailAccounts,
        box: MailboxRow,
        limit: int,
        quota: QuotaLimits | None = None,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._box = box
        self._limit = limit
        self._quota = Quota(database, quota or kept_limits(database))
        self.start = window_start(database, box, utc_now())
        self.counts = WindowCounts()

    def messages(self) -> Iterator[NormalizedMessage]:
        """Newest first, `limit` at the most; what cannot be read is counted.

        Raises:
            MailboxError: the mailbox cannot be read until somebody acts.
            TransientError: not now.
        """
        gmail = self._accounts.open(self._box.id)
        reader = GmailMessageReader(self._accounts)
        try:
            ids = itertools.islice(self._ids(gmail), self._limit)
            while batch := list(itertools.islice(ids, BATCH)):
                self._spend(len(batch) * self._quota.limits.get)
                claims = [
                    ClaimedMessage(
                        self._box.team_id, self._box.id, gmail_id, "", self._box.address, "backfill", self.start
                    )
                    for gmail_id in batch
                ]
                for answer in reader.read(claims):
                    made = self._made(answer)
                    if made is not None:
                        yield made
        finally:
            reader.close()

    def _made(self, answer: FetchedMessage | Decision | Failure) -> NormalizedMessage | None:
        if isinstance(answer, FetchedMessage):
            try:
                made = normalize(answer)
            except MalformedMessageError as error:
                self.counts.unread[type(error).__name__] += 1
                return None
            self.counts.read += 1
            return made
        self.counts.unread[answer.rule if isinstance(answer, Decision) else answer.error_class] += 1
        return None

    def _ids(self, gmail: Gmail) -> Iterator[str]:
        token, listed = "", 0
        while True:
            self._spend(self._quota.limits.list)
            page = gmail.list_page(listings.search_for(self.start), token)
            listed += len(page.gmail_ids)
            token = page.next_page_token
            self.counts.listed = max(listed, page.estimate) if token else listed
            yield from page.gmail_ids
            if not token:
                return

    def _spend(self, units: int) -> None:
        def work(connection: sa.Connection) -> None:
            now = utc_now()
            if self._quota.room(connection, self._box.id, now) < units:
                raise GmailQuotaError(
                    "the minute's Gmail quota is spent; try again in a minute, or with a smaller --limit"
                )
            self._quota.spend(connection, self._box.id, units, now)

        self._database.transaction(work)
