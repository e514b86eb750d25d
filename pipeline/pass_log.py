"""What the local service says of its passes: one line a minute in which something happened, from the graph's own counters."""

from __future__ import annotations

import datetime as dt
import logging
from collections import Counter
from collections.abc import Callable, Mapping

_log = logging.getLogger(__name__)

EVERY = dt.timedelta(minutes=1)
OUTCOMES = ("imported", "dropped", "gone", "failed")


def summary(counters: Mapping[str, int]) -> str:
    """The counters of some passes in words: what was claimed, what became of it, what went to the index."""
    outcomes = Counter(dict.fromkeys(OUTCOMES, 0))
    for name, count in counters.items():
        outcome = name.partition(".")[0]
        if "." in name and outcome in OUTCOMES:
            outcomes[outcome] += count
    parts = [f"claimed {counters.get('claimed', 0)}"]
    parts += [f"{outcome} {outcomes[outcome]}" for outcome in OUTCOMES]
    parts.append(f"indexed {counters.get('indexed', 0) + counters.get('drained', 0)}")
    return ", ".join(parts)


class PassLog:
    """Adds up what passes counted and logs it once in `every`; minutes without a message are not mentioned.

    `now` is the clock (UTC).
    """

    def __init__(self, now: Callable[[], dt.datetime], every: dt.timedelta = EVERY) -> None:
        self._now = now
        self._every = every
        self._since = now()
        self._passes = 0
        self._counters: Counter[str] = Counter()

    def add(self, counters: Mapping[str, int]) -> None:
        """One more pass has ended with these counters."""
        self._passes += 1
        self._counters.update(counters)
        self.look()

    def look(self) -> None:
        """Log what has added up if its time is over: asked while nothing happens too, or the last passes would stay unsaid."""
        if self._passes and abs(self._now() - self._since) >= self._every:
            self.flush()

    def flush(self) -> None:
        """Log what has added up, if it speaks of any message."""
        if self._counters["claimed"] or any("." in name for name in self._counters):
            _log.info("%d passes: %s", self._passes, summary(self._counters))
        self._since = self._now()
        self._passes = 0
        self._counters.clear()
