"""What must not be stored although it belongs to a customer: erased mail, and mail older than its team keeps any."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import sqlalchemy as sa

from ..transforms import decisions
from ..transforms.records import CustomerMail, SeenCopy, Settleable
from ..transforms.settings import TeamSettings
from . import tombstones
from .tombstones import TombstoneKey, TombstoneKind

_TICK = dt.timedelta(microseconds=1)


class KeepOut:
    """The tombstones and retention that matter to one batch, read within its transaction."""

    def __init__(
        self, connection: sa.Connection, key: TombstoneKey, items: list[Settleable], settings: Mapping[str, TeamSettings],
        now: dt.datetime,
    ) -> None:  # fmt: skip
        stored = [item for item in items if isinstance(item, CustomerMail | SeenCopy)]
        self._oldest = {
            team: now - dt.timedelta(days=one.retention_days)
            for team, one in settings.items()
            if one.retention_days is not None
        }
        self._digests: dict[int, list[tuple[TombstoneKind, str]]] = {}
        self._found = tombstones.TombstoneSet({}, {})
        teams = {item.claim.team_id for item in stored}
        if stored and tombstones.any_standing(connection, teams):
            self._digests = {id(item): _digests(key, item) for item in stored}
            self._found = tombstones.standing(
                connection, teams, (pair for found in self._digests.values() for pair in found)
            )

    def rule(self, item: CustomerMail | SeenCopy, sent_at: dt.datetime) -> str | None:
        """The rule that keeps out a mail sent at `sent_at` (UTC), or None."""
        team = item.claim.team_id
        if sent_at < self._found.before.get(team, sent_at):
            return decisions.ERASED
        for kind, digest in self._digests.get(id(item), ()):
            since = self._found.since(team, kind, digest)
            if since is not None and (kind != "mailbox" or sent_at < since + _TICK):
                return decisions.ERASED  # an erased mailbox keeps out only what it held then
        return decisions.RETENTION if sent_at < self._oldest.get(team, sent_at) else None


def _digests(key: TombstoneKey, item: CustomerMail | SeenCopy) -> list[tuple[TombstoneKind, str]]:
    team = item.claim.team_id
    found: list[tuple[TombstoneKind, str]] = [
        ("engagement", key.digest(team, "engagement", item.engagement_id)),
        ("mailbox", key.digest(team, "mailbox", item.claim.mailbox_id)),
    ]
    if isinstance(item, CustomerMail):
        for person in (item.sender, *item.to, *item.cc):
            found.extend(key.of_person(team, person.address))
    return found
