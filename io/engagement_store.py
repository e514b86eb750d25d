"""The engagements of one settling batch: inserted, merged with what is there, and put on the search outbox.

The copy with the smallest rank gives an engagement its content, participants and links, in whatever order copies come.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from ..transforms.records import CustomerMail, SeenCopy, Settleable
from . import closed_deals, engagement_rows, removal, schema
from .database import Database
from .keep_out import KeepOut
from .key_sets import any_of
from .removal import MessageKey

Engagement = tuple[str, str]
"""A team's id and an engagement's."""

_engagement = schema.engagement.c


class EngagementStore:
    """Writes within a transaction of the caller. `changed` are the engagements that went on the search outbox."""

    def __init__(self, database: Database, connection: sa.Connection, now: dt.datetime) -> None:
        self._database, self._connection, self._now = database, connection, now
        self._floor = removal.clock_version(now)
        self._versions: dict[Engagement, int] = {}

    @property
    def changed(self) -> set[Engagement]:
        """What went on the search outbox."""
        return set(self._versions)

    def write(
        self, items: Mapping[MessageKey, Settleable], copies: Mapping[MessageKey, str], keep_out: KeepOut
    ) -> dict[MessageKey, str]:
        """Store mails and copies (`copies`: those there already). Returns the copies that were not stored, each with a rule.

        The rule is "" where the engagement, or the content that the copy stands for, is missing: it has to be read again.
        """
        best: dict[Engagement, CustomerMail] = {}
        observed: dict[Engagement, list[MessageKey]] = defaultdict(list)
        for key, item in items.items():
            if isinstance(item, CustomerMail | SeenCopy):
                engagement = (item.claim.team_id, item.engagement_id)
                observed[engagement].append(key)
                if isinstance(item, CustomerMail) and (engagement not in best or item.rank < best[engagement].rank):
                    best[engagement] = item
        if not observed:
            return {}
        found = self._lock(observed)
        better = {e: best[e] for e in sorted(best) if e in found and best[e].rank < found[e].rank}
        absent = _absent(items, observed, {**best, **found, **better}, keep_out)

        fresh = self._insert({e: best[e] for e in sorted(best) if e not in found}, found)
        self._rewrite(better, found)
        self._write_people(fresh | better, replaced=better)
        stored = {e: [key for key in keys if key not in absent] for e, keys in observed.items()}
        self._write_copies(items, stored)
        joined = [e for e, keys in stored.items() if e not in self._versions and any(key not in copies for key in keys)]
        self._bump(sorted(joined), found)
        self._to_outbox()
        return absent

    def _lock(self, engagements: Iterable[Engagement]) -> dict[Engagement, Any]:
        """The stored ones among `engagements`: rank, version and time, locked in order of key."""
        query = (
            sa.select(_engagement.team_id, _engagement.id, _engagement.rank, _engagement.version, _engagement.sent_at)
            .where(any_of(_engagement.team_id, _engagement.id, engagements))
            .order_by(_engagement.team_id, _engagement.id)
            .with_for_update()
        )
        return {(row.team_id, row.id): row for row in self._connection.execute(query)}

    def _insert(
        self, new: dict[Engagement, CustomerMail], found: dict[Engagement, Any]
    ) -> dict[Engagement, CustomerMail]:
        """Insert engagements; returns those that are ours. What somebody else inserted meanwhile is added to `found`."""
        if not new:
            return {}
        versions = self._versions_of(new)
        rows = [engagement_rows.engagement(mail, versions[e], self._now) for e, mail in new.items()]
        if self._database.insert_or_bump(self._connection, schema.engagement, rows, schema.engagement.c.version) == len(
            rows
        ):
            self._versions |= versions
            return new
        found |= self._lock(new)
        # Somebody else's rows were bumped beyond our version, or differ in rank: which is which needs no knowing, because
        # writing an equal or better one once more, participants and all, does no harm.
        ours = {e: mail for e, mail in new.items() if mail.rank <= found[e].rank}
        self._rewrite(ours, found)
        self._delete_people(list(ours))
        return ours

    def _versions_of(self, new: Iterable[Engagement]) -> dict[Engagement, int]:
        """The clock's; or more, where the search index has yet to hear of a removal of the same engagement."""
        outbox = schema.search_outbox.c
        query = sa.select(outbox.team_id, outbox.engagement_id, outbox.version).where(
            any_of(outbox.team_id, outbox.engagement_id, new)
        )
        waiting = {(team, engagement): version for team, engagement, version in self._connection.execute(query)}
        return {e: max(self._floor, waiting.get(e, 0) + 1) for e in new}

    def _rewrite(self, better: dict[Engagement, CustomerMail], found: dict[Engagement, Any]) -> None:
        rows = []
        for e, mail in better.items():
            self._versions[e] = max(self._floor, found[e].version + 1)
            rows.append(engagement_rows.engagement(mail, self._versions[e], self._now))
        self._database.upsert(self._connection, schema.engagement, rows, engagement_rows.CONTENT)

    def _write_people(self, mails: dict[Engagement, CustomerMail], replaced: Iterable[Engagement]) -> None:
        closed = closed_deals.read(self._connection, list(replaced))
        self._delete_people(list(replaced))
        for table, rows in (
            (schema.participant, [row for mail in mails.values() for row in engagement_rows.participants(mail)]),
            (
                schema.engagement_link,
                [row for e, mail in mails.items() for row in engagement_rows.links(mail, closed.get(e, ()))],
            ),
        ):
            self._database.insert(self._connection, table, rows)

    def _delete_people(self, engagements: list[Engagement]) -> None:
        for table in (schema.participant, schema.engagement_link) if engagements else ():
            mine = any_of(table.c.team_id, table.c.engagement_id, engagements)
            self._connection.execute(sa.delete(table).where(mine))

    def _write_copies(
        self, items: Mapping[MessageKey, Settleable], stored: Mapping[Engagement, list[MessageKey]]
    ) -> None:
        rows = []
        for (team, engagement), keys in stored.items():
            for key in keys:
                item = items[key]
                assert isinstance(item, CustomerMail | SeenCopy)
                rows.append(
                    {
                        "mailbox_id": key[0], "gmail_id": key[1], "team_id": team, "engagement_id": engagement,
                        "content_digest": item.content_digest,
                    }
                )  # fmt: skip
        rows.sort(key=lambda row: (row["mailbox_id"], row["gmail_id"]))
        self._database.upsert(self._connection, schema.engagement_copy, rows, ["engagement_id", "content_digest"])

    def _bump(self, engagements: list[Engagement], found: dict[Engagement, Any]) -> None:
        """A new version for what another mailbox holds now."""
        if engagements:
            removal.bump_versions(self._connection, engagements, self._now)
            self._versions |= {e: max(self._floor, found[e].version + 1) for e in engagements}

    def _to_outbox(self) -> None:
        for team in sorted({team for team, _ in self._versions}):
            mine = {e: version for (t, e), version in sorted(self._versions.items()) if t == team}
            removal.put_on_outbox(self._database, self._connection, team, mine, self._now)


def _absent(
    items: Mapping[MessageKey, Settleable], observed: Mapping[Engagement, list[MessageKey]],
    standing: Mapping[Engagement, Any], keep_out: KeepOut,
) -> dict[MessageKey, str]:  # fmt: skip
    """The seen copies that cannot join. `standing` is what each engagement will hold: its row, or the mail that sets it."""
    absent: dict[MessageKey, str] = {}
    for engagement, keys in observed.items():
        winner = standing.get(engagement)
        for key in keys:
            item = items[key]
            if not isinstance(item, SeenCopy):
                continue
            if winner is None or item.rank < winner.rank:  # the copy that it equals has not been stored
                absent[key] = ""
            elif (rule := keep_out.rule(item, winner.sent_at)) is not None:
                absent[key] = rule
    return absent
