"""Claims on SQLite and MariaDB alike: one mailbox's life from first sync to repair, and many workers at once."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import sqlalchemy as sa

from dealmail.io import schema
from dealmail.io.audit import Audit
from dealmail.io.quota import Quota, QuotaLimits
from dealmail.transforms.records import DueMailbox


def test_a_mailbox_from_first_sync_to_repair(gmails_on: Any) -> None:
    gmails = gmails_on
    alice = gmails.connect("alice")
    address = gmails.address(alice)
    first, old = gmails.deliver(alice, "First", age=1), gmails.deliver(alice, "Old", age=20)
    gmails.sync(alice)
    assert gmails.outcomes(alice) == {first: "customer"}
    # history: new mail, spam, a draft, a move, a deletion
    new = gmails.deliver(alice, "New")
    spam = gmails.deliver(alice, "Spam", labels=("SPAM",))
    _, draft = gmails.client.save_draft(address, b"Message-ID: <d@x>\r\nSubject: d\r\n\r\n")
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice) == {first: "customer", new: "customer", spam: "label.spam", draft: "label.draft"}
    gmails.client.modify(address, spam, ["INBOX"], ["SPAM"])
    gmails.client.delete(address, first)
    gmails.sync(alice, "push")
    assert (gmails.outcomes(alice)[spam], gmails.outcomes(alice)[first]) == ("customer", "gone.deleted")
    # an older opportunity, and an expired cursor
    opened = (gmails.clock() - dt.timedelta(days=25)).date()
    row = {"team_id": "t1", "id": "o", "account_id": "a", "owner_user_id": "u1", "is_open": True, "opened_on": opened}
    gmails.database.transaction(lambda c: c.execute(sa.insert(schema.opportunity), [row]))
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice)[old] == "customer"
    missed = gmails.deliver(alice, "Missed")
    gmails.client.expire_history(address)
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice)[missed] == "customer"
    assert gmails.row(alice).expired_cursors == 1
    # quota, and the audit
    gmails.client.set_faults({"429": 1.0, "mailboxes": [address], "retry_after": 3})
    assert gmails.claim(alice, "push") == []
    assert gmails.row(alice).state == "quota_delayed"
    gmails.client.set_faults()
    gmails.advance(seconds=4)
    gmails.sync(alice)
    lost = sa.delete(schema.message).where(schema.message.c.gmail_id == new)
    gmails.database.transaction(lambda connection: connection.execute(lost))
    audit = Audit(gmails.database, gmails.accounts, Quota(gmails.database), gmails.clock)
    assert audit.run(alice, repair=True).missing == (new,)
    gmails.sync(alice, "work")
    found = audit.run(alice)
    assert (found.completeness, found.is_clean, found.pending) == (100.0, True, 0)


def test_many_workers_lease_each_message_once_and_within_the_quota(gmails_on: Any) -> None:
    gmails = gmails_on
    gmails.client.set_limits(concurrent=0, user=0)
    mailboxes = [gmails.connect(name) for name in ("alice", "bob", "carol")]
    for mailbox in mailboxes:
        gmails.sync(mailbox)
    before = spent(gmails)
    expected = sorted((mailbox, gmails.deliver(mailbox, f"Offer {n}")) for mailbox in mailboxes for n in range(12))
    claims = gmails.claims(QuotaLimits(project_minute=before + 30 * 20), batch=4)
    leased: list[tuple[str, str]] = []

    def work() -> None:
        for _ in range(3):
            for mailbox in mailboxes:
                claimed = claims.claim(DueMailbox("t1", mailbox, "push"))
                leased.extend((claim.mailbox_id, claim.gmail_id) for claim in claimed)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(leased) == len(set(leased))
    assert set(leased) <= set(expected)
    assert 0 < len(leased) * 20 <= 30 * 20


def spent(gmails: Any) -> int:
    with gmails.database.reading() as connection:
        return int(
            connection.scalar(
                sa.select(sa.func.sum(schema.quota_use.c.units)).where(schema.quota_use.c.scope == "project")
            )
        )
