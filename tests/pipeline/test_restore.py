"""The database comes back from a backup: what an administrator then types (docs/running.md), and what the job mends by itself."""

from __future__ import annotations

import contextlib
import datetime as dt
import pathlib
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from consistency import amiss, disagreement, pending
from job_rig import FAST, JobRig

from dealmail.io import schema
from dealmail.io.search import SearchSpec
from dealmail.sandbox.process import SandboxProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ALICE, BOB = "alice@corp.example", "bob@corp.example"
CRM = """kind,id,name,address,domain,account_id
user,u1,Alice,alice@corp.example,,
user,u2,Bob,bob@corp.example,,
own_domain,,,,corp.example,
account,a1,Acme,,acme.example,
"""


def deliver(sandbox: SandboxProcess, mailbox: str, number: int, sender: str) -> None:
    at = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=90 - number)
    text = (
        f"From: <{sender}>\r\nTo: <{mailbox}>\r\nSubject: Plan {number}\r\nDate: {at:%a, %d %b %Y %H:%M:%S} +0000\r\n"
        f"Message-ID: <{number}@mail.example>\r\n\r\nHello, this is what we said.\r\n"
    )
    sandbox.client.deliver(mailbox, text.encode(), ("INBOX",))


@pytest.fixture
def rig(tmp_path: pathlib.Path) -> Iterator[JobRig]:
    with SandboxProcess() as sandbox:
        for address in (ALICE, BOB):
            sandbox.client.add_mailbox(address)
        made = JobRig(tmp_path, sandbox, search=SearchSpec(f"sqlite:///{tmp_path}/search.db"))
        yield made
        made.close()


def dealmail(rig: JobRig, *arguments: str) -> str:
    """What the command says, run as a person runs it."""
    named = [option for option in rig.options() if not option.startswith("--search_index")]
    done = subprocess.run(
        [sys.executable, "-m", "dealmail.console.main", *named, *arguments],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def back_up(database: str, target: str) -> None:
    with contextlib.closing(sqlite3.connect(database)) as old, contextlib.closing(sqlite3.connect(target)) as new:
        old.backup(new)


def restore(backup: str, database: str) -> None:
    """The file in place of what is there, journal and all; nobody has it open."""
    for suffix in ("", "-wal", "-shm"):
        pathlib.Path(database + suffix).unlink(missing_ok=True)
    shutil.copyfile(backup, database)


def once_when_due(rig: JobRig) -> None:
    """`--once` when all mailboxes are due again."""
    due = sa.update(schema.mailbox).values(next_poll_at=dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1))
    rig.database.transaction(lambda connection: connection.execute(due))
    rig.once(*FAST)


def senders(rig: JobRig) -> list[str]:
    return sorted(row[5] for row in rig.rows()["engagement"])


def test_a_database_from_a_backup_is_brought_up_to_date(rig: JobRig, tmp_path: pathlib.Path) -> None:
    ann, kim, lee, max_, zoe = (f"{name}@acme.example" for name in ("ann", "kim", "lee", "max", "zoe"))
    for number, (mailbox, sender) in enumerate([(ALICE, ann), (ALICE, kim), (BOB, lee)]):
        deliver(rig.sandbox, mailbox, number, sender)
    rig.opt_in("t1", [CRM], [ALICE, BOB])
    rig.once(*FAST)
    database, backup = rig.spec.url.removeprefix("sqlite:///"), str(tmp_path / "backup")
    back_up(database, backup)

    # Since the backup: mail came to both, a person was erased, Bob turned import off, and mail came to Bob.
    deliver(rig.sandbox, BOB, 9, max_)
    deliver(rig.sandbox, ALICE, 10, zoe)
    once_when_due(rig)
    dealmail(rig, "erase", "--person", kim, "--yes")
    dealmail(rig, "import", "off", BOB)
    deliver(rig.sandbox, BOB, 11, zoe)
    assert senders(rig) == [ann, lee, max_, zoe]
    rig.close()
    restore(backup, database)
    assert senders(rig) == [ann, kim, lee]

    # docs/running.md, Restoring: before the job is started again.
    dealmail(rig, "erase", "--person", kim, "--yes")
    dealmail(rig, "import", "off", BOB)
    once_when_due(rig)
    mended = dealmail(rig, "index", "check", "--repair")
    assert "1 differ: in the index, not in the database" in mended  # Max's, which nobody reads any more
    rig.once(*FAST)
    dealmail(rig, "index", "check")
    assert senders(rig) == [ann, lee, zoe]
    assert len(rig.rows()["index"]) == 3
    assert (pending(rig.database), amiss(rig.database), disagreement(rig.database, rig.index())) == (0, [], [])
