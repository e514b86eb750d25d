"""Settling: what became of a batch of claimed messages goes to the database in one transaction (the second of three).

The result does not depend on the order in which copies arrive, nor on how often a batch is tried: the key of an engagement is
computed from the mail, the smallest rank wins, and only the holder of a lease may decide its message.
"""

from __future__ import annotations

import datetime as dt
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import sqlalchemy as sa

from ..transforms.records import ChangedEngagements, CustomerMail, Decision, Failure, SeenCopy, Settleable
from . import outdated_crm, overturned, removal, schema, settle_ledger, settle_locks
from .database import Database
from .engagement_store import Engagement, EngagementStore
from .keep_out import KeepOut
from .key_sets import any_of
from .removal import MessageKey
from .tombstones import TombstoneKey
from .vault import Digests


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
        wanted: dict[MessageKey, Settleable] = {}
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

    def _settle(self, connection: sa.Connection, wanted: dict[MessageKey, Settleable]) -> set[Engagement]:
        now = self._now()
        teams, mailboxes = settle_locks.lock_mailboxes(connection, wanted.values())
        held = settle_locks.lock_messages(connection, wanted, mailboxes)
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
        blocked = outdated_crm.blocked_meanwhile(connection, items, held, teams)
        absent = store.write({k: i for k, i in items.items() if k not in blocked}, copies, keep_out)
        changed |= store.changed

        absent |= dict.fromkeys([*blocked, *outdated_crm.outdated_decisions(items, held, teams)], "")
        outdated_crm.relink_outdated(connection, items, teams)
        present = {k: i for k, i in items.items() if k not in absent}
        taken_back = overturned.note_context(self._database, connection, present, held)
        settle_ledger.write_ledger(self._database, connection, items, held, absent, taken_back, self._chance, now)
        overturned.reopen_overturned(self._database, connection, items, set(absent))
        return changed

    def _remove_outdated(
        self,
        connection: sa.Connection,
        items: dict[MessageKey, Settleable],
        copies: dict[MessageKey, str],
        now: dt.datetime,
    ) -> set[Engagement]:
        """A message that was stored before, and is now decided otherwise or as another mail, loses its old copy."""
        outdated: dict[str, list[MessageKey]] = defaultdict(list)
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


def _weight(item: Settleable) -> int:
    """Of several outcomes for one claim in one batch (a bundle that ran twice) the one that says most counts."""
    return (Failure, Decision, SeenCopy, CustomerMail).index(type(item))


def _dropped(mail: CustomerMail, rule: str) -> Decision:
    return Decision(mail.claim, "dropped", rule, mail.rules_version)


def _copies(connection: sa.Connection, keys: Iterable[MessageKey]) -> dict[MessageKey, str]:
    """The engagements that these messages are stored as already."""
    copy = schema.engagement_copy.c
    query = sa.select(copy.mailbox_id, copy.gmail_id, copy.engagement_id).where(
        any_of(copy.mailbox_id, copy.gmail_id, keys)
    )
    return {(row.mailbox_id, row.gmail_id): row.engagement_id for row in connection.execute(query)}
