"""The targeted look back finds what Gmail's search cannot: mail through a Google Group, and what Reply-To or Sender blocked."""

from __future__ import annotations

import email.utils
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import crm_import, schema, search_plan
from dealmail.io.correspondence import DatabaseCorrespondence
from dealmail.io.crm import DatabaseDirectories
from dealmail.io.vault import Digests
from dealmail.transforms.group_shelf import shelf_of
from dealmail.transforms.normalize_messages import normalize
from dealmail.transforms.records import FetchedMessage
from dealmail.transforms.select_customer_mail import select

BLOCKED = "blocked,,,,helpdesk.example,\n", "blocked,,,,*@private.example,u1\n"


class Team:
    """A mailbox at the sandbox whose mail is decided by the rules, with the CRM of the moment."""

    def __init__(self, gmails: Any) -> None:
        self.gmails = gmails
        self.crm = "kind,id,address,domain,pattern,user_id\naccount,a1,,acme.example\n"
        self.crm += f"own_domain,,,{gmails.domain}\nuser,u1,alice@{gmails.domain}\n"
        self.load(self.crm)
        self.box = gmails.connect("alice")

    def load(self, text: str, **options: Any) -> None:
        crm_import.import_csv(self.gmails.database, "t1", text, self.gmails.clock, **options)

    def deliver(self, text: str = "Can we talk about the offer?", **headers: str) -> str:
        fields = {
            "From": "Jane <jane@new.example>", "To": self.gmails.address(self.box), "Subject": "Offer",
            "Date": email.utils.format_datetime(self.gmails.clock()), "Message-ID": f"<{uuid.uuid4().hex}@x.example>",
        } | {name.replace("_", "-"): value for name, value in headers.items()}  # fmt: skip
        raw = "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + f"\r\n{text}\r\n"
        return self.gmails.client.deliver(self.gmails.address(self.box), raw.encode(), ["INBOX"], None)

    def ticket(self) -> str:
        """What counts as automated, unless somebody named has the address."""
        text = "Your request has been received.\r\nStatus: open\r\nPriority: high\r\nReference number: 7\r\nhttps://acme.example/7"
        return self.deliver(text, From="Acme <support@acme.example>", Subject="Your ticket #7 has been updated")

    def come_back(self) -> None:
        """The user's import is on again, after it was off."""
        self.gmails.grant(self.box, self.gmails.client.grant(self.gmails.address(self.box)))
        self.gmails.mailboxes.turn_on(self.box, "alice")
        self.gmails.mailboxes.set_state(self.box, "live")

    def through_group(self, author: str) -> str:
        group = f"support@{self.gmails.domain}"
        return self.deliver(
            From=f"'Jane' via Support <{group}>", To=group, Reply_To=f"Jane <{author}>", X_Original_From=f"Jane <{author}>",
            X_Google_Group_Id="1", Mailing_list=f"list {group}; contact support+owners@{self.gmails.domain}",
            List_ID=f"<support.{self.gmails.domain}>",
        )  # fmt: skip

    def sync(self, **settings: Any) -> dict[str, str]:
        """All there is to do, decided as in the job; Gmail id to rule."""
        gmails = self.gmails
        claims = gmails.claims(**settings)
        correspondence = DatabaseCorrespondence(gmails.database, Digests((b"a key for tests, 32 bytes long..",)))
        gmails.advance(minutes=16)
        for number in range(20):
            ends = []
            for answer in gmails.reader.read(gmails.claim(self.box, "work" if number else "poll", claims)):
                directory = DatabaseDirectories(gmails.database, 0.0).directory("t1")
                assert isinstance(answer, FetchedMessage)
                ends.append(select(normalize(answer), directory, correspondence, now=gmails.clock()))
            gmails.sales.settlements.settle(ends)
        return gmails.outcomes(self.box)

    def reads(self) -> int:
        by_mailbox = self.gmails.client.counters()["by_mailbox"]
        return int(by_mailbox[self.gmails.address(self.box)].get("messages.get", 0))


@pytest.fixture
def team(gmails: Any) -> Team:
    return Team(gmails)


def test_case_64_mail_through_a_group_is_found_when_its_author_gets_into_the_crm(team: Team) -> None:
    jane, mark = team.through_group("jane@new.example"), team.through_group("mark@mail.later.example")
    info = team.through_group("info@acme.example")
    strangers = [team.through_group(f"eve@stranger{n}.example") for n in range(30)]
    direct = team.deliver(From="lee@elsewhere.example")
    before = team.sync()
    assert {before[one] for one in (jane, mark, direct, *strangers)} == {"crm.no_match"}
    assert before[info] == "customer"
    team.load("kind,id,address\ncontact,c1,jane@new.example\n")
    read = team.reads()
    after = team.sync()
    assert after == before | {jane: "customer"}
    shelf = shelf_of("new.example")
    assert team.reads() - read == 1 + sum(shelf_of(f"stranger{n}.example") == shelf for n in range(30))
    team.load("kind,id,domain\naccount,a2,later.example\n")
    assert team.sync() == after | {mark: "customer"}


