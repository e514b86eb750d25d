"""The first sync by search: chosen by cost, checked by a sample."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from dealmail.io import listings, schema, search_plan
from dealmail.io.audit import Audit
from dealmail.io.quota import Quota, QuotaLimits
from dealmail.transforms.decisions import CRM_NO_MATCH
from dealmail.transforms.records import Decision


def add_crm(gmails: Any, *domains: str, contact: str = "") -> None:
    rows = [{"team_id": "t1", "domain": domain, "account_id": "a"} for domain in domains]
    people = [{"team_id": "t1", "id": "c", "address": contact, "account_id": "a"}] if contact else []
    for table, values in ((schema.account_domain, rows), (schema.contact, people)):
        if values:
            gmails.database.transaction(lambda c, table=table, values=values: c.execute(sa.insert(table), values))


@pytest.mark.parametrize(
    ("total", "searches", "plan"),
    [(10_000, 20, "search"), (10, 20, "everything"), (0, 20, "everything"), (10_000, 0, "everything"), (100, 100, "search"),
     (100, 101, "everything")],
)  # fmt: skip
def test_the_cheaper_plan_is_chosen(total: int, searches: int, plan: str) -> None:
    assert search_plan.choose(total, searches, QuotaLimits()) == plan


def test_searches_cover_domains_and_people_elsewhere(gmails: Any) -> None:
    add_crm(gmails, "customer.example", "gmail.com", contact="pat@gmail.com")
    with gmails.database.reading() as connection:
        (search,) = search_plan.crm_searches(connection, "t1")
    assert "from:customer.example" in search
    assert "to:pat@gmail.com" in search
    assert "from:gmail.com" not in search


@pytest.mark.parametrize("odd", ['"pat doe"@odd.example', "{pat}@odd.example", "zoë@odd.example"])
def test_who_cannot_be_searched_for_by_address_is_by_domain(gmails: Any, odd: str) -> None:
    """In the middle of a search such an address would mean something else, to all of it."""
    add_crm(gmails, "customer.example", contact=odd)
    with gmails.database.reading() as connection:
        (search,) = search_plan.crm_searches(connection, "t1")
    one = "from:{0} to:{0} cc:{0}".format
    assert search == f"{{{one('customer.example')} {one('odd.example')}}}"


def test_where_somebody_cannot_be_searched_for_at_all_everything_is_read(gmails: Any) -> None:
    add_crm(gmails, "customer.example", contact="pat@[192.0.2.1]")
    with gmails.database.reading() as connection:
        assert search_plan.crm_searches(connection, "t1") == []


@settings(deadline=None)
@given(
    st.sets(st.text("0123456789abcdef", min_size=1), max_size=200),
    st.randoms(use_true_random=False),
    st.integers(1, 20),
)
def test_a_sample_does_not_depend_on_the_order_of_pages(ids: set[str], chance: random.Random, size: int) -> None:
    whole = search_plan.sample([], ids, size)
    shuffled, kept = sorted(ids), []
    chance.shuffle(shuffled)
    for begin in range(0, len(shuffled), 7):
        kept = search_plan.sample(kept, shuffled[begin : begin + 7], size)
    assert kept == whole
    assert len(whole) == min(size, len(ids))


@pytest.fixture
def world(gmails: Any) -> Any:
    """Alice, three offers of a customer's, and 120 messages that the search does not find."""
    add_crm(gmails, "customer.example")
    gmails.alice = gmails.connect("alice")
    gmails.offers = [gmails.deliver(gmails.alice, f"Offer {n}", age=1) for n in range(3)]
    at = int(gmails.clock().timestamp() - 9000) * 1000
    stranger = b"From: x@stranger.example\r\nMessage-ID: <%d@x>\r\nSubject: s\r\n\r\n"
    gmails.strangers = gmails.client.deliver_many(
        gmails.address(gmails.alice), [(stranger % n, ["INBOX"], at) for n in range(120)]
    )
    gmails.searching = gmails.claims(search_plan=True)
    return gmails


def run(world: Any, nobodys: Collection[str] = (), minutes: float = 0.2, rounds: int = 30) -> None:
    """What is due, for `minutes`; `nobodys` are no customer's."""
    for _ in range(rounds):
        for due in world.register.due(world.clock()):
            ends = world.read(world.searching.claim(due))
            world.sales.settlements.settle(
                [Decision(end.claim, "dropped", CRM_NO_MATCH) if end.claim.gmail_id in nobodys else end for end in ends]
            )
        world.advance(minutes=minutes / rounds)


def audit(world: Any, **how: bool) -> Any:
    return Audit(world.database, world.accounts, Quota(world.database), world.clock).run(world.alice, **how)


