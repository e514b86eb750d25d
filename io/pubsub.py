"""Gmail's notifications from Pub/Sub: pulled by the local service, or read by the graph itself on Flink and Prism.

A notification is a hint and never data, so at-least-once delivery is all that is needed, and an acknowledgement that is
lost costs two quota units. Dataflow has a reader of its own (beam.io.ReadFromPubSub).
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import queue
import re
import time
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Final

import apache_beam as beam
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Duration, Timestamp

from ..transforms import step_metrics
from ..transforms.errors import DealmailError

_log = logging.getLogger(__name__)

_ENDLESS: Final = 2**62
_REOPENED_AFTER_S: Final = 10.0
_WATERMARK_LAG_S: Final = 1
_PULLED_AGAIN_AFTER_S: Final = 5
_ANSWERS_WITHIN_S: Final = 10.0
_HOW_TO_GET_CREDENTIALS: Final = (
    "no Google credentials for Pub/Sub: gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS=FILE"
)


class NoCredentialsError(DealmailError):
    """There are no Google credentials on this machine, which Pub/Sub wants; the text says how it gets them."""


class NotificationsUnavailableError(DealmailError):
    """Pub/Sub does not answer, or not for this subscription. The text names it and the kind of error."""


@dataclasses.dataclass(frozen=True)
class PubSubSpec:
    """A subscription. `endpoint` (HOST:PORT, without TLS) is for stand-ins; "" is Google, or PUBSUB_EMULATOR_HOST where set."""

    subscription: str
    endpoint: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no subscription.

        Raises:
            ValueError: another form; the text shows it.
        """
        if not re.fullmatch(r"projects/[^/]+/subscriptions/[^/]+", self.subscription):
            raise ValueError(f"subscription {self.subscription!r}: write projects/PROJECT/subscriptions/SUBSCRIPTION")
        if self.endpoint and not re.fullmatch(r"[^/:]+:\d+", self.endpoint):
            raise ValueError(f"Pub/Sub endpoint {self.endpoint!r}: write HOST:PORT")

    def subscriber(self) -> Any:
        """A google.cloud.pubsub_v1.SubscriberClient for it.

        Raises:
            NoCredentialsError: this machine has none for Google, or they cannot be read.
        """
        from google.auth.exceptions import GoogleAuthError
        from google.cloud import pubsub_v1

        if not self.endpoint:
            try:
                return pubsub_v1.SubscriberClient()
            except GoogleAuthError:
                raise NoCredentialsError(_HOW_TO_GET_CREDENTIALS) from None
        import grpc
        from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

        return pubsub_v1.SubscriberClient(
            transport=SubscriberGrpcTransport(channel=grpc.insecure_channel(self.endpoint))
        )


@dataclasses.dataclass(frozen=True)
class _Pulled:
    """A notification that was asked for and not streamed; answered for as those are."""

    client: Any
    subscription: str
    ack_id: str
    data: bytes

    def ack(self) -> None:
        _acknowledge(self.client, self.subscription, [self.ack_id])

    def nack(self) -> None:
        _give_back(self.client, self.subscription, [self.ack_id])


