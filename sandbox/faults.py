"""Faults that can be switched on: seeded, by rate or by count, for all calls or some of them."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .api_error import ApiError
from .http_server import DropConnectionError

REQUEST_FAULTS = ("429", "403", "500", "503", "timeout", "drop", "answer")
PART_FAULTS = ("part", "part_missing")
PUSH_FAULTS = ("lost", "double", "delay")
HISTORY_FAULTS = ("bare_stubs", "empty_pages")
TOKEN_FAULTS = ("token_500", "token_answer")
NUMBERS = ("retry_after", "timeout_seconds", "delay_seconds")
RATES = REQUEST_FAULTS + PART_FAULTS + PUSH_FAULTS + HISTORY_FAULTS + TOKEN_FAULTS


@dataclass
class Rule:
    """Rates (0 to 1) of faults by name, for `methods` and `mailboxes` (empty: all), `count` times at most (None: no end).

    `says` is what `answer` and `token_answer` say: `code` with `reason` and `message`, or with `error` and `error_description`.
    """

    rates: dict[str, float]
    methods: frozenset[str] = frozenset()
    mailboxes: frozenset[str] = frozenset()
    count: int | None = None
    retry_after: int | None = None
    timeout_seconds: float = 30.0
    delay_seconds: float = 5.0
    says: dict[str, Any] = field(default_factory=dict)
    hits: int = field(default=0)

    def __post_init__(self) -> None:
        for name, rate in self.rates.items():
            if name not in RATES:
                msg = f"fault {name!r} is not known; choose from {', '.join(RATES)}"
                raise ValueError(msg)
            if not 0 <= rate <= 1:
                msg = f"rate of fault {name} is {rate}; give 0 to 1"
                raise ValueError(msg)


def parse_rule(value: Mapping[str, Any]) -> Rule:
    """A rule from JSON: fault names with their rates beside `methods`, `mailboxes`, `count` and the numbers.

    Raises:
        ValueError: an unknown name or a rate outside 0 to 1.
    """
    rest = dict(value)
    methods = frozenset(rest.pop("methods", ()))
    mailboxes = frozenset(address.lower() for address in rest.pop("mailboxes", ()))
    count = rest.pop("count", None)
    numbers = {name: rest.pop(name) for name in NUMBERS if name in rest}
    says = rest.pop("says", {})
    rates = {name: float(rate) for name, rate in rest.items()}
    return Rule(rates, methods, mailboxes, count, says=says, **numbers)


def parse_spec(text: str) -> list[Rule]:
    """Rules from the command line: `429=0.05,500=0.02,lost=0.2,retry_after=2`; `;` begins another rule;
    `methods=messages.get+history.list`, `mailboxes=a@x+b@x` and `count=3` narrow one.

    Raises:
        ValueError: the text has another form.
    """
    rules = []
    for piece in filter(None, (piece.strip() for piece in text.split(";"))):
        value: dict[str, Any] = {}
        for pair in filter(None, (pair.strip() for pair in piece.split(","))):
            name, equals, number = pair.partition("=")
            if not equals:
                msg = f"fault {pair!r} is no name=rate"
                raise ValueError(msg)
            if name in {"methods", "mailboxes"}:
                value[name] = number.split("+")
            elif name in {"count", "retry_after"}:
                value[name] = int(number)
            else:
                value[name] = float(number)
        rules.append(parse_rule(value))
    return rules


class Faults:
    """The rules in force. One seeded source of chance: the same calls in the same order fail the same way."""

    def __init__(self, seed: int = 0, rules: list[Rule] | None = None) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(f"faults:{seed}")  # noqa: S311  # repeatable chance is what is wanted
        self._rules = list(rules or [])
        self.stopping = threading.Event()
        self.counts: dict[str, int] = {}

    def set_rules(self, rules: list[Rule], *, add: bool = False) -> None:
        """Put these rules in force, in place of the old ones or beside them."""
        with self._lock:
            self._rules = [*self._rules, *rules] if add else list(rules)

    def hit(self, name: str, method: str = "", mailbox: str = "") -> Rule | None:
        """The rule by which fault `name` strikes this call, or None."""
        if not self._rules:
            return None
        with self._lock:
            for rule in self._rules:
                rate = rule.rates.get(name, 0.0)
                if (
                    rate
                    and (not rule.methods or method in rule.methods)
                    and (not rule.mailboxes or mailbox.lower() in rule.mailboxes)
                    and (rule.count is None or rule.hits < rule.count)
                    and self._random.random() < rate
                ):
                    rule.hits += 1
                    self.counts[name] = self.counts.get(name, 0) + 1
                    return rule
        return None

    def strike_request(self, method: str, mailbox: str) -> None:
        """Before a call is answered.

        Raises:
            ApiError: it is refused. DropConnectionError: it gets no answer.
        """
        if not self._rules:
            return
        for name in REQUEST_FAULTS:
            rule = self.hit(name, method, mailbox)
            if rule is None:
                continue
            if name == "timeout":
                self.stopping.wait(rule.timeout_seconds)
                raise DropConnectionError
            if name == "drop":
                raise DropConnectionError
            error = _refusal(name, rule.says)
            error.retry_after = rule.retry_after
            raise error


def _refusal(name: str, says: Mapping[str, Any]) -> ApiError:
    if name == "answer":
        return ApiError(
            int(says["code"]), says.get("message", ""), says.get("reason", ""), status=says.get("status", "")
        )
    if name == "429":
        return ApiError.exhausted()
    if name == "403":
        return ApiError(403, "User Rate Limit Exceeded", "userRateLimitExceeded", "usageLimits")
    if name == "503":
        return ApiError(503, "The service is currently unavailable.", "backendError")
    return ApiError(500, "Internal error encountered.", "backendError")
