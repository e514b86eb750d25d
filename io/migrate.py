"""The schema's versions: upgrading a database, and refusing to work on a schema that this release does not know."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from ..transforms.errors import TerminalError
from .database import Database, DatabaseSpec

SCRIPTS = pathlib.Path(__file__).with_name("migrations")
_LOCK_SECONDS = 120
LOCK_NAME = "concat(database(), '.schema')"
"""MariaDB's named lock of whoever upgrades, as SQL: they hold for a whole server, so it is named for the database."""


class SchemaError(TerminalError):
    """The database's schema is not the one this release works with. The text says how to mend it."""


def _config(scripts: pathlib.Path = SCRIPTS) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    return config


def newest() -> str:
    """The revision that this release works with."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def current(database: Database) -> str | None:
    """The revision of `database`, None where there are no tables of ours yet."""
    with database.reading() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(database: Database, to: str = "head", scripts: pathlib.Path = SCRIPTS) -> None:
    """Bring `database` to the newest schema, data in place. Safe to run twice, after being cut off, and by several at once.

    Args:
        database: where.
        to: the revision to stop at.
        scripts: the folder of the migrations.

    Raises:
        SchemaError: the schema is newer than this release.
        StoreUnavailableError: the database cannot be reached.
    """
    with _alone(database) as connection:
        config = _config(scripts)
        _refuse_unknown(MigrationContext.configure(connection).get_current_revision(), config)
        config.attributes["connection"] = connection
        command.upgrade(config, to)


def check_schema(database: Database) -> None:
    """Say nothing where `database` has the schema of this release.

    Raises:
        SchemaError: there is none, it is older, or it is unknown here.
        StoreUnavailableError: the database cannot be reached.
    """
    found = current(database)
    _refuse_unknown(found, _config())
    if found != newest():
        have = "has no tables yet" if found is None else f"has schema {found}, this release needs {newest()}"
        msg = f"the database {have}: run `dealmail db upgrade`"
        raise SchemaError(msg)


def open_database(spec: DatabaseSpec) -> Database:
    """Open the database that `spec` names and check its schema. An embedded one (SQLite) is created on first use.

    Raises:
        SchemaError: see `check_schema`.
        StoreUnavailableError: the database cannot be reached.
    """
    database = Database(spec)
    file = sa.engine.make_url(spec.url).database
    if database.dialect == "sqlite" and file:
        pathlib.Path(file).parent.mkdir(parents=True, exist_ok=True)
        if current(database) is None:
            upgrade(database)
    check_schema(database)
    return database


def _refuse_unknown(found: str | None, config: Config) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        msg = f"the database has schema {found}, which this release (newest: {newest()}) does not know: install a newer dealmail"
        raise SchemaError(msg)


@contextlib.contextmanager
def _alone(database: Database) -> Iterator[sa.Connection]:
    """A transaction during which no other process upgrades. SQLite's write lock does it by itself; MariaDB commits at every
    CREATE and needs a named lock. It belongs to the session that migrates, and is held until the new revision is committed: let
    go before, the next process would still read the old one.
    """
    with database.connected() as connection:
        if database.dialect == "mariadb":
            taken = connection.exec_driver_sql(f"select get_lock({LOCK_NAME}, {_LOCK_SECONDS})").scalar()
            if taken != 1:
                msg = "another process is upgrading the database: try again when it is done"
                raise SchemaError(msg)
            connection.commit()
        try:
            with connection.begin():
                yield connection
        finally:
            connection.invalidate()  # ends the session, and with it the lock, whatever state it is in
