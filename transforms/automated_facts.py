"""The facts of automated mail that need no weighing: delivery reports, automatic replies, calendar mail, machine reports.

Each is one small function that answers whether it holds; the first that does decides. Some need the text and are silent
until it was read.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Final, Literal

from .automated_evidence import Evidence
from .bounce_words import BOUNCE_SUBJECT, BOUNCE_TEXT

FactKind = Literal["bounce", "reply", "calendar", "transactional"]


@dataclasses.dataclass(frozen=True, slots=True)
class Fact:
    """A named fact: the kind of automated mail it proves, and where the rule comes from."""

    name: str
    kind: FactKind
    source: str
    holds: Callable[[Evidence], bool]
    reads: bool = False
    """Whether it looks at the text, so that it may hold once that was read though it did not before."""


FACTS: Final[list[Fact]] = []


def _fact(
    name: str, kind: FactKind, source: str, *, reads: bool = False
) -> Callable[[Callable[[Evidence], bool]], Callable[[Evidence], bool]]:
    def register(holds: Callable[[Evidence], bool]) -> Callable[[Evidence], bool]:
        FACTS.append(Fact(name, kind, source, holds, reads))
        return holds

    return register


_REPORTS: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})
_OTHER_REPORTS: Final = frozenset({"message/feedback-report", "message/disposition-notification"})
_ANSWER: Final = re.compile(r"\s*(?:re|fwd?|aw|wg|tr|rv|sv|vs|vb|vl|i|r|enc|doorst|antw)\s*(?:\[\d+\])?\s*:", re.I)
_DAEMON: Final = re.compile(
    r"^(?:mailer[-_.]?daemon|mail[-_.]?daemon|double-?bounce|bounces?|mdaemon|mail-?delivery|mailerdaemon|mail\.?system|daemon|microsoftexchange[0-9a-f]{32})(?:$|[+.\-_=0-9])"
)
_POSTMASTER: Final = re.compile(r"^(?:post[-_.]?master|mta|mail[-_.]?gateway|)$")
_MAYBE_SYSTEM: Final = re.compile(r"^(?:mail|root|administrator|smtp|mail-?admin)$")
"""A small firm's people write from mail@ too."""
_DAEMON_NAME: Final = re.compile(
    r"mail delivery (?:sub)?system|mailer[- ]daemon|mail(?:er)? administrator|postmaster|system administrator|mail system|internet mail delivery|mail-?zustell",
    re.I,
)


@_fact(
    "delivery-report", "bounce", "RFC 3464 section 2; RFC 6522 section 3: multipart/report, report-type=delivery-status"
)
def _(mail: Evidence) -> bool:
    form = mail.header("content-type")
    if mail.root_kind in _REPORTS:
        return True
    if mail.kinds & _REPORTS and not _ANSWER.match(mail.subject):  # a gateway has wrapped the report once more
        return True
    is_report = mail.root_kind == "multipart/report" or form.startswith("multipart/report")
    is_other = "feedback-report" in form or "disposition-notification" in form or bool(mail.kinds & _OTHER_REPORTS)
    return is_report and ("delivery-status" in form or bool(mail.kinds & _REPORTS) or not is_other)


@_fact("failed-recipients", "bounce", "X-Failed-Recipients of Exim and Gmail")
def _(mail: Evidence) -> bool:
    return bool(mail.header("x-failed-recipients"))


@_fact("mailer-daemon", "bounce", "local parts and names of mail systems (RFC 5321 section 6.1, RFC 2142 section 5)")
def _(mail: Evidence) -> bool:
    if _DAEMON.match(mail.local) and "list-unsubscribe" not in mail.headers and "list-id" not in mail.headers:
        return not mail.local.startswith("bounce") or bool(BOUNCE_SUBJECT.match(mail.subject))
    return _is_postmaster(mail) and bool(BOUNCE_SUBJECT.match(mail.subject))


def _is_postmaster(mail: Evidence) -> bool:
    return bool(_POSTMASTER.match(mail.local) or _DAEMON_NAME.search(mail.sender.name))


@_fact("empty-return-path", "bounce", "RFC 5321 section 4.5.5: notifications have an empty envelope sender")
def _(mail: Evidence) -> bool:
    path = mail.headers.get("return-path", "x").strip()
    return path in {"<>", "< >", "<MAILER-DAEMON>", ""} and bool(
        BOUNCE_SUBJECT.match(mail.subject) or _DAEMON_NAME.search(mail.sender.name)
    )


