"""Reading the mail of a mailbox's window for a look that stores nothing: for the preview and for trying a rule set."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeGuard

import click
import sqlalchemy as sa

from ..io import listings, schema
from ..io.claim_settings import ClaimSettings
from ..io.database import Database
from ..io.gmail import Gmail
from ..io.google_signin import GmailAccounts
from ..io.mailboxes import MailboxRow
from ..io.message_reader import GmailMessageReader
from ..io.quota import LARGE_TEXTS, Quota, QuotaLimits, kept_limits, room_in
from ..transforms.clock import utc_now
from ..transforms.errors import GmailQuotaError, MalformedMessageError, NoRoomError
from ..transforms.normalize_messages import normalize
from ..transforms.records import ClaimedMessage, Decision, Failure, FetchedMessage, NormalizedMessage

BATCH = 50
SHARE = 0.5
"""A look goes no further than so much of the quota, all that is spent counted: the rest is the job's."""
PAUSE_S = 5.0
_TOLD_EVERY = dt.timedelta(minutes=1)

Answer = FetchedMessage | Decision | Failure


@dataclasses.dataclass
class WindowCounts:
    """What was seen: messages that Gmail lists in the window (about, where there are more pages), read, and not readable.

    oldest: when Gmail received the last one that was read.
    """

    listed: int = 0
    read: int = 0
    unread: Counter[str] = dataclasses.field(default_factory=Counter)
    oldest: dt.datetime | None = None

    @property
    def seen(self) -> int:
        """Messages that Gmail was asked for."""
        return self.read + self.unread.total()


def tell(line: str) -> None:
    """A line about the progress, beside the command's output."""
    click.echo(line, err=True)


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
    """The newest messages of one mailbox's window, read in memory. What is asked of Gmail is debited from the shared quota.

    `limit` None is the whole window. Where the minute has no more room, the look waits for it: `sleep` waits so many seconds,
    `tell` hears how far it is, once a minute at the most.
    """

    def __init__(
        self,
        database: Database,
        accounts: GmailAccounts,
        box: MailboxRow,
        limit: int | None,
        quota: QuotaLimits | None = None,
        *,
        now: Callable[[], dt.datetime] = utc_now,
        sleep: Callable[[float], None] = time.sleep,
        tell: Callable[[str], None] = tell,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._box = box
        self._limit = limit
        self._quota = Quota(database, quota or kept_limits(database))
        self._now, self._sleep, self._tell = now, sleep, tell
        self._told: dt.datetime | None = None
        self.start = window_start(database, box, now())
        self.counts = WindowCounts()

    def messages(self) -> Iterator[NormalizedMessage]:
        """Newest first, `limit` at the most; what cannot be read is counted.

        Raises:
            MailboxError: the mailbox cannot be read until somebody acts.
            TransientError: not now.
        """
        gmail = self._accounts.open(self._box.id)
        reader = GmailMessageReader(self._accounts, more=self._take)
        try:
            ids = itertools.islice(self._ids(gmail), self._limit)
            batch: list[str] = []
            while batch := batch or list(itertools.islice(ids, BATCH)):
                granted = self._wait_for(self._quota.limits.get, len(batch))
                claims = [
                    ClaimedMessage(
                        self._box.team_id, self._box.id, gmail_id, "", self._box.address, "backfill", self.start
                    )
                    for gmail_id in batch[:granted]
                ]
                batch = batch[granted:]
                for answer in list(reader.read(claims)):
                    made = self._made(self._again(answer) if _lacked_room(answer) else answer)
                    if made is not None:
                        yield made
        finally:
            reader.close()

    def _take(self, claim: ClaimedMessage, count: int) -> bool:
        """Whether `count` reads more, of a message's large texts, are paid for."""
        return self._quota.take(claim.mailbox_id, count * self._quota.limits.get, self._now(), SHARE)

    def _again(self, lacking: Failure) -> Answer:
        """What comes of a message for whose large texts there was no room, once there is; no batch can be in its way."""
        try:
            self._wait_for((1 + LARGE_TEXTS) * self._quota.limits.get, 1)
        except GmailQuotaError:
            return lacking
        reader = GmailMessageReader(self._accounts)  # all of it is paid for
        try:
            (answer,) = reader.read([lacking.claim])
        finally:
            reader.close()
        return answer

    def _made(self, answer: Answer) -> NormalizedMessage | None:
        if isinstance(answer, FetchedMessage):
            try:
                made = normalize(answer)
            except MalformedMessageError as error:
                self.counts.unread[type(error).__name__] += 1
                return None
            self.counts.read += 1
            self.counts.oldest = min(self.counts.oldest or made.internal_date, made.internal_date)
            return made
        self.counts.unread[answer.rule if isinstance(answer, Decision) else answer.error_class] += 1
        return None

    def _ids(self, gmail: Gmail) -> Iterator[str]:
        token, listed = "", 0
        while True:
            self._wait_for(self._quota.limits.list, 1)
            page = gmail.list_page(listings.search_for(self.start), token)
            listed += len(page.gmail_ids)
            token = page.next_page_token
            self.counts.listed = max(listed, page.estimate) if token else listed
            yield from page.gmail_ids
            if not token:
                return

    def _wait_for(self, cost: int, wanted: int) -> int:
        """Debit as many of `wanted` calls as there is room for, at least one, however long that takes; how many it is.

        Raises:
            GmailQuotaError: the day has no more room, or no minute ever has.
        """
        while not (granted := self._database.transaction(lambda connection: self._grant(connection, cost, wanted))):
            now = self._now()
            if self._told is None or now - self._told >= _TOLD_EVERY:
                self._told = now
                self._tell(f"{self.counts.seen} of about {self.counts.listed} looked at; waiting for Gmail's quota")
            self._sleep(PAUSE_S)
        return granted

    def _grant(self, connection: sa.Connection, cost: int, wanted: int) -> int:
        now, limits = self._now(), self._quota.limits
        used = self._quota.usage(connection, self._box.id, now)
        if limits.project_day * SHARE - used.day < cost:
            raise GmailQuotaError("half of the day's Gmail quota is spent; try again tomorrow")
        if min(limits.mailbox_minute, limits.project_minute) * SHARE < cost:
            raise GmailQuotaError("half of a minute's Gmail quota is less than one call costs; raise the job's limits")
        granted = min(wanted, room_in(limits, used, SHARE) // cost)
        if granted:
            self._quota.spend(connection, self._box.id, granted * cost, now)
        return granted


def _lacked_room(answer: Answer) -> TypeGuard[Failure]:
    return isinstance(answer, Failure) and answer.error_class == NoRoomError.__name__
