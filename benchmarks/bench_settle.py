"""How fast does a batch settle, beside what the server itself can take?

    python -m benchmarks.bench_settle [--mails 10000] [--batch 200] [--rounds 5]

* mariadb: `DatabaseSettlements.settle` of new customer mail, beside a bare PyMySQL `executemany` of the very rows that this
  leaves (engagement, participant, link, copy, ledger, outbox), one transaction a batch, in the same tables of a second
  database on the same server. They take turns batch by batch, so that whatever else the machine does hits both alike.
  Goal: 0.8 of the bare rate or better, in every round.
* sqlite: the same settling, absolute.

Prints one line of JSON a part; ends with 1 where the goal is missed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import pathlib
import random
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import Any

import pymysql
import sqlalchemy as sa

from dealmail.io import migrate, schema, secret_refs
from dealmail.io.database import Database, DatabaseSpec
from dealmail.io.ledger import Ledger
from dealmail.io.mailboxes import Mailboxes
from dealmail.io.settlements import DatabaseSettlements
from dealmail.io.vault import Digests
from dealmail.pipeline.build import GraphOptions
from dealmail.sandbox.mariadb_server import MariaDbServer
from dealmail.sandbox.private_server import ServerUnavailableError
from dealmail.transforms.records import ClaimedMessage, CustomerMail, Link, MailText, Participant

TABLES = (
    schema.engagement, schema.participant, schema.engagement_link, schema.engagement_copy, schema.message, schema.search_outbox,
)  # fmt: skip
NOW = dt.datetime(2026, 3, 2, 9, 0, tzinfo=dt.UTC)
WORDS = (
    "offer",
    "meeting",
    "contract",
    "price",
    "delivery",
    "Größe",
    "question",
    "team",
    "invoice",
    "détail",
    "project",
    "next",
    "week",
    "thanks",
    "regards",
)
BODY_BYTES = 2_000
GOAL = 0.8


def now() -> dt.datetime:
    """A clock that stands still: rows are the same in every round."""
    return NOW


def mail(claim: ClaimedMessage, number: int, rng: random.Random) -> CustomerMail:
    """A new mail of a customer, 2 kB of text, four people, three links."""
    words = rng.choices(WORDS, k=BODY_BYTES // 7)
    return CustomerMail(
        claim=claim, engagement_id=f"{rng.getrandbits(128):032x}", message_id=f"{number}.{rng.getrandbits(64):x}@customer.example",
        sent_at=NOW - dt.timedelta(seconds=number * 977), direction="inbound",
        sender=Participant(f"person{number % 500}@customer{number % 90}.example", f"Person {number % 500}"),
        to=(Participant("alice@corp.example", "Alice Archer"), Participant("bob@corp.example", "Bob")),
        cc=(Participant(f"other{number % 300}@customer{number % 90}.example", "Other Person"),),
        subject=f"Re: {' '.join(words[:6])}", body=MailText(textwrap.fill(" ".join(words))),
        links=(
            Link("account", f"a{number % 90}", primary=True, via="contact"), Link("contact", f"c{number % 500}", primary=True, via="contact"),
            Link("opportunity", f"o{number % 90}", primary=True, via="account"),
        ),
        rule="customer", rules_version="2026.1", content_digest=f"{rng.getrandbits(256):064x}", rank=f"0-{rng.getrandbits(128):032x}",
        score=-1.5, signals=("person",),
    )  # fmt: skip


def prepare(database: Database, mails: int, batch: int) -> list[list[CustomerMail]]:
    """A team, a mailbox, claimed messages, and the batches to settle."""
    migrate.upgrade(database)
    row = {"id": "t1", "name": "", "crm_version": 0, "settings": {}, "created_at": NOW}
    database.transaction(lambda connection: connection.execute(sa.insert(schema.team), [row]))
    mailboxes, ledger, rng = Mailboxes(database, now), Ledger(database), random.Random(1)
    box = mailboxes.add("t1", "u1", "alice@corp.example")
    mailboxes.turn_on(box.id, "bench")
    mailboxes.set_state(box.id, "live")

    def claim(connection: sa.Connection) -> list[ClaimedMessage]:
        ledger.add_pending(connection, box, [f"{n:016x}" for n in range(mails)], "live", NOW)
        return ledger.lease(connection, box, mails, NOW)

    made = [mail(one, number, rng) for number, one in enumerate(database.transaction(claim))]
    return [made[start : start + batch] for start in range(0, mails, batch)]


def reset(database: Database, leases: Sequence[dict[str, Any]]) -> None:
    """Empty what settling wrote, and give the ledger its leased rows back."""
    for table in TABLES:
        word = "truncate table" if database.dialect == "mariadb" else "delete from"
        database.run_outside(f"{word} {table.name}")
    for start in range(0, len(leases), 1_000):
        rows = leases[start : start + 1_000]
        database.transaction(lambda c, rows=rows: c.execute(sa.insert(schema.message), rows))  # type: ignore[misc]  # a lambda with a default


def read_all(database: Database, table: sa.Table) -> list[dict[str, Any]]:
    """Every row."""
    with database.reading() as connection:
        return [dict(row) for row in connection.execute(sa.select(table)).mappings()]


def settling(database: Database) -> DatabaseSettlements:
    """What the job settles with."""
    return DatabaseSettlements(database, now, Digests((b"a key for measuring, 32 bytes...",)))


def seconds_of(work: Callable[[], Any]) -> float:
    """How long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Bare:
    """The rows that settling leaves, as PyMySQL wants them: one statement a table, the parameters ready."""

    def __init__(self, database: Database, batches: Sequence[Sequence[CustomerMail]]) -> None:
        dialect = database.engine.dialect
        self.work: list[list[tuple[str, list[tuple[Any, ...]]]]] = []
        of_message = {m.claim.gmail_id: number for number, batch in enumerate(batches) for m in batch}
        of_engagement = {m.engagement_id: number for number, batch in enumerate(batches) for m in batch}
        self.work = [[] for _ in batches]
        for table in TABLES:
            names = [column.name for column in table.columns]
            processors = [column.type.dialect_impl(dialect).bind_processor(dialect) for column in table.columns]
            quoted = ", ".join(f"`{name}`" for name in names)
            values = ", ".join(["%s"] * len(names))
            keep = (
                f" on duplicate key update {', '.join(f'`{n}` = values(`{n}`)' for n in names)}"
                if table is schema.message
                else ""
            )
            statement = f"insert into `{table.name}` ({quoted}) values ({values}){keep}"  # noqa: S608 (our own names)
            parameters: list[list[tuple[Any, ...]]] = [[] for _ in batches]
            for row in read_all(database, table):
                engagement = row.get("engagement_id") or row.get("id")
                number = of_message[row["gmail_id"]] if "gmail_id" in row else of_engagement[engagement]
                cells = zip(names, processors, strict=True)
                parameters[number].append(
                    tuple(process(row[name]) if process else row[name] for name, process in cells)
                )
            for number, rows in enumerate(parameters):
                self.work[number].append((statement, rows))

    def insert(self, connection: Any, number: int) -> None:
        """Insert the rows of one batch in one transaction, by a connection of PyMySQL's."""
        with connection.cursor() as cursor:
            for statement, rows in self.work[number]:
                cursor.executemany(statement, rows)
        connection.commit()