_MARKS: Final = (
    "reporting-mta:", "final-recipient:", "original-recipient:", "diagnostic-code:", "remote-mta:", "action: failed", "action: delayed", "rcpt to:", "mail from:",
    "transcript of session", "while talking to", "smtp error", "smtp server", "said: 5", "said: 4", "returned message", "original message follows", "message headers follow",
    "copy of the original", "copy of your message", "copy of the message", "return-path:", "undeliverable", "domain name not found", "status: 5.", "status: 4.",
)  # fmt: skip
_MARKS_IN: Final = tuple(mark.encode() for mark in _MARKS)
_MARK_COLON: Final = re.compile(
    rb":(?:(?<=-mta:)|(?<=-recipient:)|(?<=c-code:)|(?<=action:)|(?<=rcpt to:)|(?<=mail from:)|(?<=said:)|(?<=return-path:)|(?<=status:))"
)
_MARK_HINTS: Final = (
    b"transcript of",
    b"e talking",
    b"smtp ",
    b"returned m",
    b"ge follows",
    b"rs follow",
    b"copy of ",
    b"undeliv",
    b"domain name",
)
"""One of the two is in each of the marks, and nearly no mail has either."""
_CODE: Final = re.compile(
    r"[45](?<!\w[45])(?:\d\d[ -]+[45]\.\d\.\d|(?<=5)5[0-4] )"
)  # looks back: so a search may skip to a digit
_ORIGINALS: Final = frozenset({"message/rfc822", "text/rfc822-headers", "message/rfc822-headers"})
_COPY: Final = re.compile(
    r"original (?:message|mail)|below this line|headers? follow|copy of (?:the|your)|message reads|^(?:received|return-path|message-id|from): ",
    re.I | re.M,
)
"""Where the mail begins that came back."""
_FIRST_PERSON: Final = re.compile(r"\b(?:i|my|me|mine|ich|mir|mich|meine?n?|je|moi|mon|yo|io|eu)\b(?!')", re.I)
_ADDRESS: Final = re.compile(r"[^\s@<>]@[\w-]+\.\w")


@_fact("bounce-report", "bounce", "subject and text of a delivery report without its form", reads=True)
def _(mail: Evidence) -> bool:
    """A postmaster needs only say so; anybody else also has to name an address or a server, and not to write a letter."""
    start = mail.whole
    if not start or mail.greeted:  # a letter, be it a postmaster's
        return False
    if _is_postmaster(mail) or mail.headers.get("return-path", "x").strip() == "<>":
        return _count_marks(start) > 0 or bool(BOUNCE_TEXT.search(start))
    if _ANSWER.match(mail.subject):
        return False
    may_be_system = bool(_MAYBE_SYSTEM.match(mail.local))
    says_subject = bool(BOUNCE_SUBJECT.match(mail.subject))
    marks = _count_marks(start, code_alone=may_be_system or says_subject)
    if marks >= 4:
        return True
    is_system = may_be_system and marks > 0
    has_original = bool(mail.kinds & _ORIGINALS)
    if not (is_system or says_subject or has_original or marks >= 2):
        return False  # nearly all mail: what follows looks at every letter of the text
    copy = _COPY.search(start)
    own = start[: copy.start()] if copy else start
    if _FIRST_PERSON.search(own):
        return False
    if is_system:
        return True
    is_sure = has_original or marks >= (1 if says_subject else 2) or (says_subject and bool(_ADDRESS.search(own)))
    return is_sure and bool(BOUNCE_TEXT.search(start))


def _count_marks(text: str, *, code_alone: bool = True) -> int:
    """How many different marks of a transcript `text` holds. A code counts as one; alone only where `code_alone`."""
    if "\u0130" in text or "\u212a" in text:  # the two letters outside of ASCII that have an i or k as their lower case
        text = text.lower()
    lower = text.encode("utf-8", "surrogatepass").lower()
    marks = _MARKS_IN if _MARK_COLON.search(lower) or any(map(lower.__contains__, _MARK_HINTS)) else ()
    found = sum(mark in lower for mark in marks)
    return found + bool((found or code_alone) and _CODE.search(text))


