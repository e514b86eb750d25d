"""The entry as a user meets it: what cannot be used is said in one line, with exit code 2, and nothing has been started or written."""

import datetime as dt
import os
import subprocess
import sys

import pytest

from dealmail.pipeline.main import main

pytestmark = pytest.mark.timeout(60)  # what is not refused would run without end
MARIADB = "--database=mysql+pymysql://dealmail@127.0.0.1:1/dealmail"
ELASTIC, PUSH = "--search=https://es.example:9200", "--subscription=projects/our-project/subscriptions/gmail"
AWAY = (MARIADB, ELASTIC, PUSH, "--token_key=env:KEY")
DATAFLOW = ("--runner=DataflowRunner", *AWAY)
CLOUD = ("--project=our-project", "--region=europe-west1", "--temp_location=gs://b/t")
FLINK = ("--runner=FlinkRunner", *AWAY)

BAD = [
    (["--nope"], "--nope"), (["extra"], "extra"), (["--region=europe-west1"], "--region"),
    (["--database="], "--database="), (["--database=foo"], "--database=foo"),
    (["--database=postgresql://u@h/d", ELASTIC], "postgresql"), (["--database=mysql://u@h/d", ELASTIC], "mysql://"),
    (["--database=mysql+nosuch://u@h/d", ELASTIC], "mysql+nosuch"), ([MARIADB], "--search is missing"),
    ([MARIADB, ELASTIC], "DEALMAIL_KEY"), (["--database=sqlite:////no/such/folder/x.db"], "/no/such/folder"),
    (["--database=sqlite:////proc/x.db"], "--database="), (["--database=sqlite:///folder"], "is a folder"),
    (["--database=sqlite:///text.db"], "no SQLite database"), (["--database=sqlite://"], "name a file"),
    (["--search=es.example:9200"], "--search="), (["--search=https://"], "--search="),
    (["--search=https://u:pw@es.example"], "--search_password"), (["--search=sqlite:////no/such/folder/i.db"], "--search="),
    (["--search=foo"], "--search="), (["--search=localhost:9200"], "--search="), (["--search=https://es.example:port"], "--search"),
    (["--search=sqlite:////etc/passwd"], "no SQLite database"), (["--search_index=Bad Name*"], "Bad Name*"),
    (["--search_password=secret"], "file:PATH"), (["--database_password=env:DEALMAIL_NO_SUCH", MARIADB, ELASTIC], "DEALMAIL"),
    (["--subscription=foo"], "projects/PROJECT/subscriptions/NAME"), (["--topic=projects/p/t"], "projects/PROJECT/topics/NAME"),
    (["--pubsub_endpoint=http://x:1", PUSH], "HOST:PORT"), (["--pubsub_endpoint=localhost", PUSH], "HOST:PORT"),
    (["--gmail_endpoint=foo"], "--gmail_endpoint=foo"), (["--oauth_client=text.json"], "file:PATH"),
    (["--oauth_client=file:missing.json"], "missing.json"), (["--oauth_client=file:text.db"], "OAuth client"),
    (["--token_key=file:missing"], "missing"), (["--token_key=file:short.key"], "short.key"),
    (["--token_key=env:DEALMAIL_NO_SUCH"], "DEALMAIL_NO_SUCH"), (["--poll_minutes=0"], "--poll_minutes"),
    (["--poll_minutes=soon"], "--poll_minutes"), (["--poll_minutes=nan"], "--poll_minutes"), (["--audit_hours=inf"], "--audit_hours"),
    (["--dedup_window_s=nan"], "dedup_window_s"), (["--dedup_window_s=inf"], "dedup_window_s"), (["--fetch_batch=1000000"], "fetch_batch"),
    (["--lease_seconds=1e18"], "a day"), (["--poll_minutes=1e15"], "a day"), (["--audit_hours=1e15"], "a year"),
    (["--fetch_threads=1000000"], "--fetch_threads"), (["--databse=x"], "did you mean --database?"),
    (["--database-password=env:X"], "did you mean --database_password?"), ([*DATAFLOW, *CLOUD, "--num-workers=3"], "did you mean --num_workers?"),
    ([*DATAFLOW, *CLOUD, "--fetch-threads=3"], "did you mean --fetch_threads?"),
    ([*DATAFLOW, *CLOUD], "--sdk_container_image="), ([*FLINK, "--flink_master=flink:8081"], "--environment_config=HOST:50000"),
    ([*DATAFLOW, *CLOUD, "--environment_config=localhost:50000"], "--sdk_container_image="),  # Dataflow knows no pools
    ([*FLINK, "--flink_master=flink:8081", "--sdk_container_image=image"], "--environment_config="),  # and Flink no such image
    (["--runner=PortableRunner", *AWAY, "--job_endpoint=flink:8099"], "--environment_config=HOST:50000"),
    ([*DATAFLOW, *CLOUD, "--sdk_container_image=image", "--update"], "submit this one anew"),
    ([*DATAFLOW, *CLOUD, "--setup_file=/no/setup.py"], "/no/setup.py"), ([*DATAFLOW, *CLOUD, "--requirements_file=missing"], "missing"),
    (["--claim_batch=0"], "--claim_batch"), (["--fetch_batch=-1"], "fetch_batch"), (["--settle_shards=0"], "settle_shards"),
    (["--lease_seconds=-1"], "--lease_seconds"), (["--quota_get=0"], "quota get"), (["--log_level=LOUD"], "--log_level"),
    (["--runner=Spark"], "--runner"), (["--runner=FlinkRunner"], "mysql+pymysql"), ([*FLINK, "--once"], "--once"),
    ([*FLINK[:-1]], "--token_key"), ([*FLINK, "--nope=1"], "--nope"),
    ([*FLINK, "--flink_job_server_jar=missing.jar"], "missing.jar"), (["--runner=PrismRunner", *AWAY, "--prism_location=/no/prism"], "/no/prism"),
    (["--runner=PortableRunner", *AWAY], "--job_endpoint"), (["--runner=PortableRunner", *AWAY, "--job_endpoint=foo"], "HOST:PORT"),
    ([*DATAFLOW], "--project"), ([*DATAFLOW, "--project=our-project"], "--region"),
    ([*DATAFLOW, "--project=our-project", "--region=europe-west1"], "--temp_location"),
    ([*DATAFLOW, "--project=our-project", "--region=europe-west1", "--temp_location=/tmp"], "gs://"),
    ([*DATAFLOW, "--project=our-project", "--region=europe-west1", "--temp_location=gs://b/t", "--nope"], "--nope"),
    ([*DATAFLOW, "--project=our-project", "--region=europe-west1", "--temp_location=gs://b/t", "--num_workers=x"], "num_workers"),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "shows"), BAD, ids=[" ".join(argv)[-60:] for argv, _ in BAD])
