from __future__ import annotations

import importlib
import os
import pathlib
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from dealmail.console.context import this_person
from dealmail.console.main import COMMANDS, cli, main
from dealmail.io import environment
from dealmail.transforms.decisions import MAILBOX_STATES


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_has_the_common_options(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "--database-password" in result.output


def test_help_loads_no_command_and_no_database() -> None:
    code = "import sys; from dealmail.console.main import main; main(['--help'])"
    probe = (
        f"import atexit, sys; atexit.register(lambda: print('LOADED', sorted(sys.modules), file=sys.stderr)); {code}"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in COMMANDS)
    loaded = done.stderr.partition("LOADED")[2]
    assert "'sqlalchemy'" not in loaded
    assert "'apache_beam'" not in loaded


def test_a_missing_database_is_one_line_and_no_file_is_made(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "none.db"
    result = CliRunner().invoke(cli, ["mailboxes", "--database", f"sqlite:///{file}"])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "dealmail db upgrade" in result.stderr
    assert not file.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--database", "postgresql://h/x", "mailboxes"], "postgresql"),
        (["--database", "mysql+pymysql://u:hunter2@h/x", "mailboxes"], "password"),
        (["nothing"], "nothing"),
        (["decisions", "--format", "xml"], "xml"),
        (["explain", "only-one"], "GMAIL_ID"),
        (
            ["--database", "mysql+pymysql://u@h/x", "--database-password", "env:DEALMAIL_NO_SUCH", "mailboxes"],
            "DEALMAIL_NO_SUCH",
        ),
    ],
)
def test_bad_input_is_one_line_with_exit_code_2(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert says in result.stderr
    assert "hunter2" not in result.stderr


def test_what_is_typed_outdoes_the_environment_wherever_it_stands(tmp_path: pathlib.Path) -> None:
    url, other = f"sqlite:///{tmp_path}/typed.db", {"DEALMAIL_DATABASE": f"sqlite:///{tmp_path}/environment.db"}
    for arguments in (["--database", url, "mailboxes"], ["mailboxes", "--database", url]):
        assert "typed.db" in CliRunner(env=other).invoke(cli, arguments).stderr
    assert "environment.db" in CliRunner(env=other).invoke(cli, ["mailboxes"]).stderr


def test_an_unreachable_server_is_one_line_with_exit_code_1() -> None:
    result = CliRunner().invoke(cli, ["--database", "mysql+pymysql://u@127.0.0.1:1/x", "mailboxes"])
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)


def test_tables_are_made_by_db_upgrade_and_checked(tmp_path: pathlib.Path) -> None:
    url = f"sqlite:///{tmp_path}/sub/new.db"
    first = CliRunner().invoke(cli, ["--database", url, "db", "upgrade"])
    assert (first.exit_code, "empty" in first.output) == (0, True), first.output
    assert "nothing to do" in CliRunner().invoke(cli, ["--database", url, "db", "upgrade"]).output
    assert CliRunner().invoke(cli, ["db", "check", "--database", url]).exit_code == 0
    assert "crm import" in CliRunner().invoke(cli, ["mailboxes", "--database", url]).stderr


def test_every_command_is_a_click_command() -> None:
    for place, _ in COMMANDS.values():
        module, _, attribute = place.partition(":")
        assert isinstance(getattr(importlib.import_module(f"dealmail.console.{module}"), attribute), click.Command)


