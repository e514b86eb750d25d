"""Every refusal that Google is known for, answered by the sandbox: the state it ends in, what people are told, and the way back.

The rows are those of Google's guide "Resolve errors", its OAuth guide's list of why a refresh token ends, and what is seen in practice
beside them. No refusal moves the cursor, and none loses the mail that came meanwhile.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import pathlib
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from dealmail.console import reading
from dealmail.io import schema, watch
from dealmail.io.consent_flow import SignIn
from dealmail.io.ledger import BLOCKED
from dealmail.io.quota import spent_lately
from dealmail.transforms.decisions import MAILBOX_STATES

OUTAGE, QUOTA, SIGN_IN, REQUEST = "GmailUnavailableError", "GmailQuotaError", "TokenRefreshError", "GmailRequestError"


@dataclasses.dataclass(frozen=True)
class Row:
    """Gmail's `method` answers `code`, `reason`, `message`; the mailbox then is in `state`, for the reason named."""

    method: str
    code: int
    reason: str
    message: str
    state: str
    why: str
    minutes: float = 16
    """After so many minutes without it the mailbox is live again, unless somebody has to act."""


GMAIL = [
    Row("history.list", 400, "failedPrecondition", "Mail service not enabled", "no_gmail", "NoGmailError"),
    Row("history.list", 400, "failedPrecondition", "Precondition check failed.", "admin_blocked", "AdminPolicyError"),
    Row("history.list", 401, "authError", "Invalid Credentials", "live", SIGN_IN),
    Row("history.list", 403, "userRateLimitExceeded", "User Rate Limit Exceeded", "quota_delayed", QUOTA),
    Row("history.list", 403, "rateLimitExceeded", "Quota exceeded for quota metric 'Queries'", "quota_delayed", QUOTA),
    Row("history.list", 403, "dailyLimitExceeded", "Daily Limit Exceeded", "quota_delayed", QUOTA, 61),
    Row("history.list", 403, "quotaExceeded", "", "quota_delayed", QUOTA),
    Row("history.list", 403, "domainPolicy", "The domain administrators have disabled Gmail apps.", "admin_blocked", "AdminPolicyError"),
    Row("history.list", 403, "accessNotConfigured", "Gmail API has not been used in project 1", "admin_blocked", "AdminPolicyError"),
    Row("history.list", 403, "forbidden", "Delegation denied for bob@corp.example", "admin_blocked", "AdminPolicyError"),
    Row("history.list", 403, "insufficientPermissions", "Insufficient Permission", "reconsent", "ScopeMissingError"),
    Row("history.list", 403, "forbidden", "Metadata scope does not support 'q' parameter", "reconsent", "ScopeMissingError"),
    Row("history.list", 429, "rateLimitExceeded", "Too many concurrent requests for user", "quota_delayed", QUOTA),
    Row("history.list", 429, "", "Resource has been exhausted (e.g. check quota).", "quota_delayed", QUOTA),
    Row("history.list", 500, "backendError", "Internal error encountered.", "live", OUTAGE),
    Row("history.list", 502, "", "", "live", OUTAGE),
    Row("history.list", 503, "backendError", "", "live", OUTAGE),
    Row("history.list", 504, "", "", "live", OUTAGE),
    Row("history.list", 403, "somethingNew", "", "live", OUTAGE),
    Row("history.list", 404, "notFound", "Requested entity was not found.", "live", ""),
    Row("history.list", 400, "invalidArgument", "Missing/invalid parameter: startHistoryId", "live", ""),
    Row("getProfile", 400, "badRequest", "Bad Request", "first_sync", REQUEST),
    Row("messages.list", 400, "invalidArgument", "Invalid query", "first_sync", REQUEST),
    Row("messages.list", 500, "backendError", "", "first_sync", OUTAGE),
    Row("messages.list", 401, "authError", "Invalid Credentials", "first_sync", SIGN_IN),
    Row("messages.list", 429, "rateLimitExceeded", "Too many concurrent requests for user", "quota_delayed", QUOTA),
    Row("messages.list", 403, "forbidden", "Metadata scope does not support 'q' parameter", "reconsent", "ScopeMissingError"),
    Row("messages.get", 403, "rateLimitExceeded", "Quota exceeded for quota metric 'Queries'", "quota_delayed", QUOTA),
    Row("messages.get", 429, "rateLimitExceeded", "Too many concurrent requests for user", "quota_delayed", QUOTA),
    Row("messages.get", 403, "insufficientPermissions", "Metadata scope doesn't allow format FULL", "reconsent", "ScopeMissingError"),
    Row("messages.get", 403, "domainPolicy", "", "admin_blocked", "AdminPolicyError"),
    Row("messages.get", 400, "failedPrecondition", "Mail service not enabled", "no_gmail", "NoGmailError"),
    Row("messages.get", 401, "authError", "Invalid Credentials", "live", SIGN_IN),
    Row("messages.get", 500, "backendError", "", "live", OUTAGE),
    Row("messages.get", 404, "notFound", "Requested entity was not found.", "live", ""),
    Row("watch", 403, "forbidden", "Error sending test message to Cloud PubSub: User not authorized", "live", ""),
    Row("watch", 404, "notFound", "Resource not found (resource=topic)", "live", ""),
    Row("watch", 400, "invalidArgument", "Invalid topicName does not match projects/p/topics/*", "live", ""),
    Row("watch", 500, "backendError", "", "live", ""),
    Row("watch", 429, "rateLimitExceeded", "", "live", ""),
    Row("watch", 403, "userRateLimitExceeded", "User Rate Limit Exceeded", "live", ""),
    Row("watch", 401, "authError", "Invalid Credentials", "live", ""),
    Row("watch", 403, "domainPolicy", "", "live", ""),
    Row("watch", 400, "failedPrecondition", "Precondition check failed.", "live", ""),
    Row("watch", 409, "aborted", "", "live", ""),
    Row("watch", 400, "invalidArgument", "Only one user push notification client allowed per developer (call /stop then try again)",
        "live", ""),
]  # fmt: skip

