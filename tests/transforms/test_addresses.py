"""Addresses: what a From, To or Cc field names, and how addresses compare."""

from __future__ import annotations

from email.utils import formataddr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.process_seconds import excess
from dealmail.transforms import addresses as module
from dealmail.transforms.addresses import (
    MAX_NAME,
    MAX_RECIPIENTS,
    clean_name,
    identity,
    normalize_address,
    normalize_domain,
    parse_addresses,
)


def pairs(value: str) -> list[tuple[str, str]]:
    return [(one.address, one.name) for one in parse_addresses(value)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a@x.example", [("a@x.example", "")]),
        ("<a@x.example>", [("a@x.example", "")]),
        ("Ann Lee <a@x.example>, b@y.example", [("a@x.example", "Ann Lee"), ("b@y.example", "")]),
        ('"Ann \\"A\\" Lee" <a@x.example>', [("a@x.example", 'Ann "A" Lee')]),
        ("a@x.example (Ann Lee)", [("a@x.example", "Ann Lee")]),
        ("a@x.example; b@y.example", [("a@x.example", ""), ("b@y.example", "")]),
        ("<@one.example,@two.example:joe@x.example>", [("joe@x.example", "")]),
        ("jdoe @ machine . example", [("jdoe@machine.example", "")]),
        ('"john doe"@x.example', [('"john doe"@x.example', "")]),
        ('"john.doe"@x.example', [("john.doe@x.example", "")]),
        ("joe@[192.0.2.1]", [("joe@[192.0.2.1]", "")]),
        ("'joe@x.example'", [("joe@x.example", "")]),
        ("<mailto:a@x.example>", [("a@x.example", "")]),
        ("<a@x.example", [("a@x.example", "")]),
        ('"open <a@x.example>', [("a@x.example", "open")]),
        ("Jane <a@x.example", [("a@x.example", "")]),
        ("b@y.example <a@x.example", [("a@x.example", "")]),
        ("Smile :( <a@x.example>, (aside) b@y.example", [("a@x.example", "("), ("b@y.example", "aside")]),
        ('"A" <a@x.example> "B" <b@y.example>', [("b@y.example", "B")]),
        ("<a@x.example> (Ann), b@y.example", [("a@x.example", "Ann"), ("b@y.example", "")]),
        (
            "Team: A <a@x.example>, B <b@y.example>; <c@z.example> C",
            [("a@x.example", "A"), ("b@y.example", "B"), ("c@z.example", "")],
        ),
        ("Ann <a@x.example> <3", [("a@x.example", "Ann")]),
        ("bob", []),
        ("", []),
        ("<>", []),
        (",,, ;", []),
        ("a@x.example, A <A@X.example>", [("a@x.example", "")]),
    ],
)
def test_address_lists_of_every_shape(value, expected):
    assert pairs(value) == expected


def test_case_42_quoted_comma_and_encoded_comma_do_not_split():
    assert pairs('"Doe, Jane" <j@x.example>') == [("j@x.example", "Doe, Jane")]
    assert pairs("=?utf-8?q?Doe=2C_Jane?= <j@x.example>, k@x.example") == [
        ("j@x.example", "Doe, Jane"),
        ("k@x.example", ""),
    ]
    assert pairs("=?utf-8?b?TcO8bGxlciwgSGFucw==?= <h@x.example>") == [("h@x.example", "Müller, Hans")]


def test_case_42_a_comma_that_gmail_has_already_decoded_stays_in_the_name():
    assert pairs("Müller, Hans <h@x.example>, Lee <l@y.example>") == [
        ("h@x.example", "Müller, Hans"),
        ("l@y.example", "Lee"),
    ]


def test_case_42_an_encoded_address_is_a_name_and_no_address():
    assert pairs("=?utf-8?q?ceo=40acme=2Eexample_=3Cceo=40acme=2Eexample=3E?= <evil@x.example>") == [
        ("evil@x.example", "ceo@acme.example <ceo@acme.example>")
    ]
    assert pairs("=?utf-8?q?ceo=40acme=2Eexample=2C?= <evil@x.example>") == [("evil@x.example", "ceo@acme.example,")]


@pytest.mark.parametrize(
    "value", ["undisclosed-recipients:;", "Undisclosed recipients: ;", "undisclosed-recipients", "Team:;"]
)
def test_case_43_an_empty_group_names_nobody(value):
    assert pairs(value) == []


def test_case_43_a_group_is_its_members():
    assert pairs("Team: a@x.example, Ben <b@x.example>; c@y.example") == [
        ("a@x.example", ""),
        ("b@x.example", "Ben"),
        ("c@y.example", ""),
    ]


def test_case_45_hundreds_of_recipients_are_all_read():
    value = ", ".join(f'"Person, {n}" <p{n}@x{n}.example>' for n in range(900))
    assert len(parse_addresses(value)) == 900


def test_case_45_too_many_recipients_are_bounded():
    fast = ",".join(f"p{n}@x.example" for n in range(5_000))
    slow = ",".join(f"Müller, H <p{n}@x.example>" for n in range(5_000))
    assert len(parse_addresses(fast)) == len(parse_addresses(slow)) == MAX_RECIPIENTS


