"""One run of the demo: stores, CRM, consent, the job as a process, the first sync, the arrivals, and the report."""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib
import json
import os
import pathlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import click
import sqlalchemy as sa

from ..io import migrate
from ..io.database import Database
from ..io.google_signin import GoogleSettings
from ..io.key_choice import key_ref
from ..io.quota import QuotaLimits
from ..io.schema import engagement_link, mailbox, message, opportunity
from ..io.vault import Vault, read_keys
from ..sandbox.private_server import ServerUnavailableError
from ..sandbox.process import SandboxNotStartedError, SandboxProcess
from ..sandbox.sample.load import arrive, load
from ..transforms.clock import utc_now
from . import queries
from .context import BadInputError
from .demo_display import Display
from .demo_ending import print_ending
from .demo_progress import Snapshot, look
from .demo_report import Report
from .demo_stage import Comparison, Stage, add_owners, compare, settle_owners
from .demo_stores import Stores, open_stores
from .job_process import JobProcess

LOOK_SECONDS = 0.3
STALL_SECONDS = 90.0
"""So long may nothing at all change before the run is given up."""
ARRIVAL_SECONDS = 30.0
BETWEEN_ARRIVALS_SECONDS = 1.05
"""Gmail publishes at most one notification a second for each user; what comes faster is announced by nobody."""
SANDBOX_UNITS = 100_000_000
NO_LIMITS = QuotaLimits(mailbox_minute=SANDBOX_UNITS, project_minute=SANDBOX_UNITS)
"""Units a minute where mail comes from files: the sandbox's own quota need not make anybody wait."""


class DemoFailedError(Exception):
    """The run did not come to its end, or not to the expected one."""


