"""HTML mail to readable plain text, in bounded time and memory, whatever the HTML.

Blocks, lists and tables keep their lines, links their target; hidden nodes, scripts, styles, titles, comments and images go.
Resiliparse does the work. It grows with the square of the attributes of one tag and of open formatting tags, so HTML that
could make it do so is first reduced to bare block tags, in one linear pass.
"""

from __future__ import annotations

import re
from typing import Final

from bs4 import BeautifulSoup
from resiliparse.extract.html2text import extract_plain_text

from .charsets import clean_text
from .html_depth import TOKEN, flatten_lists, is_deep

MAX_HTML: Final = 1_048_576
"""Characters of HTML that are converted; what follows is cut and flagged."""
HTML_CUT: Final = "html.cut"
"""Flag: the HTML was longer than MAX_HTML."""
HTML_REDUCED: Final = "html.reduced"
"""Flag: the HTML was built to exhaust a parser; its links are lost."""

QUOTE_OPEN: Final = "\ufdd0"
"""Stands in the answer where a quoted reply begins (a blockquote that a mail client marked as such)."""
QUOTE_CLOSE: Final = "\ufdd1"
"""Stands where any blockquote ends."""
BLOCK_OPEN: Final = "\ufdd2"
"""Stands where another blockquote begins: an indent, or a quote if an attribution precedes it."""

_SMALL: Final = 49_152  # up to here even a single tag of nothing but attributes costs under 0.4 s
_MAX_NODES: Final = 300_000
_MAX_LINK: Final = 160
_UNPARSABLE: Final = re.compile("[\ud800-\udfff\ufdd0-\ufdd2]")  # what UTF-8 cannot hold, and the marks above


def html_to_text(html: str) -> tuple[str, tuple[str, ...]]:
    """The visible text of `html` with the marks QUOTE_OPEN, QUOTE_CLOSE and BLOCK_OPEN in it, and flags. Never raises."""
    if "<" not in html and "&" not in html and html.isascii():
        return " ".join(clean_text(html).split()), ()  # plain words under the label of HTML
    flags: list[str] = []
    if len(html) > MAX_HTML:
        html = html[:MAX_HTML]
        flags.append(HTML_CUT)
    if not html.isascii():
        html = _without_unparsable(html)
    if is_hostile(html):
        html = reduce_html(html)
        flags.append(HTML_REDUCED)
        skipped = ["[hidden]"]
    else:
        html, skipped = _mark_hidden(html)
    html = _mark_quotes(html)
    text = _convert(html, skipped)
    return _tidy(_clean(text), html, spaced="\xa0" in text), tuple(flags)


def _clean(text: str) -> str:
    """`clean_text`, which keeps the marks; piece by piece, for they make the whole text dear to look at."""
    for mark in (QUOTE_OPEN, QUOTE_CLOSE, BLOCK_OPEN):
        if mark in text:
            return mark.join(map(_clean, text.split(mark)))
    return clean_text(text)


def _without_unparsable(html: str) -> str:
    """`html` without lone surrogates and the marks. A search for the whole class would cost as much as the conversion."""
    if QUOTE_OPEN in html or QUOTE_CLOSE in html or BLOCK_OPEN in html:
        return _UNPARSABLE.sub("", html)
    try:
        html.encode()
    except UnicodeEncodeError:
        return _UNPARSABLE.sub("", html)
    return html


