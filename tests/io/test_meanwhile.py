"""What changes while a message, a page of a listing or a re-linking is under way counts for it all the same."""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa

from dealmail.io import crm_import, listings, mailboxes, relink, schema
from dealmail.io.crm import DatabaseDirectories
from dealmail.io.ledger_changes import reopen_before_window
from dealmail.transforms import decisions
from dealmail.transforms.records import Decision, Participant

DAY = dt.timedelta(days=1)
CRM = "kind,id,name,address,domain,account_id\naccount,a1,Acme,,acme.example,\naccount,a2,Bolt,,bolt.example,\n"


def settle_as_too_old(sales: Any, claim: Any) -> str:
    sales.settlements.settle([Decision(claim, "dropped", decisions.WINDOW_BEFORE)])
    row = sales.ledger.explain(claim.mailbox_id, claim.gmail_id)
    return row.rule or row.state


def extend(sales: Any, box: str, window_from: dt.datetime) -> None:
    """As a claim does it that finds an older open opportunity."""

    def work(connection: sa.Connection) -> None:
        moved = mailboxes.advance(connection, mailboxes.read(connection, box), window_from=window_from)
        assert moved is not None
        reopen_before_window(connection, moved, sales.clock())

    sales.database.transaction(work)


def test_too_old_for_the_window_of_then_is_no_decision_by_that_of_now(sales: Any) -> None:
    box = sales.add_mailbox("alice@corp.example")
    sales.mailboxes.set_state(box, "live", history_id=7, window_from=sales.clock() - 7 * DAY)
    early, late = sales.claim(box, ["m1", "m2"])
    assert settle_as_too_old(sales, early) == decisions.WINDOW_BEFORE
    extend(sales, box, sales.clock() - 30 * DAY)
    assert sales.ledger.explain(box, "m1").state == "pending"
    assert settle_as_too_old(sales, late) == "pending"
    sales.clock.advance(minutes=1)
    again = sales.claim(box, ["m1", "m2"])
    assert {settle_as_too_old(sales, claim) for claim in again} == {decisions.WINDOW_BEFORE}


def test_an_automated_decision_by_an_outdated_crm_is_made_again(sales: Any) -> None:
    """Its author may be a contact by now, and the look back for the new name has passed over what was pending."""
    box = sales.add_mailbox("alice@corp.example")
    (claim,) = sales.claim(box, ["m1"])
    crm_import.import_csv(sales.database, "t1", CRM, sales.clock)
    robot = decisions.AUTOMATED_TRANSACTIONAL
    sales.settlements.settle([Decision(claim, "dropped", robot, crm_version=0)])
    assert sales.ledger.explain(box, "m1").state == "pending"
    sales.clock.advance(minutes=1)
    (claim,) = sales.claim(box, ["m1"])
    sales.settlements.settle([Decision(claim, "dropped", robot, crm_version=1)])
    assert sales.ledger.explain(box, "m1").rule == robot


def test_a_walk_that_an_import_begins_anew_is_not_ended_by_a_page_from_before(sales: Any) -> None:
    crm_import.import_csv(sales.database, "t1", CRM, sales.clock)
    box = sales.add_mailbox("alice@corp.example")
    sales.mailboxes.set_state(box, "live", history_id=7, window_from=sales.clock() - 7 * DAY)
    crm_import.import_csv(sales.database, "t1", CRM + "contact,c1,Zoe,zoë@acme.example,,a1\n", sales.clock)

    def walk(connection: sa.Connection) -> listings.Listing:
        (found,) = (one for one in listings.unfinished(connection, box) if one.kind == "targeted")
        return found

    def note(connection: sa.Connection, row: Any, asked: listings.Listing, token: str) -> bool:
        moved = mailboxes.advance(connection, row)
        if moved is not None:
            listings.page_done(connection, asked, 500, 900, token, sales.clock())
        return moved is not None

    with sales.database.reading() as connection:
        row, first = mailboxes.read(connection, box), walk(connection)
    assert first.search.count("from:") == 0  # the whole window: Gmail cannot be searched for her
    assert sales.database.transaction(lambda c: note(c, row, first, "p2"))
    with sales.database.reading() as connection:
        row, last = mailboxes.read(connection, box), walk(connection)
    crm_import.import_csv(sales.database, "t1", CRM + "contact,c2,Kim,kïm@bolt.example,,a2\n", sales.clock)
    assert not sales.database.transaction(lambda c: note(c, row, last, ""))
    with sales.database.reading() as connection:
        assert walk(connection).page_token == ""


def links(sales: Any) -> set[tuple[str, str]]:
    link = schema.engagement_link.c
    with sales.database.reading() as connection:
        return {tuple(row) for row in connection.execute(sa.select(link.engagement_id, link.target_id))}


class Meanwhile:
    """A team's stored mail, and what happens between two pages of a re-linking."""

    def __init__(self, sales: Any, mail: Any) -> None:
        self.sales, self.mail = sales, mail
        crm_import.import_csv(sales.database, "t1", CRM, sales.clock)
        self.box = sales.add_mailbox("alice@corp.example")
        self.directories = DatabaseDirectories(sales.database)
        self.old = self.directories.refresh("t1")
        self.settle("e5", self.old)
        moved = CRM.replace("a1,Acme,,acme.example", "a1,Acme,,").replace("bolt.example", "bolt.example;acme.example")
        crm_import.import_csv(sales.database, "t1", moved, sales.clock, replace=True)
        self.new = self.directories.refresh("t1")

    def settle(self, engagement: str, directory: Any) -> None:
        (claim,) = self.sales.claim(self.box, [f"g-{engagement}"])
        sender, to = Participant("zoe@acme.example"), (Participant("alice@corp.example"),)
        found = self.mail(
            claim, 1, engagement_id=engagement, sender=sender, to=to, cc=(), links=directory.links([sender]),
            crm_version=directory.version,
        )  # fmt: skip
        self.sales.settlements.settle([found])

    def relink(self, directory: Any, work: Any = lambda: None) -> None:
        """`work` is done when the first page has been linked and the next one is asked for."""
        pages = []

        def before(unused_connection: Any, unused_cursor: Any, statement: str, *unused: Any) -> None:
            if "engagement.id > " in statement:  # a page is asked for, and no transaction is open
                pages.append(statement)
                if len(pages) == 2:
                    work()

        sa.event.listen(self.sales.database.engine, "before_cursor_execute", before)
        try:
            relink.relink(self.sales.database, directory, self.sales.clock)
        finally:
            sa.event.remove(self.sales.database.engine, "before_cursor_execute", before)
        assert len(pages) >= 2

    def is_behind(self) -> bool:
        return relink.behind(self.sales.database) == ["t1"]


def test_mail_that_an_outdated_crm_linked_behind_a_relinking_is_linked_once_more(sales: Any, mail: Any) -> None:
    team = Meanwhile(sales, mail)
    team.relink(team.new, lambda: team.settle("e1", team.old))
    assert links(sales) == {("e5", "a2"), ("e1", "a1")}
    assert team.is_behind()
    team.relink(team.new)
    assert links(sales) == {("e5", "a2"), ("e1", "a2")}
    assert not team.is_behind()


def test_a_relinking_that_is_overtaken_by_a_newer_one_has_it_done_once_more(sales: Any, mail: Any) -> None:
    team = Meanwhile(sales, mail)
    team.settle("e9", team.old)

    team.relink(team.old, lambda: relink.relink(sales.database, team.new, sales.clock))
    assert team.is_behind()
    team.relink(team.new)
    assert not team.is_behind()
    assert {target for _, target in links(sales)} == {"a2"}
