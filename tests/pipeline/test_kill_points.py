"""Killed at each step between claim and index, in a first sync, a delta and a recovery: what is left is what an undisturbed run leaves.

Random moments are in test_kill.py, every statement of a settling in tests/io/test_settle_cut.py. Here each step is hit for
certain: the job kills itself there by SIGKILL (tests/harness/traps.py) and is started again.
"""

from __future__ import annotations

import datetime as dt
import pathlib
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
import traps
from job_rig import FAST, USERS_WITHOUT_LIMIT, JobRig
from warm_job import WarmJob, WarmJobs

from benchmarks.scenarios import mails
from dealmail.io import schema
from dealmail.sandbox.process import SandboxProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KEY = "one-key-for-all-runs-so-digests-are-alike"
ADDRESSES = mails.users(2)
OPTIONS = ("--once", "--lease_seconds=1", *FAST)
CATEGORIES: tuple[mails.Category, ...] = ("customer", "customer", "customer", "stranger", "campaign", "internal")


class Team:
    """A team of two whose sandbox mailboxes hold some mail, and dealmails around it."""

    def __init__(self, sandbox: SandboxProcess, jobs: WarmJobs, folder: pathlib.Path) -> None:
        self.sandbox, self.jobs, self.folder = sandbox, jobs, folder
        self.writer = mails.Writer(random.Random(5), ADDRESSES, 5)
        for address in ADDRESSES:
            sandbox.client.add_mailbox(address)
            self.deliver(address, loaded=True)

    def deliver(self, address: str, *, loaded: bool = False) -> None:
        now, made = dt.datetime.now(dt.UTC), []
        for n, category in enumerate(CATEGORIES):
            mail = self.writer.mail(category, address, now - dt.timedelta(hours=n + 1 if loaded else 0, seconds=n))
            made.append((mail.raw(), ["INBOX"], int(mail.sent_at.timestamp() * 1000)))
        self.sandbox.client.deliver_many(address, made, loaded=loaded)

    def rig(self, name: str) -> JobRig:
        folder = self.folder / name.replace(" ", "-").replace("'", "")
        folder.mkdir()
        rig = JobRig(folder, self.sandbox, key=KEY)
        rig.opt_in(mails.TEAM, [mails.crm_csv(2, dt.datetime.now(dt.UTC).date())], ADDRESSES)
        return rig

    def run(self, rig: JobRig, trap: traps.Trap | None = None, *options: str) -> bool:
        """The job to its end, or into the trap; whether that struck."""
        told = rig.folder / "told"
        told.unlink(missing_ok=True)
        wait_for(self.jobs.start(rig.options(*OPTIONS, *options), trap, told))
        return told.exists()

    def finish(self, rig: JobRig) -> dict[str, list[tuple[Any, ...]]]:
        """Start it again, as its keeper would, until nothing is left to do; the rows."""
        for _ in range(10):
            self.run(rig)
            if rig.is_settled():
                return rig.rows()
            threading.Event().wait(1.1)  # leases run out
        raise AssertionError("it does not come to rest")


def wait_for(job: WarmJob) -> None:
    pause = threading.Event()
    for _ in range(12_000):
        if not job.is_running():
            return
        pause.wait(0.01)
    raise AssertionError("the job does not end")


def look_again(rig: JobRig) -> None:
    """Polls are due."""
    due = sa.update(schema.mailbox).values(next_poll_at=None)
    rig.database.transaction(lambda connection: connection.execute(due))


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("kill-points")
    with SandboxProcess(arguments=USERS_WITHOUT_LIMIT) as sandbox, WarmJobs(folder / "jobs.log") as jobs:
        yield Team(sandbox, jobs, folder)


@pytest.fixture(scope="module")
def synced(team: Team) -> dict[str, tuple[bool, dict[str, list[tuple[Any, ...]]]]]:
    """For each trap, and for none: whether it struck in a first sync, and the rows in the end."""
    found = {}
    for name, trap in [("undisturbed", None), *traps.TRAPS.items()]:
        rig = team.rig(f"first {name}")
        found[name] = (team.run(rig, trap), team.finish(rig))
        rig.close()
    return found


@pytest.mark.parametrize("name", traps.TRAPS)
def test_killed_in_a_first_sync(synced: dict[str, Any], name: str) -> None:
    struck, rows = synced[name]
    assert struck, "the job never came there"
    assert rows == synced["undisturbed"][1]
    assert len(rows["engagement"]) == 6


@pytest.fixture(scope="module")
def looked(team: Team, synced: Any) -> dict[str, tuple[bool, dict[str, list[tuple[Any, ...]]]]]:
    """As `synced`, for mail that arrives when the first sync is over."""
    rigs = {name: team.rig(f"delta {name}") for name in ("undisturbed", *traps.TRAPS)}
    for rig in rigs.values():
        team.run(rig)
        assert rig.is_settled()
    for address in ADDRESSES:
        team.deliver(address)
    found = {}
    for name, rig in rigs.items():
        look_again(rig)
        found[name] = (team.run(rig, traps.TRAPS.get(name)), team.finish(rig))
        rig.close()
    return found


@pytest.mark.parametrize("name", traps.TRAPS)
def test_killed_in_a_delta(looked: dict[str, Any], name: str) -> None:
    struck, rows = looked[name]
    assert struck, "the job never came there"
    assert rows == looked["undisturbed"][1]
    assert len(rows["engagement"]) == 12


@pytest.fixture(scope="module")
def recovered(team: Team, looked: Any) -> dict[str, tuple[bool, dict[str, list[tuple[Any, ...]]]]]:
    """As `looked`, where the cursors have expired meanwhile; with how many expiries were counted."""
    rigs = {name: team.rig(f"recovery {name}") for name in ("undisturbed", *traps.RECOVERY)}
    for rig in rigs.values():
        team.run(rig)
    for address in ADDRESSES:
        team.deliver(address)
        team.sandbox.client.expire_history(address)
    found = {}
    for name, rig in rigs.items():
        look_again(rig)
        found[name] = (team.run(rig, traps.RECOVERY.get(name)), team.finish(rig))
        with rig.database.reading() as connection:
            assert set(connection.scalars(sa.select(schema.mailbox.c.expired_cursors))) == {1}
        rig.close()
    return found


@pytest.mark.parametrize("name", traps.RECOVERY)
def test_killed_in_a_recovery(recovered: dict[str, Any], name: str) -> None:
    struck, rows = recovered[name]
    assert struck, "the job never came there"
    assert rows == recovered["undisturbed"][1]
    assert len(rows["engagement"]) == 18


def test_killed_before_the_acknowledgement(team: Team) -> None:
    rig = team.rig("acknowledgement")
    team.run(rig)
    look_again(rig)
    before, told = rig.rows(), rig.folder / "told"
    service = [option for option in rig.options(*OPTIONS, *rig.pushed(), "--lease_seconds=60") if option != "--once"]
    job = team.jobs.start(service, traps.ACKNOWLEDGE, told)
    # the watch that the service makes is announced at once: the acknowledgement of that push is the trap
    rig.wait_until(lambda: told.exists() and not job.is_running(), 120)
    team.deliver(ADDRESSES[0])
    with team.jobs.running(service):
        rig.wait_until(
            lambda: len(rig.rows()["message"]) == len(before["message"]) + len(CATEGORIES) and rig.is_settled(), 120
        )
    assert len(rig.rows()["engagement"]) == len(before["engagement"]) + 3
    rig.close()
