"""WriteToMariaDb: everything decided in, a settling transaction a batch, changed engagements out.

The second of the three transactions. It may run twice for the same batch, or never: the ledger tells.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import apache_beam as beam

from . import step_metrics
from .batches import GatherBatches, cut_sized
from .records import ChangedEngagements, CustomerMail, Record, SeenCopy, Settleable

TRANSACTION_BYTES = 8_000_000
"""About how much mail one transaction takes; a batch that has more is settled in several."""


class Settlements(Protocol):
    """What this step asks of the database."""

    def settle(self, batch: Sequence[Settleable]) -> list[ChangedEngagements]:
        """Store a batch in one transaction, idempotently, and return what went on the search outbox, a record a team.

        Skipped without effect: claims whose lease is no longer the ledger's, and mailboxes whose import is off.

        Raises:
            StoreUnavailableError: the database cannot be reached, or deadlocked to the end of its retries.
        """


def shard_key(outcome: Settleable, shards: int) -> str:
    """The key that batches `outcome`: its team, and one of `shards`; copies of one mail share a shard."""
    claim = outcome.claim
    by = (
        outcome.engagement_id
        if isinstance(outcome, CustomerMail | SeenCopy)
        else f"{claim.mailbox_id}/{claim.gmail_id}"
    )
    return f"{claim.team_id}/{zlib.crc32(by.encode()) % shards}"


def settling_order(batch: Iterable[Settleable]) -> list[Settleable]:
    """`batch` with whole mails first, so that a SeenCopy finds the engagement that its first copy brings."""
    return sorted(batch, key=lambda outcome: not isinstance(outcome, CustomerMail))


def weight(outcome: Settleable) -> int:
    """About how many bytes an outcome is on its way to the database."""
    return 1_000 + (len(outcome.body.text) if isinstance(outcome, CustomerMail) else 0)


class _Settle(beam.DoFn):
    def __init__(self, settlements: Callable[[], Settlements]) -> None:
        self._open = settlements

    def setup(self) -> None:
        self._settlements = self._open()

    def process(self, keyed: tuple[str, Iterable[Settleable]]) -> Iterable[ChangedEngagements]:
        ordered = settling_order(keyed[1])
        for batch in cut_sized(((outcome, weight(outcome)) for outcome in ordered), len(ordered), TRANSACTION_BYTES):
            step_metrics.observe("WriteToMariaDb", "batch_size", len(batch))
            with step_metrics.timed("WriteToMariaDb", "settle_msec"):
                changed = self._settlements.settle(batch)
            step_metrics.count("WriteToMariaDb", "settled", len(batch))
            step_metrics.count("WriteToMariaDb", "changed_engagements", sum(len(one.engagement_ids) for one in changed))
            yield from changed


class WriteToMariaDb(beam.PTransform):
    """Settle outcomes in batches; what comes out are the engagements that went on the search outbox.

    Args:
        settlements: opens the edge on the worker.
        batch_size: outcomes a transaction at the most. Raise it for a distant database.
        linger_s: how long a batch waits to fill in an endless run; None in a bounded pass.
        shards: batches a team that may be settled side by side.
    """

    def __init__(
        self,
        settlements: Callable[[], Settlements],
        *,
        batch_size: int = 200,
        linger_s: float | None = None,
        shards: int = 1,
    ) -> None:
        if batch_size < 1 or shards < 1:
            msg = f"batch_size {batch_size} and shards {shards} must be 1 or more"
            raise ValueError(msg)
        super().__init__()
        self._settlements = settlements
        self._batch_size = batch_size
        self._linger_s = linger_s
        self._shards = shards

    def expand(self, outcomes: beam.PCollection) -> beam.PCollection:
        """PCollection of Settleable in, PCollection of ChangedEngagements out."""
        return (
            outcomes
            | "KeyByShard"
            >> beam.Map(lambda outcome, shards: (shard_key(outcome, shards), outcome), self._shards).with_output_types(
                tuple[str, Record]
            )
            | "Batch" >> GatherBatches(self._batch_size, self._linger_s)
            | "Settle" >> beam.ParDo(_Settle(self._settlements)).with_output_types(ChangedEngagements)
        )
