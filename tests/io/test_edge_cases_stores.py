"""Cases of docs/edge-cases.md that need a database or a Gmail and are nobody else's: one test a case, or two."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import blocked_mail, crm_import, listings, relink, schema
from dealmail.io.consent_flow import SignIn, SignInError
from dealmail.io.crm import DatabaseDirectories
from dealmail.io.database import Database, DatabaseSpec
from dealmail.io.erasure import Erasing, Erasure
from dealmail.io.outbox import Outbox
from dealmail.io.quota import QuotaLimits
from dealmail.io.register import Register
from dealmail.io.search import SearchQuery
from dealmail.io.vault import Digests
from dealmail.transforms import decisions
from dealmail.transforms.claim_messages import LedgerRow, decide_listed
from dealmail.transforms.find_due_mailboxes import parse_notification
from dealmail.transforms.records import Decision, DueMailbox, Failure, MailText, Participant


def rows(database: Database, query: sa.Select[Any]) -> list[Any]:
    with database.reading() as connection:
        return list(connection.execute(query).all())


def copies(gmails: Any, mailbox: str) -> list[str]:
    table = schema.engagement_copy.c
    return [row[0] for row in rows(gmails.database, sa.select(table.gmail_id).where(table.mailbox_id == mailbox))]


def reads(gmails: Any, mailbox: str) -> int:
    return int(gmails.client.counters()["by_mailbox"].get(gmails.address(mailbox), {}).get("messages.get", 0))


# --- push, history and cursor ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("cursor", [2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_case_02_the_whole_range_of_history_ids_can_be_stored(make_sales: Any, database: Database, cursor: int) -> None:
    sales = make_sales(database)
    alice = sales.add_mailbox("alice@corp.example")
    sales.mailboxes.set_state(alice, "live", history_id=cursor)
    assert sales.mailboxes.get(alice).history_id == cursor


def test_case_03_a_late_push_moves_no_cursor_back_and_reads_nothing_again(gmails: Any) -> None:
    alice = gmails.connect("alice")
    mail = gmails.deliver(alice)
    gmails.sync(alice)
    gmails.sync(alice, "push")
    cursor, read = gmails.row(alice).history_id, reads(gmails, alice)
    assert cursor == gmails.client.dump(gmails.address(alice))[gmails.address(alice)]["historyId"]
    for stale in (1, cursor - 1, cursor, str(cursor)):
        push = parse_notification(f'{{"emailAddress": "{gmails.address(alice)}", "historyId": "{stale}"}}'.encode())
        assert push is not None
        for due in gmails.register.touched(push.email_address, gmails.clock()):
            assert gmails.claims().claim(due) == []
    assert gmails.row(alice).history_id >= cursor
    assert reads(gmails, alice) == read
    assert gmails.outcomes(alice) == {mail: "customer"}


def test_case_05_a_push_before_the_first_sync_is_covered_by_it(gmails: Any) -> None:
    alice = gmails.connect("alice")
    early = gmails.deliver(alice)
    (due,) = gmails.register.touched(gmails.address(alice), gmails.clock())
    assert gmails.row(alice).history_id is None
    gmails.settle(gmails.claims().claim(due))
    assert gmails.row(alice).history_id is not None
    assert gmails.outcomes(alice) == {early: "customer"}


def test_case_07_a_renamed_account_is_read_by_its_polls_and_connected_anew_holds_its_mail_once(gmails: Any) -> None:
    old = gmails.connect("alice")
    before = gmails.deliver(old)
    gmails.sync(old)
    new = f"alice.jones@{gmails.domain}"
    gmails.client.add_mailbox(new)  # what the account is called now: its token, its mail and its history go with it
    gmails.grant(old, gmails.client.grant(new))
    raw = gmails.client.raw(gmails.address(old), before)
    copy, later = (
        gmails.client.deliver(new, raw),
        gmails.client.deliver(new, raw.replace(b"Message-ID: <", b"Message-ID: <2")),
    )
    assert gmails.register.touched(new, gmails.clock()) == []
    gmails.mailboxes.set_state(old, "live", history_id=1)  # this sandbox gives the new name a history of its own
    gmails.advance(minutes=16)
    assert [due.mailbox_id for due in gmails.register.due(gmails.clock())] == [old]
    gmails.sync(old)
    assert {copy, later} <= set(copies(gmails, old))

    sign_in = SignIn(gmails.database, gmails.vault, gmails.settings, gmails.clock)
    box = gmails.mailboxes.add("t1", "u1", new).id
    sign_in.grant(box, gmails.client.grant(new), [], "alice")
    gmails.mailboxes.turn_on(box, "alice")
    assert [due.mailbox_id for due in gmails.register.touched(new, gmails.clock())] == [box]
    gmails.sync(box)
    sign_in.disconnect(old, "alice")
    last = gmails.client.deliver(new, raw.replace(b"Message-ID: <", b"Message-ID: <3"))
    gmails.client.expire_access(new)
    gmails.sync(box, "push")
    assert set(copies(gmails, box)) == {copy, later, last}
    assert len(rows(gmails.database, sa.select(schema.engagement.c.id))) == 3


def test_case_09_a_dormant_mailbox_recovers_once_and_not_for_ever(gmails: Any) -> None:
    alice = gmails.connect("alice")
    mail = gmails.deliver(alice, age=1)
    gmails.sync(alice)
    gmails.advance(days=40)  # and nothing comes
    gmails.client.expire_history(gmails.address(alice))
    for _ in range(4):
        gmails.sync(alice)
        gmails.advance(minutes=16)
    row = gmails.row(alice)
    assert (row.expired_cursors, row.state, gmails.outcomes(alice)) == (1, "live", {mail: "customer"})


def test_case_18_a_page_token_goes_with_its_query(sales: Any) -> None:
    box = sales.mailboxes.get(sales.add_mailbox("alice@corp.example"))
    now, later = sales.clock() - dt.timedelta(days=7), sales.clock()

    def work(connection: sa.Connection) -> list[tuple[str, str]]:
        listings.start(connection, box, "first_sync", now, later)
        (walk,) = listings.unfinished(connection, box.id)
        listings.page_done(connection, walk, 500, 900, "token", later)
        listings.start(connection, box, "targeted", now, later, query="from:new.example")
        both = [(one.kind, one.page_token) for one in listings.unfinished(connection, box.id)]
        listings.start(connection, box, "first_sync", now - dt.timedelta(days=30), later)  # the window grew
        return both + [(one.kind, one.page_token) for one in listings.unfinished(connection, box.id)]

    before, after = [("first_sync", "token"), ("targeted", "")], [("first_sync", ""), ("targeted", "")]
    assert sales.database.transaction(work) == before + after


def test_case_21_a_message_that_cannot_be_read_is_parked_and_holds_nothing_up(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    poison, before = gmails.deliver(alice, "poison"), gmails.row(alice).history_id
    for _ in range(5):
        claimed = gmails.claim(alice, "push")
        good = gmails.deliver(alice)
        gmails.sales.settlements.settle(
            [Failure(one, "normalize", "ValueError") for one in claimed if one.gmail_id == poison]
        )
        gmails.settle([one for one in claimed if one.gmail_id != poison])
        gmails.advance(minutes=16)
    gmails.sync(alice, "push")
    outcomes = gmails.outcomes(alice)
    assert (outcomes.pop(poison), outcomes[good]) == ("parked", "customer")
    assert set(outcomes.values()) == {"customer"}
    assert gmails.row(alice).history_id > before
    assert gmails.row(alice).state == "live"


def test_case_22_a_new_process_finds_cursors_and_polls_where_they_were(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    row = gmails.row(alice)
    again = Database(DatabaseSpec(gmails.database.engine.url.render_as_string()))
    register = Register(again)
    assert register.next_due(gmails.clock()) == row.next_poll_at > gmails.clock()
    gmails.advance(seconds=(row.next_poll_at - gmails.clock()).total_seconds())
    assert register.due(gmails.clock()) == [DueMailbox("t1", alice, "poll")]
    again.close()
    assert gmails.row(alice).history_id == row.history_id


def test_case_23_poll_and_push_at_once_do_the_work_once(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    gmails.client.set_limits(concurrent=0)
    new = [gmails.deliver(alice, f"Offer {n}") for n in range(20)]
    read, gate, leased = reads(gmails, alice), threading.Barrier(2), []

    def work(reason: str) -> None:
        gate.wait(10)
        claimed = gmails.claims().claim(DueMailbox("t1", alice, reason))
        leased.extend(one.gmail_id for one in claimed)
        gmails.settle(claimed)

    threads = [threading.Thread(target=work, args=(reason,)) for reason in ("poll", "push")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(leased) == sorted(new)
    assert reads(gmails, alice) - read == len(new)
    assert sorted(copies(gmails, alice)) == sorted(new)


# --- labels ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("labels", [(), ("STARRED",), ("Customers/Acme",), ("IMPORTANT", "UNREAD")])
def test_case_34_35_mail_that_never_was_in_the_inbox_is_read_old_and_new(gmails: Any, labels: tuple[str, ...]) -> None:
    alice = gmails.connect("alice")
    old = gmails.deliver(alice, labels=labels, age=2)
    gmails.sync(alice)
    new = gmails.deliver(alice, labels=labels)
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice) == {old: "customer", new: "customer"}


def test_case_29_a_draft_that_is_sent_under_its_own_id_is_read_then(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    raw = b"From: alice@corp.example\r\nTo: pat@customer.example\r\nMessage-ID: <plan@x>\r\nSubject: Plan\r\n\r\nplan"
    _, draft = gmails.client.save_draft(gmails.address(alice), raw)
    gmails.sync(alice, "push")
    assert (gmails.outcomes(alice), copies(gmails, alice)) == ({draft: "label.draft"}, [])
    gmails.client.modify(gmails.address(alice), draft, ["SENT"], ["DRAFT"])
    gmails.sync(alice, "push")
    assert (gmails.outcomes(alice), copies(gmails, alice)) == ({draft: "customer"}, [draft])


@pytest.mark.parametrize(
    ("policy", "kept"), [({}, True), ({"on_spam": "remove"}, False), ({"on_trash": "remove"}, True)]
)
def test_case_32_spam_after_the_import_is_a_policy_of_its_own(gmails: Any, policy: dict[str, str], kept: bool) -> None:
    gmails.database.transaction(lambda c: c.execute(sa.update(schema.team).values(settings=policy)))
    alice = gmails.connect("alice")
    mail = gmails.deliver(alice, age=1)
    gmails.sync(alice)
    gmails.client.modify(gmails.address(alice), mail, ["SPAM"], ["INBOX"])
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice) == {mail: "customer" if kept else "label.spam"}
    assert copies(gmails, alice) == ([mail] if kept else [])
    gmails.client.modify(gmails.address(alice), mail, ["INBOX"], ["SPAM"])
    gmails.sync(alice, "push")
    assert copies(gmails, alice) == [mail]


def test_case_32_mail_that_comes_back_under_another_id_is_imported_again(gmails: Any) -> None:
    """An admin restores what was deleted for good: Gmail gives it a new id, and it is the same engagement."""
    alice = gmails.connect("alice")
    mail = gmails.deliver(alice, message_id="restored")
    gmails.sync(alice)
    raw = gmails.client.raw(gmails.address(alice), mail)
    outbox = sa.select(
        schema.search_outbox.c.engagement_id, schema.search_outbox.c.version, schema.search_outbox.c.is_delete
    )
    gmails.client.delete(gmails.address(alice), mail)
    gmails.sync(alice, "push")
    ((engagement, gone, is_deleted),) = rows(gmails.database, outbox)
    assert is_deleted
    again = gmails.client.deliver(gmails.address(alice), raw)
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice) == {mail: "gone.deleted", again: "customer"}
    ((same, back, is_deleted),) = rows(gmails.database, outbox)
    assert (same, is_deleted) == (engagement, False)
    assert back > gone


def test_case_36_scheduled_mail_is_nobodys_until_it_is_sent(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    raw = b"From: alice@corp.example\r\nTo: pat@customer.example\r\nMessage-ID: <plan@x>\r\nSubject: Plan\r\n\r\nplan"
    draft, waiting = gmails.client.save_draft(gmails.address(alice), raw)
    gmails.sync(alice, "push")
    assert (gmails.outcomes(alice), copies(gmails, alice)) == ({waiting: "label.draft"}, [])
    gmails.advance(hours=10)
    sent = gmails.client.send_draft(gmails.address(alice), draft)
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice)[sent] == "customer"
    assert copies(gmails, alice) == [sent]


def test_case_37_snoozed_mail_that_comes_back_is_read_once(gmails: Any) -> None:
    alice = gmails.connect("alice")
    mail = gmails.deliver(alice)
    gmails.sync(alice)
    read = reads(gmails, alice)
    for add, remove in (([], ["INBOX"]), (["INBOX", "UNREAD"], [])):
        gmails.client.modify(gmails.address(alice), mail, add, remove)
        gmails.sync(alice, "push")
    assert reads(gmails, alice) == read
    assert copies(gmails, alice) == [mail]


# --- the CRM between match and write ---------------------------------------------------------------------------------
CRM = """kind,id,address,domain,account_id
user,u1,alice@corp.example,,
own_domain,,,corp.example,
account,a1,,acme.example,
account,a2,,other.example,
contact,c1,zoe@acme.example,,a1
contact,c2,z.quint@acme.example,,a1
"""
CHANGES = {
    "moved": (CRM.replace("zoe@acme.example,,a1", "zoe@acme.example,,a2"), {("account", "a2"), ("account", "a1"), ("contact", "c1")}),
    "merged": (CRM.replace("contact,c1,zoe@acme.example,,a1\n", "").replace("z.quint@", "zoe@"), {("account", "a1"), ("contact", "c2")}),
    "deleted": (CRM.replace("contact,c1,zoe@acme.example,,a1\n", "").replace("acme.example,\n", "elsewhere.example,\n"), set()),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_case_63_what_the_crm_changes_between_match_and_write_is_put_right(sales: Any, mail: Any, change: str) -> None:
    crm_import.import_csv(sales.database, "t1", CRM, sales.clock)
    directories = DatabaseDirectories(sales.database, 0.0)
    zoe = Participant("zoe@acme.example")
    (claim,) = sales.claim(sales.add_mailbox("alice@corp.example"), ["g1"])
    stale = directories.directory("t1")
    matched = mail(claim, 1, sender=zoe, to=(), cc=(), links=stale.links([zoe]), crm_version=stale.version)

    text, expected = CHANGES[change]
    crm_import.import_csv(sales.database, "t1", text, sales.clock, replace=True)
    relink.relink(sales.database, directories.refresh("t1"), sales.clock)
    assert relink.behind(sales.database) == []
    sales.settlements.settle([matched])
    assert relink.behind(sales.database) == ["t1"]
    relink.relink(sales.database, directories.refresh("t1"), sales.clock)
    link = schema.engagement_link.c
    assert set(map(tuple, rows(sales.database, sa.select(link.kind, link.target_id)))) == expected
    assert len(sales.dump(schema.engagement)["engagement"]) == 1


def test_case_66_what_is_blocked_between_match_and_write_is_not_written(sales: Any, mail: Any) -> None:
    crm_import.import_csv(sales.database, "t1", CRM, sales.clock)
    version = DatabaseDirectories(sales.database, 0.0).directory("t1").version
    box = sales.add_mailbox("alice@corp.example")
    rival, friend, other = sales.claim(box, ["g1", "g2", "g3"])
    judged = [
        mail(rival, 1, sender=Participant("pat@sub.rival.example"), to=(), cc=(), crm_version=version),
        mail(friend, 2, sender=Participant("zoe@acme.example"), to=(), cc=(), crm_version=version),
        mail(other, 3, sender=Participant("kim@private.example"), to=(), cc=(), crm_version=version),
    ]
    blocks = "kind,pattern,user_id\nblocked,rival.example,\nblocked,*@private.example,u1\n"
    crm_import.import_csv(sales.database, "t1", blocks, sales.clock)
    sales.settlements.settle(judged)
    assert [sales.ledger.explain(box, one).state for one in ("g1", "g2", "g3")] == ["pending", "decided", "pending"]
    assert [row[1] for row in sales.dump(schema.engagement)["engagement"]] == ["t1-e0002"]
    sales.clock.advance(minutes=1)
    rival, other = sales.claim(box, ["g1", "g3"])
    kept = mail(other, 3, sender=Participant("kim@private.example"), to=(), cc=(), crm_version=version + 1)
    sales.settlements.settle([Decision(rival, "dropped", decisions.BLOCKED_TEAM, crm_version=version + 1), kept])
    assert [sales.ledger.explain(box, one).rule for one in ("g1", "g3")] == ["blocked.team", "customer"]


def test_case_66_a_new_block_counts_and_takes_away_what_is_stored_and_an_unblocking_brings_it_back(
    sales: Any, mail: Any
) -> None:
    crm_import.import_csv(sales.database, "t1", CRM, sales.clock)
    boxes = [sales.add_mailbox("alice@corp.example"), sales.add_mailbox("bob@corp.example", user="u2")]
    for box in boxes:
        sales.mailboxes.set_state(box, "live", window_from=sales.clock() - dt.timedelta(days=30))
        for number, author in enumerate(("pat@sub.rival.example", "kim@private.example", "zoe@acme.example")):
            (claim,) = sales.claim(box, [f"g{number}"])
            sales.settlements.settle([mail(claim, number, sender=Participant(author), to=(), cc=())])
    directories = DatabaseDirectories(sales.database, 0.0)
    assert blocked_mail.purge(sales.database, directories.directory("t1"), sales.clock) == blocked_mail.Purge(0, 0)

    blocks = "kind,pattern,user_id\nblocked,rival.example,\nblocked,*@private.example,u1\n"
    crm_import.import_csv(sales.database, "t1", blocks, sales.clock)
    directory = directories.directory("t1")
    before = sales.dump(schema.engagement, schema.engagement_copy, schema.message)
    assert blocked_mail.preview(sales.database, directory) == blocked_mail.Purge(engagements=1, copies=3)
    assert sales.dump(schema.engagement, schema.engagement_copy, schema.message) == before
    assert blocked_mail.purge(sales.database, directory, sales.clock) == blocked_mail.Purge(engagements=1, copies=3)
    assert blocked_mail.purge(sales.database, directory, sales.clock) == blocked_mail.Purge(0, 0)

    alice, bob = ([sales.ledger.explain(box, f"g{n}").rule for n in range(3)] for box in boxes)
    assert alice == ["blocked.team", "blocked.user", "customer"]
    assert bob == ["blocked.team", "customer", "customer"]
    assert [row[1] for row in sales.dump(schema.engagement)["engagement"]] == ["t1-e0001", "t1-e0002"]
    assert sales.dump(schema.tombstone)["tombstone"] == []
    with sales.database.reading() as connection:
        outbox = sa.select(schema.search_outbox.c.engagement_id).where(schema.search_outbox.c.is_delete.is_(True))
        assert list(connection.scalars(outbox)) == ["t1-e0000"]

    crm_import.import_csv(sales.database, "t1", CRM, sales.clock, replace=True)
    with sales.database.reading() as connection:
        walk = schema.listing.c
        looks = dict(connection.execute(sa.select(walk.mailbox_id, walk.query).where(walk.kind == "reopen")).all())
    # They look at it again (tests/io/test_look_back.py): a user's own list is that user's alone.
    assert looks == dict(zip(boxes, ("blocked.team blocked.user", "blocked.team"), strict=True))
    assert [decide_listed(LedgerRow("dropped", rule), crm_changed=True) for rule in alice] == [
        "reopen",
        "reopen",
        "nothing",
    ]


def test_case_75_the_same_gmail_id_in_two_mailboxes_is_two_messages(sales: Any, mail: Any) -> None:
    first, second = sales.add_mailbox("alice@corp.example"), sales.add_mailbox("bob@corp.example")
    for number, box in enumerate((first, second)):
        sales.settlements.settle([mail(claim, number) for claim in sales.claim(box, ["g1"])])
    assert [sales.ledger.explain(box, "g1").engagement_id for box in (first, second)] == ["t1-e0000", "t1-e0001"]


def test_case_41_a_mail_without_an_author_is_stored_with_those_whom_it_names(
    make_sales: Any, mail: Any, database: Database
) -> None:
    sales = make_sales(database)
    (claim,) = sales.claim(sales.add_mailbox("alice@corp.example"), ["g1"])
    crm_import.import_csv(database, "t1", CRM, sales.clock)
    links = DatabaseDirectories(database, 0.0).directory("t1").links([Participant("zoe@acme.example")])
    sales.settlements.settle(
        [mail(claim, 1, sender=Participant(""), to=(Participant("zoe@acme.example", "Zoe"),), cc=(), links=links)]
    )
    with database.reading() as connection:
        people = list(connection.scalars(sa.text("SELECT people FROM account_timeline")))
        addresses = list(connection.scalars(sa.select(schema.participant.c.address)))
    assert people == ["Zoe <zoe@acme.example>"]
    assert addresses == ["zoe@acme.example"]


# --- accounts, quota, lifecycle --------------------------------------------------------------------------------------
def test_case_88_gmail_is_asked_in_epoch_seconds() -> None:
    after, before = dt.datetime(2026, 3, 1, 23, 30, tzinfo=dt.UTC), dt.datetime(2026, 3, 9, tzinfo=dt.UTC)
    words = listings.search_for(after, before).split()
    assert words[:2] == [f"after:{int(after.timestamp()) - 60}", f"before:{int(before.timestamp()) + 60}"]
    first_day = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
    assert listings.search_for(first_day, first_day + dt.timedelta(days=1)).split()[:2] == ["after:0", "before:0"]


def test_case_99_a_consent_that_fails_leaves_the_old_token_good(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    sealed = rows(gmails.database, sa.select(schema.credential))
    gmails.client.call("consent", refuse=True)
    sign_in = SignIn(gmails.database, gmails.vault, gmails.settings, gmails.clock)
    with pytest.raises(SignInError):
        sign_in.consent(alice, "alice", lambda url: None, timeout=dt.timedelta(0))
    with pytest.raises(SignInError):
        sign_in.grant(alice, "no such token", [], "alice")
    gmails.client.call("consent")
    assert rows(gmails.database, sa.select(schema.credential)) == sealed
    new = gmails.deliver(alice)
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice) == {new: "customer"}


def test_case_102_a_backfill_leaves_room_for_the_live_mail_of_others(gmails: Any) -> None:
    claims = gmails.claims(QuotaLimits(project_minute=500))
    bob = gmails.connect("bob")
    gmails.sync(bob, "poll", claims)
    alice = gmails.connect("alice")
    for n in range(30):
        gmails.deliver(alice, f"Offer {n}", age=n / 5 + 0.5)
    backfill = gmails.claim(alice, "poll", claims)
    assert 0 < len(backfill) < 30
    assert gmails.claim(alice, "work", claims) == []
    live = gmails.deliver(bob)
    assert [one.gmail_id for one in gmails.claim(bob, "push", claims)] == [live]


def test_case_103_off_in_the_middle_of_a_backfill_leaves_no_late_write(gmails: Any) -> None:
    alice = gmails.connect("alice")
    for n in range(9):
        gmails.deliver(alice, f"Offer {n}", age=n / 2 + 0.5)
    claims = gmails.claims(batch=3)
    gmails.settle(gmails.claim(alice, "poll", claims))
    under_way = gmails.read(gmails.claim(alice, "work", claims))
    before = gmails.sales.dump(schema.engagement, schema.engagement_copy, schema.search_outbox)
    SignIn(gmails.database, gmails.vault, gmails.settings, gmails.clock).disconnect(alice, "alice")
    gmails.sales.settlements.settle(under_way)
    assert gmails.claim(alice, "work", claims) == gmails.claim(alice, "push", claims) == []
    assert gmails.sales.dump(schema.engagement, schema.engagement_copy, schema.search_outbox) == before
    assert gmails.counts(alice) == {"customer": 3, "pending": 6}


def test_case_105_the_window_is_a_week_or_more_and_only_grows(gmails: Any) -> None:
    def deal(opened: dt.date, *, is_open: bool = True) -> None:
        row = {
            "team_id": "t1",
            "id": "o1",
            "account_id": "a",
            "owner_user_id": "u1",
            "is_open": is_open,
            "opened_on": opened,
        }
        gmails.database.transaction(
            lambda c: gmails.database.upsert(c, schema.opportunity, [row], ["is_open", "opened_on"])
        )  # fmt: skip

    def midnight(day: dt.date) -> dt.datetime:
        return dt.datetime.combine(day, dt.time(), dt.UTC)

    alice, today = gmails.connect("alice"), gmails.clock().date()
    gmails.sync(alice)
    assert gmails.row(alice).window_from == gmails.clock() - dt.timedelta(days=7)
    expected = gmails.row(alice).window_from
    for opened, is_open, reach in (
        (today - dt.timedelta(days=2), True, None),  # younger than the week
        (today - dt.timedelta(days=20), False, None),  # closed
        (today - dt.timedelta(days=20), True, 20),  # opened again
        (today - dt.timedelta(days=40), True, 40),  # its date moved to an earlier day
        (today - dt.timedelta(days=10), True, None),  # and to a later one
        (today - dt.timedelta(days=10), False, None),
    ):
        deal(opened, is_open=is_open)
        gmails.sync(alice, "push")
        expected = midnight(today - dt.timedelta(days=reach)) if reach else expected
        assert gmails.row(alice).window_from == expected


@pytest.mark.parametrize("opened", [dt.date(1, 1, 1), dt.date(1900, 1, 1)])
def test_case_105_a_deal_dated_before_any_mail_has_the_whole_mailbox_read(gmails: Any, opened: dt.date) -> None:
    """As a CRM writes a date that it does not know."""
    row = {"team_id": "t1", "id": "o1", "account_id": "a", "owner_user_id": "u1", "opened_on": opened}
    gmails.database.transaction(lambda c: gmails.database.upsert(c, schema.opportunity, [row], ["opened_on"]))
    alice = gmails.connect("alice")
    old = gmails.deliver(alice, age=4000)
    gmails.sync(alice)
    assert gmails.outcomes(alice) == {old: "customer"}


def test_case_105_a_window_from_the_year_one_can_be_stored(make_sales: Any, database: Database) -> None:
    sales = make_sales(database)
    alice, first_day = sales.add_mailbox("alice@corp.example"), dt.datetime(1, 1, 1, tzinfo=dt.UTC)
    sales.mailboxes.set_state(alice, "live", window_from=first_day)
    assert sales.mailboxes.get(alice).window_from == first_day


def test_case_106_consent_does_not_travel_to_the_next_user_of_a_mailbox(gmails: Any) -> None:
    alice = gmails.connect("sales")
    gmails.sync(alice)
    under_way = gmails.deliver(alice)
    ends = gmails.read(gmails.claim(alice, "push"))
    gmails.mailboxes.add("t1", "u1", gmails.address(alice))  # the same user: nothing happens
    assert gmails.row(alice).import_on
    gmails.mailboxes.add("t1", "u2", gmails.address(alice))
    row = gmails.row(alice)
    assert (row.user_id, row.import_on, row.state, row.history_id, row.window_from) == (
        "u2",
        False,
        "paused",
        None,
        None,
    )
    gmails.sales.settlements.settle(ends)
    assert gmails.outcomes(alice) == {under_way: "pending"}
    assert rows(gmails.database, sa.select(schema.credential)) == []
    assert [entry.action for entry in gmails.mailboxes.consents(alice)][-1] == "import_off"
    gmails.mailboxes.turn_on(alice, "u2")
    assert gmails.row(alice).state == "consent_wanted"  # the old token is not theirs
    gmails.grant(alice, gmails.client.grant(gmails.address(alice)))
    gmails.mailboxes.set_state(alice, "first_sync")
    gmails.sync(alice)
    assert gmails.outcomes(alice) == {under_way: "customer"}


def test_case_106_what_the_former_users_window_and_blocklist_kept_out_is_the_next_users(gmails: Any) -> None:
    alice = gmails.connect("sales")
    gmails.sync(alice)
    old, private = gmails.deliver(alice, age=30), gmails.deliver(alice)
    rules = {old: "window.before", private: "blocked.user"}
    claimed = gmails.claim(alice, "push")
    gmails.sales.settlements.settle([Decision(claim, "dropped", rules[claim.gmail_id]) for claim in claimed])
    assert gmails.outcomes(alice) == rules
    opened = {"opened_on": gmails.clock().date() - dt.timedelta(days=60), "is_open": True, "owner_user_id": "u2"}
    deal = {"team_id": "t1", "id": "o1", "account_id": "a"} | opened
    gmails.database.transaction(lambda c: c.execute(sa.insert(schema.opportunity), [deal]))
    gmails.mailboxes.add("t1", "u2", gmails.address(alice))
    gmails.mailboxes.turn_on(alice, "u2")
    SignIn(gmails.database, gmails.vault, gmails.settings, gmails.clock).grant(
        alice, gmails.client.grant(gmails.address(alice)), [], "u2"
    )
    gmails.sync(alice)
    assert gmails.outcomes(alice) == dict.fromkeys(rules, "customer")


def test_case_106_a_crm_that_gives_the_address_to_somebody_else_ends_the_import(sales: Any) -> None:
    users = "kind,id,address\nuser,u1,alice@corp.example\nuser,u2,bob@corp.example\n"
    crm_import.import_csv(sales.database, "t1", users, sales.clock)
    box, other = sales.add_mailbox("alice@corp.example"), sales.add_mailbox("bob@corp.example", user="u2")
    crm_import.import_csv(sales.database, "t1", users, sales.clock)
    assert [sales.mailboxes.get(one).import_on for one in (box, other)] == [True, True]
    moved = "kind,address,user_id\nuser_address,alice@corp.example,u2\n"
    crm_import.import_csv(sales.database, "t1", moved, sales.clock)
    assert [(row.user_id, row.import_on) for row in map(sales.mailboxes.get, (box, other))] == [
        ("u2", False),
        ("u2", True),
    ]


def test_case_107_two_teams_read_one_mailbox_and_neither_ends_the_others(gmails: Any) -> None:
    gmails.sales.add_team("t2")
    mine = gmails.connect("alice")
    address = gmails.address(mine)
    theirs = gmails.mailboxes.add("t2", "u9", address).id
    values = {"refresh_token": gmails.client.grant(address), "scopes": []}
    sign_in = SignIn(gmails.database, gmails.vault, gmails.settings, gmails.clock)
    sign_in.grant(theirs, values["refresh_token"], [], "u9")
    gmails.mailboxes.turn_on(theirs, "u9")
    mail = gmails.deliver(mine, age=1)
    claims = gmails.claims(topic=gmails.sandbox.topic)
    for team, box in (("t1", mine), ("t2", theirs)):
        gmails.settle(claims.claim(DueMailbox(team, box, "poll")))
    assert gmails.outcomes(mine) == {mail: "customer"}
    assert gmails.ledger.explain(theirs, mail).rule == "customer"
    due = gmails.register.touched(address, gmails.clock())
    assert {one.mailbox_id for one in due} == {mine, theirs}

    sign_in.disconnect(mine, "alice")
    assert [gmails.row(box).import_on for box in (mine, theirs)] == [False, True]
    assert address in gmails.client.counters()["watches"]  # the project has one watch a mailbox: the other team's, too
    new = gmails.deliver(mine)
    gmails.settle(claims.claim(DueMailbox("t2", theirs, "push")))
    assert (gmails.ledger.explain(theirs, new).rule, gmails.ledger.explain(mine, new)) == ("customer", None)
    assert gmails.row(theirs).state == "live"

    sign_in.disconnect(theirs, "u9")
    assert address not in gmails.client.counters()["watches"]
    assert rows(gmails.database, sa.select(schema.credential)) == []


def test_case_109_words_of_an_erased_person_quoted_by_others_stay_with_the_others_mail(
    sales: Any, mail: Any, fts_search_index: Any
) -> None:
    box = sales.add_mailbox("alice@corp.example")
    own, answer = sales.claim(box, ["g1", "g2"])
    kim, lee = Participant("kim@acme.example"), Participant("lee@acme.example")
    quoting = MailText("See below.\n\nOn Monday Kim <kim@acme.example> wrote:\n> our offer")
    sales.settlements.settle(
        [mail(own, 1, sender=kim, to=(), cc=()), mail(answer, 2, sender=lee, to=(), cc=(), body=quoting)]
    )
    erasing = Erasing(sales.database, sales.clock, Digests((b"a key for tests, 32 bytes long..",)))
    assert erasing.erase(Erasure("t1", person="kim@acme.example")).engagements == 1
    assert rows(sales.database, sa.select(schema.engagement.c.text)) == [(quoting.text,)]
    outbox = Outbox(sales.database, fts_search_index, now=sales.clock)
    outbox.drain(10)
    found = [
        hit.engagement_id
        for words in ("kim", '"our offer"')
        for hit in fts_search_index.search("t1", SearchQuery(words))
    ]
    assert found == ["t1-e0002", "t1-e0002"]

    def delete(connection: sa.Connection) -> None:
        sales.ledger.mark_deleted(connection, sales.mailboxes.get(box), ["g2"], sales.clock())

    sales.database.transaction(delete)
    outbox.drain(10)
    assert rows(sales.database, sa.select(schema.engagement.c.text)) == []
    assert fts_search_index.search("t1", SearchQuery("kim")) == []
