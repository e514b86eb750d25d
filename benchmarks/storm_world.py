"""The world of benchmarks/settle_storm.py: who holds which copy of which mail, and the rows that must come of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from dealmail.io import engagement_rows, schema
from dealmail.transforms.engagement_id import content_digest, engagement_id, rank
from dealmail.transforms.records import ClaimedMessage, CustomerMail, Decision, Link, MailText, Participant, Settleable

TEAM = "t1"
BEGAN = dt.datetime(2026, 3, 2, 9, 0, tzinfo=dt.UTC)
MOVING = {
    "version",
    "created_at",
    "updated_at",
    "lease",
    "leases",
    "lease_until",
    "not_before",
    "found_at",
    "decided_at",
}
"""Columns that say when and how often something was done."""
RESULT = (
    schema.engagement, schema.participant, schema.engagement_link, schema.engagement_copy, schema.correspondence,
    schema.message_context, schema.message,
)  # fmt: skip
Rows = dict[str, list[tuple[Any, ...]]]


@dataclasses.dataclass(frozen=True)
class Copy:
    """One mailbox's copy of a mail; its claim is filled in when it is read. `robot`: automated, unless the team wrote there."""

    mail: CustomerMail
    robot: Decision | None = None


class World:
    """Who holds what. The same for every seed."""

    def __init__(self, mails: int, boxes: Sequence[str]) -> None:
        self.boxes = list(boxes)
        self.copies: dict[tuple[str, str], Copy] = {}
        chance = random.Random(0)
        for number in range(mails):
            for box_number in chance.sample(range(len(boxes)), chance.randint(2, min(5, len(boxes)))):
                copy = self._copy(number, box_number, chance)
                self.copies[boxes[box_number], f"g{number:05d}"] = copy

    @staticmethod
    def _copy(number: int, box: int, chance: random.Random) -> Copy:
        """Of 20 mails one has no Message-ID, and one has that of the mail before it."""
        kind = number % 20
        message_id = "" if kind == 3 else f"{number - (kind == 5)}@customer.example"
        sent_at = BEGAN - dt.timedelta(minutes=number)
        outbound = kind in {7, 8, 9}
        sender = Participant(
            "ann@corp.example" if outbound else f"p{number % 97}@customer.example", f"Person {number % 97}"
        )
        subject, text = f"Offer {number}", f"Grüße 😀 number {number}: " + "all that we said " * 20
        to = [Participant(f"buyer{number % 31}@customer.example"), Participant("ann@corp.example", "Ann")]
        who = engagement_id(TEAM, message_id, sender.address, subject, text, sent_at, [one.address for one in to])
        changed = kind != 3  # without a Message-ID another text is another mail
        variant = chance.choice([0, 0, 0, 1, 2]) if changed else 0
        if variant == 1:
            to.append(Participant("team@lists.example", "The team"))
        body = MailText(text + ("\n-- \nfooter of a list" if variant == 2 else ""))
        direction = "outbound" if outbound else "inbound"
        digest = content_digest(message_id, sent_at, direction, sender, to, [], subject, body)
        links = (
            Link("account", f"a{number % 13}", primary=True, via="domain"),
            Link("contact", f"c{variant}", primary=True),
        )
        mail = CustomerMail(
            ClaimedMessage(TEAM, "", "", "", ""), who, message_id, sent_at, direction, sender, tuple(to), (), subject, body, links,
            "customer", "1", digest, rank(digest, len(body.text), is_authors_copy=outbound and box % 3 == 0, is_rewritten=variant == 2),
            context=(f"k{number:05d}", f"list{variant}") if outbound else (),
        )  # fmt: skip
        robot = None
        if kind in {11, 12} and box % 2:  # half of these the team has written to, or will have
            context = (f"k{number - 4:05d}" if kind == 11 else "nobody",)
            robot = Decision(mail.claim, "dropped", "automated.marketing", "1", context=context)
        return Copy(mail, robot)

    def read(self, claims: Sequence[ClaimedMessage], known: frozenset[str] = frozenset()) -> list[Settleable]:
        """What the steps before settling make of these claims; `known`: whom the team has written to, as far as one knows."""
        made: list[Settleable] = []
        for claim in claims:
            copy = self.copies[claim.mailbox_id, claim.gmail_id]
            robot = copy.robot is not None and not known.intersection(copy.robot.context)
            made.append(dataclasses.replace(copy.robot if robot and copy.robot else copy.mail, claim=claim))
        return made

    def rows(self) -> Rows:
        """What must come out."""
        known = frozenset(d for copy in self.copies.values() if copy.robot is None for d in copy.mail.context)
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        best: dict[str, CustomerMail] = {}
        written: set[tuple[str, str]] = set()
        for key, copy in sorted(self.copies.items()):
            claim = ClaimedMessage(TEAM, *key, "", "")
            mail = dataclasses.replace(copy.mail, claim=claim)
            row = {**_LEDGER, "mailbox_id": key[0], "gmail_id": key[1]}
            if copy.robot is not None and not known.intersection(copy.robot.context):
                found["message"].append({**row, "outcome": "dropped", "rule": copy.robot.rule})
                found["message_context"] += [
                    {"team_id": TEAM, "digest": d, "mailbox_id": key[0], "gmail_id": key[1]} for d in copy.robot.context
                ]
                continue
            found["message"].append(
                {**row, "outcome": "imported", "rule": "customer", "engagement_id": mail.engagement_id}
            )
            found["engagement_copy"].append(
                {
                    "mailbox_id": key[0], "gmail_id": key[1], "team_id": TEAM, "engagement_id": mail.engagement_id,
                    "content_digest": mail.content_digest,
                }
            )  # fmt: skip
            written |= {(digest, mail.engagement_id) for digest in mail.context}
            if mail.engagement_id not in best or mail.rank < best[mail.engagement_id].rank:
                best[mail.engagement_id] = mail
        found["correspondence"] = [{"team_id": TEAM, "digest": d, "engagement_id": e} for d, e in written]
        found["engagement"] = [engagement_rows.engagement(mail, 0, BEGAN) for mail in best.values()]
        found["participant"] = [row for mail in best.values() for row in engagement_rows.participants(mail)]
        found["engagement_link"] = [row for mail in best.values() for row in engagement_rows.links(mail)]
        return {table.name: sorted((steady_row(table, row) for row in found[table.name]), key=repr) for table in RESULT}


_LEDGER: dict[str, Any] = {
    "team_id": TEAM, "state": "decided", "lane": 0, "rules_version": "1", "score": None, "signals": None, "engagement_id": None,
    "failures": 0, "tries": 0, "phase": None, "error_class": None,
}  # fmt: skip


def steady_row(table: sa.Table, row: Any) -> tuple[Any, ...]:
    """A row without its moving columns, comparable and sortable."""
    return tuple(repr(row[column.name]) for column in table.columns if column.name not in MOVING)
