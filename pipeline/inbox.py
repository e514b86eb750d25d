"""The inbox of a bounded pass: what the local service hands to a graph that it has built once and runs again and again.

Building and translating the graph takes longer than running it on a handful of messages, so the graph's sources do not
hold their elements: they read them, when the pass runs, from this process's inbox.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Iterable
from typing import Any

import apache_beam as beam

from ..transforms.records import Tick


@dataclasses.dataclass(frozen=True)
class PassInput:
    """What one pass reads: data of Pub/Sub messages, ticks, and the CRM's version stamps (team id, version)."""

    notifications: tuple[bytes, ...] = ()
    ticks: tuple[Tick, ...] = ()
    crm_stamps: tuple[tuple[str, int], ...] = ()


class Inbox:
    """Holds one PassInput at a time. A handle that is pickled into the graph finds its inbox again by number."""

    _numbers = itertools.count()
    _inboxes: dict[int, Inbox] = {}  # noqa: RUF012 (one table a process is the point)
    _lock = threading.Lock()

    def __init__(self) -> None:
        """An empty inbox, known to this process from now on."""
        with self._lock:
            self.number = next(self._numbers)
            self._inboxes[self.number] = self
        self.current = PassInput()

    @classmethod
    def of(cls, number: int) -> Inbox:
        """The inbox of that number.

        Raises:
            KeyError: there is none in this process: an inbox works only where passes run in the service's own process.
        """
        return cls._inboxes[number]

    def close(self) -> None:
        """Forget this inbox."""
        with self._lock:
            self._inboxes.pop(self.number, None)


class _TakeFromInbox(beam.DoFn):
    def __init__(self, number: int, field: str) -> None:
        self._number = number
        self._field = field

    def process(self, unused_impulse: bytes) -> Iterable[Any]:
        yield from getattr(Inbox.of(self._number).current, self._field)


class ReadInbox(beam.PTransform):
    """Read one field of the inbox's current PassInput; `element_type` is what its elements are."""

    def __init__(self, inbox: Inbox, field: str, element_type: Any) -> None:
        super().__init__()
        self._number = inbox.number
        self._field = field
        self._element_type = element_type

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """A PCollection of the field's elements."""
        return (
            root
            | "Impulse" >> beam.Impulse()
            | "Take" >> beam.ParDo(_TakeFromInbox(self._number, self._field)).with_output_types(self._element_type)
        )
