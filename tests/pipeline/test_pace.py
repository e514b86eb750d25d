"""The pace: passes come to about the time that they may take, on machines of any speed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealmail.pipeline.pace import Pace


@given(st.floats(0.0004, 0.03), st.floats(0, 0.3))
def test_a_pass_comes_to_take_its_time(seconds_a_message: float, overhead: float) -> None:
    """Where so many messages fit between `least` and `most` at all."""
    pace = Pace()
    for _ in range(20):
        pace.note(overhead + pace.old_messages * seconds_a_message, pace.old_messages)
    took = overhead + pace.old_messages * seconds_a_message
    assert took == pytest.approx(pace.target_s, rel=0.1) or pace.old_messages in (pace.least, pace.most)


def test_a_long_pass_is_followed_by_a_smaller_one_at_once() -> None:
    pace = Pace()
    pace.note(11.0, 200)
    assert pace.old_messages == 100


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 3_000))))
def test_it_stays_within_its_bounds(passes: list[tuple[float, int]]) -> None:
    pace = Pace()
    for seconds, claimed in passes:
        pace.note(seconds, claimed)
        assert pace.least <= pace.old_messages <= pace.most


@pytest.mark.parametrize(("seconds", "bound"), [(0.001, "most"), (100.0, "least")])
def test_it_reaches_its_bounds_and_goes_no_further(seconds: float, bound: str) -> None:
    pace = Pace()
    for _ in range(50):
        pace.note(seconds, pace.old_messages)
    assert pace.old_messages == getattr(pace, bound)


def test_passes_without_much_mail_say_nothing() -> None:
    pace = Pace()
    for _ in range(10):
        pace.note(0.05, 3)
    assert pace.old_messages == Pace().old_messages


@pytest.mark.parametrize("wrong", [{"target_s": 0}, {"least": 0}, {"old_messages": 10}, {"most": 100}])
def test_a_pace_that_cannot_work_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="least"):
        Pace(**wrong)
