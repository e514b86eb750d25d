"""Gmail's quota, shared by all workers: units spent a minute, for each mailbox and for the whole project."""

from __future__ import annotations

import dataclasses
import datetime as dt

import sqlalchemy as sa

from . import schema
from .database import Database

PROJECT = "project"
DAY = "day"
"""The scope of what the project spends in a day (UTC); its row stands at the day's first minute."""
KEPT_MINUTES = 60
"""How long spent minutes are kept, for those who look."""

_TABLE = schema.quota_use


@dataclasses.dataclass(frozen=True)
class QuotaLimits:
    """Units a minute or day, and what calls cost (developers.google.com/workspace/gmail/api/reference/quota, May 2026)."""

    mailbox_minute: int = 6_000
    project_minute: int = 1_200_000
    project_day: int = 80_000_000
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
        least = min(self.mailbox_minute, self.project_minute, self.project_day)
        if least < max(self.watch, self.stop, self.get):
            msg = f"quota of {least} units is less than one call costs"
            raise ValueError(msg)


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """Units of the last 60 seconds, of one mailbox and of the whole project; and the project's of today (UTC)."""

    mailbox: float
    project: float
    day: float


class Quota:
    """Debits units before they are spent.

    All methods but `debit` work within a transaction of the caller, who should call them late.
    """

    def __init__(self, database: Database, limits: QuotaLimits | None = None) -> None:
        self._database = database
        self.limits = limits or QuotaLimits()

    def grant(self, connection: sa.Connection, mailbox: str, cost: int, count: int, now: dt.datetime) -> int:
        """Debit as many of `count` calls of `cost` units as this minute and day still have room for; how many that is."""
        rows = self._begin(connection, mailbox, now)
        query = sa.select(_TABLE.c.scope, _TABLE.c.units).where(_any(rows))
        spent = dict(connection.execute(query.with_for_update()).all())
        limits = {
            mailbox: self.limits.mailbox_minute,
            PROJECT: self.limits.project_minute,
            DAY: self.limits.project_day,
        }
        room = min(limits[scope] - units for scope, units in spent.items())
        granted = max(0, min(count, room // cost))
        if granted:
            self._add(connection, rows, granted * cost)
        return granted

    def usage(self, connection: sa.Connection, mailbox: str, now: dt.datetime) -> Usage:
        """What has been spent of late; read without a lock.

        The minute slides: of the calendar minute before, the part that lies within the last 60 seconds counts too, so that
        work leased at its end and done in the next one does not break the limit there.
        """
        seconds = now.timestamp()
        minute, day = int(seconds) // 60, _minute_of_day(now)
        query = sa.select(_TABLE.c.scope, _TABLE.c.minute, _TABLE.c.units).where(
            _TABLE.c.scope.in_([mailbox, PROJECT, DAY]), _TABLE.c.minute.in_([minute - 1, minute, day])
        )
        spent = {mailbox: 0.0, PROJECT: 0.0, DAY: 0.0}
        for scope, at, units in connection.execute(query):
            if scope == DAY:
                spent[DAY] += units if at == day else 0
            elif at >= minute - 1:
                spent[scope] += units if at == minute else units * (1 - seconds % 60 / 60)
        return Usage(spent[mailbox], spent[PROJECT], spent[DAY])

    def room(self, connection: sa.Connection, mailbox: str, now: dt.datetime, share: float = 1.0) -> int:
        """Units that may still be spent, out of `share` of the limits."""
        return room_in(self.limits, self.usage(connection, mailbox, now), share)

    def spend(self, connection: sa.Connection, mailbox: str, units: int, now: dt.datetime) -> None:
        """Note units that have been spent already, whether or not the minute had room for them."""
        self._add(connection, self._begin(connection, mailbox, now), units)

    def debit(self, mailbox: str, units: int, now: dt.datetime) -> None:
        """`spend` in a transaction of its own.

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
        self._database.transaction(lambda connection: self.spend(connection, mailbox, units, now))

    def _begin(self, connection: sa.Connection, mailbox: str, now: dt.datetime) -> dict[str, int]:
        """Have a row of now for each scope, and say where it stands; with a new one go those that nobody asks for any more."""
        minute, day = int(now.timestamp()) // 60, _minute_of_day(now)
        rows = {mailbox: minute, PROJECT: minute, DAY: day}
        found = set(connection.scalars(sa.select(_TABLE.c.scope).where(_any(rows))))
        for scope, at in rows.items():
            if scope not in found:
                self._database.insert_new(connection, _TABLE, [{"scope": scope, "minute": at, "units": 0}])
                old = _TABLE.c.minute < (at if scope == DAY else at - KEPT_MINUTES)
                connection.execute(sa.delete(_TABLE).where(_TABLE.c.scope == scope, old))
        return rows

    @staticmethod
    def _add(connection: sa.Connection, rows: dict[str, int], units: int) -> None:
        connection.execute(sa.update(_TABLE).where(_any(rows)).values(units=_TABLE.c.units + units))


def _any(rows: dict[str, int]) -> sa.ColumnElement[bool]:
    return sa.or_(*(sa.and_(_TABLE.c.scope == scope, _TABLE.c.minute == minute) for scope, minute in rows.items()))


def _minute_of_day(now: dt.datetime) -> int:
    """The minute (since 1970) at which the day began, UTC."""
    return int(now.timestamp()) // 86_400 * 1_440


def room_in(limits: QuotaLimits, used: Usage, share: float = 1.0, contenders: int = 0) -> int:
    """Units that may still be spent, out of `share` of the limits.

    `contenders` is how many mailboxes want a part of it at once: each has an equal one then, so that those which ask first do
    not take it all, minute after minute. 0: nobody has to be thought of.
    """
    project = limits.project_minute * share
    room = min(
        limits.mailbox_minute * share - used.mailbox, project - used.project, limits.project_day * share - used.day
    )
    if contenders:
        room = min(room, max(project / contenders, limits.get) - used.mailbox)
    return max(0, int(room))
