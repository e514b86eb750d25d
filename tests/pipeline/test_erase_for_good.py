"""Erase, then search every byte of both stores' files; then sync everything again: nothing of it comes back."""

from __future__ import annotations

import datetime as dt
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from consistency import amiss, disagreement, pending
from job_rig import FAST, JobRig

from dealmail.console.main import cli
from dealmail.io import schema
from dealmail.io.database import DatabaseSpec
from dealmail.io.search import SearchSpec
from dealmail.sandbox.elasticsearch_server import ElasticsearchServer
from dealmail.sandbox.mariadb_server import MariaDbServer
from dealmail.sandbox.process import SandboxProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ALICE, BOB = "alice@corp.example", "bob@corp.example"
KIM = "xyzzyplugh@gone.example"
MARKERS = (b"xyzzyplugh", b"qwertzmarker", b"zwqxsubject", b"jxqvname")
"""In Kim's address, text, subject and name. In the CRM is only the company."""
CRM = """kind,id,name,address,domain,account_id
user,u1,Alice,alice@corp.example,,
user,u2,Bob,bob@corp.example,,
own_domain,,,,corp.example,
account,a1,Gone,,gone.example,
account,a2,Stays,,stays.example,
"""


def raw(number: int, sender: str, to: str, marked: str, footer: str = "", cc: str = "") -> bytes:
    at = dt.datetime.now(dt.UTC) - dt.timedelta(hours=number + 1)
    head = f"Cc: {cc}\r\n" if cc else ""
    return (
        f"From: {sender}\r\nTo: {to}\r\n{head}Subject: Plan {number} {'zwqxsubject' if marked else ''}\r\n"
        f"Date: {at:%a, %d %b %Y %H:%M:%S} +0000\r\nMessage-ID: <{number}@mail.example>\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\n\r\nHello, this is what we said. {marked * 40}\r\n{footer}"
    ).encode()


def deliver(sandbox: SandboxProcess) -> None:
    """40 mails, half of them with Kim; Bob's copies are worse and come first, so that the stored rows are rewritten."""
    for address in (ALICE, BOB):
        sandbox.client.add_mailbox(address)
    for number in range(40):
        mine = number % 2 == 0
        sender = f"jxqvname <{KIM}>" if mine and number % 4 == 0 else f"Lee <lee{number}@stays.example>"
        cc = f"jxqvname <{KIM}>" if mine and number % 4 else ""
        marked = "qwertzmarker with words " if mine else ""
        footer = "-- \r\nYou received this by a list\r\n"
        sandbox.client.deliver(BOB, raw(number, sender, f"{ALICE}, {BOB}", marked, footer, cc), ("INBOX",))
        sandbox.client.deliver(ALICE, raw(number, sender, f"{ALICE}, {BOB}", marked, "", cc), ("INBOX",))


class Stores:
    """Where the files are, and what makes the servers write out what they hold."""

    def __init__(self, rig: JobRig, folders: list[pathlib.Path], as_admin: Callable[[list[str]], None]) -> None:
        self.rig, self.folders, self.as_admin = rig, folders, as_admin

    def left(self) -> set[bytes]:
        found = set()
        for folder in self.folders:
            for path in folder.rglob("*"):
                if path.is_file() and path.name != "job.log":
                    content = path.read_bytes().lower()
                    found |= {marker for marker in MARKERS if marker in content}
        return found

    def dealmail(self, *arguments: str) -> Any:
        rig = self.rig
        options = [
            "--database", rig.spec.url, "--database-password", rig.spec.password_ref, "--search", rig.search.url,
            "--search-index", rig.search.index, "--token-key", f"file:{rig._key_file}",
        ]  # fmt: skip
        result = CliRunner().invoke(cli, [*options, *arguments])
        assert result.exit_code == 0, result.stderr
        return result

    def rows(self) -> dict[str, int]:
        with self.rig.database.reading() as connection:
            return {
                table.name: connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
                for table in (schema.engagement, schema.participant, schema.engagement_copy)
            }

    def rules(self) -> dict[str | None, int]:
        query = sa.select(schema.message.c.rule, sa.func.count()).group_by(schema.message.c.rule)
        with self.rig.database.reading() as connection:
            return dict(connection.execute(query).all())  # type: ignore[arg-type]


