"""SelectCustomerMail: the gates in their order, the exemptions, and that order of arrival does not matter."""

import base64
import dataclasses
import datetime as dt
import hashlib
import itertools
import json

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from dealmail.transforms.crm_directory import CrmDirectory, CrmRows
from dealmail.transforms.errors import StoreUnavailableError
from dealmail.transforms.normalize_messages import normalize
from dealmail.transforms.plain_text import read_body
from dealmail.transforms.records import ClaimedMessage, CustomerMail, Decision, FetchedMessage, Participant
from dealmail.transforms.select_customer_mail import SelectCustomerMail, select
from dealmail.transforms.settings import TeamSettings

NOW = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
SENT = dt.datetime(2026, 4, 29, 10, tzinfo=dt.UTC)
LETTER = (
    "Hi Alice,\n\nthanks for the call. I would like to go ahead; can you send me the contract?\n\nBest regards,\nJane\n"
)
NEWSLETTER = "Save 20% now! Learn more https://acme.example/x Register now. Click here.\nYou are receiving this because you subscribed. Unsubscribe: https://acme.example/u\n© 2026 Acme. All rights reserved."


class Correspondence:
    """The whole of it in memory: keyed digests and what outbound mail has shown."""

    def __init__(self, shown=()):
        self.shown = set(shown)

    def digest(self, team_id, kind, value):
        return hashlib.blake2b(f"{team_id}\0{kind}\0{value}".encode(), digest_size=16, key=b"k").hexdigest()

    def known(self, team_id, digests):
        return frozenset(digests) & self.shown


def directory(**rows) -> CrmDirectory:
    settings = rows.pop("settings", TeamSettings())
    defaults = {
        "users": [("u-alice", "alice@corp.example"), ("u-bob", "bob@corp.example"), ("u-alice", "sales@alias.example")],
        "own_domains": ["corp.example", "corp.test"],
        "contacts": [("c1", "jane@acme.example", "a1"), ("c2", "support@beta.example", "a2")],
        "account_domains": [("acme.example", "a1")],
        "opportunities": [("o1", "a1", "u-alice", dt.date(2026, 1, 1))],
    }
    return CrmDirectory.build("t", 1, CrmRows(**{**defaults, **rows}, settings=settings))


def message(
    headers=None,
    text=LETTER,
    *,
    labels=("INBOX",),
    owner="alice@corp.example",
    window_from=None,
    internal=SENT,
    gmail_id="g",
):
    fields = {
        "From": "Jane Doe <jane@acme.example>", "To": "alice@corp.example", "Subject": "Pilot", "Message-ID": "<1@acme.example>",
        "Date": SENT.strftime("%a, %d %b %Y %H:%M:%S +0000"),
    } | (headers or {})  # fmt: skip
    claim = ClaimedMessage("t", f"m-{owner}", gmail_id, "lease", owner, window_from=window_from)
    payload = {
        "mimeType": "text/plain",
        "headers": [{"name": name, "value": value} for name, value in fields.items() if value is not None],
        "body": {"data": base64.urlsafe_b64encode(text.encode()).decode()},
    }
    answer = {
        "id": gmail_id,
        "labelIds": list(labels),
        "internalDate": str(int(internal.timestamp() * 1000)),
        "payload": payload,
    }
    return normalize(FetchedMessage(claim, json.dumps(answer).encode()))


def decide(mail, crm=None, correspondence=None, read=read_body):
    return select(mail, crm or directory(), correspondence or Correspondence(), now=NOW, read=read)


def rule(mail, crm=None, correspondence=None) -> str:
    result = decide(mail, crm, correspondence)
    return result.rule


def unread(payload, limit):
    pytest.fail("the body was read though an earlier gate had decided")


