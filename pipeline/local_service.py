"""The local engine: bounded passes of the graph, kept going by Pub/Sub pulls and due mailboxes.

No local Beam runner can run the endless form safely: one acknowledges before it processes, another holds everything behind a
Flatten until the source ends. So this service pulls notifications itself, runs the same graph over what it pulled as a
bounded pass, and acknowledges when the pass has succeeded. Several such services may share one database and one
subscription: the claims in the database keep them apart.
"""

from __future__ import annotations

import datetime as dt
import logging
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers
from apache_beam.transforms import environments

from ..transforms.errors import StoreUnavailableError
from ..transforms.records import Tick
from .inbox import Inbox, PassInput
from .pace import Pace
from .pass_log import PassLog

_log = logging.getLogger(__name__)


class Received(Protocol):
    """A notification as pulled: `data` for the graph, the rest for acknowledging it."""

    @property
    def data(self) -> bytes:
        """The Pub/Sub message's data."""


class NotificationSource(Protocol):
    """Where notifications come from between two passes."""

    def take(self, timeout_s: float, limit: int) -> Sequence[Received]:
        """What waits, at once; nothing after `timeout_s` without any."""

    def ack(self, received: Sequence[Received]) -> None:
        """These need not come again."""

    def nack(self, received: Sequence[Received]) -> None:
        """These must come again."""

    def close(self) -> None:
        """Stop pulling; what was taken and not acknowledged comes again."""


class NoNotifications:
    """A source for runs without a subscription: mailboxes are polled only."""

    def __init__(self, stop: threading.Event) -> None:
        """`stop` ends a wait early."""
        self._stop = stop

    def take(self, timeout_s: float, limit: int) -> Sequence[Received]:
        """Nothing, after `timeout_s`."""
        self._stop.wait(timeout_s)
        return ()

    def ack(self, received: Sequence[Received]) -> None:
        """Nothing to do."""

    def nack(self, received: Sequence[Received]) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class GraphPass:
    """A graph that is built and translated once and run as often as wanted, each time over another PassInput."""

    def __init__(self, build: Callable[[beam.Pipeline, Inbox], object]) -> None:
        """`build` lays out the graph on a pipeline, with sources that read the inbox."""
        # State lives in this very process; its cache only measures the size of every value it is handed, at great length.
        worker_handlers.STATE_CACHE_SIZE_MB = 0
        self._inbox = Inbox()
        self._options = PipelineOptions(["--experiments=beam_fn_api"])
        pipeline = beam.Pipeline(runner=FnApiRunner(), options=self._options)
        try:
            build(pipeline, self._inbox)
            self._proto = pipeline.to_runner_api(default_environment=environments.EmbeddedPythonEnvironment.default())
        finally:
            shutil.rmtree(pipeline.local_tempdir)  # made for every pipeline, and removed only by its run()

    def run(self, given: PassInput) -> Counter[str]:
        """Run one pass to its end; the counters it made, by name. What a step raises comes out as it is."""
        self._inbox.current = given
        try:
            proto = type(self._proto)()
            proto.CopyFrom(self._proto)  # the runner writes into what it runs
            result = FnApiRunner().run_via_runner_api(proto, self._options)
            result.wait_until_finish()
        finally:
            self._inbox.current = PassInput()
        counters: Counter[str] = Counter()
        for counter in result.metrics().query()["counters"]:
            counters[counter.key.metric.name] += counter.committed
        return counters

    def close(self) -> None:
        """Forget the inbox."""
        self._inbox.close()


class LocalService:
    """Runs passes until it is stopped, or until nothing is due (`run_once`).

    Args:
        graph: what a pass runs.
        source: where notifications come from.
        next_due: when a mailbox or the outbox next has something to do (UTC), None: nothing is planned.
        crm_stamps: the teams' CRM versions, read before each pass.
        now: the clock (UTC).
        stop: ends the service after the pass under way.
        look_up_s: how often the database is asked for work that others put there (a person typing `dealmail import on`).
    """

    def __init__(
        self,
        graph: GraphPass,
        source: NotificationSource,
        next_due: Callable[[dt.datetime], dt.datetime | None],
        crm_stamps: Callable[[], Sequence[tuple[str, int]]],
        *,
        now: Callable[[], dt.datetime],
        stop: threading.Event,
        look_up_s: float = 1.0,
    ) -> None:
        self._graph = graph
        self._source = source
        self._next_due = next_due
        self._crm_stamps = crm_stamps
        self._now = now
        self._stop = stop
        self._look_up_s = look_up_s
        self._pass_log = PassLog(now)
        self._pace: Pace | None = None

    def run(self) -> None:
        """Passes until `stop` is set. A store that is down is waited out; any other error is raised, after giving back what was pulled."""
        pauses = 0
        self._pace = Pace()
        while not self._stop.is_set():
            try:
                due = self._next_due(
                    self._now()
                )  # asked once a look: with many mailboxes it is most of what a rest costs
                received = self._source.take(self._wait_s(due), limit=1000)
                if self._stop.is_set():
                    self._source.nack(received)
                    return
                if received or self._has_come(due):
                    self._pass(received)
                self._pass_log.look()
                pauses = 0
            except StoreUnavailableError:
                pauses += 1
                _log.warning("a store is not to be reached, %d times in a row; what was pulled is given back", pauses)
                self._stop.wait(min(30.0, 0.5 * 2 ** min(pauses, 6)))

    def run_once(self, limit: int = 100_000) -> int:
        """What cron wants: passes until nothing is due and no notification waits, `limit` at the most; how many ran."""
        for passes in range(limit):
            received = self._source.take(0.5 if passes == 0 else 0.0, limit=1000)
            if self._stop.is_set() or not (received or self._has_come(self._next_due(self._now()))):
                return passes
            self._pass(received)
        return limit

    def close(self) -> None:
        """Say what the last passes did."""
        self._pass_log.flush()

    def _has_come(self, due: dt.datetime | None) -> bool:
        return due is not None and due <= self._now()

    def _wait_s(self, due: dt.datetime | None) -> float:
        if due is None:
            return self._look_up_s
        return min(self._look_up_s, max(0.0, (due - self._now()).total_seconds()))

    def _pass(self, received: Sequence[Received]) -> None:
        began = time.monotonic()
        done = False
        try:
            given = PassInput(
                notifications=tuple(r.data for r in received),
                ticks=(Tick(self._now(), self._pace.old_messages if self._pace else None),),
                crm_stamps=tuple(self._crm_stamps()),
            )
            counters = self._graph.run(given)
            done = True
        finally:
            (self._source.ack if done else self._source.nack)(received)
        took = time.monotonic() - began
        if self._pace:  # nobody's push waits for a pass of `run_once`
            self._pace.note(took, counters["claimed"])
        self._pass_log.add(counters)
        _log.debug("pass of %d notifications in %.3f s", len(received), took)
