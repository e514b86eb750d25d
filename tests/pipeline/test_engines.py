"""What an engine is given beside the graph."""

import apache_beam as beam
import pytest
from apache_beam.pvalue import AsDict
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from dealmail.io.database import DatabaseSpec
from dealmail.pipeline.engines import NO_TEAM, _ReadStamps
from dealmail.pipeline.options import JobOptions
from dealmail.pipeline.runner_options import runner_options

ENDLESS = JobOptions(
    database=DatabaseSpec("mysql+pymysql://dealmail@db.corp.example/dealmail"), search="https://es.corp.example",
    subscription="projects/our-project/subscriptions/gmail", token_key="env:KEY", runner="FlinkRunner",
)  # fmt: skip


def given(*rest):
    return runner_options(ENDLESS, rest).get_all_options(retain_unknown_options=True)


def test_flink_checkpoints_unless_told_otherwise():
    plain = given("--flink_master=flink:8081")
    assert (plain["checkpointing_interval"], plain["finish_bundle_before_checkpointing"]) == ("10000", True)
    assert given("--checkpointing_interval=60000")["checkpointing_interval"] == "60000"


@pytest.mark.parametrize("stamps", [[], [("t1", 3), ("t2", 1)]])
def test_every_beat_brings_a_stamp_or_mail_would_wait_for_the_first_team(stamps):
    """Mail is held back until its side input has a pane, and a beat without an element fires none."""
    with TestPipeline() as pipeline:
        beats = pipeline | beam.Create([0.0])
        crm = beats | beam.ParDo(_ReadStamps(lambda: stamps)).with_output_types(tuple[str, int])
        seen = pipeline | "Mail" >> beam.Create(["mail"]) | beam.Map(lambda _, known: dict(known), AsDict(crm))
        assert_that(seen, equal_to([dict([NO_TEAM, *stamps])]))


@pytest.mark.parametrize("rest", [(), ("--flink_master=flink:8081",)])
def test_an_endless_run_streams_and_stages_no_main_session(rest):
    assert (given(*rest)["streaming"], given(*rest)["save_main_session"]) == (True, False)
