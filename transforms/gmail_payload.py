"""Gmail's JSON for one message (users.messages.get, format full): two views, one that leaves the body sealed.

Field names and types: Google's Gmail API reference, users.messages and MessagePart.
"""

from __future__ import annotations

import binascii
import json
import re
from typing import Any, Final, TypeVar

import msgspec
import pybase64

from .errors import MalformedMessageError


class Header(msgspec.Struct, gc=False):
    """One header field, as Gmail hands it out: name in the sender's case, value mostly decoded."""

    name: str = ""
    value: str | None = ""


class _Top(msgspec.Struct):
    headers: list[Header] | None = None


class Envelope(msgspec.Struct, rename="camel"):
    """A message without its body. `internal_date` is epoch milliseconds."""

    internal_date: int
    payload: _Top
    label_ids: list[str] | None = None


class Body(msgspec.Struct, rename="camel", gc=False):
    """A part's body: base64url `data`, absent where the bytes were left at Google, to be had by an `attachment_id`."""

    data: str | None = None
    attachment_id: Any = None


_USUAL_KINDS: Final = frozenset(
    {"text/plain", "text/html", "multipart/alternative", "multipart/mixed", "multipart/related", "multipart/signed"}
)


class Part(msgspec.Struct, rename="camel"):
    """A MIME part; `parts` nests."""

    mime_type: str | None = None
    filename: str | None = None
    headers: list[Header] | None = None
    body: Body | None = None
    parts: list[Part] | None = None

    @property
    def kind(self) -> str:
        """The media type in lower case, without parameters."""
        kind = self.mime_type or ""
        return kind if kind in _USUAL_KINDS else kind.partition(";")[0].strip().lower()

    def header(self, name: str) -> str:
        """The first header field of that (lower-case) name, or ""."""
        for header in self.headers or ():
            if len(header.name) == len(name) and header.name.lower() == name:
                return header.value or ""
        return ""


class _Message(msgspec.Struct):
    payload: Part | None = None


_T = TypeVar("_T")
_envelopes: Final = msgspec.json.Decoder(Envelope, strict=False)
_messages: Final = msgspec.json.Decoder(_Message, strict=False)


def read_envelope(payload: bytes) -> Envelope:
    """Labels, date and header section of `payload`; the body is skipped, not decoded.

    Raises:
        MalformedMessageError: not JSON, or not what the API documents, or nested beyond the decoder's limit.
    """
    return _decode(_envelopes, Envelope, payload)


def read_root(payload: bytes) -> Part:
    """The whole tree of parts.

    Raises:
        MalformedMessageError: as `read_envelope`.
    """
    return _decode(_messages, _Message, payload).payload or Part()


def _decode(decoder: msgspec.json.Decoder[_T], kind: type[_T], payload: bytes) -> _T:
    try:
        return decoder.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _decode_leniently(kind, payload)


def _decode_leniently(kind: type[_T], payload: bytes) -> _T:
    """Once more with the standard library, which reads lone surrogates (escaped in JSON) that msgspec refuses."""
    try:
        document: Any = json.loads(payload.decode("utf-8", "replace"))
        return msgspec.convert(document, kind, strict=False)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        # Never chained: the decoder's text can quote the mail.
        problem = type(error).__name__
    raise MalformedMessageError(f"Gmail's answer is not a message in format full ({problem})")


_URLSAFE: Final = bytes.maketrans(b"-_", b"+/")
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/]")


def read_bytes(data: str) -> bytes:
    """The bytes of a base64url string, padded or not (RFC 4648 section 5). What is not base64 in it is passed over."""
    if "+" in data or "/" in data:  # these are base64, but not base64url
        return read_leniently(data)
    try:
        return pybase64.b64decode(data + "==="[: -len(data) % 4], b"-_", validate=True)
    except ValueError:  # binascii.Error is one
        return read_leniently(data)


def read_leniently(data: str) -> bytes:
    """As `read_bytes`, for what is not base64url from one end to the other."""
    raw = data.encode("ascii", "ignore").translate(_URLSAFE)
    try:
        return binascii.a2b_base64(raw + b"=" * (-len(raw) % 4))
    except binascii.Error:
        kept = _NOT_BASE64.sub(b"", raw)
    if len(kept) % 4 == 1:
        kept = kept[:-1]
    return binascii.a2b_base64(kept + b"=" * (-len(kept) % 4))
