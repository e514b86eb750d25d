"""Chores in the whole job: what the ledger has lost is found by an audit whose turn has come, from cron as from the service."""

import datetime as dt

import pytest
import sqlalchemy as sa
from job_rig import FAST, JobRig, utc_now

from dealmail.io import schema
from dealmail.io.mailboxes import Mailboxes
from dealmail.io.quota import kept_limits
from dealmail.sandbox.process import SandboxProcess

CRM = """kind,id,name,address,domain,account_id
own_domain,,,,corp.example
account,a1,Acme,,acme.example
"""
ALICE = "alice@corp.example"


@pytest.fixture
def rig(tmp_path):
    with SandboxProcess() as sandbox:
        sandbox.client.add_mailbox(ALICE)
        date = utc_now().strftime("%a, %d %b %Y %H:%M:%S +0000")
        for number in range(3):
            head = f"From: pat@acme.example\r\nTo: {ALICE}\r\nSubject: Offer {number}\r\nDate: {date}\r\nMessage-ID: <{number}@acme.example>"
            sandbox.client.deliver(ALICE, f"{head}\r\n\r\nHello Alice, here it is.\r\n".encode())
        made = JobRig(tmp_path, sandbox)
        made.opt_in("t1", [CRM], [ALICE])
        made.once(*FAST)
        yield made
        made.close()


def test_an_audit_whose_turn_has_come_brings_back_what_the_ledger_lost_and_has_its_next_turn(rig):
    before = rig.decisions()
    assert len(before) == 3
    rig.lose_a_decision()
    rig.once(*FAST)
    assert len(rig.decisions()) == 2, "its turn had not come"
    rig.let_turns_come()
    rig.once(*FAST)
    assert rig.decisions() == before
    turns = sa.select(schema.chore.c.turn_at).where(schema.chore.c.name.startswith("audit:"))
    with rig.database.reading() as connection:
        (turn,) = connection.scalars(turns)
    assert dt.timedelta(0) < turn - utc_now() <= dt.timedelta(days=1)


def test_stored_mail_is_linked_anew_after_a_change_that_no_import_followed_up(rig):
    def change(connection):
        connection.execute(
            sa.insert(schema.contact).values(team_id="t1", id="c1", address="pat@acme.example", account_id="a1")
        )
        connection.execute(sa.update(schema.team).values(crm_version=schema.team.c.crm_version + 1))

    rig.database.transaction(change)
    rig.once(*FAST)
    link = schema.engagement_link.c
    with rig.database.reading() as connection:
        assert list(connection.scalars(sa.select(link.target_id).where(link.kind == "contact"))) == ["c1"] * 3


def test_an_off_that_was_cut_off_is_finished_at_google(rig):
    boxes = Mailboxes(rig.database, utc_now)
    (box,) = boxes.all("t1")
    boxes.turn_off(box.id, "alice")  # and here `dealmail import off` was killed
    rig.once(*FAST)
    assert boxes.consents(box.id)[-1].action == "import_off", "it may be on its way still"
    early = sa.update(schema.ended_credential).values(ended_at=utc_now() - dt.timedelta(minutes=2))
    rig.database.transaction(lambda connection: connection.execute(early))
    rig.once(*FAST, "--quota_stop=49")
    assert kept_limits(rig.database).stop == 49  # by which the console debits, too
    assert [(entry.action, entry.detail) for entry in boxes.consents(box.id)][-1] == ("revoked", "")
    with rig.database.reading() as connection:
        assert connection.execute(sa.select(schema.ended_credential)).all() == []
        assert connection.execute(sa.select(schema.chore).where(schema.chore.c.name.startswith("end:"))).all() == []
