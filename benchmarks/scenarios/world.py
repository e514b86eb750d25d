"""What the parts of a scenario share: the clocks, the sandbox, the people, and jobs that are started, awaited and killed."""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
import json
import pathlib
import random
import shutil
import time
from collections.abc import Iterator
from typing import Final

import sqlalchemy as sa

from dealmail.io import schema
from dealmail.io.consent_flow import SignIn, SignInError
from dealmail.io.crm_import import import_csv
from dealmail.io.database import Database, DatabaseSpec
from dealmail.io.gmail import SCOPE
from dealmail.io.google_signin import GoogleSettings, store_credential
from dealmail.io.ledger import RESTING
from dealmail.io.mailboxes import Mailboxes
from dealmail.io.quota import QuotaLimits
from dealmail.io.vault import Vault, read_keys
from dealmail.pipeline import engines
from dealmail.pipeline.options import JobOptions
from dealmail.sandbox.client import SandboxClient

from . import mails, processes
from .events import Events
from .plan import Plan, Result
from .processes import Child, Shared
from .truth import Truth

UNITS: Final = 180
"""Units a minute and mailbox: few enough that a first sync and a burst meet the limit."""
PROJECT_UNITS: Final = 2_400
"""Units a minute of all mailboxes together: two thirds of what they may spend one by one."""

POLL: Final = dt.timedelta(minutes=15)
_KEY: Final = "0123456789abcdef0123456789abcdef"
"""Guards nothing: the mail of scenarios is made up."""
_CALM_STEPS: Final = 30
_CALM_POLLS: Final = 1


