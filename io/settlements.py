"""Settling: what became of a batch of claimed messages goes to the database in one transaction (the second of three).

The result does not depend on the order in which copies arrive, nor on how often a batch is tried: the key of an engagement is
computed from the mail, the smallest rank wins, and only the holder of a lease may decide its message.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ..transforms import decisions, retries
from ..transforms.blocklist import Blocklist
from ..transforms.claim_messages import CRM_RULES, SCORED_RULES
from ..transforms.records import ChangedEngagements, CustomerMail, Decision, Failure, SeenCopy, Settleable
from ..transforms.settings import TeamSettings
from . import relink, removal, schema
from .database import Database
from .engagement_store import Engagement, EngagementStore
from .keep_out import KeepOut
from .key_sets import any_of
from .ledger import PENDING_AGAIN
from .tombstones import TombstoneKey
from .vault import Digests

HANDED_BACK_PAUSE = dt.timedelta(seconds=2)
"""How long a copy waits for the one that it was said to equal."""
OUTDATED_LEASES = 20
"""A decision by an outdated CRM is taken back only in so many leases of a message. Workers that were killed have leased it
too, so the number is well above what a bad day brings, and below the ledger's MAX_LEASES."""
REOPENED_LEASES = 20
"""A decision that its context overturns is taken back only in the first leases of a message, so that it cannot turn in circles."""

Key = removal.MessageKey
_message = schema.message.c


@dataclasses.dataclass(frozen=True, slots=True)
class _Held:
    """A pending message whose lease the batch shows."""

    team_id: str
    failures: int
    leases: int
    tries: int
    error_class: str | None

    def tries_like(self, failure: Failure) -> int:
        """How many failures like this one came just before it."""
        return self.tries if self.error_class == failure.error_class else 0


@dataclasses.dataclass(frozen=True, slots=True)
class _Team:
    """What settling asks of a team's row."""

    settings: TeamSettings
    crm_version: int
    relinked_version: int


