"""The push: one watch a mailbox, renewed daily, and whether it really pushes."""

from __future__ import annotations

import datetime as dt
import random
import re
from collections.abc import Callable
from typing import Any, Final, Literal

from ..transforms.errors import (
    DealmailError,
    GmailQuotaError,
    GmailUnavailableError,
    TerminalError,
    TokenRefreshError,
    TransientError,
)
from .gmail import Gmail, Watch
from .gmail_errors import WatchRefusedError, WatchTakenError
from .mailboxes import MailboxRow, is_over
from .quota import QuotaLimits

LIFETIME: Final = dt.timedelta(days=7)
RENEWED_AFTER: Final = dt.timedelta(days=1)
"""Google asks for a renewal every seven days at least and advises a daily one (push guide)."""

TRIED_AGAIN_AFTER: Final = dt.timedelta(hours=1)
"""Where the topic or its grant is at fault, which somebody has to mend; other failures are tried again after 1, 2, 4 … 60 minutes."""

SAME_PUSH: Final = dt.timedelta(minutes=1)
"""Gmail drops a mailbox's notifications beyond one a second: mail that is found so soon after a push counts as announced by it."""

SILENT_AFTER: Final = dt.timedelta(minutes=30)
"""So long may polls find mail that no push announced before the watch counts as dead: two polls, within the hour."""

FAILURES: Final[tuple[type[DealmailError], ...]] = (
    WatchTakenError,
    WatchRefusedError,
    GmailQuotaError,
    GmailUnavailableError,
    TokenRefreshError,
    TerminalError,
)
"""All that Gmail and the token endpoint may say to `watch` and `stop`."""

PushHealth = Literal["off", "failing", "silent", "expired", "ok"]


def is_due(mailbox: MailboxRow, now: dt.datetime) -> bool:
    """Whether to ask for a watch now: the first time, daily, and when it has gone silent."""
    return mailbox.watch_renew_at is None or is_over(mailbox.watch_renew_at, now)


def renew(
    mailbox: MailboxRow, gmail: Gmail, topic: str, now: dt.datetime, limits: QuotaLimits, spend: Callable[[int], None]
) -> dict[str, Any]:
    """Ask for the watch; the mailbox's columns afterwards. Every refusal is one of them: polling goes on whatever happens.

    Even what the whole mailbox would suffer from is no more than this here: where it is true, the next look at the history
    meets it, too. The watch's own history id is not used: the stored cursor covers more. The units of one call are debited
    already; `spend` debits what it takes beyond that.
    """
    try:
        watch = _watch_once_more(gmail, topic, limits, spend)
    except (WatchTakenError, WatchRefusedError) as error:
        return {"watch_error": str(error)[:255], "watch_renew_at": now + TRIED_AGAIN_AFTER}
    except FAILURES as error:
        tried = re.search(r" x(\d{1,4})$", mailbox.watch_error)
        attempt = int(tried[1]) if tried else 0
        wait = min(dt.timedelta(minutes=2 ** min(attempt, 10)), TRIED_AGAIN_AFTER)
        asked = error.retry_after if isinstance(error, TransientError) else None
        return {
            "watch_error": f"{str(error)[:240]} x{attempt + 1}", "watch_renew_at": now + max(wait, asked or wait),
        }  # fmt: skip
    return {
        "watch_error": "", "watch_expires_at": watch.expires_at, "watch_renew_at": min(now + RENEWED_AFTER, watch.expires_at),
    }  # fmt: skip


def put_off(now: dt.datetime, jitter: random.Random) -> dict[str, Any]:
    """The columns where the minute has no room for the dearest of all calls: a minute or two later will do."""
    return {"watch_renew_at": now + dt.timedelta(seconds=60 + 60 * jitter.random())}


def _watch_once_more(gmail: Gmail, topic: str, limits: QuotaLimits, spend: Callable[[int], None]) -> Watch:
    """Watch; where Gmail says another client is watching, stop and watch once: on exactly that refusal, never by routine."""
    try:
        return gmail.watch(topic)
    except WatchTakenError:
        spend(limits.stop)
        gmail.stop()
        spend(limits.watch)
        return gmail.watch(topic)


def unpushed(mailbox: MailboxRow, *, found_by_poll: bool, now: dt.datetime) -> dict[str, Any]:
    """The columns that change when history was read: mail that a poll found and no push announced casts doubt on the watch.

    All that came before `confirmed_at` is known, so what is found now came later: a push since then may have announced it. A
    push alone clears the doubt (MailboxRegister.touched). While it is as old as SILENT_AFTER, the watch is renewed hourly:
    Gmail pushes once on every renewal, so a watch that works again shows.
    """
    if mailbox.watch_expires_at is None:
        return {}
    since = mailbox.unpushed_since
    if since is None:
        return {"unpushed_since": now} if found_by_poll and not _is_announced(mailbox, now) else {}
    is_fresh = mailbox.watch_expires_at - now > LIFETIME - TRIED_AGAIN_AFTER
    return {"watch_renew_at": now} if now - since >= SILENT_AFTER and not is_fresh and not mailbox.watch_error else {}


def _is_announced(mailbox: MailboxRow, now: dt.datetime) -> bool:
    pushed = mailbox.last_push_at
    if pushed is None:
        return False
    return mailbox.confirmed_at is None or pushed > mailbox.confirmed_at or now - pushed <= SAME_PUSH


def health(mailbox: MailboxRow, now: dt.datetime) -> PushHealth:
    """What the push is worth now. Whatever the answer, the poll finds everything within its interval."""
    if mailbox.watch_error:
        return "failing"
    if mailbox.watch_expires_at is None:
        return "off"
    if mailbox.watch_expires_at <= now:
        return "expired"
    if mailbox.unpushed_since is not None and now - mailbox.unpushed_since >= SILENT_AFTER:
        return "silent"
    return "ok"
