"""One scenario, played: events and bad weather round by round, then calm, then the oracle's verdict."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import json
import os
import pathlib
import pickle
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Final

import sqlalchemy as sa

from dealmail.io import index_check, schema
from dealmail.io.audit import Audit
from dealmail.io.consent_flow import SignIn, SignInError
from dealmail.io.crm_import import import_csv
from dealmail.io.database import Database, DatabaseSpec
from dealmail.io.gmail import SCOPE
from dealmail.io.google_signin import GmailAccounts, GoogleSettings, store_credential
from dealmail.io.ledger import RESTING
from dealmail.io.mailboxes import Mailboxes, mailbox_id
from dealmail.io.quota import Quota, QuotaLimits
from dealmail.io.search import SearchSpec, open_index
from dealmail.io.vault import Vault, read_keys
from dealmail.pipeline import engines
from dealmail.pipeline.options import JobOptions
from dealmail.sandbox.client import SandboxClient
from dealmail.transforms.errors import MailboxError

from . import mails, oracle, processes
from .events import Events
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


@dataclasses.dataclass(frozen=True)
class Plan:
    """How large a scenario is, and how bad its weather: `fault_rate` of Gmail's calls go wrong in one way or another."""

    seed: int
    mailboxes: int = 20
    rounds: int = 5
    events_a_round: int = 20
    fault_rate: float = 0.05
    calm: bool = False


@dataclasses.dataclass
class Result:
    """What a scenario came to. `faults` counts by kind; `log` is what the processes had to say."""

    seed: int
    events: int = 0
    messages: int = 0
    kills: int = 0
    faults: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    verdict: oracle.Verdict = dataclasses.field(default_factory=oracle.Verdict)
    completeness: float = 100.0
    repaired: int = 0
    minutes: int = 0
    shared_minutes: int = 0
    peak_mailbox: int = 0
    peak_project: int = 0
    passes: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    log: str = ""

    @property
    def is_good(self) -> bool:
        """Nothing lost, doubled or wrong, and the audit says 100 %."""
        return self.verdict.is_good and self.completeness == 100.0


def play(plan: Plan, template: pathlib.Path, keep: pathlib.Path | None = None) -> Result:
    """Play a scenario over a copy of the empty database `template`; files are kept in `keep` where given."""
    began = time.monotonic()
    shm = pathlib.Path("/dev/shm")  # noqa: S108 (a folder of our own in it)
    folder = keep or pathlib.Path(tempfile.mkdtemp(prefix="dealmail-chaos-", dir=shm if shm.is_dir() else None))
    if folder.exists():
        shutil.rmtree(folder)  # an older run's write-ahead log would spoil the new database
    folder.mkdir(parents=True)
    try:
        scenario = Scenario(plan, folder, template)
        try:
            scenario.run()
        finally:
            scenario.close()
        if keep is not None:
            (keep / "truth.pickle").write_bytes(pickle.dumps(scenario.truth))
        result = scenario.result
        result.log = scenario.log.read_text(errors="replace") if scenario.log.exists() else ""
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    result.seconds, used = time.monotonic() - began, os.times()
    result.cpu_seconds = used.user + used.system + used.children_user + used.children_system
    return result


