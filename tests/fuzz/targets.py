"""Fuzz targets: each takes bytes, raises nothing but what it may, and asserts that what comes out can be stored."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable

from hypothesis import strategies as st

from dealmail.transforms import automated
from dealmail.transforms.addresses import parse_addresses
from dealmail.transforms.automated_evidence import Evidence
from dealmail.transforms.charsets import clean_text, decode_text
from dealmail.transforms.errors import MalformedMessageError
from dealmail.transforms.headers import decode_value, normalize_message_id, read_references, read_subject
from dealmail.transforms.html_text import html_to_text
from dealmail.transforms.mail_dates import parse_date
from dealmail.transforms.normalize_messages import normalize
from dealmail.transforms.plain_text import read_text
from dealmail.transforms.quotes import find_spans
from dealmail.transforms.records import ClaimedMessage, FetchedMessage, RecordCoder
from dealmail.transforms.settings import TeamSettings

CLAIM = ClaimedMessage("t", "m0", "g0", "lease", "me@own.example")
RULES = automated.rule_sets()[automated.newest()]


def storable(text: str) -> None:
    text.encode("utf-8")
    assert "\0" not in text


def addresses(data: bytes) -> None:
    for one in parse_addresses(data.decode("utf-8", "replace")):
        storable(one.address + one.name)


def headers(data: bytes) -> None:
    value = data.decode("utf-8", "replace")
    for text in (read_subject(value)[0], decode_value(value), normalize_message_id(value), *read_references([value])):
        storable(text)
    parse_date(value)


def html(data: bytes) -> None:
    text, _ = html_to_text(data.decode("utf-8", "replace"))
    whole, spans = find_spans(text)
    storable(whole)
    assert all(0 <= span.start < span.end <= len(whole) for span in spans)


def charsets(data: bytes) -> None:
    label, _, raw = data.partition(b"\0")
    storable(clean_text(decode_text(raw, label.decode("latin-1"))[0]))


def gmail(data: bytes) -> None:
    """Gmail's JSON as it stands."""
    with contextlib.suppress(MalformedMessageError):
        decide(data)


BODIES = (
    b"text/plain",
    b"text/plain; format=flowed; delsp=yes",
    b"text/html",
    b"text/html; charset=utf-16",
    b"multipart/alternative",
    b"message/rfc822",
)


def body(data: bytes) -> None:
    """A well-formed answer with these bytes for its body; the first of them says of what kind it is."""
    kind = BODIES[data[0] % len(BODIES) if data else 0].decode()
    encoded = base64.urlsafe_b64encode(data[1:]).decode()
    fields = [("Content-Type", kind), ("From", "Info <info@acme.example>"), ("Subject", data[:200].decode("latin-1"))]
    root = {
        "mimeType": kind.partition(";")[0],
        "headers": [{"name": name, "value": value} for name, value in fields],
        "body": {"data": encoded},
    }
    decide(json.dumps({"internalDate": "1", "payload": root}).encode())


def decide(payload: bytes) -> None:
    """What the job does with one answer of Gmail, up to the rules."""
    message = normalize(FetchedMessage(CLAIM, payload))
    storable(message.subject)
    RecordCoder().encode(message)
    body = read_text(payload)
    storable(body.text)
    automated.judge(RULES, Evidence.of(message, body), TeamSettings())


TARGETS: dict[str, Callable[[bytes], None]] = {
    "addresses": addresses,
    "headers": headers,
    "html": html,
    "charsets": charsets,
    "gmail": gmail,
    "body": body,
}

SEEDS: dict[str, tuple[bytes, ...]] = {
    "addresses": (b'"Quint, Zoe" <zoe@acme.example>, team: a@b.example, c@d.example;', "=?utf-8?q?A=2C?= <jörg@bücher.example>".encode()),
    "headers": (b"=?utf-8?B?SGVsbG8=?= =?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", b"<a@b.example> <c@d.example>", b"Thu, 5 Mar 2026 10:00:00 +0100 (CET)"),
    "html": (
        b'<html><style>.a{display:none}</style><p class=a>x</p><table><tr><td>1<td>2</table><ul><li><a href="http://a.example">b</a></ul><img src=x></html>',
        b"<div>On Monday Zoe wrote:<blockquote type=cite>old</blockquote></div>-- <br>Zoe",
    ),
    "charsets": (b"iso-2022-jp\0\x1b$B$3$s\x1b(B", b"utf-7\0+AGE-", b"gb18030\0\xc4\xe3", b"utf-16\0\xff\xfea\0", b"utf-8\0\xef\xbb\xbfa"),
    "gmail": (
        b'{"id":"g","internalDate":"1","labelIds":["INBOX"],"payload":{"mimeType":"multipart/mixed","headers":[{"name":"From","value":"A <a@b.example>"}],"parts":['
        b'{"mimeType":"text/plain","body":{"data":"SGVsbG8"}},{"mimeType":"text/calendar","headers":[{"name":"Content-Type","value":"text/calendar; method=REQUEST"}]}]}}',
    ),
    "body": (
        b"\0This message was created automatically by mail delivery software.\nFinal-Recipient: rfc822; a@b.example\n> old\n-- \nA",
        b"\x02<p>Dear customer, <a href='https://acme.example/click?id=0123456789ab'>click here</a> to unsubscribe</p><blockquote>On Monday Zoe wrote</blockquote>",
    ),
}  # fmt: skip
"""Where the coverage-guided fuzzer begins."""

