"""What the console lists is read page by page, each page from where the one before ended."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from rows_read import analyze, steps

from dealmail.console import queries
from dealmail.io import schema
from dealmail.io.database import Database
from dealmail.transforms import decisions

BOXES, EACH = 3, 5 * queries.PAGE


@pytest.fixture
def decided(database: Database, clock: Any) -> Database:
    """A team of three mailboxes; every second message is imported."""
    boxes = [f"m{number}" for number in range(BOXES)]
    rows = [
        {
            "mailbox_id": box, "gmail_id": f"{number:016x}", "team_id": "t1", "state": "decided", "found_at": clock(),
            "outcome": "dropped" if number % 2 else "imported", "rule": decisions.CRM_NO_MATCH if number % 2 else "customer",
        }
        for box in boxes
        for number in range(EACH)
    ]  # fmt: skip
    named = [
        {"id": box, "team_id": "t1", "user_id": box, "address": f"{box}@corp.example", "created_at": clock()}
        for box in boxes
    ]
    for table, some in ((schema.mailbox, named), (schema.message, rows)):
        database.transaction(lambda c, table=table, some=some: database.insert(c, table, some))  # type: ignore[misc]  # a lambda with defaults
    analyze(database)
    return database


@pytest.mark.parametrize(
    ("wanted", "count"),
    [({}, BOXES * EACH), ({"mailbox_id": "m1"}, EACH), ({"outcome": "imported"}, BOXES * EACH / 2), ({"rule": "cust*"}, BOXES * EACH / 2)],
)  # fmt: skip
def test_decisions_are_gone_through_once(decided: Database, wanted: dict[str, str], count: float) -> None:
    found: list[queries.Row] = []
    read = steps(decided, lambda: found.extend(queries.decisions(decided, "t1", **wanted)), "FROM message")
    keys = [(row["mailbox_id"], row["gmail_id"]) for row in found]
    assert len(keys) == count
    assert keys == sorted(keys)
    assert {row["mailbox"] for row in found} <= {f"m{number}@corp.example" for number in range(BOXES)}
    assert read < 1.2 * BOXES * EACH


def test_the_first_decisions_are_shown_without_reading_the_last(decided: Database) -> None:
    def look() -> None:
        assert len(list(itertools.islice(queries.decisions(decided, "t1"), 10))) == 10

    assert steps(decided, look) < 2 * queries.PAGE
