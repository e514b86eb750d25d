"""Deals that have closed keep the mail that was tied to them while they were open: it is the story of the deal.

New mail is tied to open deals only. So what is written anew of a mail's links (re-linking, a copy that wins over the stored
one) has to take these along.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

import sqlalchemy as sa

from ..transforms.records import Link
from . import schema
from .key_sets import any_of

Engagement = tuple[str, str]
"""A team's id and an engagement's."""


@dataclasses.dataclass(frozen=True, slots=True)
class ClosedDealLink:
    """A stored link to a deal that is closed by now, and the account of that deal."""

    link: Link
    account_id: str


def read(connection: sa.Connection, engagements: Collection[Engagement]) -> dict[Engagement, list[ClosedDealLink]]:
    """The stored links of these engagements to closed deals; one statement."""
    link, deal = schema.engagement_link.c, schema.opportunity.c
    query = (
        sa.select(link.team_id, link.engagement_id, link.target_id, link.is_primary, link.via, deal.account_id)
        .join_from(
            schema.engagement_link,
            schema.opportunity,
            sa.and_(deal.team_id == link.team_id, deal.id == link.target_id),
        )
        .where(
            any_of(link.team_id, link.engagement_id, engagements), link.kind == "opportunity", deal.is_open.is_(False)
        )
    )
    found: dict[Engagement, list[ClosedDealLink]] = defaultdict(list)
    for row in connection.execute(query) if engagements else ():
        one = Link("opportunity", row.target_id, bool(row.is_primary), row.via)
        found[row.team_id, row.engagement_id].append(ClosedDealLink(one, row.account_id))
    return found


def take_along(new: Sequence[Link], closed: Iterable[ClosedDealLink]) -> list[Link]:
    """`new` and those of `closed` whose account the mail still belongs to. An open deal is primary before a closed one."""
    accounts = {link.target_id for link in new if link.kind == "account"}
    tied = {link.target_id for link in new if link.kind == "opportunity"}
    kept = [one.link for one in closed if one.account_id in accounts and one.link.target_id not in tied]
    kept.sort(key=lambda link: (not link.primary, link.target_id))
    return [*new, *(dataclasses.replace(link, primary=not tied and place == 0) for place, link in enumerate(kept))]
