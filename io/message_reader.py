"""GmailMessageReader: many messages of many mailboxes at once, each with its own end.

Gmail refuses more than a few requests side by side for one user (429 "Too many concurrent requests for user", the number
is not published), so each mailbox has a bound of its own below the pool's.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import datetime as dt
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from ..transforms.decisions import GONE_NOT_FOUND
from ..transforms.errors import (
    DealmailError,
    GmailQuotaError,
    GmailUnavailableError,
    MailboxError,
    MalformedMessageError,
    MessageGoneError,
    NoRoomError,
    StoreUnavailableError,
    TransientError,
)
from ..transforms.records import ClaimedMessage, Decision, Failure, FetchedMessage
from .gmail import Gmail
from .google_signin import GmailAccounts
from .quota import LARGE_TEXTS, READ_AT_ONCE
from .secret_refs import SecretNotFoundError
from .vault import VaultError

PHASE: Final = "fetch"


@dataclasses.dataclass(frozen=True)
class ReaderOptions:
    """How messages are read.

    per_mailbox: requests side by side for one mailbox. threads: for all. text_cap: bytes of text parts that are read apart
    (by attachmentId) for one message, before decoding; text_parts: how many. mailbox_pause: how long messages wait that were not asked for because their
    mailbox refused.
    """

    per_mailbox: int = READ_AT_ONCE
    threads: int = 32
    text_cap: int = 4_000_000
    text_parts: int = LARGE_TEXTS
    mailbox_pause: dt.timedelta = dt.timedelta(seconds=60)

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: a number below one.
        """
        for name in ("per_mailbox", "threads", "text_cap", "text_parts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: must be 1 or more")


