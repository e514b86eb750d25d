"""A mailbox in a storm: random changes, refusals, expiries, crashes and two workers; at the end everything is as Gmail has it."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import schema
from dealmail.io.audit import Audit
from dealmail.io.quota import Quota

SEEDS = int(os.environ.get("DEALMAIL_STORM_SEEDS", "4"))
WEATHER = (
    {},
    {"429": 0.3, "500": 0.1, "bare_stubs": 1.0},
    {"403": 0.2, "drop": 0.2, "empty_pages": 0.5},
    {"part_missing": 0.1, "503": 0.3},
)


class Storm:
    """One mailbox and what Gmail knows of it: `where` is the place of each message that exists."""

    def __init__(self, gmails: Any, chance: random.Random) -> None:
        self.gmails, self.chance, self.client = gmails, chance, gmails.client
        self.mailbox = gmails.connect("alice")
        self.address = gmails.address(self.mailbox)
        self.where: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.drafts: list[str] = []
        self.in_flight: list[Any] = []
        self.workers = [gmails.claims(batch=7, topic=gmails.sandbox.topic) for _ in range(2)]

    def change(self) -> None:
        """Something happens to the mailbox, or to the way there."""
        name = self.chance.choices(
            ["arrive", "arrive_spam", "move", "delete", "draft", "send", "expire", "expire_pages", "weather", "clock"],
            [30, 8, 12, 6, 6, 4, 3, 4, 6, 8],
        )[0]
        getattr(self, name)()

    def arrive(self) -> None:
        self.where[self.gmails.deliver(self.mailbox, age=self.chance.choice([0, 0, 0, 3]))] = "INBOX"

    def arrive_spam(self) -> None:
        self.where[self.gmails.deliver(self.mailbox, "Spam", labels=("SPAM",))] = "SPAM"

    def move(self) -> None:
        if self.where:
            gmail_id = self.chance.choice(sorted(self.where))
            here = self.where[gmail_id]
            there = "INBOX" if here != "INBOX" else self.chance.choice(["SPAM", "TRASH"])
            self.client.modify(self.address, gmail_id, [there], [here])
            self.where[gmail_id] = there

    def delete(self) -> None:
        if self.where:
            gmail_id = self.chance.choice(sorted(self.where))
            self.client.delete(self.address, gmail_id)
            del self.where[gmail_id]
            self.deleted.add(gmail_id)

    def draft(self) -> None:
        old = self.chance.choice([*self.drafts, ""])
        raw = b"Message-ID: <%d@x>\r\nSubject: Draft\r\n\r\n" % self.chance.randrange(10**12)
        draft, _ = self.client.save_draft(self.address, raw, old)
        self.drafts = sorted({*self.drafts, draft})

    def send(self) -> None:
        if self.drafts:
            self.where[self.client.send_draft(self.address, self.drafts.pop())] = "INBOX"

    def expire(self) -> None:
        self.client.expire_history(self.address)

    def expire_pages(self) -> None:
        self.client.call("expire_pages")

    def weather(self) -> None:
        rates = self.chance.choice(WEATHER)
        self.client.set_faults(*([{**rates, "mailboxes": [self.address]}] if rates else []))

    def clock(self) -> None:
        self.gmails.advance(seconds=self.chance.choice([5, 20, 70, 130, 1000]))

    def work(self) -> None:
        """A worker claims; some earlier claim is settled, or its worker is gone with it."""
        reason = self.chance.choice(["push", "poll", "work"])
        self.in_flight.append(self.gmails.claim(self.mailbox, reason, self.chance.choice(self.workers)))
        if self.chance.random() < 0.8:
            ends = self.gmails.read(self.in_flight.pop(self.chance.randrange(len(self.in_flight))))
            if self.chance.random() < 0.8:
                self.gmails.sales.settlements.settle(ends)

    def calm(self) -> None:
        """The faults end, and four polls go by."""
        self.client.set_faults()
        for _ in range(4):
            self.gmails.advance(minutes=16)
            self.gmails.sync(self.mailbox)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_is_lost_doubled_or_left_behind(gmails: Any, seed: int) -> None:
    storm = Storm(gmails, random.Random(seed))
    for _ in range(60):
        storm.change()
        storm.work()
    storm.calm()
    audit = Audit(gmails.database, gmails.accounts, Quota(gmails.database), gmails.clock)
    found = audit.run(storm.mailbox, repair=True)
    assert (found.missing, found.shut) == ((), ())  # before any repair
    assert set(found.stale) <= storm.deleted  # deletions that an expired history swallowed are the audit's to find
    assert audit.run(storm.mailbox).is_clean
    outcomes = gmails.outcomes(storm.mailbox)
    imported = {gmail_id for gmail_id, rule in outcomes.items() if rule == "customer"}
    assert {gmail_id for gmail_id, place in storm.where.items() if place == "INBOX"} <= imported
    assert imported <= set(storm.where)
    assert "pending" not in outcomes.values()
    with gmails.database.reading() as connection:
        assert set(connection.scalars(sa.select(schema.engagement_copy.c.gmail_id))) == imported
    row = gmails.row(storm.mailbox)
    assert (row.state, row.state_reason) == ("live", "")
