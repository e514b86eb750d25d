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

FactKind = Literal["bounce", "reply", "calendar", "transactional"]


@dataclasses.dataclass(frozen=True, slots=True)
class Fact:
    """A named fact: the kind of automated mail it proves, and where the rule comes from."""

    name: str
    kind: FactKind
    source: str
    holds: Callable[[Evidence], bool]


FACTS: Final[list[Fact]] = []


def _fact(name: str, kind: FactKind, source: str) -> Callable[[Callable[[Evidence], bool]], Callable[[Evidence], bool]]:
    def register(holds: Callable[[Evidence], bool]) -> Callable[[Evidence], bool]:
        FACTS.append(Fact(name, kind, source, holds))
        return holds

    return register


_REPORTS: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})
_OTHER_REPORTS: Final = frozenset({"message/feedback-report", "message/disposition-notification"})
_DAEMON: Final = re.compile(
    r"^(?:mailer[-_.]?daemon|mail[-_.]?daemon|double-?bounce|bounces?|mdaemon|mail-?delivery|mailerdaemon|mail\.?system|daemon)(?:$|[+.\-_=0-9])"
)
_SYSTEM_LOCAL: Final = re.compile(
    r"^(?:post[-_.]?master|mail|root|administrator|smtp|mail-?admin|mail[-_.]?gateway|mta|)$"
)
_DAEMON_NAME: Final = re.compile(
    r"mail delivery (?:sub)?system|mailer[- ]daemon|mail(?:er)? administrator|postmaster|system administrator|mail system|internet mail delivery|mail-?zustell",
    re.I,
)
_BOUNCE_SUBJECT: Final = re.compile(
    r"^\W*(?:\w{1,20}\]\s*)?(?:undeliver(?:able|ed)|delayed mail|mail delivery|e-?mail delivery|message status|error sending|banned contents|virus in mail|considered unsolicited|rejected (?:mail|post|message)|not member article|reject mail|mail system error|undelivered mail|un(?:able|successful) to deliver|returned (?:mail|e-?mail|message|to sender)|return(?:ed)? to sender|failure notice|failed (?:mail|delivery|to deliver)|failure delivery|delivery (?:status notification|status|failure|failed|error|notification|problem|report|has failed|unsuccessful|delayed)|"
    r"(?:mail|message|e-?mail)(?: |_|-)(?:delivery|transaction|system|status|could not|couldn't|not|un)(?: |-)?(?:fail|error|status|unsuccess|be deliver|deliver|problem|report|delay|deliverable|subsystem)|mail (?:error|failure|failed|returned)|message (?:failure|delayed|delivery|undeliverable)|non[- ]?(?:delivery|remise|deliverable)|"
    r"(?:warning|notice|error|notification|fatal error|nondeliverable|rejected|\[?bounce\]?)\b.{0,40}(?:deliver|could not send|mail|message|not sent)|(?:could|can) ?(?:no|n.)t (?:be )?(?:deliver|send)|could not send|your message .{0,40}(?:not|couldn.t|could not|blocked|rejected|wasn.t) ?(?:be )?(?:deliver|sent)?|user unknown|no such user|"
    r"unzustellbar|zustellung(?:sfehler|sproblem)?|nicht zustellbar|nachricht (?:konnte )?nicht (?:zugestellt|zustellbar)|mail non|échec|non remis|messaggio non|consegna|mancato recapito|no se (?:ha podido|pudo) entregar|devolución|correo devuelto|niet bezorgd|onbestelbaar|недостав|не доставлен|未配達|配信(?:エラー|不能|できません|失敗)|送信エラー|宛先不明|エラーメール|退信|投递失败)",
    re.I,
)
_BOUNCE_TEXT: Final = re.compile(
    r"reporting-mta:|final-recipient:|diagnostic-code:|original-recipient:|\b[45]\d\d[ -][45]\.\d\.\d|\b55[0-4][ -:]|\b45[0-2][ -]|user (?:is )?unknown|(?:mailbox|address|recipient|user|account) (?:is )?(?:unavailable|not found|does(?: not|n.t) exist|full|disabled|rejected|unknown|over quota|not listed)|"
    r"(?:could|can|was)(?: ?not|n.t| not be| never) (?:be )?(?:deliver|sent|send|reach)|(?:un(?:able|successful)|fail(?:ed|ure)?) (?:to|in) (?:deliver|send|reach|relay)|permanent (?:fatal )?error|delivery (?:to|of) .{0,120}(?:fail|delay|abort)|(?:did|has|have) not (?:been|reach)|quota exceeded|no such (?:user|recipient|mailbox|address)|"
    r"undeliver|returned (?:mail|message|to (?:the )?sender)|this message was created automatically by mail|message (?:has been )?(?:rejected|refused|blocked|returned)|transcript of session follows|i.m afraid i wasn.t able|relay(?:ing)? denied|transmission error|host (?:not found|unknown)|invalid (?:recipient|address|mailbox)|not delivered|delivery (?:failed|error|failure)|(?:konnte|kann) nicht (?:zu|aus)gestellt|unbekannter empf|n.a (?:pas )?pu être (?:remis|envoy)|no se (?:ha podido|pudo) entregar|não (?:pôde|foi) (?:ser )?entregue|impossibile (?:consegnare|recapitare)|送信できません|配信できません|届きません|宛先(?:不明|が)|ユーザー?が(?:存在|見つ)|无法投递|не (?:может быть|был[оа]?) доставлен",
    re.I,
)


