"""How well the rules tell automated mail from people's, on the checked mails: per kind, beside what other products do.

The test split by default: its senders are none of those the weights were tuned on. Usage:
python -m benchmarks.quality_rules [--split test|dev] [--misses]
"""

from __future__ import annotations

import argparse
import collections
import itertools
from collections.abc import Callable

from dealmail.transforms import automated
from dealmail.transforms.settings import TeamSettings

from . import rules_corpus
from .peer_rules import PEERS

GOALS = {"all": 0.85, "real headers": 0.90, "bounce": 0.99, "autoreply": 0.99}
FALSE_DROPS = 0.005
KINDS = ("receipt/transactional", "newsletter/marketing", "robot-notification", "bounce", "autoreply")


def slices(case: rules_corpus.Case) -> list[str]:
    """The columns that count a DROP mail."""
    return [
        "all",
        *(["no bounces"] if case.kind != "bounce" else []),
        *(["real headers"] if case.has_real_headers and case.kind != "bounce" else []),
        case.kind,
    ]


def table(
    cases: list[rules_corpus.Case], rules: dict[str, Callable[[rules_corpus.Case], bool]]
) -> list[dict[str, str]]:
    """A row a rule: how much of each slice it drops, and how many people's mails."""
    rows = []
    for name, rule in rules.items():
        hits: collections.Counter[str] = collections.Counter()
        sizes: collections.Counter[str] = collections.Counter()
        for case in cases:
            dropped = rule(case)
            for column in slices(case) if case.gold == "DROP" else [case.gold if case.gold == "KEEP" else case.kind]:
                sizes[column] += 1
                hits[column] += dropped
        rows.append(
            {
                "rule": name,
                **{column: f"{hits[column]}/{size} {hits[column] / size:.1%}" for column, size in sizes.items()},
            }
        )
    return rows


def show(rows: list[dict[str, str]]) -> None:
    """Print `rows` as aligned columns."""
    columns = ["rule", "all", "no bounces", "real headers", *KINDS, "KEEP", "list"]
    columns = [column for column in columns if any(column in row for row in rows)]
    titles = {
        "KEEP": "false drops",
        "list": "list posts",
        "newsletter/marketing": "newsletter",
        "receipt/transactional": "receipt",
        "robot-notification": "robot",
    }
    lines = [
        [titles.get(column, column) for column in columns],
        *([row.get(column, "") for column in columns] for row in rows),
    ]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def main() -> None:
    """Print the table, the goals, what a change of rule set changes, and on request each miss by path."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=("test", "dev"), default="test")
    parser.add_argument(
        "--misses", action="store_true", help="name every false drop and every miss (path, score, signals)"
    )
    options = parser.parse_args()
    cases = list(rules_corpus.cases(options.split))
    settings = TeamSettings()

    def ours(version: str) -> Callable[[rules_corpus.Case], bool]:
        return lambda case: automated.judge(automated.rule_sets()[version], case.evidence, settings).kind is not None

    rules: dict[str, Callable[[rules_corpus.Case], bool]] = {
        name: (lambda case, rule=rule: rule(case.evidence))
        for name, rule in PEERS.items()  # type: ignore[misc]  # binds the loop's value
    }
    rules |= {f"dealmail {version}": ours(version) for version in automated.rule_sets()}
    print(f"{options.split} split: {len(cases)} mails, Gmail's category labels taken away\n")
    rows = table(cases, rules)
    show(rows)
    newest = rows[-1]
    print()
    for column, goal in GOALS.items():
        hit, size = map(int, newest[column].split()[0].split("/"))
        print(f"goal {column} >= {goal:.0%}: {hit / size:.1%} {'met' if hit / size >= goal else 'MISSED'}")
    hit, size = map(int, newest["KEEP"].split()[0].split("/"))
    print(
        f"goal false drops <= {FALSE_DROPS:.1%}: {hit / size:.2%} {'met' if hit / size <= FALSE_DROPS else 'MISSED'}\n"
    )
    versions = list(automated.rule_sets().values())
    for old, new in itertools.pairwise(versions):
        print("\n".join(automated.compare(old, new, ((case.path, case.evidence) for case in cases), settings).lines()))
    if options.misses:
        _misses(cases, settings)


def _misses(cases: list[rules_corpus.Case], settings: TeamSettings) -> None:
    rules = automated.rule_sets()[automated.newest()]
    for case in cases:
        verdict = automated.judge(rules, case.evidence, settings)
        if case.gold != "-" and (verdict.kind is not None) != (case.gold == "DROP"):
            print(
                f"{'false drop' if verdict.kind else 'missed'}  {case.kind:22s} {verdict.score}  {case.path}  {' '.join(verdict.signals)}"
            )


if __name__ == "__main__":
    main()
