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
from .ledger import PENDING_AGAIN
from .removal import MessageKey
from .settle_locks import Held

REOPENED_LEASES: Final = 20
"""A decision that its context overturns is taken back only in the first leases of a message, so that it cannot turn in circles."""
_message = schema.message.c


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
    """Remember whom stored mail shows the team writes to, and read again what was dropped before that was known."""
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
    for team, keys in sorted(overturned.items()):
        connection.execute(
            sa.update(schema.message)
            .where(
                any_of(_message.mailbox_id, _message.gmail_id, keys),
                _message.team_id == team, _message.state == "decided", _message.rule.startswith("automated."),
            )
            .values(**PENDING_AGAIN)
        )  # fmt: skip
        removal.forget_context(connection, team, keys)
