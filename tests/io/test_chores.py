"""Chores: each once a period by one worker, spread out; what cannot be done holds up no other, and a mistake is loud."""

from __future__ import annotations

import collections
import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from dealmail.io.chores import ChoreKind, DatabaseChores
from dealmail.io.database import Database
from dealmail.transforms.errors import ConsentRevokedError, StoreUnavailableError

DAY, HALF_HOUR = dt.timedelta(days=1), dt.timedelta(minutes=30)


def worker(database: Database, clock: Any, **kinds: ChoreKind) -> DatabaseChores:
    return DatabaseChores(database, kinds, clock)


def run(chores: DatabaseChores, clock: Any) -> list[str]:
    """All that is due now, done."""
    done: list[str] = []
    while found := [name for name in chores.due(clock()) if chores.do(name)]:
        done += found
    return done


def audits(mailboxes: list[str], do: Callable[[str], None], period: dt.timedelta = DAY) -> ChoreKind:
    return ChoreKind(lambda: mailboxes, do, period, HALF_HOUR)


def test_each_mailbox_has_its_turn_once_a_day_spread_over_it(database: Database, clock: Any) -> None:
    mailboxes, begun = [f"m{i}" for i in range(40)], clock()
    seen: dict[str, list[float]] = collections.defaultdict(list)
    chores = worker(
        database, clock, audit=audits(mailboxes, lambda m: seen[m].append((clock() - begun) / dt.timedelta(hours=1)))
    )
    assert chores.due(clock()) == []
    for _ in range(48 * 6):
        clock.advance(minutes=10)
        run(chores, clock)
    assert {len(seen[m]) for m in mailboxes} == {2}
    assert all(23.8 < second - first < 24.2 for first, second in seen.values())
    assert max(sum(hour <= times[0] < hour + 1 for times in seen.values()) for hour in range(24)) <= 8


def test_several_workers_do_it_once_and_a_restart_forgets_no_turn(database: Database, clock: Any) -> None:
    done: list[str] = []
    kind = audits(["m1", "m2", "m3"], done.append)
    for _ in range(24 * 6):
        clock.advance(minutes=10)
        workers = [worker(database, clock, audit=kind) for _ in range(3)]  # all of them begun anew
        found = [(one, name) for one in workers for name in one.due(clock())]
        for one, name in found:
            one.do(name)
    assert sorted(done) == ["m1", "m2", "m3"]


def test_what_cannot_be_done_is_tried_again_and_holds_up_no_other(database: Database, clock: Any) -> None:
    tried: collections.Counter[str] = collections.Counter()

    def audit(mailbox: str) -> None:
        tried[mailbox] += 1
        if mailbox == "m1":
            raise ConsentRevokedError("invalid_grant")

    chores = worker(database, clock, audit=audits(["m1", "m2"], audit))
    for _ in range(24 * 6):
        clock.advance(minutes=10)
        run(chores, clock)
    assert tried["m2"] == 1
    assert tried["m1"] > 5


def test_a_store_that_is_down_puts_it_off_and_a_mistake_is_loud(sqlite_database: Database, clock: Any) -> None:
    errors: list[Exception] = [StoreUnavailableError("database: 2003"), ZeroDivisionError("a mistake")]

    def do(unused: str) -> None:
        raise errors.pop(0)

    chores = worker(sqlite_database, clock, relink=ChoreKind(lambda: ["t1"], do, None, dt.timedelta(minutes=1)))
    (name,) = chores.due(clock())
    assert not chores.do(name)
    assert chores.due(clock()) == []
    clock.advance(minutes=1)
    with pytest.raises(ZeroDivisionError):
        chores.do(*chores.due(clock()))


def test_what_is_done_when_there_is_something_to_do_is_found_at_once(sqlite_database: Database, clock: Any) -> None:
    behind = ["t1"]
    chores = worker(sqlite_database, clock, relink=ChoreKind(lambda: behind, behind.remove, None, HALF_HOUR))
    assert chores.next_due(clock()) == clock()
    assert run(chores, clock) == ["relink:t1"]
    assert (chores.next_due(clock()), chores.due(clock())) == (None, [])
    behind.append("t2")
    clock.advance(seconds=10)
    assert chores.next_due(clock()) == clock()


