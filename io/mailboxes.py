"""Mailboxes: their rows, the states a user sees, the import switch and its append-only consent log."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa

from ..transforms.decisions import MAILBOX_STATES
from ..transforms.errors import DealmailError, LostRaceError
from . import schema, take_back
from .database import Database
from .poll_times import next_poll

CLOCK_SKEW: Final = dt.timedelta(minutes=1)
"""So much may the clocks of two workers differ. A look that lies further ahead was dated by a clock that has gone back."""

FAR: Final = dt.timedelta(days=2)
"""Nothing waits longer. A time that lies further ahead was written by a clock that was wrong, and does not count."""

_TABLE = schema.mailbox


class UnknownMailboxError(DealmailError):
    """No such mailbox in this team. The text never holds an address."""


class NotListedError(DealmailError):
    """The CRM file left the mailbox's user out, so the mailbox must not be read. The text never holds an address."""

    def __init__(self, mailbox: str) -> None:
        super().__init__(
            f"the CRM lists the user of mailbox {mailbox} no more; add the user to the CRM file and import it"
        )


def mailbox_id(team_id: str, address: str) -> str:
    """The id of the mailbox `address` (any case) of the team: what logs show instead of the address."""
    return "m" + hashlib.sha256(f"{team_id}\0{address.strip().lower()}".encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True, slots=True)
class MailboxRow:
    """One row of the table `mailbox`; the columns are described in io/schema.py. Times are UTC."""

    id: str
    team_id: str
    user_id: str
    address: str
    import_on: bool
    state: str
    state_since: dt.datetime | None
    state_reason: str
    history_id: int | None
    cursor_seq: int
    confirmed_at: dt.datetime | None
    window_from: dt.datetime | None
    next_poll_at: dt.datetime | None
    last_poll_at: dt.datetime | None
    last_push_at: dt.datetime | None
    last_mail_at: dt.datetime | None
    unpushed_since: dt.datetime | None
    not_before: dt.datetime | None
    watch_expires_at: dt.datetime | None
    watch_renew_at: dt.datetime | None
    watch_error: str
    expired_cursors: int
    created_at: dt.datetime

    def is_poll_due(self, now: dt.datetime) -> bool:
        """Whether history is to be read, push or not. The register asks the same of the database."""
        is_ahead = self.last_poll_at is not None and self.last_poll_at > now + CLOCK_SKEW
        return is_ahead or self.next_poll_at is None or is_over(self.next_poll_at, now)

    def is_paused(self, now: dt.datetime) -> bool:
        """Whether Gmail asked for a pause that is not over."""
        return self.not_before is not None and not is_over(self.not_before, now)


def is_over(at: dt.datetime, now: dt.datetime) -> bool:
    """Whether a time to wait for has come, or cannot be meant."""
    return at <= now or at > now + FAR


_COLUMNS = [_TABLE.c[field.name] for field in dataclasses.fields(MailboxRow)]


@dataclasses.dataclass(frozen=True, slots=True)
class ConsentEntry:
    """One line of the consent log: who did what about a mailbox, and when (UTC)."""

    at: dt.datetime
    action: str
    actor: str
    detail: str


