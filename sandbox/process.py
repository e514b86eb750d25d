"""Starts the sandbox as a process of its own and waits until it listens."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from .client import SandboxClient

START_SECONDS = 120.0


class SandboxNotStartedError(Exception):
    """The process ended, or did not listen in time; the text holds what it wrote."""


class SandboxProcess:
    """A context manager around `python -m dealmail.sandbox`.

    `mail` maps addresses to paths (None: an empty mailbox), `arguments` are further options of the command line.
    Inside, `gmail` is the HTTP endpoint, `pubsub` the gRPC one (`HOST:PORT`), `client` acts on it.
    """

    def __init__(
        self, mail: Mapping[str, str | os.PathLike[str] | None] | None = None, arguments: Sequence[str] = ()
    ) -> None:
        self._mail = dict(mail or {})
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.endpoints: dict[str, Any] = {}

    @property
    def gmail(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return str(self.endpoints["gmail"])

    @property
    def pubsub(self) -> str:
        """`127.0.0.1:PORT`, for PUBSUB_EMULATOR_HOST."""
        return str(self.endpoints["pubsub"])

    @property
    def topic(self) -> str:
        """The full name of the topic that is there from the start."""
        return str(self.endpoints["topic"])

    @property
    def subscription(self) -> str:
        """The full name of the subscription that is there from the start."""
        return str(self.endpoints["subscription"])

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process, "the sandbox is not started"
        return self._process.pid

    def start(self) -> SandboxProcess:
        """Start and wait.

        Raises:
            SandboxNotStartedError: it does not listen.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="dealmail-sandbox-")
        folder = pathlib.Path(self._folder.name)
        ready, log = folder / "ready.json", folder / "log.txt"
        command = [sys.executable, "-m", "dealmail.sandbox", "--ready-file", str(ready), "--die-with-parent"]
        for address, path in self._mail.items():
            command += ["--mail", f"{address}={path if path is not None else ''}"]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, *self._arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_SECONDS
        waiter = threading.Event()
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                text = log.read_text(errors="replace")[-2000:]
                self.stop()
                raise SandboxNotStartedError(text)
            waiter.wait(0.02)
        self.endpoints = json.loads(ready.read_text())
        self.client = SandboxClient(self.gmail)
        return self

    def stop(self) -> None:
        """End the process and remove its files."""
        if self.endpoints:
            self.client.close()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> SandboxProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
