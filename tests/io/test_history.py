"""What a mailbox's history brings, from the first cursor on, and how a cursor that expired leaves no gap."""

from __future__ import annotations

import collections
import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import schema
from dealmail.io.quota import QuotaLimits
from dealmail.transforms.records import Decision


def requests(gmails: Any, mailbox: str) -> collections.Counter[str]:
    return collections.Counter(gmails.client.counters()["by_mailbox"].get(gmails.address(mailbox), {}))


def opportunity(gmails: Any, opened_on: dt.date, *, user: str = "u1", is_open: bool = True) -> None:
    row = {
        "team_id": "t1",
        "id": str(opened_on) + user,
        "account_id": "a",
        "owner_user_id": user,
        "is_open": is_open,
        "opened_on": opened_on,
    }
    gmails.database.transaction(lambda c: c.execute(sa.insert(schema.opportunity), [row]))


# --- first sync ------------------------------------------------------------------------------------------------------
def test_the_window_begins_with_the_oldest_open_opportunity_of_the_user(gmails: Any) -> None:
    today = gmails.clock().date()
    opportunity(gmails, today - dt.timedelta(days=30))
    opportunity(gmails, today - dt.timedelta(days=60), is_open=False)
    opportunity(gmails, today - dt.timedelta(days=90), user="somebody else")
    alice = gmails.connect("alice")
    inside, outside = gmails.deliver(alice, "Inside", age=29), gmails.deliver(alice, "Outside", age=40)
    gmails.sync(alice)
    assert set(gmails.outcomes(alice)) == {inside}
    assert gmails.row(alice).window_from == dt.datetime.combine(today - dt.timedelta(days=30), dt.time(), dt.UTC)
    # An older opportunity extends the window, and what was too old for it is looked at again.
    old = dt.datetime.combine(today - dt.timedelta(days=50), dt.time(), dt.UTC)
    gmails.database.transaction(
        lambda c: c.execute(sa.update(schema.message).values(state="decided", outcome="dropped", rule="window.before"))
    )
    opportunity(gmails, old.date())
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice) == {inside: "customer", outside: "customer"}
    assert gmails.row(alice).window_from == old
    # It never shrinks.
    gmails.database.transaction(lambda c: c.execute(sa.delete(schema.opportunity)))
    gmails.sync(alice, "push")
    assert gmails.row(alice).window_from == old
    gmails.mailboxes.set_state(alice, "first_sync", history_id=None)  # nor where a first sync begins anew
    gmails.sync(alice)
    assert gmails.row(alice).window_from == old


