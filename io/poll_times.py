"""When each mailbox is polled: spread over the interval by its id, and no other after a restart."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Final

POLL_SLOTS: Final = 60
"""Moments of an interval at which mailboxes are polled: those of one moment share a pass, which costs as much for one as for ten."""


def next_poll(
    mailbox_id: str, after: dt.datetime, interval: dt.timedelta, slots: int | None = POLL_SLOTS
) -> dt.datetime:
    """The first of the mailbox's poll times later than `after`: every `interval`, at an offset hashed from its id.

    So the polls of many mailboxes spread evenly, and a restart does not gather them. The offset is one of `slots`, or any.
    """
    seconds = interval.total_seconds()
    share = int.from_bytes(hashlib.sha256(mailbox_id.encode()).digest()[:6], "big") / 2**48
    offset = (share if slots is None else (int(share * slots) + 0.5) / slots) * seconds
    ahead = (offset - after.timestamp()) % seconds
    return after + dt.timedelta(seconds=ahead if ahead > 1e-3 else seconds)
