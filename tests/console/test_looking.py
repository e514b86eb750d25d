from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result

from dealmail.console import queries
from dealmail.console.tables import iso
from dealmail.io import schema
from dealmail.io.database import Database, DatabaseSpec

Run = Callable[..., Result]
Rows = Callable[..., list[dict[str, Any]]]


pytestmark = pytest.mark.usefixtures("stored")


def test_mailboxes_as_jsonl(jsonl: Rows, stored: Any) -> None:
    alice, bob = jsonl("mailboxes")
    assert list(alice) == [
        "mailbox", "mailbox_id", "team", "user", "user_name", "import_on", "state", "state_reason", "state_since", "window_from",
        "last_check_at", "last_push_at", "last_mail_at", "imported", "dropped", "gone", "parked", "pending",
    ]  # fmt: skip
    assert (alice["mailbox"], alice["mailbox_id"], alice["user"], alice["import_on"]) == (
        stored.alice,
        stored.alice_id,
        "u1",
        True,
    )
    assert [alice[name] for name in (*queries.OUTCOMES, "pending")] == [2, 1, 0, 1, 1]
    assert (bob["imported"], bob["state"], bob["state_since"]) == (1, "not_connected", "2026-03-02T09:00:00.000000Z")


def test_decisions_as_jsonl(jsonl: Rows, stored: Any) -> None:
    rows = jsonl("decisions")
    assert len(rows) == 5
    assert list(rows[0]) == [
        "mailbox", "mailbox_id", "gmail_id", "outcome", "rule", "engagement", "decided_at", "found_at", "rules_version", "score",
        "signals", "phase", "error_class",
    ]  # fmt: skip
    (dropped,) = jsonl("decisions", "--rule", "automated.*")
    assert dropped == {
        "mailbox": stored.alice, "mailbox_id": stored.alice_id, "gmail_id": "a3", "outcome": "dropped", "rule": "automated.marketing",
        "engagement": None, "decided_at": "2026-03-02T09:00:01.000000Z", "found_at": "2026-03-02T09:00:00.000000Z",
        "rules_version": "1", "score": 3.25, "signals": ["bulk", "campaign"], "phase": None, "error_class": None,
    }  # fmt: skip
    assert [row["gmail_id"] for row in jsonl("decisions", "--outcome", "parked")] == ["a4"]
    assert [row["gmail_id"] for row in jsonl("decisions", "--mailbox", "BOB@corp.example")] == ["b1"]


def test_engagements_as_jsonl(jsonl: Rows, stored: Any) -> None:
    (first,) = jsonl("engagements", "--deal", "opp1")
    assert first == {
        "id": "e1",
        "message_id": "m1@acme.example",
        "timestamp": "2026-02-27T10:00:00.000000Z",
        "direction": "inbound",
        "sender": {"address": "carol@acme.example", "name": "Carol Cole"},
        "to": [{"address": stored.alice, "name": "Alice"}],
        "cc": [{"address": stored.bob, "name": ""}],
        "subject": "Offer 1",
        "text": "Hello\n> earlier",
        "truncated": False,
        "spans": [{"kind": "quote", "start": 6, "end": 15}],
        "mailboxes": [stored.alice, stored.bob],
        "accounts": ["acc1"],
        "contacts": ["con1"],
        "leads": [],
        "opportunities": ["opp1"],
    }
    assert list(first) == [
        "id", "message_id", "timestamp", "direction", "sender", "to", "cc", "subject", "text", "truncated", "spans", "mailboxes",
        "accounts", "contacts", "leads", "opportunities",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        ((), ["e1", "e2"]),
        (("--deal", "big deal"), ["e1"]),
        (("--account", "Acme"), ["e1"]),
        (("--person", "Carol Cole"), ["e1"]),
        (("--person", "carol@acme.example"), ["e1", "e2"]),
        (("--person", "BOB@corp.example"), ["e1", "e2"]),
    ],
)
def test_engagements_by_deal_account_and_person(jsonl: Rows, choice: tuple[str, ...], found: list[str]) -> None:
    assert [row["id"] for row in jsonl("engagements", *choice)] == found


@pytest.mark.parametrize(
    ("kind", "name", "found"),
    [
        ("opportunity", "Übernahme 100 %", ["o1"]),
        ("opportunity", "übernahme 100 %", ["o1"]),
        ("opportunity", "ÜBERNAHME 100 %", ["o1"]),
        ("opportunity", "Ubernahme 100 %", []),
        ("opportunity", "Übernahme 100 x", []),
        ("opportunity", "Übernahme %", []),
        ("opportunity", "o1", ["o1"]),
        ("contact", "ΖΩΉ", ["c1"]),
        ("contact", "Zoe@BÜCHER.example", ["c1"]),
        ("contact", "zoe@xn--bcher-kva.example", ["c1"]),
        ("contact", "max@googlemail.com", ["c2"]),
        ("contact", "", []),
    ],
)
def test_a_record_is_found_by_its_name_in_any_case_and_by_its_address_in_any_spelling(
    database: Database, kind: str, name: str, found: list[str]
) -> None:
    def rows(connection: sa.Connection) -> None:
        connection.execute(sa.insert(schema.team), [{"id": "t", "created_at": dt.datetime(2026, 3, 2, tzinfo=dt.UTC)}])
        deal = {"team_id": "t", "account_id": "a", "opened_on": dt.date(2026, 1, 5)}
        names = {"o1": "Übernahme 100 %", "o2": "Übernahme 1000"}
        connection.execute(sa.insert(schema.opportunity), [{"id": i, "name": one, **deal} for i, one in names.items()])
        people = [("c1", "zoe@xn--bcher-kva.example", "Ζωή"), ("c2", "max@gmail.com", "Max")]
        values = [{"team_id": "t", "id": i, "address": address, "name": one} for i, address, one in people]
        connection.execute(sa.insert(schema.contact), values)

    database.transaction(rows)
    assert queries.target_ids(database, "t", kind, name) == found