class Run:
    """Plays a stage once. Whatever way it ends, the job, the sandbox and the servers end with it."""

    def __init__(
        self,
        stage: Stage,
        folder: pathlib.Path,
        stores: str,
        display: Callable[[], contextlib.AbstractContextManager[Display]],
    ) -> None:
        self._stage = stage
        self._folder = folder
        self._kind = stores
        self._open_display = display
        self._wait = threading.Event()
        self._began = time.monotonic()

    def play(self) -> None:
        """Run to the end, print it, and write the report.

        Raises:
            DemoFailedError: something failed, or the decisions are not as expected.
        """
        with contextlib.ExitStack() as stack:
            stores, sandbox, database = self._set_up(stack)
            job = JobProcess(self._job_options(stores, sandbox), self._folder / "job.log")
            stack.callback(job.stop)
            job.start()  # before there is anything to do: it takes some seconds to load, and so does what comes next
            ids = load(self._stage.world, sandbox.client) if self._stage.world else {}
            self._opt_in(database, stores, sandbox)
            with self._open_display() as display:
                display.say(f"{len(self._stage.mail)} mailboxes opted in; the job's log is {self._folder / 'job.log'}")
                self._wait_settled(database, display, job)
                display.say(
                    f"the first sync is complete after {time.monotonic() - self._began:.0f} s; new mail arrives ..."
                )
                push = self._arrivals(database, display, job, sandbox, ids)
                self._wait_settled(database, display, job)
            audit = self._audit(database, stores, sandbox)
            code = job.stop()
            if code not in {0, None}:
                raise DemoFailedError(f"the job ended with exit code {code}")
            compared = compare(database, self._stage.world, ids) if self._stage.world else None
            report = self._report(database, stores, push, compared, audit)
        paths = report.write(self._folder)
        print_ending(report, stores, paths, self._folder, self._stage.team_id)
        self._judge(report, compared, push)

    def preview(self) -> None:
        """Say what would become of the mail, mailbox by mailbox, without the job and without storing anything of it.

        Raises:
            DemoFailedError: the sandbox or a server could not be started.
        """
        from ..io.correspondence import DatabaseCorrespondence
        from ..io.crm import load_directory
        from ..io.google_signin import GmailAccounts
        from ..io.mailboxes import Mailboxes
        from ..io.vault import Digests
        from .preview import Learning, look_at, print_findings
        from .window import Window

        with contextlib.ExitStack() as stack:
            stores, sandbox, database = self._set_up(stack)
            if self._stage.world:
                load(self._stage.world, sandbox.client)
            self._opt_in(database, stores, sandbox)
            vault, google = self._signed_in(stores, sandbox)
            accounts = GmailAccounts(database, vault, google, utc_now)
            digests = Digests(read_keys(key_ref(stores.token_key, stores.database)))
            directory = load_directory(database, self._stage.team_id)
            learning = Learning(DatabaseCorrespondence(database, digests))
            for box in Mailboxes(database, utc_now).all(self._stage.team_id):
                window = Window(database, accounts, box, sys.maxsize, NO_LIMITS)
                print_findings(box.address, window, look_at(window.messages(), directory, learning, utc_now()))

    # --- the parts -----------------------------------------------------------------------------------------------------
    def _set_up(self, stack: contextlib.ExitStack) -> tuple[Stores, SandboxProcess, Database]:
        """The stores with their schema, and the sandbox; they end with `stack`.

        Raises:
            DemoFailedError: one of them could not be started.
        """
        sandbox, starting = self._start_sandbox(stack)
        try:
            stores = stack.enter_context(open_stores(self._kind, self._folder, click.echo))
            database = Database(stores.database)
            stack.callback(database.close)
            migrate.upgrade(database)
            starting.result()
        except (ServerUnavailableError, SandboxNotStartedError) as error:
            raise DemoFailedError(str(error)) from error
        return stores, sandbox, database

    def _start_sandbox(self, stack: contextlib.ExitStack) -> tuple[SandboxProcess, concurrent.futures.Future[Any]]:
        """The sandbox, which ends with `stack`, and its start, which goes on beside what the caller does."""
        starter = stack.enter_context(concurrent.futures.ThreadPoolExecutor(1, "sandbox"))
        sandbox = self._sandbox()
        starting = starter.submit(sandbox.start)

        def stop() -> None:
            concurrent.futures.wait([starting])
            sandbox.stop()

        stack.callback(stop)
        return sandbox, starting

    def _sandbox(self) -> SandboxProcess:
        if self._stage.world is not None:
            return SandboxProcess()
        mail = {address: path for address, path in self._stage.mail.items() if path is not None}
        units = str(SANDBOX_UNITS)
        return SandboxProcess(mail, ["--user-units", units, "--project-units", units, "--concurrent", "0"])

    def _opt_in(self, database: Database, stores: Stores, sandbox: SandboxProcess) -> None:
        from ..io.consent_flow import SignIn
        from ..io.crm_csv import CrmFileError
        from ..io.crm_import import import_csv
        from ..io.gmail import SCOPE
        from ..io.mailboxes import Mailboxes
        from .connecting import user_of

        add_owners(database, self._stage, utc_now())
        for text in self._stage.crm.values():
            try:
                import_csv(database, self._stage.team_id, text, utc_now, team_name=self._stage.title)
            except CrmFileError as error:
                raise BadInputError(f"the CRM file cannot be used: {'; '.join(error.problems)}") from None
        settle_owners(database, self._stage)
        vault, google = self._signed_in(stores, sandbox)
        sign_in = SignIn(database, vault, google, utc_now)
        boxes = Mailboxes(database, utc_now)
        for address in self._stage.mail:
            box = boxes.add(self._stage.team_id, user_of(database, self._stage.team_id, address), address)
            boxes.turn_on(box.id, address, "demo")
            sign_in.grant(box.id, sandbox.client.grant(address), [SCOPE], address)

    def _job_options(self, stores: Stores, sandbox: SandboxProcess) -> list[str]:
        self._signed_in(stores, sandbox)
        options = [
            *stores.options("_"),
            f"--gmail_endpoint={sandbox.gmail}",
            f"--oauth_client=file:{(self._folder / 'oauth_client.json').resolve()}",
            f"--subscription={sandbox.subscription}",
            f"--topic={sandbox.topic}",
            f"--pubsub_endpoint={sandbox.pubsub}",
        ]
        if self._stage.world is None:
            options += [f"--quota_mailbox_minute={SANDBOX_UNITS}", f"--quota_project_minute={SANDBOX_UNITS}"]
        return options

    def _snapshots(self, database: Database, display: Display, job: JobProcess) -> Iterator[Snapshot]:
        """What the database says, again and again, until the caller has enough.

        Raises:
            DemoFailedError: the job ended, or nothing has changed for long.
        """
        last, changed = None, time.monotonic()
        while True:
            snapshot = look(database, self._stage.team_id)
            display.show(snapshot)
            yield snapshot
            if job.exit_code is not None:
                raise DemoFailedError(f"the job ended by itself with exit code {job.exit_code}")
            state = (snapshot.mailboxes, snapshot.rules, snapshot.failing, snapshot.outbox)
            if state != last:
                last, changed = state, time.monotonic()
            elif time.monotonic() - changed > STALL_SECONDS:
                raise DemoFailedError(f"nothing has changed for {STALL_SECONDS:.0f} s")
            self._wait.wait(LOOK_SECONDS)

    def _wait_settled(self, database: Database, display: Display, job: JobProcess) -> None:
        for snapshot in self._snapshots(database, display, job):
            if snapshot.is_settled:
                return

    def _arrivals(
        self, database: Database, display: Display, job: JobProcess, sandbox: SandboxProcess, ids: dict[str, str]
    ) -> list[float]:
        """Let the world's arrivals happen, one after the other; the seconds from each to its decision."""
        took: list[float] = []
        threading.Thread(target=importlib.import_module, args=("dealmail.io.audit",), daemon=True).start()  # for later
        arrivals = self._stage.world.arrivals if self._stage.world else ()
        for _, group in groupby(arrivals, key=lambda arrival: arrival.delay):
            together = list(group)
            began = time.monotonic()
            for arrival in together:
                arrive(arrival, sandbox.client, ids)
            waiting = {(arrival.mailbox, ids[arrival.key]) for arrival in together}
            while waiting and time.monotonic() - began < ARRIVAL_SECONDS:
                decided = self._decided(database, waiting)
                took += [time.monotonic() - began] * len(decided)
                waiting -= decided
                self._wait.wait(0.05)
            if waiting:
                display.say(f"{len(waiting)} of the arrivals were not decided within {ARRIVAL_SECONDS:.0f} s")
            for _snapshot in self._snapshots(database, display, job):
                break
            self._wait.wait(max(0.0, BETWEEN_ARRIVALS_SECONDS - (time.monotonic() - began)))
        return took

    def _decided(self, database: Database, waiting: set[tuple[str, str]]) -> set[tuple[str, str]]:
        chosen = (
            sa.select(mailbox.c.address, message.c.gmail_id)
            .join_from(message, mailbox, mailbox.c.id == message.c.mailbox_id)
            .where(
                message.c.team_id == self._stage.team_id,
                message.c.state == "decided",
                message.c.gmail_id.in_([gmail_id for _, gmail_id in waiting]),
            )
        )
        with database.reading() as connection:
            return {(row[0], row[1]) for row in connection.execute(chosen)} & waiting

    def _audit(self, database: Database, stores: Stores, sandbox: SandboxProcess) -> dict[str, float]:
        """Completeness of each mailbox against the sandbox's Gmail, in percent."""
        from ..io.audit import Audit
        from ..io.google_signin import GmailAccounts
        from ..io.mailboxes import Mailboxes
        from ..io.quota import Quota

        vault, google = self._signed_in(stores, sandbox)
        auditor = Audit(database, GmailAccounts(database, vault, google, utc_now), Quota(database, NO_LIMITS), utc_now)
        found = {box.address: auditor.run(box.id) for box in Mailboxes(database, utc_now).all(self._stage.team_id)}
        return {address: one.completeness for address, one in found.items() if one is not None}

    def _signed_in(self, stores: Stores, sandbox: SandboxProcess) -> tuple[Vault, GoogleSettings]:
        client = self._folder / "oauth_client.json"
        if not client.exists():
            with os.fdopen(os.open(client, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
                json.dump(sandbox.client.oauth_client(), out)
        vault = Vault(read_keys(key_ref(stores.token_key, stores.database)))
        return vault, GoogleSettings(sandbox.gmail, f"file:{client.resolve()}")

    def _report(
        self,
        database: Database,
        stores: Stores,
        push: Sequence[float],
        compared: Comparison | None,
        audit: dict[str, float],
    ) -> Report:
        team_id = self._stage.team_id
        rules = queries.rule_counts(database, team_id)
        deal, timeline = self._deal(database)
        return Report(
            title=self._stage.title,
            stores=stores.told,
            seconds=time.monotonic() - self._began,
            funnel=funnel(rules, queries.engagement_count(database, team_id)),
            rules=rules,
            mailboxes=queries.mailboxes(database, team_id),
            deal=deal,
            timeline=timeline,
            push_seconds=push,
            checked=None if compared is None else (compared.agree, compared.of),
            audit=audit,
        )

    def _deal(self, database: Database) -> tuple[str, list[dict[str, Any]]]:
        """The deal to show: the sample's, else the one with most mail; its name and its mail in time order."""
        team_id = self._stage.team_id
        chosen = self._stage.world.deal_id if self._stage.world else None
        with database.reading() as connection:
            if chosen is None:
                chosen = connection.scalar(
                    sa.select(engagement_link.c.target_id)
                    .where(engagement_link.c.team_id == team_id, engagement_link.c.kind == "opportunity")
                    .group_by(engagement_link.c.target_id)
                    .order_by(sa.func.count().desc(), engagement_link.c.target_id)
                    .limit(1)
                )
            if chosen is None:
                return "No deal has mail yet", []
            name = connection.scalar(
                sa.select(opportunity.c.name).where(opportunity.c.team_id == team_id, opportunity.c.id == chosen)
            )
        return f"Deal {name or chosen}", list(queries.engagements(database, team_id, links=[("opportunity", chosen)]))

    def _judge(self, report: Report, compared: Comparison | None, push: Sequence[float]) -> None:
        if compared is not None and compared.differences:
            for line in compared.differences[:20]:
                click.echo(f"  {line}", err=True)
            raise DemoFailedError(f"{compared.agree} of {compared.of} decisions are as expected")
        world = self._stage.world
        if world is not None and len(push) != len(world.arrivals):
            raise DemoFailedError(f"{len(push)} of {len(world.arrivals)} arrivals were decided in time")
        parked = sum(number for outcome, _, number in report.rules if outcome == "parked")
        if world is not None and parked:
            raise DemoFailedError(f"{parked} messages were parked")
        short = {name: percent for name, percent in report.audit.items() if percent < 100}
        if short:
            raise DemoFailedError(f"the audit says that mail is missing in {len(short)} mailboxes")


def funnel(rules: Sequence[tuple[str, str, int]], engagements: int) -> list[tuple[str, int]]:
    """From all messages that were looked at to the stored engagements: what is left after each gate."""
    left = sum(number for _, _, number in rules)
    steps = [("looked at", left)]
    gates = (
        ("not a draft, trash, spam or chat", ("label.",)),
        ("within the look-back", ("window.",)),
        ("with an external participant", ("participants.",)),
        ("nobody blocked", ("blocked.",)),
        ("of a customer or prospect", ("crm.",)),
        ("written by a person", ("automated.",)),
        ("imported", ("gone", "parked", "erased", "retention")),
    )
    for name, prefixes in gates:
        left -= sum(number for outcome, rule, number in rules if outcome != "imported" and rule.startswith(prefixes))
        steps.append((name, left))
    return [*steps, ("stored engagements", engagements)]
