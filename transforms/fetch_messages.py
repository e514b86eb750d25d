"""FetchMessages: leased ids in, Gmail's answers out; what is gone or fails is data too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from .records import ClaimedMessage, Decision, Failure, FetchedMessage


class MessageReader(Protocol):
    """What this step asks of Gmail."""

    def read(self, claims: Sequence[ClaimedMessage]) -> Iterator[FetchedMessage | Decision | Failure]:
        """One answer for each claim, in any order; claims may be of many mailboxes. 404 is Decision gone.not_found."""

    def close(self) -> None:
        """Give threads and connections back."""
