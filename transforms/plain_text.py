"""The body of a mail as plain text that reads like the mail.

Policies for what is not plain text or HTML, each with a flag: attached messages, calendar parts and TNEF are attachments, and
attachments are not read; what is encrypted stays unread; of a signed mail the signed part is read where it lies open
(multipart/signed), and not where S/MIME encloses it in the signature (signed-data).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from .charsets import clean_text, decode_text
from .gmail_payload import Part, read_bytes, read_root
from .html_marks import MARKS
from .html_text import html_to_text
from .quotes import find_spans
from .records import MailText, Span

MAX_TEXT_BYTES: Final = 1_000_000
"""The longest text given out, in UTF-8 bytes."""
MAX_PARTS: Final = 1_000
"""Parts of one mail that are looked at."""
MAX_DEPTH: Final = 50
"""Nesting up to which parts are looked at."""
MAX_HTML_PARTS_BYTES: Final = 2_000_000
"""Bytes of HTML of one mail that are converted, over all its parts."""

TEXT_CUT: Final = "text.cut"
PARTS_CUT: Final = "parts.cut"
ATTACHED_MESSAGE: Final = "attached.message"
CALENDAR: Final = "attached.calendar"
TNEF: Final = "attached.tnef"
ENCRYPTED: Final = "encrypted"
SIGNED: Final = "signed"
SIGNED_UNREAD: Final = "signed.unread"
STUB: Final = "stub.html_taken"
FLAGS: Final[dict[str, str]] = {
    TEXT_CUT: "the text was longer than the store takes and was cut",
    PARTS_CUT: "the mail had more or larger parts, or nested deeper, than is read",
    ATTACHED_MESSAGE: "a mail was attached; attachments are not read",
    CALENDAR: "a calendar part was there; it is not read",
    TNEF: "an Outlook winmail.dat was there; it is not read",
    ENCRYPTED: "the body, or a part of it, is encrypted (S/MIME or OpenPGP) and was not read",
    SIGNED: "the body is signed (S/MIME or OpenPGP); the signature was not checked",
    SIGNED_UNREAD: "the body, or a part of it, is enclosed in its signature (S/MIME signed-data) and was not read",
    STUB: "the plain text only pointed to the HTML, so the HTML was taken",
    "html.cut": "the HTML was too long and was cut before it was converted",
    "html.reduced": "the HTML was built to exhaust a parser; its links and some structure are lost",
    "charset.replaced": "some bytes made no sense in any charset tried",
    "charset.guessed": "the charset was missing or wrong and was guessed",
}
"""Every flag that read_text can set, in words for the user."""

_Kind = Literal["plain", "html"]


class _Piece(NamedTuple):
    """Text of one part, or of the chosen one of several alternatives."""

    kind: _Kind
    text: str


def read_text(payload: bytes, limit: int = MAX_TEXT_BYTES) -> MailText:
    """The text of a Gmail message (JSON, format full), at most `limit` UTF-8 bytes, with its spans and flags.

    text/plain unless it is a stub beside substantial HTML, else HTML.

    Raises:
        MalformedMessageError: `payload` is not a Gmail message.
    """
    return read_body(read_root(payload), limit)


def read_body(root: Part, limit: int = MAX_TEXT_BYTES) -> MailText:
    """As `read_text`, for a message whose JSON is already decoded. Never raises."""
    text, flags = read_words(root)
    if "-----BEGIN PGP " in text:
        flags.append(ENCRYPTED if "-----BEGIN PGP MESSAGE-----" in text else SIGNED)
    text, spans = find_spans(text)
    text, truncated = cut(text, limit)
    if truncated:
        flags.append(TEXT_CUT)
        spans = tuple(Span(span.kind, span.start, min(span.end, len(text))) for span in spans if span.start < len(text))
    return MailText(text, spans, truncated or "html.cut" in flags, tuple(dict.fromkeys(flags)))


def read_words(root: Part) -> tuple[str, list[str]]:
    """The words of a message with html_marks where HTML had quotes, and flags. Never raises."""
    reader = _Reader()
    pieces = reader.read(root, 0)
    text = _joined(pieces)
    if not text:
        reader = _Reader(named_parts_too=True)
        text = _joined(reader.read(root, 0))
    return text, reader.flags


def _joined(pieces: list[_Piece]) -> str:
    if len(pieces) == 1:
        return pieces[0].text.strip()
    return "\n\n".join(filter(None, (piece.text.strip("\n") for piece in pieces))).strip()


def cut(text: str, limit: int) -> tuple[str, bool]:
    """`text` cut at a character to at most `limit` UTF-8 bytes, and whether it was."""
    if len(text) * 4 <= limit:
        return text, False
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return text, False
    return encoded[:limit].decode("utf-8", "ignore"), True


_STUBS: Final = re.compile(
    r"view (?:this|the)? ?(?:e-?mail|message|newsletter)? ?(?:online|in (?:a|your|the) (?:web ?)?browser|as a web ?page)|"
    r"(?:e-?mail|mail|message) (?:client|program|reader|software)?.{0,40}(?:does(?: not|n't)|cannot|can't|unable to).{0,30}"
    r"(?:html|display|support|render|read)|(?:enable|supports?|requires?|use an?|capable of|in) html|html[- ](?:e-?mail|version|format|"
    r"enabled|capable|only)|im browser (?:an(?:sehen|zeigen)|öffnen|betrachten)|html-(?:fähig|ansicht|format|darstellung)|"
    r"(?:afficher|voir|visualise[rz]|consulte[rz]) .{0,40}(?:navigateur|en ligne)|ver (?:este|el|en) .{0,40}(?:navegador|l[íi]nea)|"
    r"visualizza .{0,40}browser|bekijk .{0,40}(?:browser|online)|visa .{0,40}webbläsare|web ?browser",
    re.IGNORECASE,
)
_STUB_HINTS: Final = (
    "html",
    "browser",
    "navigat",
    "webbläsare",
    "online",
    "en ligne",
    "web page",
    "webpage",
    "naveg",
    "línea",
)
_ADDRESS: Final = re.compile(r"https?://\S+")


def is_stub(plain: str, html: str) -> bool:
    """Whether the plain alternative says next to nothing beside `html`, the text of the HTML one.

    It is where it is empty, where it is short and tells the reader to look at the HTML, or where it has under 100 letters, under
    a tenth of what the HTML has.
    """
    letters = len(_letters(plain))
    if letters == 0:
        return bool(html.strip())
    shown = html[:20_000]
    html_letters = len(_letters(shown)) - sum(map(shown.count, MARKS))
    if letters < 400 and _points_elsewhere(plain):
        return html_letters > letters // 2
    return letters < 100 and html_letters >= 200 and letters * 10 < html_letters


def _points_elsewhere(plain: str) -> bool:
    lowered = plain.lower()
    return any(hint in lowered for hint in _STUB_HINTS) and _STUBS.search(plain) is not None


def _could_be_stub(plain: str) -> bool:
    """Whether `is_stub` could say so for some HTML: longer plain text is none, so most HTML is never converted."""
    if len(_letters(plain[:600])) >= 400:
        return False
    letters = len(_letters(plain)) if len(plain) < 4_000 else 4_000
    return letters < 100 or (letters < 400 and _points_elsewhere(plain))


def _letters(text: str) -> str:
    return "".join((_ADDRESS.sub("", text) if "http" in text else text).split())


_TAGS: Final = re.compile(rb"</?(?!a[\s>])[a-z][^<>]*>", re.IGNORECASE)
_NOT_ONLY_TAGS: Final = re.compile(
    rb"<(?:xmp|plaintext|listing|noembed|noframes|iframe|textarea|li[\s>])", re.IGNORECASE
)


def _says_more(rich: list[Part], plain: str) -> bool:
    """Whether one of the parts beside `plain`, which could be a stub, may make `is_stub` say so: cheaper than converting it.

    What stands outside the tags is at least what the HTML shows, but for the numbers of lists and for elements whose content is
    no HTML. Tags of links count, for their targets are shown.
    """
    if len(rich) != 1 or rich[0].kind != "text/html" or rich[0].parts or rich[0].body is None or not rich[0].body.data:
        return True
    letters = len(_letters(plain))
    if letters >= 100 or _points_elsewhere(plain):
        return True
    least = max(200, 10 * letters + 1)
    data = rich[0].body.data
    if len(data) // 4 * 3 < least:
        return False
    if len(data) > 40 * least:
        return True
    html = read_bytes(data)
    return _NOT_ONLY_TAGS.search(html) is not None or len(b"".join(_TAGS.sub(b"", html).split())) >= least


_WORDS: Final = frozenset({"text/plain", "text/html", "text", "", "text/enriched", "text/richtext", "text/markdown"})
"""Media types of parts that hold a mail's own words."""


