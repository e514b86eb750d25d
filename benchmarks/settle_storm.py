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

from dealmail.io import index_check, migrate, schema
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
from dealmail.transforms.errors import StoreUnavailableError
from dealmail.transforms.records import (
    ClaimedMessage,
    CustomerMail,
    SeenCopy,
    Settleable,
)
from dealmail.transforms.write_to_mariadb import settling_order

from .storm_world import BEGAN, RESULT, TEAM, World, steady_row

KEY = Digests((b"a key for storms, 32 bytes long.",))
LARGEST_BATCH = 60


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
                found = Counter(steady_row(table, row) for row in connection.execute(sa.select(table)).mappings())
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
