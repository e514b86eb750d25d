from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from dealmail.console import reading, status
from dealmail.io import schema
from dealmail.io.database import Database
from dealmail.io.mailboxes import Mailboxes
from dealmail.transforms.decisions import MAILBOX_STATES

NOW = dt.datetime(2026, 3, 2, 9, 0, tzinfo=dt.UTC) + dt.timedelta(minutes=10)


def test_status_as_jsonl(stored: Any, jsonl: Callable[..., list[dict[str, Any]]]) -> None:
    alice, bob = jsonl("status")
    assert list(alice) == [
        "mailbox", "mailbox_id", "team", "import_on", "state", "state_reason", "state_since", "to_do", "done", "total", "done_at",
        "listings_open", "pending", "parked", "window_from", "confirmed_at", "last_check_at", "next_check_at", "last_mail_at",
        "last_push_at", "push", "watch_expires_at", "watch_error", "paused_until", "expired_cursors", "quota_units_last_minute",
        "search_check", "index_waiting", "index_refused", "index_oldest_at",
    ]  # fmt: skip
    for row in (alice, bob):  # an alert reads it from any of them
        assert (row["index_waiting"], row["index_refused"], row["index_oldest_at"]) == (
            1,
            0,
            "2026-03-02T09:00:00.000000Z",
        )
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


def test_no_check_is_announced_of_a_mailbox_that_nobody_reads(sqlite_database: Database, stored: Any) -> None:
    """docs/running.md alerts on one that is long over: the job would seem to stand still for ever."""
    boxes = Mailboxes(sqlite_database, lambda: stored.at)
    announced = set()
    for state in MAILBOX_STATES:
        boxes.set_state(stored.alice_id, state, next_poll_at=stored.at)
        if status.mailbox_status(sqlite_database, stored.team, NOW)[0]["next_check_at"] is not None:
            announced.add(state)
    assert announced == {"first_sync", "live", "quota_delayed", "admin_blocked", "no_gmail"}


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


def test_a_first_sync_that_is_through_says_so(sqlite_database: Database, stored: Any) -> None:
    boxes = Mailboxes(sqlite_database, lambda: stored.at)

    def said() -> str:
        return next(iter(status.told(status.mailbox_status(sqlite_database, stored.team, NOW)[0], NOW)))

    boxes.set_state(stored.alice_id, "first_sync")
    assert "first_sync: 4 of about 5" in said()
    sqlite_database.transaction(
        lambda c: c.execute(sa.delete(schema.message).where(schema.message.c.state == "pending"))
    )
    assert "first sync done: 4 messages" in said()
    boxes.set_state(stored.alice_id, "live")
    assert "live: no new mail since its first sync" in said()
    boxes.set_state(stored.alice_id, "live", last_mail_at=NOW)
    assert "live: last mail 0 s ago" in said()


@pytest.mark.usefixtures("stored")
def test_the_backlog_and_the_quota_are_shown(dealmail: Callable[..., Result]) -> None:
    said = dealmail("status").output
    assert "1 engagements wait" in said
    assert "units used in the last minute" in said


@given(done=st.integers(0, 10**6), more=st.integers(-(10**3), 10**6), minutes=st.integers(1, 10**4))
def test_progress_never_promises_the_past_or_more_than_all(done: int, more: int, minutes: int) -> None:
    far = reading.progress(done, done + more, NOW - dt.timedelta(minutes=minutes), NOW)
    assert far["done"] <= far["total"]
    assert far["done_at"] is None or far["done_at"] >= NOW
    assert (far["done_at"] is None) == (done == 0 or more <= 0)


def add_messages(database: Database, mailbox: str, count: int, **columns: Any) -> None:
    first = database.transaction(lambda c: c.scalar(sa.select(sa.func.count()).select_from(schema.message)))
    rows = [
        {
            "team_id": "default",
            "mailbox_id": mailbox,
            "gmail_id": f"x{first + n}",
            "lane": 1,
            "found_at": NOW,
            **columns,
        }
        for n in range(count)
    ]
    database.transaction(lambda c: c.execute(sa.insert(schema.message), rows))


