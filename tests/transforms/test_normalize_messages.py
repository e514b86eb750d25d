"""NormalizeMessages: the header section understood, the body sealed."""

from __future__ import annotations

import base64
import datetime as dt
import json

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st

from dealmail.sandbox import payload as gmail_form
from dealmail.transforms.errors import MalformedMessageError
from dealmail.transforms.gmail_payload import read_envelope
from dealmail.transforms.headers import decode_fields
from dealmail.transforms.normalize_messages import NormalizeMessages, normalize
from dealmail.transforms.plain_text import read_text
from dealmail.transforms.records import (
    ClaimedMessage,
    Failure,
    FetchedMessage,
    NormalizedMessage,
    Participant,
    RecordCoder,
)

CLAIM = ClaimedMessage("team", "m0000000000000000", "g1", "lease", "me@own.example")
DEFAULTS = (
    ("From", "Ann <ann@customer.example>"),
    ("To", "me@own.example"),
    ("Subject", "Hi"),
    ("Message-ID", "<1@customer.example>"),
)


def gmail(*headers: tuple[str, str], body: str = "Hello", **fields: object) -> bytes:
    data = base64.urlsafe_b64encode(body.encode("utf-8", "replace")).decode().rstrip("=")
    document = {
        "id": "g1", "labelIds": ["INBOX"], "internalDate": "1790000000000",
        "payload": {"mimeType": "text/plain", "headers": [{"name": n, "value": v} for n, v in headers or DEFAULTS], "body": {"data": data}},
    }  # fmt: skip
    return json.dumps({**document, **fields}).encode()


def read(*headers: tuple[str, str], **fields: object) -> NormalizedMessage:
    return normalize(FetchedMessage(CLAIM, gmail(*headers, **fields)))


def fields_of(message: NormalizedMessage) -> list[tuple[str, str]]:
    return decode_fields(read_envelope(message.payload).payload.headers or ())


def addresses(people: tuple[Participant, ...]) -> list[str]:
    return [one.address for one in people]


def test_the_header_section_is_understood_and_the_body_passed_on():
    message = read()
    assert message.sender == Participant("ann@customer.example", "Ann")
    assert addresses(message.to) == ["me@own.example"]
    assert (message.subject, message.message_id, message.labels) == ("Hi", "1@customer.example", ("INBOX",))
    assert message.internal_date == message.sent_at == dt.datetime.fromtimestamp(1_790_000_000, dt.UTC)
    assert json.loads(message.payload)["id"] == "g1"
    assert RecordCoder().decode(RecordCoder().encode(message)) == message


def test_case_41_of_several_authors_the_one_that_sender_names_is_the_sender_and_none_is_lost():
    message = read(("From", "a@x.example, b@y.example"), ("Sender", "b@y.example"), ("To", "me@own.example"))
    assert message.sender is not None
    assert message.sender.address == "b@y.example"
    assert "a@x.example" in addresses(message.participants)


def test_case_41_an_empty_from_is_no_sender():
    assert read(("From", "<>"), ("To", "me@own.example")).sender is None
    assert read(("From", ""), ("To", "me@own.example")).sender is None
    assert read(("To", "me@own.example")).sender is None


def test_case_41_a_second_from_field_is_not_believed():
    message = read(("From", "real@x.example"), ("From", "boss@acme.example"))
    assert addresses(message.participants) == ["real@x.example"]


def test_case_43_undisclosed_recipients_are_nobody():
    assert read(("From", "a@x.example"), ("To", "undisclosed-recipients:;")).to == ()


def test_case_44_repeated_to_and_cc_fields_are_one():
    message = read(("To", "a@x.example"), ("Cc", "c@x.example"), ("To", "b@x.example"), ("cc", "d@x.example"))
    assert addresses(message.to) == ["a@x.example", "b@x.example"]
    assert addresses(message.cc) == ["c@x.example", "d@x.example"]


