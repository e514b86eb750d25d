"""FindDueMailboxes: pushes and ticks, good and bad, come to each due mailbox once."""

from __future__ import annotations

import datetime as dt
import json

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st

from dealmail.transforms.find_due_mailboxes import FindDueMailboxes, merge_due, parse_notification
from dealmail.transforms.records import DueMailbox, Notification, Tick

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)


def push(address: object = "a@corp.example", history_id: object = 7) -> bytes:
    return json.dumps({"emailAddress": address, "historyId": history_id}).encode()


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1))
def test_a_history_id_may_be_a_number_or_a_string(number: int) -> None:
    expected = Notification("a@corp.example", number)
    assert parse_notification(push(history_id=number)) == parse_notification(push(history_id=str(number))) == expected


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"[]", b"7", b'{"emailAddress": "a@b"}', push(address=None), push(address="nobody"), push(history_id=None),
     push(history_id=-1), push(history_id=2**64), push(history_id="1e3"), push(history_id="٣"), push(history_id=True), push(history_id=1.5),
     push(history_id="9" * 5000), b"[" * 100_000, b'{"a":' * 100_000],
)  # fmt: skip
def test_what_is_no_notification_is_none(data: bytes) -> None:
    assert parse_notification(data) is None


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_do_no_harm(data: bytes) -> None:
    assert parse_notification(data) is None or isinstance(parse_notification(data), Notification)


def test_the_most_urgent_reason_wins() -> None:
    reasons = [DueMailbox("t", "m", reason) for reason in ("work", "push", "poll")]
    assert merge_due(reasons).reason == "push"
    assert merge_due(reasons[::2]).reason == "poll"
    turn = DueMailbox("t", "m", "work", turn=True, old_messages=7)
    assert merge_due([*reasons, turn]) == DueMailbox("t", "m", "push", turn=True, old_messages=7)


class Register:
    """Mailbox a is pushed to and polled, b only polled."""

    def due(self, now: dt.datetime, old_messages: int | None = None) -> list[DueMailbox]:
        assert (now, old_messages) == (NOW, 9)
        return [DueMailbox("t", "ma", "poll"), DueMailbox("t", "mb", "work")]

    def touched(self, address: str, now: dt.datetime) -> list[DueMailbox]:
        return [DueMailbox("t", "ma", "push")] if address.lower() == "a@corp.example" else []


def find(root: beam.Pipeline, notifications: list[bytes], ticks: list[Tick]) -> beam.PCollection:
    sources = (
        root | "notifications" >> beam.Create(notifications, reshuffle=False).with_output_types(bytes),
        root | "ticks" >> beam.Create(ticks, reshuffle=False).with_output_types(Tick),
    )
    return sources | FindDueMailboxes(Register, now=lambda: NOW)


def test_each_due_mailbox_comes_once_and_bad_pushes_are_counted() -> None:
    root = TestPipeline()
    pushes = [push(), push("A@Corp.Example", "8"), b"not JSON", push("stranger@corp.example"), push(history_id=None)]
    due = find(root, pushes, [Tick(NOW, 9), Tick(NOW, 9)])
    assert_that(due, equal_to([DueMailbox("t", "ma", "push"), DueMailbox("t", "mb", "work")]))
    result = root.run()
    result.wait_until_finish()
    counters = {counter.key.metric.name: counter.committed for counter in result.metrics().query()["counters"]}
    assert counters["bad_notifications"] == 2
    assert counters["notifications"] == 3


def test_nothing_in_nothing_out() -> None:
    with TestPipeline() as root:
        assert_that(find(root, [], []), equal_to([]))
