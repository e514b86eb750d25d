"""WriteToMariaDb: everything decided in, one settling transaction a batch, changed engagements out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .records import ChangedEngagements, Settleable


class Settlements(Protocol):
    """What this step asks of the database."""

    def settle(self, batch: Sequence[Settleable]) -> list[ChangedEngagements]:
        """Store a batch in one transaction, idempotently, and return what went on the search outbox, a record a team.

        Skipped without effect: claims whose lease is no longer the ledger's, and mailboxes whose import is off.

        Raises:
            StoreUnavailableError: the database cannot be reached, or deadlocked to the end of its retries.
        """
