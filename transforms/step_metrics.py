"""What the steps measure: how many, how much, how long. docs/running.md lists the names.

A name is made of a step, an outcome, a rule or an error class. Nothing of a mail, and no address, is ever part of one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from apache_beam.metrics import Metrics

T = TypeVar("T")


def count(step: str, name: str, by: int = 1) -> None:
    """Add `by` to the step's counter `name`."""
    Metrics.counter(step, name).inc(by)


def observe(step: str, name: str, value: int) -> None:
    """Put one more value (its unit is in the name) into the step's distribution `name`."""
    Metrics.distribution(step, name).update(value)


@contextlib.contextmanager
def timed(step: str, name: str) -> Iterator[None]:
    """Put how many milliseconds the block took into the step's distribution `name`; a block that raises counts too."""
    began = time.monotonic()
    try:
        yield
    finally:
        observe(step, name, round((time.monotonic() - began) * 1000))


def timed_each(step: str, name: str, items: Iterable[T]) -> Iterator[T]:
    """`items`, one by one; the milliseconds spent waiting for them, all together, go into the step's distribution `name`."""
    waited, iterator = 0.0, iter(items)
    while True:
        began = time.monotonic()
        try:
            item = next(iterator)
        except StopIteration:
            break
        finally:
            waited += time.monotonic() - began
        yield item
    observe(step, name, round(waited * 1000))
