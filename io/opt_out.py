"""What becomes of a mailbox's copies when its user turns import off: the team's policy on_opt_out says it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import sqlalchemy as sa

from ..transforms.settings import TeamSettings
from . import mailboxes, removal, schema
from .database import Database
from .take_back import PENDING_AGAIN

_PAGE = 200
_message = schema.message.c
_copy = schema.engagement_copy.c


def forget_copies(database: Database, mailbox: str, now: Callable[[], dt.datetime]) -> int:
    """Remove the copies of a mailbox whose import is off, if its team's policy is to erase them; how many.

    Their messages become pending, to be read again should the user ever come back. Works page by page: what a crash leaves, the
    next call removes.

    Raises:
        UnknownMailboxError: there is no such mailbox.
        StoreUnavailableError: the database cannot be reached.
    """

    def page(connection: sa.Connection) -> int:
        row = mailboxes.lock(database, connection, mailbox)
        settings = connection.scalar(sa.select(schema.team.c.settings).where(schema.team.c.id == row.team_id))
        if row.import_on or TeamSettings.from_json(settings or {}).on_opt_out != "erase":
            return 0
        held = sa.select(_copy.gmail_id).where(_copy.team_id == row.team_id, _copy.mailbox_id == mailbox)
        ids = list(connection.scalars(held.order_by(_copy.gmail_id).limit(_PAGE)))
        keys = [(mailbox, gmail_id) for gmail_id in ids]
        removal.remove_copies(database, connection, row.team_id, keys, now())
        removal.forget_context(connection, row.team_id, keys)
        connection.execute(
            sa.update(schema.message)
            .where(_message.mailbox_id == mailbox, _message.gmail_id.in_(ids), _message.outcome == "imported")
            .values(**PENDING_AGAIN, lane=1)
        )
        return len(ids)

    count = 0
    while found := database.transaction(page):
        count += found
    return count


def forget_opted_out(database: Database, team_id: str, now: Callable[[], dt.datetime]) -> int:
    """`forget_copies` for each of the team's mailboxes whose import is off and that still holds some; how many copies.

    Raises:
        StoreUnavailableError: the database cannot be reached.
    """
    box = schema.mailbox.c
    held = sa.exists().where(_copy.team_id == team_id, _copy.mailbox_id == box.id)
    query = sa.select(box.id).where(box.team_id == team_id, box.import_on.is_(False), held).order_by(box.id)
    with database.reading() as connection:
        left = list(connection.scalars(query))
    return sum(forget_copies(database, mailbox, now) for mailbox in left)
