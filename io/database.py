"""One database, MariaDB or SQLite: connections, transactions and the few statements in which the two differ."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
import tenacity

from ..transforms.errors import DealmailError, StoreUnavailableError
from . import secret_refs
from .bulk_insert import BulkInsert
from .mariadb_cursor import MultiRowCursor

T = TypeVar("T")

RETRIED = frozenset({1205, 1213, 1020})
"""MariaDB: lock wait timeout, deadlock, record changed since last read: the transaction starts over."""
UNREACHABLE = frozenset({1040, 1053, 1077, 1079, 1129, 1203, 1226, 1290, 1927, 2002, 2003, 2006, 2013, 2055})
"""MariaDB and PyMySQL: the server cannot be reached, is starting, stopping, full (for all, or for this user) or only to be read."""

SQLITE_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
SQLITE_UNUSABLE = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
)
"""SQLite: the disk is full or fails, or the file cannot be opened or written."""


_MEANS = {
    1044: "access denied to this database: does it exist, and may its user use it?",
    1045: "access denied (user or --database_password)",
    1049: "no such database: create it",
    2003: "nothing answers there",
}
"""MariaDB and PyMySQL: what a person can put right when connecting."""

PATIENCE_S = 120.0
"""Longer than any statement of the job takes, lock waits (20 s) included; without it a server that hangs holds workers for ever."""


class StoreRefusedError(DealmailError):
    """The database refused a statement. The text has the error's number and the statement, never a value."""


@dataclasses.dataclass(frozen=True)
class DatabaseSpec:
    """Where the database is. Safe to pickle and show: the password is only named (see secret_refs)."""

    url: str
    password_ref: str = ""

    def __post_init__(self) -> None:
        """Refuse what no run could use.

        Raises:
            ValueError: not sqlite:// or mysql+pymysql://, or a password anywhere in the URL.
        """
        try:
            parsed = sa.engine.make_url(self.url)
        except (sa.exc.ArgumentError, ValueError):  # their text would show what may hold a password
            raise ValueError(
                "the database URL cannot be read; use sqlite:///FILE or mysql+pymysql://USER@HOST/NAME"
            ) from None
        if parsed.drivername not in {"sqlite", "mysql+pymysql"}:
            msg = f"database {parsed.drivername}://… is not supported; use sqlite:///FILE or mysql+pymysql://USER@HOST/NAME"
            raise ValueError(msg)
        if parsed.password is not None or any("pass" in name.lower() for name in parsed.query):
            msg = f"the database URL holds a password; name it instead, with --database_password ({secret_refs.FORMS})"
            raise ValueError(msg)


def is_sqlite_file(file: pathlib.Path) -> bool:
    """Whether `file` is a SQLite database, or empty, which can become one.

    Raises:
        OSError: it cannot be read.
    """
    mark = b"SQLite format 3\0"
    with file.open("rb") as opened:
        return opened.read(len(mark)) in {b"", mark}


