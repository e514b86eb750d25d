"""kill -9 at 20 random moments of a sync, each time started again: what is left in the end is what an undisturbed run leaves.

The moments are drawn with a seed, within the time that an undisturbed sync takes here. What a cut inside a transaction does
is tested statement by statement in tests/io/test_settle_cut.py.
"""

import dataclasses
import datetime as dt
import random
import threading
import time

import pytest
import sqlalchemy as sa
from job_rig import FAST, USERS_WITHOUT_LIMIT, JobRig
from warm_job import WarmJobs

from dealmail.io import schema
from dealmail.io.search import SearchSpec
from dealmail.sandbox.process import SandboxProcess
from dealmail.sandbox.sample.load import load
from dealmail.sandbox.sample.world import build_world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KEY = "one-key-for-all-runs-so-digests-are-alike"
SEED = 20
KILLS = 20
AT_THE_START = 4
"""Kills drawn from the time before a life claims its first message: sign-in, listing, the CRM."""
SETTLING = 10
"""Kills of lives that have settled something: so many messages, at random, and then a random moment within a pass."""
REAL = 2
"""Kills of the whole process group of `python -m dealmail.pipeline`, after the others."""
PASSES = 21
"""About how many passes a sync has: 5 messages of each of 5 mailboxes."""
SMALL = ("--claim_batch=5", "--fetch_batch=5", "--settle_batch=5", "--lease_seconds=1", *FAST)


@dataclasses.dataclass(frozen=True)
class Moment:
    """What the stores held when the job had been killed."""

    leased: int
    decided: int
    decided_in_life: int
    waiting: int


class Sample:
    """The sample mailboxes in a sandbox, and dealmails around it."""

    def __init__(self, sandbox, world):
        self.sandbox, self.world = sandbox, world

    def rig(self, folder, *stores):
        folder.mkdir(exist_ok=True)
        rig = JobRig(folder, self.sandbox, *stores, key=KEY)
        rig.opt_in(self.world.team_id, list(self.world.crm.values()), self.world.mailboxes)
        return rig


@pytest.fixture(scope="module")
def sample():
    world = build_world(dt.datetime.now(dt.UTC))
    with SandboxProcess(arguments=USERS_WITHOUT_LIMIT) as sandbox:
        load(world, sandbox.client)
        yield Sample(sandbox, world)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    with WarmJobs(tmp_path_factory.mktemp("jobs") / "jobs.log") as warm:
        yield warm


def counts(rig):
    """(leased, decided, on the outbox)."""
    row = schema.message.c
    with rig.database.reading() as connection:
        leased = connection.scalar(sa.select(sa.func.count()).where(row.state == "pending", row.lease.is_not(None)))
        decided = connection.scalar(sa.select(sa.func.count()).where(row.state == "decided"))
        waiting = connection.scalar(sa.select(sa.func.count()).select_from(schema.search_outbox))
    return leased, decided, waiting


def newest_lease(rig):
    """When the last lease that stands was taken (by when it ends), or a claim that has been settled since."""
    row = schema.message.c
    with rig.database.reading() as connection:
        latest = connection.scalar(sa.select(sa.type_coerce(sa.func.max(row.lease_until), schema.UtcDateTime())))
        leases = connection.scalar(sa.select(sa.func.sum(row.leases)))
    return latest, int(leases or 0)


@pytest.fixture(scope="module")
def undisturbed(sample, jobs, tmp_path_factory):
    """The rows of a run that nobody killed, and how long it worked after its first claim (seconds)."""
    rig = sample.rig(tmp_path_factory.mktemp("undisturbed"))
    with jobs.running(rig.options(*SMALL)):
        before = newest_lease(rig)
        rig.wait_until(lambda: newest_lease(rig) != before, 60)
        began = time.monotonic()
        rig.wait_until(rig.is_settled, 300)
        took = time.monotonic() - began
    rows = rig.rows()
    rig.close()
    return rows, took


def killed_sync(rig, jobs, took):
    """Kill a sync again and again, then let it end. Returns what was found after each kill."""
    chance = random.Random(SEED)
    pause = threading.Event()
    kinds = ["start"] * AT_THE_START + ["settling"] * SETTLING + ["claimed"] * (KILLS - AT_THE_START - SETTLING)
    chance.shuffle(kinds)
    a_pass = took / PASSES
    moments = []
    for number, kind in enumerate([*kinds, *(["settling"] * REAL)]):
        _, decided_before, _ = counts(rig)
        before = newest_lease(rig)
        real = rig.start(*SMALL) if number >= KILLS else None
        warm = None if real else jobs.start(rig.options(*SMALL))
        if kind == "start":
            pause.wait(chance.uniform(0, 1))
        elif kind == "claimed":
            rig.wait_until(lambda before=before: newest_lease(rig) != before, 60, real)
            pause.wait(chance.uniform(0, a_pass))
        else:
            enough = decided_before + chance.randint(1, 20)
            rig.wait_until(lambda enough=enough: counts(rig)[1] >= enough or rig.is_settled(), 60, real)
            pause.wait(chance.uniform(0, a_pass))
        if real:
            rig.kill(real)
        else:
            assert warm.is_running(), "the job ended by itself"
            warm.kill()
        leased, decided, waiting = counts(rig)
        moments.append(Moment(leased, decided, decided - decided_before, waiting))
    with jobs.running(rig.options(*SMALL)):
        rig.wait_until(rig.is_settled, 300)
    return moments


def check(rig, jobs, undisturbed):
    rows, took = undisturbed
    moments = killed_sync(rig, jobs, took)
    total = len(rows["message"])
    print(f"\nof {total} messages, undisturbed in {took:.1f} s; killed with (leased, decided, on the outbox):")  # noqa: T201
    print("; ".join(f"{m.leased} {m.decided} {m.waiting}" for m in moments))  # noqa: T201
    assert len(moments) == KILLS + REAL
    assert sum(m.leased > 0 for m in moments) >= 8, "the kills fell between the batches"
    assert sum(m.decided < total for m in moments) >= KILLS, "the kills fell behind the end of the sync"
    assert sum(m.decided_in_life > 0 for m in moments) >= SETTLING
    assert sum(m.decided_in_life == 0 for m in moments) >= AT_THE_START
    found = rig.rows()
    assert {name: diff(found[name], rows[name]) for name in rows if found[name] != rows[name]} == {}


def diff(found, expected):
    return {
        "more": [row for row in found if row not in expected],
        "less": [row for row in expected if row not in found],
    }


def test_rows_are_those_of_an_undisturbed_run(sample, jobs, undisturbed, tmp_path):
    rig = sample.rig(tmp_path / "killed")
    check(rig, jobs, undisturbed)
    rig.close()


@pytest.mark.mariadb
@pytest.mark.elasticsearch
def test_rows_are_those_of_an_undisturbed_run_on_servers(
    sample, jobs, undisturbed, tmp_path, empty_mariadb_spec, elasticsearch_url, elasticsearch_index_name
):
    search = SearchSpec(elasticsearch_url, index=elasticsearch_index_name, replicas=0)
    rig = sample.rig(tmp_path / "killed", empty_mariadb_spec, search)
    check(rig, jobs, undisturbed)
    rig.close()
