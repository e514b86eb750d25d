"""KeepHouse: ticks in; audits, retention and re-linking done, each by one worker when its turn has come."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from typing import Protocol

import apache_beam as beam

from . import step_metrics
from .batches import GatherBatches
from .records import Tick


class Chores(Protocol):
    """What this step asks of the database."""

    def due(self, now: dt.datetime) -> list[str]:
        """Names of chores whose turn has come at `now` (UTC); a few of them."""

    def do(self, name: str) -> bool:
        """Do a chore if nobody else has taken its turn; whether it was done. What stands in its way puts it off and is no error."""


class _Find(beam.DoFn):
    def __init__(self, chores: Callable[[], Chores], now: Callable[[], dt.datetime]) -> None:
        self._open = chores
        self._now = now

    def setup(self) -> None:
        self._chores = self._open()

    def process(self, unused_tick: Tick) -> Iterable[tuple[str, str]]:
        for name in self._chores.due(self._now()):
            yield name, name


class _Do(beam.DoFn):
    def __init__(self, chores: Callable[[], Chores]) -> None:
        self._open = chores

    def setup(self) -> None:
        self._chores = self._open()

    def process(self, keyed: tuple[str, Iterable[str]]) -> Iterable[str]:
        name, _ = keyed
        if self._chores.do(name):
            step_metrics.count("KeepHouse", f"done_{name.partition(':')[0]}")
            yield name


class KeepHouse(beam.PTransform):
    """Do what is due beside the mail.

    Args:
        chores: opens the edge on the worker.
        now: the clock (UTC).
        linger_s: how long finds of one chore are gathered in an endless run; None in a bounded pass.
    """

    def __init__(
        self, chores: Callable[[], Chores], *, now: Callable[[], dt.datetime], linger_s: float | None = None
    ) -> None:
        super().__init__()
        self._chores = chores
        self._now = now
        self._linger_s = linger_s

    def expand(self, ticks: beam.PCollection) -> beam.PCollection:
        """PCollection of Tick in; the names of chores that were done out."""
        return (
            ticks
            | "Find" >> beam.ParDo(_Find(self._chores, self._now)).with_output_types(tuple[str, str])
            | "Gather" >> GatherBatches(100, self._linger_s)  # by name: spread over the workers, and off the ticks' way
            | "Do" >> beam.ParDo(_Do(self._chores)).with_output_types(str)
        )