TOKEN = [
    ({"error": "invalid_grant", "error_description": "Token has been expired or revoked."}, "reconsent"),
    ({"error": "invalid_grant", "error_description": "reauth related error", "error_subtype": "invalid_rapt"}, "reconsent"),
    ({"error": "invalid_grant", "error_description": "Account has been deleted"}, "reconsent"),
    ({"error": "admin_policy_enforced", "error_description": "Access restricted"}, "admin_blocked"),
    ({"error": "unauthorized_client", "error_description": "Client is unauthorized"}, "live"),
    ({"error": "org_internal", "error_description": ""}, "admin_blocked"),
    ({"error": "invalid_scope", "error_description": "not a valid audience string"}, "reconsent"),
    ({"error": "invalid_client", "error_description": "The OAuth client was not found."}, "live"),
    ({"error": "temporarily_unavailable", "error_description": ""}, "live"),
]  # fmt: skip


def refuse(gmails: Any, mailbox: str, row: Row) -> None:
    says = {"code": row.code, "reason": row.reason, "message": row.message}
    if row.reason == "failedPrecondition":
        says["status"] = "FAILED_PRECONDITION"
    gmails.client.set_faults(
        {"answer": 1.0, "says": says, "methods": [row.method], "mailboxes": [gmails.address(mailbox)]}
    )


def told(gmails: Any, mailbox: str) -> str:
    row = gmails.row(mailbox)
    return MAILBOX_STATES[row.state] + reading.why({"state_reason": row.state_reason})


def come_back(gmails: Any, mailbox: str, minutes: float) -> None:
    """The trouble is over: who has to act acts, and time goes by."""
    gmails.client.set_faults()
    if gmails.row(mailbox).state == "reconsent":
        again = SignIn(gmails.database, gmails.vault, gmails.settings, gmails.clock)
        again.grant(mailbox, gmails.client.grant(gmails.address(mailbox)), [], "alice")
    gmails.advance(minutes=minutes)
    assert mailbox in {due.mailbox_id for due in gmails.register.due(gmails.clock())}
    gmails.sync(mailbox)
    if gmails.row(mailbox).state in BLOCKED:  # until messages that were refused have been read
        gmails.advance(seconds=2.1)
        assert mailbox in {due.mailbox_id for due in gmails.register.due(gmails.clock())}
        gmails.sync(mailbox)


