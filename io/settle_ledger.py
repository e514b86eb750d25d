"""The ledger's rows of a settled batch: the decision, or why there is none and when the message is tried again."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Collection, Mapping
from typing import Any, Final

import sqlalchemy as sa

from ..transforms import decisions, retries
from ..transforms.records import Decision, Failure, Settleable
from . import schema
from .database import Database
from .removal import MessageKey
from .settle_locks import Held

HANDED_BACK_PAUSE: Final = dt.timedelta(seconds=2)
"""How long a copy waits for the one that it was said to equal."""
_message = schema.message.c

_UNDECIDED: dict[str, Any] = {
    "state": "pending", "outcome": None, "rule": None, "rules_version": "", "score": None, "signals": None, "engagement_id": None,
    "not_before": None, "lease": None, "lease_until": None, "phase": None, "error_class": None, "decided_at": None,
}  # fmt: skip


def write_ledger(
    database: Database, connection: sa.Connection, items: Mapping[MessageKey, Settleable], held: Mapping[MessageKey, Held],
    absent: Mapping[MessageKey, str], taken_back: Collection[MessageKey], chance: random.Random, now: dt.datetime,
) -> None:  # fmt: skip
    """Write what became of each of `items`, all of them pending and locked.

    Args:
        database: where.
        connection: the transaction.
        items: the batch's outcomes.
        held: what the ledger said of each.
        absent: those that were not stored: the rule that keeps them out, or "" for what has to be read again.
        taken_back: decisions that are overturned already.
        chance: spreads the pauses.
        now: the clock (UTC).
    """
    rows = []
    alike = _waiting_alike(connection, items, held)
    for key, item in items.items():
        was = held[key]  # the row is there and locked: what is said of lane and found_at is never written
        row = {
            **_UNDECIDED, "mailbox_id": key[0], "gmail_id": key[1], "team_id": was.team_id, "lane": 0,
            "found_at": now, "failures": was.failures, "tries": 0, "leases": was.leases,
        }  # fmt: skip
        if absent.get(key):
            row |= {"state": "decided", "outcome": "dropped", "rule": absent[key], "decided_at": now}
        elif key in absent:
            pause = min(HANDED_BACK_PAUSE * 2 ** min(was.leases - 1, 10), retries.LONGEST_PAUSE)
            row |= {"not_before": now + pause * chance.uniform(0.5, 1)}
        elif key in taken_back:
            pass
        elif isinstance(item, Failure):
            row |= _failed(item, was, alike.get(key[0], 0), chance, now)
        else:
            row |= {
                "state": "decided", "outcome": "imported", "rule": item.rule, "rules_version": item.rules_version,
                "decided_at": now,
            }  # fmt: skip
            if isinstance(item, Decision):
                row["outcome"] = item.outcome
            else:
                row["engagement_id"] = item.engagement_id
            row |= {"score": item.score, "signals": list(item.signals) or None}
        rows.append(row)
    database.upsert(connection, schema.message, rows, [*_UNDECIDED, "failures", "tries", "leases"])


def _failed(failure: Failure, was: Held, alike: int, chance: random.Random, now: dt.datetime) -> dict[str, Any]:
    tries = was.tries_like(failure)
    counts = retries.counts(failure, tries, alike)
    failures = was.failures + counts
    row: dict[str, Any] = {
        "failures": failures, "tries": tries + 1, "phase": failure.phase[:32], "error_class": failure.error_class[:64],
        "leases": 0,
    }  # fmt: skip
    if counts and failures >= retries.MAX_FAILURES:
        return row | {"state": "decided", "outcome": "parked", "rule": decisions.PARKED, "decided_at": now}
    pause = retries.pause(failure, was.failures, tries) * chance.uniform(0.5, 1)
    return row | {"not_before": now + max(pause, failure.retry_after or pause)}


def _waiting_alike(
    connection: sa.Connection, items: Mapping[MessageKey, Settleable], held: Mapping[MessageKey, Held]
) -> dict[str, int]:
    """How many messages of a mailbox wait because Gmail does not hand them out, where one has done so for long."""
    late = {
        key[0]: item.error_class
        for key, item in items.items()
        if isinstance(item, Failure) and retries.is_long(item, held[key].tries_like(item))
    }
    found = {}
    for mailbox, error_class in sorted(late.items()):
        # Who has failed has a pause, and an index of its own; else all that the mailbox waits for would be gone through.
        has_failed = (_message.not_before.is_not(None), _message.error_class == error_class)
        is_alike = (_message.mailbox_id == mailbox, _message.state == "pending", *has_failed)
        some = sa.select(_message.gmail_id).where(*is_alike).limit(retries.FEW + 1)
        found[mailbox] = connection.scalar(sa.select(sa.func.count()).select_from(some.subquery())) or 0
    return found
