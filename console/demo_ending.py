"""What the demo prints at its end: the funnel, one deal with its mail, and where everything is."""

from __future__ import annotations

import pathlib
import sys
import textwrap
from collections.abc import Sequence

import click

from .demo_report import Report, median
from .demo_stores import Stores
from .tables import short, shown

WIDTH = 40
TIMELINE = 8


def print_ending(
    report: Report, stores: Stores, paths: Sequence[pathlib.Path], folder: pathlib.Path, team_id: str
) -> None:
    """Print it all, for a terminal or a log."""
    most = max((number for _, number in report.funnel), default=0) or 1
    click.echo("\nFunnel")
    for step, number in report.funnel:
        click.echo(f"  {step:<33}{number:>7}  {'█' * round(WIDTH * number / most)}")
    click.echo("\nNot imported, by rule")
    for outcome, rule, number in report.rules:
        if outcome != "imported":
            click.echo(f"  {rule:<33}{number:>7}")
    click.echo(f"\n{shown(report.deal)}: {len(report.timeline)} mails")
    for row in report.timeline[-TIMELINE:]:
        arrow = "->" if row["direction"] == "outbound" else "<-"
        who = row["sender"]["name"] or row["sender"]["address"]
        click.echo(f"  {short(row['timestamp'])} {arrow} {shown(who)}: {click.style(shown(row['subject']), bold=True)}")
        first = " ".join(row["text"].split())
        if first:
            click.echo(f"      {textwrap.shorten(shown(first), 100, placeholder=' …')}")
    click.echo("")
    if report.push_seconds:
        click.echo(
            f"{len(report.push_seconds)} messages arrived while the job ran: decided and stored {median(report.push_seconds)} s "
            f"after delivery (median), {max(report.push_seconds):.2f} s at the most."
        )
    if report.audit:
        click.echo(f"Audit against Gmail: {min(report.audit.values()):.1f} % complete.")
    if report.checked is not None:
        click.echo(f"Decisions as expected: {report.checked[0]} of {report.checked[1]}.")
    if report.checked is None:
        starts = [row["window_from"][:10] for row in report.mailboxes if row["window_from"]]
        if starts:
            click.echo(
                f"The look-back starts on {min(starts)}: a week ago, or the day the mailbox owner's oldest open opportunity was "
                "opened (columns owner and opened_on of the CRM file)."
            )
    own = pathlib.Path(sys.executable).with_name("dealmail")  # the shell need not know it by name
    command = " ".join([str(own) if own.exists() else "dealmail", *stores.options("-")])
    click.echo(f"Stores    {stores.told}")
    click.echo(f"Report    {paths[0]} and {paths[1].name}")
    click.echo(f"Job's log {folder / 'job.log'}")
    if stores.database.url.startswith("sqlite"):
        click.echo(f"Look on   {command} engagements   (or: status, decisions, explain, search; `dealmail --help`)")