@pytest.mark.parametrize("row", GMAIL, ids=lambda row: f"{row.method}-{row.code}-{row.reason}-{row.message[:12]}")
def test_each_refusal_of_gmail_has_its_state(gmails: Any, row: Row) -> None:
    alice = gmails.connect("alice")
    claims = gmails.claims(topic=gmails.sandbox.topic if row.method == "watch" else "")
    old = gmails.deliver(alice, age=1)
    is_first = row.method in {"getProfile", "messages.list"}
    if not is_first and row.method != "watch":
        gmails.sync(alice, "poll", claims)
    cursor, new = gmails.row(alice).history_id, gmails.deliver(alice)
    refuse(gmails, alice, row)
    for _ in range(2):  # again and again is no other thing than once
        gmails.settle(gmails.claim(alice, "push", claims))
    found = gmails.row(alice)
    assert found.state == row.state
    assert found.state_reason.partition(" x")[0] == row.why
    if row.why:
        assert is_first or row.method == "messages.get" or found.history_id == cursor
        assert MAILBOX_STATES[row.state] in told(gmails, alice)
        assert row.state not in {"live", "first_sync"} or len(told(gmails, alice)) > 40  # a reason in words
    if row.method == "watch":
        assert (watch.health(found, gmails.clock()), gmails.outcomes(alice)[new]) == ("failing", "customer")
    if row.reason == "dailyLimitExceeded":
        assert found.not_before - gmails.clock() == dt.timedelta(hours=1)
    come_back(gmails, alice, row.minutes)
    assert gmails.outcomes(alice) == {old: "customer", new: "customer"}
    assert (gmails.row(alice).state, gmails.row(alice).state_reason) == ("live", "")
    if (row.method, row.why) == ("history.list", ""):
        assert gmails.row(alice).expired_cursors == 2


@pytest.mark.parametrize(
    ("code", "reason", "message", "state"),
    [
        (403, "insufficientPermissions", "Metadata scope doesn't allow format FULL", "reconsent"),
        (403, "domainPolicy", "", "admin_blocked"),
        (400, "failedPrecondition", "Mail service not enabled", "no_gmail"),
    ],
)
def test_what_messages_alone_are_refused_for_blocks_their_mailbox(
    gmails: Any, code: int, reason: str, message: str, state: str
) -> None:
    """History goes on to work all the while: by that alone the mailbox would be live."""
    alice = gmails.connect("alice")
    gmails.sync(alice)
    mails = [gmails.deliver(alice)]
    refuse(gmails, alice, Row("messages.get", code, reason, message, state, ""))
    gmails.settle(gmails.claim(alice, "push"))
    begun, shown, meanwhile = gmails.clock(), list[str](), list[str]()
    while gmails.clock() - begun < dt.timedelta(hours=2):
        for due in gmails.register.due(gmails.clock()):
            ends = gmails.read(gmails.claim(due.mailbox_id, due.reason))
            meanwhile.append(gmails.row(alice).state)
            gmails.sales.settlements.settle(ends)
        shown.append(gmails.row(alice).state)
        gmails.advance(seconds=30)
        if len(shown) == 100:
            mails.append(gmails.deliver(alice))
    assert {*shown[3:], *meanwhile[3:]} == {state}  # at the polls, too, while the messages are tried again
    asked = gmails.client.counters()["by_mailbox"][gmails.address(alice)]
    assert asked["messages.get"] <= 20  # once at each poll, and none while its user has to act
    come_back(gmails, alice, 33)  # a poll may come a moment before the messages may be tried: then it takes another
    assert gmails.outcomes(alice) == dict.fromkeys(mails, "customer")
    assert (gmails.row(alice).state, gmails.row(alice).state_reason) == ("live", "")


