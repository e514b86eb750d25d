"""Google's table of errors, row by row."""

from __future__ import annotations

import datetime as dt
import json

import httplib2
import pytest
from google.auth import exceptions as auth_exceptions
from googleapiclient.errors import HttpError

from dealmail.io import gmail_errors as g
from dealmail.transforms import errors as e

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
ADDRESS = "alice@corp.example"


def http_error(
    status: int, reason: str = "", message: str = "", *, body: bytes | None = None, **headers: str
) -> HttpError:
    if body is None:
        inner = {
            "code": status,
            "message": f"{message} {ADDRESS}",
            "errors": [{"domain": "global", "reason": reason, "message": message}],
        }
        body = json.dumps({"error": inner}).encode()
    return HttpError(httplib2.Response({"status": status, **headers}), body)


@pytest.mark.parametrize(
    ("call", "status", "reason", "message", "expected"),
    [
        ("get", 403, "rateLimitExceeded", "Quota exceeded for quota metric 'Queries'", e.GmailQuotaError),
        ("get", 403, "userRateLimitExceeded", "", e.GmailQuotaError),
        ("get", 403, "dailyLimitExceeded", "", e.GmailQuotaError),
        ("watch", 403, "rateLimitExceeded", "", e.GmailQuotaError),
        ("get", 429, "rateLimitExceeded", "Too many concurrent requests for user", e.GmailQuotaError),
        ("list", 429, "", "Resource has been exhausted (e.g. check quota).", e.GmailQuotaError),
        ("get", 500, "backendError", "", e.GmailUnavailableError),
        ("watch", 500, "backendError", "", e.GmailUnavailableError),
        ("get", 503, "", "", e.GmailUnavailableError),
        ("get", 408, "", "", e.GmailUnavailableError),
        ("get", 401, "authError", "Invalid Credentials", e.TokenRefreshError),
        ("get", 403, "domainPolicy", "", e.AdminPolicyError),
        ("get", 403, "accessNotConfigured", "", e.AdminPolicyError),
        ("get", 403, "forbidden", "Delegation denied for", e.AdminPolicyError),
        ("list", 403, "forbidden", "Metadata scope does not support 'q' parameter", g.ScopeMissingError),
        ("get", 403, "insufficientPermissions", "", g.ScopeMissingError),
        ("get", 403, "somethingNew", "", e.GmailUnavailableError),
        ("profile", 400, "failedPrecondition", "Mail service not enabled", e.NoGmailError),
        ("profile", 400, "failedPrecondition", "Precondition check failed.", e.AdminPolicyError),
        ("watch", 400, "failedPrecondition", "Mail service not enabled", e.NoGmailError),
        ("history", 404, "notFound", "Requested entity was not found.", e.HistoryExpiredError),
        ("history", 400, "invalidArgument", "Missing/invalid parameter: startHistoryId", e.HistoryExpiredError),
        ("get", 404, "notFound", "Requested entity was not found.", e.MessageGoneError),
        ("attachment", 404, "notFound", "", e.MessageGoneError),
        ("get", 400, "invalidArgument", "Invalid id value", g.GmailRequestError),
        ("list", 400, "invalidArgument", "Invalid pageToken", e.PageTokenExpiredError),
        ("list", 400, "invalidArgument", "Invalid query", g.GmailRequestError),
        ("watch", 400, "invalidArgument", "Only one user push notification client allowed per developer (call /stop then try again)",
         g.WatchTakenError),
        ("watch", 400, "invalidArgument", "Invalid topicName does not match projects/p/topics/*", g.WatchRefusedError),
        ("watch", 403, "forbidden", "Error sending test message to Cloud PubSub: User not authorized", g.WatchRefusedError),
        ("watch", 404, "notFound", "Resource not found", g.WatchRefusedError),
        ("watch", 403, "domainPolicy", "", e.AdminPolicyError),
    ],
)  # fmt: skip
def test_every_row(call: g.Call, status: int, reason: str, message: str, expected: type[Exception]) -> None:
    found = g.http_error(http_error(status, reason, message), call, NOW)
    assert type(found) is expected
    assert ADDRESS not in str(found)
    assert str(status) in str(found)