class DatabaseSettlements:
    """Settles on MariaDB or SQLite: see transforms.write_to_mariadb.Settlements."""

    def __init__(
        self, database: Database, now: Callable[[], dt.datetime], digests: Digests,
        chance: random.Random | None = None,
    ) -> None:  # fmt: skip
        """`digests` recognise what was erased; `chance` spreads the pauses after failures."""
        self._database = database
        self._now = now
        self._tombstone_key = TombstoneKey(digests)
        self._chance = chance or random.Random()  # noqa: S311 (spreads load, guards nothing)

    def settle(self, batch: Sequence[Settleable]) -> list[ChangedEngagements]:
        """Store a batch in one transaction, idempotently, and return what went on the search outbox, a record a team.

        Skipped without effect: claims whose lease is no longer the ledger's, and mailboxes whose import is off.

        Raises:
            StoreUnavailableError: the database cannot be reached, or deadlocked to the end of its retries.
        """
        wanted: dict[Key, Settleable] = {}
        for item in batch:
            key = (item.claim.mailbox_id, item.claim.gmail_id)
            if key not in wanted or _weight(item) > _weight(wanted[key]):
                wanted[key] = item
        if not wanted:
            return []
        changed = self._database.transaction(lambda connection: self._settle(connection, wanted))
        teams: dict[str, list[str]] = defaultdict(list)
        for team_id, engagement_id in sorted(changed):
            teams[team_id].append(engagement_id)
        return [ChangedEngagements(team_id, tuple(ids)) for team_id, ids in teams.items()]

    def _settle(self, connection: sa.Connection, wanted: dict[Key, Settleable]) -> set[Engagement]:
        now = self._now()
        teams, mailboxes = _lock_mailboxes(connection, wanted.values())
        held = _lock_messages(connection, wanted, mailboxes)
        items = {key: wanted[key] for key in sorted(held)}
        if not items:
            return set()
        keep_out = KeepOut(
            connection, self._tombstone_key, list(items.values()), {t: one.settings for t, one in teams.items()}, now
        )
        for key, item in items.items():
            if isinstance(item, CustomerMail) and (rule := keep_out.rule(item, item.sent_at)):
                items[key] = _dropped(item, rule)

        copies = _copies(connection, items)
        changed = self._remove_outdated(connection, items, copies, now)
        store = EngagementStore(self._database, connection, now)
        blocked = self._blocked_meanwhile(connection, items, held, teams)
        absent = store.write({k: i for k, i in items.items() if k not in blocked}, copies, keep_out)
        changed |= store.changed

        absent |= dict.fromkeys([*blocked, *self._outdated_decisions(items, held, teams)], "")
        self._relink_outdated(connection, items, teams)
        taken_back = self._note_context(connection, {k: i for k, i in items.items() if k not in absent}, held)
        self._write_ledger(connection, items, held, absent, taken_back, now)
        self._reopen_overturned(connection, items, set(absent))
        return changed

    # --- copies that are no more -----------------------------------------------------------------------------------
    def _remove_outdated(
        self, connection: sa.Connection, items: dict[Key, Settleable], copies: dict[Key, str], now: dt.datetime
    ) -> set[Engagement]:
        """A message that was stored before, and is now decided otherwise or as another mail, loses its old copy."""
        outdated: dict[str, list[Key]] = defaultdict(list)
        for key, old in list(copies.items()):
            item = items[key]
            if isinstance(item, Failure) or (isinstance(item, CustomerMail | SeenCopy) and item.engagement_id == old):
                continue
            outdated[item.claim.team_id].append(key)
        changed: set[Engagement] = set()
        for team, keys in sorted(outdated.items()):
            removal.remove_copies(self._database, connection, team, keys, now)
            changed |= {(team, copies.pop(key)) for key in keys}
        return changed

    # --- decisions by a CRM that has changed since -----------------------------------------------------------------
    @staticmethod
    def _outdated_decisions(items: dict[Key, Settleable], held: dict[Key, _Held], teams: dict[str, _Team]) -> list[Key]:
        """Messages that an outdated CRM kept out: they are read again, or a contact added meanwhile would miss them.

        The look back for it passes over what is pending. Only in the first leases of a message: a CRM that changes all the time must
        not hold it up for ever.
        """
        return [
            key
            for key, item in items.items()
            if isinstance(item, Decision)
            and item.rule in CRM_RULES | SCORED_RULES
            and item.crm_version is not None
            and item.crm_version < teams[item.claim.team_id].crm_version
            and held[key].leases <= OUTDATED_LEASES
        ]

    @staticmethod
    def _blocked_meanwhile(
        connection: sa.Connection, items: dict[Key, Settleable], held: dict[Key, _Held], teams: dict[str, _Team]
    ) -> set[Key]:
        """Mail that was judged before somebody in it came on a blocklist: it is read again instead of stored.

        Asks generously (anybody's list, own people too): what is not blocked after all costs one more reading. A seen copy does
        not say who is in it.
        """
        judged: dict[str, list[tuple[Key, CustomerMail]]] = defaultdict(list)
        found: set[Key] = set()
        for key, item in items.items():
            if not isinstance(item, CustomerMail | SeenCopy) or held[key].leases > OUTDATED_LEASES:
                continue
            if item.crm_version is None or item.crm_version >= teams[item.claim.team_id].crm_version:
                continue
            if isinstance(item, CustomerMail):
                judged[item.claim.team_id].append((key, item))
            else:
                found.add(key)
        table = schema.blocked.c
        for team_id, mails in sorted(judged.items()):
            patterns = connection.scalars(sa.select(table.pattern).where(table.team_id == team_id))
            blocklist = Blocklist.build(("", pattern) for pattern in patterns)
            for key, mail in mails:
                people = [(one.address, False) for one in (mail.sender, *mail.to, *mail.cc)]
                if blocklist.rule(people, None):
                    found.add(key)
        return found

    @staticmethod
    def _relink_outdated(connection: sa.Connection, items: dict[Key, Settleable], teams: dict[str, _Team]) -> None:
        """Mail that was linked by an outdated CRM has its team linked once more (io/relink.py)."""
        for team_id, team in sorted(teams.items()):
            versions = [
                item.crm_version
                for item in items.values()
                if isinstance(item, CustomerMail) and item.claim.team_id == team_id and item.crm_version is not None
            ]
            oldest = min(versions, default=team.crm_version)
            if oldest < team.relinked_version:
                again = oldest
            elif team.relinked_version == relink.UNDER_WAY and oldest < team.crm_version:
                again = relink.ONCE_MORE  # its pages may have passed the place of this mail already
            else:
                continue
            connection.execute(sa.update(schema.team).where(schema.team.c.id == team_id).values(relinked_version=again))

    # --- context: what later outbound mail overturns ---------------------------------------------------------------
    def _note_context(
        self, connection: sa.Connection, items: dict[Key, Settleable], held: dict[Key, _Held]
    ) -> set[Key]:
        """Store the context of automated.* decisions; those that the team's own mail overturns already are to be read again."""
        rows = [
            {"team_id": item.claim.team_id, "digest": digest, "mailbox_id": key[0], "gmail_id": key[1]}
            for key, item in items.items()
            if isinstance(item, Decision) and item.outcome == "dropped"
            for digest in dict.fromkeys(item.context)
        ]
        if not rows:
            return set()
        rows.sort(key=lambda row: (row["team_id"], row["digest"], row["mailbox_id"], row["gmail_id"]))
        self._database.insert_new(connection, schema.message_context, rows)
        table = schema.correspondence.c
        pairs = sorted({(row["team_id"], row["digest"]) for row in rows})
        query = sa.select(table.team_id, table.digest).where(any_of(table.team_id, table.digest, pairs))
        known = set(connection.execute(query.with_for_update(read=True)))
        overturned = {(row["mailbox_id"], row["gmail_id"]) for row in rows if (row["team_id"], row["digest"]) in known}
        taken_back = {key for key in overturned if held[key].leases < REOPENED_LEASES}
        for team in {row["team_id"] for row in rows}:
            removal.forget_context(connection, team, taken_back)
        return taken_back

    def _reopen_overturned(self, connection: sa.Connection, items: dict[Key, Settleable], absent: set[Key]) -> None:
        """Remember whom stored mail shows the team writes to, and read again what was dropped before that was known."""
        rows = [
            {"team_id": item.claim.team_id, "digest": digest, "engagement_id": item.engagement_id}
            for key, item in items.items()
            if isinstance(item, CustomerMail | SeenCopy) and key not in absent
            for digest in dict.fromkeys(item.context)
        ]
        if not rows:
            return
        rows.sort(key=lambda row: (row["team_id"], row["digest"], row["engagement_id"]))
        self._database.insert_new(connection, schema.correspondence, rows)
        table = schema.message_context.c
        pairs = sorted({(row["team_id"], row["digest"]) for row in rows})
        query = sa.select(table.team_id, table.mailbox_id, table.gmail_id).where(
            any_of(table.team_id, table.digest, pairs)
        )
        overturned: dict[str, set[Key]] = defaultdict(set)
        for team, mailbox, gmail_id in connection.execute(query.with_for_update()):
            overturned[team].add((mailbox, gmail_id))
        for team, keys in sorted(overturned.items()):
            connection.execute(
                sa.update(schema.message)
                .where(
                    any_of(_message.mailbox_id, _message.gmail_id, keys),
                    _message.team_id == team, _message.state == "decided", _message.rule.startswith("automated."),
                )
                .values(**PENDING_AGAIN)
            )  # fmt: skip
            removal.forget_context(connection, team, keys)

    # --- the ledger ------------------------------------------------------------------------------------------------
    def _write_ledger(
        self, connection: sa.Connection, items: dict[Key, Settleable], held: dict[Key, _Held], absent: dict[Key, str],
        taken_back: set[Key], now: dt.datetime,
    ) -> None:  # fmt: skip
        rows = []
        alike = _waiting_alike(connection, items, held)
        for key, item in items.items():
            was = held[key]  # the row is there and locked: what is said of lane and found_at is never written
            row = {
                **_UNDECIDED, "mailbox_id": key[0], "gmail_id": key[1], "team_id": was.team_id, "lane": 0,
                "found_at": now, "failures": was.failures, "tries": 0, "leases": was.leases,
            }  # fmt: skip
            if absent.get(key):
                row |= {"state": "decided", "outcome": "dropped", "rule": absent[key], "decided_at": now}
            elif key in absent:
                pause = min(HANDED_BACK_PAUSE * 2 ** min(was.leases - 1, 10), retries.LONGEST_PAUSE)
                row |= {"not_before": now + pause * self._chance.uniform(0.5, 1)}
            elif key in taken_back:
                pass
            elif isinstance(item, Failure):
                row |= self._failed(item, was, alike.get(key[0], 0), now)
            else:
                row |= {
                    "state": "decided", "outcome": "imported", "rule": item.rule, "rules_version": item.rules_version,
                    "decided_at": now,
                }  # fmt: skip
                if isinstance(item, Decision):
                    row["outcome"] = item.outcome
                else:
                    row["engagement_id"] = item.engagement_id
                row |= {"score": item.score, "signals": list(item.signals) or None}
            rows.append(row)
        self._database.upsert(connection, schema.message, rows, [*_UNDECIDED, "failures", "tries", "leases"])

    def _failed(self, failure: Failure, was: _Held, alike: int, now: dt.datetime) -> dict[str, Any]:
        tries = was.tries_like(failure)
        counts = retries.counts(failure, tries, alike)
        failures = was.failures + counts
        row: dict[str, Any] = {
            "failures": failures, "tries": tries + 1, "phase": failure.phase[:32], "error_class": failure.error_class[:64],
            "leases": 0,
        }  # fmt: skip
        if counts and failures >= retries.MAX_FAILURES:
            return row | {"state": "decided", "outcome": "parked", "rule": decisions.PARKED, "decided_at": now}
        pause = retries.pause(failure, was.failures, tries) * self._chance.uniform(0.5, 1)
        return row | {"not_before": now + max(pause, failure.retry_after or pause)}


