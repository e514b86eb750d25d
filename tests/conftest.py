"""Fixtures that every test may use.

clock                     a clock that stands still until the test moves it
corpora                   folder of the mail corpora: DEALMAIL_CORPORA, or ../shared/corpora/corpora.tar.xz unpacked

sqlite_database           a fresh SQLite file with today's schema
mariadb_database          a fresh MariaDB database with today's schema                              [mariadb]
database                  both of these, one after the other
empty_database            both, without tables: for migrations
database_spec             what opens `database` in another process
mariadb_server            the session's MariaDB: .url, .password_ref                                [mariadb]

elasticsearch_url         the session's Elasticsearch                                               [elasticsearch]
elasticsearch_index_name  an alias name no other test uses; its indexes are removed afterwards      [elasticsearch]
fts_search_index          a fresh search index in an SQLite file
elasticsearch_search_index  a fresh search index on Elasticsearch                                   [elasticsearch]
search_index              both of these, one after the other
store                     writes engagements with their rows and puts them on the outbox, without Gmail

The servers are started once a session, when the first test asks, and shared by all workers of pytest-xdist. They end
with the session, however it ends. DEALMAIL_TEST_MARIADB (a spec as JSON: {"url": …, "password_ref": …}) and
DEALMAIL_TEST_ELASTICSEARCH (a URL) name servers at hand instead.

A test whose server cannot be had is skipped, and named in the last lines; with CI=true such a skip of MariaDB or
Elasticsearch fails the session.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks.corpora import find as find_corpora
from dealmail.io import migrate, removal, schema
from dealmail.io.database import Database, DatabaseSpec
from dealmail.io.environment import VARIABLES
from dealmail.io.search import SearchIndex, SearchSpec, open_index

SESSION = "DEALMAIL_TEST_SESSION"
CHECKOUT = pathlib.Path(__file__).resolve().parents[1]
NEEDED_IN_CI = ("mariadb", "elasticsearch")


# --- the session -----------------------------------------------------------------------------------------------------
def pytest_configure(config: pytest.Config) -> None:
    """Make the folder in which the workers find the servers. The workers inherit the variable.

    The stores that whoever runs the tests works with are not theirs.
    """
    for name in VARIABLES.values():
        os.environ.pop(name, None)
    if not hasattr(config, "workerinput"):
        os.environ[SESSION] = tempfile.mkdtemp(prefix="dealmail-tests-")
        os.environ[f"{SESSION}_PID"] = str(os.getpid())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, so that workers, who share out whole files in this order, end together."""
    items.sort(key=lambda item: "slow" not in item.keywords)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the servers that this session started."""
    if hasattr(config, "workerinput"):
        return
    folder = pathlib.Path(os.environ.pop(SESSION))
    pids = [int(file.read_text()) for file in folder.glob("*.pid")]
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 30
    while any(_running(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)  # no children of this process, so nothing but asking tells when they have ended
    shutil.rmtree(folder, ignore_errors=True)


def _running(pid: int) -> bool:
    try:
        done, _ = os.waitpid(pid, os.WNOHANG)
        return done == 0
    except ChildProcessError:  # a worker's child, long since its own
        stat = pathlib.Path(f"/proc/{pid}/stat")
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """With CI=true a skipped MariaDB or Elasticsearch test is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or os.environ.get("CI") != "true" or session.exitstatus != pytest.ExitCode.OK:
        return
    if any(name in report.keywords for report in reporter.stats.get("skipped", []) for name in NEEDED_IN_CI):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name every skipped test and why, last of all."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    terminalreporter.section(f"NOT RUN on this machine: {len(skipped)} tests", sep="!", red=True)
    reasons: dict[str, list[str]] = {}
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons.setdefault(reason.removeprefix("Skipped: "), []).append(report.nodeid)
    for reason, names in sorted(reasons.items()):
        terminalreporter.write_line(reason, yellow=True)
        for name in sorted(set(names)):
            terminalreporter.write_line(f"  {name}")
    if os.environ.get("CI") == "true":
        needed = sorted({n for n in NEEDED_IN_CI if any(n in report.keywords for report in skipped)})
        if needed:
            terminalreporter.write_line(f"CI=true: tests of {' and '.join(needed)} must run: FAILED", red=True)


