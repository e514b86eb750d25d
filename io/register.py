"""The register: which mailboxes have something to do now, and when the next one will.

What can wait is handed out in bounded helpings: a mailbox whose old mail is read takes longer than one that is looked at,
and whoever was pushed to must not wait behind all of them. Helpings go round, so every mailbox gets its turn.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa

from ..transforms.records import DueMailbox, Lane
from . import schema
from .account_names import spellings
from .database import Database
from .ledger import BLOCKED, LANES, RESTING, When, free, passed
from .mailboxes import CLOCK_SKEW, FAR

_mailbox = schema.mailbox.c
_message = schema.message.c
_listing = schema.listing.c
_WORTH_A_TURN: Final = 5
"""Messages of old mail for which a mailbox is opened: as many as are read of it side by side."""
_AWAKE: Final = (_mailbox.import_on.is_(True), _mailbox.state.not_in(RESTING))

# Built once: of a look at the database once a second, building its statements would be the greater part.
_WHEN: Final = When(sa.bindparam("now", type_=schema.UtcDateTime()), sa.bindparam("far", type_=schema.UtcDateTime()))
_AHEAD: Final = sa.bindparam("ahead", type_=schema.UtcDateTime())


def _times(now: dt.datetime) -> dict[str, dt.datetime]:
    """The parameters of the statements below."""
    return {"now": now, "far": now + FAR, "ahead": now + CLOCK_SKEW}


def _earliest(at: sa.ColumnElement[Any]) -> sa.ColumnElement[dt.datetime]:
    return sa.type_coerce(sa.func.min(at), schema.UtcDateTime())


def _poll() -> sa.ColumnElement[bool]:
    """The poll or the watch is due. A last poll that lies ahead was dated by a clock that has gone back since."""
    renewal = sa.and_(_mailbox.watch_renew_at.is_not(None), passed(_mailbox.watch_renew_at, _WHEN))
    return sa.or_(passed(_mailbox.next_poll_at, _WHEN), _mailbox.last_poll_at > _AHEAD, renewal)


_FEW: Final = 2_000
"""So many pending messages, of all mailboxes, are gone through in a few milliseconds."""
_HOW_MANY: Final = sa.select(sa.func.count()).select_from(
    sa.select(sa.literal(1)).where(_message.state == "pending").limit(_FEW + 1).subquery()
)
_MOST: Final = sa.bindparam("most", type_=sa.Integer())
_LAST: Final = sa.bindparam("last", type_=sa.String())


def _ask(*which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    reason = sa.case((_poll(), "poll"), else_="work").label("reason")
    return sa.select(_mailbox.team_id, _mailbox.id, reason).where(*_AWAKE, passed(_mailbox.not_before, _WHEN), *which)


_LOOKS: Final = (
    _ask(_poll(), _mailbox.history_id.is_not(None))
    .order_by(sa.func.coalesce(_mailbox.next_poll_at, _mailbox.state_since, _mailbox.created_at))
    .limit(_MOST)
)
_SOONEST: Final = sa.select(*(_earliest(column) for column in (_mailbox.next_poll_at, _mailbox.watch_renew_at))).where(
    *_AWAKE, passed(_mailbox.not_before, _WHEN)
)
"""One row, for there may be many mailboxes."""
_FREE_AT: Final = sa.case(
    (_message.lease_until.is_(None), _message.not_before),
    (_message.not_before.is_(None), _message.lease_until),
    (_message.not_before > _message.lease_until, _message.not_before),
    else_=_message.lease_until,
)
_LISTED: Final = (
    sa.select(_listing.mailbox_id, _earliest(sa.func.coalesce(_listing.not_before, _WHEN.now)))
    .join(schema.mailbox, _mailbox.id == _listing.mailbox_id)
    .where(_listing.finished_at.is_(None), *_AWAKE, _mailbox.state.not_in(BLOCKED))
    .group_by(_listing.mailbox_id)
)


def _one_of_few(lane: Lane) -> sa.ColumnElement[bool]:
    """Whether the mailbox has a free message in the lane, where few messages are pending: all are gone through, whosever they are."""
    message = schema.message.alias("w")
    return sa.exists().where(message.c.mailbox_id == _mailbox.id, free(_WHEN, message.c), message.c.lane == LANES[lane])


def _pending(what: sa.ColumnElement[Any], *which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    mine = sa.select(what).where(_message.mailbox_id == _mailbox.id, _message.state == "pending", *which)
    return mine.with_hint(schema.message, "FORCE INDEX (ix_message_work)", "mysql").correlate(schema.mailbox)


def _one_of_many(lane: Lane) -> sa.ColumnElement[bool]:
    """The same where many are pending: asked mailbox by mailbox, and mostly told by the first step into the index.

    An EXISTS, MariaDB turns into an IN, and reads all that is pending of everybody for it; and left to itself it takes the primary
    key, which begins with the mailbox, too.
    """
    one = _pending(sa.literal(1), _message.lane == LANES[lane], free(_WHEN)).limit(1)
    return one.scalar_subquery().is_not(None)


def _free_of_few() -> sa.Select[Any]:
    """The mailboxes with pending messages, and when the first of these is free."""
    return (
        sa.select(_message.mailbox_id, _earliest(_FREE_AT))
        .join(schema.mailbox, _mailbox.id == _message.mailbox_id)
        .where(_message.state == "pending", *_AWAKE, _mailbox.state.not_in(BLOCKED))
        .group_by(_message.mailbox_id)
    )


def _free_of_many() -> sa.Select[Any]:
    """The same, but for mailboxes that pause with free messages: to find one that is leased, all of those would be gone through."""
    is_free = sa.and_(_mailbox.not_before > _WHEN.now, sa.or_(_one_of_many("live"), _one_of_many("backfill")))
    soonest = sa.case((is_free, sa.null()), else_=_pending(sa.func.min(_FREE_AT)).scalar_subquery())
    one = sa.select(_mailbox.id, soonest.label("at")).where(*_AWAKE, _mailbox.state.not_in(BLOCKED)).subquery()
    return sa.select(one.c.id, sa.type_coerce(one.c.at, schema.UtcDateTime())).where(one.c.at.is_not(None))


class _Questions:
    """What is asked about messages. Built once, in two forms: neither is quick both at rest and with a million that wait."""

    def __init__(self, has_free: Callable[[Lane], sa.ColumnElement[bool]], at_work: sa.Select[Any]) -> None:
        def work(lane: Lane) -> sa.ColumnElement[bool]:
            is_live = _listing.kind == "recover"
            listed = sa.exists().where(
                _listing.mailbox_id == _mailbox.id, _listing.finished_at.is_(None), passed(_listing.not_before, _WHEN),
                is_live if lane == "live" else sa.not_(is_live),
            )  # fmt: skip
            return sa.and_(_mailbox.state.not_in(BLOCKED), sa.or_(has_free(lane), listed))

        begins = sa.and_(_poll(), _mailbox.history_id.is_(None))
        old = _ask(sa.or_(begins, work("backfill"))).order_by(_mailbox.id).limit(_MOST)
        self.live: Final = _ask(work("live")).order_by(_mailbox.id).limit(_MOST)
        self.turn: Final = old.where(_mailbox.id > _LAST)
        self.next_round: Final = old.where(_mailbox.id <= _LAST)
        self.any: Final = _ask(sa.or_(_poll(), work("live"), work("backfill"))).limit(1)
        self.at_work: Final = at_work
        is_free = sa.and_(_mailbox.state.not_in(BLOCKED), sa.or_(has_free("live"), has_free("backfill")))
        self.paused: Final = sa.select(
            _mailbox.next_poll_at, _mailbox.watch_renew_at, _mailbox.not_before, _mailbox.id, is_free.label("is_free")
        ).where(*_AWAKE, _mailbox.not_before > _WHEN.now)


_OF_FEW: Final = _Questions(_one_of_few, _free_of_few())
_OF_MANY: Final = _Questions(_one_of_many, _free_of_many())


def _questions(connection: sa.Connection) -> _Questions:
    return _OF_MANY if (connection.scalar(_HOW_MANY) or 0) > _FEW else _OF_FEW


@dataclasses.dataclass(frozen=True)
class Helping:
    """How many mailboxes one look at the register hands out.

    looks: of those whose poll or watch is due, and again of those with live mail to lease. backfills: of those that begin their
    first sync, or have old mail to read.
    """

    looks: int = 500
    backfills: int = 40

    def __post_init__(self) -> None:
        """Refuse what would hand out nothing.

        Raises:
            ValueError: a number below one.
        """
        if self.looks < 1 or self.backfills < 1:
            raise ValueError(f"looks {self.looks} and backfills {self.backfills} must be 1 or more")


class Register:
    """Implements transforms.find_due_mailboxes.MailboxRegister. Safe to share between threads."""

    def __init__(self, database: Database, helping: Helping | None = None) -> None:
        self._database = database
        self._helping = helping or Helping()
        self._lock = threading.Lock()
        self._last = ""

    def due(self, now: dt.datetime, old_messages: int | None = None) -> list[DueMailbox]:
        """Mailboxes with a poll or a watch renewal due (reason "poll"), or with claimable messages or a listing ("work").

        Those that have waited longest for their poll come first; those with old mail take turns. Where `old_messages` says how
        many of their messages may be taken on altogether, they share them, and only those whose turn it is have any.
        """
        times = _times(now)
        found: dict[str, DueMailbox] = {}
        with self._lock, self._database.reading() as connection:
            ask = _questions(connection)
            for query in (_LOOKS, ask.live):
                for row in connection.execute(query, {**times, "most": self._helping.looks}):
                    found.setdefault(row.id, DueMailbox(row.team_id, row.id, row.reason))
            backfills = self._helping.backfills
            if old_messages is not None:
                backfills = max(1, min(backfills, old_messages // _WORTH_A_TURN))
            turn = list(connection.execute(ask.turn, {**times, "last": self._last, "most": backfills}))
            if (rest := backfills - len(turn)) and self._last:
                turn += connection.execute(ask.next_round, {**times, "last": self._last, "most": rest})
            share = None if old_messages is None else max(1, old_messages // max(1, len(turn)))
            if old_messages is not None:
                found = {key: dataclasses.replace(due, old_messages=0) for key, due in found.items()}
            for row in turn:
                found[row.id] = DueMailbox(row.team_id, row.id, row.reason, turn=True, old_messages=share)
            self._last = turn[-1].id if turn else ""
        return list(found.values())

    def touched(self, address: str, now: dt.datetime) -> list[DueMailbox]:
        """The mailboxes that a push for `address` (any case) concerns; notes the push. Unknown or off: none, no trace.

        Google names an account its own way, which for googlemail.com may not be the team's.
        A mailbox that rests for a moment is looked at when its pause is over: this push will not come again.
        """
        awake = sa.and_(_mailbox.address.in_(spellings(address)), *_AWAKE)
        query = sa.select(_mailbox.team_id, _mailbox.id).where(awake).order_by(_mailbox.id)
        with self._database.reading() as connection:
            found = [DueMailbox(team_id, mailbox_id, "push") for team_id, mailbox_id in connection.execute(query)]
        if found:
            then = sa.case((_mailbox.not_before > now, now), else_=_mailbox.next_poll_at)
            noted = sa.update(schema.mailbox).where(awake)
            noted = noted.values(last_push_at=now, unpushed_since=None, next_poll_at=then)
            self._database.transaction(lambda connection: connection.execute(noted))
        return found

    def next_due(self, now: dt.datetime) -> dt.datetime | None:
        """When `due` will next have an answer, at the earliest (`now` if it has one already); None: never by itself."""
        moments: list[dt.datetime] = []
        times = _times(now)
        with self._database.reading() as connection:
            ask = _questions(connection)
            if connection.execute(ask.any, times).first():
                return now
            at_work = {mailbox: at or now for mailbox, at in connection.execute(ask.at_work, times)}
            for mailbox, at in connection.execute(_LISTED, times):
                at_work[mailbox] = min(at, at_work.get(mailbox, at))
            for poll, renew, pause, mailbox, is_free in connection.execute(ask.paused, times):
                work = at_work.pop(mailbox, None)
                at = min(t for t in (poll or now, renew, now if is_free else work) if t is not None)
                moments.append(max(at, pause))
            moments.extend(at for at in connection.execute(_SOONEST, times).one() if at is not None)
            moments.extend(at_work.values())
        return max(now, min(moments)) if moments else None
