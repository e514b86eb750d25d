from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from dealmail.console import status
from dealmail.io.database import Database
from dealmail.io.mailboxes import Mailboxes
from dealmail.transforms.decisions import MAILBOX_STATES

NOW = dt.datetime(2026, 3, 2, 9, 0, tzinfo=dt.UTC) + dt.timedelta(minutes=10)


def test_status_as_jsonl(stored: Any, jsonl: Callable[..., list[dict[str, Any]]]) -> None:
    alice, bob = jsonl("status")
    assert list(alice) == [
        "mailbox", "mailbox_id", "team", "import_on", "state", "state_reason", "state_since", "to_do", "done", "total", "done_at",
        "listings_open", "pending", "parked", "window_from", "confirmed_at", "last_check_at", "next_check_at", "last_mail_at",
        "last_push_at", "push", "watch_expires_at", "watch_error", "paused_until", "expired_cursors", "quota_units_this_minute",
    ]  # fmt: skip
    assert (alice["state"], alice["done"], alice["total"], alice["pending"], alice["parked"]) == (
        "consent_wanted",
        4,
        5,
        1,
        1,
    )
    assert (bob["state"], bob["push"]) == ("not_connected", "off")
    assert alice["to_do"] == MAILBOX_STATES["consent_wanted"]


def test_every_state_is_said_with_what_to_do(sqlite_database: Database, stored: Any) -> None:
    alice = stored.alice_id
    boxes = Mailboxes(sqlite_database, lambda: stored.at)
    for state, to_do in MAILBOX_STATES.items():
        boxes.set_state(alice, state)
        row = status.mailbox_status(sqlite_database, stored.team, NOW)[0]
        said = "\n".join(status.told(row, NOW))
        assert state in said
        assert state in {"live", "first_sync"} or to_do in said
        assert "dealmail retry --mailbox" in said


def test_a_silent_watch_is_noticed_within_an_hour(sqlite_database: Database, stored: Any) -> None:
    alice = stored.alice_id
    boxes = Mailboxes(sqlite_database, lambda: stored.at)
    boxes.set_state(
        alice,
        "live",
        unpushed_since=stored.at,
        watch_expires_at=stored.at + dt.timedelta(days=7),
        last_push_at=stored.at,
    )
    after = [
        status.mailbox_status(sqlite_database, stored.team, stored.at + dt.timedelta(minutes=m))[0]["push"]
        for m in (20, 31)
    ]
    assert after == ["ok", "silent"]


@pytest.mark.usefixtures("stored")
def test_the_backlog_and_the_quota_are_shown(dealmail: Callable[..., Result]) -> None:
    said = dealmail("status").output
    assert "1 engagements wait" in said
    assert "units used this minute" in said


@given(
    found=st.integers(0, 10**6), share=st.floats(0, 1), estimate=st.integers(0, 10**6), minutes=st.integers(1, 10**4)
)
def test_progress_never_promises_the_past_or_more_than_all(
    found: int, share: float, estimate: int, minutes: int
) -> None:
    decided = int(found * share)
    far = status.progress(found, decided, estimate, NOW - dt.timedelta(minutes=minutes), NOW)
    assert far["done"] <= far["total"]
    assert far["done_at"] is None or far["done_at"] >= NOW
    assert (far["done_at"] is None) == (decided == 0 or decided == far["total"])
