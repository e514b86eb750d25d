"""The three timelines: each row of each view, on both databases, beside what plain Python makes of the tables' rows."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import schema
from dealmail.io.database import Database

AT = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
TEAMS = ("t1", "t2")
PEOPLE = {
    "e1": [("from", 0, "zoe@acme.example", "Zoë Ångström 😀"), ("to", 0, "alice@corp.example", "Alice"), ("to", 1, "bob@corp.example", ""),
           ("cc", 0, "zoe@acme.example", "Zoe, again"), ("cc", 1, "kim@acme.example", "O'Kim <x>")],
    "e2": [("from", 0, "alice@corp.example", ""), ("cc", 0, "zoe@acme.example", "")],
    "e3": [("from", 0, "kim@acme.example", "Kim"), *(("to", n, f"p{n}@acme.example", f"Person {n}") for n in range(1_200))],
    "e4": [("from", 0, "nobody@else.example", "Nobody")],
}  # fmt: skip
SENT = {"e1": AT, "e2": AT - dt.timedelta(days=1, microseconds=1), "e3": AT, "e4": AT}
LINKS = {
    "e1": [("account", "a1", True, "contact"), ("account", "a2", False, "domain"), ("opportunity", "o1", True, "account"),
           ("opportunity", "o2", False, "account"), ("contact", "c1", True, "contact")],
    "e2": [("account", "a1", True, "domain"), ("opportunity", "o1", True, "account")],
    "e3": [("account", "a1", True, "domain"), ("opportunity", "gone", True, "account"), ("opportunity", "o1", True, "account")],
}  # fmt: skip
MAIL = ("message_id", "sent_at", "direction", "sender_address", "sender_name", "subject", "text", "truncated")


def engagement(team: str, name: str) -> dict[str, Any]:
    _, _, address, sender = PEOPLE[name][0]
    return {
        "team_id": team, "id": name, "message_id": f"{name}@{team}.example", "sent_at": SENT[name],
        "direction": "outbound" if name == "e2" else "inbound", "sender_address": address, "sender_name": sender,
        "subject": f"Angebot für {team}", "text": "Grüße\n😀" * 3, "spans": [], "truncated": name == "e3", "flags": [], "content_digest": "",
        "rank": "", "version": 1, "created_at": AT, "updated_at": AT,
    }  # fmt: skip


@pytest.fixture
def filled(database: Database) -> Database:
    def work(connection: sa.Connection) -> None:
        for team in TEAMS:
            mine = {"team_id": team}
            accounts = [{**mine, "id": "a1", "name": f"Acme {team}"}, {**mine, "id": "a2", "name": ""}]
            database.insert(connection, schema.account, accounts)
            deal = {**mine, "account_id": "a1", "opened_on": AT.date(), "closed_on": None}
            deals = [
                {**deal, "id": "o1", "name": "Größer", "owner_user_id": "u1", "is_open": True},
                {**deal, "id": "o2", "name": "", "owner_user_id": None, "is_open": False},
                {**deal, "id": "o3", "name": "without mail", "owner_user_id": "u1", "is_open": True},
            ]
            database.insert(connection, schema.opportunity, deals)
            database.insert(connection, schema.engagement, [engagement(team, name) for name in PEOPLE])
            database.insert(connection, schema.participant, [
                {**mine, "engagement_id": name, "role": role, "position": position, "address": address, "name": shown}
                for name, people in PEOPLE.items() for role, position, address, shown in people
            ])  # fmt: skip
            database.insert(connection, schema.engagement_link, [
                {**mine, "engagement_id": name, "kind": kind, "target_id": target, "is_primary": primary, "via": via}
                for name, links in LINKS.items() for kind, target, primary, via in links
            ])  # fmt: skip

    database.transaction(work)
    return database


def shown(team: str, name: str) -> dict[str, Any]:
    """The mail's columns of a view's row."""
    people = ", ".join(f"{who} <{address}>" if who else address for _, _, address, who in PEOPLE[name])
    row = engagement(team, name)
    return {"engagement_id": name, "people": people, **{column: row[column] for column in MAIL}}


def rows(database: Database, view: str, **where: str) -> list[dict[str, Any]]:
    """The view's rows in order of time, as a reader would ask for them."""
    table = sa.table(view, sa.column("sent_at", schema.UtcDateTime()), *(sa.column(name) for name in where))
    query = sa.select(sa.text("v.*"), table.alias("v").c.sent_at.label("sent_at_utc")).order_by(
        sa.text("sent_at, engagement_id")
    )
    for name, value in where.items():
        query = query.where(sa.text(f"v.{name} = :{name}").bindparams(**{name: value}))
    with database.reading() as connection:
        found = [dict(row) for row in connection.execute(query).mappings()]
    for row in found:
        row["sent_at"] = row.pop("sent_at_utc")
        row.update((name, bool(row[name])) for name in ("is_primary", "truncated", "is_open") if name in row)
    return found


