from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result

from dealmail.io import schema
from dealmail.io.database import DatabaseSpec

Run = Callable[..., Result]
Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def indexed(stored: Any, dealmail: Run) -> None:
    assert dealmail("index", "rebuild").exit_code == 0


def test_a_dry_run_counts_and_changes_nothing(dealmail: Run, jsonl: Rows) -> None:
    (row,) = jsonl("erase", "--person", "carol@acme.example", "--dry-run")
    assert list(row) == ["what", "dry_run", "engagements", "copies", "messages", "tombstones", "waiting_for_index"]
    assert (row["what"], row["dry_run"], row["engagements"], row["copies"]) == ("person", True, 2, 3)
    assert len(jsonl("engagements")) == 2


@pytest.mark.parametrize(
    ("choice", "left"),
    [
        (("--person", "carol@acme.example"), set()),
        (("--domain", "acme.example"), set()),
        (("--mailbox", "alice@corp.example"), {"e1"}),
        (("--user", "u1"), {"e1"}),
        (("--before", "2026-02-27T10:30"), {"e2"}),
    ],
)
def test_what_is_erased_is_gone_from_database_and_search(
    dealmail: Run, jsonl: Rows, choice: tuple[str, str], left: set[str]
) -> None:
    assert dealmail("erase", *choice, "--yes").exit_code == 0
    assert {row["id"] for row in jsonl("engagements")} == left
    assert {row["engagement"] for row in jsonl("search", "offer")} == left
    assert dealmail("index", "check").exit_code == 0


def test_no_byte_of_it_is_left(dealmail: Run, sqlite_spec: DatabaseSpec, sqlite_database: Any) -> None:
    sqlite_database.close()
    assert dealmail("erase", "--person", "carol@acme.example", "--yes").exit_code == 0
    file = pathlib.Path(str(sa.engine.make_url(sqlite_spec.url).database))
    for part in file.parent.glob(f"{file.name}*"):
        assert b"Offer 1" not in part.read_bytes()


def test_it_asks_first(dealmail: Run, jsonl: Rows) -> None:
    refused = dealmail("erase", "--domain", "acme.example", input="n\n")
    assert refused.exit_code != 0
    assert len(jsonl("engagements")) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--person", "a@b.example", "--domain", "b.example"),
        ("--person", "nobody"),
        ("--user", "u9"),
        ("--mailbox", "x@y.example"),
        ("--before", "2999-01-01"),
        ("--before", "0001-01-01T00:00+05:00"),
    ],
)
def test_a_request_that_names_nothing_or_too_much_is_refused(dealmail: Run, arguments: tuple[str, ...]) -> None:
    result = dealmail("erase", *arguments, "--yes")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)


def test_mail_that_is_still_to_come_is_not_shut_out(dealmail: Run, jsonl: Rows, sqlite_database: Any) -> None:
    """A tombstone is never lifted: one with a later time would keep all new mail out."""
    for how in ("--dry-run", "--yes"):
        refused = dealmail("erase", "--before", "2999-01-01", how)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "2999-01-01T00:00:00+00:00: that is still to come" in refused.stderr
    assert len(jsonl("engagements")) == 2
    with sqlite_database.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.tombstone)) == 0


def test_an_index_that_is_down_holds_up_nothing_in_the_database(
    dealmail: Run, jsonl: Rows, sqlite_spec: DatabaseSpec, sqlite_database: Any
) -> None:
    """Nobody listens there. What is erased waits on the outbox, and the person is told what to do later."""
    away = ("--search", "http://127.0.0.1:9")
    assert dealmail("erase", *away, "--person", "carol@acme.example", "--dry-run").exit_code == 0
    result = dealmail("erase", *away, "--person", "carol@acme.example", "--yes", "--format", "jsonl")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["waiting_for_index"] == 2
    assert "2 changes still wait for the search index (search: ConnectionError)" in result.stderr
    assert "dealmail db scrub" in result.stderr
    assert jsonl("engagements") == []
    assert dealmail("db", "scrub", *away).exit_code == 1
    again = dealmail("erase", "--person", "carol@acme.example", "--yes", "--format", "jsonl")
    assert (again.exit_code, json.loads(again.stdout)["waiting_for_index"]) == (0, 0)
    sqlite_database.close()
    result = dealmail("db", "scrub")
    assert (result.exit_code, result.output) == (0, "")
    file = pathlib.Path(str(sa.engine.make_url(sqlite_spec.url).database))
    assert all(b"Offer 1" not in part.read_bytes() for part in file.parent.glob(f"{file.name}*"))
