"""The HTML that mail programs write, read in one pass without a parser: building a tree and walking it costs several times as much.

Only pages whose tree their tags tell: every element is closed where it should be, a table holds nothing but rows and cells, and
there are no lists, forms, preformatted text or media. All else is left to the parser in html_text. Where both can read a page,
both give the same text (tests/transforms/test_html_usual.py).

Between two texts there mostly stand several tags, and a page has few such runs that differ. So a run is followed once for each
state of the walk that it is met in, and remembered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from html.entities import html5
from typing import Final, NamedTuple

from .html_hidden import hidden_classes
from .html_marks import BLOCK_OPEN, CITED, MARKS, QUOTE_CLOSE, QUOTE_OPEN, clean_marked
from .html_states import AT_BODY, CELL, LINE, START, State, before, closed, is_in_rows, opened, spaced
from .html_tags import (
    HIDDEN,
    PARAGRAPH,
    QUOTE,
    SHEET,
    SKIP,
    A,
    UnusualError,
    known,
    target_of,
    understand,
)  # fmt: skip

MAX_USUAL: Final = 262_144
"""Characters of the longest page that is tried."""
_MAX_PLACES: Final = 2_048
_MAX_RUN: Final = 2_048
_MAX_NEW: Final = 16
_MAX_KEPT: Final = 2_000_000
"""Bytes of runs that are remembered."""

# Within the bytes of the text: the marks of quotes as they are, the ends of lines, the tab between cells.
_OPEN, _CLOSE, _INDENT = (mark.encode() for mark in (QUOTE_OPEN, QUOTE_CLOSE, BLOCK_OPEN))
_TAKEN: Final = (_OPEN, _CLOSE, _INDENT, LINE, CELL, b"\0")
_FINAL: Final = bytes(
    0x20 if one in b"\t\n\v\f\r" else 0x0A if one == LINE[0] else 0x09 if one == CELL[0] else one for one in range(256)
)
_CONTROLS: Final = bytes((*range(0x06, 0x09), *range(0x0E, 0x20), 0x7F))


class _SplitCommentError(UnusualError):
    """A comment holds text, or a link."""


def read_usual(html: str) -> tuple[str, bool] | None:
    """The text of `html`, clean, with html_marks in it, and whether no-break spaces were; None where it is not usual. Never raises."""
    if len(html) > MAX_USUAL:
        return None
    try:
        page = html.encode()
        for mark in _TAKEN:
            if mark in page:
                return None
        try:
            found = _read(page)
        except _SplitCommentError:
            found = _read(_without_comments(page))
        if found.sheets and hidden_classes(f"<style>{b'</style><style>'.join(found.sheets).decode()}</style>"):
            return None
        return _finish(b"".join(found.out))
    except (UnusualError, UnicodeEncodeError):
        return None


_ABRUPT: Final = frozenset((b">", b"-", b""))


def _without_comments(page: bytes) -> bytes:
    first, *others = page.split(b"<!--")
    pieces = [first]
    for other in others:
        comment, end, after = other.partition(b"-->")
        if not end or comment[:1] in _ABRUPT or b"--!" in comment or (b"<style" in comment and _may_hide(comment)):
            raise UnusualError
        pieces.append(after)
    return b"".join(pieces)


# --- the walk --------------------------------------------------------------------------------------------------------
class _Place:
    """A state and what was found out about it: where each run of tags leads, and what words do."""

    __slots__ = (
        "after",
        "anchored",
        "before",
        "blank",
        "in_rows",
        "linked",
        "runs",
        "silent",
        "spaced",
        "state",
        "tight",
        "trailed",
        "unlinked",
    )

    def __init__(self, state: State) -> None:
        self.state = state
        self.blank = state.blank or state.trailed or state.lead != b""
        self.before = before(state)
        self.tight = state.lead != b"" or (state.trailed and state.margin > 0)  # the text so far ends in blank space
        self.in_rows = is_in_rows(state)
        self.silent = state.outer is not None
        self.after: _Place | None = (
            None  # from here on: the places after words, blank space, a link's tags, a mere anchor
        )
        self.trailed: _Place | None = None
        self.spaced: _Place | None = None
        self.linked: _Place | None = None
        self.unlinked: _Place | None = None
        self.anchored: _Place | None = None
        self.runs: dict[bytes, tuple[bytes, _Place]] = {}


_places: Final[dict[State, _Place]] = {}
_kept: Final = [0]


def forget_cached() -> None:
    """Empty the caches (benchmarks and tests start from nothing)."""
    for place in list(_places.values()):
        place.runs.clear()
        place.after = place.trailed = place.spaced = place.linked = place.unlinked = place.anchored = None
    _places.clear()
    known.clear()
    _kept[0] = 0


def _place(state: State) -> _Place:
    place = _places.get(state)
    if place is None:
        if len(_places) >= _MAX_PLACES:
            forget_cached()
        place = _places[state] = _Place(state)
    return place


_ONE: Final = rb"<(?!/?[aA][\s>]|[iI][mM][gG][\s>])[^>]*+>"
_RUN: Final = re.compile(rb"(%b(?:\s*+%b)*+)" % (_ONE, _ONE))
"""Tags with nothing between them. Links and images are not among them: hardly two are alike."""


class _Found(NamedTuple):
    """What a page is found to hold: its text in pieces, the targets of links that are still open, the style sheets that may hide."""

    out: list[bytes]
    targets: list[bytes]
    sheets: list[bytes]
    new: list[bytes]
    """Runs of tags that were not known."""
    allowed: int
    """How many of them there may be: where nearly all is new, a parser is faster. The next page of that make has fewer."""


def _read(page: bytes) -> _Found:
    """The text of `page`, as a walk over its tree would give it."""
    found = _Found([], [], [], [], _MAX_NEW + len(page) // 1_000)
    first = _RUN.split(page, _FEW)
    place = _place(START)
    if first[0]:
        place = _take(place, first[0], found)
    if len(first) > 2 * _FEW:  # where a page is not usual, its first tags mostly tell
        place = _walk(place, first[1:-2], found)
        first = _RUN.split(first[-2] + first[-1])
    place = _walk(place, first[1:], found)
    if found.targets or place.silent:
        raise UnusualError
    return found


_FEW: Final = 12


def _walk(place: _Place, parts: list[bytes], found: _Found) -> _Place:
    """The place after `parts`, runs of tags and texts in turn."""
    append = found.out.append
    for run, text in zip(parts[::2], parts[1::2], strict=True):
        step = place.runs.get(run)
        if step is None:
            found.new.append(run)
            if len(found.new) > found.allowed:
                raise UnusualError
            step = _follow(place, run)
        marks, place = step
        if marks:
            append(marks)
        if text:
            after = place.after
            if after is None or b"<" in text:
                place = _take(place, text, found)
            else:
                append(place.before)
                append(text.lstrip() if place.blank else text)
                place = after if text[-1] > _SPACE or not text[-1:].isspace() else _trail(place)
    return place


def _take(place: _Place, text: bytes, found: _Found) -> _Place:
    """The place after `text`, in which links and images may stand; what is visible goes to `found`."""
    words, *pieces = text.split(b"<")
    if words:
        place = _say(place, words, found)
    bare = False
    for number, piece in enumerate(pieces):
        tag, end, words = piece.partition(b">")
        if not end:
            raise UnusualError
        if bare:
            bare = False
        elif tag in _END_OF_LINK:
            place = _unlink(place, found)
        elif tag[:2] in _LINK:
            bare = not words and pieces[number + 1 : number + 2] != [] and pieces[number + 1][:3] in _BARE
            place = _anchor(place) if bare else _link(place, target_of(tag), found)
        elif understand(tag) != SKIP:
            raise UnusualError
        elif place.state == START:
            place = _place(AT_BODY)
        if words:
            place = _say(place, words, found)
    return place


_LINK: Final = frozenset((b"a ", b"A ", b"a\n", b"A\n", b"a\r", b"A\r"))
_END_OF_LINK: Final = frozenset((b"/a", b"/A"))
_BARE: Final = frozenset((b"/a>", b"/A>"))


def _link(place: _Place, target: bytes, found: _Found) -> _Place:
    found.targets.append(target)
    if place.linked is None:
        state = place.state
        if place.in_rows or A in state.stack:
            raise UnusualError
        place.linked = _place(state._replace(stack=(*state.stack, A), blank=False, last=len(state.stack)))
    return place.linked


def _anchor(place: _Place) -> _Place:
    """The place after a link with nothing in it, whose target is not shown."""
    if place.anchored is None:
        state = place.state
        if place.in_rows or A in state.stack:
            raise UnusualError
        place.anchored = _place(state._replace(blank=False, last=len(state.stack)))
    return place.anchored


def _unlink(place: _Place, found: _Found) -> _Place:
    if place.unlinked is None:
        stack = place.state.stack
        if not stack or stack[-1] != A or (not place.state.begun and place.before):
            raise UnusualError  # the last: a link without words among blanks that the page begins with
        place.unlinked = _place(
            place.state._replace(
                stack=stack[:-1], margin=0, blank=False, last=len(stack) - 1, lead=b"", trailed=False, begun=True
            )
        )
    target = found.targets.pop()
    if not place.silent:
        found.out.extend((place.before, b"(" if place.tight else b" (", target, b")"))
    return place.unlinked


def _say(place: _Place, words: bytes, found: _Found) -> _Place:
    """The place after `words`, which go to `found`."""
    if place.silent:
        if place.state.stack[-1] == SHEET + HIDDEN and _may_hide(words):
            found.sheets.append(words)
        return place
    if words.isspace():
        if place.blank or place.in_rows:
            return place
        if place.spaced is None:
            place.spaced = _place(spaced(place.state))
        return place.spaced
    if place.in_rows:
        raise UnusualError
    found.out.extend((place.before, words.lstrip() if place.blank else words))
    if place.after is None:
        place.after = _place(place.state._replace(margin=0, blank=False, lead=b"", trailed=False, begun=True))
    return _trail(place) if words[-1:].isspace() else place.after


def _trail(place: _Place) -> _Place:
    """The place after words that end in a space."""
    if place.trailed is None:
        place.trailed = _place(place.state._replace(margin=0, blank=False, lead=b"", trailed=True, begun=True))
    return place.trailed


_SPACE: Final = 0x20


def _may_hide(sheet: bytes) -> bool:
    return b"display" in sheet and b"none" in sheet


def _follow(place: _Place, run: bytes) -> tuple[bytes, _Place]:
    """The marks of quotes that the tags of `run` make, and the place they lead to."""
    marks, state = b"", place.state
    pieces = iter(run.split(b"<")[1:])
    for piece in pieces:
        if piece.startswith(b"!--"):
            space = _after_comment(piece[3:], pieces, in_sheet=state.stack[-1:] == (SHEET + HIDDEN,))
        else:
            tag, end, space = piece.partition(b">")
            if not end:
                raise UnusualError
            number = known.get(tag)
            if number is None:
                number = understand(tag)
            if number > 0:
                if QUOTE <= number < PARAGRAPH:
                    state = opened(state, number)
                    marks += (
                        b"" if state.outer else before(state) + (_OPEN if CITED.search(tag.decode()[10:]) else _INDENT)
                    )
                    state = state._replace(margin=0, blank=False, lead=b"", trailed=False, begun=True)
                else:
                    state = opened(state, number)
            elif number < 0:
                if -PARAGRAPH < number <= -QUOTE:
                    marks += b"" if state.outer else before(state) + _CLOSE
                    state = state._replace(margin=0, lead=b"", trailed=False, begun=True)
                state = closed(state, -number)
        if space and not state.blank and not is_in_rows(state):
            state = spaced(state)
    step = marks, _place(state)
    if len(run) <= _MAX_RUN:
        _kept[0] += len(run) + 200
        if _kept[0] > _MAX_KEPT:
            forget_cached()
        place.runs[run] = step
    return step


def _after_comment(comment: bytes, pieces: Iterator[bytes], *, in_sheet: bool) -> bytes:
    """What follows the end of the comment that begins with `comment` and may go on in the next `pieces`."""
    if comment[:1] in _ABRUPT:
        raise UnusualError
    inside, end, space = comment.partition(b"-->")
    while not end:
        following = next(pieces, None)
        if following is None:
            raise _SplitCommentError
        in_sheet = in_sheet or following.startswith(b"style")
        inside, end, space = (inside + b"<" + following).partition(b"-->")
    if b"--!" in inside or (in_sheet and _may_hide(inside)):
        raise UnusualError
    return space


# --- characters ------------------------------------------------------------------------------------------------------
_REFERENCE: Final = re.compile(r"&(?:#([0-9]{2,7}|[xX][0-9A-Fa-f]{2,6});|([A-Za-z][A-Za-z0-9]*);|([A-Za-z#]))")


def _finish(data: bytes) -> tuple[str, bool]:
    """The text that `data` comes to: blank space collapsed, references decoded, clean; and whether it had no-break spaces."""
    data = data.translate(_FINAL, _CONTROLS)
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    if b" \n" in data:
        data = data.replace(b" \n", b"\n")
    spaced = referred = False
    if b"&" in data:
        if b"&nbsp;" in data:
            spaced = True
            data = data.replace(b"&nbsp;", b" ")
        if b"&" in data:
            data = data.replace(b"&lt;", b"<").replace(b"&gt;", b">").replace(b"&quot;", b'"')
            referred = data.count(b"&") != data.count(b"&amp;")
            if not referred:
                data = data.replace(b"&amp;", b"&")
    text = data.decode()
    if referred:
        text = _REFERENCE.sub(_decode, text)
    if not text.isascii() and (referred or _UNCLEAN.search(data.translate(None, _ASCII))):
        spaced = spaced or "\xa0" in text
        text = clean_marked(text)
    return text, spaced


_ASCII: Final = bytes(range(128))
_UNCLEAN: Final = re.compile(
    rb"\xc2[\x80-\xa0\xad]|\xcd\x8f|\xe2\x80[\x87\x8b\xa8\xa9\xaf]|\xe2\x81\xa0|\xef\xbb\xbf|\xef\xbf[\xbe\xbf]"
)
"""What clean_text would change, in UTF-8."""


def _decode(match: re.Match[str]) -> str:
    """The character that a reference stands for, where there is no doubt of it."""
    _, name, loose = match.groups()
    if loose:
        raise UnusualError
    character = html5.get(f"{name};", "\n") if name else unescape(match[0])
    if not character or (character.isspace() and character.isascii()) or character in MARKS:
        raise UnusualError
    return character
