"""Fuzz targets: each takes bytes, raises nothing but what it may, and asserts that what comes out can be stored."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

from hypothesis import strategies as st

from dealmail.transforms.addresses import parse_addresses
from dealmail.transforms.charsets import clean_text, decode_text
from dealmail.transforms.errors import MalformedMessageError
from dealmail.transforms.headers import decode_value, normalize_message_id, read_references, read_subject
from dealmail.transforms.html_text import html_to_text
from dealmail.transforms.mail_dates import parse_date
from dealmail.transforms.normalize_messages import normalize
from dealmail.transforms.plain_text import read_text
from dealmail.transforms.quotes import find_spans
from dealmail.transforms.records import ClaimedMessage, FetchedMessage, RecordCoder

CLAIM = ClaimedMessage("t", "m0", "g0", "lease", "me@own.example")


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
    """Gmail's JSON as it stands, and the same bytes as the body of a well-formed answer."""
    encoded = base64.urlsafe_b64encode(data).decode()
    for kind in ("text/plain; format=flowed", "text/html"):
        root = {
            "mimeType": kind.partition(";")[0],
            "headers": [{"name": "Content-Type", "value": kind}],
            "body": {"data": encoded},
        }
        storable(read_text(json.dumps({"payload": root}).encode()).text)
    try:
        message = normalize(FetchedMessage(CLAIM, data))
        storable(message.subject)
        RecordCoder().encode(message)
        storable(read_text(data).text)
    except MalformedMessageError:
        pass


TARGETS: dict[str, Callable[[bytes], None]] = {
    "addresses": addresses,
    "headers": headers,
    "html": html,
    "charsets": charsets,
    "gmail": gmail,
}

_HTML = st.lists(
    st.one_of(
        st.sampled_from(("<p>", "</p>", "<b id=1>", "</b>", "<font size=2>", "<table><tr><td>", "</table>", "<ul><li>", "<blockquote type=cite>", "</blockquote>",
                         "<!--", "-->", "<script>", "<style>.a{display:none}", "</style>", '<p style="display:none">', '="', "'", ">", "<", "&#xfdd0;", "\xa0")),
        st.text(max_size=20),
    ),
    max_size=60,
)  # fmt: skip
_FIELD = st.text(alphabet='ab@.,;:<>()"\\[]= ?qQbB-_é\t\r\n', max_size=200)
_PART = st.recursive(
    st.fixed_dictionaries(
        {}, optional={"mimeType": st.sampled_from(("text/plain", "text/html", "multipart/mixed", "x", "message/rfc822", "text/calendar")), "filename": st.text(max_size=5),
                      "headers": st.lists(st.fixed_dictionaries({"name": st.sampled_from(("From", "To", "Subject", "Date", "Content-Type", "Bcc")), "value": _FIELD}), max_size=5),
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
    "gmail": st.one_of(
        st.binary(max_size=200),
        st.tuples(_PART, st.integers(-(2**62), 2**62)).map(lambda both: json.dumps({"internalDate": str(both[1]), "payload": both[0]}).encode()),
    ),
}  # fmt: skip
