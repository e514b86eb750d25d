"""How much old mail a pass of the local service takes on: a push waits for the pass under way, so none may take long."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Pace:
    """Old messages for one pass, so many that it takes about `target_s`: learnt from how long the last ones took.

    Reads and writes take other times at every Gmail, store and machine, so no fixed number would do.
    """

    target_s: float = 0.7
    least: int = 20
    most: int = 2_000
    old_messages: int = 200

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: no time, or numbers out of order.
        """
        if self.target_s <= 0 or not 0 < self.least <= self.old_messages <= self.most:
            raise ValueError(
                f"target_s {self.target_s}, least {self.least}, old_messages {self.old_messages}, most {self.most}: "
                "a positive time, and 0 < least <= old_messages <= most"
            )

    def note(self, seconds: float, claimed: int) -> None:
        """A pass that claimed so many messages took so long: half as many at the least the next time, half as many again at most."""
        if seconds > self.target_s:
            wanted = max(self.old_messages * self.target_s / seconds, self.old_messages / 2)
        elif claimed >= 0.8 * self.old_messages:  # else it was short for want of messages, which says nothing
            wanted = min(self.old_messages * self.target_s / max(seconds, 1e-3), self.old_messages * 1.5)
        else:
            return
        self.old_messages = round(min(self.most, max(self.least, wanted)))
