"""CrmDirectory: who is internal, who is blocked, and which records a mail leads to."""

import datetime as dt
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealmail.transforms.addresses import normalize_address
from dealmail.transforms.blocklist import normal_pattern
from dealmail.transforms.crm_directory import CrmDirectory, CrmRows
from dealmail.transforms.domains import SHARED_HOSTS, company_domain, crm_domain, is_ip_literal, registrable_domain
from dealmail.transforms.records import Link, Participant

ALICE = Participant("alice@corp.example")


def build(**rows) -> CrmDirectory:
    defaults = {
        "users": [
            ("u-alice", "alice@corp.example"),
            ("u-bob", "bob@corp.example"),
            ("u-carl", "carl@freelance.example"),
        ],
        "own_domains": ["corp.example", "corp.test"],
    }
    return CrmDirectory.build("t", 1, CrmRows(**{**defaults, **rows}))


def people(*addresses: str) -> tuple[Participant, ...]:
    return tuple(Participant(address) for address in addresses)


def targets(links: tuple[Link, ...], kind: str) -> list[str]:
    return [link.target_id for link in links if link.kind == kind]


# --- internal ---------------------------------------------------------------------------------------------------------


def test_case_46_crm_values_are_compared_without_case_blanks_and_trailing_dots():
    crm = build(
        contacts=[("c1", "  Jane.Doe@ACME.co.uk. ", "a1")], account_domains=[(" https://www.Beta.example/about ", "a2")]
    )
    assert targets(crm.links(people("jane.doe@acme.co.uk")), "contact") == ["c1"]
    assert targets(crm.links(people("x@beta.example")), "account") == ["a2"]


def test_case_47_own_addresses_take_plus_tags_and_gmail_dots_but_a_customers_address_is_exact():
    crm = build(
        users=[("u1", "al.ice@gmail.com"), ("u2", "bob@corp.example")], contacts=[("c1", "jane@acme.example", None)]
    )
    assert crm.user_of("alice+lists@gmail.com") == "u1"
    assert crm.user_of("bob+x@corp.example") == "u2"
    assert crm.links(people("jane+x@acme.example")) == ()


def test_case_48_googlemail_is_gmail():
    crm = build(users=[("u1", "alice@googlemail.com")], contacts=[("c1", "jane@googlemail.com", None)])
    assert crm.is_internal("alice@gmail.com")
    assert targets(crm.links(people("jane@gmail.com")), "contact") == ["c1"]
    assert targets(crm.links(people("jane@googlemail.com")), "contact") == ["c1"]


def test_case_49_internationalised_domains_meet_in_their_ascii_form():
    crm = build(account_domains=[("bücher.example", "a1")])
    assert targets(crm.links(people("x@xn--bcher-kva.example")), "account") == ["a1"]


def test_case_55_56_own_domains_are_a_set_and_aliases_of_the_user_are_internal():
    crm = build(users=[("u1", "alice@corp.example"), ("u1", "alice@private.example")])
    assert crm.is_internal("anybody@corp.test")
    assert crm.is_internal("alice@private.example")
    assert not crm.is_internal("bob@private.example")


def test_case_57_sub_domains_of_an_own_domain_are_own():
    crm = build()
    assert crm.is_own_domain("eu.corp.example")
    assert not crm.is_own_domain("notcorp.example")
    assert not crm.is_own_domain("example")


def test_case_58_a_contractor_who_is_a_user_is_internal_under_an_external_address():
    crm = build(contacts=[("c1", "carl@freelance.example", "a1")])
    assert crm.is_internal("carl@freelance.example")
    assert crm.links(people("carl@freelance.example")) == ()


def test_case_59_a_contact_on_an_own_domain_is_internal():
    crm = build(
        contacts=[("c1", "sub@corp.test", "a1")], account_domains=[("corp.test", "a1"), ("x.corp.example", "a2")]
    )
    assert crm.links(people("sub@corp.test", "y@x.corp.example")) == ()


def test_a_free_mail_own_domain_does_not_make_everybody_internal():
    crm = build(own_domains=["gmail.com", "co.uk", "", "github.io"])
    assert not crm.is_internal("jane@gmail.com")
    assert not crm.is_internal("jane@acme.co.uk")
    assert not crm.is_internal("jane@acme.github.io")


# --- matching ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "domain",
    [
        "gmail.com",
        "mailinator.com",
        "sendgrid.net",
        "em123.sendgrid.net",
        "facebook.com",
        "github.io",
        "daum.net",
        "tutanota.com",
        "sympatico.ca",
        "docomo.ne.jp",
        "i.softbank.jp",
        "mozmail.com",
        "privaterelay.appleid.com",
        "acme.atlassian.net",
        "acme.sharepoint.com",
        "co.uk",
        "192.0.2.1",
        "[192.0.2.1]",
        "localhost",
    ],
)
def test_case_60_domains_that_name_no_company_never_match(domain):
    crm = build(account_domains=[(domain, "a1")])
    assert crm.links(people(f"jane@{domain}")) == ()
    assert not crm.has_match(people(f"jane@{domain}"))


