"""The identity of a mail: copies agree, other content does not, and the winner does not depend on who comes first."""

import csv
import datetime as dt
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealmail.transforms.engagement_id import (
    base_subject,
    content_digest,
    engagement_id,
    rank,
    usable,
    without_banner,
    without_footer,
)
from dealmail.transforms.records import MailText, Participant, Span

AT = dt.datetime(2026, 3, 1, 10, 0, tzinfo=dt.UTC)
JANE = Participant("jane@acme.example", "Jane")
ALICE = Participant("alice@corp.example", "Alice")
TEXT = "Hi Alice,\n\nhere is the contract we talked about. Please sign by Friday, then we can start on Monday as planned.\n\nJane\n"


def identity(
    message_id="1@acme.example",
    author="jane@acme.example",
    subject="Pilot",
    text=TEXT,
    sent_at=AT,
    recipients=("alice@corp.example",),
    team="t",
):
    return engagement_id(team, message_id, author, subject, text, sent_at, recipients)


def test_an_id_is_32_hex_digits_and_belongs_to_one_team():
    assert len(identity()) == 32
    assert int(identity(), 16) >= 0
    assert identity() != identity(team="t2")


def test_case_69_a_message_id_reused_for_other_content_does_not_merge():
    assert identity() != identity(text="Completely different words about another matter altogether.")
    assert identity() != identity(subject="Invoice 2")
    assert identity() != identity(author="eve@acme.example")


@pytest.mark.parametrize(
    "changed",
    [
        {"subject": "[support] Pilot"},
        {"subject": "Re: Pilot"},
        {"subject": " pilot "},
        {
            "text": TEXT
            + '\n-- \nYou received this message because you are subscribed to the Google Groups "x" group.\n'
        },
        {"text": TEXT.replace("\n", "\r\n").replace(" ", "  ")},
        {"text": "CAUTION: This email originated from outside of the organization.\n\n" + TEXT},
        {"text": "[EXTERNAL EMAIL] Do not click links from senders outside your organization\n" + TEXT},
        {"sent_at": AT + dt.timedelta(hours=3)},
        {"recipients": ("list@corp.example",)},
    ],
)
def test_case_70_a_copy_through_a_group_or_gateway_is_the_same_mail(changed):
    assert identity(**changed) == identity()


def test_case_70_a_short_mail_with_a_list_footer_is_the_same_mail():
    footer = "\n_______________________________________________\nDev mailing list\nDev@lists.example\n"
    assert identity(text="Thanks!") == identity(text="Thanks!" + footer)


def test_case_71_without_a_message_id_a_fingerprint_takes_its_place():
    assert identity("") == identity("", subject="[list] Pilot", recipients=("alice@corp.example", "alice@corp.example"))
    assert identity("") != identity("", sent_at=AT + dt.timedelta(minutes=1))
    assert identity("") != identity("", text=TEXT + " PS: one more thing")
    assert identity("") != identity("", recipients=("bob@corp.example",))


def test_case_72_a_resend_under_a_new_message_id_is_another_engagement():
    assert identity() != identity("2@acme.example")


@pytest.mark.parametrize(
    ("message_id", "good"), [("", False), ("a b", False), ("x" * 999, False), ("x" * 998, True), ("1@a", True)]
)
def test_case_68_message_ids_that_can_name_a_mail(message_id, good):
    assert usable(message_id) is good


@given(st.lists(st.sampled_from(["Re: ", "Fwd: ", "AW: ", "[list] ", "RE[2]: ", " "]), max_size=4))
def test_prefixes_do_not_change_the_base_subject(prefixes):
    assert base_subject("".join(prefixes) + "Pilot at Acme") == "pilotatacme"


def test_a_subject_of_nothing_but_prefixes_is_kept_apart_from_none():
    assert base_subject("Re:") == "re"
    assert base_subject("") == ""


def test_banners_and_footers_are_cut_only_where_they_are_one():
    forwarded = "fyi\n---------------------- Forwarded by Jane on 01/02/2001\n----\nHi"
    assert without_footer(forwarded) == forwarded
    assert without_banner("Notice of the meeting\n\nHi Alice") == "Notice of the meeting\n\nHi Alice"
    assert without_banner(TEXT) == TEXT
    assert without_footer("a -- b\nc") == "a -- b\nc"


def digest(**changes):
    values = {
        "message_id": "1@a",
        "sent_at": AT,
        "direction": "inbound",
        "sender": JANE,
        "to": (ALICE,),
        "cc": (),
        "subject": "Pilot",
        "body": MailText(TEXT),
    } | changes
    return content_digest(**values)


@pytest.mark.parametrize(
    "changes",
    [
        {"message_id": "2@a"}, {"sent_at": AT + dt.timedelta(seconds=1)}, {"direction": "outbound"}, {"sender": Participant(JANE.address)},
        {"to": ()}, {"to": (), "cc": (ALICE,)}, {"subject": "pilot"}, {"body": MailText(TEXT + " ")}, {"body": MailText(TEXT, (Span("quote", 0, 2),))},
        {"body": MailText(TEXT, truncated=True)}, {"body": MailText(TEXT, flags=("x",))},
    ],
)  # fmt: skip
def test_the_content_digest_covers_everything_that_is_stored(changes):
    assert len(digest()) == 64
    assert digest(**changes) != digest()


def test_case_76_the_winner_of_differing_copies_is_the_same_in_any_order():
    ranks = {
        "authors": rank("d4", 10, is_authors_copy=True, is_rewritten=False),
        "longer": rank("d3", 200, is_authors_copy=False, is_rewritten=False),
        "shorter": rank("d1", 100, is_authors_copy=False, is_rewritten=False),
        "group": rank("d0", 300, is_authors_copy=False, is_rewritten=True),
    }
    names = list(ranks)
    for seed in range(10):
        random.Random(seed).shuffle(names)
        assert sorted(names, key=ranks.__getitem__) == ["authors", "longer", "shorter", "group"]
    assert all(len(one) <= 128 for one in ranks.values())
    assert len(rank("f" * 64, 10**12, is_authors_copy=False, is_rewritten=True)) <= 128


@pytest.mark.corpus
def test_the_guard_splits_no_group_of_copies_of_the_enron_corpus(corpora):
    folder = corpora
    from dealmail.sandbox import payload
    from dealmail.transforms.normalize_messages import normalize
    from dealmail.transforms.plain_text import read_text
    from dealmail.transforms.records import ClaimedMessage, FetchedMessage

    groups: dict[str, list[str]] = {}
    with (folder / "enron_canonical.tsv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            groups.setdefault(row["relaxed_id"], []).append(row["path"])
    groups = {name: paths for name, paths in groups.items() if len(paths) > 1}
    split = []
    for name, paths in groups.items():
        found = set()
        for path in paths:
            resource = payload.resource(payload.parse((folder / path).read_bytes()), lambda part: part)
            answer = {"id": "g", "labelIds": [], "internalDate": "1000000000000", "payload": resource}
            mail = normalize(
                FetchedMessage(ClaimedMessage("t", "m", "g", "l", "o@own.example"), json.dumps(answer).encode())
            )
            text = read_text(mail.payload).text
            found.add(
                identity(f"{name}@x", mail.sender.address if mail.sender else "", mail.subject, text, mail.sent_at)
            )
        if len(found) > 1:
            split.append(name)
    assert len(groups) > 600
    assert split == []
