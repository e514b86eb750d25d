"""A dozen fault scenarios, played as `make chaos` plays two hundred, and an oracle that notices what is amiss."""

from __future__ import annotations

import json
import pathlib
import pickle
import shutil
import subprocess
import sys

import pytest
import sqlalchemy as sa

from benchmarks.scenarios import oracle
from dealmail.io import schema
from dealmail.io.database import Database, DatabaseSpec

ROOT = pathlib.Path(__file__).parents[2]
DOZEN = "2,3,6,8,11,16,20,77,105,117,120,121"
"""Seeds that once showed a mistake stay in here."""


def play(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.chaos", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_nothing_is_lost_doubled_or_wrong_in_a_dozen_scenarios():
    done = play("--only", DOZEN)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = dict(line.rsplit(maxsplit=1) for line in done.stdout.split("\n\n")[0].splitlines())
    assert figures["scenarios"] == "12"
    for name in ("lost", "doubled", "wrong", "audits below 100 %"):
        assert figures[name] == "0", done.stdout
    for name in ("mailbox events", "faults injected", "kills (SIGKILL)"):
        assert int(figures[name].replace(",", "")) >= 60, done.stdout  # else the weather was too good to prove anything


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chaos")
    done = play("--seeds", "1", "--calm", "--keep", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "seed0"


@pytest.fixture
def judge(played, tmp_path):
    """Spoils a copy of a good database by one statement, and says what the oracle makes of it."""
    truth = pickle.loads((played / "truth.pickle").read_bytes())

    def spoil(work):
        for file in played.glob("dealmail.db*"):
            shutil.copy(file, tmp_path)
        database = Database(DatabaseSpec(f"sqlite:///{tmp_path}/dealmail.db"))
        database.transaction(work)
        verdict = oracle.compare(database, truth)
        database.close()
        return verdict

    return spoil


def one_imported(connection):
    row = schema.message.c
    return connection.execute(
        sa.select(row.mailbox_id, row.gmail_id, row.engagement_id).where(row.outcome == "imported")
    ).first()


def this(table, found):
    return sa.and_(table.c.mailbox_id == found.mailbox_id, table.c.gmail_id == found.gmail_id)


def test_the_oracle_is_content_with_what_is_right(judge):
    assert judge(lambda connection: None).is_good


def test_the_oracle_sees_a_lost_message(judge):
    def lose(connection):
        found = one_imported(connection)
        connection.execute(sa.delete(schema.engagement_copy).where(this(schema.engagement_copy, found)))
        connection.execute(sa.delete(schema.message).where(this(schema.message, found)))

    assert judge(lose).lost


def test_the_oracle_sees_a_message_that_waits_for_ever(judge):
    def hang(connection):
        row = schema.message.c
        found = connection.execute(sa.select(row.mailbox_id, row.gmail_id).where(row.rule == "crm.no_match")).first()
        connection.execute(
            sa.update(schema.message)
            .where(this(schema.message, found))
            .values(state="pending", outcome=None, rule=None)
        )

    assert judge(hang).lost


def test_the_oracle_sees_a_mail_that_was_stored_twice(judge):
    def double(connection):
        copy = schema.engagement_copy.c
        several = sa.select(copy.engagement_id).group_by(copy.engagement_id).having(sa.func.count() > 1)
        first = connection.scalar(several.limit(1))
        row = dict(
            connection.execute(sa.select(schema.engagement).where(schema.engagement.c.id == first)).mappings().one()
        )
        connection.execute(sa.insert(schema.engagement).values(**row | {"id": "f" * 32}))
        found = connection.execute(sa.select(copy.mailbox_id, copy.gmail_id).where(copy.engagement_id == first)).first()
        for table in (schema.engagement_copy, schema.message):
            connection.execute(sa.update(table).where(this(table, found)).values(engagement_id="f" * 32))

    assert judge(double).doubled


def test_the_oracle_sees_a_copy_that_should_not_be_there(judge):
    def keep(connection):
        found = one_imported(connection)
        connection.execute(
            sa.update(schema.message).where(this(schema.message, found)).values(outcome="dropped", rule="crm.no_match")
        )

    assert judge(keep).wrong


def test_the_oracle_sees_a_wrong_sender(judge):
    assert judge(lambda c: c.execute(sa.update(schema.engagement).values(sender_address="x@customer0.example"))).wrong


def test_units_beyond_the_quota_are_seen():
    ledger = json.loads('[{"minute": 60, "user": "a@x", "units": 901}, {"minute": 60, "user": "", "units": 5000}]')
    assert len(oracle.over_quota(ledger, 900, 5000, {})) == 1
    assert len(oracle.over_quota(ledger, 901, 4999, {})) == 1
    assert oracle.over_quota(ledger, 901, 5000, {}) == []


def test_a_minute_in_which_a_clock_was_moved_holds_another_quota_and_no_more():
    ledger = json.loads('[{"minute": 60, "user": "a@x", "units": 901}, {"minute": 60, "user": "", "units": 5000}]')
    assert oracle.over_quota(ledger, 451, 2500, {60: 1}) == []
    assert len(oracle.over_quota(ledger, 450, 2499, {60: 1})) == 2
    assert len(oracle.over_quota(ledger, 450, 2499, {0: 1, 120: 1})) == 2
    assert oracle.over_quota(ledger, 301, 1667, {60: 2}) == []
