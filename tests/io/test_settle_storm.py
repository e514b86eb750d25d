"""A small storm of settling threads; `make storm` plays the whole one: 50 threads, 2,000 mails, 20 seeds."""

from __future__ import annotations

import pathlib

import pytest

from benchmarks.settle_storm import Storm, seen_share
from dealmail.io.database import Database


@pytest.fixture
def storm(database: Database, tmp_path: pathlib.Path) -> Storm:
    return Storm(database, tmp_path, mails=120, threads=10, boxes=6)


def test_every_seed_comes_to_the_rows_that_the_world_demands(storm: Storm) -> None:
    sizes = {name: len(rows) for name, rows in storm.expected.items()}
    assert sizes["engagement"] == 120
    assert sizes["engagement_copy"] > 3 * 110
    assert sizes["message"] > sizes["engagement_copy"]  # some stay dropped, and others are overturned
    assert 0.2 < seen_share(storm, 0) < 0.5
    for seed in range(3):
        result = storm.play(seed)
        assert result.is_good, result
        assert result.given_up == 0
        assert result.rounds > 1


def test_a_row_that_differs_is_noticed(storm: Storm) -> None:
    storm.play(0)
    storm.expected["participant"].pop()
    storm.expected["engagement_copy"][0] = ("nobody", "g1", "t1", "e", "d")
    assert {name: n for name, n in storm._compare().items() if n} == {"participant": 1, "engagement_copy": 2}
