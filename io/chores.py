"""Chores: what has to be done now and then beside the mail. The database remembers when, so of many workers one does it once.

A chore is named KIND:ID. Its row is its turn: whoever moves the turn on by compare-and-set does the chore, and keeps it from the
others by moving the turn on again where it takes long. A worker that dies over it has only put it off.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import sqlalchemy as sa

from ..transforms.errors import DealmailError
from . import schema
from .database import Database
from .mailboxes import CLOCK_SKEW
from .poll_times import next_poll

_log = logging.getLogger(__name__)

FILL_EVERY: Final = dt.timedelta(minutes=1)
"""How soon a new mailbox or team is given its turns."""
PEEK_EVERY: Final = dt.timedelta(seconds=10)
AT_ONCE: Final = 3
"""Chores handed out by one look: mail that comes meanwhile waits for them on an engine of bounded passes."""
_chore = schema.chore.c


@dataclasses.dataclass(frozen=True)
class ChoreKind:
    """One kind of chore.

    `ids`: for whom there is one now. `do` does it for an id. `every`: the time between two turns, spread over it by a hash of
    the name; None: as soon as there is one. `again`: when it is tried once more after something stood in its way.
    """

    ids: Callable[[], Iterable[str]]
    do: Callable[[str], None]
    every: dt.timedelta | None
    again: dt.timedelta

    def __post_init__(self) -> None:
        """Refuse times that would never let it rest.

        Raises:
            ValueError: a time of nothing.
        """
        if self.again <= dt.timedelta(0) or (self.every is not None and self.every <= dt.timedelta(0)):
            raise ValueError(f"a chore every {self.every}, again after {self.again}: both must be longer than nothing")

    def turn(self, name: str, now: dt.datetime) -> dt.datetime:
        """Its next turn (UTC)."""
        return now if self.every is None else next_poll(name, now, self.every, None)

    def is_astray(self, turn_at: dt.datetime, now: dt.datetime) -> bool:
        """Whether no turn is given so far ahead: this one was by a longer period, or by a clock that was wrong."""
        return turn_at > now + max(self.every or self.again, self.again) + CLOCK_SKEW


class DatabaseChores:
    """Implements transforms.keep_house.Chores. Safe to share between threads."""

    def __init__(self, database: Database, kinds: Mapping[str, ChoreKind], now: Callable[[], dt.datetime]) -> None:
        """`kinds` by name; `now` is the clock (UTC)."""
        self._database = database
        self._kinds = kinds
        self._now = now
        self._lock = threading.Lock()
        self._fill_at: dt.datetime | None = None
        self._peek_at: dt.datetime | None = None
        self._soonest: dt.datetime | None = None
        self._ours = sa.or_(*(_chore.name.startswith(f"{kind}:") for kind in kinds))  # others may do what we do not

    def due(self, now: dt.datetime) -> list[str]:
        """Names of chores whose turn has come, those that have waited longest first; a few of them.

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
        with self._lock:
            self._peek_at = None
            self._fill(now)
        query = sa.select(_chore.name).where(_chore.turn_at <= now, self._ours)
        with self._database.reading() as connection:
            return list(connection.scalars(query.order_by(_chore.turn_at, _chore.name).limit(AT_ONCE)))

    def next_due(self, now: dt.datetime) -> dt.datetime | None:
        """When `due` next has an answer, not before `now`, as known some seconds ago; None: there are no chores.

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
        with self._lock:
            if not _is_ahead(self._peek_at, now, PEEK_EVERY):
                self._fill(now)
                query = sa.select(_chore.turn_at).where(self._ours).order_by(_chore.turn_at).limit(1)
                with self._database.reading() as connection:
                    self._soonest = connection.scalar(query)
                self._peek_at = now + PEEK_EVERY
            return max(now, self._soonest) if self._soonest else None

    def do(self, name: str) -> bool:
        """Do a chore if its turn has come and nobody else has taken it; whether it was done.

        What stands in its way is logged by class, and it is tried again later.

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
        kind, _, about = name.partition(":")
        chore, now = self._kinds[kind], self._now()
        mine = (
            sa.update(schema.chore).where(_chore.name == name, _chore.turn_at <= now).values(turn_at=now + chore.again)
        )
        if not self._database.transaction(lambda connection: connection.execute(mine).rowcount):
            return False
        try:
            chore.do(about)
        except DealmailError as error:
            _log.warning("%s %s: %s; tried again later", kind, about, type(error).__name__)
            return False
        if chore.every is None:
            done: sa.Update | sa.Delete = sa.delete(schema.chore).where(_chore.name == name)
        else:
            turn = chore.turn(name, self._now())
            done = sa.update(schema.chore).where(_chore.name == name).values(turn_at=turn)
        self._database.transaction(lambda connection: connection.execute(done))
        return True

    def hold(self, name: str) -> None:
        """Put off the turn of a chore that is being done once more: to be called now and then by what takes longer than `again`.

        Else another worker would do it, too, as if this one had died over it.

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
        kind = name.partition(":")[0]
        held = sa.update(schema.chore).where(_chore.name == name).values(turn_at=self._now() + self._kinds[kind].again)
        self._database.transaction(lambda connection: connection.execute(held))

    def _fill(self, now: dt.datetime) -> None:
        """Give what has no turn yet its first one, and a nearer one where it is astray; take away turns of what is no more."""
        all_of_them = not _is_ahead(self._fill_at, now, FILL_EVERY)
        asked = {name: kind for name, kind in self._kinds.items() if all_of_them or kind.every is None}
        wanted = {f"{name}:{about}": kind for name, kind in asked.items() for about in kind.ids()}
        if all_of_them:
            self._fill_at = now + FILL_EVERY
        elif not wanted:
            return
        with self._database.reading() as connection:
            query = sa.select(_chore.name, _chore.turn_at).where(self._ours)
            known = {row.name: row.turn_at for row in connection.execute(query)}
        turns = {name: kind.turn(name, now) for name, kind in wanted.items()}
        rows = [{"name": name, "turn_at": at} for name, at in turns.items() if name not in known]
        astray = [
            {"name": name, "turn_at": turns[name]}
            for name, at in known.items()
            if name in wanted and wanted[name].is_astray(at, now)
        ]
        gone = sorted(known.keys() - wanted.keys()) if all_of_them else []
        if not (rows or astray or gone):
            return

        def work(connection: sa.Connection) -> None:
            if rows:
                self._database.insert_new(connection, schema.chore, rows)
            if astray:
                self._database.upsert(connection, schema.chore, astray, ["turn_at"])
            for begin in range(0, len(gone), 500):
                connection.execute(sa.delete(schema.chore).where(_chore.name.in_(gone[begin : begin + 500])))

        self._database.transaction(work)


def _is_ahead(at: dt.datetime | None, now: dt.datetime, most: dt.timedelta) -> bool:
    """Whether a moment `most` ahead at first is still to come. One that lies further ahead was taken before the clock went back."""
    return at is not None and now < at <= now + most
