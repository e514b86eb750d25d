"""Dataflow: the launcher's work, seen from a stand-in for the services it talks to. What Dataflow then does is not seen here."""

import subprocess
import sys

import pytest
from apache_beam.portability.api import beam_runner_api_pb2 as api
from dataflow_standin import DataflowStandin, every_text

SUBSCRIPTION = "projects/standin-project/subscriptions/gmail"
PASSWORD, KEY = "pa55-w0rd-of-the-database", "k3y-of-the-tokens-with-32-letters"


@pytest.fixture(scope="module")
def submitted(tmp_path_factory):
    """The stand-in after one submission, with what the launcher said."""
    folder = tmp_path_factory.mktemp("dataflow")
    (folder / "client.json").write_text('{"installed": {"client_id": "c", "client_secret": "client-s3cret"}}')
    with DataflowStandin(folder) as standin:
        options = [
            "--runner=DataflowRunner", "--database=mysql+pymysql://dealmail@db.corp.example/dealmail",
            "--database_password=env:STANDIN_PASSWORD", "--search=https://es.corp.example:9200",
            f"--subscription={SUBSCRIPTION}", "--topic=projects/standin-project/topics/gmail", "--token_key=env:STANDIN_KEY",
            f"--oauth_client=file:{folder}/client.json",
        ]  # fmt: skip
        launch = (
            "import sys; from dealmail.pipeline.options import parse; from dealmail.pipeline.engines import submit;"
            "print(submit(*parse(sys.argv[1:]), wait=False).job_id())"
        )
        done = subprocess.run(
            [sys.executable, "-c", launch, *options, *standin.options()], capture_output=True, text=True, timeout=180, check=False,
            env={**standin.environment(), "STANDIN_PASSWORD": PASSWORD, "STANDIN_KEY": KEY},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        yield standin, done


def test_one_streaming_job_arrives(submitted):
    standin, done = submitted
    assert done.stdout.strip().splitlines()[-1] == "job-0"
    (job,) = standin.jobs
    assert job["type"] in {2, "JOB_TYPE_STREAMING"}
    assert standin.unknown == []


def test_notifications_are_read_natively_and_ticks_come_from_periodic_impulse(submitted):
    steps = submitted[0].pipeline().components.transforms.values()
    reads = [s for s in steps if s.spec.urn == "beam:transform:pubsub_read:v1"]
    assert [api.PubSubReadPayload.FromString(s.spec.payload).subscription for s in reads] == [SUBSCRIPTION]
    assert {"EveryTick", "EveryStamp"} <= {s.unique_name for s in steps}


def test_the_graph_is_the_one_on_the_page(submitted):
    names = {s.unique_name for s in submitted[0].pipeline().components.transforms.values()}
    assert {
        "FindDueMailboxes", "ClaimMessages", "FetchMessages", "NormalizeMessages", "SelectCustomerMail", "DeduplicateByMessageId",
        "CollectDecisions", "WriteToMariaDb", "WriteToElasticsearch",
    } <= names  # fmt: skip


def test_the_crm_comes_as_a_side_input_and_deduplication_keeps_state(submitted):
    pardos = {
        s.unique_name: api.ParDoPayload.FromString(s.spec.payload)
        for s in submitted[0].pipeline().components.transforms.values()
        if s.spec.urn == "beam:transform:pardo:v1"
    }
    assert [name for name, pardo in pardos.items() if pardo.side_inputs] == ["SelectCustomerMail/Select/ParDo(_Select)"]
    stateful = {name for name, pardo in pardos.items() if pardo.state_specs}
    assert any(name.startswith("DeduplicateByMessageId/") for name in stateful)


def test_each_beat_replaces_the_crm_stamps_for_all_mail(submitted):
    parts = submitted[0].pipeline().components
    select = next(s for s in parts.transforms.values() if s.unique_name == "SelectCustomerMail/Select/ParDo(_Select)")
    (tag,) = api.ParDoPayload.FromString(select.spec.payload).side_inputs
    strategies = {
        name: parts.windowing_strategies[parts.pcollections[pcollection].windowing_strategy_id]
        for name, pcollection in select.inputs.items()
    }
    side = strategies.pop(tag)
    (main,) = strategies.values()
    assert side.trigger.repeat.subtrigger.WhichOneof("trigger") == "after_processing_time"
    assert side.accumulation_mode == api.AccumulationMode.DISCARDING
    assert {side.window_fn.urn, main.window_fn.urn} == {
        "beam:window_fn:global_windows:v1"
    }  # any other never meets the mail's


def test_state_keys_have_deterministic_coders(submitted):
    assert "may not be deterministic" not in submitted[1].stderr


def test_no_secret_is_in_anything_that_was_staged_or_sent(submitted):
    standin, done = submitted
    texts = [
        *every_text(standin.pipeline()),
        repr(standin.jobs).encode(),
        *standin.objects.values(),
        done.stderr.encode(),
    ]
    opened = b"\n".join(texts)
    assert b"STANDIN_PASSWORD" in opened  # the name travels, so the search finds what is in there
    for secret in (PASSWORD, KEY, "client-s3cret"):
        assert secret.encode() not in opened


def test_the_main_session_is_not_staged(submitted):
    assert not any("main_session" in name for name in submitted[0].objects)
