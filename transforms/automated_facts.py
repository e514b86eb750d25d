"""The facts of automated mail that need no weighing: delivery reports, automatic replies, calendar mail, machine reports.

Each is one small function that answers whether it holds; the first that does decides. Some need the text and are silent
until it was read.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Final, Literal

from .automated_evidence import Evidence, is_role_address
from .bounce_words import BOUNCE_TEXT, COPY, FIRST_PERSON, TEXT_COPY, count_marks, is_daemon_name, says_bounce

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


_REPORTS: Final = frozenset({"message/delivery-status", "message/global-delivery-status", "message/xdelivery-status"})
_OTHER_REPORTS: Final = frozenset({"message/feedback-report", "message/disposition-notification"})
_ANSWER: Final = re.compile(r"\s*(?:re|fwd?|aw|wg|tr|rv|sv|vs|vb|vl|i|r|enc|doorst|antw)\s*(?:\[\d+\])?\s*:", re.I)
_DAEMON: Final = re.compile(
    r"^(?:mailer[-_.]?daemon|mail[-_.]?daemon|double-?bounce|bounces?|mdaemon|mail-?delivery|mailerdaemon|mail[-_.]?system|daemon|qmail-?send|microsoftexchange[0-9a-f]{32})(?:$|[+.\-_=0-9])"
)
_POSTMASTER: Final = re.compile(r"^(?:post[-_.]?master|mail[-_.]?master|mta|mail[-_.]?gateway|)$")
_MAYBE_SYSTEM: Final = re.compile(r"^(?:mail|root|administrator|smtp|mail-?admin)$")
"""A small firm's people write from mail@ too."""
_SYSTEM: Final = re.compile(
    r"^(?:(?:sys|list)admin|[a-z]{0,6}system|(?:mail|smtp)-?(?:server|relay|host|hub)|listserv|majordomo|imss|virus-?alert)$"
)


@_fact(
    "delivery-report", "bounce", "RFC 3464 section 2; RFC 6522 section 3: multipart/report, report-type=delivery-status"
)
def _(mail: Evidence) -> bool:
    form = mail.header("content-type")
    if mail.root_kind in _REPORTS:
        return True
    is_wrapped = not _ANSWER.match(mail.subject)  # by a gateway, once more
    if is_wrapped and mail.kinds & _REPORTS:
        return True
    is_report = (
        mail.root_kind == "multipart/report"
        or form.startswith("multipart/report")
        or (is_wrapped and "multipart/report" in mail.kinds)
    )
    is_other = "feedback-report" in form or "disposition-notification" in form or bool(mail.kinds & _OTHER_REPORTS)
    return is_report and ("delivery-status" in form or bool(mail.kinds & _REPORTS) or not is_other)


@_fact("failed-recipients", "bounce", "X-Failed-Recipients of Exim and Gmail")
def _(mail: Evidence) -> bool:
    return bool(mail.header("x-failed-recipients"))


@_fact(
    "report-field",
    "bounce",
    "fields that mail systems set on what they return: Auto-Submitted with a failure, qmail's Received, Exchange's",
)
def _(mail: Evidence) -> bool:
    return (
        not _REPORT_FIELDS.isdisjoint(mail.headers)
        or bool(_FAILURE.match(mail.header("auto-submitted")))
        or "invoked for bounce)" in mail.headers.get("received")
    )


_REPORT_FIELDS: Final = frozenset({"x-ms-exchange-message-is-ndr", "x-mx-bounce"})
_FAILURE: Final = re.compile(
    r"auto-generated\s*\(\s*(?:fail|warning-timeout|delay|bounce|reject|undeliver|return-receipt)"
)


@_fact("mailer-daemon", "bounce", "local parts and names of mail systems (RFC 5321 section 6.1, RFC 2142 section 5)")
def _(mail: Evidence) -> bool:
    if _DAEMON.match(mail.local):
        is_doubtful = mail.local.startswith("bounce") or not _LISTS.isdisjoint(mail.headers)
        return not is_doubtful or says_bounce(mail.subject)
    if not mail.sender.address and mail.header("from").lstrip(' "<').startswith("mailer-daemon"):
        return True
    return _is_postmaster(mail) and says_bounce(mail.subject)


_LISTS: Final = frozenset(["list-unsubscribe", "list-id"])


def _is_postmaster(mail: Evidence) -> bool:
    return bool(_POSTMASTER.match(mail.local) or is_daemon_name(mail.sender.name))


@_fact("empty-return-path", "bounce", "RFC 5321 section 4.5.5: notifications have an empty envelope sender")
def _(mail: Evidence) -> bool:
    """Beside it subject, author or a returned mail has to say it is one: answers of programs have an empty sender too."""
    if not _has_empty_sender(mail):
        is_blank = "return-path" in mail.headers and not mail.header("return-path")
        return is_blank and (says_bounce(mail.subject) or is_daemon_name(mail.sender.name))
    is_postmaster = _is_postmaster(mail) and bool(mail.local or mail.sender.name)
    return is_postmaster or says_bounce(mail.subject) or _returns_mail(mail)


