"""The two commands of the README, as a person's shell starts them; nothing is made here, only what would be is looked at."""

from __future__ import annotations

import os
import pathlib
import subprocess

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]


def would_run(*words: str, **environ: str) -> str:
    """The last command of `make run`, by a shell whose environment holds `environ` too."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # these tests' own `make`
    done = subprocess.run(
        ["make", "-n", "run", *words], cwd=CHECKOUT, env={**own, **environ}, capture_output=True, text=True, timeout=60, check=True
    )  # fmt: skip
    return done.stdout.splitlines()[-1]


def test_what_a_login_sets_is_no_option_of_make_run() -> None:
    """Many logins set MAIL to the spool of the machine's user."""
    said = would_run(MAIL="/var/mail/alice", OWNER="root", CRM="on", STORES="3", PREVIEW="1")
    assert said.split() == [".venv/bin/dealmail", "demo", "--stores", '"embedded"']


def test_what_is_typed_after_make_run_is() -> None:
    said = would_run("MAIL=a.mbox", "OWNER=me@corp.example", "CRM=crm.csv", "STORES=servers", "PREVIEW=1")
    assert said.split("demo ")[1].split() == [
        "--stores", '"servers"', "--mail", '"a.mbox"', "--owner", '"me@corp.example"', "--crm", '"crm.csv"', "--preview",
    ]  # fmt: skip
