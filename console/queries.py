"""What the console reads from the database, as rows whose fields are stable (docs/console.md lists them).

Listings are read page by page, each page in its own short read: a slow reader of the output never holds the database.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from ..io.account_names import spellings
from ..io.database import Database
from ..io.schema import (
    account,
    contact,
    engagement,
    engagement_copy,
    engagement_link,
    lead,
    mailbox,
    message,
    opportunity,
    participant,
    search_outbox,
    user,
    user_address,
)
from ..transforms.domains import crm_address
from .tables import iso

Row = dict[str, Any]
PAGE = 500
OUTCOMES = ("imported", "dropped", "gone", "parked")
LINK_FIELDS = {"account": "accounts", "contact": "contacts", "lead": "leads", "opportunity": "opportunities"}


def find_mailbox(database: Database, team_id: str, name: str) -> Row | None:
    """The mailbox of that address (as the CRM compares them) or id, all its columns; None where the team has none."""
    typed = name.strip()
    chosen = sa.select(mailbox).where(
        mailbox.c.team_id == team_id, sa.or_(mailbox.c.address.in_(_spellings(typed)), mailbox.c.id == typed)
    )
    with database.reading() as connection:
        found = [dict(row) for row in connection.execute(chosen).mappings()]
    return min(found, key=lambda row: typed != row["id"] and typed.lower() != row["address"], default=None)


def _spellings(address: str) -> list[str]:
    """How `address`, as somebody typed it, may be written in the tables."""
    return list({address.strip().lower(), *spellings(crm_address(address))} - {""})


def mailboxes(database: Database, team_id: str) -> list[Row]:
    """Every mailbox of the team, by address, with the number of its messages by outcome."""
    with database.reading() as connection:
        counts: dict[str, dict[str, int]] = defaultdict(dict)
        grouped = (
            sa.select(message.c.mailbox_id, message.c.outcome, sa.func.count())
            .where(message.c.team_id == team_id)
            .group_by(message.c.mailbox_id, message.c.outcome)
        )
        for mailbox_id, outcome, number in connection.execute(grouped):
            counts[mailbox_id][outcome or "pending"] = number
        joined = mailbox.outerjoin(user, sa.and_(user.c.team_id == mailbox.c.team_id, user.c.id == mailbox.c.user_id))
        chosen = (
            sa.select(mailbox, user.c.name.label("user_name"))
            .select_from(joined)
            .where(mailbox.c.team_id == team_id)
            .order_by(mailbox.c.address)
        )
        return [
            {
                "mailbox": row["address"],
                "mailbox_id": row["id"],
                "team": row["team_id"],
                "user": row["user_id"],
                "user_name": row["user_name"] or "",
                "import_on": row["import_on"],
                "state": row["state"],
                "state_reason": row["state_reason"],
                "state_since": iso(row["state_since"]),
                "window_from": iso(row["window_from"]),
                "last_check_at": iso(row["last_poll_at"]),
                "last_push_at": iso(row["last_push_at"]),
                "last_mail_at": iso(row["last_mail_at"]),
                **{name: counts[row["id"]].get(name, 0) for name in (*OUTCOMES, "pending")},
            }
            for row in connection.execute(chosen).mappings()
        ]


def decisions(
    database: Database,
    team_id: str,
    *,
    mailbox_id: str | None = None,
    outcome: str | None = None,
    rule: str | None = None,
) -> Iterator[Row]:
    """Every decided message of the team, by mailbox and Gmail id. `rule` may end in `*`."""
    conditions = [message.c.team_id == team_id, message.c.state == "decided"]
    if outcome is not None:
        conditions.append(message.c.outcome == outcome)
    if rule is not None:
        by_rule = (
            message.c.rule.startswith(rule[:-1], autoescape=True) if rule.endswith("*") else message.c.rule == rule
        )
        conditions.append(by_rule)
    boxes = sa.select(mailbox.c.id, mailbox.c.address).where(mailbox.c.team_id == team_id).order_by(mailbox.c.id)
    if mailbox_id is not None:
        boxes = boxes.where(mailbox.c.id == mailbox_id)
    with database.reading() as connection:
        found = connection.execute(boxes).all()
    for box, address in found:  # one by one: over several of them MariaDB goes through all that is left, for each page
        mine = sa.select(message).where(*conditions, message.c.mailbox_id == box).order_by(message.c.gmail_id)
        after = ""
        while True:
            with database.reading() as connection:
                page = connection.execute(mine.where(message.c.gmail_id > after).limit(PAGE)).mappings().all()
            yield from (decision_row({**row, "address": address}) for row in page)
            if len(page) < PAGE:
                break
            after = page[-1]["gmail_id"]


def decision_row(row: Any) -> Row:
    """A ledger row, joined with its mailbox's address, as `dealmail decisions` shows it."""
    return {
        "mailbox": row["address"],
        "mailbox_id": row["mailbox_id"],
        "gmail_id": row["gmail_id"],
        "outcome": row["outcome"],
        "rule": row["rule"],
        "engagement": row["engagement_id"],
        "decided_at": iso(row["decided_at"]),
        "found_at": iso(row["found_at"]),
        "rules_version": row["rules_version"],
        "score": row["score"],
        "signals": row["signals"] or [],
        "phase": row["phase"],
        "error_class": row["error_class"],
    }