def test_case_45_a_header_beyond_64_kb_is_bounded_not_fatal():
    message = read(
        ("To", ", ".join(f"p{n}@x.example" for n in range(6_000))), ("X-Long", "x" * 300_000), ("From", "a@x.example")
    )
    assert len(message.to) == 2_000
    assert max(len(value) for _, value in fields_of(message)) <= 262_144


def test_case_51_reply_to_and_sender_are_looked_at_for_blocking_only():
    message = read(
        ("From", "a@x.example"), ("Reply-To", "r@y.example"), ("Sender", "s@z.example"), ("To", "me@own.example")
    )
    assert addresses(message.also_from) == ["r@y.example", "s@z.example"]
    assert addresses(message.participants) == ["a@x.example", "me@own.example"]


def test_case_52_delivered_to_is_no_participant():
    message = read(
        ("From", "a@x.example"), ("Delivered-To", "alias@own.example"), ("X-Original-To", "group@own.example")
    )
    assert addresses(message.participants) == ["a@x.example"]


@pytest.mark.parametrize("name", ["Bcc", "BCC", "bcc ", "Resent-Bcc"])
def test_case_54_bcc_never_leaves_the_parser(name):
    message = read(("From", "a@x.example"), (name, "Secret <secret@z.example>"), ("To", "b@x.example"))
    assert "secret@z.example" not in repr((fields_of(message), message.participants, message.also_from))


def test_case_53_a_mail_received_by_bcc_names_the_others_only():
    message = read(("From", "a@x.example"), ("To", "b@y.example"))
    assert addresses(message.participants) == ["a@x.example", "b@y.example"]


GROUP = (
    ("X-Google-Group-Id", "1234"),
    ("List-ID", "<support.own.example>"),
    ("Mailing-list", "list support@own.example; contact x"),
)
ORIGINALS = [
    (("X-Original-From", "Jane Roe <jane@customer.example>"),),
    (("X-Original-Sender", "jane@customer.example"),),
    (("Reply-To", "Jane Roe <jane@customer.example>"),),
]


@pytest.mark.parametrize("original", ORIGINALS)
@pytest.mark.parametrize("group", [GROUP, GROUP[:2], GROUP[::2]])
def test_case_70_the_author_behind_a_google_group_is_found_beside_the_groups_address(original, group):
    message = read(
        ("From", "\"'Jane Roe' via Support\" <support@own.example>"), ("To", "support@own.example"), *group, *original
    )
    assert message.sender == Participant("support@own.example", "'Jane Roe' via Support")
    assert message.behind == Participant("jane@customer.example", "Jane Roe")


@pytest.mark.parametrize("original", ORIGINALS)
@pytest.mark.parametrize("group", [(), GROUP, GROUP[:1], GROUP[1:]])
def test_case_70_nobody_is_behind_an_address_that_is_not_the_groups(original, group):
    message = read(("From", "'Jane Roe' via Sales <x@evil.example>"), *group, *original)
    assert message.sender is not None
    assert (message.sender.address, message.behind) == ("x@evil.example", None)


def test_case_70_a_group_that_did_not_rewrite_leaves_the_author():
    message = read(("From", "Jane <jane@customer.example>"), ("X-Original-Sender", "other@x.example"), *GROUP)
    assert (message.sender, message.behind) == (Participant("jane@customer.example", "Jane"), None)


def test_case_68_header_names_of_any_case_and_googles_made_up_ids():
    assert read(("MESSAGE-Id", " <a@x.example>")).message_id == "a@x.example"
    assert read(("Message-ID", "<1.SMTPIN_ADDED_MISSING@mx.google.com>")).message_id == ""
    assert (
        read(("Message-ID", "<1@mx.google.com>"), ("X-Google-Original-Message-ID", "<o@x.example>")).message_id
        == "o@x.example"
    )
    assert read(("From", "a@x.example")).message_id == ""


def test_references_hold_in_reply_to_as_well():
    assert set(read(("References", "<a@x> <b@x>"), ("In-Reply-To", "<c@x>")).references) == {"a@x", "b@x", "c@x"}


