"""A bounded run of every fuzz target; `make fuzz` runs them for long."""

from __future__ import annotations

import pathlib
import re
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.fuzz import MAX_INPUT, check, guided, summary
from benchmarks.process_seconds import allowed
from tests.fuzz.targets import INPUTS, SEEDS, TARGETS


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_input_breaks_a_reader(name):
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(INPUTS[name])
    def run(data):
        check(name, data)

    run()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_what_coverage_leads_to_breaks_no_reader(name):
    """Bounded by the number of inputs, from a fixed seed; `make fuzz` goes on for as long as one likes."""
    pytest.importorskip("atheris", reason="atheris is built for Linux on x86-64 only")
    run = guided(name, seconds=120, runs=400, seed=1)
    assert run.returncode == 0, run.stdout[-3_000:]
    inputs, edges = (int(number) for number in re.findall(r"(\d+) (?:inputs|edges)", summary(run.stdout)))
    assert inputs >= 100
    assert edges > 30  # it is led by what it covers: without, one input would stay


@pytest.mark.parametrize(
    "piece", [b"old</blo b=c>", b"old<tr b=c>", b"old<col b=c>", b"\xff\xffold</blo<block\xff\xff<b c=d>"]
)
def test_tags_between_words_that_a_parser_passes_over_take_no_memory(piece):
    """What guided fuzzing found: the parser copied all the text so far at each of them, 2.7 GB for one page."""
    check("html", piece * (MAX_INPUT["html"] // len(piece)))


def test_every_target_has_its_inputs_seeds_and_limit():
    assert set(TARGETS) == set(INPUTS) == set(SEEDS) == set(MAX_INPUT)


@pytest.mark.parametrize(("size", "times"), [(300_000_000, 0), (0, 2)])
def test_the_limits_of_a_message_are_held(monkeypatch, size, times):
    def greedy(data):
        held = b"x" * size
        end = time.process_time() + times * allowed()
        while time.process_time() < end:
            assert held is not None

    monkeypatch.setitem(TARGETS, "html", greedy)
    with pytest.raises(AssertionError, match="html: "):
        check("html", b"x")
