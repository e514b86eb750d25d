"""How fast does what waits on the search outbox reach the index, and what does a long outbox cost?

    python -m benchmarks.bench_index [--engagements 20000] [--rounds 3] [--parts elasticsearch,outage,fts,memory]

* elasticsearch: `Outbox.drain` from MariaDB to Elasticsearch (reading rows, building documents, indexing, taking off the
  outbox) beside a bare `helpers.streaming_bulk` of the same documents, ready-made in memory, into an index of the same
  settings. They take turns every 5,000 documents, so that whatever else the machine does hits both alike. Both servers are
  started privately, with their full compilers. Goal: 0.8 of the bare rate or better, in every round.
* outage: Elasticsearch is gone for an hour (of a clock that is moved), in which mail comes in and a tick each second asks for a
  drain; what the backlog shows then, and how fast it goes, tick by tick, once the server is back (its compilers cold).
* fts: the same drain from SQLite to FTS5.
* memory: how much a process grows while it drains 100,000 waiting rows.

Prints one line of JSON a part; ends with 1 where the goal is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime as dt
import json
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import elasticsearch
import sqlalchemy as sa
from elasticsearch import helpers

from dealmail.io import documents, elasticsearch_documents, elasticsearch_index, index_check, migrate, removal, schema
from dealmail.io.database import Database, DatabaseSpec
from dealmail.io.outbox import Outbox
from dealmail.io.search import SearchSpec, open_index
from dealmail.sandbox.elasticsearch_server import ElasticsearchServer
from dealmail.sandbox.mariadb_server import MariaDbServer
from dealmail.sandbox.private_server import Server, ServerUnavailableError

from . import process_memory

WORDS = [f"{a}{b}" for a in ("offer", "price", "ship", "plan", "team", "call", "note", "deal") for b in range(400)]


SLICE = 5_000
SETTINGS = {"number_of_replicas": 0, "refresh_interval": "1s", "gc_deletes": elasticsearch_index.GC_DELETES}
"""The settings of the job's own index."""
GOAL = 0.8


def now() -> dt.datetime:
    """The wall clock."""
    return dt.datetime.now(dt.UTC)


