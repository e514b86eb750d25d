"""The ledger: one row for every message that was looked at, from found to decided.

The methods that take a connection are pieces of the claim's transaction (see io/claims.py), which holds the mailbox's row;
all of them are harmless when repeated.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from ..transforms import decisions
from ..transforms.records import ClaimedMessage, Lane, Outcome
from . import removal, schema
from .database import Database
from .mailboxes import FAR, MailboxRow

LANES: dict[Lane, int] = {"live": 0, "backfill": 1}
LANE_NAMES: dict[int, Lane] = {0: "live", 1: "backfill"}
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


@dataclasses.dataclass(frozen=True, slots=True)
class LedgerRow:
    """What the ledger knows of one message. Times are UTC; `outcome` and `rule` are None while it is pending."""

    team_id: str
    mailbox_id: str
    gmail_id: str
    state: Literal["pending", "decided"]
    lane: Lane
    outcome: Outcome | None
    rule: str | None
    rules_version: str
    score: float | None
    signals: tuple[str, ...]
    engagement_id: str | None
    failures: int
    leases: int
    not_before: dt.datetime | None
    leased_until: dt.datetime | None
    phase: str | None
    error_class: str | None
    found_at: dt.datetime
    decided_at: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far a mailbox is: messages by state and outcome; of a first sync also what was listed of about how many."""

    pending: int
    imported: int
    dropped: int
    gone: int
    parked: int
    listing: bool
    listed: int
    estimate: int

    @property
    def decided(self) -> int:
        """Messages with a decision."""
        return self.imported + self.dropped + self.gone + self.parked

    @property
    def known(self) -> int:
        """Messages in the ledger."""
        return self.pending + self.decided


