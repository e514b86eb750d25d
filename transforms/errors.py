"""Errors that steps know by name. Anything else fails the bundle loudly."""

from __future__ import annotations

import datetime as dt


class DealmailError(Exception):
    """The root of all errors that dealmail raises on purpose. Its text never holds mail content or a secret."""


class TransientError(DealmailError):
    """Worth another try; the message or mailbox at hand is not to blame. `retry_after` may say how long to wait."""

    def __init__(self, text: str = "", *, retry_after: dt.timedelta | None = None) -> None:
        super().__init__(text or type(self).__name__)  # Beam hands on only errors that carry a text
        self.retry_after = retry_after


class TerminalError(DealmailError):
    """Another try would end the same way."""


class GmailQuotaError(TransientError):
    """Gmail refused for quota or concurrency (403 or 429, see the reasons in io/gmail.py)."""


class NoRoomError(GmailQuotaError):
    """By dealmail's own count the quota has no room for what a message still needs; Gmail was not asked."""


class GmailUnavailableError(TransientError):
    """Gmail did not answer, or answered 5xx."""


class TokenRefreshError(TransientError):
    """The token endpoint could not be reached or answered 5xx: the consent still stands."""


class HistoryExpiredError(DealmailError):
    """history.list answered 404, or 400 for the cursor: list again from the last confirmed time."""


class MessageGoneError(DealmailError):
    """messages.get answered 404."""


class PageTokenExpiredError(DealmailError):
    """A list page token is no longer good: start that list again."""


class MailboxError(TerminalError):
    """The whole mailbox cannot be read until somebody acts. `state` is one of transforms.decisions.MAILBOX_STATES."""

    state = "reconsent"


class ConsentRevokedError(MailboxError):
    """invalid_grant: the password changed, or the user or an admin took the consent back."""


class AdminPolicyError(MailboxError):
    """The admin does not allow it (403 domainPolicy, unauthorized_client, admin_policy_enforced)."""

    state = "admin_blocked"


class NoGmailError(MailboxError):
    """The account has no Gmail (400 failedPrecondition, Mail service not enabled)."""

    state = "no_gmail"


class MalformedMessageError(TerminalError):
    """Gmail's answer for a message is not of the form the API documents."""


class StoreUnavailableError(TransientError):
    """MariaDB or Elasticsearch could not be reached, or asked to wait."""


class LostRaceError(TransientError):
    """Somebody else moved the cursor first: read again."""
