"""`users.watch`: which mailboxes publish their changes where, and the notifications, at most one a second and user."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

from .api_error import ApiError
from .clock import Clock
from .faults import Faults
from .mailbox import Mailbox
from .pubsub_broker import Broker, NotFoundError

WEEK_MS = 7 * 24 * 3600 * 1000
PUBLISHER_ROLE = "roles/pubsub.publisher"
GMAIL_MEMBER = "serviceAccount:gmail-api-push@system.gserviceaccount.com"
_TOPIC = re.compile(r"projects/([^/]+)/topics/[^/]+")


@dataclass(slots=True)
class Watch:
    """One live watch; `expires` in ms since 1970, `last` the second of the last notification."""

    topic: str
    labels: frozenset[str]
    excluded: bool
    expires: int
    last: float = 0.0


class Watches:
    """Every method may be called from any thread."""

    def __init__(self, broker: Broker, clock: Clock, faults: Faults, project: str) -> None:
        self._broker = broker
        self._clock = clock
        self._faults = faults
        self._project = project
        self._lock = threading.Lock()
        self._live: dict[str, Watch] = {}
        self.interval = 1.0
        self.require_grant = False
        self.counts = {"published": 0, "dropped": 0, "lost": 0, "doubled": 0, "delayed": 0}

    def start(self, mailbox: Mailbox, body: dict[str, object]) -> dict[str, str]:
        """Serve `watch`: check the topic, publish at once, and remember it for seven days.

        Raises:
            ApiError: bad topic, missing topic, or another topic's watch is live.
        """
        topic = str(body.get("topicName", ""))
        match = _TOPIC.fullmatch(topic)
        if not match or match.group(1) != self._project:
            raise ApiError.invalid(f"Invalid topicName does not match projects/{self._project}/topics/*")
        labels = body.get("labelIds") or []
        behavior = str(body.get("labelFilterBehavior") or body.get("labelFilterAction") or "include").lower()
        if not isinstance(labels, list) or behavior not in {"include", "exclude"}:
            raise ApiError.invalid("Invalid labelIds or labelFilterBehavior")
        now = self._clock.now_ms()
        expires = now + WEEK_MS
        with self._lock:
            live = self._live.get(mailbox.address)
            if live is not None and live.expires > now and live.topic != topic:
                text = "Only one user push notification client allowed per developer (call /stop then try again)"
                raise ApiError.invalid(text)
            if topic not in self._broker.topics:
                raise ApiError(
                    404,
                    f"Error sending test message to Cloud PubSub {topic} : Resource not found (resource={topic.rpartition('/')[2]}).",
                    "notFound",
                )
            if self.require_grant and not self._may_publish(topic):
                text = (
                    f"Error sending test message to Cloud PubSub {topic} : User not authorized to perform this action."
                )
                raise ApiError(403, text, "forbidden")
            watch = Watch(
                topic, frozenset(str(label) for label in labels), behavior == "exclude", expires, self._clock.now()
            )
            self._live[mailbox.address] = watch
        history_id = mailbox.history_id
        self._send(mailbox.address, history_id, watch.topic)
        return {"historyId": str(history_id), "expiration": str(expires)}

    def stop(self, mailbox: Mailbox) -> None:
        """Serve `stop`; without a watch nothing happens."""
        with self._lock:
            self._live.pop(mailbox.address, None)

    def changed(self, mailbox: Mailbox, labels: frozenset[str]) -> None:
        """A mailbox moved on: publish, unless another notification went out within the last second (then it is dropped)."""
        now = self._clock.now()
        with self._lock:
            watch = self._live.get(mailbox.address)
            if watch is None or watch.expires <= now * 1000:
                return
            if watch.labels and bool(watch.labels & labels) == watch.excluded:
                return
            if 0 <= now - watch.last < self.interval:
                self.counts["dropped"] += 1
                return
            watch.last = now
        self._send(mailbox.address, mailbox.history_id, watch.topic)

    def live(self) -> dict[str, dict[str, object]]:
        """The watches by address."""
        now = self._clock.now_ms()
        with self._lock:
            return {
                address: {"topic": watch.topic, "expiration": watch.expires}
                for address, watch in self._live.items()
                if watch.expires > now
            }

    def notify(self, address: str, history_id: int, topic: str) -> None:
        """Publish a notification that a test made up."""
        self._publish(address, history_id, topic)

    def _may_publish(self, topic: str) -> bool:
        policy = self._broker.policies.get(topic)
        return policy is not None and any(
            binding.role == PUBLISHER_ROLE and GMAIL_MEMBER in binding.members for binding in policy.bindings
        )

    def _send(self, address: str, history_id: int, topic: str) -> None:
        def publish() -> None:
            self._publish(address, history_id, topic)

        if self._faults.hit("lost", "push", address):
            self.counts["lost"] += 1
            return
        late = self._faults.hit("delay", "push", address)
        if late is not None:
            self.counts["delayed"] += 1
            self._later(late.delay_seconds, publish)
        else:
            publish()
        if self._faults.hit("double", "push", address):
            self.counts["doubled"] += 1
            publish()

    def _later(self, seconds: float, publish: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, publish)
        timer.daemon = True
        timer.start()

    def _publish(self, address: str, history_id: int, topic: str) -> None:
        data = json.dumps({"emailAddress": address, "historyId": history_id}).encode()
        try:
            self._broker.publish_bytes(topic, data)
            self.counts["published"] += 1
        except NotFoundError:
            self.counts["lost"] += 1
