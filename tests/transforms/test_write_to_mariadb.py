"""WriteToMariaDb: batches by shard, whole mails before their copies, and each outcome settled once a run."""

import dataclasses
import datetime as dt

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st

from dealmail.transforms.records import (
    ChangedEngagements,
    ClaimedMessage,
    CustomerMail,
    Decision,
    MailText,
    Participant,
    Record,
    SeenCopy,
)  # fmt: skip
from dealmail.transforms.write_to_mariadb import TRANSACTION_BYTES, WriteToMariaDb, settling_order, shard_key


def claim(gmail_id, mailbox="m1", team="t"):
    return ClaimedMessage(team, mailbox, gmail_id, "lease", "alice@corp.example")


def mail(engagement, gmail_id="g", mailbox="m1"):
    return CustomerMail(
        claim(gmail_id, mailbox), engagement, "id@x.example", dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "inbound",
        Participant("bob@acme.example"), (), (), "subject", MailText("text"), (), "customer", "1", "digest", "rank",
    )  # fmt: skip


def seen(engagement, gmail_id="g2", mailbox="m2"):
    return SeenCopy(claim(gmail_id, mailbox), engagement, "digest", "r", "customer", "1")


class Recorder:
    """A Settlements that answers with what it was given, batch by batch."""

    def settle(self, batch):
        ids = tuple(getattr(o, "engagement_id", o.claim.gmail_id) for o in batch)
        return [ChangedEngagements(batch[0].claim.team_id, ids)]


def test_a_batch_puts_whole_mails_before_their_copies():
    assert settling_order([seen("e1"), mail("e1")]) == [mail("e1"), seen("e1")]


def test_outcomes_are_settled_in_one_batch_a_shard():
    outcomes = [seen("e1"), mail("e1"), Decision(claim("g9"), "dropped", "crm.no_match"), mail("e2", "g3")]
    with TestPipeline(runner="FnApiRunner") as pipeline:
        changed = pipeline | beam.Create(outcomes).with_output_types(Record) | WriteToMariaDb(Recorder)
        assert_that(
            changed | beam.Map(lambda c: (c.team_id, sorted(c.engagement_ids))),
            equal_to([("t", ["e1", "e1", "e2", "g9"])]),
        )


def test_batches_are_bounded_by_count():
    outcomes = [mail(f"e{i}", f"g{i}") for i in range(7)]
    with TestPipeline(runner="FnApiRunner") as pipeline:
        changed = pipeline | beam.Create(outcomes).with_output_types(Record) | WriteToMariaDb(Recorder, batch_size=3)
        assert_that(changed | beam.Map(lambda c: len(c.engagement_ids)), equal_to([3, 3, 1]))


def test_batches_are_bounded_by_bytes():
    long = MailText("x" * (TRANSACTION_BYTES // 3))
    outcomes = [dataclasses.replace(mail(f"e{i}", f"g{i}"), body=long) for i in range(5)] + [seen("e1")]
    with TestPipeline(runner="FnApiRunner") as pipeline:
        changed = pipeline | beam.Create(outcomes).with_output_types(Record) | WriteToMariaDb(Recorder)
        assert_that(changed | beam.Map(lambda c: c.engagement_ids[-1]), equal_to(["e1", "e3", "e1"]))


@given(st.text(), st.integers(1, 64))
def test_copies_of_one_mail_share_a_shard_whatever_their_mailbox(engagement, shards):
    assert shard_key(mail(engagement), shards) == shard_key(seen(engagement), shards)


def test_a_batch_of_nothing_is_refused_when_built():
    with pytest.raises(ValueError, match="batch_size 0"):
        WriteToMariaDb(Recorder, batch_size=0)
