"""The CRM file: idempotent, all or nothing, in any order, and what a change sets in motion."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import json
import random
import threading
from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import crm_import, relink, schema, take_back
from dealmail.io.correspondence import DatabaseCorrespondence
from dealmail.io.crm import DatabaseDirectories, UnknownTeamError, crm_stamps
from dealmail.io.crm_csv import CrmFileError
from dealmail.io.vault import Digests
from dealmail.transforms.group_shelf import shelf_of
from dealmail.transforms.normalize_messages import normalize
from dealmail.transforms.records import FetchedMessage, Participant
from dealmail.transforms.select_customer_mail import select

OWN = (
    "{from:alice.archer@corp.example to:alice.archer@corp.example cc:alice.archer@corp.example "
    "from:corp.example to:corp.example cc:corp.example}"
)
KEY = Digests((b"a key for tests, 32 bytes long..",))

FILE = """kind,id,name,address,domain,account_id,company,owner,is_open,opened_on,closed_on,user_id,pattern
user,u1,Alice Archer,Alice@Corp.example,,,,,,,,,
user_address,,,alice.archer@corp.example,,,,,,,,u1,
own_domain,,,,corp.example,,,,,,,,
account,a1,Acme,,acme.example; acme.co.uk,,,,,,,,
account_domain,,,,https://www.acme.test/x,a1,,,,,,,
contact,c1,"Zoë ""Z"" Quint",zoe@acme.example,,a1,,,,,,,
lead,l1,Lee,lee@prospect.example,,,Prospect,,,,,,
opportunity,o1,Big deal,,,a1,,alice@corp.example,true,2026-01-05,,,
opportunity,o2,Old deal,,,a1,,u1,,2025-01-05,2025-06-01,,
blocked,,,,,,,,,,,,rival.example
blocked,,,,,,,,,,,u1,*@private.example
"""
CRM = (
    schema.user, schema.user_address, schema.own_domain, schema.account, schema.account_domain, schema.contact, schema.lead,
    schema.opportunity, schema.blocked,
)  # fmt: skip


def live_box(sales: Any, address: str = "alice@corp.example", team: str = "t1", user: str = "u1") -> str:
    box = sales.add_mailbox(address, team, user)
    sales.mailboxes.set_state(box, "live", window_from=sales.clock())
    return box


def load(sales: Any, text: str, team: str = "t1", **options: Any) -> Any:
    return crm_import.import_csv(sales.database, team, text, sales.clock, **options)


def listings(sales: Any) -> list[Any]:
    with sales.database.reading() as connection:
        return list(
            connection.execute(sa.select(schema.listing.c.mailbox_id, schema.listing.c.kind, schema.listing.c.query))
        )


def test_import_is_idempotent_in_any_order_of_lines(sales: Any) -> None:
    first = load(sales, FILE)
    assert (first.version, first.is_change) == (1, True)
    assert first.tables["account_domain"] == crm_import.Change(added=3)
    rows = sales.dump(*CRM)
    assert [row[1:6] for row in rows["opportunity"]] == [
        ("o1", "Big deal", "a1", "u1", True),
        ("o2", "Old deal", "a1", "u1", False),
    ]
    assert sorted(row[1] for row in rows["account_domain"]) == ["acme.co.uk", "acme.example", "acme.test"]
    header, *lines = FILE.splitlines(keepends=True)
    for seed in range(5):
        random.Random(seed).shuffle(lines)
        again = load(sales, "\ufeff" + header + "".join(lines))
        assert (again.version, again.is_change) == (1, False)
        assert sales.dump(*CRM) == rows
    assert crm_stamps(sales.database) == [("t1", 1)]


def test_replace_removes_what_is_absent_and_only_there(sales: Any) -> None:
    load(sales, FILE)
    load(sales, FILE, team="t2", team_name="Others")
    done = load(sales, "kind;id;address\ncontact;c2;new@acme.example\n", replace=True)
    assert (done.tables["contact"].added, done.tables["contact"].removed, done.version) == (1, 1, 2)
    rows = sales.dump(*CRM)
    assert [row[:3] for row in rows["contact"]] == [("t1", "c2", "new@acme.example"), ("t2", "c1", "zoe@acme.example")]
    assert [len(rows[name]) for name in ("user", "user_address", "lead", "blocked")] == [1, 2, 1, 2]


def test_a_file_that_replaces_the_crm_refers_to_nothing_that_it_removes(sales: Any) -> None:
    """An export of accounts that failed must not leave contacts and deals of accounts that are gone."""
    load(sales, FILE)
    before = sales.dump(*CRM)
    kept = [
        line for line in FILE.splitlines(keepends=True) if not line.startswith(("account,", "user", "account_domain,"))
    ]
    with pytest.raises(CrmFileError) as caught:
        load(sales, "".join(kept), replace=True)
    assert str(caught.value).splitlines()[1:] == [
        "line 3, column account_id: no such account",
        "line 5, column account_id: no such account",
        "line 5, column owner: no such user",
        "line 6, column account_id: no such account",
        "line 6, column owner: no such user",
        "line 8, column user_id: no such user",
    ]
    assert sales.dump(*CRM) == before
    live_box(sales)  # a user with a mailbox stays
    with pytest.raises(CrmFileError) as caught:
        load(sales, "".join(kept), replace=True)
    assert not [problem for problem in caught.value.problems if "user" in problem]
    assert load(sales, "".join(kept)).is_change is False


def test_names_are_one_line_of_text_and_ids_are_printable(sales: Any) -> None:
    """A lead's name and company are what a stranger typed into a form."""
    load(
        sales,
        'kind,id,name,address,company\nlead,l9,"\x1b]0;owned\x07Li\u200bz\x9b31m\nLee",liz@new.example,"Ne\x00w\r\nCo"\n',
    )
    assert ("t1", "l9", "liz@new.example", "]0;ownedLiz31m Lee", "New Co") in [
        row[:5] for row in sales.dump(*CRM)["lead"]
    ]
    with pytest.raises(CrmFileError, match="line 2, column id: an id with a line break"):
        load(sales, 'kind,id,name\naccount,"a\x1b[2J",Acme\n')


