"""What Gmail's and the token endpoint's refusals mean: HTTP answers in, dealmail's own errors out.

The table is Google's guide "Resolve errors" (developers.google.com/workspace/gmail/api/guides/handle-errors) with what is
seen in practice beside it: quota comes as 403 and as 429, bodies may hold no JSON, and a 404 means three different things.
Google's message text may hold addresses. It is looked at here and never handed on: errors carry the call, the status and
the reason code only.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import re
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec
from google.auth import exceptions as auth_exceptions
from googleapiclient.errors import HttpError

from ..transforms.errors import (
    AdminPolicyError,
    ConsentRevokedError,
    DealmailError,
    GmailQuotaError,
    GmailUnavailableError,
    HistoryExpiredError,
    MailboxError,
    MessageGoneError,
    NoGmailError,
    PageTokenExpiredError,
    TerminalError,
    TokenRefreshError,
)

Call = Literal["profile", "history", "list", "get", "attachment", "watch", "stop"]

DAILY_PAUSE: Final = dt.timedelta(hours=1)
"""How long a spent day quota stops a mailbox before it is tried again."""

MAX_RETRY_AFTER: Final = dt.timedelta(hours=1)

QUOTA_REASONS: Final = frozenset(
    {
        "userratelimitexceeded", "ratelimitexceeded", "quotaexceeded", "dailylimitexceeded", "resourceexhausted",
        "concurrentlimitexceeded", "toomanyconcurrentrequests", "limitexceeded", "servinglimitexceeded",
    }
)  # fmt: skip
POLICY_REASONS: Final = frozenset(
    {"domainpolicy", "accessnotconfigured", "servicedisabled", "accountdisabled", "accessdenied"}
)
SIGNER_WORDS: Final = ("jwt", "short-lived", "account not found", "robot is disabled")
"""What invalid_grant says about who signed for a delegation; its user is an "email or user id"."""
CLIENT_CODES: Final = frozenset({"invalid_client", "deleted_client", "disabled_client"})
SCOPE_REASONS: Final = frozenset({"insufficientpermissions", "accesstokenscopeinsufficient", "forbidden"})


class ScopeMissingError(MailboxError):
    """The token lacks gmail.readonly, or carries gmail.metadata, which poisons it: the user has to consent anew."""

    state = "reconsent"


class NotConnectedError(MailboxError):
    """Import is on, but no credential is stored for the mailbox."""

    state = "consent_wanted"


MAILBOX_ERRORS: Final[dict[str, type[MailboxError]]] = {
    kind.__name__: kind
    for kind in (ScopeMissingError, NotConnectedError, ConsentRevokedError, AdminPolicyError, NoGmailError)
}
"""By the name that the ledger keeps of a message's last failure."""


class GmailRequestError(TerminalError):
    """Gmail says that this request can never work (400 and its kin)."""


class OAuthClientError(TokenRefreshError):
    """The token endpoint refuses dealmail itself (a wrong OAuth client or secret): the operator's to mend; consents stand."""


class ServiceAccountError(OAuthClientError):
    """The same of a service account: its key is deleted or not its own, it is gone itself, or this machine's clock is off."""


class WatchTakenError(DealmailError):
    """400 "Only one user push notification client allowed per developer": another topic is being watched."""


class WatchRefusedError(DealmailError):
    """The topic is missing, foreign, or Gmail may not publish to it: the operator's to mend, never the user's."""


def parse_retry_after(value: str | None, now: dt.datetime) -> dt.timedelta | None:
    """A Retry-After header (RFC 9110 section 10.2.3: seconds, or an HTTP date) as a wait from `now`; None where unusable."""
    if not value:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        wait = dt.timedelta(seconds=min(int(value), 10**6))
    else:
        try:
            wait = email.utils.parsedate_to_datetime(value) - now
        except (TypeError, ValueError):
            return None
    return min(max(wait, dt.timedelta(0)), MAX_RETRY_AFTER)


