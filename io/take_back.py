"""Decisions that are taken back: the message is pending again, and is read anew when its mailbox's turn comes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import sqlalchemy as sa

from . import removal, schema
from .key_sets import any_of
from .removal import MessageKey

PENDING_AGAIN: Final[dict[str, Any]] = {
    "state": "pending", "outcome": None, "rule": None, "rules_version": "", "score": None, "signals": sa.null(), "engagement_id": None,
    "failures": 0, "tries": 0, "leases": 0, "not_before": None, "lease": None, "lease_until": None, "phase": None, "error_class": None,
    "decided_at": None,
}  # fmt: skip
"""What sets a decided row back to its beginning."""

_CHUNK: Final = 500
_message = schema.message.c


def take_back_automated(connection: sa.Connection, team_id: str, keys: Collection[MessageKey]) -> None:
    """Take back what was decided as automated.* about these messages of the team, and forget its context."""
    connection.execute(
        sa.update(schema.message)
        .where(
            any_of(_message.mailbox_id, _message.gmail_id, keys),
            _message.team_id == team_id, _message.state == "decided", _message.rule.startswith("automated."),
        )
        .values(**PENDING_AGAIN)
    )  # fmt: skip
    removal.forget_context(connection, team_id, keys)


def catch_up(connection: sa.Connection, team_id: str, mailbox: str) -> None:
    """Take back what the team's mail has overturned while the import of the mailbox (locked) was off, when nothing was written for it."""
    context, known = schema.message_context.c, schema.correspondence.c
    overturned = (
        sa.select(context.gmail_id)
        .join(schema.correspondence, sa.and_(known.team_id == context.team_id, known.digest == context.digest))
        .where(context.team_id == team_id, context.mailbox_id == mailbox)
        .with_for_update()  # waits for whoever is storing such mail now, and has not seen that import is on
    )
    ids = sorted(set(connection.scalars(overturned)))
    for begin in range(0, len(ids), _CHUNK):
        take_back_automated(connection, team_id, [(mailbox, gmail_id) for gmail_id in ids[begin : begin + _CHUNK]])
