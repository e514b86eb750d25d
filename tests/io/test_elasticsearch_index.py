"""Elasticsearch in trouble. After each fault both stores agree, the ledger adds up, and nothing is lost or doubled."""

from __future__ import annotations

import datetime as dt
import random
import re
import select
import socket
import threading

import elasticsearch
import pytest
import sqlalchemy as sa
from consistency import amiss, disagreement, pending
from slow_proxy import SlowProxy

from dealmail.io import elasticsearch_documents, index_check, schema
from dealmail.io.elasticsearch_errors import RetryError, judge_item
from dealmail.io.elasticsearch_index import ElasticsearchIndex
from dealmail.io.erasure import Erasing, Erasure
from dealmail.io.outbox import Outbox
from dealmail.io.search import DONE, STALE, IndexEntry, IndexUnavailableError, Outcome, SearchQuery, SearchSpec
from dealmail.io.vault import Digests
from dealmail.sandbox.elasticsearch_server import ElasticsearchServer
from dealmail.transforms.batches import cut
from dealmail.transforms.errors import StoreUnavailableError
from dealmail.transforms.records import MailText, Participant

pytestmark = pytest.mark.elasticsearch

TIGHT = {
    "indexing_pressure.memory.limit": "300kb",
    "thread_pool.write.size": "1",
    "thread_pool.write.queue_size": "1",
}


@pytest.fixture(scope="module")
def server(elasticsearch_url):  # elasticsearch_url: to be skipped where there is none
    """A server of this module's own, to be killed and throttled."""
    running = ElasticsearchServer(quick=True, settings=TIGHT).start()
    yield running
    running.stop()


@pytest.fixture
def client(server):
    with elasticsearch.Elasticsearch(server.url) as opened:
        yield opened


@pytest.fixture
def index(server, client):
    opened = ElasticsearchIndex(SearchSpec(server.url, index="fault", replicas=0), chance=random.Random(1))
    opened.ensure()
    yield opened
    opened.close()
    client.indices.delete(index=[str(row["index"]) for row in client.cat.indices(index="fault-*", format="json")])


@pytest.fixture
def outbox(sqlite_database, index, clock):
    return Outbox(sqlite_database, index, now=clock, chance=random.Random(1))


class Mails:
    """Mail that comes the way of the job: claimed in the ledger, settled, and by that on the outbox."""

    def __init__(self, sales, mail):
        self.sales, self.mail, self.rounds = sales, mail, 0
        self.mailbox = sales.add_mailbox("alice@corp.example")
        self.erasing = Erasing(sales.database, sales.clock, Digests((b"a key for tests, 32 bytes long..",)))

    def __call__(self, numbers, text=""):
        """Settle these mails, or of those that are there already a copy with another text that wins; the engagements' ids."""
        self.rounds += 1
        numbers = list(numbers)
        claims = self.sales.claim(self.mailbox, [f"g{number:05d}-{self.rounds}" for number in numbers])
        made = [
            self.mail(
                claim, number, sender=Participant(f"person{number}@customer.example", f"Person {number}"),
                body=MailText(text or f"Dear all, here is offer number{number}. Regards"),
                content_digest=f"{number}-{self.rounds}", rank=f"{1000 - self.rounds:04d}-{number}",
            )
            for claim, number in zip(claims, numbers, strict=True)
        ]  # fmt: skip
        for some in cut(made, 500):
            self.sales.settlements.settle(some)
        return [one.engagement_id for one in made]

    def erase(self, *numbers):
        """Erase the person who wrote this mail, for each."""
        for number in numbers:
            self.erasing.erase(Erasure("t1", person=f"person{number}@customer.example"))


@pytest.fixture
def mails(sqlite_database, make_sales, mail):
    return Mails(make_sales(sqlite_database), mail)


def count(database):
    with database.reading() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(schema.search_outbox)).scalar()


def agree(database, index):
    """Both stores and the ledger, which has decided every message; how many engagements there are."""
    assert disagreement(database, index) == []
    assert amiss(database) == []
    assert pending(database) == 0
    return index_check.check(database, index).engagements


