"""Polls keep their own beat and spread evenly."""

from __future__ import annotations

import collections
import datetime as dt

from hypothesis import given, settings
from hypothesis import strategies as st

from dealmail.io.poll_times import next_poll

MINUTES = dt.timedelta(minutes=1)


@settings(deadline=None)
@given(st.text(min_size=1), st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2030, 1, 1)))  # noqa: DTZ001
def test_polls_keep_their_own_beat(mailbox: str, at: dt.datetime) -> None:
    at = at.replace(tzinfo=dt.UTC)
    first = next_poll(mailbox, at, 15 * MINUTES)
    assert at < first <= at + 15 * MINUTES
    assert abs(next_poll(mailbox, first, 15 * MINUTES) - first - 15 * MINUTES) < dt.timedelta(milliseconds=2)


def test_ten_thousand_mailboxes_spread_evenly() -> None:
    now = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
    minutes = collections.Counter((next_poll(f"m{n}", now, 15 * MINUTES) - now) // MINUTES for n in range(10_000))
    assert len(minutes) == 15
    assert all(500 < count < 850 for count in minutes.values())


def test_a_thousand_mailboxes_are_polled_together_at_sixty_moments() -> None:
    now = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
    moments = {next_poll(f"m{n}", now + dt.timedelta(seconds=n / 500), 15 * MINUTES) for n in range(1000)}
    rounded = {round(moment.timestamp(), 3) for moment in moments}
    assert len(rounded) == 60