class _Reader:
    """One walk over the parts of one mail."""

    def __init__(self, *, named_parts_too: bool = False) -> None:
        self.flags: list[str] = []
        self.named_parts_too = named_parts_too
        self._parts = 0
        self._html_left = MAX_HTML_PARTS_BYTES

    def read(self, part: Part, depth: int) -> list[_Piece]:
        """The pieces of text below `part`, in order."""
        self._parts += 1
        if depth > MAX_DEPTH or self._parts > MAX_PARTS:
            self.flags.append(PARTS_CUT)
            return []
        kind = part.kind
        if kind in _WORDS and not part.parts:
            return self._read_leaf(part, root=depth == 0)
        if kind == "multipart/alternative":
            return self._read_alternative(part, depth)
        if kind == "multipart/encrypted":
            self.flags.append(ENCRYPTED)
            return []
        if kind == "multipart/signed":
            self.flags.append(SIGNED)
            return self.read(part.parts[0], depth + 1) if part.parts else []
        if kind == "multipart/related":
            return self._read_related(part, depth)
        if kind.startswith("multipart/") or (part.parts and not kind.startswith("message/")):
            return self._read_all(part, depth)
        return self._read_leaf(part, root=depth == 0)

    def _read_all(self, part: Part, depth: int) -> list[_Piece]:
        pieces: list[_Piece] = []
        for child in part.parts or ():
            pieces.extend(self.read(child, depth + 1))
            if self._parts > MAX_PARTS:
                break
        return pieces

    def _read_related(self, part: Part, depth: int) -> list[_Piece]:
        """The root of the compound (RFC 2387: the first part unless start says otherwise); the others are its pictures."""
        for child in part.parts or ():
            pieces = self.read(child, depth + 1)
            if pieces:
                return pieces
        return []

    def _read_alternative(self, part: Part, depth: int) -> list[_Piece]:
        """The plain child unless it is a stub, else the last one that can be read (RFC 2046 section 5.1.4: the richest)."""
        children = part.parts or []
        plain: list[_Piece] = []
        rich: list[Part] = []
        for child in children[:20]:
            if not plain and child.kind == "text/plain" and not _attached(child):
                plain = self.read(child, depth + 1)
            else:
                rich.append(child)
        text = "\n".join(piece.text for piece in plain)
        if plain and text.strip() and not (_could_be_stub(text) and _says_more(rich, text)):
            self._note_unread(rich)
            return plain
        for child in reversed(rich):
            pieces = self.read(child, depth + 1)
            html = "\n".join(piece.text for piece in pieces)
            if not html.strip():
                continue
            if not plain or not text.strip():
                return pieces
            if is_stub(text, html):
                self.flags.append(STUB)
                return pieces
            return plain
        return plain

    def _note_unread(self, parts: list[Part]) -> None:
        for part in parts:
            if part.kind == "text/calendar":
                self.flags.append(CALENDAR)

    def _read_leaf(self, part: Part, *, root: bool) -> list[_Piece]:
        kind = part.kind
        if kind in _WORDS and not part.filename:
            return [] if not root and _attached(part) else self._read_words(part)
        if kind == "message/rfc822":
            self.flags.append(ATTACHED_MESSAGE)
        elif kind in {"text/calendar", "application/ics"}:
            self.flags.append(CALENDAR)
        elif (
            kind in {"application/ms-tnef", "application/vnd.ms-tnef"} or (part.filename or "").lower() == "winmail.dat"
        ):
            self.flags.append(TNEF)
        elif kind in {"application/pkcs7-mime", "application/x-pkcs7-mime"}:
            self.flags.append(SIGNED_UNREAD if "signed-data" in part.header("content-type").lower() else ENCRYPTED)
        elif kind in _WORDS:
            if not root and _attached(part, named_too=self.named_parts_too):
                return []
            return self._read_words(part)
        return []

    def _read_words(self, part: Part) -> list[_Piece]:
        data = part.body.data if part.body is not None else None
        if not data:
            if part.body is not None and part.body.attachment_id:
                self.flags.append(PARTS_CUT)
            return []
        declared, is_flowed, delsp = _text_parameters(part.header("content-type")[:_MAX_CONTENT_TYPE])
        raw = read_bytes(data)
        html = part.kind == "text/html"
        if html and not declared and not raw.isascii():
            declared = _meta_charset(raw)
        text, flag = decode_text(raw, declared)
        if flag:
            self.flags.append(flag)
        if html:
            if len(text) > self._html_left:
                text = text[: self._html_left]
                self.flags.append("html.cut")
            self._html_left -= len(text)
            text, more = html_to_text(text)
            self.flags.extend(more)
            return [_Piece("html", text)]
        text = clean_text(text)
        if is_flowed:
            text = unflow(text, delsp=delsp)
        if part.kind in {"text/enriched", "text/richtext"}:
            text = re.sub(r"<param>[^<]*</param>|<[^<>]*>", "", text).replace("<<", "<")
        return [_Piece("plain", text)]


