"""The database's tables, and the key that encrypts the stored tokens."""

from __future__ import annotations

import click

from .context import Settings, with_settings


@click.group()
def db() -> None:
    """Make or upgrade the database's tables."""


@db.command()
@with_settings
def upgrade(settings: Settings) -> None:
    """Bring the tables to this release's schema, with what is in them. Safe to run again."""
    from ..io import migrate
    from ..io.database import Database

    file = settings.sqlite_file
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    database = Database(settings.spec())
    try:
        before = migrate.current(database)
        migrate.upgrade(database)
        after = migrate.current(database)
    finally:
        database.close()
    click.echo(f"schema {after}" + (": nothing to do" if before == after else f" (it was {before or 'empty'})"))


@db.command()
@with_settings
def check(settings: Settings) -> None:
    """Say whether this release can work with the tables; exit code 1 where it cannot."""
    from ..io import migrate

    with settings.open_database():
        click.echo(f"schema {migrate.newest()}: as this release needs it")


@click.group()
def keys() -> None:
    """The key that encrypts the stored tokens."""


@keys.command()
@with_settings
def rotate(settings: Settings) -> None:
    """Encrypt all stored tokens with the newest key.

    Put the new key in front of the old one in the secret, separated by a comma or white space, and keep the old one there.
    """
    from ..io import vault
    from .connecting import open_vault

    with settings.open_database() as database:
        renewed = vault.rotate(database, open_vault(settings))
    click.echo(f"{renewed} tokens are encrypted with the newest key; keep the older ones in the list.")
