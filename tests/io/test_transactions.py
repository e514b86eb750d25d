"""A transaction that loses its locks begins anew, from its first statement, and takes effect once."""

from __future__ import annotations

import datetime as dt
import os
import pathlib
import threading

import pytest
import sqlalchemy as sa

from dealmail.io import schema
from dealmail.io.database import Database
from dealmail.transforms.errors import StoreUnavailableError

USE = schema.quota_use


def fill(database: Database) -> None:
    rows = [{"scope": scope, "slot": 1, "units": 0} for scope in "ab"]
    database.transaction(lambda connection: database.insert(connection, USE, rows))


def add(connection: sa.Connection, scope: str) -> None:
    connection.execute(sa.update(USE).where(USE.c.scope == scope, USE.c.slot == 1).values(units=USE.c.units + 1))


def units(database: Database) -> dict[str, int]:
    with database.reading() as connection:
        return dict(connection.execute(sa.select(USE.c.scope, USE.c.units)).all())  # type: ignore[arg-type]  # rows of two


@pytest.mark.mariadb
def test_the_victim_of_a_deadlock_begins_anew(mariadb_database: Database) -> None:
    """Two lock the same rows in opposite order, each waiting with its first row until the other has one too."""
    fill(mariadb_database)
    both_hold_one = threading.Barrier(2)
    tries: list[str] = []

    def run(first: str, second: str) -> None:
        def work(connection: sa.Connection) -> None:
            tries.append(first)
            add(connection, first)
            if tries.count(first) == 1:
                both_hold_one.wait(60)
            add(connection, second)

        mariadb_database.transaction(work)

    threads = [threading.Thread(target=run, args=pair) for pair in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tries) > 2
    assert units(mariadb_database) == {"a": 2, "b": 2}


@pytest.mark.mariadb
def test_who_waited_too_long_for_a_lock_begins_anew(mariadb_database: Database) -> None:
    """The server undoes only the statement that waited; what came before it must not be left to be committed."""
    fill(mariadb_database)
    tries = 0
    with mariadb_database.engine.connect() as holder:
        add(holder, "b")

        def work(connection: sa.Connection) -> None:
            nonlocal tries
            tries += 1
            connection.exec_driver_sql("set session innodb_lock_wait_timeout = 1")
            add(connection, "a")
            if tries == 2:
                holder.rollback()
            add(connection, "b")

        mariadb_database.transaction(work)
    assert tries == 2
    assert units(mariadb_database) == {"a": 1, "b": 1}


def test_a_busy_file_is_tried_again_and_then_said(sqlite_database: Database) -> None:
    fill(sqlite_database)
    sa.event.listen(sqlite_database.engine, "connect", lambda raw, unused: raw.execute("pragma busy_timeout = 1"))
    begun: list[str] = []
    sa.event.listen(sqlite_database.engine, "before_cursor_execute", lambda *given: begun.append(given[2]))
    with sqlite_database.writing() as holder:
        add(holder, "a")
        with pytest.raises(StoreUnavailableError, match="SQLITE_BUSY"):
            sqlite_database.transaction(lambda connection: add(connection, "a"))
        assert begun.count("begin immediate") > 5
    sqlite_database.transaction(lambda connection: add(connection, "a"))
    assert units(sqlite_database) == {"a": 2, "b": 0}


def temporary_files() -> list[str]:
    """SQLite's temporary files that this process has open; they have no name any more."""
    found = []
    for descriptor in pathlib.Path("/proc/self/fd").iterdir():
        try:
            found.append(str(descriptor.readlink()))
        except OSError:  # the one by which the folder itself is read
            continue
    return [name for name in found if "etilqs" in name]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc to look into")
def test_no_mail_goes_to_a_temporary_file_of_sqlites(sqlite_database: Database) -> None:
    """Giving many mails a new version in one statement keeps their old pages aside until it ends."""
    at = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)
    row = {
        "team_id": "t", "message_id": "", "sent_at": at, "direction": "inbound", "sender_address": "", "sender_name": "", "subject": "",
        "text": "some mail " * 1000, "spans": [], "truncated": False, "flags": [], "content_digest": "", "rank": "", "version": 1,
        "created_at": at, "updated_at": at,
    }  # fmt: skip

    def work(connection: sa.Connection) -> list[str]:
        sqlite_database.insert(connection, schema.engagement, [{**row, "id": f"{n}"} for n in range(200)])
        connection.execute(sa.update(schema.engagement).values(text="other mail " * 1000, version=2))
        return temporary_files()

    assert sqlite_database.transaction(work) == []
    with sqlite_database.reading() as connection:
        found = connection.execution_options(stream_results=True).execute(
            sa.select(schema.engagement).order_by(schema.engagement.c.text, schema.engagement.c.id.desc())
        )
        found.fetchone()
        assert temporary_files() == []
