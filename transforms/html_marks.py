"""Marks that stand in the text of HTML where blockquotes begin and end: whether they are quotes, quotes.py decides."""

from __future__ import annotations

import re
from typing import Final

from .charsets import clean_text

QUOTE_OPEN: Final = "\x01"
"""Stands in the answer where a quoted reply begins (a blockquote that a mail client marked as such)."""
QUOTE_CLOSE: Final = "\x02"
"""Stands where any blockquote ends."""
BLOCK_OPEN: Final = "\x03"
"""Stands where another blockquote begins: an indent, or a quote if an attribution precedes it."""
MARKS: Final = (QUOTE_OPEN, QUOTE_CLOSE, BLOCK_OPEN)
"""All of them. Controls, for clean text has none of its own."""

_BLOCKQUOTE: Final = re.compile(r"<blockquote(?=[\s>])([^>]*)>|</blockquote\s*>", re.IGNORECASE)
CITED: Final = re.compile(r"cite|quote|border-left", re.IGNORECASE)
_REFERENCE: Final = {mark: f"&#{ord(mark)};" for mark in (QUOTE_OPEN, QUOTE_CLOSE, BLOCK_OPEN)}
"""The marks as HTML: character references keep an ASCII page ASCII, which is half the work for everything after."""


def mark_quotes(html: str) -> str:
    """`html` with a mark after each tag that opens a blockquote and before each that closes one."""
    place = html.find("blockquote")
    if "BLOCKQUOTE" in html or "Blockquote" in html:
        return _BLOCKQUOTE.sub(_mark_quote, html)
    pieces: list[str] = []
    done = 0
    while place >= 0:
        match = _BLOCKQUOTE.match(html, place - 1 - (html[place - 1 : place] == "/"))
        if match is not None:
            pieces += (html[done : match.start()], _mark_quote(match))
            done = match.end()
        place = html.find("blockquote", max(done, place + 10))
    return "".join((*pieces, html[done:])) if pieces else html


def _mark_quote(match: re.Match[str]) -> str:
    if match[1] is None:
        return _REFERENCE[QUOTE_CLOSE] + match[0]
    return match[0] + _REFERENCE[QUOTE_OPEN if CITED.search(match[1]) else BLOCK_OPEN]


def clean_marked(text: str) -> str:
    """`clean_text`, which keeps the marks."""
    for mark in MARKS:
        if mark in text:
            return mark.join(map(clean_marked, text.split(mark)))
    return clean_text(text)
