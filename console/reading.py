"""How far the reading of a mailbox's old mail is, and why it may be waiting, in words."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import sqlalchemy as sa

from ..io.mailboxes import MailboxRow
from ..io.schema import listing, message

SYNCING: Final = ("first_sync", "quota_delayed")
"""States in which old mail may be on its way."""

WHY: Final = {
    "GmailUnavailableError": "Gmail did not answer, or badly; it is asked again",
    "TokenRefreshError": "Google's sign-in did not answer; the consent still stands, and it is asked again",
    "OAuthClientError": "Google refuses dealmail's OAuth client: is --oauth_client the one that consents were given to? They still stand; it is tried again",
    "ServiceAccountError": "Google refuses the service account: is the key in its file one that Google still has, and this machine's clock right? It is tried again",
    "GmailQuotaError": "Gmail's quota is used up for now; it goes on by itself",
    "GmailRequestError": "Gmail refuses a request of dealmail's, which only a look at the job's log explains; it is tried again",
    "VaultError": "Its token cannot be opened: is the key that sealed it in the list (--token_key), and was the job restarted since a new one came? It is tried again",
    "SecretNotFoundError": "A secret cannot be read (the OAuth client, or the service account's key file); it is tried again",
}
"""What a mailbox's reason to wait means; the names are those of errors."""


def progress(done: int, total: int, since: dt.datetime | None, now: dt.datetime) -> dict[str, Any]:
    """How far a reading is: `done` of about `total` messages, and when it will be done at this pace (None: not known).

    Args:
        done: how many messages have their decision.
        total: how many there are; an estimate while Gmail's list is not at its end.
        since: when the reading began.
        now: the clock.
    """
    total = max(done, total)
    done_at = None
    if since is not None and done and total > done and now > since:
        done_at = now + (now - since) / done * (total - done)
    return {"done": done, "total": total, "done_at": done_at}


def mailbox_progress(
    connection: sa.Connection, box: MailboxRow, pending: int, decided: int, now: dt.datetime
) -> dict[str, Any]:
    """`progress` of a mailbox's first sync, or of the newest widening of its window; elsewhere all that is known of it."""
    if box.state not in SYNCING:
        return progress(decided, pending + decided, None, now)
    is_open = listing.c.finished_at.is_(None)
    newest, oldest_open, unlisted = connection.execute(
        sa.select(
            sa.func.max(listing.c.created_at, type_=listing.c.created_at.type),
            sa.func.min(sa.case((is_open, listing.c.created_at)), type_=listing.c.created_at.type),
            sa.func.sum(sa.case((sa.and_(is_open, listing.c.estimate > listing.c.listed), listing.c.estimate - listing.c.listed), else_=0)),
        ).where(listing.c.mailbox_id == box.id)
    ).one()  # fmt: skip
    since = oldest_open or newest
    if since is None:
        return progress(decided, pending + decided, None, now)
    done = connection.scalar(
        sa.select(sa.func.count()).where(
            message.c.mailbox_id == box.id, message.c.state == "decided", message.c.decided_at >= since
        )
    )
    return progress(done or 0, (done or 0) + pending + int(unlisted or 0), since, now)


def until(at: str, now: dt.datetime) -> str:
    """A time (as `iso` gives it) for people: HH:MM, with its day where that is not today's."""
    return f"{at[11:16]} UTC" if at[:10] == now.date().isoformat() else f"{at[:10]} {at[11:16]} UTC"


def why(row: dict[str, Any]) -> str:
    """What a mailbox waits for, in words, or ""."""
    return WHY.get(row["state_reason"].partition(" x")[0], "")
