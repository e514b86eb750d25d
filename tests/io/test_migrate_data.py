"""Upgrades keep every row: the first schema, with rows in all its tables, is brought to the newest, and each value compared.

The rows are made from the first schema as it stands in the database, so they stay what they are whatever `io/schema.py` becomes.
A migration that means to lose or alter something says so in MEANT.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import pathlib
import shutil
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import migrate
from dealmail.io.database import Database
from dealmail.transforms.errors import StoreUnavailableError

FIRST = "0001"
ROWS = 4
MEANT: dict[tuple[str, str], Callable[[Any], Any]] = {}
"""(table, column) of the first schema to what a migration means to make of a value; None in the place of a function: dropped."""

TEXTS = ("Grüße 😀 漢字 e\u0301\u202e", "", " 'quoted' \"and\" \\ 100% \n end ", "x")
NUMBERS = (0, 1, -1, 2)
TIMES = tuple(
    dt.datetime.fromisoformat(time)
    for time in ("1970-01-01", "2026-02-28 23:59:59.999999", "9999-12-31 23:59:59.000001", "2026-03-02")
)


def first_tables(database: Database) -> dict[str, sa.Table]:
    metadata = sa.MetaData()
    metadata.reflect(database.engine)
    return {name: table for name, table in metadata.tables.items() if name != "alembic_version"}


def value(column: sa.Column[Any], number: int) -> Any:
    """The value of `column` in the row `number`: the first has the longest, the last NULL where that is allowed."""
    kind = column.type
    if number == ROWS - 1 and column.nullable:
        return None
    if isinstance(kind, sa.DateTime):
        return TIMES[number]
    if isinstance(kind, sa.Date):
        return TIMES[number].date()
    if isinstance(kind, sa.JSON) or column.name in {"settings", "signals", "spans", "flags"}:
        found: Any = [{"a": TEXTS[number], "b": [1, None, True]}, [], {}, None][number]
        return found if isinstance(kind, sa.JSON) else json.dumps(found)
    if isinstance(kind, sa.LargeBinary):
        return bytes(range(256)) * 4 if number == 0 else b""
    if isinstance(kind, sa.Float):
        return (-1.5, 0.1, 1e30, 0.0)[number]
    if isinstance(kind, sa.Boolean | sa.SmallInteger) or column.name.startswith(("is_", "import_on", "truncated")):
        return number % 2
    if isinstance(kind, sa.BigInteger):
        return (2**63 - 1, -(2**63), 0, 7)[number]
    if isinstance(kind, sa.Integer):
        return (2**31 - 1, 0, -1, 3)[number]
    assert isinstance(kind, sa.String), (column, kind)
    if column.primary_key:
        return f"{number}{'ü😀' * 200}"[: kind.length or 40]  # as many characters as fit, all different
    return ("Ä😀" * 200)[: kind.length] if number == 0 and kind.length else TEXTS[number][: kind.length]


def fill(database: Database) -> dict[str, sa.Table]:
    """Rows in every table of the database's schema."""
    tables = first_tables(database)
    with database.writing() as connection:
        for table in tables.values():
            autoincrement = [c for c in table.primary_key.columns if isinstance(c.type, sa.Integer) and c.name == "id"]
            rows = [{column.name: value(column, number) for column in table.columns} for number in range(ROWS)]
            for number, row in enumerate(rows):
                row.update((column.name, number + 1) for column in autoincrement)
                if "address" in row and table.name in {"mailbox", "user_address"}:
                    row["address"] = f"{number}@example.com"
            connection.execute(sa.insert(table), rows)
    return tables


def contents(database: Database, tables: dict[str, sa.Table]) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
    """Every row, as the driver gives it, by table and key; a table or column that is not there any more is left out."""
    there = sa.inspect(database.engine)
    found: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {}
    with database.reading() as connection:
        for name in set(tables) & set(there.get_table_names()):
            columns = {column["name"] for column in there.get_columns(name)}
            chosen = [column for column in tables[name].columns if column.name in columns]
            keys = [column.name for column in tables[name].primary_key.columns]
            found[name] = {
                tuple(row[key] for key in keys if key in row): dict(row)
                for row in connection.execute(sa.select(*chosen)).mappings()
            }
    return found


