"""Claims against a Gmail over HTTP: what the ledger holds after Gmail changed."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import schema


def test_first_sync_takes_the_window_and_nothing_older(gmails: Any) -> None:
    alice = gmails.connect("alice")
    inside = [gmails.deliver(alice, f"Offer {n}", age=n) for n in range(1, 6)]
    old = gmails.deliver(alice, "Old", age=9)
    assert gmails.sync(alice) == 5
    assert set(gmails.outcomes(alice)) == set(inside)
    assert old not in gmails.outcomes(alice)
    assert gmails.row(alice).state == "live"


def test_a_push_brings_what_is_new_and_nothing_twice(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    new = gmails.deliver(alice, "New")
    assert [claim.gmail_id for claim in gmails.claim(alice, "push")] == [new]
    assert gmails.claim(alice, "push") == []  # leased
