"""A disk that is full: a small file system of its own where root runs the tests, else SQLite's own limit on pages.

What needs such a file system is skipped without it; tests/io/test_outbox.py limits the search file's pages.
"""

from __future__ import annotations

import os
import pathlib
import random
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from consistency import amiss, disagreement, pending

from dealmail.io import schema
from dealmail.io.database import Database, DatabaseSpec
from dealmail.io.outbox import Outbox
from dealmail.io.search import SearchSpec, open_index
from dealmail.transforms.errors import StoreUnavailableError
from dealmail.transforms.records import MailText

MAILS = 120
TABLES = (schema.engagement, schema.participant, schema.engagement_link, schema.engagement_copy, schema.message)


class Disk:
    """A folder that holds so much and no more, until it is given more."""

    def __init__(self, folder: pathlib.Path, *, is_real: bool) -> None:
        self.folder, self.is_real = folder, is_real
        self._ballast = folder / "ballast"

    def must_be_real(self) -> None:
        """Skip the test where it is not."""
        if not self.is_real:
            pytest.skip("needs a file system of its own: run the tests as root")

    def fill(self, leave: int, engine: sa.Engine | None = None) -> None:
        """Leave `leave` bytes free; without a file system of our own: let the database of `engine` grow by so many."""
        if not self.is_real:
            assert engine is not None
            _limit(engine, leave // 4096)
            return
        free = shutil.disk_usage(self.folder).free - leave
        with self._ballast.open("wb") as file:
            while free > 0:
                free -= file.write(b"\0" * min(free, 1 << 16))

    def make_room(self, engine: sa.Engine | None = None) -> None:
        """Somebody has tidied up."""
        self._ballast.unlink(missing_ok=True)
        if not self.is_real and engine is not None:
            _limit(engine, 10**6)


def _limit(engine: sa.Engine, pages: int) -> None:
    """Limit the connections that `engine` will open to `pages` more than there are."""

    def connected(connection: Any, unused_record: Any) -> None:
        now = connection.execute("pragma page_count").fetchone()[0]
        connection.execute(f"pragma max_page_count = {now + pages}")

    engine.dispose()
    sa.event.listen(engine, "connect", connected)


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.getuid() == 0 and shutil.which("mount") is not None
    if mounted:
        mounted = not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=False
        ).returncode
    yield Disk(folder, is_real=mounted)
    if mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def database(disk: Disk, sqlite_template: pathlib.Path) -> Iterator[Database]:
    shutil.copy(sqlite_template, disk.folder / "t.db")
    opened = Database(DatabaseSpec(f"sqlite:///{disk.folder}/t.db"))
    yield opened
    opened.close()


def mails(sales: Any, mail: Any) -> list[Any]:
    box = sales.add_mailbox("alice@corp.example")
    return [
        mail(claim, n, body=MailText(f"words of mail {n} " * 800))
        for n, claim in enumerate(sales.claim(box, [f"g{n:03d}" for n in range(MAILS)]))
    ]


def rows(sales: Any) -> Any:
    return sales.dump(
        *TABLES, without=("version", "created_at", "updated_at", "lease", "leases", "lease_until", "found_at")
    )


@pytest.mark.parametrize("leave", [150_000, 400_000, 1_000_000])
def test_the_databases_disk_is_full_in_the_middle(
    disk: Disk,
    database: Database,
    sqlite_database: Database,
    make_sales: Any,
    mail: Any,
    fts_search_index: Any,
    leave: int,
) -> None:
    """Settling goes on until there is no room: nothing of the last batch stays. With room again the rest is settled."""
    sales, quiet = make_sales(database), make_sales(sqlite_database)
    items = mails(sales, mail)
    quiet.settlements.settle(mails(quiet, mail))
    disk.fill(leave, database.engine)
    done, refused = 0, []
    for start in range(0, MAILS, 10):
        before = rows(sales)
        try:
            sales.settlements.settle(items[start : start + 10])
            done += 10
        except StoreUnavailableError as error:
            refused.append(str(error))
            assert rows(sales) == before
    assert refused, "the disk was large enough"
    assert set(refused) <= {"database: OperationalError SQLITE_FULL", "database: OperationalError SQLITE_IOERR_WRITE"}
    assert pending(database) == MAILS - done
    assert amiss(database) == []
    disk.make_room(database.engine)
    sales.settlements.settle(items)
    assert rows(sales) == rows(quiet)
    assert amiss(database) == []
    outbox = Outbox(database, fts_search_index, now=sales.clock)
    while outbox.drain(100):
        pass
    assert disagreement(database, fts_search_index) == []


def test_the_search_files_disk_is_full(disk: Disk, sqlite_database: Database, make_sales: Any, mail: Any) -> None:
    """The outbox keeps what does not fit, says why, and goes on by itself once there is room."""
    disk.must_be_real()
    sales = make_sales(sqlite_database)
    sales.settlements.settle(mails(sales, mail))
    index = open_index(SearchSpec(f"sqlite:///{disk.folder}/search.db"))
    index.ensure()
    disk.fill(1_200_000)
    outbox = Outbox(sqlite_database, index, now=sales.clock, chance=random.Random(1), batch_count=8)
    indexed = 0
    for _ in range(5):
        indexed += outbox.drain(1000)
        sales.clock.advance(minutes=5)
    assert 0 < indexed < MAILS
    assert outbox.down in {"search file: SQLITE_FULL", "search file: SQLITE_IOERR_WRITE"}
    backlog = outbox.backlog()
    assert (backlog.waiting, backlog.parked) == (MAILS - indexed, {})
    disk.make_room()
    while outbox.drain(1000):
        pass
    assert outbox.down == ""
    assert disagreement(sqlite_database, index) == []
    assert amiss(sqlite_database) == []
    index.close()


def test_one_file_for_both_on_a_full_disk(
    disk: Disk, database: Database, sqlite_database: Database, make_sales: Any, mail: Any
) -> None:
    """As the embedded default has it: rows and full text compete for the last bytes."""
    disk.must_be_real()
    sales, quiet = make_sales(database), make_sales(sqlite_database)
    items = mails(sales, mail)
    quiet.settlements.settle(mails(quiet, mail))
    index = open_index(SearchSpec(f"sqlite:///{disk.folder}/t.db"))
    index.ensure()
    outbox = Outbox(database, index, now=sales.clock, chance=random.Random(1))
    disk.fill(900_000)
    refused = 0
    for start in range(0, MAILS, 10):
        try:
            sales.settlements.settle(items[start : start + 10])
            outbox.drain(100)  # takes rows off the outbox, which needs room too
        except StoreUnavailableError:
            refused += 1
        sales.clock.advance(minutes=2)
    assert refused
    assert amiss(database) == []
    disk.make_room()
    sales.clock.advance(minutes=2)
    sales.settlements.settle(items)
    while outbox.drain(1000):
        pass
    assert [row[:3] for row in rows(sales)["engagement_copy"]] == [row[:3] for row in rows(quiet)["engagement_copy"]]
    assert amiss(database) == []
    assert disagreement(database, index) == []
    index.close()
