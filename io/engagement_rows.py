"""CustomerMail in, table rows out: every text column bounded and fit for either database, flagged where it was cut."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from ..transforms.records import CustomerMail, Span
from . import schema
from .closed_deals import ClosedDealLink, take_along

MAX_SUBJECT_BYTES = 16_000
MAX_MESSAGE_ID_BYTES = 4_000
MAX_NAME = 255
"""Characters of a display name."""

CONTENT = (
    "message_id", "sent_at", "direction", "sender_address", "sender_name", "subject", "text", "spans", "truncated", "flags",
    "content_digest", "rank", "version", "updated_at",
)  # fmt: skip
"""The columns of an engagement that the winning copy sets."""


def engagement(mail: CustomerMail, version: int, now: dt.datetime) -> dict[str, Any]:
    """The row of the table engagement."""
    text, text_is_cut = cut_bytes(mail.body.text, schema.MAX_TEXT_BYTES)
    subject, subject_is_cut = cut_bytes(mail.subject, MAX_SUBJECT_BYTES)
    message_id, message_id_is_cut = cut_bytes(mail.message_id, MAX_MESSAGE_ID_BYTES)
    people = (mail.sender, *mail.to, *mail.cc)
    is_cut = (
        mail.body.truncated
        or text_is_cut
        or subject_is_cut
        or message_id_is_cut
        or any(len(p.name) > MAX_NAME or len(p.address) > schema.ADDRESS for p in people)
    )
    return {
        "team_id": mail.claim.team_id, "id": mail.engagement_id, "message_id": message_id, "sent_at": mail.sent_at,
        "direction": mail.direction, "sender_address": clean(mail.sender.address[: schema.ADDRESS]),
        "sender_name": clean(mail.sender.name[:MAX_NAME]), "subject": subject, "text": text,
        "spans": [[span.kind, span.start, end] for span, end in _within(mail.body.spans, len(text))],
        "truncated": is_cut, "flags": list(mail.body.flags), "content_digest": mail.content_digest, "rank": mail.rank,
        "version": version, "created_at": now, "updated_at": now,
    }  # fmt: skip


def participants(mail: CustomerMail) -> list[dict[str, Any]]:
    """The rows of the table participant, From first; a mail without an author has none for it."""
    found = [("from", 0, mail.sender)] if mail.sender.address else []
    found += [("to", position, person) for position, person in enumerate(mail.to)]
    found += [("cc", position, person) for position, person in enumerate(mail.cc)]
    return [
        {
            "team_id": mail.claim.team_id, "engagement_id": mail.engagement_id, "role": role, "position": position,
            "address": clean(person.address[: schema.ADDRESS]), "name": clean(person.name[:MAX_NAME]),
        }
        for role, position, person in found
    ]  # fmt: skip


def links(mail: CustomerMail, closed: Iterable[ClosedDealLink] = ()) -> list[dict[str, Any]]:
    """The rows of the table engagement_link, with those to deals that have closed since (`closed`) taken along."""
    found = {(link.kind, link.target_id): link for link in reversed(take_along(mail.links, closed))}
    return [
        {
            "team_id": mail.claim.team_id, "engagement_id": mail.engagement_id, "kind": link.kind, "target_id": link.target_id,
            "is_primary": link.primary, "via": link.via,
        }
        for link in found.values()
    ]  # fmt: skip


def clean(text: str) -> str:
    """`text` without what a database refuses or cuts at: NUL and lone surrogates become U+FFFD."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def cut_bytes(text: str, limit: int) -> tuple[str, bool]:
    """The longest beginning of `text` (cleaned) of at most `limit` UTF-8 bytes, whole characters only; and whether it is cut."""
    text = clean(text)
    if len(text) * 4 <= limit:
        return text, False
    encoded = text.encode()
    return (text, False) if len(encoded) <= limit else (encoded[:limit].decode("utf-8", "ignore"), True)


def _within(spans: tuple[Span, ...], length: int) -> list[tuple[Span, int]]:
    """Each span that begins within `length` characters, with its end there."""
    return [(span, min(span.end, length)) for span in spans if span.start < length]
