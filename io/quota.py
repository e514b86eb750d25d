"""Gmail's quota, shared by all workers: units spent a minute, for each mailbox and for the whole project."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Collection
from typing import Final

import sqlalchemy as sa

from . import schema
from .database import Database

PROJECT = "project"
DAY = "day"
"""The scope of what the project spends in a day (UTC); its row stands at the day's first slot."""
SLOT_SECONDS = 10
"""Units are summed up over so long. Shorter: a minute is met more exactly, and there are more rows."""
_SLOTS = 60 // SLOT_SECONDS
_KEPT_SLOTS = 10 * _SLOTS

LARGE_TEXTS: Final = 4
"""So many texts of a message are read that Gmail hands out apart, each for the price of a message."""
READ_AT_ONCE: Final = 5
"""So many messages of a mailbox are read side by side: Gmail refuses more than a few requests at once for one user."""

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
    """Units of the last 60 to 70 seconds, of one mailbox and of the whole project; and the project's of today (UTC).

    project_before: the project's of the minute before that.
    """

    mailbox: int
    project: int
    day: int
    project_before: int = 0


class Quota:
    """Debits units before they are spent.

    All methods but `debit` and `take` work within a transaction of the caller, who should call them late.
    """

    def __init__(self, database: Database, limits: QuotaLimits | None = None) -> None:
        self._database = database
        self.limits = limits or QuotaLimits()

    def grant(self, connection: sa.Connection, mailbox: str, cost: int, count: int, now: dt.datetime) -> int:
        """Debit as many of `count` calls of `cost` units as this minute and day still have room for; how many that is."""
        rows = self._begin(connection, mailbox, now)
        # All who ask at once meet at the day's row: locked, it shows what the others have debited.
        used = _read(connection, mailbox, now, locked=True)
        granted = max(0, min(count, room_in(self.limits, used) // cost))
        if granted:
            self._add(connection, rows, granted * cost)
        return granted

    def usage(self, connection: sa.Connection, mailbox: str, now: dt.datetime) -> Usage:
        """What has been spent of late; read without a lock.

        The minute slides: the slot of now counts and the six before it, so that no 60 seconds see more debited than the limit,
        wherever Gmail's own minute begins. The slot after it counts too, for another worker's clock may be a little ahead.
        """
        return _read(connection, mailbox, now)

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

    def take(self, mailbox: str, units: int, now: dt.datetime, share: float = 1.0) -> bool:
        """Debit `units` where `share` of the limits has room for all of them, in a transaction of its own; whether it had.

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """

        def work(connection: sa.Connection) -> bool:
            has_room = self.room(connection, mailbox, now, share) >= units
            return has_room and self.grant(connection, mailbox, units, 1, now) > 0

        return self._database.transaction(work)

    def _begin(self, connection: sa.Connection, mailbox: str, now: dt.datetime) -> dict[str, int]:
        """Have a row of now for each scope, and say where it stands; with a new one go those that nobody asks for any more."""
        slot, day = _slot(now), _first_slot_of_day(now)
        rows = {mailbox: slot, PROJECT: slot, DAY: day}
        found = set(connection.scalars(sa.select(_TABLE.c.scope).where(_any(rows))))
        for scope, at in rows.items():
            if scope not in found:
                self._database.insert_new(connection, _TABLE, [{"scope": scope, "slot": at, "units": 0}])
                old = _TABLE.c.slot < (at if scope == DAY else at - _KEPT_SLOTS)
                connection.execute(sa.delete(_TABLE).where(_TABLE.c.scope == scope, old))
        return rows

    @staticmethod
    def _add(connection: sa.Connection, rows: dict[str, int], units: int) -> None:
        connection.execute(sa.update(_TABLE).where(_any(rows)).values(units=_TABLE.c.units + units))


def keep_limits(database: Database, limits: QuotaLimits) -> None:
    """Write down the limits that the job goes by, for whoever else asks Gmail in its name.

    Raises:
        StoreUnavailableError: the database cannot be reached.
    """
    rows = [{"name": name, "units": units} for name, units in dataclasses.asdict(limits).items()]
    if kept_limits(database) != limits:
        database.transaction(lambda connection: database.upsert(connection, schema.quota_limit, rows, ["units"]))


def kept_limits(database: Database) -> QuotaLimits:
    """The limits that the job was last started with; before there was one, the usual ones.

    Raises:
        StoreUnavailableError: the database cannot be reached.
    """
    known = {field.name for field in dataclasses.fields(QuotaLimits)}
    table = schema.quota_limit.c
    with database.reading() as connection:
        rows = connection.execute(sa.select(table.name, table.units)).all()
    return QuotaLimits(**{row.name: row.units for row in rows if row.name in known})


def spent_lately(connection: sa.Connection, now: dt.datetime, mailboxes: Collection[str] = ()) -> dict[str, int]:
    """Units of the last 60 to 70 seconds: of each of `mailboxes` that spent any, and of PROJECT."""
    lately = _TABLE.c.slot.between(_slot(now) - _SLOTS, _slot(now) + 1)
    query = sa.select(_TABLE.c.scope, _TABLE.c.units).where(_TABLE.c.scope.in_(sorted({*mailboxes, PROJECT})), lately)
    spent: dict[str, int] = {}
    for scope, units in connection.execute(query):
        spent[scope] = spent.get(scope, 0) + units
    return spent


def _read(connection: sa.Connection, mailbox: str, now: dt.datetime, *, locked: bool = False) -> Usage:
    slot, day = _slot(now), _first_slot_of_day(now)
    first = slot - _SLOTS
    lately = sa.and_(_TABLE.c.scope.in_([mailbox, PROJECT]), _TABLE.c.slot.between(first - _SLOTS, slot + 1))
    today = sa.and_(_TABLE.c.scope == DAY, _TABLE.c.slot == day)
    query = sa.select(_TABLE.c.scope, _TABLE.c.slot, _TABLE.c.units).where(sa.or_(lately, today))
    spent, before = dict.fromkeys((mailbox, PROJECT, DAY), 0), 0
    for scope, at, units in connection.execute(query.with_for_update() if locked else query):
        if scope == DAY or at >= first:
            spent[scope] += units
        elif scope == PROJECT:
            before += units
    return Usage(spent[mailbox], spent[PROJECT], spent[DAY], before)


def _any(rows: dict[str, int]) -> sa.ColumnElement[bool]:
    return sa.or_(*(sa.and_(_TABLE.c.scope == scope, _TABLE.c.slot == slot) for scope, slot in rows.items()))


def _slot(now: dt.datetime) -> int:
    return int(now.timestamp()) // SLOT_SECONDS


def _first_slot_of_day(now: dt.datetime) -> int:
    return int(now.timestamp()) // 86_400 * (86_400 // SLOT_SECONDS)


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