@pytest.mark.parametrize("body", [b"", b"<html>blocked</html>", b"\xff\xfe", b"[]", b'{"error": "text"}', b"null"])
@pytest.mark.parametrize("call", ["get", "history", "list", "profile", "watch"])
def test_answers_that_are_not_gmails_decide_nothing(body: bytes, call: g.Call) -> None:
    for status in (400, 403, 404):
        assert type(g.http_error(http_error(status, body=body), call, NOW)) is e.GmailUnavailableError


def test_newer_forms_of_the_body() -> None:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED"}
    body = json.dumps(
        {"error": {"code": 403, "message": "m", "status": "PERMISSION_DENIED", "details": [info]}}
    ).encode()
    assert type(g.http_error(http_error(403, body=body), "get", NOW)) is e.GmailQuotaError
    body = json.dumps(
        [{"error": {"code": 400, "message": "Mail service not enabled", "status": "FAILED_PRECONDITION"}}]
    ).encode()
    assert type(g.http_error(http_error(400, body=body), "get", NOW)) is e.NoGmailError


def test_a_reason_that_is_no_code_stays_out_of_the_text() -> None:
    assert ADDRESS not in str(g.http_error(http_error(400, f"x {ADDRESS}"), "get", NOW))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("Mon, 04 May 2026 12:00:30 GMT", 30), ("Mon, 04 May 2026 11:00:00 GMT", 0), ("99999999999", 3600), ("soon", None),
     ("", None), (None, None), ("-5", None)],
)  # fmt: skip
def test_retry_after(value: str | None, seconds: int | None) -> None:
    assert g.parse_retry_after(value, NOW) == (None if seconds is None else dt.timedelta(seconds=seconds))


def test_retry_after_is_kept_and_a_spent_day_waits_long() -> None:
    waits = dt.timedelta(seconds=9)
    assert g.http_error(http_error(429, "rateLimitExceeded", **{"retry-after": "9"}), "get", NOW).retry_after == waits
    assert g.http_error(http_error(503, "", **{"retry-after": "9"}), "get", NOW).retry_after == waits
    assert g.http_error(http_error(403, "dailyLimitExceeded"), "get", NOW).retry_after == g.DAILY_PAUSE


@pytest.mark.parametrize(
    ("answer", "delegated", "expected"),
    [
        (
            {"error": "invalid_grant", "error_description": "Token has been expired or revoked."},
            False,
            e.ConsentRevokedError,
        ),
        ({"error": "invalid_grant", "error_subtype": "invalid_rapt"}, False, e.ConsentRevokedError),
        (
            {"error": "invalid_grant", "error_description": "Account restricted: admin_policy_enforced"},
            False,
            e.AdminPolicyError,
        ),
        ({"error": "admin_policy_enforced"}, False, e.AdminPolicyError),
        ({"error": "unauthorized_client"}, True, e.AdminPolicyError),
        ({"error": "invalid_grant", "error_description": f"Invalid email or User ID {ADDRESS}"}, True, e.NoGmailError),
        (
            {"error": "invalid_grant", "error_description": "Invalid JWT: Token must be a short-lived token"},
            True,
            g.ServiceAccountError,
        ),
        (
            {"error": "invalid_grant", "error_description": "Invalid grant: account not found"},
            True,
            g.ServiceAccountError,
        ),
        ({"error": "invalid_grant", "error_description": "Robot is disabled."}, True, g.ServiceAccountError),
        ({"error": "invalid_client"}, False, g.OAuthClientError),
        ({"error": "deleted_client"}, False, g.OAuthClientError),
        ({"error": "unauthorized_client"}, False, g.OAuthClientError),
        ({"error": "invalid_scope"}, False, g.ScopeMissingError),
        ({"error": "internal_failure"}, False, e.TokenRefreshError),
    ],
)
def test_only_invalid_grant_proves_a_revocation(
    answer: dict[str, str], expected: type[Exception], *, delegated: bool
) -> None:
    error = auth_exceptions.RefreshError(f"{answer['error']}: {answer.get('error_description', '')}", answer)
    found = g.token_error(error, delegated=delegated)
    assert type(found) is expected
    assert ADDRESS not in str(found)


def test_what_may_pass_is_transient() -> None:
    for error in (
        auth_exceptions.TransportError("down"),
        auth_exceptions.RefreshError("x", {"error": "invalid_grant"}, retryable=True),
    ):
        assert type(g.token_error(error)) is e.TokenRefreshError
    assert type(g.token_error(auth_exceptions.RefreshError("no dict at all"))) is e.TokenRefreshError
