"""Claims against a Gmail over HTTP: what the ledger holds after Gmail changed, refused, forgot or was asked twice."""

from __future__ import annotations

import collections
import datetime as dt
import random
import threading
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from dealmail.io import listings, schema
from dealmail.io.claims import ClaimSettings
from dealmail.io.google_signin import store_credential
from dealmail.io.poll_times import next_poll
from dealmail.io.quota import QuotaLimits
from dealmail.io.refusals import pause_after, wait_after
from dealmail.transforms.errors import GmailQuotaError, GmailUnavailableError
from dealmail.transforms.records import ClaimedMessage, Decision, DueMailbox

MINUTES = dt.timedelta(minutes=1)


def requests(gmails: Any, mailbox: str) -> collections.Counter[str]:
    return collections.Counter(gmails.client.counters()["by_mailbox"].get(gmails.address(mailbox), {}))


def open_listings(gmails: Any, mailbox: str) -> list[str]:
    with gmails.database.reading() as connection:
        return [listing.kind for listing in listings.unfinished(connection, mailbox)]


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
def test_first_sync_takes_the_window_and_nothing_older(gmails: Any) -> None:
    alice = gmails.connect("alice")
    inside = [gmails.deliver(alice, f"Offer {n}", age=n) for n in range(1, 6)]
    old = gmails.deliver(alice, "Old", age=9)
    for label in ("SPAM", "TRASH", "DRAFT", "CHAT"):
        gmails.deliver(alice, label, labels=(label,), age=1)
    assert gmails.sync(alice) == 5
    assert set(gmails.outcomes(alice)) == set(inside)
    assert old not in gmails.outcomes(alice)
    assert gmails.row(alice).state == "live"


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


def test_newest_first_and_live_mail_before_old(gmails: Any) -> None:
    alice = gmails.connect("alice")
    ids = [gmails.deliver(alice, f"Offer {n}", age=n + 1) for n in range(4)]
    claims = gmails.claims(batch=2)
    claimed = gmails.claim(alice, "poll", claims)
    assert [claim.gmail_id for claim in claimed] == sorted(ids, reverse=True)[:2]
    assert {claim.lane for claim in claimed} == {"backfill"}
    assert gmails.row(alice).state == "first_sync"
    live = gmails.deliver(alice, "Live")
    assert next((claim.gmail_id, claim.lane) for claim in gmails.claim(alice, "push", claims)) == (live, "live")


