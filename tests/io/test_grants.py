"""The job's user in MariaDB: it can do all of the job's work, and cannot take back a line of the consent log."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa

from dealmail.io import migrate, schema
from dealmail.io.consent_flow import SignIn
from dealmail.io.database import Database, DatabaseSpec
from dealmail.io.erasure import Erasing, Erasure
from dealmail.io.grants import grants
from dealmail.io.vault import Digests
from dealmail.sandbox.mariadb_server import MariaDbServer


def test_every_table_but_the_consent_log_may_be_changed() -> None:
    first, *others = grants("mail", "job")
    assert first == "GRANT SELECT, INSERT ON `mail`.* TO 'job'@'%'"
    assert len(others) == len(schema.metadata.tables) - 1
    assert not any("`consent`" in statement for statement in others)


@pytest.mark.parametrize("user", ["", "a b", "a'@'%", "a@b@c", "a;"])
def test_what_is_no_user_is_refused(user: str) -> None:
    with pytest.raises(ValueError, match="no user of MariaDB"):
        grants("mail", user)


@pytest.fixture
def database(mariadb_server: Any, tmp_path: pathlib.Path) -> Iterator[Database]:
    """A database as the job's user sees it (`gmails_on` takes it), on a server of its own (skipped where there are none)."""
    server = MariaDbServer(quick=True).start()
    try:
        whole = Database(DatabaseSpec(server.url, server.password_ref))
        migrate.upgrade(whole)
        whole.close()
        (tmp_path / "password").write_text("of the job")
        with pymysql.connect(unix_socket=str(server._run / "s"), user="root") as root, root.cursor() as cursor:
            cursor.execute("CREATE USER job@'127.0.0.1' IDENTIFIED BY 'of the job'")
            for statement in grants("dealmail", "job@127.0.0.1"):
                cursor.execute(statement)
        url = sa.make_url(server.url).set(username="job")
        opened = Database(DatabaseSpec(url.render_as_string(), f"file:{tmp_path / 'password'}"))
        yield opened
        opened.close()
    finally:
        server.stop()


@pytest.mark.mariadb
def test_the_jobs_user_does_its_work_and_cannot_take_back_a_consent(gmails_on: Any) -> None:
    gmails, database = gmails_on, gmails_on.database
    migrate.check_schema(database)
    alice = gmails.connect("alice")
    mail = gmails.deliver(alice, age=1)
    gmails.sync(alice)
    assert set(gmails.outcomes(alice)) == {mail}
    SignIn(database, gmails.vault, gmails.settings, gmails.clock).disconnect(alice, "alice")
    erasing = Erasing(database, gmails.clock, Digests((b"a key for tests, 32 bytes long..",)))
    erasing.erase(Erasure("t1", mailbox=alice))
    assert [entry.action for entry in gmails.mailboxes.consents(alice)] == ["import_on", "import_off", "revoked"]
    for statement in (sa.update(schema.consent).values(actor="nobody"), sa.delete(schema.consent)):
        with pytest.raises(sa.exc.SQLAlchemyError, match="denied"), database.engine.begin() as connection:
            connection.execute(statement)


@pytest.mark.mariadb
def test_a_name_with_an_underscore_stands_for_no_other_database(mariadb_server: Any) -> None:
    server = MariaDbServer(quick=True).start()
    try:
        with pymysql.connect(unix_socket=str(server._run / "s"), user="root") as root, root.cursor() as cursor:
            cursor.execute("CREATE USER job@localhost")
            for name in ("deal_mail", "dealxmail"):
                cursor.execute(f"CREATE DATABASE {name}")
                cursor.execute(f"CREATE TABLE {name}.team (id INT)")
            cursor.execute(grants("deal_mail", "job@localhost")[0])
            cursor.execute("GRANT UPDATE, DELETE ON `deal_mail`.`team` TO job@localhost")
        with pymysql.connect(unix_socket=str(server._run / "s"), user="job") as job, job.cursor() as cursor:
            for statement in ("INSERT INTO deal_mail.team VALUES (1)", "UPDATE deal_mail.team SET id = 2"):
                assert cursor.execute(statement) == 1
            with pytest.raises(pymysql.err.OperationalError, match="denied"):
                cursor.execute("SELECT * FROM dealxmail.team")
    finally:
        server.stop()
