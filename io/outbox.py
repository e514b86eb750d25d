"""The search outbox: every change of an engagement reaches the index through it, in order of version.

A row stands for one engagement whose newest version the index does not have yet. Documents are built from the engagement's
rows as they are when the outbox is read, so one write carries all changes made until then.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import datetime as dt
import functools
import logging
import random
from collections.abc import Callable, Iterator, Sequence

import sqlalchemy as sa

from ..transforms.batches import cut_sized
from ..transforms.errors import StoreUnavailableError
from . import documents, removal
from .database import Database
from .schema import engagement, search_outbox
from .search import IndexEntry, IndexUnavailableError, Outcome, Put, SearchIndex

WAIT_MIN, WAIT_MAX = dt.timedelta(seconds=1), dt.timedelta(seconds=60)
"""Between two tries of an index that is down: doubled each time, with jitter."""
PAGE = documents.BATCH_COUNT
"""Outbox rows read at a time: what a drain holds in memory of a backlog of any length."""
FIRST_PAGE = 100
"""The first ones: the index has nothing to do until they are made ready."""

LEAP = 3_600_000_000
"""By how much a version grows (an hour) to outdo that of a delete by somebody whose clock was ahead."""
HIDDEN = Outcome("stale", "hidden by a delete")

_row = search_outbox.c
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Backlog:
    """What is on the outbox: rows that wait, the oldest one's age, and rows that the index refuses, by error class."""

    waiting: int
    oldest: dt.timedelta
    parked: dict[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class _Waiting:
    """One outbox row, as it was read; `size` is about how many bytes its document takes."""

    team_id: str
    engagement_id: str
    version: int
    enqueued_at: dt.datetime
    size: int

    @property
    def key(self) -> documents.Key:
        return self.team_id, self.engagement_id


@dataclasses.dataclass(frozen=True, slots=True)
class _Ready:
    """A batch that is ready to be written: its rows, in the order in which they are, and of each what is (None: its removal)."""

    rows: list[_Waiting]
    documents: list[int | None]
    put: Put

    def versions(self) -> Iterator[int]:
        return (row.version if made is None else made for row, made in zip(self.rows, self.documents, strict=True))


class Outbox:
    """Implements transforms.write_to_elasticsearch.OutboxDrain. Several processes may drain one outbox at once."""

    def __init__(
        self,
        database: Database,
        index: SearchIndex,
        *,
        now: Callable[[], dt.datetime],
        chance: random.Random | None = None,
        batch_count: int = documents.BATCH_COUNT,
        batch_bytes: int = documents.BATCH_BYTES,
    ) -> None:
        """Nothing is read yet. `now` gives aware times; `chance` the jitter of waits; a batch is held in memory whole."""
        self._database = database
        self._index = index
        self._now = now
        self._chance = chance or random.Random()  # noqa: S311 (jitter)
        self._batch = (batch_count, batch_bytes)
        self._failures = 0
        self._is_there = False
        self._down_until: dt.datetime | None = None
        self.down = ""
        """Why the index could not be written at the last try; "": it could."""

    def index(self, team_id: str, engagement_ids: Sequence[str]) -> int:
        """Index the outbox rows of these engagements and take them off the outbox; how many. Others are left alone.

        An index that is down is noted, for a later drain, and is no error.

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
        if not self._is_due():
            return 0
        indexed = 0
        for start in range(0, len(engagement_ids), self._batch[0]):
            some = engagement_ids[start : start + self._batch[0]]
            rows = self._read(_row.team_id == team_id, _row.engagement_id.in_(some))
            for batch in cut_sized(((row, row.size) for row in rows), *self._batch):
                indexed += self._write(self._ready(batch))
                if self.down:
                    return indexed
        return indexed

    def drain(self, limit: int) -> int:
        """Index up to `limit` waiting rows, oldest first; how many. 0 where nothing waits or the index is down (noted).

        The next batch's documents are read, and the batch before is taken off the outbox, while the index takes one.

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
        if not self._is_due():
            return 0
        indexed = 0
        batches = self._waiting(limit)
        ready = self._next(batches)
        if ready is None:
            return 0
        pool = concurrent.futures.ThreadPoolExecutor
        with pool(1, "outbox-read") as reader, pool(1, "outbox-settle") as settler:
            settling = None
            while True:
                reading = reader.submit(self._next, batches)
                outcomes, error = self._put(ready)  # in this thread, whose connections live on
                following = reading.result()
                if settling is not None:
                    indexed += settling.result()
                settling = settler.submit(self._settle, ready, outcomes, error)
                if error is not None or following is None:
                    return indexed + settling.result()
                ready = following

    def backlog(self, team_id: str | None = None) -> Backlog:
        """What is on the outbox (of one team).

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
        query = sa.select(_row.error_class, sa.func.count(), sa.func.min(_row.enqueued_at)).group_by(_row.error_class)
        if team_id is not None:
            query = query.where(_row.team_id == team_id)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        waiting, since = next(((row[1], row[2]) for row in rows if row[0] is None), (0, None))
        age = self._now() - since if since is not None else dt.timedelta()
        return Backlog(waiting, max(age, dt.timedelta()), {row[0]: row[1] for row in rows if row[0] is not None})

    def next_due(self, now: dt.datetime) -> dt.datetime | None:
        """When the oldest waiting row may next be tried (UTC, not before `now`); None: nothing waits.

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
        with self._database.reading() as connection:
            soonest = connection.execute(
                sa.select(_row.not_before).where(_row.error_class.is_(None)).order_by(_row.not_before).limit(1)
            ).one_or_none()
        if soonest is None:
            return None
        return max(at for at in (now, soonest[0], self._down_until) if at is not None)

    def release(self, team_id: str | None = None) -> int:
        """Let rows that the index refused, and rows that wait for their time, be tried again at once; how many.

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
        put_off = sa.and_(_row.error_class.is_(None), _row.not_before.is_not(None))
        held = sa.or_(_row.error_class.is_not(None), put_off)  # two stretches of one index
        mine = held if team_id is None else sa.and_(held, _row.team_id == team_id)
        free = sa.update(search_outbox).where(mine).values(error_class=None, not_before=None, attempts=0)
        self._down_until = None
        return self._database.transaction(lambda connection: connection.execute(free).rowcount)

    # --- reading -------------------------------------------------------------------------------------------------------
    def _is_due(self) -> bool:
        return self._down_until is None or self._now() >= self._down_until

    def _read(self, *conditions: sa.ColumnElement[bool], limit: int | None = None) -> list[_Waiting]:
        order = (_row.enqueued_at, _row.team_id, _row.engagement_id)
        page = (
            sa.select(search_outbox)
            .where(_row.error_class.is_(None), *conditions)
            .order_by(*order)
            .limit(limit)
            .subquery()
        )
        same = sa.and_(engagement.c.team_id == page.c.team_id, engagement.c.id == page.c.engagement_id)
        query = (  # the page first: else the texts of all that waits would be measured
            sa.select(
                page.c.team_id,
                page.c.engagement_id,
                page.c.version,
                documents.time_text(page.c.enqueued_at),
                documents.text_size(),
            )
            .select_from(page.outerjoin(engagement, same))
            .order_by(page.c.enqueued_at, page.c.team_id, page.c.engagement_id)
        )
        with self._database.reading() as connection:
            return [
                _Waiting(team_id, engagement_id, version, documents.time_read(at), size)
                for team_id, engagement_id, version, at, size in connection.execute(query)
            ]

    def _waiting(self, limit: int) -> Iterator[list[_Waiting]]:
        """Batches of waiting rows, oldest first, no row twice."""
        may = sa.or_(_row.not_before.is_(None), _row.not_before <= self._now())
        conditions, size = [may], FIRST_PAGE
        while limit > 0:
            page = self._read(*conditions, limit=min(limit, size))
            yield from cut_sized(((row, row.size) for row in page), *self._batch)
            if len(page) < size:
                return
            limit, size = limit - len(page), PAGE
            last = page[-1]
            beyond = sa.or_(
                _row.team_id > last.team_id,
                sa.and_(_row.team_id == last.team_id, _row.engagement_id > last.engagement_id),
            )
            later = sa.or_(_row.enqueued_at > last.enqueued_at, sa.and_(_row.enqueued_at == last.enqueued_at, beyond))
            conditions = [may, _row.enqueued_at >= last.enqueued_at, later]

    def _next(self, batches: Iterator[list[_Waiting]]) -> _Ready | None:
        batch = next(batches, None)
        return None if batch is None else self._ready(batch)

    def _ready(self, batch: Sequence[_Waiting]) -> _Ready:
        """The write of these rows: the engagement as it is now, or its removal where it is no more."""
        rows: list[_Waiting] = []
        made: list[int | None] = []
        if not self._is_there:  # asked here, because an index that is down must not hold up a run's start
            try:
                self._index.ensure()
            except StoreUnavailableError as error:
                return _Ready(list(batch), [None] * len(batch), functools.partial(_failed, error))
            self._is_there = True

        def entries() -> Iterator[IndexEntry]:
            left = {row.key: row for row in batch}
            with self._database.reading() as connection:
                for key, found in documents.each_document(connection, [row.key for row in batch]):
                    rows.append(left.pop(key))
                    made.append(found.version)
                    yield IndexEntry(*key, found.version, found.document)
            for row in left.values():
                rows.append(row)
                made.append(None)
                yield IndexEntry(*row.key, row.version)

        return _Ready(rows, made, self._index.prepare(entries()))

    # --- writing -------------------------------------------------------------------------------------------------------
    def _write(self, ready: _Ready) -> int:
        return self._settle(ready, *self._put(ready))

    def _put(self, ready: _Ready) -> tuple[Sequence[Outcome | None], StoreUnavailableError | None]:
        try:
            return self._unhidden(ready, ready.put()), None
        except IndexUnavailableError as error:
            return error.outcomes or [None] * len(ready.rows), error
        except StoreUnavailableError as error:
            return [None] * len(ready.rows), error

    def _unhidden(self, ready: _Ready, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """`outcomes`, with HIDDEN where the index kept a document out for a newer version and yet has none: a delete's."""
        keys = [
            row.key
            for row, made, outcome in zip(ready.rows, ready.documents, outcomes, strict=True)
            if outcome.status == "stale" and made is not None
        ]
        if not keys:
            return list(outcomes)
        hidden = set(keys) - self._index.lookup(keys).keys()
        return [HIDDEN if row.key in hidden else outcome for row, outcome in zip(ready.rows, outcomes, strict=True)]

    def _settle(self, ready: _Ready, outcomes: Sequence[Outcome | None], error: StoreUnavailableError | None) -> int:
        """Take what is written off the outbox unless a newer version has come; park what is refused; note the rest."""
        gone: list[tuple[_Waiting, int]] = []
        refused: dict[str, list[tuple[_Waiting, int]]] = collections.defaultdict(list)
        unknown: list[documents.Key] = []
        hidden: dict[documents.Key, int] = {}
        for row, version, outcome in zip(ready.rows, ready.versions(), outcomes, strict=True):
            if outcome is None:
                unknown.append(row.key)
            elif outcome.status == "refused":
                refused[outcome.error_class].append((row, version))
            else:
                gone.append((row, version))
                if outcome is HIDDEN:
                    hidden[row.key] = version
        self._note(error)

        def work(connection: sa.Connection) -> None:
            for team_id, ids in _teams(sorted(hidden)).items():
                stored = removal.lock_engagements(connection, team_id, ids)
                higher = {e: v + LEAP for e, v in stored.items() if v == hidden[team_id, e]}
                removal.set_versions(self._database, connection, team_id, higher, self._now())
            for same_version in _by_team(gone):
                connection.execute(sa.delete(search_outbox).where(same_version))
            for error_class, keys in refused.items():
                for same_version in _by_team(keys):
                    connection.execute(
                        sa.update(search_outbox)
                        .where(same_version)
                        .values(error_class=error_class, attempts=_row.attempts + 1)
                    )
            if unknown:
                later = {"attempts": _row.attempts + 1, "not_before": self._down_until}
                for team_id, ids in _teams(unknown).items():
                    mine = sa.and_(_row.team_id == team_id, _row.engagement_id.in_(ids))
                    connection.execute(sa.update(search_outbox).where(mine).values(**later))

        self._database.transaction(work)
        for error_class, keys in refused.items():
            _log.warning("the search index refuses %d documents: %s; they are parked", len(keys), error_class)
        return len(gone)

    def _note(self, error: StoreUnavailableError | None) -> None:
        if error is None:
            if self.down:
                _log.info("the search index takes documents again")
            self._failures, self._down_until, self.down = 0, None, ""
            return
        wait = min(WAIT_MAX, WAIT_MIN * 2 ** min(self._failures, 10)) * self._chance.uniform(0.75, 1.25)
        if error.retry_after is not None:
            wait = max(wait, error.retry_after)
        if str(error) != self.down:
            _log.warning("%s; what changed waits on the search outbox", error)
        self._failures += 1
        self._down_until, self.down = self._now() + wait, str(error)


def _failed(error: StoreUnavailableError) -> list[Outcome]:
    raise error


def _teams(keys: Sequence[documents.Key]) -> dict[str, list[str]]:
    teams: dict[str, list[str]] = collections.defaultdict(list)
    for team_id, engagement_id in keys:
        teams[team_id].append(engagement_id)
    return teams


def _by_team(written: Sequence[tuple[_Waiting, int]]) -> Iterator[sa.ColumnElement[bool]]:
    """One condition a team for outbox rows that still hold the version that was read, or the one that was written."""
    teams: dict[str, list[tuple[str, int]]] = collections.defaultdict(list)
    for row, version in written:
        teams[row.team_id] += [(row.engagement_id, row.version)] + [(row.engagement_id, version)] * (
            version != row.version
        )
    for team_id, pairs in teams.items():
        mine = sa.and_(_row.team_id == team_id, _row.engagement_id.in_([pair[0] for pair in pairs]))
        yield sa.and_(mine, sa.tuple_(_row.engagement_id, _row.version).in_(pairs))
