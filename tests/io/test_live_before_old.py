"""A push among 20,000 old messages, of its own mailbox and of others: its mail is read in the very next pass, and that is a small one."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from dealmail.io.claims import next_poll
from dealmail.io.register import Helping, Register
from dealmail.pipeline import edges
from dealmail.pipeline.options import JobOptions
from dealmail.transforms.find_due_mailboxes import merge_due
from dealmail.transforms.records import ClaimedMessage, DueMailbox

BACKLOG, OTHERS = 20_000, 10
HELPING = edges.helping(JobOptions())
BATCH = JobOptions().claim_batch


class Passes:
    """What one pass of the local service does, step by step."""

    def __init__(self, gmails: Any) -> None:
        self.gmails, self.claims = gmails, gmails.claims(batch=BATCH)
        self.register = Register(gmails.database, HELPING)

    def run(self, *pushed: str) -> list[ClaimedMessage]:
        gmails, found = self.gmails, dict[str, list[DueMailbox]]()
        touched = [due for box in pushed for due in self.register.touched(gmails.address(box), gmails.clock())]
        for due in [*touched, *self.register.due(gmails.clock())]:
            found.setdefault(due.mailbox_id, []).append(due)
        claimed = [claim for dues in found.values() for claim in self.claims.claim(merge_due(dues))]
        gmails.settle(claimed)
        return claimed


@pytest.fixture
def backlog(gmails: Any) -> list[str]:
    """Mailboxes in the middle of their first sync; Gmail does not have the old messages any more, which is a reading too."""
    gmails.client.set_limits(user=0, project=0, concurrent=0)
    boxes = [gmails.connect(f"user{n}") for n in range(OTHERS + 1)]
    for number, box in enumerate(boxes):
        gmails.sync(box)
        ids = [f"1{n:015x}" for n in range(BACKLOG if number == 0 else BACKLOG // OTHERS)]
        row = gmails.row(box)
        gmails.database.transaction(
            lambda c, row=row, ids=ids: gmails.ledger.add_pending(c, row, ids, "backfill", gmails.clock())
        )
    return boxes


def test_a_push_is_served_in_the_next_pass_whatever_old_mail_waits(gmails: Any, backlog: list[str]) -> None:
    bob, passes = gmails.connect("bob"), Passes(gmails)
    gmails.sync(bob)
    for _ in range(3):
        assert 0 < len(passes.run()) <= HELPING.backfills * BATCH
    own, others = gmails.deliver(backlog[0]), gmails.deliver(bob)
    claimed = passes.run(backlog[0], bob)
    live = {claim.gmail_id for claim in claimed if claim.lane == "live"}
    assert live == {own, others}
    assert len(claimed) <= HELPING.backfills * BATCH + 2
    assert gmails.outcomes(bob) == {others: "customer"}
    assert gmails.outcomes(backlog[0])[own] == "customer"
    served = {claim.mailbox_id for _ in range(3) for claim in passes.run()}
    assert served == set(backlog)  # and every mailbox's old mail gets on


def test_a_burst_of_live_mail_waits_for_no_old_mail_either(gmails: Any, backlog: list[str]) -> None:
    passes = Passes(gmails)
    new = {gmails.deliver(backlog[0], f"Offer {n}") for n in range(BATCH + 30)}
    first = passes.run(backlog[0])
    second = passes.run()
    read = [claim.gmail_id for claim in (*first, *second) if claim.lane == "live"]
    assert set(read) == new
    assert len(read) == len(new)


def test_ten_thousand_polls_are_spread_over_the_interval(sales: Any, clock: Any) -> None:
    """Connected all at once, they are looked at in small helpings, and from then on each at its own beat."""
    interval, at = dt.timedelta(minutes=15), clock()
    boxes = [f"m{n:05}" for n in range(10_000)]
    times = sorted(next_poll(box, at, interval) for box in boxes)
    seconds = [0] * 900
    for time in times:
        seconds[int((time - at).total_seconds()) % 900] += 1
    assert max(seconds) <= 35  # 11.1 on average; a fair spread of 10,000 over 900 has hardly more than 28 anywhere
    assert min(sum(seconds[n : n + 60]) for n in range(0, 900, 60)) > 560
    register = Register(sales.database, Helping(looks=25, backfills=4))
    for n in range(60):
        sales.add_mailbox(f"user{n}@corp.example", user=f"u{n}")
    assert len(register.due(clock())) == 4
