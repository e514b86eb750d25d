"""Pub/Sub in memory: topics, subscriptions, leases with ack deadlines, redelivery, back-off and dead letters.

Delivery is at least once, as the service's default: what is not acknowledged before its deadline comes again. The rules are
those in the docstrings of `google.pubsub_v1.types.pubsub`.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.pubsub_v1.types import pubsub as types

from .clock import Clock

Message = Any
DELETED_TOPIC = "_deleted-topic_"
MAX_WAIT_SECONDS = 1.0


@dataclass(slots=True)
class Delivery:
    """A message on its way to one subscription."""

    message: Message
    attempt: int = 1
    not_before: float = 0.0


@dataclass(slots=True)
class Lease:
    """A delivery that a subscriber holds, until `deadline` (seconds since 1970)."""

    delivery: Delivery
    deadline: float
    holder: object


@dataclass(slots=True)
class Subscription:
    """One subscription. `ready` is a heap of (not before, number, delivery): in order of arrival where nothing is put back."""

    config: Any
    ready: list[tuple[float, int, Delivery]] = field(default_factory=list)
    leases: dict[str, Lease] = field(default_factory=dict)
    acked: int = 0
    dead_lettered: int = 0

    @property
    def has_dead_letters(self) -> bool:
        """Whether a dead letter topic is set."""
        return bool(self.config.dead_letter_policy.dead_letter_topic)


class NotFoundError(KeyError):
    """No such topic or subscription."""


class ExistsError(KeyError):
    """The topic or subscription is there already."""


class Broker:
    """Every method may be called from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.changed = threading.Condition(threading.RLock())
        self.topics: dict[str, Any] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.policies: dict[str, Any] = {}
        self._numbers = itertools.count(1)
        self._message_ids = itertools.count(int(clock.now() * 1000) << 8)
        self._ack_ids = itertools.count(1)
        self._closed = False
        clock.on_move(self.wake)

    def wake(self) -> None:
        """Let every waiter look again."""
        with self.changed:
            self.changed.notify_all()

    def close(self) -> None:
        """End every wait; nothing more is delivered."""
        with self.changed:
            self._closed = True
            self.changed.notify_all()

    # -- topics and subscriptions ------------------------------------------------------------------------------------

    def create_topic(self, config: Any) -> None:
        """Add a topic.

        Raises:
            ExistsError: there is one of that name.
        """
        with self.changed:
            if config.name in self.topics:
                raise ExistsError(config.name)
            self.topics[config.name] = config

    def delete_topic(self, name: str) -> None:
        """Remove a topic; its subscriptions stay, and keep what they hold.

        Raises:
            NotFoundError: no such topic.
        """
        with self.changed:
            if self.topics.pop(name, None) is None:
                raise NotFoundError(name)
            for subscription in self.subscriptions.values():
                if subscription.config.topic == name:
                    subscription.config.topic = DELETED_TOPIC

    def create_subscription(self, config: Any) -> None:
        """Add a subscription; it gets what is published from now on.

        Raises:
            NotFoundError: no such topic. ExistsError: there is one of that name.
        """
        with self.changed:
            if config.name in self.subscriptions:
                raise ExistsError(config.name)
            if config.topic not in self.topics:
                raise NotFoundError(config.topic)
            self.subscriptions[config.name] = Subscription(config)

    def delete_subscription(self, name: str) -> None:
        """Remove a subscription with all it holds.

        Raises:
            NotFoundError: no such subscription.
        """
        with self.changed:
            if self.subscriptions.pop(name, None) is None:
                raise NotFoundError(name)
            self.changed.notify_all()

    def subscription(self, name: str) -> Subscription:
        """The subscription.

        Raises:
            NotFoundError: no such subscription.
        """
        try:
            return self.subscriptions[name]
        except KeyError:
            raise NotFoundError(name) from None

    # -- messages ----------------------------------------------------------------------------------------------------

    def publish(self, topic: str, messages: Iterable[Message]) -> list[str]:
        """Give each message an id and a publish time, and put it on every subscription. Returns the ids.

        Raises:
            NotFoundError: no such topic.
        """
        with self.changed:
            if topic not in self.topics:
                raise NotFoundError(topic)
            ids = []
            for message in messages:
                message.message_id = str(next(self._message_ids))
                now = self._clock.now()
                message.publish_time.FromNanoseconds(int(now * 1e9))
                ids.append(message.message_id)
                for subscription in self.subscriptions.values():
                    if subscription.config.topic == topic:
                        self._put(subscription, Delivery(message))
            self.changed.notify_all()
        return ids

    def publish_bytes(self, topic: str, data: bytes) -> None:
        """Publish one message without attributes.

        Raises:
            NotFoundError: no such topic.
        """
        self.publish(topic, [types.PubsubMessage.pb()(data=data)])

    def take(
        self,
        name: str,
        limit: int,
        wait_seconds: float,
        deadline_seconds: int = 0,
        holder: object = None,
        alive: Callable[[], bool] = lambda: True,
        max_bytes: int = 0,
    ) -> list[Message]:
        """Lease up to `limit` messages, waiting up to `wait_seconds` for the first. Returns `ReceivedMessage`s.

        Raises:
            NotFoundError: no such subscription, or it is deleted meanwhile.
        """
        started = self._clock.now()
        with self.changed:
            while True:
                subscription = self.subscription(name)
                self._expire(subscription)
                received = self._lease(subscription, limit, deadline_seconds, holder, max_bytes)
                left = started + wait_seconds - self._clock.now()
                if received or left <= 0 or self._closed or not alive():
                    return received
                self.changed.wait(min(left, MAX_WAIT_SECONDS, max(0.01, self._next_event(subscription))))

    def ack(self, name: str, ack_ids: Iterable[str]) -> None:
        """Done with these; ids that are unknown or expired are passed over, as the service does."""
        with self.changed:
            subscription = self.subscription(name)
            for ack_id in ack_ids:
                if subscription.leases.pop(ack_id, None) is not None:
                    subscription.acked += 1
            self.changed.notify_all()

    def set_deadline(self, name: str, ack_ids: Iterable[str], seconds: int) -> None:
        """Hold these for `seconds` from now; 0 gives them back at once."""
        with self.changed:
            subscription = self.subscription(name)
            for ack_id in ack_ids:
                lease = subscription.leases.get(ack_id)
                if lease is None:
                    continue
                if seconds:
                    lease.deadline = self._clock.now() + seconds
                else:
                    del subscription.leases[ack_id]
                    self._put_back(subscription, lease.delivery)
            self.changed.notify_all()

    def give_back(self, name: str, messages: Sequence[Message]) -> None:
        """Undo a lease that never reached its subscriber: no attempt is counted."""
        with self.changed:
            subscription = self.subscriptions.get(name)
            if subscription is None:
                return
            for received in messages:
                lease = subscription.leases.pop(received.ack_id, None)
                if lease is not None:
                    self._put(subscription, lease.delivery)
            self.changed.notify_all()

    def held_by(self, name: str, holder: object) -> tuple[int, int]:
        """How many messages, and how many bytes, `holder` has leased."""
        with self.changed:
            subscription = self.subscriptions.get(name)
            sizes = (
                [len(lease.delivery.message.data) for lease in subscription.leases.values() if lease.holder is holder]
                if subscription
                else []
            )
            return len(sizes), sum(sizes)

    def purge(self, name: str, published_before: float) -> None:
        """Seek to a time: what was published before it counts as acknowledged."""
        with self.changed:
            subscription = self.subscription(name)
            limit = published_before * 1e9
            subscription.ready = [
                item for item in subscription.ready if item[2].message.publish_time.ToNanoseconds() >= limit
            ]
            heapq.heapify(subscription.ready)
            subscription.leases = {
                ack_id: lease
                for ack_id, lease in subscription.leases.items()
                if lease.delivery.message.publish_time.ToNanoseconds() >= limit
            }

    def counts(self) -> dict[str, dict[str, int]]:
        """By subscription: messages ready, leased, acknowledged and dead-lettered."""
        with self.changed:
            for subscription in self.subscriptions.values():
                self._expire(subscription)
            return {
                name: {
                    "ready": len(subscription.ready),
                    "leased": len(subscription.leases),
                    "acked": subscription.acked,
                    "dead_lettered": subscription.dead_lettered,
                }
                for name, subscription in self.subscriptions.items()
            }

    # -- inside, under the lock --------------------------------------------------------------------------------------

    def _put(self, subscription: Subscription, delivery: Delivery) -> None:
        heapq.heappush(subscription.ready, (delivery.not_before, next(self._numbers), delivery))

    def _put_back(self, subscription: Subscription, delivery: Delivery) -> None:
        """After a nack or a passed deadline: again with a back-off, or to the dead letter topic after the last attempt."""
        policy = subscription.config.dead_letter_policy
        last = subscription.has_dead_letters and delivery.attempt >= (policy.max_delivery_attempts or 5)
        if last and policy.dead_letter_topic in self.topics:
            self._dead_letter(subscription, delivery)
            return
        retry = subscription.config.retry_policy
        wait = 0.0
        if subscription.config.HasField("retry_policy"):
            low = retry.minimum_backoff.ToTimedelta().total_seconds() if retry.HasField("minimum_backoff") else 10.0
            high = retry.maximum_backoff.ToTimedelta().total_seconds() if retry.HasField("maximum_backoff") else 600.0
            wait = min(high, low * 2 ** min(delivery.attempt - 1, 30))
        self._put(
            subscription,
            Delivery(delivery.message, delivery.attempt + 1, self._clock.now() + wait if wait else delivery.not_before),
        )

    def _dead_letter(self, subscription: Subscription, delivery: Delivery) -> None:
        copy = types.PubsubMessage.pb()()
        copy.CopyFrom(delivery.message)
        _, project, _, short_name = subscription.config.name.split("/")
        published = delivery.message.publish_time.ToJsonString()
        copy.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] = str(delivery.attempt)
        copy.attributes["CloudPubSubDeadLetterSourceSubscription"] = short_name
        copy.attributes["CloudPubSubDeadLetterSourceSubscriptionProject"] = project
        copy.attributes["CloudPubSubDeadLetterSourceTopicPublishTime"] = published
        subscription.dead_lettered += 1
        self.publish(subscription.config.dead_letter_policy.dead_letter_topic, [copy])

    def _expire(self, subscription: Subscription) -> None:
        now = self._clock.now()
        for ack_id in [ack_id for ack_id, lease in subscription.leases.items() if lease.deadline <= now]:
            self._put_back(subscription, subscription.leases.pop(ack_id).delivery)

    def _lease(
        self, subscription: Subscription, limit: int, deadline_seconds: int, holder: object, max_bytes: int
    ) -> list[Message]:
        now = self._clock.now()
        deadline = now + (deadline_seconds or subscription.config.ack_deadline_seconds or 10)
        ordered = subscription.config.enable_message_ordering
        busy = {lease.delivery.message.ordering_key for lease in subscription.leases.values()} if ordered else set()
        received: list[Message] = []
        skipped = []
        total = 0
        while subscription.ready and len(received) < limit and subscription.ready[0][0] <= now:
            item = heapq.heappop(subscription.ready)
            delivery = item[2]
            key = delivery.message.ordering_key
            if ordered and key:
                if key in busy:
                    skipped.append(item)
                    continue
                busy.add(key)
            total += len(delivery.message.data)
            if max_bytes and received and total > max_bytes:
                skipped.append(item)
                break
            ack_id = f"sandbox-ack-{next(self._ack_ids)}"
            subscription.leases[ack_id] = Lease(delivery, deadline, holder)
            attempt = delivery.attempt if subscription.has_dead_letters else 0
            received.append(
                types.ReceivedMessage.pb()(ack_id=ack_id, message=delivery.message, delivery_attempt=attempt)
            )
        for item in skipped:
            heapq.heappush(subscription.ready, item)
        return received

    def _next_event(self, subscription: Subscription) -> float:
        """Seconds until a lease ends or a back-off is over."""
        moments = [lease.deadline for lease in subscription.leases.values()]
        if subscription.ready:
            moments.append(subscription.ready[0][0])
        return min(moments, default=float("inf")) - self._clock.now()