# --- the gates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "options", "expected"),
    [
        ({}, {"labels": ("DRAFT",)}, "label.draft"),
        ({}, {"labels": ("TRASH", "INBOX")}, "label.trash"),
        ({}, {"labels": ("SPAM",)}, "label.spam"),
        ({}, {"labels": ("CHAT",)}, "label.chat"),
        ({}, {"window_from": SENT + dt.timedelta(days=1)}, "window.before"),
        ({"From": "", "To": "undisclosed-recipients:;"}, {}, "participants.none"),
        ({"From": "bob@corp.example"}, {}, "participants.internal"),
        ({"From": "alice@corp.example", "To": "sales@alias.example"}, {}, "participants.internal"),
        ({"From": "bob@corp.test"}, {}, "participants.internal"),
        ({"Cc": "x@evil.example"}, {}, "blocked.team"),
        ({"Reply-To": "x@sub.evil.example"}, {}, "blocked.team"),
        ({"Sender": "x@evil.example"}, {}, "blocked.team"),
        ({"Cc": "friend@private.example"}, {}, "blocked.user"),
        ({"From": "x@stranger.example"}, {}, "crm.no_match"),
        ({"From": '"jane@acme.example" <x@stranger.example>'}, {}, "crm.no_match"),
        ({"From": "x@stranger.example", "Reply-To": "jane@acme.example"}, {}, "crm.no_match"),
        ({"Auto-Submitted": "auto-replied"}, {}, "automated.reply"),
    ],
)
def test_each_gate_decides_without_reading_the_body(headers, options, expected):
    crm = directory(blocked=[("", "evil.example"), ("u-alice", "friend@private.example")])
    result = decide(message(headers, **options), crm, read=unread)
    assert isinstance(result, Decision)
    assert (result.outcome, result.rule) == ("dropped", expected)


@pytest.mark.parametrize(
    ("headers", "text", "labels", "expected"),
    [
        ({}, LETTER, ("DRAFT",), "label.draft"),
        ({"From": "x@stranger.example"}, LETTER, ("INBOX",), "crm.no_match"),
        ({"Auto-Submitted": "auto-replied"}, LETTER, ("INBOX",), "automated.reply"),
        ({"From": "no-reply@acme.example"}, "Order number: 1\nPlease do not reply.", ("INBOX",), "automated.transactional"),
        ({"From": "alice@corp.example", "To": "unsubscribe@acme.example"}, "", ("SENT",), "automated.marketing"),
        ({}, LETTER, ("INBOX",), "customer"),
    ],
)  # fmt: skip
def test_whatever_becomes_of_a_mail_it_names_the_crm_by_which_that_was_decided(headers, text, labels, expected):
    result = decide(message(headers, text, labels=labels), directory())
    assert (result.rule, result.crm_version) == (expected, 1)


def test_blocking_comes_before_matching_and_before_it_participants():
    crm = directory(blocked=[("", "evil.example"), ("", "bob@corp.example")])
    assert rule(message({"From": "x@evil.example"}), crm) == "blocked.team"
    assert rule(message({"From": "bob@corp.example"}), crm) == "participants.internal"


def test_an_import_carries_links_direction_and_the_rule():
    mail = decide(message())
    assert isinstance(mail, CustomerMail)
    assert (mail.rule, mail.direction, mail.sender.address) == ("customer", "inbound", "jane@acme.example")
    assert [(link.kind, link.target_id, link.primary) for link in mail.links] == [
        ("account", "a1", True),
        ("contact", "c1", True),
        ("opportunity", "o1", True),
    ]
    assert mail.body.text.startswith("Hi Alice")
    assert mail.rules_version


def test_retention_keeps_out_what_would_be_purged():
    old = message({"Date": "Wed, 01 Jan 2025 10:00:00 +0000"}, internal=dt.datetime(2025, 1, 1, 10, tzinfo=dt.UTC))
    assert rule(old, directory(settings=TeamSettings(retention_days=100))) == "retention"
    assert rule(old, directory(settings=TeamSettings(retention_days=1000))) == "customer"


