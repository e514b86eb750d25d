"""Processes of a scenario: a sandbox and jobs, forked from a warm parent so that kill -9 is real and a start costs milliseconds.

The parent must have started no thread and no gRPC. Clocks lie in memory that all of them share.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime as dt
import faulthandler
import json
import logging
import mmap
import os
import pathlib
import signal
import struct
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

import sqlalchemy as sa
from apache_beam.transforms import core

from dealmail.io.pubsub import PubSubSpec, PullSource
from dealmail.pipeline import edges
from dealmail.pipeline.local_service import GraphPass, LocalService
from dealmail.pipeline.options import JobOptions
from dealmail.sandbox.quota import Limits
from dealmail.sandbox.service import Sandbox, Settings

_PR_SET_PDEATHSIG: Final = 1
_LOOK_UP_S: Final = 0.03


class Shared:
    """Numbers that forked processes share: the true clock's offset, the job's clock's, passes, and each job's idle looks."""

    TRUE, JOB, PASSES, _JOBS = range(4)

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    @staticmethod
    def idle(number: int) -> int:
        """The slot in which the job of this `number` counts the looks that found nothing to do."""
        return Shared._JOBS + number

    def get(self, slot: int) -> float:
        """The number."""
        return struct.unpack_from("d", self._memory, slot * 8)[0]

    def add(self, slot: int, amount: float) -> None:
        """Make it larger."""
        struct.pack_into("d", self._memory, slot * 8, self.get(slot) + amount)

    def true_now(self) -> dt.datetime:
        """What time it is, UTC: at Gmail, and for the users."""
        return dt.datetime.fromtimestamp(time.time() + self.get(self.TRUE), dt.UTC)

    def job_now(self) -> dt.datetime:
        """What the job's machine takes it for, UTC."""
        return self.true_now() + dt.timedelta(seconds=self.get(self.JOB))


class Child:
    """A forked process."""

    def __init__(self, pid: int, number: int = 0) -> None:
        self.pid = pid
        self.number = number
        self._status: int | None = None

    @property
    def status(self) -> int | None:
        """As subprocess says it: None while it runs, minus the signal that ended it, or its exit code."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def wait(self) -> int:
        """Wait for its end; what `status` is then."""
        if self._status is None:
            _, status = os.waitpid(self.pid, 0)
            self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def kill(self) -> bool:
        """Kill -9; whether it was still there to be killed."""
        if self.status is not None:
            return False
        os.kill(self.pid, signal.SIGKILL)
        self.wait()
        return True


def fork(work: Callable[[], None], log: pathlib.Path, number: int = 0) -> Child:
    """Run `work` in a child that dies with this process; `number` is its name. What it raises goes to `log`, and is exit code 1."""
    sys.stdout.flush()
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        _be_child(work, log, parent)
    return Child(pid, number)


def _be_child(work: Callable[[], None], log: pathlib.Path, parent: int) -> NoReturn:
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        logging.basicConfig(filename=log, level=logging.WARNING, format="%(asctime)s %(name)s %(message)s", force=True)
        with log.open("a") as stacks:
            faulthandler.register(signal.SIGUSR1, stacks)  # kill -USR1 shows where a process hangs
            work()
        code = 0
    except BaseException:  # noqa: BLE001 (a child must never return into its parent's program)
        with log.open("a") as file:
            traceback.print_exc(file=file)
    finally:
        os._exit(code)


def start_sandbox(addresses: Sequence[str], seed: int, log: pathlib.Path) -> tuple[Child, dict[str, Any]]:
    """A sandbox with empty mailboxes that only counts units; its endpoints.

    Raises:
        RuntimeError: it did not start; the log says why.
    """
    reading, writing = os.pipe()

    def serve() -> None:
        os.close(reading)
        sandbox = Sandbox(Settings(seed=seed, limits=Limits(user=0, project=0)))
        for address in addresses:
            sandbox.add_mailbox(address)
        with os.fdopen(writing, "w") as pipe:
            pipe.write(json.dumps(sandbox.start()))
        threading.Event().wait()

    child = fork(serve, log)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    if not answer:
        raise RuntimeError(f"the sandbox did not start: {log.read_text()[-2000:]}")
    return child, json.loads(answer)


class _Watched:
    """A source of notifications, which notes each look of job `number` that found nothing."""

    def __init__(self, source: PullSource, shared: Shared, number: int) -> None:
        self._source, self._shared, self._slot = source, shared, Shared.idle(number)
        self.ack, self.nack, self.close = source.ack, source.nack, source.close

    def take(self, timeout_s: float, limit: int) -> Sequence[Any]:
        """As the source's."""
        taken = self._source.take(timeout_s, limit)
        if not taken and timeout_s > 0:
            self._shared.add(self._slot, 1)
        return taken


def start_job(
    options: JobOptions, graph: GraphPass, shared: Shared, log: pathlib.Path, number: int, fuse: int | None = None
) -> Child:
    """The job as a service, the `number`-th of its scenario. With a `fuse` it kills itself by SIGKILL at its n-th database statement or commit."""

    def serve() -> None:
        edges.set_clock(shared.job_now)
        if fuse is not None:
            _burn(fuse)
        opened = edges.open_edges(options)
        source = _Watched(PullSource(PubSubSpec(options.subscription, options.pubsub_endpoint)), shared, number)

        def stamps() -> Sequence[tuple[str, int]]:
            shared.add(Shared.PASSES, 1)
            return opened.crm_stamps()

        LocalService(
            graph, source, opened.next_due, stamps, now=edges.utc_now, stop=threading.Event(), look_up_s=_LOOK_UP_S
        ).run()

    return fork(serve, log, number)


def _burn(steps: int) -> None:
    left = [steps]

    def step(*unused: Any) -> None:
        left[0] -= 1
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    for event in ("before_cursor_execute", "after_cursor_execute", "commit"):
        sa.event.listen(sa.Engine, event, step)


def remember_signatures() -> None:
    """Have Beam look at a method's signature once a process: it does so anew for every step of every pass, a third of its time."""
    ask = core.get_function_args_defaults
    known: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    def remembered(function: Any) -> Any:
        of_class = getattr(function, "__func__", None)
        if of_class is None:
            return ask(function)
        if of_class not in known:
            known[of_class] = ask(function)
        return known[of_class]

    core.get_function_args_defaults = remembered


def warm_up(graph: Callable[[], GraphPass], run: Callable[[GraphPass], object], log: pathlib.Path) -> None:
    """Import here what a first pass would import in every child: found out by one that is thrown away."""
    reading, writing = os.pipe()

    def look() -> None:
        os.close(reading)
        before = set(sys.modules)
        run(graph())
        with os.fdopen(writing, "w") as pipe:
            pipe.write("\n".join(name for name in list(sys.modules) if name not in before))

    child = fork(look, log)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        names = pipe.read().split("\n")
    child.wait()
    for name in names:
        with contextlib.suppress(ImportError):
            __import__(name)
