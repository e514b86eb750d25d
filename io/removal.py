"""Taking stored mail away again, within a transaction of the caller: copies, engagements, and what points at them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence

import sqlalchemy as sa

from . import schema
from .database import Database
from .key_sets import any_of

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_engagement = schema.engagement.c
_copy = schema.engagement_copy.c

MessageKey = tuple[str, str]
"""A mailbox id and a Gmail id."""


def clock_version(now: dt.datetime) -> int:
    """Microseconds since 1970: what an engagement's version never falls below, so that it grows over a re-creation too."""
    return (now - _EPOCH) // dt.timedelta(microseconds=1)


def remove_copies(
    database: Database, connection: sa.Connection, team_id: str, keys: Collection[MessageKey], now: dt.datetime
) -> tuple[int, list[str]]:
    """Remove these messages' copies, and every engagement that no copy is left of; how many copies, and which engagements."""
    if not keys:
        return 0, []
    mine = [_copy.team_id == team_id, any_of(_copy.mailbox_id, _copy.gmail_id, keys)]
    held = sorted(set(connection.scalars(sa.select(_copy.engagement_id).where(*mine))))
    if not held:
        return 0, []
    versions = lock_engagements(connection, team_id, held)
    removed = connection.execute(sa.delete(schema.engagement_copy).where(*mine)).rowcount
    kept = set(
        connection.scalars(
            sa.select(_copy.engagement_id).where(_copy.team_id == team_id, _copy.engagement_id.in_(held)).distinct()
        )
    )
    orphans = [engagement for engagement in held if engagement not in kept]
    touch_engagements(database, connection, team_id, {e: v for e, v in versions.items() if e in kept}, now)
    delete_engagements(database, connection, team_id, orphans, now)
    return removed, orphans


def lock_engagements(connection: sa.Connection, team_id: str, ids: Sequence[str]) -> dict[str, int]:
    """Lock those of the engagements that exist, in order of id; their versions."""
    query = sa.select(_engagement.id, _engagement.version).where(
        _engagement.team_id == team_id, _engagement.id.in_(ids)
    )
    return dict(connection.execute(query.order_by(_engagement.id).with_for_update()).all())


def touch_engagements(
    database: Database, connection: sa.Connection, team_id: str, versions: dict[str, int], now: dt.datetime
) -> None:
    """Give locked engagements (id to version) a new version and put them on the search outbox."""
    if not versions:
        return
    floor = clock_version(now)
    ids = sorted(versions)
    bump_versions(connection, [(team_id, engagement) for engagement in ids], now)
    put_on_outbox(database, connection, team_id, {e: max(versions[e] + 1, floor) for e in ids}, now)


def set_versions(
    database: Database, connection: sa.Connection, team_id: str, versions: dict[str, int], now: dt.datetime
) -> None:
    """Give locked engagements just these versions and put them on the search outbox."""
    if not versions:
        return
    connection.execute(
        sa.update(schema.engagement)
        .where(_engagement.team_id == team_id, _engagement.id.in_(sorted(versions)))
        .values(version=sa.case(versions, value=_engagement.id), updated_at=now)
    )
    put_on_outbox(database, connection, team_id, versions, now)


def bump_versions(connection: sa.Connection, engagements: Sequence[tuple[str, str]], now: dt.datetime) -> None:
    """Give locked engagements (team and id) the version max(old + 1, the clock's)."""
    floor = clock_version(now)
    connection.execute(
        sa.update(schema.engagement)
        .where(any_of(_engagement.team_id, _engagement.id, engagements))
        .values(version=sa.case((_engagement.version >= floor, _engagement.version + 1), else_=floor), updated_at=now)
    )


def delete_engagements(
    database: Database, connection: sa.Connection, team_id: str, ids: Sequence[str], now: dt.datetime
) -> int:
    """Remove engagements with all that belongs to them, and have them removed from the search index; how many."""
    if not ids:
        return 0
    versions = lock_engagements(connection, team_id, ids)
    for table in (schema.participant, schema.engagement_link, schema.engagement_copy, schema.correspondence):
        connection.execute(sa.delete(table).where(table.c.team_id == team_id, table.c.engagement_id.in_(ids)))
    connection.execute(sa.delete(schema.engagement).where(_engagement.team_id == team_id, _engagement.id.in_(ids)))
    floor = clock_version(now)
    put_on_outbox(
        database, connection, team_id, {e: max(v + 1, floor) for e, v in sorted(versions.items())}, now, is_delete=True
    )
    return len(versions)


def put_on_outbox(
    database: Database, connection: sa.Connection, team_id: str, versions: dict[str, int], now: dt.datetime, *,
    is_delete: bool = False,
) -> None:  # fmt: skip
    """Have the search index learn of these engagements' versions. One row an engagement: the newest version wins."""
    rows = [
        {
            "team_id": team_id, "engagement_id": engagement, "version": version, "is_delete": is_delete, "enqueued_at": now,
            "not_before": None, "attempts": 0, "error_class": None,
        }
        for engagement, version in versions.items()
    ]  # fmt: skip
    database.upsert(
        connection, schema.search_outbox, rows, ["version", "is_delete", "not_before", "attempts", "error_class"]
    )


def forget_context(connection: sa.Connection, team_id: str, keys: Collection[MessageKey]) -> None:
    """Remove the context digests of these messages: nothing will overturn their decisions any more."""
    table = schema.message_context
    if keys:
        connection.execute(
            sa.delete(table).where(table.c.team_id == team_id, any_of(table.c.mailbox_id, table.c.gmail_id, keys))
        )