def _attached(part: Part, *, named_too: bool = False) -> bool:
    """Whether a text part is a file and not the mail's own words."""
    disposition = part.header("content-disposition")
    if disposition and disposition.lstrip()[:10].lower() == "attachment":
        return True
    return bool(part.filename) and not named_too


_META: Final = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{2,40})", re.IGNORECASE)


def _meta_charset(raw: bytes) -> str:
    match = _META.search(raw[:4_096])
    return match[1].decode("ascii") if match else ""


_MAX_CONTENT_TYPE: Final = 4_096


@lru_cache(maxsize=512)
def _text_parameters(content_type: str) -> tuple[str, bool, bool]:
    """The charset that a Content-Type names, whether it says format=flowed, and whether DelSp=yes (RFC 3676)."""
    is_flowed = parameter(content_type, "format").lower() == "flowed"
    return parameter(content_type, "charset"), is_flowed, parameter(content_type, "delsp").lower() == "yes"


def parameter(value: str, name: str) -> str:
    """The parameter `name` of a Content-Type or Content-Disposition value, or "" (RFC 2045 section 5.1; quotes undone)."""
    if name not in value and name not in value.lower():
        return ""
    match = re.search(rf";\s*{name}\*?\s*=\s*(?:\"([^\"]*)\"|([^\s;\"]+))", value[:_MAX_CONTENT_TYPE], re.IGNORECASE)
    return (match[1] or match[2] or "").strip() if match else ""


