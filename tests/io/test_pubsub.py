"""Notifications through the real client: what io/pubsub.py rests on, from the sandbox's Pub/Sub and from Google's emulator alike."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from pubsub_emulator import running_emulator

from dealmail.io.pubsub import (
    NotificationsUnavailableError,
    PubSubSpec,
    PullSource,
    _acknowledge,
    _give_back,
    _pull,
)
from dealmail.sandbox.private_server import ServerUnavailableError
from dealmail.sandbox.process import SandboxProcess

PROJECT = "projects/dealmail-sandbox"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        with running_emulator(tmp_path_factory.mktemp("pubsub")) as endpoint:
            yield endpoint
    except ServerUnavailableError as error:
        pytest.skip(f"needs {error}")


@pytest.fixture
def sandbox(gmail_sandbox: SandboxProcess) -> str:
    return gmail_sandbox.pubsub


class Server:
    """A Pub/Sub at `endpoint`, with a topic of the test's own."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._channel = grpc.insecure_channel(endpoint)
        self.publisher = PublisherClient(transport=PublisherGrpcTransport(channel=self._channel))
        self.subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=self._channel))
        self.topic = self.make_topic()

    def make_topic(self) -> str:
        name = f"{PROJECT}/topics/t{uuid.uuid4().hex[:8]}"
        self.publisher.create_topic(name=name)
        return name

    def subscribe(self, topic: str = "", **more: Any) -> PubSubSpec:
        name = f"{PROJECT}/subscriptions/s{uuid.uuid4().hex[:8]}"
        self.subscriber.create_subscription(request={"name": name, "topic": topic or self.topic, **more})
        return PubSubSpec(name, self.endpoint)

    def publish(self, history_id: int) -> None:
        data = json.dumps({"emailAddress": "a@corp.example", "historyId": history_id}).encode()
        self.publisher.publish(request={"topic": self.topic, "messages": [{"data": data}]})

    def close(self) -> None:
        self._channel.close()


@pytest.fixture(params=["sandbox", pytest.param("emulator", marks=pytest.mark.pubsub_emulator)])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    made = Server(request.getfixturevalue(request.param))
    yield made
    made.close()


@pytest.fixture
def spec(server: Server) -> PubSubSpec:
    return server.subscribe()


@pytest.fixture
def source(spec: PubSubSpec) -> Iterator[PullSource]:
    made = PullSource(spec)
    yield made
    made.close()


def ids(received: Any) -> list[int]:
    return sorted(json.loads(message.data)["historyId"] for message in received)


def take(source: PullSource, count: int) -> list[Any]:
    taken: list[Any] = []
    for _ in range(20):
        taken += source.take(1.0, count - len(taken))
        if len(taken) == count:
            return taken
    raise AssertionError(f"{len(taken)} of {count} came")


def test_taken_acknowledged_and_not_seen_again(server: Server, source: PullSource) -> None:
    for n in (1, 2, 3):
        server.publish(n)
    taken = take(source, 3)
    assert ids(taken) == [1, 2, 3]
    source.ack(taken)
    assert source.take(0.3, 10) == []


def test_given_back_comes_again(server: Server, source: PullSource) -> None:
    server.publish(1)
    source.nack(take(source, 1))
    again = take(source, 1)
    assert ids(again) == [1]
    source.ack(again)


def test_what_nobody_took_is_given_back_on_close(server: Server, spec: PubSubSpec) -> None:
    source = PullSource(spec)
    for n in (1, 2):
        server.publish(n)
    source.ack(take(source, 1))
    for _ in range(200):
        if not source._waiting.empty():
            break
        threading.Event().wait(0.05)  # the second is on its way: from a process of its own
    source.close()
    client = spec.subscriber()  # by pull: the emulator goes on sending down a stream that is closed
    again = _pull(client, spec.subscription, 10, 5) or []
    assert len(again) == 1
    _acknowledge(client, spec.subscription, [message.ack_id for message in again])
    client.close()


def test_the_bound_of_one_take_is_kept(server: Server, source: PullSource) -> None:
    for n in range(5):
        server.publish(n)
    taken = take(source, 2)
    assert len(taken) == 2
    source.ack(taken + take(source, 3))


