"""The ledger: one row for every message that was looked at, from found to decided.

The methods that take a connection are pieces of the claim's transaction (see io/claims.py), which holds the mailbox's row;
all of them are harmless when repeated.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..transforms import decisions
from ..transforms.records import ClaimedMessage, Lane, Outcome
from . import removal, schema
from .database import Database
from .mailboxes import FAR, MailboxRow
from .take_back import PENDING_AGAIN

LANES: dict[Lane, int] = {"live": 0, "backfill": 1}
MAX_LEASES = 25
"""So many leases that ended without any result park a message: it seems to take its worker down with it."""
SUSPECT_LEASES = 3
"""After so many of them a message is leased with no other suspect: else it would take those down, and park them, with itself."""
NEW_FOR = dt.timedelta(seconds=60)
"""So long after it was found, a live message that Gmail answers 404 for may still be on its way to the server that answered."""
PHASE_LOST = "lost"
RESTING = ("not_connected", "consent_wanted", "reconsent", "paused")
"""States in which nothing is read until somebody acts."""
BLOCKED = ("admin_blocked", "no_gmail")
"""States in which only the poll asks again, when it is due."""

_CHUNK = 500
_message = schema.message.c


class Ledger:
    """The table `message`, as claims change it. What people ask of it is in console/queries.py."""

    def __init__(self, database: Database, new_lease: Callable[[], str] = lambda: secrets.token_hex(8)) -> None:
        self._database = database
        self._new_lease = new_lease

    # --- pieces of the claim ---------------------------------------------------------------------------------------
    def add_pending(
        self, connection: sa.Connection, mailbox: MailboxRow, ids: Sequence[str], lane: Lane, now: dt.datetime
    ) -> None:
        """Put Gmail ids in the ledger as pending; known ones stay as they are, but go live if they wait as backfill."""
        for chunk in _chunks(sorted(set(ids))):
            rows = [
                {
                    "mailbox_id": mailbox.id, "gmail_id": gmail_id, "team_id": mailbox.team_id, "state": "pending",
                    "lane": LANES[lane], "found_at": now,
                }
                for gmail_id in chunk
            ]  # fmt: skip
            self._database.insert_new(connection, schema.message, rows)
            if lane == "live":
                connection.execute(
                    sa.update(schema.message)
                    .where(_of(mailbox, chunk), _message.state == "pending", _message.lane == LANES["backfill"])
                    .values(lane=LANES["live"])
                )

    def decide_by_label(
        self, connection: sa.Connection, mailbox: MailboxRow, rules: Mapping[str, str], lane: Lane, now: dt.datetime,
        rules_version: str = "",
    ) -> None:  # fmt: skip
        """Record the decision that labels alone make: Gmail id to rule (label.*). Decided or leased messages stay as they are."""
        ids = sorted(rules)
        self.add_pending(connection, mailbox, ids, lane, now)
        for rule in sorted(set(rules.values())):
            for chunk in _chunks([gmail_id for gmail_id in ids if rules[gmail_id] == rule]):
                connection.execute(
                    sa.update(schema.message)
                    .where(_of(mailbox, chunk), _message.state == "pending", _message.lease.is_(None))
                    .values(state="decided", outcome="dropped", rule=rule, rules_version=rules_version, decided_at=now)
                )

    def mark_deleted(
        self,
        connection: sa.Connection,
        mailbox: MailboxRow,
        ids: Sequence[str],
        now: dt.datetime,
        *,
        keep_imported: bool = False,
    ) -> None:
        """Gmail deleted these for good: they are gone, and so is this mailbox's copy of what was imported.

        An engagement that no other mailbox holds goes with it, from the index too. `keep_imported` is the team's other
        policy: what was imported stays. Pending messages are gone either way; unknown ids are not noted.
        """
        for chunk in _chunks(sorted(set(ids))):
            if not keep_imported:
                removal.remove_copies(
                    self._database, connection, mailbox.team_id, [(mailbox.id, i) for i in chunk], now
                )
            condition = [_of(mailbox, chunk), sa.func.coalesce(_message.outcome, "") != "gone"]
            if keep_imported:
                condition.append(sa.func.coalesce(_message.outcome, "") != "imported")
            connection.execute(
                sa.update(schema.message)
                .where(*condition)
                .values(**_decided("gone", decisions.GONE_DELETED, now), engagement_id=None)
            )
            removal.forget_context(connection, mailbox.team_id, [(mailbox.id, i) for i in chunk])

    def mark_trashed(
        self, connection: sa.Connection, mailbox: MailboxRow, rules: Mapping[str, str], now: dt.datetime
    ) -> None:
        """The team's policy is that trash, or spam, removes: this mailbox's copies of imported mail go, as for `mark_deleted`.

        The decision becomes the label's (Gmail id to label.trash or label.spam), so that a message taken out of there is read again.
        """
        for rule in sorted(set(rules.values())):
            for chunk in _chunks(sorted(gmail_id for gmail_id, found in rules.items() if found == rule)):
                removal.remove_copies(
                    self._database, connection, mailbox.team_id, [(mailbox.id, i) for i in chunk], now
                )
                connection.execute(
                    sa.update(schema.message)
                    .where(_of(mailbox, chunk), _message.state == "decided", _message.outcome == "imported")
                    .values(**_decided("dropped", rule, now), engagement_id=None)
                )

    def lease(
        self, connection: sa.Connection, mailbox: MailboxRow, n: int, now: dt.datetime, lease_seconds: float = 120,
        lane: Lane | None = None,
    ) -> list[ClaimedMessage]:  # fmt: skip
        """Lease up to `n` pending messages, newest first: of `lane`, or live before backfill, and then a suspect."""
        claimed: list[ClaimedMessage] = []
        for name in LANES if lane is None else (lane,):
            found = self._claimable(connection, mailbox, name, n - len(claimed), now) if len(claimed) < n else []
            claimed += self._take(connection, mailbox, found, name, now, lease_seconds)
        return claimed if claimed or lane else self.lease_suspect(connection, mailbox, now, lease_seconds)

    def lease_suspect(
        self, connection: sa.Connection, mailbox: MailboxRow, now: dt.datetime, lease_seconds: float = 120,
        lane: Lane | None = None,
    ) -> list[ClaimedMessage]:  # fmt: skip
        """Lease one message (of `lane`, or live before backfill) that has lost leases before, by itself; none where there is none.

        A message leased `MAX_LEASES` times without any result is parked instead. In a lane where others are free they come first: no
        index knows the suspects, and to find one among all that wait takes seconds.
        """
        for name in LANES if lane is None else (lane,):
            if self._claimable(connection, mailbox, name, 1, now):
                continue
            while found := self._claimable(connection, mailbox, name, 1, now, suspects=True):
                if found[0].leases < MAX_LEASES:
                    return self._take(connection, mailbox, found, name, now, lease_seconds)
                lost = _decided("parked", decisions.PARKED, now) | {"phase": PHASE_LOST, "error_class": None}
                connection.execute(sa.update(schema.message).where(_of(mailbox, [found[0].gmail_id])).values(**lost))
        return []

    def _take(
        self, connection: sa.Connection, mailbox: MailboxRow, found: Sequence[Any], lane: Lane, now: dt.datetime, lease_seconds: float
    ) -> list[ClaimedMessage]:  # fmt: skip
        token, until = self._new_lease(), now + dt.timedelta(seconds=lease_seconds)
        for chunk in _chunks([row.gmail_id for row in found]):
            leased = {"lease": token, "lease_until": until, "leases": _message.leases + 1}
            connection.execute(sa.update(schema.message).where(_of(mailbox, chunk)).values(**leased))
        return [
            ClaimedMessage(
                mailbox.team_id, mailbox.id, row.gmail_id, token, mailbox.address, lane, mailbox.window_from,
                is_new=lane == "live" and abs(now - row.found_at) < NEW_FOR,
            )
            for row in found
        ]  # fmt: skip

    def _claimable(
        self, connection: sa.Connection, mailbox: MailboxRow, lane: Lane, n: int, now: dt.datetime, *, suspects: bool = False
    ) -> Sequence[Any]:  # fmt: skip
        is_suspect = _message.leases >= SUSPECT_LEASES
        query = (
            sa.select(_message.gmail_id, _message.leases, _message.found_at)
            .where(_message.mailbox_id == mailbox.id, _message.lane == LANES[lane], free(When.at(now)))
            .where(is_suspect if suspects else sa.not_(is_suspect))
            .order_by(_message.gmail_id.desc())
            .limit(n)
        )
        if self._database.dialect != "sqlite":
            query = query.with_for_update(skip_locked=True)
        return connection.execute(query).all()

    def in_flight(self, connection: sa.Connection, mailbox: MailboxRow, lane: Lane, most: int, now: dt.datetime) -> int:
        """How many of the newest messages of a lane are leased to somebody now; it looks no further than `most` can matter."""
        newest = (
            sa.select(_message.lease_until)
            .where(_message.mailbox_id == mailbox.id, _message.state == "pending", _message.lane == LANES[lane])
            .order_by(_message.gmail_id.desc())
            .limit(2 * most)
            .subquery()
        )
        until = newest.c.lease_until
        query = sa.select(sa.func.count()).select_from(newest).where(until > now, until <= now + FAR)
        return connection.scalar(query) or 0

    def has_claimable(
        self, connection: sa.Connection, mailbox: MailboxRow, now: dt.datetime, *, live_only: bool = False
    ) -> bool:
        """Whether a lease would find anything."""
        which = [_message.lane == LANES["live"]] if live_only else []
        query = sa.select(sa.literal(1)).where(_message.mailbox_id == mailbox.id, free(When.at(now)), *which).limit(1)
        return connection.scalar(query) is not None

    # --- what people ask -------------------------------------------------------------------------------------------
    def retry_parked(self, team_id: str, mailbox: str | None = None, gmail_id: str | None = None) -> int:
        """Make the team's parked messages (of one mailbox, or one message) pending again; how many."""
        parked = (_message.outcome == "parked", _message.rule == decisions.PARKED)  # the rule, for its index
        condition = [_message.team_id == team_id, *parked]
        if mailbox is not None:
            condition.append(_message.mailbox_id == mailbox)
        if gmail_id is not None:
            condition.append(_message.gmail_id == gmail_id)
        again = sa.update(schema.message).where(*condition).values(**PENDING_AGAIN)
        return self._database.transaction(lambda connection: connection.execute(again).rowcount)


