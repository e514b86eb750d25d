"""A push among 20,000 old messages, of its own mailbox and of others: its mail is read in the very next pass, and that is a small one."""

from __future__ import annotations

import collections
import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import listings, schema
from dealmail.io.poll_times import POLL_SLOTS, next_poll
from dealmail.io.register import Register
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

    def run(self, *pushed: str, old_messages: int | None = None) -> list[ClaimedMessage]:
        gmails, found = self.gmails, dict[str, list[DueMailbox]]()
        touched = [due for box in pushed for due in self.register.touched(gmails.address(box), gmails.clock())]
        for due in [*touched, *self.register.due(gmails.clock(), old_messages)]:
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


def test_a_pass_takes_on_no_more_old_mail_than_it_is_told_and_all_that_is_live(gmails: Any, backlog: list[str]) -> None:
    passes = Passes(gmails)
    live = {gmails.deliver(box, f"Offer {n}") for n, box in enumerate(backlog)}
    for box in backlog:
        gmails.mailboxes.set_state(box, "first_sync", next_poll_at=gmails.clock())
    claimed = passes.run(old_messages=12)
    assert {claim.gmail_id for claim in claimed if claim.lane == "live"} == live
    assert 0 < len(claimed) - len(live) <= 12
    assert {gmails.row(box).state_reason for box in backlog} == {""}  # nobody waits for a quota
    served = {claim.mailbox_id for _ in range(6) for claim in passes.run(old_messages=12)}
    assert served == set(backlog)


def test_a_mailbox_that_is_pushed_to_all_the_time_gets_on_with_its_old_mail(gmails: Any, backlog: list[str]) -> None:
    passes, turns = Passes(gmails), 0
    for n in range(9):
        new = gmails.deliver(backlog[0], f"Offer {n}")
        claimed = [claim for claim in passes.run(backlog[0]) if claim.mailbox_id == backlog[0]]
        assert new in {claim.gmail_id for claim in claimed}
        turns += any(claim.lane == "backfill" for claim in claimed)
    assert abs(turns - 9 * HELPING.backfills / len(backlog)) < 1  # its place among them is by its id, which is random


def test_a_burst_of_live_mail_waits_for_no_old_mail_either(gmails: Any, backlog: list[str]) -> None:
    passes = Passes(gmails)
    new = {gmails.deliver(backlog[0], f"Offer {n}") for n in range(BATCH + 30)}
    first = passes.run(backlog[0])
    second = passes.run()
    read = [claim.gmail_id for claim in (*first, *second) if claim.lane == "live"]
    assert set(read) == new
    assert len(read) == len(new)


@pytest.mark.parametrize("of_spam", [False, True])
def test_mail_that_a_walk_finds_before_its_push_comes_is_live_all_the_same(gmails: Any, of_spam: bool) -> None:
    alice, claims = gmails.connect("alice"), gmails.claims(batch=1)
    gmails.sync(alice)
    address, row = gmails.address(alice), gmails.row(alice)
    new = gmails.deliver(alice, labels=("SPAM",) if of_spam else ("INBOX",))
    if of_spam:
        gmails.mailboxes.set_state(alice, "live", history_id=gmails.client.dump(address)[address]["historyId"])
        gmails.client.modify(address, new, ["INBOX"], ["SPAM"])

    def begin(connection: sa.Connection) -> None:
        gmails.ledger.add_pending(connection, row, ["f" * 16], "backfill", gmails.clock())  # which is read first
        listings.start(connection, row, "targeted", row.window_from, gmails.clock())

    gmails.database.transaction(begin)
    assert [claim.gmail_id for claim in claims.claim(DueMailbox("t1", alice, "work", turn=True))] == ["f" * 16]
    assert gmails.outcomes(alice)[new] == "pending"
    assert [(claim.gmail_id, claim.lane) for claim in gmails.claim(alice, "push", claims)] == [(new, "live")]


