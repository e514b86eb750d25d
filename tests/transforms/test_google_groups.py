"""Google Groups: whose word about the author is believed, and that the group's own address takes part."""

import time

import pytest

from dealmail.transforms.google_groups import named_author, unmask
from dealmail.transforms.records import CustomerMail, Participant
from tests.transforms.test_select_customer_mail import decide, directory, message, rule


def through(group: str, author: str, *, to: str = "alice@corp.example", **more: str):
    """A mail of `author` as `group` hands it on when it rewrites From."""
    headers = {
        "From": f"'Jane Doe' via Group <{group}>", "To": to, "X-Google-Group-Id": "1", "X-Original-From": f"Jane Doe <{author}>",
        "Mailing-list": f"list {group}; contact {group.replace('@', '+owners@')}", "List-ID": f"<{group.replace('@', '.')}>",
    }  # fmt: skip
    return message(headers | more)


def people(mail) -> list[str]:
    assert isinstance(mail, CustomerMail)
    return [one.address for one in (mail.sender, *mail.to, *mail.cc)]


@pytest.mark.parametrize(
    ("group", "cc"),
    [
        ("support@corp.example", []),  # the team's own
        ("things@googlegroups.com", ["things@googlegroups.com"]),
        ("team@mail.acme.example", ["team@mail.acme.example"]),  # the author's company's
    ],
)
def test_case_70_the_author_behind_a_group_that_is_believed_is_the_sender(group, cc):
    mail = decide(through(group, "jane@acme.example"))
    assert (mail.sender.address, mail.sender.name, mail.direction) == ("jane@acme.example", "Jane Doe", "inbound")
    assert people(mail) == ["jane@acme.example", "alice@corp.example", *cc]


def test_case_70_a_group_that_is_listed_is_not_listed_twice():
    mail = decide(through("team@acme.example", "jane@acme.example", to="team@acme.example, alice@corp.example"))
    assert people(mail) == ["jane@acme.example", "team@acme.example", "alice@corp.example"]


def test_case_70_direct_and_through_the_teams_group_it_is_one_mail():
    direct, copy = decide(message()), decide(through("support@corp.example", "jane@acme.example"))
    assert direct.engagement_id == copy.engagement_id
    assert direct.rank < copy.rank


@pytest.mark.parametrize("forged", ["jane@acme.example", "alice@corp.example"])
def test_case_70_a_strangers_group_makes_a_contact_of_nobody(forged):
    assert rule(through("x@evil.example", forged)) == "crm.no_match"
    mail = message({"From": "'X' via Y <x@evil.example>", "X-Google-Group-Id": "1", "X-Original-From": forged})
    assert rule(mail) == "crm.no_match"
    to_contact = decide(through("x@evil.example", forged, to="jane@acme.example"))
    assert (to_contact.sender.address, to_contact.direction) == ("x@evil.example", "inbound")


def test_case_70_free_mail_is_nobodys_company():
    assert rule(through("x@gmail.com", "jane@gmail.com"), directory(contacts=[("c1", "jane@gmail.com", "a1")])) == (
        "crm.no_match"
    )


def test_case_70_a_customers_group_that_hides_a_private_address_is_the_customers():
    mail = decide(through("team@acme.example", "jane@private.example"))
    assert people(mail) == ["team@acme.example", "alice@corp.example"]
    assert ("account", "a1") in [(link.kind, link.target_id) for link in mail.links]


@pytest.mark.parametrize(
    ("group", "author", "pattern"),
    [
        ("support@blocked.example", "jane@acme.example", "blocked.example"),
        ("team@acme.example", "jane@acme.example", "team@acme.example"),
        ("support@corp.example", "jane@acme.example", "support@corp.example"),
        ("support@corp.example", "jane@acme.example", "acme.example"),
        ("team@acme.example", "jane@private.example", "private.example"),  # whom it names is not believed, but kept out
    ],
)
def test_case_70_a_block_holds_for_the_group_and_for_the_author_behind_it(group, author, pattern):
    assert rule(through(group, author), directory(blocked=[("", pattern)])) == "blocked.team"


def test_unmasking_twice_changes_nothing_more():
    for group in ("support@corp.example", "team@acme.example", "x@evil.example"):
        once = unmask(through(group, "jane@acme.example"), directory())
        assert unmask(once, directory()) == once


@pytest.mark.parametrize(
    ("mark", "is_named"),
    [
        ("list things@groups.example; contact things+owners@groups.example", True),
        ("<mailto:things@groups.example?subject=x@y>", True),
        ("<THINGS.groups.example>, <things@groups.example>", True),
        ("more-things@groups.example", False),
        ("things@groups.example.org", False),
    ],
)
def test_the_field_of_a_group_names_it_whole_or_not_at_all(mark, is_named):
    jane = Participant("jane@acme.example")
    found = named_author(Participant("things@groups.example", "'Jane' via Things"), [mark], [jane], ())
    assert (found is not None) == is_named


def test_a_field_of_one_long_word_takes_no_longer_than_any_other():
    """Not a matter of speed: what tries at each letter anew takes seconds for a field, and a mail may have two thousand."""
    start = time.process_time()
    assert named_author(Participant("things@groups.example"), ["x" * 65_536] * 4, (), ()) is None
    assert time.process_time() - start < 1