def fill(database: Database, count: int, size: int = 2000) -> None:
    """Write `count` engagements with bodies of about `size` characters, two participants, two links and one copy each."""
    chance = random.Random(7)
    at = now()
    for start in range(0, count, 1000):
        rows, people, links, copies = [], [], [], []
        for number in range(start, min(count, start + 1000)):
            key = f"{chance.getrandbits(128):032x}"
            mine = {"team_id": "bench", "engagement_id": key}
            text = " ".join(chance.choices(WORDS, k=max(1, size // 8)))
            sender = f"person{number % 997}@customer{number % 97}.example"
            rows.append({
                "team_id": "bench", "id": key, "message_id": f"{number}@bench.example", "sent_at": at - dt.timedelta(minutes=number),
                "direction": "inbound", "sender_address": sender, "sender_name": f"Person {number % 997}", "subject": text[:40],
                "text": text, "spans": [], "truncated": False, "flags": [], "content_digest": f"{number:064x}", "rank": "r",
                "version": removal.clock_version(at), "created_at": at, "updated_at": at,
            })  # fmt: skip
            people += [
                {**mine, "role": "from", "position": 0, "address": sender, "name": f"Person {number % 997}"},
                {**mine, "role": "to", "position": 0, "address": "rep@team.example", "name": "Rep"},
            ]
            links += [
                {**mine, "kind": "account", "target_id": f"a{number % 97}", "is_primary": True, "via": "domain"},
                {**mine, "kind": "opportunity", "target_id": f"o{number % 97}", "is_primary": True, "via": "account"},
            ]
            copies.append({**mine, "mailbox_id": "m1", "gmail_id": f"{number:x}", "content_digest": f"{number:064x}"})
        with database.engine.begin() as connection:
            connection.execute(sa.insert(schema.engagement), rows)
            connection.execute(sa.insert(schema.participant), people)
            connection.execute(sa.insert(schema.engagement_link), links)
            connection.execute(sa.insert(schema.engagement_copy), copies)


def enqueue_all(database: Database, *, at: dt.datetime | None = None, part: tuple[int, int] | None = None) -> None:
    """Put every engagement on the outbox, or those of a part (first, how many); as of `at`, else of their last change."""
    columns = (schema.engagement.c.team_id, schema.engagement.c.id, schema.engagement.c.version)
    since = schema.engagement.c.updated_at if at is None else sa.literal(at, schema.UtcDateTime)
    with database.engine.begin() as connection:
        chosen = sa.select(*columns, sa.literal(False), since, sa.literal(0))
        if part is not None:
            chosen = chosen.order_by(schema.engagement.c.id).offset(part[0]).limit(part[1])
        names = ["team_id", "engagement_id", "version", "is_delete", "enqueued_at", "attempts"]
        connection.execute(sa.insert(schema.search_outbox).from_select(names, chosen))


@contextlib.contextmanager
def started(kind: type[Server]) -> Iterator[Any]:
    """A private server, stopped afterwards."""
    server = kind(None)
    try:
        yield server.start()  # type: ignore[attr-defined]  # both kinds have it
    finally:
        server.stop()


def drain(outbox: Outbox, count: int) -> None:
    """Bring `count` waiting rows to the index."""
    done = 0
    while done < count:
        moved = outbox.drain(min(SLICE, count - done))
        if not moved:
            raise SystemExit(f"the outbox does not move: {outbox.down}")
        done += moved


def bench_elasticsearch(count: int, rounds: int) -> dict[str, Any]:
    """Drain and bare bulk, slice by slice in turns."""
    with started(MariaDbServer) as mariadb, started(ElasticsearchServer) as server:
        database = Database(DatabaseSpec(mariadb.url, mariadb.password_ref))
        migrate.upgrade(database)
        fill(database, count)
        ready = [
            {
                "_op_type": "index", "_id": elasticsearch_documents.document_id(*key), "version": found.version,
                "version_type": "external_gte", "_source": elasticsearch_documents.source(found.document),
            }
            for batch in documents.all_documents(database)
            for key, found in batch.items()
        ]  # fmt: skip
        bare, ours = [], []
        with elasticsearch.Elasticsearch(server.url, request_timeout=120) as client:
            for round_ in range(rounds + 1):  # the first one warms the server up and does not count
                one, other = f"bare-{round_}", f"drain-{round_}"
                client.indices.create(index=one, settings=SETTINGS, mappings=elasticsearch_documents.MAPPING)
                index = open_index(SearchSpec(server.url, index=other, replicas=0))
                index.ensure()
                enqueue_all(database)
                outbox = Outbox(database, index, now=now)
                seconds = {"bare": 0.0, "drain": 0.0}
                for number, start in enumerate(range(0, count, SLICE)):
                    some = ready[start : start + SLICE]
                    for who in ("bare", "drain") if number % 2 else ("drain", "bare"):
                        begin = time.perf_counter()
                        if who == "drain":
                            drain(outbox, len(some))
                        else:
                            for _ in helpers.streaming_bulk(
                                client, ({**a, "_index": one} for a in some), chunk_size=500
                            ):
                                pass
                        seconds[who] += time.perf_counter() - begin
                bare.append(count / seconds["bare"])
                ours.append(count / seconds["drain"])
                if round_ == rounds and not index_check.check(database, index).equal:
                    raise SystemExit("the stores differ")
                client.indices.delete(index=[one, next(iter(client.indices.get_alias(name=other).body))])
                index.close()
        database.close()
    ratios = [mine / theirs for mine, theirs in zip(ours[1:], bare[1:], strict=True)]
    return {
        "part": "elasticsearch", "documents": count, "rounds": rounds,
        "bare_per_s": round(statistics.median(bare[1:])), "drain_per_s": round(statistics.median(ours[1:])),
        "ratio": round(statistics.median(ratios), 2), "ratios": [round(r, 2) for r in ratios], "goal": GOAL,
    }  # fmt: skip


def bench_outage(count: int) -> dict[str, Any]:
    """An hour without Elasticsearch while `count` mails come in, then the way back."""
    clock = [now()]
    with started(MariaDbServer) as mariadb, started(ElasticsearchServer) as server:
        database = Database(DatabaseSpec(mariadb.url, mariadb.password_ref))
        migrate.upgrade(database)
        fill(database, count)
        index = open_index(SearchSpec(server.url, replicas=0))
        index.ensure()
        server.kill()
        outbox = Outbox(database, index, now=lambda: clock[0])
        begin = time.process_time()
        for minute in range(60):
            enqueue_all(
                database, at=clock[0], part=(minute * count // 60, (minute + 1) * count // 60 - minute * count // 60)
            )
            for _ in range(60):
                if outbox.drain(SLICE):
                    raise SystemExit("it drains to nowhere")
                clock[0] += dt.timedelta(seconds=1)
        asked = time.process_time() - begin
        backlog = outbox.backlog()
        server.start()
        begin, waited, ticks, done = time.perf_counter(), 0, 0, 0
        while done < count:
            moved = outbox.drain(SLICE)
            if not moved:  # the pause before the next try, of a minute and a quarter at the most
                clock[0] += dt.timedelta(seconds=1)
                waited += 1
                if waited > 80:
                    raise SystemExit(f"the outbox does not move: {outbox.down}")
            done, ticks = done + moved, ticks + bool(moved)
        seconds = time.perf_counter() - begin
        if not index_check.check(database, index).equal:
            raise SystemExit("the stores differ")
        left = outbox.backlog().waiting
        index.close()
        database.close()
    return {
        "part": "outage", "waiting": backlog.waiting, "oldest_s": round(backlog.oldest.total_seconds()),
        "processor_s_while_gone": round(asked, 1), "pause_s": waited, "ticks": ticks, "drain_s": round(seconds, 1),
        "drain_per_s": round(count / seconds), "left": left,
    }  # fmt: skip


def bench_fts(count: int, rounds: int) -> dict[str, Any]:
    """Drain to FTS5."""
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        database = Database(DatabaseSpec(f"sqlite:///{folder}/dealmail.db"))
        migrate.upgrade(database)
        fill(database, count)
        for round_ in range(rounds):
            index = open_index(SearchSpec(f"sqlite:///{folder}/search-{round_}.db"))
            index.ensure()
            enqueue_all(database)
            begin = time.perf_counter()
            drain(Outbox(database, index, now=now), count)
            rates.append(count / (time.perf_counter() - begin))
            index.close()
        database.close()
    return {
        "part": "fts",
        "documents": count,
        "drain_per_s": round(statistics.median(rates)),
        "all": [round(r) for r in rates],
    }


def bench_memory(count: int = 100_000) -> dict[str, Any]:
    """Peak growth of a process that drains `count` rows, measured in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(DatabaseSpec(f"sqlite:///{folder}/dealmail.db"))
        migrate.upgrade(database)
        fill(database, count, 200)
        enqueue_all(database)
        database.close()
        command = [sys.executable, "-m", "benchmarks.bench_index", "--drain-in", folder]
        root = pathlib.Path(__file__).parents[1]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=root).stdout
    return {"part": "memory", "waiting": count, **json.loads(answer)}


def drain_in(folder: pathlib.Path) -> dict[str, Any]:
    """Drain what waits in `folder`; how much memory that took beyond the first 500 rows."""
    database = Database(DatabaseSpec(f"sqlite:///{folder}/dealmail.db"))
    index = open_index(SearchSpec(f"sqlite:///{folder}/search.db"))
    index.ensure()
    outbox = Outbox(database, index, now=now)
    outbox.backlog()
    before = process_memory.forget_peak()
    moved = outbox.drain(500)
    one_batch = process_memory.peak()
    moved += outbox.drain(1_000_000)
    after = process_memory.peak()
    return {
        "drained": moved,
        "process_mb": round(before),
        "one_batch_mb": round(one_batch - before),
        "all_mb": round(after - before),
    }


@dataclasses.dataclass(frozen=True)
class _Part:
    run: Any
    arguments: tuple[int, ...]


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engagements", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", default="elasticsearch,outage,fts,memory")
    parser.add_argument("--drain-in", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drain_in:
        sys.stdout.write(json.dumps(drain_in(options.drain_in)) + "\n")
        return
    parts = {
        "elasticsearch": _Part(bench_elasticsearch, (options.engagements, options.rounds)),
        "outage": _Part(bench_outage, (options.engagements,)),
        "fts": _Part(bench_fts, (options.engagements, options.rounds)),
        "memory": _Part(bench_memory, ()),
    }
    missed = False
    for name in options.parts.split(","):
        try:
            answer = parts[name].run(*parts[name].arguments)
        except ServerUnavailableError as error:
            answer = {"part": name, "skipped": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        missed = missed or min(answer.get("ratios", [GOAL])) < GOAL
    sys.exit(missed)


if __name__ == "__main__":
    main()
