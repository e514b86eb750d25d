"""Erasing while mail is being settled: nothing erased stays or comes back, and the ledger adds up whoever was first."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import datetime as dt
import random
import threading
from typing import Any

import pytest
import sqlalchemy as sa
from between import Between
from consistency import amiss, disagreement

from dealmail.io import schema
from dealmail.io.erasure import Erasing, Erasure
from dealmail.io.outbox import Outbox
from dealmail.io.vault import Digests
from dealmail.transforms import decisions
from dealmail.transforms.records import Participant, SeenCopy

DIGESTS = Digests((b"a key for tests, 32 bytes long..",))


@pytest.fixture
def erasing(sales: Any) -> Erasing:
    return Erasing(sales.database, sales.clock, DIGESTS)


@pytest.mark.mariadb
@pytest.mark.parametrize(
    "words", [("FROM engagement", "FOR UPDATE"), ("FROM engagement_copy",), ("DELETE FROM engagement",)]
)
def test_a_copy_that_joins_while_its_engagement_is_erased(
    mariadb_database: Any, make_sales: Any, mail: Any, words: tuple[str, ...]
) -> None:
    sales = make_sales(mariadb_database)
    first, second = sales.add_mailbox("alice@corp.example"), sales.add_mailbox("bob@corp.example")
    (claim,), (copy,) = sales.claim(first, ["g1"]), sales.claim(second, ["g1"])
    kim = Participant("kim@gone.example")
    sales.settlements.settle([mail(claim, 1, sender=kim)])
    joining = SeenCopy(copy, "t1-e0001", "d1-0", "0000-1", "customer", "1")
    threads: list[threading.Thread] = []

    def join() -> None:  # it may have to wait for the erasure, which waits for this function: half a second is enough
        threads.append(threading.Thread(target=sales.settlements.settle, args=([joining],)))
        threads[-1].start()
        threads[-1].join(0.5)

    with Between(mariadb_database, words, join) as between:
        Erasing(mariadb_database, sales.clock, DIGESTS).erase(Erasure("t1", person="kim@gone.example"))
    threads[0].join(60)
    assert between.happened
    assert amiss(mariadb_database) == []
    assert sales.dump(schema.engagement)["engagement"] == []
    assert sales.ledger.explain(first, "g1").rule == decisions.ERASED
    sales.clock.advance(minutes=5)
    for again in sales.claim(second, ["g1"]):  # handed back: it is read again
        sales.settlements.settle([mail(again, 1, sender=kim)])
    assert sales.ledger.explain(second, "g1").rule == decisions.ERASED
    assert amiss(mariadb_database) == []


def people(number: int) -> dict[str, Any]:
    """Who is in mail `number`: Kim in every third, somebody of gone.example in every fifth."""
    to = [Participant("alice@corp.example")]
    to += [Participant("kim@else.example")] if number % 3 == 0 else []
    to += [Participant(f"p{number}@mail.gone.example")] if number % 5 == 0 else []
    return {"to": tuple(to), "direction": "outbound", "context": (f"x{number}",)}


@pytest.mark.parametrize("seed", range(3))
def test_a_storm_of_settling_and_erasing(
    sales: Any, mail: Any, erasing: Erasing, fts_search_index: Any, seed: int
) -> None:
    """Copies of 60 mails in four mailboxes are settled by five threads while a person, a domain, a mailbox and old mail go."""
    chance = random.Random(seed)
    boxes = [sales.add_mailbox(f"user{n}@corp.example", user=f"u{n}") for n in range(4)]
    items = [
        mail(claim, int(claim.gmail_id[1:]), chance.randrange(3), **people(int(claim.gmail_id[1:])))
        for box in boxes
        for claim in sales.claim(box, [f"g{n}" for n in range(60)])
    ]
    chance.shuffle(items)
    old = dt.datetime(2026, 2, 1, 8, 20, tzinfo=dt.UTC)
    wanted = [
        Erasure("t1", person="kim@else.example"), Erasure("t1", domain="gone.example"), Erasure("t1", mailbox=boxes[0]),
        Erasure("t1", before=old),
    ]  # fmt: skip

    def settle(share: list[Any]) -> None:
        for start in range(0, len(share), 5):
            sales.settlements.settle(share[start : start + 5])

    jobs = [lambda n=n: settle(items[n::5]) for n in range(5)]
    jobs += [lambda one=one: erasing.erase(one) for one in wanted]
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as threads:
        for done in [threads.submit(job) for job in jobs]:
            done.result()
    assert amiss(sales.database) == []

    for _ in range(2):  # a full re-sync, twice: the ledger forgets everything that was not imported
        gone = schema.message.c.outcome.is_distinct_from("imported")
        sales.database.transaction(lambda c, gone=gone: c.execute(sa.delete(schema.message).where(gone)))
        sales.clock.advance(hours=1)
        again = [
            mail(claim, int(claim.gmail_id[1:]), 0, **people(int(claim.gmail_id[1:])))
            for box in boxes
            for claim in sales.claim(box, [f"g{n}" for n in range(60)])
        ]
        sales.settlements.settle(again)
    kept = [n for n in range(60) if n % 3 and n % 5 and n >= 20]
    stored = {row[1] for row in sales.dump(schema.engagement)["engagement"]}
    assert stored == {f"t1-e{n:04d}" for n in kept}
    held = {(row[0], row[1]) for row in sales.dump(schema.engagement_copy)["engagement_copy"]}
    assert held == {(box, f"g{n}") for box in boxes[1:] for n in kept}
    assert amiss(sales.database) == []
    outbox = Outbox(sales.database, fts_search_index, now=sales.clock)
    while outbox.drain(1000):
        pass
    assert disagreement(sales.database, fts_search_index) == []


def test_mail_that_comes_in_while_its_mailbox_is_erased_stays(sales: Any, mail: Any, erasing: Erasing) -> None:
    """What was sent after the erasure is the user's again; a pending message is decided when it is read."""
    box = sales.add_mailbox("alice@corp.example")
    old, waiting, _ = sales.claim(box, ["g1", "g2", "g3"])
    sales.settlements.settle([mail(old, 1)])
    sales.database.transaction(
        lambda c: c.execute(sa.update(schema.message).where(schema.message.c.gmail_id == "g3").values(
            state="decided", outcome="parked", rule="parked", phase="normalize", error_class="ValueError"))
    )  # fmt: skip
    sales.clock.advance(hours=1)
    (new,) = sales.claim(box, ["g4"])
    later = sales.clock() + dt.timedelta(seconds=5)
    sales.clock.advance(seconds=10)
    fresh = mail(new, 4, sent_at=later + dt.timedelta(seconds=30))
    sales.settlements.settle([dataclasses.replace(fresh, sent_at=sales.clock() - dt.timedelta(seconds=1))])
    report = erasing.erase(Erasure("t1", mailbox=box))
    assert (report.engagements, report.copies, report.messages) == (2, 2, 3)
    row = sales.ledger.explain(box, "g3")
    assert (row.outcome, row.rule, row.phase, row.error_class) == ("dropped", decisions.ERASED, None, None)
    assert sales.ledger.explain(box, "g2").state == "pending"
    sales.settlements.settle([mail(waiting, 2)])
    assert sales.ledger.explain(box, "g2").rule == decisions.ERASED
    (after,) = sales.claim(box, ["g5"])
    sales.settlements.settle([mail(after, 5, sent_at=sales.clock() + dt.timedelta(seconds=1))])
    assert sales.ledger.explain(box, "g5").rule == "customer"
    assert amiss(sales.database) == []


