"""`dealmail crm`: the team's CRM from a CSV file."""

from __future__ import annotations

import datetime as dt
import pathlib

import click

from .context import DEFAULT_TEAM, BadInputError, Settings, with_settings


def utc_now() -> dt.datetime:
    """The time, UTC."""
    return dt.datetime.now(dt.UTC)


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
    from ..io.crm import load_directory
    from ..io.crm_csv import CrmFileError
    from ..io.crm_import import import_csv
    from ..io.relink import relink

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
        moved = 0
        if done.is_change:
            moved = relink(database, load_directory(database, settings.team or DEFAULT_TEAM), utc_now)
    for name, change in done.tables.items():
        total = change.added + change.changed + change.unchanged
        if total or change.removed:
            removed = f", {change.removed} removed" if change.removed else ""
            click.echo(f"{name}: {total} ({change.added} new, {change.changed} changed{removed})")
    if moved:
        click.echo(f"{moved} stored mails have other links now")
    if not done.is_change:
        click.echo("nothing has changed")
