"""`python -m dealmail.sandbox`: the sandbox as a process of its own, until it is told to stop."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import threading
from types import FrameType

import click

from .faults import parse_spec
from .gmail_server import Options
from .mail_sources import MailSourceError, parse_mail_option
from .payload import DEFAULT_INLINE_LIMIT
from .quota import Limits
from .service import Sandbox, Settings, load_all

PARENT_CHECK_SECONDS = 0.5


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port", default=0, show_default=True, help="Port of Gmail and OAuth over HTTP; 0 takes a free one.")
@click.option("--pubsub-port", default=0, show_default=True, help="Port of Pub/Sub over gRPC; 0 takes a free one.")
@click.option(
    "--ready-file", type=click.Path(path_type=pathlib.Path), help="Written with the endpoints once it listens."
)
@click.option(
    "--mail", multiple=True, metavar="ADDR=PATH", help="A mailbox and its mail: mbox, Maildir, folder of .eml, .eml."
)
@click.option("--faults", default="", metavar="SPEC", help="Faults, as 429=0.05,500=0.02,lost=0.2 (docs/sandbox.md).")
@click.option("--seed", default=0, show_default=True, help="Of all chance in it.")
@click.option(
    "--project", default="dealmail-sandbox", show_default=True, help="Google Cloud project of client and topic."
)
@click.option("--user-units", default=6_000, show_default=True, help="Quota units a user and minute; 0 is no limit.")
@click.option(
    "--project-units", default=1_200_000, show_default=True, help="Quota units of the project a minute; 0 is no limit."
)
@click.option("--concurrent", default=10, show_default=True, help="Requests of one user in flight; 0 is no limit.")
@click.option(
    "--inline-limit",
    default=DEFAULT_INLINE_LIMIT,
    show_default=True,
    help="Bytes of text above which a body is fetched apart.",
)
@click.option("--die-with-parent", is_flag=True, help="End when the process that started this one ends.")
def main(
    port: int,
    pubsub_port: int,
    ready_file: pathlib.Path | None,
    mail: tuple[str, ...],
    faults: str,
    seed: int,
    project: str,
    user_units: int,
    project_units: int,
    concurrent: int,
    inline_limit: int,
    *,
    die_with_parent: bool,
) -> None:
    """Serve Gmail and Pub/Sub on loopback over mail from files. Prints the endpoints as one line of JSON."""
    parent = os.getppid()
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    try:
        settings = Settings(
            port=port,
            pubsub_port=pubsub_port,
            project=project,
            seed=seed,
            limits=Limits(user=user_units, project=project_units, concurrent=concurrent),
            rules=tuple(parse_spec(faults)),
            options=Options(inline_limit=inline_limit),
        )
        sandbox = Sandbox(settings)
        for option in mail:
            load_all(sandbox, parse_mail_option(option))
    except (ValueError, MailSourceError) as error:
        raise click.UsageError(str(error)) from None
    text = json.dumps({**sandbox.start(), "pid": os.getpid()})
    if ready_file:
        partial = ready_file.with_name(ready_file.name + ".part")
        partial.write_text(text)
        partial.replace(ready_file)
    click.echo(text)
    # Polled, because Linux's parent-death signal comes when the starting *thread* ends, and other systems have none.
    while not stop.wait(PARENT_CHECK_SECONDS if die_with_parent else None):
        if die_with_parent and os.getppid() != parent:
            break
    sandbox.close()


if __name__ == "__main__":
    main()
