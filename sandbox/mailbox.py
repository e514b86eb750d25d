"""One Gmail mailbox in memory: messages, labels, threads, drafts, and the history of changes.

Mail that a mailbox is loaded with lies before its retained history, as in a mailbox that existed long before the
first sync; each later change appends one history record (discovery document, `users.history.list`).
"""

from __future__ import annotations

import bisect
import hashlib
import random
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from .headers import decode_value, message_ids
from .raw_mail import InMemory, MailIndex, RawMail, index_mail

SYSTEM_LABELS = (
    "CHAT",
    "SENT",
    "INBOX",
    "IMPORTANT",
    "TRASH",
    "DRAFT",
    "SPAM",
    "CATEGORY_FORUMS",
    "CATEGORY_UPDATES",
    "CATEGORY_PERSONAL",
    "CATEGORY_PROMOTIONS",
    "CATEGORY_SOCIAL",
    "STARRED",
    "UNREAD",
)
MAX_ID_MS = (1 << 44) - 1
_REPLY_PREFIX = re.compile(r"^\s*((re|fwd?|aw|wg|sv|vs|antw|tr|rif|res|enc)(\[\d+\])?\s*[:：]\s*)+", re.IGNORECASE)


@dataclass(slots=True)
class Message:
    """One message of one mailbox. `internal_date` is in milliseconds since 1970, UTC."""

    id: str
    thread_id: str
    raw: RawMail
    labels: set[str]
    internal_date: int
    history_id: int
    size: int
    added_message_id: str = ""
    snippet: str | None = None
    search_text: dict[str, str] | None = field(default=None, repr=False)

    def read(self) -> bytes:
        """The bytes Gmail keeps: as they came, with a Message-ID put in front where there was none."""
        data = self.raw.read()
        if self.added_message_id:
            return f"Message-ID: {self.added_message_id}\r\n".encode() + data
        return data


class Change(NamedTuple):
    """One history record. `kind` is messagesAdded, messagesDeleted, labelsAdded or labelsRemoved."""

    id: int
    kind: str
    message_id: str
    thread_id: str
    delta: tuple[str, ...]
    labels: tuple[str, ...]


class HistoryExpiredError(Exception):
    """The start lies before the oldest record that is kept."""


class HistoryPage(NamedTuple):
    """Records after a start, `next_start` where there are more."""

    changes: list[Change]
    next_start: int | None
    history_id: int


class NewMail(NamedTuple):
    """A message on its way in. `internal_date` in ms; empty `gmail_id`/`thread_id` are chosen by the mailbox."""

    raw: RawMail
    labels: frozenset[str]
    internal_date: int
    gmail_id: str = ""
    thread_id: str = ""
    known: MailIndex | None = None


class UnknownMessageError(KeyError):
    """No message of that id in this mailbox."""


