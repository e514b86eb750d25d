"""WriteToElasticsearch: changed engagements and ticks in, the search outbox drained to the index.

The third of the three transactions. What just changed is indexed at once; each tick drains what an outage left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import apache_beam as beam

from . import step_metrics
from .records import ChangedEngagements, Tick


class OutboxDrain(Protocol):
    """What this step asks of the outbox and the index together."""

    def index(self, team_id: str, engagement_ids: Sequence[str]) -> int:
        """Index the outbox rows of these engagements and take them off the outbox; how many. Others are left alone.

        An index that is down is noted on the rows, for a later tick, and is no error.
        """

    def drain(self, limit: int) -> int:
        """Index up to `limit` waiting rows, oldest first; how many. 0 where nothing waits or the index is down (noted)."""


class _Index(beam.DoFn):
    def __init__(self, outbox: Callable[[], OutboxDrain]) -> None:
        self._open = outbox

    def setup(self) -> None:
        self._outbox = self._open()

    def process(self, changed: ChangedEngagements) -> Iterable[int]:
        with step_metrics.timed("WriteToElasticsearch", "index_msec"):
            indexed = self._outbox.index(changed.team_id, changed.engagement_ids)
        step_metrics.count("WriteToElasticsearch", "indexed", indexed)
        yield indexed


class _Drain(beam.DoFn):
    def __init__(self, outbox: Callable[[], OutboxDrain], limit: int) -> None:
        self._open = outbox
        self._limit = limit

    def setup(self) -> None:
        self._outbox = self._open()

    def process(self, unused_tick: Tick) -> Iterable[int]:
        indexed = self._outbox.drain(self._limit)
        step_metrics.count("WriteToElasticsearch", "drained", indexed)
        yield indexed


class WriteToElasticsearch(beam.PTransform):
    """Index what changed, and drain the outbox at each tick.

    Args:
        outbox: opens the edge on the worker.
        ticks: PCollection of Tick.
        drain_limit: rows a tick may take at the most.
    """

    def __init__(self, outbox: Callable[[], OutboxDrain], ticks: beam.PCollection, *, drain_limit: int = 5000) -> None:
        super().__init__()
        self._outbox = outbox
        self._ticks = ticks
        self._drain_limit = drain_limit

    def expand(self, changed: beam.PCollection) -> beam.PCollection:
        """PCollection of ChangedEngagements in; how many rows each call indexed out (int)."""
        at_once = changed | "IndexChanged" >> beam.ParDo(_Index(self._outbox)).with_output_types(int)
        backlog = self._ticks | "DrainOutbox" >> beam.ParDo(_Drain(self._outbox, self._drain_limit)).with_output_types(
            int
        )
        return (at_once, backlog) | "Indexed" >> beam.Flatten()
