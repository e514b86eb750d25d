"""What a claim may do: how often a mailbox is looked at, how far back, and with which means."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re

from .leasing import LeaseSettings


@dataclasses.dataclass(frozen=True)
class ClaimSettings(LeaseSettings):
    """How claims are made, beside how much is leased.

    poll_interval: the time between two looks at a mailbox that no push announced. look_back: the least first sync. overlap: how far
    before the last confirmed time a recovery begins. topic: where Gmail pushes to; "" does without. search_plan: whether a first
    sync may ask Gmail's search for the CRM's people where that is cheaper. races: how often a claim reads again after somebody
    else moved the cursor.
    """

    poll_interval: dt.timedelta = dt.timedelta(minutes=15)
    look_back: dt.timedelta = dt.timedelta(days=7)
    overlap: dt.timedelta = dt.timedelta(hours=1)
    topic: str = ""
    search_plan: bool = False
    races: int = 3

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: a value out of range, or a topic of another form; the text shows it.
        """
        super().__post_init__()
        if self.races < 1:
            raise ValueError(f"races {self.races}: must be positive")
        if min(self.poll_interval, self.look_back) <= dt.timedelta(0) or self.overlap < dt.timedelta(0):
            raise ValueError("poll_interval and look_back must be positive, overlap must not be negative")
        if self.topic and not re.fullmatch(r"projects/[^/]+/topics/[^/]+", self.topic):
            raise ValueError(f"topic {self.topic!r}: write projects/PROJECT/topics/TOPIC")
