"""Re-linking: when the CRM changes, the links of stored mail follow, in the database and through the outbox in the index."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final

import sqlalchemy as sa

from ..transforms.crm_directory import CrmDirectory
from ..transforms.records import Link, Participant
from . import closed_deals, removal, schema
from .database import Database

UNDER_WAY: Final = 0
ONCE_MORE: Final = -1
"""What `team.relinked_version` says while stored mail is being linked anew; and where mail was linked by an older CRM meanwhile."""

_PAGE = 500
_ROLES = {"from": 0, "to": 1, "cc": 2}
_link = schema.engagement_link.c
_participant = schema.participant.c
_Link = tuple[str, str, bool, str]


def behind(database: Database) -> list[str]:
    """The teams whose CRM has changed since their stored mail was last linked."""
    team = schema.team.c
    with database.reading() as connection:
        query = sa.select(team.id).where(team.relinked_version < team.crm_version).order_by(team.id)
        return list(connection.scalars(query))


def relink(
    database: Database, directory: CrmDirectory, now: Callable[[], dt.datetime], after_page: Callable[[], None] = lambda: None
) -> int:  # fmt: skip
    """Bring the links of all stored mail of the directory's team to what it says; how many engagements changed.

    Mail that no longer belongs to anybody keeps its place, without links. Works page by page, in short transactions, and calls
    `after_page` between them. Where another worker linked by another version meanwhile, be it one mail that it settled, the team
    stays behind: it is done once more.

    Raises:
        StoreUnavailableError: the database cannot be reached; what was done so far stays.
    """
    team_id, changed, after = directory.team_id, 0, ""
    team = schema.team.c
    begun = sa.update(schema.team).where(team.id == team_id).values(relinked_version=UNDER_WAY)
    database.transaction(lambda c: c.execute(begun))
    while True:
        ids = _page(database, team_id, after)
        if not ids:
            break
        changed += database.transaction(lambda c, ids=ids: _relink_page(database, c, directory, ids, now()))  # type: ignore[misc]  # mypy does not infer a lambda with a default
        after = ids[-1]
        after_page()
    # A newer version that somebody else has finished may have been overwritten here since.
    mine = sa.or_(team.relinked_version == UNDER_WAY, team.relinked_version > directory.version)
    done = sa.update(schema.team).where(team.id == team_id, mine)
    database.transaction(lambda c: c.execute(done.values(relinked_version=directory.version)))
    return changed


def _page(database: Database, team_id: str, after: str) -> list[str]:
    engagement = schema.engagement.c
    query = sa.select(engagement.id).where(engagement.team_id == team_id, engagement.id > after)
    with database.reading() as connection:
        return list(connection.scalars(query.order_by(engagement.id).limit(_PAGE)))


def _relink_page(
    database: Database, connection: sa.Connection, directory: CrmDirectory, ids: Sequence[str], now: dt.datetime
) -> int:
    team_id = directory.team_id
    versions = removal.lock_engagements(connection, team_id, ids)
    engagement = schema.engagement.c
    query = sa.select(engagement.id).where(
        engagement.team_id == team_id, engagement.id.in_(ids), engagement.direction == "outbound"
    )
    sent = set(connection.scalars(query))
    people: dict[str, list[Any]] = defaultdict(list)
    query = sa.select(schema.participant).where(_participant.team_id == team_id, _participant.engagement_id.in_(ids))
    for row in connection.execute(query):
        people[row.engagement_id].append(row)
    old: dict[str, set[_Link]] = defaultdict(set)
    query = sa.select(schema.engagement_link).where(_link.team_id == team_id, _link.engagement_id.in_(ids))
    for row in connection.execute(query):
        old[row.engagement_id].add((row.kind, row.target_id, row.is_primary, row.via))
    closed = closed_deals.read(connection, [(team_id, engagement) for engagement in versions])
    new = {
        engagement: {
            (link.kind, link.target_id, link.primary, link.via)
            for link in closed_deals.take_along(
                _links(directory, people[engagement], is_sent=engagement in sent), closed.get((team_id, engagement), ())
            )
        }
        for engagement in versions
    }
    changed = sorted(engagement for engagement in versions if new[engagement] != old[engagement])
    if not changed:
        return 0
    connection.execute(
        sa.delete(schema.engagement_link).where(_link.team_id == team_id, _link.engagement_id.in_(changed))
    )
    rows = [
        {
            "team_id": team_id, "engagement_id": engagement, "kind": kind, "target_id": target, "is_primary": primary, "via": via,
        }
        for engagement in changed
        for kind, target, primary, via in sorted(new[engagement])
    ]  # fmt: skip
    database.insert(connection, schema.engagement_link, rows)
    removal.touch_engagements(database, connection, team_id, {e: versions[e] for e in changed}, now)
    return len(changed)


def _links(directory: CrmDirectory, rows: Sequence[Any], *, is_sent: bool) -> Sequence[Link]:
    """What settling the mail today would link it to: its author does not count where a user sent it under a foreign address."""
    ordered = sorted(rows, key=lambda row: (_ROLES[row.role], row.position))
    people = [
        Participant(row.address, row.name)
        for row in ordered
        if row.role != "from" or not is_sent or directory.is_internal(row.address)
    ]
    return directory.links(people)
