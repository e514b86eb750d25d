"""A message that Gmail never hands out: tried five times, later each time, parked with phase and class, replayed by retry."""

from __future__ import annotations

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
