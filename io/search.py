"""The search index as dealmail needs it: one interface, one document form; Elasticsearch and FTS5 implement it.

Both answer alike because everything a query means is decided here: words, "phrases" and prefix* are split here, and each
becomes one phrase of the index's own tokens that has to occur in subject, people or text.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec
import sqlalchemy as sa

from ..transforms.errors import StoreUnavailableError
from . import secret_refs

MARK_START, MARK_END = "\ufdd0", "\ufdd1"
"""Noncharacters that never occur in mail text (documents replace them): they mark matches on the way back."""

Status = Literal["done", "stale", "refused"]
Document = dict[str, Any]
"""What is indexed of one engagement: the fields that `document` makes, JSON values only."""


@dataclasses.dataclass(frozen=True, slots=True)
class IndexEntry:
    """Write this version of one engagement; `document` None: delete it. Older versions than the index holds stay out."""

    team_id: str
    engagement_id: str
    version: int
    document: Document | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one entry: done; stale (the index has a newer version: as good as done); refused, and why.

    `error_class` is the index's name for the error, never its text: that can quote the document.
    """

    status: Status
    error_class: str = ""


DONE, STALE = Outcome("done"), Outcome("stale")


Put = Callable[[], list[Outcome]]
"""A write that is ready."""


class IndexUnavailableError(StoreUnavailableError):
    """The index did not take all entries. `outcomes` has, in order, what became of each; None: unknown, write it again."""

    def __init__(
        self, text: str, outcomes: Sequence[Outcome | None] = (), *, retry_after: dt.timedelta | None = None
    ) -> None:
        super().__init__(text, retry_after=retry_after)
        self.outcomes = tuple(outcomes)


@dataclasses.dataclass(frozen=True, slots=True)
class IndexedVersion:
    """What the index holds of one engagement: enough to compare."""

    team_id: str
    engagement_id: str
    version: int
    digest: str


@dataclasses.dataclass(frozen=True, slots=True)
class SearchQuery:
    """What to look for in one team's mail. All given conditions have to hold.

    Attributes:
        text: words that all have to occur, "exact phrases", begin* of a word; in subject, people or text.
        person: an address (anything@any); a domain (@any); else words of a name or address.
        deal: an opportunity's id.
        after: sent at this time or later (aware).
        before: sent earlier than this (aware).
        limit: hits at the most, 1 to 1000.
    """

    text: str = ""
    person: str = ""
    deal: str = ""
    after: dt.datetime | None = None
    before: dt.datetime | None = None
    limit: int = 20

    def __post_init__(self) -> None:
        """Refuse what no index can answer.

        Raises:
            ValueError: a limit out of range, or a time without a zone.
        """
        if not 1 <= self.limit <= 1000:
            raise ValueError(f"limit {self.limit}: must be 1 to 1000")
        for time in (self.after, self.before):
            if time is not None and time.tzinfo is None:
                raise ValueError(f"a time without a zone: {time!r}; hand in an aware datetime")


@dataclasses.dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of `field` in which something matched; `spans` are the matches, [start, end) in characters of `text`."""

    field: str
    text: str
    spans: tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Hit:
    """One engagement that was found. `score` compares within one answer only; 0 where no text was asked for."""

    engagement_id: str
    score: float
    sent_at: dt.datetime
    direction: str
    subject: str
    sender_address: str
    sender_name: str
    fragments: tuple[Fragment, ...] = ()


class SearchIndex(Protocol):
    """A search index over all teams' engagements. Every method is safe to call from several threads and processes."""

    def ensure(self) -> None:
        """Make the index where it is missing. Raises StoreUnavailableError."""

    def put(self, entries: Sequence[IndexEntry]) -> list[Outcome]:
        """Write entries, at most once each engagement; what became of each, in order.

        Raises:
            IndexUnavailableError: some could not be written now; it says which.
        """

    def prepare(self, entries: Iterable[IndexEntry]) -> Put:
        """All of `put` that can be done before; the rest is done, and answered, when what comes back is called.

        So a batch is made ready while the index takes the one before. `entries` are gone through once, and none is kept.
        """

    def refresh(self) -> None:
        """Make everything written so far visible to `search` and `scan`; else that takes about a second."""

    def search(self, team_id: str, query: SearchQuery) -> list[Hit]:
        """What this team's mail holds: best first where text is asked for, else newest first."""

    def scan(self, team_id: str | None = None) -> Iterator[IndexedVersion]:
        """All engagements (of one team) in order of (team_id, engagement_id); memory does not grow with their number."""

    def lookup(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], IndexedVersion]:
        """What the index holds this moment of these (team_id, engagement_id); missing ones are left out."""

    def rebuilding(self) -> contextlib.AbstractContextManager[SearchIndex]:
        """A fresh, empty index to fill; it takes this one's place, at once and whole, when the block ends without error.

        What is put into this index meanwhile reaches the fresh one too: that never lacks what was found, nor brings back what
        was erased.
        """

    def compact(self) -> None:
        """Rewrite storage so that nothing of deleted documents is left in its files, as far as the store can."""

    def close(self) -> None:
        """Give connections back."""