def test_the_page_names_every_command_and_state() -> None:
    page = (pathlib.Path(__file__).parents[2] / "docs" / "console.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"`{name}" not in page] == []
    assert [state for state in MAILBOX_STATES if f"`{state}`" not in page] == []


def test_grants_for_the_jobs_user_are_printed() -> None:
    url = "mysql+pymysql://admin@db.example/mail"
    result = CliRunner().invoke(cli, ["--database", url, "db", "grants", "job@10.0.0.%"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "GRANT SELECT, INSERT ON `mail`.* TO 'job'@'10.0.0.%';"
    assert "GRANT UPDATE, DELETE ON `mail`.`message` TO 'job'@'10.0.0.%';" in lines
    assert "consent" not in result.output
    for place, user in ((url, "no user"), ("sqlite:///x.db", "job")):
        refused = CliRunner().invoke(cli, ["--database", place, "db", "grants", user])
        assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)


@pytest.mark.parametrize("command", [["mailboxes"], ["db", "upgrade"], ["status"], ["crm", "import", "crm.csv"]])
@pytest.mark.parametrize(
    ("database", "says"), [("text.db", "is no SQLite database"), ("folder", "directory"), ("", "cannot be read")]
)
def test_what_is_no_database_is_one_line(
    command: list[str],
    database: str,
    says: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.db").write_text("no database")
    (tmp_path / "folder").mkdir()
    (tmp_path / "crm.csv").write_text("kind,id\n")
    with pytest.raises(SystemExit) as ended:
        main([*command, "--database", f"sqlite:///{database}" if database else "foo"])
    line = capfd.readouterr().err
    assert (ended.value.code, line.count("\n")) == (2, 1)
    assert says in line.lower() or says in line


@pytest.mark.parametrize(
    ("option", "says"),
    [("--search=foo", "cannot be read"), ("--search=es:9200", "cannot be read"), ("--search=https://es:port", "cannot be read"),
     ("--search=https://", "no host"), ("--search=sqlite:////etc/passwd", "no SQLite database"), ("--search-index=Bad Name*", "Bad Name")],
)  # fmt: skip
def test_what_is_no_search_index_is_one_line(
    option: str, says: str, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    database = f"--database=sqlite:///{tmp_path}/mail.db"
    CliRunner().invoke(cli, [database, "db", "upgrade"])
    with pytest.raises(SystemExit) as ended:
        main([database, option, "status"])
    said = capfd.readouterr()
    assert (ended.value.code, said.err.count("\n"), says in said.err) == (2, 1, True), said


def test_without_a_command_the_help_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert len(capfd.readouterr().err.splitlines()) > 20


def test_options_may_be_written_as_the_jobs_are_and_stand_in_the_environment(tmp_path: pathlib.Path) -> None:
    named = ["--database", "mysql+pymysql://u@h/x", "mailboxes"]
    typed = CliRunner().invoke(cli, ["--database_password", "env:DEALMAIL_NO_SUCH", *named])
    given = CliRunner().invoke(cli, named, env={"DEALMAIL_DATABASE_PASSWORD": "env:DEALMAIL_NO_SUCH"})
    for result in (typed, given):
        assert result.exit_code == 2
        assert "DEALMAIL_NO_SUCH" in result.stderr
    shown = CliRunner().invoke(cli, ["mailboxes", "--help"]).output
    for name in environment.VARIABLES.values():
        assert name in shown


@pytest.mark.parametrize("arguments", [["db", "upgrade"], ["demo", "--keep"]])
def test_a_folder_that_cannot_be_made_is_one_line(arguments: list[str], tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    inside = tmp_path / "file" / "folder"
    options = [str(inside)] if "--keep" in arguments else ["--database", f"sqlite:///{inside}/dealmail.db"]
    result = CliRunner().invoke(cli, [*arguments, *options])
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1), result.stderr
    assert str(tmp_path / "file") in result.stderr


def test_a_file_that_sqlite_cannot_open_is_no_server_that_does_not_run(tmp_path: pathlib.Path) -> None:
    result = CliRunner().invoke(cli, ["db", "upgrade", "--database", "sqlite:////proc/dealmail.db"])
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "can the file and its folder be written" in result.stderr
    assert "is it running" not in result.stderr


def test_a_user_without_a_name_on_this_machine_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that is started with --user 12345."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert this_person() == f"uid {2**31 - 7}"
    monkeypatch.setenv("LOGNAME", "alice")
    assert this_person() == "alice"
