"""What the demo shows while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

import click

from .demo_progress import Snapshot

PLAIN_SECONDS = 2.0


class Display(Protocol):
    """Where the demo says what happens."""

    def say(self, text: str) -> None:
        """One line that stays."""

    def show(self, snapshot: Snapshot) -> None:
        """How far things are, now."""


class Pace:
    """Messages per second over the last few seconds."""

    def __init__(self, seconds: float = 3.0) -> None:
        self._seconds = seconds
        self._seen: deque[tuple[float, int]] = deque()

    def per_second(self, at: float, looked_at: int) -> float:
        """Take in one more observation and say the pace."""
        self._seen.append((at, looked_at))
        while len(self._seen) > 2 and at - self._seen[0][0] > self._seconds:
            self._seen.popleft()
        (first_at, first), (last_at, last) = self._seen[0], self._seen[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at else 0.0


class PlainDisplay:
    """Lines, for logs and pipes: one every few seconds while something changes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pace = Pace()
        self._next = 0.0
        self._last = ""

    def say(self, text: str) -> None:
        """One line."""
        click.echo(text)

    def show(self, snapshot: Snapshot) -> None:
        """A line, if it is time for one and it says something new."""
        pace = self._pace.per_second(snapshot.at, snapshot.looked_at)
        line = f"  {summary(snapshot)}"
        if self._clock() < self._next or line == self._last:
            return
        self._next, self._last = self._clock() + PLAIN_SECONDS, line
        click.echo(f"{line}  ({pace:.0f}/s)" if pace else line)


def summary(snapshot: Snapshot) -> str:
    """The totals in one line."""
    outcomes = snapshot.outcomes
    parts = [f"looked at {snapshot.looked_at} of {sum(view.total for view in snapshot.mailboxes)}"]
    parts += [f"{name} {outcomes[name]}" for name in ("imported", "dropped")]
    parts.append(f"failed {snapshot.failing + outcomes['parked']}")
    if outcomes["gone"]:
        parts.append(f"gone {outcomes['gone']}")
    if outcomes["pending"]:
        parts.append(f"waiting {outcomes['pending']}")
    return ", ".join(parts)


class LiveDisplay:
    """A table that is drawn again in place; lines that stay scroll above it."""

    def __init__(self, live: object) -> None:
        from rich.live import Live

        assert isinstance(live, Live)
        self._live = live
        self._pace = Pace()

    def say(self, text: str) -> None:
        """One line above the table."""
        self._live.console.print(text, highlight=False, markup=False)

    def show(self, snapshot: Snapshot) -> None:
        """Draw the table."""
        from rich import box
        from rich.columns import Columns
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        boxes = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for title in ("mailbox", "state", "", "looked at", "imported", "dropped", "parked"):
            boxes.add_column(
                title, justify="right" if title in {"looked at", "imported", "dropped", "parked"} else "left"
            )
        for view in snapshot.mailboxes:
            boxes.add_row(
                view.address,
                Text(view.state, style="green" if view.state == "live" else "yellow"),
                ProgressBar(total=max(view.total, 1), completed=view.decided, width=20),
                f"{view.decided}/{view.total}",
                *(str(view.outcomes[name]) for name in ("imported", "dropped", "parked")),
            )
        rules = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        rules.add_column("dropped by rule")
        rules.add_column("", justify="right")
        for rule, number in sorted(snapshot.rules.items(), key=lambda item: (-item[1], item[0]))[:10]:
            rules.add_row(rule, str(number))
        pace = self._pace.per_second(snapshot.at, snapshot.looked_at)
        line = Text(f"{summary(snapshot)}  ({pace:.0f}/s)", style="bold")
        self._live.update(Group(Columns([boxes, rules], padding=(0, 4)), line))


@contextlib.contextmanager
def open_display(*, plain: bool) -> Iterator[Display]:
    """A live display on a terminal, else (or if `plain`) lines."""
    from rich.console import Console

    screen = Console()
    if plain or not screen.is_terminal:
        yield PlainDisplay()
        return
    from rich.live import Live

    with Live(console=screen, refresh_per_second=8, transient=False) as live:
        yield LiveDisplay(live)
