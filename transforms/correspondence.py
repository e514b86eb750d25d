"""Correspondence: whom the team wrote to, and which mails its users sent, known only by keyed digests."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal, Protocol

DigestKind = Literal["address", "message-id"]

ADDRESS: Final = "address"
MESSAGE_ID: Final = "message-id"


class Correspondence(Protocol):
    """What the automated-mail gate asks of the database.

    Settling an outbound CustomerMail stores its `context`; settling it also re-opens earlier automated.* decisions that carry
    one of these digests, and settling such a decision looks for them once more in its own transaction. So the result does
    not depend on which of two mails was read first.
    """

    def digest(self, team_id: str, kind: DigestKind, value: str) -> str:
        """HMAC of `value` (a normalized address or Message-ID) under the team and kind, 32 hex digits. Needs no database."""

    def known(self, team_id: str, digests: Collection[str]) -> frozenset[str]:
        """Those of `digests` that the team's stored outbound mail shows. Never answered from a cache.

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
