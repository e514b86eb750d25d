"""The ledger's pieces: what is due, what is leased, what is decided by label, and what deleting does."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import schema
from dealmail.io.ledger import MAX_LEASES, SUSPECT_LEASES
from dealmail.transforms.records import DueMailbox


def ids(claims: list[Any]) -> list[str]:
    return [claim.gmail_id for claim in claims]


def in_claim(sales: Any, work: Any) -> Any:
    return sales.database.transaction(work)


def test_live_before_backfill_and_newest_first(sales: Any, clock: Any) -> None:
    box = sales.mailboxes.get(sales.add_mailbox("alice@corp.example"))
    now = clock()

    def work(c: sa.Connection) -> list[Any]:
        sales.ledger.add_pending(c, box, ["a1", "a5", "a3"], "backfill", now)
        sales.ledger.add_pending(c, box, ["a2", "a4"], "live", now)
        sales.ledger.add_pending(c, box, ["a5", "a2"], "backfill", now)  # known ones stay
        sales.ledger.add_pending(c, box, ["a1"], "live", now)  # and move up
        return [
            sales.ledger.lease(c, box, 3, now),
            sales.ledger.lease(c, box, 9, now),
            sales.ledger.lease(c, box, 9, now),
        ]

    first, second, third = in_claim(sales, work)
    assert [ids(first), ids(second), ids(third)] == [["a4", "a2", "a1"], ["a5", "a3"], []]
    assert {c.lane for c in first} == {"live"}
    assert {c.lane for c in second} == {"backfill"}
    assert len({c.lease for c in (*first, *second)}) == 2
    clock.advance(seconds=121)
    assert ids(in_claim(sales, lambda c: sales.ledger.lease(c, box, 2, clock()))) == ["a4", "a2"]


def test_a_message_that_takes_its_workers_down_is_parked_and_takes_no_other_with_it(
    sales: Any, mail: Any, clock: Any
) -> None:
    mailbox = sales.add_mailbox("alice@corp.example")
    box, poison = sales.mailboxes.get(mailbox), "g5"
    in_claim(sales, lambda c: sales.ledger.add_pending(c, box, [f"g{n}" for n in range(10)], "live", clock()))
    together = 0
    for _ in range(MAX_LEASES + 10):
        while claimed := in_claim(sales, lambda c: sales.ledger.lease(c, box, 50, clock())):
            if poison in ids(claimed):
                together += len(claimed) > 1
                break  # the worker is gone, and all that it held
            sales.settlements.settle([mail(claim, int(claim.gmail_id[1:])) for claim in claimed])
        clock.advance(minutes=3)
    row = sales.ledger.explain(mailbox, poison)
    assert (row.outcome, row.rule, row.phase, row.leases) == ("parked", "parked", "lost", MAX_LEASES)
    assert together == SUSPECT_LEASES
    assert {row.outcome for row in sales.ledger.rows("t1") if row.gmail_id != poison} == {"imported"}
    assert sales.ledger.retry_parked("t1") == 1
    assert ids(in_claim(sales, lambda c: sales.ledger.lease(c, box, 50, clock()))) == [poison]


@pytest.mark.parametrize("workers", [4])
def test_no_message_is_leased_twice(sales: Any, clock: Any, workers: int) -> None:
    box = sales.mailboxes.get(sales.add_mailbox("alice@corp.example"))
    in_claim(sales, lambda c: sales.ledger.add_pending(c, box, [f"{n:04d}" for n in range(200)], "live", clock()))
    found: list[str] = []

    def run() -> None:
        while claims := in_claim(sales, lambda c: sales.ledger.lease(c, box, 7, clock())):
            found.extend(ids(claims))

    threads = [threading.Thread(target=run) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [f"{n:04d}" for n in range(200)]


def test_labels_decide_what_nobody_holds(sales: Any, clock: Any) -> None:
    mailbox = sales.add_mailbox("alice@corp.example")
    box = sales.mailboxes.get(mailbox)
    (leased,) = sales.claim(mailbox, ["g3"])
    rules = {"g1": "label.spam", "g2": "label.draft", "g3": "label.spam"}
    in_claim(sales, lambda c: sales.ledger.decide_by_label(c, box, rules, "live", clock()))
    assert [sales.ledger.explain(mailbox, g).rule for g in ("g1", "g2", "g3")] == ["label.spam", "label.draft", None]
    assert [sales.ledger.explain(mailbox, g).state for g in ("g1", "g2", "g3")] == ["decided", "decided", "pending"]
    assert sales.ledger.explain(mailbox, "g3").lease_until is not None
    assert leased.gmail_id == "g3"


def test_deleted_mail_leaves_the_mailbox_and_at_last_the_team(sales: Any, mail: Any, clock: Any) -> None:
    first, second = sales.add_mailbox("alice@corp.example"), sales.add_mailbox("bob@corp.example")
    for box in (first, second):
        sales.settlements.settle([mail(claim, n) for n, claim in enumerate(sales.claim(box, ["g1", "g2"]))])
    boxes = {one: sales.mailboxes.get(one) for one in (first, second)}
    pending = sales.claim(first, ["g3"])[0]
    in_claim(sales, lambda c: sales.ledger.mark_deleted(c, boxes[first], ["g1", "g3", "g9"], clock()))
    assert [sales.ledger.explain(first, g).rule for g in ("g1", "g2", "g3")] == [
        "gone.deleted",
        "customer",
        "gone.deleted",
    ]
    assert sales.ledger.explain(first, "g9") is None
    assert sales.settlements.settle([mail(pending, 3)]) == []
    assert [row[1] for row in sales.dump(schema.engagement)["engagement"]] == ["t1-e0000", "t1-e0001"]
    in_claim(sales, lambda c: sales.ledger.mark_trashed(c, boxes[second], {"g1": "label.trash"}, clock()))
    assert sales.ledger.explain(second, "g1").rule == "label.trash"
    assert [row[1] for row in sales.dump(schema.engagement)["engagement"]] == ["t1-e0001"]
    assert {row[1]: bool(row[3]) for row in sales.dump(schema.search_outbox)["search_outbox"]} == {
        "t1-e0000": True,
        "t1-e0001": False,
    }
    in_claim(sales, lambda c: sales.ledger.mark_deleted(c, boxes[second], ["g2"], clock(), keep_imported=True))
    assert sales.ledger.explain(second, "g2").outcome == "imported"
    version = {row[1]: row[2] for row in sales.dump(schema.search_outbox)["search_outbox"]}["t1-e0000"]
    (again,) = sales.claim(first, ["g5"])
    sales.settlements.settle([mail(again, 0)])  # the same mail comes back: its version grows on
    assert {row[1]: row[2] for row in sales.dump(schema.search_outbox)["search_outbox"]}["t1-e0000"] > version


def test_who_is_due_and_when(sales: Any, clock: Any) -> None:
    now = clock()
    hour, minute = dt.timedelta(hours=1), dt.timedelta(minutes=1)
    box = sales.add_mailbox("Alice@Corp.example")
    resting = sales.add_mailbox("bob@corp.example")
    sales.mailboxes.set_state(resting, "reconsent")
    assert sales.register.due(now) == [DueMailbox("t1", box, "poll", turn=True)]
    sales.mailboxes.set_state(box, "live", next_poll_at=now + hour)
    assert sales.register.due(now) == []
    assert sales.register.next_due(now) == now + hour
    sales.mailboxes.set_state(box, "live", watch_renew_at=now + 30 * minute)
    assert sales.register.next_due(now) == now + 30 * minute
    sales.claim(box, ["g1"])
    assert sales.register.due(now) == []
    assert sales.register.next_due(now) == now + 2 * minute
    assert sales.register.due(now + 2 * minute) == [DueMailbox("t1", box, "work")]
    sales.mailboxes.set_state(box, "quota_delayed", not_before=now + 10 * minute)
    assert sales.register.due(now + 2 * minute) == []
    assert sales.register.next_due(now) == now + 10 * minute
    sales.mailboxes.set_state(box, "admin_blocked", not_before=None)
    assert sales.register.due(now + 2 * minute) == []
    sales.mailboxes.turn_off(box, "alice")
    assert sales.register.due(now + 2 * hour) == []
    assert sales.register.next_due(now) is None


def test_a_push_is_noted_and_leaves_no_trace_of_strangers(sales: Any, clock: Any) -> None:
    sales.add_team("t2")
    box, other, off = (
        sales.add_mailbox("a@corp.example"),
        sales.add_mailbox("a@corp.example", "t2"),
        sales.add_mailbox("c@corp.example"),
    )
    sales.mailboxes.turn_off(off, "c")
    before = sales.dump(schema.mailbox)
    assert sales.register.touched("c@corp.example", clock()) == sales.register.touched("x@corp.example", clock()) == []
    assert sales.dump(schema.mailbox) == before
    found = sales.register.touched(" A@CORP.example", clock())
    assert sorted(found, key=str) == sorted([DueMailbox("t1", box, "push"), DueMailbox("t2", other, "push")], key=str)
    assert sales.mailboxes.get(box).last_push_at == clock()


def test_a_push_finds_a_mailbox_that_google_spells_otherwise(sales: Any, clock: Any) -> None:
    box, kim, other = (
        sales.add_mailbox(address) for address in ("pat@googlemail.com", "kim@gmail.com", "pat@mail.example")
    )
    for address, found in (("Pat@gmail.com", [box]), ("kim@googlemail.com", [kim]), ("pat@mail.example", [other])):
        assert [due.mailbox_id for due in sales.register.touched(address, clock())] == found
        assert [one for one in (box, kim, other) if sales.mailboxes.get(one).last_push_at == clock()] == found
        clock.advance(seconds=1)


def test_consent_is_written_down_once_for_each_turn(sales: Any) -> None:
    box = sales.add_mailbox("alice@corp.example")
    for _ in range(2):
        sales.mailboxes.turn_on(box, "alice")
    for _ in range(2):
        sales.mailboxes.turn_off(box, "bob", "left")
    assert [(e.action, e.actor) for e in sales.mailboxes.consents(box)] == [
        ("import_on", "a test"),
        ("import_off", "bob"),
    ]
    sales.mailboxes.set_state(box, "live")
    assert sales.mailboxes.get(box).state == "paused"
