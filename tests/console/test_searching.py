from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result

from dealmail.io import schema
from dealmail.io.database import Database

Run = Callable[..., Result]
Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def indexed(stored: Any, dealmail: Run) -> None:
    assert dealmail("index", "rebuild").exit_code == 0


def test_search_as_jsonl_with_highlights(jsonl: Rows) -> None:
    (row,) = jsonl("search", "offer 1", "--deal", "Big Deal")
    assert list(row) == ["engagement", "score", "timestamp", "direction", "subject", "sender", "highlights"]
    assert (row["engagement"], row["subject"]) == ("e1", "Offer 1")
    marked = {part["text"][start:end] for part in row["highlights"] for start, end in part["spans"]}
    assert "Offer" in marked


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("offer",), {"e1", "e2"}),
        (("--person", "carol@acme.example"), {"e1", "e2"}),
        (("--deal", "opp1"), {"e1"}),
        (("hello", "--after", "2026-02-27T10:30Z"), {"e2"}),
        (("hello", "--before", "2026-02-27T10:30Z"), {"e1"}),
        (("nowhere",), set()),
    ],
)
def test_search_by_text_person_deal_and_time(jsonl: Rows, arguments: tuple[str, ...], found: set[str]) -> None:
    assert {row["engagement"] for row in jsonl("search", *arguments)} == found


@pytest.mark.parametrize(
    ("command", "typed"),
    [
        *((command, typed) for command in ("search", "engagements") for typed in ("zoe@BÜCHER.example", "zoe@xn--bcher-kva.example")),
        *((command, typed) for command in ("search", "engagements") for typed in ("max@gmail.com", "Max@GoogleMail.com")),
        ("search", "@bücher.example"),
        ("search", "Zoe Quint"),
    ],
)  # fmt: skip
def test_a_person_is_found_however_the_address_is_spelled(
    dealmail: Run, jsonl: Rows, sqlite_database: Database, command: str, typed: str
) -> None:
    people = [("zoe@xn--bcher-kva.example", "Zoe Quint"), ("max@googlemail.com", "Max")]
    values = [
        {"team_id": "default", "engagement_id": "e2", "role": "cc", "position": place, "address": address, "name": name}
        for place, (address, name) in enumerate(people, start=1)
    ]
    sqlite_database.transaction(lambda connection: connection.execute(sa.insert(schema.participant), values))
    assert dealmail("index", "rebuild").exit_code == 0
    (row,) = jsonl(command, "--person", typed)
    assert "e2" in {row.get("id"), row.get("engagement")}


def test_search_for_people_marks_what_it_found(dealmail: Run) -> None:
    assert "[Offer]" in dealmail("search", "offer").output
    assert dealmail("search", "nowhere").output == "nothing is found\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("",),
        (" ", " "),
        ("???",),
        ("💥",),
        ("*",),
        ('"',),
        ("--", "-", "--"),
        ("x", "--after", "yesterday"),
        ("x", "--after", "0001-01-01T00:00+05:00"),
        ("x", "--before", "9999-12-31T23:59-05:00"),
        ("x", "--deal", "none"),
    ],
)
def test_search_refuses_what_says_nothing(dealmail: Run, arguments: tuple[str, ...]) -> None:
    result = dealmail("search", *arguments)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)


def test_index_check_finds_and_mends(dealmail: Run, sqlite_database: Database) -> None:
    assert "they agree" in dealmail("index", "check").output
    sqlite_database.transaction(
        lambda c: c.execute(sa.update(schema.engagement).where(schema.engagement.c.id == "e1").values(version=99))
    )
    broken = dealmail("index", "check", "--format", "jsonl")
    row = json.loads(broken.stdout)
    assert broken.exit_code == 1
    assert list(row) == ["engagements", "indexed", "waiting", "refused", "differences", "mended", "equal"]
    assert (row["differences"], row["equal"]) == ({"older": 1}, False)
    assert dealmail("index", "check", "--repair").exit_code == 0
    assert dealmail("index", "check").exit_code == 0


@pytest.mark.parametrize("command", [("check", "--repair"), ("rebuild",)])
def test_what_the_index_refused_is_tried_again(
    dealmail: Run, jsonl: Rows, sqlite_database: Database, command: tuple[str, ...]
) -> None:
    """A proxy before Elasticsearch takes larger requests now, say; the mail itself never changes again."""
    refused = {"team_id": "default", "engagement_id": "e1", "version": 99, "error_class": "status_413"}
    times = {"is_delete": False, "enqueued_at": dt.datetime(2026, 2, 27, tzinfo=dt.UTC), "attempts": 1}

    def park(connection: sa.Connection) -> None:
        connection.execute(sa.update(schema.engagement).where(schema.engagement.c.id == "e1").values(version=99))
        connection.execute(sa.insert(schema.search_outbox).values(**refused, **times))

    sqlite_database.transaction(park)
    assert dealmail("index", "check").exit_code == 1
    assert dealmail("index", *command).exit_code == 0
    assert dealmail("index", "check").exit_code == 0
    with sqlite_database.reading() as connection:
        assert connection.execute(sa.select(schema.search_outbox)).all() == []