def test_an_expired_page_token_starts_the_listing_again_and_doubles_nothing(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.client.deliver_many(
        gmails.address(alice),
        [(b"Message-ID: <%d@x>\r\nSubject: s\r\n\r\n" % n, ["INBOX"], int(gmails.clock().timestamp() * 1000) - 1000 * n) for n in range(600)],
        loaded=True,
    )  # fmt: skip
    gmails.claim(alice)
    assert open_listings(gmails, alice) == ["first_sync"]
    gmails.client.call("expire_pages")
    for _ in range(3):
        gmails.claim(alice, "work")
        gmails.advance(seconds=4)  # nobody settles what is leased: two batches under way are enough
    assert open_listings(gmails, alice) == []
    assert len(gmails.outcomes(alice)) == 600


# --- deltas ----------------------------------------------------------------------------------------------------------
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
def test_many_claims_at_once_lease_each_message_once(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    gmails.client.set_limits(concurrent=0)
    ids = {gmails.deliver(alice, f"Offer {n}") for n in range(30)}
    leased: list[str] = []
    claims = gmails.claims(batch=5)

    def work() -> None:
        for _ in range(4):
            leased.extend(claim.gmail_id for claim in claims.claim(DueMailbox("t1", alice, "push")))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    leased.extend(claim.gmail_id for _ in range(6) for claim in claims.claim(DueMailbox("t1", alice, "push")))
    assert sorted(leased) == sorted(ids)


# --- quota and refusals ----------------------------------------------------------------------------------------------
def test_backfill_keeps_to_its_share_and_live_mail_goes_on(gmails: Any) -> None:
    alice = gmails.connect("alice")
    for n in range(20):
        gmails.deliver(alice, f"Offer {n}", age=n / 4 + 0.5)
    claims = gmails.claims(QuotaLimits(mailbox_minute=150, get=9))
    first = gmails.claim(alice, "poll", claims)
    assert len(first) == 12  # 120 of 150 units: 1 + 5 for profile and list, 12 * 9
    assert gmails.claim(alice, "work", claims) == []
    row = gmails.row(alice)
    assert (row.state, row.state_reason) == ("first_sync", "paced")
    assert row.not_before is not None
    live = gmails.deliver(alice, "Live")
    second = gmails.claim(alice, "push", claims)
    assert [claim.gmail_id for claim in second] == [live]
    gmails.settle(first + second)
    gmails.advance(minutes=2)
    assert len(gmails.claim(alice, "work", claims)) == 8


def test_the_projects_units_are_shared_by_all_mailboxes(gmails: Any) -> None:
    claims = gmails.claims(QuotaLimits(project_minute=200), backfill_share=0.95)
    claimed = 0
    for name in ("alice", "bob", "carol"):
        mailbox = gmails.connect(name)
        for n in range(5):
            gmails.deliver(mailbox, f"Offer {n}", age=n + 0.5)
        claimed += len(gmails.claim(mailbox, "poll", claims))
    assert claimed == 8  # of 190 units, beside 3 * 6 for profiles and lists
    with gmails.database.reading() as connection:
        assert (
            connection.scalar(
                sa.select(sa.func.sum(schema.quota_use.c.units)).where(schema.quota_use.c.scope == "project")
            )
            <= 200
        )


@pytest.mark.parametrize("fault", ["429", "403"])
def test_quota_refusals_pause_the_mailbox_and_lose_nothing(gmails: Any, fault: str) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    new = gmails.deliver(alice)
    gmails.client.set_faults({fault: 1.0, "mailboxes": [gmails.address(alice)], "retry_after": 7})
    assert gmails.claim(alice, "push") == []
    row = gmails.row(alice)
    assert (row.state, row.not_before) == ("quota_delayed", gmails.clock() + dt.timedelta(seconds=7))
    asked = requests(gmails, alice).total()
    assert gmails.claim(alice, "push") == []
    assert requests(gmails, alice).total() == asked  # paused means not asked
    gmails.client.set_faults()
    gmails.advance(seconds=8)
    assert [due.mailbox_id for due in gmails.register.due(gmails.clock())] == [alice]
    gmails.sync(alice)
    assert gmails.outcomes(alice) == {new: "customer"}
    assert gmails.row(alice).state == "live"


@pytest.mark.parametrize("retry_after", [0, "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_retry_after_that_is_over_makes_no_loop(gmails: Any, retry_after: object) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    gmails.client.set_faults({"429": 1.0, "mailboxes": [gmails.address(alice)], "retry_after": retry_after})
    before = requests(gmails, alice)
    for attempt in range(8):
        assert gmails.claim(alice, "push" if attempt == 0 else "poll") == []
        assert [due.mailbox_id for due in gmails.register.due(gmails.clock())] == []
        wait = gmails.row(alice).not_before - gmails.clock()
        assert wait >= dt.timedelta(seconds=min(2**attempt, 64))
        gmails.advance(seconds=wait.total_seconds())
    assert (requests(gmails, alice) - before).total() == 8


@given(st.none() | st.integers(-(10**6), 10**6), st.integers(0, 1000), st.booleans())
def test_a_wait_is_as_long_as_asked_for_and_never_nothing(asked: int | None, attempt: int, quota: bool) -> None:
    kind = GmailQuotaError if quota else GmailUnavailableError
    error = kind("list: 429", retry_after=None if asked is None else dt.timedelta(seconds=asked))
    wait = wait_after(error, attempt, random.Random(1))
    assert wait >= dt.timedelta(seconds=max(1, asked or 0))
    assert wait <= dt.timedelta(seconds=max(300, asked or 0))


def test_a_refused_read_pauses_the_whole_mailbox(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    for n in range(9):
        gmails.deliver(alice, f"Offer {n}")
    claims = gmails.claims(batch=3)
    gmails.client.set_faults(
        {"429": 1.0, "methods": ["messages.get"], "mailboxes": [gmails.address(alice)], "retry_after": 20}
    )
    gmails.settle(gmails.claim(alice, "push", claims))
    assert gmails.claim(alice, "push", claims) == []
    assert gmails.row(alice).state == "quota_delayed"
    gmails.client.set_faults()
    gmails.advance(seconds=21)
    gmails.sync(alice, "work", claims)
    assert gmails.counts(alice) == {"customer": 9}
    assert gmails.row(alice).state == "live"


@pytest.mark.parametrize("fault", ["500", "503", "drop"])
def test_an_outage_is_waited_out_longer_each_time(gmails: Any, fault: str) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    new = gmails.deliver(alice)
    gmails.client.set_faults({fault: 1.0, "mailboxes": [gmails.address(alice)]})
    waits = []
    for reason in ("push", "poll", "poll", "poll"):
        assert gmails.claim(alice, reason) == []
        row = gmails.row(alice)
        assert row.state == "live"  # a mailbox is not to blame for Gmail
        waits.append((row.not_before - gmails.clock()).total_seconds())
        gmails.advance(seconds=waits[-1])
        assert [due.mailbox_id for due in gmails.register.due(gmails.clock())] == [alice]
    assert all(2**n <= wait <= 2**n + 1 for n, wait in enumerate(waits))
    gmails.client.set_faults()
    gmails.sync(alice)
    assert gmails.outcomes(alice) == {new: "customer"}
    assert gmails.row(alice).state_reason == ""


def test_each_account_trouble_has_its_state_and_keeps_the_cursor(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    cursor = gmails.row(alice).history_id
    address = gmails.address(alice)
    for trouble, state in (("gmail_off", "no_gmail"), ("domain_policy", "admin_blocked")):
        gmails.client.set_state(address, trouble)
        assert gmails.claim(alice, "push") == []
        assert (gmails.row(alice).state, gmails.row(alice).history_id) == (state, cursor)
        gmails.client.set_state(address, "ok")
        gmails.advance(minutes=16)
        gmails.sync(alice)
        assert gmails.row(alice).state == "live"  # the poll finds out by itself
    new = gmails.deliver(alice)
    gmails.client.revoke(address)
    assert gmails.claim(alice, "push") == []
    assert (gmails.row(alice).state, gmails.row(alice).history_id is None) == ("reconsent", False)
    assert gmails.register.due(gmails.clock() + 60 * MINUTES) == []
    gmails.grant(alice, gmails.client.grant(address))
    gmails.mailboxes.set_state(alice, "live", next_poll_at=None)
    gmails.sync(alice)
    assert gmails.outcomes(alice) == {new: "customer"}  # the gap is filled on return


def test_a_token_endpoint_that_is_down_disconnects_nobody(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.client.set_faults({"token_500": 1.0})
    assert gmails.claim(alice) == []
    assert gmails.row(alice).state == "first_sync"
    assert gmails.row(alice).state_reason.startswith("TokenRefreshError")


def test_without_a_credential_the_mailbox_waits_for_consent(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.database.transaction(lambda c: c.execute(sa.delete(schema.credential)))
    assert gmails.claim(alice) == []
    assert gmails.row(alice).state == "consent_wanted"


def test_a_secret_that_cannot_be_read_pauses_its_mailbox_alone(gmails: Any) -> None:
    alice = gmails.connect("alice")
    mail = gmails.deliver(alice, age=1)
    values = {"key_ref": "file:/nowhere/key.json", "subject": gmails.address(alice)}
    gmails.database.transaction(
        lambda c: store_credential(gmails.database, gmails.vault, c, "t1", alice, "delegated", values, gmails.clock())
    )
    assert gmails.claim(alice) == []
    assert gmails.row(alice).state_reason == "SecretNotFoundError x1"
    (end,) = gmails.reader.read([ClaimedMessage("t1", alice, mail, "lease", "owner")])
    assert (end.error_class, end.counts) == ("VaultError", False)


def test_import_off_claims_nothing(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.mailboxes.turn_off(alice, "alice")
    assert gmails.claim(alice, "push") == []
    assert requests(gmails, alice).total() == 0
    assert gmails.claims().claim(DueMailbox("t1", "nobody", "push")) == []


# --- polls and pushes ------------------------------------------------------------------------------------------------
@settings(deadline=None)
@given(st.text(min_size=1), st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2030, 1, 1)))  # noqa: DTZ001
def test_polls_keep_their_own_beat(mailbox: str, at: dt.datetime) -> None:
    at = at.replace(tzinfo=dt.UTC)
    first = next_poll(mailbox, at, 15 * MINUTES)
    assert at < first <= at + 15 * MINUTES
    assert abs(next_poll(mailbox, first, 15 * MINUTES) - first - 15 * MINUTES) < dt.timedelta(milliseconds=2)


def test_ten_thousand_mailboxes_spread_evenly() -> None:
    now = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
    minutes = collections.Counter((next_poll(f"m{n}", now, 15 * MINUTES) - now) // MINUTES for n in range(10_000))
    assert len(minutes) == 15
    assert all(500 < count < 850 for count in minutes.values())


def test_a_thousand_mailboxes_are_polled_together_at_sixty_moments() -> None:
    now = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
    moments = {next_poll(f"m{n}", now + dt.timedelta(seconds=n / 500), 15 * MINUTES) for n in range(1000)}
    rounded = {round(moment.timestamp(), 3) for moment in moments}
    assert len(rounded) == 60


def test_pauses_grow_to_their_cap() -> None:
    waits = [pause_after(n, dt.timedelta(seconds=64), random.Random(1)).total_seconds() for n in range(9)]
    assert waits == sorted(waits)
    assert 1 <= waits[0] <= 2
    assert waits[-1] == 64


def test_every_poll_looks_whether_or_not_a_push_came(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    gmails.advance(seconds=(gmails.row(alice).next_poll_at - gmails.clock()).total_seconds())
    gmails.sync(alice)
    due_at = gmails.row(alice).next_poll_at
    gmails.advance(seconds=20)
    gmails.claim(alice, "push")
    assert gmails.row(alice).next_poll_at == due_at
    gmails.advance(seconds=(due_at - gmails.clock()).total_seconds())
    new = gmails.deliver(alice)
    assert [(due.mailbox_id, due.reason) for due in gmails.register.due(gmails.clock())] == [(alice, "poll")]
    assert [claim.gmail_id for claim in gmails.claim(alice, "poll")] == [new]
    assert dt.timedelta(0) < gmails.row(alice).next_poll_at - gmails.clock() <= 15 * MINUTES


def test_settings_are_checked() -> None:
    for wrong in (
        {"batch": 0},
        {"backfill_share": 0},
        {"topic": "gmail"},
        {"poll_interval": dt.timedelta(0)},
        {"lease_seconds": 0},
    ):
        with pytest.raises(ValueError):
            ClaimSettings(**wrong)
