from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from dealmail.sandbox.clock import Clock
from dealmail.sandbox.pubsub_broker import Broker
from dealmail.sandbox.pubsub_server import PubSubServer

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag")
TOPIC = "projects/proj-local/topics/mail"
SUB = "projects/proj-local/subscriptions/mail-sub"
DEAD = "projects/proj-local/topics/dead"
DEAD_SUB = "projects/proj-local/subscriptions/dead-sub"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[PubSubServer]:
    server = PubSubServer(Broker(clock))
    yield server
    server.close()


@pytest.fixture
def channel(server: PubSubServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


@pytest.fixture
def publisher(channel: grpc.Channel) -> PublisherClient:
    client = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
    client.create_topic(name=TOPIC)
    return client


@pytest.fixture
def subscriber(channel: grpc.Channel, publisher: PublisherClient) -> SubscriberClient:
    client = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
    client.create_subscription(name=SUB, topic=TOPIC)
    return client


def publish(publisher: PublisherClient, *texts: str, key: str = "") -> None:
    messages: list[Any] = [{"data": text.encode(), "ordering_key": key} for text in texts]
    publisher.publish(topic=TOPIC, messages=messages)


def pull(subscriber: SubscriberClient, subscription: str = SUB, count: int = 10) -> list[Any]:
    request = {"subscription": subscription, "max_messages": count, "return_immediately": True}
    return list(subscriber.pull(request=request).received_messages)


def texts(received: list[Any]) -> list[str]:
    return [one.message.data.decode() for one in received]


def test_publish_pull_and_acknowledge(publisher: PublisherClient, subscriber: SubscriberClient) -> None:
    publish(publisher, "a", "b")
    received = pull(subscriber)
    assert texts(received) == ["a", "b"]
    assert received[0].message.message_id != received[1].message.message_id
    assert received[0].message.publish_time.timestamp() > 1.7e9
    assert received[0].delivery_attempt == 0
    assert pull(subscriber) == []
    subscriber.acknowledge(subscription=SUB, ack_ids=[one.ack_id for one in received])


def test_what_is_not_acknowledged_comes_again_after_the_deadline(
    publisher: PublisherClient, subscriber: SubscriberClient, clock: Clock
) -> None:
    publish(publisher, "a")
    first = pull(subscriber)[0]
    clock.advance(9)
    assert pull(subscriber) == []
    subscriber.modify_ack_deadline(subscription=SUB, ack_ids=[first.ack_id], ack_deadline_seconds=60)
    clock.advance(50)
    assert pull(subscriber) == []
    clock.advance(11)
    again = pull(subscriber)[0]
    assert again.message.message_id == first.message.message_id
    subscriber.acknowledge(subscription=SUB, ack_ids=[first.ack_id])  # too late: passed over
    clock.advance(11)
    third = pull(subscriber)[0]
    subscriber.acknowledge(subscription=SUB, ack_ids=[third.ack_id])
    clock.advance(11)
    assert pull(subscriber) == []


def test_a_nack_gives_it_back_at_once(publisher: PublisherClient, subscriber: SubscriberClient) -> None:
    publish(publisher, "a")
    subscriber.modify_ack_deadline(subscription=SUB, ack_ids=[pull(subscriber)[0].ack_id], ack_deadline_seconds=0)
    assert texts(pull(subscriber)) == ["a"]


def test_retry_policy_backs_off(publisher: PublisherClient, subscriber: SubscriberClient, clock: Clock) -> None:
    policy = {
        "minimum_backoff": duration_pb2.Duration(seconds=20),
        "maximum_backoff": duration_pb2.Duration(seconds=30),
    }
    name = f"{SUB}-retry"
    subscriber.create_subscription(request={"name": name, "topic": TOPIC, "retry_policy": policy})
    publish(publisher, "a")
    for wait in (20, 30):
        got = pull(subscriber, name)[0]
        subscriber.modify_ack_deadline(subscription=name, ack_ids=[got.ack_id], ack_deadline_seconds=0)
        clock.advance(wait - 1)
        assert pull(subscriber, name) == []
        clock.advance(2)
    assert texts(pull(subscriber, name)) == ["a"]


def test_dead_letters_after_the_last_attempt(
    publisher: PublisherClient, subscriber: SubscriberClient, clock: Clock
) -> None:
    publisher.create_topic(name=DEAD)
    subscriber.create_subscription(name=DEAD_SUB, topic=DEAD)
    name = f"{SUB}-dl"
    policy = {"dead_letter_topic": DEAD, "max_delivery_attempts": 5}
    subscriber.create_subscription(request={"name": name, "topic": TOPIC, "dead_letter_policy": policy})
    publish(publisher, "poison")
    attempts = []
    for number in range(5):
        got = pull(subscriber, name)[0]
        attempts.append(got.delivery_attempt)
        if number % 2:
            clock.advance(11)
        else:
            subscriber.modify_ack_deadline(subscription=name, ack_ids=[got.ack_id], ack_deadline_seconds=0)
    assert attempts == [1, 2, 3, 4, 5]
    assert pull(subscriber, name) == []
    letter = pull(subscriber, DEAD_SUB)[0].message
    assert letter.data == b"poison"
    assert letter.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
    assert letter.attributes["CloudPubSubDeadLetterSourceSubscription"] == "mail-sub-dl"
    assert letter.attributes["CloudPubSubDeadLetterSourceSubscriptionProject"] == "proj-local"
    assert letter.attributes["CloudPubSubDeadLetterSourceTopicPublishTime"].endswith("Z")


def test_streaming_pull_with_the_high_level_client(
    publisher: PublisherClient, subscriber: SubscriberClient, server: PubSubServer
) -> None:
    # Its threads still send what they hold after the future has ended, so the channel is its own and left open.
    channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
    client = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
    seen: dict[str, int] = {}
    lock, done = threading.Lock(), threading.Event()

    def receive(message: Any) -> None:
        text = message.data.decode()
        with lock:
            seen[text] = seen.get(text, 0) + 1
            first = seen[text] == 1
            complete = len(seen) == 500 and seen["0"] >= 2
        if text == "0" and first:
            message.nack()
        else:
            message.ack()
        if complete:
            done.set()

    future = client.subscribe(SUB, receive, flow_control=pubsub_v1.types.FlowControl(max_messages=50))
    publish(publisher, *[str(number) for number in range(250)])
    publish(publisher, *[str(number) for number in range(250, 500)])
    assert done.wait(30)
    future.cancel()
    future.result(timeout=30)
    assert seen.pop("0") == 2
    assert set(seen.values()) == {1}


def test_the_emulator_variable_reaches_it(server: PubSubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{server.port}")
    publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    publisher.create_topic(name=TOPIC)
    subscriber.create_subscription(name=SUB, topic=TOPIC)
    assert publisher.publish(TOPIC, b"x", tag="1").result(timeout=10)
    received = subscriber.pull(subscription=SUB, max_messages=1, timeout=10).received_messages
    assert dict(received[0].message.attributes) == {"tag": "1"}
    with subscriber:
        pass


def test_an_idle_pull_is_answered_empty_before_the_clients_deadline(subscriber: SubscriberClient) -> None:
    answer = subscriber.pull(subscription=SUB, max_messages=1, timeout=1.2, retry=None)
    assert list(answer.received_messages) == []


def test_an_idle_pull_wakes_up_for_a_message(publisher: PublisherClient, subscriber: SubscriberClient) -> None:
    timer = threading.Timer(0.1, publish, [publisher, "late"])
    timer.start()
    answer = subscriber.pull(subscription=SUB, max_messages=5, timeout=20)
    assert texts(list(answer.received_messages)) == ["late"]


def test_ordering_keys_are_kept_in_order(publisher: PublisherClient, subscriber: SubscriberClient) -> None:
    name = f"{SUB}-ordered"
    subscriber.create_subscription(request={"name": name, "topic": TOPIC, "enable_message_ordering": True})
    publish(publisher, "1", "2", "3", key="k")
    for expected in ("1", "2", "3"):
        got = pull(subscriber, name)
        assert texts(got) == [expected]
        subscriber.acknowledge(subscription=name, ack_ids=[got[0].ack_id])


def test_seek_to_a_time_drops_what_was_before(
    publisher: PublisherClient, subscriber: SubscriberClient, clock: Clock
) -> None:
    publish(publisher, "old")
    clock.advance(60)
    moment = timestamp_pb2.Timestamp(seconds=int(clock.now()) - 1)
    subscriber.seek(request={"subscription": SUB, "time": moment})
    publish(publisher, "new")
    assert texts(pull(subscriber)) == ["new"]


def test_names_states_and_limits_are_checked(publisher: PublisherClient, subscriber: SubscriberClient) -> None:
    with pytest.raises(exceptions.AlreadyExists):
        publisher.create_topic(name=TOPIC)
    with pytest.raises(exceptions.AlreadyExists):
        subscriber.create_subscription(name=SUB, topic=TOPIC)
    for bad in (
        "projects/proj-local/topics/t",
        "projects/proj-local/topics/googtopic",
        "topics/mail",
        "projects/p/topics/1ab",
    ):
        with pytest.raises(exceptions.InvalidArgument):
            publisher.create_topic(name=bad)
    with pytest.raises(exceptions.InvalidArgument):
        subscriber.create_subscription(name="projects/proj-local/subscriptions/s", topic=TOPIC)
    with pytest.raises(exceptions.InvalidArgument):
        subscriber.create_subscription(name=f"{SUB}-x", topic=TOPIC, ack_deadline_seconds=5)
    with pytest.raises(exceptions.NotFound):
        subscriber.create_subscription(name=f"{SUB}-x", topic=f"{TOPIC}-none")
    with pytest.raises(exceptions.NotFound):
        publisher.publish(topic=f"{TOPIC}-none", messages=[{"data": b"x"}])  # type: ignore[list-item]  # a dict is taken
    with pytest.raises(exceptions.NotFound):
        pull(subscriber, f"{SUB}-none")
    with pytest.raises(exceptions.InvalidArgument):
        subscriber.acknowledge(subscription=SUB, ack_ids=[])
    with pytest.raises(exceptions.InvalidArgument):
        publisher.publish(topic=TOPIC, messages=[{}])  # type: ignore[list-item]  # a dict is taken
    with pytest.raises(exceptions.MethodNotImplemented):
        subscriber.create_subscription(request={"name": f"{SUB}-x", "topic": TOPIC, "filter": 'attributes.a="b"'})
    with pytest.raises(exceptions.MethodNotImplemented):
        subscriber.create_snapshot(name="projects/proj-local/snapshots/snap", subscription=SUB)


def test_listing_updating_and_deleting(publisher: PublisherClient, subscriber: SubscriberClient) -> None:
    assert [one.name for one in publisher.list_topics(project="projects/proj-local")] == [TOPIC]
    assert [one.name for one in subscriber.list_subscriptions(project="projects/proj-local")] == [SUB]
    assert list(publisher.list_topic_subscriptions(topic=TOPIC)) == [SUB]
    assert publisher.get_topic(topic=TOPIC).name == TOPIC
    changed = subscriber.update_subscription(
        subscription={"name": SUB, "ack_deadline_seconds": 77},  # type: ignore[arg-type]  # a dict is taken
        update_mask=field_mask_pb2.FieldMask(paths=["ack_deadline_seconds"]),
    )
    assert (changed.ack_deadline_seconds, changed.topic) == (77, TOPIC)
    assert subscriber.get_subscription(subscription=SUB).ack_deadline_seconds == 77
    with pytest.raises(exceptions.InvalidArgument):
        subscriber.update_subscription(
            subscription={"name": SUB, "topic": DEAD},  # type: ignore[arg-type]  # a dict is taken
            update_mask=field_mask_pb2.FieldMask(paths=["topic"]),
        )
    publish(publisher, "kept")
    publisher.delete_topic(topic=TOPIC)
    assert subscriber.get_subscription(subscription=SUB).topic == "_deleted-topic_"
    assert texts(pull(subscriber)) == ["kept"]
    subscriber.delete_subscription(subscription=SUB)
    with pytest.raises(exceptions.NotFound):
        pull(subscriber)
