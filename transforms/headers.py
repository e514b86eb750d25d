"""Header fields as text: unfolded, encoded words decoded, bounded; Message-IDs and references; the subject.

Gmail hands values out unfolded and mostly decoded, so most values need nothing but a look.
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from .charsets import clean_text, decode_text
from .gmail_payload import Header

MAX_FIELDS: Final = 2_000
"""Header fields beyond this many are not looked at."""
MAX_VALUE: Final = 65_536
"""Characters of one field's value that are kept; address fields may be four times as long."""
MAX_SUBJECT: Final = 2_000
"""Characters of a subject that are kept."""
MAX_MESSAGE_ID: Final = 998
"""A Message-ID longer than a line may be (RFC 5322 section 2.1.1) is none."""
MAX_REFERENCES: Final = 100
"""Message-IDs kept of References: the first, which started the thread, and the newest."""

BLIND: Final = frozenset({"bcc", "resent-bcc", "x-bcc", "x-original-bcc"})
"""Fields that never leave the parser."""

_ENCODED_WORD: Final = re.compile(r"=\?([^?\s]{1,80})\?([bBqQ])\?([^?]*)\?=")
_BETWEEN_WORDS: Final = re.compile(r"(\?=)[ \t\r\n]+(?==\?[^?\s]{1,80}\?[bBqQ]\?)")
_FOLDS: Final = re.compile(r"(?<![ \t])[ \t]*+[\r\n]++[ \t]*+|[\r\n]++[ \t]*+|\t")  # linear on rows of spaces too
_CONTROLS: Final = re.compile(r"[\x00-\x1f]")
_SPACES: Final = re.compile(r"\s+")


def decode_words(value: str) -> str:
    """`value` with its encoded words (RFC 2047) decoded; words of an unknown charset or broken encoding never raise.

    White space between two encoded words goes (section 6.2). Neighbours in one charset are joined as bytes first: senders
    split characters between words though section 5 forbids it.
    """
    if "=?" not in value:
        return value
    value = _BETWEEN_WORDS.sub(r"\1", value)
    pieces: list[str] = []
    charset, pending, position = "", b"", 0
    for match in _ENCODED_WORD.finditer(value):
        if pending and (match.start() != position or match[1].lower() != charset):
            pieces.append(decode_text(pending, charset)[0])
            pending = b""
        pieces.append(value[position : match.start()])
        charset, position = match[1].lower(), match.end()
        pending += _word_bytes(match[2], match[3])
    if pending:
        pieces.append(decode_text(pending, charset)[0])
    pieces.append(value[position:])
    return "".join(pieces)


