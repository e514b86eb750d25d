"""Cases of docs/edge-cases.md about a mail's content that are nobody else's."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any

import pytest

from dealmail.transforms.crm_directory import CrmDirectory, CrmRows
from dealmail.transforms.engagement_id import usable
from dealmail.transforms.normalize_messages import normalize
from dealmail.transforms.plain_text import read_body
from dealmail.transforms.records import ClaimedMessage, CustomerMail, Decision, FetchedMessage, NormalizedMessage
from dealmail.transforms.select_customer_mail import select

SENT_AT = dt.datetime(2026, 4, 29, 10, tzinfo=dt.UTC)
CRM = CrmDirectory.build(
    "t", 1, CrmRows(
        users=[("u-alice", "alice@corp.example")], own_domains=["corp.example"], contacts=[("c1", "jane@acme.example", "a1")],
        account_domains=[("acme.example", "a1")],
    ),
)  # fmt: skip
LETTER = (
    "Hi Alice,\n\nthanks for the call. I would like to go ahead; can you send me the contract?\n\nBest regards,\nJane\n"
)
NEWSLETTER = (
    "Save 20% now! Learn more https://acme.example/x Register now. Click here.\nYou are receiving this because you "
    "subscribed. Unsubscribe: https://acme.example/u\n© 2026 Acme. All rights reserved."
)
NEWS = {
    "From": "Acme News <news@mail.acme.example>", "Subject": "Weekly newsletter: save 20%",
    "List-Unsubscribe": "<https://acme.example/u>",
}  # fmt: skip


class NoCorrespondence:
    """The team has written to nobody."""

    def digest(self, team_id: str, kind: str, value: str) -> str:
        return f"{team_id} {kind} {value}"

    def known(self, team_id: str, digests: Any) -> frozenset[str]:
        return frozenset()


def message(
    headers: dict[str, str] | None = None, text: str = LETTER, labels: tuple[str, ...] = ("INBOX",)
) -> NormalizedMessage:
    fields = {
        "From": "Jane Doe <jane@acme.example>", "To": "alice@corp.example", "Subject": "Pilot", "Message-ID": "<1@acme.example>",
        "Date": f"{SENT_AT:%a, %d %b %Y %H:%M:%S} +0000",
    } | (headers or {})  # fmt: skip
    payload = {
        "mimeType": "text/plain",
        "headers": [{"name": name, "value": value} for name, value in fields.items()],
        "body": {"data": base64.urlsafe_b64encode(text.encode()).decode()},
    }
    answer = {
        "id": "g",
        "labelIds": list(labels),
        "internalDate": str(int(SENT_AT.timestamp() * 1000)),
        "payload": payload,
    }
    read = normalize(
        FetchedMessage(ClaimedMessage("t", "m", "g", "lease", "alice@corp.example"), json.dumps(answer).encode())
    )
    assert isinstance(read, NormalizedMessage)
    return read


def decide(mail: NormalizedMessage, crm: CrmDirectory = CRM) -> CustomerMail | Decision:
    return select(mail, crm, NoCorrespondence(), now=SENT_AT + dt.timedelta(days=1), read=read_body)


@pytest.mark.parametrize(
    "labels", [(), ("STARRED",), ("Label_7",), ("IMPORTANT", "CATEGORY_UPDATES"), ("UNREAD", "Label_7")]
)
def test_case_34_35_no_label_is_needed_to_be_a_customers_mail(labels: tuple[str, ...]) -> None:
    assert decide(message(labels=labels)).rule == "customer"


@pytest.mark.parametrize("label", ["SPAM", "TRASH", "DRAFT", "CHAT"])
@pytest.mark.parametrize("beside", [(), ("INBOX",), ("SENT",), ("IMPORTANT", "Label_7")])
def test_case_29_31_33_a_label_that_keeps_out_does_so_beside_any_other(label: str, beside: tuple[str, ...]) -> None:
    assert decide(message(labels=(*beside, label))).rule == f"label.{label.lower()}"


def test_case_36_a_scheduled_mail_carries_the_time_it_was_sent() -> None:
    mail = decide(message({"From": "alice@corp.example", "To": "jane@acme.example"}, labels=("SENT",)))
    assert isinstance(mail, CustomerMail)
    assert (mail.direction, mail.sent_at) == ("outbound", SENT_AT)


@pytest.mark.parametrize(
    "category", ["", "CATEGORY_PROMOTIONS", "CATEGORY_UPDATES", "CATEGORY_SOCIAL", "CATEGORY_FORUMS"]
)
def test_case_40_no_category_is_needed_and_none_decides_alone(category: str) -> None:
    labels = ("INBOX", category) if category else ("INBOX",)
    assert decide(message(NEWS, NEWSLETTER, labels)).rule == "automated.marketing"
    assert decide(message(labels=labels)).rule == "customer"


def test_case_57_a_domain_that_is_missing_among_the_own_ones_shows_as_external_until_it_is_added() -> None:
    headers = {"From": "carl@acquired.example"}
    assert decide(message(headers)).rule == "crm.no_match"  # and is not stored: no account has the domain
    own = CrmDirectory.build(
        "t", 2, CrmRows(users=[("u-alice", "alice@corp.example")], own_domains=["corp.example", "acquired.example"])
    )  # fmt: skip
    assert decide(message(headers), own).rule == "participants.internal"


@pytest.mark.parametrize(
    ("value", "names_a_mail"),
    [("", False), ("<>", False), ("<a\r\n b@x.example>", True), ("<" + "x" * 990 + "@x.example>", False), ("  <1@x.example> (later)", True)],
)  # fmt: skip
def test_case_68_a_mail_without_a_usable_message_id_is_imported_all_the_same(value: str, *, names_a_mail: bool) -> None:
    long = LETTER.replace(
        "Best regards", "The pilot was a success, and our people ask for more of it every day.\n\nBest regards"
    )
    read = message({"Message-ID": value}, long)
    assert usable(read.message_id) is names_a_mail
    first, again = decide(read), decide(message({"Message-ID": value}, long))
    other = decide(message({"Message-ID": value}, long + "\nAnd one more thing: the price.\n"))
    assert isinstance(first, CustomerMail)
    assert isinstance(again, CustomerMail)
    assert isinstance(other, CustomerMail)
    assert first.engagement_id == again.engagement_id
    assert (first.engagement_id == other.engagement_id) is names_a_mail  # without an id every word counts


def test_case_55_56_mail_among_own_addresses_stays_out_whatever_the_direction() -> None:
    own = CrmDirectory.build(
        "t", 1, CrmRows(users=[("u-alice", "alice@corp.example"), ("u-alice", "al@alias.example")], own_domains=["corp.example", "corp.test"])
    )  # fmt: skip
    for sender, to in (
        ("alice@corp.example", "alice@corp.example"),
        ("alice@corp.example", "al@alias.example"),
        ("x@corp.test", "y@corp.example"),
    ):
        for labels in (("SENT",), ("INBOX",)):
            assert decide(message({"From": sender, "To": to}, labels=labels), own).rule == "participants.internal"