def test_case_60_a_contact_at_such_a_domain_still_matches():
    crm = build(contacts=[("c1", "jane@gmail.com", "a1")])
    assert crm.links(people("jane@gmail.com")) == (
        Link("account", "a1", True, "contact"),
        Link("contact", "c1", True, "contact"),
    )


def test_case_61_all_accounts_of_a_domain_are_linked_and_the_contacts_own_is_primary():
    crm = build(
        account_domains=[("acme.example", "a1"), ("acme.example", "a2"), ("acme.test", "a2")],
        contacts=[("c9", "jane@acme.example", "a9")],
    )
    links = crm.links(people("jane@acme.example"))
    assert [(link.target_id, link.primary, link.via) for link in links if link.kind == "account"] == [
        ("a9", True, "contact"),
        ("a1", False, "domain.ambiguous"),
        ("a2", False, "domain.ambiguous"),
    ]
    assert targets(crm.links(people("x@acme.test")), "account") == ["a2"]


def test_case_61_an_address_of_two_contacts_links_both_and_says_so():
    crm = build(contacts=[("c2", "jane@acme.example", "a2"), ("c1", "jane@acme.example", None)])
    links = crm.links(people("jane@acme.example"))
    assert [(link.kind, link.target_id, link.primary) for link in links] == [
        ("account", "a2", True),
        ("contact", "c2", True),
        ("contact", "c1", False),
    ]
    assert {link.via for link in links} == {"contact.ambiguous"}


def test_case_62_sub_domains_match_look_alikes_do_not():
    crm = build(account_domains=[("acme.co.uk", "a1"), ("tenant.github.io", "a2")])
    assert targets(crm.links(people("x@mail.acme.co.uk")), "account") == ["a1"]
    assert crm.links(people("x@notacme.co.uk")) == ()
    assert crm.links(people("x@acme.co.uk.evil.example")) == ()
    assert targets(crm.links(people("x@tenant.github.io")), "account") == ["a2"]
    assert crm.links(people("x@other.github.io")) == ()


def test_case_60_no_shared_host_hides_the_tenants_of_a_public_suffix():
    assert [host for host in SHARED_HOSTS if registrable_domain(host) is None] == []
    crm = build(account_domains=[("acme.myshopify.com", "a1"), ("myshopify.com", "a2"), ("beta.pages.dev", "a3")])
    links = {
        host: targets(crm.links(people(f"x@{host}")), "account")
        for host in ("acme.myshopify.com", "shop.myshopify.com", "mail.beta.pages.dev")
    }
    assert links == {"acme.myshopify.com": ["a1"], "shop.myshopify.com": [], "mail.beta.pages.dev": ["a3"]}


def test_the_account_with_the_nearest_domain_is_primary():
    crm = build(account_domains=[("uni.example", "a1"), ("law.uni.example", "a2")])
    assert crm.links(people("x@mail.law.uni.example"))[0].target_id == "a2"
    assert crm.links(people("x@uni.example"))[0].target_id == "a1"


def test_exact_contact_comes_before_lead_before_domain_whatever_the_order_of_participants():
    crm = build(
        account_domains=[("gamma.example", "a3")],
        contacts=[("c1", "jane@acme.example", "a1")],
        leads=[("l1", "lee@beta.example", None)],
    )
    links = crm.links(people("x@gamma.example", "lee@beta.example", "jane@acme.example", "alice@corp.example"))
    assert links == (
        Link("account", "a1", True, "contact"),
        Link("account", "a3", False, "domain"),
        Link("contact", "c1", True, "contact"),
        Link("lead", "l1", True, "lead"),
    )


def test_case_63_a_converted_lead_leads_to_its_contact_and_account():
    crm = build(
        leads=[("l1", "lee@old.example", "c1"), ("l2", "kim@old.example", "gone")],
        contacts=[("c1", "lee@new.example", "a1")],
    )
    assert crm.links(people("lee@old.example")) == (
        Link("account", "a1", True, "lead"),
        Link("contact", "c1", True, "lead.converted"),
        Link("lead", "l1", True, "lead"),
    )
    assert targets(crm.links(people("kim@old.example")), "contact") == []


