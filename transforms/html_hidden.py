"""What the author of HTML took out of sight: by style, by attribute, by a class or id that a style sheet hides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

STYLE: Final = re.compile(r"(?<![\w-])style\s*+=\s*+(?:\"([^\"]*+)|'([^']*+)|([^\s\"'>]++))", re.IGNORECASE)
_STYLED: Final = re.compile(
    r"<([a-z][^\s/>]*+)"
    r"(?:[\s/]++|(?!style\s*=)[^\s/>=]++(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'|[^\s\"'>][^\s>]*+))?)*"
    r"style\s*+=\s*+(?:\"([^\"]*+)|'([^']*+)|([^\s\"'>]++))",
    re.IGNORECASE,
)
"""A tag up to the end of its style attribute: name (1), declarations (2, 3 or 4). Attributes before it are passed over whole:
where one is given up, an = is left that nothing takes, so no quoted value is ever read as markup."""
_NONE: Final = re.compile(r"\s*+:\s*+none", re.IGNORECASE)
_ALWAYS: Final = (("isplay", _NONE), ("ISPLAY", _NONE))
_WITH_HIDDEN: Final = tuple(  # these take the word "hidden" too
    (needle, re.compile("")) for needle in ("isibility", "ISIBILITY", "eight:0", "eight: 0")
)
_BEHIND: Final = 4_096
"""Characters from the start of a tag to the declaration that hides it, at most."""
_MAX_LOOKED_AT: Final = 2_000
_MAX_WALKED: Final = 4_000_000
_ZERO: Final = re.compile(r"0+(?:\.0*)?(?:px|pt|em|rem|%)?")
_HIDDEN_ATTRIBUTE: Final = re.compile(r"(?<!:)[\s\"'/]hidden(?![\w:-])", re.IGNORECASE)
"""The word where it could be an attribute of its own: not the value in overflow:hidden or overflow: hidden."""


def is_hidden(style: str) -> bool:
    """Whether the declarations of a style attribute take the element out of sight.

    Whole declarations are compared: font-size:0.9em is not font-size:0. Zero height counts only with overflow hidden, and not
    beside a least height. A font size of zero does not, for children may have their own; nor does zero opacity, which animations
    start from; nor mso-hide, which hides from Outlook what all others see.
    """
    declared: dict[str, str] = {}
    important: set[str] = set()
    for declaration in style.split(";"):
        name, colon, value = declaration.partition(":")
        if not colon:
            continue
        name, (value, mark, _) = name.strip().lower(), value.lower().partition("!")
        if mark:
            important.add(name)
        elif name in important:
            continue
        declared[name] = value.strip()
    if declared.get("display") == "none" or declared.get("visibility") in {"hidden", "collapse"}:
        return True
    flat = any(_ZERO.fullmatch(declared.get(name, "1")) for name in ("max-height", "height"))
    flat = flat and _ZERO.fullmatch(declared.get("min-height", "0")) is not None
    return flat and declared.get("overflow", declared.get("overflow-y", "")).startswith("hidden")


def mark_hidden(html: str) -> tuple[str, list[str]]:
    """`html` with the attribute hidden on every tag whose style hides it, and the selectors of what to skip."""
    may_hide = "idden" in html or "HIDDEN" in html
    places = _hidden_tags(html, _ALWAYS + _WITH_HIDDEN if may_hide else _ALWAYS)
    if places:
        html = _insert(html, sorted(places))
    skipped = ["[hidden]"] if places or (may_hide and has_hidden_attribute(html)) else []
    # What a tag says of itself comes before what a sheet says of its class, and was looked at above.
    skipped.extend(selector + _SAYS_NOTHING for selector in sorted(hidden_selectors(html))[:20])
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


def _hidden_tags(html: str, needles: tuple[tuple[str, re.Pattern[str]], ...]) -> set[int]:
    """Where the names of the tags end that their style hides. Bounded: behind the bounds what is hidden is shown."""
    places: set[int] = set()
    walked = 0
    for needle, rest in needles:
        position = html.find(needle)
        while position >= 0 and walked < _MAX_WALKED and len(places) < _MAX_LOOKED_AT:
            end = position + len(needle)
            if rest.match(html, end) and html[position - 6 : position].lower() != "line-h":  # line-height hides nothing
                steps, place = _hidden_tag(html, position)
                walked += steps
                if place is not None:
                    places.add(place)
            position = html.find(needle, end)
    return places


def _hidden_tag(html: str, position: int) -> tuple[int, int | None]:
    """What looking took, in characters, and where the name ends of the tag whose style attribute holds `position` and hides it."""
    opening, least, steps = position, max(0, position - _BEHIND), 0
    for _ in range(10):  # < may stand in a quoted value too
        opening = html.rfind("<", least, opening)
        if opening < 0:
            break
        steps += position - opening + 100
        tag = _STYLED.match(html, opening, position + _BEHIND)
        if tag is not None:
            held = tag.lastindex or 2
            if tag.start(held) <= position < tag.end():
                return steps, tag.end(1) if is_hidden(tag[held]) else None
    return steps + 100, None


def _insert(html: str, places: list[int]) -> str:
    pieces, last = [], 0
    for place in places:
        pieces += [html[last:place], " hidden"]
        last = place
    return "".join([*pieces, html[last:]])


# --- style sheets ----------------------------------------------------------------------------------------------------
_MAX_SHEETS: Final = 20
_MAX_SHEET: Final = 65_536
_SHEET_TAG: Final = re.compile(r"<style(?=[\s/>])([^>]*+)>", re.IGNORECASE)
_SHEET_END: Final = re.compile("</style", re.IGNORECASE)
_MEDIA: Final = re.compile(r"(?<![\w-])media\s*+=\s*+(?:\"([^\"]*+)|'([^']*+)|([^\s\"'>]++))", re.IGNORECASE)
_SELECTOR: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9]*+)?([.#][A-Za-z_][\w-]*+)")
_NAMES: Final = re.compile(r"[.#][A-Za-z_][\w-]*+")
_SAYS_NOTHING: Final = ':not([style*="isplay" i]):not([style*="isibility" i])'
_COMMENTS: Final = re.compile(r"/\*.*?(?:\*/|\Z)|<!--|-->", re.DOTALL)


def hidden_selectors(html: str) -> set[str]:
    """The selectors of a class or id that a style sheet in `html` hides on every screen, and no other rule shows."""
    hidden: dict[str, str] = {}
    shown: set[str] = set()
    for sheet in _sheets(html):
        lowered = sheet.lower() if sheet.isascii() else sheet
        if "display" in lowered or "visibility" in lowered:
            bare = _COMMENTS.sub("", sheet) if "/*" in sheet or "<!--" in sheet else sheet
            _read_sheet(_without_media(bare), hidden, shown)
    return {selector for selector, name in hidden.items() if name not in shown}


def _sheets(html: str) -> Iterator[str]:
    """The style sheets that hold on every screen: none for print or small windows only, none in a comment (for Outlook)."""
    for spelled in ("<style", "<STYLE"):
        start = html.find(spelled)
        for _ in range(_MAX_SHEETS):
            if start < 0:
                break
            end = start + len(spelled)
            tag = _SHEET_TAG.match(html, start, start + _BEHIND)
            if tag is not None:
                closing = _SHEET_END.search(html, tag.end(), tag.end() + _MAX_SHEET)
                end = closing.start() if closing else min(tag.end() + _MAX_SHEET, len(html))
                if _is_for_all(tag[1]) and html.rfind("<!--", 0, start) <= html.rfind("-->", 0, start):
                    yield html[tag.end() : end]
            start = html.find(spelled, end)


def _is_for_all(attributes: str) -> bool:
    media = _MEDIA.search(attributes) if attributes else None
    kinds = media[media.lastindex or 1].lower().split(",") if media else ("all",)
    return any(" ".join(kind.split()) in {"", "all", "screen", "only screen"} for kind in kinds)


def _read_sheet(sheet: str, hidden: dict[str, str], shown: set[str]) -> None:
    """Add to `hidden` the selectors that a rule of `sheet` hides, with their class or id; to `shown` those that one displays."""
    lowered = sheet.lower() if sheet.isascii() else sheet
    for needle in ("display", "visibility"):
        done, position = 0, lowered.find(needle)
        while position >= 0:
            opening, closing = sheet.rfind("{", done, position), sheet.find("}", position)
            if closing < 0:
                break
            if opening >= 0:
                gone = is_hidden(sheet[opening + 1 : closing])
                shows = not gone and (needle == "display" or "visible" in lowered[opening:closing])
                for selector in sheet[max(done, sheet.rfind("}", done, opening) + 1) : opening].split(","):
                    simple = _SELECTOR.fullmatch(selector.strip())
                    if simple is not None and gone:
                        hidden[simple[0]] = simple[1]
                    elif shows:
                        shown.update(_NAMES.findall(selector))
            done = closing + 1
            position = lowered.find(needle, done)


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
