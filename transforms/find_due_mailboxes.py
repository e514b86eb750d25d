"""FindDueMailboxes: notifications and ticks in, the mailboxes that have something to do out, each once."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import apache_beam as beam
import msgspec

from . import step_metrics
from .batches import GatherBatches
from .clock import Clock, utc_now
from .records import DueMailbox, DueReason, Notification, Record, Tick

_URGENCY: Final[tuple[DueReason, ...]] = ("push", "poll", "work")
_MAX_UINT64: Final = 2**64 - 1


class MailboxRegister(Protocol):
    """What this step asks of the database."""

    def due(self, now: dt.datetime, old_messages: int | None = None) -> list[DueMailbox]:
        """Mailboxes whose poll is due, or that have claimable work, a listing to walk or a watch to renew, at `now` (UTC).

        old_messages: how many messages of old mail they may take on altogether (None: a batch each).
        """

    def touched(self, address: str, now: dt.datetime) -> list[DueMailbox]:
        """The mailboxes that a push for `address` (any case) concerns; notes the push. Unknown or off: none, no trace."""


def parse_notification(data: bytes) -> Notification | None:
    """Gmail's push (JSON with emailAddress and historyId), or None where `data` is no such thing.

    Google's push guide shows historyId as a string, real pushes carry a number: both are taken. It is an unsigned 64-bit
    integer (Gmail's discovery document).
    """
    try:
        answer = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    address, number = answer.get("emailAddress"), answer.get("historyId")
    if not isinstance(address, str) or "@" not in address or isinstance(number, bool):
        return None
    if isinstance(number, str) and len(number) <= 20 and number.isascii() and number.isdigit():
        number = int(number)
    if not isinstance(number, int) or not 0 <= number <= _MAX_UINT64:
        return None
    return Notification(address, number)


def merge_due(found: Iterable[DueMailbox]) -> DueMailbox:
    """One record for one mailbox that is due for several reasons: the most urgent one (push, poll, work), and the turn it has.

    Raises:
        ValueError: nothing was found.
    """
    reasons = list(found)
    first = min(reasons, key=lambda due: _URGENCY.index(due.reason))
    turn = next((due for due in reasons if due.turn), first)
    return dataclasses.replace(first, turn=turn.turn, old_messages=turn.old_messages)


class _Touch(beam.DoFn):
    def __init__(self, register: Callable[[], MailboxRegister], now: Clock) -> None:
        self._open = register
        self._now = now

    def setup(self) -> None:
        self._register = self._open()

    def process(self, data: bytes) -> Iterable[DueMailbox]:
        notification = parse_notification(data)
        if notification is None:
            step_metrics.count("FindDueMailboxes", "bad_notifications")
            return
        step_metrics.count("FindDueMailboxes", "notifications")
        yield from self._register.touched(notification.email_address, self._now())


class _Due(beam.DoFn):
    def __init__(self, register: Callable[[], MailboxRegister], now: Clock) -> None:
        self._open = register
        self._now = now

    def setup(self) -> None:
        self._register = self._open()

    def process(self, tick: Tick) -> Iterable[DueMailbox]:
        yield from self._register.due(self._now(), tick.old_messages)


class FindDueMailboxes(beam.PTransform):
    """What has something to do: pushed to, polled, or with work waiting.

    Args:
        register: opens the edge on the worker; the function owns what it hands out.
        now: the time, UTC.
        linger_s: how long the reasons of one mailbox are gathered in an endless run; None in a bounded pass.
    """

    def __init__(
        self,
        register: Callable[[], MailboxRegister],
        *,
        now: Clock = utc_now,
        linger_s: float | None = None,
    ) -> None:
        super().__init__()
        self._register = register
        self._now = now
        self._linger_s = linger_s

    def expand(self, sources: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        """(PCollection of bytes, PCollection of Tick) in, PCollection of DueMailbox out."""
        notifications, ticks = sources
        touched = notifications | "Touch" >> beam.ParDo(_Touch(self._register, self._now)).with_output_types(DueMailbox)
        due = ticks | "Due" >> beam.ParDo(_Due(self._register, self._now)).with_output_types(DueMailbox)
        # Keyed batches merge the reasons, and hand each mailbox to one worker at a time: claims rarely race.
        return (
            (touched, due)
            | "Flatten" >> beam.Flatten()
            | "KeyByMailbox" >> beam.Map(lambda found: (found.mailbox_id, found)).with_output_types(tuple[str, Record])
            | "Gather" >> GatherBatches(100, self._linger_s)
            | "Merge" >> beam.MapTuple(lambda unused_key, found: merge_due(found)).with_output_types(DueMailbox)
        )
