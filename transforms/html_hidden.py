"""What the author of HTML took out of sight: by style, by attribute, by a class that a style sheet hides."""

from __future__ import annotations

import re
from typing import Final

STYLE: Final = re.compile(r"style\s*=\s*(?:\"([^\"]*+)|'([^']*+))", re.IGNORECASE)
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


def mark_hidden(html: str) -> tuple[str, list[str]]:
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
    skipped = ["[hidden]"] if places or (may_hide and has_hidden_attribute(html)) else []
    if "<style" in html:
        skipped.extend(f".{name}" for name in sorted(hidden_classes(html))[:20])
    return html, skipped


def has_hidden_attribute(html: str) -> bool:
    """Whether some tag may have the attribute hidden."""
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
    style = STYLE.search(html, opening, closing if closing > 0 else end)
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


def hidden_classes(html: str) -> set[str]:
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