@pytest.mark.parametrize(
    "unit",
    [
        '"',
        "<",
        "(",
        ")",
        "\\",
        '"\\',
        '<"',
        "a ",
        " ",
        ",",
        ":",
        "=?a?q?",
        "a@",
        "@",
        "<a@b>",
        '\\">',
        "(\\",
        "[",
        " \t",
        "a.",
        "a-",
    ],
)
@pytest.mark.parametrize("tail", ["", " <a@x.example>", "é", '"', ">"])
def test_case_45_a_hostile_field_takes_no_longer_than_a_second(unit, tail):
    assert not excess(lambda: parse_addresses(unit * (262_144 // len(unit)) + tail))


def test_case_46_case_trailing_dot_and_spaces_do_not_matter():
    assert normalize_address(" Joe@Example.COM. ") == normalize_address("joe@example.com") == "joe@example.com"
    assert pairs("Joe < Joe@Example.COM. >") == [("joe@example.com", "Joe")]
    assert normalize_domain(" Example.COM.") == "example.com"


def test_case_47_plus_tags_and_dots_count_for_customers_only():
    assert normalize_address("joe+crm@x.example") != normalize_address("joe@x.example")
    assert identity("Joe+crm@x.example") == identity("joe@x.example")
    assert identity("j.o.e+x@gmail.com") == identity("joe@gmail.com")
    assert identity("j.oe@x.example") != identity("joe@x.example")


def test_case_48_googlemail_is_gmail_for_identity_only():
    assert identity("joe@googlemail.com") == identity("joe@gmail.com")
    assert normalize_address("joe@googlemail.com") != normalize_address("joe@gmail.com")


def test_case_49_international_domains_and_letters_compare():
    assert (
        normalize_address("x@MÜLLER.example")
        == normalize_address("x@xn--mller-kva.example")
        == "x@xn--mller-kva.example"
    )
    assert normalize_address("x@mu\u0308ller.example") == "x@xn--mller-kva.example"
    assert normalize_address("jo\u0308rg@x.example") == normalize_address("JÖRG@x.example") == "jörg@x.example"
    assert normalize_address("x@例え。example") == normalize_address("x@例え.example")
    assert clean_name("Jo\u0308rg") == "Jörg"


@pytest.mark.parametrize(
    "value",
    ['"ceo@acme.example" <evil@x.example>', "ceo@acme.example <evil@x.example>", "evil@x.example (ceo@acme.example)",
     '"<ceo@acme.example>" <evil@x.example>', "=?utf-8?q?ceo=40acme=2Eexample?= <evil@x.example>",
     '"ceo@acme.example," <evil@x.example>', "<ceo@acme.example> <evil@x.example>", "Ann <ceo@acme.example> <evil@x.example>",
     "<evil@x.example> ceo@acme.example", "<ceo@acme.example> <evil@x.example", "<ceo@acme.example> : <evil@x.example>",
     "<ceo@acme.example> <not an address> <evil@x.example> <>", "(<ceo@acme.example>) <evil@x.example>"],
)  # fmt: skip
def test_case_50_an_address_in_the_name_is_nobody(value):
    assert [one.address for one in parse_addresses(value)] == ["evil@x.example"]


@pytest.mark.parametrize(
    "value", ["@", "a@", "@x.example", "a b@x.example", "a@x y", "a\0b@x.example", "a@" + "x" * 400, "\ud800@x"]
)
def test_what_is_no_address_is_empty(value):
    assert normalize_address(value) in {"", "\ufffd@x"}


TEXT = st.text(max_size=200)
EMAILS = st.from_regex(r"\A[a-z0-9.+_-]{1,20}@[a-z0-9]{1,12}(\.[a-z]{2,5}){1,2}\Z")
NASTY = st.text(alphabet='ab@.,;:<>()"\\[] \t=?qQ-_é\0\ud800ü\u0130', max_size=120)


@given(st.one_of(TEXT, NASTY))
@settings(max_examples=400, deadline=None)
def test_no_field_raises_and_all_that_comes_out_can_be_stored(value):
    for one in parse_addresses(value):
        (one.address + one.name).encode("utf-8")
        assert "\0" not in one.address + one.name
        assert "@" in one.address
        assert len(one.address) <= 320
        assert len(one.name) <= MAX_NAME


@given(st.one_of(TEXT, NASTY, EMAILS))
@settings(max_examples=400, deadline=None)
def test_normalizing_twice_is_normalizing_once(value):
    once = normalize_address(value)
    assert normalize_address(once) == once


@given(
    st.lists(st.lists(EMAILS, min_size=1, max_size=3), max_size=4),
    st.sampled_from((", ", "; ", ",")),
    st.sampled_from(("", "Ann ", '"A, B" ')),
)
@settings(max_examples=200, deadline=None)
def test_case_50_an_element_has_one_address_the_last_in_brackets(elements, between, name):
    value = between.join(name + " ".join(f"<{address}>" for address in element) for element in elements)
    assert [one.address for one in parse_addresses(value)] == list(dict.fromkeys(element[-1] for element in elements))


@given(st.lists(st.tuples(st.text(alphabet="abc DEF.'", max_size=20), EMAILS), max_size=5))
@settings(max_examples=200, deadline=None)
def test_the_fast_way_and_the_slow_way_agree(people):
    value = ", ".join(formataddr(person) for person in people)
    fast = module._parse_common(value)
    slow = module._Scanner(value).mailboxes()
    if fast is not None:
        assert list(fast) == list(slow)
        assert [one.name for one in fast.values()] == [one.name for one in slow.values()]
