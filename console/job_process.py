"""The job as a process of its own, for the demo: started with its options, its log in a file, stopped in good order."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from ..io import environment

STOP_SECONDS = 20.0


class JobProcess:
    """`python -m dealmail.pipeline` with `options`; everything it says goes to the file `log`.

    It runs in its own session, so that Ctrl-C reaches only whoever started it, and ends with that process (Linux, where
    setpriv is installed).
    """

    def __init__(self, options: Sequence[str], log: pathlib.Path, env: Mapping[str, str] | None = None) -> None:
        self._command = [sys.executable, "-m", "dealmail.pipeline", *options]
        self._log = log
        self._env = {**environment.without(os.environ), "PYTHONUNBUFFERED": "1", **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. Options it refuses show soon, as an exit code."""
        watched = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*watched, *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs or before it started."""
        return None if self._process is None else self._process.poll()

    def stop(self) -> int | None:
        """SIGTERM, then SIGKILL to it and all it started; its exit code, None if it was never started."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                _kill_session(self._process.pid)
                self._process.wait(STOP_SECONDS)
        _kill_session(self._process.pid)
        return self._process.returncode


def _kill_session(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return