def test_case_82_lone_surrogates_and_nul_in_headers_are_made_storable():
    message = read(("From", "a\ud800 <a@x.example>"), ("Subject", "x\0\ud800y"), ("X-\ud800", "\ud800\0"))
    assert message.subject == "x\ufffdy"
    RecordCoder().encode(message)


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b"null", b"{}", b'{"payload":{}}', b'{"internalDate":"x","payload":{}}', b'{"internalDate":"1","payload":null}',
     b'{"internalDate":"999999999999999999","payload":{}}', b'{"internalDate":"1","payload":{"headers":7}}', b"\xff\xfe", b"[" * 100_000,
     b'{"internalDate":"1","payload":{"headers":[{"name":7,"value":[]}]}}'],
)  # fmt: skip
def test_what_is_no_gmail_message_is_malformed_and_says_nothing_of_its_content(payload):
    with pytest.raises(MalformedMessageError) as caught:
        normalize(FetchedMessage(CLAIM, payload))
    assert caught.value.__cause__ is None


def test_case_85_parts_nested_beyond_the_decoder_are_malformed_not_fatal():
    deep = b'{"internalDate":"1","payload":{"headers":[],"parts":[' + b'{"parts":[' * 50_000 + b"]}" * 50_000 + b"]}}"
    with pytest.raises(MalformedMessageError):
        normalize(FetchedMessage(CLAIM, deep))


def test_the_step_gives_messages_and_failures_apart():
    good, bad = FetchedMessage(CLAIM, gmail()), FetchedMessage(CLAIM, b"{")
    with TestPipeline() as pipeline:
        out = pipeline | beam.Create([good, bad]) | NormalizeMessages()
        assert_that(out.messages | beam.Map(lambda message: message.subject), equal_to(["Hi"]), label="messages")
        assert_that(out.failures, equal_to([Failure(CLAIM, "normalize", "MalformedMessageError")]), label="failures")
    assert out.messages.element_type is NormalizedMessage
    assert out.failures.element_type is Failure


NAMES = st.sampled_from(("From", "To", "Cc", "Bcc", "Reply-To", "Sender", "Subject", "Date", "Message-ID", "References", "List-ID",
                         "X-Google-Group-Id", "X-Original-From", "Received", "Content-Type"))  # fmt: skip
VALUES = st.one_of(st.text(max_size=80), st.text(alphabet='ab@.,;:<>()"\\[]= ?qQ-_é\0\ud800', max_size=60))


@given(st.lists(st.tuples(st.one_of(NAMES, st.text(max_size=10)), VALUES), max_size=12), st.integers(-(2**63), 2**63))
@settings(max_examples=300, deadline=None)
def test_any_header_section_normalizes_or_is_malformed(headers, internal):
    try:
        message = read(*headers, internalDate=str(internal))
    except MalformedMessageError:
        return
    encoded = RecordCoder().encode(message)
    assert RecordCoder().decode(encoded) == message
    shown = "".join(
        (
            message.subject,
            message.message_id,
            *message.references,
            *(one.address + one.name for one in message.participants),
        )
    )
    shown.encode("utf-8")
    assert "\0" not in shown


TORTURE = (
    "cpython-test-email",
    "enmime",
    "imap_tools",
    "k9",
    "mikel-mail",
    "mime-tools",
    "mime4j",
    "mimekit",
    "parsedmarc",
    "django-helpdesk",
    "sisimai",
)


@pytest.mark.corpus
@pytest.mark.parametrize("folder", TORTURE)
def test_the_torture_sets_are_all_read(corpora, folder):
    root = corpora / folder
    paths = sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size < 2_000_000)
    assert paths, f"there is no mail in {folder}, so nothing was read"
    for path in paths:
        tree = gmail_form.resource(gmail_form.parse(path.read_bytes()), lambda part_id: part_id, 1 << 30)
        document = json.dumps({"id": "1", "internalDate": "1790000000000", "payload": tree}).encode()
        message = normalize(FetchedMessage(CLAIM, document))
        RecordCoder().encode(message)
        read_text(document).text.encode("utf-8")
