"""What an engine is given beside the graph."""

import dataclasses

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2 as api
from apache_beam.pvalue import AsDict
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from dealmail.io.database import DatabaseSpec
from dealmail.pipeline.engines import NO_TEAM, _ReadStamps, lay_out_endless
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


@pytest.mark.parametrize(("runner", "side_inputs"), [("FlinkRunner", 0), ("DataflowRunner", 1)])
def test_between_reading_and_judging_no_engine_keeps_a_mail(runner, side_inputs):
    """What has state, is grouped or is reshuffled lies in the engine's own storage: there only mail that is to be imported may go."""
    options = dataclasses.replace(ENDLESS, runner=runner)
    root = beam.Pipeline(runner="DirectRunner", options=PipelineOptions(streaming=True))  # it is laid out and not run
    lay_out_endless(root, options)
    steps = [one for one in root.to_runner_api().components.transforms.values() if not one.subtransforms]
    reading, normalizing, judging = (
        next(
            one for one in steps if one.unique_name.startswith(f"{name}/") and one.spec.urn == "beam:transform:pardo:v1"
        )
        for name in ("FetchMessages/Read", "NormalizeMessages/Normalize", "SelectCustomerMail/Select")
    )
    for before, after in ((reading, normalizing), (normalizing, judging)):
        (mail,) = set(before.outputs.values()) & set(after.inputs.values())
        assert [one.unique_name for one in steps if mail in one.inputs.values()] == [after.unique_name]
    doing = [api.ParDoPayload.FromString(one.spec.payload) for one in (reading, normalizing, judging)]
    assert [(len(one.state_specs), len(one.timer_family_specs)) for one in doing] == [(0, 0)] * 3
    assert [len(one.side_inputs) for one in doing] == [0, 0, side_inputs]