def test_mistakes_are_named_together_without_their_values(sales: Any) -> None:
    bad = (
        FILE
        + "contact,c9,Secret Name,secret-not-an-address,,,,,,,,,\nnonsense,,,,,,,,,,,,\ncontact,c8,,x@y.example,,a9,,,,,,,\n"
    )
    with pytest.raises(CrmFileError) as caught:
        load(sales, bad)
    assert str(caught.value).splitlines()[1:] == [
        "line 13, column address: no e-mail address",
        "line 14, column kind: none of user, user_address, own_domain, account, account_domain, contact, lead, opportunity, blocked",
        "line 15, column account_id: no such account",
    ]
    with pytest.raises(CrmFileError) as caught:
        load(
            sales,
            "kind,id,address,account_id,opened_on,closed_on,is_open,owner\nopportunity,o1,,nobody,soon,later,perhaps,missing\n"
            "contact,c1,no-address,missing\nuser,u1,no-address\nopportunity,o2,,a1,2026-01-05,,,u1\naccount,a1,too,many,,,,,cells\n",
        )
    assert str(caught.value).splitlines()[1:] == [
        "line 2, column account_id: no such account",
        "line 2, column closed_on: no date of the form YYYY-MM-DD",
        "line 2, column is_open: neither true nor false",
        "line 2, column opened_on: no date of the form YYYY-MM-DD",
        "line 2, column owner: no such user",
        "line 3, column account_id: no such account",
        "line 3, column address: no e-mail address",
        "line 4, column address: no e-mail address",
        "line 6, column 9: the line has 9 cells, the header 8",
    ]
    with pytest.raises(CrmFileError, match=r"line 13, column account_id: no such account$"):
        load(sales, FILE + "contact,c8,,x@y.example,,a9,,,,,,,\n")
    for wrong, part in (
        ("id,name\n1,2\n", "no column `kind`"), ("kind,geheim\n", "unknown name of column number 2"), ("", "no column `kind`"),
        ("kind,id,account_id,opened_on\nopportunity,o,a,soon\n", "column opened_on: no date"),
        ("kind,id\naccount,x,y\n", "the line has 3 cells, the header 2"),
        ("kind,pattern\nblocked,mün*.de\n", "column pattern: a wildcard inside an international label"), ('kind,id\naccount,"' + "x" * 65 + '"\n', "an id of 65"),
    ):  # fmt: skip
        with pytest.raises(CrmFileError, match=part):
            load(sales, wrong)
    assert all(rows == [] for rows in sales.dump(*CRM).values())
    assert crm_stamps(sales.database) == [("t1", 0)]


