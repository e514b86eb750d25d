"""The endless form of the graph, on Beam's Prism: its rows are those of the local service."""

import datetime as dt
import time

import pytest
from job_rig import JobRig

from dealmail.sandbox.process import SandboxProcess
from dealmail.sandbox.sample.load import arrive, load
from dealmail.sandbox.sample.world import build_world

pytestmark = [pytest.mark.prism, pytest.mark.slow, pytest.mark.timeout(600)]
KEY = "one-key-for-both-runs-so-digests-are-alike"


def test_an_endless_run_leaves_the_rows_of_the_local_service(prism, tmp_path):
    world = build_world(dt.datetime.now(dt.UTC))
    rows = {}
    for name in ("local", "endless"):
        folder = tmp_path / name
        folder.mkdir()
        with SandboxProcess() as sandbox:
            ids = load(world, sandbox.client)
            rig = JobRig(folder, sandbox, key=KEY)
            rig.opt_in(world.team_id, list(world.crm.values()), world.mailboxes)
            if name == "local":
                rig.once()
            else:
                options = [
                    *rig.pushed(),
                    "--runner=PrismRunner",
                    f"--prism_location={prism}",
                    "--environment_type=LOOPBACK",
                ]
                with rig.running(*options) as job:
                    rig.wait_until(rig.is_settled, 240, job)
                    began = time.monotonic()
                    first = world.arrivals[0]
                    arrive(first, sandbox.client, ids)
                    rig.wait_until(lambda: ids[first.key] in {gmail_id for _, gmail_id in rig.decisions()}, 60, job)
                    pushed_s = time.monotonic() - began
                    rig.wait_until(rig.is_settled, 60, job)
                assert pushed_s < 30  # a push came through the endless source, not the poll 15 minutes later
            rows[name] = rig.rows()
            if name == "endless":
                new = ids[first.key]
                rows[name]["message"] = [row for row in rows[name]["message"] if row[1] != new]
                for table in ("engagement_copy",):
                    rows[name][table] = [row for row in rows[name][table] if row[1] != new]
            rig.close()
    for table in ("message", "engagement_copy"):
        assert rows["endless"][table] == rows["local"][table]
    for table in ("engagement", "participant", "engagement_link", "correspondence", "index"):
        assert set(rows["local"][table]) <= set(rows["endless"][table])