def test_case_38_the_mails_own_date_decides_but_a_wrong_clock_does_not_lose_live_mail():
    window = dt.datetime(2026, 4, 1, tzinfo=dt.UTC)
    late = dt.datetime(2026, 4, 20, tzinfo=dt.UTC)
    old = {"Date": "Wed, 01 Jan 2025 10:00:00 +0000"}
    assert rule(message(window_from=window, internal=late)) == "customer"
    leap = {**old, "Received": "by mx.example with SMTP; Mon, 20 Apr 2026 09:59:60 +0000"}
    assert rule(message(leap, window_from=window, internal=late)) == "customer"
    imported = {**old, "Received": "by mx.example with SMTP; Wed, 01 Jan 2025 10:00:05 +0000"}
    assert (
        rule(message(imported, window_from=window, internal=dt.datetime(2025, 1, 1, 10, tzinfo=dt.UTC)))
        == "window.before"
    )


def test_case_41_an_empty_from_never_crashes_and_a_customer_in_to_still_counts():
    assert rule(message({"From": ""})) == "participants.internal"
    mail = decide(message({"From": "", "To": "jane@acme.example"}, labels=("SENT",)))
    assert (mail.direction, mail.sender.address) == ("outbound", "alice@corp.example")


@pytest.mark.parametrize("other", [{}, {"Reply-To": "x@stranger.example"}, {"Sender": "x@stranger.example"}])
def test_case_41_a_received_mail_without_an_author_has_no_sender_and_nobody_takes_his_place(other):
    mail = decide(message({"From": None, "To": "jane@acme.example, alice@corp.example", **other}))
    assert (mail.direction, mail.sender) == ("inbound", Participant(""))
    assert ("contact", "c1") in [(link.kind, link.target_id) for link in mail.links]
    assert mail.also_from == tuple(other.values())
    assert "stranger" not in repr(dataclasses.replace(mail, also_from=()))  # which is not stored


def test_case_50_a_display_name_never_matches():
    assert rule(message({"From": '"Jane jane@acme.example" <x@stranger.example>'})) == "crm.no_match"


def test_case_51_reply_to_is_no_participant_but_is_checked_against_the_blocklist():
    assert rule(message({"From": "x@stranger.example", "Reply-To": "jane@acme.example"})) == "crm.no_match"
    assert rule(message({"Reply-To": "x@evil.example"}), directory(blocked=[("", "evil.example")])) == "blocked.team"


def test_case_52_delivered_to_names_no_participant():
    assert (
        rule(
            message(
                {
                    "From": "x@stranger.example",
                    "Delivered-To": "jane@acme.example",
                    "X-Original-To": "jane@acme.example",
                }
            )
        )
        == "crm.no_match"
    )


def test_case_53_a_user_only_in_bcc_has_the_mail_and_its_direction():
    mail = decide(message({"To": "other@acme.example"}))
    assert (mail.direction, [person.address for person in mail.to]) == ("inbound", ["other@acme.example"])


def test_case_54_bcc_is_stored_nowhere():
    mail = decide(
        message(
            {"From": "alice@corp.example", "To": "jane@acme.example", "Bcc": "secret@hidden.example"}, labels=("SENT",)
        )
    )
    assert "secret@hidden.example" not in repr(mail)
    assert (
        rule(
            message(
                {"From": "alice@corp.example", "To": "bob@corp.example", "Bcc": "jane@acme.example"}, labels=("SENT",)
            )
        )
        == "participants.internal"
    )


def test_case_64_a_contact_that_the_crm_learns_later_changes_the_answer_and_nothing_else_was_kept():
    unknown = decide(message(), directory(contacts=[], account_domains=[]))
    assert (unknown.rule, unknown.context, unknown.signals) == ("crm.no_match", (), ())
    assert rule(message()) == "customer"


def test_case_66_a_new_block_holds_for_the_next_mail():
    assert rule(message()) == "customer"
    assert rule(message(), directory(blocked=[("", "acme.example")])) == "blocked.team"


def test_case_77_what_one_user_blocks_another_still_gets():
    crm = directory(blocked=[("u-alice", "acme.example")])
    assert rule(message(), crm) == "blocked.user"
    assert rule(message({"To": "alice@corp.example, bob@corp.example"}, owner="bob@corp.example"), crm) == "customer"