def test_a_message_refused_under_an_older_consent_speaks_against_no_newer_one(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    new = gmails.deliver(alice)
    refuse(gmails, alice, Row("messages.get", 403, "insufficientPermissions", "", "reconsent", ""))
    ends = gmails.read(gmails.claim(alice, "push"))
    sign_in = SignIn(gmails.database, gmails.vault, gmails.settings, gmails.clock)
    sign_in.grant(alice, gmails.client.grant(gmails.address(alice)), [], "alice")
    gmails.sales.settlements.settle(ends)
    gmails.client.set_faults()
    gmails.sync(alice)
    assert gmails.outcomes(alice) == {new: "customer"}
    assert gmails.row(alice).state == "live"


@pytest.mark.parametrize(
    ("says", "state"), TOKEN, ids=lambda value: value["error"] if isinstance(value, dict) else value
)
def test_each_refusal_of_the_token_endpoint_has_its_state(gmails: Any, says: dict[str, str], state: str) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    cursor, new = gmails.row(alice).history_id, gmails.deliver(alice)
    gmails.client.expire_access(gmails.address(alice))
    gmails.client.set_faults({"token_answer": 1.0, "says": {"code": 400, **says}})
    assert gmails.claim(alice, "push") == []
    found = gmails.row(alice)
    assert (found.state, found.history_id) == (state, cursor)
    says_who = "Google refuses dealmail's OAuth client" if "client" in says["error"] else "Google's sign-in"
    assert state != "live" or reading.why({"state_reason": found.state_reason}).startswith(says_who)
    come_back(gmails, alice, 16)
    assert gmails.outcomes(alice) == {new: "customer"}
    assert gmails.row(alice).state == "live"


def new_private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*pem).decode()


def test_states_that_no_refusal_makes(gmails: Any) -> None:
    """Not connected, waiting for consent, first sync, live, paused: what the user and the admin do themselves."""
    address = f"alice@{gmails.domain}"
    gmails.client.add_mailbox(address)
    alice = gmails.mailboxes.add("t1", "u1", address).id
    assert gmails.row(alice).state == "not_connected"
    gmails.mailboxes.turn_on(alice, "alice")
    assert gmails.row(alice).state == "consent_wanted"
    sign_in = SignIn(gmails.database, gmails.vault, gmails.settings, gmails.clock)
    sign_in.grant(alice, gmails.client.grant(address), [], "alice")
    assert gmails.row(alice).state == "first_sync"
    gmails.sync(alice)
    assert gmails.row(alice).state == "live"
    sign_in.disconnect(alice, "alice")
    assert gmails.row(alice).state == "paused"
    assert set(MAILBOX_STATES) == {
        "not_connected", "consent_wanted", "first_sync", "live", "quota_delayed", "reconsent", "admin_blocked", "no_gmail", "paused",
    }  # fmt: skip


def test_a_delegated_account_without_gmail_or_delegation_is_told_apart(gmails: Any, tmp_path: Any) -> None:
    (tmp_path / "sa.json").write_text(json.dumps(gmails.client.service_account()))
    alice = gmails.connect("alice")
    sign_in = SignIn(gmails.database, gmails.vault, gmails.settings, gmails.clock)
    sign_in.delegate(alice, f"file:{tmp_path / 'sa.json'}", "admin", [gmails.address(alice)])
    gmails.sync(alice)
    for says, state in (
        ({"error": "unauthorized_client"}, "admin_blocked"),
        ({"error": "invalid_grant", "error_description": "Invalid email or User ID"}, "no_gmail"),
        ({"error": "invalid_grant", "error_description": "Invalid JWT: Token must be a short-lived token"}, "live"),
    ):
        gmails.client.expire_access(gmails.address(alice))
        gmails.client.set_faults({"token_answer": 1.0, "says": {"code": 400, **says}})
        assert gmails.claim(alice, "push") == []
        assert gmails.row(alice).state == state
        come_back(gmails, alice, 16)
        assert gmails.row(alice).state == "live"
    with gmails.database.reading() as connection:
        actions = list(
            connection.scalars(sa.select(schema.consent.c.action).where(schema.consent.c.mailbox_id == alice))
        )
    assert actions == ["import_on", "delegated"]


