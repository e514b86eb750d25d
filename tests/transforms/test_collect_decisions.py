"""CollectDecisions: nothing is lost on the way, and everything is counted under its rule."""

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from dealmail.transforms.collect_decisions import CollectDecisions, outcome_name
from dealmail.transforms.records import ClaimedMessage, Decision, Failure, Record

CLAIM = ClaimedMessage("t", "m", "g1", "lease", "alice@corp.example")
DROPPED = Decision(CLAIM, "dropped", "crm.no_match")
FAILED = Failure(CLAIM, "fetch", "GmailQuotaError", counts=False)


def test_decisions_and_failures_meet_and_are_counted_by_rule():
    pipeline = TestPipeline(runner="FnApiRunner")
    decisions = pipeline | "Decisions" >> beam.Create([DROPPED, DROPPED]).with_output_types(Record)
    failures = pipeline | "Failures" >> beam.Create([FAILED]).with_output_types(Record)
    assert_that((decisions, failures) | CollectDecisions(), equal_to([DROPPED, DROPPED, FAILED]))
    result = pipeline.run()
    result.wait_until_finish()
    counters = {c.key.metric.name: c.committed for c in result.metrics().query()["counters"]}
    assert counters["dropped.crm.no_match"] == 2
    assert counters["failed.fetch.GmailQuotaError"] == 1


def test_what_is_no_outcome_is_refused():
    with pytest.raises(TypeError, match="ClaimedMessage is no outcome"):
        outcome_name(CLAIM)
