"""The names of every outcome, rule and mailbox state: one list for code, tables, docs and metrics."""

from __future__ import annotations

from typing import Final

IMPORTED_CUSTOMER: Final = "customer"

LABEL_DRAFT: Final = "label.draft"
LABEL_TRASH: Final = "label.trash"
LABEL_SPAM: Final = "label.spam"
LABEL_CHAT: Final = "label.chat"
WINDOW_BEFORE: Final = "window.before"
PARTICIPANTS_NONE: Final = "participants.none"
PARTICIPANTS_INTERNAL: Final = "participants.internal"
BLOCKED_TEAM: Final = "blocked.team"
BLOCKED_USER: Final = "blocked.user"
CRM_NO_MATCH: Final = "crm.no_match"
AUTOMATED_BOUNCE: Final = "automated.bounce"
AUTOMATED_REPLY: Final = "automated.reply"
AUTOMATED_CALENDAR: Final = "automated.calendar"
AUTOMATED_MARKETING: Final = "automated.marketing"
AUTOMATED_TRANSACTIONAL: Final = "automated.transactional"
GONE_NOT_FOUND: Final = "gone.not_found"
GONE_DELETED: Final = "gone.deleted"
ERASED: Final = "erased"
RETENTION: Final = "retention"
PARKED: Final = "parked"

RULES: Final[dict[str, str]] = {
    IMPORTED_CUSTOMER: "an external participant matches the CRM and nothing speaks against the mail",
    LABEL_DRAFT: "it is a draft",
    LABEL_TRASH: "it is in the trash",
    LABEL_SPAM: "it is in spam",
    LABEL_CHAT: "it is a chat",
    WINDOW_BEFORE: "it is older than the mailbox's look-back window",
    PARTICIPANTS_NONE: "no address could be read from From, To or Cc",
    PARTICIPANTS_INTERNAL: "every participant belongs to the team",
    BLOCKED_TEAM: "somebody in From, To, Cc, Reply-To or Sender is on the team's blocklist",
    BLOCKED_USER: "somebody in From, To, Cc, Reply-To or Sender is on the user's own blocklist",
    CRM_NO_MATCH: "no external participant is an account, contact or lead of the CRM",
    AUTOMATED_BOUNCE: "it is a delivery report",
    AUTOMATED_REPLY: "it is an automatic reply, such as an out-of-office note",
    AUTOMATED_CALENDAR: "it is calendar mail: an invitation, an answer or an update",
    AUTOMATED_MARKETING: "it is a newsletter or campaign, or only asks to be taken off one",
    AUTOMATED_TRANSACTIONAL: "it is a receipt, an alert or a robot's notification",
    GONE_NOT_FOUND: "Gmail no longer had it when it was read",
    GONE_DELETED: "it was deleted in Gmail",
    ERASED: "the person, domain or mail was erased and stays so",
    RETENTION: "it is older than the team keeps mail",
    PARKED: "reading or storing it failed again and again; `dealmail retry` tries once more",
}
"""What each rule means, in words for the user; docs/rules.md tells them at length."""

LABEL_RULES: Final[dict[str, str]] = {
    "DRAFT": LABEL_DRAFT,
    "TRASH": LABEL_TRASH,
    "SPAM": LABEL_SPAM,
    "CHAT": LABEL_CHAT,
}
"""Gmail label id to the rule that keeps such mail out, in order of precedence."""

MAILBOX_STATES: Final[dict[str, str]] = {
    "not_connected": "Turn import on and run `dealmail connect ADDRESS`.",
    "consent_wanted": "Finish the sign-in at Google: `dealmail connect ADDRESS`.",
    "first_sync": "Nothing to do: the look-back is being read.",
    "live": "Nothing to do.",
    "quota_delayed": "Nothing to do: Gmail asked for a pause; it goes on by itself.",
    "reconsent": "The consent no longer stands (password changed or access revoked): run `dealmail connect ADDRESS` again.",
    "admin_blocked": "A Workspace admin must allow dealmail (API controls, or domain-wide delegation and its scope).",
    "no_gmail": "This Google account has no Gmail: nothing can be read.",
    "paused": "Import is off. `dealmail import on ADDRESS` turns it on.",
}
"""Every state a mailbox can be in, and what its user or admin can do."""


def label_rule(labels: tuple[str, ...] | list[str]) -> str | None:
    """The rule by which Gmail's `labels` (label ids) keep a message out, or None."""
    return next((rule for label, rule in LABEL_RULES.items() if label in labels), None)