class Mailboxes:
    """The mailboxes of all teams. Whatever names a mailbox names its team too, or is a mailbox id."""

    def __init__(self, database: Database, now: Callable[[], dt.datetime]) -> None:
        self._database = database
        self._now = now

    def add(self, team_id: str, user_id: str, address: str) -> MailboxRow:
        """Make the mailbox known, import off; an existing one stays as it is, unless it is another user's (see `hand_over_in`)."""
        address = address.strip().lower()
        row = {
            "id": mailbox_id(team_id, address), "team_id": team_id, "user_id": user_id, "address": address,
            "import_on": False, "state": "not_connected", "state_since": self._now(), "created_at": self._now(),
        }  # fmt: skip

        def work(connection: sa.Connection) -> MailboxRow:
            self._database.insert_new(connection, _TABLE, [row])
            self.hand_over_in(connection, str(row["id"]), user_id, "dealmail")
            return read(connection, str(row["id"]))

        return self._database.transaction(work)

    def hand_over_in(self, connection: sa.Connection, mailbox: str, user_id: str, actor: str) -> None:
        """The mailbox is `user_id`'s from now on, within a transaction of the caller; nothing happens where it was before.

        Consent does not travel with a mailbox: import goes off as by `turn_off`, with the credential, and reading begins
        anew, in the new user's own window, once they have consented and turned import on.
        """
        row = lock(self._database, connection, mailbox)
        if row.user_id == user_id:
            return
        self._turn_off_in(connection, row, actor, "another user")
        walks = schema.listing.c
        connection.execute(sa.delete(schema.listing).where(walks.mailbox_id == mailbox, walks.finished_at.is_(None)))
        _set(
            connection, mailbox, user_id=user_id, history_id=None, confirmed_at=None, window_from=None, next_poll_at=None,
            not_before=None, unpushed_since=None, watch_error="",
        )  # fmt: skip

    def get(self, mailbox: str) -> MailboxRow:
        """The mailbox with the id `mailbox`.

        Raises:
            UnknownMailboxError: there is none.
        """
        with self._database.reading() as connection:
            return read(connection, mailbox)

    def all(self, team_id: str | None = None, *, import_on: bool | None = None) -> list[MailboxRow]:
        """The mailboxes of a team (None: of every team), by address."""
        query = sa.select(*_COLUMNS).order_by(_TABLE.c.team_id, _TABLE.c.address)
        if team_id is not None:
            query = query.where(_TABLE.c.team_id == team_id)
        if import_on is not None:
            query = query.where(_TABLE.c.import_on == import_on)
        with self._database.reading() as connection:
            return [MailboxRow(*row) for row in connection.execute(query)]

    def turn_on(self, mailbox: str, actor: str, detail: str = "") -> MailboxRow:
        """The user's toggle, on. The mailbox is due at once when it already has a credential.

        Raises:
            UnknownMailboxError: there is no such mailbox.
            NotListedError: the team's CRM leaves its user out.
        """

        def work(connection: sa.Connection) -> MailboxRow:
            row = lock(self._database, connection, mailbox)
            require_listed(connection, row)
            has_key = connection.scalar(
                sa.select(sa.literal(1)).where(
                    schema.credential.c.mailbox_id == mailbox, schema.credential.c.team_id == row.team_id
                )
            )
            state = ("first_sync" if row.history_id is None else "live") if has_key else "consent_wanted"
            if not row.import_on:
                log_consent(connection, row, "import_on", actor, self._now(), detail)
                _set(connection, mailbox, import_on=True, next_poll_at=None, **self._state(row, state))
                take_back.catch_up(connection, row.team_id, mailbox)
            return read(connection, mailbox)

        return self._database.transaction(work)

    def turn_off(self, mailbox: str, actor: str, detail: str = "") -> MailboxRow:
        """The user's toggle, off: from the return of this call on nothing more is written for the mailbox.

        Leases of work in flight become void, and nobody reads with the credential any more: it waits for `Endings` to stop the
        watch and revoke the token at Google.

        Raises:
            UnknownMailboxError: there is no such mailbox.
        """

        def work(connection: sa.Connection) -> MailboxRow:
            self.turn_off_in(connection, mailbox, actor, detail)
            return read(connection, mailbox)

        return self._database.transaction(work)

    def turn_off_in(self, connection: sa.Connection, mailbox: str, actor: str, detail: str = "") -> None:
        """`turn_off` within a transaction of the caller."""
        self._turn_off_in(connection, lock(self._database, connection, mailbox), actor, detail)

    def _turn_off_in(self, connection: sa.Connection, row: MailboxRow, actor: str, detail: str) -> None:
        end_credential(connection, row, actor, self._now())
        if not row.import_on:
            return
        log_consent(connection, row, "import_off", actor, self._now(), detail)
        _set(
            connection, row.id, import_on=False, watch_expires_at=None, watch_renew_at=None, cursor_seq=row.cursor_seq + 1,
            **self._state(row, "paused"),
        )  # fmt: skip
        message = schema.message.c
        connection.execute(
            sa.update(schema.message)
            .where(message.mailbox_id == row.id, message.state == "pending", message.lease.is_not(None))
            .values(lease=None, lease_until=None)
        )

    def set_state(self, mailbox: str, state: str, reason: str = "", **columns: Any) -> None:
        """Set the state a user sees (one of MAILBOX_STATES), its reason code, and other columns of the row with it.

        A paused mailbox stays paused.

        Raises:
            UnknownMailboxError: there is no such mailbox.
        """
        self._database.transaction(lambda connection: self.set_state_in(connection, mailbox, state, reason, **columns))

    def set_state_in(
        self, connection: sa.Connection, mailbox: str, state: str, reason: str = "", **columns: Any
    ) -> None:
        """`set_state` within a transaction of the caller."""
        row = lock(self._database, connection, mailbox)
        values = columns if row.state == "paused" and not row.import_on else columns | self._state(row, state, reason)
        if values:
            _set(connection, mailbox, **values)

    def log(self, mailbox: str, action: str, actor: str, detail: str = "") -> None:
        """Append to the consent log: import_on, import_off, granted, delegated, revoked or refused.

        Raises:
            UnknownMailboxError: there is no such mailbox.
        """
        self._database.transaction(
            lambda connection: log_consent(connection, read(connection, mailbox), action, actor, self._now(), detail)
        )

    def consents(self, mailbox: str) -> list[ConsentEntry]:
        """The mailbox's consent log, oldest first."""
        table = schema.consent.c
        query = (
            sa.select(table.at, table.action, table.actor, table.detail)
            .where(table.mailbox_id == mailbox)
            .order_by(table.id)
        )
        with self._database.reading() as connection:
            return [ConsentEntry(*row) for row in connection.execute(query)]

    def _state(self, row: MailboxRow, state: str, reason: str = "") -> dict[str, Any]:
        if state not in MAILBOX_STATES:
            msg = f"unknown mailbox state {state!r}; one of {', '.join(MAILBOX_STATES)}"
            raise ValueError(msg)
        since = row.state_since if row.state == state else self._now()
        return {"state": state, "state_reason": reason[:255], "state_since": since}


