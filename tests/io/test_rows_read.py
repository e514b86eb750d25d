"""What a question reads grows with its answer, and not with all that the table holds besides."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from rows_read import analyze, steps

from dealmail.io import documents, ledger_changes, listings, opt_out, quota, schema, search_plan, tombstones
from dealmail.io.chores import FILL_EVERY, ChoreKind, DatabaseChores
from dealmail.io.erasure import Erasing, Erasure
from dealmail.io.outbox import Outbox
from dealmail.io.vault import Digests
from dealmail.transforms import decisions, retries
from dealmail.transforms.records import Failure

LITTLE, MUCH = 300, 3_000
SECOND, HOUR, DAY = dt.timedelta(seconds=1), dt.timedelta(hours=1), dt.timedelta(days=1)
DIGESTS = Digests((b"a key for tests, 32 bytes long..",))

Add = Callable[[range], None]


def put(sales: Any, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    sales.database.transaction(lambda c: sales.database.insert(c, table, rows))


def more(sales: Any, add: Add, work: Callable[[], Any], of: str = "") -> tuple[int, int]:
    """What `work` takes where there is little beside its answer, and where there is ten times as much."""
    add(range(LITTLE))
    analyze(sales.database)
    work()  # statements are compiled, connections made
    before = steps(sales.database, work, of)
    add(range(LITTLE, MUCH))
    analyze(sales.database)
    return before, steps(sales.database, work, of)


def alike(found: tuple[int, int]) -> bool:
    before, after = found
    return after <= 1.1 * before + 20


# --- the outbox --------------------------------------------------------------------------------------------------------
@pytest.fixture
def outbox(sales: Any, fts_search_index: Any) -> Outbox:
    return Outbox(sales.database, fts_search_index, now=sales.clock)


def enqueue(sales: Any, numbers: range, **columns: Any) -> None:
    rows = [
        {
            "team_id": "t1", "engagement_id": f"{number:032x}", "version": 1, "is_delete": True, "enqueued_at": sales.clock(),
            "not_before": None, "attempts": 0, "error_class": None, **columns,
        }
        for number in numbers
    ]  # fmt: skip
    put(sales, schema.search_outbox, rows)


def test_when_the_outbox_is_due_is_told_however_much_waits(sales: Any, outbox: Outbox) -> None:
    """Asked once a second, and most of all while the index is down and everything waits."""
    soon = sales.clock() + HOUR
    enqueue(sales, range(100_000, 100_001), not_before=soon)

    def ask() -> None:
        assert outbox.next_due(sales.clock()) == soon

    assert alike(more(sales, lambda numbers: enqueue(sales, numbers, not_before=soon + HOUR), ask))


def test_what_the_index_refuses_is_not_gone_through_by_each_drain(sales: Any, outbox: Outbox) -> None:
    def drain() -> None:
        sales.clock.advance(seconds=1)
        enqueue(sales, range(100_000, 100_005))
        assert outbox.drain(5) == 5

    def refuse(numbers: range) -> None:
        enqueue(sales, numbers, error_class="mapper_parsing_exception", enqueued_at=sales.clock() - DAY)

    assert alike(more(sales, refuse, drain, of="FROM search_outbox"))


# --- what is erased ----------------------------------------------------------------------------------------------------
def keep(sales: Any, numbers: range, at: dt.datetime, sender: str, team: str = "t1") -> None:
    """Store mails of that time and sender; the smaller the number, the sooner it is met in order of id."""
    engagements = [
        {
            "team_id": team, "id": f"{number:032x}", "message_id": "", "sent_at": at + number * SECOND, "direction": "inbound", "sender_address": sender,
            "subject": "", "text": "", "content_digest": "", "rank": "", "version": 1, "created_at": at, "updated_at": at,
        }
        for number in numbers
    ]  # fmt: skip
    people = [
        {"team_id": team, "engagement_id": row["id"], "role": "from", "position": 0, "address": sender}
        for row in engagements
    ]
    put(sales, schema.engagement, engagements)
    put(sales, schema.participant, people)


ERASED = 8 * 200
"""Eight pages."""


@pytest.mark.parametrize("what", ["retention", "domain", "person"])
def test_what_is_erased_is_paged_through_once(sales: Any, what: str) -> None:
    """Each page goes on where the one before ended: the number of pages does not multiply what is read."""
    sales.add_team("t3", retention_days=300)
    erasing = Erasing(sales.database, sales.clock, DIGESTS)
    old, new = sales.clock() - 400 * DAY, sales.clock()
    keep(sales, range(MUCH), new, "lee@stays.example", "t3")
    keep(sales, range(MUCH, MUCH + ERASED), old, "kim@mail.gone.example", "t3")
    analyze(sales.database)
    wanted = {
        "domain": Erasure("t3", domain="gone.example"),
        "person": Erasure("t3", person="kim@mail.gone.example"),
    }

    def work() -> None:
        report = erasing.retain("t3") if what == "retention" else erasing.erase(wanted[what])
        assert report.engagements == ERASED

    pages = "engagement.sent_at <" if what == "retention" else "participant.address"
    read = steps(sales.database, work, pages)
    most = 3.5 * ERASED + (0 if what == "retention" else MUCH)  # people are looked for among all, once
    assert read < (most if sales.database.dialect == "mariadb" else most / 4)


def test_a_team_that_keeps_all_it_has_is_not_gone_through_for_old_mail(sales: Any) -> None:
    sales.add_team("t3", retention_days=300)
    erasing = Erasing(sales.database, sales.clock, DIGESTS)

    def retain() -> None:
        assert erasing.retain("t3").engagements == 0

    def add(numbers: range) -> None:
        keep(sales, numbers, sales.clock(), "lee@stays.example", "t3")

    assert alike(more(sales, add, retain))


# --- the ledger --------------------------------------------------------------------------------------------------------
def decide(sales: Any, box: str, numbers: range, **columns: Any) -> None:
    rows = [
        {
            "mailbox_id": box, "gmail_id": f"{number:016x}", "team_id": "t1", "state": "decided", "outcome": "dropped",
            "rule": decisions.CRM_NO_MATCH, "found_at": sales.clock(), **columns,
        }
        for number in numbers
    ]  # fmt: skip
    put(sales, schema.message, rows)


def test_parked_messages_are_found_among_all_others(sales: Any) -> None:
    box = sales.add_mailbox("alice@corp.example")

    def retry() -> None:
        assert sales.ledger.retry_parked("t1") == 0

    assert alike(more(sales, lambda numbers: decide(sales, box, numbers), retry))


@pytest.mark.mariadb
def test_what_a_first_sync_opens_again_is_found_among_all_others(mariadb_database: Any, make_sales: Any) -> None:
    sales = make_sales(mariadb_database)
    box = sales.add_mailbox("alice@corp.example")
    row = sales.mailboxes.get(box)

    def reopen() -> None:
        sales.database.transaction(lambda c: ledger_changes.reopen_personal(c, row, sales.clock()))

    assert alike(more(sales, lambda numbers: decide(sales, box, numbers), reopen))


def test_copies_of_who_left_are_found_among_all_that_was_looked_at(sales: Any) -> None:
    sales.add_team("t3", on_opt_out="erase")
    box = sales.add_mailbox("alice@corp.example", "t3")
    sales.mailboxes.turn_off(box, "alice")

    def forget() -> None:
        assert opt_out.forget_opted_out(sales.database, "t3", sales.clock) == 0

    assert alike(more(sales, lambda numbers: decide(sales, box, numbers, team_id="t3"), forget))


def test_copies_of_who_left_are_paged_through_once(sales: Any) -> None:
    sales.add_team("t3", on_opt_out="erase")
    box = sales.add_mailbox("alice@corp.example", "t3")
    decide(sales, box, range(MUCH), team_id="t3")
    imported = range(MUCH, MUCH + ERASED)
    decide(sales, box, imported, team_id="t3", outcome="imported", rule="customer", engagement_id="e")
    copies = [
        {"mailbox_id": box, "gmail_id": f"{number:016x}", "team_id": "t3", "engagement_id": "e", "content_digest": ""}
        for number in imported
    ]
    put(sales, schema.engagement_copy, copies)
    sales.mailboxes.turn_off(box, "alice")
    analyze(sales.database)

    def forget() -> None:
        assert opt_out.forget_copies(sales.database, box, sales.clock) == ERASED

    read = steps(sales.database, forget, "LIMIT")
    assert read < {"mariadb": 2 * ERASED, "sqlite": 20 * ERASED // 100}[sales.database.dialect]
    rows = sales.dump(schema.message)["message"]
    assert sum("pending" in row for row in rows) == ERASED


def test_those_who_wait_for_the_same_are_found_among_all_that_wait(sales: Any) -> None:
    """A message that Gmail does not hand out for long asks, at each try, how many of its mailbox meet the same."""
    box = sales.add_mailbox("alice@corp.example")

    def settle() -> None:
        (claim,) = sales.claim(box, ["g1"])
        tries = {"tries": retries.PATIENCE_ALONE, "error_class": "GmailUnavailableError"}
        mine = sa.update(schema.message).where(schema.message.c.gmail_id == "g1")
        sales.database.transaction(lambda c: c.execute(mine.values(**tries)))
        sales.settlements.settle([Failure(claim, "fetch", "GmailUnavailableError", counts=False)])
        again = {"failures": 0, "not_before": sales.clock() - HOUR}
        sales.database.transaction(lambda c: c.execute(mine.values(**again)))

    def wait(numbers: range) -> None:
        decide(sales, box, numbers, state="pending", outcome=None, rule=None, lane=1)

    assert alike(more(sales, wait, settle, of="count(*)"))


@pytest.mark.mariadb
def test_parked_messages_of_an_erased_mailbox_are_found_among_all_others(
    mariadb_database: Any, make_sales: Any
) -> None:
    sales = make_sales(mariadb_database)
    box = sales.add_mailbox("alice@corp.example")
    erasing = Erasing(sales.database, sales.clock, DIGESTS)

    def erase() -> None:
        assert erasing.erase(Erasure("t1", mailbox=box)).messages == 0

    assert alike(more(sales, lambda numbers: decide(sales, box, numbers), erase, of="outcome ="))


# --- what is asked over and over ---------------------------------------------------------------------------------------
def test_tombstones_are_looked_up_one_by_one(sales: Any) -> None:
    key = tombstones.TombstoneKey(DIGESTS)
    kim = key.of_person("t1", "kim@gone.example")

    def erase(numbers: range) -> None:
        rows = [
            {"team_id": "t1", "kind": kind, "digest": f"{number:064x}", "created_at": sales.clock()}
            for number in numbers
            for kind in ("address", "domain", "mailbox")
        ]
        put(sales, schema.tombstone, rows)

    def look() -> None:
        with sales.database.reading() as connection:
            found = tombstones.standing(connection, ["t1"], kim)
        assert found.since("t1", *kim[0]) == sales.clock()

    put(
        sales,
        schema.tombstone,
        [{"team_id": "t1", "kind": kim[0][0], "digest": kim[0][1], "created_at": sales.clock()}],
    )
    assert alike(more(sales, erase, look))


def test_the_first_of_a_teams_documents_are_read_without_the_last(sales: Any) -> None:
    def add(numbers: range) -> None:
        keep(sales, numbers, sales.clock(), "lee@stays.example")

    add(range(100_000, 102_000))  # more than a page comes after those

    def read() -> None:
        assert len(next(documents.all_documents(sales.database, "t1"))) == documents.BATCH_COUNT

    assert alike(more(sales, lambda numbers: add(range(numbers.start + 200_000, numbers.stop + 200_000)), read))


def test_a_mailboxs_sample_is_found_among_all_walks(sales: Any) -> None:
    boxes = [sales.add_mailbox(f"u{number}@corp.example") for number in range(2)]
    row = sales.mailboxes.get(boxes[0])
    now = sales.clock()

    def sample(connection: sa.Connection) -> None:
        listings.start(connection, row, "sample", now, now)

    sales.database.transaction(sample)

    def walk(numbers: range) -> None:
        rows = [
            {"team_id": "t1", "mailbox_id": boxes[number % 2], "kind": "targeted", "after_at": now, "created_at": now, "finished_at": now}
            for number in numbers
        ]  # fmt: skip
        sales.database.transaction(lambda c: c.execute(sa.insert(schema.listing), rows))

    def ask() -> None:
        with sales.database.reading() as connection:
            assert search_plan.is_searched(connection, boxes[0])
            assert not search_plan.is_searched(connection, boxes[1])
            assert len(listings.unfinished(connection, boxes[0])) == 1

    assert alike(more(sales, walk, ask))


def test_the_next_chore_is_found_without_going_through_all(sales: Any) -> None:
    kinds = {name: ChoreKind(list, lambda about: None, DAY, HOUR) for name in ("audit", "tidy")}
    soon = sales.clock() + HOUR

    def plan(numbers: range) -> None:
        rows = [{"name": f"other:{number}", "turn_at": soon + DAY} for number in numbers]
        put(sales, schema.chore, rows)

    def ask() -> None:
        put(sales, schema.chore, [{"name": "tidy:t1", "turn_at": soon}])
        chores = DatabaseChores(
            sales.database, {**kinds, "tidy": ChoreKind(lambda: ["t1"], print, DAY, HOUR)}, sales.clock
        )
        chores._fill_at = sales.clock() + FILL_EVERY
        assert chores.next_due(sales.clock()) == soon
        sales.database.transaction(lambda c: c.execute(sa.delete(schema.chore).where(schema.chore.c.name == "tidy:t1")))

    assert alike(more(sales, plan, ask, of="turn_at"))


def test_what_mailboxes_spent_lately_is_found_among_all_that_was_spent(sales: Any) -> None:
    box, used = sales.add_mailbox("alice@corp.example"), quota.Quota(sales.database)
    used.debit(box, 7, sales.clock())

    def spend(numbers: range) -> None:
        slot = int(sales.clock().timestamp()) // quota.SLOT_SECONDS
        put(sales, schema.quota_use, [{"scope": f"m{number}", "slot": slot, "units": 1} for number in numbers])

    def ask() -> None:
        with sales.database.reading() as connection:
            assert quota.spent_lately(connection, sales.clock(), [box]) == {box: 7, quota.PROJECT: 7}

    assert alike(more(sales, spend, ask))


@pytest.mark.mariadb
def test_outbox_rows_can_be_released_without_going_through_what_waits(
    mariadb_database: Any, make_sales: Any, fts_search_index: Any
) -> None:
    sales = make_sales(mariadb_database)
    outbox = Outbox(sales.database, fts_search_index, now=sales.clock)

    def release() -> None:
        enqueue(sales, range(100_000, 100_001), error_class="x")
        enqueue(sales, range(100_001, 100_002), not_before=sales.clock() + HOUR)
        assert outbox.release() == 2
        ids = [f"{number:032x}" for number in (100_000, 100_001)]
        mine = schema.search_outbox.c.engagement_id.in_(ids)
        sales.database.transaction(lambda c: c.execute(sa.delete(schema.search_outbox).where(mine)))

    assert alike(more(sales, lambda numbers: enqueue(sales, numbers), release, of="UPDATE"))
