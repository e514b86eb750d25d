"""Rows on the screen: a table for people, JSON lines for programs."""

from __future__ import annotations

import datetime as dt
import io
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import click

Format = Literal["table", "jsonl"]
Column = tuple[str, Callable[[Mapping[str, Any]], Any]]
"""A table column: its title, and what of a row it shows."""

format_option = click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "jsonl"]),
    default="table",
    show_default=True,
    help="How to print.",
)


_CONTROLS = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029]
_TURNS = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_SHOWN = dict.fromkeys(_CONTROLS, "\ufffd") | dict.fromkeys(_TURNS, "\u200e") | dict.fromkeys([0x09, 0x0A, 0x0D], " ")


def shown(text: str) -> str:
    """`text` of mail or CRM for a line on the screen: nothing in it commands a terminal or turns the line's direction around.

    As many characters as before.
    """
    return text if text.isascii() and text.isprintable() else text.translate(_SHOWN)


def iso(time: dt.datetime | None) -> str | None:
    """`time` as RFC 3339 in UTC with microseconds, always of the same width: 2026-05-04T10:20:30.000000Z."""
    return (
        None if time is None else time.astimezone(dt.UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    )


def short(time: dt.datetime | str | None) -> str:
    """A time for people, to the minute, in UTC. Takes what `iso` gives, too."""
    if time is None:
        return ""
    text = time if isinstance(time, str) else iso(time) or ""
    return text[:16].replace("T", " ")


def write_jsonl(rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line, keys in the order given, in UTF-8 whatever the locale's encoding is."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    for row in rows:
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], *, empty: str) -> None:
    """A table for people, page by page so that a long listing starts at once; `empty` where there are no rows."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    screen = Console(soft_wrap=False, highlight=False)
    if not screen.is_terminal:
        screen = Console(width=160, highlight=False)
    remaining, any_row = iter(rows), False
    while page := list(itertools.islice(remaining, 500)):
        table = Table(box=box.SIMPLE_HEAD, show_header=not any_row, pad_edge=False)
        for title, _ in columns:
            table.add_column(title, overflow="fold")
        for row in page:
            table.add_row(*(Text("" if (value := show(row)) is None else shown(str(value))) for _, show in columns))
        screen.print(table)
        any_row = True
    if not any_row:
        click.echo(empty)


def write(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], format_: Format, *, empty: str) -> None:
    """`rows` in the form that was asked for. An empty listing as jsonl prints nothing."""
    if format_ == "jsonl":
        write_jsonl(rows)
    else:
        write_table(rows, columns, empty=empty)
