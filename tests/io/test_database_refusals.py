"""What a person who cannot connect reads: what to put right, and nothing of passwords, users and addresses."""

from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa

from dealmail.io.database import Database, DatabaseSpec, StoreRefusedError
from dealmail.transforms.errors import StoreUnavailableError


def refusal(spec: DatabaseSpec) -> str:
    database = Database(spec)
    with pytest.raises((StoreRefusedError, StoreUnavailableError)) as caught:
        database.transaction(lambda connection: connection.execute(sa.text("select 1")))
    database.close()
    assert " at:" not in str(caught.value)
    return str(caught.value)


@pytest.mark.mariadb
def test_a_wrong_password_and_a_missing_database_are_said(
    mariadb_database: Database, mariadb_server: DatabaseSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEALMAIL_WRONG_PASSWORD", "s3cr3t")
    url = mariadb_database.engine.url
    right = DatabaseSpec(url._replace(password=None).render_as_string(hide_password=False), mariadb_server.password_ref)
    wrong = dataclasses.replace(right, password_ref="env:DEALMAIL_WRONG_PASSWORD")
    assert refusal(wrong) == "database: OperationalError 1045: access denied (user or --database_password)"
    missing = url._replace(password=None, database="no_such_database").render_as_string(hide_password=False)
    assert (
        refusal(dataclasses.replace(right, url=missing))
        == "database: OperationalError 1044: access denied to this database: does it exist, and may its user use it?"
    )


@pytest.mark.mariadb
def test_a_database_that_nobody_has_made_is_said_to_a_user_who_might(mariadb_server: DatabaseSpec) -> None:
    """Who may use databases of such a name is told that there is none; anybody else only that they may not."""
    missing = sa.make_url(mariadb_server.url).set(database="dealmail_nobody_made_it").render_as_string()
    said = refusal(DatabaseSpec(missing, mariadb_server.password_ref))
    assert said == "database: OperationalError 1049: no such database: create it"


def test_a_server_that_is_not_there_is_said() -> None:
    said = refusal(DatabaseSpec("mysql+pymysql://u@127.0.0.1:1/d"))
    assert said == "database: OperationalError 2003: nothing answers there"