def test_search_reads_what_it_finds_and_a_sample_of_the_rest(world: Any) -> None:
    assert search_plan.check(world.database, world.alice) is None
    run(world, world.strangers)
    outcomes = world.outcomes(world.alice)
    assert set(world.offers) <= set(outcomes)
    assert len(set(outcomes) & set(world.strangers)) == search_plan.SAMPLE
    check = search_plan.check(world.database, world.alice)
    assert (check.unseen, check.sampled, check.missed, check.undecided) == (120, 50, 0, 0)
    run(world, world.strangers, minutes=16)
    assert world.row(world.alice).state == "live"
    found = audit(world, repair=True)
    assert (found.completeness, found.unasked, found.in_gmail, found.repaired) == (100.0, 70, 123, False)
    # From now on everything that arrives is read, whoever it is from.
    new = world.client.deliver(
        world.address(world.alice), b"From: x@stranger.example\r\nMessage-ID: <new@x>\r\nSubject: s\r\n\r\n"
    )
    world.sync(world.alice, "push", world.searching)
    assert new in world.outcomes(world.alice)


@pytest.mark.parametrize("kinds", [["plan"], ["first_sync", "sample"], ["sample"]])
def test_an_audit_amid_a_first_sync_by_search_has_nothing_read_that_is_left_out(world: Any, kinds: list[str]) -> None:
    if kinds == ["plan"]:
        world.client.set_faults({"500": 1.0, "methods": ["messages.list"], "mailboxes": [world.address(world.alice)]})
    for _ in range({"plan": 1, "first_sync": 1, "sample": 2}[kinds[0]]):
        world.settle(world.claim(world.alice, "poll", world.searching))
    world.client.set_faults()
    with world.database.reading() as connection:
        assert [one.kind for one in listings.unfinished(connection, world.alice)] == kinds
    before = world.outcomes(world.alice)
    found = audit(world, repair=True)
    assert (found.completeness, found.missing, found.unasked) == (100.0, (), 123 - len(before))
    assert world.outcomes(world.alice) == before
    run(world, world.strangers)
    assert len(world.outcomes(world.alice)) == 3 + search_plan.SAMPLE


def test_where_the_sample_shows_a_miss_the_audit_has_the_rest_read(world: Any) -> None:
    run(world)  # every mail that is read counts as a customer's
    check = search_plan.check(world.database, world.alice)
    assert (check.unseen, check.sampled, check.missed, check.undecided) == (120, 50, 50, 0)
    found = audit(world, repair=True)
    assert (len(found.missing), found.unasked, found.repaired) == (70, 0, True)
    run(world)
    assert world.outcomes(world.alice) == dict.fromkeys([*world.offers, *world.strangers], "customer")
    assert audit(world).completeness == 100.0


def test_who_becomes_a_customer_later_was_not_missed(world: Any) -> None:
    run(world, world.strangers)
    look_back = schema.listing
    row = {"team_id": "t1", "mailbox_id": world.alice, "kind": "targeted", "query": "from:stranger.example"}
    since = {"after_at": world.row(world.alice).window_from, "created_at": world.clock(), "before_at": world.clock()}
    world.database.transaction(lambda c: c.execute(sa.insert(look_back), [row | since]))
    run(world)
    assert set(world.outcomes(world.alice).values()) == {"customer"}
    assert search_plan.check(world.database, world.alice).missed == 0


@pytest.mark.parametrize(("refused_s", "is_searched"), [(60, True), (600, False)])
def test_where_gmail_does_not_say_how_much_there_is_everything_is_read(
    world: Any, refused_s: float, is_searched: bool
) -> None:
    world.client.set_faults({"500": 1.0, "methods": ["messages.list"], "mailboxes": [world.address(world.alice)]})
    run(world, minutes=refused_s / 60)
    assert world.row(world.alice).state == "first_sync"
    new = world.deliver(world.alice)
    world.settle(world.claim(world.alice, "push", world.searching))
    assert world.outcomes(world.alice) == {new: "customer"}  # which waits for no estimate
    world.client.set_faults()
    run(world, minutes=20)
    assert len(world.outcomes(world.alice)) == (54 if is_searched else 124)
    assert (search_plan.check(world.database, world.alice) is not None) == is_searched
    assert world.row(world.alice).state == "live"


def test_a_first_sync_that_begins_anew_forgets_the_plan_of_the_one_before(world: Any) -> None:
    run(world, world.strangers)
    world.mailboxes.set_state(world.alice, "first_sync", history_id=None, next_poll_at=None)
    world.searching = world.claims()
    run(world, world.strangers)
    assert len(world.outcomes(world.alice)) == 123
    lost = sa.delete(schema.message).where(schema.message.c.gmail_id == world.strangers[0])
    world.database.transaction(lambda c: c.execute(lost))
    assert audit(world).missing == (world.strangers[0],)


def test_without_the_option_everything_is_read(gmails: Any) -> None:
    add_crm(gmails, "elsewhere.example")
    alice = gmails.connect("alice")
    mail = gmails.deliver(alice, age=1)
    gmails.sync(alice)
    assert set(gmails.outcomes(alice)) == {mail}
    with gmails.database.reading() as connection:
        assert not search_plan.is_searched(connection, alice)
