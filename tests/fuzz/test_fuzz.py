"""A bounded run of every fuzz target; `make fuzz` runs them for long."""

from __future__ import annotations

import pathlib
import sys

import pytest
from hypothesis import HealthCheck, given, settings

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.fuzz import check
from tests.fuzz.targets import INPUTS, TARGETS


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_input_breaks_a_reader(name):
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(INPUTS[name])
    def run(data):
        check(name, data)

    run()
