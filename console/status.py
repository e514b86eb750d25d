"""`dealmail status`: how each mailbox is doing, what to do about it, and what waits."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable
from typing import Any

import click
import sqlalchemy as sa

from ..io import search_plan
from ..io.database import Database
from ..io.ledger import RESTING
from ..io.mailboxes import Mailboxes, MailboxRow
from ..io.quota import PROJECT, spent_lately
from ..io.schema import listing, message
from ..transforms.decisions import MAILBOX_STATES
from . import queries
from .context import Settings, with_settings
from .reading import SYNCING, mailbox_progress, until, why
from .tables import Format, format_option, iso, write_jsonl


def push_health(box: MailboxRow, now: dt.datetime) -> str:
    """What a mailbox's push is worth: as io/watch.py says it, and `off` where nothing is read at all."""
    from ..io.watch import health

    return health(box, now) if box.import_on and box.state in {"live", "first_sync", "quota_delayed"} else "off"


def mailbox_status(database: Database, team_id: str, now: dt.datetime) -> list[dict[str, Any]]:
    """One row for each mailbox of the team, by address; the fields of docs/console.md."""
    boxes = Mailboxes(database, lambda: now).all(team_id)
    with database.reading() as connection:
        counts: dict[tuple[str, str], int] = {
            (row[0], row[1]): row[2]
            for row in connection.execute(
                sa.select(message.c.mailbox_id, message.c.state, sa.func.count())
                .where(message.c.team_id == team_id)
                .group_by(message.c.mailbox_id, message.c.state)
            )
        }
        parked: dict[str, int] = {
            row[0]: row[1]
            for row in connection.execute(
                sa.select(message.c.mailbox_id, sa.func.count())
                .where(message.c.team_id == team_id, message.c.outcome == "parked")
                .group_by(message.c.mailbox_id)
            )
        }
        walks: dict[str, int] = {
            row[0]: row[1]
            for row in connection.execute(
                sa.select(listing.c.mailbox_id, sa.func.count())
                .where(listing.c.team_id == team_id, listing.c.finished_at.is_(None))
                .group_by(listing.c.mailbox_id)
            )
        }
        used = spent_lately(connection, now, [box.id for box in boxes])
        far_of = {
            box.id: mailbox_progress(
                connection, box, counts.get((box.id, "pending"), 0), counts.get((box.id, "decided"), 0), now
            )
            for box in boxes
        }
    rows = []
    for box in boxes:
        far, checked = far_of[box.id], search_plan.check(database, box.id)
        rows.append(
            {
                "mailbox": box.address,
                "mailbox_id": box.id,
                "team": team_id,
                "import_on": box.import_on,
                "state": box.state,
                "state_reason": box.state_reason,
                "state_since": iso(box.state_since),
                "to_do": MAILBOX_STATES.get(box.state, ""),
                "done": far["done"],
                "total": far["total"],
                "done_at": iso(far["done_at"]),
                "listings_open": walks.get(box.id, 0),
                "pending": counts.get((box.id, "pending"), 0),
                "parked": parked.get(box.id, 0),
                "window_from": iso(box.window_from),
                "confirmed_at": iso(box.confirmed_at),
                "last_check_at": iso(box.last_poll_at),
                "next_check_at": None if box.state in RESTING else iso(box.next_poll_at),
                "last_mail_at": iso(box.last_mail_at),
                "last_push_at": iso(box.last_push_at),
                "push": push_health(box, now),
                "watch_expires_at": iso(box.watch_expires_at),
                "watch_error": box.watch_error,
                "paused_until": iso(box.not_before) if box.not_before and box.not_before > now else None,
                "expired_cursors": box.expired_cursors,
                "quota_units_last_minute": used.get(box.id, 0),
                "search_check": None if checked is None else dataclasses.asdict(checked),
            }
        )
    return rows


