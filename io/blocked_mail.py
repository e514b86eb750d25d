"""Stored mail that today's blocklists would keep out: what a new block offers to take away again.

Unlike an erasure this sets no tombstone: whoever is unblocked later comes back with the look back that an unblocking starts.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import sqlalchemy as sa

from ..transforms.crm_directory import CrmDirectory
from ..transforms.records import Participant
from . import removal, schema
from .database import Database
from .erasure import cleared
from .key_sets import any_of

_PAGE: Final = 500
_engagement = schema.engagement.c
_copy = schema.engagement_copy.c
_participant = schema.participant.c
_message = schema.message.c


@dataclasses.dataclass(slots=True)
class Purge:
    """Engagements that went (or would go) altogether, and copies that did."""

    engagements: int = 0
    copies: int = 0


def preview(database: Database, directory: CrmDirectory) -> Purge:
    """What `purge` would take away now; changes nothing.

    Raises:
        StoreUnavailableError: the database cannot be reached.
    """
    found = Purge()
    with database.reading(snapshot=True) as connection:
        for ids in _pages(connection, directory.team_id):
            held, blocked = _blocked(connection, directory, ids)
            found.copies += len(blocked)
            found.engagements += sum(all(key in blocked for key in keys) for keys in held.values())
    return found


def purge(database: Database, directory: CrmDirectory, now: Callable[[], dt.datetime]) -> Purge:
    """Take away the copies that the blocklists of `directory` keep out, and each engagement that none is left of.

    The ledger shows the rule, so that an unblocking opens the decision again. Works page by page, in short transactions.

    Raises:
        StoreUnavailableError: the database cannot be reached; run it again.
    """
    done = Purge()
    with database.reading(snapshot=True) as connection:
        pages = [ids for ids in _pages(connection, directory.team_id) if _blocked(connection, directory, ids)[1]]
    for ids in pages:
        copies, gone = database.transaction(lambda c, ids=ids: _purge_page(database, c, directory, ids, now()))  # type: ignore[misc]  # mypy does not infer a lambda with a default
        done.copies += copies
        done.engagements += gone
    return done


def _pages(connection: sa.Connection, team_id: str) -> Iterator[list[str]]:
    after = ""
    query = sa.select(_engagement.id).where(_engagement.team_id == team_id).order_by(_engagement.id).limit(_PAGE)
    while ids := list(connection.scalars(query.where(_engagement.id > after))):
        yield ids
        after = ids[-1]


def _purge_page(
    database: Database, connection: sa.Connection, directory: CrmDirectory, ids: Sequence[str], now: dt.datetime
) -> tuple[int, int]:
    team_id = directory.team_id
    locked = sorted(removal.lock_engagements(connection, team_id, ids))
    _, blocked = _blocked(connection, directory, locked)
    if not blocked:
        return 0, 0
    copies, orphans = removal.remove_copies(database, connection, team_id, list(blocked), now)
    removal.forget_context(connection, team_id, list(blocked))
    for rule in sorted(set(blocked.values())):
        keys = [key for key, why in blocked.items() if why == rule]
        mine = [_message.team_id == team_id, any_of(_message.mailbox_id, _message.gmail_id, keys)]
        connection.execute(sa.update(schema.message).where(*mine).values(**cleared(rule, now)))
    return copies, len(orphans)


def _blocked(
    connection: sa.Connection, directory: CrmDirectory, ids: Sequence[str]
) -> tuple[dict[str, list[removal.MessageKey]], dict[removal.MessageKey, str]]:
    """The copies of each of the engagements, and the rule that keeps out those that are blocked."""
    team_id = directory.team_id
    people: dict[str, list[Participant]] = defaultdict(list)
    query = sa.select(_participant.engagement_id, _participant.address).where(
        _participant.team_id == team_id, _participant.engagement_id.in_(ids)
    )
    for engagement, address in connection.execute(query):
        people[engagement].append(Participant(address))
    mailbox = schema.mailbox.c
    copies = (
        sa.select(_copy.engagement_id, _copy.mailbox_id, _copy.gmail_id, mailbox.user_id)
        .join(schema.mailbox, mailbox.id == _copy.mailbox_id)
        .where(_copy.team_id == team_id, _copy.engagement_id.in_(ids))
    )
    held: dict[str, list[removal.MessageKey]] = defaultdict(list)
    blocked: dict[removal.MessageKey, str] = {}
    for engagement, box, gmail_id, user_id in connection.execute(copies):
        held[engagement].append((box, gmail_id))
        rule = directory.blocked(people[engagement], user_id)
        if rule is not None:
            blocked[box, gmail_id] = rule
    return held, blocked
