"""DeduplicateByMessageId: copies of one mail that arrive close together cost one full write.

The state is a cache: what it does not know, the engagement's key in the database joins.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, Final

import apache_beam as beam
from apache_beam.coders import StrUtf8Coder
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec
from apache_beam.transforms.window import FixedWindows, GlobalWindows
from apache_beam.utils.timestamp import Duration

from .records import CustomerMail, Record, SeenCopy

MAX_KNOWN: Final = 16
"""Differing copies that are remembered for one mail."""

DEFAULT_WINDOW: Final = dt.timedelta(minutes=10)
DEFAULT_LATENESS: Final = dt.timedelta(hours=1)


def key_of(mail: CustomerMail) -> str:
    """Team and engagement: copies of one mail share it, mail of two teams never does."""
    return f"{mail.claim.team_id}\x00{mail.engagement_id}"


def seen_copy(mail: CustomerMail) -> SeenCopy:
    """What is left to say of a copy whose equal went by: which mailbox holds it."""
    return SeenCopy(
        mail.claim, mail.engagement_id, mail.content_digest, mail.rank, mail.rule, mail.rules_version, mail.score,
        mail.signals, mail.context, mail.crm_version,
    )  # fmt: skip


class _Deduplicate(beam.DoFn):
    KNOWN = ReadModifyWriteStateSpec("known", StrUtf8Coder())

    def process(self, element: tuple[str, CustomerMail], known: Any = beam.DoFn.StateParam(KNOWN)) -> Iterator[Record]:
        """The first copy, and each one that differs from all before it, goes on whole; an equal one as SeenCopy.

        A copy that equals an earlier one in content and comes before it in rank (the author's own) goes on whole, too: else
        the engagement's rank would depend on the order of arrival, and with it which of the differing copies wins.
        """
        mail = element[1]
        seen = [entry.partition(":")[::2] for entry in (known.read() or "").split()]
        if any(digest == mail.content_digest and rank <= mail.rank for digest, rank in seen):
            yield seen_copy(mail)
            return
        seen = [(digest, rank) for digest, rank in seen if digest != mail.content_digest][-(MAX_KNOWN - 1) :]
        known.write(" ".join(f"{digest}:{rank}" for digest, rank in [*seen, (mail.content_digest, mail.rank)]))
        yield mail


class DeduplicateByMessageId(beam.PTransform):
    """PCollection of CustomerMail in; PCollection of CustomerMail and SeenCopy out, in the global window.

    `window` is how long copies are joined, by arrival time (a mail's own date is data: by it every backfilled mail would be
    late). State expires with its window. `lateness` keeps elements alive that a source stamped earlier than its watermark:
    late data would be dropped without a word otherwise.
    """

    def __init__(self, window: dt.timedelta = DEFAULT_WINDOW, lateness: dt.timedelta = DEFAULT_LATENESS) -> None:
        super().__init__()
        if window <= dt.timedelta(0) or lateness < dt.timedelta(0):
            raise ValueError(
                f"window {window} and lateness {lateness}: the first must be longer than zero, the second not negative"
            )
        self._window, self._lateness = window, lateness

    def expand(self, pcoll: beam.PCollection[CustomerMail]) -> beam.PCollection[Record]:
        """Key, window, compare, and back to the global window for the sinks."""
        return (
            pcoll
            | "KeyByEngagement"
            >> beam.Map(lambda mail: (key_of(mail), mail)).with_output_types(tuple[str, CustomerMail])
            | "WindowByArrival"
            >> beam.WindowInto(
                FixedWindows(self._window.total_seconds()), allowed_lateness=Duration.of(self._lateness.total_seconds())
            )
            | "Compare" >> beam.ParDo(_Deduplicate()).with_output_types(Record)
            | "Unwindow" >> beam.WindowInto(GlobalWindows())
        )
