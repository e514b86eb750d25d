"""What others drop, written anew from descriptions of their behaviour, for comparison on the same mails.

Each answers whether that product would take the mail for automated or bulk. Bounce tests are part of a product's rule where
it has one.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from dealmail.transforms.automated_evidence import Evidence

_GROUP_LOCALS = "info|contact|hello|support|feedback|service|help|invites?|welcome|alerts?|team|notifications?|news"


def unsubscribe_only(mail: Evidence) -> bool:
    """List-Unsubscribe is there."""
    return bool(mail.header("list-unsubscribe"))


def twenty_headers(mail: Evidence) -> bool:
    """List-Unsubscribe or List-Id not empty, Precedence bulk, list or junk, Auto-Submitted other than no."""
    return (
        bool(mail.header("list-unsubscribe") or mail.header("list-id"))
        or mail.header("precedence") in {"bulk", "list", "junk"}
        or mail.header("auto-submitted") not in {"", "no"}
    )


def twenty_both(mail: Evidence) -> bool:
    """The same, or a no-reply form anywhere in the address, or a role at its start."""
    address = mail.sender.address
    return (
        twenty_headers(mail)
        or re.search(r"no[._-]?reply|do[._-]?not[._-]?reply", address) is not None
        or re.match(rf"(?:{_GROUP_LOCALS})@", address) is not None
    )


def zammad(mail: Evidence) -> bool:
    """List-Unsubscribe of three characters, X-Loop, Precedence, Auto-Submitted generated or replied, suppression of all answers."""
    return (
        len(mail.header("list-unsubscribe")) >= 3
        or mail.header("x-loop") in {"yes", "true"}
        or re.search(r"bulk|list|junk", mail.header("precedence")) is not None
        or re.search(r"auto-(?:generated|replied)", mail.header("auto-submitted")) is not None
        or mail.header("x-auto-response-suppress") == "all"
    )


def discourse(mail: Evidence) -> bool:
    """Precedence, daemon and no-reply senders, subject prefixes, and words of automation in any header."""
    headers = " ".join(
        f"{name}: {value}" for name, value in mail.headers.items() if name != "x-auto-response-suppress"
    ).lower()
    return (
        re.search(r"list|junk|bulk|auto_reply", mail.header("precedence")) is not None
        or re.search(r"mailer[-_]?daemon|post[-_]?master|no[-_]?reply", mail.sender.address) is not None
        or re.match(
            r"\s*(?:automatic reply|auto:|autoreply|automatische antwort|réponse automatique)", mail.subject.lower()
        )
        is not None
        or re.search(
            r"auto[-_]?(?:response|submitted|replied|reply|generated|respond)|holidayreply|machinegenerated", headers
        )
        is not None
    )


def freescout(mail: Evidence) -> bool:
    """Any Auto-Submitted, Precedence auto_reply, bulk or junk, responder fields; reports, mailer-daemon, empty Return-Path."""
    return (
        bool(mail.header("auto-submitted"))
        or mail.headers.get("precedence", "").strip() in {"auto_reply", "bulk", "junk"}
        or any(name in mail.headers for name in ("x-autoreply", "x-autorespond", "x-autoresponder"))
        or "report-type=delivery-status" in mail.header("content-type").replace('"', "")
        or mail.sender.address.startswith("mailer-daemon@")
        or mail.headers.get("return-path", "x").strip() == "<>"
    )


def osticket(mail: Evidence) -> bool:
    """Auto-Submitted, Precedence, responder fields by prefix; bounces by sender, report type, subject and empty Return-Path."""
    replies = (
        mail.header("auto-submitted").startswith(("auto-", "auto"))
        or mail.header("precedence").startswith(("auto_reply", "bulk", "junk", "list"))
        or mail.header("x-amazon-mail-relay-type").startswith("notification")
        or mail.header("x-auto-response-suppress").startswith(("dr", "all", "oof"))
        or any(mail.header(name) for name in ("x-autoreply", "x-autorespond", "x-autoresponder", "x-mail-autoreply"))
        or mail.subject.lower().startswith(("auto:", "out of office", "automatic reply"))
    )
    bounces = (
        "delivery-status" in mail.header("content-type")
        or re.match(r"(?:mailer-daemon|postmaster)@", mail.sender.address) is not None
        or re.match(
            r"(?:undeliver|delivery (?:status|failure)|returned mail|failure notice|mail delivery)",
            mail.subject.lower(),
        )
        is not None
        or bool(mail.header("x-failed-recipients"))
        or mail.headers.get("return-path", "x").strip() == "<>"
    )
    return replies or bounces


def espo_reply(mail: Evidence) -> bool:
    """A responder field that is not empty, or Auto-Submitted that is auto-replied and nothing more."""
    return bool(mail.header("x-autoreply") or mail.header("x-autorespond")) or (
        mail.header("auto-submitted") == "auto-replied"
    )


def espo_unanswered(mail: Evidence) -> bool:
    """What must not be answered: suppression of all or automatic answers, or Auto-Submitted other than no."""
    return (
        mail.headers.get("x-auto-response-suppress") in {"All", "AutoReply"}
        or mail.header("auto-submitted") not in {"", "no"}
        or espo_reply(mail)
    )


PEERS: dict[str, Callable[[Evidence], bool]] = {
    "List-Unsubscribe only": unsubscribe_only,
    "like Twenty, headers": twenty_headers,
    "like Twenty, both": twenty_both,
    "like Zammad": zammad,
    "like EspoCRM, replies": espo_reply,
    "like EspoCRM, unanswered": espo_unanswered,
    "like Discourse": discourse,
    "like FreeScout": freescout,
    "like osTicket": osticket,
}
PEERS["any of these"] = lambda mail: any(rule(mail) for name, rule in PEERS.items() if name != "any of these")