def test_mail_dated_ahead_of_the_erasure_goes_and_stays_away(sales: Any, mail: Any, erasing: Erasing) -> None:
    box = sales.add_mailbox("alice@corp.example")
    (claim,) = sales.claim(box, ["g1"])
    ahead = sales.clock() + dt.timedelta(hours=20)
    sales.settlements.settle([mail(claim, 1, sent_at=ahead)])
    for _ in range(2):  # the second erasure must not move the tombstone back
        erasing.erase(Erasure("t1", mailbox=box))
        sales.clock.advance(minutes=1)
    (again,) = sales.claim(box, ["n1"])
    sales.settlements.settle([mail(again, 1, sent_at=ahead)])
    assert sales.ledger.explain(box, "n1").rule == decisions.ERASED
    assert sales.dump(schema.engagement)["engagement"] == []


def test_an_erased_persons_automated_mail_loses_its_details(sales: Any, erasing: Erasing) -> None:
    from dealmail.transforms.records import Decision

    box = sales.add_mailbox("alice@corp.example")
    mine, other = sales.claim(box, ["g1", "g2"])
    digest = {
        name: DIGESTS.digest("correspondence", "t1", "address", f"{name}@gone.example", length=32)
        for name in ("kim", "lee")
    }
    sales.settlements.settle(
        [
            Decision(claim, "dropped", "automated.marketing", "1", 3.5, ("bulk",), (digest[name], "reference"))
            for claim, name in ((mine, "kim"), (other, "lee"))
        ]
    )
    wanted = Erasure("t1", person="kim@gone.example")
    report = erasing.preview(wanted)
    assert (report.engagements, report.messages) == (0, 1)
    assert erasing.erase(wanted) == report
    row = sales.ledger.explain(box, "g1")
    assert (row.rule, row.score, row.signals) == (decisions.ERASED, None, None)
    assert sales.ledger.explain(box, "g2").signals == ["bulk"]
    assert {row[1] for row in sales.dump(schema.message_context)["message_context"]} == {digest["lee"], "reference"}