def test_a_wrong_oauth_client_costs_no_quota_and_no_consent_and_mends_without_a_restart(
    gmails: Any, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    alice, claims = gmails.connect("alice"), gmails.claims()
    gmails.sync(alice, claims=claims)
    new = gmails.deliver(alice)
    file = tmp_path / "client.json"
    right = file.read_text()
    client = json.loads(right)
    next(iter(client.values()))["client_secret"] = "wrong"
    file.write_text(json.dumps(client))
    gmails.accounts.forget(alice)
    with gmails.database.reading() as connection:
        spent = spent_lately(connection, gmails.clock())
    assert gmails.claim(alice, "push", claims) == []
    with gmails.database.reading() as connection:
        assert spent_lately(connection, gmails.clock()) == spent
    row = gmails.row(alice)
    assert (row.state, row.state_reason) == ("live", "OAuthClientError x1")
    assert "OAuth client" in reading.why(dataclasses.asdict(row))
    assert [record.levelname for record in caplog.records if "invalid_client" in record.getMessage()] == ["ERROR"]
    file.write_text(right)
    gmails.advance(seconds=10)
    gmails.sync(alice, claims=claims)
    assert (gmails.outcomes(alice), gmails.row(alice).state_reason) == ({new: "customer"}, "")


@pytest.mark.parametrize("refused", ["private_key", "client_email"])
def test_a_service_account_that_is_put_right_is_used_without_a_restart(
    gmails: Any, tmp_path: pathlib.Path, refused: str
) -> None:
    """Its key was deleted at Google and its file replaced; or the whole account was, and the file is another's."""
    file, right = tmp_path / "sa.json", gmails.client.service_account()
    old = {"private_key": new_private_key(), "client_email": "deleted@project.iam.gserviceaccount.com"}
    file.write_text(json.dumps(right))
    alice, claims = gmails.connect("alice"), gmails.claims()
    sign_in = SignIn(gmails.database, gmails.vault, gmails.settings, gmails.clock)
    sign_in.delegate(alice, f"file:{file}", "admin", [gmails.address(alice)])
    gmails.sync(alice, claims=claims)
    mail = gmails.deliver(alice)
    file.write_text(json.dumps(right | {refused: old[refused]}))
    gmails.accounts.forget(alice)
    assert gmails.claim(alice, "push", claims) == []
    row = gmails.row(alice)
    assert (row.state, row.state_reason) == ("live", "ServiceAccountError x1")
    assert "service account" in reading.why(dataclasses.asdict(row))
    file.write_text(json.dumps(right))
    gmails.advance(seconds=10)
    gmails.sync(alice, claims=claims)
    assert (gmails.outcomes(alice), gmails.row(alice).state_reason) == ({mail: "customer"}, "")


def test_a_blocked_mailbox_whose_messages_are_being_tried_has_no_more_leased_and_is_live_when_they_are_read(
    gmails: Any,
) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    mails = [gmails.deliver(alice, f"Offer {n}") for n in range(6)]
    claims = gmails.claims(batch=2)
    refuse(gmails, alice, Row("messages.get", 403, "domainPolicy", "", "admin_blocked", ""))
    gmails.settle(gmails.claim(alice, "push", claims))
    assert gmails.claim(alice, "push", claims) == []
    assert gmails.row(alice).state == "admin_blocked"
    gmails.client.set_faults()
    gmails.advance(minutes=33)
    tried = gmails.claim(alice, "poll", claims)
    assert len(tried) == 2
    gmails.advance(seconds=2.1)
    assert [due.mailbox_id for due in gmails.register.due(gmails.clock())] == [alice]
    assert gmails.claim(alice, "poll", claims) == []  # a slow reading
    assert gmails.row(alice).state == "admin_blocked"
    gmails.settle(tried)
    gmails.advance(seconds=2.1)
    assert len(gmails.claim(alice, "poll", claims)) == 2
    assert gmails.row(alice).state == "live"
    gmails.advance(seconds=121)
    gmails.sync(alice, "work", claims)
    assert gmails.outcomes(alice) == dict.fromkeys(mails, "customer")


def test_old_mail_of_a_blocked_mailbox_gets_its_turn_again(gmails: Any) -> None:
    """As the local service reads: old mail in turns, of which a blocked mailbox has none."""
    alice = gmails.connect("alice")
    mails = [gmails.deliver(alice, age=1 + n) for n in range(3)]
    claims = gmails.claims()

    refuse(gmails, alice, Row("messages.get", 403, "domainPolicy", "", "admin_blocked", ""))
    gmails.settle(gmails.claim(alice, "poll", claims))
    assert gmails.claim(alice, "work", claims) == []
    assert gmails.row(alice).state == "admin_blocked"
    gmails.client.set_faults()
    gmails.advance(minutes=33)
    for _ in range(20):
        for due in gmails.register.due(gmails.clock(), 10):
            gmails.settle(claims.claim(due))
        gmails.advance(seconds=10)
    assert gmails.outcomes(alice) == dict.fromkeys(mails, "customer")
