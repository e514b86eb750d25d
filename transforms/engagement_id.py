"""The identity of a mail over all its copies: engagement id, content digest and the rank among copies that differ."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from .headers import MAX_MESSAGE_ID
from .records import Direction, MailText, Participant

GUARD_LETTERS: Final = 100
"""How many letters and digits of the text take part in the guard."""

_PREFIX = re.compile(
    r"\s*(?:(?:re|fwd?|aw|wg|sv|vs|tr|rv|rif|antw|odp|ynt|res|enc|doorst|回复|答复|转发)\s*(?:\[\d+\]|\(\d+\))?\s*[:：]|\[[^\]\n]{1,40}\])\s*",
    re.IGNORECASE,
)
_EXTERNAL_WORD = re.compile(
    r"\bexternal\b|\bextern(?:e|er|es|o|a|al)?\b|outside (?:of )?(?:the|your|our) (?:organi[sz]ation|company)", re.I
)
_FOOTER = re.compile(
    r"^(?:--[ ]?|_{20,}|--~--~.*|You received this message because you are subscribed to .*)[ \t]*$",
    re.M,
)
_BANNER_END = re.compile(r"\n[ \t]*\n|\n[ \t]*[-_=*]{4,}[ \t]*\n|\n")


def base_subject(subject: str) -> str:
    """`subject` without reply prefixes and list tags, in one case, letters and digits only (compare RFC 5256 section 2.1)."""
    rest = subject
    while (found := _PREFIX.match(rest)) and found.end() < len(rest):
        rest = rest[found.end() :]
    return _letters(rest, 200)


def without_banner(text: str) -> str:
    """`text` without a leading warning about external senders, which gateways add to some copies only."""
    start = 0 if text[:1].isalnum() else len(text) - len(text.lstrip(" \t\r\n-_=*[>|"))
    head = text[start : start + 500]
    end = _BANNER_END.search(head)
    first = head[: end.start()] if end else ""
    is_banner = first and re.match(r"(?:caution|warning|external|achtung|vorsicht|attention|notice)\b", first, re.I)
    return text[start + end.end() :] if end and is_banner and _EXTERNAL_WORD.search(head[: end.end() + 200]) else text


def without_footer(text: str) -> str:
    """`text` up to the first signature or list footer, which lists and gateways add to some copies only."""
    if "--" not in text and "____" not in text and "You received" not in text:
        return text  # every footer holds one of them
    found = _FOOTER.search(text)
    return text[: found.start()] if found else text


def guard(author: str, subject: str, text: str) -> str:
    """What two mails must share beside their Message-ID to be one: author, base subject, the beginning of the text."""
    own = without_banner(text[:20_000])
    # Nearly always the first lines hold letters enough: a footer behind them needs no looking for.
    end = own.find("\n", 8 * GUARD_LETTERS)
    letters = _letters(without_footer(own[:end]), GUARD_LETTERS) if end > 0 else ""
    if len(letters) < GUARD_LETTERS:
        letters = _letters(without_footer(own), GUARD_LETTERS)
    return "\n".join((author, base_subject(subject), letters))


def engagement_id(
    team_id: str,
    message_id: str,
    author: str,
    subject: str,
    text: str,
    sent_at: dt.datetime,
    recipients: Iterable[str],
) -> str:
    """The id (32 hex digits) that every copy of one mail computes by itself.

    `message_id` is normalized without angle brackets; "" where it is missing or made up by the receiver. `author` and
    `recipients` are normalized addresses; recipients in any order. With a usable Message-ID neither Date nor recipients take
    part: groups, lists and resends change them. Without one a fingerprint of the whole mail takes its place.
    """
    if usable(message_id):
        return _digest("message-id", team_id, message_id, guard(author, subject, text))[:32]
    at = sent_at.astimezone(dt.UTC).replace(microsecond=0).isoformat()
    whole = _letters(without_banner(text), 2 * len(text))
    return _digest("fingerprint", team_id, author, at, base_subject(subject), *sorted(set(recipients)), "", whole)[:32]


def usable(message_id: str) -> bool:
    """Whether `message_id` can name a mail: present, not absurdly long, no blank in it."""
    return len(message_id) <= MAX_MESSAGE_ID and message_id.split() == [message_id]


def content_digest(
    message_id: str,
    sent_at: dt.datetime,
    direction: Direction,
    sender: Participant,
    to: Sequence[Participant],
    cc: Sequence[Participant],
    subject: str,
    body: MailText,
) -> str:
    """A digest (64 hex digits) of everything that is stored of a mail; its CRM links are not part of it."""
    people = [
        f"{role}\0{person.address}\0{person.name}" for role, field in (("to", to), ("cc", cc)) for person in field
    ]
    spans = [f"{span.kind}\0{span.start}\0{span.end}" for span in body.spans]
    at = (sent_at if sent_at.tzinfo is dt.UTC else sent_at.astimezone(dt.UTC)).isoformat()
    head = (message_id, at, direction, sender.address, sender.name, subject)
    return _digest(*head, *people, "", *spans, "", *body.flags, str(body.truncated), body.text)


def rank(digest: str, text_length: int, *, is_authors_copy: bool, is_rewritten: bool) -> str:
    """The order of copies that differ: the smallest wins, whatever arrives first.

    The author's own sent copy before any other, then one that no mailing list has rewritten, then the longer text, then
    `digest` (the content digest), so that two copies never tie unless they are equal.
    """
    shortness = 9_999_999_999 - min(text_length, 9_999_999_999)
    return f"{0 if is_authors_copy else 1}{1 if is_rewritten else 0}-{shortness:010d}-{digest}"


def _letters(text: str, limit: int) -> str:
    """The first `limit` letters and digits of `text`, case-folded, without accents (NFKD works letter by letter)."""
    found: list[str] = []
    count = 0
    step = min(512, 2 * limit) or 1
    for start in range(0, len(text), step):
        piece = text[start : start + step].casefold()
        if piece.isascii():
            kept = piece.encode().translate(None, _NO_LETTERS).decode()
        else:
            kept = "".join(_LETTERS.findall(unicodedata.normalize("NFKD", piece)))
        found.append(kept)
        count += len(kept)
        if count >= limit:
            break
    return "".join(found)[:limit]


_LETTERS: Final = re.compile(r"[^\W_]+")  # what str.isalnum says yes to
_NO_LETTERS: Final = bytes(code for code in range(128) if not chr(code).isalnum())


def _digest(*parts: str) -> str:
    """SHA-256 over `parts`, each with its length, so that no two lists of parts run together alike."""
    pieces: list[bytes] = []
    add = pieces.append
    for part in parts:
        piece = part.encode("utf-8", "surrogatepass")
        add(len(piece).to_bytes(8, "big"))
        add(piece)
    return hashlib.sha256(b"".join(pieces)).hexdigest()
