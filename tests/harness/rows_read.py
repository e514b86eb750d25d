"""How much a database goes through for an answer: what does not depend on the machine, as time would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from dealmail.io import schema
from dealmail.io.database import Database


def steps(database: Database, work: Callable[[], Any], of: str = "") -> int:
    """Rows that MariaDB read for `work`, or instructions (in hundreds) that SQLite took; only `of` statements with these words."""
    count = 0

    def step() -> None:
        nonlocal count
        count += 1

    def handled(connection: Any) -> int:
        with connection.cursor() as cursor:
            cursor.execute("show session status like 'Handler_read_%'")
            return sum(int(value) for _, value in cursor.fetchall())

    def before(connection: sa.Connection, unused_cursor: Any, statement: str, *unused: Any) -> None:
        nonlocal count
        driver: Any = connection.connection.dbapi_connection
        if database.dialect == "sqlite":  # goes on while rows are fetched, until the next statement
            driver.set_progress_handler(step if of in statement else None, 100)
        elif of in statement:
            count -= handled(driver)

    def after(connection: sa.Connection, unused_cursor: Any, statement: str, *unused: Any) -> None:
        nonlocal count
        if database.dialect != "sqlite" and of in statement:
            count += handled(connection.connection.dbapi_connection)

    sa.event.listen(database.engine, "before_cursor_execute", before)
    sa.event.listen(database.engine, "after_cursor_execute", after)
    try:
        work()
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", before)
        sa.event.remove(database.engine, "after_cursor_execute", after)
    return count


def analyze(database: Database) -> None:
    """Have MariaDB plan by what its tables hold now; by itself it looks at them some seconds later."""
    if database.dialect == "mariadb":
        database.run_outside("analyze table " + ", ".join(f"`{name}`" for name in schema.metadata.tables))
