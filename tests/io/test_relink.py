"""Links of stored mail follow the CRM, whatever changes in it, in the database and in the search index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import crm_import, index_check, relink, schema
from dealmail.io.crm import DatabaseDirectories
from dealmail.io.outbox import Outbox
from dealmail.io.search import SearchQuery
from dealmail.transforms.records import Participant

HEADER = "kind,id,name,address,domain,account_id,owner,is_open,opened_on,closed_on,user_id,converted_contact_id\n"
CRM = {
    "own": "own_domain,,,,corp.example,,,,,,,",
    "u1": "user,u1,Alice,alice@corp.example,,,,,,,,",
    "u2": "user,u2,Bob,bob@corp.example,,,,,,,,",
    "a1": "account,a1,Acme,,acme.example,,,,,,,",
    "a2": "account,a2,Bolt,,bolt.example,,,,,,,",
    "c1": "contact,c1,Zoe,zoe@acme.example,,a1,,,,,,",
    "l1": "lead,l1,Lee,lee@prospect.example,,,,,,,,",
    "o1": "opportunity,o1,First,,,a1,u2,,2026-01-01,,,",
    "o2": "opportunity,o2,Second,,,a1,u2,,2026-01-05,,,",
    "o3": "opportunity,o3,Third,,,a2,u2,,2026-01-06,,,",
}
PEOPLE = {"zoe": "zoe@acme.example", "kim": "kim@acme.example", "lee": "lee@prospect.example", "new": "ann@acme.test"}
"""Who writes to Alice: a contact, somebody at the contact's company, a lead, and somebody at a domain nobody knows yet."""

ZOE = {("account", "a1", True), ("contact", "c1", True), ("opportunity", "o2", True), ("opportunity", "o1", False)}
KIM = ZOE - {("contact", "c1", True)}
LEE = {("lead", "l1", True)}
BEFORE = {"zoe": ZOE, "kim": KIM, "lee": LEE, "new": set()}
MOVED = {("account", "a2", True), ("contact", "c1", True), ("opportunity", "o3", True)} | {
    (kind, target, False) for kind, target in (("account", "a1"), ("opportunity", "o1"), ("opportunity", "o2"))
}
"""The address is still at the domain of the account that the contact has left."""
ZOE_O2_CLOSED = {
    ("account", "a1", True),
    ("contact", "c1", True),
    ("opportunity", "o1", True),
    ("opportunity", "o2", False),
}
A1_BY_OTHER_OWNER = {("account", "a1", True), ("opportunity", "o1", True), ("opportunity", "o2", False)}

CHANGES: dict[str, tuple[dict[str, str], dict[str, set[tuple[str, str, bool]]]]] = {
    "a contact moves to another account": (
        {"c1": "contact,c1,Zoe,zoe@acme.example,,a2,,,,,,"},
        {"zoe": MOVED},
    ),
    "a contact's address changes": (
        {"c1": "contact,c1,Zoe,zoe@bolt.example,,a1,,,,,,"},
        {"zoe": KIM},  # the old address is still at the company
    ),
    "a lead is converted": (
        {
            "c2": "contact,c2,Lee,lee@prospect.example,,a2,,,,,,",
            "l1": "lead,l1,Lee,lee@prospect.example,,,,,,,,c2",
        },
        {"lee": {("account", "a2", True), ("contact", "c2", True), ("opportunity", "o3", True), ("lead", "l1", True)}},
    ),
    "an account gets a new domain": (
        {"a1": "account,a1,Acme,,acme.example;acme.test,,,,,,,"},
        {"new": KIM},
    ),
    "an opportunity gets a new owner": (
        {"o1": "opportunity,o1,First,,,a1,u1,,2026-01-01,,,"},
        {"zoe": A1_BY_OTHER_OWNER | {("contact", "c1", True)}, "kim": A1_BY_OTHER_OWNER},
    ),
    "an opportunity closes": (
        {"o2": "opportunity,o2,Second,,,a1,u2,,2026-01-05,2026-02-01,,"},
        {"zoe": ZOE_O2_CLOSED, "kim": ZOE_O2_CLOSED - {("contact", "c1", True)}},  # its story stays
    ),
    "all opportunities close": (
        {
            "o1": "opportunity,o1,First,,,a1,u2,,2026-01-01,2026-02-01,,",
            "o2": "opportunity,o2,Second,,,a1,u2,,2026-01-05,2026-02-01,,",
        },
        {},
    ),
    "an opportunity closes and moves to another account": (
        {"o2": "opportunity,o2,Second,,,a2,u2,,2026-01-05,2026-02-01,,"},
        {
            "zoe": {("account", "a1", True), ("contact", "c1", True), ("opportunity", "o1", True)},
            "kim": {("account", "a1", True), ("opportunity", "o1", True)},
        },
    ),
    "an opportunity moves to another account": (
        {"o2": "opportunity,o2,Second,,,a2,u2,,2026-01-05,,,"},
        {
            "zoe": {("account", "a1", True), ("contact", "c1", True), ("opportunity", "o1", True)},
            "kim": {("account", "a1", True), ("opportunity", "o1", True)},
        },
    ),
    "an account and all that belongs to it is gone": (
        {"a1": "", "c1": "", "o1": "", "o2": ""},
        {"zoe": set(), "kim": set()},
    ),
}


