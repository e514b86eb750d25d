"""KeepHouse: each tick looks, each chore is done once, and what another worker took is not counted."""

import datetime as dt

import apache_beam as beam
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from dealmail.transforms.keep_house import KeepHouse
from dealmail.transforms.records import Tick

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
DONE: list[str] = []


class Chores:
    def due(self, now):
        assert now == NOW
        return ["audit:m1", "tidy:t1", "audit:taken"]

    def do(self, name):
        DONE.append(name)
        return name != "audit:taken"


def test_what_is_due_is_done_once_a_pass_though_two_ticks_found_it():
    DONE.clear()
    with TestPipeline() as pipeline:
        ticks = pipeline | beam.Create([Tick(NOW), Tick(NOW)])
        assert_that(ticks | KeepHouse(Chores, now=lambda: NOW), equal_to(["audit:m1", "tidy:t1"]))
    assert sorted(DONE) == ["audit:m1", "audit:taken", "tidy:t1"]
