"""GatherBatches: keyed elements in, batches of one key out; the way the graph batches in endless runs and in bounded passes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows, TimestampCombiner

T = TypeVar("T")


def cut(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """`values` in lists of `size`, the last one with what is left."""
    batch: list[Any] = []
    for value in values:
        batch.append(value)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def cut_sized(sized: Iterable[tuple[T, int]], count: int, size: int) -> Iterator[list[T]]:
    """Items with their sizes, in order, in lists of at most `count` items and `size` together (but one item at least)."""
    batch: list[T] = []
    total = 0
    for item, one in sized:
        if batch and (len(batch) == count or total + one > size):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += one
    if batch:
        yield batch


def _cut_keyed(keyed: tuple[str, Iterable[Any]], size: int) -> Iterator[tuple[str, list[Any]]]:
    for batch in cut(keyed[1], size):
        yield keyed[0], batch


class GatherBatches(beam.PTransform):
    """PCollection of (str, value) in; (str, iterable of values) out.

    An endless run batches with state and a timer. In a bounded pass those timers would stamp what they emit with a time to
    come, which FnApiRunner does not survive, and there is nothing to wait for: all of a key's elements are grouped and cut.

    Args:
        size: values a batch at the most.
        linger_s: how long a batch waits to fill; None in a bounded pass.
    """

    def __init__(self, size: int, linger_s: float | None) -> None:
        if size < 1 or (linger_s is not None and linger_s <= 0):
            msg = f"size {size} must be 1 or more, linger_s {linger_s} more than 0 or None"
            raise ValueError(msg)
        super().__init__()
        self._size = size
        self._linger_s = linger_s

    def expand(self, keyed: beam.PCollection) -> beam.PCollection:
        """Group."""
        if self._linger_s is not None:
            return keyed | "Batch" >> beam.GroupIntoBatches(self._size, max_buffering_duration_secs=self._linger_s)
        return (
            keyed
            # Arrival time stays arrival time: deduplication is windowed by it.
            | "KeepTimes" >> beam.WindowInto(GlobalWindows(), timestamp_combiner=TimestampCombiner.OUTPUT_AT_EARLIEST)
            | "Group" >> beam.GroupByKey()
            | "Cut" >> beam.FlatMap(_cut_keyed, self._size)
            | "AsBefore" >> beam.WindowInto(GlobalWindows())
        )
