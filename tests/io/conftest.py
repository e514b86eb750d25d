"""A sales team in a database: mailboxes with import on, claimed messages, and mails to settle."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import hashlib
import json
import pathlib
import random
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from readable_ledger import ReadableLedger

from dealmail.io import schema
from dealmail.io.claim_settings import ClaimSettings
from dealmail.io.claims import GmailClaims
from dealmail.io.database import Database
from dealmail.io.google_signin import GmailAccounts, GoogleSettings, store_credential
from dealmail.io.mailboxes import Mailboxes, MailboxRow
from dealmail.io.message_reader import GmailMessageReader
from dealmail.io.quota import Quota, QuotaLimits
from dealmail.io.register import Register
from dealmail.io.settlements import DatabaseSettlements
from dealmail.io.vault import Digests, Vault
from dealmail.sandbox.process import SandboxProcess
from dealmail.transforms.decisions import label_rule
from dealmail.transforms.records import (
    ClaimedMessage,
    CustomerMail,
    Decision,
    DueMailbox,
    FetchedMessage,
    Link,
    MailText,
    Participant,
    Settleable,
)

KEY = Digests((b"a key for tests, 32 bytes long..",))


@dataclasses.dataclass
class Sales:
    """The team `t1` (or others) in `database`, at the time that `clock` shows."""

    database: Database
    clock: Any

    def __post_init__(self) -> None:
        self.ledger = ReadableLedger(self.database)
        self.register = Register(self.database)
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


# --- Gmail -----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="session")
def gmail_sandbox() -> Iterator[SandboxProcess]:
    """One Gmail, OAuth and Pub/Sub for the session; each test takes mailboxes of its own."""
    with SandboxProcess() as sandbox:
        yield sandbox


class Gmails:
    """Mailboxes at the sandbox, read through claims and reader as in the job; every ordinary mail counts as a customer's.

    Its clock begins at the machine's time and is moved together with the sandbox's.
    """

    def __init__(self, database: Database, clock: Any, sandbox: SandboxProcess, folder: pathlib.Path) -> None:
        moved = sandbox.client.call("advance", seconds=0)["now"] - time.time()
        clock.at = dt.datetime.fromtimestamp(sandbox.client.call("advance", seconds=-moved)["now"], dt.UTC)
        self.sales = Sales(database, clock)
        self.sales.add_team()
        self.database, self.clock, self.sandbox, self.client = database, clock, sandbox, sandbox.client
        self.ledger, self.mailboxes, self.register = self.sales.ledger, self.sales.mailboxes, self.sales.register
        (folder / "client.json").write_text(json.dumps(sandbox.client.oauth_client()))
        self.settings = GoogleSettings(sandbox.gmail, f"file:{folder / 'client.json'}", 5)
        self.vault = Vault((b"key material for tests only",))
        self.accounts = GmailAccounts(database, self.vault, self.settings, clock)
        self.reader = GmailMessageReader(self.accounts)
        self.domain = f"{uuid.uuid4().hex[:8]}.example"
        sandbox.client.set_faults()
        sandbox.client.set_limits(user=6_000, project=1_200_000, concurrent=10)

    def claims(self, limits: QuotaLimits | None = None, **settings: Any) -> GmailClaims:
        quota = Quota(self.database, limits or QuotaLimits())
        return GmailClaims(self.database, self.accounts, quota, ClaimSettings(**settings), self.clock, random.Random(1))

    def connect(self, name: str, *, user: str = "u1", token: str = "") -> str:
        """A new mailbox of that name at the sandbox, consented and turned on; its id."""
        address = f"{name}@{self.domain}"
        self.client.add_mailbox(address)
        mailbox = self.mailboxes.add("t1", user, address).id
        self.grant(mailbox, token or self.client.grant(address))
        self.mailboxes.turn_on(mailbox, "a test")
        return mailbox

    def grant(self, mailbox: str, token: str) -> None:
        values = {"refresh_token": token, "scopes": []}
        self.database.transaction(
            lambda c: store_credential(self.database, self.vault, c, "t1", mailbox, "oauth", values, self.clock())
        )

    def row(self, mailbox: str) -> MailboxRow:
        return self.mailboxes.get(mailbox)

    def address(self, mailbox: str) -> str:
        return self.row(mailbox).address

    def advance(self, **by: float) -> None:
        before = self.clock()
        self.client.advance((self.clock.advance(**by) - before).total_seconds())

    def deliver(
        self,
        mailbox: str,
        subject: str = "Offer",
        *,
        labels: tuple[str, ...] = ("INBOX",),
        age: float = 0,
        **options: Any,
    ) -> str:
        """Mail arrives; `age` is in days. Returns the Gmail id."""
        at = self.clock() - dt.timedelta(days=age)
        internal = int(at.timestamp() * 1000) if age else None
        return self.client.deliver(self.address(mailbox), raw_mail(subject, at, **options), labels, internal)

    def fill(self, mailbox: str, count: int) -> None:
        """`count` messages, one for each of the last seconds, that no history tells of."""
        now = int(self.clock().timestamp() * 1000)
        raw = b"Message-ID: <%d@x>\r\nSubject: s\r\n\r\n"
        mails = [(raw % n, ["INBOX"], now - 1000 * n) for n in range(count)]
        self.client.deliver_many(self.address(mailbox), mails, loaded=True)

    def claim(self, mailbox: str, reason: str = "poll", claims: GmailClaims | None = None) -> list[ClaimedMessage]:
        return (claims or self.claims()).claim(DueMailbox("t1", mailbox, reason))

    def read(self, claimed: list[ClaimedMessage]) -> list[Settleable]:
        return [self._judge(answer) for answer in self.reader.read(claimed)]

    def settle(self, claimed: list[ClaimedMessage]) -> list[Settleable]:
        ends = self.read(claimed)
        self.sales.settlements.settle(ends)
        return ends

    def sync(self, mailbox: str, reason: str = "poll", claims: GmailClaims | None = None, rounds: int = 50) -> int:
        """Claim, read and settle until nothing comes; how many were claimed."""
        claims, total = claims or self.claims(), 0
        for number in range(rounds):
            claimed = self.claim(mailbox, reason if number == 0 else "work", claims)
            self.settle(claimed)
            total += len(claimed)
            with self.database.reading() as connection:
                open_listings = connection.scalar(
                    sa.select(sa.func.count()).where(
                        schema.listing.c.mailbox_id == mailbox, schema.listing.c.finished_at.is_(None)
                    )
                )
            if not claimed and not open_listings and (number or reason != "push"):  # a push brings no old mail
                return total
        raise AssertionError(f"{mailbox} does not come to rest")

    def outcomes(self, mailbox: str) -> dict[str, str]:
        """Gmail id to its rule; "pending" where there is none yet."""
        rows = self.ledger.rows("t1")
        return {row.gmail_id: row.rule or "pending" for row in rows if row.mailbox_id == mailbox}

    def counts(self, mailbox: str) -> collections.Counter[str]:
        return collections.Counter(self.outcomes(mailbox).values())

    def _judge(self, answer: Any) -> Settleable:
        if not isinstance(answer, FetchedMessage):
            return answer
        message = json.loads(answer.payload)
        if rule := label_rule(message.get("labelIds", [])):
            return Decision(answer.claim, "dropped", rule)
        headers = {header["name"].lower(): header["value"] for header in message["payload"]["headers"]}
        key = hashlib.sha256(headers["message-id"].encode()).hexdigest()
        return CustomerMail(
            claim=answer.claim,
            engagement_id=key[:32],
            message_id=headers["message-id"],
            sent_at=self.clock(),
            direction="inbound",
            sender=Participant("pat@customer.example"),
            to=(Participant(answer.claim.owner),),
            cc=(),
            subject=headers["subject"],
            body=MailText("text"),
            links=(),
            rule="customer",
            rules_version="1",
            content_digest=key,
            rank=key,
        )


def raw_mail(subject: str, at: dt.datetime, *, message_id: str = "", text: str = "text") -> bytes:
    return (
        f"From: pat@customer.example\r\nTo: someone@corp.example\r\nSubject: {subject}\r\n"
        f"Date: {at:%a, %d %b %Y %H:%M:%S} +0000\r\nMessage-ID: <{message_id or uuid.uuid4().hex}@customer.example>\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
    ).encode()


@pytest.fixture
def gmails(
    sqlite_database: Database, clock: Any, gmail_sandbox: SandboxProcess, tmp_path: pathlib.Path
) -> Iterator[Gmails]:
    made = Gmails(sqlite_database, clock, gmail_sandbox, tmp_path)
    yield made
    made.reader.close()


@pytest.fixture
def gmails_on(
    database: Database, clock: Any, gmail_sandbox: SandboxProcess, tmp_path: pathlib.Path
) -> Iterator[Gmails]:
    """As `gmails`, on SQLite and on MariaDB."""
    made = Gmails(database, clock, gmail_sandbox, tmp_path)
    yield made
    made.reader.close()
