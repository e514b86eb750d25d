from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from dealmail.sandbox.process import SandboxNotStartedError, SandboxProcess

EML = b"From: Ann <ann@acme.example>\nDate: Tue, 02 Jan 2024 03:04:05 +0100\nSubject: s%d\n\nbody\n"


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = pathlib.Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(pid: int) -> bool:
    until = time.monotonic() + 20
    while is_running(pid) and time.monotonic() < until:
        threading.Event().wait(0.05)
    return not is_running(pid)


def test_it_serves_mail_from_files_and_ends_with_the_block(tmp_path: pathlib.Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.eml").write_bytes(EML % number)
    with SandboxProcess(
        {"a@x.example": tmp_path, "b@x.example": None}, ["--user-units", "0", "--faults", "lost=1"]
    ) as box:
        assert box.endpoints["mailboxes"] == ["a@x.example", "b@x.example"]
        assert len(box.client.dump()["a@x.example"]["messages"]) == 3
        token = box.client.access_token("a@x.example")
        request = urllib.request.Request(
            f"{box.gmail}/gmail/v1/users/me/messages", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request) as response:
            assert response.status == 200
        pid = box.pid
        assert is_running(pid)
    assert wait_until_gone(pid)


def test_a_bad_option_is_one_line() -> None:
    with pytest.raises(SandboxNotStartedError, match="fault 'x' is not known"):
        SandboxProcess({}, ["--faults", "x=1"]).start()
    with pytest.raises(SandboxNotStartedError, match="no mail at"):
        SandboxProcess({"a@x.example": "/nonexistent"}).start()


def test_it_dies_with_its_parent_killed(tmp_path: pathlib.Path) -> None:
    ready = tmp_path / "ready.json"
    program = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'dealmail.sandbox', '--die-with-parent',"
        f" '--ready-file', {str(ready)!r}], stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    until = time.monotonic() + 60
    while not ready.exists() and time.monotonic() < until:
        threading.Event().wait(0.05)
    assert is_running(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    try:
        assert wait_until_gone(pid)
    finally:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)


def test_thousands_of_mails_load_and_are_served_quickly(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "many.mbox"
    with path.open("wb") as file:
        for number in range(9000):
            file.write(b"From x Tue Jan  2 03:04:05 2024\n" + EML % number + b"line\n" * 400 + b"\n")
    started = time.monotonic()
    with SandboxProcess({"a@x.example": path}) as box:
        assert time.monotonic() - started < 30
        assert len(box.client.dump("a@x.example")["a@x.example"]["messages"]) == 9000
