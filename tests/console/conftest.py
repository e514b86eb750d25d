"""Fixtures of the console's tests.

dealmail   run a command on the test's database
jsonl      run a listing and read its JSON lines
stored     a small team in that database: .team .at .alice .bob (addresses) .alice_id .bob_id
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from dealmail.console.main import cli
from dealmail.io import schema
from dealmail.io.database import Database, DatabaseSpec
from dealmail.io.mailboxes import Mailboxes

TEAM = "default"
AT = dt.datetime(2026, 3, 2, 9, 0, tzinfo=dt.UTC)
ALICE, BOB = "alice@corp.example", "bob@corp.example"


def _fill(database: Database) -> tuple[str, str]:
    boxes = Mailboxes(database, lambda: AT)

    def rows(connection: sa.Connection) -> None:
        def put(table: sa.Table, *values: dict[str, object]) -> None:
            connection.execute(sa.insert(table), [{"team_id": TEAM, **value} for value in values])

        connection.execute(sa.insert(schema.team), [{"id": TEAM, "created_at": AT}])
        put(schema.user, {"id": "u1", "name": "Alice"}, {"id": "u2", "name": "Bob"})
        put(schema.account, {"id": "acc1", "name": "Acme"})
        put(schema.contact, {"id": "con1", "address": "carol@acme.example", "name": "Carol Cole", "account_id": "acc1"})
        put(
            schema.opportunity,
            {
                "id": "opp1",
                "name": "Big Deal",
                "account_id": "acc1",
                "owner_user_id": "u1",
                "opened_on": dt.date(2026, 1, 5),
            },
        )

    database.transaction(rows)
    alice, bob = (boxes.add(TEAM, user, address).id for user, address in (("u1", ALICE), ("u2", BOB)))
    boxes.turn_on(alice, "test")

    def mail(connection: sa.Connection) -> None:
        def put(table: sa.Table, *values: dict[str, object]) -> None:
            connection.execute(sa.insert(table), [{"team_id": TEAM, **value} for value in values])

        sent = AT - dt.timedelta(days=3)
        for number in (1, 2):
            put(
                schema.engagement,
                {
                    "id": f"e{number}", "message_id": f"m{number}@acme.example", "sent_at": sent + dt.timedelta(hours=number),
                    "direction": "inbound", "sender_address": "carol@acme.example", "sender_name": "Carol Cole",
                    "subject": f"Offer {number}", "text": "Hello\n> earlier", "spans": [["quote", 6, 15]],
                    "content_digest": "d", "rank": "r", "version": 7, "created_at": AT, "updated_at": AT,
                },
            )  # fmt: skip
            put(
                schema.participant,
                {
                    "engagement_id": f"e{number}",
                    "role": "from",
                    "position": 0,
                    "address": "carol@acme.example",
                    "name": "Carol Cole",
                },
                {"engagement_id": f"e{number}", "role": "to", "position": 0, "address": ALICE, "name": "Alice"},
                {"engagement_id": f"e{number}", "role": "cc", "position": 0, "address": BOB, "name": ""},
            )
        put(
            schema.engagement_link,
            {"engagement_id": "e1", "kind": "account", "target_id": "acc1", "is_primary": True, "via": "contact"},
            {"engagement_id": "e1", "kind": "contact", "target_id": "con1", "is_primary": True, "via": "address"},
            {"engagement_id": "e1", "kind": "opportunity", "target_id": "opp1", "is_primary": True, "via": "account"},
        )
        put(
            schema.engagement_copy,
            {"mailbox_id": alice, "gmail_id": "a1", "engagement_id": "e1", "content_digest": "d"},
            {"mailbox_id": bob, "gmail_id": "b1", "engagement_id": "e1", "content_digest": "d"},
            {"mailbox_id": alice, "gmail_id": "a2", "engagement_id": "e2", "content_digest": "d"},
        )
        decided = {"state": "decided", "found_at": AT, "decided_at": AT + dt.timedelta(seconds=1), "rules_version": "1"}
        customer = {"outcome": "imported", "rule": "customer"}
        put(
            schema.message,
            {"mailbox_id": alice, "gmail_id": "a1", "engagement_id": "e1", **customer, **decided},
            {"mailbox_id": alice, "gmail_id": "a2", "engagement_id": "e2", **customer, **decided},
            {"mailbox_id": bob, "gmail_id": "b1", "engagement_id": "e1", **customer, **decided},
        )
        put(
            schema.message,
            {
                "mailbox_id": alice, "gmail_id": "a3", "outcome": "dropped", "rule": "automated.marketing", "score": 3.25,
                "signals": ["bulk", "campaign"], **decided,
            },
        )  # fmt: skip
        put(
            schema.message,
            {
                "mailbox_id": alice, "gmail_id": "a4", "outcome": "parked", "rule": "parked", "phase": "normalize",
                "error_class": "MalformedMessageError", "failures": 5, **decided,
            },
        )  # fmt: skip
        put(schema.message, {"mailbox_id": alice, "gmail_id": "a5", "state": "pending", "lane": 1, "found_at": AT})
        put(schema.search_outbox, {"engagement_id": "e2", "version": 7, "enqueued_at": AT})

    database.transaction(mail)
    return alice, bob


@dataclasses.dataclass(frozen=True)
class Stored:
    alice_id: str
    bob_id: str
    team: str = TEAM
    at: dt.datetime = AT
    alice: str = ALICE
    bob: str = BOB


@pytest.fixture
def stored(sqlite_database: Database) -> Stored:
    """Two mailboxes that share one engagement, decisions of each outcome, one pending message, one row on the outbox."""
    return Stored(*_fill(sqlite_database))


@pytest.fixture
def dealmail(sqlite_spec: DatabaseSpec, sqlite_database: Database) -> Callable[..., Result]:
    """Run a command on the test's database."""

    def run(*arguments: str, **options: Any) -> Result:
        result = CliRunner().invoke(cli, ["--database", sqlite_spec.url, *arguments], **options)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def jsonl(dealmail: Callable[..., Result]) -> Callable[..., list[dict[str, Any]]]:
    """Run a listing with --format jsonl and read its rows."""

    def run(*arguments: str) -> list[dict[str, Any]]:
        result = dealmail(*arguments, "--format", "jsonl")
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    return run
