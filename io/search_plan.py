"""The cheaper first sync: ask Gmail's search for the CRM's people instead of reading every message of the window.

A page of 500 ids costs 5 units, a message 20. Where few of a mailbox's messages belong to customers, searching for the CRM's
domains and addresses, a few at a time, and reading only what is found costs a fraction. What Gmail's search misses would
be missed for good, so a sample of what it did not find is read as well, by the normal path: `check` counts what it
would have been wrong about.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import sqlalchemy as sa

from ..transforms.domains import company_domain
from . import listings, schema
from .crm_import import SEARCHABLE, search_terms
from .database import Database
from .listings import Kind, Listing
from .mailboxes import MailboxRow
from .quota import QuotaLimits

SAMPLE: Final = 50
"""Messages that are read to test the search: fits the column, costs 1,000 units, and shows a miss of 5 % with 92 %."""

ESTIMATES: Final = 8
"""So often Gmail is asked how much there is in the window, some four minutes long; where it refuses each time, everything is read."""

_PREFIX: Final = "sample:"
_WORTH: Final = 0.25
"""Searching may cost this part of what reading everything would: a mailbox that matches entirely then costs 1.25 times."""

Plan = Literal["everything", "search"]


@dataclasses.dataclass(frozen=True, slots=True)
class SearchCheck:
    """What the sample says of one mailbox's search plan.

    unseen: messages of the window that the search did not find. sampled: of these, how many were read. missed: of these, how
    many turned out to be a customer's, by the CRM as it was then. undecided: not read yet.
    """

    unseen: int
    sampled: int
    missed: int
    undecided: int


def choose(total: int, searches: int, limits: QuotaLimits) -> Plan:
    """The plan for a window of about `total` messages and a CRM that takes `searches` searches: the cheaper, by estimate."""
    if not searches or not total:
        return "everything"
    return "search" if searches * limits.list <= _WORTH * total * limits.get else "everything"


def crm_searches(connection: sa.Connection, team_id: str) -> list[str]:
    """Gmail searches that together find all mail from or to the team's accounts, contacts and leads.

    Domains that match nobody by themselves (free mail, shared hosts) are left out; an address at an account's domain is found
    with it, and one that Gmail's search cannot express with its own domain. Mail through a Google Group may hide its author from
    the search, so whatever came through the team's own groups is asked for as well. No search at all where somebody cannot be found by any.
    """
    domains = {
        domain
        for found in connection.scalars(
            sa.select(schema.account_domain.c.domain).where(schema.account_domain.c.team_id == team_id)
        )
        if (domain := company_domain(found))
    }
    people: set[str] = set()
    for table in (schema.contact, schema.lead):
        people.update(connection.scalars(sa.select(table.c.address).where(table.c.team_id == team_id)))
    apart = {
        address for address in people if "@" in address and company_domain(address.rpartition("@")[2]) not in domains
    }
    apart = {one if SEARCHABLE.fullmatch(one) else one.rpartition("@")[2] for one in apart}
    if not all(map(SEARCHABLE.fullmatch, domains | apart)):
        return []
    own = connection.scalars(sa.select(schema.own_domain.c.domain).where(schema.own_domain.c.team_id == team_id))
    searches = list(search_terms(sorted(domains | apart)))
    return [*searches, *search_terms(sorted(own), ("list",))] if searches else []


def sample(before: Iterable[str], unseen: Iterable[str], size: int = SAMPLE) -> list[str]:
    """A fair sample of all ids seen so far, kept up page by page: those with the smallest digests, whatever the order."""
    return sorted({*before, *unseen}, key=lambda gmail_id: hashlib.sha256(gmail_id.encode()).digest())[:size]


def is_searched(connection: sa.Connection, mailbox_id: str) -> bool:
    """Whether the mailbox's first sync was done by search."""
    return sampling(connection, mailbox_id) is not None


def sampling(connection: sa.Connection, mailbox_id: str) -> Listing | None:
    """The mailbox's newest sample listing, finished or not."""
    table = schema.listing
    query = (
        sa.select(*listings.COLUMNS)
        .where(table.c.mailbox_id == mailbox_id, table.c.kind == "sample")
        .order_by(table.c.id.desc())
    )
    row = connection.execute(query.limit(1)).one_or_none()
    return None if row is None else Listing(*row)


def start(
    connection: sa.Connection, mailbox: MailboxRow, kind: Kind, after_at: dt.datetime, now: dt.datetime, *,
    before_at: dt.datetime | None = None, searches: Sequence[str] | None = None,
) -> None:  # fmt: skip
    """Have a span of the window listed by the mailbox's plan: whole, or by `searches`, whose first use adds the sample.

    A first sync begins anew: what an earlier one left out, by its own plan, says nothing about it.
    """
    if kind == "first_sync":
        walks = schema.listing.c
        connection.execute(sa.delete(schema.listing).where(walks.mailbox_id == mailbox.id, walks.kind == "sample"))
    if searches is None:
        searches = crm_searches(connection, mailbox.team_id) if is_searched(connection, mailbox.id) else []
    for terms in searches or [""]:
        listings.start(connection, mailbox, kind, after_at, now, before_at=before_at, query=terms)
    if searches and kind == "first_sync":
        listings.start(connection, mailbox, "sample", after_at, now, query=_PREFIX)


def note_sample(
    connection: sa.Connection, listing: Listing, unseen: Sequence[str], next_token: str, now: dt.datetime
) -> list[str]:
    """Note a page of the sample listing; at its end, the sampled ids, which are to be read."""
    held = [gmail_id for gmail_id in listing.query.removeprefix(_PREFIX).split(",") if gmail_id]
    kept = sample(held, unseen)
    listings.set_query(connection, listing.id, _PREFIX + ",".join(kept))
    listings.page_done(connection, listing, len(unseen), 0, next_token, now)
    return [] if next_token else kept


def check(database: Database, mailbox_id: str) -> SearchCheck | None:
    """What the sample says; None where the mailbox's first sync was not done by search, or its sample is not drawn yet.

    Raises:
        StoreUnavailableError: the database cannot be reached.
    """
    with database.reading() as connection:
        listing = sampling(connection, mailbox_id)
        if listing is None or listing.finished_at is None:
            return None
        ids = [gmail_id for gmail_id in listing.query.removeprefix(_PREFIX).split(",") if gmail_id]
        table = schema.message.c
        query = sa.select(table.state, table.outcome, table.found_at).where(
            table.mailbox_id == mailbox_id, table.gmail_id.in_(ids)
        )
        rows = connection.execute(query).all() if ids else []
    # What was opened again since then came to be a customer's by a change of the CRM, which looks back by itself.
    missed = sum(row.outcome == "imported" and row.found_at <= listing.finished_at for row in rows)
    return SearchCheck(listing.listed, len(ids), missed, sum(row.state == "pending" for row in rows))