def test_long_listings_are_read_in_pages_without_gap_or_repeat(
    sqlite_database: Database, stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "PAGE", 2)
    rows = list(queries.decisions(sqlite_database, stored.team))
    assert sorted((row["mailbox_id"], row["gmail_id"]) for row in rows) == sorted(
        [(stored.alice_id, f"a{n}") for n in (1, 2, 3, 4)] + [(stored.bob_id, "b1")]
    )
    monkeypatch.setattr(queries, "PAGE", 1)
    assert [row["id"] for row in queries.engagements(sqlite_database, stored.team)] == ["e1", "e2"]


def test_explain_says_why_in_words(dealmail: Run, stored: Any) -> None:
    dropped = dealmail("explain", stored.alice, "a3").output
    assert "not imported" in dropped
    assert "newsletter or campaign, or only asks to be taken off one" in dropped
    assert "score 3.25" in dropped
    assert "bulk, campaign" in dropped
    assert "rule set 1" in dropped
    assert "MalformedMessageError" in dealmail("explain", stored.alice, "a4").output
    assert "waits for its decision" in dealmail("explain", stored.alice, "a5").output
    stored_mail = dealmail("explain", stored.alice, "a1").output
    assert "'Offer 1'" in stored_mail
    assert "Acme (acc1)" in stored_mail
    assert stored.bob in stored_mail
    nothing = dealmail("explain", stored.alice, "zz")
    assert nothing.exit_code == 2
    assert "not looked at" in nothing.stderr


def test_tables_name_what_they_show(dealmail: Run, stored: Any) -> None:
    assert stored.alice in dealmail("mailboxes").output
    assert "automated.marketing" in dealmail("decisions").output
    assert "Offer 2" in dealmail("engagements").output


@pytest.mark.parametrize(
    "arguments",
    [
        ("decisions", "--rule", "no.such"),
        ("decisions", "--mailbox", "x@y.example"),
        ("engagements", "--deal", "nothing"),
        ("engagements", "--deal", "opp1", "--account", "acc1"),
        ("engagements", "--person", "Nobody"),
        ("mailboxes", "--team", "elsewhere"),
    ],
)
def test_what_does_not_exist_is_said(dealmail: Run, arguments: tuple[str, ...]) -> None:
    result = dealmail(*arguments)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)


def test_another_team_sees_nothing(dealmail: Run, jsonl: Rows, sqlite_database: Database, stored: Any) -> None:
    sqlite_database.transaction(
        lambda connection: connection.execute(sa.insert(schema.team), [{"id": "other", "created_at": stored.at}])
    )
    for listing in ("mailboxes", "decisions", "engagements", "status"):
        assert jsonl(listing, "--team", "other") == []
    assert dealmail("explain", stored.alice, "a1", "--team", "other").exit_code == 2
    assert dealmail("engagements", "--deal", "opp1", "--team", "other").exit_code == 2


HOSTILE = "\x1b]0;owned\x07 \x9b31m \u202egnp.exe\u2066 \r\nforged"


@pytest.mark.parametrize(
    "arguments",
    [("engagements",), ("explain", "alice@corp.example", "a1"), ("search", "offer"), ("search", "hello")],
    ids=" ".join,
)
def test_nothing_in_mail_or_crm_commands_the_terminal(
    dealmail: Run, sqlite_database: Database, arguments: tuple[str, ...]
) -> None:
    def work(connection: sa.Connection) -> None:
        mail = schema.engagement.c
        connection.execute(
            sa.update(schema.engagement).values(
                subject=mail.subject + HOSTILE, sender_name=HOSTILE, text=mail.text + HOSTILE
            )
        )
        connection.execute(sa.update(schema.account).values(name=HOSTILE))

    sqlite_database.transaction(work)
    assert dealmail("index", "rebuild").exit_code == 0
    said = dealmail(*arguments, color=True).output
    assert "forged" in said
    assert not [letter for letter in "\x1b\x07\x9b\u202e\u2066\r" if letter in said]
    assert not [line for line in said.splitlines() if line.startswith("forged")]


def test_a_time_has_the_same_width_in_every_century() -> None:
    """A CRM may date its oldest deal to the year 1, and a window begins with it."""
    assert iso(dt.datetime(1, 1, 1, tzinfo=dt.UTC)) == "0001-01-01T00:00:00.000000Z"
    in_india = dt.timezone(dt.timedelta(hours=5, minutes=30))
    assert iso(dt.datetime(2026, 5, 4, 10, 20, 30, 5, in_india)) == "2026-05-04T04:50:30.000005Z"


def test_what_is_shown_comes_out_in_a_locale_that_lacks_its_letters(
    sqlite_spec: DatabaseSpec, sqlite_database: Database, stored: Any
) -> None:
    """JSON lines are UTF-8 wherever they are written; for people, a letter that their terminal lacks is a question mark."""
    named = sa.update(schema.engagement).values(subject="Grüße \U0001f600")
    sqlite_database.transaction(lambda connection: connection.execute(named))

    def output(*arguments: str) -> bytes:
        command = [sys.executable, "-m", "dealmail.console.main", *arguments, "--database", sqlite_spec.url]
        return subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "latin-1"}, stdout=-1, check=True).stdout

    rows = [json.loads(line.decode("utf-8")) for line in output("engagements", "--format", "jsonl").splitlines()]
    assert {row["subject"] for row in rows} == {"Grüße \U0001f600"}
    assert "'Grüße ?'".encode("latin-1") in output("explain", stored.alice, "a1")