_RESPONDER_FIELDS: Final = frozenset(
    ["x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-reply", "x-auto-respond", "x-mail-autoreply", "x-autoreply-from", "x-vacation", "x-fc-machinegenerated"]
)  # fmt: skip
_PROGRAM: Final = (
    r"(?:auto(?:matic(?:ally)?|mated|matische?r?)?[- ]?(?:reply|response|responder|generated reply|respuesta|antwort|svar|antwoord)\b|"
    r"out[- ]of[- ](?:the[- ])?office (?:auto ?-?reply|notification|message|response)|vacation (?:reply|response|message|notice)|abwesenheits(?:notiz|nachricht|assistent|meldung|info)|"
    r"automatische (?:antwort|abwesenheit)|réponse automatique|message d.absence|respuesta autom[áa]tica|risposta automatica|automatisch antwoord|afwezigheidsbericht|autosvar|automatiskt svar|"
    r"automaattinen vastaus|resposta autom[áa]tica|odpowiedź automatyczna|автоответ|自動(?:返信|応答)|自动(?:答复|回复))"
)
_PREFIX: Final = r"(?:auto|ooo|out[- ]of[- ](?:the[- ])?office|fuori sede)(?=\s*[:：])"
_REPLY_SUBJECT: Final = re.compile(rf"^\W*(?:{_PROGRAM}|{_PREFIX})", re.I)
_ENDS: Final = r"\s*(?:[:：]|[.!)\]]*$)"
"""People write about automatic replies and absences too, but seldom with nothing but a colon after the word."""
_UNTIL: Final = r"\s*(?:[-–—(,\d]|(?:until|till?|thru|through|bis|jusqu|hasta|fino)\b)"
"""How a program's note goes on, where it does."""
_NAMED_SUBJECT: Final = re.compile(rf"^\W*{_PROGRAM}{_ENDS}", re.I)
_AWAY_SUBJECT: Final = re.compile(
    rf"^\W*(?:(?:re|aw)\s*:\s*)?(?:{_PROGRAM}|{_PREFIX}|out[- ]of[- ](?:the[- ])?office|(?:i am |i'm )?(?:currently )?(?:away from|out of) (?:my|the) (?:office|desk|mail)|(?:away )?on (?:vacation|holiday|annual leave|leave)|"
    rf"abwesen(?:heit|d)|absen(?:ce|t) du bureau|fuera de (?:la )?oficina|fuori (?:sede|ufficio)|afwezig|ausência|ausente)(?:{_ENDS}|{_UNTIL})",
    re.I,
)
_REPLY_TEXT: Final = re.compile(
    r"out of (?:the |my )?(?:office|town)|away from (?:my|the) (?:office|desk|mail|e-?mail)|on (?:vacation|holiday|annual leave|leave|parental|maternity)|this is an? auto(?:matic )?-?(?:reply|response)|limited access to (?:e-?mail|my)|"
    r"will be (?:back|returning|out|away)|nicht im (?:büro|haus)|abwesend|urlaub|absent|congés|vacaciones|in ferie",
    re.I,
)
_TOPIC: Final = re.compile(r"automatic(?:ally)? (?:reply|response)|auto-?(?:reply|response)", re.I)
"""Said by a program of itself, and by people who write about one."""
_ASKS: Final = re.compile(
    r"\?(?:\s|$)|\b(?:can|could|would|will) you\b|\blet me know\b|\bplease (?:send (?:me|us|it|the|that|over)|call me|sign|confirm|approve|review|tell|give|ship|pay|reply|answer)\b|"
    r"\bbitte (?:schick|send|ruf|unterschreib)|\bkönn(?:en sie|test|ten sie)\b|\b(?:pourriez|pouvez)[- ]vous\b|\bpued(?:es?|en)\b",
    re.I,
)
"""Who is away sends people elsewhere; who asks for something has written a letter."""
_NOTE_LENGTH: Final = 2000


def _says_automatic(mail: Evidence) -> bool:
    return mail.header("auto-submitted") not in {"", "no"}


def _is_from_program(mail: Evidence) -> bool:
    """Whether a field says that a program wrote it, of those that some people's mail has too."""
    return (
        mail.header("precedence") in {"bulk", "junk"}
        or "x-auto-response-suppress" in mail.headers
        or "x-loop" in mail.headers
    ) and "list-unsubscribe" not in mail.headers


def _is_note(mail: Evidence, *says: re.Pattern[str]) -> bool:
    """Whether the text greets nobody by name, asks for nothing, and says what one of `says`, if any, looks for."""
    start = mail.text[:_NOTE_LENGTH]
    return not mail.greeted and not _ASKS.search(start) and (not says or any(one.search(start) for one in says))


