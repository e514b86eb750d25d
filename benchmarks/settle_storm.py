"""Copies of the same mails are settled by many threads at once, in random order; the rows must be the same every time.

    python -m benchmarks.settle_storm [--seeds 20] [--threads 50] [--mails 2000] [--stores mariadb|sqlite]

The world is fixed: which mailbox holds which copy of which mail. A seed decides the rest: order and size of the batches, which of
them run twice, which are lost with their worker, and what the deduplicating cache happened to know. What must come out is
computed from the world alone. Exit code 1 where a row differs, or where database and index do. See docs/proof.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import os
import pathlib
import random
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from dealmail.io import engagement_rows, index_check, migrate, schema
from dealmail.io.correspondence import DatabaseCorrespondence
from dealmail.io.database import Database, DatabaseSpec
from dealmail.io.ledger import Ledger
from dealmail.io.mailboxes import Mailboxes
from dealmail.io.outbox import Outbox
from dealmail.io.search import SearchSpec, open_index
from dealmail.io.settlements import DatabaseSettlements
from dealmail.io.vault import Digests
from dealmail.sandbox.mariadb_server import MariaDbServer
from dealmail.sandbox.private_server import ServerUnavailableError
from dealmail.transforms.deduplicate_by_message_id import seen_copy
from dealmail.transforms.engagement_id import content_digest, engagement_id, rank
from dealmail.transforms.errors import StoreUnavailableError
from dealmail.transforms.records import (
    ClaimedMessage,
    CustomerMail,
    Decision,
    Link,
    MailText,
    Participant,
    SeenCopy,
    Settleable,
)
from dealmail.transforms.write_to_mariadb import settling_order

TEAM = "t1"
KEY = Digests((b"a key for storms, 32 bytes long.",))
BEGAN = dt.datetime(2026, 3, 2, 9, 0, tzinfo=dt.UTC)
LARGEST_BATCH = 60
MOVING = {
    "version",
    "created_at",
    "updated_at",
    "lease",
    "leases",
    "lease_until",
    "not_before",
    "found_at",
    "decided_at",
}
"""Columns that say when and how often something was done."""
RESULT = (
    schema.engagement, schema.participant, schema.engagement_link, schema.engagement_copy, schema.correspondence,
    schema.message_context, schema.message,
)  # fmt: skip
Rows = dict[str, list[tuple[Any, ...]]]


@dataclasses.dataclass(frozen=True)
class Copy:
    """One mailbox's copy of a mail; its claim is filled in when it is read. `robot`: automated, unless the team wrote there."""

    mail: CustomerMail
    robot: Decision | None = None


