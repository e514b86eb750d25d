"""The connection is cut at every statement of a settle in turn; settled again, the rows are exactly those of an undisturbed run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from dealmail.io import schema
from dealmail.io.database import Database
from dealmail.transforms import decisions
from dealmail.transforms.errors import StoreUnavailableError
from dealmail.transforms.records import Decision, Failure, SeenCopy

ALL = (
    schema.message, schema.message_context, schema.correspondence, schema.engagement, schema.participant, schema.engagement_link,
    schema.engagement_copy, schema.search_outbox,
)  # fmt: skip


class Cut(Exception):
    """What SQLite's process would not live to see."""


@contextlib.contextmanager
def cut_at(database: Database, number: int) -> Iterator[list[str]]:
    """Cut the connection before statement `number` (commit is the last one); yields the statements seen."""
    seen: list[str] = []

    def reached(connection: sa.Connection, what: str) -> None:
        seen.append(what)
        if len(seen) != number:
            return
        if database.dialect == "sqlite":
            raise Cut
        raw = connection.connection.dbapi_connection
        killer = database.engine.raw_connection()
        with killer.cursor() as cursor:
            cursor.execute(f"kill {raw.thread_id()}")
        killer.close()

    def statement(connection: sa.Connection, unused_cursor: Any, text: str, *unused: Any) -> None:
        reached(connection, text)

    def commit(connection: sa.Connection) -> None:
        reached(connection, "commit")

    sa.event.listen(database.engine, "before_cursor_execute", statement)
    sa.event.listen(database.engine, "commit", commit)
    try:
        yield seen
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", statement)
        sa.event.remove(database.engine, "commit", commit)


def batch(sales: Any, mail: Callable[..., Any]) -> list[Any]:
    """A batch that touches every table: new, better, worse and seen copies, decisions, failures, an overturned decision."""
    first, second = sales.add_mailbox("alice@corp.example"), sales.add_mailbox("bob@corp.example")
    claims = sales.claim(first, [f"g{n}" for n in range(4)])
    sales.settlements.settle([mail(claims[0], 0, 3), mail(claims[1], 1, 1), mail(claims[2], 2, 1)])
    sales.settlements.settle([Decision(claims[3], "dropped", "automated.reply", context=("d1",))])
    c = sales.claim(second, [f"g{n}" for n in range(8)])
    return [
        mail(c[0], 0, 2), mail(c[1], 1, 2), SeenCopy(c[2], "t1-e0002", "d2-1", "0001-2", "customer", "1"),
        SeenCopy(c[3], "t1-e0099", "x", "0", "customer", "1"), mail(c[4], 4, context=("d1", "d2"), direction="outbound"),
        Decision(c[5], "dropped", decisions.CRM_NO_MATCH), Decision(c[6], "dropped", "automated.marketing", context=("d7",)),
        Failure(c[7], "fetch", "GmailUnavailableError", counts=False),
    ]  # fmt: skip


def rows(sales: Any) -> dict[str, Any]:
    return sales.dump(*ALL, without=("lease", "not_before", "enqueued_at"))


def test_a_cut_at_any_statement_changes_nothing_in_the_end(sales: Any, mail: Any) -> None:
    items = batch(sales, mail)
    before = rows(sales)
    changed, number = None, 0
    while changed is None:
        number += 1
        with cut_at(sales.database, number) as seen, contextlib.suppress(Cut, StoreUnavailableError):
            changed = sales.settlements.settle(items)
        if changed is None:
            assert rows(sales) == before, seen[-1]
    assert seen[-1] == "commit"
    assert number == len(seen) + 1
    assert number > 15
    assert changed[0].engagement_ids == ("t1-e0000", "t1-e0001", "t1-e0002", "t1-e0004")
    after = rows(sales)
    assert {name: len(found) for name, found in after.items()} == {
        "message": 12, "message_context": 1, "correspondence": 2, "engagement": 4, "participant": 14, "engagement_link": 8,
        "engagement_copy": 7, "search_outbox": 4,
    }  # fmt: skip
    assert sales.settlements.settle(items) == []
    assert rows(sales) == after


def test_a_commit_whose_answer_was_lost_is_not_done_twice(sales: Any, mail: Any) -> None:
    """The worker only knows that settling failed; the transaction stands all the same."""
    items = batch(sales, mail)
    sales.settlements.settle(items)
    after = rows(sales)
    assert sales.settlements.settle(items) == []
    assert rows(sales) == after
