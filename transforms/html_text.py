"""HTML mail to readable plain text, in bounded time and memory, whatever the HTML.

Blocks, lists and tables keep their lines, links their target; hidden nodes, scripts, styles, titles, comments and images go.
Resiliparse does the work. It grows with the square of the attributes of one tag and of open formatting tags, so HTML that could
make it do so is first reduced to bare block tags, in one linear pass.
"""

from __future__ import annotations

import re
from typing import Final

from bs4 import BeautifulSoup
from resiliparse.extract.html2text import extract_plain_text

from .charsets import clean_text
from .html_depth import TOKEN, flatten_lists, is_deep, is_glued
from .html_hidden import STYLE, is_hidden, mark_hidden
from .html_marks import MARKS, clean_marked, mark_quotes

MAX_HTML: Final = 1_048_576
"""Characters of HTML that are converted; what follows is cut and flagged."""
HTML_CUT: Final = "html.cut"
"""Flag: the HTML was longer than MAX_HTML."""
HTML_REDUCED: Final = "html.reduced"
"""Flag: the HTML was built to exhaust a parser; its links are lost."""

_SMALL: Final = 49_152  # up to here even a single tag of nothing but attributes costs under 0.4 s
_MAX_NODES: Final = 300_000
_MAX_LINK: Final = 160
_UNPARSABLE: Final = re.compile(f"[\ud800-\udfff{''.join(MARKS)}]")  # what UTF-8 cannot hold, and the marks


def html_to_text(html: str) -> tuple[str, tuple[str, ...]]:
    """The visible text of `html` with html_marks in it, and flags. Never raises."""
    if "<" not in html and "&" not in html and html.isascii():
        return " ".join(clean_text(html).split()), ()  # plain words under the label of HTML
    flags: list[str] = []
    if len(html) > MAX_HTML:
        html = html[:MAX_HTML]
        flags.append(HTML_CUT)
    html = _without_unparsable(html)
    if is_hostile(html):
        html = reduce_html(html)
        flags.append(HTML_REDUCED)
        skipped = ["[hidden]"]
    else:
        html, skipped = mark_hidden(html)
    html = mark_quotes(html)
    text = _convert(html, skipped)
    return _tidy(clean_marked(text), spaced="\xa0" in text, preformatted="<pre" in html or "<PRE" in html), tuple(flags)


def _without_unparsable(html: str) -> str:
    """`html` without lone surrogates and the marks. A search for the whole class would cost as much as the conversion."""
    if any(mark in html for mark in MARKS):
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

    Five ways are known: thousands of attributes on one tag (each is compared with all before it), formatting tags left open (all are
    cloned into each later block), end tags that close nothing (each is sought among all open elements), thousands of elements
    inside each other, and tags with attributes that are passed over (all text so far is copied at each). A tag may hide its length by > in quoted values, so quotes in text count too.
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
    if is_deep(html, tags) or is_glued(html, tags):
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


def reduce_html(html: str) -> str:
    """`html` with nothing left but bare block tags and text, and what its author hid still hidden. Linear in its length.

    After so many block tags that they could make a parser slow again, others only begin a new line.
    """
    left = _MAX_BARE
    known: dict[str, str] = {}  # hundreds of thousands of tags are mostly the same few

    def bare(match: re.Match[str]) -> str:
        nonlocal left
        written = match[0]
        tag = known.get(written)
        if tag is None:
            tag = _bare(match)
            if len(written) < 32 and len(known) < 1_000:
                known[written] = tag
        if tag[:1] == "<":
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
    style = STYLE.search(match[4]) if name in _KEPT and match[4] else None
    hidden = style is not None and is_hidden(style[style.lastindex or 1])
    if name in _KEPT:
        return f"<{name} hidden>" if hidden else f"<{name}>"
    return ""


# --- links, lines --------------------------------------------------------------------------------------------
_LINK: Final = re.compile(r" \((#[^\s()]*|[a-zA-Z][a-zA-Z+.-]{1,20}:\S*|)\)(?=[^\w/]|\Z)")
_LABEL: Final = 200
_CELLS: Final = re.compile(r"\t[\t ]*+")
_SPACES: Final = re.compile(r"(?<=[^\s])  ++")
_INDENT: Final = re.compile(r"\n (?=[^ \n])")


def _tidy(text: str, *, spaced: bool, preformatted: bool) -> str:
    """`text` with one tab between cells, no runs of spaces but indents (where it is `spaced`), no runs of blank lines."""
    if "(" in text and " (" in text:
        text = _LINK.sub(_shorten_link, text)
    if "\t" in text:
        text = _CELLS.sub("\t", text)
    if spaced and "  " in text and not preformatted:
        text = _SPACES.sub(" ", text)
    if " \n" in text or "\t\n" in text:
        text = "\n".join(map(str.rstrip, text.split("\n")))
    if "\n " in text and not preformatted:
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
