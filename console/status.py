"""`dealmail status`: how each mailbox is doing, what to do about it, and what waits."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

import click
import sqlalchemy as sa

from ..io.database import Database
from ..io.mailboxes import Mailboxes, MailboxRow
from ..io.schema import listing, message, quota_use
from ..transforms.decisions import MAILBOX_STATES
from . import queries
from .context import Settings, with_settings
from .tables import Format, format_option, iso, write_jsonl


def progress(found: int, decided: int, estimate: int, since: dt.datetime | None, now: dt.datetime) -> dict[str, Any]:
    """How far a first sync is: `done` of about `total` messages, and when it will be done at this pace (None: not known).

    Args:
        found: message ids in the ledger.
        decided: how many of them have their decision.
        estimate: Gmail's own estimate of the listing's size, which is often far off.
        since: when it began.
        now: the clock.
    """
    total = max(found, estimate)
    done_at = None
    if since is not None and decided and total > decided and now > since:
        done_at = now + (now - since) / decided * (total - decided)
    return {"done": decided, "total": total, "done_at": done_at}


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
        walks: dict[str, tuple[dt.datetime, int, int]] = {
            row[0]: (row[1], row[2], row[3])
            for row in connection.execute(
                sa.select(
                    listing.c.mailbox_id,
                    sa.func.min(listing.c.created_at, type_=listing.c.created_at.type),
                    sa.func.sum(
                        sa.case((listing.c.estimate > listing.c.listed, listing.c.estimate), else_=listing.c.listed)
                    ),
                    sa.func.sum(sa.case((listing.c.finished_at.is_(None), 1), else_=0)),
                )
                .where(listing.c.team_id == team_id)
                .group_by(listing.c.mailbox_id)
            )
        }
        used: dict[str, int] = {
            row[0]: row[1]
            for row in connection.execute(
                sa.select(quota_use.c.scope, quota_use.c.units).where(quota_use.c.minute == int(now.timestamp()) // 60)
            )
        }
    rows = []
    for box in boxes:
        pending, decided = counts.get((box.id, "pending"), 0), counts.get((box.id, "decided"), 0)
        began, estimate, open_walks = walks.get(box.id, (None, 0, 0))
        far = progress(pending + decided, decided, int(estimate or 0), began, now)
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
                "done_at": iso(far["done_at"]) if box.state in {"first_sync", "quota_delayed"} else None,
                "listings_open": int(open_walks or 0),
                "pending": pending,
                "parked": parked.get(box.id, 0),
                "window_from": iso(box.window_from),
                "confirmed_at": iso(box.confirmed_at),
                "last_check_at": iso(box.last_poll_at),
                "next_check_at": iso(box.next_poll_at),
                "last_mail_at": iso(box.last_mail_at),
                "last_push_at": iso(box.last_push_at),
                "push": push_health(box, now),
                "watch_expires_at": iso(box.watch_expires_at),
                "watch_error": box.watch_error,
                "paused_until": iso(box.not_before) if box.not_before and box.not_before > now else None,
                "expired_cursors": box.expired_cursors,
                "quota_units_this_minute": used.get(box.id, 0),
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
    if state in {"first_sync", "quota_delayed"}:
        until = f", done by {row['done_at'][11:16]} UTC" if row["done_at"] else ""
        head = f"{state}: {far}{until}"
    elif state == "live":
        head = f"live: last mail {ago(row['last_mail_at'], now)}, last check {ago(row['last_check_at'], now)}"
    else:
        head = state + (f" ({row['state_reason']})" if row["state_reason"] else "")
    yield f"{row['mailbox']}  {head}"
    if state not in {"live", "first_sync"}:
        yield f"    {row['to_do']}"
    if row["paused_until"]:
        yield f"    Gmail asked for a pause until {row['paused_until'][11:19]} UTC."
    if row["pending"] and state == "live":
        yield f"    {row['pending']} messages wait for their decision."
    if row["parked"]:
        yield f"    {row['parked']} messages are parked: `dealmail retry --mailbox {row['mailbox']}` tries them again."
    if row["push"] == "failing":
        yield f"    Push does not work ({row['watch_error']}); the mailbox is polled every 15 minutes all the same."
    elif row["push"] == "silent":
        yield "    Polling found mail that no push announced for half an hour: look at the Pub/Sub topic and its permissions."
    elif row["push"] in {"off", "expired"} and state == "live":
        yield "    No push is set up: new mail is found by polling, every 15 minutes."
    if row["expired_cursors"]:
        yield f"    Gmail's history expired {row['expired_cursors']} times; what was missed was listed again."


@click.command()
@format_option
@with_settings
def status(settings: Settings, format_: Format) -> None:
    """How each mailbox is doing, with what to do about it; then what waits to be indexed, and the quota."""
    now = dt.datetime.now(dt.UTC)
    with settings.open_database() as database:
        team_id = settings.team_id(database)
        rows = mailbox_status(database, team_id, now)
        if format_ == "jsonl":
            write_jsonl(rows)
            return
        for row in rows:
            for line in told(row, now):
                click.echo(line)
        if not rows:
            click.echo("no mailboxes yet; `dealmail connect ADDRESS` adds one")
        waits = queries.outbox(database, team_id)
        since = f", the oldest since {ago(iso(waits['oldest']), now)}" if waits["oldest"] else ""
        click.echo(
            f"search index: {waits['waiting']} engagements wait for it{since}, {waits['refused']} were refused by it"
        )
        with database.reading() as connection:
            minute = int(now.timestamp()) // 60
            project = connection.scalar(
                sa.select(quota_use.c.units).where(quota_use.c.scope == "project", quota_use.c.minute == minute)
            )
        click.echo(f"Gmail quota: {project or 0} units used this minute")
