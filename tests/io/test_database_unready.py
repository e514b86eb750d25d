"""A MariaDB that answers and yet has no room for us, or may not be written: waited for like one that is down."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa

from dealmail.io.database import Database, DatabaseSpec
from dealmail.sandbox.mariadb_server import MariaDbServer
from dealmail.transforms.errors import StoreUnavailableError

pytestmark = pytest.mark.mariadb


@pytest.fixture(scope="module")
def server(mariadb_server: Any) -> Iterator[MariaDbServer]:
    """A server of its own (skipped where there are none)."""
    running = MariaDbServer(quick=True).start()
    yield running
    running.stop()


def as_root(server: MariaDbServer, *statements: str) -> None:
    with pymysql.connect(unix_socket=str(server._run / "s"), user="root") as root, root.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture
def database(server: MariaDbServer, tmp_path: pathlib.Path) -> Iterator[Database]:
    """As a user sees it who may have one connection."""
    (tmp_path / "password").write_text("of the job")
    as_root(
        server,
        "CREATE OR REPLACE USER job@'127.0.0.1' IDENTIFIED BY 'of the job' WITH MAX_USER_CONNECTIONS 1",
        "GRANT ALL ON dealmail.* TO job@'127.0.0.1'",
        "CREATE TABLE IF NOT EXISTS dealmail.thing (id INT)",
    )
    url = sa.make_url(server.url).set(username="job")
    opened = Database(DatabaseSpec(url.render_as_string(), f"file:{tmp_path / 'password'}"))
    yield opened
    opened.close()


def add(connection: sa.Connection) -> None:
    connection.execute(sa.text("INSERT INTO thing VALUES (1)"))


def test_a_user_whose_connections_are_all_taken_waits(database: Database) -> None:
    with database.reading() as connection:
        connection.execute(sa.text("SELECT 1"))
        with pytest.raises(StoreUnavailableError, match="1226"):
            database.transaction(add)
    database.transaction(add)


def test_a_server_that_takes_over_and_may_not_be_written_yet_is_waited_for(
    server: MariaDbServer, database: Database
) -> None:
    as_root(server, "SET GLOBAL read_only = 1")
    with pytest.raises(StoreUnavailableError, match="1290"):
        database.transaction(add)
    as_root(server, "SET GLOBAL read_only = 0")
    database.transaction(add)
