"""What a batch is settled under: its teams, mailboxes and messages, locked in this order, the same for all who settle."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from ..transforms.records import Failure, Settleable
from ..transforms.settings import TeamSettings
from . import schema
from .key_sets import any_of
from .removal import MessageKey

_message = schema.message.c


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
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
class Team:
    """What settling asks of a team's row."""

    settings: TeamSettings
    crm_version: int
    relinked_version: int


def lock_mailboxes(
    connection: sa.Connection, items: Iterable[Settleable]
) -> tuple[dict[str, Team], set[tuple[str, str]]]:
    """The teams, and (team, mailbox) of those whose import is on: neither can change until the transaction ends.

    The team's row is locked too, so that an erasure begins after this batch, or ends before it.
    """
    team, mailbox = schema.team.c, schema.mailbox.c
    teams = sorted({item.claim.team_id for item in items})
    ids = sorted({item.claim.mailbox_id for item in items})
    columns = (team.id, team.settings, team.crm_version, team.relinked_version)
    query = sa.select(*columns).where(team.id.in_(teams)).order_by(team.id).with_for_update(read=True)
    found = {
        row.id: Team(TeamSettings.from_json(row.settings), row.crm_version, row.relinked_version)
        for row in connection.execute(query)
    }
    query = (
        sa.select(mailbox.team_id, mailbox.id)
        .where(mailbox.id.in_(ids), mailbox.import_on.is_(True))
        .order_by(mailbox.id)
        .with_for_update(read=True)
    )
    return found, {(row.team_id, row.id) for row in connection.execute(query) if row.team_id in found}


def lock_messages(
    connection: sa.Connection, wanted: Mapping[MessageKey, Settleable], mailboxes: set[tuple[str, str]]
) -> dict[MessageKey, Held]:
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
            held[row.mailbox_id, row.gmail_id] = Held(
                row.team_id, row.failures, row.leases, row.tries, row.error_class
            )  # fmt: skip
    return held