def http_error(error: HttpError, call: Call, now: dt.datetime) -> DealmailError:
    """What an HTTP refusal of `call` means. `now` (UTC) is for a Retry-After that is a date."""
    status = int(error.status_code)
    body = _body(error.content)
    reasons = [_plain(reason) for reason in _reasons(body)]
    says = _message(body).lower()
    text = f"{call}: {status} {_code(body)}"
    retry_after = parse_retry_after(error.resp.get("retry-after"), now)
    if status == 429 or (status == 403 and not QUOTA_REASONS.isdisjoint(reasons)):
        return GmailQuotaError(text, retry_after=DAILY_PAUSE if "dailylimitexceeded" in reasons else retry_after)
    if status >= 500 or status == 408:
        return GmailUnavailableError(text, retry_after=retry_after)
    if status == 401:
        return TokenRefreshError(text)
    if body is None:
        return GmailUnavailableError(text, retry_after=retry_after)  # a proxy's page, not Gmail's word
    if call in {"watch", "stop"} and status in {400, 403, 404}:
        if status == 400 and "only one user push notification client" in says:
            return WatchTakenError(text)
        if "failedprecondition" not in reasons and "domainpolicy" not in reasons:
            return WatchRefusedError(text)
    if status == 403:
        return _forbidden(text, reasons, says, retry_after)
    if status == 404 and call in {"get", "attachment"}:
        return MessageGoneError(text)
    if status == 404 and call == "history":
        return HistoryExpiredError(text)
    if status == 400:
        return _bad_request(text, call, reasons, says)
    return GmailRequestError(text)


def _forbidden(text: str, reasons: list[str], says: str, retry_after: dt.timedelta | None) -> DealmailError:
    if not POLICY_REASONS.isdisjoint(reasons) or "delegation denied" in says:
        return AdminPolicyError(text)
    # PERMISSION_DENIED is the status of every 403: beside a reason that is not known here it says nothing about the consent.
    if not SCOPE_REASONS.isdisjoint(reasons) or reasons == ["permissiondenied"] or "scope" in says:
        return ScopeMissingError(text)
    return GmailUnavailableError(text, retry_after=retry_after)


def _bad_request(text: str, call: Call, reasons: list[str], says: str) -> DealmailError:
    if "failedprecondition" in reasons:
        return NoGmailError(text) if "mail service not enabled" in says else AdminPolicyError(text)
    if call == "history":
        return HistoryExpiredError(text)
    if call == "list" and ("page" in says or "token" in says):
        return PageTokenExpiredError(text)
    return GmailRequestError(text)


def token_error(error: auth_exceptions.GoogleAuthError, *, delegated: bool = False) -> DealmailError:
    """What a refusal of the token endpoint means (RFC 6749 section 5.2, and Google's own codes).

    Only invalid_grant says that the consent is gone. What no user can mend (an unreachable endpoint, a wrong client secret,
    a clock that is off) is transient: the mailbox stays connected.
    """
    if not isinstance(error, auth_exceptions.RefreshError) or error.retryable:
        return TokenRefreshError(f"token: {type(error).__name__}")
    answer = next((a for a in error.args if isinstance(a, dict)), {})
    says = " ".join(str(a) for a in (*error.args[:1], *answer.values())).lower()
    code = str(answer.get("error", "")).lower() or says.partition(":")[0]
    text = f"token: {code if re.fullmatch(r'[a-z_]{1,40}', code) else type(error).__name__}"
    if "reauthentication is needed" in says:  # google-auth's own words for invalid_grant with the subtype invalid_rapt
        return ConsentRevokedError("token: invalid_rapt")
    if code in CLIENT_CODES or (code == "unauthorized_client" and not delegated):
        return OAuthClientError(text)
    if "admin_policy_enforced" in says or code in {"unauthorized_client", "org_internal", "access_denied"}:
        return AdminPolicyError(text)  # of a delegation: the admin has not delegated to this client
    if code == "invalid_grant":
        if delegated and any(word in says for word in SIGNER_WORDS):
            return ServiceAccountError(text)
        if delegated and ("invalid email" in says or "not a valid email" in says):
            return NoGmailError(text)
        return ConsentRevokedError(text)
    if code == "invalid_scope":
        return AdminPolicyError(text) if delegated else ScopeMissingError(text)
    return TokenRefreshError(text)


def _body(content: bytes) -> dict[str, Any] | None:
    try:
        decoded = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if isinstance(decoded, list) and decoded:
        decoded = decoded[0]
    error = decoded.get("error") if isinstance(decoded, dict) else None
    return error if isinstance(error, dict) else None


def _reasons(body: dict[str, Any] | None) -> Iterator[str]:
    for key in ("errors", "details"):
        entries = (body or {}).get(key)
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and isinstance(entry.get("reason"), str):
                yield entry["reason"]
    status = (body or {}).get("status")
    if isinstance(status, str):
        yield status


def _message(body: dict[str, Any] | None) -> str:
    message = (body or {}).get("message")
    return message if isinstance(message, str) else ""


def _plain(reason: str) -> str:
    return reason.replace("_", "").lower()


def _code(body: dict[str, Any] | None) -> str:
    code = next(_reasons(body), "")
    return code if re.fullmatch(r"[A-Za-z_]{1,64}", code) else "unknown"
