"""Automated or not: facts that need no weighing, then a score over named signals; versioned, explained, two at a time if wanted.

What is exempt (a thread or address the team wrote to, its own sent mail) is decided by SelectCustomerMail; here only the
mail speaks. The whole rule set in words: docs/rules.md.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import functools
import importlib.resources
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from .automated_evidence import Evidence, Signal, is_role_address
from .automated_facts import FACTS, Fact
from .automated_signals import SIGNALS
from .settings import TeamSettings

BASE: Final = "(base)"
THRESHOLD: Final = "(threshold)"
MAX_NAMED: Final = 8
"""How many signals a decision names, the loudest first."""
TEXT_FACTS: Final = tuple(fact for fact in FACTS if fact.reads)
"""The facts that may hold once the text was read though they did not before."""
FIELD_FACTS: Final = tuple(fact for fact in FACTS if not fact.reads)
"""The facts that need no text: they hold of a colleague's mail too."""

_BULK_FIELDS: Final = frozenset(
    {"list-unsubscribe", "list-id", "precedence-bulk", "feedback-id", "campaign-field", "one-click", "verp-return-path"}
)


@dataclasses.dataclass(frozen=True, slots=True)
class RuleSet:
    """One version: a weight for each signal it knows, the score of a mail without any, and from where on mail is automated."""

    version: str
    weights: Mapping[str, float]
    base: float
    threshold: float


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule set says of one mail. `kind` is None for a person's mail; `is_hard`: a fact decided, and nothing exempts it."""

    kind: str | None
    score: float | None
    signals: tuple[str, ...]
    is_hard: bool = False


@functools.cache
def rule_sets() -> Mapping[str, RuleSet]:
    """All versions in automated_weights.tsv, oldest first."""
    text = importlib.resources.files(__package__).joinpath("automated_weights.tsv").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    versions = [name for name in rows[0] if name != "signal"]
    known = {signal.name for signal in SIGNALS}
    found: dict[str, RuleSet] = {}
    for version in versions:
        values = {row["signal"]: float(row[version]) for row in rows if row[version]}
        base, threshold = values.pop(BASE), values.pop(THRESHOLD)
        if unknown := sorted(set(values) - known):
            raise ValueError(f"automated_weights.tsv has a weight for {unknown[0]!r}, which no signal has as its name")
        found[version] = RuleSet(version, MappingProxyType(values), base, threshold)
    return MappingProxyType(found)


def newest() -> str:
    """The version that decides where a team has chosen none."""
    return list(rule_sets())[-1]


def rule_set(settings: TeamSettings) -> RuleSet:
    """The rule set that decides for a team; the newest where its version is none that is known."""
    return rule_sets().get(settings.rules) or rule_sets()[newest()]


def shadow_rule_set(settings: TeamSettings) -> RuleSet | None:
    """The rule set that is only counted, or None."""
    return rule_sets().get(settings.shadow_rules) if settings.shadow_rules else None


def hard_verdict(mail: Evidence, settings: TeamSettings, facts: Sequence[Fact] = tuple(FACTS)) -> Verdict:
    """What facts alone say; kind None where there is none, or where the team keeps that kind."""
    for fact in facts:
        if fact.name not in settings.signals_off and fact.kind not in settings.keep_kinds and fact.holds(mail):
            return Verdict(fact.kind, None, (fact.name,), is_hard=True)
    return Verdict(None, None, ())


def judge(rules: RuleSet, mail: Evidence, settings: TeamSettings, facts: Sequence[Fact] = tuple(FACTS)) -> Verdict:
    """Facts first, then the score: automated from the threshold on, unless nothing but list fields speaks for it.

    A contact or lead of the CRM who writes from a role address (support@) is a person unless the mail has the fields of bulk
    mail. The kind is the one whose signals weigh more. `facts`: TEXT_FACTS is enough where none held before the text was read.
    """
    hard = hard_verdict(mail, settings, facts)
    if hard.kind is not None:
        return hard
    parts = contributions(rules, mail, settings)
    score = rules.base + sum(parts.values())
    threshold = rules.threshold if settings.automated_threshold is None else settings.automated_threshold
    raised = [name for name, part in sorted(parts.items(), key=lambda item: (-item[1], item[0])) if part > 0]
    named = tuple(raised[:MAX_NAMED])
    kind = None
    if (
        score >= threshold
        and any(_BY_NAME[name].group != "list" for name in raised)
        and not _is_named_desk(mail, parts)
    ):
        kind = _kind(parts)
    if kind in settings.keep_kinds:
        kind = None
    return Verdict(kind, round(score, 3), named)


def contributions(rules: RuleSet, mail: Evidence, settings: TeamSettings) -> dict[str, float]:
    """What each signal that is not silent adds to the score."""
    found: dict[str, float] = {}
    for signal in SIGNALS:
        weight = rules.weights.get(signal.name, 0.0)
        if weight and signal.name not in settings.signals_off and (loudness := signal.measure(mail)):
            found[signal.name] = weight * loudness
    return found


def _kind(parts: Mapping[str, float]) -> str:
    sums = {"marketing": 0.0, "transactional": 0.0}
    for name, part in parts.items():
        leaning = _BY_NAME[name].leaning
        if part > 0 and leaning in sums:
            sums[leaning] += part
    return "transactional" if sums["transactional"] > sums["marketing"] else "marketing"


def _is_named_desk(mail: Evidence, parts: Mapping[str, float]) -> bool:
    return (
        mail.is_contact
        and is_role_address(mail.sender.address)
        and "no-reply-address" not in parts
        and not parts.keys() & _BULK_FIELDS
    )


_BY_NAME: Final[dict[str, Signal]] = {signal.name: signal for signal in SIGNALS}


@dataclasses.dataclass(frozen=True, slots=True)
class ShadowReport:
    """What would change if `new` decided instead of `old`: how many mails were compared, and counts by (old, new) kind."""

    old: str
    new: str
    compared: int
    changes: Mapping[tuple[str, str], int]
    examples: Mapping[tuple[str, str], tuple[str, ...]]

    def lines(self) -> list[str]:
        """The report as text, the largest change first."""
        head = f"{self.compared} mails: {self.old} against {self.new}, {sum(self.changes.values())} would change"
        return [
            head,
            *(
                f"{count:6d}  {old} -> {new}"
                for (old, new), count in sorted(self.changes.items(), key=lambda item: -item[1])
            ),
        ]


def compare(
    old: RuleSet, new: RuleSet, mails: Iterable[tuple[str, Evidence]], settings: TeamSettings, examples: int = 5
) -> ShadowReport:
    """Both rule sets on the same (id, mail): what would change. `examples` ids are kept for each kind of change."""
    changes: collections.Counter[tuple[str, str]] = collections.Counter()
    kept: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    compared = 0
    for name, mail in mails:
        compared += 1
        change = (judge(old, mail, settings).kind or "person", judge(new, mail, settings).kind or "person")
        if change[0] != change[1]:
            changes[change] += 1
            kept[change] = [*kept[change], name][:examples]
    return ShadowReport(
        old.version, new.version, compared, dict(changes), {change: tuple(ids) for change, ids in kept.items()}
    )


def describe() -> list[tuple[str, str, str, float | None]]:
    """Every fact and signal of the newest rule set for a person to read: name, kind, source, weight (None: a fact)."""
    weights = rule_sets()[newest()].weights
    facts: list[tuple[str, str, str, float | None]] = [(fact.name, fact.kind, fact.source, None) for fact in FACTS]
    return facts + [(signal.name, signal.leaning, signal.source, weights.get(signal.name, 0.0)) for signal in SIGNALS]
