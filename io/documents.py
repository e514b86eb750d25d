"""Search documents read in bulk from the database: one statement a batch, one row an engagement.

The database itself gathers an engagement's people, links and mailboxes, as JSON in that row. Fetching them as rows of their own,
half a dozen a mail, took most of the time that a drain takes, and of two cores' work more than the index did (measured).
"""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from ..transforms.batches import cut_sized
from . import search
from .database import Database
from .schema import engagement, engagement_copy, engagement_link, participant

Key = tuple[str, str]
"""(team_id, engagement_id)"""

BATCH_COUNT = 500
BATCH_BYTES = 8_000_000
"""What a batch of documents may hold in memory: this many, and about this much text (a longer one goes alone)."""

_e, _p, _l, _c = engagement.c, participant.c, engagement_link.c, engagement_copy.c
_READ = {
    "team_id": _e.team_id, "id": _e.id, "version": _e.version, "message_id": _e.message_id, "direction": _e.direction,
    "subject": _e.subject, "text": _e.text, "truncated": sa.type_coerce(_e.truncated, sa.Integer),
    "sender_address": _e.sender_address, "sender_name": _e.sender_name,
}  # fmt: skip
"""Of an engagement's row, as the driver gives it."""
_decoded = msgspec.json.Decoder(list[Any]).decode


def time_text(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """A time as the database writes it, for `time_read`: the drivers' own way takes longer than reading the whole row."""
    return sa.cast(column, sa.String(26))


def time_read(text: str) -> dt.datetime:
    """What `time_text` brought (UTC)."""
    return dt.datetime.fromisoformat(f"{text}+00:00")


def _objects(dialect: str, value: Any, table: sa.Table) -> sa.ColumnElement[str]:
    """`value` of each row of `table` that belongs to the engagement, as a JSON list; no list where there is none (MariaDB)."""
    gathered = sa.func.json_group_array if dialect == "sqlite" else sa.func.json_arrayagg
    mine = sa.and_(table.c.team_id == _e.team_id, table.c.engagement_id == _e.id)
    return sa.select(gathered(value)).where(mine).correlate(engagement).scalar_subquery()


def _object(*columns: sa.Column[Any]) -> sa.ColumnElement[str]:
    parts: list[sa.ColumnElement[Any]] = []
    for column in columns:
        parts += [sa.literal_column(f"'{column.name}'"), column]
    return sa.func.json_object(*parts)


@functools.cache
def _query(dialect: str) -> sa.Select[Any]:
    return sa.select(
        *_READ.values(),
        time_text(_e.sent_at),
        _objects(dialect, _object(_p.role, _p.position, _p.address, _p.name), participant),
        _objects(dialect, _object(_l.kind, _l.target_id), engagement_link),
        _objects(dialect, _c.mailbox_id, engagement_copy),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Versioned:
    """An engagement's newest version and its document."""

    version: int
    document: search.Document


def text_size() -> sa.ColumnElement[int]:
    """About how many bytes an engagement's document takes, as SQL."""
    return sa.func.coalesce(sa.func.length(engagement.c.text), 0) + 1000


def read_documents(connection: sa.Connection, keys: Sequence[Key]) -> dict[Key, Versioned]:
    """The documents of those of `keys` whose engagement there is, each as of one moment."""
    return dict(each_document(connection, keys))


def each_document(connection: sa.Connection, keys: Sequence[Key]) -> Iterator[tuple[Key, Versioned]]:
    """As `read_documents`, in any order, one after the other: who keeps none of them spares Python's collector the work."""
    if not keys:
        return
    for row in connection.execute(_query(connection.dialect.name).where(among(_e.team_id, _e.id, keys))):
        *plain, sent_at, people, links, copies = row
        read: dict[str, Any] = dict(zip(_READ, plain, strict=True), sent_at=time_read(sent_at))
        made = search.document(read, *(_decoded(text or "[]") for text in (people, links, copies)))
        yield (read["team_id"], read["id"]), Versioned(read["version"], made)


def among(team: sa.Column[Any], engagement_id: sa.Column[Any], keys: Sequence[Key]) -> sa.ColumnElement[bool]:
    """The rows of these keys: one IN a team, which both databases answer from the primary key."""
    teams: dict[str, list[str]] = collections.defaultdict(list)
    for team_id, one in keys:
        teams[team_id].append(one)
    return sa.or_(*(sa.and_(team == team_id, engagement_id.in_(ids)) for team_id, ids in teams.items()))


def all_documents(database: Database, team_id: str | None = None) -> Iterator[dict[Key, Versioned]]:
    """Every engagement's document (of one team) in order of (team_id, engagement_id), a bounded batch at a time.

    Raises:
        StoreUnavailableError: the database cannot be reached.
    """
    after: Key = (team_id or "", "")
    while True:
        query = sa.select(engagement.c.team_id, engagement.c.id, text_size())
        rest = sa.and_(engagement.c.team_id == after[0], engagement.c.id > after[1])
        if team_id is not None:  # nothing but the team's: else MariaDB reads, and sorts, all that is left for each page
            query = query.where(rest).order_by(engagement.c.id)
        else:
            rest = sa.or_(engagement.c.team_id > after[0], rest)
            query = query.where(rest).order_by(engagement.c.team_id, engagement.c.id)
        query = query.limit(4 * BATCH_COUNT)
        with database.reading() as connection:
            page = connection.execute(query).all()
        for keys in cut_sized((((row[0], row[1]), row[2]) for row in page), BATCH_COUNT, BATCH_BYTES):
            with database.reading() as connection:
                found = read_documents(connection, keys)
            yield {key: found[key] for key in keys if key in found}
        if len(page) < 4 * BATCH_COUNT:
            return
        after = (page[-1][0], page[-1][1])
