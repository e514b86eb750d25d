"""The signals of automated mail: each one small function that looks at a mail and says how strongly it speaks.

A signal says nothing about weights: they are in automated_weights.tsv, one column a version of the rule set. The rules that
need no weighing (delivery reports, automatic replies, calendar mail) are in automated_facts.py.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Final, Literal

from .domains import is_free_mail, registrable_domain
from .gmail_payload import Part, part_types, read_bytes, read_root
from .records import MailText, NormalizedMessage, Participant

Leaning = Literal["marketing", "transactional", "person"]

_MAX_LOOKED_AT: Final = 24_000
"""Characters of a body that signals look at: the beginning and the end."""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the signals may look at. `text` is the mail's own words (quoted history left out), "" until the body is read."""

    headers: Mapping[str, str]
    labels: tuple[str, ...]
    sender: Participant
    recipients: tuple[Participant, ...]
    copied: tuple[Participant, ...]
    subject: str
    has_references: bool
    kinds: frozenset[str]
    root_kind: str = ""
    is_contact: bool = False
    text: str = ""
    has_quote: bool = False
    html_links: int = 0
    html_images: int = 0

    @classmethod
    def of(cls, message: NormalizedMessage, body: MailText | None, *, is_contact: bool = False) -> Evidence:
        """From a message, with its `body` once that was read. `is_contact`: the author is, exactly, a contact or lead.

        Raises:
            MalformedMessageError: the payload is not a Gmail message.
        """
        headers: dict[str, str] = {}
        for name, value in message.headers:
            headers[name] = f"{headers[name]}\n{value}" if name in headers else value
        text, has_quote = own_words(body) if body is not None else ("", False)
        root = read_root(message.payload)
        kinds = set(part_types(root))
        links, images = _count_html(root) if body is not None else (0, 0)
        if "text/calendar" in kinds and _CALENDAR_METHOD.search(message.payload):
            kinds.add("text/calendar;method")
        return cls(
            headers=headers,
            labels=message.labels,
            sender=message.sender or Participant(""),
            recipients=message.to,
            copied=message.cc,
            subject=message.subject,
            has_references=bool(message.references),
            kinds=frozenset(kinds),
            root_kind=root.kind,
            is_contact=is_contact,
            text=text,
            has_quote=has_quote,
            html_links=links,
            html_images=images,
        )

    def header(self, name: str) -> str:
        """The field `name` (lower case), trimmed and in lower case; repeated ones on lines of their own; "" if missing."""
        return self.headers.get(name, "").strip().lower()

    @functools.cached_property
    def lower(self) -> str:
        """The mail's own words in lower case, blanks run together."""
        return " ".join(self.text.lower().split())

    @functools.cached_property
    def words(self) -> int:
        """How many words of its own the mail has, links not counted."""
        return len(re.findall(r"[^\W\d_]{2,}|\bi\b", _LINK.sub(" ", self.lower)))

    @functools.cached_property
    def links(self) -> int:
        """How many links its own words hold."""
        return max(len(_LINK.findall(self.lower)), 0 if self.has_quote else self.html_links)

    @functools.cached_property
    def lines(self) -> tuple[str, ...]:
        """Non-empty lines of its own words, trimmed."""
        return tuple(line for raw in self.text.splitlines() if (line := raw.strip()))

    @functools.cached_property
    def local(self) -> str:
        """The author's local part."""
        return local_part(self.sender.address)

    @functools.cached_property
    def is_discussion(self) -> bool:
        """Whether people post to the list it came through (RFC 2369 section 3.4, Google Groups): its list fields say nothing."""
        post = self.header("list-post")
        return (
            (bool(post) and "mailto:" in post) or "x-google-group-id" in self.headers or "mailing-list" in self.headers
        )


def _count_html(root: Part) -> tuple[int, int]:
    """Links and pictures of the HTML bodies, counted without parsing; those of a kilobyte-long logo count too."""
    links = images = 0
    waiting = [root]
    while waiting:
        part = waiting.pop()
        waiting.extend(part.parts or ())
        if part.kind == "text/html" and not part.filename and part.body is not None and part.body.data:
            html = read_bytes(part.body.data[:_MAX_HTML]).lower()
            links += html.count(b"href=") - html.count(b"<link") - html.count(b"mailto:")
            images += html.count(b"<img")
    return max(links, 0), images


_MAX_HTML: Final = 200_000
_CALENDAR_METHOD: Final = re.compile(rb"text\\?/calendar(?:[^\"\\]|\\.){0,300}?method\s*=", re.IGNORECASE)
"""In the JSON itself, where quotes are escaped: base64url bodies hold no such text."""
_WORD: Final = re.compile(r"[^\W\d_]{3,}")
_LINK: Final = re.compile(r"https?://|\bwww\.[a-z0-9]|<a href|\[https?:")
_QUOTE_START: Final = re.compile(
    r"^[ \t>]*(?:-{2,} ?(?:original message|forwarded (?:message|by)|ursprüngliche nachricht|message d'origine|mensaje original)"
    r"|begin forwarded message|_{10,}\s*\n\s*from:|on .{5,120}wrote:\s*$|am .{5,120}schrieb.{0,80}:\s*$|le .{5,120}a écrit\s?:\s*$"
    r"|el .{5,120}escribió:\s*$|from:[^\n]{1,200}\n\s*(?:sent|date|to):"
    r"|.{1,80}@[^\n]{1,60}\n?[^\n]{0,60}\bon \d{2}/\d{2}/\d{2,4} \d{2}:\d{2})",
    re.I | re.M,
)