def losses(database: Database, scripts: pathlib.Path = migrate.SCRIPTS) -> list[str]:
    """Upgrade `database`, empty before, from the filled first schema to the newest; what became different, by table."""
    migrate.upgrade(database, FIRST, scripts)
    tables = fill(database)
    before = contents(database, tables)
    assert set(before) == set(tables)
    assert all(len(rows) == ROWS for rows in before.values())
    migrate.upgrade(database, scripts=scripts)
    after = contents(database, tables)
    found = []
    for name, rows in before.items():
        for key, row in rows.items():
            now = after.get(name, {}).get(key)
            if now is None:
                found.append(f"{name}: a row is gone")
                continue
            for column, old in row.items():
                means = MEANT.get((name, column), lambda same: same)
                if means is None:
                    continue
                if column not in now:
                    found.append(f"{name}.{column} is gone")
                elif now[column] != means(old):
                    found.append(f"{name}.{column} is altered")
        found += [f"{name}: a row is new"] * (len(after.get(name, {})) > len(rows))
    return sorted(set(found))


def test_no_upgrade_loses_or_alters_a_row(empty_database: Database) -> None:
    assert losses(empty_database) == []


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        (["ALTER TABLE account ADD COLUMN rating INTEGER", "CREATE TABLE stage (id INTEGER PRIMARY KEY)"], []),
        (["DELETE FROM tombstone WHERE kind LIKE '2%'"], ["tombstone: a row is gone"]),
        (["DROP TABLE quota_use"], ["quota_use: a row is gone"]),
        (["ALTER TABLE team DROP COLUMN name"], ["team.name is gone"]),
        (["UPDATE engagement SET subject = substr(subject, 1, 3)"], ["engagement.subject is altered"]),
        (["UPDATE message SET decided_at = '2026-01-01' WHERE decided_at IS NULL"], ["message.decided_at is altered"]),
        (["UPDATE participant SET name = substr(name, 2)"], ["participant.name is altered"]),
        (["INSERT INTO own_domain (team_id, domain) VALUES ('t', 'd')"], ["own_domain: a row is new"]),
    ],
    ids=lambda given: given[0][:40] if given and isinstance(given, list) else None,
)
def test_the_comparison_sees_what_a_migration_does(
    empty_database: Database, tmp_path: pathlib.Path, statements: list[str], found: list[str]
) -> None:
    assert losses(empty_database, with_second(tmp_path, statements)) == found


def with_second(folder: pathlib.Path, statements: list[str]) -> pathlib.Path:
    """The migrations, and after the last a made-up one."""
    scripts = folder / "migrations"
    shutil.copytree(migrate.SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "9999_made_up.py").write_text(
        textwrap.dedent(f"""
        from alembic import op
        revision, down_revision, branch_labels, depends_on = "9999", "{migrate.newest()}", None, None

        def upgrade():
            for statement in {statements!r}:
                op.execute(statement)
        """)
    )
    return scripts


class Cut(Exception):
    """What SQLite's process would not live to see."""


def test_an_upgrade_that_is_cut_off_at_any_statement_can_be_run_again(empty_database: Database) -> None:
    """MariaDB's session is killed before each statement in turn; what the runs before have made stays."""
    ran = 0

    def cut(connection: sa.Connection, unused_cursor: Any, statement: str, *unused: Any) -> None:
        nonlocal ran
        if not statement.lstrip().upper().startswith(("CREATE", "INSERT", "UPDATE")):
            return
        ran += 1
        if ran != at:
            return
        if empty_database.dialect == "sqlite":
            raise Cut
        connection.connection.dbapi_connection.kill(connection.connection.dbapi_connection.thread_id())  # type: ignore[union-attr]  # PyMySQL's

    at = 0
    sa.event.listen(sa.Engine, "before_cursor_execute", cut)
    try:
        while at == 0 or ran >= at:
            at, ran = at + 1, 0
            with contextlib.suppress(Cut, StoreUnavailableError):
                migrate.upgrade(empty_database)
            assert ran <= at, "it went on"
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", cut)
    assert at > 40
    migrate.check_schema(empty_database)
    with empty_database.reading() as connection:
        assert connection.exec_driver_sql("select count(*) from deal_timeline").scalar() == 0