_HTML = st.lists(
    st.one_of(
        st.sampled_from(("<p>", "</p>", "<b id=1>", "</b>", "<font size=2>", "<table><tr><td>", "</table>", "<ul><li>", "<blockquote type=cite>", "</blockquote>",
                         "<!--", "-->", "<script>", "<style>.a{display:none}", "</style>", '<p style="display:none">', '="', "'", ">", "<", "&#xfdd0;", "\xa0")),
        st.text(max_size=20),
    ),
    max_size=60,
)  # fmt: skip
_LINES = st.lists(
    st.one_of(
        st.sampled_from(("On Mon, Zoe <z@a.example> wrote:", "> old", "-- ", "From: a@b.example", "Sent: Monday", "-----Original Message-----", "unsubscribe", "* item",
                         "550 5.1.1 user unknown", "http://a.example/click/0123456789", "Le 5 mars 2026, Zoe a écrit :", "Dear customer,", "I am out of the office")),
        st.text(alphabet="ab >-*_:.@<\t\u00e9\u200b", max_size=40),
    ),
    max_size=12,
)  # fmt: skip
_FIELD = st.text(alphabet='ab@.,;:<>()"\\[]= ?qQbB-_é\t\r\n', max_size=200)
_PART = st.recursive(
    st.fixed_dictionaries(
        {}, optional={"mimeType": st.sampled_from(("text/plain", "text/html", "multipart/mixed", "x", "message/rfc822", "text/calendar")), "filename": st.text(max_size=5),
                      "headers": st.lists(st.fixed_dictionaries({"name": st.sampled_from(("From", "To", "Subject", "Date", "Content-Type", "Bcc", "List-Id", "X-Google-Group-Id", "X-Original-From", "Received")), "value": _FIELD}), max_size=5),
                      "body": st.fixed_dictionaries({}, optional={"data": st.text(alphabet="SGVsbG8-_=", max_size=20), "size": st.integers(0, 9)})},
    ),
    lambda inner: st.fixed_dictionaries({"mimeType": st.sampled_from(("multipart/mixed", "multipart/alternative", "multipart/related")), "parts": st.lists(inner, max_size=4)}),
    max_leaves=8,
)  # fmt: skip
INPUTS: dict[str, st.SearchStrategy[bytes]] = {
    "addresses": st.one_of(st.binary(max_size=300), st.tuples(_FIELD, st.integers(1, 3_000)).map(lambda both: (both[0][:20] * both[1] + both[0]).encode())),
    "headers": st.one_of(st.binary(max_size=300), _FIELD.map(str.encode), st.tuples(_FIELD, st.integers(1, 3_000)).map(lambda both: (both[0][:20] * both[1]).encode())),
    "html": st.one_of(
        st.binary(max_size=300), _HTML.map(lambda bits: "".join(bits).encode("utf-8", "replace")),
        st.tuples(_HTML, st.integers(1, 2_000)).map(lambda both: ("".join(both[0][:6]) * both[1] + "".join(both[0])).encode("utf-8", "replace")),
    ),
    "charsets": st.tuples(st.sampled_from((b"utf-8", b"iso-2022-jp", b"utf-7", b"utf-16", b"hz", b"gb2312", b"x", b"cp500")), st.binary(max_size=300)).map(b"\0".join),
    "body": st.tuples(
        st.integers(0, 5), st.one_of(st.binary(max_size=200), st.tuples(_LINES, st.integers(1, 5_000)).map(lambda both: "\n".join(both[0]).encode() * both[1])),
    ).map(lambda both: bytes([both[0]]) + both[1][:1_500_000]),
    "gmail": st.one_of(
        st.binary(max_size=200),
        st.tuples(_PART, st.integers(-(2**62), 2**62)).map(lambda both: json.dumps({"internalDate": str(both[1]), "payload": both[0]}).encode()),
    ),
}  # fmt: skip
