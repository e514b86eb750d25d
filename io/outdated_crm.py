"""What a batch was judged by a CRM that has changed since: read again, linked once more, or kept out after all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from ..transforms.blocklist import Blocklist
from ..transforms.claim_messages import CRM_RULES, SCORED_RULES
from ..transforms.records import CustomerMail, Decision, SeenCopy, Settleable
from . import relink, schema
from .removal import MessageKey
from .settle_locks import Held, Team

OUTDATED_LEASES: Final = 20
"""A decision by an outdated CRM is taken back only in so many leases of a message. Workers that were killed have leased it
too, so the number is well above what a bad day brings, and below the ledger's MAX_LEASES."""


def outdated_decisions(
    items: Mapping[MessageKey, Settleable], held: Mapping[MessageKey, Held], teams: dict[str, Team]
) -> list[MessageKey]:
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


def blocked_meanwhile(
    connection: sa.Connection,
    items: Mapping[MessageKey, Settleable],
    held: Mapping[MessageKey, Held],
    teams: dict[str, Team],
) -> set[MessageKey]:
    """Mail that was judged before somebody in it came on a blocklist: it is read again instead of stored.

    Asks generously (anybody's list, own people too): what is not blocked after all costs one more reading. A seen copy does
    not say who is in it.
    """
    judged: dict[str, list[tuple[MessageKey, CustomerMail]]] = defaultdict(list)
    found: set[MessageKey] = set()
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
            people = [one.address for one in (mail.sender, *mail.to, *mail.cc)]
            if blocklist.rule([(address, False) for address in (*people, *mail.also_from)], None):
                found.add(key)
    return found


def relink_outdated(connection: sa.Connection, items: Mapping[MessageKey, Settleable], teams: dict[str, Team]) -> None:
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
