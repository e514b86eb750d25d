"""The body of a mail as plain text that reads like the mail."""

from __future__ import annotations

from typing import Final

from .charsets import clean_text, decode_text
from .gmail_payload import Part, read_bytes, read_root
from .html_text import html_to_text
from .records import MailText

MAX_TEXT_BYTES: Final = 1_000_000
"""The longest text given out, in UTF-8 bytes."""


def read_text(payload: bytes, limit: int = MAX_TEXT_BYTES) -> MailText:
    """The text of a Gmail message (JSON, format full): text/plain unless it is a stub, else HTML.

    Raises:
        MalformedMessageError: `payload` is not a Gmail message.
    """
    plain: list[str] = []
    rich: list[str] = []
    flags: list[str] = []
    waiting = [read_root(payload)]
    while waiting:
        part = waiting.pop()
        if part.parts:
            if part.kind != "message/rfc822":
                waiting.extend(reversed(part.parts))
            continue
        if part.kind in {"text/plain", "text/html", ""} and not part.filename:
            text, flag = _decode(part)
            if flag:
                flags.append(flag)
            (rich if part.kind == "text/html" else plain).append(text)
    text = "\n".join(plain).strip()
    if not text and rich:
        text, more = html_to_text("\n".join(rich))
        flags.extend(more)
    text, truncated = cut(text, limit)
    return MailText(text, (), truncated, tuple(dict.fromkeys(flags)))


def cut(text: str, limit: int) -> tuple[str, bool]:
    """`text` cut at a character to at most `limit` UTF-8 bytes, and whether it was."""
    if len(text) * 4 <= limit:
        return text, False
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return text, False
    return encoded[:limit].decode("utf-8", "ignore"), True


def _decode(part: Part) -> tuple[str, str | None]:
    if part.body is None or not part.body.data:
        return "", None
    text, flag = decode_text(read_bytes(part.body.data))
    return clean_text(text), flag
