"""Fixtures of the whole-job tests.

sample_run   the sample world after a whole run of the job as a service
prism        path of Beam's Prism runner: DEALMAIL_PRISM, or built once with Go into the cache    [prism]
"""

import dataclasses
import datetime as dt
import os
import pathlib
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest
from job_rig import JobRig

from dealmail.io.mailboxes import mailbox_id
from dealmail.sandbox.private_server import cache_dir
from dealmail.sandbox.process import SandboxProcess
from dealmail.sandbox.sample.load import arrive, load
from dealmail.sandbox.sample.world import World, build_world

PRISM = "github.com/apache/beam/sdks/v2/go/cmd/prism@v2.77.0"


@pytest.fixture(scope="session")
def prism() -> pathlib.Path:
    """Prism of the Beam release that is installed; skipped by name where it can be neither found nor built."""
    if given := os.environ.get("DEALMAIL_PRISM"):
        return pathlib.Path(given)
    folder = cache_dir() / "prism-2.77.0"
    binary = folder / "prism"
    if binary.exists():
        return binary
    if shutil.which("go") is None:
        pytest.skip("prism: neither DEALMAIL_PRISM nor Go to build it with")
    folder.mkdir(parents=True, exist_ok=True)
    built = subprocess.run(
        ["go", "install", PRISM],
        env={**os.environ, "GOBIN": str(folder)},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    if built.returncode:
        pytest.skip(f"prism: Go could not build it: {built.stderr.strip().splitlines()[-1:]}")
    return binary


@dataclasses.dataclass
class SampleRun:
    """The sample world after a whole run: first sync, arrivals by push, the job stopped."""

    world: World
    rig: JobRig
    ids: dict[str, str]
    tmp: pathlib.Path
    exit_code: int | None

    def ledger_key(self, mailbox: str, key: str) -> tuple[str, str]:
        """(mailbox id, Gmail id) of a sample message."""
        return mailbox_id(self.world.team_id, mailbox), self.ids[key]


@pytest.fixture(scope="session")
def sample_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleRun]:
    """One run of the job as a service over the sample, with push; the job's own TMPDIR, its log at DEBUG."""
    folder = tmp_path_factory.mktemp("sample")
    tmp = folder / "tmp"
    tmp.mkdir()
    world = build_world(dt.datetime.now(dt.UTC))
    with SandboxProcess() as sandbox:
        ids = load(world, sandbox.client)
        rig = JobRig(folder, sandbox)
        rig.opt_in(world.team_id, list(world.crm.values()), world.mailboxes)
        with rig.running(*rig.pushed(), "--log_level=DEBUG", env={"TMPDIR": str(tmp)}) as job:
            rig.wait_until(rig.is_settled, 240, job)
            last: dict[str, float] = {}
            pause = threading.Event()
            for arrival in world.arrivals:
                # Gmail drops a mailbox's notifications beyond one a second; then the next poll finds the mail, much later.
                pause.wait(max(0.0, last.get(arrival.mailbox, 0.0) + 1.2 - time.monotonic()))
                last[arrival.mailbox] = time.monotonic()
                arrive(arrival, sandbox.client, ids)
                key = mailbox_id(world.team_id, arrival.mailbox), ids[arrival.key]
                if arrival.expected_outcome is None:
                    continue
                rig.wait_until(lambda key=key: rig.decisions().get(key, (None,))[0] is not None, 60, job)
            rig.wait_until(rig.is_settled, 60, job)
            job.terminate()
            job.wait(30)
        yield SampleRun(world, rig, ids, tmp, job.returncode)
        rig.close()