def decision(database: Database, mailbox_id: str, gmail_id: str) -> Row | None:
    """One ledger row with all its columns, pending or decided; None where the message was never looked at."""
    with database.reading() as connection:
        found = (
            connection.execute(
                sa.select(message).where(message.c.mailbox_id == mailbox_id, message.c.gmail_id == gmail_id)
            )
            .mappings()
            .first()
        )
    return None if found is None else dict(found)


def rule_counts(database: Database, team_id: str) -> list[tuple[str, str, int]]:
    """(outcome, rule, messages) over all of the team's decided messages, most first."""
    chosen = (
        sa.select(message.c.outcome, message.c.rule, sa.func.count().label("n"))
        .where(message.c.team_id == team_id, message.c.state == "decided")
        .group_by(message.c.outcome, message.c.rule)
        .order_by(sa.desc("n"), message.c.rule)
    )
    with database.reading() as connection:
        return [(row[0] or "", row[1] or "", row[2]) for row in connection.execute(chosen)]


def outbox(database: Database, team_id: str) -> Row:
    """The search outbox: rows that wait, rows that the index refuses, and since when the oldest waits."""
    chosen = sa.select(
        sa.func.count(), sa.func.count(search_outbox.c.error_class), sa.func.min(search_outbox.c.enqueued_at)
    ).where(search_outbox.c.team_id == team_id)
    with database.reading() as connection:
        total, refused, oldest = connection.execute(chosen).one()
    return {"waiting": total - refused, "refused": refused, "oldest": oldest}


def target_ids(database: Database, team_id: str, kind: str, name: str) -> list[str]:
    """Ids of CRM records of `kind` that `name` means: an id, a name (any case), a contact's or lead's address."""
    table = {"account": account, "contact": contact, "lead": lead, "opportunity": opportunity}[kind]
    # Each store's own lower() and collation knows other letters than the next: they only choose what may be meant.
    alike = "".join("_" if not letter.isascii() else f"/{letter}" if letter in "%_/" else letter for letter in name)
    same = [table.c.id == name, table.c.name.like(alike, escape="/")]
    is_same = [table.c.id == name]
    if "address" in table.c:
        is_same.append(table.c.address.in_(_spellings(name)))
        same += is_same[1:]
    chosen = sa.select(table.c.id, table.c.name, sa.or_(*is_same)).where(table.c.team_id == team_id, sa.or_(*same))
    with database.reading() as connection:
        return sorted(
            target
            for target, found, is_meant in connection.execute(chosen)
            if is_meant or found.lower() == name.lower()
        )


