"""Notifications through the real client, from the sandbox's Pub/Sub."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from google.cloud import pubsub_v1

from dealmail.io.pubsub import PubSubSpec, PullSource, _acknowledge, _pull
from dealmail.sandbox.process import SandboxProcess


@pytest.fixture
def spec(gmail_sandbox: SandboxProcess) -> PubSubSpec:
    """A subscription of the test's own on a topic of its own."""
    name = f"t{uuid.uuid4().hex[:8]}"
    gmail_sandbox.client.push_route(
        f"projects/dealmail-sandbox/topics/{name}", f"projects/dealmail-sandbox/subscriptions/{name}"
    )
    return PubSubSpec(f"projects/dealmail-sandbox/subscriptions/{name}", gmail_sandbox.pubsub)


@pytest.fixture
def source(spec: PubSubSpec) -> Iterator[PullSource]:
    made = PullSource(spec)
    yield made
    made.close()


def publish(sandbox: SandboxProcess, spec: PubSubSpec, history_id: int) -> None:
    sandbox.client.call(
        "notify",
        mailbox="a@corp.example",
        history_id=history_id,
        topic=spec.subscription.replace("subscriptions", "topics"),
    )


def ids(received: Any) -> list[int]:
    return sorted(json.loads(message.data)["historyId"] for message in received)


def take(source: PullSource, count: int) -> list[Any]:
    taken: list[Any] = []
    for _ in range(20):
        taken += source.take(1.0, count - len(taken))
        if len(taken) == count:
            return taken
    raise AssertionError(f"{len(taken)} of {count} came")


def test_taken_acknowledged_and_not_seen_again(
    gmail_sandbox: SandboxProcess, spec: PubSubSpec, source: PullSource
) -> None:
    for n in (1, 2, 3):
        publish(gmail_sandbox, spec, n)
    taken = take(source, 3)
    assert ids(taken) == [1, 2, 3]
    source.ack(taken)
    assert source.take(0.3, 10) == []


def test_given_back_comes_again(gmail_sandbox: SandboxProcess, spec: PubSubSpec, source: PullSource) -> None:
    publish(gmail_sandbox, spec, 1)
    source.nack(take(source, 1))
    again = take(source, 1)
    assert ids(again) == [1]
    source.ack(again)


def test_what_nobody_took_is_given_back_on_close(gmail_sandbox: SandboxProcess, spec: PubSubSpec) -> None:
    first = PullSource(spec)
    publish(gmail_sandbox, spec, 1)
    publish(gmail_sandbox, spec, 2)
    first.ack(take(first, 1))
    first.close()
    second = PullSource(spec)
    again = take(second, 1)
    assert len(again) == 1
    second.ack(again)
    second.close()


def test_the_bound_of_one_take_is_kept(gmail_sandbox: SandboxProcess, spec: PubSubSpec, source: PullSource) -> None:
    for n in range(5):
        publish(gmail_sandbox, spec, n)
    taken = take(source, 2)
    assert len(taken) == 2
    source.ack(taken + take(source, 3))


def test_a_missing_subscription_is_said_and_waited_for(
    gmail_sandbox: SandboxProcess, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"t{uuid.uuid4().hex[:8]}"
    source = PullSource(PubSubSpec(f"projects/dealmail-sandbox/subscriptions/{name}", gmail_sandbox.pubsub))
    for _ in range(20):
        assert source.take(0.1, 1) == []
        if "no notifications from" in caplog.text:
            break
    assert "NotFound" in caplog.text
    source.close()


def test_one_pull_of_the_endless_reader(gmail_sandbox: SandboxProcess, spec: PubSubSpec) -> None:
    client = spec.subscriber()
    assert isinstance(client, pubsub_v1.SubscriberClient)
    assert _pull(client, spec.subscription, 10, 0.5) == []
    publish(gmail_sandbox, spec, 1)
    received = _pull(client, spec.subscription, 10, 5)
    assert ids([message.message for message in received]) == [1]
    _acknowledge(client, spec.subscription, [message.ack_id for message in received])
    gmail_sandbox.client.advance(601)
    assert _pull(client, spec.subscription, 10, 0.5) == []
    assert _pull(client, spec.subscription + "-missing", 10, 0.5) is None
    client.close()


@pytest.mark.parametrize(
    ("subscription", "endpoint"),
    [("name", ""), ("projects/p/topics/t", ""), ("projects/p/subscriptions/s", "http://x")],
)
def test_what_is_no_subscription_is_refused(subscription: str, endpoint: str) -> None:
    with pytest.raises(ValueError, match="write"):
        PubSubSpec(subscription, endpoint)