# --- direction --------------------------------------------------------------------------------------------------------


def test_case_67_the_senders_copy_and_the_colleagues_are_one_outbound_mail():
    headers = {"From": "Alice <alice@corp.example>", "To": "jane@acme.example", "Cc": "bob@corp.example"}
    sent = decide(message(headers, labels=("SENT",)))
    received = decide(message(headers, owner="bob@corp.example"))
    assert (sent.direction, received.direction) == ("outbound", "outbound")
    assert sent.engagement_id == received.engagement_id
    assert sent.content_digest == received.content_digest
    assert sent.rank < received.rank
    assert sent.context == received.context != ()


@pytest.mark.parametrize("alias", ["sales@alias.example", "alice@elsewhere.example"])
def test_the_sent_copy_wins_also_where_the_user_wrote_under_an_alias(alias):
    """Listed or not: a colleague's copy takes the latter for a stranger, and the mail for inbound."""
    headers = {"From": f"Alice <{alias}>", "To": "jane@acme.example", "Cc": "bob@corp.example"}
    sent = decide(message(headers, labels=("SENT",)))
    received = decide(
        message(headers, f"{LETTER}\n-- \nScanned by our gateway, at some length.", owner="bob@corp.example")
    )
    assert sent.engagement_id == received.engagement_id
    assert (sent.direction, sent.rank < received.rank) == ("outbound", True)
    as_bob = decide(message({"From": "bob@corp.example", "To": "jane@acme.example"}, labels=("SENT",)))
    assert as_bob.rank.startswith("1")  # moved there, or sent in his name: the one in his own mailbox comes before


def test_a_sent_copy_under_an_alias_nobody_listed_is_outbound_and_its_author_no_customer():
    crm = directory(account_domains=[("acme.example", "a1"), ("unlisted.example", "a9")])
    mail = decide(message({"From": "me@unlisted.example", "To": "jane@acme.example"}, labels=("SENT",)), crm)
    assert mail.direction == "outbound"
    assert "a9" not in {link.target_id for link in mail.links}


# --- automated: exemptions --------------------------------------------------------------------------------------------

NEWS = {
    "From": "Acme News <news@mail.acme.example>",
    "Subject": "Weekly newsletter",
    "List-Unsubscribe": "<https://acme.example/u>",
    "Message-ID": "<n@acme.example>",
}


def test_a_newsletter_of_a_customer_is_dropped_with_score_signals_and_context():
    result = decide(message(NEWS, NEWSLETTER))
    assert (result.rule, result.outcome) == ("automated.marketing", "dropped")
    assert result.score is not None
    assert result.signals
    assert result.context == (Correspondence().digest("t", "address", "news@mail.acme.example"),)
    assert result.rules_version


def test_case_92_a_named_contact_at_a_role_address_is_a_customer():
    text = "Your request has been received.\nStatus: open\nPriority: high\nReference number: 7\nhttps://beta.example/7"
    ticket = message({"From": "Beta <support@beta.example>", "Subject": "Your ticket #7 has been updated"}, text)
    assert rule(ticket) == "customer"
    nobody_named = directory(contacts=[], account_domains=[("beta.example", "a2")])
    assert rule(ticket, nobody_named) == "automated.transactional"


def test_case_93_own_outgoing_mail_is_never_marketing():
    headers = {**NEWS, "From": "alice@corp.example", "To": "jane@acme.example"}
    assert rule(message(headers, NEWSLETTER, labels=("SENT",))) == "customer"


