"""Settling on both databases: one transaction, idempotent, the same rows in whatever order."""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
import threading
from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import schema
from dealmail.transforms import decisions
from dealmail.transforms.errors import DealmailError
from dealmail.transforms.records import ChangedEngagements, ClaimedMessage, Decision, Failure, SeenCopy

RESULT = (
    schema.engagement, schema.participant, schema.engagement_link, schema.engagement_copy, schema.correspondence,
    schema.message_context,
)  # fmt: skip
MOVING = ("version", "created_at", "updated_at")


def seen(claim: ClaimedMessage, number: int) -> SeenCopy:
    return SeenCopy(claim, f"{claim.team_id}-e{number:04d}", f"d{number}-0", f"0000-{number}", "customer", "1")


def test_settle_stores_a_mail_once_and_says_so_everywhere(sales: Any, mail: Any, clock: Any) -> None:
    box = sales.add_mailbox("alice@corp.example")
    (claim,) = sales.claim(box, ["g1"])
    one = mail(claim, 1, score=-2.5, signals=["person"])
    assert sales.settlements.settle([one]) == [ChangedEngagements("t1", ("t1-e0001",))]
    rows = sales.dump(*RESULT, schema.search_outbox)
    assert [len(rows[t.name]) for t in RESULT] == [1, 3, 2, 1, 0, 0]
    with sales.database.reading() as connection:
        stored = connection.execute(sa.select(schema.engagement)).mappings().one()
        outbox = connection.execute(sa.select(schema.search_outbox)).mappings().one()
    assert stored["sent_at"] == one.sent_at
    assert stored["text"] == one.body.text
    assert stored["version"] == outbox["version"] == int(clock().timestamp()) * 1_000_000
    row = sales.ledger.explain(box, "g1")
    assert (row.state, row.outcome, row.rule, row.engagement_id) == ("decided", "imported", "customer", "t1-e0001")
    assert (row.score, row.signals, row.lease_until) == (-2.5, ["person"], None)
    before = sales.dump(*RESULT, schema.message, schema.search_outbox)
    assert sales.settlements.settle([one]) == []
    assert sales.dump(*RESULT, schema.message, schema.search_outbox) == before


def test_a_stale_lease_and_a_foreign_team_decide_nothing(sales: Any, mail: Any) -> None:
    sales.add_team("t2")
    box = sales.add_mailbox("alice@corp.example")
    (claim,) = sales.claim(box, ["g1"])
    before = sales.dump(*RESULT, schema.message)
    stale = dataclasses.replace(claim, lease="0" * 16)
    foreign = dataclasses.replace(claim, team_id="t2")
    nobody = dataclasses.replace(claim, team_id="t3")
    for wrong in (stale, foreign, nobody):
        assert sales.settlements.settle([mail(wrong, 1)]) == []
        assert sales.settlements.settle([Decision(wrong, "dropped", decisions.CRM_NO_MATCH)]) == []
        assert sales.settlements.settle([Failure(wrong, "fetch", "X")]) == []
    assert sales.dump(*RESULT, schema.message) == before


def test_a_mailbox_switched_off_in_flight_gets_no_write(sales: Any, mail: Any) -> None:
    off, on = sales.add_mailbox("alice@corp.example"), sales.add_mailbox("bob@corp.example")
    (first,), (second,) = sales.claim(off, ["g1"]), sales.claim(on, ["g1"])
    sales.mailboxes.turn_off(off, "alice")
    sales.settlements.settle([mail(first, 1), mail(second, 2)])
    assert [row[0] for row in sales.dump(schema.engagement_copy)["engagement_copy"]] == [on]
    assert sales.ledger.explain(off, "g1").state == "pending"
    sales.mailboxes.turn_on(off, "alice")
    assert sales.settlements.settle([mail(first, 1)]) == []


def test_copies_meet_in_one_engagement_and_the_smallest_rank_wins(sales: Any, mail: Any, clock: Any) -> None:
    boxes = [sales.add_mailbox(f"user{n}@corp.example") for n in range(3)]
    claims = [sales.claim(box, ["g1"])[0] for box in boxes]
    versions = []
    for claim, variant in zip(claims, (2, 1, 3), strict=True):
        sales.settlements.settle([mail(claim, 1, variant)])
        with sales.database.reading() as connection:
            versions.append(connection.scalar(sa.select(schema.engagement.c.version)))
            assert connection.scalar(sa.select(schema.search_outbox.c.version)) == versions[-1]
    assert versions == [versions[0], versions[0] + 1, versions[0] + 2]
    with sales.database.reading() as connection:
        row = connection.execute(sa.select(schema.engagement)).mappings().one()
        links = set(connection.scalars(sa.select(schema.engagement_link.c.target_id)))
        people = connection.scalar(sa.select(sa.func.count()).select_from(schema.participant))
    assert (row["subject"], links, people) == ("Offer 1 (1)", {"a1", "c1"}, 4)
    assert len(sales.dump(schema.engagement_copy)["engagement_copy"]) == 3


