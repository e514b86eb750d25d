"""Gmail's search expressions (`q`): text in, a test of one message out.

Covers what Google's help page on search operators lists and a sync can ask: after/before/newer/older (epoch seconds, or a
date as midnight Pacific), from/to/cc/bcc/deliveredto/list, subject, in/is/label/category/has/larger/smaller/rfc822msgid, quoted
phrases, words, `-`, OR, braces and parentheses. No alias is expanded and nothing matches thread-wide, as in the API.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

_TOKEN = re.compile(
    r"""\s*(?:(?P<open>[({])|(?P<close>[)}])|(?P<minus>-(?=[^\s-]))|(?P<quoted>"[^"]*"?)"""
    r"""|(?P<op>[A-Za-z][A-Za-z0-9_]*):(?P<value>"[^"]*"?|[^\s(){}]*)|(?P<word>[^\s(){}]+))"""
)
_WORDS = re.compile(r"\w+", re.UNICODE)
_IN = {
    "inbox": "INBOX", "sent": "SENT", "draft": "DRAFT", "drafts": "DRAFT", "trash": "TRASH", "bin": "TRASH", "spam": "SPAM",
    "chat": "CHAT", "chats": "CHAT", "important": "IMPORTANT", "starred": "STARRED", "unread": "UNREAD",
}  # fmt: skip
_AGE = {"d": 1, "m": 30, "y": 365}


class Searchable(Protocol):
    """What a search looks at."""

    @property
    def labels(self) -> set[str]:
        """Label ids."""

    @property
    def internal_date(self) -> int:
        """Milliseconds since 1970."""

    @property
    def size(self) -> int:
        """Bytes."""

    def text(self, field: str) -> str:
        """A header by lower-case name, `body`, or `filename` (names of attached files, empty where none)."""


Test = Callable[[Searchable], bool]


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed search. `names_spam_or_trash`: it asks for spam or trash itself, so these are not left out."""

    test: Test
    names_spam_or_trash: bool


def parse_query(text: str, now: float, label_id: Callable[[str], str] = str.upper, me: str = "me") -> Query:
    """The search `text` as a test. `now` in seconds since 1970, for ages; `label_id` turns a label's name into its id."""
    return _Parser(text, now, label_id, me).parse()


class _Parser:
    def __init__(self, text: str, now: float, label_id: Callable[[str], str], me: str) -> None:
        self._tokens = [match for match in _TOKEN.finditer(text) if match.group(0).strip()]
        self._next = 0
        self._now = now
        self._label_id = label_id
        self._me = me
        self._special = False
        self._negated = False

    def parse(self) -> Query:
        tests: list[Test] = []
        while self._next < len(self._tokens):
            tests.append(self._all(""))
            if self._next < len(self._tokens):  # a closing bracket too many
                self._next += 1
        return Query(_every(tests), self._special)

    def _peek(self) -> re.Match[str] | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _all(self, close: str, operator: str = "") -> Test:
        """Terms up to the closing bracket: all must hold, `a OR b` binds the two terms beside it."""
        groups: list[list[Test]] = []
        join_next = False
        while (token := self._peek()) is not None and not token.group("close"):
            if token.group("word") in {"OR", "|"}:
                join_next = bool(groups)
                self._next += 1
                continue
            if token.group("word") in {"AND", "AROUND"}:
                self._next += 1
                continue
            term = self._term(operator)
            if join_next:
                groups[-1].append(term)
            else:
                groups.append([term])
            join_next = False
        if close:
            self._next += 1
        if close == "}":
            return _any([test for group in groups for test in group])
        return _every([_any(group) for group in groups])

    def _term(self, operator: str) -> Test:
        token = self._tokens[self._next]
        self._next += 1
        if token.group("minus"):
            self._negated = not self._negated
            following = self._peek()
            inner = self._term(operator) if following and not following.group("close") else _every([])
            self._negated = not self._negated
            return lambda message: not inner(message)
        if token.group("open"):
            return self._all(")" if token.group("open") == "(" else "}", operator)
        if token.group("op"):
            name, value = token.group("op").lower(), token.group("value")
            following = self._peek()
            if not value and following is not None and following.group("open") and following.start() == token.end():
                self._next += 1
                return self._all(")" if following.group("open") == "(" else "}", name)
            return self._operator(name, value.strip('"'), token.group(0).strip())
        value = (token.group("quoted") or token.group("word")).strip('"')
        return (
            self._operator(operator, value, value)
            if operator
            else _contains(("subject", "from", "to", "cc", "body"), value)
        )

    def _operator(self, name: str, value: str, whole: str) -> Test:
        lower = value.lower()
        if name in {"after", "newer", "before", "older"} and (moment := _moment(value)) is not None:
            return _date_test(moment * 1000, later=name in {"after", "newer"})
        if name in {"newer_than", "older_than"} and (age := re.fullmatch(r"(\d{1,5})([dmy])", lower)):
            oldest = (self._now - timedelta(days=int(age[1]) * _AGE[age[2]]).total_seconds()) * 1000
            newer = name == "newer_than"
            return lambda message: (message.internal_date >= oldest) == newer
        if lower == "me" and name in {"from", "to", "cc", "bcc"}:
            value = self._me
        if name == "to":
            return _contains(("to", "cc", "bcc"), value)
        if name in {"from", "cc", "bcc", "subject"}:
            return _contains((name,), value)
        if name == "list":
            return _contains(("list-id", "mailing-list", "list-post"), value)
        if name == "deliveredto":
            return _contains(("delivered-to",), value)
        if name == "filename":
            return _contains(("filename",), value)
        if name in {"in", "is", "label", "category"}:
            return self._label_test(name, lower, value)
        if name == "has" and lower == "attachment":
            return lambda message: bool(message.text("filename"))
        if name == "rfc822msgid":
            wanted = value.strip("<>")
            return lambda message: message.text("message-id").strip().strip("<>") == wanted
        if name in {"larger", "smaller", "size"} and (size := re.fullmatch(r"(\d{1,15})([km]?)b?", lower)):
            count = int(size[1]) * {"": 1, "k": 1024, "m": 1024 * 1024}[size[2]]
            return (lambda m: m.size < count) if name == "smaller" else (lambda m: m.size >= count)
        return _contains(("subject", "from", "to", "cc", "body"), whole)

    def _label_test(self, name: str, lower: str, value: str) -> Test:
        if lower == "anywhere" and name == "in":
            self._special = self._special or not self._negated
            return lambda _message: True
        if lower == "read" and name == "is":
            return lambda message: "UNREAD" not in message.labels
        label = _IN.get(lower) or (f"CATEGORY_{lower.upper()}" if name == "category" else self._label_id(value))
        if label in {"SPAM", "TRASH"} and not self._negated:
            self._special = True
        return lambda message: label in message.labels


