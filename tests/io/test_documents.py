"""Documents read from a database: what one statement brings is what the rows say."""

from __future__ import annotations

import collections
import datetime as dt

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dealmail.io import documents, engagement_rows, schema, search

anything = st.text(max_size=20).map(engagement_rows.clean)
"""What a text column may hold."""
key = st.text("aZ09-_'\"\\é😀 ", min_size=1, max_size=8)
person = st.fixed_dictionaries({"role": st.sampled_from(["from", "to", "cc"]), "address": anything, "name": anything})
link = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["account", "contact", "lead", "opportunity"]),
        "target_id": key,
        "is_primary": st.booleans(),
    }
)
mails = st.lists(
    st.fixed_dictionaries({
        "id": key, "message_id": anything, "sent_at": st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2100, 1, 1)),  # noqa: DTZ001
        "subject": anything, "text": anything, "sender_address": anything, "sender_name": anything, "truncated": st.booleans(),
        "people": st.lists(person, max_size=4), "links": st.lists(link, max_size=4, unique_by=lambda row: (row["kind"], row["target_id"])),
        "mailboxes": st.lists(key, max_size=3),
    }),
    max_size=3, unique_by=lambda mail: mail["id"],
)  # fmt: skip


def rows_of(team, mail):
    mine = {"team_id": team, "engagement_id": mail["id"]}
    at = mail["sent_at"].replace(tzinfo=dt.UTC)
    row = {
        name: mail[name]
        for name in ("id", "message_id", "subject", "text", "sender_address", "sender_name", "truncated")
    }
    row |= {
        "team_id": team, "sent_at": at, "direction": "inbound", "spans": [], "flags": [], "content_digest": "", "rank": "",
        "version": 7, "created_at": at, "updated_at": at,
    }  # fmt: skip
    people = [{**mine, **one, "position": number} for number, one in enumerate(mail["people"])]
    links = [{**mine, **one, "via": ""} for one in mail["links"]]
    copies = [
        {**mine, "mailbox_id": one, "gmail_id": f"{team}/{mail['id']}/{number}", "content_digest": ""}
        for number, one in enumerate(mail["mailboxes"])
    ]
    return row, people, links, copies


def write(database, written):
    tables = (schema.participant, schema.engagement_link, schema.engagement_copy)
    children = collections.defaultdict(list)
    with database.engine.begin() as connection:
        for table in (*tables, schema.engagement):
            connection.execute(sa.delete(table))
        for row, *rest in written:
            connection.execute(sa.insert(schema.engagement), row)
            for table, rows in zip(tables, rest, strict=True):
                children[table] += rows
        for table, rows in children.items():
            if rows:
                connection.execute(sa.insert(table), rows)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mails, mails)
def test_every_document_is_what_its_rows_say(database, ours, theirs):
    """Two teams, whose engagements may have the same ids."""
    written = [rows_of(team, mail) for team, mails in (("t1", ours), ("t2", theirs)) for mail in mails]
    write(database, written)
    keys = [(row["team_id"], row["id"]) for row, *_ in written]
    with database.reading() as connection:
        found = documents.read_documents(connection, [*keys, ("t1", "nobody"), ("t3", "a")])
    assert found == {
        (row["team_id"], row["id"]): documents.Versioned(
            7, search.document(row, people, links, [copy["mailbox_id"] for copy in copies])
        )
        for row, people, links, copies in written
    }


def test_thousands_of_people_are_not_cut(database):
    """MariaDB would cut what it gathers at a megabyte, in the middle of a name."""
    people = [{"role": "to", "address": f"{number}@x.example", "name": "é" * 255} for number in range(4000)]
    mail = {"id": "e", "message_id": "", "sent_at": dt.datetime(2026, 3, 1, tzinfo=dt.UTC), "subject": "", "text": "", "sender_address": "a@x.example",
            "sender_name": "", "truncated": False, "people": people, "links": [], "mailboxes": []}  # fmt: skip
    write(database, [rows_of("t1", mail)])
    with database.reading() as connection:
        found = documents.read_documents(connection, [("t1", "e")])
    assert [one["address"] for one in found["t1", "e"].document["to"]] == [one["address"] for one in people]


def test_nothing_is_asked_where_nothing_is_wanted(sqlite_database):
    with sqlite_database.reading() as connection:
        assert documents.read_documents(connection, []) == {}


@pytest.mark.parametrize("micro", [0, 1, 999_999])
def test_times_come_back_whole(database, micro):
    at = dt.datetime(2026, 3, 1, 12, 0, 0, micro, tzinfo=dt.UTC)
    with database.engine.begin() as connection:
        connection.execute(
            sa.insert(schema.search_outbox), [{"team_id": "t", "engagement_id": "e", "version": 1, "enqueued_at": at}]
        )
        (text,) = connection.scalars(sa.select(documents.time_text(schema.search_outbox.c.enqueued_at))).all()
    assert documents.time_read(text) == at
