"""ClaimMessages: due mailboxes in, leased message ids out (the first of the three transactions)."""

from __future__ import annotations

from typing import Protocol

from .records import ClaimedMessage, DueMailbox


class Claims(Protocol):
    """What this step asks of Gmail's history and the ledger together."""

    def claim(self, due: DueMailbox) -> list[ClaimedMessage]:
        """Read on from the mailbox's cursor, put what is new in the ledger, and lease up to a batch of pending ids.

        No transaction is open while Gmail is asked. Decisions that labels alone make are settled here. A mailbox that cannot
        be read (revoked, no Gmail, quota) gets its state in the database and yields nothing; that is no error.

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