class Mailbox:
    """Every method may be called from any thread. `now_ms` gives the arrival time of delivered mail; `on_change` is called after
    each change, with the labels of the messages it touched.
    """

    def __init__(
        self,
        address: str,
        now_ms: Callable[[], int],
        seed: int = 0,
        on_change: Callable[[Mailbox, frozenset[str]], None] | None = None,
    ) -> None:
        self.address = address
        self.lock = threading.RLock()
        self.state = "ok"
        self._now_ms = now_ms
        self._on_change = on_change or (lambda _mailbox, _labels: None)
        self._touched: set[str] = set()
        self._random = random.Random(f"{seed}:{address.lower()}")  # noqa: S311  # made-up ids, no secret
        self._messages: dict[str, Message] = {}
        self._used_ids: set[str] = set()
        self._order: list[tuple[int, str]] = []
        self._history: list[Change] = []
        self._history_id = self._random.randrange(10_000, 900_000)
        self._retained_from = self._history_id
        self._thread_of_message_id: dict[str, tuple[str, str]] = {}
        self.drafts: dict[str, str] = {}
        self.user_labels: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def history_id(self) -> int:
        """The mailbox's current history record."""
        return self._history_id

    def thread_count(self) -> int:
        """How many threads the mailbox has."""
        with self.lock:
            return len({message.thread_id for message in self._messages.values()})

    def get(self, gmail_id: str) -> Message:
        """The message.

        Raises:
            UnknownMessageError: it is not, or no longer, here.
        """
        try:
            return self._messages[gmail_id]
        except KeyError:
            raise UnknownMessageError(gmail_id) from None

    def newest_first(self, before: tuple[int, str] | None = None) -> Iterator[Message]:
        """Messages by falling (internal date, id), from below `before` on."""
        with self.lock:
            order = self._order
            start = bisect.bisect_left(order, before) if before else len(order)
            keys = order[:start]
        for _, gmail_id in reversed(keys):
            message = self._messages.get(gmail_id)
            if message is not None:
                yield message

    # -- changes -----------------------------------------------------------------------------------------------------

    def load(self, mails: Iterable[NewMail]) -> int:
        """Put mail in that was there before anybody looked: no history record, no notification."""
        count = 0
        with self.lock:
            for mail in sorted(mails, key=lambda mail: mail.internal_date):
                message = self._insert(mail, mail.internal_date)
                self._adopt_draft(message)
                self._order.append((message.internal_date, message.id))
                count += 1
            self._order.sort()
            self._retained_from = self._tick()
        return count

    def deliver(self, mails: Iterable[NewMail]) -> list[str]:
        """Mail arrives now; one notification for all of it. Returns the Gmail ids in order."""
        ids = []
        with self.lock:
            for mail in mails:
                message = self._insert(mail, self._now_ms())
                bisect.insort(self._order, (message.internal_date, message.id))
                self._adopt_draft(message)
                self._record("messagesAdded", message)
                ids.append(message.id)
        self._notify()
        return ids

    def modify(self, gmail_id: str, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Add and remove labels; what changes nothing leaves no record.

        Raises:
            UnknownMessageError: no such message.
        """
        with self.lock:
            message = self.get(gmail_id)
            added = tuple(sorted(set(self.label_ids(add)) - message.labels))
            removed = tuple(sorted(set(self.label_ids(remove)) & message.labels))
            if added:
                message.labels |= set(added)
                self._record("labelsAdded", message, added)
            if removed:
                message.labels -= set(removed)
                self._record("labelsRemoved", message, removed)
        if added or removed:
            self._notify()

    def trash(self, gmail_id: str) -> None:
        """Move to the trash: gains TRASH, leaves INBOX."""
        self.modify(gmail_id, ["TRASH"], ["INBOX"])

    def delete(self, gmail_ids: Iterable[str]) -> None:
        """Remove for good.

        Raises:
            UnknownMessageError: no such message; those before it are gone.
        """
        try:
            with self.lock:
                for gmail_id in gmail_ids:
                    self._remove(gmail_id)
        finally:
            self._notify()

    def save_draft(self, raw: bytes, draft_id: str = "") -> tuple[str, str]:
        """Save a new draft, or a new state of one: the draft keeps its id, its message gets a new one.

        Returns (draft id, message id). Google's guide to drafts: a draft's message is immutable.

        Raises:
            UnknownMessageError: no such draft.
        """
        with self.lock:
            if draft_id:
                if draft_id not in self.drafts:
                    raise UnknownMessageError(draft_id)
                self._remove(self.drafts[draft_id], keep_draft=True)
            else:
                draft_id = f"r{self._random.getrandbits(62)}"
            now = self._now_ms()
            message = self._insert(NewMail(InMemory(raw), frozenset({"DRAFT"}), now), now)
            bisect.insort(self._order, (message.internal_date, message.id))
            self._record("messagesAdded", message)
            self.drafts[draft_id] = message.id
        self._notify()
        return draft_id, message.id

    def send_draft(self, draft_id: str, extra_labels: Iterable[str] = ()) -> str:
        """Send a draft: its message is deleted and one with a new id appears, labelled SENT. Returns the new id.

        Raises:
            UnknownMessageError: no such draft.
        """
        with self.lock:
            if draft_id not in self.drafts:
                raise UnknownMessageError(draft_id)
            old = self.get(self.drafts[draft_id])
            raw, thread_id = old.read(), old.thread_id
            self._remove(old.id)
            now = self._now_ms()
            mail = NewMail(InMemory(raw), frozenset({"SENT", *extra_labels}), now, thread_id=thread_id)
            message = self._insert(mail, now)
            bisect.insort(self._order, (message.internal_date, message.id))
            self._record("messagesAdded", message)
        self._notify()
        return message.id

    def expire_history(self) -> int:
        """Forget every record: each cursor handed out until now is answered 404. Returns the oldest usable id."""
        with self.lock:
            self._history.clear()
            self._retained_from = self._tick()
            return self._retained_from

    # -- history -----------------------------------------------------------------------------------------------------

    def changes_after(self, start: int, limit: int) -> HistoryPage:
        """Up to `limit` records with an id above `start`.

        Raises:
            HistoryExpiredError: `start` is older than what is kept.
        """
        with self.lock:
            if start < self._retained_from:
                raise HistoryExpiredError(start)
            first = bisect.bisect_right(self._history, start, key=lambda change: change.id)
            page = self._history[first : first + limit]
            more = first + limit < len(self._history)
            return HistoryPage(page, page[-1].id if more else None, self._history_id)

    # -- labels ------------------------------------------------------------------------------------------------------

    def label_ids(self, names: Iterable[str]) -> list[str]:
        """Label ids for names or ids; a user's label that is not known yet is created (`Label_1`, ...)."""
        return [self._label_id(name) for name in names]

    def _label_id(self, name: str) -> str:
        upper = name.upper()
        if upper in SYSTEM_LABELS:
            return upper
        if name in self.user_labels:
            return name
        with self.lock:
            for label_id, label_name in self.user_labels.items():
                if label_name.lower() == name.lower():
                    return label_id
            label_id = f"Label_{len(self.user_labels) + 1}"
            self.user_labels[label_id] = name
            return label_id

    # -- inside ------------------------------------------------------------------------------------------------------

    def _notify(self) -> None:
        """Tell who listens, with the labels of all messages that changed since the last time."""
        with self.lock:
            touched = frozenset(self._touched)
            self._touched.clear()
        self._on_change(self, touched)

    def _tick(self) -> int:
        self._history_id += self._random.randrange(1, 90)
        return self._history_id

    def _record(self, kind: str, message: Message, delta: tuple[str, ...] = ()) -> None:
        message.history_id = self._tick()
        self._touched |= message.labels.union(delta)
        self._history.append(
            Change(self._history_id, kind, message.id, message.thread_id, delta, tuple(sorted(message.labels)))
        )

    def _remove(self, gmail_id: str, *, keep_draft: bool = False) -> None:
        message = self.get(gmail_id)
        del self._messages[gmail_id]
        key = (message.internal_date, message.id)
        index = bisect.bisect_left(self._order, key)
        if index < len(self._order) and self._order[index] == key:
            del self._order[index]
        if not keep_draft:
            self.drafts = {draft: mid for draft, mid in self.drafts.items() if mid != gmail_id}
        self._record("messagesDeleted", message)

    def _insert(self, mail: NewMail, arrival_ms: int) -> Message:
        """Add a message and find its thread; the caller keeps `_order`."""
        first, size, digest = mail.known or index_mail(mail.raw.read())
        gmail_id = mail.gmail_id if mail.gmail_id and mail.gmail_id not in self._messages else ""
        gmail_id = gmail_id or self._new_id(arrival_ms, digest)
        own_ids = message_ids(first.get("message-id", ""))
        subject = _base_subject(decode_value(first.get("subject", "")))
        thread_id = mail.thread_id or self._find_thread(first, subject) or gmail_id
        message = Message(
            gmail_id, thread_id, mail.raw, set(self.label_ids(mail.labels)), mail.internal_date, self._tick(), size
        )
        if not first.get("message-id", "").strip():
            made = hashlib.sha256(f"{self.address}:{gmail_id}".encode()).hexdigest()
            message.added_message_id = (
                f"<{made[:8]}.{made[8:16]}.{made[16:21]}.{made[21:25]}SMTPIN_ADDED_MISSING@mx.google.com>"
            )
            own_ids = [message.added_message_id.strip("<>")]
        for own_id in own_ids:
            self._thread_of_message_id.setdefault(own_id, (thread_id, subject))
        self._messages[gmail_id] = message
        self._used_ids.add(gmail_id)
        return message

    def _adopt_draft(self, message: Message) -> None:
        """Give a message that came in labelled DRAFT the draft it belongs to."""
        if "DRAFT" in message.labels:
            self.drafts[f"r{int(message.id, 16)}"] = message.id

    def _find_thread(self, first: dict[str, str], subject: str) -> str:
        """Google's rule for joining a thread: References or In-Reply-To name a message of it, and the subjects match."""
        references = message_ids(first.get("references", "")) + message_ids(first.get("in-reply-to", ""))
        for reference in reversed(references):
            found = self._thread_of_message_id.get(reference)
            if found and found[1] == subject:
                return found[0]
        return ""

    def _new_id(self, arrival_ms: int, content_digest: bytes) -> str:
        """16 hex digits that grow with the arrival time; the same mail loaded into a new mailbox gets the same id.

        As at Gmail no id is ever used again, not even that of a draft whose mail is sent within the same millisecond.
        """
        digest = hashlib.sha256(self.address.lower().encode() + b"\0" + content_digest).digest()
        value = (min(max(arrival_ms, 1), MAX_ID_MS) << 20) | (int.from_bytes(digest[:3]) >> 4)
        while f"{value:016x}" in self._used_ids:
            value += 1
        return f"{value:016x}"


def _base_subject(subject: str) -> str:
    return " ".join(_REPLY_PREFIX.sub("", subject).split()).lower()
