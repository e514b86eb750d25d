"""DeduplicateByMessageId: the first copy whole, equal ones cheap, differing ones whole; and state that expires."""

import dataclasses
import datetime as dt

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.test_stream import TestStream
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import GlobalWindow, TimestampedValue

from dealmail.transforms.deduplicate_by_message_id import DeduplicateByMessageId, key_of
from dealmail.transforms.records import ClaimedMessage, CustomerMail, MailText, Participant, SeenCopy

MAIL = CustomerMail(
    claim=ClaimedMessage("t", "m1", "g1", "lease", "alice@corp.example"),
    engagement_id="e" * 32,
    message_id="1@acme.example",
    sent_at=dt.datetime(2001, 1, 1, tzinfo=dt.UTC),
    direction="inbound",
    sender=Participant("jane@acme.example"),
    to=(Participant("alice@corp.example"),),
    cc=(),
    subject="Pilot",
    body=MailText("Hi"),
    links=(),
    rule="customer",
    rules_version="1",
    content_digest="a" * 64,
    rank="10-a",
)


def copy(
    mailbox: str, *, digest: str = "a", team: str = "t", engagement: str = "e", rank: str = "10-a"
) -> CustomerMail:
    claim = dataclasses.replace(MAIL.claim, mailbox_id=mailbox, team_id=team)
    return dataclasses.replace(MAIL, claim=claim, content_digest=digest * 64, engagement_id=engagement * 32, rank=rank)


def shown(record):
    return type(record).__name__, record.claim.team_id, record.claim.mailbox_id, record.content_digest[0]


def check(mails, expected):
    with TestPipeline(runner="FnApiRunner") as pipeline:
        assert_that(pipeline | beam.Create(mails) | DeduplicateByMessageId() | beam.Map(shown), equal_to(expected))


def test_the_first_copy_passes_whole_and_equal_ones_as_seen():
    check(
        [copy("m1"), copy("m2"), copy("m3")],
        [("CustomerMail", "t", "m1", "a"), ("SeenCopy", "t", "m2", "a"), ("SeenCopy", "t", "m3", "a")],
    )


def test_case_76_a_differing_copy_passes_whole_and_its_equal_as_seen():
    mails = [copy("m1"), copy("m2", digest="b"), copy("m3", digest="b"), copy("m4")]
    kinds = ["CustomerMail", "CustomerMail", "SeenCopy", "SeenCopy"]
    check(
        mails,
        [(kind, "t", f"m{number}", digest) for number, (kind, digest) in enumerate(zip(kinds, "abba", strict=True), 1)],
    )


def test_an_equal_copy_of_better_rank_passes_whole_so_that_order_does_not_matter():
    mails = [copy("m1"), copy("m2", rank="00-a"), copy("m3"), copy("m4", rank="00-a")]
    kinds = ["CustomerMail", "CustomerMail", "SeenCopy", "SeenCopy"]
    check(mails, [(kind, "t", f"m{number}", "a") for number, kind in enumerate(kinds, 1)])


def test_case_75_teams_and_engagements_never_meet():
    check(
        [copy("m1"), copy("m2", team="t2"), copy("m3", engagement="f")],
        [("CustomerMail", "t", "m1", "a"), ("CustomerMail", "t2", "m2", "a"), ("CustomerMail", "t", "m3", "a")],
    )
    assert key_of(copy("m1")) == key_of(copy("m2"))
    assert key_of(copy("m1")) != key_of(copy("m1", team="t2"))


def test_a_seen_copy_has_no_body_and_keeps_the_claim():
    with TestPipeline(runner="FnApiRunner") as pipeline:
        out = (
            pipeline
            | beam.Create([copy("m1"), copy("m2")])
            | DeduplicateByMessageId()
            | beam.Filter(lambda one: isinstance(one, SeenCopy))
        )
        assert_that(out, equal_to([SeenCopy(copy("m2").claim, "e" * 32, "a" * 64, copy("m2").rank, "customer", "1")]))


def stream(events, transform, expected):
    options = PipelineOptions()
    options.view_as(StandardOptions).streaming = True
    with TestPipeline(runner="BundleBasedDirectRunner", options=options) as pipeline:
        windows = (
            pipeline
            | events
            | transform
            | beam.Map(lambda one, window=beam.DoFn.WindowParam: (type(window), *shown(one)))
        )
        assert_that(windows, equal_to([(GlobalWindow, *row) for row in expected]))


def at(second: int, mail: CustomerMail) -> TimestampedValue:
    return TimestampedValue(mail, second)


def test_copies_are_joined_by_arrival_within_a_window_and_the_state_expires_with_it():
    events = (
        TestStream()
        .advance_watermark_to(0)
        .add_elements([at(1, copy("m1"))])
        .add_elements([at(30, copy("m2"))])
        .advance_watermark_to(200)
        .add_elements([at(201, copy("m3")), at(202, copy("m4"))])
        .advance_watermark_to_infinity()
    )
    transform = DeduplicateByMessageId(dt.timedelta(seconds=60), dt.timedelta(0))
    stream(
        events,
        transform,
        [
            ("CustomerMail", "t", "m1", "a"),
            ("SeenCopy", "t", "m2", "a"),
            ("CustomerMail", "t", "m3", "a"),
            ("SeenCopy", "t", "m4", "a"),
        ],
    )


def test_an_element_that_comes_late_is_not_dropped():
    events = (
        TestStream()
        .advance_watermark_to(0)
        .add_elements([at(1, copy("m1"))])
        .advance_watermark_to(100)
        .add_elements([at(2, copy("m2"))])
        .advance_watermark_to_infinity()
    )
    transform = DeduplicateByMessageId(dt.timedelta(seconds=60), dt.timedelta(hours=1))
    stream(events, transform, [("CustomerMail", "t", "m1", "a"), ("SeenCopy", "t", "m2", "a")])


def test_a_mails_own_date_plays_no_part():
    old = dataclasses.replace(copy("m2"), sent_at=dt.datetime(1999, 1, 1, tzinfo=dt.UTC))
    events = (
        TestStream()
        .advance_watermark_to(1000)
        .add_elements([at(1001, copy("m1")), at(1002, old)])
        .advance_watermark_to_infinity()
    )
    stream(
        events,
        DeduplicateByMessageId(dt.timedelta(seconds=600)),
        [("CustomerMail", "t", "m1", "a"), ("SeenCopy", "t", "m2", "a")],
    )


@pytest.mark.parametrize(("window", "lateness"), [(0, 0), (-1, 0), (1, -1)])
def test_windows_that_cannot_be_are_refused(window, lateness):
    with pytest.raises(ValueError, match="longer than zero"):
        DeduplicateByMessageId(dt.timedelta(seconds=window), dt.timedelta(seconds=lateness))