@pytest.mark.parametrize("hint", ["address", "thread"])
def test_case_93_a_reply_in_a_thread_the_team_wrote_in_and_an_address_it_wrote_to_are_exempt(hint):
    book = Correspondence()
    outbound = decide(
        message(
            {"From": "alice@corp.example", "To": "news@mail.acme.example", "Message-ID": "<q@corp.example>"},
            labels=("SENT",),
        ),
        correspondence=book,
    )
    book.shown = {outbound.context[0]} if hint == "address" else {book.digest("t", "message-id", "q@corp.example")}
    headers = (
        NEWS
        if hint == "address"
        else {**NEWS, "In-Reply-To": "<q@corp.example>", "From": "Acme News <news@other.acme.example>"}
    )
    assert rule(message(headers, NEWSLETTER)) == "automated.marketing"
    assert rule(message(headers, NEWSLETTER), correspondence=book) == "customer"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Auto-Submitted": "auto-replied"}, "automated.reply"),
        ({"Subject": "Automatic reply: Pilot", "X-Auto-Response-Suppress": "All"}, "automated.reply"),
        ({"X-Failed-Recipients": "jane@acme.example"}, "automated.bounce"),
        ({"Content-Class": "urn:content-classes:calendarmessage"}, "automated.calendar"),
    ],
)
def test_facts_are_never_exempt_and_leave_nothing_to_overturn_them(headers, expected):
    book = Correspondence(
        {
            Correspondence().digest("t", "address", "jane@acme.example"),
            Correspondence().digest("t", "message-id", "q@corp.example"),
        }
    )
    result = decide(message({"In-Reply-To": "<q@corp.example>", **headers}), correspondence=book)
    assert (result.rule, result.context) == (expected, ())


def test_a_no_reply_address_is_no_address_book_entry_but_a_thread_still_counts():
    headers = {"From": "Acme <no-reply@acme.example>", "Subject": "Your order #1", "In-Reply-To": "<q@corp.example>"}
    book = Correspondence()
    result = decide(message(headers, "This is an automated message. Order number: 1"))
    assert result.context == (book.digest("t", "message-id", "q@corp.example"),)


def sent(to, subject, text, **headers):
    return message({"From": "alice@corp.example", "To": to, "Subject": subject, **headers}, text, labels=("SENT",))


@pytest.mark.parametrize(
    ("to", "subject", "text"),
    [
        ("unsubscribe+123@acme.example", "", ""),
        ("list-leave@acme.example", "", ""),
        ("leave-4711-abc@acme.example", "Goodbye", "Goodbye"),
        ("opt-out@acme.example", "whatever the field said", ""),
        ("unsub.123@acme.example", "unsubscribe", "This message was automatically generated by Gmail."),
        ("joe@acme.example", "unsubscribe", ""),
        ("joe@acme.example", "Unsubscribe: 8c1f-77", ""),
        ("news@acme.example", "Re: News", "STOP"),
        ("joe@acme.example", "Re: News", "Unsubscribe me!"),
        ("news@acme.example", "remove", "remove"),
    ],
)
def test_case_94_a_request_to_be_taken_off_a_list_is_dropped_and_no_address_book_entry(to, subject, text):
    result = decide(sent(to, subject, text))
    assert (result.rule, result.signals) == ("automated.marketing", ("unsubscribe-request",))


@pytest.mark.parametrize(
    ("to", "subject", "text"),
    [
        ("sam.cleave-jones@acme.example", "Pilot", "Thanks, see you tomorrow!"),
        ("sam.leave-jones@acme.example", "Pilot", "Thanks, see you tomorrow!"),
        ("rremover@acme.example", "Re: Pilot", "Yes, go ahead."),
        ("rremover@acme.example", "Re: Pilot", ""),
        ("unsubi@acme.example", "Re: Pilot", "Yes."),
        ("joe@acme.example", "Unsubscribe flow: mockups attached", ""),
        ("joe@acme.example", "Re: shall we keep or remove it", "Remove"),
        ("joe@acme.example", "Stop", "Stop"),
        ("unsubscribe@acme.example", "Pilot", "Hello, who looks after your newsletter?"),
        ("joe@acme.example, kim@acme.example", "unsubscribe", ""),
        ("jane@acme.example", "unsubscribe", ""),  # a contact
    ],
)
def test_case_94_a_short_letter_is_no_such_request(to, subject, text):
    assert rule(sent(to, subject, text)) == "customer"
    assert rule(sent("joe@acme.example", "unsubscribe", "", Cc="kim@acme.example")) == "customer"