def test_open_opportunities_of_linked_accounts_primary_account_first_then_owner_then_newest():
    crm = build(
        contacts=[("c1", "jane@acme.example", "a1")],
        account_domains=[("beta.example", "a2")],
        opportunities=[
            ("o-old", "a1", "u-bob", dt.date(2026, 1, 1)),
            ("o-new", "a1", None, dt.date(2026, 5, 1)),
            ("o-mine", "a1", "u-alice", dt.date(2025, 1, 1)),
            ("o-beta", "a2", "u-alice", dt.date(2026, 9, 1)),
            ("o-none", "a3", "u-alice", dt.date(2026, 9, 1)),
        ],
    )
    links = crm.links((Participant("jane@acme.example"), ALICE, Participant("x@beta.example")))
    assert targets(links, "opportunity") == ["o-mine", "o-new", "o-old", "o-beta"]
    assert [link.primary for link in links if link.kind == "opportunity"] == [True, False, False, False]


_domains = st.sampled_from(["acme.example", "mail.acme.example", "beta.example", "corp.example", "gmail.com"])
_addresses = st.builds(lambda local, domain: f"{local}@{domain}", st.sampled_from("abcd"), _domains)


@given(st.data())
def test_links_do_not_depend_on_the_order_of_crm_rows(data):
    contacts = data.draw(
        st.lists(
            st.tuples(st.sampled_from(["c1", "c2", "c3"]), _addresses, st.sampled_from(["a1", "a2", None])),
            unique_by=lambda row: row[0],
        )
    )
    leads = data.draw(
        st.lists(
            st.tuples(st.sampled_from(["l1", "l2"]), _addresses, st.sampled_from(["c1", None])),
            unique_by=lambda row: row[0],
        )
    )
    accounts = data.draw(st.lists(st.tuples(_domains, st.sampled_from(["a1", "a2", "a3"])), unique=True))
    deals = [
        ("o1", "a1", "u-alice", dt.date(2026, 1, 1)),
        ("o2", "a1", None, dt.date(2026, 1, 1)),
        ("o3", "a2", None, dt.date(2026, 2, 1)),
    ]
    mail = people(*data.draw(st.lists(_addresses, max_size=4)))
    shuffle = random.Random(data.draw(st.integers(0, 1000)))
    mixed = [shuffle.sample(rows, len(rows)) for rows in (contacts, leads, accounts, deals)]
    first = build(contacts=contacts, leads=leads, account_domains=accounts, opportunities=deals).links(mail)
    second = build(contacts=mixed[0], leads=mixed[1], account_domains=mixed[2], opportunities=mixed[3]).links(mail)
    assert first == second
    for kind in {link.kind for link in first}:
        assert sum(link.primary for link in first if link.kind == kind) == 1


@given(st.text(alphabet="abco.-", min_size=1, max_size=20), st.text(alphabet="abco-", min_size=1, max_size=5))
def test_a_domain_matches_only_at_label_boundaries(account, prefix):
    company = company_domain(crm_domain(account))
    crm = build(account_domains=[(account, "a1")], own_domains=[])
    if company is None:
        assert not crm.has_match(people(f"x@{account}"))
        return
    assert crm.has_match(people(f"x@{company}"))
    assert crm.has_match(people(f"x@sub.{company}"))
    if company_domain(f"{prefix}{company}") != company:
        assert not crm.has_match(people(f"x@{prefix}{company}"))


def test_registrable_domain_refuses_ip_literals_and_single_labels():
    assert registrable_domain("mail.acme.co.uk") == "acme.co.uk"
    assert [registrable_domain(one) for one in ("co.uk", "10.0.0.1", "[10.0.0.1]", "localhost", "", "a..b")] == [
        None
    ] * 6
    assert is_ip_literal("[ipv6:2001:db8::1]")


# --- blocked ----------------------------------------------------------------------------------------------------------


def test_case_65_one_blocked_of_forty_blocks_and_sub_domains_count():
    crm = build(blocked=[("", "evil.example")])
    many = people(*(f"p{number}@ok.example" for number in range(39)))
    assert crm.blocked((*many, Participant("x@mail.evil.example")), None) == "blocked.team"
    assert crm.blocked((*many, Participant("x@notevil.example")), None) is None


def test_case_65_a_blocked_own_domain_does_not_drop_everything():
    crm = build(blocked=[("", "corp.example"), ("", "*@corp.example"), ("", "*"), ("u-alice", "corp.*")])
    assert crm.blocked((ALICE,), "u-alice") is None
    assert crm.blocked((ALICE, Participant("x@acme.example")), None) == "blocked.team"


def test_an_own_persons_address_can_be_blocked_by_name():
    crm = build(blocked=[("", "bob@corp.example"), ("", "hr-*@corp.example")])
    assert crm.blocked(people("bob@corp.example"), None) == "blocked.team"
    assert crm.blocked(people("hr-confidential@corp.example"), None) == "blocked.team"
    assert crm.blocked((ALICE,), None) is None