def test_what_takes_longer_than_its_next_try_is_done_by_one_worker(database: Database, clock: Any) -> None:
    behind, begun = ["t1"], list[str]()

    def relink(team: str) -> None:
        begun.append(team)
        for _ in range(5):
            clock.advance(seconds=40)
            assert not run(other, clock)
            one.hold(f"relink:{team}")
        behind.remove(team)

    kind = ChoreKind(lambda: behind, relink, None, dt.timedelta(minutes=1))
    one, other = (worker(database, clock, relink=kind) for _ in range(2))
    assert run(one, clock) == ["relink:t1"]
    assert begun == ["t1"]
    assert other.due(clock()) == []


def test_the_next_turn_is_known_and_one_that_another_took_is_not_waited_for(
    sqlite_database: Database, clock: Any
) -> None:
    kind = audits(["m1"], lambda mailbox: None)
    one, other = (worker(sqlite_database, clock, audit=kind) for _ in range(2))
    due = one.next_due(clock())
    assert due is not None
    clock.at = due
    assert one.next_due(clock()) == due
    assert run(other, clock) == ["audit:m1"]
    assert one.due(clock()) == []
    again = one.next_due(clock())
    assert again is not None
    assert abs(again - due - DAY) < dt.timedelta(seconds=1)


def test_turns_follow_a_shorter_period(database: Database, clock: Any) -> None:
    """`--audit_hours=720` until now, and 24 from now on: who is audited too seldom must not wait for a month once more."""
    mailboxes, done = [f"m{i}" for i in range(5)], list[str]()
    assert worker(database, clock, audit=audits(mailboxes, done.append, 30 * DAY)).due(clock()) == []
    often = worker(database, clock, audit=audits(mailboxes, done.append))
    for _ in range(24):
        clock.advance(hours=1)
        run(often, clock)
    assert sorted(done) == mailboxes


def test_a_turn_that_was_given_by_a_clock_far_ahead_is_given_anew(database: Database, clock: Any) -> None:
    audited, ended = list[str](), ["7"]
    kinds = {"audit": audits(["m1"], audited.append), "end": ChoreKind(lambda: ended, ended.remove, None, HALF_HOUR)}
    true = clock()
    clock.advance(days=3650)
    assert worker(database, clock, **kinds).due(clock()) == ["end:7"]
    clock.at = true
    chores = worker(database, clock, **kinds)
    for _ in range(24):
        clock.advance(hours=1)
        run(chores, clock)
    assert (audited, ended) == (["m1"], [])


def test_a_process_whose_clock_was_far_ahead_for_a_while_gives_turns_all_the_same(
    sqlite_database: Database, clock: Any
) -> None:
    mailboxes, audited, true = ["m1"], list[str](), clock()
    chores = worker(sqlite_database, clock, audit=audits(mailboxes, audited.append))
    clock.advance(days=3650)
    assert chores.next_due(clock()) is not None
    clock.at = true
    mailboxes.append("m2")
    due = chores.next_due(clock())
    assert due is not None
    assert due <= true + DAY
    for _ in range(24):
        clock.advance(hours=1)
        run(chores, clock)
    assert sorted(audited) == mailboxes


def test_mailboxes_that_are_no_more_lose_their_turn_and_foreign_chores_are_left_alone(
    sqlite_database: Database, clock: Any
) -> None:
    mailboxes = ["m1", "m2"]
    done: list[str] = []
    audit = worker(sqlite_database, clock, audit=audits(mailboxes, done.append))
    tidy = worker(sqlite_database, clock, tidy=ChoreKind(lambda: ["t1"], done.append, DAY, HALF_HOUR))
    assert (audit.due(clock()), tidy.due(clock())) == ([], [])
    mailboxes.remove("m1")
    clock.advance(days=1)
    assert audit.due(clock()) == ["audit:m2"]
    assert tidy.due(clock()) == ["tidy:t1"]


def test_times_of_nothing_are_refused() -> None:
    for every, again in ((dt.timedelta(0), DAY), (None, dt.timedelta(0))):
        with pytest.raises(ValueError, match="longer than nothing"):
            ChoreKind(list, lambda about: None, every, again)
