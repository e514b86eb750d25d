"""The job in children of a process that has imported everything already: an interpreter's start takes longer than a small sync.

`WarmJobs` (in the test) starts this file as a process (the warm parent), which forks a child for each line it reads.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import traps
from traps import Trap

_PR_SET_PDEATHSIG = 1
_LIBRARIES = (
    "alembic",
    "elasticsearch",
    "google_auth_httplib2",
    "googleapiclient.discovery",
    "pymysql",
    "dealmail.io.fts",
)


class WarmJob:
    """One child: the whole job, in a session of its own."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def is_running(self) -> bool:
        """Whether it lives; the warm parent leaves no zombies."""
        return pathlib.Path(f"/proc/{self.pid}").exists()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal, and wait until the child is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        pause = threading.Event()
        for _ in range(3000):
            if not self.is_running():
                return
            pause.wait(0.01)
        raise AssertionError(f"the job lives on after {number.name}")


class WarmJobs:
    """The warm parent as a context manager."""

    def __init__(self, log: pathlib.Path) -> None:
        self._log = log
        self._parent: subprocess.Popen[str] | None = None

    def __enter__(self) -> WarmJobs:
        with self._log.open("ab") as log:
            self._parent = subprocess.Popen(
                [sys.executable, __file__, str(self._log)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self._parent.stdout
        assert self._parent.stdout.readline() == "ready\n"
        return self

    def start(self, options: Sequence[str], trap: Trap | None = None, told: pathlib.Path | None = None) -> WarmJob:
        """The job with these options, from its own first line on; with a `trap` armed that writes `told` as it strikes."""
        assert self._parent
        assert self._parent.stdin
        assert self._parent.stdout
        order = {"options": list(options), "trap": dataclasses.asdict(trap) if trap else None, "told": str(told)}
        self._parent.stdin.write(json.dumps(order) + "\n")
        self._parent.stdin.flush()
        return WarmJob(int(self._parent.stdout.readline()))

    @contextlib.contextmanager
    def running(self, options: Sequence[str]) -> Iterator[WarmJob]:
        """The job while the block lasts; killed at its end where it still lives."""
        job = self.start(options)
        try:
            yield job
        finally:
            job.kill()

    def __exit__(self, *unused: object) -> None:
        assert self._parent
        assert self._parent.stdin
        assert self._parent.stdout
        self._parent.stdin.close()  # the parent ends, and with it its children
        self._parent.wait(30)
        self._parent.stdout.close()


def _child(order: dict[str, Any]) -> int:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    from dealmail.pipeline.main import main as job

    if order["trap"]:
        traps.arm(traps.Trap(**order["trap"]), pathlib.Path(order["told"]))
    return job(order["options"])


def main() -> None:
    """Import, say so, and fork for each line of options."""
    import importlib

    for name in (*_LIBRARIES, "dealmail.pipeline.main"):
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the children
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = _child(json.loads(line))
            finally:
                sys.stderr.flush()
                os._exit(code)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
