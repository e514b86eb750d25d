"""The audit finds what the ledger lacks, and its repair brings it back through the normal path."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import schema
from dealmail.io.audit import Audit
from dealmail.io.quota import Quota, QuotaLimits
from dealmail.transforms.errors import GmailQuotaError


@pytest.fixture
def audit(gmails: Any) -> Audit:
    return Audit(gmails.database, gmails.accounts, Quota(gmails.database), gmails.clock)


def forget(gmails: Any, *gmail_ids: str) -> None:
    gone = sa.delete(schema.message).where(schema.message.c.gmail_id.in_(gmail_ids))
    gmails.database.transaction(lambda connection: connection.execute(gone))


def test_a_synced_mailbox_is_complete_whatever_arrives_meanwhile(gmails: Any, audit: Audit) -> None:
    alice = gmails.connect("alice")
    assert audit.run(alice) is None
    for n in range(3):
        gmails.deliver(alice, f"Offer {n}", age=n + 1)
    gmails.sync(alice)
    gmails.deliver(alice, "not claimed yet")
    gmails.deliver(alice, "imported with an old date", age=3)
    found = audit.run(alice)
    assert found is not None
    assert (found.completeness, found.in_gmail, found.is_clean) == (100.0, 3, True)


def test_missing_shut_and_stale_are_named_and_repaired(gmails: Any, audit: Audit) -> None:
    alice = gmails.connect("alice")
    ids = [gmails.deliver(alice, f"Offer {n}", age=n + 1) for n in range(4)]
    spam = gmails.deliver(alice, "Spam", labels=("SPAM",))
    trashed = gmails.deliver(alice, "Trashed later", age=1)
    gmails.sync(alice)
    new_spam = gmails.deliver(alice, "New spam", labels=("SPAM",))
    gmails.sync(alice, "push")
    gmails.client.trash(gmails.address(alice), trashed)
    gmails.client.modify(gmails.address(alice), new_spam, ["INBOX"], ["SPAM"])
    gmails.client.delete(gmails.address(alice), ids[1])
    gmails.mailboxes.set_state(alice, "live", history_id=2**61)  # as if the history had been lost
    forget(gmails, ids[0])
    found = audit.run(alice, repair=True)
    assert found is not None
    assert (found.missing, found.shut, found.stale) == ((ids[0],), (new_spam,), (ids[1],))
    assert found.in_gmail == 4
    assert found.completeness == 50.0
    gmails.sync(alice, "work")
    assert audit.run(alice).completeness == 100.0
    assert gmails.outcomes(alice) == {
        ids[0]: "customer", ids[1]: "gone.deleted", ids[2]: "customer", ids[3]: "customer", new_spam: "customer", trashed: "customer",
    }  # fmt: skip
    assert spam not in gmails.outcomes(alice)


def test_an_audit_leaves_half_of_the_quota_to_the_mail(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    limits = QuotaLimits(mailbox_minute=101)

    def audit_again_and_again():
        for _ in range(20):
            Audit(gmails.database, gmails.accounts, Quota(gmails.database, limits), gmails.clock).run(alice)

    with pytest.raises(GmailQuotaError):
        audit_again_and_again()
    with gmails.database.reading() as connection:
        assert connection.scalar(sa.select(sa.func.max(schema.quota_use.c.units))) <= 51 + 8


def test_more_deletions_than_its_share_of_the_quota_has_room_for_are_let_go_by_one_audit_after_the_other(
    gmails: Any,
) -> None:
    alice = gmails.connect("alice")
    ids = [gmails.deliver(alice, f"Offer {n}", age=n / 2 + 0.1) for n in range(10)]
    gmails.sync(alice)
    for gmail_id in ids[:8]:
        gmails.client.delete(gmails.address(alice), gmail_id)
    gmails.mailboxes.set_state(alice, "live", history_id=2**61)  # as if the history had been lost
    forget(gmails, ids[9])
    quota = Quota(gmails.database, QuotaLimits(mailbox_minute=200))
    left = []
    while not left or left[-1]:
        gmails.advance(minutes=2)
        found = Audit(gmails.database, gmails.accounts, quota, gmails.clock).run(alice, repair=True)
        assert found is not None
        assert (found.missing, found.is_clean) == ((ids[9],) if not left else (), False)
        left.append(found.unchecked)
    assert left == [4, 0]  # half of 200 units: 12 for the lists, 4 * 20
    gmails.advance(minutes=2)
    gmails.sync(alice, "work")
    assert gmails.outcomes(alice) == dict.fromkeys(ids[:8], "gone.deleted") | dict.fromkeys(ids[8:], "customer")


def test_a_copy_that_gmail_never_answers_for_keeps_the_rest_from_no_repair(gmails: Any, audit: Audit) -> None:
    alice = gmails.connect("alice")
    lost, deleted = (gmails.deliver(alice, f"Offer {n}", age=n + 1) for n in range(2))
    gmails.sync(alice)
    gmails.client.delete(gmails.address(alice), deleted)
    gmails.mailboxes.set_state(alice, "live", history_id=2**61)  # as if the history had been lost
    forget(gmails, lost)
    gmails.client.set_faults({"500": 1.0, "methods": ["messages.get"], "mailboxes": [gmails.address(alice)]})
    found = audit.run(alice, repair=True)
    assert found is not None
    assert (found.missing, found.stale, found.unchecked, found.repaired) == ((lost,), (), 1, True)
    gmails.client.set_faults()
    assert audit.run(alice, repair=True).stale == (deleted,)
    assert gmails.outcomes(alice) == {lost: "pending", deleted: "gone.deleted"}


def test_a_mailbox_whose_import_is_off_is_left_alone_even_where_its_user_has_consented_again(
    gmails: Any, audit: Audit
) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    gmails.mailboxes.turn_off(alice, "alice")
    gmails.grant(alice, gmails.client.grant(gmails.address(alice)))
    before = gmails.client.counters()["by_mailbox"]
    assert (audit.run(alice), audit.run(alice, repair=True)) == (None, None)
    assert gmails.client.counters()["by_mailbox"] == before


def policy(gmails: Any, **settings: str) -> None:
    gmails.database.transaction(lambda c: c.execute(sa.update(schema.team).values(settings=settings)))


def spent(gmails: Any, mailbox: str) -> int:
    return gmails.client.counters()["by_mailbox"][gmails.address(mailbox)].get("messages.get", 0)


def lose_history(gmails: Any, mailbox: str) -> None:
    gmails.client.expire_history(gmails.address(mailbox))
    gmails.advance(minutes=16)
    gmails.sync(mailbox)


def test_what_the_team_keeps_though_gmail_deleted_it_is_no_fault_and_costs_nothing(gmails: Any, audit: Audit) -> None:
    policy(gmails, on_delete="keep")
    alice = gmails.connect("alice")
    mail = gmails.deliver(alice, age=1)
    gmails.sync(alice)
    gmails.client.delete(gmails.address(alice), mail)
    gmails.sync(alice, "push")
    before = spent(gmails, alice)
    found = audit.run(alice, repair=True)
    assert found is not None
    assert (found.is_clean, found.stale, found.repaired, spent(gmails, alice)) == (True, (), False, before)
    assert gmails.outcomes(alice) == {mail: "customer"}


def test_trash_and_spam_policies_reach_over_a_lost_history(gmails: Any, audit: Audit) -> None:
    alice = gmails.connect("alice")
    trashed, spam, kept, deleted = (gmails.deliver(alice, f"Offer {n}", age=n + 1) for n in range(4))
    gmails.sync(alice)
    gmails.client.trash(gmails.address(alice), trashed)
    gmails.client.modify(gmails.address(alice), spam, ["SPAM"], ["INBOX"])
    gmails.client.delete(gmails.address(alice), deleted)
    lose_history(gmails, alice)
    policy(gmails, on_delete="keep")
    assert audit.run(alice).is_clean  # trash and spam keep, too
    policy(gmails, on_trash="remove", on_delete="keep")
    assert audit.run(alice).discarded == (trashed,)
    policy(gmails, on_spam="remove")
    found = audit.run(alice)
    assert (found.discarded, found.stale) == ((spam,), (deleted,))
    policy(gmails, on_trash="remove", on_spam="remove")
    found = audit.run(alice, repair=True)
    assert (sorted(found.discarded), found.stale, found.repaired) == (sorted((trashed, spam)), (deleted,), True)
    assert gmails.outcomes(alice) == {
        trashed: "label.trash", spam: "label.spam", kept: "customer", deleted: "gone.deleted",
    }  # fmt: skip
    assert audit.run(alice).is_clean
    gmails.client.modify(gmails.address(alice), spam, ["INBOX"], ["SPAM"])
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice)[spam] == "customer"
