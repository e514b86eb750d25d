"""A whole dealmail around a sandbox, for tests: stores, opted-in mailboxes, the job as a process, and what it left behind."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import pathlib
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from dealmail.io import migrate, schema
from dealmail.io.consent_flow import SignIn
from dealmail.io.crm_import import import_csv
from dealmail.io.database import Database, DatabaseSpec
from dealmail.io.gmail import SCOPE
from dealmail.io.google_signin import GmailAccounts, GoogleSettings
from dealmail.io.mailboxes import Mailboxes
from dealmail.io.outbox import Outbox
from dealmail.io.search import SearchIndex, SearchSpec, open_index
from dealmail.io.vault import Vault, read_keys
from dealmail.sandbox.process import SandboxProcess

STEADY: Mapping[str, tuple[str, ...]] = {
    "message": ("mailbox_id", "gmail_id", "team_id", "state", "outcome", "rule", "rules_version", "score", "engagement_id"),
    "engagement": (
        "team_id", "id", "message_id", "sent_at", "direction", "sender_address", "sender_name", "subject", "text", "spans",
        "truncated", "flags", "content_digest", "rank",
    ),
    "participant": ("team_id", "engagement_id", "role", "position", "address", "name"),
    "engagement_link": ("team_id", "engagement_id", "kind", "target_id", "is_primary", "via"),
    "engagement_copy": ("mailbox_id", "gmail_id", "team_id", "engagement_id", "content_digest"),
    "correspondence": ("team_id", "digest", "engagement_id"),
}  # fmt: skip
"""The columns that must come out the same however a run went: all but versions, times of writing and counts of tries."""

USERS_WITHOUT_LIMIT = ("--user-units", "100000000", "--project-units", "100000000", "--concurrent", "0")
FAST = ("--quota_mailbox_minute=100000000", "--quota_project_minute=100000000")


def utc_now() -> dt.datetime:
    """The time, UTC."""
    return dt.datetime.now(dt.UTC)


class JobRig:
    """One team's dealmail. `spec` and `search` default to files in `folder`; runs with one `key` give the same digests."""

    def __init__(
        self,
        folder: pathlib.Path,
        sandbox: SandboxProcess,
        spec: DatabaseSpec | None = None,
        search: SearchSpec | None = None,
        key: str = "",
    ) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.spec = spec or DatabaseSpec(f"sqlite:///{folder}/dealmail.db")
        self.search = search or SearchSpec(self.spec.url)
        self._key_file = folder / "dealmail.key"
        self._key_file.write_text(key or secrets.token_urlsafe(32))
        self._client_file = folder / "oauth_client.json"
        self._client_file.write_text(json.dumps(sandbox.client.oauth_client()))
        self.log = folder / "job.log"
        self.database = Database(self.spec)
        migrate.upgrade(self.database)

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The key material."""
        return read_keys(f"file:{self._key_file}")

    @property
    def google(self) -> GoogleSettings:
        """Sign-in settings that lead to the sandbox."""
        return GoogleSettings(self.sandbox.gmail, f"file:{self._client_file}")

    def accounts(self) -> GmailAccounts:
        """Gmail of the connected mailboxes."""
        return GmailAccounts(self.database, Vault(self.keys), self.google, utc_now)

    def index(self) -> SearchIndex:
        """The search index."""
        return open_index(self.search)

    def opt_in(self, team_id: str, crm: Sequence[str], addresses: Sequence[str]) -> None:
        """Import the CRM's CSV texts, and connect `addresses` with import on."""
        for text in crm:
            import_csv(self.database, team_id, text, utc_now)
        boxes = Mailboxes(self.database, utc_now)
        sign_in = SignIn(self.database, Vault(self.keys), self.google, utc_now)
        for address in addresses:
            with self.database.reading() as connection:
                found = sa.select(schema.user_address.c.user_id).where(
                    schema.user_address.c.team_id == team_id, schema.user_address.c.address == address
                )
                user = connection.scalar(found) or address
            box = boxes.add(team_id, user, address)
            boxes.turn_on(box.id, address, "test")
            sign_in.grant(box.id, self.sandbox.client.grant(address), [SCOPE], address)

    def options(self, *more: str) -> list[str]:
        """The job's command line."""
        named = {
            "database": self.spec.url, "database_password": self.spec.password_ref, "search": self.search.url,
            "search_index": self.search.index, "token_key": f"file:{self._key_file}", "gmail_endpoint": self.sandbox.gmail,
            "oauth_client": f"file:{self._client_file}",
        }  # fmt: skip
        return [*(f"--{name}={value}" for name, value in named.items() if value), *more]

    def pushed(self) -> list[str]:
        """Options that connect the job to the sandbox's Pub/Sub."""
        return [
            f"--subscription={self.sandbox.subscription}", f"--topic={self.sandbox.topic}",
            f"--pubsub_endpoint={self.sandbox.pubsub}",
        ]  # fmt: skip

    def once(
        self, *more: str, timeout: float = 300, tmp: pathlib.Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`--once` to its end. Raises AssertionError with the log where the job did not end well."""
        done = subprocess.run(
            [sys.executable, "-m", "dealmail.pipeline", *self.options("--once", *more)],
            capture_output=True, text=True, timeout=timeout, check=False,
            env={**os.environ, **({"TMPDIR": str(tmp)} if tmp else {})},
        )  # fmt: skip
        with self.log.open("a", encoding="utf-8") as log:
            log.write(done.stdout + done.stderr)
        assert done.returncode == 0, done.stderr[-4000:]
        return done

    @contextlib.contextmanager
    def running(self, *more: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
        """The job as a service while the block lasts; killed for good at its end."""
        process = self.start(*more, env=env)
        try:
            yield process
        finally:
            self.kill(process)

    def start(self, *more: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """The job as a service, its log in a file; `env` is added to this process's."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "dealmail.pipeline", *self.options(*more)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, **(env or {})},
            )  # fmt: skip

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """kill -9 to the job and all it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)

    def feed_again(self, *more: str) -> None:
        """Begin the first sync of every mailbox anew, as if it had never been, and run to its end."""
        begin = sa.update(schema.mailbox).values(history_id=None, next_poll_at=utc_now() - dt.timedelta(seconds=1))
        self.database.transaction(lambda connection: connection.execute(begin))
        self.once(*FAST, *more)
        listing = schema.listing.c
        with self.database.reading() as connection:
            begun = connection.scalar(sa.select(sa.func.count()).where(listing.kind == "first_sync"))
            boxes = connection.scalar(sa.select(sa.func.count()).select_from(schema.mailbox))
        assert begun == 2 * boxes, f"{begun} first syncs of {boxes} mailboxes"

    def lose_a_decision(self) -> tuple[str, str]:
        """Take a decided message out of the ledger, as no run ever would; (mailbox id, Gmail id)."""
        row = schema.message.c
        key = min(self.decisions())
        gone = sa.delete(schema.message).where(row.mailbox_id == key[0], row.gmail_id == key[1])
        self.database.transaction(lambda connection: connection.execute(gone))
        return key

    def let_turns_come(self) -> None:
        """Every chore's turn has come."""
        now = sa.update(schema.chore).values(turn_at=utc_now() - dt.timedelta(seconds=1))
        self.database.transaction(lambda connection: connection.execute(now))

    def is_settled(self) -> bool:
        """Whether nothing is pending, no listing is unfinished, every mailbox has begun, and the outbox is empty."""
        with self.database.reading() as connection:
            pending = sa.select(sa.literal(1)).where(schema.message.c.state == "pending").limit(1)
            listing = sa.select(sa.literal(1)).where(schema.listing.c.finished_at.is_(None)).limit(1)
            waiting = sa.select(sa.literal(1)).select_from(schema.search_outbox).limit(1)
            on = schema.mailbox.c.import_on.is_(True)
            fresh = sa.select(sa.literal(1)).where(on, schema.mailbox.c.history_id.is_(None)).limit(1)
            return not any(connection.scalar(query) for query in (pending, listing, waiting, fresh))

    def wait_until(
        self, holds: Callable[[], bool], seconds: float = 120, job: subprocess.Popen[bytes] | None = None
    ) -> None:
        """Look again and again until `holds()`. Raises AssertionError after `seconds`, or where `job` has ended."""
        pause = threading.Event()
        for _ in range(int(seconds / 0.1)):
            if holds():
                return
            assert job is None or job.poll() is None, f"the job ended: {self.log.read_text()[-4000:]}"
            pause.wait(0.1)
        raise AssertionError(
            f"not within {seconds} s; the log ends: {self.log.read_text()[-3000:] if self.log.exists() else ''}"
        )

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """What must come out the same however the run went, sorted; with what the search index holds."""
        found: dict[str, list[tuple[Any, ...]]] = {}
        with self.database.reading() as connection:
            for name, columns in STEADY.items():
                table = schema.metadata.tables[name]
                rows = connection.execute(sa.select(*(table.c[column] for column in columns)))
                found[name] = sorted((tuple(_plain(value) for value in row) for row in rows), key=repr)
        index = self.index()
        index.refresh()
        found["index"] = sorted((one.team_id, one.engagement_id, one.digest) for one in index.scan())
        index.close()
        return found

    def decisions(self) -> dict[tuple[str, str], tuple[str | None, str | None]]:
        """(mailbox id, Gmail id) to (outcome, rule)."""
        row = schema.message.c
        with self.database.reading() as connection:
            query = sa.select(row.mailbox_id, row.gmail_id, row.outcome, row.rule)
            return {(r.mailbox_id, r.gmail_id): (r.outcome, r.rule) for r in connection.execute(query)}

    def outbox(self) -> Outbox:
        """The outbox, on this rig's index."""
        return Outbox(self.database, self.index(), now=utc_now)

    def close(self) -> None:
        """Close the database."""
        self.database.close()


def _plain(value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value