@_fact(
    "delivery-report", "bounce", "RFC 3464 section 2; RFC 6522 section 3: multipart/report, report-type=delivery-status"
)
def _(mail: Evidence) -> bool:
    form = mail.header("content-type")
    is_report = mail.root_kind == "multipart/report" or form.startswith("multipart/report")
    is_other = "feedback-report" in form or "disposition-notification" in form or bool(mail.kinds & _OTHER_REPORTS)
    return is_report and ("delivery-status" in form or bool(mail.kinds & _REPORTS) or not is_other)


@_fact("failed-recipients", "bounce", "X-Failed-Recipients of Exim and Gmail")
def _(mail: Evidence) -> bool:
    return bool(mail.header("x-failed-recipients"))


@_fact("mailer-daemon", "bounce", "local parts and names of mail systems (RFC 5321 section 6.1, RFC 2142 section 5)")
def _(mail: Evidence) -> bool:
    if _DAEMON.match(mail.local) and "list-unsubscribe" not in mail.headers and "list-id" not in mail.headers:
        return bool(_DAEMON.match(mail.local)) and (
            not mail.local.startswith("bounce") or bool(_BOUNCE_SUBJECT.match(mail.subject))
        )
    is_system = bool(_SYSTEM_LOCAL.match(mail.local)) or bool(_DAEMON_NAME.search(mail.sender.name))
    return is_system and bool(_BOUNCE_SUBJECT.match(mail.subject))


@_fact("empty-return-path", "bounce", "RFC 5321 section 4.5.5: notifications have an empty envelope sender")
def _(mail: Evidence) -> bool:
    path = mail.headers.get("return-path", "x").strip()
    return path in {"<>", "< >", "<MAILER-DAEMON>", ""} and bool(
        _BOUNCE_SUBJECT.match(mail.subject) or _DAEMON_NAME.search(mail.sender.name)
    )


_MARKS: Final = (
    "reporting-mta:", "final-recipient:", "original-recipient:", "diagnostic-code:", "remote-mta:", "action: failed", "action: delayed", "rcpt to:", "mail from:",
    "transcript of session", "while talking to", "smtp error", "smtp server", "said: 5", "said: 4", "returned message", "original message follows", "message headers follow",
    "copy of the original", "copy of your message", "copy of the message", "return-path:", "undeliverable", "domain name not found", "status: 5.", "status: 4.",
)  # fmt: skip
_CODE: Final = re.compile(r"\b[45]\d\d[ -]+[45]\.\d\.\d|\b55[0-4] ")
_ORIGINALS: Final = frozenset({"message/rfc822", "text/rfc822-headers", "message/rfc822-headers"})
_LETTER: Final = re.compile(
    r"^(?:hi|hello|hey|dear|hallo|bonjour|hola)\b|\b(?:i|my|me|we|ich|wir|je|nous)\b(?!')", re.I | re.M
)


@_fact("bounce-report", "bounce", "subject and text of a delivery report without its form")
def _(mail: Evidence) -> bool:
    start = mail.whole
    if not start:
        return False
    path = mail.headers.get("return-path", "x").strip()
    is_system = bool(_SYSTEM_LOCAL.match(mail.local)) or bool(_DAEMON_NAME.search(mail.sender.name)) or path == "<>"
    if is_system:
        return _count_marks(start) > 0 or bool(_BOUNCE_TEXT.search(start))
    if mail.has_quote and mail.subject.lower().startswith(("re:", "fw")):
        return False
    if _BOUNCE_SUBJECT.match(mail.subject) and _BOUNCE_TEXT.search(start):
        return True
    marks = _count_marks(start)
    has_original = bool(mail.kinds & _ORIGINALS)
    if marks >= 4:
        return True
    return (marks >= 2 or has_original) and not _LETTER.search(start) and bool(_BOUNCE_TEXT.search(start))


def _count_marks(text: str) -> int:
    """How many different marks of a transcript `text` holds."""
    lower = text.lower()
    return sum(mark in lower for mark in _MARKS) + bool(_CODE.search(lower))


