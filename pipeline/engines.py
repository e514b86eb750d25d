"""The engines: where notifications, ticks and CRM stamps come from on each, and how the run is kept going.

All that differs between one machine, Flink and Dataflow is in this file; the graph is build.py's on all of them.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import logging
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.transforms.periodicsequence import PeriodicImpulse, RebaseMode
from apache_beam.transforms.trigger import AccumulationMode, AfterProcessingTime, Repeatedly
from apache_beam.transforms.window import GlobalWindows

from ..io.pubsub import NotificationsUnavailableError, PubSubSpec, PullSource, ReadNotifications
from ..transforms.records import Tick
from . import edges
from .build import Outputs, build
from .inbox import Inbox, ReadInbox
from .local_service import GraphPass, LocalService, NoNotifications, NotificationSource
from .options import JobOptions
from .runner_options import runner_options

_log = logging.getLogger(__name__)

TICK_S = 2.0
"""Seconds between two ticks of an endless run: how soon due polls, freed leases and the outbox are looked at."""

LINGER_S = 0.2
"""Seconds that a batch of an endless run waits to fill."""

STAMPS_S = 30.0
"""Seconds between two looks at the CRM's versions on engines with side inputs."""


NO_TEAM = ("", 0)
"""A stamp that always comes: mail waits for the side input's first pane, and a beat without any stamp would fire none."""


# --- one machine -----------------------------------------------------------------------------------------------------
def local_graph(options: JobOptions) -> GraphPass:
    """The graph with sources that read an inbox, ready to be run again and again. Opens nothing yet."""

    def lay_out(root: beam.Pipeline, inbox: Inbox) -> Outputs:
        return build(
            root,
            root | "ReadNotifications" >> ReadInbox(inbox, "notifications", bytes),
            root | "EveryTick" >> ReadInbox(inbox, "ticks", Tick),
            root | "LoadCrm" >> ReadInbox(inbox, "crm_stamps", tuple[str, int]),
            edges.factories(options),
            options.graph,
        )

    return GraphPass(lay_out)


def run_local(options: JobOptions, stop: threading.Event | None = None) -> int:
    """Run passes until a signal, or with `once` until nothing is due.

    Returns the exit code: with `once` 1 where Pub/Sub is silent, or the search index is down in the end.

    Raises:
        NoCredentialsError: this machine has none for Pub/Sub.
    """
    stop = stop or _stop_on_signals()
    source, is_heard = _source(options, stop)
    opened = edges.open_edges(options)
    if opened.lacks_client():
        _log.error("there are consented mailboxes, and no OAuth client to read them with: name it with --oauth_client")
    is_indexed = True
    graph = local_graph(options)
    service = LocalService(graph, source, opened.next_due, opened.crm_stamps, now=edges.utc_now, stop=stop)
    try:
        if options.once:
            passes = service.run_once()
            left, for_quota = opened.pending()
            still = f"; {left} messages are still pending, {for_quota} of them wait for Gmail's quota" if left else ""
            ended = "stopped by a signal" if stop.is_set() else "nothing more is due"
            _log.info("%s after %d passes%s", ended, passes, still)
            if opened.outbox.down and not stop.is_set():
                is_indexed = False
                waiting = opened.outbox.backlog().waiting
                _log.error("the search index is not to be reached; %d changes wait for it", waiting)
        else:
            _log.info("running; mailboxes are polled every %g minutes", options.poll_minutes)
            service.run()
    finally:
        service.close()
        source.close()
        graph.close()
        opened.close()
    return 0 if is_heard and is_indexed else 1


def _source(options: JobOptions, stop: threading.Event) -> tuple[NotificationSource, bool]:
    """Where notifications come from, and whether it answers: a service tries again for ever, `once` must know now."""
    if not options.subscription:
        return NoNotifications(stop), True
    source = PullSource(PubSubSpec(options.subscription, options.pubsub_endpoint))
    if options.once:
        try:
            source.require_answer()
        except NotificationsUnavailableError as error:
            _log.error("%s; mailboxes are polled all the same", error)
            source.close()
            return NoNotifications(stop), False
    return source, True


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *unused: stop.set())
    return stop


# --- endless engines -------------------------------------------------------------------------------------------------
class _ReadStamps(beam.DoFn):
    def __init__(self, stamps: Callable[[], Sequence[tuple[str, int]]]) -> None:
        self._stamps = stamps

    def process(self, unused_tick: Any) -> Iterable[tuple[str, int]]:
        yield NO_TEAM
        yield from self._stamps()


def _every(seconds: float) -> PeriodicImpulse:
    # Its default start is when the module was imported: a template that lives long would replay every beat since.
    return PeriodicImpulse(fire_interval=seconds, rebase=RebaseMode.REBASE_START)


def lay_out_endless(root: beam.Pipeline, options: JobOptions) -> Outputs:
    """The graph with the endless sources of `options.runner`."""
    if options.runner == "DataflowRunner":
        notifications = root | "ReadNotifications" >> beam.io.ReadFromPubSub(subscription=options.subscription)
    else:
        notifications = root | "ReadNotifications" >> ReadNotifications(
            PubSubSpec(options.subscription, options.pubsub_endpoint)
        )
    ticks = (
        root
        | "EveryTick" >> _every(TICK_S)
        | "Tick" >> beam.Map(lambda at: Tick(dt.datetime.fromtimestamp(float(at), dt.UTC))).with_output_types(Tick)
    )
    crm = None
    if options.runner == "DataflowRunner":
        # The shape that Beam's documents give for a side input that is renewed slowly: each beat fires a pane, which replaces
        # the last one. A stamp that is missing or late costs nothing but a look at the database: directories refresh
        # themselves too. Several beats in one pane are no mistake either, since the dictionary takes them all.
        stamps = functools.partial(edges.read_crm_stamps, options)
        crm = (
            root
            | "EveryStamp" >> _every(STAMPS_S)
            | "LoadCrm" >> beam.ParDo(_ReadStamps(stamps)).with_output_types(tuple[str, int])
            | "LatestStamps"
            >> beam.WindowInto(
                GlobalWindows(),
                trigger=Repeatedly(AfterProcessingTime(1)),
                accumulation_mode=AccumulationMode.DISCARDING,
            )
        )
    graph = dataclasses.replace(options.graph, linger_s=LINGER_S)
    return build(root, notifications, ticks, crm, edges.factories(options), graph)


def submit(options: JobOptions, rest: Sequence[str], *, wait: bool = True) -> beam.runners.runner.PipelineResult:
    """Hand the endless graph to its runner, and wait for its end if asked to."""
    root = beam.Pipeline(options=runner_options(options, rest))
    lay_out_endless(root, options)
    result = root.run()
    if wait:
        result.wait_until_finish()
    return result
