"""`dealmail erase`: a person's, a domain's, a mailbox's, a user's or old mail goes from both stores, and stays away."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from ..transforms.clock import utc_now
from .context import BadInputError, FailedError, Settings, with_settings
from .looking import mailbox_named
from .searching import DRAIN, a_time, open_outbox
from .tables import Format, format_option, write_jsonl
from .upkeep import scrub_stores

if TYPE_CHECKING:
    from ..io.erasure import ErasureReport


def report_row(what: str, done: ErasureReport, *, dry_run: bool, waiting: int) -> dict[str, Any]:
    """An erasure as `--format jsonl` shows it; the fields of docs/console.md."""
    return {
        "what": what,
        "dry_run": dry_run,
        "engagements": done.engagements,
        "copies": done.copies,
        "messages": done.messages,
        "tombstones": done.tombstones,
        "waiting_for_index": waiting,
    }


@click.command()
@click.option("--person", default="", help="All mail in which this address takes part.")
@click.option("--domain", default="", help="All mail in which this domain or a sub-domain takes part.")
@click.option("--mailbox", default="", help="This mailbox's copies, and what no other mailbox holds (address or id).")
@click.option("--user", default="", help="As --mailbox, for every mailbox of this user (id).")
@click.option("--before", help="All mail sent before this day or time, which must be past.")
@click.option("--dry-run", is_flag=True, help="Only count what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@format_option
@with_settings
def erase(
    settings: Settings,
    person: str,
    domain: str,
    mailbox: str,
    user: str,
    before: str | None,
    dry_run: bool,
    yes: bool,
    format_: Format,
) -> None:
    """Erase mail from the database and the search index for good, and keep any later sync from bringing it back.

    Say one of --person, --domain, --mailbox, --user and --before.
    """
    from ..io.erasure import Erasing, Erasure, ErasureError
    from ..io.key_choice import key_ref
    from ..io.search import open_index
    from ..io.vault import Digests, read_keys

    chosen = [name for name, value in vars_of(person, domain, mailbox, user, before).items() if value]
    if len(chosen) != 1:
        raise BadInputError("say one of --person, --domain, --mailbox, --user and --before")
    with settings.open_database() as database, contextlib.closing(open_index(settings.search_spec())) as index:
        team_id = settings.team_id(database)
        if mailbox:
            mailbox = mailbox_named(database, team_id, mailbox)["id"]
        digests = Digests(read_keys(key_ref(settings.token_key, settings.spec())))
        erasing = Erasing(database, utc_now, digests)
        try:
            wanted = Erasure(team_id, person, domain, mailbox, user, a_time(before, "--before"))
            done = erasing.preview(wanted)
            if not dry_run:
                if not yes:
                    click.confirm(f"Erase {_words(done)} for good?", abort=True, err=True)
                done = erasing.erase(wanted)
        except ErasureError as error:
            raise BadInputError(str(error)) from None
        waiting, down = 0, ""
        if not dry_run:
            outbox = open_outbox(database, index)  # an index that is down keeps nothing in the database
            outbox.release(team_id)  # what the index did not take before is tried now, not when its time has come
            while outbox.drain(DRAIN):
                pass
            backlog, down = outbox.backlog(team_id), outbox.down
            waiting = backlog.waiting + sum(backlog.parked.values())
    if format_ == "jsonl":
        write_jsonl([report_row(chosen[0], done, dry_run=dry_run, waiting=waiting)])
    else:
        click.echo(f"{'would go' if dry_run else 'erased'}: {_words(done)}")
    if waiting:
        why = down or "it refuses some; `dealmail status` says which"
        raise FailedError(
            f"{waiting} changes still wait for the search index ({why}); the job makes them as soon as it answers."
            " Then run `dealmail db scrub`, which takes the deleted bytes out of the files"
        )
    if not dry_run:
        scrub_stores(settings)


def vars_of(person: str, domain: str, mailbox: str, user: str, before: str | None) -> dict[str, str | None]:
    """The choices by name."""
    return {"person": person, "domain": domain, "mailbox": mailbox, "user": user, "before": before}


def _words(done: ErasureReport) -> str:
    return f"{done.engagements} engagements, {done.copies} copies in mailboxes, details of {done.messages} messages"
