"""Writing entries to Elasticsearch by its bulk requests, with patience: what became of each is told, or that it is unknown.

A chunk is encoded here and its answer cut down to each item's status and error: the client's own helper takes three times the
processor time (measured), which is then missing for the next batch.
"""

from __future__ import annotations

import datetime as dt
import random
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import elastic_transport
import elasticsearch
import msgspec

from ..transforms.batches import cut_sized
from . import elasticsearch_documents
from .elasticsearch_errors import AliasMissingError, RetryError, block_in_words, judge_item, kind_of
from .search import IndexEntry, IndexUnavailableError, Outcome

BUSY_ATTEMPTS = 7
LOST_ATTEMPTS = 3
ANSWER = ["items.*.status", "items.*.error"]
"""All that is asked of an answer (filter_path); what was written it would repeat in part."""

_encoded = msgspec.json.Encoder().encode


class BulkWriter:
    """Writes through one client; `chunk` is the number of documents and of bytes in one request at the most."""

    def __init__(
        self,
        client: elasticsearch.Elasticsearch,
        chunk: tuple[int, int],
        stopped: threading.Event,
        chance: random.Random,
    ) -> None:
        self._client = client
        self._chunk = chunk
        self._stopped = stopped
        self._chance = chance

    def write(self, operations: Sequence[bytes], target: str) -> list[Outcome]:
        """Write what `operation` made to the alias `target`; what became of each, in order.

        Requests that got no answer are sent again but for what was acknowledged; rejections for load back off and send
        less at once; a request that is refused as a whole is split until the entry to blame is found.

        Raises:
            IndexUnavailableError: some of it is not written: no answer, load or a write block, to the end of patience.
        """
        outcomes: list[Outcome | None] = [None] * len(operations)
        left = list(range(len(operations)))
        count, busy, lost = self._chunk[0], 0, 0
        while left:
            before, reason = len(left), ""
            try:
                self._send(operations, left, outcomes, target, count)
                break
            except RetryError as error:
                if error.blocked and not (isinstance(error, AliasMissingError) and self._has_index(target)):
                    raise _gave_up(str(error), outcomes, dt.timedelta(seconds=30)) from None
                reason, busy = str(error), busy + 1
            except elasticsearch.ApiError as error:
                kind = kind_of(error)
                if kind == "cluster_block_exception":
                    raise _gave_up(block_in_words(str(error.body)), outcomes, dt.timedelta(seconds=30)) from None
                if error.status_code not in {400, 413, 429} and error.status_code < 500:
                    raise _gave_up(f"search: HTTP {error.status_code} {kind}", outcomes) from None
                left = [number for number in left if outcomes[number] is None]
                if error.status_code in {400, 413}:
                    if count == 1 or len(left) == 1:
                        outcomes[left.pop(0)] = Outcome("refused", (kind or f"status_{error.status_code}")[:64])
                        count = self._chunk[0]
                    else:
                        count = max(1, min(count, len(left)) // 2)
                    continue
                count = max(1, min(count, len(left)) // 2)
                reason, busy = f"search: HTTP {error.status_code} {kind}", busy + 1
            except elastic_transport.TransportError as error:
                reason, lost = f"search: {type(error).__name__}", lost + 1
            left = [number for number in left if outcomes[number] is None]
            if len(left) < before:
                busy, lost = min(busy, 1), min(lost, 1)  # it moves: patience starts again
            if busy >= BUSY_ATTEMPTS or lost >= LOST_ATTEMPTS:
                raise _gave_up(reason, outcomes)
            wait = min(2.0, 0.1 * 2 ** max(busy, lost)) * self._chance.uniform(0.5, 1.0)
            if self._stopped.wait(wait):
                raise _gave_up("search: stopped", outcomes)
        return [outcome for outcome in outcomes if outcome is not None]

    def _has_index(self, alias: str) -> bool:
        """Whether the alias stands for an index after all: a rebuild takes the old one away a moment after the alias."""
        try:
            return bool(self._client.indices.exists_alias(name=alias))
        except (elasticsearch.ApiError, elastic_transport.TransportError):
            return False

    def _send(
        self,
        operations: Sequence[bytes],
        left: Sequence[int],
        outcomes: list[Outcome | None],
        target: str,
        count: int,
    ) -> None:
        """Send `left` once, in chunks, and note what is known.

        Raises:
            RetryError: some items have to be sent again (those without an outcome).
            ApiError, TransportError: a request failed; what was sent before it is noted.
        """
        again: RetryError | None = None
        for chunk in cut_sized(((number, len(operations[number])) for number in left), count, self._chunk[1]):
            answer = self._client.bulk(
                index=target,
                operations=[operations[number] for number in chunk],  # type: ignore[misc]  # bytes are sent as they are
                require_alias=True,  # a missing index is never made by the way, with a guessed mapping
                filter_path=ANSWER,
            )
            for number, item in zip(chunk, _items(answer.body), strict=True):
                try:
                    outcomes[number] = judge_item(item.get("status", 500), item.get("error"))
                except RetryError as error:
                    again = error if again is None or error.blocked else again
        if again is not None:
            raise again


def operation(entry: IndexEntry) -> bytes:
    """The lines of a bulk request that write `entry`, without the last line's end."""
    what = {
        "_id": elasticsearch_documents.document_id(entry.team_id, entry.engagement_id),
        "version": entry.version,
        "version_type": "external_gte",
    }
    if entry.document is None:
        return _encoded({"delete": what})
    return b"%b\n%b" % (_encoded({"index": what}), _encoded(elasticsearch_documents.source(entry.document)))


def _items(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (next(iter(item.values())) for item in answer["items"])


def _gave_up(
    reason: str, outcomes: Sequence[Outcome | None], retry_after: dt.timedelta | None = None
) -> IndexUnavailableError:
    return IndexUnavailableError(reason, outcomes, retry_after=retry_after)
