"""The first sync by search: chosen by cost, checked by a sample."""

from __future__ import annotations

import random
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from dealmail.io import schema, search_plan
from dealmail.io.audit import Audit
from dealmail.io.quota import Quota, QuotaLimits


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


def test_search_reads_what_it_finds_and_a_sample_of_the_rest(gmails: Any) -> None:
    add_crm(gmails, "customer.example")
    alice = gmails.connect("alice")
    found = [gmails.deliver(alice, f"Offer {n}", age=1) for n in range(3)]
    strangers = gmails.client.deliver_many(
        gmails.address(alice),
        [(b"From: x@stranger.example\r\nMessage-ID: <%d@x>\r\nSubject: s\r\n\r\n" % n, ["INBOX"], int(gmails.clock().timestamp() - 9000) * 1000)
         for n in range(120)],
    )  # fmt: skip
    claims = gmails.claims(search_plan=True)
    assert search_plan.check(gmails.database, alice) is None
    gmails.sync(alice, "poll", claims)
    outcomes = gmails.outcomes(alice)
    assert set(found) <= set(outcomes)
    assert len(set(outcomes) & set(strangers)) == search_plan.SAMPLE
    # Here every mail that is read counts as a customer's: the sample shows what the search missed.
    check = search_plan.check(gmails.database, alice)
    assert (check.unseen, check.sampled, check.missed, check.undecided) == (120, 50, 50, 0)
    assert gmails.row(alice).state == "live"
    audit = Audit(gmails.database, gmails.accounts, Quota(gmails.database), gmails.clock).run(alice)
    assert (audit.completeness, audit.unasked, audit.in_gmail) == (100.0, 70, 123)
    # From now on everything that arrives is read, whoever it is from.
    new = gmails.client.deliver(
        gmails.address(alice), b"From: x@stranger.example\r\nMessage-ID: <new@x>\r\nSubject: s\r\n\r\n"
    )
    gmails.sync(alice, "push", claims)
    assert new in gmails.outcomes(alice)


def test_without_the_option_everything_is_read(gmails: Any) -> None:
    add_crm(gmails, "elsewhere.example")
    alice = gmails.connect("alice")
    mail = gmails.deliver(alice, age=1)
    gmails.sync(alice)
    assert set(gmails.outcomes(alice)) == {mail}
    with gmails.database.reading() as connection:
        assert not search_plan.is_searched(connection, alice)
