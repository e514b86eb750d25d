"""The sandbox's time: the machine's clock plus an offset that tests and the demo may move."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Clock:
    """Seconds since 1970 (UTC). Moving it wakes whoever waits for a deadline."""

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._offset = 0.0
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> float:
        """Seconds since 1970 as the sandbox sees them."""
        return self._source() + self._offset

    def now_ms(self) -> int:
        """Milliseconds since 1970, the unit of Gmail's internalDate and expiration."""
        return int(self.now() * 1000)

    def advance(self, seconds: float) -> float:
        """Move the clock forward (or back, where negative) and return the new time."""
        with self._lock:
            self._offset += seconds
        for listener in list(self._listeners):
            listener()
        return self.now()

    def on_move(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each move, from the thread that moved the clock."""
        self._listeners.append(listener)