def test_a_seen_copy_joins_or_is_handed_back(sales: Any, mail: Any, clock: Any) -> None:
    first, second = sales.add_mailbox("alice@corp.example"), sales.add_mailbox("bob@corp.example")
    (early,) = sales.claim(second, ["g1"])
    assert sales.settlements.settle([seen(early, 1)]) == []
    row = sales.ledger.explain(second, "g1")
    assert (row.state, row.lease_until) == ("pending", None)
    assert clock() < row.not_before <= clock() + dt.timedelta(seconds=2)
    (claim,) = sales.claim(first, ["g1"])
    sales.settlements.settle([mail(claim, 1)])
    clock.advance(seconds=3)
    (again,) = sales.claim(second, ["g1"])
    assert sales.settlements.settle([seen(again, 1)]) == [ChangedEngagements("t1", ("t1-e0001",))]
    assert sales.ledger.explain(second, "g1").outcome == "imported"
    assert len(sales.dump(schema.engagement_copy)["engagement_copy"]) == 2


def test_a_seen_copy_never_settles_for_less_than_it_stands_for(sales: Any, mail: Any, clock: Any) -> None:
    """The copy that it equals is skipped (its user turned import off), and what is stored is another, worse one."""
    boxes = [sales.add_mailbox(f"user{n}@corp.example") for n in range(3)]
    worse, better, equal = (sales.claim(box, ["g1"])[0] for box in boxes)
    sales.settlements.settle([mail(worse, 1, 5)])
    sales.mailboxes.turn_off(boxes[1], "user1")
    copy = SeenCopy(equal, "t1-e0001", "d1-2", mail(equal, 1, 2).rank, "customer", "1", context=("d1",))
    assert sales.settlements.settle([mail(better, 1, 2), copy]) == []
    row = sales.ledger.explain(boxes[2], "g1")
    assert (row.state, row.lease_until, row.failures) == ("pending", None, 0)
    clock.advance(seconds=3)
    (again,) = sales.claim(boxes[2], ["g1"])
    sales.settlements.settle([mail(again, 1, 2)])
    with sales.database.reading() as connection:
        assert connection.scalar(sa.select(schema.engagement.c.subject)) == "Offer 1 (2)"
    # one that stands for no more than what is stored joins, with whom it shows the team writes to
    (late,) = sales.claim(boxes[0], ["g2"])
    sales.settlements.settle([dataclasses.replace(copy, claim=late)])
    assert sales.ledger.explain(boxes[0], "g2").outcome == "imported"
    assert [row[1] for row in sales.dump(schema.correspondence)["correspondence"]] == ["d1"]


def test_what_was_stored_and_is_now_decided_otherwise_goes(sales: Any, mail: Any) -> None:
    first, second = sales.add_mailbox("alice@corp.example"), sales.add_mailbox("bob@corp.example")
    for box in (first, second):
        (claim,) = sales.claim(box, ["g1"])
        sales.settlements.settle([mail(claim, 1)])
    for box, left in ((first, 1), (second, 0)):
        again = sa.update(schema.message).values(state="pending").where(schema.message.c.mailbox_id == box)
        sales.database.transaction(lambda c, again=again: c.execute(again))
        (claim,) = sales.claim(box, ["g1"])
        assert sales.settlements.settle([Decision(claim, "dropped", decisions.BLOCKED_TEAM)]) == [
            ChangedEngagements("t1", ("t1-e0001",))
        ]
        assert len(sales.dump(schema.engagement)["engagement"]) == left
        assert sales.ledger.explain(box, "g1").engagement_id is None
    assert [row[3] for row in sales.dump(schema.search_outbox)["search_outbox"]] == [True]
    assert sales.dump(schema.participant, schema.engagement_link, schema.engagement_copy) == {
        "participant": [], "engagement_link": [], "engagement_copy": [],
    }  # fmt: skip