def engagements(
    database: Database,
    team_id: str,
    *,
    links: Sequence[tuple[str, str]] | None = None,
    address: str | None = None,
    ids: Sequence[str] | None = None,
) -> Iterator[Row]:
    """Stored mail of the team in time order.

    Args:
        database: where.
        team_id: whose.
        links: only mail tied to one of these (kind, CRM id); a set of choices, one is enough.
        address: only mail with this participant (From, To or Cc), or, with `links`, also this one.
        ids: only these engagements.
    """
    conditions = [engagement.c.team_id == team_id]
    either = [
        engagement.c.id.in_(
            sa.select(engagement_link.c.engagement_id).where(
                engagement_link.c.team_id == team_id,
                engagement_link.c.kind == kind,
                engagement_link.c.target_id == target,
            )
        )
        for kind, target in links or ()
    ]
    if address is not None:
        with_person = sa.select(participant.c.engagement_id).where(
            participant.c.team_id == team_id, participant.c.address.in_(_spellings(address))
        )
        either.append(engagement.c.id.in_(with_person))
    if links is not None or address is not None:
        conditions.append(sa.or_(sa.false(), *either))
    if ids is not None:
        conditions.append(engagement.c.id.in_(list(ids)))
    after: tuple[dt.datetime, str] | None = None
    while True:
        later = []
        if after is not None:
            at, last = after
            later = [sa.or_(engagement.c.sent_at > at, sa.and_(engagement.c.sent_at == at, engagement.c.id > last))]
        chosen = (
            sa.select(engagement).where(*conditions, *later).order_by(engagement.c.sent_at, engagement.c.id).limit(PAGE)
        )
        with database.reading() as connection:
            page = connection.execute(chosen).mappings().all()
            rows = _with_people_and_links(connection, team_id, page)
        yield from rows
        if len(page) < PAGE:
            return
        after = (page[-1]["sent_at"], page[-1]["id"])


def _with_people_and_links(connection: sa.Connection, team_id: str, page: Sequence[Any]) -> list[Row]:
    ids = [row["id"] for row in page]
    people: dict[tuple[str, str], list[Row]] = defaultdict(list)
    chosen = (
        sa.select(participant)
        .where(participant.c.team_id == team_id, participant.c.engagement_id.in_(ids))
        .order_by(participant.c.engagement_id, participant.c.role, participant.c.position)
    )
    for row in connection.execute(chosen).mappings():
        people[row["engagement_id"], row["role"]].append({"address": row["address"], "name": row["name"]})
    tied: dict[tuple[str, str], list[str]] = defaultdict(list)
    chosen = (
        sa.select(engagement_link)
        .where(engagement_link.c.team_id == team_id, engagement_link.c.engagement_id.in_(ids))
        .order_by(engagement_link.c.is_primary.desc(), engagement_link.c.target_id)
    )
    for row in connection.execute(chosen).mappings():
        tied[row["engagement_id"], row["kind"]].append(row["target_id"])
    holders: dict[str, set[str]] = defaultdict(set)
    held = (
        sa.select(engagement_copy.c.engagement_id, mailbox.c.address)
        .join_from(engagement_copy, mailbox, mailbox.c.id == engagement_copy.c.mailbox_id)
        .where(engagement_copy.c.team_id == team_id, engagement_copy.c.engagement_id.in_(ids))
    )
    for engagement_id, address in connection.execute(held):
        holders[engagement_id].add(address)
    return [
        {
            "id": row["id"],
            "message_id": row["message_id"],
            "timestamp": iso(row["sent_at"]),
            "direction": row["direction"],
            "sender": {"address": row["sender_address"], "name": row["sender_name"]},
            "to": people[row["id"], "to"],
            "cc": people[row["id"], "cc"],
            "subject": row["subject"],
            "text": row["text"],
            "truncated": row["truncated"],
            "spans": [{"kind": kind, "start": start, "end": end} for kind, start, end in row["spans"] or []],
            "mailboxes": sorted(holders[row["id"]]),
            **{field: tied[row["id"], kind] for kind, field in LINK_FIELDS.items()},
        }
        for row in page
    ]


def crm_names(database: Database, team_id: str, kind: str, ids: Sequence[str]) -> dict[str, str]:
    """Id to name, or to address where there is no name, of CRM records of one kind."""
    table = {"account": account, "contact": contact, "lead": lead, "opportunity": opportunity}[kind]
    with database.reading() as connection:
        rows = connection.execute(
            sa.select(table).where(table.c.team_id == team_id, table.c.id.in_(list(ids)))
        ).mappings()
        return {row["id"]: row["name"] or row.get("address") or row["id"] for row in rows}


def engagement_count(database: Database, team_id: str) -> int:
    """Stored engagements of the team."""
    with database.reading() as connection:
        return connection.execute(
            sa.select(sa.func.count()).select_from(engagement).where(engagement.c.team_id == team_id)
        ).scalar_one()


def user_addresses(database: Database, team_id: str) -> list[str]:
    """Every address of the team's users."""
    with database.reading() as connection:
        return list(connection.scalars(sa.select(user_address.c.address).where(user_address.c.team_id == team_id)))
