"""Leasing: which of a mailbox's pending messages are read next, as far as the quota goes. A transaction of its own."""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa

from ..transforms.errors import GmailQuotaError, GmailUnavailableError, TokenRefreshError
from ..transforms.records import ClaimedMessage, Lane
from . import listings, mailboxes, schema
from .database import Database
from .gmail_errors import MAILBOX_ERRORS
from .ledger import BLOCKED, Ledger
from .ledger_changes import set_rows
from .listings import Listing
from .mailboxes import Mailboxes, MailboxRow
from .quota import LARGE_TEXTS, READ_AT_ONCE, Quota, room_in

PACED: Final = "paced"
"""The state reason of a mailbox whose backfill waits for its own share of the quota; pushes do not wait with it."""

_BATCHES_UNDER_WAY: Final = 2
"""Of a mailbox's old mail: more would only fill the queues before its reading, where live mail has to pass."""

_LOOK_AFTER_RETRY: Final = dt.timedelta(seconds=2)
"""When a mailbox that was blocked for its messages is looked at after these were asked for once more."""

_ENOUGH: Final = READ_AT_ONCE + 2 * LARGE_TEXTS
"""Messages a minute by which some have either room for their large texts, or enough others that give way (io/message_reader.py)."""

_OUTAGES: Final = (TokenRefreshError.__name__, GmailUnavailableError.__name__)

_message = schema.message.c


class _Refused(NamedTuple):
    """Until when the soonest of the messages waits (None: none does any more), and how often the least unlucky has failed."""

    until: dt.datetime | None
    failures: int


_NEVER: Final = _Refused(None, -1)


