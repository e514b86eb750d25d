"""Tombstones: keyed digests of what was erased, so that no later sync brings it back and nobody can read who it was."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

import sqlalchemy as sa

from ..transforms.domains import crm_address
from . import schema
from .database import Database
from .vault import Digests, VaultError

TombstoneKind = Literal["address", "domain", "engagement", "mailbox", "before", "key"]
"""`key` keeps nothing out: it is set beside a team's first, and shows later whether they can still be recognised."""
_TABLE = schema.tombstone


class TombstoneKey:
    """Makes the digests. They are keyed: without the key nobody could try an address book on them."""

    def __init__(self, digests: Digests) -> None:
        self._digests = digests

    def digest(self, team_id: str, kind: TombstoneKind, value: str) -> str:
        """The digest of an address, domain, engagement id or mailbox id. A date ("before") is kept as it is."""
        return value if kind == "before" else self._digests.digest("tombstone", team_id, kind, value)

    def of_person(self, team_id: str, address: str) -> list[tuple[TombstoneKind, str]]:
        """The tombstones that would keep out a mail in which the normalized `address` takes part: its own, its domains'."""
        found: list[tuple[TombstoneKind, str]] = [("address", self.digest(team_id, "address", crm_address(address)))]
        labels = address.rpartition("@")[2].split(".")
        found.extend(("domain", self.digest(team_id, "domain", ".".join(labels[i:]))) for i in range(len(labels)))
        return found


def require_key(connection: sa.Connection, key: TombstoneKey, team_id: str | None = None) -> None:
    """See that the tombstones (of one team) were made with `key`: with another they would keep nothing out, and nobody would notice.

    Raises:
        VaultError: they were not.
    """
    query = sa.select(_TABLE.c.team_id, _TABLE.c.digest).where(_TABLE.c.kind == "key")
    query = query if team_id is None else query.where(_TABLE.c.team_id == team_id)
    if any(digest != key.digest(team, "key", "") for team, digest in connection.execute(query)):
        raise VaultError(
            "what was erased is known by another key than the last one of the list (--token_key): put that one back at its end"
        )


def check_key(database: Database, key: TombstoneKey) -> None:
    """`require_key` for the tombstones of all teams.

    Raises:
        VaultError: some were made with another key.
        StoreUnavailableError: the database cannot be reached.
    """
    with database.reading() as connection:
        require_key(connection, key)


@dataclasses.dataclass(frozen=True)
class TombstoneSet:
    """Those of the tombstones asked for that stand, and since when (UTC); and the day before which all mail is erased."""

    standing: dict[tuple[str, str, str], dt.datetime]
    before: dict[str, dt.datetime]

    def since(self, team_id: str, kind: TombstoneKind, digest: str) -> dt.datetime | None:
        """When this tombstone was set, None where there is none."""
        return self.standing.get((team_id, kind, digest))


def any_standing(connection: sa.Connection, teams: Iterable[str]) -> bool:
    """Whether any of the teams has ever erased anything: most have not."""
    query = sa.select(sa.literal(1)).where(_TABLE.c.team_id.in_(sorted(set(teams)))).limit(1)
    return connection.scalar(query) is not None


def standing(
    connection: sa.Connection, teams: Iterable[str], digests: Iterable[tuple[TombstoneKind, str]]
) -> TombstoneSet:
    """Ask for many tombstones at once, each by its kind and digest."""
    wanted: dict[TombstoneKind, set[str]] = defaultdict(set)
    for kind, digest in digests:
        wanted[kind].add(digest)
    mine = _TABLE.c.team_id.in_(
        sorted(set(teams))
    )  # in each of the stretches below: one of them alone is a look into the key
    stretches = [sa.and_(mine, _TABLE.c.kind == "before")]
    for kind, some in sorted(wanted.items()):
        stretches.append(sa.and_(mine, _TABLE.c.kind == kind, _TABLE.c.digest.in_(sorted(some))))
    query = sa.select(_TABLE.c.team_id, _TABLE.c.kind, _TABLE.c.digest, _TABLE.c.created_at).where(sa.or_(*stretches))
    found: dict[tuple[str, str, str], dt.datetime] = {}
    before: dict[str, dt.datetime] = {}
    for team_id, kind, digest, created_at in connection.execute(query):
        if kind == "before":
            day = dt.datetime.fromisoformat(digest)
            before[team_id] = max(day, before.get(team_id, day))
        else:
            found[team_id, kind, digest] = created_at
    return TombstoneSet(found, before)
