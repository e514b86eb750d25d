from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from dealmail.console.main import cli

HEAD = "kind,id,name,address,domain,account_id,opened_on\n"


@pytest.fixture
def crm(tmp_path: pathlib.Path) -> Callable[..., Result]:
    def run(text: str, *arguments: str) -> Result:
        file = tmp_path / "crm.csv"
        file.write_text(HEAD + text, encoding="utf-8")
        return CliRunner().invoke(
            cli, ["--database", f"sqlite:///{tmp_path}/new.db", "crm", "import", str(file), *arguments]
        )

    return run


def test_import_makes_database_and_team_and_is_idempotent(crm: Callable[..., Result]) -> None:
    text = "account,a1,Acme,,acme.example,,\ncontact,c1,Carol,carol@acme.example,,a1,\n"
    first = crm(text)
    assert first.exit_code == 0, first.output
    assert "contact: 1 (1 new, 0 changed)" in first.output
    assert "nothing has changed" in crm(text).output


def test_replace_removes_what_the_file_does_not_name(crm: Callable[..., Result]) -> None:
    crm("account,a1,Acme,,acme.example,,\naccount,a2,Beta,,beta.example,,\n")
    assert "1 removed" in crm("account,a1,Acme,,acme.example,,\n", "--replace").output


def test_replace_by_a_file_that_names_nothing_is_refused(crm: Callable[..., Result]) -> None:
    crm("contact,c1,Carol,carol@acme.example,,,\n")
    for text in ("", "# an export that failed\n\n"):
        result = crm(text, "--replace")
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
        assert "it names nothing" in result.stderr
    assert "1 new, 0 changed, 1 removed" in crm("contact,c2,Dora,dora@acme.example,,,\n", "--replace").output


def test_mistakes_are_named_by_line_and_nothing_is_imported(crm: Callable[..., Result]) -> None:
    result = crm("contact,c1,Secret Name,no address,,,\nopportunity,o1,X,,,a9,\n")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "line 2" in result.stderr
    assert "line 3" in result.stderr
    assert "Secret" not in result.stderr


def test_domains_that_recognise_nobody_are_named(crm: Callable[..., Result]) -> None:
    result = crm("account,a1,Acme,,acme.example gmail.com,,\nown_domain,,,,corp.example,,\nown_domain,,,,co.uk,,\n")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1].endswith("many share, 2 in this file: co.uk, gmail.com")
    assert "many share" not in crm("account,a2,Beta,,beta.example,,\n").output


def test_a_file_that_is_not_there_is_one_line(tmp_path: pathlib.Path) -> None:
    result = CliRunner().invoke(cli, ["crm", "import", str(tmp_path / "none.csv")])
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)


def test_a_new_block_says_what_is_stored_and_purge_takes_it_away(
    dealmail: Callable[..., Result], jsonl: Callable[..., list], stored: object, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "block.csv"
    file.write_text("kind,pattern\nblocked,acme.example\n", encoding="utf-8")
    told = dealmail("crm", "import", str(file)).output
    assert "3 stored copies of mail (2 mails altogether) name somebody who is blocked now; `dealmail crm purge`" in told
    assert jsonl("crm", "purge", "--dry-run") == [{"dry_run": True, "engagements": 2, "copies": 3}]
    assert len(jsonl("engagements")) == 2
    assert dealmail("crm", "purge", input="n\n").exit_code == 130
    assert len(jsonl("engagements")) == 2
    assert "gone: 3 copies, 2 mails altogether" in dealmail("crm", "purge", "--yes").output
    assert jsonl("engagements") == []
    assert {row["rule"] for row in jsonl("decisions", "--rule", "blocked.*")} == {"blocked.team"}