class PullSource:
    """Notifications for the local service by streaming pull: there within milliseconds, nothing used while idle.

    What was taken and is neither acknowledged nor given back keeps its lease extended by the client, and comes again soon
    after this process is gone.
    """

    def __init__(self, spec: PubSubSpec, *, ahead: int = 1000) -> None:
        """The first `take` begins to pull; up to `ahead` notifications wait in memory.

        Raises:
            NoCredentialsError: this machine has none for Google.
        """
        from google.cloud import pubsub_v1

        self._spec = spec
        self._flow = pubsub_v1.types.FlowControl(max_messages=ahead)
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._client = spec.subscriber()
        self._reopen_at = 0.0
        self._pulling: Any = None

    def require_answer(self) -> None:
        """Ask once for a notification, which `take` hands out then: the stream alone would not tell silence from an outage.

        Raises:
            NotificationsUnavailableError: no answer, or a refusal.
        """
        from google.api_core import exceptions

        name = self._spec.subscription
        # With return_immediately an empty subscription answers at once, so no answer means that there is nobody.
        asked = {"subscription": name, "max_messages": 1, "return_immediately": True}
        try:
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                answer = self._client.pull(request=asked, timeout=_ANSWERS_WITHIN_S, retry=None)
        except exceptions.GoogleAPICallError as error:
            raise NotificationsUnavailableError(f"no notifications from {name}: {type(error).__name__}") from None
        for one in answer.received_messages:
            self._waiting.put(_Pulled(self._client, name, one.ack_id, one.message.data))

    def take(self, timeout_s: float, limit: int) -> Sequence[Any]:
        """What waits, at once, up to `limit`; nothing after `timeout_s` without any. Each has `data`."""
        self._keep_open()
        taken: list[Any] = []
        with contextlib.suppress(queue.Empty):
            taken.append(self._waiting.get(timeout=timeout_s))
            while len(taken) < limit:
                taken.append(self._waiting.get_nowait())
        return taken

    def ack(self, received: Sequence[Any]) -> None:
        """These need not come again."""
        for message in received:
            message.ack()

    def nack(self, received: Sequence[Any]) -> None:
        """These must come again."""
        for message in received:
            message.nack()

    def close(self) -> None:
        """Stop pulling and give back what nobody took."""
        from google.api_core import exceptions

        if self._pulling is not None:
            self._pulling.cancel()
            with contextlib.suppress(exceptions.GoogleAPICallError, TimeoutError):
                self._pulling.result(timeout=10)
        # Only now: what is given back while the stream is open comes down the same stream once more, and is lost there.
        waiting: list[str] = []
        with contextlib.suppress(queue.Empty):
            while True:
                waiting.append(self._waiting.get_nowait().ack_id)
        if waiting:
            _give_back(self._client, self._spec.subscription, waiting)
        self._client.close()

    def _open(self) -> Any:
        return self._client.subscribe(
            self._spec.subscription,
            callback=self._waiting.put,
            flow_control=self._flow,
            await_callbacks_on_shutdown=False,
        )

    def _keep_open(self) -> None:
        """The client tries again by itself what may pass; a subscription that is gone ends the stream, and polls go on."""
        if self._pulling is None:
            self._pulling = self._open()
        elif self._pulling.done() and time.monotonic() >= self._reopen_at:
            error = self._pulling.exception()
            _log.error("no notifications from %s: %s; trying again", self._spec.subscription, type(error).__name__)
            self._reopen_at = time.monotonic() + _REOPENED_AFTER_S
            self._pulling = self._open()


class _Endless(OffsetRestrictionTracker):
    def is_bounded(self) -> bool:
        return False


class _OneReader(RestrictionProvider):
    """One restriction that never ends and is never split: Pub/Sub itself spreads messages over whoever pulls."""

    def initial_restriction(self, element: PubSubSpec) -> OffsetRange:
        return OffsetRange(0, _ENDLESS)

    def create_tracker(self, restriction: OffsetRange) -> _Endless:
        return _Endless(restriction)

    def restriction_size(self, element: PubSubSpec, restriction: OffsetRange) -> int:
        return 1

    def split(self, element: PubSubSpec, restriction: OffsetRange) -> Iterable[OffsetRange]:
        yield restriction

    def truncate(self, element: PubSubSpec, restriction: OffsetRange) -> None:
        return None


_READER = _OneReader()
_WATERMARK = ManualWatermarkEstimator.default_provider()


