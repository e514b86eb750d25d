"""`dealmail demo`: the whole job at work, on sample mailboxes or on a person's own mail, through a sandbox Gmail."""

from __future__ import annotations

import datetime as dt
import os
import pathlib
import signal

import click

from .context import BadInputError, FailedError, Settings, with_settings

VAR = pathlib.Path("var")


@click.command()
@click.option("--mail", help="Your own mail: an mbox, a Maildir or a folder of .eml; or ADDRESS=PATH,ADDRESS=PATH.")
@click.option("--owner", help="The address of the mailbox at --mail, where that is one path.")
@click.option("--crm", help="The CRM's CSV file, for your own mail.")
@click.option(
    "--stores",
    type=click.Choice(["embedded", "servers"]),
    default="embedded",
    show_default=True,
    help="SQLite and FTS5, or a private MariaDB and Elasticsearch.",
)
@click.option("--keep", type=click.Path(file_okay=False), help="Work folder. [default: a new one under ./var]")
@click.option("--preview", is_flag=True, help="Only say what would be imported and why not the rest; store no mail.")
@click.option("--plain", is_flag=True, help="Lines instead of a live display.")
@with_settings
def demo(
    _settings: Settings,
    mail: str | None,
    owner: str | None,
    crm: str | None,
    stores: str,
    keep: str | None,
    preview: bool,
    plain: bool,
) -> None:
    """Start a sandbox Gmail, sync its mailboxes, let new mail arrive, and report. Ends by itself; Ctrl-C ends it sooner.

    The common options are not used: the demo has its own database, in its work folder.
    """
    from .demo_stage import own_stage, sample_stage

    if mail is None and (owner or crm):
        raise BadInputError("OWNER and CRM go with MAIL=PATH")
    now = dt.datetime.now(dt.UTC)
    stage = sample_stage(now) if mail is None else own_stage(mail, owner, crm)
    from .demo_display import open_display
    from .demo_run import DemoFailedError, Run

    folder = pathlib.Path(keep) if keep else VAR / f"demo-{now.astimezone():%Y%m%d-%H%M%S}"
    if folder.exists() and any(folder.iterdir()):
        raise BadInputError(f"{folder} is not empty; name a new folder")
    # What is made here, by the job and the sandbox too, is mail: nobody else's business. Servers run as users of their own.
    mask = os.umask(0o077) if stores == "embedded" else None
    folder.mkdir(parents=True, exist_ok=True)
    before = signal.signal(signal.SIGTERM, _as_ctrl_c)
    try:
        run = Run(stage, folder, stores, lambda: open_display(plain=plain))
        if preview:
            run.preview()
        else:
            run.play()
    except DemoFailedError as error:
        raise FailedError(f"{error}; see {folder / 'job.log'}") from error
    finally:
        signal.signal(signal.SIGTERM, before)
        if mask is not None:
            os.umask(mask)


def _as_ctrl_c(*_unused: object) -> None:
    raise KeyboardInterrupt
