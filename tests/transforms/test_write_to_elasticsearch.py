"""WriteToElasticsearch: what changed is indexed at once, and each tick drains the outbox."""

import datetime as dt

import apache_beam as beam
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from dealmail.transforms.records import ChangedEngagements, Tick
from dealmail.transforms.write_to_elasticsearch import WriteToElasticsearch


class Outbox:
    """Says how many rows it was asked for: ids for what changed, the limit for a drain."""

    def index(self, team_id, engagement_ids):
        return len(engagement_ids)

    def drain(self, limit):
        return limit


def test_changes_are_indexed_and_ticks_drain():
    with TestPipeline(runner="FnApiRunner") as pipeline:
        ticks = pipeline | "Ticks" >> beam.Create([Tick(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))])
        changed = pipeline | "Changed" >> beam.Create([ChangedEngagements("t", ("e1", "e2"))])
        assert_that(changed | WriteToElasticsearch(Outbox, ticks, drain_limit=77), equal_to([2, 77]))