@_fact("auto-replied", "reply", "RFC 3834 section 5: Auto-Submitted: auto-replied")
def _(mail: Evidence) -> bool:
    return re.split(r"[;(\s]", mail.header("auto-submitted"), maxsplit=1)[0] == "auto-replied"


@_fact("responder-field", "reply", "fields of vacation programs and autoresponders")
def _(mail: Evidence) -> bool:
    if not _RESPONDER_FIELDS.isdisjoint(mail.headers) and any(
        mail.header(name) not in {"", "no", "false", "0"} for name in _RESPONDER_FIELDS
    ):
        return True
    return (
        mail.header("precedence") in {"auto_reply", "auto-reply"}
        or "autoresponder" in mail.header("delivered-to")
        or mail.header("x-autogenerated") == "reply"
        or "autoresponder" in mail.header("x-post-messageclass")
    )


@_fact("disposition-report", "reply", "RFC 8098 section 3: a receipt that a mail was shown")
def _(mail: Evidence) -> bool:
    return "disposition-notification" in mail.header("content-type") or "message/disposition-notification" in mail.kinds


@_fact(
    "away-subject",
    "reply",
    "subject prefixes of Exchange and others that set no field, by language, together with a field or the text",
    reads=True,
)
def _(mail: Evidence) -> bool:
    if _says_automatic(mail) and _REPLY_SUBJECT.match(mail.subject):
        return True
    if not mail.text:
        return False
    if _NAMED_SUBJECT.match(mail.subject):
        return _is_from_program(mail) or _is_note(mail)
    return bool(_AWAY_SUBJECT.match(mail.subject)) and not mail.has_quote and _is_note(mail, _REPLY_TEXT)


@_fact("away-note", "reply", "an away note from a program that says so in some other field", reads=True)
def _(mail: Evidence) -> bool:
    if not mail.text:
        return False
    if _says_automatic(mail):
        start = mail.text[:_NOTE_LENGTH]
        return bool(_REPLY_TEXT.search(start) or _TOPIC.search(start))
    about = _is_from_program(mail) and _ABOUT_ABSENCE.search(mail.subject)
    return bool(about) and _is_note(mail, _REPLY_TEXT)


_ABOUT_ABSENCE: Final = re.compile(r"out of (?:the )?office|vacation|holiday|away|absen|urlaub|ooo", re.I)
_MEETING_SUBJECT: Final = re.compile(
    r"^\s*(?:(?:updated )?invitation(?: with note)?|accepted|declined|tentative(?:ly accepted)?|cancel(?:l)?ed(?: event)?|new time proposed|einladung|zugesagt|abgesagt|angenommen|abgelehnt|"
    r"invitación|aceptada|invito|accettato|uitnodiging|accepté|refusé|notification)\s*(?:\([^)]{0,40}\))?\s*:",
    re.I,
)


@_fact("meeting-part", "calendar", "RFC 6047 section 2.4: a text/calendar part with a method")
def _(mail: Evidence) -> bool:
    return "text/calendar;method" in mail.kinds or mail.root_kind == "text/calendar"


@_fact("meeting-class", "calendar", "Content-Class of Exchange's calendar messages (MS-OXCMAIL 2.1.3.2.9)")
def _(mail: Evidence) -> bool:
    return "calendarmessage" in mail.header("content-class")


@_fact(
    "meeting-notice",
    "calendar",
    "subject prefixes of calendar programs beside a calendar file, or their sender",
    reads=True,
)
def _(mail: Evidence) -> bool:
    if mail.sender.address == "calendar-notification@google.com":
        return True
    has_file = not mail.kinds.isdisjoint({"text/calendar", "application/ics"})
    return has_file and bool(mail.text) and bool(_MEETING_SUBJECT.match(mail.subject)) and not mail.greeted


@_fact("abuse-report", "transactional", "RFC 5965 section 2: report-type=feedback-report")
def _(mail: Evidence) -> bool:
    return "feedback-report" in mail.header("content-type") or "message/feedback-report" in mail.kinds


@_fact("dmarc-report", "transactional", "RFC 7489 section 7.2.1.1: Report Domain, Submitter, Report-ID")
def _(mail: Evidence) -> bool:
    subject = mail.subject.lower()
    return "report domain:" in subject and ("submitter:" in subject or "report-id:" in subject)
