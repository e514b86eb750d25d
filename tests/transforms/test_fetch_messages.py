"""FetchMessages: three ways out, in batches over mailboxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from dealmail.transforms.fetch_messages import FetchMessages, batch_key
from dealmail.transforms.records import ClaimedMessage, Decision, Failure, FetchedMessage

SIZES: list[int] = []


class Reader:
    """Answers by the id's first letter: g is gone, f fails, everything else is there."""

    def read(self, claims: Sequence[ClaimedMessage]) -> Iterator[Any]:
        SIZES.append(len(claims))
        for claim in reversed(claims):
            if claim.gmail_id.startswith("g"):
                yield Decision(claim, "gone", "gone.not_found")
            elif claim.gmail_id.startswith("f"):
                yield Failure(claim, "fetch", "GmailQuotaError", counts=False)
            else:
                yield FetchedMessage(claim, b"{}")

    def close(self) -> None:
        """Nothing."""


def claim(mailbox: str, gmail_id: str) -> ClaimedMessage:
    return ClaimedMessage("t", mailbox, gmail_id, "l", "o")


def test_good_gone_and_failed_part_ways() -> None:
    SIZES.clear()
    claims = [claim(mailbox, gmail_id) for mailbox in "ab" for gmail_id in ("m1", "g1", "f1", "m2")]
    with TestPipeline() as root:
        fetched = root | beam.Create(claims) | FetchMessages(Reader)
        expected = {"messages": ["m1", "m2"] * 2, "decisions": ["g1"] * 2, "failures": ["f1"] * 2}
        for name, ids in expected.items():
            found = getattr(fetched, name) | name >> beam.Map(lambda end: end.claim.gmail_id)
            assert_that(found, equal_to(ids), label=f"check {name}")
        assert fetched.messages.element_type is FetchedMessage
    assert SIZES == [8]


def test_batches_are_bounded_and_keep_a_mailbox_together() -> None:
    SIZES.clear()
    with TestPipeline() as root:
        root | beam.Create([claim("a", f"m{n}") for n in range(25)]) | FetchMessages(Reader, batch_size=10)
    assert sorted(SIZES) == [5, 10, 10]
    assert {batch_key(claim("a", f"m{n}"), 7) for n in range(20)} == {batch_key(claim("a", "x"), 7)}
    assert len({batch_key(claim(f"mailbox {n}", "m"), 4) for n in range(99)}) == 4


def test_sizes_are_checked() -> None:
    for wrong in ({"batch_size": 0}, {"shards": 0}):
        with pytest.raises(ValueError, match="1 or more"):
            FetchMessages(Reader, **wrong)
