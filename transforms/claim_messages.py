"""ClaimMessages: due mailboxes in, leased message ids out (the first of the three transactions).

What Gmail's history says about each message is netted here, by plain functions; reading it and keeping the ledger is the
edge's part (io/claims.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, Protocol

import apache_beam as beam

from . import step_metrics
from .decisions import (
    AUTOMATED_MARKETING,
    AUTOMATED_TRANSACTIONAL,
    BLOCKED_TEAM,
    BLOCKED_USER,
    CRM_NO_MATCH,
    GONE_NOT_FOUND,
    LABEL_RULES,
    LABEL_SPAM,
    LABEL_TRASH,
    PARTICIPANTS_INTERNAL,
    label_rule,
)
from .records import ClaimedMessage, DueMailbox, Outcome
from .settings import TeamSettings


class Claims(Protocol):
    """What this step asks of Gmail's history and the ledger together."""

    def claim(self, due: DueMailbox) -> list[ClaimedMessage]:
        """Read on from the mailbox's cursor, put what is new in the ledger, and lease up to a batch of pending ids.

        No transaction is open while Gmail is asked. Decisions that labels alone make are settled here. A mailbox that cannot
        be read (revoked, no Gmail, quota) gets its state in the database and yields nothing; that is no error.

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """


_OPENING: Final = frozenset({"INBOX", "SENT"})
"""Labels that Gmail puts on real mail: gaining one is a reason to look (again)."""


@dataclasses.dataclass(frozen=True, slots=True)
class NetChange:
    """What a stretch of history comes to for one message.

    `labels` are its label ids after the last record, None where the records do not tell. `opened` says that a label which keeps mail
    out was taken off, or that it came to the inbox or was sent, and nothing later undid that; `restored` that it was in the trash or
    in spam, and is no more.
    """

    gmail_id: str
    added: bool = False
    deleted: bool = False
    opened: bool = False
    labels: frozenset[str] | None = None
    shut_by: str | None = None
    restored: bool = False

    @property
    def rule(self) -> str | None:
        """The rule by which its labels keep it out; None where they do not, or are not known."""
        return label_rule(tuple(self.labels)) if self.labels is not None else self.shut_by


Action = Literal["nothing", "insert", "insert_dropped", "drop", "shut", "reopen", "reread", "gone", "remove"]
"""What the ledger does about a change.

insert: a new pending row, or a pending one goes live. insert_dropped, drop: decided by its label, unread. shut: what the CRM's state or
a score kept out is now kept out by its label, so that it is judged anew when that goes. reopen: a decided row is pending again.
reread: a pending row loses its lease, so that a reading from before the change is not settled, and goes live. gone: decided as deleted.
remove: this mailbox's imported copy goes, and the row says by which rule.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class LedgerRow:
    """What the ledger holds about one message. `outcome` and `rule` are None while it is pending."""

    outcome: Outcome | None = None
    rule: str | None = None

    @property
    def pending(self) -> bool:
        """Not decided yet."""
        return self.outcome is None


CRM_RULES: Final = frozenset({CRM_NO_MATCH, PARTICIPANTS_INTERNAL, BLOCKED_TEAM, BLOCKED_USER})
"""Rules whose decisions may fall when the CRM or a blocklist changes."""
SCORED_RULES: Final = frozenset({AUTOMATED_MARKETING, AUTOMATED_TRANSACTIONAL})
"""Rules whose decisions may fall when their author becomes a contact."""


def net_changes(records: Iterable[Mapping[str, Any]]) -> list[NetChange]:
    """Gmail's history records, oldest first, as one change a message, in the order of first mention.

    A deletion is final: Gmail's messagesDeleted means removed for good, and ids are never used again. Labels inside a
    record's message are its state, those beside it what was added or removed (discovery document, History); the former are
    often left out. Entries of another form are passed over.
    """
    net: dict[str, _Netting] = {}
    for record in records:
        for kind in ("messagesAdded", "labelsAdded", "labelsRemoved", "messagesDeleted"):
            for entry in _list(record.get(kind)):
                message = entry.get("message")
                gmail_id = message.get("id") if isinstance(message, Mapping) else None
                if isinstance(message, Mapping) and isinstance(gmail_id, str) and gmail_id:
                    delta = _labels(entry.get("labelIds")) or frozenset()
                    net.setdefault(gmail_id, _Netting()).note(kind, delta, _labels(message.get("labelIds")))
    return [
        NetChange(gmail_id, n.added, n.deleted, n.opened, n.labels, n.shut_by, n.restored)
        for gmail_id, n in net.items()
    ]


def decide_change(change: NetChange, row: LedgerRow | None, settings: TeamSettings) -> tuple[Action, str | None]:
    """What the ledger does about `change` of a message that it holds as `row` (None: not at all), and the rule where one is set.

    A label decision is never final: it is made again whenever the label goes. Every other decision stands, but one that rests on
    the CRM, or on a score, gives way to a label.
    """
    rule = change.rule
    if row is None:
        if change.deleted:
            return "nothing", None
        if change.added:
            return ("insert_dropped", rule) if rule else ("insert", None)
        return ("insert", None) if change.opened and not rule else ("nothing", None)
    if change.deleted:
        if row.pending or row.outcome == "parked":
            return "gone", None
        return (
            ("gone" if settings.on_delete == "remove" else "nothing", None)
            if row.outcome == "imported"
            else ("nothing", None)
        )
    if row.pending:
        if rule:
            return "drop", rule
        if change.opened:
            return "reread", None
        return ("insert", None) if change.added else ("nothing", None)  # a walk may have found it first, as old mail
    if row.outcome == "imported":
        removed = (rule == LABEL_TRASH and settings.on_trash == "remove") or (
            rule == LABEL_SPAM and settings.on_spam == "remove"
        )
        return ("remove", rule) if removed else ("nothing", None)
    if rule and row.rule in CRM_RULES | SCORED_RULES:
        # What the CRM learns of later is looked for in Gmail's lists, which show no trash and no spam.
        return "shut", rule
    if is_reopenable(row) and not rule and (change.opened or change.labels is not None):
        return "reopen", None
    if change.added and not rule and row.rule == GONE_NOT_FOUND:
        return "reopen", None  # a walk found it before Gmail handed it out
    if change.restored and not rule and row.rule in CRM_RULES | SCORED_RULES:
        return "reopen", None  # a look back for what the CRM learned meanwhile may have passed over it
    return "nothing", None


def is_reopenable(row: LedgerRow) -> bool:
    """Whether the row's decision rests on a label, or on a 404, and so falls when Gmail shows the message as ordinary mail."""
    return row.rule in LABEL_RULES.values() or row.rule == GONE_NOT_FOUND