def test_what_cannot_be_used_is_said_in_one_line_and_nothing_starts(argv, shows, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEALMAIL_KEY", raising=False)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.db").write_text("no database, and no JSON either")
    (tmp_path / "short.key").write_text("abc")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main(argv) == 2
    said = capfd.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("run_pipeline.py: ")
    assert shows in line
    assert said.out == ""
    left = {path.name for path in tmp_path.iterdir()} - set(before)
    assert not {
        name for name in left if "dealmail.db" not in name
    }  # an embedded database may have been made, and no more


def test_a_store_that_is_down_is_no_mistake_of_the_options(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("DEALMAIL_KEY", "one-key-of-more-than-16-characters")
    assert main([MARIADB, ELASTIC]) == 1
    assert len(capfd.readouterr().err.splitlines()) == 1


def run_job(*argv, cwd, timeout=240, **environ):
    return subprocess.run(
        [sys.executable, "-m", "dealmail.pipeline", *argv],
        cwd=cwd, env={**os.environ, **environ}, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


@pytest.mark.timeout(300)  # a process of its own, on a machine that may be busy
def test_the_job_uses_the_database_of_the_environment_and_makes_no_other(tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    variables = {
        "DEALMAIL_DATABASE": f"sqlite:///{tmp_path}/there.db",
        "DEALMAIL_KEY": "one-key-of-more-than-16-characters",
        "TZ": "Asia/Tokyo",
    }
    began = dt.datetime.now(dt.UTC)
    done = run_job("--once", cwd=here, **variables)
    assert (done.returncode, list(here.iterdir())) == (0, []), done.stderr
    assert (tmp_path / "there.db").exists()
    times = [dt.datetime.fromisoformat(line.split()[0]) for line in done.stderr.splitlines()]
    assert times  # each line has its own, with its zone
    assert all(began - dt.timedelta(seconds=1) < at <= dt.datetime.now(dt.UTC) for at in times)


NO_CREDENTIALS = {
    "GOOGLE_APPLICATION_CREDENTIALS": "",
    "NO_GCE_CHECK": "true",
    "DEALMAIL_KEY": "one-key-of-more-than-16-characters",
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("argv", [["--once"], []])
def test_a_subscription_without_google_credentials_is_refused_in_one_line(argv, tmp_path):
    done = run_job(*argv, PUSH, cwd=tmp_path, HOME=str(tmp_path), **NO_CREDENTIALS)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, "GOOGLE_APPLICATION_CREDENTIALS" in line) == (2, True)


@pytest.mark.timeout(300)  # a process of its own, on a machine that may be busy
def test_a_pubsub_that_nobody_serves_fails_once_with_its_name(tmp_path):
    done = run_job("--once", PUSH, "--pubsub_endpoint=127.0.0.1:1", cwd=tmp_path, **NO_CREDENTIALS)
    assert done.returncode == 1
    (error,) = [line for line in done.stderr.splitlines() if " ERROR " in line]
    assert "no notifications from projects/our-project/subscriptions/gmail: ServiceUnavailable" in error
    assert "Traceback" not in done.stderr


def test_options_of_the_runners_pass():
    from dealmail.pipeline.options import parse
    from dealmail.pipeline.runner_options import check_runner_options

    for argv in (
        [*FLINK, "--flink_master=flink:8081", "--parallelism=2", "--checkpointing_interval=5000", "--object_reuse",
         "--environment_config=image"],
        [*FLINK, "--parallelism=2"], [*DATAFLOW, *CLOUD, "--setup_file=./setup.py"],
        [*DATAFLOW, "--project=our-project", "--region=europe-west1", "--temp_location=gs://b/t", "--num_workers=2",
         "--sdk_container_image=image", "--experiments=x", "--streaming"],
        ["--runner=PortableRunner", *AWAY, "--job_endpoint=flink:8099", "--environment_type=EXTERNAL",
         "--environment_config=localhost:50000"],
        ["--runner=PortableRunner", *AWAY, "--job_endpoint=localhost:8099", "--environment_type=LOOPBACK"],
    ):  # fmt: skip
        check_runner_options(*parse(argv))
