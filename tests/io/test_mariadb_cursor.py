"""Multi-row INSERTs arrive as they were meant, whatever they hold, in as few statements as they fit into."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from pymysql.converters import escape_string

from dealmail.io import schema
from dealmail.io.database import Database
from dealmail.io.mariadb_cursor import MultiRowCursor, quoted

NASTY = (
    "", " ", "'", '"', "\\", "\\'", "%", "%s", "%%", "%(a)s", "\0", "\n\r\x1a\t\b", "'); DROP TABLE team; -- ", "NULL", "Größe",
    "漢字", "😀", "\u202e", "e\u0301", "\\\\'\\", "trailing ",
)  # fmt: skip
NUMBERS = sa.table("numbers", *(sa.column(name) for name in ("id", "whole", "part", "raw", "at", "text")))
at = dt.datetime(2026, 3, 2, 9, 0, 0, 123456)  # noqa: DTZ001 (as the driver takes it)


@given(st.text(st.characters(codec="utf-8")) | st.text(st.sampled_from("\\'\"\n\r\0\x1aa%😀")))
def test_quoting_is_what_pymysql_makes(text: str) -> None:
    assert quoted(text) == f"'{escape_string(text)}'"


@pytest.fixture
def numbers(mariadb_database: Database) -> Database:
    with mariadb_database.writing() as connection:
        connection.exec_driver_sql(
            "create table numbers (id int primary key, whole bigint, part double, raw blob, at datetime(6),"
            " text mediumtext collate utf8mb4_bin)"
        )
    return mariadb_database


def insert(database: Database, rows: list[tuple[Any, ...]], after: str = "") -> int:
    with database.writing() as connection:
        return insert_in(connection, rows, after)


def insert_in(connection: sa.Connection, rows: list[tuple[Any, ...]], after: str = "") -> int:
    text = f"INSERT INTO numbers (id, whole, part, raw, at, text) VALUES (%s, %s, %s, %s, %s, %s){after}"
    return connection.exec_driver_sql(text, rows).rowcount


@pytest.mark.mariadb
def test_every_kind_of_value_comes_back(numbers: Database) -> None:
    parts = (0.0, -1e-300, 1.5, None, 1, 1e300, 0.1 + 0.2)
    rows = [
        (n, (True, 1, 0, None, -(2**63))[n % 5], parts[n % 7], bytes(range(256)) if n % 2 else None, at if n % 3 else None, text)
        for n, text in enumerate(NASTY)
    ]  # fmt: skip
    assert insert(numbers, rows) == len(rows)
    with numbers.reading() as connection:
        found = [tuple(row) for row in connection.execute(sa.select(NUMBERS).order_by(NUMBERS.c.id))]
    assert found == rows


@pytest.mark.mariadb
def test_long_inserts_are_cut_into_statements_that_a_server_takes(numbers: Database) -> None:
    texts = ["x" * 900_000, "y" * (MultiRowCursor.max_stmt_length + 1), *["z'\n" * 300_000] * 5, "", "end"]
    rows = [(n, 0, 0, None, None, text) for n, text in enumerate(texts)]
    with numbers.writing() as connection:
        before = inserts(connection)
        assert insert_in(connection, rows) == len(texts)
        assert inserts(connection) - before == 5
    with numbers.reading() as connection:
        assert list(connection.scalars(sa.select(NUMBERS.c.text).order_by(NUMBERS.c.id))) == texts


@pytest.mark.mariadb
def test_what_follows_the_values_stays(numbers: Database) -> None:
    insert(numbers, [(n, n, 0, None, None, "old") for n in range(3)])
    rows = [(n, n, 0, None, None, "new%") for n in range(5)]
    assert insert(numbers, rows, " ON DUPLICATE KEY UPDATE text = concat(VALUES(text), '%%')") == 2 + 3 * 2
    with numbers.reading() as connection:
        assert (
            list(connection.scalars(sa.select(NUMBERS.c.text).order_by(NUMBERS.c.id))) == ["new%%"] * 3 + ["new%"] * 2
        )


@pytest.mark.mariadb
def test_a_session_that_takes_backslashes_literally_is_not_given_ours(numbers: Database) -> None:
    with numbers.connected() as connection:
        connection.exec_driver_sql("set session sql_mode = 'NO_BACKSLASH_ESCAPES'")
        text = "INSERT INTO numbers (id, text) VALUES (%s, %s)"
        connection.exec_driver_sql(text, list(enumerate(NASTY)))
        found = list(connection.scalars(sa.select(NUMBERS.c.text).order_by(NUMBERS.c.id)))
        connection.invalidate()  # no other test gets this session
    assert found == list(NASTY)


@pytest.mark.mariadb
def test_errors_of_bulk_inserts_show_no_values(mariadb_database: Database) -> None:
    from dealmail.io.database import StoreRefusedError

    rows = [{"team_id": "t", "domain": "private.example"}] * 2
    with pytest.raises(StoreRefusedError) as caught:
        mariadb_database.transaction(lambda c: mariadb_database.insert(c, schema.own_domain, rows))
    assert "private.example" not in str(caught.value)
    assert "own_domain" in str(caught.value)


def inserts(connection: sa.Connection) -> int:
    """How many INSERT statements the server has run for this connection."""
    return int(connection.exec_driver_sql("show session status like 'Com_insert'").one()[1])
