"""A message that Gmail never hands out: tried ever more seldom, parked with phase and class, replayed by retry."""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa

from dealmail.io import schema


def test_a_message_that_fails_five_times_is_parked_and_retry_replays_it(gmails: Any) -> None:
    alice, bob = gmails.connect("alice"), gmails.connect("bob")
    gmails.sync(alice)
    gmails.sync(bob)
    poison, cursor = gmails.deliver(alice), gmails.row(alice).history_id
    says = {"code": 400, "reason": "invalidArgument", "message": f"Invalid id value of {gmails.address(alice)}"}
    gmails.client.set_faults(
        {"answer": 1.0, "says": says, "methods": ["messages.get"], "mailboxes": [gmails.address(alice)]}
    )
    pauses = []
    for failed in range(1, 6):
        gmails.settle(gmails.claim(alice, "push" if failed == 1 else "work"))
        row = gmails.ledger.explain(alice, poison)
        assert (row.failures, row.phase, row.error_class) == (failed, "fetch", "GmailRequestError")
        if failed < 5:
            assert (row.state, gmails.claim(alice, "work")) == ("pending", [])  # not before its pause is over
            pauses.append((row.not_before - gmails.clock()).total_seconds())
            gmails.advance(seconds=pauses[-1] + 0.1)
    assert (row.outcome, row.rule) == ("parked", "parked")
    assert all(2**n / 2 <= pause <= 2**n for n, pause in enumerate(pauses))
    # It held up neither cursor nor mailbox nor anybody else.
    gmails.client.set_faults()
    new, other = gmails.deliver(alice), gmails.deliver(bob)
    gmails.sync(alice, "push")
    gmails.sync(bob, "push")
    assert gmails.outcomes(alice) == {poison: "parked", new: "customer"}
    assert gmails.outcomes(bob) == {other: "customer"}
    assert gmails.row(alice).history_id > cursor
    assert (gmails.row(alice).state, gmails.row(alice).state_reason) == ("live", "")
    # Nothing of what Google said is kept: it may hold an address.
    with gmails.database.reading() as connection:
        kept = connection.execute(sa.select(schema.message).where(schema.message.c.gmail_id == poison)).one()
    assert gmails.address(alice) not in str(kept)
    assert gmails.ledger.retry_parked("t1", alice, poison) == 1
    gmails.sync(alice, "work")
    assert gmails.outcomes(alice)[poison] == "customer"


def served(gmails: Any, mailbox: str, minutes: float) -> int:
    """The mailbox is looked after for so long, as the register says; how many messages were asked for."""
    counted = gmails.client.counters()["by_mailbox"].get(gmails.address(mailbox), {}).get("messages.get", 0)
    until = gmails.clock() + dt.timedelta(minutes=minutes)
    while gmails.clock() < until:
        for due in gmails.register.due(gmails.clock()):
            if due.mailbox_id == mailbox:
                gmails.settle(gmails.claim(mailbox, due.reason))
        gmails.advance(seconds=2)
    return gmails.client.counters()["by_mailbox"][gmails.address(mailbox)].get("messages.get", 0) - counted


def test_ten_minutes_without_answers_cost_few_calls_and_lose_nothing(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    ids = [gmails.deliver(alice, f"Offer {n}") for n in range(20)]
    gmails.client.set_faults({"500": 1.0, "methods": ["messages.get"], "mailboxes": [gmails.address(alice)]})
    gmails.settle(gmails.claim(alice, "push"))
    assert 5 * 20 < served(gmails, alice, 10) < 10 * 20
    gmails.client.set_faults()
    assert served(gmails, alice, 10) == 20
    assert gmails.outcomes(alice) == dict.fromkeys(ids, "customer")