@pytest.mark.parametrize("hint", ["address", "thread"])
def test_case_94_what_the_team_wrote_before_opens_such_a_decision_again(hint):
    request = sent("joe@acme.example", "Re: stop?", "Unsubscribe me", **{"In-Reply-To": "<q@corp.example>"})
    book = Correspondence()
    digest = book.digest("t", "address", "joe@acme.example") if hint == "address" else None
    digest = digest or book.digest("t", "message-id", "q@corp.example")
    result = decide(request)
    assert (result.rule, digest in result.context) == ("automated.marketing", True)
    assert rule(request, correspondence=Correspondence({digest})) == "customer"


def test_case_94_a_letter_about_unsubscribing_is_kept():
    headers = {"From": "alice@corp.example", "To": "jane@acme.example", "Subject": "Unsubscribe link in your portal"}
    assert (
        rule(
            message(
                headers,
                "Hi Jane, the unsubscribe link in your portal is broken, could you have a look?",
                labels=("SENT",),
            )
        )
        == "customer"
    )


def test_case_95_a_bounce_is_not_matched_to_the_account_quoted_inside():
    headers = {
        "From": "Mail Delivery Subsystem <mailer-daemon@googlemail.com>",
        "Subject": "Delivery Status Notification (Failure)",
    }
    assert rule(message(headers, "Your message to jane@acme.example could not be delivered")) == "crm.no_match"


def test_case_96_calendar_mail_has_one_policy_that_a_team_can_change():
    headers = {"Content-Class": "urn:content-classes:calendarmessage"}
    assert rule(message(headers)) == "automated.calendar"
    assert rule(message(headers), directory(settings=TeamSettings(keep_kinds=frozenset({"calendar"})))) == "customer"


INTERNAL_ROBOTS = [
    ({"Content-Class": "urn:content-classes:calendarmessage", "Subject": "Invitation: Pilot"}, "automated.calendar"),
    ({"Auto-Submitted": "auto-replied"}, "automated.reply"),
    ({"X-Autoreply": "yes"}, "automated.reply"),
    (
        {"From": "mailer-daemon@corp.example", "X-Failed-Recipients": "jane@acme.example", "Subject": "Returned mail"},
        "automated.bounce",
    ),
]
TO_BOTH = {"From": "Bob <bob@corp.example>", "To": "jane@acme.example, alice@corp.example"}


@pytest.mark.parametrize(("headers", "expected"), INTERNAL_ROBOTS)
def test_case_96_what_a_field_proves_holds_of_a_colleagues_mail_too(headers, expected):
    result = decide(message({**TO_BOTH, **headers}), read=unread)
    assert (result.rule, result.context, result.crm_version) == (expected, (), 1)
    kept = TeamSettings(keep_kinds=frozenset({"calendar", "reply", "bounce"}))
    assert rule(message({**TO_BOTH, **headers}), directory(settings=kept)) == "customer"


@pytest.mark.parametrize(("headers", "_"), INTERNAL_ROBOTS)
def test_case_93_own_sent_mail_is_exempt_from_facts_too(headers, _):
    own = message({**TO_BOTH, **headers}, labels=("SENT",), owner="bob@corp.example")
    assert rule(own) == "customer"


def test_case_93_neither_words_nor_scores_drop_a_colleagues_mail():
    away = "I am out of the office until Monday with limited access to my mail. In urgent cases please call Bob."
    assert rule(message({**TO_BOTH, "Subject": "Automatic reply: Pilot"}, away)) == "customer"
    assert rule(message({**NEWS, **TO_BOTH}, NEWSLETTER)) == "customer"


# --- order of arrival -------------------------------------------------------------------------------------------------


def settle_all(mails):
    """Decide `mails` in this order as settling would: outbound context opens again what it overturns, until nothing moves."""
    book, final, waiting = Correspondence(), {}, {}
    queue = list(mails)
    while queue:
        mail = queue.pop(0)
        result = decide(mail, correspondence=book)
        final[mail.claim.gmail_id] = result.rule
        if isinstance(result, CustomerMail):
            book.shown |= set(result.context)
            again = [one for one, digests in waiting.values() if book.shown & set(digests)]
            queue += again
            waiting = {name: entry for name, entry in waiting.items() if entry[0] not in again}
        elif result.context:
            waiting[mail.claim.gmail_id] = (mail, result.context)
    return final