def decide_listed(row: LedgerRow | None, *, crm_changed: bool = False) -> Action:
    """What the ledger does about a message that a listing without drafts, chats, spam and trash shows now.

    `crm_changed`: the listing looks back for people and domains that the CRM has only now. A score may come out otherwise then:
    a named contact at support@ is a person.
    """
    if row is None:
        return "insert"
    falls = is_reopenable(row) or (crm_changed and row.rule in CRM_RULES | SCORED_RULES)
    return "reopen" if not row.pending and falls else "nothing"


class _Netting:
    """One message's records, added up."""

    def __init__(self) -> None:
        self.added = False
        self.deleted = False
        self.opened = False
        self.labels: frozenset[str] | None = None
        self.shut_by: str | None = None
        self.restored = False

    def note(self, kind: str, delta: frozenset[str], state: frozenset[str] | None) -> None:
        if kind == "messagesDeleted":
            self.deleted = True
            return
        if kind == "messagesAdded":
            self.added = True
            self.labels = state
            return
        known = self.labels
        if kind == "labelsAdded":
            self.labels = state if state is not None else (known | delta if known is not None else None)
            if rule := label_rule(tuple(delta)):
                self.shut_by, self.opened, self.restored = rule, False, False
            elif delta & _OPENING:
                self._come_in(is_told=state is not None)
            return
        self.labels = state if state is not None else (known - delta if known is not None else None)
        if rule := label_rule(tuple(delta)):
            self.opened = True
            self.restored = self.restored or bool(delta & {"TRASH", "SPAM"})
            if self.shut_by == rule:
                self.shut_by = None

    def _come_in(self, *, is_told: bool) -> None:
        """It came to the inbox, or was sent. Whether Gmail took off what kept it out need not be a record of its own: a sent
        draft is none any more. Where no state is told, only reading it tells.
        """
        self.opened, self.shut_by = True, None
        if not is_told and self.labels is not None and label_rule(tuple(self.labels)):
            self.labels = None


def _list(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _labels(value: Any) -> frozenset[str] | None:
    return frozenset(label for label in value if isinstance(label, str)) if isinstance(value, list) else None


class _Claim(beam.DoFn):
    def __init__(self, claims: Callable[[], Claims]) -> None:
        self._open = claims

    def setup(self) -> None:
        self._claims = self._open()

    def process(self, due: DueMailbox) -> Iterable[ClaimedMessage]:
        step_metrics.count("ClaimMessages", f"due_{due.reason}")
        with step_metrics.timed("ClaimMessages", "claim_msec"):
            claimed = self._claims.claim(due)
        step_metrics.count("ClaimMessages", "claimed", len(claimed))
        yield from claimed


class ClaimMessages(beam.PTransform):
    """Lease message ids of due mailboxes.

    Args:
        claims: opens the edge on the worker; the function owns what it hands out.
    """

    def __init__(self, claims: Callable[[], Claims]) -> None:
        super().__init__()
        self._claims = claims

    def expand(self, due: beam.PCollection) -> beam.PCollection:
        """PCollection of DueMailbox in, PCollection of ClaimedMessage out."""
        return due | "Claim" >> beam.ParDo(_Claim(self._claims)).with_output_types(ClaimedMessage)
