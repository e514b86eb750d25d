"""Claims against a Gmail over HTTP: what the ledger holds after Gmail changed, refused, forgot or was asked twice."""

from __future__ import annotations

import collections
import datetime as dt
import threading
from typing import Any

import sqlalchemy as sa

from dealmail.io import schema
from dealmail.io.quota import QuotaLimits
from dealmail.transforms.records import DueMailbox

MINUTES = dt.timedelta(minutes=1)


def requests(gmails: Any, mailbox: str) -> collections.Counter[str]:
    return collections.Counter(gmails.client.counters()["by_mailbox"].get(gmails.address(mailbox), {}))


def test_newest_first_and_live_mail_before_old(gmails: Any) -> None:
    alice = gmails.connect("alice")
    ids = [gmails.deliver(alice, f"Offer {n}", age=n + 1) for n in range(4)]
    claims = gmails.claims(batch=2)
    claimed = gmails.claim(alice, "poll", claims)
    assert [claim.gmail_id for claim in claimed] == sorted(ids, reverse=True)[:2]
    assert {claim.lane for claim in claimed} == {"backfill"}
    assert gmails.row(alice).state == "first_sync"
    live = gmails.deliver(alice, "Live")
    assert next((claim.gmail_id, claim.lane) for claim in gmails.claim(alice, "push", claims)) == (live, "live")


def test_many_claims_at_once_lease_each_message_once(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    gmails.client.set_limits(concurrent=0)
    ids = {gmails.deliver(alice, f"Offer {n}") for n in range(30)}
    leased: list[str] = []
    claims = gmails.claims(batch=5)

    def work() -> None:
        for _ in range(4):
            leased.extend(claim.gmail_id for claim in claims.claim(DueMailbox("t1", alice, "push")))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    leased.extend(claim.gmail_id for _ in range(6) for claim in claims.claim(DueMailbox("t1", alice, "push")))
    assert sorted(leased) == sorted(ids)


# --- quota and refusals ----------------------------------------------------------------------------------------------
def test_backfill_keeps_to_its_share_and_live_mail_goes_on(gmails: Any) -> None:
    alice = gmails.connect("alice")
    for n in range(20):
        gmails.deliver(alice, f"Offer {n}", age=n / 4 + 0.5)
    claims = gmails.claims(QuotaLimits(mailbox_minute=150, get=9))
    first = gmails.claim(alice, "poll", claims)
    assert len(first) == 12  # 120 of 150 units: 1 + 5 for profile and list, 12 * 9
    assert gmails.claim(alice, "work", claims) == []
    row = gmails.row(alice)
    assert (row.state, row.state_reason) == ("first_sync", "paced")
    assert row.not_before is not None
    live = gmails.deliver(alice, "Live")
    second = gmails.claim(alice, "push", claims)
    assert [claim.gmail_id for claim in second] == [live]
    after = gmails.row(alice)
    assert (after.state, after.state_reason, after.not_before) == (row.state, row.state_reason, row.not_before)
    gmails.settle(first + second)
    gmails.advance(minutes=2)
    assert len(gmails.claim(alice, "work", claims)) == 8


def test_the_projects_units_are_shared_by_all_mailboxes(gmails: Any) -> None:
    claims = gmails.claims(QuotaLimits(project_minute=200), backfill_share=0.95)
    claimed = 0
    for name in ("alice", "bob", "carol"):
        mailbox = gmails.connect(name)
        for n in range(5):
            gmails.deliver(mailbox, f"Offer {n}", age=n + 0.5)
        claimed += len(gmails.claim(mailbox, "poll", claims))
    assert claimed == 8  # of 190 units, beside 3 * 6 for profiles and lists
    with gmails.database.reading() as connection:
        assert (
            connection.scalar(
                sa.select(sa.func.sum(schema.quota_use.c.units)).where(schema.quota_use.c.scope == "project")
            )
            <= 200
        )


def test_import_off_claims_nothing(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.mailboxes.turn_off(alice, "alice")
    assert gmails.claim(alice, "push") == []
    assert requests(gmails, alice).total() == 0
    assert gmails.claims().claim(DueMailbox("t1", "nobody", "push")) == []


# --- polls and pushes ------------------------------------------------------------------------------------------------
def test_every_poll_looks_whether_or_not_a_push_came(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    gmails.advance(seconds=(gmails.row(alice).next_poll_at - gmails.clock()).total_seconds())
    gmails.sync(alice)
    due_at = gmails.row(alice).next_poll_at
    gmails.advance(seconds=20)
    gmails.claim(alice, "push")
    assert gmails.row(alice).next_poll_at == due_at
    gmails.advance(seconds=(due_at - gmails.clock()).total_seconds())
    new = gmails.deliver(alice)
    assert [(due.mailbox_id, due.reason) for due in gmails.register.due(gmails.clock())] == [(alice, "poll")]
    assert [claim.gmail_id for claim in gmails.claim(alice, "poll")] == [new]
    assert dt.timedelta(0) < gmails.row(alice).next_poll_at - gmails.clock() <= 15 * MINUTES


def test_a_push_that_meets_a_pause_on_its_way_is_followed_when_that_is_over(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    gmails.advance(minutes=16)
    old, limits = gmails.deliver(alice), {"429": 1.0, "methods": ["messages.get"], "retry_after": 20}
    claimed = gmails.claim(alice, "poll")
    new = gmails.deliver(alice)
    (push,) = gmails.register.touched(gmails.address(alice), gmails.clock())
    gmails.client.set_faults({**limits, "mailboxes": [gmails.address(alice)]})
    gmails.settle(claimed)
    assert gmails.claim(alice, "work") == []  # another worker's turn comes first
    gmails.client.set_faults()
    assert gmails.row(alice).state == "quota_delayed"
    assert gmails.claims().claim(push) == []
    assert gmails.register.due(gmails.clock()) == []
    gmails.advance(seconds=21)
    assert gmails.register.due(gmails.clock()) == [DueMailbox("t1", alice, "poll")]
    gmails.settle(gmails.claim(alice, "poll"))
    assert gmails.outcomes(alice) == {old: "customer", new: "customer"}


def test_a_push_that_brought_mail_is_followed_by_one_more_look(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    first = gmails.deliver(alice)
    gmails.settle(gmails.claim(alice, "push"))
    second = gmails.deliver(alice)  # of the same second: Gmail drops its notification
    gmails.advance(seconds=1.9)
    assert gmails.register.due(gmails.clock()) == []
    gmails.advance(seconds=0.2)
    assert gmails.register.due(gmails.clock()) == [DueMailbox("t1", alice, "poll")]
    gmails.settle(gmails.claim(alice, "poll"))
    assert gmails.outcomes(alice) == {first: "customer", second: "customer"}
    gmails.advance(seconds=3)
    gmails.claim(alice, "push")  # brings nothing
    gmails.advance(seconds=3)
    assert gmails.register.due(gmails.clock()) == []
