"""What mail that the team sends overturns: automated.* decisions about whom it turns out to write to, by digests of context."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Final

import sqlalchemy as sa

from ..transforms.records import CustomerMail, Decision, SeenCopy, Settleable
from . import removal, schema
from .database import Database
from .key_sets import any_of
from .removal import MessageKey
from .settle_locks import Held
from .take_back import take_back_automated

REOPENED_LEASES: Final = 20
"""A decision that its context overturns is taken back only in the first leases of a message, so that it cannot turn in circles."""


def note_context(
    database: Database,
    connection: sa.Connection,
    items: Mapping[MessageKey, Settleable],
    held: Mapping[MessageKey, Held],
) -> set[MessageKey]:
    """Store the context of automated.* decisions; those that the team's own mail overturns already are to be read again."""
    rows = [
        {"team_id": item.claim.team_id, "digest": digest, "mailbox_id": key[0], "gmail_id": key[1]}
        for key, item in items.items()
        if isinstance(item, Decision) and item.outcome == "dropped"
        for digest in dict.fromkeys(item.context)
    ]
    if not rows:
        return set()
    rows.sort(key=lambda row: (row["team_id"], row["digest"], row["mailbox_id"], row["gmail_id"]))
    database.insert_new(connection, schema.message_context, rows)
    table = schema.correspondence.c
    pairs = sorted({(row["team_id"], row["digest"]) for row in rows})
    query = sa.select(table.team_id, table.digest).where(any_of(table.team_id, table.digest, pairs))
    known = set(connection.execute(query.with_for_update(read=True)))
    overturned = {(row["mailbox_id"], row["gmail_id"]) for row in rows if (row["team_id"], row["digest"]) in known}
    taken_back = {key for key in overturned if held[key].leases < REOPENED_LEASES}
    for team in {row["team_id"] for row in rows}:
        removal.forget_context(connection, team, taken_back)
    return taken_back


def reopen_overturned(
    database: Database,
    connection: sa.Connection,
    items: Mapping[MessageKey, Settleable],
    absent: Collection[MessageKey],
) -> None:
    """Remember whom stored mail shows the team writes to, and read again what was dropped before that was known.

    Mailboxes whose import is off keep their decisions until it is on again.
    """
    rows = [
        {"team_id": item.claim.team_id, "digest": digest, "engagement_id": item.engagement_id}
        for key, item in items.items()
        if isinstance(item, CustomerMail | SeenCopy) and key not in absent
        for digest in dict.fromkeys(item.context)
    ]
    if not rows:
        return
    rows.sort(key=lambda row: (row["team_id"], row["digest"], row["engagement_id"]))
    database.insert_new(connection, schema.correspondence, rows)
    table = schema.message_context.c
    pairs = sorted({(row["team_id"], row["digest"]) for row in rows})
    query = sa.select(table.team_id, table.mailbox_id, table.gmail_id).where(any_of(table.team_id, table.digest, pairs))
    overturned: dict[str, set[MessageKey]] = defaultdict(set)
    for team, mailbox, gmail_id in connection.execute(query.with_for_update()):
        overturned[team].add((mailbox, gmail_id))
    if not overturned:
        return
    # Nothing is written for a mailbox whose import is off: what concerns it is looked at when it is on again (take_back.catch_up).
    box = schema.mailbox.c
    concerned = {mailbox for keys in overturned.values() for mailbox, _ in keys}
    on = sa.select(box.id).where(box.id.in_(concerned), box.import_on.is_(True)).order_by(box.id)
    reading = set(connection.scalars(on.with_for_update(read=True)))
    for team, keys in sorted(overturned.items()):
        if mine := {key for key in keys if key[0] in reading}:
            take_back_automated(connection, team, mine)