class World:
    """Who holds what. The same for every seed."""

    def __init__(self, mails: int, boxes: Sequence[str]) -> None:
        self.boxes = list(boxes)
        self.copies: dict[tuple[str, str], Copy] = {}
        chance = random.Random(0)
        for number in range(mails):
            for box_number in chance.sample(range(len(boxes)), chance.randint(2, min(5, len(boxes)))):
                copy = self._copy(number, box_number, chance)
                self.copies[boxes[box_number], f"g{number:05d}"] = copy

    @staticmethod
    def _copy(number: int, box: int, chance: random.Random) -> Copy:
        """Of 20 mails one has no Message-ID, and one has that of the mail before it."""
        kind = number % 20
        message_id = "" if kind == 3 else f"{number - (kind == 5)}@customer.example"
        sent_at = BEGAN - dt.timedelta(minutes=number)
        outbound = kind in {7, 8, 9}
        sender = Participant(
            "ann@corp.example" if outbound else f"p{number % 97}@customer.example", f"Person {number % 97}"
        )
        subject, text = f"Offer {number}", f"Grüße 😀 number {number}: " + "all that we said " * 20
        to = [Participant(f"buyer{number % 31}@customer.example"), Participant("ann@corp.example", "Ann")]
        who = engagement_id(TEAM, message_id, sender.address, subject, text, sent_at, [one.address for one in to])
        changed = kind != 3  # without a Message-ID another text is another mail
        variant = chance.choice([0, 0, 0, 1, 2]) if changed else 0
        if variant == 1:
            to.append(Participant("team@lists.example", "The team"))
        body = MailText(text + ("\n-- \nfooter of a list" if variant == 2 else ""))
        direction = "outbound" if outbound else "inbound"
        digest = content_digest(message_id, sent_at, direction, sender, to, [], subject, body)
        links = (
            Link("account", f"a{number % 13}", primary=True, via="domain"),
            Link("contact", f"c{variant}", primary=True),
        )
        mail = CustomerMail(
            ClaimedMessage(TEAM, "", "", "", ""), who, message_id, sent_at, direction, sender, tuple(to), (), subject, body, links,
            "customer", "1", digest, rank(digest, len(body.text), is_authors_copy=outbound and box % 3 == 0, is_rewritten=variant == 2),
            context=(f"k{number:05d}", f"list{variant}") if outbound else (),
        )  # fmt: skip
        robot = None
        if kind in {11, 12} and box % 2:  # half of these the team has written to, or will have
            context = (f"k{number - 4:05d}" if kind == 11 else "nobody",)
            robot = Decision(mail.claim, "dropped", "automated.marketing", "1", context=context)
        return Copy(mail, robot)

    def read(self, claims: Sequence[ClaimedMessage], known: frozenset[str] = frozenset()) -> list[Settleable]:
        """What the steps before settling make of these claims; `known`: whom the team has written to, as far as one knows."""
        made: list[Settleable] = []
        for claim in claims:
            copy = self.copies[claim.mailbox_id, claim.gmail_id]
            robot = copy.robot is not None and not known.intersection(copy.robot.context)
            made.append(dataclasses.replace(copy.robot if robot and copy.robot else copy.mail, claim=claim))
        return made

    def rows(self) -> Rows:
        """What must come out."""
        known = frozenset(d for copy in self.copies.values() if copy.robot is None for d in copy.mail.context)
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        best: dict[str, CustomerMail] = {}
        written: set[tuple[str, str]] = set()
        for key, copy in sorted(self.copies.items()):
            claim = ClaimedMessage(TEAM, *key, "", "")
            mail = dataclasses.replace(copy.mail, claim=claim)
            row = {**_LEDGER, "mailbox_id": key[0], "gmail_id": key[1]}
            if copy.robot is not None and not known.intersection(copy.robot.context):
                found["message"].append({**row, "outcome": "dropped", "rule": copy.robot.rule})
                found["message_context"] += [
                    {"team_id": TEAM, "digest": d, "mailbox_id": key[0], "gmail_id": key[1]} for d in copy.robot.context
                ]
                continue
            found["message"].append(
                {**row, "outcome": "imported", "rule": "customer", "engagement_id": mail.engagement_id}
            )
            found["engagement_copy"].append(
                {
                    "mailbox_id": key[0], "gmail_id": key[1], "team_id": TEAM, "engagement_id": mail.engagement_id,
                    "content_digest": mail.content_digest,
                }
            )  # fmt: skip
            written |= {(digest, mail.engagement_id) for digest in mail.context}
            if mail.engagement_id not in best or mail.rank < best[mail.engagement_id].rank:
                best[mail.engagement_id] = mail
        found["correspondence"] = [{"team_id": TEAM, "digest": d, "engagement_id": e} for d, e in written]
        found["engagement"] = [engagement_rows.engagement(mail, 0, BEGAN) for mail in best.values()]
        found["participant"] = [row for mail in best.values() for row in engagement_rows.participants(mail)]
        found["engagement_link"] = [row for mail in best.values() for row in engagement_rows.links(mail)]
        return {table.name: sorted((_steady(table, row) for row in found[table.name]), key=repr) for table in RESULT}


_LEDGER: dict[str, Any] = {
    "team_id": TEAM, "state": "decided", "lane": 0, "rules_version": "1", "score": None, "signals": None, "engagement_id": None,
    "failures": 0, "tries": 0, "phase": None, "error_class": None,
}  # fmt: skip


def _steady(table: sa.Table, row: Any) -> tuple[Any, ...]:
    return tuple(repr(row[column.name]) for column in table.columns if column.name not in MOVING)


@dataclasses.dataclass
class Result:
    """What one seed came to."""

    seed: int
    different: dict[str, int]
    index_agrees: bool
    outbox_agrees: bool
    settled: int = 0
    rounds: int = 0
    given_up: int = 0
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """Every row is as it must be, in both stores."""
        return not any(self.different.values()) and self.index_agrees and self.outbox_agrees


