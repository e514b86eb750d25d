"""What the local service asks of the database beside what is due."""

import datetime as dt

import pytest
import sqlalchemy as sa

from dealmail.io import schema
from dealmail.io.audit import MailboxAudit
from dealmail.io.database import DatabaseSpec
from dealmail.io.ledger import Ledger
from dealmail.io.mailboxes import Mailboxes
from dealmail.io.poll_times import next_poll
from dealmail.io.quota import Quota
from dealmail.pipeline.edges import PUT_OFF, OpenEdges
from dealmail.pipeline.options import JobOptions
from dealmail.transforms.records import ClaimedMessage

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)


def now():
    return NOW


@pytest.fixture
def opened(tmp_path):
    made = OpenEdges(JobOptions(database=DatabaseSpec(f"sqlite:///{tmp_path}/dealmail.db")))
    team = {"id": "t1", "name": "", "crm_version": 0, "settings": {}, "created_at": NOW}
    made.database.transaction(lambda c: c.execute(sa.insert(schema.team), [team]))
    yield made
    made.close()


def add(opened, name, messages=0, **state):
    boxes = Mailboxes(opened.database, now)
    box = boxes.add("t1", name, f"{name}@corp.example")
    boxes.turn_on(box.id, name)
    boxes.set_state(box.id, state.pop("state", "live"), state.pop("reason", ""))
    ids = [f"{n}" for n in range(messages)]
    opened.database.transaction(lambda c: Ledger(opened.database, now).add_pending(c, box, ids, "backfill", NOW))
    return box.id


def consent(opened, box, kind):
    row = {"mailbox_id": box, "team_id": "t1", "kind": kind, "ciphertext": b"sealed", "updated_at": NOW}
    opened.database.transaction(lambda c: c.execute(sa.insert(schema.credential), [row]))


def test_what_is_pending_is_told_apart_by_what_it_waits_for(opened):
    assert opened.pending() == (0, 0)
    add(opened, "alice", 3)
    add(opened, "bob", 5, state="quota_delayed", reason="GmailQuotaError x2")
    add(opened, "carol", 7, state="first_sync", reason="paced")
    add(opened, "dan", 11, state="first_sync", reason="GmailUnavailableError x1")
    off = add(opened, "eve", 13)
    assert opened.pending() == (39, 12)
    Mailboxes(opened.database, now).turn_off(off, "eve")
    assert opened.pending() == (26, 12)


def test_what_old_mail_needs_beyond_its_claim_leaves_live_mail_its_share(opened):
    box = add(opened, "alice")
    live, old = (ClaimedMessage("t1", box, "a", "", "alice@corp.example", lane, None) for lane in ("live", "backfill"))
    limit = opened._options.quota.mailbox_minute
    Quota(opened.database).debit(box, int(0.8 * limit) - 80, dt.datetime.now(dt.UTC))
    assert [opened.pay_for(one, 4) for one in (old, old, live)] == [True, False, True]


def test_a_shorter_time_between_polls_counts_at_once(opened):
    """`--poll_minutes=1440` until now, and 15 from now on."""
    at = dt.datetime.now(dt.UTC)
    polled = {"history_id": 7, "last_poll_at": at - dt.timedelta(hours=4)}
    often, seldom = (add(opened, name, state="live") for name in ("alice", "bob"))
    for box, ahead in ((seldom, dt.timedelta(hours=20)), (often, dt.timedelta(minutes=14))):
        Mailboxes(opened.database, now).set_state(box, "live", next_poll_at=at + ahead, **polled)
    register, minute = opened.register, dt.timedelta(minutes=1)
    assert {due.mailbox_id for due in register.due(at + 16 * minute)} == {often, seldom}
    boxes = Mailboxes(opened.database, now)
    assert boxes.get(often).next_poll_at == at + 14 * minute
    moments = {next_poll(seldom, when, 15 * minute) for when in (at, dt.datetime.now(dt.UTC))}
    assert boxes.get(seldom).next_poll_at in moments  # its own, so that not all are polled at once


def test_an_audit_that_did_not_come_to_its_end_is_soon_gone_on_with(opened):
    class Unfinished:
        def run(self, mailbox, repair):
            return MailboxAudit(mailbox, NOW, 7, (), (), ("a",), 0, repaired=repair, unchecked=3)

    opened.audit = Unfinished()
    name, now = f"audit:{add(opened, 'alice')}", dt.datetime.now(dt.UTC)
    opened.database.transaction(lambda c: c.execute(sa.insert(schema.chore).values(name=name, turn_at=now)))
    assert not opened.chores.do(name)
    with opened.database.reading() as connection:
        assert connection.scalar(sa.select(schema.chore.c.turn_at)) - now < PUT_OFF + dt.timedelta(minutes=1)


def test_only_users_consents_need_an_oauth_client(opened):
    consent(opened, add(opened, "alice"), "delegated")
    assert not opened.lacks_client()
    box = add(opened, "bob")
    consent(opened, box, "oauth")
    assert opened.lacks_client()
    named = OpenEdges(JobOptions(database=opened._options.database, oauth_client="env:CLIENT"))
    assert not named.lacks_client()
    named.close()
    Mailboxes(opened.database, now).turn_off(box, "bob")
    assert not opened.lacks_client()


def test_a_relinking_keeps_its_turn_page_by_page(opened, store):
    store(opened.database, range(600))
    opened.database.transaction(lambda c: c.execute(sa.update(schema.team).values(crm_version=1)))
    put_off = []

    def before(unused_connection, unused_cursor, statement, *unused):
        if statement.startswith("UPDATE chore"):
            put_off.append(statement)

    sa.event.listen(opened.database.engine, "before_cursor_execute", before)
    assert opened.chores.due(dt.datetime.now(dt.UTC)) == ["relink:t1"]
    assert opened.chores.do("relink:t1")
    assert len(put_off) == 3  # taken, and held after each of two pages