def _has_empty_sender(mail: Evidence) -> bool:
    """Whether the envelope named nobody; some systems write their own mailer-daemon there."""
    return "return-path" in mail.headers and any(map(_EMPTY_SENDER.fullmatch, mail.headers["return-path"].split("\n")))


_EMPTY_SENDER: Final = re.compile(r"\s*<\s*(?:mailer-daemon(?:@[^\s>]*)?)?\s*>\s*", re.I)


def _returns_mail(mail: Evidence) -> bool:
    """Whether it carries another mail, and neither is an answer nor a report of another kind."""
    return (
        not mail.kinds.isdisjoint(_ORIGINALS)
        and mail.kinds.isdisjoint(_OTHER_REPORTS)
        and not _ANSWER.match(mail.subject)
        and not mail.header("auto-submitted").startswith("auto-replied")
    )


_ORIGINALS: Final = frozenset({"message/rfc822", "text/rfc822-headers", "message/rfc822-headers"})
_ADDRESS: Final = re.compile(r"[^\s@<>]@[\w-]+\.\w")


@_fact("bounce-report", "bounce", "subject and text of a delivery report without its form", reads=True)
def _(mail: Evidence) -> bool:
    """A postmaster needs only say so; anybody else also has to name an address or a server, and not to write a letter."""
    start = mail.whole
    if not start:
        return False
    from_nobody = _has_empty_sender(mail)
    if mail.greeted:  # a letter, be it a postmaster's
        return from_nobody and count_marks(start) > 0
    if from_nobody or _POSTMASTER.match(mail.local):
        return count_marks(start) > 0 or bool(BOUNCE_TEXT.search(start))
    if _ANSWER.match(mail.subject):
        return False
    is_system = bool(_SYSTEM.match(mail.local)) + is_daemon_name(mail.sender.name) + _is_list_server(mail)
    may_be_system = is_system > 0 or bool(_MAYBE_SYSTEM.match(mail.local))
    says_subject = says_bounce(mail.subject)
    has_original = not mail.kinds.isdisjoint(_ORIGINALS) or (
        ("Received: " in start or "Return-Path:" in start) and bool(TEXT_COPY.search(start))
    )
    marks = count_marks(start, code_alone=may_be_system or says_subject)
    if not (is_system or (may_be_system and marks > 0) or says_subject or has_original or marks >= 2):
        return False  # nearly all mail: what follows looks at every letter of the text
    copy = COPY.search(start)
    own = start[: copy.start()] if copy else start
    said = own.partition("@")[0] if marks >= 4 else own  # what the servers said may have an I too
    if FIRST_PERSON.search(said) or (not is_system and _is_signed(mail, own)):
        return False
    if marks >= 4 or (may_be_system and marks > 0) or (is_system > 0 and has_original):
        return True
    is_sure = (
        has_original
        or marks >= (1 if says_subject else 2)
        or is_system + says_subject + bool(_ADDRESS.search(own)) >= 2
    )
    return is_sure and bool(BOUNCE_TEXT.search(start))


def _is_list_server(mail: Evidence) -> bool:
    return bool(_LIST_LOCAL.search(mail.local)) and not _LIST_FIELDS.isdisjoint(mail.headers)


_LIST_LOCAL: Final = re.compile(r"-(?:admin|owner|request|bounces?)$|^owner-")
_LIST_FIELDS: Final = frozenset(
    ["x-mlserver", "x-ml-name", "x-listserver", "x-beenthere", "x-mailman-version", "list-id"]
)


def _is_signed(mail: Evidence, text: str) -> bool:
    """Whether a line of `text`, or a part of it between commas, is the author's name, as people write their own."""
    if mail.has_company_name or is_role_address(mail.sender.address):
        return False
    names = {word for word in (*mail.name_words, *_WORD.findall(mail.local)) if len(word) > 2} - _SYSTEM_WORDS
    return bool(names) and any(
        _is_name(part, names)
        for line in text.splitlines()
        if len(line) <= _SIGNATURE_LENGTH and "@" not in line
        for part in _PARTS.split(line)
    )


def _is_name(text: str, names: set[str]) -> bool:
    words = text.split()
    return (
        0 < len(words) <= _NAME_LENGTH
        and not any(word[0].islower() for word in words)
        and any(word.lower() in names for word in words)
    )


_SIGNATURE_LENGTH: Final = 60
_NAME_LENGTH: Final = 3
_PARTS: Final = re.compile(r"[,.;|/()–—]|\s-+\s")
_SYSTEM_WORDS: Final = frozenset(
    ["mail", "mailer", "email", "delivery", "message", "server", "gateway", "filter", "relay", "smtp", "mta", "notes", "router", "spam", "virus", "firewall"]
)  # fmt: skip
_WORD: Final = re.compile(r"[^\W\d_]+")


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
        or mail.header("x-apple-action") == "vacation"
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