class Database:
    """An open database. One a process is enough; it is safe to share between threads."""

    def __init__(self, spec: DatabaseSpec, *, patience_s: float = PATIENCE_S) -> None:
        """Connect lazily: nothing is asked of the server yet. A MariaDB that says nothing for `patience_s` counts as gone."""
        url = sa.engine.make_url(spec.url)
        self._plans: dict[tuple[str, tuple[str, ...]], BulkInsert] = {}
        if url.drivername == "sqlite":
            self.dialect = "sqlite"
            self.engine = sa.create_engine(
                url, connect_args={"timeout": 60}, poolclass=sa.pool.QueuePool, pool_size=10, max_overflow=90, hide_parameters=True,
            )  # fmt: skip
            sa.event.listen(self.engine, "do_connect", _sqlite_file_of_owner)
            sa.event.listen(self.engine, "connect", _sqlite_connected)
            sa.event.listen(self.engine, "begin", _sqlite_begin)
            self._patient = self.engine
        else:
            self.dialect = "mariadb"
            if spec.password_ref:
                url = url.set(password=secret_refs.resolve(spec.password_ref))
            url = url.update_query_dict({"charset": "utf8mb4"})
            limits: dict[str, Any] = {
                "connect_timeout": min(10, patience_s),
                "read_timeout": patience_s,
                "write_timeout": patience_s,
            }
            self.engine = sa.create_engine(
                url, isolation_level="READ COMMITTED", pool_pre_ping=True, pool_recycle=1800, pool_size=10, max_overflow=90,
                hide_parameters=True, connect_args=limits | {"cursorclass": MultiRowCursor},
            )  # fmt: skip
            sa.event.listen(self.engine, "connect", _mariadb_connected)
            self._patient = sa.create_engine(
                url, isolation_level="READ COMMITTED", poolclass=sa.pool.NullPool, hide_parameters=True
            )
            sa.event.listen(self._patient, "connect", _mariadb_connected)

    def transaction(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` in one transaction and return what it returns; it may run several times, so it must have no other effect.

        Raises:
            StoreUnavailableError: the server cannot be reached, or locks were lost to the end of the retries.
            StoreRefusedError: a statement was refused.
        """
        with self._translated():
            for attempt in tenacity.Retrying(
                retry=tenacity.retry_if_exception(_lost_locks), stop=tenacity.stop_after_attempt(10),
                wait=tenacity.wait_random_exponential(multiplier=0.02, max=2), reraise=True,
            ):  # fmt: skip
                with attempt, self.engine.begin() as connection:
                    return work(connection)
        raise AssertionError  # the loop above returns or raises

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction that is not tried again, for work with an effect outside the database.

        Raises:
            StoreUnavailableError: the server cannot be reached, or a lock was lost.
        """
        with self._translated(), self.engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def reading(self, *, snapshot: bool = False) -> Iterator[sa.Connection]:
        """A connection to read with; with `snapshot` all its statements see the same moment. Stops no writer.

        Raises:
            StoreUnavailableError: the server cannot be reached.
        """
        with self._translated(), self.engine.connect() as connection:
            if snapshot and self.dialect == "mariadb":
                connection.execution_options(isolation_level="REPEATABLE READ")
            connection.execution_options(dealmail_reading=True)
            yield connection

    @contextlib.contextmanager
    def connected(self) -> Iterator[sa.Connection]:
        """A connection whose transactions the caller begins and ends, and whose statements may take any time.

        Raises:
            StoreUnavailableError: the server cannot be reached, or a lock was lost.
        """
        with self._translated(), self._patient.connect() as connection:
            yield connection

    def run_outside(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement that no transaction may surround (checkpoint, optimize), however long it takes; its answer.

        Raises:
            StoreUnavailableError: the server cannot be reached.
        """
        with (
            self._translated(),
            contextlib.closing(self._patient.raw_connection()) as connection,
            contextlib.closing(connection.cursor()) as cursor,
        ):
            try:
                if self.dialect != "sqlite":
                    cursor.execute(statement)
                    return [tuple(row) for row in cursor.fetchall()]
                cursor.execute("pragma temp_store=file")  # vacuum copies the whole database, more than memory may hold
                try:
                    return [tuple(row) for row in cursor.execute(statement).fetchall()]
                finally:
                    cursor.execute("pragma temp_store=memory")
            except self.engine.dialect.loaded_dbapi.Error as error:  # type: ignore[union-attr]  # loaded: it is connected
                raise sa.exc.DBAPIError(statement, None, error) from None

    @staticmethod
    @contextlib.contextmanager
    def _translated() -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            if _lost_locks(error) or _unreachable(error):
                raise StoreUnavailableError(f"database: {_code(error)}") from None
            # The server's own words may quote a row (an address in "Duplicate entry …"); the statement's hold none.
            at = f" at: {error.statement[:200]}" if error.statement else ""
            raise StoreRefusedError(f"database: {_code(error)}{at}") from None

    def insert(self, connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> int:
        """Insert `rows`, which are new and all have the same keys. One multi-row statement; how many rows."""
        return self._bulk(connection, table, rows, "")

    def insert_new(self, connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
        """Insert those of `rows` whose key is not there yet; leave the others as they are. One multi-row statement."""
        first = next(iter(table.primary_key.columns)).name
        nothing = f" ON DUPLICATE KEY UPDATE `{first}` = `{table.name}`.`{first}`"
        self._bulk(connection, table, rows, " ON CONFLICT DO NOTHING" if self.dialect == "sqlite" else nothing)

    def insert_or_bump(
        self, connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]], counter: sa.Column
    ) -> int:
        """Insert `rows` that are believed new; where a key is there already, add one to its `counter` and change nothing else.

        Returns `len(rows)` where all were new, and more otherwise: MariaDB counts a changed row twice. On SQLite, which has
        one writer at a time, an existing key is an error.
        """
        bump = f" ON DUPLICATE KEY UPDATE `{counter.name}` = `{table.name}`.`{counter.name}` + 1"
        return self._bulk(connection, table, rows, "" if self.dialect == "sqlite" else bump)

    def upsert(
        self, connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]], update: Sequence[str]
    ) -> None:
        """Insert `rows`; where the key is there already, set the columns `update` to the new values. One multi-row statement."""
        if self.dialect == "sqlite":
            keys = ", ".join(f'"{column.name}"' for column in table.primary_key.columns)
            clause = f" ON CONFLICT ({keys}) DO UPDATE SET " + ", ".join(
                f'"{name}" = excluded."{name}"' for name in update
            )
        else:
            clause = " ON DUPLICATE KEY UPDATE " + ", ".join(f"`{name}` = VALUES(`{name}`)" for name in update)
        self._bulk(connection, table, rows, clause)

    def _bulk(self, connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]], clause: str) -> int:
        if not rows:
            return 0
        names = tuple(rows[0])
        plan = self._plans.get((table.name, names))
        if plan is None:
            plan = self._plans[table.name, names] = BulkInsert(self.engine.dialect, table, names)
        return connection.exec_driver_sql(plan.text + clause, plan.parameters(rows)).rowcount

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()
        self._patient.dispose()


def _sqlite_file_of_owner(
    unused_dialect: Any, unused_record: Any, arguments: Sequence[Any], unused_options: Any
) -> None:
    """A new file is its owner's alone, for it will hold mail. SQLite gives the -wal and -shm beside it the same mode."""
    if arguments[0].startswith((":memory:", "file:")):
        return
    with contextlib.suppress(OSError):  # it is there, is none, or cannot be made, which SQLite says better
        os.close(os.open(arguments[0], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _sqlite_connected(connection: Any, unused_record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, below
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=normal")
    connection.execute("pragma foreign_keys=on")
    connection.execute("pragma secure_delete=on")
    # Else the old pages of a statement that changes much mail, and what it sorts, go to temporary files, wherever those lie.
    connection.execute("pragma temp_store=memory")


def _sqlite_begin(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("dealmail_reading", False)
    connection.exec_driver_sql("begin" if reading else "begin immediate")


def _mariadb_connected(connection: Any, unused_record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "set session sql_mode='STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION',"
            " time_zone='+00:00', innodb_lock_wait_timeout=20, group_concat_max_len=1073741824",  # else JSON lists are cut at 1 MiB
        )


def _code(error: sa.exc.DBAPIError) -> str:
    args = getattr(error.orig, "args", ())
    name = getattr(error.orig, "sqlite_errorname", "") or (args[0] if args and isinstance(args[0], int) else "")
    means = f": {_MEANS[name]}" if name in _MEANS else ""
    return f"{type(error.orig).__name__} {name}".strip() + means


def _number(error: BaseException) -> Any:
    return next(iter(getattr(getattr(error, "orig", None), "args", ())), None)


def _sqlite_code(error: BaseException) -> int:
    """SQLite's primary result code (sqlite.org/rescode.html), 0 for other databases."""
    return int(getattr(getattr(error, "orig", None), "sqlite_errorcode", 0) or 0) & 0xFF


def _lost_locks(error: BaseException) -> bool:
    return isinstance(error, sa.exc.DBAPIError) and (_number(error) in RETRIED or _sqlite_code(error) in SQLITE_BUSY)


def _unreachable(error: BaseException) -> bool:
    return isinstance(error, sa.exc.DBAPIError) and (
        error.connection_invalidated or _number(error) in UNREACHABLE or _sqlite_code(error) in SQLITE_UNUSABLE
    )
