"""The time of this machine. Whoever goes by time is handed a clock, so that tests move it; this is the one for all others."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

Clock = Callable[[], dt.datetime]
"""Answers the time, aware and in UTC."""


def utc_now() -> dt.datetime:
    """The time now, UTC."""
    return dt.datetime.now(dt.UTC)