def _word_bytes(encoding: str, text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    if encoding in "qQ":
        return quopri.decodestring(raw, header=True)
    raw = re.sub(rb"[^A-Za-z0-9+/]", b"", raw)
    if len(raw) % 4 == 1:
        raw = raw[:-1]
    try:
        return base64.b64decode(raw + b"=" * (-len(raw) % 4))
    except binascii.Error:
        return b""


def unfold(value: str) -> str:
    """`value` on one line: folds (RFC 5322 section 2.2.3) and tabs become one space, other controls go."""
    if value.isprintable():
        return value
    return _CONTROLS.sub("", clean_text(_FOLDS.sub(" ", value)))


def decode_value(value: str, limit: int = MAX_VALUE) -> str:
    """A field's value as text: cut to `limit` characters, unfolded, encoded words decoded."""
    if len(value) > limit:
        value = value[:limit]
    if "=?" in value:
        return unfold(decode_words(unfold(value)))
    return value if value.isprintable() else unfold(value)


@lru_cache(maxsize=4_096)
def field_name(name: str) -> str:
    """A field's name for comparing: lower case, no white space, nothing that a store chokes on."""
    return "".join(clean_text(name[:256]).lower().split())


def decode_fields(raw: Sequence[Header]) -> list[tuple[str, str]]:
    """All fields but the blind ones, in order: (lower-case name, decoded and unfolded value). At most MAX_FIELDS are read."""
    named = ((field_name(field.name), field.value or "") for field in raw[:MAX_FIELDS])
    return [(name, decode_value(value)) for name, value in named if name not in BLIND]


def read_subject(value: str) -> tuple[str, bool]:
    """The subject as one line of text in Normal Form C, and whether it was cut to MAX_SUBJECT characters (it then ends in …)."""
    if (
        len(value) <= MAX_SUBJECT
        and value.isascii()
        and value.isprintable()
        and "=?" not in value
        and "  " not in value
    ):
        return value.strip(), False
    return _read_subject(value)


def _read_subject(value: str) -> tuple[str, bool]:
    """As `read_subject`, for whatever is in it."""
    text = decode_value(value)
    if not text.isascii():
        text = unicodedata.normalize("NFC", clean_text(text))
    text = _SPACES.sub(" ", text).strip()
    if len(text) <= MAX_SUBJECT:
        return text, len(value) > MAX_VALUE
    return text[: MAX_SUBJECT - 1] + "…", True


def subject_was_cut(subject: str) -> bool:
    """Whether `read_subject` cut what it answered."""
    return len(subject) == MAX_SUBJECT and subject.endswith("…")


_IN_BRACKETS: Final = re.compile(r"<([^<>]*)>")
_PLAIN_ID: Final = re.compile(r"\s*<([!-;=?-~]{3,998})>\s*")
_PLAIN_IDS: Final = re.compile(r"<([!-;=?-~]{3,998})>")
_COMMENT: Final = re.compile(r"\([^()<>]*\)")
_MADE_UP: Final = re.compile(r"SMTPIN_ADDED_(?:MISSING|BROKEN)@mx\.google\.com$", re.IGNORECASE)


def normalize_message_id(value: str) -> str:
    """A Message-ID without angle brackets, white space and comments; "" where `value` holds none that can be used.

    Taken from the first pair of brackets; without brackets only a single word with an @ counts. Case is kept: the left
    part is the sender's own. Empty, longer than 998 characters, or made up by Google for a mail that came without
    (SMTPIN_ADDED_MISSING@mx.google.com, another one for every delivery) is "".
    """
    match = _PLAIN_ID.fullmatch(value)
    if match is not None and "mx.google.com" not in value:
        return match[1]
    value = value[: 4 * MAX_MESSAGE_ID]
    match = _IN_BRACKETS.search(value)
    if match is not None:
        found = _SPACES.sub("", match[1])
    else:
        found = _COMMENT.sub(" ", value).strip().strip("<>").strip()
        if "@" not in found or _SPACES.search(found):
            return ""
    if not found.isprintable():
        found = "".join(character for character in found if character.isprintable())
    if len(found) > MAX_MESSAGE_ID or found == "@" or _MADE_UP.search(found):
        return ""
    return found


def choose_message_id(value: str, original: str = "") -> str:
    """The id that all copies of a mail share: Google's `original` (X-Google-Original-Message-ID) where smtp.gmail.com replaced
    the sender's, else `value` (Message-ID). All recipients of such a mail see both fields.
    """
    return (normalize_message_id(original) if original else "") or normalize_message_id(value)


def read_references(fields: Iterable[str]) -> tuple[str, ...]:
    """The Message-IDs that In-Reply-To and References `fields` name, normalized, each once, at most MAX_REFERENCES."""
    found: dict[str, None] = {}
    for field in fields:
        plain = _PLAIN_IDS.findall(field) if len(field) <= MAX_VALUE and "mx.google.com" not in field else []
        if plain and len(plain) == field.count("<"):
            found.update(dict.fromkeys(plain))
            continue
        bracketed = _IN_BRACKETS.findall(field[:MAX_VALUE])
        for one in bracketed or _COMMENT.sub(" ", field[:MAX_VALUE]).split():
            reference = normalize_message_id(f"<{one}>" if bracketed else one)
            if reference:
                found[reference] = None
    if len(found) <= MAX_REFERENCES:
        return tuple(found)
    references = list(found)
    return (references[0], *references[-(MAX_REFERENCES - 1) :])
