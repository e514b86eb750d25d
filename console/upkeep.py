"""The database's tables and files, and the key that encrypts the stored tokens."""

from __future__ import annotations

import click

from .context import BadInputError, Settings, with_settings


@click.group()
def db() -> None:
    """Make, upgrade or scrub the database's tables."""


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


@db.command()
@click.argument("user")
@with_settings
def grants(settings: Settings, user: str) -> None:
    """Print what an administrator of MariaDB runs so that the job's USER can work with the tables.

    It can do anything with them but change or remove lines of the consent log.
    """
    import sqlalchemy as sa

    from ..io.grants import grants as statements

    url = sa.make_url(settings.spec().url)
    if url.get_backend_name() == "sqlite":
        raise BadInputError("SQLite has no users; whoever can write its file can write all of it")
    try:
        lines = statements(url.database or "", user)
    except ValueError as error:
        raise BadInputError(str(error)) from None
    for line in lines:
        click.echo(f"{line};")


@db.command()
@with_settings
def tidy(settings: Settings) -> None:
    """Remove what the team's settings no longer keep: old mail, and copies of users who turned import off.

    The job does it by itself once a day, on every engine. The search index follows with the job's next pass.
    """
    from ..io.erasure import Erasing
    from ..io.key_choice import key_ref
    from ..io.opt_out import forget_opted_out
    from ..io.vault import Digests, read_keys
    from ..transforms.clock import utc_now

    with settings.open_database() as database:
        team_id = settings.team_id(database)
        digests = Digests(read_keys(key_ref(settings.token_key, settings.spec())))
        old = Erasing(database, utc_now, digests).retain(team_id)
        copies = forget_opted_out(database, team_id, utc_now)
    click.echo(
        f"removed: {old.engagements} engagements that are too old, {copies} copies of users who turned import off"
    )
    if old.engagements or copies:
        click.echo("The search index follows with the job's next pass.")


@db.command()
@with_settings
def scrub(settings: Settings) -> None:
    """Take the bytes of what was deleted out of the files of both stores. `dealmail erase` does it by itself.

    For after mail was removed by retention or an opt-out, or an erasure while the search index did not answer. On MariaDB it
    prints what an administrator has to run besides.
    """
    scrub_stores(settings)


def scrub_stores(settings: Settings) -> None:
    """Scrub index and database, and print what is left to do by hand, on stderr.

    Raises:
        StoreUnavailableError: one of them cannot be reached, or something else is using it.
    """
    from ..io.scrub import scrub as scrub_database
    from .searching import open_search

    with settings.open_database() as database, open_search(settings) as index:
        index.refresh()
        index.compact()
        left = scrub_database(database)
    if left and database.dialect == "mariadb":
        click.echo(
            "MariaDB's own logs still hold what was deleted, until they are overwritten. An administrator can do that now, in this"
            " database and one connection (docs/tables.md, Erasing):",
            err=True,
        )
        left = [f"  {statement};" for statement in left]
    for line in left:
        click.echo(line, err=True)


@click.group()
def keys() -> None:
    """The key that encrypts the stored tokens."""


@keys.command()
@with_settings
def rotate(settings: Settings) -> None:
    """Encrypt all stored tokens with the newest key.

    Put the new key in front of the old one in the secret, separated by a comma or white space, keep the old one there, and restart the
    job, before you run this: a job that does not know the new key could not open a token any more.
    """
    from ..io import vault
    from .connecting import open_vault

    with settings.open_database() as database:
        renewed = vault.rotate(database, open_vault(settings))
    click.echo(f"{renewed} tokens are encrypted with the newest key; keep the older ones in the list.")