def read(connection: sa.Connection, mailbox: str) -> MailboxRow:
    """The row, as the connection sees it.

    Raises:
        UnknownMailboxError: there is none.
    """
    found = connection.execute(sa.select(*_COLUMNS).where(_TABLE.c.id == mailbox)).one_or_none()
    if found is None:
        msg = f"no mailbox {mailbox}; `dealmail mailboxes` lists them"
        raise UnknownMailboxError(msg)
    return MailboxRow(*found)


def lock(database: Database, connection: sa.Connection, mailbox: str) -> MailboxRow:
    """The row, nobody else's to change until the transaction ends.

    Raises:
        UnknownMailboxError: there is none.
    """
    if database.dialect != "sqlite":
        connection.execute(sa.select(_TABLE.c.id).where(_TABLE.c.id == mailbox).with_for_update())
    return read(connection, mailbox)


def advance(connection: sa.Connection, row: MailboxRow, **columns: Any) -> MailboxRow | None:
    """Compare-and-set: set `columns` and move cursor_seq on, if nobody has moved it since `row` was read and import is on.

    Returns the new row; None: somebody else was first, or import is off. Holds the row's lock from here on.
    """
    moved = connection.execute(
        sa.update(_TABLE)
        .where(_TABLE.c.id == row.id, _TABLE.c.cursor_seq == row.cursor_seq, _TABLE.c.import_on.is_(True))
        .values(cursor_seq=row.cursor_seq + 1, **columns)
    ).rowcount
    return read(connection, row.id) if moved else None


