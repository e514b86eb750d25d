"""A sales team in a database: mailboxes with import on, claimed messages, and mails to settle."""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import schema
from dealmail.io.database import Database
from dealmail.io.ledger import Ledger
from dealmail.io.mailboxes import Mailboxes
from dealmail.io.settlements import DatabaseSettlements
from dealmail.io.tombstones import TombstoneKey
from dealmail.transforms.records import ClaimedMessage, CustomerMail, Link, MailText, Participant

KEY = TombstoneKey(b"a key for tests, 32 bytes long..")


@dataclasses.dataclass
class Sales:
    """The team `t1` (or others) in `database`, at the time that `clock` shows."""

    database: Database
    clock: Any

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.database, self.clock)
        self.mailboxes = Mailboxes(self.database, self.clock)
        self.settlements = DatabaseSettlements(self.database, self.clock, KEY, random.Random(1))

    def add_team(self, team: str = "t1", **settings: Any) -> None:
        row = {"id": team, "name": "", "crm_version": 0, "settings": settings, "created_at": self.clock()}
        self.database.transaction(lambda c: c.execute(sa.insert(schema.team), [row]))

    def add_mailbox(self, address: str, team: str = "t1", user: str = "u1") -> str:
        mailbox = self.mailboxes.add(team, user, address).id
        self.mailboxes.turn_on(mailbox, "a test")
        self.mailboxes.set_state(mailbox, "live")
        return mailbox

    def claim(self, mailbox: str, ids: list[str], **options: Any) -> list[ClaimedMessage]:
        row = self.mailboxes.get(mailbox)

        def work(connection: sa.Connection) -> list[ClaimedMessage]:
            self.ledger.add_pending(connection, row, ids, "live", self.clock())
            return self.ledger.lease(connection, row, len(ids), self.clock(), **options)

        return sorted(self.database.transaction(work), key=lambda claim: claim.gmail_id)

    def dump(self, *tables: sa.Table, without: tuple[str, ...] = ()) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of `tables`, sorted: for comparing."""
        result = {}
        with self.database.reading() as connection:
            for table in tables:
                columns = [c for c in table.columns if c.name not in without]
                rows = [tuple(row) for row in connection.execute(sa.select(*columns))]
                result[table.name] = sorted(rows, key=repr)
        return result


@pytest.fixture
def sales(database: Database, clock: Any) -> Sales:
    made = Sales(database, clock)
    made.add_team()
    return made


@pytest.fixture
def make_sales(clock: Any) -> Callable[[Database], Sales]:
    def make(database: Database) -> Sales:
        made = Sales(database, clock)
        made.add_team()
        return made

    return make


@pytest.fixture(scope="session")
def mail() -> Callable[..., CustomerMail]:
    def make(claim: ClaimedMessage, number: int, variant: int = 0, **changes: Any) -> CustomerMail:
        """The mail `number`; copies of one mail may differ by `variant`, the smaller one wins."""
        base = CustomerMail(
            claim=claim,
            engagement_id=f"{claim.team_id}-e{number:04d}",
            message_id=f"{number}@customer.example",
            sent_at=dt.datetime(2026, 2, 1, 8, 0, 0, 123456, tzinfo=dt.UTC) + dt.timedelta(minutes=number),
            direction="inbound",
            sender=Participant(f"p{number % 7}@customer.example", f"Person {number % 7}"),
            to=(Participant("alice@corp.example", "Alice"),)
            + ((Participant("bob@corp.example"),) if variant % 2 else ()),
            cc=(Participant("cc@customer.example", "Zoë 😀"),),
            subject=f"Offer {number} ({variant})",
            body=MailText(f"Grüße 😀 {number} variant {variant}\n" * 3),
            links=(
                Link("account", f"a{number % 5}", primary=True, via="domain"),
                Link("contact", f"c{variant}", primary=True),
            ),
            rule="customer",
            rules_version="1",
            content_digest=f"d{number}-{variant}",
            rank=f"{variant:04d}-{number}",
        )
        return dataclasses.replace(base, **changes)

    return make