def test_kill_mid_bulk_then_gone_for_a_while_then_back(sqlite_database, index, clock, mails, server):
    """Killed while it takes documents, gone while more change and some are erased, then started again."""
    mails(range(3000))
    outbox = Outbox(sqlite_database, index, now=clock, chance=random.Random(1), batch_count=100)
    drained = []
    thread = threading.Thread(target=lambda: drained.append(outbox.drain(5000)))
    thread.start()
    while count(sqlite_database) > 2200:
        thread.join(0.01)
    server.kill()
    thread.join(60)
    assert 800 <= drained[0] < 3000
    assert outbox.down.startswith("search: Connection")
    assert count(sqlite_database) == 3000 - drained[0]
    for _ in range(5):
        clock.advance(minutes=10)
        assert outbox.drain(5000) == 0
    mails(range(0, 3000, 100), text="changed while it was gone")
    mails.erase(1, 2998)
    server.start()
    clock.advance(minutes=10)
    while outbox.drain(5000):
        pass
    assert outbox.down == ""
    assert count(sqlite_database) == 0
    assert agree(sqlite_database, index) == 2998
    index.refresh()
    assert len(index.search("t1", SearchQuery("gone", limit=1000))) == 30


@pytest.mark.parametrize(
    ("setting", "words"),
    [("index.blocks.read_only_allow_delete", "flood-stage"), ("index.blocks.write", "refuses writes")],
)
def test_write_block_is_waited_out_and_named(sqlite_database, index, outbox, clock, mails, client, setting, words):
    mails(range(120))
    assert outbox.drain(50) == 50
    client.indices.put_settings(index="fault", settings={setting: True})
    assert outbox.drain(1000) == 0
    assert words in outbox.down
    assert count(sqlite_database) == 70
    clock.advance(seconds=20)
    assert outbox._is_due() is False  # half a minute at least: not hammered
    client.indices.put_settings(index="fault", settings={setting: None})
    clock.advance(minutes=1)
    assert outbox.drain(1000) == 70
    assert outbox.down == ""
    assert agree(sqlite_database, index) == 120


def test_block_during_delete(sqlite_database, index, outbox, clock, mails, client):
    mails(range(3))
    outbox.drain(10)
    client.indices.put_settings(index="fault", settings={"index.blocks.read_only_allow_delete": True})
    clock.advance(seconds=1)
    mails.erase(*range(3))
    assert outbox.drain(10) == 0
    client.indices.put_settings(index="fault", settings={"index.blocks.read_only_allow_delete": None})
    clock.advance(minutes=2)
    assert outbox.drain(10) == 3
    assert agree(sqlite_database, index) == 0