_RESPONDER_FIELDS: Final = (
    "x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-reply", "x-auto-respond", "x-mail-autoreply", "x-autoreply-from", "x-vacation", "x-fc-machinegenerated",
)  # fmt: skip
_REPLY_SUBJECT: Final = re.compile(
    r"^\W*(?:(?:re|aw)\s*:\s*)?(?:auto(?:matic(?:ally)?|mated|matische?r?)?[- ]?(?:reply|response|responder|generated reply|respuesta|antwort|svar|antwoord)\b|auto\s*:|out[- ]of[- ](?:the[- ])?office(?: (?:auto ?-?reply|notification|message|response|re))?\s*(?::|$|\()|ooo\s*:|"
    r"(?:i am |i'm )?(?:away from|out of) (?:my|the) (?:office|desk|mail)|on (?:vacation|holiday|leave)\s*[:(]|vacation (?:reply|response|message|notice)|abwesen(?:heit|d)|automatische (?:antwort|abwesenheit)|réponse automatique|absen(?:ce|t) du bureau|message d.absence|respuesta autom[áa]tica|"
    r"fuera de (?:la )?oficina|risposta automatica|fuori (?:sede|ufficio)|automatisch antwoord|afwezig|autosvar|automatiskt svar|automaattinen vastaus|resposta autom[áa]tica|ausência|odpowiedź automatyczna|автоответ|自動(?:返信|応答)|自动(?:答复|回复))",
    re.I,
)
_REPLY_TEXT: Final = re.compile(
    r"out of (?:the |my )?(?:office|town)|away from (?:my|the) (?:office|desk|mail|e-?mail)|on (?:vacation|holiday|annual leave|leave|parental|maternity)|automatic(?:ally)? (?:reply|response)|auto-?(?:reply|response)|limited access to (?:e-?mail|my)|"
    r"will be (?:back|returning|out|away)|nicht im (?:büro|haus)|abwesend|urlaub|absent|congés|vacaciones|in ferie",
    re.I,
)


@_fact("auto-replied", "reply", "RFC 3834 section 5: Auto-Submitted: auto-replied")
def _(mail: Evidence) -> bool:
    return re.split(r"[;(\s]", mail.header("auto-submitted"), maxsplit=1)[0] == "auto-replied"


@_fact("responder-field", "reply", "fields of vacation programs and autoresponders")
def _(mail: Evidence) -> bool:
    if any(mail.header(name) not in {"", "no", "false", "0"} for name in _RESPONDER_FIELDS):
        return True
    marks = (
        mail.header("precedence") in {"auto_reply", "auto-reply"},
        "autoresponder" in mail.header("delivered-to"),
        mail.header("x-autogenerated") == "reply",
    )
    return any(marks) or "autoresponder" in mail.header("x-post-messageclass")


@_fact("disposition-report", "reply", "RFC 8098 section 3: a receipt that a mail was shown")
def _(mail: Evidence) -> bool:
    return "disposition-notification" in mail.header("content-type") or "message/disposition-notification" in mail.kinds


@_fact("away-subject", "reply", "subject prefixes of Exchange and others that set no field, by language")
def _(mail: Evidence) -> bool:
    return bool(_REPLY_SUBJECT.match(mail.subject))


@_fact("away-note", "reply", "an away note from a program that says so in some other field")
def _(mail: Evidence) -> bool:
    says_auto = mail.header("auto-submitted") not in {"", "no"}
    by_program = (
        mail.header("precedence") in {"bulk", "junk"}
        or "x-auto-response-suppress" in mail.headers
        or "x-loop" in mail.headers
    ) and "list-unsubscribe" not in mail.headers
    about = by_program and re.search(
        r"out of (?:the )?office|vacation|holiday|away|absen|urlaub|ooo|^re:", mail.subject, re.I
    )
    return bool((says_auto or about) and _REPLY_TEXT.search(mail.text[:2000]))


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


@_fact("meeting-notice", "calendar", "subject prefixes of calendar programs beside a calendar file, or their sender")
def _(mail: Evidence) -> bool:
    has_file = bool(mail.kinds & {"text/calendar", "application/ics"})
    return (
        bool(_MEETING_SUBJECT.match(mail.subject)) and has_file
    ) or mail.sender.address == "calendar-notification@google.com"


@_fact("abuse-report", "transactional", "RFC 5965 section 2: report-type=feedback-report")
def _(mail: Evidence) -> bool:
    return "feedback-report" in mail.header("content-type") or "message/feedback-report" in mail.kinds


@_fact("dmarc-report", "transactional", "RFC 7489 section 7.2.1.1: Report Domain, Submitter, Report-ID")
def _(mail: Evidence) -> bool:
    subject = mail.subject.lower()
    return "report domain:" in subject and ("submitter:" in subject or "report-id:" in subject)