def test_a_missing_subscription_is_said_and_waited_for(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    source = PullSource(PubSubSpec(f"{PROJECT}/subscriptions/t{uuid.uuid4().hex[:8]}", server.endpoint))
    for _ in range(50):
        assert source.take(0.1, 1) == []
        if "no notifications from" in caplog.text:
            break
    assert "NotFound" in caplog.text
    source.close()


def test_one_pull_of_the_endless_reader(server: Server, spec: PubSubSpec) -> None:
    client = spec.subscriber()
    assert isinstance(client, pubsub_v1.SubscriberClient)
    assert _pull(client, spec.subscription, 10, 1.5) == []
    server.publish(1)
    received = _pull(client, spec.subscription, 10, 5) or []
    assert ids([message.message for message in received]) == [1]
    hold(client, spec, received, 1)
    _acknowledge(client, spec.subscription, [message.ack_id for message in received])
    assert _pull(client, spec.subscription, 10, 3) == []  # twice as long as it was held
    assert _pull(client, spec.subscription + "-missing", 10, 1.5) is None
    client.close()


def test_what_is_not_acknowledged_in_time_comes_again(server: Server, spec: PubSubSpec) -> None:
    client = spec.subscriber()
    server.publish(1)
    first = _pull(client, spec.subscription, 10, 5) or []
    hold(client, spec, first, 1)
    again = _pull(client, spec.subscription, 10, 10) or []
    assert [message.message.message_id for message in again] == [message.message.message_id for message in first]
    _acknowledge(client, spec.subscription, [message.ack_id for message in again])
    client.close()


def hold(client: Any, spec: PubSubSpec, received: list[Any], seconds: int) -> None:
    """Have the server wait for the acknowledgement that long from now."""
    ack_ids = [message.ack_id for message in received]
    client.modify_ack_deadline(subscription=spec.subscription, ack_ids=ack_ids, ack_deadline_seconds=seconds)


def test_a_notification_given_back_five_times_becomes_a_dead_letter(server: Server) -> None:
    dead = server.make_topic()
    letters = server.subscribe(dead)
    spec = server.subscribe(dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 5})
    source = PullSource(spec)
    server.publish(7)
    attempts = []
    for _ in range(5):
        (received,) = take(source, 1)
        attempts.append(received.delivery_attempt)
        source.nack([received])
    assert attempts == [1, 2, 3, 4, 5]
    assert source.take(0.3, 1) == []
    source.close()
    client = letters.subscriber()
    (letter,) = _pull(client, letters.subscription, 10, 10) or []
    assert ids([letter.message]) == [7]
    assert letter.message.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
    assert letter.message.attributes["CloudPubSubDeadLetterSourceSubscription"] == spec.subscription.rpartition("/")[2]
    _acknowledge(client, letters.subscription, [letter.ack_id])
    client.close()


@pytest.mark.parametrize(
    ("subscription", "endpoint"),
    [("name", ""), ("projects/p/topics/t", ""), ("projects/p/subscriptions/s", "http://x")],
)
def test_what_is_no_subscription_is_refused(subscription: str, endpoint: str) -> None:
    with pytest.raises(ValueError, match="write"):
        PubSubSpec(subscription, endpoint)


def test_what_waits_when_an_answer_is_required_is_handed_out_like_any_other(server: Server, spec: PubSubSpec) -> None:
    server.publish(7)
    asking = PullSource(spec)
    asking.require_answer()
    asking.close()  # gives it back
    source = PullSource(spec)
    source.require_answer()
    taken = source.take(10, 10)
    assert ids(taken) == [7]
    source.ack(taken)
    source.close()


def test_a_subscription_that_is_not_there_is_named_when_an_answer_is_required(server: Server) -> None:
    source = PullSource(PubSubSpec(f"{PROJECT}/subscriptions/nowhere", server.endpoint))
    with pytest.raises(NotificationsUnavailableError, match="subscriptions/nowhere: NotFound"):
        source.require_answer()
    source.close()


@pytest.mark.timeout(60)
def test_a_pubsub_that_nobody_serves_is_no_error_of_the_reader_and_holds_up_nothing() -> None:
    spec = PubSubSpec(f"{PROJECT}/subscriptions/gmail", "127.0.0.1:1")
    client = spec.subscriber()
    assert _pull(client, spec.subscription, 10, 1) is None
    _acknowledge(client, spec.subscription, ["a"])
    _give_back(client, spec.subscription, ["a"])
    client.close()
