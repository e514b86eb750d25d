"""The console beside a job that runs on the same SQLite file."""

import pathlib
import subprocess
import sys

import pytest
from click.testing import CliRunner

from dealmail.console.context import Settings
from dealmail.console.main import cli

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


@pytest.mark.parametrize(
    ("given", "option"),
    [
        (["--database=mysql+pymysql://u:hunter2@h/d", "status"], "--database_password"),
        (["--database=mysql+pymysql://u@h/d?password=hunter2", "status"], "--database_password"),
        (["--search=https://u:hunter2@h:9200", "db", "scrub"], "--search_password"),
        (["--search=https://h:9200?api_key=hunter2", "db", "scrub"], "--search_password"),
    ],
)
def test_a_password_in_a_url_is_answered_with_an_option_that_exists(sqlite_database, given, option):
    where = [] if "--database" in given[0] else [f"--database={sqlite_database.engine.url}"]
    result = CliRunner().invoke(cli, [*where, *given])
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert option in result.stderr
    assert "hunter2" not in result.stderr
    assert CliRunner().invoke(cli, [*where, option, "env:NO_SUCH_SECRET", "rules", "show"]).exit_code == 0
