"""Who a From, To or Cc field names (RFC 5322 section 3.4, with the obsolete forms of 4.4), and how addresses compare.

Two ways through: one regular expression for the shapes that nearly all mail uses, and a scanner for everything else. Both
give the same answer where both apply. Names never count as addresses: only what stands in angle brackets, or an address
that stands alone.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

import idna

from .charsets import clean_text
from .headers import decode_words, unfold
from .records import Participant

MAX_FIELD: Final = 262_144
"""Characters of an address field that are read: over four times what Gmail lets a user send to."""
MAX_RECIPIENTS: Final = 2_000
"""Mailboxes of one field that are kept, the most a Workspace user may write to at once."""
MAX_ADDRESS: Final = 320
"""RFC 5321 section 4.5.3.1: 64 + 1 + 255. What is longer is no address."""
MAX_NAME: Final = 255
"""Characters of a display name that are kept."""
_MAX_CACHED: Final = 2_048

_LOCAL: Final = r"[A-Za-z0-9!#$%&*+/=?^_`{|}~.-][A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]*+"
# No possessive group: before Python 3.11.5 one that has to try alternatives can go wrong (python/cpython issue 106052).
_HOST: Final = r"[A-Za-z0-9_]++(?:(?:-++|\.)[A-Za-z0-9_]++)*"  # labels that neither start nor end with a hyphen
_COMMON: Final = re.compile(
    rf"[ \t]*+(?:(?:\"([^\"\\]*+)\"[ \t]*+|([^\"(),:;<>@\[\]\\]*+))<[ \t]*+({_LOCAL}@{_HOST})[ \t]*+>|({_LOCAL}@{_HOST}))[ \t]*+(?:,|\Z)"
)


def parse_addresses(value: str) -> tuple[Participant, ...]:
    """The mailboxes in `value`, each address once, in order; empty where there are none. Never raises.

    Groups are flattened, "undisclosed-recipients:;" names nobody, encoded words are decoded after splitting, comments and
    obsolete routes are dropped. At most MAX_FIELD characters are read and MAX_RECIPIENTS mailboxes kept.
    """
    if len(value) <= _MAX_CACHED:
        return _parse_cached(value)
    return _parse(value[:MAX_FIELD])


def _parse(value: str) -> tuple[Participant, ...]:
    found = _parse_common(value)
    if found is None:
        found = _Scanner(unfold(value)).mailboxes()
    return tuple(found.values())


_parse_cached = lru_cache(maxsize=16_384)(_parse)


def forget_cached() -> None:
    """Empty the caches of this module (benchmarks and tests start from nothing)."""
    _parse_cached.cache_clear()
    normalize_domain.cache_clear()


def _parse_common(value: str) -> dict[str, Participant] | None:
    """The mailboxes where the whole of `value` is of the common shapes, else None."""
    if "=?" in value:
        return None
    found: dict[str, Participant] = {}
    position, end = 0, len(value)
    while position < end:
        match = _COMMON.match(value, position)
        if match is None:
            return None
        quoted, phrase, bracketed, alone = match.groups()
        # What matched is ASCII, without spaces and trailing dots: all that is left of normalize_address.
        address = (bracketed or alone).lower()
        if address not in found and len(address) <= MAX_ADDRESS and len(found) < MAX_RECIPIENTS:
            name = (quoted or phrase or "").strip()
            if name and not (name.isascii() and name.isprintable() and len(name) <= MAX_NAME and "  " not in name):
                name = clean_name(name)
            found[address] = Participant(address, name)
        position = match.end()
    return found


def normalize_address(address: str) -> str:
    """`address` for comparing: trimmed, Normal Form C, lower case, domain without trailing dot in its ASCII form (UTS 46).

    "" where it is no address: no @, nothing on one side of it, a space or control in it, or over 320 characters.
    """
    address = address.strip()
    local, at, domain = address.rpartition("@")
    if not at or not local or len(address) > MAX_ADDRESS:
        return ""
    local = local.lower()
    if not local.isascii():
        local = unicodedata.normalize("NFC", unicodedata.normalize("NFC", local).lower())
    domain = normalize_domain(domain)
    if not domain:
        return ""
    address = f"{local}@{domain}"
    if len(address) > MAX_ADDRESS or not address.isprintable() or (" " in address and not local.startswith('"')):
        return ""
    return address


@lru_cache(maxsize=16_384)
def normalize_domain(domain: str) -> str:
    """`domain` for comparing: trimmed, lower case, no trailing dot, ASCII form by UTS 46; address literals stay. "" where empty.

    A name that IDNA refuses keeps its letters in Normal Form C: it can still equal itself.
    """
    domain = domain.strip().rstrip(".").lower()
    if len(domain) > 255:
        return ""
    if not domain.isascii():
        domain = unicodedata.normalize("NFC", domain)
        try:
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            domain = domain.lower()
        domain = domain.rstrip(".")
    if not domain or " " in domain or not domain.isprintable():
        return ""
    return domain


def identity(address: str) -> str:
    """The account behind one of the team's OWN addresses: plus-tag dropped; gmail.com for googlemail.com, and no dots there.

    Never for customers: theirs are compared exactly.
    """
    local, _, domain = normalize_address(address).rpartition("@")
    local = local.partition("+")[0] or local
    if domain == "googlemail.com":
        domain = "gmail.com"
    if domain == "gmail.com":
        local = local.replace(".", "") or local
    return f"{local}@{domain}" if domain else ""


def clean_name(name: str) -> str:
    """A display name as one line of text: decoded, Normal Form C, at most MAX_NAME characters."""
    if name.isascii() and name.isprintable() and "=?" not in name:
        name = name.strip()
        if "  " not in name:
            return name[:MAX_NAME]
    name = unfold(decode_words(name))
    if not name.isascii():
        name = unicodedata.normalize("NFC", clean_text(name))
    return " ".join(name.split())[:MAX_NAME]


_TOKEN: Final = re.compile(
    r"(?P<word>=\?[^?\s]{1,80}\?[bBqQ]\?[^?]*\?=)"
    r'|"(?P<quoted>[^"\\]*+(?:\\.[^"\\]*+)*)"'
    r"|<(?P<angle>(?:\"(?:[^\"\\]|\\.){0,320}\"|[^<>\"])*)>"
    r"|(?P<space>[ \t]+)"
    r"|(?P<literal>\[[^\[\]\\,<>]*\])"
    r"|(?P<atom>(?:(?!=\?)[^\s\"(),:;<>\[\]])+)"
    r"|(?P<special>.)",
    re.DOTALL,
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_ALONE: Final = re.compile(r"[^\s@\"<>(),:;]+@[^\s@\"<>(),:;]+")
_QUOTED_LOCAL: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"@[^\s@\"<>(),:;]+")
_AROUND_DOTS: Final = re.compile(r" *([@.]) *")
_PARENTHESES: Final = re.compile(r"\\.|[()]", re.DOTALL)


def _comments(value: str) -> dict[int, int]:
    """Start and end of every parenthesis that has its partner (RFC 5322 section 3.2.2: comments nest); the others are letters."""
    found: dict[int, int] = {}
    opened: list[int] = []
    for match in _PARENTHESES.finditer(value):
        if match[0] == "(":
            opened.append(match.start())
        elif match[0] == ")" and opened:
            found[opened.pop()] = match.end()
    return found


class _Scanner:
    """One pass over an address list of any shape; time grows with the length only."""

    def __init__(self, value: str) -> None:
        self._value = value
        self._found: dict[str, Participant] = {}
        self._phrase: list[str] = []  # what may be a display name, as written
        self._bare: list[str] = []  # the same stretch with quotes kept, where an address may stand alone
        self._comment = ""
        self._carried = ""  # "Müller," of an unquoted "Müller, Hans <h@x>"
        self._held: tuple[str, str] | None = None  # address and name of the last <...> of this element
        self._reopened = False  # a < without its > came after it
        self._comments = _comments(value) if "(" in value else {}
        self._quotes_end = True

    def mailboxes(self) -> dict[str, Participant]:
        """Everything found, by address."""
        value, position, end = self._value, 0, len(self._value)
        while position < end and len(self._found) < MAX_RECIPIENTS:
            character = value[position]
            if position in self._comments:
                after = self._comments[position]
                self._comment = self._comment or value[position + 1 : after - 1]
                self._phrase.append(" ")
                self._bare.append(" ")
                position = after
                continue
            if character in '"<' and not self._closes(position):
                self._open_ended(character)
                position += 1
                continue
            match = _TOKEN.match(value, position)
            if match is None:  # the pattern's last branch takes anything
                position += 1
                continue
            position = match.end()
            self._take(match)
        self._finish_element(last=True)
        return self._found

    def _closes(self, position: int) -> bool:
        """Whether the quote or bracket at `position` has its partner. The search is bounded, so a row of them stays cheap."""
        character = self._value[position]
        if character == '"':
            if not self._quotes_end:
                return False
            self._quotes_end = self._value.find('"', position + 1) >= 0
            return self._quotes_end
        return self._value.find(">", position + 1, position + 2_000) >= 0

    def _open_ended(self, character: str) -> None:
        """A quote or bracket without partner: a quote is a letter of the name, a bracket starts the address."""
        if character == "<":
            self._reopened = True
            self._bare = []
            self._phrase.append(" ")

    def _take(self, match: re.Match[str]) -> None:
        kind, text = match.lastgroup, match[0]
        if kind == "angle":
            self._finish_angle(match["angle"])
        elif kind == "quoted":
            self._phrase.append(_ESCAPED.sub(r"\1", match["quoted"]))
            self._bare.append(text)
        elif kind == "special" and text in ",;":
            self._finish_element(last=text == ";")
        elif kind == "special" and text == '"':
            self._quotes_end = False  # what closes it is escaped: no later quote can close either
        elif kind == "special" and text == ":":
            # The name of a group (or of a route that lost its brackets): nobody's name.
            self._phrase, self._bare, self._comment, self._carried = [], [], "", ""
        else:
            self._phrase.append(text)
            self._bare.append(text)

    def _finish_angle(self, inside: str) -> None:
        address = normalize_address(_without_route(inside))
        if address:
            name = f"{self._carried}{''.join(self._phrase)}".strip()
            self._held = address, name or (self._held[1] if self._held else "")
            self._reopened = False
        self._phrase, self._bare, self._carried = [], [], ""

    def _finish_element(self, *, last: bool = False) -> None:
        """A comma, semicolon or the end: of several <...> the last is the address, else one may stand alone."""
        bare = "".join(self._bare).strip()
        if self._held is not None and not (self._reopened and _ALONE.fullmatch(bare)):
            self._keep(*self._held)
            self._clear()
            return
        if not bare:
            if last:
                self._carried = ""
            return
        quoted = _QUOTED_LOCAL.fullmatch(bare)
        if " " in bare and "@" in bare and not quoted:
            squeezed = _AROUND_DOTS.sub(r"\1", bare)
            bare = squeezed if _ALONE.fullmatch(squeezed) else bare
        words = [bare] if quoted else bare.split()
        if all(quoted or _ALONE.fullmatch(word) for word in words):
            for word in words:
                self._keep(_without_route(word), "")
            self._clear()
            return
        # No address: the first half of a name whose comma somebody forgot to quote, as Gmail itself does.
        carried = f"{self._carried}{''.join(self._phrase).strip()}, "
        self._clear()
        if not last and "@" not in carried and len(carried) <= MAX_NAME:
            self._carried = carried

    def _keep(self, address: str, name: str) -> None:
        address = normalize_address(address)
        if address and address not in self._found:
            self._found[address] = Participant(
                address, clean_name(name) or clean_name(_ESCAPED.sub(r"\1", self._comment))
            )

    def _clear(self) -> None:
        self._phrase, self._bare, self._comment, self._carried, self._held, self._reopened = [], [], "", "", None, False


def _without_route(inside: str) -> str:
    """The address of what stood between angle brackets: no obsolete route, no comment, no mailto:, quotes only where needed."""
    if len(inside) > 4 * MAX_ADDRESS:
        return ""
    inside = re.sub(r"\([^()]*\)", "", inside).strip()
    if inside.startswith("@") and ":" in inside:
        inside = inside.rpartition(":")[2].strip()
    if inside[:7].lower() == "mailto:":
        inside = inside[7:]
    local, at, domain = inside.rpartition("@")
    local, domain = local.strip().strip("'"), domain.strip().strip("'")
    if not at:
        return ""
    if local.startswith('"') and local.endswith('"') and len(local) >= 2:
        plain = _ESCAPED.sub(r"\1", local[1:-1])
        if re.fullmatch(_LOCAL, plain):
            local = plain
    elif " " in local or "\t" in local:
        local = re.sub(r"[ \t]*\.[ \t]*", ".", local)
    if re.search(r"[\s@<>(),;:\"\[\]]", local) and not local.startswith('"'):
        return ""
    domain = re.sub(r"[ \t]*\.[ \t]*", ".", domain)
    if not domain.startswith("[") and re.search(r"[\s@<>(),;:\"\[\]]", domain):
        return ""
    return f"{local}@{domain}"
