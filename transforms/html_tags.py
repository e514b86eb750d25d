"""What the tags do of which usual HTML is made (html_usual), told from a tag's text alone."""

from __future__ import annotations

import re
from typing import Final

from .html_hidden import mark_hidden

# What a tag does, as a number; its negative closes the element. In this order one comparison or two tell what it is.
SKIP: Final = 0
A: Final = 1
SHEET: Final = 60  # its text is not shown
TITLE: Final = 61
BLOCK: Final = 100  # begins a line
QUOTE: Final = 150
PARAGRAPH: Final = 200  # may hold no block
BIG: Final = 210  # as that, with an empty line around it
TABLE: Final = 300
ROWS: Final = 310
ROW: Final = 320
TD: Final = 330
BR: Final = 400
HR: Final = 401
FRAME: Final = 402  # of the page: html and head
BODY: Final = 403
HIDDEN: Final = 1_000  # so much more where the element's content is not shown

_NUMBERS: Final[dict[str, int]] = {
    name: first + place
    for first, names in (
        (A, "a span b strong i em u s font small big tt code sub sup strike cite ins del abbr o:p"), (SHEET, "style title"),
        (BLOCK, "div center address section article header footer"), (QUOTE, "blockquote"), (PARAGRAPH, "h5 h6"),
        (BIG, "p h1 h2 h3 h4"), (TABLE, "table"), (ROWS, "tbody thead tfoot"), (ROW, "tr"), (TD, "td th"),
    )
    for place, name in enumerate(names.split())
}  # fmt: skip
_VOID: Final = {"br": BR, "hr": HR, "img": SKIP, "meta": SKIP, "link": SKIP}
_FRAME: Final = {"html": FRAME, "head": FRAME, "body": BODY}
_MAX_CACHED: Final = 4_096
_MAX_CACHED_TAG: Final = 320

known: Final[dict[bytes, int]] = {}
"""Tags -> what they do. Bounded, without links: mail comes from few programs, which write the same tags again and again."""


class UnusualError(Exception):
    """The page is not usual."""


_VALUE: Final = r"\"[^\"<>]*+\"|'[^'<>]*+'|[^\s\"'<>=`]++"
_TAG: Final = re.compile(rf"(/?)([A-Za-z][A-Za-z0-9:]*+)((?:\s++[^\s\"'<>=/]++(?:\s*+=\s*+(?:{_VALUE}))?+)*+)\s*+(/?)")
_NO_DISPLAY: Final = re.compile("display[^;]*none")
_ATTRIBUTE: Final = re.compile(rf"([^\s\"'<>=/]++)(?:\s*+=\s*+({_VALUE}))?+")
_LINK: Final = re.compile(rb"a(?:\s++(?:href=\"([^\"<>]*+)\"|[a-z-]++=\"[^\"<>]*+\"))++")
"""A link as nearly all are written."""
_LITERAL: Final = re.compile(rb"&(?!amp;|[A-Za-z0-9_.-]*=)")


def understand(tag: bytes) -> int:
    """What the tag does whose text up to the first > is `tag`."""
    if tag[:1] in {b"!", b"?"}:
        return FRAME if tag[:8].lower() == b"!doctype" else SKIP
    text = tag.decode()
    match = _TAG.fullmatch(text)
    if match is None:
        raise UnusualError
    closing, name, attributes, alone = match[1], match[2].lower(), match[3], match[4]
    number = _VOID.get(name, _FRAME.get(name, -1))
    if number < 0:
        number = _NUMBERS.get(name, -1)
        if number < 0 or alone:
            raise UnusualError
    if closing:
        if attributes or name in _VOID:
            raise UnusualError
        number = -number if name not in _FRAME else FRAME if name == "head" else BODY
    elif number in {SHEET, TITLE}:
        number += HIDDEN
    elif attributes and number not in {BR, HR} and name != "img" and _hides(text):
        if number in {SKIP, A} or number >= ROWS:
            raise UnusualError
        number += HIDDEN
    if len(tag) <= _MAX_CACHED_TAG and name not in {"a", "img"}:
        if len(known) >= _MAX_CACHED:
            known.clear()
        known[tag] = number
    return number


def _hides(tag: str) -> bool:
    lowered = tag.lower()
    if "hidden" not in lowered and not ("none" in lowered and _NO_DISPLAY.search(lowered)):
        return False
    marked, skipped = mark_hidden(f"<{tag}>")
    if len(marked) > len(tag) + 2:
        return True
    if "hidden" in (match[1].lower() for match in _ATTRIBUTE.finditer(tag)):
        if not skipped:
            raise UnusualError
        return True
    return False


def target_of(tag: bytes) -> bytes:
    """Where the link leads whose tag is `tag`; its ampersands as in text."""
    match = _LINK.fullmatch(tag)
    if match is not None and tag.count(b"href=") < 2 and not _hides(tag.decode()):
        target = match[1] or b""
    else:
        target = _anytarget_of(tag.decode())
    if b"&" in target:
        if _LITERAL.search(target):
            raise UnusualError
        target = target.replace(b"&amp;", b"&").replace(b"&", b"&amp;")
    target = target.strip()
    if len(target.split()) > 1:
        raise UnusualError
    return target


def _anytarget_of(tag: str) -> bytes:
    match = _TAG.fullmatch(tag)
    if match is None or match[4] or _hides(tag):
        raise UnusualError
    for name, value in _ATTRIBUTE.findall(tag, 1):
        if name.lower() == "href":
            return value.strip("\"'").encode()
    return b""
