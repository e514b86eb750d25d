"""Correspondence in the database: whom the team wrote to, and which mails its users sent, as keyed digests."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from ..transforms.correspondence import DigestKind
from . import schema
from .database import Database
from .vault import Digests

_TABLE = schema.correspondence.c


class DatabaseCorrespondence:
    """See transforms.correspondence.Correspondence. The rows are written by settling (io/overturned.py)."""

    def __init__(self, database: Database, digests: Digests) -> None:
        self._database = database
        self._digests = digests

    def digest(self, team_id: str, kind: DigestKind, value: str) -> str:
        """HMAC of `value` (a normalized address or Message-ID) under the team and kind, 32 hex digits."""
        return self._digests.digest("correspondence", team_id, kind, value, length=32)

    def known(self, team_id: str, digests: Collection[str]) -> frozenset[str]:
        """Those of `digests` that the team's stored outbound mail shows, asked of the database every time.

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
        if not digests:
            return frozenset()
        query = sa.select(_TABLE.digest).where(_TABLE.team_id == team_id, _TABLE.digest.in_(sorted(digests))).distinct()
        with self._database.reading() as connection:
            return frozenset(connection.scalars(query))
