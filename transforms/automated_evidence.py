"""Evidence: what the signals and facts of automated mail may look at, and the small readings they share."""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

from .domains import registrable_domain
from .gmail_payload import Header, Part, read_bytes, read_root
from .headers import BLIND, MAX_FIELDS, decode_value, field_name
from .records import MailText, NormalizedMessage, Participant

Leaning = Literal["marketing", "transactional", "person"]

_MAX_LOOKED_AT: Final = 24_000
"""Characters of a body that signals look at: the beginning and the end."""


class Fields(Mapping[str, str]):
    """The header fields of a mail by lower-case name, the blind ones left out; repeated ones on lines of their own.

    A mail has dozens and the rules ask for a few, so each is decoded where somebody asks for it.
    """

    def __init__(self, raw: Sequence[Header]) -> None:
        self._raw: dict[str, list[str]] = {}
        for field in raw if len(raw) <= MAX_FIELDS else raw[:MAX_FIELDS]:
            name = field_name(field.name)
            if name in self._raw:
                self._raw[name].append(field.value or "")
            elif name not in BLIND:
                self._raw[name] = [field.value or ""]

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]  # of text only
        """The field `name`, or `default`."""
        values = self._raw.get(name)
        return default if values is None else "\n".join(map(decode_value, values))

    def __getitem__(self, name: str) -> str:
        return "\n".join(map(decode_value, self._raw[name]))

    def __contains__(self, name: object) -> bool:
        return name in self._raw

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the signals may look at. `parts` are the mail's own; `text` is its own words (quoted history left out) and
    `whole` the beginning of all of it; "" until the body is read.
    """

    headers: Fields
    labels: tuple[str, ...]
    sender: Participant
    recipients: tuple[Participant, ...]
    copied: tuple[Participant, ...]
    subject: str
    has_references: bool
    parts: Sequence[Part]
    kinds: frozenset[str]
    root_kind: str = ""
    is_contact: bool = False
    text: str = ""
    whole: str = ""
    has_quote: bool = False
    html_links: int = 0
    html_images: int = 0

    @classmethod
    def of(
        cls, message: NormalizedMessage, body: MailText | None, *, is_contact: bool = False, root: Part | None = None
    ) -> Evidence:
        """From a message, with its `body` once that was read. `is_contact`: the author is, exactly, a contact or lead.

        `root` is the message's tree of parts where somebody has decoded it already.

        Raises:
            MalformedMessageError: the payload is not a Gmail message.
        """
        root = root or read_root(message.payload)
        parts = own_parts(root)
        kinds = {part.kind for part in parts}
        if "text/calendar" in kinds and any(
            part.kind == "text/calendar" and _METHOD.search(part.header("content-type")) for part in parts
        ):
            kinds.add("text/calendar;method")
        sealed = cls(
            headers=Fields(root.headers or ()),
            labels=message.labels,
            sender=message.sender or Participant(""),
            recipients=message.to,
            copied=message.cc,
            subject=message.subject,
            has_references=bool(message.references),
            parts=parts,
            kinds=frozenset(kinds),
            root_kind=root.kind,
            is_contact=is_contact,
        )
        return sealed if body is None else sealed.opened(body)

    def opened(self, body: MailText) -> Evidence:
        """The same with the `body` of the mail, now that it was read."""
        text, has_quote = own_words(body)
        links, images = (0, 0) if has_quote else _count_html(self.parts)  # beside a quote nobody knows whose they are
        return dataclasses.replace(
            self,
            text=text,
            whole=body.text[:_MAX_WHOLE],
            has_quote=has_quote,
            html_links=links,
            html_images=images,
        )

    def header(self, name: str) -> str:
        """The field `name` (lower case), trimmed and in lower case; repeated ones on lines of their own; "" if missing."""
        value = self.headers.get(name)
        return value.strip().lower() if value else ""

    @functools.cached_property
    def lower(self) -> str:
        """The mail's own words in lower case, blanks run together."""
        return " ".join(self.text.lower().split())

    @functools.cached_property
    def bag(self) -> collections.Counter[str]:
        """How often each of its own words occurs, lower case."""
        text = self.lower
        if text.isascii():
            return collections.Counter(text.translate(_PUNCTUATION).split())
        # Letter by letter takes fifty times as long outside of ASCII; no byte of another letter is one of ASCII.
        text = text.encode("utf-8", "surrogatepass").translate(_BYTES).decode("utf-8", "surrogatepass")
        for mark, instead in _OTHER_PUNCTUATION:
            text = text.replace(mark, instead)
        return collections.Counter(text.split())

    @functools.cached_property
    def words(self) -> int:
        """How many words of its own the mail has."""
        return self.bag.total()

    def says(self, words: frozenset[str]) -> bool:
        """Whether one of `words` occurs: cheap enough to ask before a pattern. True where the text is not all ASCII."""
        return not self.bag.keys().isdisjoint(words) or not self.lower.isascii()

    @functools.cached_property
    def links(self) -> int:
        """How many links its own words hold."""
        text = self.lower
        found = text.count("http://") + text.count("https://") + text.count("www.") - text.count("://www.")
        return max(found, 0 if self.has_quote else self.html_links)

    @functools.cached_property
    def lines(self) -> tuple[str, ...]:
        """Non-empty lines of its own words, trimmed."""
        return tuple(line for raw in self.text.splitlines() if (line := raw.strip()))

    @functools.cached_property
    def greeted(self) -> str:
        """The first name that its text begins with ("Hi Jane,"), lower case; "" if nobody's."""
        found = _GREETING.match(" ".join(self.lines[:1])[:80])
        name = next((one for one in found.groups() if one), "").strip(".").lower() if found else ""
        return "" if name in _NOBODY else name

    @functools.cached_property
    def local(self) -> str:
        """The author's local part."""
        return local_part(self.sender.address)

    @functools.cached_property
    def company(self) -> str:
        """The registrable domain of the author's address; "" if there is none."""
        return registrable_domain(self.sender.domain) or ""

    @functools.cached_property
    def name_words(self) -> list[str]:
        """The words of the author's display name, lower case, without remarks in brackets and addresses."""
        name = self.sender.name
        if "(" in name or "<" in name or "@" in name:
            name = re.sub(r"\(.*?\)|<.*?>|\S+@\S+", " ", name)
        return [word for word in _NO_NAME.split(name.lower()) if len(word) > 1]

    @functools.cached_property
    def has_company_name(self) -> bool:
        """Whether the author's display name says that it is a company's or a function's."""
        return _COMPANY_NAME.search(self.sender.name.lower()) is not None

    @functools.cached_property
    def is_named_as_company(self) -> bool:
        """Whether the author's display name holds the name of their domain."""
        mine = self.company.split(".")[0]
        return len(mine) > 3 and mine in _NO_DOMAIN.sub("", self.sender.name.lower())

    @functools.cached_property
    def is_reply(self) -> bool:
        """Whether the subject says that it answers or forwards a mail."""
        return _REPLY.match(self.subject) is not None

    @functools.cached_property
    def is_discussion(self) -> bool:
        """Whether people post to the list it came through (RFC 2369 section 3.4, Google Groups): its list fields say nothing."""
        post = self.header("list-post")
        return (
            (bool(post) and "mailto:" in post) or "x-google-group-id" in self.headers or "mailing-list" in self.headers
        )


