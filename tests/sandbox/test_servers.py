from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import urllib.request

import pymysql
import pytest
import sqlalchemy as sa

from dealmail.io import secret_refs
from dealmail.io.database import Database
from dealmail.sandbox.elasticsearch_server import elasticsearch_home, java_home
from dealmail.sandbox.mariadb_server import MariaDbServer
from dealmail.sandbox.private_server import Server, ServerUnavailableError, cache_dir, run_tool


def test_cache_directory_is_the_one_named(monkeypatch, tmp_path):
    monkeypatch.setenv("DEALMAIL_CACHE", str(tmp_path / "deep" / "cache"))
    assert cache_dir() == tmp_path / "deep" / "cache"
    assert (tmp_path / "deep" / "cache").is_dir()


def test_missing_tool_is_named_in_one_line():
    with pytest.raises(ServerUnavailableError, match=r"^mariadb: no-such-tool is not installed$"):
        run_tool("mariadb", ["no-such-tool"], 5)


def test_failing_tool_is_quoted_in_one_line():
    with pytest.raises(ServerUnavailableError) as caught:
        run_tool("elasticsearch", ["sh", "-c", "echo noise; echo '[ERROR] not found'; echo tail; exit 3"], 5)
    assert str(caught.value) == "elasticsearch: sh failed: [ERROR] not found"


def test_old_java_is_refused(monkeypatch, tmp_path):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("ES_JAVA_HOME", str(tmp_path))
    with pytest.raises(ServerUnavailableError, match=r"needs Java 17 or newer; .* is 11"):
        java_home()


def test_another_file_than_the_pinned_one_is_refused(monkeypatch, tmp_path):
    (tmp_path / "es.zip").write_bytes(b"not it")
    monkeypatch.setenv("DEALMAIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DEALMAIL_ELASTICSEARCH_ZIP", str(tmp_path / "es.zip"))
    with pytest.raises(ServerUnavailableError, match=r"has SHA-256 .*, expected 215d5f3d"):
        elasticsearch_home()


def test_a_version_without_a_known_digest_is_refused(monkeypatch):
    monkeypatch.setenv("DEALMAIL_ELASTICSEARCH_VERSION", "9.9.9")
    with pytest.raises(ServerUnavailableError, match=r"no version 9\.9\.9 here; .* 8\.19\.21, 9\.1\.10$"):
        elasticsearch_home()


@pytest.mark.skipif(os.getuid() != 0, reason="only root changes to another user")
def test_directory_closed_to_nobody_is_refused(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ServerUnavailableError, match="cannot enter"):
        Server(closed / "data")


@pytest.mark.mariadb
def test_mariadb_keeps_committed_rows_through_a_kill(mariadb_server, tmp_path_factory):
    # mariadb_server: only to be skipped where there is none
    server = MariaDbServer(quick=True).start()
    try:
        password = secret_refs.resolve(server.password_ref)
        with pymysql.connect(
            host="127.0.0.1", port=server.port, user="dealmail", password=password, database="dealmail"
        ) as c:
            with c.cursor() as cursor:
                cursor.execute("create table t (a int primary key)")
                cursor.execute("insert into t values (7)")
            c.commit()
        server.kill()
        with pytest.raises(pymysql.err.OperationalError):
            pymysql.connect(host="127.0.0.1", port=server.port, user="dealmail", password=password)
        server.start()
        with (
            pymysql.connect(
                host="127.0.0.1", port=server.port, user="dealmail", password=password, database="dealmail"
            ) as c,
            c.cursor() as cursor,
        ):
            cursor.execute("select a from t")
            assert cursor.fetchall() == ((7,),)
        with pytest.raises(pymysql.err.OperationalError):
            pymysql.connect(host="127.0.0.1", port=server.port, user="dealmail", password="")
    finally:
        server.stop()
    assert not server.dir.exists()


@pytest.mark.mariadb
def test_mariadb_with_named_directory_is_found_again(mariadb_server):
    import tempfile

    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        pathlib.Path(folder).chmod(0o755)
        for value in (1, 2):
            server = MariaDbServer(pathlib.Path(folder) / "kept", quick=True).start()
            try:
                password = secret_refs.resolve(server.password_ref)
                with (
                    pymysql.connect(
                        host="127.0.0.1",
                        port=server.port,
                        user="dealmail",
                        password=password,
                        database="dealmail",
                        autocommit=True,
                    ) as c,
                    c.cursor() as cursor,
                ):
                    cursor.execute("create table if not exists t (a int primary key)")
                    cursor.execute("insert into t values (%s)", (value,))
                    cursor.execute("select count(*) from t")
                    assert cursor.fetchone() == (value,)
            finally:
                server.stop()
        assert (pathlib.Path(folder) / "kept" / "data").is_dir()


@pytest.mark.mariadb
def test_kept_server_ends_with_the_process_it_watches(mariadb_server, tmp_path):
    watched = subprocess.Popen(["sleep", "60"])
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-m", "dealmail.sandbox.servers", "mariadb", "--quick", "--ready", str(ready)]
    keeper = subprocess.Popen([*command, "--watch", str(watched.pid)], stdout=subprocess.PIPE)
    try:
        keeper.stdout.readline()
        port = sa.make_url(json.loads(ready.read_text())["url"]).port
        watched.kill()
        watched.wait()
        assert keeper.wait(20) == 0
        with pytest.raises(pymysql.err.OperationalError):
            pymysql.connect(host="127.0.0.1", port=port, user="dealmail", password="")
    finally:
        keeper.kill()
        watched.kill()


@pytest.mark.elasticsearch
def test_elasticsearch_answers(elasticsearch_url):
    with urllib.request.urlopen(f"{elasticsearch_url}/_cluster/health") as answer:
        assert json.load(answer)["number_of_nodes"] == 1


def test_database_fixture_has_the_schema(database: Database):
    with database.reading() as connection:
        assert connection.execute(sa.text("select count(*) from search_outbox")).scalar() == 0


def test_clock_moves_only_when_told(clock):
    before = clock()
    assert clock() == before
    assert (clock.advance(minutes=15) - before).total_seconds() == 900