def test_blocking_has_two_levels_and_a_users_list_counts_for_that_user_only():
    crm = build(blocked=[("u-alice", "jane@acme.example"), ("", "beta.example")])
    assert crm.blocked(people("jane@acme.example"), "u-alice") == "blocked.user"
    assert crm.blocked(people("jane@acme.example"), "u-bob") is None
    assert crm.blocked(people("jane@acme.example", "x@beta.example"), "u-alice") == "blocked.team"


@pytest.mark.parametrize(
    ("pattern", "address", "hits"),
    [
        ("*.acme.example", "x@acme.example", True),
        ("*.acme.example", "x@mail.acme.example", True),
        ("@acme.example", "x@acme.example", True),
        ("ACME.example.", "x@acme.example", True),
        ("legal@*", "legal@any.example", True),
        ("legal@*", "illegal@any.example", False),
        ("acme.*", "x@acme.test", True),
        ("acme.*", "x@notacme.test", False),
        ("j?ne@acme.example", "jane@acme.example", True),
        ("bücher.example", "x@xn--bcher-kva.example", True),
        ("*.münchen.de", "jane@xn--mnchen-3ya.de", True),
        ("*@*.München.de", "jane@xn--mnchen-3ya.de", True),
        ("legal@*.münchen.de", "legal@mail.xn--mnchen-3ya.de", True),
        ("legal@*.münchen.de", "jane@xn--mnchen-3ya.de", False),
        ("münchen.*", "jane@xn--mnchen-3ya.de", True),
        ("mün*.de", "jane@xn--mnchen-3ya.de", False),
        ("www.acme.example", "jane@acme.example", True),
        ("https://www.acme.example/?utm=1", "jane@mail.acme.example", True),
        ("*.googlemail.com", "jane@gmail.com", True),
        ("ju\u0308r*@acme.example", "j\u00fcrgen@acme.example", True),
        ("(", "x@acme.example", False),
        ("", "x@acme.example", False),
    ],
)
def test_patterns(pattern, address, hits):
    assert (build(blocked=[("", pattern)]).blocked(people(address), None) is not None) is hits


def matches(pattern: str, text: str) -> bool:
    """What * and ? mean, by the book."""
    if not pattern or not text:
        return not pattern.strip("*") and not text
    if pattern[0] == "*":
        return matches(pattern[1:], text) or matches(pattern, text[1:])
    return pattern[0] in ("?", text[0]) and matches(pattern[1:], text[1:])


@given(st.text("ab?*", min_size=1, max_size=8), st.text("ab", min_size=1, max_size=10))
def test_a_wildcard_matches_what_it_says(local, address):
    pattern = f"{local}@*a.example"
    hits = build(blocked=[("", pattern)]).blocked(people(f"{address}@b{address}.example"), None) is not None
    assert hits is matches(pattern, f"{address}@b{address}.example")


def test_a_wildcard_of_many_stars_takes_no_longer_for_an_address_that_does_not_end_like_it():
    crm = build(blocked=[("", f"{'*a' * 12}@acme.example")])
    assert crm.blocked(people(f"{'a' * 240}@acme.exemple"), None) is None


@given(
    st.sampled_from(("münchen.de", "BÜCHER.example", "點看.example", "www.größe.test", "a.b.co.uk")),
    st.sampled_from(("", "x.", "y.z.")),
)
def test_a_wildcard_for_all_below_a_domain_is_the_domain(domain, below):
    address = f"jane@{below}{domain.removeprefix('www.')}"
    for pattern in (domain, f"*.{domain.removeprefix('www.')}", f"*@*.{domain.removeprefix('www.')}"):
        assert build(blocked=[("", pattern)]).blocked(people(normalize_address(address)), None) == "blocked.team"
        assert normal_pattern(normal_pattern(pattern)) == normal_pattern(pattern)


def test_www_before_a_domain_is_no_part_of_it():
    crm = build(own_domains=["www.corp.example", "www.gov.uk"], account_domains=[("www.beta.example", "a1")])
    assert crm.is_internal("x@corp.example")
    assert not crm.is_internal("x@hmrc.gov.uk")
    assert targets(crm.links(people("x@beta.example")), "account") == ["a1"]


_patterns = st.one_of(_domains, _addresses, st.sampled_from(["*.example", "a@*", "*", "?@acme.example", ""]))


@given(st.lists(_patterns, max_size=4), _patterns, st.lists(_addresses, max_size=3), _addresses)
def test_a_longer_blocklist_or_one_more_participant_never_unblocks(patterns, more, addresses, another):
    mail = people(*addresses)
    short = build(blocked=[("", pattern) for pattern in patterns])
    long = build(blocked=[("", pattern) for pattern in (*patterns, more)])
    if short.blocked(mail, None):
        assert long.blocked(mail, None)
        assert short.blocked((*mail, Participant(another)), None)