def own_parts(root: Part, limit: int = 1000) -> list[Part]:
    """The parts of a mail in order, at most `limit`; not those of a mail that it only carries (message/rfc822): what a person
    forwards may be a robot's.
    """
    found: list[Part] = []
    waiting = [root]
    while waiting and len(found) < limit:
        part = waiting.pop()
        found.append(part)
        if part.parts and not part.kind.startswith("message/"):
            waiting.extend(reversed(part.parts))
    return found


def _count_html(parts: Iterable[Part]) -> tuple[int, int]:
    """Links and pictures of the HTML bodies, counted without parsing; those of a kilobyte-long logo count too."""
    links = images = 0
    for part in parts:
        if part.kind == "text/html" and not part.filename and part.body is not None and part.body.data:
            html = read_bytes(part.body.data[:_MAX_HTML]).lower()
            links += html.count(b"href=") - html.count(b"<link") - html.count(b"mailto:")
            images += html.count(b"<img")
    return max(links, 0), images


_GREETING: Final = re.compile(
    r"(?i:hi|hello|hey|dear|good (?:morning|afternoon|evening)|hallo|lieber?|bonjour|hola|ciao|greetings|guten (?:tag|morgen))[ ,]+"
    r"([A-ZÄÖÜÉ][a-zäöüéèß'.]{0,14})(?: (?:and|&|und|et|y) [A-Z][a-z]{1,14}| [A-Z][a-z]{1,14})?\s*(?:[,:!.;-]|$)"
    r"|([A-ZÄÖÜÉ][a-zäöüéèß]{1,14})(?: (?:and|&|/) [A-Z][a-z]{1,14})?\s*(?:,|-{1,3}|–|!)\s*$|([A-Z][a-z]{1,14})(?:,| -{1,2}|--) ?[A-Z]"
)
_NOBODY: Final = frozenset(
    ["customer", "member", "subscriber", "reader", "friend", "friends", "valued", "investor", "colleague", "colleagues", "sir", "sirs", "madam", "all", "everyone", "team", "user", "client", "guest", "shopper", "website", "there", "please", "thanks", "thank", "hi", "hello", "dear", "sorry", "yes", "no", "ok",
     "sender", "partner", "partners", "business", "correspondent", "contact", "recipient", "kollegen", "kolleginnen", "zusammen", "kunde", "kunden", "madame", "monsieur", "ladies", "gentlemen",
     "greetings", "hey", "hallo", "bonjour", "hola", "ciao", "salut", "servus", "moin", "buongiorno", "salve", "hej", "currently", "unfortunately",
     "email", "webmail", "mailbox", "account", "postmaster", "administrator", "error", "warning", "attention", "notice", "achtung", "hinweis", "fehler"]
)  # fmt: skip
_MAX_HTML: Final = 200_000
_METHOD: Final = re.compile(r";\s*method\s*=", re.IGNORECASE)
_MAX_WHOLE: Final = 8_000
_PUNCTUATION: Final = {ord(char): " " for char in '.,;:!?()[]{}<>"/=&*_|~+#%$\\-'}
_NO_NAME: Final = re.compile(r"[^\w']+")
_NO_DOMAIN: Final = re.compile(r"[^a-z0-9]")
_REPLY: Final = re.compile(
    r"^\s*(?:\[[^\]]{1,40}\]\s*)?(?:re|aw|fwd?|wg|sv|vs|tr|rv|rif|antw|odp)\s*(?:\[\d+\])?\s*:", re.I
)
_COMPANY_NAME: Final = re.compile(
    r"\b(?:inc|llc|ltd|corp|gmbh|team|support|service|services|customer|news|newsletter|alerts?|updates?|notifications?|billing|"
    r"accounts?|online|\w+\.com|marketing|sales|info|department|center|centre|association|society|institute|club|magazine|journal|"
    r"daily|weekly|digest|editor|admin|system|group|network|store|shop|rewards|offers|members?|report|research|conference|university|via)\b"
)
_BYTES: Final = bytes.maketrans(bytes(_PUNCTUATION), b" " * len(_PUNCTUATION))
_OTHER_PUNCTUATION: Final = (*((mark, " ") for mark in "–—…“”"), ("’", "'"))
_QUOTE_START: Final = re.compile(
    r"^[ \t>]*(?:-{2,} ?(?:original message|forwarded (?:message|by)|ursprüngliche nachricht|message d'origine|mensaje original)"
    r"|begin forwarded message|_{10,}\s*\n\s*from:|on .{5,120}wrote:\s*$|am .{5,120}schrieb.{0,80}:\s*$|le .{5,120}a écrit\s?:\s*$"
    r"|el .{5,120}escribió:\s*$|from:[^\n]{1,200}\n\s*(?:sent|date|to):"
    r"|[^\n@]{1,80}@[^\n@]{1,60}(?:\n[^\n@]{0,40})?\bon \d{2}/\d{2}/\d{2,4} \d{2}:\d{2})",
    re.I | re.M,
)
_QUOTE_HINTS: Final = ("--", "__________", "forwarded", "from:", "wrote:", "chr", "a écr", "ó:")
"""What _QUOTE_START cannot do without, but for its last form. No i, k and s in them: there upper and lower case know other letters."""
_QUOTE_DATE: Final = re.compile(r"on \d\d/")


