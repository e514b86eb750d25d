"""FetchMessages: leased ids in, Gmail's answers out; what is gone or fails is data too."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import apache_beam as beam

from . import step_metrics
from .batches import GatherBatches
from .records import ClaimedMessage, Decision, Failure, FetchedMessage, Record

DECISIONS = "decisions"
FAILURES = "failures"


class MessageReader(Protocol):
    """What this step asks of Gmail."""

    def read(self, claims: Sequence[ClaimedMessage]) -> Iterator[FetchedMessage | Decision | Failure]:
        """One answer for each claim, in any order; claims may be of many mailboxes. 404 is Decision gone.not_found."""

    def close(self) -> None:
        """Give threads and connections back."""


class Fetched(NamedTuple):
    """The three ways a read can end."""

    messages: beam.PCollection
    decisions: beam.PCollection
    failures: beam.PCollection


def batch_key(claim: ClaimedMessage, shards: int) -> str:
    """Which of `shards` batches `claim` joins: all of a mailbox's claims the same one, so its concurrency is bounded.

    A string like every other key of the graph: FnApiRunner hands the timers of one batching step to all that it fused with
    it, and decodes their keys with each one's own coder.
    """
    return str(zlib.crc32(claim.mailbox_id.encode()) % shards)


class _Read(beam.DoFn):
    def __init__(self, reader: Callable[[], MessageReader]) -> None:
        self._open = reader

    def setup(self) -> None:
        self._reader = self._open()

    def process(self, keyed: tuple[str, Iterable[ClaimedMessage]]) -> Iterable[Any]:
        claims = list(keyed[1])
        step_metrics.observe("FetchMessages", "batch_size", len(claims))
        for answer in step_metrics.timed_each("FetchMessages", "batch_msec", self._reader.read(claims)):
            if isinstance(answer, FetchedMessage):
                step_metrics.count("FetchMessages", "fetched")
                step_metrics.observe("FetchMessages", "message_bytes", len(answer.payload))
                yield answer
            elif isinstance(answer, Decision):
                step_metrics.count("FetchMessages", "gone")
                yield beam.pvalue.TaggedOutput(DECISIONS, answer)
            else:
                step_metrics.count("FetchMessages", f"failed_{answer.error_class}")
                yield beam.pvalue.TaggedOutput(FAILURES, answer)


class FetchMessages(beam.PTransform):
    """Read leased messages from Gmail, in batches over mailboxes.

    Args:
        reader: opens the edge on the worker; the function owns what it hands out, nothing is closed here.
        batch_size: messages read side by side at the most.
        linger_s: how long a batch waits to fill in an endless run; None in a bounded pass.
        shards: batches that may be read side by side, on different workers.
    """

    def __init__(
        self,
        reader: Callable[[], MessageReader],
        *,
        batch_size: int = 50,
        linger_s: float | None = None,
        shards: int = 1,
    ) -> None:
        if batch_size < 1 or shards < 1:
            raise ValueError(f"batch_size {batch_size} and shards {shards} must be 1 or more")
        super().__init__()
        self._reader = reader
        self._batch_size = batch_size
        self._linger_s = linger_s
        self._shards = shards

    def expand(self, claims: beam.PCollection) -> Fetched:
        """PCollection of ClaimedMessage in; PCollections of FetchedMessage, Decision and Failure out."""
        read = (
            claims
            | "KeyByShard"
            >> beam.Map(lambda claim, shards: (batch_key(claim, shards), claim), self._shards).with_output_types(
                tuple[str, Record]
            )
            | "Batch" >> GatherBatches(self._batch_size, self._linger_s)
            | "Read" >> beam.ParDo(_Read(self._reader)).with_outputs(DECISIONS, FAILURES, main="messages")
        )
        return Fetched(
            _typed(read.messages, FetchedMessage), _typed(read[DECISIONS], Decision), _typed(read[FAILURES], Failure)
        )


def _typed(collection: beam.PCollection, record: type) -> beam.PCollection:
    collection.element_type = record  # tagged outputs take no type hints of their own
    return collection
