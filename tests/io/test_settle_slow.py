"""MariaDB that is slow, cut off or killed while a batch is settled: the outcome may be unknown, the rows never are."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from consistency import amiss, disagreement
from full_batch import full_batch, result_rows
from slow_proxy import SlowProxy

from dealmail.io import migrate
from dealmail.io.database import Database, DatabaseSpec
from dealmail.io.outbox import Outbox
from dealmail.io.settlements import DatabaseSettlements
from dealmail.io.vault import Digests
from dealmail.sandbox.mariadb_server import MariaDbServer
from dealmail.transforms.errors import StoreUnavailableError

pytestmark = pytest.mark.mariadb

KEY = Digests((b"a key for tests, 32 bytes long..",))
PATIENCE_S = 3
"""Of a worker whose answers are held: long enough for a busy machine to answer all that is not."""


class Far:
    """Settlements on a database behind a proxy."""

    def __init__(self, sales: Any, spec: DatabaseSpec, patience_s: float) -> None:
        url = sa.make_url(spec.url)
        self.proxy = SlowProxy(url.port or 3306)
        far = url.set(port=self.proxy.port).render_as_string()
        self.database = Database(DatabaseSpec(far, spec.password_ref), patience_s=patience_s)
        self.settlements = DatabaseSettlements(self.database, sales.clock, KEY, random.Random(1))

    @contextlib.contextmanager
    def before(self, number: int, action: Callable[[], Any]) -> Iterator[list[str]]:
        """Do `action` just before statement `number` is sent (the commit is the last one); yields the statements seen."""
        seen: list[str] = []

        def reached(text: str) -> None:
            seen.append(text)
            if len(seen) == number:
                action()

        def statement(unused_connection: Any, unused_cursor: Any, text: str, *unused: Any) -> None:
            reached(text)

        def commit(unused_connection: Any) -> None:
            reached("commit")

        sa.event.listen(self.database.engine, "before_cursor_execute", statement)
        sa.event.listen(self.database.engine, "commit", commit)
        try:
            yield seen
        finally:
            sa.event.remove(self.database.engine, "before_cursor_execute", statement)
            sa.event.remove(self.database.engine, "commit", commit)

    def trouble(self, kind: str) -> Callable[[], None]:
        """An action that has the next request meet this trouble."""
        return lambda: setattr(self.proxy, "trouble", kind)

    def close(self) -> None:
        self.database.close()
        self.proxy.close()


@pytest.fixture
def sales(mariadb_database: Database, make_sales: Any) -> Any:
    return make_sales(mariadb_database)


@pytest.fixture
def far(sales: Any, mariadb_spec: DatabaseSpec) -> Iterator[Far]:
    made = Far(sales, mariadb_spec, 60)
    yield made
    made.close()


@pytest.fixture
def hasty(sales: Any, mariadb_spec: DatabaseSpec) -> Iterator[Far]:
    made = Far(sales, mariadb_spec, PATIENCE_S)
    yield made
    made.close()


@pytest.fixture
def undisturbed(sqlite_database: Database, make_sales: Any, mail: Any) -> dict[str, Any]:
    """The rows that it has to come to, from the other database."""
    quiet = make_sales(sqlite_database)
    quiet.settlements.settle(full_batch(quiet, mail))
    return result_rows(quiet)


class NotCommitted(Exception):
    """What ends a settle that is only to be counted."""


def statements(far: Far, items: list[Any]) -> int:
    """How many statements settling takes, the commit included; asked by a settle that ends at its commit."""

    def stop(unused_connection: Any) -> None:
        raise NotCommitted

    with far.before(10**6, lambda: None) as seen:
        sa.event.listen(far.database.engine, "commit", stop)
        with pytest.raises(NotCommitted):
            far.settlements.settle(items)
        sa.event.remove(far.database.engine, "commit", stop)
    return len(seen)


def settled(sales: Any, index: Any, items: list[Any], undisturbed: dict[str, Any]) -> None:
    """Once the server answers again: settled once more, the rows are as they must be, and the index comes to the same."""
    sales.settlements.settle(items)
    assert result_rows(sales) == undisturbed
    assert sales.settlements.settle(items) == []
    assert amiss(sales.database) == []
    outbox = Outbox(sales.database, index, now=sales.clock)
    while outbox.drain(100):
        pass
    assert disagreement(sales.database, index) == []


def test_every_answer_is_lost_in_turn(
    sales: Any, far: Far, mail: Any, undisturbed: dict[str, Any], fts_search_index: Any
) -> None:
    """The server has done what it was asked for, the commit too; the worker only hears that the connection broke."""
    items = full_batch(sales, mail)
    before, number, seen = result_rows(sales), 0, [""]
    while seen[-1] != "commit":
        number += 1
        with far.before(number, far.trouble("lose answer")) as seen, pytest.raises(StoreUnavailableError):
            far.settlements.settle(items)
        assert len(seen) == number
        assert result_rows(sales) == (undisturbed if seen[-1] == "commit" else before), seen[-1]
    assert number == far.proxy.count > 15
    assert far.settlements.settle(items) == []
    settled(sales, fts_search_index, items, undisturbed)


@pytest.mark.parametrize("at", ["first", "middle", "commit"])
def test_answers_that_come_too_late(
    sales: Any, hasty: Far, mail: Any, undisturbed: dict[str, Any], fts_search_index: Any, at: str
) -> None:
    items = full_batch(sales, mail)
    last = statements(hasty, items)
    number = {"first": 1, "middle": last // 2, "commit": last}[at]
    before = result_rows(sales)
    with hasty.before(number, hasty.trouble("hold answer")), pytest.raises(StoreUnavailableError, match="2013"):
        hasty.settlements.settle(items)
    assert hasty.proxy.count == 1
    assert result_rows(sales) == (undisturbed if at == "commit" else before)
    settled(sales, fts_search_index, items, undisturbed)


@pytest.mark.parametrize("arrives", [True, False])
def test_a_commit_that_is_still_on_its_way_when_its_worker_has_given_up(
    sales: Any, hasty: Far, mail: Any, undisturbed: dict[str, Any], fts_search_index: Any, arrives: bool
) -> None:
    """Another worker settles the same batch meanwhile. It waits for the locks, and finds either all done or all to do."""
    items = full_batch(sales, mail)
    last, before = statements(hasty, items), result_rows(sales)
    with hasty.before(last, hasty.trouble("hold request")), pytest.raises(StoreUnavailableError, match="2013"):
        hasty.settlements.settle(items)
    assert result_rows(sales) == before
    found: list[Any] = []
    other = threading.Thread(target=lambda: found.append(sales.settlements.settle(items)))
    other.start()
    other.join(0.5)
    assert other.is_alive()  # it waits
    if arrives:
        hasty.proxy.release()
    else:
        hasty.proxy.drop()
    other.join(30)
    assert [bool(changed) for changed in found] == [not arrives]
    assert result_rows(sales) == undisturbed
    settled(sales, fts_search_index, items, undisturbed)


@pytest.fixture(scope="module")
def own_server(mariadb_server: Any) -> Iterator[MariaDbServer]:  # the other: to be skipped where there is none
    """A server of this module's own, to be killed."""
    running = MariaDbServer(quick=True).start()
    yield running
    running.stop()


