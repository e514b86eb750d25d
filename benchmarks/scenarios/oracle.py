"""The oracle: compares what the job has stored with what is so."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from dealmail.io import schema
from dealmail.io.database import Database
from dealmail.io.mailboxes import mailbox_id

from .mails import OWN, TEAM
from .truth import IMPORTED, NO_ROW, Item, Truth, is_among

Key = tuple[str, str]


@dataclasses.dataclass
class Verdict:
    """What is amiss, a line each."""

    lost: list[str] = dataclasses.field(default_factory=list)
    doubled: list[str] = dataclasses.field(default_factory=list)
    wrong: list[str] = dataclasses.field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Nothing is amiss."""
        return not (self.lost or self.doubled or self.wrong)


def compare(database: Database, truth: Truth) -> Verdict:
    """Every message, copy, engagement, participant and link against `truth`."""
    verdict = Verdict()
    items = {(mailbox_id(TEAM, item.address), item.gmail_id): item for item in truth.items}
    with database.reading(snapshot=True) as connection:
        rows = {(r.mailbox_id, r.gmail_id): r for r in connection.execute(sa.select(schema.message))}
        copies = {(r.mailbox_id, r.gmail_id): r for r in connection.execute(sa.select(schema.engagement_copy))}
        engagements = {r.id: r for r in connection.execute(sa.select(schema.engagement))}
        people, links = _children(connection)
    for key, item in items.items():
        _compare_item(key, item, rows.get(key), truth, verdict)
    for key in rows.keys() - items.keys():
        row = rows[key]
        verdict.wrong.append(f"{key} is in the ledger ({row.state}, {row.outcome}, {row.rule}) and was never in Gmail")
    _compare_copies(items, rows, copies, verdict)
    held: dict[str, set[str]] = collections.defaultdict(set)
    for key, copy in copies.items():
        if key in items:
            held[copy.engagement_id].add(items[key].mail.key)
    _compare_engagements(items, copies, engagements, held, verdict)
    for engagement_id, row in engagements.items():
        keys = held.get(engagement_id, set())
        mail = next((item.mail for item in items.values() if item.mail.key in keys), None)
        if mail is None or len(keys) > 1:
            verdict.wrong.append(f"engagement {engagement_id} holds {sorted(keys)}")
            continue
        if (row.subject, row.sender_address) != (mail.subject, mail.sender) or mail.key not in row.text:
            verdict.wrong.append(f"{mail.key}: stored with another sender, subject or text")
        if people[engagement_id] - {("from", mail.sender)} != mail.people - {("from", mail.sender)}:
            verdict.wrong.append(f"{mail.key}: participants {sorted(people[engagement_id])}")
        if mail.account not in links[engagement_id]:
            verdict.wrong.append(f"{mail.key}: linked to {sorted(links[engagement_id])}, not to {mail.account}")
        if (row.direction == "outbound") != mail.sender.endswith(f"@{OWN}"):
            verdict.wrong.append(f"{mail.key}: direction {row.direction}")
    return verdict


def _children(connection: sa.Connection) -> tuple[dict[str, set[tuple[str, str]]], dict[str, set[str]]]:
    people: dict[str, set[tuple[str, str]]] = collections.defaultdict(set)
    for row in connection.execute(sa.select(schema.participant)):
        people[row.engagement_id].add((row.role, row.address))
    links: dict[str, set[str]] = collections.defaultdict(set)
    for row in connection.execute(sa.select(schema.engagement_link).where(schema.engagement_link.c.kind == "account")):
        links[row.engagement_id].add(row.target_id)
    return people, links


def _compare_item(key: Key, item: Item, row: Any, truth: Truth, verdict: Verdict) -> None:
    allowed = truth.allowed(item)
    if row is None:
        decision = NO_ROW
    elif row.state != "decided":
        decision = "pending"
    else:
        decision = IMPORTED if row.outcome == "imported" else str(row.rule)
    if is_among(decision, allowed):
        return
    what = "gone from Gmail" if not item.exists else f"labels {sorted(item.labels)}"
    text = (
        f"{item.mail.key} {key[0]} {key[1]} ({item.mail.category}, {what}, loaded={item.loaded}): {decision}"
        f" {(row.phase or '', row.error_class or '', row.leases, row.failures) if row else ''}, right is {sorted(allowed)}"
    )
    missing = decision in {NO_ROW, "pending"} or allowed == {IMPORTED}
    (verdict.lost if missing else verdict.wrong).append(text)


def _compare_copies(items: dict[Key, Item], rows: dict[Key, Any], copies: dict[Key, Any], verdict: Verdict) -> None:
    imported = {key: row.engagement_id for key, row in rows.items() if row.outcome == "imported"}
    stored = {key: copy.engagement_id for key, copy in copies.items()}
    for key in imported.keys() | stored.keys():
        if imported.get(key) != stored.get(key):
            name = items[key].mail.key if key in items else "?"
            verdict.wrong.append(f"{name} {key}: the ledger says {imported.get(key)}, the copies say {stored.get(key)}")


def _compare_engagements(
    items: dict[Key, Item],
    copies: dict[Key, Any],
    engagements: dict[str, Any],
    held: dict[str, set[str]],
    verdict: Verdict,
) -> None:
    ids: dict[str, set[str]] = collections.defaultdict(set)
    for key, copy in copies.items():
        if key in items:
            ids[items[key].mail.key].add(copy.engagement_id)
    for name, found in ids.items():
        if len(found) > 1:
            verdict.doubled.append(f"{name} is {len(found)} engagements")
    for missing in held.keys() - engagements.keys():
        verdict.lost.append(f"{sorted(held[missing])}: copies of an engagement that is not there")


def over_quota(ledger: Sequence[dict[str, Any]], limit: int, project: int, moves: Mapping[int, int]) -> list[str]:
    """Minutes (seconds since 1970) in which a mailbox spent more than `limit` units, or all together more than `project`.

    `moves` says how often a clock was moved under the hands of a job in a minute: it may hold as much once more for each.
    """
    return [
        f"minute {row['minute']}: {row['units']} units of {allowed} for {row['user'] or 'the project'}"
        for row in ledger
        if row["units"] > (allowed := (limit if row["user"] else project) * (1 + moves.get(row["minute"], 0)))
    ]


def peak(ledger: Sequence[dict[str, Any]], allowed: int, moves: Mapping[int, int], *, project: bool = False) -> int:
    """The most that a mailbox or the whole project spent in a minute without `moves`, in percent of what is `allowed`."""
    spent = [row["units"] for row in ledger if bool(row["user"]) != project and row["minute"] not in moves]
    return round(100 * max(spent, default=0) / allowed)
