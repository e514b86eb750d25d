"""What a scenario is to be, and what it came to."""

from __future__ import annotations

import collections
import dataclasses

from . import oracle


@dataclasses.dataclass(frozen=True)
class Plan:
    """How large a scenario is, and how bad its weather: `fault_rate` of Gmail's calls go wrong in one way or another."""

    seed: int
    mailboxes: int = 20
    rounds: int = 5
    events_a_round: int = 20
    fault_rate: float = 0.05
    calm: bool = False


@dataclasses.dataclass
class Result:
    """What a scenario came to. `faults` counts by kind; `log` is what the processes had to say."""

    seed: int
    events: int = 0
    messages: int = 0
    kills: int = 0
    faults: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    verdict: oracle.Verdict = dataclasses.field(default_factory=oracle.Verdict)
    completeness: float = 100.0
    repaired: int = 0
    minutes: int = 0
    shared_minutes: int = 0
    peak_mailbox: int = 0
    peak_project: int = 0
    passes: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    log: str = ""

    @property
    def is_good(self) -> bool:
        """Nothing lost, doubled or wrong, and the audit says 100 %."""
        return self.verdict.is_good and self.completeness == 100.0