def _convert(html: str, skipped: list[str]) -> str:
    html = flatten_lists(html)
    try:
        return extract_plain_text(
            html, preserve_formatting=True, alt_texts=False, links=True, skip_elements=skipped or None
        )
    except (ValueError, RuntimeError):
        # The parser's own errors derive from these. Never seen; the second reader is slow, so it reads less.
        return slow_text(reduce_html(html[: MAX_HTML // 8]))


def slow_text(html: str) -> str:
    """The text of `html` by BeautifulSoup, a line for each string: what is left when the fast way cannot be gone."""
    soup = BeautifulSoup(html, "html.parser")
    for node in soup(["script", "style", "title", "template"]):
        node.decompose()
    return soup.get_text("\n")


# --- hostile ---------------------------------------------------------------------------------------------------------
# HTML Living Standard, 13.2.4.3: the elements that are opened again in every block until they are closed.
_FORMATTING: Final = frozenset(
    {"a", "big", "b", "code", "em", "font", "i", "nobr", "small", "strike", "strong", "s", "tt", "u"}
)
_MAY_FORMAT: Final = re.compile(r"<(/?)([abcefinstuABCEFINSTU][A-Za-z]{0,5})(?=[\s/>])")
_MIGHT_FORMAT: Final = re.compile(r"<[abcefinstuABCEFINSTU][\s/>imotIMOT]")  # each of them begins so, and few others do
_QUOTE_IN_TEXT: Final = re.compile(r">[^<>\"']*+[\"'][^<>=]*+=[^<>\"']*+[\"']")
_DATA: Final = re.compile(r"(?<=[A-Za-z-]=)[\"']data:[\w/;+.=-]*,[A-Za-z0-9+/=%]*")
_SEPARATOR: Final = re.compile(r"[\s/\"']+")
_LONG_TAG: Final = 640
_LONG: Final = re.compile(rf"(?:>|\A)[^>]{{{_LONG_TAG}}}")


def is_hostile(html: str) -> bool:
    """Whether `html` could make a conforming parser take more than linear time or memory.

    Four ways are known: thousands of attributes on one tag (each is compared with all before it), formatting tags left open (all are
    cloned into each later block), end tags that close nothing (each is sought among all open elements), and thousands of elements
    inside each other. A tag may hide its length by > in quoted values, so quotes in text count too.
    """
    tags = html.count("<")
    if (
        tags * tags > _MAX_NODES
        and (tags - html.count("</")) * tags > _MAX_NODES
        and len(_MIGHT_FORMAT.findall(html)) * tags > _MAX_NODES
    ):
        formatting = [(slash, name) for slash, name in _MAY_FORMAT.findall(html) if name.lower() in _FORMATTING]
        if len(formatting) * tags > _MAX_NODES and _open_formatting(formatting) * tags > _MAX_NODES:
            return True
    if len(html) <= _SMALL:
        return False
    if is_deep(html, tags):
        return True
    for piece in html.split(">") if _LONG.search(html) else ():
        if len(piece) > _LONG_TAG:
            tag = piece[piece.find("<") + 1 :] if "<" in piece else ""
            if len(tag) > _LONG_TAG and len(_SEPARATOR.findall(_DATA.sub("", tag))) > _LONG_TAG // 2:
                return True
    hidden = _QUOTE_IN_TEXT.findall(html)
    return len(hidden) > 5 and max(map(len, hidden)) + len(hidden) * 40 > 640


def _open_formatting(tags: list[tuple[str, str]]) -> int:
    """The most formatting elements that are open at once."""
    counts: dict[str, int] = {}
    total = most = 0
    for slash, name in tags:
        kind = name.lower()
        count = counts.get(kind, 0)
        if not slash:
            counts[kind] = count + 1
            total += 1
            most = max(most, total)
        elif count:
            counts[kind] = count - 1
            total -= 1
    return most


_KEPT: Final = frozenset(
    """address article aside blockquote br caption center dd div dl dt fieldset figure footer form h1 h2 h3 h4 h5 h6 header hr li
    main nav ol p pre section table tbody td tfoot th thead tr ul""".split()  # noqa: SIM905 (a list of quoted words is no clearer)
)
_STYLE: Final = re.compile(r"style\s*=\s*(?:\"([^\"]*+)|'([^']*+))", re.IGNORECASE)


def reduce_html(html: str) -> str:
    """`html` with nothing left but bare block tags and text, and what its author hid still hidden. Linear in its length.

    After so many block tags that they could make a parser slow again, others only begin a new line.
    """
    left = _MAX_BARE

    def bare(match: re.Match[str]) -> str:
        nonlocal left
        tag = _bare(match)
        if tag.startswith("<"):
            left -= 1
            if left < 0:
                return "<br>"
        return tag

    return TOKEN.sub(bare, html)


_MAX_BARE: Final = 3_000


def _bare(match: re.Match[str]) -> str:
    name = (match[3] or "").lower()
    if not name:
        return "&lt;" if match[0] == "<" else ""
    if match[2]:
        return f"</{name}>" if name in _KEPT else ""
    style = _STYLE.search(match[4]) if name in _KEPT and match[4] else None
    hidden = style is not None and is_hidden(style[1] or style[2] or "")
    if name in _KEPT:
        return f"<{name} hidden>" if hidden else f"<{name}>"
    return ""


# --- hidden ----------------------------------------------------------------------------------------------------------
_MAX_LOOKED_AT: Final = 2_000
_ALWAYS: Final = ("display:none", "display: none", "DISPLAY")
_WITH_HIDDEN: Final = ("visibility", "VISIBILITY", "height:0", "height: 0")  # these take the word "hidden" too
_ZERO: Final = re.compile(r"0+(?:\.0*)?(?:px|pt|em|rem|%)?")
_HIDDEN_ATTRIBUTE: Final = re.compile(r"(?<!:)[\s\"'/]hidden(?![\w:-])", re.IGNORECASE)
"""The word where it could be an attribute of its own: not the value in overflow:hidden or overflow: hidden."""
_CLASS: Final = re.compile(r"(?:[a-z]+)?\.([A-Za-z_][\w-]*)")
_COMMENTS: Final = re.compile(r"/\*.*?(?:\*/|\Z)|<!--|-->", re.DOTALL)


def is_hidden(style: str) -> bool:
    """Whether the declarations of a style attribute take the element out of sight.

    Whole declarations are compared: font-size:0.9em is not font-size:0. Zero height counts only with overflow hidden. A font
    size of zero does not, for children may have their own; nor does zero opacity, which animations start from; nor mso-hide,
    which hides from Outlook what all others see.
    """
    declared: dict[str, str] = {}
    for declaration in style.split(";"):
        name, colon, value = declaration.partition(":")
        if colon:
            declared[name.strip().lower()] = value.lower().replace("!important", "").strip()
    if declared.get("display") == "none" or declared.get("visibility") in {"hidden", "collapse"}:
        return True
    flat = any(_ZERO.fullmatch(declared.get(name, "1")) for name in ("max-height", "height"))
    return flat and declared.get("overflow", declared.get("overflow-y", "")).startswith("hidden")


def _mark_hidden(html: str) -> tuple[str, list[str]]:
    """`html` with the attribute hidden on every tag whose style hides it, and the selectors of what to skip."""
    places: set[int] = set()
    may_hide = "hidden" in html or "HIDDEN" in html
    needles = _ALWAYS if "none" in html or "NONE" in html or "DISPLAY" in html else ()
    for needle in needles + _WITH_HIDDEN if may_hide else needles:
        position = html.find(needle)
        while position >= 0 and len(places) < _MAX_LOOKED_AT:
            if html[position - 5 : position] != "line-":  # line-height hides nothing
                place = _hidden_tag(html, position, position + len(needle))
                if place is not None:
                    places.add(place)
            position = html.find(needle, position + len(needle))
    if places:
        html = _insert(html, sorted(places))
    skipped = ["[hidden]"] if places or (may_hide and _has_hidden_attribute(html)) else []
    if "<style" in html:
        skipped.extend(f".{name}" for name in sorted(_hidden_classes(html))[:20])
    return html, skipped


def _has_hidden_attribute(html: str) -> bool:
    for word in ("hidden", "HIDDEN", "Hidden"):
        place = html.find(word, 1)
        while place > 0:
            if _HIDDEN_ATTRIBUTE.match(html, place - 1):
                return True
            place = html.find(word, place + 6)
    return False


def _hidden_tag(html: str, start: int, end: int) -> int | None:
    """Where the name of the tag ends whose style attribute holds [start, end) and hides it; None where there is none."""
    opening = html.rfind("<", max(0, start - 4_096), start)
    if opening < 0 or html.find(">", opening, start) >= 0:
        return None
    closing = html.find(">", end, end + 4_096)
    style = _STYLE.search(html, opening, closing if closing > 0 else end)
    if style is None or not style.start() < start < end <= style.end() or not is_hidden(style[1] or style[2] or ""):
        return None
    after_name = opening + 1
    while html[after_name].isalnum():
        after_name += 1
    return after_name if html[after_name].isspace() else None


def _insert(html: str, places: list[int]) -> str:
    pieces, last = [], 0
    for place in places:
        pieces += [html[last:place], " hidden"]
        last = place
    return "".join([*pieces, html[last:]])


def _hidden_classes(html: str) -> set[str]:
    """The classes that a style sheet in `html` hides everywhere: not under a media query, and shown by no other rule."""
    hidden: set[str] = set()
    shown: set[str] = set()
    position = 0
    for _ in range(20):
        start = html.find("<style", position)
        if start < 0:
            break
        position = html.find("</style", start)
        sheet = html[start : position if position >= 0 else start + 65_536][:65_536]
        if "none" in sheet:
            sheet = sheet.partition(">")[2]
            if "/*" in sheet or "<!--" in sheet:
                sheet = _COMMENTS.sub("", sheet)
            _read_sheet(_without_media(sheet), hidden, shown)
        if position < 0:
            break
    return hidden - shown


def _read_sheet(sheet: str, hidden: set[str], shown: set[str]) -> None:
    """Add to `hidden` the classes that a rule of `sheet` hides, to `shown` those that one displays."""
    position = sheet.find("display")
    while position >= 0:
        opening, closing = sheet.rfind("{", 0, position), sheet.find("}", position)
        if closing < 0:
            return
        if opening >= 0:
            gone = is_hidden(sheet[opening + 1 : closing])
            for selector in sheet[sheet.rfind("}", 0, opening) + 1 : opening].split(","):
                name = _CLASS.fullmatch(selector.strip())
                if name is not None and gone:
                    hidden.add(name[1])
                elif not gone:
                    shown.update(_CLASS.findall(selector))
        position = sheet.find("display", closing)


def _without_media(sheet: str) -> str:
    """`sheet` without its nested blocks (@media, @supports): what they say holds only sometimes."""
    start = sheet.find("@")
    if start < 0:
        return sheet
    kept = [sheet[:start]]
    while start >= 0:
        brace, semicolon = sheet.find("{", start), sheet.find(";", start)
        if 0 <= semicolon < brace or brace < 0:  # @import, @charset
            position = semicolon + 1 if semicolon >= 0 else len(sheet)
        else:
            depth, position = 1, brace + 1
            while depth and position < len(sheet):
                brace, closing = sheet.find("{", position), sheet.find("}", position)
                if closing < 0:
                    position = len(sheet)
                elif 0 <= brace < closing:
                    depth, position = depth + 1, brace + 1
                else:
                    depth, position = depth - 1, closing + 1
        start = sheet.find("@", position)
        kept.append(sheet[position : start if start >= 0 else len(sheet)])
    return "".join(kept)


# --- quotes, links, lines --------------------------------------------------------------------------------------------
_BLOCKQUOTE: Final = re.compile(r"<blockquote(?=[\s>])([^>]*)>|</blockquote\s*>", re.IGNORECASE)
_CITED: Final = re.compile(r"cite|quote|border-left", re.IGNORECASE)
_REFERENCE: Final = {mark: f"&#{ord(mark)};" for mark in (QUOTE_OPEN, QUOTE_CLOSE, BLOCK_OPEN)}
"""The marks as HTML: character references keep an ASCII page ASCII, which is half the work for everything after."""


def _mark_quotes(html: str) -> str:
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
    return match[0] + _REFERENCE[QUOTE_OPEN if _CITED.search(match[1]) else BLOCK_OPEN]


_LINK: Final = re.compile(r" \((#[^\s()]*|[a-zA-Z][a-zA-Z+.-]{1,20}:\S*|)\)(?=[^\w/]|\Z)")
_LABEL: Final = 200
_CELLS: Final = re.compile(r"\t[\t ]*+")
_SPACES: Final = re.compile(r"(?<=[^\s])  ++")
_INDENT: Final = re.compile(r"\n (?=[^ \n])")


def _tidy(text: str, html: str, *, spaced: bool) -> str:
    """`text` with one tab between cells, no runs of spaces but indents (where it is `spaced`), no runs of blank lines."""
    if " (" in text:
        text = _LINK.sub(_shorten_link, text)
    if "\t" in text:
        text = _CELLS.sub("\t", text)
    if spaced and "  " in text and "<pre" not in html and "<PRE" not in html:
        text = _SPACES.sub(" ", text)
    if " \n" in text or "\t\n" in text:
        text = "\n".join(map(str.rstrip, text.split("\n")))
    if "\n " in text and "<pre" not in html and "<PRE" not in html:
        text = _INDENT.sub("\n", text)
    while "\n\n\n" in text:  # each round takes a third of every run
        text = text.replace("\n\n\n", "\n\n")
    return text.strip()


def _shorten_link(match: re.Match[str]) -> str:
    """A link's target is kept where it says more than its label: no mail address twice, no page-long tracking link."""
    target = match[1]
    scheme, _, rest = target.partition(":")
    if (
        not target
        or target.startswith("#")
        or scheme.lower() in {"mailto", "tel", "javascript", "cid", "data", "about", "sms"}
    ):
        return ""
    if not rest.startswith("//"):
        return match[0]
    plain = rest.strip("/").lower()
    if plain and len(plain) <= _LABEL:
        start = match.start()
        if match.string[max(0, start - _LABEL) : start].rstrip(".,;:!").rstrip("/").lower().endswith(plain):
            return ""
    if len(target) > _MAX_LINK:
        return f" ({scheme}://{rest[2:].partition('/')[0][:100]}/…)"
    return match[0]
