"""The ledger: one row for every message that was looked at, from found to decided.

The methods that take a connection are pieces of the claim's transaction (see io/claims.py), which holds the mailbox's row;
all of them are harmless when repeated.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa

from ..transforms import decisions
from ..transforms.records import ClaimedMessage, DueMailbox, Lane, Outcome
from . import removal, schema
from .database import Database
from .mailboxes import MailboxRow

LANES: dict[Lane, int] = {"live": 0, "backfill": 1}
LANE_NAMES: dict[int, Lane] = {0: "live", 1: "backfill"}
MAX_LEASES = 25
"""So many leases that ended without any result park a message: it seems to take its worker down with it."""
PHASE_LOST = "lost"
RESTING = ("not_connected", "consent_wanted", "reconsent", "paused")
"""States in which nothing is read until somebody acts."""
BLOCKED = ("admin_blocked", "no_gmail")
"""States in which only the poll asks again, when it is due."""

_CHUNK = 500
_message = schema.message.c
_mailbox = schema.mailbox.c


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
        self, connection: sa.Connection, mailbox: MailboxRow, ids: Sequence[str], now: dt.datetime
    ) -> None:
        """The team's policy is that the trash removes: this mailbox's copies of imported mail go, as for `mark_deleted`.

        The decision becomes label.trash, so that a message taken out of the trash is read again.
        """
        for chunk in _chunks(sorted(set(ids))):
            removal.remove_copies(self._database, connection, mailbox.team_id, [(mailbox.id, i) for i in chunk], now)
            connection.execute(
                sa.update(schema.message)
                .where(_of(mailbox, chunk), _message.state == "decided", _message.outcome == "imported")
                .values(**_decided("dropped", decisions.LABEL_TRASH, now), engagement_id=None)
            )

    def lease(
        self, connection: sa.Connection, mailbox: MailboxRow, n: int, now: dt.datetime, lease_seconds: float = 120,
        lane: Lane | None = None,
    ) -> list[ClaimedMessage]:  # fmt: skip
        """Lease up to `n` pending messages: live before backfill, newest first (only of `lane` where given).

        A message leased `MAX_LEASES` times without any result is parked instead.
        """
        claimed: list[ClaimedMessage] = []
        for name in LANES if lane is None else (lane,):
            while len(claimed) < n:
                found = self._claimable(connection, mailbox, name, n - len(claimed), now)
                lost = [gmail_id for gmail_id, leases in found if leases >= MAX_LEASES]
                good = [gmail_id for gmail_id, leases in found if leases < MAX_LEASES]
                if lost:
                    connection.execute(
                        sa.update(schema.message)
                        .where(_of(mailbox, lost))
                        .values(
                            **_decided("parked", decisions.PARKED, now) | {"phase": PHASE_LOST, "error_class": None}
                        )
                    )
                token = self._new_lease()
                if good:
                    connection.execute(
                        sa.update(schema.message)
                        .where(_of(mailbox, good))
                        .values(
                            lease=token,
                            lease_until=now + dt.timedelta(seconds=lease_seconds),
                            leases=_message.leases + 1,
                        )
                    )
                claimed.extend(
                    ClaimedMessage(
                        mailbox.team_id,
                        mailbox.id,
                        gmail_id,
                        token,
                        mailbox.address,
                        lane=name,
                        window_from=mailbox.window_from,
                    )
                    for gmail_id in good
                )
                if not lost:
                    break
        return claimed

    def _claimable(
        self, connection: sa.Connection, mailbox: MailboxRow, lane: Lane, n: int, now: dt.datetime
    ) -> list[tuple[str, int]]:
        query = (
            sa.select(_message.gmail_id, _message.leases)
            .where(_message.mailbox_id == mailbox.id, _message.lane == LANES[lane], _free(now))
            .order_by(_message.gmail_id.desc())
            .limit(n)
        )
        if self._database.dialect != "sqlite":
            query = query.with_for_update(skip_locked=True)
        return [(row.gmail_id, row.leases) for row in connection.execute(query)]

    def has_claimable(self, connection: sa.Connection, mailbox: MailboxRow, now: dt.datetime) -> bool:
        """Whether a lease would find anything."""
        query = sa.select(sa.literal(1)).where(_message.mailbox_id == mailbox.id, _free(now)).limit(1)
        return connection.scalar(query) is not None

    # --- who has something to do -----------------------------------------------------------------------------------
    def due(self, now: dt.datetime) -> list[DueMailbox]:
        """Mailboxes with a poll or a watch renewal due (reason "poll"), or with claimable messages or a listing ("work")."""
        awake = [_mailbox.import_on.is_(True), _mailbox.state.not_in(RESTING), _passed(_mailbox.not_before, now)]
        poll = sa.or_(_passed(_mailbox.next_poll_at, now), _mailbox.watch_renew_at <= now)
        message = schema.message.alias("w")
        work = sa.and_(
            _mailbox.state.not_in(BLOCKED),
            sa.or_(
                sa.exists().where(message.c.mailbox_id == _mailbox.id, _free(now, message.c)),
                sa.exists().where(schema.listing.c.mailbox_id == _mailbox.id, schema.listing.c.finished_at.is_(None)),
            ),
        )
        query = (
            sa.select(_mailbox.team_id, _mailbox.id, sa.case((poll, "poll"), else_="work"))
            .where(*awake, sa.or_(poll, work))
            .order_by(_mailbox.id)
        )
        with self._database.reading() as connection:
            return [
                DueMailbox(team_id, mailbox_id, reason) for team_id, mailbox_id, reason in connection.execute(query)
            ]

    def touched(self, address: str, now: dt.datetime) -> list[DueMailbox]:
        """The mailboxes that a push for `address` (any case) concerns; notes the push. Unknown or off: none, no trace."""
        awake = sa.and_(
            _mailbox.address == address.strip().lower(), _mailbox.import_on.is_(True), _mailbox.state.not_in(RESTING)
        )
        query = sa.select(_mailbox.team_id, _mailbox.id).where(awake).order_by(_mailbox.id)
        with self._database.reading() as connection:
            found = [DueMailbox(team_id, mailbox_id, "push") for team_id, mailbox_id in connection.execute(query)]
        if found:
            noted = sa.update(schema.mailbox).where(awake).values(last_push_at=now, unpushed_since=None)
            self._database.transaction(lambda connection: connection.execute(noted))
        return found

    def next_due(self, now: dt.datetime) -> dt.datetime | None:
        """When `due` will next have an answer, at the earliest (`now` if it has one already); None: never by itself."""
        if self.due(now):
            return now
        awake = [_mailbox.import_on.is_(True), _mailbox.state.not_in(RESTING)]
        query = sa.select(_mailbox.next_poll_at, _mailbox.watch_renew_at, _mailbox.not_before, _mailbox.id).where(
            *awake
        )
        free_at = sa.case(
            (_message.lease_until.is_(None), _message.not_before),
            (_message.not_before.is_(None), _message.lease_until),
            (_message.not_before > _message.lease_until, _message.not_before),
            else_=_message.lease_until,
        )
        waiting = (
            sa.select(_message.mailbox_id, sa.type_coerce(sa.func.min(free_at), schema.UtcDateTime()))
            .join(schema.mailbox, _mailbox.id == _message.mailbox_id)
            .where(_message.state == "pending", *awake, _mailbox.state.not_in(BLOCKED))
            .group_by(_message.mailbox_id)
        )
        listing = sa.select(schema.listing.c.mailbox_id).where(schema.listing.c.finished_at.is_(None)).distinct()
        times: list[dt.datetime] = []
        with self._database.reading() as connection:
            work = {mailbox: at or now for mailbox, at in connection.execute(waiting)}
            work.update(dict.fromkeys(connection.scalars(listing), now))
            for poll, renew, pause, mailbox in connection.execute(query):
                at = min(t for t in (poll or now, renew, work.get(mailbox)) if t is not None)
                times.append(max(at, pause) if pause else at)
        return max(now, min(times)) if times else None

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
    "failures": 0, "leases": 0, "not_before": None, "lease": None, "lease_until": None, "phase": None, "error_class": None,
    "decided_at": None,
}  # fmt: skip
"""What sets a decided row back to its beginning."""


def _decided(outcome: Outcome, rule: str, now: dt.datetime) -> dict[str, Any]:
    return {
        "state": "decided", "outcome": outcome, "rule": rule, "decided_at": now, "lease": None, "lease_until": None, "not_before": None,
    }  # fmt: skip


def _of(mailbox: MailboxRow, ids: Sequence[str]) -> sa.ColumnElement[bool]:
    return sa.and_(_message.mailbox_id == mailbox.id, _message.team_id == mailbox.team_id, _message.gmail_id.in_(ids))


def _passed(column: Any, now: dt.datetime) -> sa.ColumnElement[bool]:
    return sa.or_(column.is_(None), column <= now)


def _free(now: dt.datetime, column: Any = _message) -> sa.ColumnElement[bool]:
    """Pending, its pause over, and leased to nobody."""
    return sa.and_(column.state == "pending", _passed(column.not_before, now), _passed(column.lease_until, now))


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
