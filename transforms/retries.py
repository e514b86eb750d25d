"""When a message that could not be finished is tried again, and when that counts against it: plain rules, kept by settling."""

from __future__ import annotations

import datetime as dt
from typing import Final

from .errors import GmailUnavailableError, MessageGoneError
from .records import Failure

MAX_FAILURES: Final = 5
"""The fifth counted failure parks a message."""
LONGEST_PAUSE: Final = dt.timedelta(minutes=10)
LONGEST_REFUSAL: Final = dt.timedelta(seconds=64)
"""The longest pause where the message is not to blame: it ends, and then mail should not wait for long."""
PATIENCE_BESIDE_OTHERS: Final = 4
PATIENCE_ALONE: Final = 16
PATIENCE_OF_MANY: Final = 100
"""So many 5xx in a row do not count: where Gmail hands out other messages of the mailbox, where this one is alone, and where more than
`FEW` of its mailbox meet the same, which looks like Gmail's own trouble. With the pauses between them a message is given up after
8 minutes at the earliest, after an hour, and after half a day."""
FEW: Final = 3

_FIRST: Final = dt.timedelta(seconds=1)
_FIRST_UNCOUNTED: Final = dt.timedelta(seconds=4)
_UNAVAILABLE: Final = GmailUnavailableError.__name__
_RISING: Final = frozenset({_UNAVAILABLE, MessageGoneError.__name__})


def is_long(failure: Failure, tries: int) -> bool:
    """Whether it matters how many of its mailbox meet the same: `tries` like it came before, in a row."""
    return failure.error_class == _UNAVAILABLE and not failure.counts and tries >= PATIENCE_ALONE


def counts(failure: Failure, tries: int, alike: int = 0) -> bool:
    """Whether `failure` counts, after `tries` of its class in a row, with `alike` messages of the mailbox waiting for the same.

    Quota, tokens and stores never do, a 5xx only once it has gone on for long.
    """
    if failure.error_class != _UNAVAILABLE:
        return failure.counts
    if failure.counts:
        return tries >= PATIENCE_BESIDE_OTHERS
    return tries >= (PATIENCE_ALONE if alike <= FEW else PATIENCE_OF_MANY)


def pause(failure: Failure, failures: int, tries: int) -> dt.timedelta:
    """The longest wait before the next try, doubled with every one; `failures` counted ones and `tries` came before."""
    if failure.error_class in _RISING:
        wait = min(_FIRST_UNCOUNTED * 2 ** min(tries, 10), LONGEST_PAUSE)
    elif failure.counts:
        wait = min(_FIRST * 2 ** min(failures, 10), LONGEST_PAUSE)
    else:
        wait = min(_FIRST_UNCOUNTED * 2 ** min(tries, 10), LONGEST_REFUSAL)
    return wait
