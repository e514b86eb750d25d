"""Units a minute: however the asking falls, no sixty seconds see more granted than the limit, and nothing is held back for long."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dealmail.io import schema
from dealmail.io.database import Database
from dealmail.io.quota import DAY, PROJECT, Quota, QuotaLimits, Usage, keep_limits, kept_limits, spent_lately

START = dt.datetime(2026, 3, 2, 23, 58, 7, tzinfo=dt.UTC)
LIMITS = QuotaLimits(mailbox_minute=300, project_minute=500, project_day=2_000)
ASKED = st.tuples(
    st.floats(0, 45, allow_nan=False),
    st.sampled_from(("alice", "bob")),
    st.sampled_from((2, 5, 20)),
    st.integers(1, 30),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ASKED, min_size=1, max_size=25))
def test_no_sixty_seconds_see_more_than_the_limit(
    sqlite_database: Database, asked: list[tuple[float, str, int, int]]
) -> None:
    quota, now = Quota(sqlite_database, LIMITS), START
    granted: list[tuple[dt.datetime, str, int]] = []
    with sqlite_database.writing() as connection:
        connection.execute(sa.delete(schema.quota_use))
    for seconds, mailbox, cost, count in asked:
        now += dt.timedelta(seconds=seconds)
        with sqlite_database.writing() as connection:
            calls = quota.grant(connection, mailbox, cost, count, now)
        assert 0 <= calls <= count
        granted.append((now, mailbox, calls * cost))
    for at, _, _ in granted:
        window = [one for one in granted if at - dt.timedelta(seconds=60) < one[0] <= at]
        assert sum(units for _, _, units in window) <= LIMITS.project_minute
        for mailbox in ("alice", "bob"):
            assert sum(units for _, whose, units in window if whose == mailbox) <= LIMITS.mailbox_minute
        assert sum(units for when, _, units in granted if when.date() == at.date()) <= LIMITS.project_day


def test_what_was_spent_is_free_again_within_seventy_seconds(sqlite_database: Database) -> None:
    quota = Quota(sqlite_database, LIMITS)
    with sqlite_database.writing() as connection:
        assert quota.grant(connection, "alice", 20, 99, START) == 15
        assert quota.grant(connection, "alice", 20, 99, START + dt.timedelta(seconds=59)) == 0
        assert quota.usage(connection, "alice", START + dt.timedelta(seconds=59)) == Usage(300, 300, 300)
        assert quota.grant(connection, "alice", 20, 99, START + dt.timedelta(seconds=70)) == 15
        assert spent_lately(connection, START + dt.timedelta(seconds=70), ["alice", "bob"]) == {
            "alice": 300, PROJECT: 300,
        }  # fmt: skip


def test_units_spent_anyway_count_against_the_next_grant(sqlite_database: Database) -> None:
    quota = Quota(sqlite_database, LIMITS)
    quota.debit("bob", 490, START)
    with sqlite_database.writing() as connection:
        assert quota.grant(connection, "alice", 5, 9, START + dt.timedelta(seconds=12)) == 2
        assert quota.room(connection, "alice", START + dt.timedelta(seconds=12)) == 0


def test_old_slots_go(sqlite_database: Database) -> None:
    quota = Quota(sqlite_database, LIMITS)
    for minutes in range(40):
        quota.debit("alice", 1, START + dt.timedelta(minutes=minutes))
    with sqlite_database.reading() as connection:
        scopes = list(connection.scalars(sa.select(schema.quota_use.c.scope)))
    assert scopes.count("alice") == scopes.count(PROJECT) == 11
    assert scopes.count(DAY) == 1


@pytest.mark.mariadb
def test_many_who_ask_at_once_over_the_end_of_a_slot_get_no_more(mariadb_database: Database) -> None:
    """Half of them hold the time for the next slot already: they meet at the day's row."""
    quota = Quota(mariadb_database, QuotaLimits(mailbox_minute=1_000, project_minute=1_000))
    together = threading.Barrier(8)
    granted: list[int] = []

    def ask(number: int) -> None:
        now = START.replace(second=9 + number % 2)
        together.wait(60)
        for _ in range(10):
            granted.append(
                mariadb_database.transaction(lambda connection: quota.grant(connection, f"m{number % 4}", 20, 3, now))
            )

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 50


def test_the_console_goes_by_the_limits_that_the_job_was_last_started_with(database: Database) -> None:
    assert kept_limits(database) == QuotaLimits()
    for limits in (QuotaLimits(mailbox_minute=15_000, get=5), QuotaLimits(project_day=10**12), QuotaLimits()):
        keep_limits(database, limits)
        assert kept_limits(database) == limits