def test_memory_pressure_and_a_full_queue_slow_it_down_only(sqlite_database, index, clock, mails):
    """Every full chunk is above the node's memory limit, and four drains share a queue of one."""
    mails(range(300), text="pressure " * 250)
    done = []

    def drain(seed):
        mine = Outbox(sqlite_database, index, now=clock, chance=random.Random(seed), batch_count=200)
        done.append(mine.drain(300))

    threads = [threading.Thread(target=drain, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(20):
        clock.advance(minutes=5)
        if not Outbox(sqlite_database, index, now=clock).drain(1000):
            break
    assert count(sqlite_database) == 0
    assert agree(sqlite_database, index) == 300


def test_one_document_above_the_memory_limit_is_waited_for_not_dropped(sqlite_database, index, outbox, mails):
    mails([1], text="x " * 200_000)
    assert outbox.drain(10) == 0
    assert outbox.down == "search: HTTP 429 es_rejected_execution_exception"
    assert count(sqlite_database) == 1


def test_refused_document_is_parked_alone_and_comes_back_with_a_rebuild(
    sqlite_database, index, outbox, clock, mails, client
):
    ids = mails(range(20))
    mails([7], text="y " * 20_000)
    narrow = {
        **elasticsearch_documents.MAPPING,
        "properties": {**elasticsearch_documents.MAPPING["properties"], "text": {"type": "keyword"}},
    }
    old = next(iter(client.indices.get_alias(name="fault").body))
    client.indices.delete(index=old)
    client.indices.create(
        index="fault-narrow", mappings=narrow, settings={"number_of_replicas": 0}, aliases={"fault": {}}
    )
    assert outbox.drain(100) == 19
    backlog = outbox.backlog()
    assert (backlog.waiting, backlog.parked) == (0, {"document_parsing_exception": 1})
    assert outbox.drain(100) == 0
    report = index_check.check(sqlite_database, index)
    assert (report.equal, report.parked, report.differences) == (False, 1, {})
    assert outbox.release() == 1
    assert outbox.drain(100) == 0  # refused once more
    index_check.rebuild(sqlite_database, index, outbox, now=clock)
    backlog = outbox.backlog()
    assert (backlog.waiting, backlog.parked) == (0, {})
    assert agree(sqlite_database, index) == 20
    assert ids[7] in {one.engagement_id for one in index.scan()}


def test_request_refused_as_a_whole_is_split_until_the_one_to_blame_is_found(index):
    entries = [entry(n) for n in range(90)]
    for bad in (0, 41, 42, 89):
        entries[bad] = IndexEntry("t1", f"{bad:032x}", -3, entries[bad].document)  # no version: a validation error
    outcomes = index.put(entries)
    refused = [n for n, outcome in enumerate(outcomes) if outcome.status == "refused"]
    assert refused == [0, 41, 42, 89]
    assert {outcomes[n].error_class for n in refused} <= {
        "action_request_validation_exception",
        "illegal_argument_exception",
    }
    assert len(list(index.scan())) == 86


def test_unknown_field_is_refused(index):
    assert index.put([IndexEntry("t1", "a", 1, {"team_id": "t1", "surprise": 1})]) == [
        Outcome("refused", "strict_dynamic_mapping_exception")
    ]


def test_missing_alias_is_not_made_by_the_way(index, client):
    client.indices.delete(index=next(iter(client.indices.get_alias(name="fault").body)))
    with pytest.raises(IndexUnavailableError, match="alias is missing"):
        index.put([entry(1)])
    assert not client.indices.exists(index="fault")
    index.ensure()
    assert index.put([entry(1)]) == [DONE]


class AliasAwayOnce:
    """The client, but while its first bulk request is under way the alias stands for nothing, as between two of a rebuild's steps."""

    def __init__(self, client):
        self._client, self.indices, self.requests = client, client.indices, 0

    def bulk(self, **request):
        self.requests += 1
        if self.requests > 1:
            return self._client.bulk(**request)
        (real,) = self.indices.get_alias(name="fault").body
        self.indices.delete_alias(index=real, name="fault")
        answer = self._client.bulk(**request)
        self.indices.put_alias(index=real, name="fault", is_write_index=True)
        return answer


def test_an_alias_that_changes_hands_is_no_reason_to_wait(index, client):
    index._bulk._client = between = AliasAwayOnce(client)
    assert index.put([entry(1), entry(2)]) == [DONE, DONE]
    assert between.requests == 2
    assert {one.engagement_id for one in index.scan()} == {entry(1).engagement_id, entry(2).engagement_id}


def test_a_rebuild_leaves_other_aliases_alone(index, server):
    """Their names begin like ours."""
    other = ElasticsearchIndex(SearchSpec(server.url, index="fault-eu", replicas=0))
    other.ensure()
    other.put([entry(1)])
    with other.rebuilding() as theirs:
        with index.rebuilding() as ours:
            index.put([entry(2)])
            ours.refresh()
        theirs.put([entry(1)])
    assert [int(one.engagement_id, 16) for one in other.scan()] == [1]
    assert [int(one.engagement_id, 16) for one in index.scan()] == [2]
    other.close()


def test_what_a_killed_rebuild_left_costs_no_second_write_for_ever(index, client):
    left = "fault-1700000000000000"
    client.indices.create(index=left, mappings=elasticsearch_documents.MAPPING, aliases={f"{left}-filling": {}})
    index.put([entry(1)])
    assert client.count(index=left)["count"] == 0
    client.indices.delete(index=left)


@pytest.mark.slow  # it waits for a timer of Elasticsearch's own
def test_what_a_killed_rebuild_left_keeps_no_erased_mail(index, client):
    """No delete reaches it any more, so it goes with the bytes of what was deleted; a rebuild that may be under way goes on."""
    left = "fault-1700000000000000"
    client.indices.create(index=left, mappings=elasticsearch_documents.MAPPING, aliases={f"{left}-filling": {}})
    client.index(index=left, id="1", document=elasticsearch_documents.source(entry(1).document))
    index.put([entry(1)])
    with index.rebuilding() as fresh:
        fresh.put([entry(1)])
        index.put([IndexEntry("t1", entry(1).engagement_id, 2)])
        index.compact()
        assert not client.indices.exists(index=left)
    assert list(index.scan()) == []


def test_index_in_the_aliass_place_is_said(server, client):
    client.indices.create(index="taken")
    try:
        opened = ElasticsearchIndex(SearchSpec(server.url, index="taken"))
        with pytest.raises(StoreUnavailableError, match="taken is an index; an alias is needed"):
            opened.ensure()
    finally:
        client.indices.delete(index="taken")


def test_ensure_at_once_from_many_threads_makes_one_index(server, client):
    opened = [ElasticsearchIndex(SearchSpec(server.url, index="many", replicas=0)) for _ in range(6)]
    threads = [threading.Thread(target=one.ensure) for one in opened]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [str(row["index"]) for row in client.cat.indices(index="many-*", format="json")]
    assert len(made) == 1
    client.indices.delete(index=made)


def test_waiting_ends_at_once_when_it_is_stopped():
    stopped = threading.Event()
    stopped.set()
    opened = ElasticsearchIndex(SearchSpec("http://127.0.0.1:9"), stopped=stopped)
    with pytest.raises(IndexUnavailableError, match="stopped"):
        opened.put([entry(1)])


class CuttingProxy:
    """Passes TCP on to a server, and cuts every `every`th answer to a request off before its first byte."""

    def __init__(self, port, every):
        self._target, self._every, self._seen = port, every, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cut = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(near,), daemon=True))
            self._threads[-1].start()

    def _serve(self, near):
        with near, socket.create_connection(("127.0.0.1", self._target)) as far:
            asking = True
            while True:
                for ready in select.select([near, far], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if ready is far and asking:
                        self._seen += 1
                        if self._seen % self._every == 0:
                            self.cut += 1
                            return
                    asking = ready is near
                    (far if ready is near else near).sendall(data)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def test_lost_answers_are_asked_again(sqlite_database, index, clock, mails, server):
    """The server has written what it was sent, but the answer never comes."""
    mails(range(300))
    proxy = CuttingProxy(server.port, every=3)
    try:
        spec = SearchSpec(f"http://127.0.0.1:{proxy.port}", index="fault", replicas=0)
        lossy = ElasticsearchIndex(spec, chunk_count=10, chance=random.Random(5))
        outbox = Outbox(sqlite_database, lossy, now=clock)
        for _ in range(100):
            outbox.drain(1000)
            if not count(sqlite_database):
                break
            clock.advance(minutes=2)
        lossy.close()
    finally:
        proxy.close()
    assert proxy.cut > 5
    assert count(sqlite_database) == 0
    assert agree(sqlite_database, index) == 300


PATIENCE_S = 3  # long enough for a busy machine to answer all that is not held


def hasty(proxy, **options):
    """The index behind a proxy, for somebody who does not wait long."""
    spec = SearchSpec(f"http://127.0.0.1:{proxy.port}", index="fault", replicas=0)
    return ElasticsearchIndex(spec, patience_s=PATIENCE_S, chance=random.Random(5), **options)


def test_slow_answers_time_out_and_are_asked_again(sqlite_database, index, clock, mails, server):
    """The server takes every bulk, but says so too late now and then: what became of those is unknown at first."""
    mails(range(120))
    proxy = SlowProxy(server.port, every=4)
    slow = hasty(proxy, chunk_count=20)
    outbox = Outbox(sqlite_database, slow, now=clock, chance=random.Random(1), batch_count=60)
    slow.ensure()
    proxy.again("hold answer")
    for _ in range(20):
        outbox.drain(1000)
        if not count(sqlite_database):
            break
        clock.advance(minutes=2)
    slow.close()
    proxy.close()
    assert proxy.count >= 2
    assert count(sqlite_database) == 0
    assert agree(sqlite_database, index) == 120


def test_a_bulk_that_arrives_long_after_its_sender_gave_up_changes_nothing(
    sqlite_database, index, clock, mails, server
):
    """It is on its way for so long that one of its mails has changed and another is erased when it comes."""
    ids = mails(range(6))
    proxy = SlowProxy(server.port)
    late = hasty(proxy)
    late.ensure()
    outbox = Outbox(sqlite_database, late, now=clock)
    ready = outbox._ready(outbox._read())
    proxy.trouble = "hold request"
    late._stopped.set()  # one try, and no waiting for another
    with pytest.raises(IndexUnavailableError):
        ready.put()
    assert proxy.count == 1
    assert count(sqlite_database) == 6
    clock.advance(minutes=1)
    mails([2], text="changed meanwhile")
    mails.erase(4)
    assert Outbox(sqlite_database, index, now=clock).drain(100) == 6
    assert agree(sqlite_database, index) == 5
    proxy.answered.clear()
    proxy.release()
    assert proxy.answered.wait(60)
    assert agree(sqlite_database, index) == 5
    assert [hit.engagement_id for hit in index.search("t1", SearchQuery("meanwhile"))] == [ids[2]]
    late.close()
    proxy.close()


@pytest.mark.slow  # it waits for a timer of Elasticsearch's own
def test_nothing_of_what_is_erased_is_left_in_the_data_directory(
    sqlite_database, index, outbox, clock, mails, server, client
):
    mails(range(50))
    mails([777], text="the xyzzyplugh secret of qwertzmarker")
    outbox.drain(1000)
    client.indices.flush(index="fault", force=True)

    def left():
        found = b"".join(path.read_bytes() for path in server.dir.glob("data/**/*") if path.is_file())
        return {marker for marker in (b"xyzzyplugh", b"qwertzmarker") if marker in found}

    assert left() == {b"xyzzyplugh", b"qwertzmarker"}
    clock.advance(seconds=1)
    mails.erase(777)
    outbox.drain(10)
    index.compact()
    assert left() == set()
    assert agree(sqlite_database, index) == 50


def test_logs_hold_nothing_of_refused_documents(index, caplog):
    caplog.set_level("DEBUG")
    with_marker = IndexEntry("t1", "a", 1, {"team_id": "t1", "truncated": "xyzzyplugh"})
    (outcome,) = index.put([with_marker])
    assert outcome.status == "refused"
    assert "xyzzyplugh" not in outcome.error_class
    assert not [r for r in caplog.records if r.name.startswith("dealmail") and "xyzzyplugh" in r.getMessage()]


def entry(number):
    from dealmail.io import search

    row = {
        "team_id": "t1", "id": f"{number:032x}", "message_id": f"{number}@x.example", "direction": "inbound", "sender_name": "",
        "sent_at": dt.datetime(2026, 3, 1, tzinfo=dt.UTC), "sender_address": "a@x.example", "subject": "s", "text": "t",
        "truncated": False,
    }  # fmt: skip
    return IndexEntry("t1", row["id"], 1, search.document(row, [], [], []))


@pytest.mark.parametrize(
    ("status", "error", "outcome"),
    [
        (200, None, DONE),
        (201, None, DONE),
        (404, None, DONE),
        (409, {"type": "version_conflict_engine_exception"}, STALE),
        (
            400,
            {"type": "document_parsing_exception", "reason": "secret"},
            Outcome("refused", "document_parsing_exception"),
        ),
        (403, {"type": "security_exception"}, Outcome("refused", "security_exception")),
    ],
)
def test_item_is_judged(status, error, outcome):
    assert judge_item(status, error) == outcome


@pytest.mark.parametrize(
    ("status", "kind", "reason", "says", "blocked"),
    [
        (429, "es_rejected_execution_exception", "", "429", False),
        (503, "unavailable_shards_exception", "", "503", False),
        (
            429,
            "cluster_block_exception",
            "index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage]",
            "flood-stage",
            True,
        ),
        (403, "cluster_block_exception", "blocked by: [FORBIDDEN/8/index write (api)]", "refuses writes", True),
        (404, "index_not_found_exception", "", "alias is missing", True),
    ],
)
def test_item_to_be_sent_again(status, kind, reason, says, blocked):
    with pytest.raises(RetryError, match=re.escape(says)) as caught:
        judge_item(status, {"type": kind, "reason": reason})
    assert caught.value.blocked is blocked