class Storm:
    """One team in `database`, which has the schema and nothing else; `folder` takes the search file."""

    def __init__(self, database: Database, folder: pathlib.Path, *, mails: int, threads: int, boxes: int = 8) -> None:
        self.database, self.folder, self.threads = database, folder, threads
        self.at = BEGAN
        self.ledger, mailboxes = Ledger(database), Mailboxes(database, self.now)
        row = {"id": TEAM, "name": "", "crm_version": 0, "settings": {}, "created_at": BEGAN}
        database.transaction(lambda c: c.execute(sa.insert(schema.team), [row]))
        self.rows_of = [mailboxes.add(TEAM, f"u{n}", f"user{n}@corp.example") for n in range(boxes)]
        for box in self.rows_of:
            mailboxes.turn_on(box.id, "the storm")
        self.world = World(mails, [box.id for box in self.rows_of])
        self.expected = self.world.rows()
        self.settlements = DatabaseSettlements(database, self.now, KEY)
        self.correspondence = DatabaseCorrespondence(database, KEY)

    def now(self) -> dt.datetime:
        """The storm's clock: stands still within a round."""
        return self.at

    def play(self, seed: int) -> Result:
        """All mail, once, by this seed; then compare."""
        chance = random.Random(seed)
        began, result = time.monotonic(), Result(seed, {}, False, False)
        self._empty()
        claims = self._claim_all()
        items = self._cached(self.world.read(claims), chance)
        while claims:
            result.rounds += 1
            batches = list(_batches(items, chance))
            lost = [] if result.rounds > 2 else chance.sample(batches, len(batches) // 20)
            twice = chance.sample(batches, len(batches) // 10)
            work = [batch for batch in batches if batch not in lost] + twice
            chance.shuffle(work)
            result.settled += sum(map(len, work))
            result.given_up += self._settle_all(work)
            self.at += dt.timedelta(minutes=20)  # leases and pauses are over
            claims = self._claim_all()
            known = self.correspondence.known(
                TEAM, sorted({d for c in self.world.copies.values() if c.robot for d in c.robot.context})
            )
            items = self.world.read(claims, known)
            chance.shuffle(items)
        result.different, result.seconds = self._compare(), time.monotonic() - began
        result.outbox_agrees = self._outbox_agrees()
        result.index_agrees = self._index_agrees(seed)
        return result

    def _empty(self) -> None:
        def work(connection: sa.Connection) -> None:
            for table in (*RESULT, schema.search_outbox):
                connection.execute(sa.delete(table))

        self.database.transaction(work)

    def _claim_all(self) -> list[ClaimedMessage]:
        found: list[ClaimedMessage] = []
        for box in self.rows_of:
            ids = [gmail_id for mailbox, gmail_id in self.world.copies if mailbox == box.id]

            def work(connection: sa.Connection, box: Any = box, ids: list[str] = ids) -> list[ClaimedMessage]:
                self.ledger.add_pending(connection, box, ids, "live", self.at)
                return self.ledger.lease(connection, box, len(ids), self.at)

            found += self.database.transaction(work)
        return found

    @staticmethod
    def _cached(items: list[Settleable], chance: random.Random) -> list[Settleable]:
        """What DeduplicateByMessageId makes of `items` in a random order; three in ten times it has forgotten."""
        chance.shuffle(items)
        seen: dict[str, dict[str, str]] = defaultdict(dict)
        made: list[Settleable] = []
        for item in items:
            if isinstance(item, CustomerMail):
                known = seen[item.engagement_id].get(item.content_digest)
                if known is not None and known <= item.rank and chance.random() < 0.7:
                    made.append(seen_copy(item))
                    continue
                seen[item.engagement_id][item.content_digest] = item.rank
            made.append(item)
        return made

    def _settle_all(self, work: list[list[Settleable]]) -> int:
        """Settle batches by all threads at once; how many gave up for good (their leases run out). Other errors are raised."""
        waiting, lock = iter(work), threading.Lock()
        gate = threading.Barrier(self.threads)
        given_up: list[str] = []
        errors: list[BaseException] = []

        def run() -> None:
            gate.wait(60)
            while True:
                with lock:
                    batch = next(waiting, None)
                if batch is None:
                    return
                try:
                    self.settlements.settle(settling_order(batch))
                except StoreUnavailableError as error:
                    given_up.append(str(error))
                except BaseException as error:  # noqa: BLE001 (raised below, by the thread that waits)
                    errors.append(error)
                    return

        workers = [threading.Thread(target=run) for _ in range(self.threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if errors:
            raise errors[0]
        return len(given_up)

    def _compare(self) -> dict[str, int]:
        """How many rows are amiss, by table."""
        different = {}
        with self.database.reading(snapshot=True) as connection:
            for table in RESULT:
                found = Counter(_steady(table, row) for row in connection.execute(sa.select(table)).mappings())
                expected = Counter(self.expected[table.name])
                different[table.name] = ((found - expected) + (expected - found)).total()
        return different

    def _outbox_agrees(self) -> bool:
        with self.database.reading(snapshot=True) as connection:
            stored = connection.execute(sa.select(schema.engagement.c.id, schema.engagement.c.version)).all()
            waiting = connection.execute(
                sa.select(schema.search_outbox.c.engagement_id, schema.search_outbox.c.version)
            ).all()
        return sorted(map(tuple, stored)) == sorted(map(tuple, waiting))

    def _index_agrees(self, seed: int) -> bool:
        index = open_index(SearchSpec(f"sqlite:///{self.folder / f'search{seed}.db'}"))
        index.ensure()
        outbox = Outbox(self.database, index, now=self.now)
        while outbox.drain(5000):
            pass
        report = index_check.check(self.database, index)
        index.close()
        return report.equal and not report.waiting and report.indexed == len(self.expected["engagement"])


def _batches(items: Sequence[Settleable], chance: random.Random) -> Iterator[list[Settleable]]:
    start = 0
    while start < len(items):
        size = chance.randint(1, LARGEST_BATCH)
        yield list(items[start : start + size])
        start += size


def seen_share(storm: Storm, seed: int) -> float:
    """How many of a seed's first items are SeenCopy: so that a storm without any is noticed."""
    claims = [ClaimedMessage(TEAM, *key, "", "") for key in storm.world.copies]
    items = storm._cached(storm.world.read(claims), random.Random(seed))
    return sum(isinstance(item, SeenCopy) for item in items) / len(items)


def _status(database: Database, name: str) -> int:
    with database.reading() as connection:
        row = connection.exec_driver_sql(f"show global status like '{name}'").one_or_none()
    return int(row[1]) if row else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Play all seeds and print what they came to; 1 where anything is amiss."""
    parser = argparse.ArgumentParser(description="Settle copies of the same mails from many threads in random order.")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--threads", type=int, default=50)
    parser.add_argument("--mails", type=int, default=2000)
    parser.add_argument("--stores", choices=["mariadb", "sqlite"], default="mariadb")
    given = parser.parse_args(arguments)
    server: MariaDbServer | None = None
    with tempfile.TemporaryDirectory(prefix="dealmail-storm-") as name:
        try:
            if given.stores == "mariadb":
                server = MariaDbServer(options=["--max-connections=200"]).start()
                spec = DatabaseSpec(server.url, server.password_ref)
            else:
                spec = DatabaseSpec(f"sqlite:///{name}/storm.db")
            database = Database(spec)
            migrate.upgrade(database)
            storm = Storm(database, pathlib.Path(name), mails=given.mails, threads=given.threads)
            print(
                f"{given.stores}: {given.mails:,} mails, {len(storm.world.copies):,} copies in {len(storm.rows_of)} mailboxes,"
                f" {given.threads} threads; {100 * seen_share(storm, 0):.0f} % are settled without their body first"
            )
            results = []
            for seed in range(given.first, given.first + given.seeds):
                before = _status(database, "Innodb_deadlocks") if server else 0
                results.append(result := storm.play(seed))
                deadlocks = _status(database, "Innodb_deadlocks") - before if server else 0
                print(
                    f"seed {seed}: {'as it must be' if result.is_good else result}; {result.settled:,} settled in {result.rounds}"
                    f" rounds, {deadlocks} deadlocks, {result.given_up} batches given up; {result.seconds:.1f} s,"
                    f" load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )
            database.close()
        except ServerUnavailableError as error:
            print(error, file=sys.stderr)
            return 2
        finally:
            if server is not None:
                server.stop()
    good = sum(result.is_good for result in results)
    print(f"{good} of {len(results)} seeds came to the same rows, which are those that the world demands")
    return 0 if good == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