# --- time and mail ---------------------------------------------------------------------------------------------------
class Clock:
    """A clock for `now: Callable[[], datetime]`: moves only when told."""

    def __init__(self, at: dt.datetime = dt.datetime(2026, 3, 2, 9, 0, tzinfo=dt.UTC)) -> None:
        self.at = at

    def __call__(self) -> dt.datetime:
        return self.at

    def advance(self, **by: float) -> dt.datetime:
        """Move on by timedelta's keyword arguments and say what time it is."""
        self.at += dt.timedelta(**by)
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def corpora() -> pathlib.Path:
    folder = find_corpora()
    if folder is None:
        pytest.skip("needs the mail corpora: set DEALMAIL_CORPORA")
    return folder


# --- servers ---------------------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class Address:
    """Where a running server is."""

    url: str
    password_ref: str = ""


def _server(kind: str) -> Address:
    """The session's server of this kind, started by whoever comes first."""
    folder = pathlib.Path(os.environ[SESSION])
    ready = folder / f"{kind}.json"
    with (folder / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            command = [sys.executable, "-m", "dealmail.sandbox.servers", kind, "--quick", "--ready", str(ready)]
            with (folder / f"{kind}.log").open("wb") as log:
                keeper = subprocess.Popen(
                    [*command, "--watch", os.environ[f"{SESSION}_PID"]], stdin=subprocess.DEVNULL, stdout=log,
                    stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
            (folder / f"{kind}.pid").write_text(str(keeper.pid))
            while not ready.exists():
                if keeper.poll() is not None and not ready.exists():
                    pytest.fail(f"{kind} could not be kept running:\n{(folder / f'{kind}.log').read_text()[-2000:]}")
                time.sleep(0.05)  # another process, perhaps of another worker's, writes the file when its server is up
    answer = json.loads(ready.read_text())
    if "unavailable" in answer:
        (folder / f"{kind}.pid").unlink(missing_ok=True)
        pytest.skip(f"needs {answer['unavailable']}")
    return Address(**answer)


@pytest.fixture(scope="session")
def mariadb_server() -> Address:
    given = os.environ.get("DEALMAIL_TEST_MARIADB")
    return Address(**json.loads(given)) if given else _server("mariadb")


@pytest.fixture(scope="session")
def elasticsearch_url() -> str:
    return os.environ.get("DEALMAIL_TEST_ELASTICSEARCH") or _server("elasticsearch").url


# --- databases -------------------------------------------------------------------------------------------------------
def make_schema(database: Database) -> None:
    """Bring `database` to today's schema, as the job would."""
    migrate.upgrade(database)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An SQLite file with the schema, to be copied: quicker than migrating for each test."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    database = Database(DatabaseSpec(f"sqlite:///{path}"))
    make_schema(database)
    database.close()
    return path


@pytest.fixture
def sqlite_spec(tmp_path: pathlib.Path, sqlite_template: pathlib.Path) -> DatabaseSpec:
    shutil.copy(sqlite_template, tmp_path / "dealmail.db")
    return DatabaseSpec(f"sqlite:///{tmp_path / 'dealmail.db'}")


@pytest.fixture
def sqlite_database(sqlite_spec: DatabaseSpec) -> Iterator[Database]:
    database = Database(sqlite_spec)
    yield database
    database.close()


@pytest.fixture
def empty_mariadb_spec(mariadb_server: Address) -> Iterator[DatabaseSpec]:
    name = f"dealmail_{uuid.uuid4().hex[:12]}"
    url = sa.make_url(mariadb_server.url)
    front = Database(DatabaseSpec(mariadb_server.url, mariadb_server.password_ref))
    with front.engine.begin() as connection:
        connection.exec_driver_sql(f"create database {name} character set utf8mb4 collate utf8mb4_unicode_ci")
    yield DatabaseSpec(url.set(database=name).render_as_string(), mariadb_server.password_ref)
    with front.engine.begin() as connection:
        connection.exec_driver_sql(f"drop database {name}")
    front.close()


@pytest.fixture
def mariadb_spec(empty_mariadb_spec: DatabaseSpec) -> DatabaseSpec:
    database = Database(empty_mariadb_spec)
    make_schema(database)
    database.close()
    return empty_mariadb_spec


@pytest.fixture
def mariadb_database(mariadb_spec: DatabaseSpec) -> Iterator[Database]:
    database = Database(mariadb_spec)
    yield database
    database.close()


BOTH_DATABASES = ["sqlite", pytest.param("mariadb", marks=pytest.mark.mariadb)]


@pytest.fixture(params=BOTH_DATABASES)
def database_spec(request: pytest.FixtureRequest) -> DatabaseSpec:
    return request.getfixturevalue(f"{request.param}_spec")


@pytest.fixture
def database(database_spec: DatabaseSpec) -> Iterator[Database]:
    opened = Database(database_spec)
    yield opened
    opened.close()


@pytest.fixture(params=BOTH_DATABASES)
def empty_database(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Database]:
    if request.param == "sqlite":
        spec = DatabaseSpec(f"sqlite:///{tmp_path / 'empty.db'}")
    else:
        spec = request.getfixturevalue("empty_mariadb_spec")
    opened = Database(spec)
    yield opened
    opened.close()


# --- search ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def elasticsearch_index_name(elasticsearch_url: str) -> Iterator[str]:
    import elasticsearch

    name = f"dealmail-{uuid.uuid4().hex[:12]}"
    yield name
    with elasticsearch.Elasticsearch(elasticsearch_url) as client:
        left = [str(row["index"]) for row in client.cat.indices(index=f"{name}*", format="json")]
        if left:
            client.indices.delete(index=left)


@pytest.fixture
def elasticsearch_search_index(elasticsearch_url: str, elasticsearch_index_name: str) -> Iterator[SearchIndex]:
    opened = open_index(SearchSpec(elasticsearch_url, index=elasticsearch_index_name, replicas=0))
    opened.ensure()
    yield opened
    opened.close()


@pytest.fixture
def fts_search_index(tmp_path: pathlib.Path) -> Iterator[SearchIndex]:
    opened = open_index(SearchSpec(f"sqlite:///{tmp_path / 'search.db'}"))
    opened.ensure()
    yield opened
    opened.close()


@pytest.fixture(params=["fts", pytest.param("elasticsearch", marks=pytest.mark.elasticsearch)])
def search_index(request: pytest.FixtureRequest) -> SearchIndex:
    return request.getfixturevalue(f"{request.param}_search_index")


class Store:
    """Writes engagements as settling would, with contents made from their number."""

    def __init__(self, now: Clock) -> None:
        self.now = now

    def __call__(
        self,
        database: Database,
        numbers: range | list[int],
        *,
        team_id: str = "t1",
        version: int | None = None,
        text: str = "",
    ) -> list[str]:
        """Insert or replace the engagements of these numbers and put them on the outbox; their ids."""
        made = [self.rows(number, team_id, version or removal.clock_version(self.now()), text) for number in numbers]
        ids = [row["id"] for row, *_ in made]

        def work(connection: sa.Connection) -> None:
            for table in (schema.participant, schema.engagement_link, schema.engagement_copy, schema.engagement):
                key = table.c.id if table is schema.engagement else table.c.engagement_id
                connection.execute(sa.delete(table).where(table.c.team_id == team_id, key.in_(ids)))
            connection.execute(sa.insert(schema.engagement), [row for row, *_ in made])
            for at, table in enumerate((schema.participant, schema.engagement_link, schema.engagement_copy), 1):
                connection.execute(sa.insert(table), [row for rows in made for row in rows[at]])
            versions = {row["id"]: row["version"] for row, *_ in made}
            removal.put_on_outbox(database, connection, team_id, versions, self.now())

        database.transaction(work)
        return ids

    def rows(self, number: int, team_id: str, version: int, text: str) -> tuple[Any, ...]:
        """The rows of one engagement: itself, participants, links, copies."""
        key = f"{number:032x}"
        mine = {"team_id": team_id, "engagement_id": key}
        sender = f"person{number % 7}@customer{number % 3}.example"
        row = {
            "team_id": team_id, "id": key, "message_id": f"{number}@customer.example", "sent_at": self.now() - dt.timedelta(hours=number),
            "direction": "inbound" if number % 2 else "outbound", "sender_address": sender, "sender_name": f"Person {number % 7}",
            "subject": f"Offer {number}", "text": text or f"Dear all, here is offer number{number}. Regards", "spans": [],
            "truncated": False, "flags": [], "content_digest": f"{number:064x}", "rank": "r", "version": version,
            "created_at": self.now(), "updated_at": self.now(),
        }  # fmt: skip
        people = [
            {**mine, "role": "from", "position": 0, "address": sender, "name": f"Person {number % 7}"},
            {**mine, "role": "to", "position": 0, "address": "ann@team.example", "name": "Ann Rep"},
        ]
        links = [
            {**mine, "kind": "account", "target_id": f"a{number % 3}", "is_primary": True, "via": "domain"},
            {**mine, "kind": "opportunity", "target_id": f"o{number % 3}", "is_primary": True, "via": "account"},
        ]
        copies = [{**mine, "mailbox_id": "m1", "gmail_id": f"{team_id}-{number:x}", "content_digest": f"{number:064x}"}]
        return row, people, links, copies


@pytest.fixture
def store(clock: Clock) -> Store:
    return Store(clock)
