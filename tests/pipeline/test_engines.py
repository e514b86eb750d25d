"""What an engine is given beside the graph."""

import pytest

from dealmail.io.database import DatabaseSpec
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


@pytest.mark.parametrize("rest", [(), ("--flink_master=flink:8081",)])
def test_an_endless_run_streams_and_stages_no_main_session(rest):
    assert (given(*rest)["streaming"], given(*rest)["save_main_session"]) == (True, False)