@pytest.mark.parametrize(
    ("line", "other", "column"),
    [
        ("contact,c1,Zoe,zoe@acme.example", "contact,c1,Zoe,quint@acme.example", "id"),
        ("account,a1,Acme", "account,a1,Beta", "id"),
        ("user,u1,Alice", "user,u1,Bob", "id"),
        ("opportunity,o1,Deal,,,a1,2026-01-05", "opportunity,o1,Deal,,,a1,2026-02-05", "id"),
        ("user_address,,,a@b.example,,,,u1", "user_address,,,a@b.example,,,,u2", "address"),
    ],
)
def test_no_line_takes_an_earlier_ones_place_unsaid(sales: Any, line: str, other: str, column: str) -> None:
    head = "kind,id,name,address,domain,account_id,opened_on,user_id\naccount,a1,Acme\nuser,u1,Alice\nuser,u2,Bob\n"
    assert load(sales, f"{head}{line}\n{line}\n").version == 1
    before = sales.dump(*CRM)
    with pytest.raises(CrmFileError, match=rf"line \d, column {column}: an earlier line says something else"):
        load(sales, f"{head}{line}\n{other}\n")
    assert sales.dump(*CRM) == before


def test_an_account_may_name_its_domains_line_by_line(sales: Any) -> None:
    load(sales, "kind,id,name,domain\naccount,a1,Acme,acme.example\naccount,a1,Acme,acme.test\n")
    assert [row[1] for row in sales.dump(schema.account_domain)["account_domain"]] == ["acme.example", "acme.test"]


def test_a_block_is_stored_as_it_is_compared(sales: Any) -> None:
    load(
        sales, "kind,pattern\nblocked,*.München.de\nblocked,https://www.Rival.example/?x=1\nblocked,*@Private.example\n"
    )
    assert sorted(row[-1] for row in sales.dump(schema.blocked)["blocked"]) == [
        "*@private.example",
        "rival.example",
        "xn--mnchen-3ya.de",
    ]


@pytest.mark.parametrize("several", ["{0};{1}", "{0},{1}", "{0}|{1}", "<{0}>", "{0};"])
@pytest.mark.parametrize(("one", "other"), [("a@rival.example", "b@rival.example"), ("rival.example", "other.example")])
def test_a_cell_of_one_address_or_domain_takes_no_several(sales: Any, one: str, other: str, several: str) -> None:
    """What no mail can name would be stored, and match, or block, nobody."""
    cell = several.format(one, other)
    kinds = ["blocked"] if "@" in one else ["blocked", "own_domain", "account_domain"]
    text = "".join(f'{kind}\ta1\ta1\t\t"{cell}"\t"{cell}"\n' for kind in kinds)
    people = "".join(f'{kind}\tp1\t\t"{cell}"\n' for kind in ("user", "contact", "lead") if "@" in one)
    with pytest.raises(CrmFileError) as caught:
        load(sales, "kind\tid\taccount_id\taddress\tdomain\tpattern\naccount\ta1\n" + text + people)
    columns = ["pattern"] + ["domain"] * (len(kinds) - 1) + ["address"] * people.count("\n")
    assert [problem.split(":")[0].split()[-1] for problem in caught.value.problems] == columns
    assert load(sales, f"kind,pattern\nblocked,{one}\nblocked,*@{other}\nblocked,o'brien@x.example\n").is_change


def test_a_column_that_stands_twice_is_a_mistake(sales: Any) -> None:
    """Of two the first would be passed over without a word."""
    with pytest.raises(CrmFileError, match="line 1: the name of column number 4 stands there twice"):
        load(sales, "kind,id,address,Address\ncontact,c1,zoe@acme.example,zoe@home.example\n")


def test_a_quotation_mark_that_is_not_closed_swallows_no_lines(sales: Any) -> None:
    text = 'kind,id,name\nuser,u1,Alice\nuser,u2,"Bob\nuser,u3,Eve\n'
    with pytest.raises(CrmFileError, match=r"line 3, a quotation mark is opened and not closed"):
        load(sales, text)
    assert all(rows == [] for rows in sales.dump(*CRM).values())


