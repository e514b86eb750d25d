"""A line of the local service's log: when, how bad, where, what."""

from __future__ import annotations

import datetime as dt
import logging
import sys

FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class UtcFormatter(logging.Formatter):
    """Lines in FORM, their time as RFC 3339 in UTC to the millisecond: 2026-05-04T10:20:30.123Z, wherever the machine stands."""

    def __init__(self) -> None:
        super().__init__(FORM)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """When `record` was made; `datefmt` is not used."""
        at = dt.datetime.fromtimestamp(record.created, dt.UTC)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def log_to_stderr(level: str) -> None:
    """Have this process log from `level` on, a line a record, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(UtcFormatter())
    logging.basicConfig(level=level, handlers=[handler])
