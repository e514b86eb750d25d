"""The schema that migrations make is the schema that the code means, on both databases."""

from __future__ import annotations

import threading
import traceback
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from dealmail.io import migrate, schema
from dealmail.io.database import Database, DatabaseSpec, StoreRefusedError
from dealmail.transforms.errors import DealmailError, StoreUnavailableError


def test_migrations_lead_to_the_metadata(empty_database: Database) -> None:
    with pytest.raises(migrate.SchemaError, match="dealmail db upgrade"):
        migrate.check_schema(empty_database)
    migrate.upgrade(empty_database)
    migrate.check_schema(empty_database)
    migrate.upgrade(empty_database)
    with empty_database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


@pytest.mark.mariadb
def test_migrations_make_the_very_tables_of_the_metadata(
    mariadb_database: Database, empty_mariadb_spec: DatabaseSpec
) -> None:
    """Charset, collation, engine and fractions of a second too, which a comparison by Alembic does not see."""

    def tables() -> dict[str, list[str]]:
        with mariadb_database.reading() as connection:
            return {
                name: sorted(
                    connection.exec_driver_sql(f"show create table `{name}`").one()[1].replace(",\n", "\n").splitlines()
                )
                for name in schema.metadata.tables
            }

    migrated = tables()
    with mariadb_database.writing() as connection:
        schema.metadata.drop_all(connection)
        schema.metadata.create_all(connection)
    assert tables() == migrated


@pytest.mark.parametrize("revision", ["", "9999"])
def test_an_unknown_schema_is_refused(database: Database, revision: str) -> None:
    with database.writing() as connection:
        if revision:
            connection.exec_driver_sql(f"update alembic_version set version_num='{revision}'")
        else:
            connection.exec_driver_sql("delete from alembic_version")
    with pytest.raises(migrate.SchemaError):
        migrate.check_schema(database)
    if revision:
        with pytest.raises(migrate.SchemaError, match="9999"):
            migrate.upgrade(database)


def test_two_processes_may_upgrade_at_once(empty_database: Database) -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            migrate.upgrade(empty_database)
        except DealmailError as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    migrate.check_schema(empty_database)


@pytest.mark.mariadb
def test_the_next_upgrade_begins_only_after_the_revision_is_committed(empty_mariadb_spec: DatabaseSpec) -> None:
    """Let go before the commit, the lock would now and then give the next process the tables without their revision."""
    free: list[int] = []

    def look(unused_connection: sa.Connection) -> None:
        with asking.connected() as other:
            free.append(other.exec_driver_sql(f"select is_free_lock({migrate.LOCK_NAME})").scalar_one())

    asking, upgrading = Database(empty_mariadb_spec), Database(empty_mariadb_spec)
    sa.event.listen(sa.Engine, "commit", look)
    try:
        migrate.upgrade(upgrading)
    finally:
        sa.event.remove(sa.Engine, "commit", look)
    assert free
    assert not any(free)
    for database in (asking, upgrading):
        database.close()


def test_an_embedded_database_is_made_on_first_use(tmp_path: Any) -> None:
    spec = DatabaseSpec(f"sqlite:///{tmp_path / 'new' / 'dealmail.db'}")
    for _ in range(2):
        database = migrate.open_database(spec)
        with database.reading() as connection:
            assert connection.scalar(sa.select(sa.func.count()).select_from(schema.team)) == 0
            assert {file.stat().st_mode & 0o777 for file in (tmp_path / "new").glob("dealmail.db*")} == {0o600}
        database.close()


def test_reading_does_not_wait_for_the_writer(sqlite_database: Database) -> None:
    with sqlite_database.writing() as writer:
        writer.execute(sa.insert(schema.own_domain).values(team_id="t", domain="corp.example"))
        with sqlite_database.reading() as reader:
            assert reader.scalar(sa.select(sa.func.count()).select_from(schema.own_domain)) == 0


def test_errors_show_no_values(database: Database) -> None:
    row = {"team_id": "t", "domain": "private.example"}
    insert = sa.insert(schema.own_domain)
    database.transaction(lambda connection: connection.execute(insert, [row]))
    with pytest.raises(StoreRefusedError) as caught:
        database.transaction(lambda connection: connection.execute(insert, [row]))
    assert "private.example" not in "".join(traceback.format_exception(caught.value))
    assert "own_domain" in str(caught.value)


def test_a_server_that_is_not_there_is_a_transient_error() -> None:
    database = Database(DatabaseSpec("mysql+pymysql://nobody@127.0.0.1:1/none"))
    with pytest.raises(StoreUnavailableError), database.reading() as connection:
        connection.exec_driver_sql("select 1")
    with pytest.raises(StoreUnavailableError):
        database.transaction(lambda connection: connection.exec_driver_sql("select 1"))
