"""TeamSettings: a team's policies, as they are kept in the column team.settings."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final, Literal

KINDS: Final = ("bounce", "reply", "calendar", "marketing", "transactional")
"""The kinds of automated mail; each is a rule automated.<kind>."""

MAX_DAYS: Final = 36_500
"""Retention beyond a century: no calendar goes on for ever, and a date before its beginning is none."""

_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "on_trash": ("keep", "remove"),
    "on_spam": ("keep", "remove"),
    "on_delete": ("remove", "keep"),
    "on_opt_out": ("keep", "erase"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class TeamSettings:
    """What a team may decide. The defaults are the product's.

    on_trash, on_spam: what becomes of an imported mail's copy that is moved to the trash or to spam.
    on_delete: what becomes of it when it is deleted for good in Gmail ("remove": this mailbox's copy goes).
    on_opt_out: what becomes of a mailbox's copies when its user turns import off.
    retention_days: mail older than this is not kept; None keeps it.
    rules: the version of the rule set for automated mail; "" is the newest.
    shadow_rules: a second version that is counted beside it and decides nothing; "" for none.
    automated_threshold: the score from which mail counts as automated; None is the rule set's own.
    signals_off: names of signals that are not looked at.
    keep_kinds: kinds of automated mail (KINDS) that are imported all the same.

    Raises:
        ValueError: a value is not one of those above; the text shows it and what is allowed.
    """

    on_trash: Literal["keep", "remove"] = "keep"
    on_spam: Literal["keep", "remove"] = "keep"
    on_delete: Literal["remove", "keep"] = "remove"
    on_opt_out: Literal["keep", "erase"] = "keep"
    retention_days: int | None = None
    rules: str = ""
    shadow_rules: str = ""
    automated_threshold: float | None = None
    signals_off: frozenset[str] = frozenset()
    keep_kinds: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"setting {name}={getattr(self, name)!r}: use one of {', '.join(allowed)}")
        days, least = self.retention_days, self.automated_threshold
        if days is not None and (type(days) is not int or not 1 <= days <= MAX_DAYS):  # true is an int, too
            raise ValueError(f"setting retention_days={days!r}: use a number of days from 1 to {MAX_DAYS}, or none")
        if least is not None and (type(least) not in {int, float} or not math.isfinite(least)):
            raise ValueError(f"setting automated_threshold={least!r}: use a number, or none")
        if unknown := sorted(self.keep_kinds - set(KINDS)):
            raise ValueError(f"setting keep_kinds has {unknown[0]!r}: use some of {', '.join(KINDS)}")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TeamSettings:
        """The settings in `values` (the JSON of team.settings); what is missing keeps its default.

        Raises:
            ValueError: a name or value is unknown; the text shows it.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - names):
            raise ValueError(f"unknown setting {unknown[0]!r}: the names are {', '.join(sorted(names))}")
        given = dict(values)
        for name in {"signals_off", "keep_kinds"} & given.keys():
            given[name] = _texts(name, given[name])
        for name in {"rules", "shadow_rules"} & given.keys():
            if not isinstance(given[name], str):
                raise ValueError(f"setting {name}={given[name]!r}: use the version of a rule set as text")  # noqa: TRY004 (its caller is told of all by one error)
        return cls(**given)

    def to_json(self) -> dict[str, Any]:
        """Only what differs from the defaults, as JSON values."""
        default = type(self)()
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        changed = {name: value for name, value in values.items() if value != getattr(default, name)}
        return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in changed.items()}


def _texts(name: str, value: Any) -> frozenset[str]:
    """The names in `value`, the JSON of a setting that is a set; null is none."""
    if value is None:
        return frozenset()
    if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"setting {name}={value!r}: use a list of names")
    return frozenset(value)