def test_new_people_and_unblocking_start_a_look_back(sales: Any) -> None:
    load(sales, FILE)
    box = live_box(sales)
    off = live_box(sales, "bob@corp.example")
    sales.mailboxes.turn_off(off, "bob")
    live_box(sales, "alice@corp.example", "t2")
    assert listings(sales) == []
    load(sales, "kind,id,name,address\ncontact,c1,Renamed,zoe@acme.example\n")
    assert listings(sales) == []
    load(
        sales,
        "kind,id,address,domain,account_id\ncontact,c2,new@other.example,,\naccount_domain,,,mail.fresh.co.uk,a1\naccount_domain,,,gmail.com,a1\n",
    )
    everything = [one for one in listings(sales) if one[1] != "reopen"]
    shelves = sorted({shelf_of("fresh.co.uk"), shelf_of("other.example")})
    assert {one for one in listings(sales) if one[1] == "reopen"} == {
        (each, "reopen", " ".join(shelves)) for each in (box, off)
    }
    assert [(kind, query) for mailbox, kind, query in everything if mailbox == off] == [
        ("targeted", "")
    ]  # once it is on again
    found = [one for one in everything if one[0] != off]
    assert [(mailbox, kind) for mailbox, kind, _ in found] == [(box, "targeted")]
    assert (
        found[0].query
        == "{from:fresh.co.uk to:fresh.co.uk cc:fresh.co.uk from:new@other.example to:new@other.example cc:new@other.example}"
    )
    load(sales, "kind,pattern\nblocked,another.example\n", replace=True)
    assert {one for one in listings(sales) if one[0] == box} == {
        (box, "targeted", found[0].query), (box, "reopen", " ".join(shelves)),
        (box, "reopen", f"blocked.team blocked.user {shelf_of('corp.example')}"), (box, "targeted", OWN),
    }  # fmt: skip


def test_a_new_deal_has_its_owner_polled_at_once(sales: Any) -> None:
    load(sales, FILE)
    box, other = live_box(sales), live_box(sales, "bob@corp.example", user="u2")
    for one in (box, other):
        sales.mailboxes.set_state(one, "live", next_poll_at=sales.clock() + dt.timedelta(hours=1))
    assert sales.register.due(sales.clock()) == []
    load(sales, "kind,id,name,account_id,owner,opened_on\nopportunity,o3,Older,a1,u1,2025-03-01\n")
    assert [due.mailbox_id for due in sales.register.due(sales.clock())] == [box]


def test_directories_follow_the_versions(sales: Any) -> None:
    load(sales, FILE)
    now = [0.0]
    directories = DatabaseDirectories(sales.database, 5.0, lambda: now[0])
    first = directories.directory("t1")
    assert first.has_match([Participant("zoe@acme.example")])
    assert first.user_of("alice.archer@corp.example") == "u1"
    load(sales, "kind,id,address\nlead,l2,else@where.example\n")
    assert directories.directory("t1") is first
    assert directories.directory("t1", 1) is first
    second = directories.directory("t1", 2)
    assert second.version == 2
    assert second.is_person("else@where.example")
    assert directories.directory("t1", 1) is second
    load(sales, "kind,id,address\nlead,l3,third@where.example\n")
    assert directories.directory("t1") is second
    now[0] += 5
    assert directories.directory("t1").version == 3
    with pytest.raises(UnknownTeamError):
        directories.directory("nobody")