def test_the_ledger_names_a_shelf_and_nobody(team: Team) -> None:
    """What does not qualify leaves a decision: one of 256 shelves beside it, and that for mail behind a group's address only."""
    team.through_group("jane@new.example")
    team.deliver(From="jane@new.example", List_ID=f"<support.{team.gmails.domain}>")
    team.deliver(From="jane@new.example")
    assert list(team.sync().values()) == ["crm.no_match"] * 3
    ledger = team.gmails.sales.dump(schema.message, schema.message_context)
    assert [row[1] for row in ledger["message_context"]] == [shelf_of("jane@new.example")]
    assert "jane" not in repr(ledger)
    assert "new.example" not in repr(ledger)


def test_what_reply_to_or_sender_blocked_is_read_again_after_the_unblocking(team: Team) -> None:
    crm = team.crm + "contact,c1,jane@new.example\n"
    team.load(crm + "".join(BLOCKED))
    reply = team.deliver(Reply_To="x@helpdesk.example")
    sender = team.deliver(Sender="Robot <y@sub.helpdesk.example>")
    own = team.deliver(Cc="kim@private.example")
    stranger = team.deliver(From="eve@stranger.example")
    before = team.sync()
    assert before == {reply: "blocked.team", sender: "blocked.team", own: "blocked.user", stranger: "crm.no_match"}
    read = team.reads()
    team.load(crm + BLOCKED[1], replace=True)
    assert team.sync() == before | {reply: "customer", sender: "customer"}
    assert team.reads() - read == 2
    team.load(crm, replace=True)
    assert team.sync() == before | dict.fromkeys([reply, sender, own], "customer")
    assert team.reads() - read == 3


def test_a_mailbox_that_rests_looks_at_the_unblocked_once_it_is_back(team: Team) -> None:
    crm = team.crm + "contact,c1,jane@new.example\n"
    team.load(crm + BLOCKED[0])
    mail = team.deliver(Reply_To="x@helpdesk.example")
    assert team.sync() == {mail: "blocked.team"}
    team.gmails.mailboxes.turn_off(team.box, "alice")
    team.load(crm, replace=True)
    assert team.sync() == {mail: "blocked.team"}
    team.come_back()
    assert team.sync() == {mail: "customer"}


@pytest.mark.parametrize("when", ["before", "with", "after"])
def test_a_mailbox_that_becomes_another_users_finds_whom_the_crm_learned_of_meanwhile(team: Team, when: str) -> None:
    """It has no window then, so no look back reaches it; and one that was under way ends with the former user's reading."""
    gmails, address = team.gmails, team.gmails.address(team.box)
    late, ticket, stranger = team.deliver(), team.ticket(), team.deliver(From="eve@stranger.example")
    before = {late: "crm.no_match", ticket: "automated.transactional", stranger: "crm.no_match"}
    assert team.sync() == before
    named = "account,a2,,new.example\ncontact,c1,support@acme.example,\n"
    handover = f"kind,id,address,domain\nuser,u2,bob@{gmails.domain},\nuser,u2,{address},\n"
    if when == "before":
        team.load("kind,id,address,domain\n" + named)
    team.load(handover + (named if when == "with" else ""))
    assert (gmails.row(team.box).user_id, gmails.row(team.box).window_from) == ("u2", None)
    if when == "after":
        team.load("kind,id,address,domain\n" + named)
    team.come_back()
    assert team.sync() == before | {late: "customer", ticket: "customer"}
    assert contexts(gmails) == []


def test_who_is_no_longer_the_teams_own_is_found_also_at_a_host_that_many_share(team: Team) -> None:
    crm = team.crm + "contact,c1,kim@partner.onmicrosoft.com\n"
    team.load(crm + "own_domain,,,partner.onmicrosoft.com\n")
    mail = team.deliver(From="kim@partner.onmicrosoft.com")
    assert team.sync() == {mail: "participants.internal"}
    team.load(crm, replace=True)
    assert team.sync() == {mail: "customer"}


def contexts(gmails: Any) -> list[Any]:
    return list(gmails.sales.dump(schema.message_context)["message_context"])


