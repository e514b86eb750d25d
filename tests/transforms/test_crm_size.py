"""A team with a million contacts and a hundred thousand domains fits into 100 MB, also while its CRM is built anew."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
def test_the_old_directory_and_its_successor_fit_into_100_mb_together():
    """In a process of its own: what is resident here says nothing about it."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_crm"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    figures = {
        name.strip(): float(value) for name, value in re.findall(r"(.+?) +([\d.]+)$", run.stdout.replace(",", ""), re.M)
    }
    if not figures["one directory resident MB"]:
        pytest.skip("this system has no /proc")
    assert 38 < figures["tables of one directory MB"] < figures["one directory resident MB"]
    assert figures["peak while it is built MB"] < 60
    assert figures["peak of a refresh MB"] <= 100
