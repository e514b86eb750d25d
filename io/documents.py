"""Search documents read in bulk from the database: four statements a batch, whatever its size."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

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
_ENGAGEMENT = (
    _e.team_id, _e.id, _e.version, _e.message_id, _e.sent_at, _e.direction, _e.subject, _e.text, _e.truncated,
    _e.sender_address, _e.sender_name,
)  # fmt: skip
_PARTICIPANT = (_p.team_id, _p.engagement_id, _p.role, _p.position, _p.address, _p.name)
_LINK = (_l.team_id, _l.engagement_id, _l.kind, _l.target_id)
_COPY = (_c.team_id, _c.engagement_id, _c.mailbox_id)


@dataclasses.dataclass(frozen=True, slots=True)
class Versioned:
    """An engagement's newest version and its document."""

    version: int
    document: search.Document


def text_size() -> sa.ColumnElement[int]:
    """About how many bytes an engagement's document takes, as SQL."""
    return sa.func.coalesce(sa.func.length(engagement.c.text), 0) + 1000


def read_documents(connection: sa.Connection, keys: Sequence[Key]) -> dict[Key, Versioned]:
    """The documents of those of `keys` whose engagement there is.

    The engagement's row is read first. A change that commits between the reads may show in the rest already: then its
    version is on the outbox still, and the next write puts it right.
    """
    if not keys:
        return {}
    rows = (
        connection.execute(sa.select(*_ENGAGEMENT).where(among(engagement.c.team_id, engagement.c.id, keys)))
        .mappings()
        .all()
    )
    people = _children(connection, _PARTICIPANT, keys)
    links = _children(connection, _LINK, keys)
    copies = _children(connection, _COPY, keys)
    made = {}
    for row in rows:
        key = (row["team_id"], row["id"])
        mailboxes = [copy["mailbox_id"] for copy in copies[key]]
        made[key] = Versioned(row["version"], search.document(row, people[key], links[key], mailboxes))
    return made


def _children(connection: sa.Connection, columns: Sequence[Any], keys: Sequence[Key]) -> dict[Key, list[Any]]:
    found: dict[Key, list[Any]] = collections.defaultdict(list)
    for row in connection.execute(sa.select(*columns).where(among(columns[0], columns[1], keys))).mappings().all():
        found[row["team_id"], row["engagement_id"]].append(row)
    return found


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
        query = (
            sa.select(engagement.c.team_id, engagement.c.id, text_size())
            .where(
                sa.or_(
                    engagement.c.team_id > after[0],
                    sa.and_(engagement.c.team_id == after[0], engagement.c.id > after[1]),
                )
            )
            .order_by(engagement.c.team_id, engagement.c.id)
            .limit(4 * BATCH_COUNT)
        )
        if team_id is not None:
            query = query.where(engagement.c.team_id == team_id)
        with database.reading() as connection:
            page = connection.execute(query).all()
        for keys in cut_sized((((row[0], row[1]), row[2]) for row in page), BATCH_COUNT, BATCH_BYTES):
            with database.reading() as connection:
                found = read_documents(connection, keys)
            yield {key: found[key] for key in keys if key in found}
        if len(page) < 4 * BATCH_COUNT:
            return
        after = (page[-1][0], page[-1][1])
