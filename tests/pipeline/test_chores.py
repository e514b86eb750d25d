"""Chores: once a period, put off where something named stands in the way, loud where it does not."""

import datetime as dt

import pytest

from dealmail.pipeline.chores import Every, OneAfterAnother
from dealmail.transforms.errors import StoreUnavailableError


def test_a_chore_is_done_once_a_period(clock):
    done = []
    chores = OneAfterAnother([Every(dt.timedelta(minutes=1), lambda: done.append(clock()), clock)])
    for _ in range(130):
        chores()
        clock.advance(seconds=1)
    assert len(done) == 3


def test_a_store_that_is_down_puts_a_chore_off_and_a_mistake_is_loud(clock):
    errors = [StoreUnavailableError("database: 2003"), ZeroDivisionError("a mistake")]

    def chore():
        raise errors.pop(0)

    every = Every(dt.timedelta(minutes=1), chore, clock)
    every()
    clock.advance(minutes=1)
    with pytest.raises(ZeroDivisionError):
        every()


def test_a_period_of_nothing_is_refused(clock):
    with pytest.raises(ValueError, match="period"):
        Every(dt.timedelta(0), list, clock)
