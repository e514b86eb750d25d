"""How deep HTML nests: what a conforming parser or the text of lists would take more than linear time or memory for.

Section numbers are the HTML Living Standard's.
"""

from __future__ import annotations

import re
from typing import Final

_UNREAD: Final = "script|style|title|textarea|template|noscript|iframe|xmp|svg|select"
TOKEN: Final = re.compile(
    rf"<!--.*?(?:-->|\Z)|<({_UNREAD})(?=[\s/>]).*?(?:</\1(?=[\s/>])[^>]*+>?|\Z)"
    r"|<(/?)([a-zA-Z][^\s/>]*+)((?:[^>=]++|=\s*+(?:\"[^\"]*+\"?|'[^']*+'?)?+)*+)(?:>|\Z)|<[/!?][^>]*+(?:>|\Z)|<",
    re.DOTALL | re.IGNORECASE,
)
"""One token: a comment; an element whose content is no markup (1); a tag: slash (2), name (3), attributes (4); other markup."""

# 13.2.4.2, "special": an end tag is not sought beyond these.
_SPECIAL: Final = frozenset(
    """address applet area article aside base basefont bgsound blockquote body br button caption center col colgroup dd details dir div
    dl dt embed fieldset figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html iframe img input
    keygen li link listing main marquee menu meta nav noembed noframes noscript object ol p param plaintext pre script search section
    select source style summary table tbody td template textarea tfoot th thead title tr track ul wbr xmp""".split()  # noqa: SIM905 (a list of quoted words is no clearer)
)
_NEVER_DEEP: Final = frozenset(
    """area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr
    p li dd dt td th tr thead tbody tfoot colgroup""".split()  # noqa: SIM905
)
"""Without an end tag, or closed by the next of their kind."""
_MAX_OPEN: Final = 4_000
_MAX_STEPS: Final = 40_000_000


_TAG: Final = re.compile(
    r"<(?:!--.*?(?:-->|\Z)|(/?)([a-zA-Z][^\s/>]*+)(?:[^>=]++|=\s*+(?:\"[^\"]*+\"?|'[^']*+'?)?+)*+(?:>|\Z))", re.DOTALL
)
_RAW: Final = frozenset(("script", "style", "title", "textarea", "iframe", "xmp", "noembed", "noframes"))
"""Their content is text (13.2.5.1), except within SVG and MathML."""


def is_deep(html: str, tags: int) -> bool:
    """Whether thousands of elements are open at once, or end tags that close nothing pass too many open ones in all (13.2.6.4.7,
    any other end tag). `tags` is how often < occurs.
    """
    if tags - html.count("</") <= _MAX_OPEN:
        return False
    html = html.lower()
    counts: dict[str, int] = {}
    depth = plain = steps = 0
    match = _TAG.search(html)
    while match is not None:
        position = match.end()
        name = match[2]
        if name and name not in _NEVER_DEEP:
            count = counts.get(name, 0)
            if not match[1]:
                if name in _RAW and not counts.get("svg") and not counts.get("math"):
                    position = html.find(f"</{name}", position)
                    if position < 0:
                        break
                counts[name] = count + 1
                depth += 1
                plain += name not in _SPECIAL
                if depth > _MAX_OPEN:
                    return True
            elif count:
                counts[name] = count - 1
                depth -= 1
                plain -= name not in _SPECIAL
            else:
                steps += plain
        match = _TAG.search(html, position)
    return steps > _MAX_STEPS


_IGNORED: Final = re.compile(
    r"<(?:/[a-z][^\s/>]*+|(?:html|head|body|frame|caption|col|colgroup|tr|td|th|tbody|tfoot|thead|form)(?=[\s/]))[\s/]++[^\s/>]",
    re.IGNORECASE,
)
_WITH_ATTRIBUTES: Final = re.compile(r"</?[a-z][^\s/>]*+[\s/]++[^\s/>]", re.IGNORECASE)
_SELECT: Final = re.compile("<select", re.IGNORECASE)
_TEXT: Final = re.compile(">([^<]++)")
_MAX_JOINED: Final = 500_000_000


def is_glued(html: str, tags: int) -> bool:
    """Whether text is cut by so many tags which a parser passes over that joining its pieces again could take gigabytes.

    End tags that close nothing, tags of a table outside of one (13.2.6.4.7), and nearly every tag in a select (13.2.6.4.16) leave no
    node between two pieces of text. Where such a tag has attributes, these lie in memory between the pieces, and the parser copies
    all the text so far to add the next. `tags` is how often < occurs.
    """
    if tags * len(html) <= _MAX_JOINED:
        return False
    pattern = _WITH_ATTRIBUTES if _SELECT.search(html) else _IGNORED
    ignored = len(pattern.findall(html))
    if ignored * len(html) <= _MAX_JOINED:
        return False
    return ignored * sum(len(text.encode("utf-8", "replace")) for text in _TEXT.findall(html)) > _MAX_JOINED


_LIST: Final = re.compile(r"<(/?)(?:ul|ol|menu|dir)(?=[\s/>])", re.IGNORECASE)
_MAX_LISTS: Final = 25


def flatten_lists(html: str) -> str:
    """`html` with all lists after the first twenty-five as plain blocks; their items stay items.

    Each open list indents every line inside it, so thousands of nested ones come to gigabytes. Which of them an end tag really
    closes only a parser knows; so they are counted, not their depth.
    """
    lists = _LIST.findall(html)
    if len(lists) - lists.count("/") <= _MAX_LISTS:
        return html
    left = _MAX_LISTS

    def flatten(match: re.Match[str]) -> str:
        nonlocal left
        left -= not match[1]
        return match[0] if left >= 0 else f"<{match[1]}div"

    return _LIST.sub(flatten, html)