class Scenario:
    """The parts of one scenario while it is played."""

    def __init__(self, plan: Plan, folder: pathlib.Path, template: pathlib.Path) -> None:
        self.plan = plan
        self.result = Result(plan.seed)
        self.log = folder / "log.txt"
        self._chance = random.Random(f"weather:{plan.seed}")
        self._clock = Shared()
        self._jobs: list[Child] = []
        self._started = 0
        self._is_idle = True
        self._moves: collections.Counter[int] = collections.Counter()
        self._restless_moves = 0
        self._expired: set[str] = set()
        self._calm_since = self._clock.true_now()
        self._spec = DatabaseSpec(f"sqlite:///{folder}/dealmail.db")
        shutil.copy(template, folder / "dealmail.db")
        (folder / "key").write_text(_KEY)
        self._vault = Vault(read_keys(f"file:{folder}/key"))
        self._addresses = mails.users(plan.mailboxes)
        self._sandbox, ends = processes.start_sandbox(self._addresses, plan.seed, self.log)
        self._client = SandboxClient(ends["gmail"])
        (folder / "client.json").write_text(json.dumps(ends["oauth_client"]))
        self._google = GoogleSettings(ends["gmail"], f"file:{folder}/client.json")
        self._options = JobOptions(
            database=self._spec, gmail_endpoint=ends["gmail"], oauth_client=f"file:{folder}/client.json",
            token_key=f"file:{folder}/key", subscription=ends["subscription"], topic=ends["topic"],
            pubsub_endpoint=ends["pubsub"], fetch_threads=8, quota=QuotaLimits(mailbox_minute=UNITS, project_minute=PROJECT_UNITS),
        )  # fmt: skip
        self._graph = engines.local_graph(self._options)
        self.truth = Truth(self._addresses, self._clock.true_now())
        self._events = Events(self._client, self.truth, plan.seed, self._clock.true_now)
        self._troubles: list[Callable[[], None]] = [
            self._expire_cursors, self._expire_cursors, self._revoke, self._revoke, self._expire_tokens, self._jump,
            self._second_job, self._second_job, self._close_gmail, self._switch_off, self._import_crm, self._extend,
        ]  # fmt: skip

    # --- the course of things --------------------------------------------------------------------------------------
    def run(self) -> None:
        """From the first opt-in to the verdict."""
        self._events.load()
        self._opt_in()
        self._blow()
        for number in range(self.plan.rounds):
            self._round(expire=number == self.plan.seed % self.plan.rounds)
        self._calm_down()
        self._judge()

    def close(self) -> None:
        """End every process."""
        for child in [*self._jobs, self._sandbox]:
            child.kill()
        self._client.close()
        self._graph.close()

    def _round(self, *, expire: bool) -> None:
        calm = self.plan.calm
        self._start(self._fuse())
        parts = 1 if calm else self._chance.randrange(1, 4)
        for part in range(parts):
            self._events.happen(self.plan.events_a_round // parts)
            if not calm and expire and not part:
                self._expire_cursors()  # at least once in every scenario
            elif not calm and self._chance.random() < 0.6:
                self._chance.choice(self._troubles)()
            self._let_work(looks=1 if part + 1 < parts else 2)
            self._advance(self._chance.choice([3, 20, 65, 130, 400, 1000, 4000]))
        self._let_work(looks=1)
        if calm or self._chance.random() < 0.3:
            return
        self._kill()
        self._advance(self._chance.choice([1, 11, 130]))

    def _fuse(self) -> int | None:
        """After how many database steps the next job kills itself; a pass over all mailboxes takes some thousand."""
        return None if self.plan.calm else int(10 ** self._chance.uniform(2, 4.5))

    def _calm_down(self) -> None:
        """Good weather, every consent back, and time to poll: what must be there at the end is there after it."""
        self._kill()
        self._client.set_faults()
        for address in self._addresses:
            self._client.set_state(address, "ok")
        with self._moving():
            self._clock.add(Shared.JOB, -self._clock.get(Shared.JOB))
        self._consent_again()
        self._calm_since = self._clock.true_now()
        self._start()
        self._come_to_rest()
        if not self.plan.calm:
            self._outlast(("watch", "messages.list", "history.list")[self.plan.seed % 3])
        self._audit(repair=True)
        self._let_work(looks=2, patience=60, restarts=0)
        self._kill(counted=False)

    def _come_to_rest(self) -> None:
        polls = 0
        for _ in range(_CALM_STEPS):
            self._let_work(looks=2, patience=60, restarts=0)
            self._consent_again()
            polls = polls + 1 if self._is_settled() else 0
            if polls > _CALM_POLLS:
                break
            self._advance((POLL + dt.timedelta(seconds=61)).total_seconds())
        else:
            self.result.verdict.wrong.append("the job did not come to rest")

    def _outlast(self, method: str) -> None:
        """One call of Gmail fails for some mailboxes all the time, and no other: what arrives meanwhile must be read meanwhile.

        The call is one that the mailboxes need: their watch is due, a lost cursor has them listed, or mail has come. Without
        history.list nobody can hear of that, so the mail that must be read is what came to others, and theirs must be there in the end.
        """
        some = self._chance.sample(self._addresses, 3)
        says = {"code": 500, "reason": "backendError", "message": ""}
        self._client.set_faults({"answer": 1.0, "says": says, "methods": [method], "mailboxes": some})
        for address in some if method == "messages.list" else ():
            self._events.arrive_at(address)
            self._client.expire_history(address)
            self._expired.add(address)
        self._poll_all(86_400 if method == "watch" else 0)
        if method == "messages.list":
            self._wait_for_recovery(some)
        known = len(self.truth.items)
        others = self._chance.sample(sorted({*self._addresses} - {*some}), 3) if method == "history.list" else []
        for address in (*some, *others):
            self._events.arrive_at(address)
        self._let_work(looks=2, patience=60, restarts=0)
        for _ in range(2):
            self._poll_all()
        new = [item for item in self.truth.items[known:] if item.address in (others or some)]
        arrived = {(mailbox_id(mails.TEAM, item.address), item.gmail_id) for item in new}
        message = schema.message.c
        query = sa.select(message.mailbox_id, message.gmail_id, message.state, message.phase, message.error_class)
        with self._database() as database, database.reading() as connection:
            rows = {(row.mailbox_id, row.gmail_id): row for row in connection.execute(query)}
        waiting = [rows.get(key, key) for key in arrived if key not in rows or rows[key].state != "decided"]
        if waiting:
            self.result.verdict.wrong.append(
                f"{method} fails, and {len(waiting)} of {len(arrived)} mails wait: {waiting}"
            )
        self._note(f"lasting {method}")
        self._client.set_faults()
        self._come_to_rest()

    def _wait_for_recovery(self, addresses: list[str]) -> None:
        """Until the loss of each cursor is known: what arrives before has no history, so only the list that fails could tell of it."""
        listing, boxes = schema.listing.c, {mailbox_id(mails.TEAM, address) for address in addresses}
        open_ones = sa.select(listing.mailbox_id).where(listing.kind == "recover", listing.finished_at.is_(None))
        for _ in range(5):
            with self._database() as database, database.reading() as connection:
                if boxes <= set(connection.scalars(open_ones)):
                    return
            self._poll_all()
        self.result.verdict.wrong.append("a lost cursor goes unnoticed over five polls")

    def _poll_all(self, later: float = 0) -> None:
        self._advance((POLL + dt.timedelta(seconds=61)).total_seconds() + later)
        self._let_work(looks=2, patience=60, restarts=0)

    # --- the job ---------------------------------------------------------------------------------------------------
    def _start(self, fuse: int | None = None) -> None:
        if not self._alive():
            self._add_job(fuse)

    def _add_job(self, fuse: int | None) -> None:
        self._started += 1
        self._jobs.append(processes.start_job(self._options, self._graph, self._clock, self.log, self._started, fuse))

    def _alive(self) -> list[Child]:
        return [job for job in self._jobs if job.status is None]

    def _kill(self, *, counted: bool = True) -> None:
        for job in self._jobs:
            killed = job.kill()
            self.result.kills += (killed and counted) or (job.status == -9 and not killed)
            if job.status not in {-9, 0}:
                self.result.verdict.wrong.append(f"the job ended with exit code {job.status}")
        self._jobs.clear()

    def _let_work(self, looks: int, patience: float = 10.0, restarts: int = 3) -> None:
        """Until each job has looked around `looks` times and found nothing to do, or `patience` s are over.

        A job that died is started again, as its keeper would, `restarts` times.
        """
        before: dict[int, float] = {}
        deadline = time.monotonic() + patience
        self._is_idle = False
        while not self._is_idle and time.monotonic() < deadline:
            alive = self._alive()
            idle = {job.number: self._clock.get(Shared.idle(job.number)) for job in alive}
            self._is_idle = bool(idle) and all(n - before.setdefault(job, n) >= looks for job, n in idle.items())
            if not alive:
                if not restarts:
                    return
                restarts -= 1
                self._kill()
                self._advance(self._chance.choice([0, 2, 125]))
                self._start(self._fuse())
            time.sleep(0.01)  # jobs are real processes: how often each looked around is seen only by asking
        if self._restless_moves:
            self._allow_more(self._minute())  # which another minute may have become meanwhile

    def _advance(self, seconds: float) -> None:
        """Time goes by."""
        if self._is_idle or not self._alive():
            self._restless_moves = 0
            self._move(seconds)
        else:
            with self._moving():
                self._move(seconds)

    def _move(self, seconds: float) -> None:
        self._clock.add(Shared.TRUE, seconds)
        self._client.advance(seconds)

    @contextlib.contextmanager
    def _moving(self) -> Iterator[None]:
        """A clock is moved under the hands of a job. What it has debited and not spent yet, or no longer sees that it has, it may
        spend in a minute that is another one to Gmail: that minute may hold as much once more, for each move since all was quiet.
        """
        before = self._minute()
        yield
        self._restless_moves += 1
        for minute in {before, self._minute()}:
            self._moves[minute] += 1
            self._allow_more(minute)

    def _allow_more(self, minute: int) -> None:
        self._moves[minute] = max(self._moves[minute], self._restless_moves)

    def _minute(self) -> int:
        return int(self._clock.true_now().timestamp()) // 60 * 60

    # --- weather ---------------------------------------------------------------------------------------------------
    def _blow(self) -> None:
        if self.plan.calm:
            return
        rate = self.plan.fault_rate
        share = {"429": 0.2, "403": 0.2, "500": 0.2, "503": 0.1, "timeout": 0.1, "drop": 0.2}
        common = {name: rate * part for name, part in share.items()} | {"timeout_seconds": 0.05}
        if self._chance.random() < 0.5:
            common["retry_after"] = self._chance.choice([1, 5, 30])
        parts = {"methods": ["messages.get"], "500": 0.06, "drop": 0.03, "429": 0.03}
        push = {"lost": 0.2, "double": 0.2, "delay": 0.25, "delay_seconds": self._chance.choice([0.05, 0.3, 1.0])}
        self._client.set_faults(common, parts, push, {"bare_stubs": 0.2, "empty_pages": 0.2}, {"token_500": rate})

    def _expire_cursors(self) -> None:
        for address in self._some(6):
            self._events.arrive_at(address)  # nobody has time to read of it before its history is gone
            self._client.expire_history(address)
            self._expired.add(address)
            self._note("expired cursor")

    def _revoke(self) -> None:
        for address in self._some(3):
            self._client.revoke(address)
            self._note("revoked token")
        self._let_work(looks=1)
        if self._chance.random() < 0.7:
            self._consent_again()

    def _expire_tokens(self) -> None:
        self._client.expire_access()
        self._note("expired access tokens")

    def _jump(self) -> None:
        with self._moving():
            self._clock.add(Shared.JOB, self._chance.choice([-3600, -300, -40, 45, 240, 3700]))
        self._note("clock jump")

    def _second_job(self) -> None:
        self._add_job(self._fuse())
        self._note("second job")

    def _close_gmail(self) -> None:
        for address in self._some(2):
            self._client.set_state(address, self._chance.choice(["gmail_off", "domain_policy", "suspended"]))
            self._note("Gmail closed")
        self._let_work(looks=1)
        for address in self._addresses:
            self._client.set_state(address, "ok")

    def _switch_off(self) -> None:
        """A user turns import off, while mail of theirs is being read: nothing may be written from then on, and nothing be missing
        once it is on again.
        """
        address = self._chance.choice(self._addresses)
        box = mailbox_id(mails.TEAM, address)
        for _ in range(5):
            self._events.arrive_at(address)
        self._wait_for_lease(box)
        with self._database() as database:
            boxes = Mailboxes(database, self._clock.job_now)
            boxes.turn_off(box, address)
            before = self._settled_rows(database, box)
        self._events.happen(3)
        self._let_work(looks=1)
        with self._database() as database:
            if self._settled_rows(database, box) != before:
                self.result.verdict.wrong.append(f"{box}: written to while import is off")
            Mailboxes(database, self._clock.job_now).turn_on(box, address)
        self._note("import off and on")

    def _wait_for_lease(self, box: str) -> None:
        """Until the job has a message of the mailbox in hand; not long, for it may be down, or lack the quota."""
        message, deadline = schema.message.c, time.monotonic() + 2
        held = sa.select(message.gmail_id).where(
            message.mailbox_id == box, message.state == "pending", message.lease.is_not(None)
        )
        with self._database() as database:
            while time.monotonic() < deadline:
                with database.reading() as connection:
                    if connection.execute(held.limit(1)).first():
                        return
                time.sleep(0.001)  # a real process takes the lease: no clock of ours moves it, the row alone tells

    def _import_crm(self) -> None:
        if self.truth.late_domain_known:
            return
        self.truth.late_domain_known = True
        with self._database() as database:
            import_csv(database, mails.TEAM, mails.late_crm_csv(), self._clock.job_now)

    def _extend(self) -> None:
        number = self._chance.randrange(len(self._addresses))
        self.truth.extended.add(self._addresses[number])
        with self._database() as database:
            import_csv(database, mails.TEAM, mails.old_deal_csv(number, self.truth.start.date()), self._clock.job_now)

    def _some(self, most: int) -> list[str]:
        return self._chance.sample(self._addresses, self._chance.randrange(1, most + 1))

    def _note(self, fault: str) -> None:
        self.result.faults[fault] += 1

    # --- people ----------------------------------------------------------------------------------------------------
    def _opt_in(self) -> None:
        now = self._clock.job_now
        with self._database() as database:
            import_csv(database, mails.TEAM, mails.crm_csv(len(self._addresses), self.truth.start.date()), now)
            boxes = Mailboxes(database, now)
            for number, address in enumerate(self._addresses):
                box = boxes.add(mails.TEAM, f"u{number}", address)
                token = {"refresh_token": self._client.grant(address), "scopes": [SCOPE]}
                with database.writing() as connection:
                    store_credential(database, self._vault, connection, mails.TEAM, box.id, "oauth", token, now())
                boxes.turn_on(box.id, address)

    def _consent_again(self) -> None:
        """Users whose consent is gone give it once more."""
        with self._database() as database:
            for box in Mailboxes(database, self._clock.job_now).all(mails.TEAM, import_on=True):
                if box.state in RESTING:
                    token = self._client.grant(box.address)
                    with contextlib.suppress(SignInError):  # Gmail fails here too; the user tries again later
                        SignIn(database, self._vault, self._google, self._clock.job_now).grant(
                            box.id, token, [SCOPE], box.address
                        )

    # --- looking ---------------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def _database(self) -> Iterator[Database]:
        """Open only while it is used: what is open would be shared with the next fork."""
        database = Database(self._spec)
        try:
            yield database
        finally:
            database.close()

    def _is_settled(self) -> bool:
        waiting = [
            sa.select(schema.message.c.gmail_id).where(schema.message.c.state == "pending"),
            sa.select(schema.listing.c.id).where(schema.listing.c.finished_at.is_(None)),
            sa.select(schema.search_outbox.c.version),
            sa.select(schema.mailbox.c.id).where(schema.mailbox.c.state != "live"),
            sa.select(schema.mailbox.c.id).where(
                schema.mailbox.c.last_poll_at < self._calm_since
            ),  # whatever clocks did
        ]
        with self._database() as database, database.reading() as connection:
            return not any(connection.execute(query.limit(1)).first() for query in waiting)

    def _settled_rows(self, database: Database, box: str) -> tuple[int, int]:
        message, copy = schema.message.c, schema.engagement_copy.c
        with database.reading() as connection:
            decided = sa.select(sa.func.count()).where(message.mailbox_id == box, message.state == "decided")
            copies = sa.select(sa.func.count()).where(copy.mailbox_id == box)
            return connection.scalar(decided) or 0, connection.scalar(copies) or 0

    def _audit(self, *, repair: bool) -> None:
        """What the scheduled audit does: nothing may be missing, and nothing be stale but what a lost history hid."""
        result, now = self.result, self._clock.job_now
        with self._database() as database:
            audit = Audit(database, GmailAccounts(database, self._vault, self._google, now), Quota(database), now)
            for address in self._addresses:
                try:
                    found = audit.run(mailbox_id(mails.TEAM, address), repair=repair)
                except MailboxError:
                    if not repair:
                        raise
                    continue  # a token ended since the last look, as the service too may find; the last audit has the word
                if found is None:
                    result.verdict.wrong.append(f"{address} has no window")
                    continue
                result.completeness = min(result.completeness, found.completeness)
                if not repair and found.completeness < 100:
                    result.verdict.wrong.append(f"{address}: missing {found.missing}, shut {found.shut}")
                result.repaired += len(found.stale)
                if found.stale and not (repair and address in self._expired):
                    result.verdict.wrong.append(
                        f"{address}: copies of {found.stale} are kept though Gmail deleted them"
                    )

    def _unknown_to_truth(self) -> list[str]:
        """What the sandbox holds and no event has put there: then it is the sandbox, or its client, that went wrong."""
        known = {(item.address, item.gmail_id) for item in self.truth.items}
        return [
            f"{address} {message['id']} {message['labels']}, of which no event is known"
            for address, box in self._client.dump().items()
            for message in box["messages"]
            if (address, message["id"]) not in known
        ]

    def _judge(self) -> None:
        result = self.result
        self._audit(repair=False)
        with self._database() as database:
            verdict = oracle.compare(database, self.truth)
            index = open_index(SearchSpec(self._spec.url))
            index.ensure()
            report = index_check.check(database, index, mails.TEAM)
            index.close()
        verdict.wrong += result.verdict.wrong
        if not verdict.is_good:
            verdict.wrong += [f"Gmail has {line}" for line in self._unknown_to_truth()]
        if not report.equal or report.waiting:
            verdict.wrong.append(
                f"the index differs: {report.differences}, {report.waiting} waiting, {report.parked} parked"
            )
        ledger = self._client.quota_ledger()
        verdict.wrong += oracle.over_quota(ledger, UNITS, PROJECT_UNITS, self._moves)
        minutes = {row["minute"] for row in ledger}
        result.minutes, result.shared_minutes = len(minutes), len(minutes & self._moves.keys())
        result.peak_mailbox = oracle.peak(ledger, UNITS, self._moves)
        result.peak_project = oracle.peak(ledger, PROJECT_UNITS, self._moves, project=True)
        result.verdict = verdict
        counters = self._client.counters()
        result.faults.update(counters["faults"])
        result.passes = int(self._clock.get(Shared.PASSES))
        result.events, result.messages = self.truth.events, len(self.truth.items)