class HeldBack:
    """A clock of seconds: a directory takes two to build, and whoever builds one in the background is held until `gate` opens."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self._reads = itertools.count()

    def __call__(self) -> float:
        if threading.current_thread() is not threading.main_thread():
            assert self.gate.wait(60)
        return 2.0 * next(self._reads)


def test_no_mail_waits_for_a_large_directory_and_none_is_lost_by_the_old_one(sales: Any) -> None:
    load(sales, FILE)
    box = live_box(sales)
    clock = HeldBack()
    directories = DatabaseDirectories(sales.database, 1e9, clock)
    old = directories.directory("t1")
    load(sales, "kind,id,address\nlead,l2,new@later.example\n")

    def decide(claim: Any) -> Any:
        """As the graph decides: by the directory at hand, told that version 2 exists."""
        fields = [{"name": "From", "value": "new@later.example"}, {"name": "To", "value": "alice@corp.example"}]
        payload = {
            "internalDate": "1767225600000",
            "labelIds": ["INBOX"],
            "payload": {"mimeType": "text/plain", "headers": fields},
        }
        crm = directories.directory("t1", 2)
        message = normalize(FetchedMessage(dataclasses.replace(claim, window_from=None), json.dumps(payload).encode()))
        nobody = DatabaseCorrespondence(sales.database, KEY)
        return select(message, crm, nobody, now=sales.clock())

    (claim,) = sales.claim(box, ["g1"])
    decision = decide(claim)
    assert directories.directory("t1", 2) is old
    assert directories.newest("t1") is None
    assert (decision.rule, decision.crm_version) == ("crm.no_match", 1)
    sales.settlements.settle([decision])
    assert sales.ledger.explain(box, "g1").state == "pending"

    clock.gate.set()
    assert directories.refresh("t1").version == 2  # waits for the one that is being built
    assert directories.newest("t1") is directories.directory("t1", 2)
    sales.clock.advance(minutes=1)
    (claim,) = sales.claim(box, ["g1"])
    sales.settlements.settle([decide(claim)])
    assert sales.ledger.explain(box, "g1").outcome == "imported"


def test_links_of_stored_mail_follow_the_crm(sales: Any, mail: Any) -> None:
    load(sales, FILE)
    load(sales, FILE, team="t2")
    directories = DatabaseDirectories(sales.database)
    box, other = live_box(sales), live_box(sales, "carol@corp.example", "t2")
    for one, team in ((box, "t1"), (other, "t2")):
        (claim,) = sales.claim(one, ["g1"])
        person = Participant("zoe@acme.example")
        links = directories.directory(team).links([person])
        sales.settlements.settle([mail(claim, 1, sender=person, to=(), cc=(), links=links)])
    assert set(relink.behind(sales.database)) == {"t1", "t2"}
    assert relink.relink(sales.database, directories.refresh("t1"), sales.clock) == 0
    assert relink.relink(sales.database, directories.refresh("t2"), sales.clock) == 0
    assert relink.behind(sales.database) == []

    load(sales, "kind,id,name,domain\naccount,a2,New employer,\n")
    load(
        sales,
        "kind,id,address,account_id,owner,opened_on\ncontact,c1,zoe@acme.example,a2,,\nopportunity,o5,,a2,u1,2026-02-02\n",
    )
    assert relink.behind(sales.database) == ["t1"]
    sales.database.transaction(lambda c: c.execute(sa.delete(schema.search_outbox)))
    assert relink.relink(sales.database, directories.refresh("t1"), sales.clock) == 1
    link = schema.engagement_link.c
    with sales.database.reading() as connection:
        query = sa.select(link.kind, link.target_id).where(link.team_id == "t1", link.is_primary)
        assert dict(connection.execute(query).all()) == {"account": "a2", "contact": "c1", "opportunity": "o5"}
        outbox = connection.execute(sa.select(schema.search_outbox.c.team_id, schema.search_outbox.c.version)).all()
        versions = sa.select(schema.engagement.c.team_id, schema.engagement.c.version)
        assert outbox == connection.execute(versions.where(schema.engagement.c.team_id == "t1")).all()
    assert relink.relink(sales.database, directories.refresh("t1"), sales.clock) == 0


def test_all_engagements_are_relinked_over_many_pages(
    sqlite_database: Any, make_sales: Any, mail: Any, monkeypatch: Any
) -> None:
    sales = make_sales(sqlite_database)
    load(sales, FILE)
    box = live_box(sales)
    claims = sales.claim(box, [f"g{n:04d}" for n in range(1100)])
    sales.settlements.settle([mail(claim, n) for n, claim in enumerate(claims)])
    directories = DatabaseDirectories(sales.database)
    assert relink.relink(sales.database, directories.refresh("t1"), sales.clock) == 1100
    assert sales.dump(schema.engagement_link)["engagement_link"] == []


@pytest.mark.mariadb
def test_import_does_not_go_on_for_a_user_whom_a_file_is_just_leaving_out(
    mariadb_database: Any, make_sales: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sales = make_sales(mariadb_database)
    crm_import.import_csv(mariadb_database, "t1", "kind,id,name,address\nuser,u1,Alice,alice@corp.example\n", clock)
    alice = sales.mailboxes.add("t1", "u1", "alice@corp.example").id
    is_on, is_imported = threading.Event(), threading.Event()

    def go_on(*unused: Any) -> None:
        is_on.set()
        is_imported.wait(2)

    monkeypatch.setattr(take_back, "catch_up", go_on)  # the last step of the transaction
    turning_on = threading.Thread(target=sales.mailboxes.turn_on, args=(alice, "alice"))
    turning_on.start()
    assert is_on.wait(10)
    without = "kind,id,name,address\nuser,u2,Bob,bob@corp.example\n"
    crm_import.import_csv(mariadb_database, "t1", without, clock, replace=True)
    is_imported.set()
    turning_on.join()
    assert not sales.mailboxes.get(alice).import_on
