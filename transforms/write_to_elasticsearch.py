"""WriteToElasticsearch: changed engagements and ticks in, the search outbox drained to the index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class OutboxDrain(Protocol):
    """What this step asks of the outbox and the index together."""

    def index(self, team_id: str, engagement_ids: Sequence[str]) -> int:
        """Index the outbox rows of these engagements and take them off the outbox; how many. Others are left alone."""

    def drain(self, limit: int) -> int:
        """Index up to `limit` waiting rows, oldest first; how many. 0 where nothing waits or the index is down (noted)."""
