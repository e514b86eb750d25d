"""What the demo watches: the database, read again and again, as one snapshot each time."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable

import sqlalchemy as sa

from ..io.database import Database
from ..io.schema import listing, mailbox, message, search_outbox


@dataclasses.dataclass(frozen=True)
class MailboxView:
    """One mailbox: how many messages by outcome, and about how many there are to look at."""

    address: str
    state: str
    outcomes: Counter[str]
    estimate: int
    is_listed: bool

    @property
    def decided(self) -> int:
        """Messages with a decision."""
        return sum(number for outcome, number in self.outcomes.items() if outcome != "pending")

    @property
    def total(self) -> int:
        """Messages known so far, or Gmail's estimate while the listing runs."""
        found = sum(self.outcomes.values())
        return found if self.is_listed else max(found, self.estimate)


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Everything the display shows, at one moment. `rules` counts dropped, gone and parked messages by rule."""

    mailboxes: tuple[MailboxView, ...]
    rules: Counter[str]
    failing: int
    outbox: int
    at: float

    @property
    def outcomes(self) -> Counter[str]:
        """All mailboxes together."""
        return sum((view.outcomes for view in self.mailboxes), Counter())

    @property
    def looked_at(self) -> int:
        """Messages with a decision."""
        return sum(view.decided for view in self.mailboxes)

    @property
    def is_settled(self) -> bool:
        """Every mailbox was listed to its end, no message waits for its decision and none for the index."""
        return all(view.is_listed for view in self.mailboxes) and not self.outcomes["pending"] and not self.outbox


def look(database: Database, team_id: str, clock: Callable[[], float] = time.monotonic) -> Snapshot:
    """Read a Snapshot of the team."""
    with database.reading() as connection:
        boxes = connection.execute(
            sa.select(mailbox.c.id, mailbox.c.address, mailbox.c.state, mailbox.c.history_id)
            .where(mailbox.c.team_id == team_id)
            .order_by(mailbox.c.address)
        ).all()
        outcomes: dict[str, Counter[str]] = {box.id: Counter() for box in boxes}
        rules: Counter[str] = Counter()
        counted = (
            sa.select(message.c.mailbox_id, message.c.outcome, message.c.rule, sa.func.count())
            .where(message.c.team_id == team_id)
            .group_by(message.c.mailbox_id, message.c.outcome, message.c.rule)
        )
        for mailbox_id, outcome, rule, number in connection.execute(counted):
            outcomes[mailbox_id][outcome or "pending"] += number
            if outcome not in {None, "imported"}:
                rules[rule] += number
        walks = {
            row[0]: (row[1], row[2])
            for row in connection.execute(
                sa.select(
                    listing.c.mailbox_id,
                    sa.func.sum(listing.c.estimate),
                    sa.func.sum(sa.case((listing.c.finished_at.is_(None), 1), else_=0)),
                )
                .where(listing.c.team_id == team_id)
                .group_by(listing.c.mailbox_id)
            )
        }
        failing = connection.scalar(
            sa.select(sa.func.count()).where(
                message.c.team_id == team_id, message.c.state == "pending", message.c.failures > 0
            )
        )
        outbox = connection.scalar(sa.select(sa.func.count()).where(search_outbox.c.team_id == team_id))
    views = []
    for box in boxes:
        estimate, unfinished = walks.get(box.id, (0, 0))
        is_listed = box.history_id is not None and box.id in walks and not unfinished
        views.append(MailboxView(box.address, box.state, outcomes[box.id], int(estimate or 0), is_listed))
    return Snapshot(tuple(views), rules, failing or 0, outbox or 0, clock())