def ago(text: str | None, now: dt.datetime) -> str:
    """How long `text` (as `iso` gives it) lies back, in one unit."""
    if text is None:
        return "never"
    seconds = int((now - dt.datetime.fromisoformat(text)).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{max(0, seconds)} s ago"


def told(row: dict[str, Any], now: dt.datetime) -> Iterable[str]:
    """A mailbox's status in lines: the state first, then only what is worth a word."""
    state = row["state"]
    far = f"{row['done']} of about {row['total']}"
    is_read = row["total"] > 0 and row["done"] >= row["total"] and not (row["pending"] or row["listings_open"])
    if state == "first_sync" and is_read:  # the job says live at its next look at the mailbox
        head = f"first sync done: {row['done']} messages, last check {ago(row['last_check_at'], now)}"
    elif state in SYNCING:
        head = f"{state}: {far}" + (f", done by {until(row['done_at'], now)}" if row["done_at"] else "")
    elif state == "live":
        mail = "no new mail since its first sync" if row["last_mail_at"] is None and row["done"] else ""
        mail = mail or f"last mail {ago(row['last_mail_at'], now)}"
        head = f"live: {mail}, last check {ago(row['last_check_at'], now)}"
    else:
        head = state + (f" ({row['state_reason']})" if row["state_reason"] else "")
    yield f"{row['mailbox']}  {head}"
    if state not in {"live", "first_sync"}:
        yield f"    {row['to_do']}"
    if reason := why(row):
        yield f"    {reason}" + (f" at {row['paused_until'][11:19]} UTC." if row["paused_until"] else ".")
    if row["pending"] and state == "live":
        yield f"    {row['pending']} messages wait for their decision."
    if row["parked"]:
        yield f"    {row['parked']} messages are parked: `dealmail retry --mailbox {row['mailbox']}` tries them again."
    if row["push"] == "failing":
        yield f"    Push does not work ({row['watch_error']}); the mailbox is polled all the same."
    elif row["push"] == "silent":
        yield "    Polling found mail that no push announced for half an hour: look at the Pub/Sub topic and its permissions."
    elif row["push"] in {"off", "expired"} and state == "live":
        yield "    No push is set up: new mail is found by polling."
    if checked := row["search_check"]:
        yield (
            f"    Its first sync asked Gmail's search, which did not find {checked['unseen']} messages: of {checked['sampled']} of "
            f"them that were read all the same {checked['missed']} were a customer's."
            + (" The next audit has the others read." if checked["missed"] else "")
        )
    if row["expired_cursors"]:
        yield f"    Gmail's history expired {row['expired_cursors']} times; what was missed was listed again."


@click.command()
@format_option
@with_settings
def status(settings: Settings, format_: Format) -> None:
    """How each mailbox is doing, with what to do about it; then what waits to be indexed, and the quota."""
    now = dt.datetime.now(dt.UTC)
    if settings.search or settings.sqlite_file is not None:
        settings.search_spec()  # nothing is asked of it, but a wrong one is told here too
    with settings.open_database() as database:
        team_id = settings.team_id(database)
        rows = mailbox_status(database, team_id, now)
        waits = queries.outbox(database, team_id)
        if format_ == "jsonl":
            waiting = {
                "index_waiting": waits["waiting"],
                "index_refused": waits["refused"],
                "index_oldest_at": iso(waits["oldest"]),
            }
            write_jsonl([row | waiting for row in rows])
            return
        for row in rows:
            for line in told(row, now):
                click.echo(line)
        if not rows:
            click.echo("no mailboxes yet; `dealmail connect ADDRESS` adds one")
        since = f", the oldest since {ago(iso(waits['oldest']), now)}" if waits["oldest"] else ""
        click.echo(
            f"search index: {waits['waiting']} engagements wait for it{since}, {waits['refused']} were refused by it"
        )
        with database.reading() as connection:
            project = spent_lately(connection, now).get(PROJECT, 0)
        click.echo(f"Gmail quota: {project} units used in the last minute")
