"""What a run says of itself: no library's chatter on any machine, one line where a store goes away, the truth when it is stopped."""

import dataclasses
import datetime as dt
import logging
import os
import pathlib
import pickle
import subprocess
import sys
import threading
import time

import pytest
import sqlalchemy as sa

from dealmail.io import migrate
from dealmail.io.database import DatabaseSpec
from dealmail.pipeline import edges
from dealmail.pipeline.engines import run_local
from dealmail.pipeline.log_lines import UtcFormatter
from dealmail.pipeline.options import JobOptions

HARNESS = pathlib.Path(__file__).parents[1] / "harness"

WORKER = """
import logging, pickle, sys
logging.getLogger().setLevel(logging.INFO)
pickle.loads(sys.stdin.buffer.read())()
for name in ("elastic_transport.transport", "googleapiclient.discovery", "dealmail.io.outbox"):
    print(logging.getLevelName(logging.getLogger(name).getEffectiveLevel()))
"""


@pytest.mark.parametrize("level", ["INFO", "ERROR"])
def test_a_worker_says_no_more_than_the_command_line_asked_for(level, tmp_path):
    """Engines set a worker's log up at INFO; of the job's own code only what opens an edge runs there."""
    options = JobOptions(database=DatabaseSpec(f"sqlite:///{tmp_path}/d.db"), log_level=level)
    opening = pickle.dumps(edges.factories(options).register)
    done = subprocess.run([sys.executable, "-c", WORKER], input=opening, capture_output=True, timeout=120, check=True)
    assert done.stdout.decode().split() == ["WARNING", "WARNING", level]


def test_a_line_of_the_log_has_the_time_in_utc_wherever_the_machine_stands(monkeypatch):
    record = logging.LogRecord("dealmail.x", logging.WARNING, __file__, 1, "%d passes", (3,), None)
    record.created = dt.datetime(2026, 5, 4, 10, 20, 30, 5_000, dt.UTC).timestamp()
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    said = UtcFormatter().format(record)
    monkeypatch.undo()
    time.tzset()
    assert said == "2026-05-04T10:20:30.005Z WARNING dealmail.x: 3 passes"


def test_a_run_that_was_stopped_does_not_say_that_nothing_more_is_due(tmp_path, caplog):
    stop = threading.Event()
    stop.set()
    options = JobOptions(database=DatabaseSpec(f"sqlite:///{tmp_path}/d.db"), once=True)
    with caplog.at_level(logging.INFO, logger="dealmail.pipeline"):
        assert run_local(options, stop) == 0
    assert "stopped by a signal after 0 passes" in caplog.text
    assert "nothing more is due" not in caplog.text


def test_once_fails_where_the_index_cannot_be_reached(tmp_path, store, caplog):
    """The next run indexes what waits; but whoever hears only of cron's failures must hear of it."""
    database = DatabaseSpec(f"sqlite:///{tmp_path}/d.db")
    opened = migrate.open_database(database)
    store(opened, range(3))
    opened.close()
    away = JobOptions(database=database, search="http://127.0.0.1:1", once=True)
    with caplog.at_level(logging.INFO, logger="dealmail.pipeline"):
        assert run_local(away, threading.Event()) == 1
    assert "the search index is not to be reached; 3 changes wait for it" in caplog.text
    assert run_local(dataclasses.replace(away, search=""), threading.Event()) == 0


GOES_AWAY = """
import datetime as dt, sys
sys.path.insert(0, sys.argv[1])
from slow_proxy import SlowProxy
from dealmail.pipeline import edges
from dealmail.pipeline.main import main
proxy = SlowProxy(int(sys.argv[2]), every=1)

def now():
    proxy.again("lose answer")
    return dt.datetime.now(dt.UTC)

edges.set_clock(now)
sys.exit(main(["--once", "--search=sqlite:///index.db", "--token_key=env:TEST_KEY",
               sys.argv[3].replace("PORT", str(proxy.port)), *sys.argv[4:]]))
"""


@pytest.mark.mariadb
@pytest.mark.timeout(300)
def test_a_database_that_goes_away_under_once_is_one_line_and_a_failure(mariadb_spec, tmp_path):
    url = sa.make_url(mariadb_spec.url)
    through = f"--database={url.drivername}://{url.username}@127.0.0.1:PORT/{url.database}"
    done = subprocess.run(
        [sys.executable, "-c", GOES_AWAY, str(HARNESS), str(url.port), through, f"--database_password={mariadb_spec.password_ref}"],
        cwd=tmp_path, env={**os.environ, "TEST_KEY": "one-key-of-more-than-16-characters"}, capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    said = done.stderr.splitlines()
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "a store is not to be reached; what is not done comes again (database: OperationalError" in said[-1]