def _decided(outcome: Outcome, rule: str, now: dt.datetime) -> dict[str, Any]:
    return {
        "state": "decided", "outcome": outcome, "rule": rule, "decided_at": now, "lease": None, "lease_until": None, "not_before": None,
    }  # fmt: skip


def _of(mailbox: MailboxRow, ids: Sequence[str]) -> sa.ColumnElement[bool]:
    return sa.and_(_message.mailbox_id == mailbox.id, _message.team_id == mailbox.team_id, _message.gmail_id.in_(ids))


class When(NamedTuple):
    """The time (UTC) that a condition asks about: a value, or a parameter of a statement that is built once. far: `FAR` later."""

    now: Any
    far: Any

    @classmethod
    def at(cls, now: dt.datetime) -> When:
        """That of `now`."""
        return cls(now, now + FAR)


def passed(column: Any, when: When) -> sa.ColumnElement[bool]:
    """The time in `column` is over, or there is none, or it was written by a clock that was far ahead."""
    return sa.or_(column.is_(None), column <= when.now, column > when.far)


def free(when: When, column: Any = _message) -> sa.ColumnElement[bool]:
    """Pending, its pause over, and leased to nobody."""
    return sa.and_(column.state == "pending", passed(column.not_before, when), passed(column.lease_until, when))


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]