def unflow(text: str, *, delsp: bool = False) -> str:
    """text/plain of format=flowed with its soft line breaks undone (RFC 3676 section 4); `delsp` as in section 4.1.

    The signature separator "-- " is no soft break, and lines join only within one quoting depth. A > that a stuffed space keeps from
    being a quote (section 4.4) gets a no-break space for it, which says the same to whoever reads the text next.
    """
    lines: list[str] = []
    pending: list[str] | None = None
    depth = 0
    for line in text.split("\n"):
        bare = line.lstrip(">")
        quotes = len(line) - len(bare)
        if bare.startswith(" "):
            bare = bare[1:]
        soft = bare.endswith(" ") and bare != "-- "
        if pending is not None and quotes == depth and bare != "-- ":
            pending.append(bare[:-1] if soft and delsp else bare)
        else:
            if pending is not None:
                lines.append(_quoted("".join(pending), depth))
            pending, depth = [bare[:-1] if soft and delsp else bare], quotes
        if not soft:
            lines.append(_quoted("".join(pending), depth))
            pending = None
    if pending is not None:
        lines.append(_quoted("".join(pending), depth))
    return "\n".join(lines)


def _quoted(line: str, depth: int) -> str:
    if depth:
        return f"{'>' * depth} {line}"
    return f"\xa0{line}" if line.lstrip(" ").startswith(">") else line
