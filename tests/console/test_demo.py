"""The demo, whole: as a process, on the sample and on a person's own mail; and that it leaves nothing running."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def start(folder: pathlib.Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dealmail.console.main", "demo", "--plain", "--keep", str(folder), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (no thread here; ignored in the background)
    )  # fmt: skip


def left_running(folder: pathlib.Path) -> list[str]:
    """Command lines of processes that name the work folder."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(folder) in line and "pytest" not in line:
                found.append(line)
    return found


def test_the_sample_ends_as_expected(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "run"
    out, err = start(folder).communicate(timeout=380)
    report = json.loads((folder / "report.json").read_text())
    assert report["expected"]["agree"] == report["expected"]["of"], err
    assert set(report["audit_percent"].values()) == {100.0}
    assert len(report["push_seconds"]["all"]) > 20
    assert "Deal Meridian Foods" in out
    assert "dealmail --database=sqlite:///" in out
    assert [path.name for path in (folder, *folder.iterdir()) if path.stat().st_mode & 0o077] == []
    assert not left_running(folder)


def test_own_mail_takes_the_same_way(tmp_path: pathlib.Path) -> None:
    from_line = "From 1@xxx Mon Mar 02 09:00:00 +0000 2026\n"
    head = "To: me@corp.example\nDate: Mon, 23 Nov 2026 09:00:00 +0000\n"
    mails = [
        f"{from_line}From: Carol <carol@acme.example>\n{head}Subject: Order\nMessage-ID: <a@acme.example>\n\nTen, please.\n\n",
        f"{from_line}From: x@elsewhere.example\n{head}Subject: PrivateMatter\nMessage-ID: <b@elsewhere.example>\n\nHidden words\n\n",
    ]
    (tmp_path / "mine.mbox").write_text("".join(mails))
    (tmp_path / "crm.csv").write_text(
        "kind,id,name,domain,account_id,owner,opened_on\n"
        "account,a1,Acme,acme.example,,,\nopportunity,o1,Deal,,a1,me@corp.example,2024-01-01\n"
    )
    folder = tmp_path / "run"
    arguments = (
        "--mail",
        str(tmp_path / "mine.mbox"),
        "--owner",
        "me@corp.example",
        "--crm",
        str(tmp_path / "crm.csv"),
    )
    out, err = start(folder, *arguments).communicate(timeout=380)
    assert "Funnel" in out, err
    report = json.loads((folder / "report.json").read_text())
    rules = {rule["rule"]: rule["messages"] for rule in report["rules"]}
    assert rules == {"customer": 1, "crm.no_match": 1}
    assert "Deal Deal: 1 mails" in out
    for file in folder.rglob("*"):
        if file.is_file():
            assert b"PrivateMatter" not in file.read_bytes()
    assert not left_running(folder)


def test_a_preview_of_the_sample_stores_no_mail(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "run"
    out, err = start(folder, "--preview").communicate(timeout=380)
    assert out.count("nothing of them was stored") == 5, err
    assert "automated.marketing" in out
    assert b"Dock 7" not in (folder / "dealmail.db").read_bytes()
    assert not left_running(folder)


def test_a_preview_of_own_mail_stores_none_of_it(tmp_path: pathlib.Path) -> None:
    mail = "From: Carol <carol@acme.example>\nTo: me@corp.example\nSubject: PilotMarker\nMessage-ID: <a@acme.example>\n\nTenMarker, please.\n"
    (tmp_path / "mails").mkdir()
    (tmp_path / "mails" / "a.eml").write_text(mail)
    (tmp_path / "crm.csv").write_text("kind,id,name,domain\naccount,a1,Acme,acme.example\n")
    folder = tmp_path / "run"
    given = ("--mail", str(tmp_path / "mails"), "--owner", "me@corp.example", "--crm", str(tmp_path / "crm.csv"))
    out, err = start(folder, *given, "--preview").communicate(timeout=380)
    assert "1  imported  customer" in out, err
    assert "nothing of them was stored" in out
    for file in folder.rglob("*"):
        if file.is_file():
            assert b"TenMarker" not in file.read_bytes()
            assert b"PilotMarker" not in file.read_bytes()
    assert not left_running(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_demo_leaves_nothing_running(tmp_path: pathlib.Path, number: signal.Signals) -> None:
    folder = tmp_path / "run"
    process = start(folder)
    assert process.stdout is not None
    for line in process.stdout:
        if "looked at" in line:
            break
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not left_running(folder)


def test_what_is_missing_for_own_mail_is_one_line(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.mbox").write_text("From x\n")
    crm = tmp_path / "crm.csv"
    cases: list[tuple[tuple[str, ...], str]] = [
        (("--mail", str(tmp_path / "a.mbox")), "OWNER="),
        (("--mail", str(tmp_path / "a.mbox"), "--owner", "me@corp.example"), "CRM="),
        (("--mail", str(tmp_path / "no"), "--owner", "me@corp.example", "--crm", str(crm)), "there is no mail"),
        (
            ("--mail", f"a@corp.example={tmp_path}/a.mbox,b@corp.example={tmp_path}/no", "--crm", str(crm)),
            "there is no mail",
        ),
        (("--owner", "me@corp.example"), "MAIL="),
    ]
    for arguments, says in cases:
        process = start(tmp_path / "run", *arguments)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, len(err.splitlines())) == (2, 1)
        assert says in err
        assert not (tmp_path / "run").exists()
