"""Chores of the local service: what has to be done now and then, between two passes."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterable

from ..transforms.errors import DealmailError

_log = logging.getLogger(__name__)


class Every:
    """Does a chore once a `period`, the first time at once. What stands in its way is logged by class; it is tried again."""

    def __init__(self, period: dt.timedelta, chore: Callable[[], object], now: Callable[[], dt.datetime]) -> None:
        if period <= dt.timedelta(0):
            raise ValueError(f"a chore every {period}: the period must be longer than nothing")
        self._period = period
        self._chore = chore
        self._now = now
        self._next = now()

    def __call__(self) -> None:
        """Do it if it is due."""
        now = self._now()
        if now < self._next:
            return
        self._next = now + self._period
        try:
            self._chore()
        except DealmailError as error:
            _log.warning("a chore is put off: %s", type(error).__name__)


class OneAfterAnother:
    """All chores in turn."""

    def __init__(self, chores: Iterable[Callable[[], object]]) -> None:
        self._chores = list(chores)

    def __call__(self) -> None:
        """Do those that are due."""
        for chore in self._chores:
            chore()