def test_long_and_hostile_text_is_cut_with_a_flag_not_refused(sales: Any, mail: Any) -> None:
    from dealmail.transforms.records import MailText, Participant, Span

    box = sales.add_mailbox("alice@corp.example")
    claims = sales.claim(box, ["g1", "g2"])
    long = mail(
        claims[0], 1, subject="ß" * 10_000, body=MailText("😀" * 300_000, (Span("quote", 10, 299_999), Span("quote", 299_000, 300_000))),
        sender=Participant("x" * 400 + "@customer.example", "n" * 300), message_id="m" * 9_000,
    )  # fmt: skip
    odd = mail(claims[1], 2, subject="a\0b\ud83d\ude00 \ud800", body=MailText("\x00"))
    sales.settlements.settle([long, odd])
    with sales.database.reading() as connection:
        first, second = (
            connection.execute(sa.select(schema.engagement).order_by(schema.engagement.c.id)).mappings().all()
        )
    assert first["truncated"]
    assert (len(first["subject"]), len(first["text"]), first["spans"]) == (8_000, 250_000, [["quote", 10, 250_000]])
    assert (len(first["sender_address"]), len(first["message_id"])) == (320, 4_000)
    assert (second["subject"], second["text"], second["truncated"]) == ("a�b😀 �", "�", False)


def test_mail_older_than_the_team_keeps_is_not_stored(sales: Any, mail: Any, clock: Any) -> None:
    sales.add_team("t2", retention_days=10)
    box, other = sales.add_mailbox("a@corp.example", "t2"), sales.add_mailbox("b@corp.example", "t2")
    old, new = sales.claim(box, ["g1", "g2"])
    times = {1: clock() - dt.timedelta(days=10, seconds=1), 2: clock() - dt.timedelta(days=9)}
    sales.settlements.settle([mail(old, 1, sent_at=times[1]), mail(new, 2, sent_at=times[2])])
    assert [sales.ledger.explain(box, g).rule for g in ("g1", "g2")] == ["retention", "customer"]
    clock.advance(days=2)
    (copy,) = sales.claim(other, ["g2"])
    sales.settlements.settle([seen(copy, 2)])
    assert sales.ledger.explain(other, "g2").rule == "retention"


def overlapping(sales: Any, mail: Any, mails: int, boxes: int, rng: random.Random) -> list[Any]:
    """Every mail in some of the mailboxes, copies differing, a few decisions among them."""
    ids = [sales.add_mailbox(f"user{n}@corp.example") for n in range(boxes)]
    items = []
    for box_number, box in enumerate(ids):
        claims = sales.claim(box, [f"g{n:04d}" for n in range(mails)])
        for number, claim in enumerate(claims):
            if (number + box_number) % 4 == 0:  # half of these are overturned by a sent mail, whichever comes first
                items.append(Decision(claim, "dropped", "automated.marketing", context=(f"x{number}", f"y{number}")))
            elif (number * 7 + box_number) % 5 == 0 and box_number:
                items.append(
                    mail(
                        claim,
                        number,
                        (number * 13 + box_number * 5) % 6 + 6,
                        context=(f"y{number}",),
                        direction="outbound",
                    )
                )
            else:
                items.append(mail(claim, number, (number * 11 + box_number * 3) % 6))
    return items


def settle_in_threads(sales: Any, items: list[Any], rng: random.Random, threads: int) -> None:
    rng.shuffle(items)
    errors: list[BaseException] = []
    shares = [items[n::threads] for n in range(threads)]

    def run(share: list[Any]) -> None:
        try:
            for start in range(0, len(share), 7):
                sales.settlements.settle(share[start : start + 7])
        except (DealmailError, sa.exc.SQLAlchemyError, KeyError, AssertionError) as error:
            errors.append(error)

    workers = [threading.Thread(target=run, args=(share,)) for share in shares]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert errors == []


@pytest.fixture(scope="session")
def expected() -> dict[str, Any]:
    """What every run of the same items has to come to, on either database."""
    return {}


@pytest.mark.parametrize("seed", range(4))
def test_any_order_and_any_concurrency_give_the_same_rows(
    sales: Any, mail: Any, seed: int, expected: dict[str, Any]
) -> None:
    rng = random.Random(seed)
    items = overlapping(sales, mail, 40, 4, rng)
    settle_in_threads(sales, items, rng, 6)
    with sales.database.reading() as connection:
        pending = connection.execute(
            sa.select(schema.message.c.mailbox_id, schema.message.c.gmail_id).where(schema.message.c.state == "pending")
        ).all()
    assert len(pending) == expected.setdefault("overturned", len(pending)) > 0
    for box, gmail_id in pending:  # what is overturned is read again, and imported now
        (claim,) = sales.claim(box, [gmail_id])
        sales.settlements.settle([mail(claim, int(gmail_id[1:]), 20)])
    ledger = ("lease", "leases", "found_at", "decided_at")
    rows = sales.dump(*RESULT, schema.message, without=(*MOVING, *ledger))
    assert rows == expected.setdefault("rows", rows)
    with sales.database.reading() as connection:
        versions = dict(connection.execute(sa.select(schema.engagement.c.id, schema.engagement.c.version)).all())
        outbox = sa.select(schema.search_outbox.c.engagement_id, schema.search_outbox.c.version)
        assert dict(connection.execute(outbox).all()) == versions
