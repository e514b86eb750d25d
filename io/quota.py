"""Gmail's quota, shared by all workers: units spent a minute, for each mailbox and for the whole project."""

from __future__ import annotations

import dataclasses
import datetime as dt

import sqlalchemy as sa

from . import schema
from .database import Database

PROJECT = "project"
KEPT_MINUTES = 60
"""How long spent minutes are kept, for those who look."""

_TABLE = schema.quota_use


@dataclasses.dataclass(frozen=True)
class QuotaLimits:
    """Units a minute and what calls cost (developers.google.com/workspace/gmail/api/reference/quota, May 2026)."""

    mailbox_minute: int = 6_000
    project_minute: int = 1_200_000
    get: int = 20
    list: int = 5
    history: int = 2
    profile: int = 1
    labels: int = 1
    watch: int = 100
    stop: int = 50

    def __post_init__(self) -> None:
        """Refuse what would never let a call pass.

        Raises:
            ValueError: a cost or limit below one, or a limit that one watch call would break.
        """
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                msg = f"quota {field.name}={getattr(self, field.name)}: must be at least 1"
                raise ValueError(msg)
        if min(self.mailbox_minute, self.project_minute) < max(self.watch, self.stop, self.get):
            msg = f"quota of {min(self.mailbox_minute, self.project_minute)} units a minute is less than one call costs"
            raise ValueError(msg)


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """Units of the last 60 seconds: of one mailbox, and of the whole project."""

    mailbox: float
    project: float


class Quota:
    """Debits units before they are spent.

    All methods but `debit` work within a transaction of the caller, who should call them late.
    """

    def __init__(self, database: Database, limits: QuotaLimits | None = None) -> None:
        self._database = database
        self.limits = limits or QuotaLimits()

    def grant(self, connection: sa.Connection, mailbox: str, cost: int, count: int, now: dt.datetime) -> int:
        """Debit as many of `count` calls of `cost` units as this minute still has room for; how many that is."""
        minute = self._begin(connection, mailbox, now)
        scopes = [mailbox, PROJECT]
        query = sa.select(_TABLE.c.scope, _TABLE.c.units).where(_TABLE.c.scope.in_(scopes), _TABLE.c.minute == minute)
        spent = dict(connection.execute(query.with_for_update()).all())
        room = min(self.limits.mailbox_minute - spent[mailbox], self.limits.project_minute - spent[PROJECT])
        granted = max(0, min(count, room // cost))
        if granted:
            self._add(connection, scopes, minute, granted * cost)
        return granted

    def usage(self, connection: sa.Connection, mailbox: str, now: dt.datetime) -> Usage:
        """What has been spent of late; read without a lock.

        The minute slides: of the calendar minute before, the part that lies within the last 60 seconds counts too, so that
        work leased at its end and done in the next one does not break the limit there.
        """
        seconds = now.timestamp()
        minute = int(seconds) // 60
        query = sa.select(_TABLE.c.scope, _TABLE.c.minute, _TABLE.c.units).where(
            _TABLE.c.scope.in_([mailbox, PROJECT]), _TABLE.c.minute.in_([minute - 1, minute])
        )
        spent = {mailbox: 0.0, PROJECT: 0.0}
        for scope, at, units in connection.execute(query):
            spent[scope] += units if at == minute else units * (1 - seconds % 60 / 60)
        return Usage(spent[mailbox], spent[PROJECT])

    def room(self, connection: sa.Connection, mailbox: str, now: dt.datetime, share: float = 1.0) -> int:
        """Units that may still be spent, out of `share` of the limits."""
        return room_in(self.limits, self.usage(connection, mailbox, now), share)

    def spend(self, connection: sa.Connection, mailbox: str, units: int, now: dt.datetime) -> None:
        """Note units that have been spent already, whether or not the minute had room for them."""
        self._add(connection, [mailbox, PROJECT], self._begin(connection, mailbox, now), units)

    def debit(self, mailbox: str, units: int, now: dt.datetime) -> None:
        """`spend` in a transaction of its own.

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
        self._database.transaction(lambda connection: self.spend(connection, mailbox, units, now))

    def _begin(self, connection: sa.Connection, mailbox: str, now: dt.datetime) -> int:
        """Have a row for this minute; with the first one of a minute go those that nobody asks for any more."""
        minute = int(now.timestamp()) // 60
        old = _TABLE.c.minute < minute - KEPT_MINUTES
        for scope in (mailbox, PROJECT):
            here = sa.select(sa.literal(1)).where(_TABLE.c.scope == scope, _TABLE.c.minute == minute)
            if connection.scalar(here) is None:
                self._database.insert_new(connection, _TABLE, [{"scope": scope, "minute": minute, "units": 0}])
                connection.execute(sa.delete(_TABLE).where(_TABLE.c.scope == scope, old))
        return minute

    @staticmethod
    def _add(connection: sa.Connection, scopes: list[str], minute: int, units: int) -> None:
        connection.execute(
            sa.update(_TABLE)
            .where(_TABLE.c.scope.in_(scopes), _TABLE.c.minute == minute)
            .values(units=_TABLE.c.units + units)
        )


def room_in(limits: QuotaLimits, used: Usage, share: float = 1.0, contenders: int = 0) -> int:
    """Units that may still be spent, out of `share` of the limits.

    `contenders` is how many mailboxes want a part of it at once: each has an equal one then, so that those which ask first do
    not take it all, minute after minute. 0: nobody has to be thought of.
    """
    project = limits.project_minute * share
    room = min(limits.mailbox_minute * share - used.mailbox, project - used.project)
    if contenders:
        room = min(room, max(project / contenders, limits.get) - used.mailbox)
    return max(0, int(room))
