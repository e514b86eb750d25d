"""The connection is cut at every statement of a settle in turn; settled again, the rows are exactly those of an undisturbed run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from consistency import amiss
from full_batch import full_batch, result_rows

from dealmail.io.database import Database
from dealmail.transforms.errors import StoreUnavailableError


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


def test_a_cut_at_any_statement_changes_nothing_in_the_end(sales: Any, mail: Any) -> None:
    items = full_batch(sales, mail)
    before = result_rows(sales)
    changed, number = None, 0
    while changed is None:
        number += 1
        with cut_at(sales.database, number) as seen, contextlib.suppress(Cut, StoreUnavailableError):
            changed = sales.settlements.settle(items)
        if changed is None:
            assert result_rows(sales) == before, seen[-1]
    assert seen[-1] == "commit"
    assert number == len(seen) + 1
    assert number > 15
    assert changed[0].engagement_ids == ("t1-e0000", "t1-e0001", "t1-e0002", "t1-e0004")
    after = result_rows(sales)
    assert {name: len(found) for name, found in after.items()} == {
        "message": 12, "message_context": 1, "correspondence": 2, "engagement": 4, "participant": 14, "engagement_link": 8,
        "engagement_copy": 7, "search_outbox": 4,
    }  # fmt: skip
    assert sales.settlements.settle(items) == []
    assert result_rows(sales) == after
    assert amiss(sales.database) == []


def test_a_commit_whose_answer_was_lost_is_not_done_twice(sales: Any, mail: Any) -> None:
    """The worker only knows that settling failed; the transaction stands all the same."""
    items = full_batch(sales, mail)
    sales.settlements.settle(items)
    after = result_rows(sales)
    assert sales.settlements.settle(items) == []
    assert result_rows(sales) == after