@pytest.mark.parametrize("way", ["search", "whole window", "after a rest", "recovery"])
def test_case_92_a_ticket_is_found_when_its_author_is_named(team: Team, way: str) -> None:
    gmails, address = team.gmails, team.gmails.address(team.box)
    ticket = team.ticket()
    named = "contact,c1,support@acme.example\n"
    assert team.sync() == {ticket: "automated.transactional"}
    assert contexts(gmails)
    if way == "recovery":
        gmails.client.modify(address, ticket, ["TRASH"], ["INBOX"])
    elif way == "after a rest":
        gmails.mailboxes.turn_off(team.box, "alice")
    elif way == "whole window":
        named += "".join(f"contact,n{n},n{n}@new{n}.example\n" for n in range(crm_import.MAX_TERMS))
    team.load("kind,id,address\n" + named)
    if way == "after a rest":
        team.come_back()
    elif way == "recovery":
        for _ in range(4):
            assert gmails.claim(team.box, "work") == []
        assert is_done_looking(gmails)
        gmails.client.modify(address, ticket, ["INBOX"], ["TRASH"])
        gmails.client.expire_history(address)
    assert team.sync() == {ticket: "customer"}
    assert contexts(gmails) == []


def test_a_look_back_holds_up_no_live_mail(team: Team) -> None:
    gmails = team.gmails
    for _ in range(3):
        team.deliver()
    team.sync()
    team.load("kind,id,domain\naccount,a2,new.example\n")
    claimed = [claim for _ in range(4) for claim in gmails.claim(team.box, "work")]
    assert {claim.lane for claim in claimed} == {"backfill"}


def test_of_look_backs_that_are_done_the_last_is_kept(team: Team) -> None:
    team.deliver()
    for number in range(4):
        team.load(f"kind,id,domain\naccount,b{number},new{number}.example\n")
        team.sync()
    with team.gmails.database.reading() as connection:
        kinds = list(connection.scalars(sa.select(schema.listing.c.kind).order_by(schema.listing.c.kind)))
    assert kinds == ["first_sync", "reopen", "targeted"]


def test_a_first_sync_by_search_asks_for_what_came_through_the_teams_groups(team: Team) -> None:
    hidden = team.through_group("jane@acme.example")
    for n in range(search_plan.SAMPLE + 30):
        team.deliver(From=f"eve@stranger{n}.example")
    outcomes = team.sync(search_plan=True)
    with team.gmails.database.reading() as connection:
        assert search_plan.crm_searches(connection, "t1")[-1] == f"{{list:{team.gmails.domain}}}"
        assert connection.scalar(sa.select(schema.listing.c.listed).where(schema.listing.c.kind == "sample"))
    assert outcomes[hidden] == "customer"
    assert len(outcomes) == 1 + search_plan.SAMPLE


def is_done_looking(gmails: Any) -> bool:
    row = schema.listing.c
    with gmails.database.reading() as connection:
        return connection.scalar(sa.select(sa.func.count()).where(row.finished_at.is_(None))) == 0


@pytest.mark.parametrize("seen", ["both", "the return", "nothing"])
def test_mail_that_lay_in_the_trash_while_it_was_looked_for_is_found_when_it_is_back(team: Team, seen: str) -> None:
    """Whatever of its way history tells: both moves at once, the way back alone, or nothing, for the cursor expired."""
    gmails, address = team.gmails, team.gmails.address(team.box)
    late, stranger = team.deliver(), team.deliver(From="eve@stranger.example")
    assert team.sync() == {late: "crm.no_match", stranger: "crm.no_match"}
    gmails.client.modify(address, late, ["TRASH"], ["INBOX"])
    if seen == "the return":
        head = gmails.client.dump(address)[address]["historyId"]
        gmails.mailboxes.set_state(team.box, "live", history_id=head)
    team.load("kind,id,domain\naccount,a2,new.example\n")
    for _ in range(4):
        assert gmails.claim(team.box, "work") == []  # the look back, without a look at history
    assert is_done_looking(gmails)
    gmails.client.modify(address, late, ["INBOX"], ["TRASH"])
    if seen == "nothing":
        gmails.client.expire_history(address)
    assert team.sync() == {late: "customer", stranger: "crm.no_match"}


def test_an_automated_mail_that_lay_in_the_trash_is_found_however_long_ago_its_author_was_looked_for(
    team: Team,
) -> None:
    gmails, address = team.gmails, team.gmails.address(team.box)
    ticket = team.ticket()
    assert team.sync() == {ticket: "automated.transactional"}
    gmails.client.modify(address, ticket, ["TRASH"], ["INBOX"])
    team.sync()
    team.load("kind,id,address\ncontact,c1,support@acme.example\n")
    for minutes in (0, 150, 0):  # it is looked for, and then all that Gmail has is confirmed
        gmails.advance(minutes=minutes)
        assert set(team.sync().values()).isdisjoint({"customer", "pending"})
    gmails.client.modify(address, ticket, ["INBOX"], ["TRASH"])
    gmails.client.expire_history(address)
    assert team.sync() == {ticket: "customer"}
    assert contexts(gmails) == []
