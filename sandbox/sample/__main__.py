"""`python -m dealmail.sandbox.sample --out DIR`: write the sample mailboxes as files."""

from __future__ import annotations

import datetime as dt
import pathlib

import click

from .files import write_files
from .world import build_world


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=pathlib.Path), help="Folder to write to."
)
@click.option("--seed", default=0, show_default=True, help="Another seed gives other times and ids.")
@click.option(
    "--now",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="End of the three months (UTC); now if not given.",
)
def main(out: pathlib.Path, seed: int, now: dt.datetime | None) -> None:
    """Write the sample's mailboxes as mbox files, its CRM, and the decision that each message must get."""
    world = build_world(now.replace(tzinfo=dt.UTC) if now else dt.datetime.now(dt.UTC), seed)
    try:
        paths = write_files(world, out)
    except OSError as error:
        reason = f"cannot write to {out}: {error.strerror}; name another folder with --out"
        raise click.ClickException(reason) from None
    for path in paths:
        click.echo(str(path))


if __name__ == "__main__":
    main()
