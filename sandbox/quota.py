"""Gmail's quota: units per user and per project by the minute, and requests of one user at the same time.

The costs and limits are those for projects that began on or after 2026-05-01 (Google's page "Usage limits"); what a refusal
says is what others saw: the minute quota answers 403 `rateLimitExceeded`, bursts and concurrency answer 429.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from .api_error import ApiError

COSTS = {
    "getProfile": 1,
    "labels.list": 1,
    "labels.get": 1,
    "messages.list": 5,
    "messages.get": 20,
    "messages.attachments.get": 20,
    "threads.list": 10,
    "threads.get": 40,
    "drafts.list": 5,
    "history.list": 2,
    "watch": 100,
    "stop": 50,
}


@dataclass(frozen=True)
class Limits:
    """0 switches a limit off. `user` and `project` are units a minute, `burst` units a user and second,
    `concurrent` requests of one user in flight (a batch counts one for each ten calls begun).
    """

    user: int = 6_000
    project: int = 1_200_000
    burst: int = 0
    concurrent: int = 10

    def __post_init__(self) -> None:
        for name in ("user", "project", "burst", "concurrent"):
            if getattr(self, name) < 0:
                msg = f"limit {name} is {getattr(self, name)}; give 0 (no limit) or more"
                raise ValueError(msg)


class Quota:
    """Counts units by minute and refuses what goes beyond. Refused requests cost nothing."""

    def __init__(self, now: Callable[[], float], limits: Limits | None = None) -> None:
        self._now = now
        self.limits = limits or Limits()
        self._lock = threading.Lock()
        self._users: dict[tuple[int, str], int] = defaultdict(int)
        self._projects: dict[int, int] = defaultdict(int)
        self._seconds: dict[str, tuple[int, int]] = {}
        self._in_flight: dict[str, int] = defaultdict(int)

    def set_limits(self, **changes: int) -> Limits:
        """Change limits while it runs.

        Raises:
            ValueError: a limit below 0. TypeError: no such limit.
        """
        self.limits = replace(self.limits, **changes)
        return self.limits

    def charge(self, user: str, method: str) -> None:
        """Take the units of one call.

        Raises:
            ApiError: the user's or the project's minute, or the user's second, is used up.
        """
        cost = COSTS.get(method, 5)
        now = self._now()
        minute, second = int(now // 60), int(now)
        limits = self.limits
        with self._lock:
            if limits.user and self._users[minute, user] + cost > limits.user:
                raise ApiError.minute_quota("Queries per minute per user")
            if limits.project and self._projects[minute] + cost > limits.project:
                raise ApiError.minute_quota("Queries per minute")
            at, used = self._seconds.get(user, (second, 0))
            used = used if at == second else 0
            if limits.burst and used + cost > limits.burst:
                raise ApiError.exhausted()
            self._seconds[user] = (second, used + cost)
            self._users[minute, user] += cost
            self._projects[minute] += cost

    def begin(self, user: str, slots: int = 1) -> int:
        """Take up to `slots` places of those a user has in flight; returns how many there were. Give them back by `end`."""
        with self._lock:
            free = self.limits.concurrent - self._in_flight[user] if self.limits.concurrent else slots
            taken = max(0, min(slots, free))
            self._in_flight[user] += taken
            return taken

    def end(self, user: str, slots: int) -> None:
        """Give places back."""
        with self._lock:
            self._in_flight[user] -= slots

    def ledger(self) -> list[dict[str, object]]:
        """Units by minute (seconds since 1970 at its start), user and project, oldest first."""
        with self._lock:
            users = [
                {"minute": minute * 60, "user": user, "units": units}
                for (minute, user), units in self._users.items()
                if units
            ]
            project = [
                {"minute": minute * 60, "user": "", "units": units} for minute, units in self._projects.items() if units
            ]
        return sorted(users + project, key=lambda row: (row["minute"], row["user"]))  # type: ignore[arg-type]  # int and str
