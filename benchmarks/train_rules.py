"""Train the weights of the automated-mail score offline, on the dev split only, and print a column for automated_weights.tsv.

Logistic regression in plain numpy. Each weight is drawn to the hand-made one of its signal (the prior) and may not change
its sign, so that what is rare in the data stays sensible; sender groups never lie in two folds; the threshold is set on
scores of held-out groups. Usage: python -m benchmarks.train_rules [--write VERSION]
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.resources
import pathlib

import numpy as np

from dealmail.transforms import automated
from dealmail.transforms.automated_signals import SIGNALS
from dealmail.transforms.settings import TeamSettings

from . import rules_corpus

FOLDS = 10


def matrix(cases: list[rules_corpus.Case]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Signals (rows: mails), gold (1 DROP) and sender groups of the scored mails that no fact decides."""
    kept = [
        case
        for case in cases
        if case.gold != "-" and case.message.sender and not automated.hard_verdict(case.evidence, TeamSettings()).kind
    ]
    values = np.array([[float(signal.measure(case.evidence)) for signal in SIGNALS] for case in kept])
    return values, np.array([case.gold == "DROP" for case in kept], dtype=float), [case.group for case in kept]


def fit(values: np.ndarray, gold: np.ndarray, importance: np.ndarray, pull: float, steps: int = 1500) -> np.ndarray:
    """Weights and base (last), by accelerated projected gradient descent; `pull` is the strength of the priors."""
    prior = np.array([signal.prior for signal in SIGNALS])
    grown = np.column_stack([values, np.ones(len(values))])
    aim, strength = np.append(prior, -1.0), np.append(np.full(len(prior), pull), 0.01)
    low = np.append(np.where(prior > 0, 0.0, -8.0), -20.0)
    high = np.append(np.where(prior > 0, 8.0, 0.0), 20.0)
    weights = ahead = aim.copy()
    step = 1.0 / (0.25 * np.linalg.norm(grown * np.sqrt(importance)[:, None], 2) ** 2 + strength.max())
    for turn in range(steps):
        chance = 1 / (1 + np.exp(-np.clip(grown @ ahead, -40, 40)))
        slope = grown.T @ (importance * (chance - gold)) + strength * (ahead - aim)
        after = np.clip(ahead - step * slope, low, high)
        ahead = after + turn / (turn + 3) * (after - weights)
        weights = after
    return weights


def held_out_scores(
    values: np.ndarray, gold: np.ndarray, groups: list[str], importance: np.ndarray, pull: float, salt: str
) -> np.ndarray:
    """Each mail's score by weights that never saw its sender group."""
    fold = np.array([int(hashlib.sha256(f"{salt}{group}".encode()).hexdigest(), 16) % FOLDS for group in groups])
    scores = np.zeros(len(gold))
    for number in range(FOLDS):
        away, here = fold != number, fold == number
        weights = fit(values[away], gold[away], importance[away], pull, 600)
        scores[here] = values[here] @ weights[:-1] + weights[-1]
    return scores


def threshold_for(scores: np.ndarray, gold: np.ndarray, share: float) -> float:
    """The lowest threshold at which at most `share` of the KEEP mails would be dropped."""
    keep = np.sort(scores[gold == 0])[::-1]
    return float(keep[int(share * len(keep))]) + 1e-6


def importance_of(gold: np.ndarray, groups: list[str], keep_weight: float) -> np.ndarray:
    """A sender with many mails counts as the root of them; a person's mail counts `keep_weight` times."""
    sizes = {group: groups.count(group) for group in set(groups)}
    return np.array(
        [(keep_weight if not drop else 1.0) / sizes[group] ** 0.5 for group, drop in zip(groups, gold, strict=True)]
    )


def main() -> None:
    """Train, say what held-out groups show, and write the column if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", metavar="VERSION", help="put the weights in automated_weights.tsv as this version")
    parser.add_argument("--pull", type=float, default=0.5)
    parser.add_argument("--keep-weight", type=float, default=2.0)
    parser.add_argument(
        "--share", type=float, default=0.004, help="false drops among held-out KEEP that set the threshold"
    )
    options = parser.parse_args()
    values, gold, groups = matrix(list(rules_corpus.cases("dev")))
    importance = importance_of(gold, groups, options.keep_weight)
    cuts = []
    for salt in ("a", "b", "c"):
        scores = held_out_scores(values, gold, groups, importance, options.pull, salt)
        cuts.append(threshold_for(scores, gold, options.share))
        hit = float(np.mean(scores[gold == 1] >= cuts[-1]))
        print(
            f"held-out groups, folds {salt}: {hit:.1%} of {int(gold.sum())} dropped at {options.share:.1%} of {int((gold == 0).sum())} false; threshold {cuts[-1]:.2f}"
        )
    weights = fit(values, gold, importance, options.pull)
    threshold = float(np.median(cuts))
    for signal, weight in sorted(zip(SIGNALS, weights, strict=False), key=lambda pair: -abs(pair[1])):
        print(f"{weight:7.2f}  (prior {signal.prior:5.2f})  {signal.name}")
    print(f"{weights[-1]:7.2f}  {automated.BASE}\n{threshold:7.2f}  {automated.THRESHOLD}")
    if options.write:
        _write(
            options.write,
            dict(zip([signal.name for signal in SIGNALS], weights, strict=False)),
            float(weights[-1]),
            threshold,
        )


def _write(version: str, weights: dict[str, float], base: float, threshold: float) -> None:
    path = pathlib.Path(str(importlib.resources.files("dealmail.transforms").joinpath("automated_weights.tsv")))
    lines = path.read_text("utf-8").splitlines()
    notes = [line for line in lines if line.startswith("#")]
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    names, table = rows[0], {row[0]: dict(zip(rows[0], row, strict=False)) for row in rows[1:]}
    new = {automated.BASE: base, automated.THRESHOLD: threshold, **weights}
    columns = [*(name for name in names if name != version), version]
    for name, value in new.items():
        table.setdefault(name, {"signal": name})[version] = (
            f"{value:.3f}".rstrip("0").rstrip(".") if abs(value) >= 0.0005 else ""
        )
    out = ["\t".join(columns), *("\t".join(row.get(column, "") for column in columns) for row in table.values())]
    path.write_text("\n".join([*notes, *out]) + "\n", "utf-8")


if __name__ == "__main__":
    main()
