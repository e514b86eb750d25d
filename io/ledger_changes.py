"""What Gmail tells about messages, brought into the ledger: pieces of the transaction that moves the cursor (io/history.py)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from ..transforms.claim_messages import CRM_RULES, SCORED_RULES, Action, LedgerRow, NetChange, decide_change
from ..transforms.decisions import BLOCKED_USER, WINDOW_BEFORE
from ..transforms.group_shelf import is_shelf
from ..transforms.records import Lane
from ..transforms.settings import TeamSettings
from . import removal, schema
from .ledger import LANES, Ledger
from .mailboxes import MailboxRow
from .take_back import PENDING_AGAIN

_CHUNK: Final = 500
_message = schema.message.c


def apply(
    ledger: Ledger, connection: sa.Connection, mailbox: MailboxRow, changes: Sequence[NetChange], now: dt.datetime
) -> None:
    """What a stretch of history comes to, message by message."""
    settings = TeamSettings.from_json(
        connection.scalar(sa.select(schema.team.c.settings).where(schema.team.c.id == mailbox.team_id)) or {}
    )
    rows = ledger_rows(connection, mailbox.id, [change.gmail_id for change in changes])
    by_action: dict[Action, dict[str, str]] = {}
    for change in changes:
        action, rule = decide_change(change, rows.get(change.gmail_id), settings)
        by_action.setdefault(action, {})[change.gmail_id] = rule or ""
    ledger.add_pending(connection, mailbox, [*by_action.get("insert", {}), *by_action.get("reread", {})], "live", now)
    void = [*by_action.get("reread", {}), *by_action.get("drop", {})]
    set_rows(connection, mailbox, void, lease=None, lease_until=None)
    labelled = {**by_action.get("insert_dropped", {}), **by_action.get("drop", {})}
    ledger.decide_by_label(connection, mailbox, labelled, "live", now)
    shut = by_action.get("shut", {})
    for rule in set(shut.values()):
        ids = [gmail_id for gmail_id, found in shut.items() if found == rule]
        set_rows(connection, mailbox, ids, rule=rule, rules_version="", score=None, signals=sa.null(), decided_at=now)
        _forget_context(connection, mailbox, ids)
    reopen(connection, mailbox, list(by_action.get("reopen", {})), "live", now)
    keep = settings.on_delete == "keep"
    ledger.mark_deleted(connection, mailbox, list(by_action.get("gone", {})), now, keep_imported=keep)
    ledger.mark_trashed(connection, mailbox, by_action.get("remove", {}), now)


def reopen_before_window(connection: sa.Connection, mailbox: MailboxRow, now: dt.datetime) -> None:
    """The window grew: what was too old for it is looked at again, and what is being read by the old one is read anew."""
    _reopen_by_rule(connection, mailbox, [WINDOW_BEFORE], now)
    connection.execute(
        sa.update(schema.message)
        .where(_message.mailbox_id == mailbox.id, _message.state == "pending", _message.lease.is_not(None))
        .values(lease=None, lease_until=None)
    )


def reopen_personal(connection: sa.Connection, mailbox: MailboxRow, now: dt.datetime) -> None:
    """A first sync begins, perhaps another user's: what an earlier window or that user's own blocklist kept out is looked at again."""
    _reopen_by_rule(connection, mailbox, [WINDOW_BEFORE, BLOCKED_USER], now)


def _reopen_by_rule(connection: sa.Connection, mailbox: MailboxRow, rules: Sequence[str], now: dt.datetime) -> None:
    connection.execute(
        sa.update(schema.message)
        .where(
            _message.team_id == mailbox.team_id, _message.mailbox_id == mailbox.id, _message.state == "decided",
            _message.rule.in_(rules),
        )
        .values(**PENDING_AGAIN, lane=1, found_at=now)
    )  # fmt: skip


def reopen_by_crm(connection: sa.Connection, mailbox: MailboxRow, names: Sequence[str], now: dt.datetime) -> None:
    """The CRM changed: what these rules decided, and what stands on these shelves, is looked at again, after live mail."""
    shelves = [name for name in names if is_shelf(name)]
    decided = [_message.team_id == mailbox.team_id, _message.mailbox_id == mailbox.id, _message.state == "decided"]
    by_rule = sa.select(_message.gmail_id).where(*decided, _message.rule.in_([n for n in names if not is_shelf(n)]))
    context = schema.message_context.c
    by_shelf = sa.select(_message.gmail_id).where(
        *decided, _message.rule.in_(CRM_RULES | SCORED_RULES), context.team_id == mailbox.team_id, context.digest.in_(shelves),
        context.mailbox_id == mailbox.id, context.gmail_id == _message.gmail_id,
    )  # fmt: skip
    ids = sorted({*connection.scalars(by_rule), *connection.scalars(by_shelf)})
    reopen(connection, mailbox, ids, "backfill", now)


def reopen(
    connection: sa.Connection, mailbox: MailboxRow, gmail_ids: Sequence[str], lane: Lane, now: dt.datetime
) -> None:
    """Have those of the messages that are decided read again in `lane`, and forget the context of their decisions."""
    for begin in range(0, len(gmail_ids), _CHUNK):
        chunk = gmail_ids[begin : begin + _CHUNK]
        decided = [_message.mailbox_id == mailbox.id, _message.gmail_id.in_(chunk), _message.state == "decided"]
        again = {**PENDING_AGAIN, "lane": LANES[lane], "found_at": now}
        connection.execute(sa.update(schema.message).where(*decided).values(**again))
        _forget_context(connection, mailbox, chunk)


def _forget_context(connection: sa.Connection, mailbox: MailboxRow, gmail_ids: Sequence[str]) -> None:
    for begin in range(0, len(gmail_ids), _CHUNK):
        keys = [(mailbox.id, gmail_id) for gmail_id in gmail_ids[begin : begin + _CHUNK]]
        removal.forget_context(connection, mailbox.team_id, keys)


def ledger_rows(connection: sa.Connection, mailbox_id: str, ids: Sequence[str]) -> Mapping[str, LedgerRow]:
    """What the ledger holds of these Gmail ids; unknown ones are left out."""
    rows: dict[str, LedgerRow] = {}
    for begin in range(0, len(ids), _CHUNK):
        query = sa.select(_message.gmail_id, _message.outcome, _message.rule).where(
            _message.mailbox_id == mailbox_id, _message.gmail_id.in_(ids[begin : begin + _CHUNK])
        )
        rows |= {gmail_id: LedgerRow(outcome, rule) for gmail_id, outcome, rule in connection.execute(query)}
    return rows


def set_rows(connection: sa.Connection, mailbox: MailboxRow, ids: Sequence[str], **values: Any) -> None:
    """Set columns of these messages of a mailbox."""
    for begin in range(0, len(ids), _CHUNK):
        connection.execute(
            sa.update(schema.message)
            .where(_message.mailbox_id == mailbox.id, _message.gmail_id.in_(ids[begin : begin + _CHUNK]))
            .values(**values)
        )