@dataclasses.dataclass(frozen=True)
class LeaseSettings:
    """How much is leased.

    batch: messages leased at once. lease_seconds: how long they may take. backfill_share, live_share: the parts of the quota that
    reading old mail, and any mail, may use; the rest is for finding out what is new.
    """

    batch: int = 50
    lease_seconds: float = 120
    backfill_share: float = 0.8
    live_share: float = 0.95

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: a value out of range; the text shows it.
        """
        if self.batch < 1 or self.lease_seconds <= 0:
            raise ValueError(f"batch {self.batch}, lease_seconds {self.lease_seconds}: both must be positive")
        if not 0 < self.backfill_share <= self.live_share <= 1:
            raise ValueError(f"shares {self.backfill_share}, {self.live_share}: 0 < backfill_share <= live_share <= 1")

    def share(self, lane: Lane) -> float:
        """The part of the quota that reading messages of `lane` may use."""
        return self.live_share if lane == "live" else self.backfill_share


class Leasing:
    """Leases messages of one mailbox after the other. Safe to share between threads."""

    def __init__(
        self, database: Database, quota: Quota, settings: LeaseSettings, now: Callable[[], dt.datetime], jitter: random.Random
    ) -> None:  # fmt: skip
        self._database = database
        self._quota = quota
        self._limits = quota.limits
        self._settings = settings
        self._now = now
        self._jitter = jitter
        self._ledger = Ledger(database)
        self._mailboxes = Mailboxes(database, now)

    def lease(self, mailbox: MailboxRow, *, live_only: bool, old_messages: int | None = None) -> list[ClaimedMessage]:
        """Lease what the quota has room for, of old mail at most `old_messages` (None: a batch).

        After a push live mail alone: old mail waits for its own turn.

        Raises:
            MailboxError: a message was refused for a reason that is its whole mailbox's. Nothing is leased.
        """
        now, cost = self._now(), self._limits.get

        def work(connection: sa.Connection) -> list[ClaimedMessage]:
            current = mailboxes.lock(self._database, connection, mailbox.id)
            if not current.import_on:
                return []
            refused = self._refused(connection, current, now)
            blocked_for = self._meet_mailbox_errors(current, refused)
            if current.state in BLOCKED and self._is_being_read(connection, current.id, now):
                mailboxes.look_soon(connection, current.id, now + _LOOK_AFTER_RETRY)
                return []  # what comes of those says whether it is over
            if (until := refused.get(GmailQuotaError.__name__, _NEVER).until) is not None:
                # Gmail refused a message of this mailbox for quota: asking for others would only be refused, too.
                self.set_state(connection, current, "quota_delayed", GmailQuotaError.__name__, until)
                return []
            claimed = self._take(connection, current, now, live_only=live_only, old_messages=old_messages)
            # The room was read without a lock; the debit is the word that counts when several workers ask at once.
            granted = self._quota.grant(connection, current.id, cost, len(claimed), now) if claimed else 0
            surplus = [claim.gmail_id for claim in claimed[granted:]]
            set_rows(connection, current, surplus, lease=None, lease_until=None, leases=_message.leases - 1)
            del claimed[granted:]
            if blocked_for and (claimed or not live_only):
                self._try_again(connection, current, blocked_for)
            if blocked_for and claimed:
                mailboxes.look_soon(connection, current.id, now + _LOOK_AFTER_RETRY)
            if blocked_for and (claimed or live_only):
                return claimed  # still blocked; but without either its old mail needs a turn, and the blocked have none
            if live_only and current.state_reason == PACED:
                return claimed  # the old mail's pause goes on
            paced = (
                not claimed and not live_only
                and self._ledger.has_claimable(connection, current, now, live_only=old_messages == 0)
            )  # fmt: skip
            walks = listings.unfinished(connection, current.id)
            outages = (name for name in _OUTAGES if refused.get(name, _NEVER).failures == 0)
            trouble = next((walk.trouble for walk in walks if walk.trouble), "") or next(outages, "")
            state = "first_sync" if self._is_syncing(connection, current.id, walks) else "live"
            if trouble.startswith(GmailQuotaError.__name__):
                state = "quota_delayed"
            wait = now + dt.timedelta(seconds=2 + self._jitter.random()) if paced else None
            self.set_state(connection, current, state, PACED if paced else trouble, wait)
            return claimed

        return self._database.transaction(work)

    @staticmethod
    def _refused(connection: sa.Connection, current: MailboxRow, now: dt.datetime) -> dict[str, _Refused]:
        """The refusals that pending messages wait for, where they may be their mailbox's trouble: by the error's name."""
        soonest = sa.func.min(sa.case((_message.not_before > now, _message.not_before)))
        query = (
            sa.select(_message.error_class, sa.type_coerce(soonest, schema.UtcDateTime()), sa.func.min(_message.failures))
            .where(
                _message.mailbox_id == current.id, _message.state == "pending", _message.not_before.is_not(None),
                _message.error_class.in_([GmailQuotaError.__name__, *_OUTAGES, *MAILBOX_ERRORS]),
                sa.or_(_message.lease_until.is_(None), _message.lease_until <= now),
            )
            .group_by(_message.error_class)
        )  # fmt: skip
        return {name: _Refused(until, failures) for name, until, failures in connection.execute(query)}

    @staticmethod
    def _meet_mailbox_errors(current: MailboxRow, refused: dict[str, _Refused]) -> list[str]:
        """What history allows and messages are refused for blocks the mailbox, too; a blocked one tries again when it is looked at.

        Returns the names of the refusals that are to be tried again.
        """
        names = sorted(MAILBOX_ERRORS.keys() & refused.keys())
        just_now = [name for name in names if refused[name].until is not None]
        if just_now or (names and current.state not in BLOCKED):
            name = (just_now or names)[0]
            raise MAILBOX_ERRORS[name](f"get: {name}")
        return names

    @staticmethod
    def _is_being_read(connection: sa.Connection, mailbox_id: str, now: dt.datetime) -> bool:
        leased = sa.select(sa.literal(1)).where(
            _message.mailbox_id == mailbox_id, _message.state == "pending", _message.lease_until > now
        )
        return connection.scalar(leased.limit(1)) is not None

    @staticmethod
    def _try_again(connection: sa.Connection, current: MailboxRow, names: Sequence[str]) -> None:
        """Forget these refusals of a blocked mailbox's messages, which are being asked for again."""
        again = sa.update(schema.message).where(
            _message.mailbox_id == current.id, _message.state == "pending", _message.error_class.in_(names)
        )
        connection.execute(again.values(not_before=None, phase=None, error_class=None))

    def _take(
        self,
        connection: sa.Connection,
        current: MailboxRow,
        now: dt.datetime,
        *,
        live_only: bool,
        old_messages: int | None,
    ) -> list[ClaimedMessage]:
        """Live mail, or else a live suspect by itself; then old mail as far as its shares go, or else an old suspect.

        Few of the old may be under way at once.
        """
        settings, seconds = self._settings, self._settings.lease_seconds
        used = self._quota.usage(connection, current.id, now)
        room = min(settings.batch, self._calls(room_in(self._limits, used, settings.live_share)))
        claimed = self._ledger.lease(connection, current, room, now, seconds, "live") if room > 0 else []
        if not claimed and room > 0:
            claimed = self._ledger.lease_suspect(connection, current, now, seconds, "live")
            if claimed:
                return claimed  # old mail comes with the next turn
        if live_only:
            return claimed
        # Of two minutes: when what was spent at once runs out at once, those who ask first must not take all of it again.
        is_tight = used.project + used.project_before > self._limits.project_minute * settings.backfill_share / 2
        contenders = mailboxes.count(connection, "first_sync") if is_tight else 0
        most_old = settings.batch if old_messages is None else min(settings.batch, old_messages)
        share = room_in(self._limits, used, settings.backfill_share, contenders)
        old = min(most_old, self._calls(share)) - len(claimed)
        most = _BATCHES_UNDER_WAY * settings.batch
        old = min(old, most - self._ledger.in_flight(connection, current, "backfill", most, now))
        if old > 0:
            claimed += self._ledger.lease(connection, current, old, now, seconds, "backfill")
        if not claimed and room > 0:
            claimed = self._ledger.lease_suspect(connection, current, now, seconds, "backfill")
        return claimed

    def _calls(self, units: int) -> int:
        """How many messages `units` are enough for. Of a small quota the price of one's large texts is kept back.

        Else a few that are read side by side would spend all of it on themselves, have nothing left for their texts, and come again
        together, minute after minute. Where more are leased than are read side by side, those that wait give way.
        """
        calls = units // self._limits.get
        is_small = self._limits.mailbox_minute * self._settings.backfill_share < _ENOUGH * self._limits.get
        return min(calls, max(1, calls - LARGE_TEXTS)) if is_small else calls

    def _is_syncing(self, connection: sa.Connection, mailbox_id: str, walks: Sequence[Listing]) -> bool:
        if any(walk.kind in {"plan", "first_sync"} for walk in walks):
            return True
        waiting = sa.select(sa.literal(1)).where(
            _message.mailbox_id == mailbox_id, _message.state == "pending", _message.lane == 1
        )
        return connection.scalar(waiting.limit(1)) is not None

    def set_state(
        self, connection: sa.Connection, current: MailboxRow, state: str, reason: str, until: dt.datetime | None
    ) -> None:
        """Show a state where it is not shown already."""
        if (current.state, current.state_reason, current.not_before) != (state, reason, until):
            self._mailboxes.set_state_in(connection, current.id, state, reason, not_before=until)
