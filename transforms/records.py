"""The records that flow between the steps, and their coder.

Every record is frozen and immutable; times are timezone-aware UTC datetimes. A record never holds a secret. Those that are
made for every mail that is looked at are msgspec structs: a frozen dataclass takes ten times as long to build.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any, ClassVar, Literal

import apache_beam as beam
import msgspec

Lane = Literal["live", "backfill"]
DueReason = Literal["push", "poll", "work"]
Outcome = Literal["imported", "dropped", "gone", "parked"]
Direction = Literal["inbound", "outbound"]
Role = Literal["from", "to", "cc"]
LinkKind = Literal["account", "contact", "lead", "opportunity"]


class Record:
    """The root of the records that flow through the graph: the type hint, and so the coder, of a mixed PCollection."""

    __slots__ = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Notification(Record):
    """A Gmail push: a hint that a mailbox has moved, never data. `history_id` is numeric, whatever came on the wire."""

    email_address: str
    history_id: int


@dataclasses.dataclass(frozen=True, slots=True)
class Tick(Record):
    """One beat of the periodic impulse, at `at` (UTC). old_messages: how many old ones may be taken on now (None: no limit)."""

    at: dt.datetime
    old_messages: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class DueMailbox(Record):
    """A mailbox that has something to do, and why.

    turn: whatever the reason, it is its old mail's turn as well. old_messages: how many of these it may take on (None: a batch).
    """

    team_id: str
    mailbox_id: str
    reason: DueReason
    turn: bool = False
    old_messages: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ClaimedMessage(Record):
    """One message id leased to this run.

    `lease` is the token that settling must show; `owner` is the mailbox's own address; `window_from` is the start of the
    mailbox's look-back window (None: no window); `lane` tells live mail from backfill. `is_new`: it was found only just now, so
    that Gmail may not have it everywhere yet.
    """

    team_id: str
    mailbox_id: str
    gmail_id: str
    lease: str
    owner: str
    lane: Lane = "live"
    window_from: dt.datetime | None = None
    is_new: bool = False


class FetchedMessage(Record, msgspec.Struct, frozen=True, gc=False):
    """A message as Gmail answered: `payload` is the JSON (UTF-8 bytes) of messages.get in format full.

    Text parts that Gmail hands out only by attachmentId have been read and put in place; other attachments have not.
    """

    claim: ClaimedMessage
    payload: bytes


class Participant(msgspec.Struct, frozen=True, gc=False):
    """One mailbox of a From, To or Cc field (RFC 5322 section 3.4).

    `address` is normalized for comparing: lower case, IDNA domain, NFC. `name` is the decoded display name, or "".
    """

    address: str
    name: str = ""

    @property
    def domain(self) -> str:
        """The part after the last @, or "" where there is none."""
        return self.address.rpartition("@")[2] if "@" in self.address else ""


class NormalizedMessage(Record, msgspec.Struct, frozen=True, gc=False):
    """A message's header section understood; its body, and the header fields nobody needed yet, still sealed in `payload`.

    `sender` is the author as From names them, None where it is empty; `behind` is whom a Google Group's fields name in its
    place (transforms/google_groups.py decides with the CRM). `also_from` holds Reply-To and Sender addresses: looked at for
    blocking only. `message_id` is normalized without angle brackets, "" where missing or made
    up by the receiving server; `message_ids` are all that the mail goes by. `sent_at` is Date if sane, else Gmail's
    internalDate. `is_from_list`: it has fields that mailing lists set.
    """

    claim: ClaimedMessage
    labels: tuple[str, ...]
    message_id: str
    references: tuple[str, ...]
    sent_at: dt.datetime
    internal_date: dt.datetime
    sender: Participant | None
    to: tuple[Participant, ...]
    cc: tuple[Participant, ...]
    also_from: tuple[Participant, ...]
    subject: str
    payload: bytes
    message_ids: tuple[str, ...] = ()
    is_from_list: bool = False
    behind: Participant | None = None

    @property
    def participants(self) -> tuple[Participant, ...]:
        """From, To and Cc in that order."""
        return (*((self.sender,) if self.sender else ()), *self.to, *self.cc)


class Span(msgspec.Struct, frozen=True, gc=False):
    """A stretch of the text, [start, end) in characters, that a reader may fold."""

    kind: Literal["quote", "signature"]
    start: int
    end: int


class MailText(msgspec.Struct, frozen=True, gc=False):
    """The body as plain text: no NUL, no lone surrogate, lines end in LF. `flags` name what was cut or replaced."""

    text: str
    spans: tuple[Span, ...] = ()
    truncated: bool = False
    flags: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """A tie to one CRM record. Exactly one link of each kind that occurs is primary. `via` says which rule tied it."""

    kind: LinkKind
    target_id: str
    primary: bool = False
    via: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class CustomerMail(Record):
    """A message that belongs to a customer: what R7 allows to keep, and where it goes.

    `engagement_id` is the same for every copy. `content_digest` covers all stored content. `rank` orders copies that
    differ: the smallest string wins, whatever the order of arrival. `context` are the keyed digests of the people this mail
    shows the team writes to, and of its own Message-ID (outbound mail only): see transforms/correspondence.py. `also_from` is who
    else may be blocked (Reply-To, Sender, behind a group): not stored, settling looks whether a block has come meanwhile.
    """

    claim: ClaimedMessage
    engagement_id: str
    message_id: str
    sent_at: dt.datetime
    direction: Direction
    sender: Participant
    to: tuple[Participant, ...]
    cc: tuple[Participant, ...]
    subject: str
    body: MailText
    links: tuple[Link, ...]
    rule: str
    rules_version: str
    content_digest: str
    rank: str
    score: float | None = None
    signals: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    crm_version: int | None = None
    also_from: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class SeenCopy(Record):
    """Another mailbox's copy of a mail that went by a moment ago with the same content: no body, a cheap write.

    If the first copy was not stored after all, settling hands the claim back and the message is read again; so it is where
    what is stored has a greater `rank`: this copy would have won.
    """

    claim: ClaimedMessage
    engagement_id: str
    content_digest: str
    rank: str
    rule: str
    rules_version: str
    score: float | None = None
    signals: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    crm_version: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Decision(Record):
    """What became of a message that is not stored, and by which rule (see transforms/decisions.py). Holds no content.

    `context` are keyed digests of the sender and of the referenced Message-IDs, only where the rule is one that a later
    outbound mail can overturn (automated.*), and the shelf of mail through a Google Group (transforms/group_shelf.py).
    `crm_version` is the CRM by which it was made: settling hands back what was decided by an older one than the team's.
    """

    claim: ClaimedMessage
    outcome: Outcome
    rule: str
    rules_version: str = ""
    score: float | None = None
    signals: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    crm_version: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Failure(Record):
    """A step could not finish one message. `error_class` names the exception's class; there is no message and no content.

    `counts` is False where the message is not to blame (quota, token, a store that is down): it is tried again, never parked. Of a
    5xx it says whether other messages were read beside it (transforms/retries.py has the rules).
    """

    claim: ClaimedMessage
    phase: str
    error_class: str
    counts: bool = True
    retry_after: dt.timedelta | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ChangedEngagements(Record):
    """Engagements of one team that have just been put on the search outbox."""

    team_id: str
    engagement_ids: tuple[str, ...]


Settleable = CustomerMail | SeenCopy | Decision | Failure


class RecordCoder(beam.coders.Coder):
    """Encodes any record of this module as its class name and MessagePack: deterministic, no pickle in any bundle."""

    _by_name: ClassVar[dict[str, tuple[type, msgspec.msgpack.Decoder]]] = {}
    _encoder: ClassVar[msgspec.msgpack.Encoder] = msgspec.msgpack.Encoder(order="deterministic")

    @classmethod
    def register(cls, record: type) -> None:
        """Make `record` known to this coder and this coder known to Beam for it."""
        cls._by_name[record.__name__] = (record, msgspec.msgpack.Decoder(record))
        beam.coders.registry.register_coder(record, cls)

    @classmethod
    def from_type_hint(cls, unused_typehint: Any, unused_registry: Any) -> RecordCoder:
        """One coder serves every record."""
        return cls()

    def encode(self, value: Any) -> bytes:
        """`value` as bytes."""
        return type(value).__name__.encode() + b"\0" + self._encoder.encode(value)

    def decode(self, encoded: bytes) -> Any:
        """The record that `encode` was given."""
        name, _, body = encoded.partition(b"\0")
        return self._by_name[name.decode()][1].decode(body)

    def is_deterministic(self) -> bool:
        """Tuples keep their order and there are no sets: always."""
        return True

    def to_type_hint(self) -> Any:
        """Any record."""
        return Any

    def __eq__(self, other: object) -> bool:
        """All instances are alike."""
        return type(self) is type(other)

    def __hash__(self) -> int:
        """All instances are alike."""
        return hash(type(self))


beam.coders.registry.register_coder(Record, RecordCoder)
for _record in (
    Notification, Tick, DueMailbox, ClaimedMessage, FetchedMessage, NormalizedMessage, CustomerMail, SeenCopy, Decision,
    Failure, ChangedEngagements,
):  # fmt: skip
    RecordCoder.register(_record)