class Ledger:
    """The table `message` and the questions that are asked of it. `now` is used where no time is handed in."""

    def __init__(
        self,
        database: Database,
        now: Callable[[], dt.datetime],
        new_lease: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._database = database
        self._now = now
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

    def reopen(
        self, connection: sa.Connection, mailbox: MailboxRow, ids: Sequence[str], now: dt.datetime,
        rules: Sequence[str] = tuple(decisions.LABEL_RULES.values()),
    ) -> int:  # fmt: skip
        """Make messages pending again that were dropped by one of `rules`; how many. Others stay as they are."""
        count = 0
        for chunk in _chunks(sorted(set(ids))):
            found = connection.execute(
                sa.update(schema.message)
                .where(
                    _of(mailbox, chunk),
                    _message.state == "decided",
                    _message.outcome == "dropped",
                    _message.rule.in_(rules),
                )
                .values(**PENDING_AGAIN, lane=LANES["live"], found_at=now)
            )
            count += found.rowcount
        return count

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
        self, connection: sa.Connection, mailbox: MailboxRow, now: dt.datetime, lease_seconds: float = 120
    ) -> list[ClaimedMessage]:
        """Lease one message that has lost leases before, by itself; none where there is none.

        A message leased `MAX_LEASES` times without any result is parked instead.
        """
        for name in LANES:
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
    def progress(self, mailbox: str) -> Progress:
        """How far the mailbox with the id `mailbox` is."""
        counts: dict[str, int] = {}
        kind = sa.func.coalesce(_message.outcome, "pending")
        query = sa.select(kind, sa.func.count()).where(_message.mailbox_id == mailbox).group_by(kind)
        listing = schema.listing.c
        listings = sa.select(
            sa.func.sum(sa.case((listing.finished_at.is_(None), 1), else_=0)),
            sa.func.sum(listing.listed),
            sa.func.sum(sa.case((listing.estimate > listing.listed, listing.estimate), else_=listing.listed)),
        ).where(listing.mailbox_id == mailbox)
        with self._database.reading() as connection:
            counts = dict(connection.execute(query).all())
            unfinished, listed, estimate = connection.execute(listings).one()
        return Progress(
            pending=counts.get("pending", 0), imported=counts.get("imported", 0), dropped=counts.get("dropped", 0),
            gone=counts.get("gone", 0), parked=counts.get("parked", 0), listing=bool(unfinished), listed=int(listed or 0),
            estimate=int(estimate or 0),
        )  # fmt: skip

    def counts(self, team_id: str) -> dict[tuple[str, str], int]:
        """The team's funnel: (outcome, rule) to how many messages; ("pending", "") for those without a decision."""
        kind = sa.func.coalesce(_message.outcome, "pending")
        rule = sa.func.coalesce(_message.rule, "")
        query = sa.select(kind, rule, sa.func.count()).where(_message.team_id == team_id).group_by(kind, rule)
        with self._database.reading() as connection:
            return {(outcome, name): count for outcome, name, count in connection.execute(query)}

    def rows(
        self, team_id: str, *, mailbox: str | None = None, outcome: str | None = None, rule: str | None = None,
        engagement: str | None = None, pending: bool = False, limit: int | None = None,
    ) -> Iterator[LedgerRow]:  # fmt: skip
        """The team's decisions (with `pending` also what has none yet), by mailbox and Gmail id, streaming.

        `mailbox` is a mailbox id; `rule` a rule's name or the part before the dot (`automated`).
        """
        query = (
            sa.select(schema.message)
            .where(_message.team_id == team_id)
            .order_by(_message.mailbox_id, _message.gmail_id)
        )
        if not pending:
            query = query.where(_message.state == "decided")
        for column, value in (
            (_message.mailbox_id, mailbox),
            (_message.outcome, outcome),
            (_message.engagement_id, engagement),
        ):
            if value is not None:
                query = query.where(column == value)
        if rule is not None:
            query = query.where(sa.or_(_message.rule == rule, _message.rule.startswith(f"{rule}.", autoescape=True)))
        if limit is not None:
            query = query.limit(limit)
        with self._database.reading() as connection:
            for row in connection.execution_options(stream_results=True, yield_per=_CHUNK).execute(query).mappings():
                yield _ledger_row(row)

    def explain(self, mailbox: str, gmail_id: str) -> LedgerRow | None:
        """All the ledger knows of one message; None: it has never been looked at."""
        query = sa.select(schema.message).where(_message.mailbox_id == mailbox, _message.gmail_id == gmail_id)
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _ledger_row(row)

    def retry_parked(self, team_id: str, mailbox: str | None = None, gmail_id: str | None = None) -> int:
        """Make the team's parked messages (of one mailbox, or one message) pending again; how many."""
        condition = [_message.team_id == team_id, _message.outcome == "parked"]
        if mailbox is not None:
            condition.append(_message.mailbox_id == mailbox)
        if gmail_id is not None:
            condition.append(_message.gmail_id == gmail_id)
        again = sa.update(schema.message).where(*condition).values(**PENDING_AGAIN)
        return self._database.transaction(lambda connection: connection.execute(again).rowcount)


PENDING_AGAIN: dict[str, Any] = {
    "state": "pending", "outcome": None, "rule": None, "rules_version": "", "score": None, "signals": sa.null(), "engagement_id": None,
    "failures": 0, "tries": 0, "leases": 0, "not_before": None, "lease": None, "lease_until": None, "phase": None, "error_class": None,
    "decided_at": None,
}  # fmt: skip
"""What sets a decided row back to its beginning."""


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


def _ledger_row(row: Any) -> LedgerRow:
    return LedgerRow(
        team_id=row["team_id"], mailbox_id=row["mailbox_id"], gmail_id=row["gmail_id"], state=row["state"],
        lane=LANE_NAMES[row["lane"]], outcome=row["outcome"], rule=row["rule"], rules_version=row["rules_version"],
        score=row["score"], signals=tuple(row["signals"] or ()), engagement_id=row["engagement_id"], failures=row["failures"],
        leases=row["leases"], not_before=row["not_before"], leased_until=row["lease_until"], phase=row["phase"],
        error_class=row["error_class"], found_at=row["found_at"], decided_at=row["decided_at"],
    )  # fmt: skip


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]