class World:
    """A copy of the empty database `template` in `folder`, a sandbox with the plan's mailboxes, and no job yet.

    Every choice is drawn from `chance`, so that a seed is the same scenario each time.
    """

    def __init__(self, plan: Plan, folder: pathlib.Path, template: pathlib.Path) -> None:
        self.plan = plan
        self.result = Result(plan.seed)
        self.log = folder / "log.txt"
        self.chance = random.Random(f"weather:{plan.seed}")
        self.clock = Shared()
        self._jobs: list[Child] = []
        self._started = 0
        self._is_idle = True
        self.moves: collections.Counter[int] = collections.Counter()
        self._restless_moves = 0
        self.expired: set[str] = set()
        self.calm_since = self.clock.true_now()
        self.spec = DatabaseSpec(f"sqlite:///{folder}/dealmail.db")
        shutil.copy(template, folder / "dealmail.db")
        (folder / "key").write_text(_KEY)
        self.vault = Vault(read_keys(f"file:{folder}/key"))
        self.addresses = mails.users(plan.mailboxes)
        self._sandbox, ends = processes.start_sandbox(self.addresses, plan.seed, self.log)
        self.client = SandboxClient(ends["gmail"])
        (folder / "client.json").write_text(json.dumps(ends["oauth_client"]))
        self.google = GoogleSettings(ends["gmail"], f"file:{folder}/client.json")
        self._options = JobOptions(
            database=self.spec, gmail_endpoint=ends["gmail"], oauth_client=f"file:{folder}/client.json",
            token_key=f"file:{folder}/key", subscription=ends["subscription"], topic=ends["topic"],
            pubsub_endpoint=ends["pubsub"], fetch_threads=8, quota=QuotaLimits(mailbox_minute=UNITS, project_minute=PROJECT_UNITS),
        )  # fmt: skip
        self._graph = engines.local_graph(self._options)
        self.truth = Truth(self.addresses, self.clock.true_now())
        self.events = Events(self.client, self.truth, plan.seed, self.clock.true_now)

    def close(self) -> None:
        """End every process."""
        for child in [*self._jobs, self._sandbox]:
            child.kill()
        self.client.close()
        self._graph.close()

    def start(self, fuse: int | None = None) -> None:
        """A job, unless one is alive; with a `fuse` it kills itself."""
        if not self._alive():
            self.add_job(fuse)

    def add_job(self, fuse: int | None) -> None:
        """One more job beside those that are alive."""
        self._started += 1
        self._jobs.append(processes.start_job(self._options, self._graph, self.clock, self.log, self._started, fuse))

    def _alive(self) -> list[Child]:
        return [job for job in self._jobs if job.status is None]

    def kill(self, *, counted: bool = True) -> None:
        """Kill -9 every job, `counted` among the scenario's kills; one that ended by itself did something wrong."""
        for job in self._jobs:
            killed = job.kill()
            self.result.kills += (killed and counted) or (job.status == -9 and not killed)
            if job.status not in {-9, 0}:
                self.result.verdict.wrong.append(f"the job ended with exit code {job.status}")
        self._jobs.clear()

    def fuse(self) -> int | None:
        """After how many database steps the next job kills itself; a pass over all mailboxes takes some thousand."""
        return None if self.plan.calm else int(10 ** self.chance.uniform(2, 4.5))

    def let_work(self, looks: int, patience: float = 10.0, restarts: int = 3) -> None:
        """Until each job has looked around `looks` times and found nothing to do, or `patience` s are over.

        A job that died is started again, as its keeper would, `restarts` times.
        """
        before: dict[int, float] = {}
        deadline = time.monotonic() + patience
        self._is_idle = False
        while not self._is_idle and time.monotonic() < deadline:
            alive = self._alive()
            idle = {job.number: self.clock.get(Shared.idle(job.number)) for job in alive}
            self._is_idle = bool(idle) and all(n - before.setdefault(job, n) >= looks for job, n in idle.items())
            if not alive:
                if not restarts:
                    return
                restarts -= 1
                self.kill()
                self.advance(self.chance.choice([0, 2, 125]))
                self.start(self.fuse())
            time.sleep(0.01)  # jobs are real processes: how often each looked around is seen only by asking
        if self._restless_moves:
            self._allow_more(self._minute())  # which another minute may have become meanwhile

    def poll_all(self, later: float = 0) -> None:
        """Until every mailbox was due for a poll, and `later` seconds more; then the job works."""
        self.advance((POLL + dt.timedelta(seconds=61)).total_seconds() + later)
        self.let_work(looks=2, patience=60, restarts=0)

    def advance(self, seconds: float) -> None:
        """Time goes by."""
        if self._is_idle or not self._alive():
            self._restless_moves = 0
            self._move(seconds)
        else:
            with self.moving():
                self._move(seconds)

    def _move(self, seconds: float) -> None:
        self.clock.add(Shared.TRUE, seconds)
        self.client.advance(seconds)

    @contextlib.contextmanager
    def moving(self) -> Iterator[None]:
        """A clock is moved under the hands of a job. What it has debited and not spent yet, or no longer sees that it has, it may
        spend in a minute that is another one to Gmail: that minute may hold as much once more, for each move since all was quiet.
        """
        before = self._minute()
        yield
        self._restless_moves += 1
        for minute in {before, self._minute()}:
            self.moves[minute] += 1
            self._allow_more(minute)

    def _allow_more(self, minute: int) -> None:
        self.moves[minute] = max(self.moves[minute], self._restless_moves)

    def _minute(self) -> int:
        return int(self.clock.true_now().timestamp()) // 60 * 60

    def opt_in(self) -> None:
        """Every user connects, to a CRM that knows their customers."""
        now = self.clock.job_now
        with self.database() as database:
            import_csv(database, mails.TEAM, mails.crm_csv(len(self.addresses), self.truth.start.date()), now)
            boxes = Mailboxes(database, now)
            for number, address in enumerate(self.addresses):
                box = boxes.add(mails.TEAM, f"u{number}", address)
                token = {"refresh_token": self.client.grant(address), "scopes": [SCOPE]}
                with database.writing() as connection:
                    store_credential(database, self.vault, connection, mails.TEAM, box.id, "oauth", token, now())
                boxes.turn_on(box.id, address)

    def consent_again(self) -> None:
        """Users whose consent is gone give it once more."""
        with self.database() as database:
            for box in Mailboxes(database, self.clock.job_now).all(mails.TEAM, import_on=True):
                if box.state in RESTING:
                    token = self.client.grant(box.address)
                    with contextlib.suppress(SignInError):  # Gmail fails here too; the user tries again later
                        SignIn(database, self.vault, self.google, self.clock.job_now).grant(
                            box.id, token, [SCOPE], box.address
                        )

    @contextlib.contextmanager
    def database(self) -> Iterator[Database]:
        """Open only while it is used: what is open would be shared with the next fork."""
        database = Database(self.spec)
        try:
            yield database
        finally:
            database.close()

    def note(self, fault: str) -> None:
        """Count a fault that the sandbox does not count itself."""
        self.result.faults[fault] += 1

    def some(self, most: int) -> list[str]:
        """One to `most` of the mailboxes."""
        return self.chance.sample(self.addresses, self.chance.randrange(1, most + 1))

    def _is_settled(self) -> bool:
        waiting = [
            sa.select(schema.message.c.gmail_id).where(schema.message.c.state == "pending"),
            sa.select(schema.listing.c.id).where(schema.listing.c.finished_at.is_(None)),
            sa.select(schema.search_outbox.c.version),
            sa.select(schema.mailbox.c.id).where(schema.mailbox.c.state != "live"),
            sa.select(schema.mailbox.c.id).where(
                schema.mailbox.c.last_poll_at < self.calm_since
            ),  # whatever clocks did
        ]
        with self.database() as database, database.reading() as connection:
            return not any(connection.execute(query.limit(1)).first() for query in waiting)

    def come_to_rest(self) -> None:
        """Let the job work and poll until nothing waits, and poll once more."""
        polls = 0
        for _ in range(_CALM_STEPS):
            self.let_work(looks=2, patience=60, restarts=0)
            self.consent_again()
            polls = polls + 1 if self._is_settled() else 0
            if polls > _CALM_POLLS:
                break
            self.advance((POLL + dt.timedelta(seconds=61)).total_seconds())
        else:
            self.result.verdict.wrong.append("the job did not come to rest")
