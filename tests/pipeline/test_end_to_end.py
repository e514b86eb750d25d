"""The whole job on the sample world: every decision as expected, everything adds up, nothing twice, feed it twice."""

import collections

import pytest
import sqlalchemy as sa

from dealmail.io import schema
from dealmail.io.mailboxes import mailbox_id

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_service_ends_well_when_asked(sample_run):
    assert sample_run.exit_code == 0


def test_every_message_gets_the_decision_that_stands_beside_it(sample_run):
    found = sample_run.rig.decisions()
    wrong = {}
    for key, message in sample_run.world.final().items():
        got = found.get(sample_run.ledger_key(message.mailbox, key), (None, None))
        if got != (message.expected_outcome, message.expected_rule):
            wrong[key] = (got, (message.expected_outcome, message.expected_rule))
    assert wrong == {}


def test_each_customer_mail_is_one_engagement_with_all_its_mailboxes(sample_run):
    world, rows = sample_run.world, sample_run.rig.rows()
    holders = collections.defaultdict(set)
    for mailbox, gmail_id, _team, engagement, _digest in rows["engagement_copy"]:
        holders[engagement].add((mailbox, gmail_id))
    shared = {sample_run.ledger_key(m.mailbox, key): m.shared_key for key, m in world.final().items()}
    found = {}
    for copies in holders.values():
        (key,) = {shared[copy] for copy in copies}  # copies of two mails on one engagement would be two keys
        assert key not in found, "one mail became two engagements"
        found[key] = frozenset(mailbox for mailbox, _ in copies)
    expected = {key: frozenset(mailbox_id(world.team_id, m) for m in on) for key, on in world.engagements().items()}
    assert found == expected
    assert len(rows["engagement"]) == len(expected) == len(rows["index"])


def test_the_books_balance_in_every_mailbox(sample_run):
    """Messages in Gmail that qualify for a look = decisions; the outcomes add up; nothing is pending or twice."""
    world = sample_run.world
    by_mailbox = collections.defaultdict(collections.Counter)
    for mailbox, _, _, state, outcome, *_ in sample_run.rig.rows()["message"]:
        assert state == "decided"
        by_mailbox[mailbox][outcome] += 1
    for address in world.mailboxes:
        looked_at = {
            key
            for key, message in world.final().items()
            if message.mailbox == address and message.expected_outcome is not None
        }
        counts = by_mailbox[mailbox_id(world.team_id, address)]
        assert sum(counts[o] for o in ("imported", "dropped", "gone", "parked")) == counts.total()
        assert counts["imported"] + counts["dropped"] == len(looked_at)
        assert counts["parked"] == 0


def test_a_push_told_of_each_mail_that_arrived(sample_run):
    row, world = schema.mailbox.c, sample_run.world
    with sample_run.rig.database.reading() as connection:
        told = set(connection.scalars(sa.select(row.id).where(row.last_push_at.is_not(None))))
    assert told >= {
        mailbox_id(world.team_id, arrival.mailbox) for arrival in world.arrivals if arrival.expected_outcome
    }


def test_a_second_run_changes_no_row(sample_run):
    before = sample_run.rig.rows()
    sample_run.rig.feed_again()
    assert sample_run.rig.rows() == before