def own_words(body: MailText) -> tuple[str, bool]:
    """The text without quoted history, bounded, and whether there was any."""
    text = body.text
    has_quote = False
    for span in sorted((span for span in body.spans if span.kind == "quote"), key=lambda one: -one.start):
        text = text[: span.start] + text[span.end :]
        has_quote = True
    found = _QUOTE_START.search(text[:_MAX_LOOKED_AT])
    if found:
        text, has_quote = text[: found.start()], True
    kept = [line for line in text.splitlines() if not line.lstrip().startswith(">")]
    if len(kept) < len(text.splitlines()):
        text, has_quote = "\n".join(kept), True
    if len(text) > _MAX_LOOKED_AT:
        text = f"{text[: _MAX_LOOKED_AT * 3 // 4]}\n{text[-_MAX_LOOKED_AT // 4 :]}"
    return text, has_quote


def local_part(address: str) -> str:
    """What stands before the last @, lower case."""
    return address.rpartition("@")[0].lower()


_ROBOT: Final = re.compile(
    r"(?:^|[._+=-])(?:no[._-]?reply|do[._-]?not[._-]?reply|dont[._-]?reply|not?[._-]?respond|never[._-]?reply|nao[._-]?responda|"
    r"no[._-]?responder|keine[._-]?antwort|nepasrepondre|ne[._-]?pas[._-]?repondre|unattended|auto[._-]?(?:mail|mailer|confirm|generated|"
    r"message|notify|reply|responder)|mailer|robot|bot|daemon|mailer[._-]?daemon|postmaster|bounces?|listserv|majordomo|mailman|"
    r"notify|notif(?:ication|ier)s?|alerts?|autoresponder|system|sysadmin|cron|nobody|root|www-data|apache|jira|bugzilla|jenkins|gitlab|rss|feeds?|rssfeeds?|commits?|distribution|dispatch|[a-z]{0,6}system|server|scheduler|workflow)"
    r"(?:$|[._+=\d-])"
)
_NO_REPLY: Final = re.compile(
    r"(?:^|[._+=-])(?:(?:ads|mail|email)?[._-]?no[._-]?reply|do[._-]?not[._-]?reply|dont[._-]?reply|nao[._-]?responda|no[._-]?responder|"
    r"keine[._-]?antwort|ne[._-]?pas[._-]?repondre|mailer[._-]?daemon)(?:$|[._+=\d-])"
)
_BULK: Final = re.compile(
    r"news(?:letters?|desk|flash|wire|alerts?|service|mail|room)?(?:$|[._+=\d-])|newsletter|e?bulletin|digest|market(?:ing|er|place)|promo(?:tion)?s?(?:$|[._+=-])|offers?(?:$|[._+=-])|"
    r"deals?(?:$|[._+=-])|campaign|mailings?(?:$|[._+=-])|(?:^|[._-])lists?(?:$|[._+=-])|subscri(?:be|ption|ber)|special|announce|updates?(?:$|[._+=-])|"
    r"survey|reminders?|events?(?:$|[._+=-])|seminars?|conferences?|webinars?|publi(?:cations?|sher)|editor|rewards?|members?(?:hip)?(?:$|[._+=-])|"
    r"e[._-]?mail(?:er|ing)?(?:$|[._+=-])|broadcast|daily|weekly|research|insight|report|travel(?:er)?s?(?:$|[._+=-])|store|shop|sweepstakes|save|savings"
)
_TRANSACTIONAL_LOCAL: Final = re.compile(
    r"billing|invoic|orders?(?:$|[._+=\d-])|receipts?|payments?|accounts?(?:$|[._+=-])|confirm|customer[._-]?(?:care|service|support)|shipping|shipment|"
    r"statement|reservations?|booking|ticket|verify|security|password|registr|workflow|approval|request|e?service|tracking|itinerary|e?commerce|transaction|feedback"
)
_ROLE: Final = re.compile(
    r"^(?:info|support|sales|hello|contact|team|help|helpdesk|service|services|admin|administrator|office|webmaster|feedback|mail|enquiries|"
    r"inquiries|inquiry|customerservice|customercare|care|hr|jobs|careers|recruiting|press|media|pr|reception|legal|it|ops|operations|"
    r"welcome|community|training|education|program|programs|general|staff|post|kontakt|buero|contacto|ventas|vertrieb|accueil)$"
)
_BULK_HOST: Final = re.compile(
    r"(?:^|[.-])(?:e?news(?:letters?)?\d*|e?mail(?:er|ing|ings|s)?\d*|em\d*|e|m|mkt|mktg|marketing|promo(?:tion)?s?|offers?|deals|bounces?|lists?|listserv|"
    r"campaigns?|updates?|info|notifications?|notify|alerts?|reply|response|go|click|links?|members?|announce|send|out|email|e-?mail)\d*[.-]"
)


def is_robot_address(address: str) -> bool:
    """Whether nobody reads what is sent to `address`: no-reply forms and mail systems, by local part only."""
    return bool(
        _NO_REPLY.search(local_part(address)) or local_part(address) in {"postmaster", "mailer-daemon", "daemon"}
    )


def is_role_address(address: str) -> bool:
    """Whether `address` names a function (info, support), not a person."""
    local = local_part(address)
    return bool(_ROLE.match(local) or _BULK.search(local) or _TRANSACTIONAL_LOCAL.search(local))


@dataclasses.dataclass(frozen=True, slots=True)
class Signal:
    """One thing that speaks for or against automated mail. `measure` answers 0 (silent) to 1 (as loud as it gets).

    `leaning` is what it speaks for: a kind of automated mail, or a person. `group` "list" marks fields that every mailing
    list sets: they never drop a mail among themselves. `prior` is the weight it would have without any training.
    """

    name: str
    leaning: Leaning
    source: str
    measure: Callable[[Evidence], float]
    prior: float
    group: str = ""


