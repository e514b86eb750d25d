"""`dealmail crm`: the team's CRM from a CSV file."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

import click

from ..transforms.clock import utc_now
from .context import DEFAULT_TEAM, BadInputError, Settings, with_settings
from .tables import Format, format_option, shown, write_jsonl

if TYPE_CHECKING:
    from ..io.blocked_mail import Purge

SOME = 5
"""So many domains are named of those that recognise nobody."""


@click.group()
def crm() -> None:
    """Bring in the team's accounts, contacts, leads, opportunities and blocklists."""


@crm.command(name="import")
@click.argument("file", type=click.Path(path_type=pathlib.Path))
@click.option("--team-name", default="", help="A name for the team.")
@click.option("--replace", is_flag=True, help="The file is the whole CRM: remove what it does not name.")
@with_settings
def import_(settings: Settings, file: pathlib.Path, team_name: str, replace: bool) -> None:
    """Import the CSV FILE; docs/crm.md lists its columns. Importing it again changes nothing.

    The team (--team, else `default`) is made where it is new, and so is a SQLite database.
    """
    from ..io import blocked_mail
    from ..io.crm import load_directory
    from ..io.crm_csv import CrmFileError
    from ..io.crm_import import import_csv
    from ..io.relink import relink
    from .connecting import forget_at_google

    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInputError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInputError(f"{file} is not UTF-8; save it as CSV UTF-8") from None
    with settings.open_database(create=True) as database:
        try:
            done = import_csv(
                database, settings.team or DEFAULT_TEAM, text, utc_now, team_name=team_name, replace=replace
            )
        except CrmFileError as error:
            raise BadInputError(f"{file} was not imported: {'; '.join(error.problems)}") from None
        forget_at_google(settings, database, settings.team or DEFAULT_TEAM, done.turned_off)
        moved, blocked = 0, blocked_mail.Purge()
        if done.is_change:
            directory = load_directory(database, settings.team or DEFAULT_TEAM)
            moved = relink(database, directory, utc_now)
            if done.tables["blocked"].added:
                blocked = blocked_mail.preview(database, directory)
    for name, change in done.tables.items():
        total = change.added + change.changed + change.unchanged
        if total or change.removed:
            removed = f", {change.removed} removed" if change.removed else ""
            click.echo(f"{name}: {total} ({change.added} new, {change.changed} changed{removed})")
    if idle := done.idle_domains:
        named = ", ".join(shown(domain) for domain in idle[:SOME]) + (", …" if len(idle) > SOME else "")
        click.echo(f"nobody is recognised by domains that many share, {len(idle)} in this file: {named}")
    if moved:
        click.echo(f"{moved} stored mails have other links now")
    if blocked.copies:
        click.echo(
            f"{blocked.copies} stored copies of mail ({blocked.engagements} mails altogether) name somebody who is blocked now;"
            " `dealmail crm purge` takes them away"
        )
    if not done.is_change:
        click.echo("nothing has changed")


@crm.command()
@click.option("--dry-run", is_flag=True, help="Only count what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@format_option
@with_settings
def purge(settings: Settings, dry_run: bool, yes: bool, format_: Format) -> None:
    """Take away stored mail that the blocklists of today keep out.

    It comes back if whoever is in it is unblocked; `dealmail erase` is for good. The search index follows with the job's next pass.
    """
    from ..io import blocked_mail
    from ..io.crm import load_directory

    with settings.open_database() as database:
        directory = load_directory(database, settings.team_id(database))
        found = blocked_mail.preview(database, directory)
        if not dry_run:
            if not yes:
                click.confirm(f"Take away {_mails(found)}?", abort=True, err=True)
            found = blocked_mail.purge(database, directory, utc_now)
    if format_ == "jsonl":
        write_jsonl([{"dry_run": dry_run, "engagements": found.engagements, "copies": found.copies}])
    else:
        click.echo(f"{'would go' if dry_run else 'gone'}: {_mails(found)}")


def _mails(found: Purge) -> str:
    return f"{found.copies} copies, {found.engagements} mails altogether"