def beside(server: MariaDbServer) -> DatabaseSpec:
    """A second, empty database on the server."""
    front = Database(DatabaseSpec(server.url, server.password_ref))
    front.run_outside("create database dealmail_bare character set utf8mb4 collate utf8mb4_unicode_ci")
    front.close()
    return DatabaseSpec(sa.make_url(server.url).set(database="dealmail_bare").render_as_string(), server.password_ref)


def plain(spec: DatabaseSpec) -> pymysql.Connection[Any]:
    """A connection as PyMySQL makes it, with its own cursors."""
    url, password = sa.make_url(spec.url), secret_refs.resolve(spec.password_ref)
    return pymysql.connect(
        host=url.host, port=url.port or 3306, user=url.username, password=password, database=url.database, charset="utf8mb4",
    )  # fmt: skip


def bench_mariadb(mails: int, batch: int, rounds: int) -> dict[str, Any]:
    """Settle and bare, batch by batch in turns."""
    server = MariaDbServer()
    try:
        server.start()
        spec = beside(server)
        database, other = Database(DatabaseSpec(server.url, server.password_ref)), Database(spec)
        migrate.upgrade(other)
        batches = prepare(database, mails, batch)
        leased = read_all(database, schema.message)
        settlements = settling(database)
        for some in batches:
            settlements.settle(some)
        bare = Bare(database, batches)
        raw = plain(spec)
        settle_s, bare_s = [0.0] * rounds, [0.0] * rounds
        for round_ in range(rounds):
            reset(database, leased)
            reset(other, leased)
            for number, some in enumerate(batches):
                for who in ("settle", "bare") if number % 2 else ("bare", "settle"):
                    if who == "settle":
                        settle_s[round_] += seconds_of(lambda some=some: settlements.settle(some))  # type: ignore[misc]  # a lambda with a default
                    else:
                        bare_s[round_] += seconds_of(lambda number=number: bare.insert(raw, number))  # type: ignore[misc]  # the same
            for table in TABLES:
                if read_all(database, table) != read_all(other, table):
                    raise SystemExit(f"not the same rows: {table.name}")
        raw.close()
        database.close()
        other.close()
    finally:
        server.stop()
    ratios = [one / mine for mine, one in zip(settle_s, bare_s, strict=True)]
    return figures("mariadb", mails, settle_s) | {
        "bare_per_s": round(mails / statistics.median(bare_s)), "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios], "goal": GOAL,
    }  # fmt: skip


def bench_sqlite(mails: int, batch: int, rounds: int) -> dict[str, Any]:
    """Settle, absolute."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(DatabaseSpec(f"sqlite:///{pathlib.Path(folder) / 'bench.db'}"))
        batches = prepare(database, mails, batch)
        leased = read_all(database, schema.message)
        seconds = []
        for _ in range(rounds):
            reset(database, leased)
            settlements = settling(database)
            seconds.append(seconds_of(lambda s=settlements: [s.settle(some) for some in batches]))  # type: ignore[misc]  # a lambda with a default
        database.close()
    return figures("sqlite", mails, seconds)


def figures(part: str, mails: int, seconds: Sequence[float]) -> dict[str, Any]:
    """The median, as a rate."""
    return {"part": part, "mails": mails, "engagements_per_s": round(mails / statistics.median(seconds))}


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=GraphOptions().settle_batch)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", default="mariadb,sqlite")
    options = parser.parse_args()
    missed = False
    for part in options.parts.split(","):
        run = {"mariadb": bench_mariadb, "sqlite": bench_sqlite}[part]
        try:
            found = run(options.mails, options.batch, options.rounds)
        except ServerUnavailableError as error:
            found = {"part": part, "unavailable": str(error)}
        print(json.dumps(found), flush=True)
        missed = missed or min(found.get("ratios", [GOAL])) < GOAL
    sys.exit(missed)


if __name__ == "__main__":
    main()