SIGNALS: Final[list[Signal]] = []


def _signal(
    name: str, leaning: Leaning, source: str, prior: float, group: str = ""
) -> Callable[[Callable[[Evidence], float]], Callable[[Evidence], float]]:
    def register(measure: Callable[[Evidence], float]) -> Callable[[Evidence], float]:
        SIGNALS.append(Signal(name, leaning, source, measure, prior, group))
        return measure

    return register


def _any(pattern: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(pattern, flags)


def _few(count: int, full: int) -> float:
    """A count as 0 to 1: each more says less."""
    return min(1.0, math.log1p(count) / math.log1p(full))


# --- header fields ---------------------------------------------------------------------------------------------------


@_signal("list-unsubscribe", "marketing", "RFC 2369 section 3.2", 1.2, "list")
def _(mail: Evidence) -> float:
    return not mail.is_discussion and len(mail.header("list-unsubscribe")) >= 3


@_signal("one-click", "marketing", "RFC 8058", 1.2, "list")
def _(mail: Evidence) -> float:
    return not mail.is_discussion and "one-click" in mail.header("list-unsubscribe-post")


@_signal("list-id", "marketing", "RFC 2919", 0.6, "list")
def _(mail: Evidence) -> float:
    return not mail.is_discussion and bool(mail.header("list-id"))


@_signal("precedence-bulk", "marketing", "RFC 2076 section 3.9", 1.2, "list")
def _(mail: Evidence) -> float:
    found = mail.header("precedence") or mail.header("x-precedence")
    return not mail.is_discussion and found in {"bulk", "junk", "list"}


@_signal("auto-submitted", "transactional", "RFC 3834 section 5", 3.0)
def _(mail: Evidence) -> float:
    return mail.header("auto-submitted").split(";")[0].split("(")[0].strip() not in {"", "no"}


@_signal("feedback-id", "marketing", "Gmail: Feedback Loop", 1.4, "list")
def _(mail: Evidence) -> float:
    return bool(mail.header("feedback-id") or mail.header("x-feedback-id"))


_CAMPAIGN: Final = (
    "x-mc-user", "x-campaign", "x-campaignid", "x-campaign-id", "x-kmail-account", "x-kmail-message", "x-sfmc-stack", "x-csa-complaints",
    "x-mailin-campaign", "x-mailjet-campaign", "x-roving-id", "x-marketoid", "x-mktomailid", "x-mkto-mailingid", "x-report-abuse",
    "x-mailer-recptid", "x-mailing-id", "x-mailingid", "x-newsletter", "x-bulkmail", "x-job", "x-jobid", "x-list-unsubscribe",
    "x-subscriber-id", "x-cid", "x-emarsys-identify", "x-mailer-info", "x-rpcampaign",
)  # fmt: skip


@_signal(
    "campaign-field", "marketing", "fields that only campaign senders set (Mailchimp, Klaviyo, Marketo, SFMC, ...)", 2.4
)
def _(mail: Evidence) -> float:
    return any(name in mail.headers for name in _CAMPAIGN)


_CARRIER: Final = (
    "x-sg-eid", "x-sg-id", "x-mailgun-sid", "x-mailgun-tag", "x-ses-outgoing", "x-pm-message-id", "x-pm-tag", "x-msfbl", "x-mj-mid",
    "x-sib-id", "x-mandrill-user", "x-amazon-mail-relay-type", "x-sparkpost", "x-postmark",
)  # fmt: skip


@_signal("carrier-field", "transactional", "fields of senders for hire, used for receipts and campaigns alike", 1.3)
def _(mail: Evidence) -> float:
    return any(name in mail.headers for name in _CARRIER)


_SCRIPT_MAILER: Final = _any(
    r"php|perl|python|mime::|mime-tools|cgi|asp|cdo|java(?!script)|jmail|aspmail|sendmail\.pl|swiftmailer|nodemailer|blat|actionmailer|"
    r"mailchimp|lyris|listmanager|listserv|majordomo|ezmlm|phplist|bulk|campaign|topica|bloglines|drupal|wordpress|exacttarget|accucast|"
    r"unitymail|strongmail|message ?mail|mail ?list|group ?mail|worldmerge|dynamics|responsys|doubleclick|e-?dialog|roving|cheetah|mass"
)


@_signal("program-mailer", "transactional", "X-Mailer of a script or campaign tool", 1.4)
def _(mail: Evidence) -> float:
    named = f"{mail.header('x-mailer')} {mail.header('user-agent')}"
    return (
        bool(_SCRIPT_MAILER.search(named))
        or "x-php-originating-script" in mail.headers
        or "x-php-script" in mail.headers
    )


_PERSON_MAILER: Final = _any(
    r"outlook|apple mail|iphone|ipad|thunderbird|mozilla|mutt|eudora|evolution|kmail|pine|gnus|lotus notes|notes release|sylpheed|"
    r"ximian|squirrelmail|horde|imp\b|roundcube|airmail|the bat|pegasus|internet mail service|exmh|vm \d|mh-e|gmail|zimbra|webmail|aol"
)


@_signal("person-mailer", "person", "X-Mailer or User-Agent of a mail client", -1.0)
def _(mail: Evidence) -> float:
    return bool(_PERSON_MAILER.search(f"{mail.header('x-mailer')} {mail.header('user-agent')}"))


@_signal("verp-return-path", "marketing", "envelope sender that names its recipient or a bounce handler (VERP)", 1.2)
def _(mail: Evidence) -> float:
    path = mail.header("return-path").strip("<> ")
    local = local_part(path)
    looks = re.search(r"bounce|return|errors?-|owner-|-request|[0-9a-f]{12}|\d{7}|=", local) is not None
    return bool(local) and local != mail.local and looks and not mail.is_discussion and not local.startswith("srs0")


@_signal("foreign-return-path", "marketing", "envelope sender of another company than From", 0.5)
def _(mail: Evidence) -> float:
    domain = mail.header("return-path").strip("<> ").rpartition("@")[2]
    mine = registrable_domain(mail.sender.domain)
    return (
        bool(domain) and mine is not None and registrable_domain(domain) not in {mine, None} and not mail.is_discussion
    )


@_signal("suppress-replies", "transactional", "X-Auto-Response-Suppress: All (MS-OXPROPS 2.615)", 0.5)
def _(mail: Evidence) -> float:
    return "all" in mail.header("x-auto-response-suppress")


@_signal("threaded", "person", "RFC 5322 section 3.6.4: In-Reply-To or References", -1.5)
def _(mail: Evidence) -> float:
    return mail.has_references


@_signal("discussion-list", "person", "List-Post, Mailing-List or X-Google-Group-Id: people write through it", -0.4)
def _(mail: Evidence) -> float:
    return mail.is_discussion


for _label, _leaning, _prior in (
    ("CATEGORY_PROMOTIONS", "marketing", 2.5), ("CATEGORY_SOCIAL", "marketing", 2.5), ("CATEGORY_UPDATES", "transactional", 1.2),
    ("CATEGORY_PERSONAL", "person", -0.8),
):  # fmt: skip
    SIGNALS.append(
        Signal(
            _label.lower().replace("_", "-"),
            _leaning,  # type: ignore[arg-type]  # one of Leaning, as written above
            "Gmail's own category label, where the domain has them on",
            lambda mail, label=_label: label in mail.labels,  # type: ignore[misc]  # the default binds the loop's value
            _prior,
        )
    )


# --- who writes ------------------------------------------------------------------------------------------------------


@_signal("no-reply-address", "transactional", "no-reply forms seen by many (local part only)", 4.0)
def _(mail: Evidence) -> float:
    return is_robot_address(mail.sender.address)


@_signal("robot-address", "transactional", "local parts of programs", 2.0)
def _(mail: Evidence) -> float:
    return bool(_ROBOT.search(mail.local))


@_signal("bulk-address", "marketing", "local parts of publishers and campaigns", 1.8)
def _(mail: Evidence) -> float:
    return not mail.is_contact and bool(_BULK.search(mail.local))


@_signal("newsletter-address", "marketing", "local parts that say newsletter", 2.5)
def _(mail: Evidence) -> float:
    return re.search(r"news-?letter|^(?:e-?)?news$|^bulletins?$|^marketing$|^promo(?:tion)?s?$", mail.local) is not None


@_signal("desk-address", "transactional", "local parts of order desks and billing", 1.5)
def _(mail: Evidence) -> float:
    return not mail.is_contact and bool(_TRANSACTIONAL_LOCAL.search(mail.local))


@_signal("role-address", "transactional", "RFC 2142 and its like: a function, not a person", 0.8)
def _(mail: Evidence) -> float:
    return not mail.is_contact and bool(_ROLE.match(mail.local))


@_signal("reply-to-robot", "transactional", "answers go to a program", 1.0)
def _(mail: Evidence) -> float:
    other = mail.header("reply-to")
    return bool(other) and bool(_NO_REPLY.search(local_part(other.strip("<> ")).rpartition("<")[2]))


@_signal("machine-address", "transactional", "a local part that nobody would choose", 1.0)
def _(mail: Evidence) -> float:
    return len(mail.local) > 24 or "=" in mail.local or re.search(r"\d{5}|[0-9a-f]{10}", mail.local) is not None


@_signal("host-of-campaigns", "marketing", "sub-domains that companies send campaigns from", 1.2)
def _(mail: Evidence) -> float:
    mine = registrable_domain(mail.sender.domain) or mail.sender.domain
    return bool(_BULK_HOST.search(mail.sender.domain.removesuffix(mine)))


@_signal("host-named-for-news", "marketing", "a registered name that says mail, news or offers", 0.8)
def _(mail: Evidence) -> float:
    mine = registrable_domain(mail.sender.domain) or ""
    return (
        not is_free_mail(mine)
        and re.search(r"news|mail|letter|offer|promo|deal|alert|update|reward|market|media", mine.split(".")[0])
        is not None
    )


def _name_words(name: str) -> list[str]:
    return [word for word in re.split(r"[^\w']+", re.sub(r"\(.*?\)|<.*?>|\S+@\S+", " ", name).lower()) if len(word) > 1]


@_signal("name-in-address", "person", "the display name's words make the local part: jane.doe, jdoe, doej", -1.2)
def _(mail: Evidence) -> float:
    words = _name_words(mail.sender.name)
    return (
        any(len(word) > 2 and word in mail.local for word in words)
        and not _BULK.search(mail.local)
        and not _ROLE.match(mail.local)
    )


@_signal("first-last-address", "person", "local part of two names, or one that is a common form", -0.8)
def _(mail: Evidence) -> float:
    return re.fullmatch(
        r"[a-z]{1,12}[._][a-z]{2,16}|[a-z]{1,12}[._][a-z][._][a-z]{2,16}", mail.local
    ) is not None and not is_role_address(mail.sender.address)


_COMPANY_NAME: Final = _any(
    r"\b(?:inc|llc|ltd|corp|gmbh|team|support|service|services|customer|news|newsletter|alerts?|updates?|notifications?|billing|"
    r"accounts?|online|\w+\.com|marketing|sales|info|department|center|centre|association|society|institute|club|magazine|journal|"
    r"daily|weekly|digest|editor|admin|system|group|network|store|shop|rewards|offers|members?|report|research|conference|university|via)\b"
)


@_signal("company-name", "marketing", "the display name is a company's or a function's", 1.0)
def _(mail: Evidence) -> float:
    name = mail.sender.name.lower()
    mine = (registrable_domain(mail.sender.domain) or "").split(".")[0]
    squeezed = re.sub(r"[^a-z0-9]", "", name)
    return (
        bool(name)
        and "@" not in name
        and (bool(_COMPANY_NAME.search(name)) or (len(mine) > 3 and mine in squeezed and mine not in mail.local))
    )


@_signal("person-name", "person", "a display name of two or three words that name no company", -0.5)
def _(mail: Evidence) -> float:
    name = mail.sender.name
    mine = (registrable_domain(mail.sender.domain) or "").split(".")[0]
    words = _name_words(name)
    return (
        2 <= len(words) <= 4
        and not _COMPANY_NAME.search(name.lower())
        and not (len(mine) > 3 and mine in re.sub(r"[^a-z0-9]", "", name.lower()))
    )


@_signal("free-mail", "person", "anybody can write from there, campaigns seldom do", -1.0)
def _(mail: Evidence) -> float:
    return is_free_mail(mail.sender.domain)


@_signal("known-contact", "person", "the author is, exactly, a contact or lead of the CRM", -1.5)
def _(mail: Evidence) -> float:
    return mail.is_contact


# --- to whom ---------------------------------------------------------------------------------------------------------


@_signal("hidden-recipients", "marketing", "To and Cc name nobody", 0.8)
def _(mail: Evidence) -> float:
    return not mail.recipients and not mail.copied


@_signal("to-itself", "marketing", "To names the author: everybody else is in Bcc", 0.8)
def _(mail: Evidence) -> float:
    return (
        any(one.address == mail.sender.address for one in mail.recipients)
        and len(mail.recipients) + len(mail.copied) == 1
    )


@_signal("copied", "person", "somebody is in Cc", -0.8)
def _(mail: Evidence) -> float:
    if not 0 < len(mail.copied) <= 15:
        return 0.0
    return 0.4 if is_role_address(mail.sender.address) or _ROBOT.search(mail.local) else 1.0


@_signal("several-recipients", "person", "two to fifteen people in To", -0.6)
def _(mail: Evidence) -> float:
    return 2 <= len(mail.recipients) <= 15


@_signal("many-recipients", "marketing", "more than fifteen people in To and Cc", 0.3)
def _(mail: Evidence) -> float:
    return len(mail.recipients) + len(mail.copied) > 15


@_signal("sole-recipient", "transactional", "one person in To, nobody in Cc", 0.3)
def _(mail: Evidence) -> float:
    return len(mail.recipients) == 1 and not mail.copied


# --- subject ---------------------------------------------------------------------------------------------------------

_REPLY: Final = _any(r"^\s*(?:\[[^\]]{1,40}\]\s*)?(?:re|aw|fwd?|wg|sv|vs|tr|rv|rif|antw|odp)\s*(?:\[\d+\])?\s*:", re.I)


@_signal("reply-subject", "person", "Re:, Fw: and their translations", -1.5)
def _(mail: Evidence) -> float:
    return bool(_REPLY.match(mail.subject))


_BULK_SUBJECT: Final = _any(
    r"newsletter|\bsales?\b|\bsave\b|\bsavings?\b|\boff\b|\bfree\b|\boffers?\b|\bwin\b|\bdeals?\b|\bdaily\b|\bweekly\b|\bmonthly\b|\bissue\b|\bvol(?:ume)?\b|"
    r"webinar|seminar|conference|\bregister|don.t miss|last chance|exclusive|\bspecial|now available|announc|\bintroducing|\bupdate\b|digest|\bnews\b|"
    r"bulletin|\bnew\b|discover|limited|\btips?\b|\bsummit\b|\bdiscount|\bbonus|\bhot\b|\bgift|\bholiday|\bsurvey|\btoday|\bevent\b|\bconcert|\bonline\b|"
    r"\btop \d|\bhow to\b|\b\d+ (?:ways|reasons|tips|things)|\bedition\b|headlines?|\breports?\b|\bresearch\b|\btrial\b|\bsubscri|angebot|rabatt|gratis|promo|oferta"
)


@_signal("bulk-subject", "marketing", "words of campaigns in the subject", 1.4)
def _(mail: Evidence) -> float:
    return not _REPLY.match(mail.subject) and _few(len(set(_BULK_SUBJECT.findall(mail.subject.lower()))), 2)


_DESK_SUBJECT: Final = _any(
    r"\border\b|\breceipt|\binvoice|\bpayment|\bconfirm|\byour .{0,30}(?:account|order|password|subscription|request|registration|statement|bill|trip|"
    r"purchase|booking|itinerary|profile|ticket)|password|\bstatement\b|shipp(?:ed|ing|ment)|\btrack(?:ing)?\b|itinerary|reservation|\breminder\b|verif|"
    r"access request|\bapprov|notif|\bticket\b|\bwelcome to\b|thank you for|thanks for (?:your|signing|register|order)|\balert\b|expir|\brenew|activat|"
    r"security|\bsign-?in\b|\blog-?in\b|\bdelivery\b|\breset\b|\bstatus\b|automat|\bfailed\b|\bsuccess|\brequest #|\[[a-z]+-\d+\]|#\d{3,}|rechnung|bestellung|"
    r"bestätig|factura|pedido|commande|facture|\bpending\b|\bcompleted?\b|\bprocess(?:ed|ing)\b|\baccount\b|\bcvs\b|\bcommit\b|\bbuild\b|\[bug \d+\]|\blead\b"
)


@_signal("desk-subject", "transactional", "words of receipts, alerts and accounts in the subject", 1.2)
def _(mail: Evidence) -> float:
    return not _REPLY.match(mail.subject) and _few(len(set(_DESK_SUBJECT.findall(mail.subject.lower()))), 2)


@_signal("loud-subject", "marketing", "exclamation marks, money, percentages, capitals in the subject", 0.8)
def _(mail: Evidence) -> float:
    letters = [char for char in mail.subject if char.isalpha()]
    shouts = len(letters) > 12 and sum(char.isupper() for char in letters) > 0.7 * len(letters)
    return not _REPLY.match(mail.subject) and (bool(re.search(r"!|\$\d|\d ?%|\*\*|®|™|€", mail.subject)) or shouts)


@_signal("dated-subject", "marketing", "a date or issue number in the subject", 0.6)
def _(mail: Evidence) -> float:
    pattern = r"\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.? \d{1,2}\b|\b20\d\d\b|\bno\. ?\d|#\d|vol\. ?\d"
    return not _REPLY.match(mail.subject) and re.search(pattern, mail.subject.lower()) is not None


@_signal("brief-subject", "person", "at most three plain words, or none", -0.5)
def _(mail: Evidence) -> float:
    says = mail.subject.lower()
    return len(says.split()) <= 3 and not re.search(r"[!$%]", says) and not _BULK_SUBJECT.search(says) and not _DESK_SUBJECT.search(says)


# --- what it says ----------------------------------------------------------------------------------------------------

_UNSUBSCRIBE: Final = _any(
    r"unsubscri|opt[- ]?out|sign[- ]?off|(?:be |get )?removed? (?:from|me)|(?:stop|cancel|discontinue) (?:receiv|these|your subscr|email)|leave the list|"
    r"(?:change|manage|update|edit) (?:your )?(?:e-?mail )?(?:preferences|subscription|settings|profile)|email preferences|notification settings|abmelden|abbestell|"
    r"désabonn|désinscri|darse de baja|cancelar (?:la )?suscripci|disiscri|annulla l.iscrizione|uitschrijven|afmelden|avregistrera|odhlásit|wypisz|отписат|配信停止|退订"
)


@_signal("unsubscribe-text", "marketing", "the text says how to be taken off", 2.0)
def _(mail: Evidence) -> float:
    return bool(_UNSUBSCRIBE.search(mail.lower))


@_signal("browser-text", "marketing", "view in browser, images, HTML version", 1.4)
def _(mail: Evidence) -> float:
    pattern = r"view (?:it |this |the )?(?:e-?mail |message |newsletter |page )?(?:in|on|with) (?:a |your |the )?(?:web|browser)|trouble (?:viewing|reading)|(?:can.?t|cannot|unable to) (?:see|view|read) (?:this|the)|web version|online version|html version|im browser|add (?:us|.{3,40}@.{3,40}) to your"
    return re.search(pattern, mail.lower) is not None


@_signal("why-you-text", "marketing", "you receive this because", 1.6)
def _(mail: Evidence) -> float:
    pattern = (
        r"you(?:'re| are| have| were)? (?:now )?(?:receiv(?:ed?|ing)|been sent|getting|got) (?:this|these|our)|(?:message|e-?mail|mail|newsletter) (?:was|is|has been) (?:being )?"
        r"sent (?:to|by|from|on behalf)|you (?:are |have |'?re )?(?:subscribed|registered|signed up|opted)|because you|as a (?:valued|registered|subscri|member)|"
        r"(?:your|our) (?:mailing|e-?mail|distribution) list|future (?:e-?mails|mailings|messages|issues)|forward (?:this|it) to a (?:friend|colleague)|tell a friend"
    )
    return re.search(pattern, mail.lower) is not None


@_signal("automatic-text", "transactional", "the text says that a program wrote it", 2.0)
def _(mail: Evidence) -> float:
    pattern = (
        r"(?:do not|don.t|please do ?n.t|not|cannot|no need to) (?:reply|respond)|automat(?:ed|ic|ically) (?:e-?mail|message|notif|generat|reply|sent|response|system)|"
        r"(?:auto|system|computer)[- ]generated|automatically (?:by|from|generated|sent)|unattended|unmonitored|not monitored|this is an? (?:automat|notification|system|courtesy)|"
        r"(?:sent|generated|created) (?:by|from) (?:the|an?|our) (?:system|automat|program|software)|nicht auf diese (?:e-?mail|nachricht)|ne pas répondre|no responda"
    )
    return re.search(pattern, mail.lower) is not None


@_signal("imprint", "marketing", "copyright, privacy policy, all rights reserved", 1.0)
def _(mail: Evidence) -> float:
    pattern = r"©|\(c\) ?(?:19|20)\d\d|copyright|all rights reserved|privacy (?:policy|statement)|terms (?:of (?:use|service)|and conditions)|trademark|\bimpressum\b|alle rechte vorbehalten"
    return re.search(pattern, mail.lower) is not None


_ACTION: Final = _any(
    r"click (?:here|below|on|the|this)|register (?:now|today|online|here)|sign up|buy now|order (?:now|today|online|here)|learn more|read more|shop (?:now|online|at)|download|"
    r"visit (?:us|our|the|www|http)|subscribe|free trial|act now|limited time|for more information|call (?:us|now|1-?8|toll)|toll[- ]?free|find out|check out|get started|"
    r"see (?:details|more|all)|log ?(?:in|on) (?:to|at)|go to (?:http|www|our|the)|full story|click|apply now|book now|view (?:your|all|the|online|details)|no obligation|"
    r"special offer|credit card|best (?:price|rate|deal)|don.t miss|be the first|join (?:us|now|today)|\$\d+(?:\.\d\d)? (?:off|each|per)|\d+% off|money[- ]back|winner|sponsor|advertis"
)


@_signal("call-to-action", "marketing", "click here, register now, learn more", 2.2)
def _(mail: Evidence) -> float:
    return _few(len(set(_ACTION.findall(mail.lower))), 5)


_DESK_TEXT: Final = _any(
    r"order (?:number|no|#|id|total|date|status|confirmation)|invoice (?:number|no|#|date|total)|amount (?:due|paid|charged)|(?:sub)?total:? ?[$€£]|account (?:number|balance|#|manager|information|activity)|"
    r"confirmation (?:number|code|#|no)|your (?:password|user ?name|user ?id|account|order|payment|purchase|subscription|registration|login|request|reservation)|ship(?:ping|ped)? to|"
    r"tracking number|payment (?:received|method|due)|thank you for (?:your|using|choosing|shopping|register|subscrib|order)|reset your|verify your|confirm your|due date|"
    r"billing (?:address|period|statement|info)|has been (?:received|processed|shipped|approved|completed|created|updated|submitted|assigned|scheduled|changed|posted|added|activated)|"
    r"reference (?:number|no|#)|customer (?:number|service|id|care)|transaction|request (?:id|number|status|has)|access (?:has|request|to)|pending your|to (?:approve|review|view) (?:this|the|your|it)|"
    r"requested by|submitted by|assigned to|status:|priority:|itinerary|flight|confirmed"
)


@_signal("desk-text", "transactional", "order numbers, totals, accounts, requests", 1.6)
def _(mail: Evidence) -> float:
    return _few(len(set(_DESK_TEXT.findall(mail.lower))), 5)


@_signal("links", "marketing", "how many links", 1.6)
def _(mail: Evidence) -> float:
    return _few(mail.links, 12)


@_signal("link-density", "marketing", "links for each hundred words", 1.2)
def _(mail: Evidence) -> float:
    return min(1.0, 100 * mail.links / max(mail.words, 20) / 10) if mail.links else 0.0


@_signal("tracking-links", "marketing", "links with long queries or to a click counter", 1.0)
def _(mail: Evidence) -> float:
    found = re.findall(r"https?://\S*(?:\?\S{12,}|/(?:click|track|trk|redir\w*|cgi-bin|r|l|c|t|ct|ls|wf|u|e)/\S{6,})", mail.lower)
    return _few(len(found), 4)


@_signal("links-home", "marketing", "several links to the author's own company", 0.6)
def _(mail: Evidence) -> float:
    mine = registrable_domain(mail.sender.domain)
    return _few(max(0, len(re.findall(rf"(?:https?://|www\.)[^\s/]*{re.escape(mine)}", mail.lower)) - 1), 4) if mine else 0.0


@_signal("pictures", "marketing", "more than three pictures in the HTML", 0.6)
def _(mail: Evidence) -> float:
    return 0.0 if mail.has_quote else _few(max(0, mail.html_images - 3), 10)


@_signal("layout", "marketing", "rules of signs, headings in capitals, bullets", 1.0)
def _(mail: Evidence) -> float:
    rules = sum(re.fullmatch(r"[-=_*~+#.•<>|/\\ ]{5,}", line) is not None for line in mail.lines)
    heads = sum(line.isupper() and len(line) > 8 and len(line.split()) > 1 for line in mail.lines)
    bullets = sum(re.match(r"[*•·o»>+-]\s+\S|\d{1,2}[.)]\s+\S|\[\d+\]|\(\d\)", line) is not None for line in mail.lines)
    return _few(rules + heads + bullets // 2, 8)


@_signal("fields-layout", "transactional", "lines of a name, a colon and a value", 1.0)
def _(mail: Evidence) -> float:
    named = sum(re.match(r"[A-Z][\w /#.&'-]{1,30}:\s*\S", line) is not None for line in mail.lines)
    return _few(named, 6) if named >= 2 and len(mail.lines) < 120 else 0.0


@_signal("mass-greeting", "marketing", "dear customer, dear member, hello friends", 1.2)
def _(mail: Evidence) -> float:
    pattern = r"\b(?:dear|hello|hi|greetings|attention|welcome),? (?:valued |fellow |our |all |preferred |new )?(?:customers?|members?|subscribers?|readers?|friends?|investors?|users?|colleagues?|sirs?|madam|alumni|clients?|shoppers?|travell?ers?|professionals?|guests?|website|participants?|there)\b"
    return re.search(pattern, mail.lower[:800]) is not None


_GREETING: Final = _any(
    r"(?i:hi|hello|hey|dear|good (?:morning|afternoon|evening)|hallo|lieber?|bonjour|hola|ciao|greetings|guten (?:tag|morgen))[ ,]+"
    r"([A-ZÄÖÜÉ][a-zäöüéèß'.]{0,14})(?: (?:and|&|und|et|y) [A-Z][a-z]{1,14}| [A-Z][a-z]{1,14})?\s*(?:[,:!.;-]|$)"
    r"|([A-ZÄÖÜÉ][a-zäöüéèß]{1,14})(?: (?:and|&|/) [A-Z][a-z]{1,14})?\s*(?:,|-{1,3}|–|!)\s*$|([A-Z][a-z]{1,14})(?:,| -{1,2}|--) ?[A-Z]"
)
_NOBODY: Final = frozenset(
    ("customer member subscriber reader friend friends valued investor colleague colleagues sir sirs madam all everyone team user client guest shopper website there "
    "please thanks thank hi hello dear sorry yes no ok").split()
)  # fmt: skip


def _greeted(mail: Evidence) -> str:
    found = _GREETING.match(" ".join(mail.lines[:1])[:80])
    name = next((one for one in found.groups() if one), "").strip(".").lower() if found else ""
    return "" if name in _NOBODY else name


@_signal("personal-greeting", "person", "the text begins with somebody's first name", -0.8)
def _(mail: Evidence) -> float:
    return bool(_greeted(mail))


@_signal("greets-recipient", "person", "the text begins with a name that an address in To has", -0.6)
def _(mail: Evidence) -> float:
    name = _greeted(mail)
    return len(name) > 1 and any(name in f"{one.name.lower()} {local_part(one.address)}" for one in (*mail.recipients, *mail.copied))


_NAME_LINE: Final = _any(r"(?:[-–~*] ?)?[A-ZÄÖÜÉ][\w'.-]{0,14}(?: [A-ZÄÖÜÉ][\w'.-]{0,16}){0,3},?(?: (?:PhD|MBA|CPA|PE|Jr|Sr)\.?)?")


@_signal("signed-by-author", "person", "a line of its own holds a name that is in the author's address or display name", -1.2)
def _(mail: Evidence) -> float:
    if is_role_address(mail.sender.address) or _ROBOT.search(mail.local):
        return 0.0
    signed = {word.lower() for line in mail.lines for word in _WORD.findall(line) if len(line) < 50 and _NAME_LINE.fullmatch(line)}
    written = set() if _COMPANY_NAME.search(mail.sender.name.lower()) else {word for word in _name_words(mail.sender.name) if len(word) > 2}
    in_address = any((len(name) > 3 and name in mail.local) or (len(name) > 2 and mail.local.startswith(name)) for name in signed)
    return bool(signed & written) or in_address


_SIGN_OFF: Final = _any(
    r"(?:many |best |kind |warm |with |kindest |very )*(?:thanks|thank you|thx|tks|regards|best|wishes|cheers|sincerely|talk to you|see you|love|take care|yours|truly|mfg|"
    r"viele grüße|mit freundlichen|beste grüße|lg|cordialement|saludos|un saludo|groeten|groet|saluti|atenciosamente|rgds|later)\b[^\n]{0,40}",
    re.I,
)


@_signal("sign-off", "person", "a line that ends letters, and a name below it or the end", -0.8)
def _(mail: Evidence) -> float:
    lines = mail.lines
    for place, line in enumerate(lines):
        if len(line) < 60 and _SIGN_OFF.fullmatch(line):
            after = lines[place + 1 : place + 3]
            if not after or any(len(one) < 50 and _NAME_LINE.fullmatch(one) for one in after):
                return 1.0
    return 0.0


@_signal("first-person", "person", "I, me, my: how often", -1.5)
def _(mail: Evidence) -> float:
    found = len(re.findall(r"\b(?:i|i'm|i'll|i've|i'd|im|me|my|ich|mir|mich|je|yo|io)\b", mail.lower))
    return min(1.0, 100 * found / max(mail.words, 25) / 6)


@_signal("impersonal-text", "marketing", "more than sixty words without one I", 0.8)
def _(mail: Evidence) -> float:
    return mail.words > 60 and re.search(r"\b(?:i|i'm|i'll|i've|i'd|me|my|ich|mir|mich|je|moi|yo|io)\b", mail.lower) is None


@_signal("second-person", "marketing", "you, your: how often", 0.6)
def _(mail: Evidence) -> float:
    found = len(re.findall(r"\b(?:your|yours|you|you'll|you've|ihr|ihre|votre|vous)\b", mail.lower))
    return min(1.0, 100 * found / max(mail.words, 40) / 8)


@_signal("chatty", "person", "let me know, attached, give me a call, what do you think", -0.8)
def _(mail: Evidence) -> float:
    pattern = (
        r"let me know|give (?:me|us) a (?:call|ring)|what do you think|talk(?:ed)? (?:to|with)|see you|i(?:'ve| have)? attached|attached (?:is|are|please)|please (?:see|find) (?:the )?attached|"
        r"per our|as we discussed|as discussed|just wanted|hope (?:you|all|this finds)|how are|sounds good|get together|do you (?:have|know|want|think)|can you|could you|did you|are you|would you"
    )
    return _few(len(set(re.findall(pattern, mail.lower))), 3)


@_signal("quoting", "person", "it quotes or forwards a mail", -1.0)
def _(mail: Evidence) -> float:
    return mail.has_quote


@_signal("brief-text", "person", "fewer than sixty words, hardly a link", -0.8)
def _(mail: Evidence) -> float:
    return max(0.0, 1 - mail.words / 60) if mail.links <= 1 else 0.0


@_signal("long-text", "marketing", "more than three hundred words", 0.5)
def _(mail: Evidence) -> float:
    return min(1.0, max(0.0, (mail.words - 150) / 500))


@_signal("loud-text", "marketing", "exclamation marks and sums of money", 0.6)
def _(mail: Evidence) -> float:
    return min(1.0, (mail.lower.count("!") + len(re.findall(r"[$€£] ?\d", mail.lower))) / max(mail.words, 50) * 20)
