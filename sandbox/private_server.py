"""What the private servers share: a place for what is fetched, a free port, and a process with its directory.

A server listens on 127.0.0.1 on a free port, keeps everything in one directory, and ends with the process that started it
(Linux: PR_SET_PDEATHSIG, which watches the starting *thread*: start servers from the main thread). Started by root, it runs as
the user nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence


class ServerUnavailableError(Exception):
    """The machine cannot have the server. The text is one line: why, and what would help."""


def cache_dir() -> pathlib.Path:
    """Where fetched servers are kept: DEALMAIL_CACHE, else ~/.cache/dealmail; for root, where nobody may read."""
    given = os.environ.get("DEALMAIL_CACHE")
    if given:
        path = pathlib.Path(given).absolute()
    elif os.getuid() == 0:
        path = pathlib.Path("/var/tmp/dealmail-cache")  # noqa: S108 (root's home is closed to the user nobody)
    else:
        path = pathlib.Path.home() / ".cache" / "dealmail"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(name: str) -> Iterator[pathlib.Path]:
    """The cache directory, while no other process holds the lock `name`."""
    cache = cache_dir()
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield cache


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_tool(what: str, command: Sequence[str], timeout: float, **options: object) -> str:
    """Run a package manager or set-up tool and return what it printed.

    Raises:
        ServerUnavailableError: it is missing, fails or takes longer than `timeout` seconds; with its last line.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
            **options,  # type: ignore[call-overload]  # env, cwd, user as Popen takes them
        )
    except FileNotFoundError:
        raise ServerUnavailableError(f"{what}: {command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise ServerUnavailableError(f"{what}: {command[0]} did not end within {timeout:.0f} s") from None
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()] or ["no output"]
        said = next((line for line in lines if "ERROR" in line or line.startswith("E:")), lines[-1])
        raise ServerUnavailableError(f"{what}: {command[0]} failed: {said.strip()[:300]}")
    return done.stdout


class Server:
    """A server process with its directory. `start` works again after `kill`: the data stays."""

    name = "server"

    def __init__(self, data: pathlib.Path | None) -> None:
        """`data`: a directory to keep, made where missing; None: a temporary one that `stop` removes."""
        self._temporary = data is None
        if data is None:
            self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"dealmail-{self.name}-", dir="/var/tmp"))
        else:
            self.dir = data.absolute()
            self.dir.mkdir(parents=True, exist_ok=True)
        self._as_user: dict[str, object] = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            closed = next((p for p in self.dir.parents if not p.stat().st_mode & 0o001), None)
            if closed is not None:
                msg = (
                    f"{self.name}: runs as the user nobody, who cannot enter {closed}; give a data directory elsewhere"
                )
                raise ServerUnavailableError(msg)
        self._process: subprocess.Popen[bytes] | None = None

    def _own(self) -> None:
        """Hand the directory to the user the server runs as."""
        if self._as_user:
            run_tool(
                self.name, ["chown", "-R", f"{self._as_user['user']}:{self._as_user['group']}", str(self.dir)], 120
            )

    def _launch(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        watched = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        with (self.dir / "out").open("ab") as out:
            self._process = subprocess.Popen(
                [*watched, *command],
                cwd=self.dir,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self._as_user,  # type: ignore[call-overload]  # user, group, extra_groups
            )

    def _ended_within(self, seconds: float) -> bool:
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _not_started(self) -> ServerUnavailableError:
        self.kill()
        lines = (self.dir / "out").read_text(errors="replace").splitlines()
        said = next(
            (line for line in lines if re.search(r"\b(ERROR|FATAL|Exception)\b", line)),
            lines[-1] if lines else "no output",
        )
        return ServerUnavailableError(f"{self.name} did not start: {said.strip()[:300]} (see {self.dir / 'out'})")

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End the process, by default as a power cut would; the data stays and `start` works again."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        if not self._ended_within(60):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
        self._process = None

    def stop(self) -> None:
        """End the process in good order; remove the directory if it is a temporary one."""
        self.kill(signal.SIGKILL if self._temporary else signal.SIGTERM)
        if self._temporary:
            shutil.rmtree(self.dir, ignore_errors=True)
