"""The ledger as a test looks at it: rows of the table `message`, as they stand."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from dealmail.io import schema
from dealmail.io.database import Database
from dealmail.io.ledger import Ledger


class ReadableLedger(Ledger):
    """A ledger whose rows can be read, too; columns are those of docs/tables.md."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._readable = database

    def explain(self, mailbox_id: str, gmail_id: str) -> sa.Row | None:
        """All the ledger knows of one message; None: it has never been looked at."""
        message = schema.message.c
        query = sa.select(schema.message).where(message.mailbox_id == mailbox_id, message.gmail_id == gmail_id)
        with self._readable.reading() as connection:
            return connection.execute(query).one_or_none()

    def rows(self, team_id: str) -> Sequence[sa.Row]:
        """The team's messages, pending and decided, by mailbox and Gmail id."""
        message = schema.message.c
        query = sa.select(schema.message).where(message.team_id == team_id)
        with self._readable.reading() as connection:
            return connection.execute(query.order_by(message.mailbox_id, message.gmail_id)).all()
