"""The register: who has something to do, in helpings that go round, whatever the clock did."""

from __future__ import annotations

import collections
import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import listings, schema
from dealmail.io.register import Helping, Register

MINUTE = dt.timedelta(minutes=1)


def add(sales: Any, count: int, *, history_id: int | None = 7, **columns: Any) -> list[str]:
    boxes = [sales.add_mailbox(f"user{n}-{history_id}@corp.example", user=f"u{n}") for n in range(count)]
    later = sales.clock() + 10 * MINUTE
    for box in boxes:
        sales.mailboxes.set_state(box, "live", **{"history_id": history_id, "next_poll_at": later, **columns})
    return boxes


def backlog(sales: Any, box: str, lane: str = "backfill") -> None:
    row = sales.mailboxes.get(box)
    sales.database.transaction(lambda c: sales.ledger.add_pending(c, row, ["g1", "g2"], lane, sales.clock()))


def test_old_mail_is_handed_out_in_helpings_that_go_round(sales: Any) -> None:
    boxes = add(sales, 10)
    for box in boxes:
        backlog(sales, box)
    register = Register(sales.database, Helping(looks=25, backfills=3))
    served = collections.Counter(due.mailbox_id for _ in range(20) for due in register.due(sales.clock()))
    assert set(served.values()) == {6}
    assert set(served) == set(boxes)


def test_turns_share_the_old_messages_of_a_pass_and_others_have_none(sales: Any) -> None:
    boxes = add(sales, 10)
    for box in boxes[:9]:
        backlog(sales, box)
    sales.mailboxes.set_state(boxes[9], "live", next_poll_at=sales.clock())
    register = Register(sales.database, Helping(looks=25, backfills=4))

    def shares(old_messages: int) -> list[tuple[bool, int | None]]:
        return sorted((due.turn, due.old_messages) for due in register.due(sales.clock(), old_messages))

    assert shares(100) == [(False, 0), *[(True, 25)] * 4]
    assert shares(11) == [(False, 0), *[(True, 5)] * 2]
    assert shares(1) == [(False, 0), (True, 1)]


def test_polls_and_live_mail_come_whatever_old_mail_waits(sales: Any) -> None:
    boxes = add(sales, 10)
    for box in boxes[:8]:
        backlog(sales, box)
    backlog(sales, boxes[8], "live")
    sales.mailboxes.set_state(boxes[9], "live", next_poll_at=sales.clock())
    register = Register(sales.database, Helping(looks=25, backfills=2))
    for _ in range(4):
        due = {one.mailbox_id: one.reason for one in register.due(sales.clock())}
        assert len(due) == 4
        assert (due[boxes[8]], due[boxes[9]]) == ("work", "poll")


def test_polls_that_waited_longest_come_first_and_first_syncs_take_turns(sales: Any) -> None:
    late = add(sales, 6)
    for n, box in enumerate(late):
        sales.mailboxes.set_state(box, "live", next_poll_at=sales.clock() - (n + 1) * MINUTE)
    new = add(sales, 6, history_id=None, next_poll_at=None)
    register = Register(sales.database, Helping(looks=2, backfills=4))
    first = [due.mailbox_id for due in register.due(sales.clock())]
    assert first[:2] == [late[5], late[4]]
    assert len(first) == 6
    second = [due.mailbox_id for due in register.due(sales.clock())]
    assert set(new) <= {*first, *second}


def test_an_open_listing_is_work_and_a_recovery_is_live(sales: Any) -> None:
    box, other = add(sales, 2)
    register = Register(sales.database, Helping(looks=1, backfills=1))
    for mailbox, kind in ((box, "first_sync"), (other, "recover")):
        row = sales.mailboxes.get(mailbox)
        sales.database.transaction(
            lambda c, row=row, kind=kind: listings.start(c, row, kind, sales.clock(), sales.clock())
        )
    assert {due.mailbox_id for due in register.due(sales.clock())} == {box, other}


def test_a_push_to_a_mailbox_that_pauses_is_looked_at_when_the_pause_is_over(sales: Any, clock: Any) -> None:
    (box,) = add(sales, 1)
    sales.mailboxes.set_state(box, "quota_delayed", not_before=clock() + dt.timedelta(seconds=7))
    assert [due.reason for due in sales.register.touched("user0-7@corp.example", clock())] == ["push"]
    assert sales.register.due(clock()) == []
    assert sales.register.next_due(clock()) == clock() + dt.timedelta(seconds=7)
    clock.advance(seconds=7)
    assert [(due.mailbox_id, due.reason) for due in sales.register.due(clock())] == [(box, "poll")]


def test_a_clock_that_goes_back_holds_no_poll_up(sales: Any, clock: Any) -> None:
    (box,) = add(sales, 1)
    ahead = clock() + dt.timedelta(hours=1)
    sales.mailboxes.set_state(box, "live", last_poll_at=ahead, next_poll_at=ahead + 15 * MINUTE)
    assert [due.reason for due in sales.register.due(clock())] == ["poll"]
    assert sales.register.next_due(clock()) == clock()
    assert sales.mailboxes.get(box).is_poll_due(clock())
    sales.mailboxes.set_state(box, "live", last_poll_at=clock(), next_poll_at=clock() + 15 * MINUTE)
    assert sales.register.due(clock()) == []


@pytest.mark.parametrize("days", [3, 4000])
def test_times_of_a_clock_that_was_far_ahead_do_not_count(sales: Any, clock: Any, days: int) -> None:
    (box,) = add(sales, 1)
    backlog(sales, box)
    ahead = clock() + dt.timedelta(days=days)
    sales.mailboxes.set_state(box, "quota_delayed", not_before=ahead, next_poll_at=ahead)
    held = sa.update(schema.message).values(lease="lost", lease_until=ahead, not_before=ahead)
    sales.database.transaction(lambda c: c.execute(held))
    assert [due.mailbox_id for due in sales.register.due(clock())] == [box]
    row = sales.mailboxes.get(box)
    assert (row.is_poll_due(clock()), row.is_paused(clock())) == (True, False)
    leased = sales.database.transaction(lambda c: sales.ledger.lease(c, row, 5, clock()))
    assert [claim.gmail_id for claim in leased] == ["g2", "g1"]


def test_a_helping_of_nothing_is_refused() -> None:
    for wrong in ({"looks": 0}, {"backfills": 0}):
        with pytest.raises(ValueError, match="1 or more"):
            Helping(**wrong)
