"""The endless form of the graph on Flink: the rows of the local service, though a worker was killed; acknowledged by checkpoint."""

import contextlib
import datetime as dt
import os
import signal
import time

import pytest
from flink_engine import FlinkEngine
from job_rig import FAST, JobRig

from dealmail.io.search import SearchSpec
from dealmail.sandbox.private_server import ServerUnavailableError
from dealmail.sandbox.process import SandboxProcess
from dealmail.sandbox.sample.load import arrive, load
from dealmail.sandbox.sample.world import build_world

pytestmark = [pytest.mark.flink, pytest.mark.slow, pytest.mark.timeout(900)]
KEY = "one-key-for-both-runs-so-digests-are-alike"
CHECKPOINT_S = 5.0


@pytest.fixture
def flink(tmp_path):
    try:
        engine = FlinkEngine(tmp_path / "flink")
    except ServerUnavailableError as error:
        pytest.skip(f"needs {error}")
    with engine:
        yield engine


@contextlib.contextmanager
def opted_in(folder, world, **stores):
    folder.mkdir()
    with SandboxProcess() as sandbox:
        ids = load(world, sandbox.client)
        rig = JobRig(folder, sandbox, key=KEY, **stores)
        rig.opt_in(world.team_id, list(world.crm.values()), world.mailboxes)
        yield rig, ids
        rig.close()


def decided(rig):
    return sum(1 for outcome, _ in rig.decisions().values() if outcome is not None)


def kill_a_worker(rig, job, flink):
    """kill -9 to the Python worker in the middle of the first sync, after a checkpoint; how many decisions there were."""
    rig.wait_until(lambda: decided(rig) >= 60 and flink.checkpoints() > 0, 180, job)
    (worker,) = flink.workers()
    os.kill(worker, signal.SIGKILL)
    return decided(rig)


def notifications(rig):
    return rig.sandbox.client.call("counters")["pubsub"][rig.sandbox.subscription]


def push(rig, job, flink, arrival, ids):
    """Mail arrives just after a checkpoint. Is its notification, once the mail is decided, waiting for the next checkpoint?

    None where that checkpoint came before anybody could look.
    """
    rig.wait_until(lambda: not notifications(rig)["leased"] and not notifications(rig)["ready"], 180, job)
    begun = flink.checkpoints()
    rig.wait_until(lambda: flink.checkpoints() > begun, 180, job)
    before, acknowledged = flink.checkpoints(), notifications(rig)["acked"]
    arrive(arrival, rig.sandbox.client, ids)
    rig.wait_until(lambda: any(gmail_id == ids[arrival.key] for _, gmail_id in rig.decisions()), 180, job)
    waiting = notifications(rig)["acked"] == acknowledged
    is_next = flink.checkpoints() > before
    if not waiting:  # has Flink only not said so yet? Most of the interval is still to come
        end = time.monotonic() + CHECKPOINT_S / 3
        rig.wait_until(lambda: flink.checkpoints() > before or time.monotonic() > end, 60, job)
        is_next = flink.checkpoints() > before
    rig.wait_until(lambda: notifications(rig)["acked"] > acknowledged, 180, job)
    return None if is_next else waiting


def test_a_worker_killed_in_the_first_sync_and_pushes(flink, empty_mariadb_spec, tmp_path):
    world = build_world(dt.datetime.now(dt.UTC))
    with opted_in(tmp_path / "local", world) as (rig, _):
        rig.once()
        local = rig.rows()
    stores = {"spec": empty_mariadb_spec, "search": SearchSpec(f"sqlite:///{tmp_path}/index.db")}
    with opted_in(tmp_path / "endless", world, **stores) as (rig, ids):
        # The first sync lasts longer than a checkpoint; an audit puts itself off where half of the quota is spent.
        paced = ("--claim_batch=8", "--lease_seconds=10", *FAST)
        with rig.running(*rig.pushed(), *flink.options(CHECKPOINT_S), *paced) as job:
            at_kill = kill_a_worker(rig, job, flink)
            rig.wait_until(rig.is_settled, 240, job)
            assert 60 <= at_kill < len(local["message"])
            assert len(flink.restored()) == 1, "the kill did not send Flink back to a checkpoint"
            assert rig.rows() == local
            lost = rig.lose_a_decision()
            rig.let_turns_come()
            rig.wait_until(lambda: rig.decisions().get(lost, (None,))[0] is not None, 240, job)  # the audit found it
            assert rig.rows() == local
            pushes = (push(rig, job, flink, arrival, ids) for arrival in world.arrivals[:3])
            seen = next((waiting for waiting in pushes if waiting is not None), None)
            assert seen is True, "acknowledged before a checkpoint" if seen is False else "too slow to tell"
