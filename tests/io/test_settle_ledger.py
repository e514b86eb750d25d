"""What failed is tried again, ever later, and parked where it is to blame."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from dealmail.transforms.records import Failure


def test_failures_back_off_and_the_fifth_parks(sales: Any, clock: Any) -> None:
    box = sales.add_mailbox("alice@corp.example")
    pauses = []
    for _ in range(4):
        (claim,) = sales.claim(box, ["g1"])
        sales.settlements.settle([Failure(claim, "normalize", "ValueError")])
        row = sales.ledger.explain(box, "g1")
        pauses.append((row.not_before - clock()).total_seconds())
        assert sales.claim(box, ["g1"]) == []
        clock.advance(seconds=pauses[-1])
    for n, pause in enumerate(pauses):
        assert 2**n / 2 <= pause <= 2**n
    (claim,) = sales.claim(box, ["g1"])
    sales.settlements.settle([Failure(claim, "normalize", "ValueError")])
    row = sales.ledger.explain(box, "g1")
    assert (row.outcome, row.rule, row.phase, row.error_class) == ("parked", "parked", "normalize", "ValueError")
    assert sales.ledger.retry_parked("t2") == 0
    assert sales.ledger.retry_parked("t1") == 1
    assert len(sales.claim(box, ["g1"])) == 1


@pytest.mark.parametrize(
    "error", ["GmailQuotaError", "StoreUnavailableError", "TokenRefreshError", "ConsentRevokedError"]
)
def test_failures_that_do_not_count_never_park(sales: Any, clock: Any, error: str) -> None:
    box = sales.add_mailbox("alice@corp.example")
    pauses = []
    for n in range(150):
        (claim,) = sales.claim(box, ["g1"])
        wait = dt.timedelta(minutes=2) if n == 149 else None
        sales.settlements.settle([Failure(claim, "fetch", error, counts=False, retry_after=wait)])
        row = sales.ledger.explain(box, "g1")
        assert (row.state, row.failures) == ("pending", 0)
        pauses.append((row.not_before - clock()).total_seconds())
        clock.advance(seconds=pauses[-1])
    assert pauses.pop() == 120
    for n, pause in enumerate(pauses):
        assert min(4 * 2**n, 64) / 2 <= pause <= min(4 * 2**n, 64)


def unavailable(sales: Any, clock: Any, box: str, ids: list[str], tries: int, *, beside: bool = False) -> list[float]:
    """Up to so many 5xx for each of the messages, each as soon as its pause is over; the first one's pauses."""
    pauses = []
    for _ in range(tries):
        claims = [claim for gmail_id in ids for claim in sales.claim(box, [gmail_id])]
        sales.settlements.settle([Failure(c, "fetch", "GmailUnavailableError", counts=beside) for c in claims])
        rows = [sales.ledger.explain(box, gmail_id) for gmail_id in ids]
        if rows[0].outcome:
            break
        pauses.append((rows[0].not_before - clock()).total_seconds())
        clock.advance(seconds=max((row.not_before - clock()).total_seconds() for row in rows))
    return pauses


def test_a_message_that_gmail_never_hands_out_is_asked_for_ever_more_seldom_and_parked_after_hours(
    sales: Any, clock: Any
) -> None:
    box = sales.add_mailbox("alice@corp.example")
    pauses = unavailable(sales, clock, box, ["g1"], 100)
    row = sales.ledger.explain(box, "g1")
    assert (row.outcome, row.phase, row.error_class) == ("parked", "fetch", "GmailUnavailableError")
    assert len(pauses) == 20
    assert 3600 < sum(pauses) < 3 * 3600
    for n, pause in enumerate(pauses):
        assert min(4 * 2**n, 600) / 2 <= pause <= min(4 * 2**n, 600)
    sales.ledger.retry_parked("t1")
    assert unavailable(sales, clock, box, ["g1"], 1)[0] <= 4  # from the beginning


def test_where_others_are_read_beside_it_it_is_parked_sooner_but_not_in_a_bad_minute(sales: Any, clock: Any) -> None:
    box = sales.add_mailbox("alice@corp.example")
    pauses = unavailable(sales, clock, box, ["g1"], 100, beside=True)
    assert len(pauses) == 8
    assert 8 * 60 < sum(pauses) < 20 * 60


def test_gmails_own_outage_parks_nothing_for_half_a_day(sales: Any, clock: Any) -> None:
    box, ids = sales.add_mailbox("alice@corp.example"), ["g1", "g2", "g3", "g4"]
    assert sum(unavailable(sales, clock, box, ids, 100)) > 8 * 3600
    assert {sales.ledger.explain(box, gmail_id).failures for gmail_id in ids} == {0}
    assert len(unavailable(sales, clock, box, ids, 100)) < 6
    assert sales.ledger.explain(box, "g1").outcome == "parked"


def test_a_failure_of_another_kind_begins_anew(sales: Any, clock: Any) -> None:
    box = sales.add_mailbox("alice@corp.example")
    unavailable(sales, clock, box, ["g1"], 15)
    (claim,) = sales.claim(box, ["g1"])
    sales.settlements.settle([Failure(claim, "fetch", "GmailQuotaError", counts=False)])
    clock.advance(seconds=4)
    pauses = unavailable(sales, clock, box, ["g1"], 3)
    assert all(4 * 2**n / 2 <= pause <= 4 * 2**n for n, pause in enumerate(pauses))
