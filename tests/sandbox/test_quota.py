from __future__ import annotations

import pytest

from dealmail.sandbox.api_error import ApiError
from dealmail.sandbox.quota import COSTS, Limits, Quota


class Now:
    def __init__(self) -> None:
        self.seconds = 1_700_000_040.0

    def __call__(self) -> float:
        return self.seconds


def test_costs_are_those_of_new_projects() -> None:
    assert {
        name: COSTS[name] for name in ("messages.get", "messages.list", "history.list", "watch", "stop", "getProfile")
    } == {
        "messages.get": 20,
        "messages.list": 5,
        "history.list": 2,
        "watch": 100,
        "stop": 50,
        "getProfile": 1,
    }


def test_a_minute_is_used_up_and_the_next_begins_anew() -> None:
    now = Now()
    quota = Quota(now, Limits(user=6000))
    for _ in range(300):
        quota.charge("a", "messages.get")
    with pytest.raises(ApiError) as error:
        quota.charge("a", "history.list")
    assert (error.value.code, error.value.reason) == (403, "rateLimitExceeded")
    quota.charge("b", "history.list")
    now.seconds += 60
    quota.charge("a", "history.list")
    rows = {(row["minute"], row["user"]): row["units"] for row in quota.ledger()}
    minute = 1_700_000_040 // 60 * 60
    assert rows[minute, "a"] == 6000
    assert rows[minute, ""] == 6002
    assert rows[minute + 60, "a"] == 2


def test_places_in_flight() -> None:
    quota = Quota(Now(), Limits(concurrent=3))
    assert quota.begin("a", 2) == 2
    assert quota.begin("a", 2) == 1
    assert quota.begin("a") == 0
    assert quota.begin("b") == 1
    quota.end("a", 2)
    assert quota.begin("a", 5) == 2
    quota.set_limits(concurrent=0)
    assert quota.begin("a", 50) == 50


@pytest.mark.parametrize("name", ["user", "project", "burst", "concurrent"])
def test_a_limit_below_zero_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: -1})
    with pytest.raises(ValueError, match=name):
        Quota(Now()).set_limits(**{name: -1})
