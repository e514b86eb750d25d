"""`dealmail rules`: the rules in words, the signals of automated mail, and what another rule set would change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from ..transforms.clock import utc_now
from .connecting import connected_mailbox, google_settings, open_vault
from .context import BadInputError, Settings, with_settings
from .tables import Format, format_option, write

if TYPE_CHECKING:
    from ..transforms.automated_evidence import Evidence
    from ..transforms.crm_directory import CrmDirectory
    from ..transforms.records import NormalizedMessage


@click.group()
def rules() -> None:
    """Show the rules, and what another rule set would change."""


@rules.command()
@format_option
@with_settings
def show(_settings: Settings, format_: Format) -> None:
    """Every rule of a decision, with what it means."""
    from ..transforms.decisions import RULES

    write(
        [{"rule": name, "meaning": meaning} for name, meaning in RULES.items()],
        [("rule", lambda row: row["rule"]), ("a message gets it because", lambda row: row["meaning"])],
        format_,
        empty="",
    )


@rules.command()
@format_option
@with_settings
def signals(_settings: Settings, format_: Format) -> None:
    """Every signal of automated mail: what it speaks for, where it comes from, and its weight in the newest rule set."""
    from ..transforms import automated

    write(
        [
            {"signal": name, "kind": kind, "source": source, "weight": weight}
            for name, kind, source, weight in automated.describe()
        ],
        [
            ("signal", lambda row: row["signal"]),
            ("speaks for", lambda row: row["kind"]),
            ("weight", lambda row: "certain" if row["weight"] is None else f"{row['weight']:+.2f}"),
            ("source", lambda row: row["source"]),
        ],
        format_,
        empty="",
    )


@rules.command()
@click.argument("mailbox")
@click.option("--new", "new_version", required=True, help="The rule set to try, by version.")
@click.option(
    "--limit", type=click.IntRange(1), default=200, show_default=True, help="Messages to look at, newest first."
)
@with_settings
def shadow(settings: Settings, mailbox: str, new_version: str, limit: int) -> None:
    """Judge the mail of MAILBOX's window by the team's rule set and by another one, and show what would change.

    Nothing is stored. The examples are Gmail ids.
    """
    from ..io.crm import load_directory
    from ..io.google_signin import GmailAccounts
    from ..transforms import automated
    from .window import Window

    known = automated.rule_sets()
    if new_version not in known:
        raise BadInputError(f"there is no rule set {new_version}; rule sets: {', '.join(sorted(known))}")
    with settings.open_database() as database:
        team_id = settings.team_id(database)
        box = connected_mailbox(database, team_id, mailbox)
        accounts = GmailAccounts(database, open_vault(settings), google_settings(settings), utc_now)
        directory = load_directory(database, team_id)
        window = Window(database, accounts, box, limit)
        mails = evidence_of(window.messages(), directory, window.counts.unread)
        report = automated.compare(
            automated.rule_set(directory.settings), known[new_version], mails, directory.settings
        )
    for line in report.lines():
        click.echo(line)
    for error, number in sorted(window.counts.unread.items()):
        click.echo(f"{number:6d}  could not be read ({error})")
    for (old, new), ids in report.examples.items():
        click.echo(f"  {old} -> {new}: for example {', '.join(ids)}")


def evidence_of(
    messages: Iterable[NormalizedMessage], directory: CrmDirectory, unread: Counter[str]
) -> Iterator[tuple[str, Evidence]]:
    """(Gmail id, what the rules look at) of each message; one that cannot be read is counted in `unread` by its error, and left out."""
    from ..transforms.automated_evidence import Evidence
    from ..transforms.errors import MalformedMessageError
    from ..transforms.google_groups import unmask
    from ..transforms.plain_text import read_text

    for message in (unmask(one, directory) for one in messages):
        is_contact = message.sender is not None and directory.is_person(message.sender.address)
        try:
            body = read_text(message.payload)
            evidence = Evidence.of(message, body, is_contact=is_contact)
        except MalformedMessageError as error:
            unread[type(error).__name__] += 1
            continue
        yield message.claim.gmail_id, evidence
