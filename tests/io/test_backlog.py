"""Much mail that waits for its turn is not gone through again and again: not by a look at the register, not by a lease."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from rows_read import analyze, steps

from dealmail.io import schema
from dealmail.io.leasing import PACED, LeaseSettings, Leasing
from dealmail.io.ledger import MAX_LEASES, SUSPECT_LEASES
from dealmail.io.quota import Quota
from dealmail.io.register import Register

HEAP = 2_500
"""More than the register goes through when it is asked what is due."""
SECOND, MINUTE = dt.timedelta(seconds=1), dt.timedelta(minutes=1)


def pending(sales: Any, box: str, numbers: range, **columns: Any) -> None:
    rows = [
        {
            "mailbox_id": box, "gmail_id": f"{number:016x}", "team_id": "t1", "state": "pending", "lane": 1, "found_at": sales.clock(),
            **columns,
        }
        for number in numbers
    ]  # fmt: skip
    sales.database.transaction(lambda c: sales.database.insert(c, schema.message, rows))


def synced(sales: Any, name: str) -> str:
    box = sales.add_mailbox(f"{name}@corp.example", user=name)
    sales.mailboxes.set_state(box, "first_sync", history_id=7, next_poll_at=sales.clock() + 10 * MINUTE)
    return str(box)


def grown(sales: Any, box: str, work: Callable[[], Any]) -> float:
    """How many times as many steps `work` takes when four times as much mail waits."""
    work()  # statements are compiled, connections made
    before = steps(sales.database, work)
    pending(sales, box, range(HEAP, 4 * HEAP))
    return (steps(sales.database, work) + 50) / (before + 50)


def test_a_look_at_the_register_costs_the_same_however_much_old_mail_waits(sales: Any) -> None:
    boxes = [synced(sales, f"u{number}") for number in range(20)]
    pending(sales, boxes[3], range(HEAP))
    register = Register(sales.database)

    def look() -> None:
        assert register.next_due(sales.clock()) == sales.clock()
        assert [due.mailbox_id for due in register.due(sales.clock(), 200)] == [boxes[3]]

    assert grown(sales, boxes[3], look) < 1.1


def test_nor_while_it_waits_for_its_share_of_the_quota(sales: Any) -> None:
    boxes = [synced(sales, f"u{number}") for number in range(20)]
    pending(sales, boxes[3], range(HEAP))
    leased = {"lease": "a", "lease_until": sales.clock() + MINUTE}
    pending(sales, boxes[3], range(100_000, 100_050), **leased)
    pause = sales.clock() + 2 * SECOND
    sales.mailboxes.set_state(boxes[3], "first_sync", PACED, not_before=pause)
    register = Register(sales.database)

    def look() -> None:
        assert register.next_due(sales.clock()) == pause
        assert register.due(sales.clock(), 200) == []

    assert grown(sales, boxes[3], look) < 1.1


def test_nor_does_a_lease_that_has_no_room(sales: Any) -> None:
    box = synced(sales, "u")
    pending(sales, box, range(HEAP))
    quota = Quota(sales.database)
    leasing = Leasing(sales.database, quota, LeaseSettings(), sales.clock, random.Random(1))
    spent = int(quota.limits.mailbox_minute * LeaseSettings().backfill_share)
    sales.database.transaction(lambda c: quota.spend(c, box, spent, sales.clock()))

    def lease() -> None:
        assert leasing.lease(sales.mailboxes.get(box), live_only=False) == []
        assert sales.mailboxes.get(box).state_reason == PACED

    assert grown(sales, box, lease) < 1.1


def test_a_suspect_comes_when_no_other_of_its_lane_is_free(sales: Any) -> None:
    box = synced(sales, "u")
    pending(sales, box, range(1), leases=SUSPECT_LEASES)
    pending(sales, box, range(1, 2), leases=MAX_LEASES)
    pending(sales, box, range(2, 3))
    row = sales.mailboxes.get(box)

    def suspect() -> list[str]:
        return [
            claim.gmail_id
            for claim in sales.database.transaction(lambda c: sales.ledger.lease_suspect(c, row, sales.clock()))
        ]

    assert suspect() == []
    assert len(sales.database.transaction(lambda c: sales.ledger.lease(c, row, 10, sales.clock()))) == 1
    assert suspect() == [f"{0:016x}"]
    assert sales.ledger.explain(box, f"{1:016x}").outcome == "parked"


@pytest.mark.parametrize("live_only", [True, False])
def test_a_live_suspect_does_not_wait_for_old_mail(sales: Any, live_only: bool) -> None:
    box = synced(sales, "u")
    pending(sales, box, range(200))
    pending(sales, box, range(200, 202), lane=0, leases=SUSPECT_LEASES)
    leasing = Leasing(sales.database, Quota(sales.database), LeaseSettings(), sales.clock, random.Random(1))

    def lease() -> list[tuple[str, str]]:
        claimed = leasing.lease(sales.mailboxes.get(box), live_only=live_only)
        return [(claim.gmail_id, claim.lane) for claim in claimed]

    assert [lease() for _ in range(2)] == [[(f"{n:016x}", "live")] for n in (201, 200)]
    assert {lane for _, lane in lease()} == (set() if live_only else {"backfill"})


def test_import_turned_off_between_a_look_and_its_lease_leases_nothing(sales: Any) -> None:
    box = synced(sales, "u")
    pending(sales, box, range(2))
    looked_at = sales.mailboxes.get(box)
    leasing = Leasing(sales.database, Quota(sales.database), LeaseSettings(), sales.clock, random.Random(1))
    sales.mailboxes.turn_off(box, "u")

    tables = (schema.message, schema.mailbox, schema.quota_use)
    before = sales.dump(*tables)
    assert leasing.lease(looked_at, live_only=False) == []
    assert sales.dump(*tables) == before


def test_finished_walks_are_not_gone_through(sales: Any) -> None:
    boxes = [synced(sales, f"u{number}") for number in range(20)]
    register = Register(sales.database)
    walk = {
        "team_id": "t1", "kind": "targeted", "after_at": sales.clock(), "created_at": sales.clock(), "finished_at": sales.clock(),
    }  # fmt: skip

    def finish(count: int) -> None:
        rows = [{**walk, "mailbox_id": box} for box in boxes for _ in range(count)]
        sales.database.transaction(lambda c: c.execute(sa.insert(schema.listing), rows))
        analyze(sales.database)

    def look() -> None:
        assert register.next_due(sales.clock()) == sales.clock() + 10 * MINUTE
        assert register.due(sales.clock()) == []

    finish(10)
    look()
    before = steps(sales.database, look)
    finish(100)
    assert steps(sales.database, look) < before + 50


@pytest.mark.parametrize("seed", range(8))
def test_much_that_waits_and_little_are_told_alike(sales: Any, seed: int) -> None:
    """The register asks in another way where much is pending: here it is of a mailbox that is off, which must change nothing."""
    chance, now = random.Random(seed), sales.clock()
    off = sales.mailboxes.add("t1", "off", "off@corp.example").id

    def time() -> dt.datetime | None:
        return chance.choice([None, now - MINUTE, now + chance.randrange(1, 600) * SECOND, now + dt.timedelta(days=9)])

    for number in range(12):
        box = synced(sales, f"u{number}")
        state = chance.choice(["live", "first_sync", "quota_delayed", "admin_blocked", "reconsent"])
        sales.mailboxes.set_state(
            box, state, not_before=time() if number % 2 else None, history_id=chance.choice([None, 7, 7, 7]),
            next_poll_at=now + chance.randrange(1, 600) * SECOND,
        )  # fmt: skip
        for mail in range(chance.randrange(4)):
            times = {"lease_until": time(), "not_before": time(), "lane": chance.randrange(2)}
            pending(sales, box, range(mail, mail + 1), **times)

    def asked(at: dt.datetime) -> Any:
        register = Register(sales.database)
        return register.next_due(at), sorted(register.due(at, 200), key=repr)

    moments = [now + seconds * SECOND for seconds in range(0, 700, 50)]
    little = [asked(at) for at in moments]
    pending(sales, off, range(HEAP))
    assert [asked(at) for at in moments] == little
    assert len({due for due, _ in little}) > 1
