"""NormalizeMessages: Gmail's answers in, header sections understood out; the bodies stay sealed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from .addresses import MAX_FIELD, parse_addresses
from .errors import MalformedMessageError
from .gmail_payload import Header, read_envelope
from .google_groups import named_author
from .headers import (
    MAX_FIELDS,
    choose_message_id,
    decode_value,
    field_name,
    normalize_message_id,
    read_references,
    read_subject,
)
from .mail_dates import internal_time, sent_time
from .records import Failure, FetchedMessage, NormalizedMessage, Participant

PHASE: Final = "normalize"
FAILURES: Final = "failures"
_ORIGINAL_ID: Final = "x-google-original-message-id"
_GROUP_MARKS: Final = frozenset({"x-google-group-id", "mailing-list", "list-id", "list-post"})
_LIST_FIELDS: Final = _GROUP_MARKS | {"x-original-sender", "x-original-from"}
_UNDERSTOOD: Final = _LIST_FIELDS | {
    "from", "to", "cc", "reply-to", "sender", "message-id", _ORIGINAL_ID, "references", "in-reply-to", "date", "received",
    "subject",
}  # fmt: skip


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
    fields = _read_fields(envelope.payload.headers or ())
    authors = _addresses(fields, "from")
    reply_to, sender_field = _addresses(fields, "reply-to"), _addresses(fields, "sender")
    if len(authors) > 1:
        named = {one.address for one in sender_field}
        authors = tuple(sorted(authors, key=lambda one: one.address not in named))
    sender = authors[0] if authors else None
    is_from_list = not _LIST_FIELDS.isdisjoint(fields)
    behind = None
    if is_from_list and sender is not None and not _GROUP_MARKS.isdisjoint(fields):
        behind = _behind_group(sender, fields, reply_to)
    cc = _addresses(fields, "cc")
    also_from = (*reply_to, *sender_field)
    references = [decode_value(one) for name in ("references", "in-reply-to") for one in fields.get(name, ())]
    message_id, message_ids = _message_ids(fields)
    return NormalizedMessage(
        claim=fetched.claim,
        labels=tuple(envelope.label_ids or ()),
        message_id=message_id,
        references=read_references(references) if references else (),
        sent_at=sent_time(
            decode_value(_first(fields, "date")), internal, map(decode_value, fields.get("received", ()))
        ),
        internal_date=internal,
        sender=sender,
        to=_addresses(fields, "to"),
        cc=(*authors[1:], *cc) if len(authors) > 1 else cc,
        also_from=tuple({one.address: one for one in also_from}.values()) if len(also_from) > 1 else also_from,
        subject=read_subject(_first(fields, "subject"))[0],
        payload=fetched.payload,
        message_ids=message_ids,
        is_from_list=is_from_list,
        behind=behind,
    )


def _first(fields: dict[str, list[str]], name: str) -> str:
    """The first field of that name, or "": a second From or Subject is somebody's forgery."""
    values = fields.get(name)
    return values[0] if values else ""


def _message_ids(fields: dict[str, list[str]]) -> tuple[str, tuple[str, ...]]:
    """The Message-ID that all copies share ("" for none), and with it every other that the mail goes by, each once."""
    first = choose_message_id(decode_value(_first(fields, "message-id")), decode_value(_first(fields, _ORIGINAL_ID)))
    written = [*fields.get("message-id", ()), *fields.get(_ORIGINAL_ID, ())]
    others = [normalize_message_id(decode_value(one)) for one in written] if len(written) > 1 else ()
    return first, tuple(filter(None, dict.fromkeys((first, *others))))


class _Understood(dict[str, str]):
    """How a field's name is spelled -> the name if it is understood here, else "". Bounded: senders make names up."""

    def __missing__(self, spelled: str) -> str:
        name = field_name(spelled)
        name = name if name in _UNDERSTOOD else ""
        if len(self) < 4_096:
            self[spelled] = name
        return name


_understood: Final = _Understood()


def _read_fields(raw: Sequence[Header]) -> dict[str, list[str]]:
    """The fields that are understood here, as they came: each is decoded where it is used, address fields after splitting.

    A blind field is none of them, so it never leaves this function.
    """
    fields: dict[str, list[str]] = {}
    for field in raw if len(raw) <= MAX_FIELDS else raw[:MAX_FIELDS]:
        name = _understood[field.name]
        if name:
            fields.setdefault(name, []).append(field.value or "")
    return fields


def _addresses(fields: dict[str, list[str]], name: str) -> tuple[Participant, ...]:
    """The mailboxes of the field `name`. From is never merged: a second one is a forgery (RFC 5322 section 3.6)."""
    values = fields.get(name)
    if not values:
        return ()
    if len(values) == 1 or name in {"from", "sender"}:
        return parse_addresses(values[0])
    return parse_addresses(", ".join(values)[:MAX_FIELD])


def _behind_group(
    sender: Participant, fields: dict[str, list[str]], reply_to: tuple[Participant, ...]
) -> Participant | None:
    """The author whom the fields of a Google Group name in place of `sender`, or None."""
    marks = [decode_value(value) for name in _GROUP_MARKS for value in fields.get(name, ())]
    if "x-google-group-id" not in fields and not any("googlegroups" in value for value in marks):
        return None
    originals = [one for name in ("x-original-from", "x-original-sender") for one in _addresses(fields, name)[:1]]
    return named_author(sender, marks, originals, reply_to)


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
