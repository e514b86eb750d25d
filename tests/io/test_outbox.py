from __future__ import annotations

import datetime as dt
import functools
import random
import threading

import pytest
import sqlalchemy as sa

from dealmail.io import documents, index_check, removal, schema
from dealmail.io.outbox import Outbox
from dealmail.io.search import IndexEntry, IndexUnavailableError, SearchQuery, SearchSpec, open_index
from dealmail.transforms.errors import StoreUnavailableError


@pytest.fixture
def outbox(database, search_index, clock):
    return Outbox(database, search_index, now=clock, chance=random.Random(1))


@pytest.fixture
def small(sqlite_database, fts_search_index, clock):
    return Outbox(sqlite_database, fts_search_index, now=clock, chance=random.Random(1), batch_count=3)


def waiting(database):
    with database.reading() as connection:
        return connection.execute(sa.select(schema.search_outbox).order_by("team_id", "engagement_id")).mappings().all()


def agree(database, index):
    report = index_check.check(database, index)
    assert (report.equal, report.waiting) == (True, 0), report
    return report.engagements


class TestOnEveryPairOfStores:
    def test_drain_brings_everything_to_the_index_once(self, database, search_index, outbox, store):
        store(database, range(1200))
        assert outbox.backlog().waiting == 1200
        assert outbox.drain(700) == 700
        assert outbox.drain(5000) == 500
        assert outbox.drain(5000) == 0
        assert waiting(database) == []
        assert agree(database, search_index) == 1200
        search_index.refresh()
        (hit,) = search_index.search("t1", SearchQuery("number1199"))
        assert (hit.subject, hit.sender_address) == ("Offer 1199", "person2@customer2.example")

    def test_index_takes_only_what_it_is_told(self, database, search_index, outbox, store):
        ids = store(database, range(10))
        store(database, range(10), team_id="t2")
        assert outbox.index("t1", ids[:4]) == 4
        assert outbox.index("t1", ids[:4]) == 0
        assert {one.engagement_id for one in search_index.scan("t1")} == set(ids[:4])
        assert list(search_index.scan("t2")) == []
        assert len(waiting(database)) == 16

    def test_delete_and_return(self, database, search_index, outbox, store, clock):
        ids = store(database, range(4))
        outbox.drain(10)
        clock.advance(seconds=1)
        database.transaction(lambda c: removal.delete_engagements(database, c, "t1", ids[:2], clock()))
        assert outbox.drain(10) == 2
        assert [one.engagement_id for one in search_index.scan()] == ids[2:]
        clock.advance(seconds=1)
        store(database, [0])
        assert outbox.drain(10) == 1
        assert agree(database, search_index) == 3

    def test_newer_version_on_the_outbox_stays_there(self, database, search_index, outbox, store, clock):
        """Settled again between the reading of the outbox and the taking off."""
        ids = store(database, range(3))
        ready = outbox._ready(outbox._read())
        clock.advance(seconds=1)
        store(database, [1], text="changed meanwhile")
        outbox._write(ready)
        assert [row["engagement_id"] for row in waiting(database)] == [ids[1]]
        assert outbox.drain(10) == 1
        assert agree(database, search_index) == 3
        search_index.refresh()
        assert [hit.engagement_id for hit in search_index.search("t1", SearchQuery("meanwhile"))] == [ids[1]]

    def test_four_drains_at_once_and_a_writer(self, database, search_index, store, clock):
        store(database, range(300))

        def drain(seed):
            mine = Outbox(database, search_index, now=clock, chance=random.Random(seed), batch_count=20)
            while mine.drain(100):
                pass

        threads = [threading.Thread(target=drain, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for version in range(2, 5):
            store(
                database, range(0, 300, 7), version=removal.clock_version(clock()) + version, text=f"version {version}"
            )
        for thread in threads:
            thread.join()
        drain(9)
        assert waiting(database) == []
        assert agree(database, search_index) == 300

    def test_mail_that_comes_back_by_a_clock_behind_the_deleters(self, database, search_index, outbox, store, clock):
        """One process deleted it with its clock two hours ahead; another one, whose clock is right, stores it again."""
        ids = store(database, range(3))
        outbox.drain(10)
        clock.advance(hours=2)
        database.transaction(lambda c: removal.delete_engagements(database, c, "t1", ids[:2], clock()))
        assert outbox.drain(10) == 2
        clock.advance(hours=-2, seconds=5)
        store(database, [0, 1])
        for _ in range(4):
            outbox.drain(10)
        assert waiting(database) == []
        assert agree(database, search_index) == 3

    def test_check_finds_and_repair_mends_every_kind(self, database, search_index, outbox, store, clock):
        ids = store(database, range(1100))
        outbox.drain(5000)
        held = {one.engagement_id: one for one in search_index.scan()}
        with database.reading() as connection:
            found = documents.read_documents(connection, [("t1", one) for one in ids])
        entries = {key[1]: IndexEntry(*key, made.version, made.document) for key, made in found.items()}
        index_missing = ids[3]
        search_index.put([_entry(entries[index_missing], held[index_missing].version + 1, None)])  # missing
        document = dict(entries[ids[5]].document, digest="0" * 64, text="tampered")
        search_index.put([_entry(entries[ids[5]], held[ids[5]].version, document)])  # content
        search_index.put([_entry(entries[ids[7]], held[ids[7]].version + 50, entries[ids[7]].document)])  # newer
        with database.engine.begin() as connection:  # older, extra: changed behind the outbox's back
            connection.execute(sa.update(schema.engagement).where(schema.engagement.c.id == ids[9]).values(
                version=schema.engagement.c.version + 5, subject="Another"))  # fmt: skip
            connection.execute(sa.delete(schema.engagement).where(schema.engagement.c.id == ids[1099]))
        report = index_check.check(database, search_index)
        assert report.differences == {"missing": 1, "content": 1, "newer": 1, "older": 1, "extra": 1}
        assert (report.engagements, report.indexed, report.equal) == (1099, 1099, False)
        assert {d.engagement_id for d in report.examples} == {ids[n] for n in (3, 5, 7, 9, 1099)}
        clock.advance(seconds=1)
        assert index_check.repair(database, search_index, now=clock).mended == 5
        assert index_check.check(database, search_index).waiting == 5
        assert outbox.drain(100) == 5
        agree(database, search_index)
        search_index.refresh()
        assert search_index.search("t1", SearchQuery("tampered")) == []

    def test_repair_of_what_the_index_forgot_with_a_delete_of_a_newer_version(
        self, database, search_index, outbox, store, clock
    ):
        store(database, [1])
        outbox.drain(1)
        (held,) = search_index.scan()
        search_index.put([_entry(held, held.version + 1000, None)])
        for _ in range(12):  # the delete's version is not shown: each repair offers a newer one
            if index_check.check(database, search_index).equal:
                break
            clock.advance(seconds=1)
            index_check.repair(database, search_index, now=clock)
            outbox.drain(10)
        agree(database, search_index)

    def test_rebuild_fills_a_fresh_index(self, database, search_index, outbox, store, clock):
        store(database, range(700))
        store(database, range(30), team_id="t2")
        assert index_check.rebuild(database, search_index, outbox, now=clock) == 730
        assert agree(database, search_index) == 730
        assert waiting(database) == []
        store(database, [5000], version=removal.clock_version(clock()) + 1)
        outbox.drain(10)
        assert agree(database, search_index) == 731

    def test_rebuild_while_mail_flows_and_is_erased(self, database, search_index, store, clock):
        store(database, range(600))
        outbox = Outbox(database, search_index, now=clock)
        outbox.drain(1000)
        missing_moments = []
        stop = threading.Event()

        def flow():
            mine = Outbox(database, search_index, now=clock)
            for number in range(600, 640):
                version = removal.clock_version(clock()) + number
                store(database, [number, number - 600], version=version)
                erased = f"{number - 300:032x}"
                database.transaction(lambda c, e=erased: removal.delete_engagements(database, c, "t1", [e], clock()))
                mine.drain(100)
                if search_index.lookup([("t1", erased)]):
                    missing_moments.append(f"{erased} came back")
                if not search_index.lookup([("t1", f"{number:032x}")]):
                    missing_moments.append(f"{number} is not there")
            stop.set()

        def look():
            while not stop.wait(0.01):
                try:
                    if not search_index.search("t1", SearchQuery("number599")):
                        missing_moments.append("number599")
                except StoreUnavailableError as error:
                    missing_moments.append(str(error))

        search_index.refresh()
        threads = [threading.Thread(target=flow), threading.Thread(target=look)]
        for thread in threads:
            thread.start()
        index_check.rebuild(database, search_index, outbox, now=clock)
        for thread in threads:
            thread.join()
        while outbox.drain(1000):
            pass
        assert missing_moments == []
        assert agree(database, search_index) == 600


def _entry(like, version, document):
    return IndexEntry(like.team_id, like.engagement_id, version, document)


class TestBatches:
    def test_small_batches_carry_everything(self, sqlite_database, fts_search_index, small, store):
        store(sqlite_database, range(20))
        assert small.drain(100) == 20
        assert agree(sqlite_database, fts_search_index) == 20

    def test_long_texts_go_in_batches_by_size(self, sqlite_database, fts_search_index, clock, store):
        puts = []

        class Watched:
            def ensure(self):
                pass

            def prepare(self, entries):
                return functools.partial(self.put, list(entries))

            def put(self, entries):
                puts.append(len(entries))
                return fts_search_index.put(entries)

        outbox = Outbox(sqlite_database, Watched(), now=clock, batch_bytes=100_000)
        store(sqlite_database, range(4), text="word " * 8_000)
        store(sqlite_database, range(4, 10), text="word " * 30_000)
        assert outbox.drain(100) == 10
        assert puts == [2, 2, 1, 1, 1, 1, 1, 1]
        assert agree(sqlite_database, fts_search_index) == 10


class Overtaking:
    """An index that acknowledges a batch, and looks at what the outbox still holds at that moment."""

    def __init__(self, index, database):
        self.index, self.database = index, database
        self.puts, self.fail_at, self.taken = [], None, []

    def ensure(self):
        pass

    def prepare(self, entries):
        return functools.partial(self.put, list(entries))

    def put(self, entries):
        self.puts.append([entry.engagement_id for entry in entries])
        if len(self.puts) == self.fail_at:
            raise IndexUnavailableError("search: it is gone")
        waits = {row["engagement_id"] for row in waiting(self.database)}
        self.taken += [one for one in self.puts[-1] if one not in waits]
        return self.index.put(entries)


class TestOverlap:
    """While the index takes one batch, the one before is taken off the outbox and the next is read."""

    def test_no_row_goes_before_it_is_acknowledged(self, sqlite_database, fts_search_index, clock, store):
        ids = store(sqlite_database, range(20))
        index = Overtaking(fts_search_index, sqlite_database)
        outbox = Outbox(sqlite_database, index, now=clock, batch_count=3)
        assert outbox.drain(100) == 20
        assert [one for put in index.puts for one in put] == ids
        assert index.taken == []
        assert agree(sqlite_database, fts_search_index) == 20

    def test_after_a_batch_that_failed_none_is_sent(self, sqlite_database, fts_search_index, clock, store):
        ids = store(sqlite_database, range(20))
        index = Overtaking(fts_search_index, sqlite_database)
        index.fail_at = 3
        outbox = Outbox(sqlite_database, index, now=clock, batch_count=3)
        assert outbox.drain(100) == 6
        assert outbox.down == "search: it is gone"
        assert index.puts == [ids[0:3], ids[3:6], ids[6:9]]
        rows = waiting(sqlite_database)
        assert [(row["engagement_id"], row["attempts"]) for row in rows] == [
            (one, int(number < 3)) for number, one in enumerate(ids[6:])
        ]

    def test_a_database_that_fails_while_the_index_takes_the_next_batch(
        self, sqlite_database, fts_search_index, clock, store
    ):
        """What is written and not taken off is written again; nothing is lost."""
        store(sqlite_database, range(20))
        outbox = Outbox(sqlite_database, fts_search_index, now=clock, batch_count=3)
        seen = []

        def fail(unused_connection, unused_cursor, text, *unused):
            if text.startswith("DELETE FROM search_outbox"):
                seen.append(text)
                if len(seen) == 2:
                    raise StoreUnavailableError("database: gone")

        sa.event.listen(sqlite_database.engine, "before_cursor_execute", fail)
        with pytest.raises(StoreUnavailableError, match="gone"):
            outbox.drain(100)
        sa.event.remove(sqlite_database.engine, "before_cursor_execute", fail)
        assert len(waiting(sqlite_database)) == 17
        assert len(list(fts_search_index.scan())) == 9
        assert outbox.drain(100) == 17
        assert agree(sqlite_database, fts_search_index) == 20

    def test_drains_open_no_connection_each(self, sqlite_database, fts_search_index, clock, store):
        outbox = Outbox(sqlite_database, fts_search_index, now=clock)
        for number in range(5):
            store(sqlite_database, [number])
            assert outbox.drain(10) == 1
        assert len(fts_search_index._open) == 1

    def test_an_empty_outbox_asks_nothing_of_the_index(self, sqlite_database, fts_search_index, clock):
        index = Overtaking(fts_search_index, sqlite_database)
        assert Outbox(sqlite_database, index, now=clock).drain(100) == 0
        assert index.puts == []


class TestIndexDown:
    @pytest.fixture
    def unreachable(self):
        index = open_index(SearchSpec("http://127.0.0.1:9"))  # the discard port: nobody listens
        yield index
        index.close()

    def test_nothing_is_lost_and_little_is_tried(self, sqlite_database, fts_search_index, unreachable, clock, store):
        ids = store(sqlite_database, range(50))
        outbox = Outbox(sqlite_database, unreachable, now=clock, chance=random.Random(3), batch_count=10)
        tries = 0
        for _ in range(60 * 60):  # an hour of ticks
            before = outbox._failures
            assert outbox.drain(1000) == 0
            assert outbox.index("t1", ids) == 0
            tries += outbox._failures - before
            clock.advance(seconds=1)
        assert outbox.down == "search: ConnectionError"
        assert 50 < tries < 90
        backlog = outbox.backlog()
        assert (backlog.waiting, backlog.parked) == (50, {})
        assert backlog.oldest == dt.timedelta(hours=1)
        clock.advance(minutes=2)
        back = Outbox(sqlite_database, fts_search_index, now=clock)
        assert back.drain(1000) == 50
        assert agree(sqlite_database, fts_search_index) == 50
        assert back.backlog().oldest == dt.timedelta()

    def test_rows_wait_for_their_time_and_release_frees_them(
        self, sqlite_database, fts_search_index, unreachable, clock, store
    ):
        store(sqlite_database, range(2))
        Outbox(sqlite_database, unreachable, now=clock, chance=random.Random(3)).drain(10)
        back = Outbox(sqlite_database, fts_search_index, now=clock)
        assert [row["attempts"] for row in waiting(sqlite_database)] == [1, 1]
        assert back.drain(10) == 0
        assert back.release("t2") == 0
        assert back.release("t1") == 2
        assert back.drain(10) == 2

    def test_full_disk_of_the_search_file(self, sqlite_database, fts_search_index, clock, store):
        store(sqlite_database, range(50), text="many different words " + " ".join(str(n) for n in range(500)))
        outbox = Outbox(sqlite_database, fts_search_index, now=clock)
        connection = fts_search_index._connection()
        pages = connection.execute("pragma page_count").fetchone()[0]
        connection.execute(f"pragma max_page_count = {pages + 5}")
        assert outbox.index("t1", [row["engagement_id"] for row in waiting(sqlite_database)]) == 0
        assert outbox.down == "search file: SQLITE_FULL"
        connection.execute("pragma max_page_count = 1000000")
        clock.advance(minutes=5)
        assert outbox.drain(100) == 50
        assert agree(sqlite_database, fts_search_index) == 50


@pytest.mark.parametrize("is_rebuilt", [False, True])
def test_nothing_of_what_is_erased_is_left_in_the_search_file(sqlite_database, clock, store, tmp_path, is_rebuilt):
    """Nor in what is being filled anew meanwhile, or was left behind by a rebuild that was killed."""
    index = open_index(SearchSpec(f"sqlite:///{tmp_path / 'own.db'}"))
    index.ensure()
    rebuild = index.rebuilding()
    if is_rebuilt:
        rebuild.__enter__()
    outbox = Outbox(sqlite_database, index, now=clock)
    store(sqlite_database, range(200))
    (gone,) = store(sqlite_database, [777], text="the xyzzyplugh secret of qwertzmarker")
    outbox.drain(1000)

    def bytes_of_file():
        return b"".join(path.read_bytes() for path in tmp_path.glob("own.db*"))

    assert b"xyzzyplugh" in bytes_of_file()
    clock.advance(seconds=1)
    sqlite_database.transaction(lambda c: removal.delete_engagements(sqlite_database, c, "t1", [gone], clock()))
    outbox.drain(10)
    index.compact()
    left = bytes_of_file()
    assert b"xyzzyplugh" not in left
    assert b"qwertzmarker" not in left
    assert b"777@customer" not in left
    assert [hit.engagement_id for hit in index.search("t1", SearchQuery("number5"))] == [f"{5:032x}"]
    index.close()