@pytest.fixture
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as running:
        deliver(running)
        yield running


@pytest.fixture
def embedded(sandbox: SandboxProcess, tmp_path: pathlib.Path) -> Iterator[Stores]:
    """Database and full text in two files."""
    rig = JobRig(tmp_path, sandbox, search=SearchSpec(f"sqlite:///{tmp_path}/search.db"))
    yield Stores(rig, [tmp_path], lambda statements: pytest.fail(str(statements)) if statements else None)
    rig.close()


@pytest.fixture(params=[(), ("--log-bin=binary-log", "--binlog-format=ROW")], ids=["", "with-a-binary-log"])
def servers(
    request: pytest.FixtureRequest,
    mariadb_server: Any,
    elasticsearch_url: str,
    sandbox: SandboxProcess,
    tmp_path: pathlib.Path,
) -> Iterator[Stores]:
    """Servers of this test's own, whose files may be looked into (the others: to be skipped where there are none)."""
    maria = MariaDbServer(quick=True, options=request.param).start()
    elastic = ElasticsearchServer(quick=True).start()
    try:
        rig = JobRig(
            tmp_path, sandbox, DatabaseSpec(maria.url, maria.password_ref), SearchSpec(elastic.url, replicas=0)
        )

        def as_admin(statements: list[str]) -> None:
            root = pymysql.connect(unix_socket=str(maria._run / "s"), user="root", database="dealmail", autocommit=True)
            with root, root.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)

        yield Stores(rig, [maria.dir, maria._run, elastic.dir], as_admin)
        rig.close()
    finally:
        maria.stop()
        elastic.stop()


def write_out(stores: Stores) -> None:
    """What the stores hold in memory goes to their files: else the search for bytes would prove nothing."""
    if stores.rig.database.dialect == "sqlite":
        return
    stores.as_admin(["SET GLOBAL innodb_max_dirty_pages_pct_lwm = 0.001", "SET GLOBAL innodb_max_dirty_pages_pct = 0"])
    index = stores.rig.index()
    index._client.indices.flush(index=stores.rig.search.index, force=True)  # type: ignore[attr-defined]
    index.close()


def check(stores: Stores) -> None:
    rig = stores.rig
    rig.opt_in("t1", [CRM], [BOB, ALICE])
    rig.once(*FAST, "--settle_batch=7")
    assert stores.rows() == {"engagement": 40, "participant": 40 * 3 + 10, "engagement_copy": 80}
    write_out(stores)
    assert stores.left() == set(MARKERS)

    result = stores.dealmail("erase", "--person", KIM, "--yes")
    assert "20 engagements, 40 copies in mailboxes" in result.stdout
    lines = [line.strip().rstrip(";") for line in result.stderr.splitlines() if line.startswith("  ")]
    assert stores.left() == set() or lines, "something is left, and nobody was told how to get rid of it"
    stores.as_admin(lines)
    assert stores.left() == set()
    assert stores.rows() == {"engagement": 20, "participant": 60, "engagement_copy": 40}
    assert stores.rules() == {"customer": 40, "erased": 40}
    assert amiss(rig.database) == []

    rig.database.transaction(lambda c: c.execute(sa.delete(schema.message)))  # from the ledger up
    rig.feed_again("--settle_batch=7")
    assert stores.rules() == {"customer": 40, "erased": 40}
    write_out(stores)
    assert stores.left() == set()
    assert stores.rows() == {"engagement": 20, "participant": 60, "engagement_copy": 40}
    assert (amiss(rig.database), pending(rig.database)) == ([], 0)
    index = rig.index()
    assert disagreement(rig.database, index) == []
    index.close()


def test_in_files(embedded: Stores) -> None:
    check(embedded)


@pytest.mark.mariadb
@pytest.mark.elasticsearch
def test_on_servers(servers: Stores) -> None:
    check(servers)
