"""The console beside a job that runs on the same SQLite file."""

import pathlib
import subprocess
import sys

from dealmail.console.context import Settings

OTHER = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('select * from team').fetchall(); c.close()"


def test_a_command_keeps_its_locks_while_another_process_comes_and_goes(sqlite_spec):
    """Else the other takes itself for the last, and takes away the write-ahead log that is still being written."""
    settings = Settings(database=sqlite_spec.url)
    file = sqlite_spec.url.removeprefix("sqlite:///")
    with settings.open_database() as database:
        with database.writing() as connection:
            connection.exec_driver_sql("create table noted (x)")
        settings.search_spec()
        subprocess.run([sys.executable, "-c", OTHER, file], check=True, timeout=60)
        assert pathlib.Path(f"{file}-wal").exists()
