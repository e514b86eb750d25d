"""SelectCustomerMail: normalized messages in, customer mail out; everything else gets its decision.

The gates, cheapest and most private first: label, window, participants, blocklist, CRM, tombstones, and only then content.
"""

from __future__ import annotations

from typing import Protocol

from .crm_directory import CrmDirectory


class Directories(Protocol):
    """What this step asks of the CRM tables: one compact directory a team, built once per CRM version and process."""

    def directory(self, team_id: str, version: int | None = None) -> CrmDirectory:
        """The directory of `team_id`, at least as new as `version` (None: as new as a short time-to-live promises)."""