class GmailMessageReader:
    """Implements transforms.fetch_messages.MessageReader. Safe to share between threads.

    What fails because of quota, token or mailbox never counts against a message. Of a 5xx or a timeout it is told whether other
    messages of the same mailbox were read in the same batch: then it is more likely to be this message that Gmail stumbles over.
    """

    def __init__(
        self,
        accounts: GmailAccounts,
        options: ReaderOptions | None = None,
        more: Callable[[ClaimedMessage, int], bool] | None = None,
    ) -> None:
        """`more` debits the quota for so many more reads than the claim of a message has paid for, where there is room."""
        self._accounts = accounts
        self._more = more or (lambda unused_claim, unused_count: True)
        self._options = options or ReaderOptions()
        self._lock = threading.Lock()
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None

    def read(self, claims: Sequence[ClaimedMessage]) -> Iterator[FetchedMessage | Decision | Failure]:
        """See transforms.fetch_messages.MessageReader."""
        by_mailbox: dict[str, list[ClaimedMessage]] = collections.defaultdict(list)
        for claim in claims:
            by_mailbox[claim.mailbox_id].append(claim)
        pool = self._threads()
        batches = [_Batch(mailbox_claims) for mailbox_claims in by_mailbox.values()]
        lanes = [
            pool.submit(self._drain, batch)
            for batch in batches
            for _ in range(min(self._options.per_mailbox, len(batch.claims)))
        ]
        concurrent.futures.wait(lanes)
        for lane in lanes:
            lane.result()  # a mistake in this module must not pass as a lost message
        for batch in batches:
            yield from self._ends(batch)

    def close(self) -> None:
        """Give threads and connections back. Reading again afterwards makes new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def _threads(self) -> concurrent.futures.ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = concurrent.futures.ThreadPoolExecutor(self._options.threads, thread_name_prefix="gmail")
            return self._pool

    def _drain(self, batch: _Batch) -> None:
        while (claim := batch.next()) is not None:
            batch.done(claim, self._read_one(claim, batch))

    def _read_one(self, claim: ClaimedMessage, batch: _Batch) -> FetchedMessage | DealmailError:
        if batch.refusal is not None:
            return batch.refusal
        try:
            gmail = batch.gmail = batch.gmail or self._accounts.open(claim.mailbox_id)
            payload = gmail.get(claim.gmail_id)
            if b'"attachmentId"' in payload:
                payload = self._with_large_texts(gmail, claim, payload, batch)
        except NoRoomError as error:
            return error  # the others are paid for already, and read
        except (GmailQuotaError, MailboxError, VaultError, StoreUnavailableError) as error:
            batch.refusal = error
            return error
        except SecretNotFoundError as error:
            batch.refusal = VaultError(type(error).__name__)
            return batch.refusal
        except DealmailError as error:
            return error
        return FetchedMessage(claim, payload)

    def _with_large_texts(self, gmail: Gmail, claim: ClaimedMessage, payload: bytes, batch: _Batch) -> bytes:
        """`payload` with text parts in place that Gmail hands out by id only. Ids are good for this answer alone.

        All are paid for at once, by the quota or, where that has no room, by messages of the batch that are given up for now: so
        one of a batch gets through, however many large ones there are.

        Raises:
            MalformedMessageError: no JSON object with a payload.
            MessageGoneError: deleted between the two requests.
            NoRoomError: neither could pay.
        """
        message = decode_message(payload)
        bodies = fitting(large_texts(message["payload"]), self._options.text_parts, self._options.text_cap)
        if not bodies:
            return payload
        if not self._more(claim, len(bodies)) and not batch.give_up(len(bodies)):
            raise NoRoomError("get: no room for large texts")
        for body in bodies:
            body["data"] = gmail.attachment(claim.gmail_id, body.pop("attachmentId"))
        # The standard library: mail may hold lone surrogates, which msgspec refuses.
        return json.dumps(message).encode("ascii")

    def _ends(self, batch: _Batch) -> Iterator[FetchedMessage | Decision | Failure]:
        some_read = any(isinstance(end, FetchedMessage) for end in batch.ends.values())
        for claim, end in batch.ends.items():
            yield end if isinstance(end, FetchedMessage) else self._end(claim, end, some_read=some_read)

    def _end(self, claim: ClaimedMessage, error: DealmailError, *, some_read: bool) -> Decision | Failure:
        name = type(error).__name__
        if isinstance(error, MessageGoneError):
            # A push can be faster than the message it announces, by seconds.
            return (
                Failure(claim, PHASE, name, counts=False) if claim.is_new else Decision(claim, "gone", GONE_NOT_FOUND)
            )
        wait = error.retry_after if isinstance(error, TransientError) else None
        if isinstance(error, GmailQuotaError):
            return Failure(claim, PHASE, name, counts=False, retry_after=wait)
        if isinstance(error, GmailUnavailableError):
            return Failure(claim, PHASE, name, counts=some_read, retry_after=wait)
        if isinstance(error, TransientError):
            return Failure(claim, PHASE, name, counts=False, retry_after=wait or dt.timedelta(seconds=30))
        if isinstance(error, MailboxError | VaultError):
            return Failure(claim, PHASE, name, counts=False, retry_after=self._options.mailbox_pause)
        return Failure(claim, PHASE, name)


class _Batch:
    """The claims of one mailbox in one call of `read`, handed out to several threads."""

    def __init__(self, claims: Sequence[ClaimedMessage]) -> None:
        self.claims = claims
        self.ends: dict[ClaimedMessage, FetchedMessage | DealmailError] = {}
        self.refusal: DealmailError | None = None
        """Set once the mailbox as a whole refused: the rest is not asked for."""
        self.gmail: Gmail | None = None
        """Opened by the first message: the credential is looked up once a batch, not once a message."""
        self._waiting = collections.deque(claims)
        self._lock = threading.Lock()

    def next(self) -> ClaimedMessage | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def give_up(self, count: int) -> bool:
        """End `count` messages, the last of those that were not asked for, as refused: what was debited for them is free."""
        with self._lock:
            if len(self._waiting) < count:
                return False
            for _ in range(count):
                self.ends[self._waiting.pop()] = NoRoomError("get: given up for another's large texts")
            return True

    def done(self, claim: ClaimedMessage, end: FetchedMessage | DealmailError) -> None:
        with self._lock:
            self.ends[claim] = end


def decode_message(payload: bytes) -> dict[str, Any]:
    """messages.get's answer as JSON.

    Raises:
        MalformedMessageError: no JSON object with a payload.
    """
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError):
        raise MalformedMessageError("get: no JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("payload"), dict):
        raise MalformedMessageError("get: answer of another form")
    return message


def large_texts(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The bodies of text/plain and text/html parts, not attached as files, that came as an attachmentId instead of data."""
    waiting = [part]
    while waiting:
        part = waiting.pop()
        inner = part.get("parts")
        waiting.extend(p for p in reversed(inner if isinstance(inner, list) else []) if isinstance(p, dict))
        body = part.get("body")
        if (
            isinstance(body, dict)
            and isinstance(body.get("attachmentId"), str)
            and not body.get("data")
            and part.get("mimeType") in ("text/plain", "text/html")
            and not part.get("filename")
        ):
            yield body


def fitting(bodies: Iterable[dict[str, Any]], most: int, cap: int) -> list[dict[str, Any]]:
    """The first `most` of `bodies` that come to at most `cap` bytes by the sizes they say."""
    found: list[dict[str, Any]] = []
    for body in bodies:
        size = body.get("size")
        if len(found) == most or (isinstance(size, int) and size > cap):
            continue
        cap -= size if isinstance(size, int) else 0
        found.append(body)
    return found