def test_what_is_being_read_while_the_window_grows_is_not_too_old_for_it(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    imported = gmails.deliver(alice, "migrated", age=30)
    under_way = gmails.claim(alice, "push")
    opportunity(gmails, gmails.clock().date() - dt.timedelta(days=50))
    again = gmails.claim(alice, "push")
    too_old = [Decision(claim, "dropped", "window.before") for claim in under_way]
    assert gmails.sales.settlements.settle(too_old) == []
    gmails.settle(again)
    gmails.sync(alice, "poll")
    assert gmails.outcomes(alice) == {imported: "customer"}


def test_mail_that_arrives_while_the_window_is_listed_is_not_missed(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.deliver(alice, "Before", age=1)
    gmails.claim(alice)  # the cursor is pinned, and the first page listed
    during = gmails.deliver(alice, "During")
    assert gmails.settle(gmails.claim(alice, "push"))
    assert gmails.outcomes(alice)[during] == "customer"


def test_an_empty_mailbox_gets_a_cursor_and_is_live(gmails: Any) -> None:
    alice = gmails.connect("alice")
    assert gmails.sync(alice) == 0
    row = gmails.row(alice)
    assert (row.state, row.history_id is None, row.confirmed_at) == ("live", False, gmails.clock())


def test_a_push_brings_what_is_new_and_nothing_twice(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    new = gmails.deliver(alice, "New")
    assert [claim.gmail_id for claim in gmails.claim(alice, "push")] == [new]
    assert gmails.claim(alice, "push") == []  # leased
    gmails.advance(seconds=121)
    assert [claim.gmail_id for claim in gmails.claim(alice, "work")] == [new]  # the lease is over


def test_history_is_read_to_its_end_over_many_and_empty_pages(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    ids = gmails.client.deliver_many(
        gmails.address(alice), [(b"Message-ID: <%d@x>\r\nSubject: s\r\n\r\n" % n, ["INBOX"], None) for n in range(1100)]
    )
    gmails.client.set_faults({"empty_pages": 0.5})
    claims = gmails.claims(QuotaLimits(mailbox_minute=10**6), batch=1000)
    confirmed = gmails.row(alice).confirmed_at
    gmails.advance(minutes=1)
    claimed = gmails.claim(alice, "push", claims)
    assert gmails.row(alice).confirmed_at == confirmed  # more is to come
    while claimed_now := gmails.claim(alice, "poll", claims):
        claimed += claimed_now
    assert {claim.gmail_id for claim in claimed} == set(ids)
    assert gmails.row(alice).confirmed_at == gmails.clock()
    assert gmails.row(alice).history_id == gmails.client.dump(gmails.address(alice))[gmails.address(alice)]["historyId"]


@pytest.mark.parametrize("stubs", ["full", "bare"])
def test_labels_decide_and_decide_again(gmails: Any, stubs: str) -> None:
    """With label ids in the history nothing is fetched that a label keeps out; without, the message's own labels decide."""
    alice = gmails.connect("alice")
    gmails.sync(alice)
    if stubs == "bare":
        gmails.client.set_faults({"bare_stubs": 1.0})
    address = gmails.address(alice)
    before = requests(gmails, alice)["messages.get"]
    spam = gmails.deliver(alice, "Spam", labels=("SPAM",))
    trash = gmails.deliver(alice, "Trash", labels=("TRASH",))
    draft, draft_message = gmails.client.save_draft(address, b"Message-ID: <d@x>\r\nSubject: Draft\r\n\r\n")
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice) == {spam: "label.spam", trash: "label.trash", draft_message: "label.draft"}
    assert requests(gmails, alice)["messages.get"] - before == (0 if stubs == "full" else 3)
    gmails.client.modify(address, spam, ["INBOX"], ["SPAM"])
    sent = gmails.client.send_draft(address, draft)
    gmails.sync(alice, "push")
    outcomes = gmails.outcomes(alice)
    assert (outcomes[spam], outcomes[sent], outcomes[trash]) == ("customer", "customer", "label.trash")


def test_a_draft_edited_often_leaves_nothing_behind(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    draft = ""
    for n in range(5):
        draft, _ = gmails.client.save_draft(
            gmails.address(alice), b"Message-ID: <d@x>\r\nSubject: %d\r\n\r\n" % n, draft
        )
    gmails.sync(alice, "push")
    sent = gmails.client.send_draft(gmails.address(alice), draft)
    gmails.sync(alice, "push")
    assert [i for i, rule in gmails.outcomes(alice).items() if rule == "customer"] == [sent]


def test_spam_moved_before_the_first_look_is_found_by_its_move(gmails: Any) -> None:
    alice = gmails.connect("alice")
    spam = gmails.deliver(alice, "Spam", labels=("SPAM",), age=1)
    gmails.sync(alice)
    assert gmails.outcomes(alice) == {}
    gmails.client.modify(gmails.address(alice), spam, ["INBOX"], ["SPAM"])
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice) == {spam: "customer"}


def test_a_move_while_the_message_is_read_makes_that_reading_void(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    gmails.client.set_faults({"bare_stubs": 1.0})
    spam = gmails.deliver(alice, "Spam", labels=("SPAM",))
    ends = gmails.read(gmails.claim(alice, "push"))
    gmails.client.modify(gmails.address(alice), spam, ["INBOX"], ["SPAM"])
    again = gmails.claim(alice, "push")
    gmails.sales.settlements.settle(ends)
    assert gmails.outcomes(alice) == {spam: "pending"}
    gmails.settle(again)
    assert gmails.outcomes(alice) == {spam: "customer"}


@pytest.mark.parametrize(
    ("policy", "kept"), [({}, True), ({"on_trash": "remove"}, False), ({"on_spam": "remove"}, True)]
)
def test_trash_keeps_unless_the_team_decides_otherwise(gmails: Any, policy: dict[str, str], *, kept: bool) -> None:
    gmails.database.transaction(lambda c: c.execute(sa.update(schema.team).values(settings=policy)))
    alice = gmails.connect("alice")
    mail = gmails.deliver(alice, age=1)
    gmails.sync(alice)
    gmails.client.trash(gmails.address(alice), mail)
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice) == {mail: "customer" if kept else "label.trash"}
    gmails.client.modify(gmails.address(alice), mail, ["INBOX"], ["TRASH"])
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice) == {mail: "customer"}


def test_deleted_for_good_takes_the_copy_and_the_last_copy_the_engagement(gmails: Any) -> None:
    alice, bob = gmails.connect("alice"), gmails.connect("bob")
    copies = [gmails.deliver(mailbox, age=1, message_id="same") for mailbox in (alice, bob)]
    gmails.sync(alice)
    gmails.sync(bob)

    def engagements() -> int:
        with gmails.database.reading() as connection:
            return connection.scalar(
                sa.select(sa.func.count())
                .select_from(schema.engagement)
                .where(schema.engagement.c.message_id.contains("same"))
            )

    for mailbox, copy, left in ((alice, copies[0], 1), (bob, copies[1], 0)):
        gmails.client.delete(gmails.address(mailbox), copy)
        gmails.sync(mailbox, "push")
        assert gmails.outcomes(mailbox)[copy] == "gone.deleted"
        assert engagements() == left


def test_added_and_deleted_before_the_look_is_no_error(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    here = gmails.deliver(alice, "here")
    gone = gmails.deliver(alice, "gone")
    claimed = gmails.claim(alice, "push")
    gmails.client.delete(gmails.address(alice), gone)
    gmails.settle(claimed)
    assert gmails.outcomes(alice) == {here: "customer", gone: "pending"}  # a push can be faster than its message
    gmails.advance(seconds=10)
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice) == {here: "customer", gone: "gone.deleted"}


def test_old_dated_imports_come_through_the_history(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    imported = gmails.deliver(alice, "migrated", age=300)
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice) == {imported: "customer"}  # whether it is too old is the selection's to say


# --- expired cursor --------------------------------------------------------------------------------------------------
def test_an_expired_cursor_leaves_no_gap(gmails: Any) -> None:
    alice = gmails.connect("alice")
    first = gmails.deliver(alice, age=1)
    gmails.sync(alice)
    spam = gmails.deliver(alice, "Spam", labels=("SPAM",))
    gmails.sync(alice, "push")
    gmails.advance(hours=5)
    missed = gmails.deliver(alice, "while nobody looked")
    imported = gmails.deliver(alice, "imported meanwhile, dated long ago", age=5)
    gmails.client.modify(gmails.address(alice), spam, ["INBOX"], ["SPAM"])
    gmails.client.expire_history(gmails.address(alice))
    gmails.sync(alice, "push")
    row = gmails.row(alice)
    assert gmails.outcomes(alice) == dict.fromkeys([first, missed, imported, spam], "customer")
    assert (row.expired_cursors, row.state) == (1, "live")
    gets = requests(gmails, alice)["messages.get"]
    later = gmails.deliver(alice, "later")
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice)[later] == "customer"
    assert requests(gmails, alice)["messages.get"] == gets + 1  # nothing decided is read again
    assert gmails.row(alice).expired_cursors == 1


def test_a_recovery_reaches_an_hour_before_the_last_confirmed_time_and_then_over_the_window(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    confirmed, hour = gmails.row(alice).confirmed_at, 1 / 24
    gmails.advance(hours=5)
    late, earlier = (gmails.deliver(alice, age=(5 + before) * hour) for before in (0.9, 1.1))
    missed = gmails.deliver(alice)
    gmails.client.expire_history(gmails.address(alice))
    assert gmails.row(alice).confirmed_at == confirmed
    claimed = gmails.claim(alice, "push")
    assert {claim.gmail_id: claim.lane for claim in claimed} == {late: "live", missed: "live"}
    gmails.settle(claimed)
    gmails.sync(alice)
    assert gmails.outcomes(alice) == dict.fromkeys([late, earlier, missed], "customer")


def test_a_cursor_that_expires_again_during_recovery_leaves_no_gap(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    expected = set()
    for _ in range(3):
        expected.add(gmails.deliver(alice))
        gmails.client.expire_history(gmails.address(alice))
        gmails.claim(alice, "push")
        gmails.advance(minutes=3)
    gmails.sync(alice, "push")
    assert set(gmails.outcomes(alice)) == expected
    assert gmails.row(alice).expired_cursors == 3


def test_an_unusable_cursor_recovers_like_an_expired_one(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    new = gmails.deliver(alice)
    gmails.mailboxes.set_state(alice, "live", history_id=0)  # Gmail answers 400
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice) == {new: "customer"}
    assert gmails.row(alice).expired_cursors == 1


# --- two at once -----------------------------------------------------------------------------------------------------
