"""Do database and search index agree? Compare both, mend what differs, or fill a fresh index.

Both sides are read in order of (team, engagement) and merged, so memory does not grow with the number of engagements. What
looks different is looked at again before it counts: while mail flows, the two are read at different moments.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import sqlalchemy as sa

from . import documents, removal
from .database import Database
from .outbox import Outbox
from .schema import search_outbox
from .search import IndexedVersion, IndexEntry, SearchIndex

Kind = Literal["missing", "extra", "older", "newer", "content"]
KINDS: dict[Kind, str] = {
    "missing": "in the database, not in the index",
    "extra": "in the index, not in the database",
    "older": "the index has an older version",
    "newer": "the index has a newer version (the database was restored from a backup?)",
    "content": "same version, other content",
}
EXAMPLES = 20
SUSPECTS = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One engagement on which the stores differ and of which the outbox does not know. A version is None where absent."""

    team_id: str
    engagement_id: str
    kind: Kind
    database_version: int | None
    index_version: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What a comparison found.

    Attributes:
        engagements: how many the database has.
        indexed: how many the index has.
        waiting: differ, and wait on the outbox: no fault, `drain` will see to them.
        parked: differ because the index refuses their document.
        differences: how many differ otherwise, by kind.
        examples: the first of them.
        mended: of these, how many are put on the outbox (repair only).
    """

    engagements: int
    indexed: int
    waiting: int
    parked: int
    differences: dict[Kind, int]
    examples: tuple[Difference, ...]
    mended: int = 0

    @property
    def equal(self) -> bool:
        """Nothing differs but what waits on the outbox."""
        return not self.differences and not self.parked


def check(database: Database, index: SearchIndex, team_id: str | None = None) -> Report:
    """Compare both stores by id, version and content digest (one team, or all).

    Raises:
        StoreUnavailableError: one of them cannot be reached.
    """
    return _compare(database, index, team_id, None)


def repair(
    database: Database, index: SearchIndex, *, now: Callable[[], dt.datetime], team_id: str | None = None
) -> Report:
    """As `check`, and put every difference on the outbox, from where the next drain mends it.

    Raises:
        StoreUnavailableError: one of them cannot be reached.
    """
    mended = 0

    def mend(differences: Sequence[Difference]) -> None:
        nonlocal mended
        mended += len(differences)
        by_team: dict[str, list[Difference]] = collections.defaultdict(list)
        for one in differences:
            by_team[one.team_id].append(one)
        for team, some in by_team.items():
            _enqueue(database, team, some, now())

    return dataclasses.replace(_compare(database, index, team_id, mend), mended=mended)


def rebuild(database: Database, index: SearchIndex, outbox: Outbox, *, now: Callable[[], dt.datetime]) -> int:
    """Fill a fresh index from the database and let it take the old one's place, without a gap in search; how many.

    What changes meanwhile goes to the old index; a comparison at the end brings the new one up to it. A document that the
    index refuses is left to the outbox, which parks it.

    Raises:
        StoreUnavailableError: one of them cannot be reached; the old index stays.
    """
    count = 0
    with index.rebuilding() as fresh:
        for batch in documents.all_documents(database):
            count += len(batch)
            fresh.put([IndexEntry(*key, found.version, found.document) for key, found in batch.items()])
        for some in _chunks(_differences(database, fresh, None, with_waiting=True)):  # what changed while it was filled
            with database.reading() as connection:
                found = documents.read_documents(connection, [(one.team_id, one.engagement_id) for one in some])
            entries = [IndexEntry(*key, made.version, made.document) for key, made in found.items()]
            for one in some:  # erased meanwhile: it must not be found again for the moment until it is mended
                if (one.team_id, one.engagement_id) not in found:
                    entries.append(IndexEntry(one.team_id, one.engagement_id, (one.index_version or 0) + 1))
            fresh.put(entries)
    repair(database, index, now=now)
    outbox.release()  # what the old one has refused is tried once more
    while outbox.drain(documents.BATCH_COUNT):
        pass
    return count


def _chunks(differences: Iterator[Difference]) -> Iterator[Sequence[Difference]]:
    while some := tuple(itertools.islice(differences, SUSPECTS)):
        yield some


# --- comparing ---------------------------------------------------------------------------------------------------------
@dataclasses.dataclass
class _Counts:
    engagements: int = 0
    indexed: int = 0
    waiting: int = 0
    parked: int = 0


def _compare(
    database: Database, index: SearchIndex, team_id: str | None, mend: Callable[[Sequence[Difference]], None] | None
) -> Report:
    counts, kinds = _Counts(), collections.Counter[Kind]()
    examples: list[Difference] = []
    batch: list[Difference] = []
    for one in _differences(database, index, team_id, counts):
        kinds[one.kind] += 1
        if len(examples) < EXAMPLES:
            examples.append(one)
        if mend is None:
            continue
        batch.append(one)
        if len(batch) == SUSPECTS:
            mend(batch)
            batch = []
    if mend is not None and batch:
        mend(batch)
    return Report(counts.engagements, counts.indexed, counts.waiting, counts.parked, dict(kinds), tuple(examples))


def _differences(
    database: Database,
    index: SearchIndex,
    team_id: str | None,
    counts: _Counts | None = None,
    *,
    with_waiting: bool = False,
) -> Iterator[Difference]:
    """What differs; rows that wait on the outbox are no difference unless `with_waiting`."""
    counts = counts or _Counts()
    suspects: list[documents.Key] = []
    for key, mine, theirs in _merged(database, index, team_id, counts):
        if mine != theirs:
            suspects.append(key)
        if len(suspects) == SUSPECTS:
            yield from _second_look(database, index, suspects, counts, with_waiting=with_waiting)
            suspects = []
    yield from _second_look(database, index, suspects, counts, with_waiting=with_waiting)


def _merged(
    database: Database, index: SearchIndex, team_id: str | None, counts: _Counts
) -> Iterator[tuple[documents.Key, tuple[int, str] | None, tuple[int, str] | None]]:
    """Every key of either side, in order, with (version, digest) as each side has it."""
    ours = (
        (key, (found.version, found.document["digest"]))
        for batch in documents.all_documents(database, team_id)
        for key, found in batch.items()
    )
    theirs = (((one.team_id, one.engagement_id), (one.version, one.digest)) for one in index.scan(team_id))
    left, right = next(ours, None), next(theirs, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left[0] < right[0]):
            assert left is not None
            yield left[0], left[1], None
            left, counts.engagements = next(ours, None), counts.engagements + 1
        elif left is None or right[0] < left[0]:
            yield right[0], None, right[1]
            right, counts.indexed = next(theirs, None), counts.indexed + 1
        else:
            yield left[0], left[1], right[1]
            left, right = next(ours, None), next(theirs, None)
            counts.engagements, counts.indexed = counts.engagements + 1, counts.indexed + 1


def _second_look(
    database: Database, index: SearchIndex, keys: Sequence[documents.Key], counts: _Counts, *, with_waiting: bool
) -> Iterator[Difference]:
    """Which of these differ now, and are not on the outbox: the index is asked first, then the database."""
    if not keys:
        return
    held = index.lookup(keys)
    with database.reading() as connection:
        found = documents.read_documents(connection, keys)
        rows = connection.execute(
            sa.select(search_outbox.c.team_id, search_outbox.c.engagement_id, search_outbox.c.error_class).where(
                documents.among(search_outbox.c.team_id, search_outbox.c.engagement_id, keys)
            )
        ).all()
    on_outbox = {(row[0], row[1]): row[2] for row in rows}
    for key in keys:
        kind = _kind(found.get(key), held.get(key))
        if kind is None:
            continue
        if key in on_outbox and not with_waiting:
            counts.waiting += on_outbox[key] is None
            counts.parked += on_outbox[key] is not None
            continue
        ours, theirs = found.get(key), held.get(key)
        yield Difference(*key, kind, ours.version if ours else None, theirs.version if theirs else None)


def _kind(ours: documents.Versioned | None, theirs: IndexedVersion | None) -> Kind | None:
    if ours is None:
        return None if theirs is None else "extra"
    if theirs is None:
        return "missing"
    if theirs.version != ours.version:
        return "older" if theirs.version < ours.version else "newer"
    return None if theirs.digest == ours.document["digest"] else "content"


# --- mending -----------------------------------------------------------------------------------------------------------
def _enqueue(database: Database, team_id: str, differences: Sequence[Difference], now: dt.datetime) -> None:
    """Put these on the outbox in one transaction, with a version that the index will take.

    An index can hold a newer version than it shows: that of a delete. So the clock's version is offered.
    """
    held = {one.engagement_id: one.index_version or 0 for one in differences}

    def work(connection: sa.Connection) -> None:
        versions = removal.lock_engagements(connection, team_id, sorted(held))
        floor = removal.clock_version(now)
        new = {key: max(held[key] + 1, version + 1, floor) for key, version in versions.items()}
        gone = {key: max(version + 1, floor) for key, version in held.items() if key not in versions}
        removal.set_versions(database, connection, team_id, new, now)
        removal.put_on_outbox(database, connection, team_id, gone, now, is_delete=True)

    database.transaction(work)
