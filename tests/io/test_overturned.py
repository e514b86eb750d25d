"""Automated decisions that fall when the team turns out to write to their author."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import pytest
from between import Between

from dealmail.io import schema
from dealmail.io.overturned import REOPENED_LEASES
from dealmail.transforms import decisions
from dealmail.transforms.records import Decision


def test_a_later_sent_mail_overturns_an_automated_decision_in_either_order(sales: Any, mail: Any) -> None:
    box, other = sales.add_mailbox("alice@corp.example"), sales.add_mailbox("bob@corp.example")
    (robot, plain), (sent,) = sales.claim(box, ["g1", "g2"]), sales.claim(other, ["g1"])
    automated = Decision(robot, "dropped", "automated.marketing", context=("d1", "d2"))
    sales.settlements.settle([automated, Decision(plain, "dropped", decisions.CRM_NO_MATCH)])
    assert len(sales.dump(schema.message_context)["message_context"]) == 2
    sales.settlements.settle([mail(sent, 1, direction="outbound", context=("d2", "d3"))])
    assert sales.ledger.explain(box, "g1").state == "pending"
    assert sales.ledger.explain(box, "g2").state == "decided"
    assert sales.dump(schema.message_context)["message_context"] == []
    # the other order: the decision was made before the sent mail was stored, and is settled after it
    turns = 0
    while sales.ledger.explain(box, "g1").state == "pending":
        (robot,) = sales.claim(box, ["g1"])
        sales.settlements.settle([dataclasses.replace(automated, claim=robot)])
        turns += 1
    assert turns == REOPENED_LEASES  # taken back while that may help, then believed


def test_what_killed_workers_had_leased_is_overturned_all_the_same(sales: Any, mail: Any) -> None:
    box, other = sales.add_mailbox("alice@corp.example"), sales.add_mailbox("bob@corp.example")
    for _ in range(6):
        (robot,) = sales.claim(box, ["g1"], lease_seconds=0)
    sales.settlements.settle([Decision(robot, "dropped", "automated.marketing", context=("d1",))])
    assert sales.ledger.explain(box, "g1").state == "decided"
    (sent,) = sales.claim(other, ["g1"])
    sales.settlements.settle([mail(sent, 1, direction="outbound", context=("d1",))])
    assert sales.ledger.explain(box, "g1").state == "pending"


def test_contexts_of_another_team_overturn_nothing(sales: Any, mail: Any) -> None:
    sales.add_team("t2")
    mine, theirs = sales.add_mailbox("alice@corp.example"), sales.add_mailbox("alice@corp.example", "t2")
    (robot,), (sent,) = sales.claim(mine, ["g1"]), sales.claim(theirs, ["g1"])
    sales.settlements.settle([Decision(robot, "dropped", "automated.marketing", context=("d1",))])
    sales.settlements.settle([mail(sent, 1, context=("d1",))])
    assert sales.ledger.explain(mine, "g1").state == "decided"


def test_a_mailbox_that_is_off_keeps_its_decisions_until_it_is_on_again(sales: Any, mail: Any) -> None:
    box, other = sales.add_mailbox("alice@corp.example"), sales.add_mailbox("bob@corp.example")
    (robot, plain), (sent, unrelated) = sales.claim(box, ["g1", "g2"]), sales.claim(other, ["g1", "g2"])
    sales.settlements.settle(
        [
            Decision(robot, "dropped", "automated.marketing", context=("d1",)),
            Decision(plain, "dropped", "automated.marketing", context=("d9",)),
        ]
    )
    sales.mailboxes.turn_off(box, "alice")
    before = [row for row in sales.dump(schema.message)["message"] if box in row]
    sales.settlements.settle(
        [
            mail(sent, 1, direction="outbound", context=("d1", "d2")),
            mail(unrelated, 2, direction="outbound", context=("d3",)),
        ]
    )
    assert [row for row in sales.dump(schema.message)["message"] if box in row] == before
    sales.mailboxes.turn_on(box, "alice")
    assert [sales.ledger.explain(box, gmail_id).state for gmail_id in ("g1", "g2")] == ["pending", "decided"]
    assert len(sales.dump(schema.message_context)["message_context"]) == 1


@pytest.mark.mariadb
@pytest.mark.parametrize(
    "words",
    [
        ("correspondence", "ON DUPLICATE"),
        ("FROM message_context", "FOR UPDATE"),
        ("SELECT mailbox.id", "import_on"),
        ("UPDATE engagement",),
    ],
)
def test_import_that_goes_on_while_overturning_mail_is_stored_misses_nothing(
    mariadb_database: Any, make_sales: Any, mail: Any, words: tuple[str, ...]
) -> None:
    sales = make_sales(mariadb_database)
    box, other = sales.add_mailbox("alice@corp.example"), sales.add_mailbox("bob@corp.example")
    (robot,), (sent, first) = sales.claim(box, ["g1"]), sales.claim(other, ["g1", "g2"])
    sales.settlements.settle([mail(first, 1)])
    sales.settlements.settle([Decision(robot, "dropped", "automated.marketing", context=("d1",))])
    sales.mailboxes.turn_off(box, "alice")
    threads: list[threading.Thread] = []

    # It may have to wait for the settling, which waits for this function: half a second is enough.
    def turn_on() -> None:
        threads.append(threading.Thread(target=sales.mailboxes.turn_on, args=(box, "alice")))
        threads[-1].start()
        threads[-1].join(0.5)

    with Between(mariadb_database, words, turn_on) as between:
        sales.settlements.settle([mail(sent, 1, direction="outbound", context=("d1",))])
    for thread in threads:
        thread.join(60)
    assert between.happened
    assert sales.mailboxes.get(box).import_on
    assert sales.ledger.explain(box, "g1").state == "pending"