def own_words(body: MailText) -> tuple[str, bool]:
    """The text without quoted history, bounded, and whether there was any."""
    text = body.text
    has_quote = False
    for span in sorted((span for span in body.spans if span.kind == "quote"), key=lambda one: -one.start):
        text = text[: span.start] + text[span.end :]
        has_quote = True
    start = quote_start(text[:_MAX_LOOKED_AT])
    if start >= 0:
        text, has_quote = text[:start], True
    if ">" in text:
        lines = text.splitlines()
        kept = [line for line in lines if not line.lstrip().startswith(">")]
        if len(kept) < len(lines):
            text, has_quote = "\n".join(kept), True
    if len(text) > _MAX_LOOKED_AT:
        text = f"{text[: _MAX_LOOKED_AT * 3 // 4]}\n{text[-_MAX_LOOKED_AT // 4 :]}"
    return text, has_quote


def quote_start(text: str) -> int:
    """Where the first line is that says that a quote or a forwarded mail follows, or -1."""
    lower = text.lower()
    if any(hint in lower for hint in _QUOTE_HINTS) or ("@" in text and _QUOTE_DATE.search(lower)):
        found = _QUOTE_START.search(text)
        return found.start() if found else -1
    return -1


def local_part(address: str) -> str:
    """What stands before the last @, lower case."""
    return address.rpartition("@")[0].lower()