def _every(tests: list[Test]) -> Test:
    return tests[0] if len(tests) == 1 else lambda message: all(test(message) for test in tests)


def _any(tests: list[Test]) -> Test:
    return tests[0] if len(tests) == 1 else lambda message: any(test(message) for test in tests)


def _date_test(limit: float, *, later: bool) -> Test:
    return lambda message: (message.internal_date >= limit) == later


def _moment(value: str) -> float | None:
    """Seconds since 1970 for epoch seconds or a date (midnight Pacific); None for anything else."""
    if re.fullmatch(r"\d{9,12}", value):
        return float(value)
    match = re.fullmatch(r"(\d{1,4})[/-](\d{1,2})[/-](\d{1,4})", value)
    if not match:
        return float(value) if value.isascii() and value.isdigit() and len(value) < 9 else None
    first, second, third = (int(group) for group in match.groups())
    year, month, day = (first, second, third) if first > 31 else (third, first, second)
    try:
        return pacific_midnight(date(year, month, day)).timestamp()
    except (ValueError, OverflowError):
        return None


def pacific_midnight(day: date) -> datetime:
    """Midnight in California at the start of `day`, in UTC. By the rule of the law, since a bare machine has no zone tables:
    summer time from the second Sunday of March to the first of November, before 2007 from the first of April to the last of
    October. The clocks turn at two in the morning, so the first day still begins in winter time.
    """
    if day.year >= 2007:
        begin, end = _sunday(day.year, 3, 8), _sunday(day.year, 11, 1)
    else:
        begin, end = _sunday(day.year, 4, 1), _sunday(day.year, 10, 25)
    hours = 7 if begin < day <= end else 8
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=hours)


def _sunday(year: int, month: int, earliest: int) -> date:
    first = date(year, month, earliest)
    return first + timedelta(days=6 - first.weekday())


def _contains(fields: tuple[str, ...], value: str) -> Test:
    """Words of `value` side by side in one of the fields; case does not count, parts of words do not match."""
    needle = _words(value)
    if needle == " ":
        return lambda _message: True
    return lambda message: any(needle in _words(message.text(name)) for name in fields)


def _words(text: str) -> str:
    words = _WORDS.findall(text.lower())
    return f" {' '.join(words)} " if words else " "
