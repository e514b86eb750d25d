"""The endless form of the graph, on Beam's Prism: its rows are those of the local service."""

import contextlib
import datetime as dt

import pytest
from job_rig import JobRig

from dealmail.sandbox.process import SandboxProcess
from dealmail.sandbox.sample.load import arrive, load
from dealmail.sandbox.sample.world import build_world

pytestmark = [pytest.mark.prism, pytest.mark.slow, pytest.mark.timeout(600)]
KEY = "one-key-for-both-runs-so-digests-are-alike"


@contextlib.contextmanager
def opted_in(folder, world):
    folder.mkdir()
    with SandboxProcess() as sandbox:
        ids = load(world, sandbox.client)
        rig = JobRig(folder, sandbox, key=KEY)
        rig.opt_in(world.team_id, list(world.crm.values()), world.mailboxes)
        yield rig, ids
        rig.close()


def test_an_endless_run_leaves_the_rows_of_the_local_service(prism, tmp_path):
    world = build_world(dt.datetime.now(dt.UTC))
    with opted_in(tmp_path / "local", world) as (rig, _):
        rig.once()
        local = rig.rows()
    with opted_in(tmp_path / "endless", world) as (rig, ids):
        beam = ["--runner=PrismRunner", f"--prism_location={prism}", "--environment_type=LOOPBACK"]
        with rig.running(*rig.pushed(), *beam) as job:
            rig.wait_until(rig.is_settled, 240, job)
            endless = rig.rows()
            first = world.arrivals[0]
            arrive(first, rig.sandbox.client, ids)

            def is_decided():
                return any(gmail_id == ids[first.key] for _, gmail_id in rig.decisions())

            rig.wait_until(is_decided, 60, job)  # by push: the next poll is minutes away
    assert endless == local