_UNDECIDED: dict[str, Any] = {
    "state": "pending", "outcome": None, "rule": None, "rules_version": "", "score": None, "signals": None, "engagement_id": None,
    "not_before": None, "lease": None, "lease_until": None, "phase": None, "error_class": None, "decided_at": None,
}  # fmt: skip


def _weight(item: Settleable) -> int:
    """Of several outcomes for one claim in one batch (a bundle that ran twice) the one that says most counts."""
    return (Failure, Decision, SeenCopy, CustomerMail).index(type(item))


def _dropped(mail: CustomerMail, rule: str) -> Decision:
    return Decision(mail.claim, "dropped", rule, mail.rules_version)


def _lock_mailboxes(
    connection: sa.Connection, items: Iterable[Settleable]
) -> tuple[dict[str, _Team], set[tuple[str, str]]]:
    """The teams, and (team, mailbox) of those whose import is on: neither can change until the transaction ends.

    The team's row is locked too, so that an erasure begins after this batch, or ends before it.
    """
    team, mailbox = schema.team.c, schema.mailbox.c
    teams = sorted({item.claim.team_id for item in items})
    ids = sorted({item.claim.mailbox_id for item in items})
    columns = (team.id, team.settings, team.crm_version, team.relinked_version)
    query = sa.select(*columns).where(team.id.in_(teams)).order_by(team.id).with_for_update(read=True)
    found = {
        row.id: _Team(TeamSettings.from_json(row.settings), row.crm_version, row.relinked_version)
        for row in connection.execute(query)
    }
    query = (
        sa.select(mailbox.team_id, mailbox.id)
        .where(mailbox.id.in_(ids), mailbox.import_on.is_(True))
        .order_by(mailbox.id)
        .with_for_update(read=True)
    )
    return found, {(row.team_id, row.id) for row in connection.execute(query) if row.team_id in found}


