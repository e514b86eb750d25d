"""How many statements a settled batch takes, as the server counts them: one a table, however many mails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io.database import Database
from dealmail.transforms.records import Decision, SeenCopy, Settleable

pytestmark = pytest.mark.mariadb

SMALL, LARGE = 2, 150


@pytest.fixture
def sales(mariadb_database: Database, make_sales: Callable[[Database], Any]) -> Any:
    return make_sales(mariadb_database)


def statements(database: Database, work: Callable[[], Any]) -> dict[str, int]:
    """What the session had the server do until it committed, by kind of statement."""
    counted: dict[str, int] = {}

    def count(connection: sa.Connection, at_begin: bool) -> None:
        with connection.connection.dbapi_connection.cursor() as cursor:  # type: ignore[union-attr]  # it is there
            cursor.execute(
                "show session status where variable_name in"
                " ('Com_select', 'Com_insert', 'Com_update', 'Com_delete', 'Com_replace')"
            )
            for name, value in cursor.fetchall():
                counted[name.removeprefix("Com_")] = (
                    -int(value) if at_begin else counted[name.removeprefix("Com_")] + int(value)
                )

    def begun(connection: sa.Connection) -> None:
        count(connection, at_begin=True)

    def committing(connection: sa.Connection) -> None:
        count(connection, at_begin=False)

    sa.event.listen(database.engine, "begin", begun)
    sa.event.listen(database.engine, "commit", committing)
    try:
        work()
    finally:
        sa.event.remove(database.engine, "begin", begun)
        sa.event.remove(database.engine, "commit", committing)
    return {name: number for name, number in counted.items() if number}


def settled(sales: Any, batch: list[Settleable]) -> dict[str, int]:
    changed: list[Any] = []
    found = statements(sales.database, lambda: changed.extend(sales.settlements.settle(batch)))
    assert changed or all(isinstance(item, Decision) for item in batch)
    return found


def claims(sales: Any, box: str, count: int) -> list[Any]:
    return sales.claim(box, [f"g{number}" for number in range(count)])


@pytest.fixture(params=[SMALL, LARGE])
def boxes(request: pytest.FixtureRequest, sales: Any) -> tuple[int, str, str]:
    """How many mails, and two mailboxes for them."""
    return request.param, sales.add_mailbox("alice@corp.example"), sales.add_mailbox("bob@corp.example")


def test_new_mail_takes_one_statement_a_table(sales: Any, mail: Any, boxes: Any) -> None:
    """Read: team, mailbox, ledger, tombstones, copies, engagements, outbox. Written: five result tables and the ledger."""
    count, box, _ = boxes
    batch = [mail(claim, number) for number, claim in enumerate(claims(sales, box, count))]
    assert settled(sales, batch) == {"select": 7, "insert": 6}


def test_copies_take_one_statement_a_table(sales: Any, mail: Any, boxes: Any) -> None:
    count, box, other = boxes
    sales.settlements.settle([mail(claim, number, 1) for number, claim in enumerate(claims(sales, box, count))])
    better = [mail(claim, number, 0) for number, claim in enumerate(claims(sales, other, count))]
    assert settled(sales, better) == {"select": 7, "insert": 6, "delete": 2}


def test_seen_copies_take_one_statement_a_table(sales: Any, mail: Any, boxes: Any) -> None:
    count, box, other = boxes
    sales.settlements.settle([mail(claim, number) for number, claim in enumerate(claims(sales, box, count))])
    seen = [
        SeenCopy(claim, f"t1-e{number:04d}", f"d{number}-0", f"0000-{number}", "customer", "1")
        for number, claim in enumerate(claims(sales, other, count))
    ]
    assert settled(sales, seen) == {"select": 6, "insert": 3, "update": 1}


def test_decisions_take_one_statement(sales: Any, boxes: Any) -> None:
    count, box, _ = boxes
    dropped = [Decision(claim, "dropped", "crm.no_match") for claim in claims(sales, box, count)]
    assert settled(sales, dropped) == {"select": 4, "insert": 1}