@dataclasses.dataclass(frozen=True)
class SearchSpec:
    """Where the search index is. Safe to pickle and show: secrets are only named (see secret_refs).

    Attributes:
        url: sqlite:///FILE, http://HOST:PORT or https://HOST:PORT.
        index: Elasticsearch's alias; real indexes are called index-TIME.
        secret_ref: names an API key in Elasticsearch's encoded form, or USER:PASSWORD.
        ca_certs: file of certificates to trust, "" for the system's. It is read where the index is opened.
        replicas: copies of each shard when the index is made.
        shards: primary shards when the index is made.
    """

    url: str
    index: str = "dealmail"
    secret_ref: str = ""
    ca_certs: str = ""
    replicas: int = 1
    shards: int = 1

    def __post_init__(self) -> None:
        """Refuse what no run could use.

        Raises:
            ValueError: another kind of URL, a password in it, or a name no index can have.
        """
        try:
            parsed = sa.engine.make_url(self.url)
        except (sa.exc.ArgumentError, ValueError):  # their text would show what may hold a password
            raise ValueError("the search URL cannot be read; use https://HOST:PORT or sqlite:///FILE") from None
        if parsed.drivername not in {"sqlite", "http", "https"}:
            raise ValueError(
                f"search {parsed.drivername}://… is not supported; use https://HOST:PORT or sqlite:///FILE"
            )
        if parsed.drivername != "sqlite" and not parsed.host:
            raise ValueError("the search URL names no host; use https://HOST:PORT")
        if parsed.username is not None:
            raise ValueError(
                f"the search URL holds a user; name USER:PASSWORD instead, with --search_password ({secret_refs.FORMS})"
            )
        if parsed.query and parsed.drivername != "sqlite":  # it would be ignored, and may hold a key: it is not shown
            raise ValueError(
                "the search URL has parameters (?…); use https://HOST:PORT, and name an API key with --search_password"
            )
        if self.ca_certs and parsed.drivername != "https":
            raise ValueError(f"certificates ({self.ca_certs}) are for https://HOST:PORT only")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,99}", self.index):
            raise ValueError(f"search index {self.index!r}: use a-z, 0-9, _ . and - only, 100 at the most")


def open_index(spec: SearchSpec) -> SearchIndex:
    """The index that `spec` names. Nothing is asked of it yet: `ensure` does."""
    from .elasticsearch_index import ElasticsearchIndex
    from .fts import FtsIndex

    return FtsIndex(spec) if spec.url.startswith("sqlite:") else ElasticsearchIndex(spec)


# --- documents -----------------------------------------------------------------------------------------------------
def document(
    engagement: Mapping[Any, Any],
    participants: Sequence[Mapping[Any, Any]],
    links: Sequence[Mapping[Any, Any]],
    mailbox_ids: Sequence[str],
) -> Document:
    """The document of one engagement, made from its rows (column names as in io/schema.py), whatever order they come in.

    The same rows give the same document and digest, in every process and on every database.
    """
    by_role: dict[str, list[dict[str, str]]] = {"from": [], "to": [], "cc": []}
    addresses, names = {engagement["sender_address"].lower()}, {engagement["sender_name"]}
    for row in sorted(participants, key=_place):
        address, name = row["address"], row["name"]
        by_role[row["role"]].append({"address": address, "name": name})
        addresses.add(address.lower())
        names.add(name)
    linked: dict[str, set[str]] = {"account": set(), "contact": set(), "lead": set(), "opportunity": set()}
    for row in links:
        linked[row["kind"]].add(row["target_id"])
    in_order = sorted(addresses)
    made: Document = {  # by name, also within: so it is encoded as `digest` does it, which would take ten times as long
        "account_ids": sorted(linked["account"]),
        "addresses": in_order,
        "cc": by_role["cc"],
        "contact_ids": sorted(linked["contact"]),
        "direction": engagement["direction"],
        "domains": sorted({address.rpartition("@")[2] for address in in_order} - {""}),
        "engagement_id": engagement["id"],
        "lead_ids": sorted(linked["lead"]),
        "mailboxes": sorted(set(mailbox_ids)),
        "message_id": engagement["message_id"],
        "opportunity_ids": sorted(linked["opportunity"]),
        "people": " ".join(words(" ".join([*sorted(names), *in_order]))),
        "sender": {"address": engagement["sender_address"], "name": engagement["sender_name"]},
        "sent_at": f"{engagement['sent_at'].astimezone(dt.UTC).isoformat(timespec='microseconds')[:-6]}Z",
        "subject": _unmarked(engagement["subject"]),
        "team_id": engagement["team_id"],
        "text": _unmarked(engagement["text"]),
        "to": by_role["to"],
        "truncated": bool(engagement["truncated"]),
    }
    made["digest"] = hashlib.sha256(msgspec.json.encode(made)).hexdigest()
    return made