def test_mail_that_a_walk_finds_before_gmail_hands_it_out_is_read_when_its_push_comes(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    row, new, there = gmails.row(alice), gmails.deliver(alice), {"mailboxes": [gmails.address(alice)]}
    gmails.database.transaction(lambda c: listings.start(c, row, "targeted", row.window_from, gmails.clock()))
    says = {"code": 404, "reason": "notFound", "message": "Requested entity was not found."}
    gmails.client.set_faults({"answer": 1.0, "says": says, "methods": ["messages.get"], **there})
    gmails.settle(gmails.claim(alice, "work"))
    assert gmails.outcomes(alice) == {new: "gone.not_found"}
    gmails.client.set_faults({"bare_stubs": 1.0, **there})
    gmails.settle(gmails.claim(alice, "push"))
    assert gmails.outcomes(alice) == {new: "customer"}


@pytest.mark.parametrize("by_search", [False, True], ids=["everything", "by-search"])
@pytest.mark.parametrize(
    ("code", "reason", "message", "state"),
    [
        (500, "backendError", "", "first_sync"),
        (400, "invalidArgument", "Invalid query", "first_sync"),
        (429, "rateLimitExceeded", "", "quota_delayed"),
    ],
)
def test_a_list_that_gmail_refuses_for_an_hour_holds_up_no_live_mail(
    gmails: Any, code: int, reason: str, message: str, state: str, by_search: bool
) -> None:
    alice, claims = gmails.connect("alice"), gmails.claims(search_plan=by_search)
    row = {"team_id": "t1", "domain": "elsewhere.example", "account_id": "a"}
    gmails.database.transaction(lambda c: c.execute(sa.insert(schema.account_domain), [row]))
    old = [gmails.deliver(alice, age=n + 1) for n in range(3)]
    says = {"code": code, "reason": reason, "message": message}
    gmails.client.set_faults(
        {"answer": 1.0, "says": says, "methods": ["messages.list"], "mailboxes": [gmails.address(alice)]}
    )
    gmails.settle(gmails.claim(alice, "poll", claims))
    begun, new = gmails.clock(), list[str]()
    while gmails.clock() - begun < dt.timedelta(hours=1):
        new.append(gmails.deliver(alice))
        for due in gmails.register.touched(gmails.address(alice), gmails.clock()):
            gmails.settle(gmails.claim(due.mailbox_id, due.reason, claims))
        assert gmails.outcomes(alice) == dict.fromkeys(new, "customer")  # each with its own push
        then = gmails.clock() + dt.timedelta(minutes=10)
        while (at := gmails.register.next_due(gmails.clock())) is not None and at < then:
            gmails.advance(seconds=(at - gmails.clock()).total_seconds() + 1e-3)
            for due in gmails.register.due(gmails.clock()):
                gmails.settle(gmails.claim(due.mailbox_id, due.reason, claims))
        gmails.advance(seconds=(then - gmails.clock()).total_seconds())
    row = gmails.row(alice)
    assert (row.state, row.not_before) == (state, None)
    asked = gmails.client.counters()["by_mailbox"][gmails.address(alice)]["messages.list"]
    assert 10 <= asked <= 70  # longer each time, up to five minutes, and one minute for quota
    gmails.client.set_faults()
    gmails.advance(minutes=6)
    gmails.sync(alice, claims=claims)
    assert gmails.outcomes(alice) == dict.fromkeys([*old, *new], "customer")
    assert (gmails.row(alice).state, gmails.row(alice).state_reason) == ("live", "")


def test_a_refused_list_goes_on_where_it_stood(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.fill(alice, 600)
    gmails.claim(alice)
    assert len(gmails.outcomes(alice)) == 500
    gmails.client.set_faults({"500": 1.0, "methods": ["messages.list"], "mailboxes": [gmails.address(alice)]})
    gmails.claim(alice, "work")
    assert gmails.row(alice).state_reason == "GmailUnavailableError x1"
    gmails.client.set_faults()
    gmails.claim(alice, "work")
    assert len(gmails.outcomes(alice)) == 500  # it pauses
    gmails.advance(seconds=3)
    gmails.claim(alice, "work")
    assert len(gmails.outcomes(alice)) == 600
    assert "Gmail" not in gmails.row(alice).state_reason
    assert gmails.client.counters()["by_mailbox"][gmails.address(alice)]["messages.list"] == 3


def test_a_list_without_a_page_token_is_refused_for_none(gmails: Any) -> None:
    """Starting it again from the top would be refused again, at once and for ever."""
    alice = gmails.connect("alice")
    says = {"code": 400, "reason": "invalidArgument", "message": "Invalid value for page size"}
    gmails.client.set_faults(
        {"answer": 1.0, "says": says, "methods": ["messages.list"], "mailboxes": [gmails.address(alice)]}
    )
    gmails.claim(alice)
    assert gmails.row(alice).state_reason == "GmailRequestError x1"
    assert gmails.register.next_due(gmails.clock()) > gmails.clock()


def test_ten_thousand_polls_are_spread_over_the_interval(sales: Any, clock: Any) -> None:
    """At sixty moments of it, and of one moment's mailboxes a pass takes a helping: nothing fires at once."""
    interval, at = dt.timedelta(minutes=15), clock()
    moments = collections.Counter(next_poll(f"m{n:05}", at, interval) for n in range(10_000))
    assert len(moments) == POLL_SLOTS
    assert all(110 < count < 230 for count in moments.values())  # 167 on average
    register = Register(sales.database, HELPING)
    boxes = [sales.add_mailbox(f"user{n}@corp.example", user=f"u{n}") for n in range(60)]
    assert len(register.due(clock())) == HELPING.backfills  # connected all at once: first syncs begin in turns
    for box in boxes:
        sales.mailboxes.set_state(box, "live", history_id=7, next_poll_at=clock())
    seen: set[str] = set()
    for _ in range(3):
        due = register.due(clock())
        assert len(due) <= HELPING.looks
        seen |= {one.mailbox_id for one in due}
        for one in due:
            sales.mailboxes.set_state(one.mailbox_id, "live", next_poll_at=next_poll(one.mailbox_id, clock(), interval))
    assert seen == set(boxes)
    assert register.due(clock()) == []
