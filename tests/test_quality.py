"""`make quality` runs, and what it prints holds the goals, on senders that no weight was tuned on."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

from benchmarks.corpora import environment

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def printed(corpora: pathlib.Path) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.quality"],
        cwd=ROOT,
        env={**environment(), "DEALMAIL_CORPORA": str(corpora)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.corpus
def test_automated_mail_is_dropped_and_peoples_is_kept(printed: str) -> None:
    share = {name: float(value) for name, value in re.findall(r"^goal (.+?) [<>]=.*?: ([\d.]+)%", printed, re.M)}
    assert share["all"] >= 85
    assert share["real headers"] >= 90
    assert share["false drops"] <= 0.5
    assert share["autoreply"] >= 99
    assert share["bounce"] >= 99


@pytest.mark.corpus
def test_every_peer_is_measured_in_the_same_run_and_drops_less(printed: str) -> None:
    dropped = {name.strip(): int(hits) for name, hits in re.findall(r"^(\S.*?)  +(\d+)/397 ", printed, re.M)}
    ours = dropped.pop(max(name for name in dropped if name.startswith("dealmail")))
    assert {"List-Unsubscribe only", "like Twenty, both", "any of these"} < set(dropped)
    assert all(ours > 1.5 * hits for name, hits in dropped.items() if not name.startswith("dealmail"))


@pytest.mark.corpus
def test_text_is_faithful_to_the_fixtures(printed: str) -> None:
    pattern = r"^(\S.*?) +(\d+) fixtures +exact +([\d.]+)% +mean similarity ([\d.]+)"
    sets = {
        name: (int(number), float(exact), float(mean))
        for name, number, exact, mean in re.findall(pattern, printed, re.M)
    }
    assert len(sets) >= 15
    assert sets["soundasleep"][1:] >= (80, 0.93)
    assert sets["postmark-templates"][2] >= 0.99
    for name in ("unquotemail txt", "crisp-erp", "talon replies"):
        assert sets[name][1:] >= (75, 0.9)
    fields, common, theirs = map(int, re.search(r"sets: (\d+) fields, (\d+) alike, (\d+) only get", printed).groups())
    assert (fields > 1_000, common > 1_000) == (True, True)
    assert theirs <= 4  # names that look like addresses, and the first of two in brackets without a comma between them