@beam.DoFn.unbounded_per_element()
class _Pull(beam.DoFn):
    def __init__(self, hold_s: float, limit: int) -> None:
        self._hold_s = hold_s
        self._limit = limit
        self._clients: dict[PubSubSpec, Any] = {}

    def setup(self) -> None:
        self._clients = {}

    def teardown(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients = {}

    # The finalizer must stand before the restriction: Beam passes the latter by position.
    def process(
        self,
        spec: PubSubSpec,
        finalizer: Any = beam.DoFn.BundleFinalizerParam,
        tracker: Any = beam.DoFn.RestrictionParam(_READER),
        watermark: Any = beam.DoFn.WatermarkEstimatorParam(_WATERMARK),
    ) -> Iterable[TimestampedValue]:
        if not tracker.try_claim(tracker.current_restriction().start):
            return
        client = self._clients.get(spec) or self._clients.setdefault(spec, spec.subscriber())
        answer = _pull(client, spec.subscription, self._limit, self._hold_s)
        received = answer or []
        if received:
            ids = [message.ack_id for message in received]
            finalizer.register(lambda: _acknowledge(client, spec.subscription, ids))
            step_metrics.count("ReadNotifications", "pulled", len(ids))
        # Arrival times: a notification's own date says nothing, and an early one would be late data downstream.
        now = Timestamp.now()
        for message in received:
            yield TimestampedValue(message.message.data, now)
        reached = now - Duration(seconds=_WATERMARK_LAG_S)
        current = watermark.current_watermark()
        if current is None or reached > current:
            watermark.set_watermark(reached)
        tracker.defer_remainder(Duration(0 if answer is not None else _PULLED_AGAIN_AFTER_S))


def _pull(client: Any, subscription: str, limit: int, hold_s: float) -> list[Any] | None:
    """What came within `hold_s` seconds; None where the subscription cannot be pulled now."""
    from google.api_core import exceptions

    try:  # the client's own retries would hold the bundle up for a minute, and end in an error of another kind
        answer = client.pull(subscription=subscription, max_messages=limit, timeout=hold_s, retry=None)
        return list(answer.received_messages)
    except exceptions.DeadlineExceeded:
        return []  # how some servers say that nothing came
    except exceptions.GoogleAPICallError as error:
        _log.error("no notifications from %s: %s; trying again", subscription, type(error).__name__)
        return None


def _acknowledge(client: Any, subscription: str, ids: list[str]) -> None:
    from google.api_core import exceptions

    try:
        client.acknowledge(subscription=subscription, ack_ids=ids, timeout=_ANSWERS_WITHIN_S, retry=None)
    except exceptions.GoogleAPICallError as error:
        _log.warning("%d notifications will come again: %s", len(ids), type(error).__name__)


def _give_back(client: Any, subscription: str, ids: list[str]) -> None:
    from google.api_core import exceptions

    with contextlib.suppress(exceptions.GoogleAPICallError):  # then they come again when their lease has run out
        client.modify_ack_deadline(
            subscription=subscription, ack_ids=ids, ack_deadline_seconds=0, timeout=_ANSWERS_WITHIN_S, retry=None
        )


class ReadNotifications(beam.PTransform):
    """The data of Gmail's notifications, without end; acknowledged when the engine has made the bundle durable.

    Flink does so at a checkpoint: give the subscription an acknowledgement deadline longer than the checkpoint interval and
    a recovery together. Prism acknowledges early; what it loses the poll finds.

    Args:
        spec: the subscription.
        hold_s: how long one pull waits for a first notification.
        limit: notifications a pull at the most.
    """

    def __init__(self, spec: PubSubSpec, *, hold_s: float = 2.0, limit: int = 500) -> None:
        super().__init__()
        self._spec = spec
        self._hold_s = hold_s
        self._limit = limit

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """A pipeline in, an unbounded PCollection of bytes out."""
        spec = self._spec
        return (
            root
            | "Impulse" >> beam.Impulse()
            | "Subscription" >> beam.Map(lambda unused_impulse: spec).with_output_types(PubSubSpec)
            | "Pull" >> beam.ParDo(_Pull(self._hold_s, self._limit)).with_output_types(bytes)
        )