def _lock_messages(
    connection: sa.Connection, wanted: Mapping[Key, Settleable], mailboxes: set[tuple[str, str]]
) -> dict[Key, _Held]:
    """Those of the messages that are pending under the lease that the batch shows, locked."""
    keys = sorted(key for key, item in wanted.items() if (item.claim.team_id, key[0]) in mailboxes)
    if not keys:
        return {}
    query = (
        sa.select(
            _message.mailbox_id, _message.gmail_id, _message.team_id, _message.state, _message.lease, _message.failures,
            _message.leases, _message.tries, _message.error_class,
        )
        .where(any_of(_message.mailbox_id, _message.gmail_id, keys))
        .order_by(_message.mailbox_id, _message.gmail_id)
        .with_for_update()
    )  # fmt: skip
    held = {}
    for row in connection.execute(query):
        claim = wanted[row.mailbox_id, row.gmail_id].claim
        if row.state == "pending" and row.lease == claim.lease and row.team_id == claim.team_id:
            held[row.mailbox_id, row.gmail_id] = _Held(
                row.team_id, row.failures, row.leases, row.tries, row.error_class
            )  # fmt: skip
    return held


def _waiting_alike(
    connection: sa.Connection, items: Mapping[Key, Settleable], held: Mapping[Key, _Held]
) -> dict[str, int]:
    """How many messages of a mailbox wait because Gmail does not hand them out, where one has done so for long."""
    late = {
        key[0]: item.error_class
        for key, item in items.items()
        if isinstance(item, Failure) and retries.is_long(item, held[key].tries_like(item))
    }
    found = {}
    for mailbox, error_class in sorted(late.items()):
        # Who has failed has a pause, and an index of its own; else all that the mailbox waits for would be gone through.
        has_failed = (_message.not_before.is_not(None), _message.error_class == error_class)
        is_alike = (_message.mailbox_id == mailbox, _message.state == "pending", *has_failed)
        some = sa.select(_message.gmail_id).where(*is_alike).limit(retries.FEW + 1)
        found[mailbox] = connection.scalar(sa.select(sa.func.count()).select_from(some.subquery())) or 0
    return found


def _copies(connection: sa.Connection, keys: Iterable[Key]) -> dict[Key, str]:
    """The engagements that these messages are stored as already."""
    copy = schema.engagement_copy.c
    query = sa.select(copy.mailbox_id, copy.gmail_id, copy.engagement_id).where(
        any_of(copy.mailbox_id, copy.gmail_id, keys)
    )
    return {(row.mailbox_id, row.gmail_id): row.engagement_id for row in connection.execute(query)}
