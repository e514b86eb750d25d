"""NormalizeMessages: Gmail's answers in, header sections understood out; the bodies stay sealed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from .addresses import MAX_FIELD, parse_addresses
from .charsets import clean_text
from .errors import MalformedMessageError
from .gmail_payload import Header, read_envelope
from .headers import BLIND, MAX_FIELDS, MAX_VALUE, choose_message_id, decode_value, read_references, read_subject
from .mail_dates import internal_time, sent_time
from .records import Failure, FetchedMessage, NormalizedMessage, Participant

PHASE: Final = "normalize"
FAILURES: Final = "failures"
_ADDRESS_FIELDS: Final = frozenset({"from", "to", "cc", "reply-to", "sender", "x-original-from", "x-original-sender"})
_GROUP_MARKS: Final = frozenset({"x-google-group-id", "mailing-list", "list-id", "list-post"})
_UNDERSTOOD: Final = (
    _ADDRESS_FIELDS | _GROUP_MARKS | BLIND
    | {"message-id", "x-google-original-message-id", "references", "in-reply-to", "date", "received", "subject"}
)  # fmt: skip


def normalize(fetched: FetchedMessage) -> NormalizedMessage:
    """The header section of `fetched` understood; its body is passed on unread.

    Several authors in From (RFC 5322 section 3.6.2): the one that Sender names, else the first, is the sender; the others are
    listed first in Cc, for they took part. Repeated To and Cc fields count as one.

    Raises:
        MalformedMessageError: the payload is not a Gmail message in format full.
    """
    envelope = read_envelope(fetched.payload)
    try:
        internal = internal_time(envelope.internal_date)
    except OverflowError:
        raise MalformedMessageError("internalDate is outside the years 1 to 9998") from None
    headers, fields = _read_fields(envelope.payload.headers or ())
    authors = _addresses(fields, "from")
    reply_to, sender_field = _addresses(fields, "reply-to"), _addresses(fields, "sender")
    if len(authors) > 1:
        named = {one.address for one in sender_field}
        authors = tuple(sorted(authors, key=lambda one: one.address not in named))
    sender = authors[0] if authors else None
    if sender is not None and not _GROUP_MARKS.isdisjoint(fields):
        sender = _behind_group(sender, fields, reply_to)
    cc = _addresses(fields, "cc")
    references = [*fields.get("references", ()), *fields.get("in-reply-to", ())]
    return NormalizedMessage(
        claim=fetched.claim,
        labels=tuple(envelope.label_ids or ()),
        message_id=choose_message_id(_first(fields, "message-id"), _first(fields, "x-google-original-message-id")),
        references=read_references(references) if references else (),
        sent_at=sent_time(_first(fields, "date"), internal, fields.get("received", ())),
        internal_date=internal,
        sender=sender,
        to=_addresses(fields, "to"),
        cc=(*authors[1:], *cc) if len(authors) > 1 else cc,
        also_from=tuple({one.address: one for one in (*reply_to, *sender_field)}.values()),
        subject=read_subject(_first(fields, "subject"))[0],
        headers=headers,
        payload=fetched.payload,
    )


def _first(fields: dict[str, list[str]], name: str) -> str:
    """The first field of that name, or "": a second From or Subject is somebody's forgery."""
    values = fields.get(name)
    return values[0] if values else ""


@lru_cache(maxsize=4_096)
def _field_name(name: str) -> str:
    """A field's name for comparing: lower case, no white space, nothing that a store chokes on."""
    return "".join(clean_text(name[:256]).lower().split())


def _read_fields(raw: Sequence[Header]) -> tuple[tuple[tuple[str, str], ...], dict[str, list[str]]]:
    """All fields but the blind ones as text, and apart those that are understood here.

    Address fields are apart as they came, for encoded words are decoded after splitting.
    """
    headers: list[tuple[str, str]] = []
    fields: dict[str, list[str]] = {}
    for field in raw if len(raw) <= MAX_FIELDS else raw[:MAX_FIELDS]:
        name, value = _field_name(field.name), field.value or ""
        clean = value if value.isprintable() and "=?" not in value and len(value) <= MAX_VALUE else decode_value(value)
        if name in _UNDERSTOOD:
            if name in BLIND:
                continue
            fields.setdefault(name, []).append(value if name in _ADDRESS_FIELDS else clean)
        headers.append((name, clean))
    return tuple(headers), fields


def _addresses(fields: dict[str, list[str]], name: str) -> tuple[Participant, ...]:
    """The mailboxes of the field `name`. From is never merged: a second one is a forgery (RFC 5322 section 3.6)."""
    values = fields.get(name)
    if not values:
        return ()
    if len(values) == 1 or name in {"from", "sender"}:
        return parse_addresses(values[0])
    return parse_addresses(", ".join(values)[:MAX_FIELD])


_VIA: Final = re.compile(r"^['\"]?(.*?)['\"]?\s+via\s+\S.*$", re.IGNORECASE | re.DOTALL)
_ADDRESS: Final = re.compile(r"[^\s<>:;,@]+@[^\s<>:;,@?]+")


def _behind_group(sender: Participant, fields: dict[str, list[str]], reply_to: tuple[Participant, ...]) -> Participant:
    """The author whom Google Groups hid behind the group's address, else `sender`.

    For domains whose DMARC policy is strict, Groups writes From: "'Jane' via Support" <support@own.example> and keeps the
    author in X-Original-From or X-Original-Sender. Believed only where list fields say that a Google Group sent it and From is
    that group's address or reads "... via ...": those two fields alone anybody can write.
    """
    marks = [value for name in _GROUP_MARKS for value in fields.get(name, ())]
    if "x-google-group-id" not in fields and not any("googlegroups" in value for value in marks):
        return sender
    via = _VIA.match(sender.name)
    groups = {found.lower() for value in marks for found in _ADDRESS.findall(value)}
    if via is None and sender.address not in groups:
        return sender
    name = via[1].strip(" '\"") if via else ""
    for field in ("x-original-from", "x-original-sender"):
        for author in _addresses(fields, field)[:1]:
            if author.address != sender.address:
                return author if author.name else Participant(author.address, name)
    authors = [one for one in reply_to if one.address not in groups and one.address != sender.address]
    if via is not None and len(authors) == 1:
        return authors[0] if authors[0].name else Participant(authors[0].address, name)
    return sender


class Normalized(NamedTuple):
    """What NormalizeMessages gives out."""

    messages: beam.PCollection[NormalizedMessage]
    failures: beam.PCollection[Failure]


@beam.typehints.with_input_types(FetchedMessage)
@beam.typehints.with_output_types(NormalizedMessage, failures=Failure)
class _Normalize(beam.DoFn):
    def process(self, element: FetchedMessage) -> Iterable[Any]:
        """One message in, one message or one failure out."""
        try:
            yield normalize(element)
        except MalformedMessageError as error:
            yield TaggedOutput(FAILURES, Failure(element.claim, PHASE, type(error).__name__))


class NormalizeMessages(beam.PTransform):
    """PCollection of FetchedMessage in; `Normalized` out: `messages`, and `failures` for what is not a Gmail message."""

    def expand(self, pcoll: beam.PCollection[FetchedMessage]) -> Normalized:
        """Wire `normalize`."""
        outputs = pcoll | "Normalize" >> beam.ParDo(_Normalize()).with_outputs(FAILURES, main="messages")
        return Normalized(outputs.messages, outputs.failures)


__all__ = ["FAILURES", "PHASE", "NormalizeMessages", "Normalized", "normalize"]