def test_the_outcome_does_not_depend_on_the_order_of_arrival():
    mails = [
        message(NEWS, NEWSLETTER, gmail_id="news"),
        message(
            {"From": "alice@corp.example", "To": "news@mail.acme.example", "Message-ID": "<q@corp.example>"},
            labels=("SENT",),
            gmail_id="question",
        ),
        message(
            {**NEWS, "From": "Acme <no-reply@acme.example>", "In-Reply-To": "<q@corp.example>"},
            NEWSLETTER,
            gmail_id="answer",
        ),
        message({**NEWS, "From": "Acme <no-reply@acme.example>"}, NEWSLETTER, gmail_id="robot"),
        message({"Auto-Submitted": "auto-replied", "In-Reply-To": "<q@corp.example>"}, gmail_id="away"),
    ]
    expected = {
        "news": "customer",
        "question": "customer",
        "answer": "customer",
        "robot": "automated.marketing",
        "away": "automated.reply",
    }
    for order in itertools.permutations(mails):
        assert settle_all(order) == expected


# --- the transform ----------------------------------------------------------------------------------------------------


class Directories:
    def directory(self, team_id, version=None):
        if team_id != "t":
            raise StoreUnavailableError("down")
        return directory(blocked=[("", "acme.example")] if version == 7 else [])


def run(messages, stamps):
    with TestPipeline(runner="FnApiRunner") as pipeline:
        side = pipeline | "Stamps" >> beam.Create(stamps) if stamps is not None else None
        result = (
            pipeline | beam.Create(messages) | SelectCustomerMail(Directories, Correspondence, side, now=lambda: NOW)
        )
        mail = result.mail | "R" >> beam.Map(lambda mail: (mail.claim.gmail_id, mail.rule))
        dropped = result.decisions | "D" >> beam.Map(lambda one: (one.claim.gmail_id, one.rule))
        failed = result.failures | "F" >> beam.Map(
            lambda one: (one.claim.team_id, one.phase, one.error_class, one.counts)
        )
        yield mail, dropped, failed


def test_the_transform_sorts_mail_decisions_and_failures_without_a_side_input():
    other = message(gmail_id="g3")
    other = type(other)(
        **{
            **{name: getattr(other, name) for name in other.__slots__},
            "claim": ClaimedMessage("down", "m", "g3", "l", "a@b.example"),
        }
    )
    broken = message(gmail_id="g4")
    broken = type(broken)(**{**{name: getattr(broken, name) for name in broken.__slots__}, "payload": b"no json"})
    for mail, dropped, failed in run(
        [message(gmail_id="g1"), message({"From": "x@stranger.example"}, gmail_id="g2"), other, broken], None
    ):
        assert_that(mail, equal_to([("g1", "customer")]), label="mail")
        assert_that(dropped, equal_to([("g2", "crm.no_match")]), label="dropped")
        expected = [("down", "select", "StoreUnavailableError", False), ("t", "select", "MalformedMessageError", True)]
        assert_that(failed, equal_to(expected), label="failed")


def test_the_transform_takes_the_version_from_the_stamps():
    for mail, dropped, _ in run([message(gmail_id="g1")], [("t", 7)]):
        assert_that(mail, equal_to([]), label="mail")
        assert_that(dropped, equal_to([("g1", "blocked.team")]), label="dropped")


def test_a_shadow_rule_set_is_told_and_decides_nothing():
    crm = directory(settings=TeamSettings(rules="2026.2", shadow_rules="2026.1"))
    told = []
    result = select(
        message(NEWS, NEWSLETTER), crm, Correspondence(), now=NOW, on_shadow=lambda *kinds: told.append(kinds)
    )
    assert (result.rule, result.rules_version) == ("automated.marketing", "2026.2")
    assert told == [("marketing", "marketing")]