@pytest.mark.parametrize("at", ["first", "middle", "before the commit", "with the commit", "after the commit"])
def test_killed_and_started_again_in_the_middle_of_a_settle(
    own_server: MariaDbServer, make_sales: Any, mail: Any, undisturbed: dict[str, Any], fts_search_index: Any, at: str
) -> None:
    """kill -9 at a chosen statement. "With the commit": it is on its way, so that either outcome is right."""
    spec = DatabaseSpec(own_server.url, own_server.password_ref)
    database = Database(spec)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("drop database dealmail")
        connection.exec_driver_sql("create database dealmail character set utf8mb4 collate utf8mb4_unicode_ci")
    database.close()
    migrate.upgrade(database)
    sales = make_sales(database)
    far = Far(sales, spec, 60)
    items = full_batch(sales, mail)
    last, before = statements(far, items), result_rows(sales)
    number = {"first": 1, "middle": last // 2}.get(at, last)

    killers: list[threading.Thread] = []

    def kill_when_it_is_on_its_way() -> None:
        far.proxy.trouble = "lose answer" if at == "after the commit" else "hold answer"

        def kill() -> None:
            (far.proxy.answered if at == "after the commit" else far.proxy.met).wait(30)
            own_server.kill()

        far.proxy.answered.clear()
        killers.append(threading.Thread(target=kill))
        killers[-1].start()

    action = kill_when_it_is_on_its_way if at.startswith(("with", "after")) else own_server.kill
    try:
        with far.before(number, action), pytest.raises(StoreUnavailableError):
            far.settlements.settle(items)
    finally:
        for killer in killers:
            killer.join(60)  # else it might kill the server that is started next
        own_server.kill()
        own_server.start()
    allowed = {"with the commit": [before, undisturbed], "after the commit": [undisturbed]}.get(at, [before])
    assert result_rows(sales) in allowed
    settled(sales, fts_search_index, items, undisturbed)
    far.close()
    database.close()