def add_listing(database: Database, mailbox: str, kind: str, at: dt.datetime, **columns: Any) -> None:
    row = {"team_id": "default", "mailbox_id": mailbox, "kind": kind, "after_at": at, "created_at": at, **columns}
    database.transaction(lambda c: c.execute(sa.insert(schema.listing), [row]))


def test_a_first_sync_says_how_far_it_is_and_when_it_will_be_done(sqlite_database: Database, stored: Any) -> None:
    boxes = Mailboxes(sqlite_database, lambda: stored.at)
    boxes.set_state(stored.bob_id, "first_sync")
    began = NOW - dt.timedelta(minutes=5)
    add_listing(sqlite_database, stored.bob_id, "first_sync", began, listed=150, estimate=400)
    decided = {"state": "decided", "outcome": "dropped", "rule": "crm.no_match", "decided_at": NOW}
    add_messages(sqlite_database, stored.bob_id, 50, **decided)
    add_messages(sqlite_database, stored.bob_id, 100, state="pending")
    row = status.mailbox_status(sqlite_database, stored.team, NOW)[1]
    assert (row["done"], row["total"]) == (50, 400)
    assert next(iter(status.told(row, NOW))) == f"{stored.bob}  first_sync: 50 of about 400, done by 09:45 UTC"


def test_a_window_that_grows_later_has_a_progress_of_its_own(sqlite_database: Database, stored: Any) -> None:
    """What was read last year says nothing about the pace of today."""
    boxes, year = Mailboxes(sqlite_database, lambda: stored.at), NOW - dt.timedelta(days=365)
    boxes.set_state(stored.bob_id, "first_sync")
    old = {"state": "decided", "outcome": "dropped", "rule": "crm.no_match", "decided_at": year}
    add_listing(sqlite_database, stored.bob_id, "first_sync", year, listed=500, estimate=500, finished_at=year)
    add_messages(sqlite_database, stored.bob_id, 500, **old)
    add_listing(
        sqlite_database,
        stored.bob_id,
        "extend",
        NOW - dt.timedelta(minutes=5),
        listed=40,
        estimate=40,
        finished_at=NOW,
    )
    add_messages(sqlite_database, stored.bob_id, 10, **{**old, "decided_at": NOW})
    add_messages(sqlite_database, stored.bob_id, 30, state="pending")
    row = status.mailbox_status(sqlite_database, stored.team, NOW)[1]
    assert (row["done"], row["total"], row["done_at"]) == (10, 40, "2026-03-02T09:25:00.000000Z")
    far_off = status.told({**row, "done_at": "2026-03-04T01:02:00.000000Z"}, NOW)
    assert next(iter(far_off)).endswith("10 of about 40, done by 2026-03-04 01:02 UTC")


@pytest.mark.parametrize("name", reading.WHY)
def test_a_mailbox_that_waits_says_for_what(sqlite_database: Database, stored: Any, name: str) -> None:
    boxes = Mailboxes(sqlite_database, lambda: stored.at)
    boxes.set_state(stored.alice_id, "live", f"{name} x3", not_before=NOW + dt.timedelta(minutes=2))
    said = "\n".join(status.told(status.mailbox_status(sqlite_database, stored.team, NOW)[0], NOW))
    assert f"{reading.WHY[name]} at 09:12:00 UTC." in said


def test_what_a_first_sync_by_search_missed_is_said(sqlite_database: Database, stored: Any) -> None:
    add_listing(sqlite_database, stored.alice_id, "sample", NOW, query="sample:a1,a3", listed=70, finished_at=NOW)
    row = status.mailbox_status(sqlite_database, stored.team, NOW)[0]
    assert row["search_check"] == {"unseen": 70, "sampled": 2, "missed": 1, "undecided": 0}
    assert "did not find 70 messages: of 2 of them that were read all the same 1 were a customer's" in "\n".join(
        status.told(row, NOW)
    )