DEALS = [("o1", "e2"), ("o1", "e1"), ("o1", "e3"), ("o2", "e1")]
ACCOUNTS = [("a1", "e2"), ("a1", "e1"), ("a1", "e3"), ("a2", "e1")]


def link(kind: str, target: str, name: str) -> dict[str, Any]:
    ((primary, via),) = [(p, v) for k, t, p, v in LINKS[name] if (k, t) == (kind, target)]
    return {"is_primary": primary, "via": via}


@pytest.mark.parametrize("deal", ["o1", "o2", "o3", "gone"])
def test_one_row_for_a_deal_and_engagement_in_order_of_time(filled: Database, deal: str) -> None:
    of = {"o1": ("Größer", True, "u1"), "o2": ("", False, None)}
    expected = [
        {
            "team_id": "t1", "opportunity_id": deal, "opportunity_name": of[deal][0], "is_open": of[deal][1],
            "owner_user_id": of[deal][2], "account_id": "a1", **link("opportunity", deal, name), **shown("t1", name),
        }
        for one, name in DEALS if one == deal
    ]  # fmt: skip
    assert rows(filled, "deal_timeline", team_id="t1", opportunity_id=deal) == expected


@pytest.mark.parametrize("account", ["a1", "a2"])
def test_one_row_for_an_account_and_engagement(filled: Database, account: str) -> None:
    expected = [
        {
            "team_id": "t2", "account_id": account, "account_name": "Acme t2" if account == "a1" else "",
            **link("account", account, name), **shown("t2", name),
        }
        for one, name in ACCOUNTS if one == account
    ]  # fmt: skip
    assert rows(filled, "account_timeline", team_id="t2", account_id=account) == expected


@pytest.mark.parametrize("address", ["zoe@acme.example", "kim@acme.example", "bob@corp.example", "ZOE@acme.example"])
def test_one_row_for_a_person_by_role_and_engagement(filled: Database, address: str) -> None:
    expected = [
        {"team_id": "t1", "address": address, "role": role, "name": who, **shown("t1", name)}
        for name in sorted(PEOPLE, key=lambda name: (SENT[name], name))
        for role, _, one, who in PEOPLE[name] if one == address
    ]  # fmt: skip
    found = rows(filled, "person_timeline", team_id="t1", address=address)
    assert sorted(found, key=repr) == sorted(expected, key=repr)
    assert [row["engagement_id"] for row in found] == [row["engagement_id"] for row in expected]


def test_every_row_of_every_view_is_one_of_these(filled: Database) -> None:
    assert len(rows(filled, "deal_timeline")) == 2 * len(DEALS)
    assert len(rows(filled, "account_timeline")) == 2 * len(ACCOUNTS)
    assert len(rows(filled, "person_timeline")) == 2 * sum(map(len, PEOPLE.values()))


@pytest.mark.parametrize("view", ["deal_timeline", "account_timeline", "person_timeline"])
def test_the_documented_columns_are_there(database: Database, view: str) -> None:
    """docs/tables.md promises them: none is renamed or removed."""
    beside = {
        "deal_timeline": {"opportunity_id", "opportunity_name", "is_open", "owner_user_id", "account_id", "is_primary", "via"},
        "account_timeline": {"account_id", "account_name", "is_primary", "via"},
        "person_timeline": {"address", "role", "name"},
    }  # fmt: skip
    columns = {column["name"] for column in sa.inspect(database.engine).get_columns(view)}
    assert columns == {"team_id", "engagement_id", "people", *MAIL} | beside[view]