ROBOT: Final = re.compile(
    r"(?:^|[._+=-])(?:no[._-]?reply|do[._-]?not[._-]?reply|dont[._-]?reply|not?[._-]?respond|never[._-]?reply|nao[._-]?responda|"
    r"no[._-]?responder|keine[._-]?antwort|nepasrepondre|ne[._-]?pas[._-]?repondre|unattended|auto[._-]?(?:mail|mailer|confirm|generated|"
    r"message|notify|reply|responder)|mailer|robot|bot|daemon|mailer[._-]?daemon|postmaster|bounces?|listserv|majordomo|mailman|"
    r"notify|notif(?:ication|ier)s?|alerts?|autoresponder|system|sysadmin|cron|nobody|root|www-data|apache|jira|bugzilla|jenkins|gitlab|rss|feeds?|rssfeeds?|commits?|distribution|dispatch|[a-z]{0,6}system|server|scheduler|workflow)"
    r"(?:$|[._+=\d-])"
)
NO_REPLY: Final = re.compile(
    r"(?:^|[._+=-])(?:(?:ads|mail|email)?[._-]?no[._-]?reply|do[._-]?not[._-]?reply|dont[._-]?reply|nao[._-]?responda|no[._-]?responder|"
    r"keine[._-]?antwort|ne[._-]?pas[._-]?repondre|mailer[._-]?daemon)(?:$|[._+=\d-])"
)
BULK: Final = re.compile(
    r"news(?:letters?|desk|flash|wire|alerts?|service|mail|room)?(?:$|[._+=\d-])|newsletter|e?bulletin|digest|market(?:ing|er|place)|promo(?:tion)?s?(?:$|[._+=-])|offers?(?:$|[._+=-])|"
    r"deals?(?:$|[._+=-])|campaign|mailings?(?:$|[._+=-])|(?:^|[._-])lists?(?:$|[._+=-])|subscri(?:be|ption|ber)|special|announce|updates?(?:$|[._+=-])|"
    r"survey|reminders?|events?(?:$|[._+=-])|seminars?|conferences?|webinars?|publi(?:cations?|sher)|editor|rewards?|members?(?:hip)?(?:$|[._+=-])|"
    r"e[._-]?mail(?:er|ing)?(?:$|[._+=-])|broadcast|daily|weekly|research|insight|report|travel(?:er)?s?(?:$|[._+=-])|store|shop|sweepstakes|save|savings"
)
DESK: Final = re.compile(
    r"billing|invoic|orders?(?:$|[._+=\d-])|receipts?|payments?|accounts?(?:$|[._+=-])|confirm|customer[._-]?(?:care|service|support)|shipping|shipment|"
    r"statement|reservations?|booking|ticket|verify|security|password|registr|workflow|approval|request|e?service|tracking|itinerary|e?commerce|transaction|feedback"
)
ROLE: Final = re.compile(
    r"^(?:info|support|sales|hello|contact|team|help|helpdesk|service|services|admin|administrator|office|webmaster|feedback|mail|enquiries|"
    r"inquiries|inquiry|customerservice|customercare|care|hr|jobs|careers|recruiting|press|media|pr|reception|legal|it|ops|operations|"
    r"welcome|community|training|education|program|programs|general|staff|post|kontakt|buero|contacto|ventas|vertrieb|accueil)$"
)
BULK_HOST: Final = re.compile(
    r"(?:^|[.-])(?:e?news(?:letters?)?\d*|e?mail(?:er|ing|ings|s)?\d*|em\d*|e|m|mkt|mktg|marketing|promo(?:tion)?s?|offers?|deals|bounces?|lists?|listserv|"
    r"campaigns?|updates?|info|notifications?|notify|alerts?|reply|response|go|click|links?|members?|announce|send|out|email|e-?mail)\d*[.-]"
)


def is_robot_address(address: str) -> bool:
    """Whether nobody reads what is sent to `address`: no-reply forms and mail systems, by local part only."""
    return bool(
        NO_REPLY.search(local_part(address)) or local_part(address) in {"postmaster", "mailer-daemon", "daemon"}
    )


def is_role_address(address: str) -> bool:
    """Whether `address` names a function (info, support), not a person."""
    local = local_part(address)
    return bool(ROLE.match(local) or BULK.search(local) or DESK.search(local))


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


class Signals(list[Signal]):
    """A list of signals that functions join by decoration."""

    def add(
        self, name: str, leaning: Leaning, source: str, prior: float, group: str = ""
    ) -> Callable[[Callable[[Evidence], float]], Callable[[Evidence], float]]:
        """A decorator that puts the function it is used on in the list, under `name`."""

        def register(measure: Callable[[Evidence], float]) -> Callable[[Evidence], float]:
            self.append(Signal(name, leaning, source, measure, prior, group))
            return measure

        return register


def few(count: int, full: int) -> float:
    """A count as 0 to 1 (at `full`): each more says less."""
    return min(1.0, math.log1p(count) / math.log1p(full))