def must_advance(connection: sa.Connection, row: MailboxRow, **columns: Any) -> MailboxRow:
    """`advance`, where being too late ends all that was to be done.

    Raises:
        LostRaceError: somebody else was first, or import is off.
    """
    moved = advance(connection, row, **columns)
    if moved is None:
        raise LostRaceError(row.id)
    return moved


def look_soon(connection: sa.Connection, mailbox: str, now: dt.datetime) -> None:
    """Have the mailbox looked at as soon as it may be, whenever its next poll was to be."""
    later = sa.and_(_TABLE.c.id == mailbox, _TABLE.c.next_poll_at > now)
    connection.execute(sa.update(_TABLE).where(later).values(next_poll_at=now))


def poll_within(database: Database, interval: dt.timedelta, now: dt.datetime) -> None:
    """Bring polls forward that lie further ahead than any that is set by `interval`: each to its own moment of that.

    Raises:
        StoreUnavailableError: the database cannot be reached.
    """
    astray = _TABLE.c.next_poll_at > now + interval + CLOCK_SKEW
    with database.reading() as connection:
        found = list(connection.scalars(sa.select(_TABLE.c.id).where(astray).order_by(_TABLE.c.id)))
    if not found:
        return
    nearer = (
        sa.update(_TABLE)
        .where(_TABLE.c.id == sa.bindparam("mailbox"), astray)
        .values(next_poll_at=sa.bindparam("at", type_=_TABLE.c.next_poll_at.type))
    )
    rows = [{"mailbox": one, "at": next_poll(one, now, interval)} for one in found]
    database.transaction(lambda connection: connection.execute(nearer, rows))


def count(connection: sa.Connection, state: str) -> int:
    """How many mailboxes of all teams are in `state` with their import on."""
    query = sa.select(sa.func.count()).where(_TABLE.c.import_on.is_(True), _TABLE.c.state == state)
    return connection.scalar(query) or 0


def end_credential(connection: sa.Connection, row: MailboxRow, actor: str, now: dt.datetime) -> None:
    """Take the mailbox's credential out of use, within a transaction of the caller, and keep it for what is left to do at Google."""
    mine = schema.credential.c.mailbox_id == row.id
    found = connection.execute(sa.select(schema.credential.c.kind, schema.credential.c.ciphertext).where(mine)).first()
    if found is None:
        return
    connection.execute(
        sa.insert(schema.ended_credential).values(
            team_id=row.team_id, mailbox_id=row.id, kind=found.kind, ciphertext=found.ciphertext,
            actor=actor[: schema.ADDRESS], ended_at=now,
        )
    )  # fmt: skip
    connection.execute(sa.delete(schema.credential).where(mine))


def require_listed(connection: sa.Connection, row: MailboxRow) -> None:
    """Nothing, where the mailbox's user is one whom the team's CRM lists, and lists until the transaction ends.

    Raises:
        NotListedError: an import that was the whole CRM left the user out.
    """
    user = schema.user.c
    listed = sa.select(user.is_listed).where(user.team_id == row.team_id, user.id == row.user_id)
    # Locked: an import that leaves the user out at this moment then waits, and finds what the transaction has turned on.
    if connection.scalar(listed.with_for_update(read=True)) is False:
        raise NotListedError(row.id)


def log_consent(
    connection: sa.Connection, row: MailboxRow, action: str, actor: str, at: dt.datetime, detail: str = ""
) -> None:
    """Append to the consent log within a transaction of the caller."""
    connection.execute(
        sa.insert(schema.consent).values(
            team_id=row.team_id,
            mailbox_id=row.id,
            at=at,
            action=action,
            actor=actor[: schema.ADDRESS],
            detail=detail[:255],
        )
    )


def _set(connection: sa.Connection, mailbox: str, **columns: Any) -> None:
    connection.execute(sa.update(_TABLE).where(_TABLE.c.id == mailbox).values(**columns))