def _place(participant: Mapping[Any, Any]) -> tuple[str, int]:
    return participant["role"], participant["position"]


def digest(made: Document) -> str:
    """SHA-256 (hex) over all of a document's fields, in order of name, but the digest itself."""
    fields = {name: value for name, value in made.items() if name != "digest"}
    return hashlib.sha256(msgspec.json.encode(fields, order="deterministic")).hexdigest()


def _unmarked(text: str) -> str:
    return text.replace(MARK_START, "\ufffd").replace(MARK_END, "\ufffd")


_WORDS = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """Letters and digits in runs: what both stores' tokenizers agree on."""
    return _WORDS.findall(text)


_JOINING = "\u00ad:·\u0387\u055f\u05f4\u2027\ufe13\ufe55\uff1a.\u2018\u2019\u2024\ufe52\uff07\uff0e',;\u037e\u0589\u060c\u060d\u066c\u07f8\u2044\ufe10\ufe14"
_JOINED = re.compile(f"[^\\W_][{_JOINING}][^\\W_]|_")
"""Where Unicode's word rules (UAX #29: MidLetter, MidNum, MidNumLet, ExtendNumLet) see no end of a word: acme.com, can't, a_b."""


def joined_words(made: Document) -> list[str]:
    """The words of subject and text that are joined to others, for an index that would not find them: bob acme com."""
    pieces: set[str] = set()
    for text in (made.get("subject", ""), made.get("text", "")):
        if _has_joint(text):
            pieces.update(text.split())
    odd = [piece for piece in pieces if not piece.isalnum()]
    return sorted({" ".join(words(piece)) for piece in odd if _JOINED.search(piece)} - {""})


def _has_joint(text: str) -> bool:
    """Whether there are joined words at all: told soon where there are, and where not in a tenth of what splitting takes."""
    for joint in f"{_JOINING}_":
        at = text.find(joint)
        while at >= 0:
            if joint == "_" or (text[at - 1 : at].isalnum() and text[at + 1 : at + 2].isalnum()):
                return True
            at = text.find(joint, at + 1)
    return False


# --- queries -----------------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True, slots=True)
class Term:
    """One thing that has to occur: a word or phrase; `prefix`: its last word may go on."""

    text: str
    prefix: bool = False


def terms(text: str) -> list[Term]:
    """What `SearchQuery.text` asks for: words, "phrases" and begin*. Pieces without a letter or digit are left out."""
    found = []
    for phrase, word in re.findall(r'"([^"]*)"?|([^\s"]+)', text):
        prefix = word.endswith("*")
        piece = phrase or word.rstrip("*")
        if words(piece):
            found.append(Term(piece.strip(), prefix))
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Person:
    """How to look for `SearchQuery.person`: exactly one of the three is given."""

    address: str = ""
    domain: str = ""
    words: tuple[str, ...] = ()


def person(text: str) -> Person | None:
    """What `SearchQuery.person` asks for; None: nothing."""
    text = text.strip().lower()
    local, at, domain = text.rpartition("@")
    if at and domain:
        return Person(address=text) if local else Person(domain=domain)
    found = tuple(words(text))
    return Person(words=found) if found else None


def fragment(field: str, marked: str) -> Fragment | None:
    """A marked text without its marks and where they were; None where nothing is marked."""
    parts = re.split(f"[{MARK_START}{MARK_END}]", marked)
    if len(parts) < 3:
        return None
    spans, at = [], 0
    for number, part in enumerate(parts):
        if number % 2:
            spans.append((at, at + len(part)))
        at += len(part)
    return Fragment(field, "".join(parts), tuple(spans))


def hit(made: Document, score: float, marked: Sequence[tuple[str, str]]) -> Hit:
    """A hit from its document, its score and (field, text with marks) of what matched."""
    return Hit(
        engagement_id=made["engagement_id"],
        score=score,
        sent_at=dt.datetime.fromisoformat(made["sent_at"]),
        direction=made["direction"],
        subject=made["subject"],
        sender_address=made["sender"]["address"],
        sender_name=made["sender"]["name"],
        fragments=tuple(f for f in (fragment(field, text) for field, text in marked) if f is not None),
    )