def crm(changes: dict[str, str]) -> str:
    return HEADER + "\n".join(line for line in (CRM | changes).values() if line) + "\n"


@pytest.fixture
def stored(sales: Any, mail: Any, search_index: Any) -> Callable[[], int]:
    """One mail of each of PEOPLE to Alice, settled and indexed; the function relinks and indexes, and says how many changed."""
    crm_import.import_csv(sales.database, "t1", crm({}), sales.clock)
    directories = DatabaseDirectories(sales.database)
    outbox = Outbox(sales.database, search_index, now=sales.clock)
    box = sales.add_mailbox("alice@corp.example")
    mails = []
    for number, (claim, address) in enumerate(
        zip(sales.claim(box, sorted(PEOPLE)), map(PEOPLE.get, sorted(PEOPLE)), strict=True)
    ):
        sender, to = Participant(str(address)), (Participant("alice@corp.example"),)
        links = directories.directory("t1").links([sender, *to])
        mails.append(mail(claim, number, engagement_id=claim.gmail_id, sender=sender, to=to, cc=(), links=links))
    sales.settlements.settle(mails)
    outbox.drain(100)

    def follow() -> int:
        sales.clock.advance(seconds=1)
        changed = relink.relink(sales.database, directories.refresh("t1"), sales.clock)
        outbox.drain(100)
        search_index.refresh()
        assert index_check.check(sales.database, search_index).equal
        return changed

    return follow


def links(sales: Any) -> dict[str, set[tuple[str, str, bool]]]:
    found: dict[str, set[tuple[str, str, bool]]] = {name: set() for name in PEOPLE}
    link = schema.engagement_link.c
    with sales.database.reading() as connection:
        for row in connection.execute(sa.select(link.engagement_id, link.kind, link.target_id, link.is_primary)):
            found[row.engagement_id].add((row.kind, row.target_id, bool(row.is_primary)))
    return found


def deals(search_index: Any) -> dict[str, set[str]]:
    """Of each deal the mail that the search index finds."""
    return {
        deal: {hit.engagement_id for hit in search_index.search("t1", SearchQuery(deal=deal))}
        for deal in ("o1", "o2", "o3")
    }


@pytest.mark.parametrize("change", CHANGES)
def test_links_follow(sales: Any, stored: Callable[[], int], search_index: Any, change: str) -> None:
    lines, differing = CHANGES[change]
    assert links(sales) == BEFORE
    crm_import.import_csv(sales.database, "t1", crm(lines), sales.clock, replace=True)
    assert relink.behind(sales.database) == ["t1"]
    assert stored() == len(differing)
    expected = BEFORE | differing
    assert links(sales) == expected
    assert deals(search_index) == {
        deal: {name for name, found in expected.items() if any(one[:2] == ("opportunity", deal) for one in found)}
        for deal in ("o1", "o2", "o3")
    }
    assert relink.behind(sales.database) == []
    assert stored() == 0
    crm_import.import_csv(sales.database, "t1", crm({}), sales.clock, replace=True)
    stored()
    assert links(sales) == BEFORE


def test_a_better_copy_takes_a_closed_deal_along(sales: Any, mail: Any) -> None:
    """A copy that wins over the stored one brings links of its own, made when the deal was closed already."""
    crm_import.import_csv(sales.database, "t1", crm({}), sales.clock)
    directories = DatabaseDirectories(sales.database)
    sender, to = Participant(PEOPLE["zoe"]), (Participant("alice@corp.example"),)

    def settle(address: str, gmail_id: str, rank: str) -> None:
        (claim,) = sales.claim(sales.add_mailbox(address), [gmail_id])
        tied = directories.refresh("t1").links([sender, *to])
        sales.settlements.settle(
            [mail(claim, 1, engagement_id="zoe", sender=sender, to=to, cc=(), links=tied, rank=rank)]
        )

    settle("alice@corp.example", "g1", "2")
    assert links(sales)["zoe"] == ZOE
    closed = {"o2": "opportunity,o2,Second,,,a1,u2,,2026-01-05,2026-02-01,,"}
    crm_import.import_csv(sales.database, "t1", crm(closed), sales.clock, replace=True)
    settle("bob@corp.example", "g2", "1")
    assert links(sales)["zoe"] == ZOE_O2_CLOSED


def test_the_sender_of_sent_mail_is_on_the_mail(sales: Any, mail: Any) -> None:
    """Of the deals of an account that of the user who wrote comes first, when the mail is stored and after any CRM change."""
    hers = {"o1": "opportunity,o1,First,,,a1,u1,,2026-01-01,,,"}
    crm_import.import_csv(sales.database, "t1", crm(hers), sales.clock)
    directory = DatabaseDirectories(sales.database).directory("t1")
    sender, to = Participant("alice@corp.example"), (Participant(PEOPLE["zoe"]),)
    (claim,) = sales.claim(sales.add_mailbox("alice@corp.example"), ["g1"])
    tied = directory.links([sender, *to])
    sent = {"direction": "outbound", "sender": sender, "to": to, "cc": (), "links": tied}
    sales.settlements.settle([mail(claim, 1, engagement_id="zoe", **sent)])
    assert links(sales)["zoe"] == A1_BY_OTHER_OWNER | {("contact", "c1", True)}
    assert relink.relink(sales.database, directory, sales.clock) == 0
    assert links(sales)["zoe"] == A1_BY_OTHER_OWNER | {("contact", "c1", True)}
