"""Pub/Sub over gRPC on loopback: `google.pubsub.v1.Publisher` and `Subscriber`, as the real client speaks them.

The client reaches it by `PUBSUB_EMULATOR_HOST`. What is not built (snapshots, schemas, push delivery, filters) is refused by
its status code instead of being passed over.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.protobuf import empty_pb2
from google.pubsub_v1.types import pubsub as types

from .pubsub_broker import Broker, ExistsError, NotFoundError

_ID = r"(?!goog)[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}"
_TOPIC = re.compile(rf"projects/[^/]+/topics/{_ID}")
_SUBSCRIPTION = re.compile(rf"projects/[^/]+/subscriptions/{_ID}")
MAX_PUBLISH = 1000
# An idle pull is answered empty about this long before the client's own deadline, as the service and Google's emulator do.
PULL_MARGIN_SECONDS = 0.9
MAX_PULL_SECONDS = 60.0
MAX_WORKERS = 128


class _RefusedError(Exception):
    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def _invalid(text: str) -> _RefusedError:
    return _RefusedError(grpc.StatusCode.INVALID_ARGUMENT, text)


class PubSubServer:
    """Serves `broker` on 127.0.0.1 until `close`."""

    def __init__(self, broker: Broker, port: int = 0) -> None:
        self.broker = broker
        self._closing = threading.Event()
        self._server = grpc.server(
            futures.ThreadPoolExecutor(MAX_WORKERS, thread_name_prefix="sandbox-pubsub"),
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 32 << 20)],
        )
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", self._publisher()),
                grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", self._subscriber()),
                grpc.method_handlers_generic_handler("google.iam.v1.IAMPolicy", self._iam()),
            )
        )
        self.port: int = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def close(self) -> None:
        """End open calls and stop."""
        self._closing.set()
        self.broker.close()
        self._server.stop(0.2).wait(2)

    # -- publisher ---------------------------------------------------------------------------------------------------

    def _publisher(self) -> dict[str, Any]:
        return {
            "CreateTopic": _unary(self._create_topic, types.Topic, types.Topic),
            "GetTopic": _unary(lambda r, _c: self._topic(r.topic), types.GetTopicRequest, types.Topic),
            "ListTopics": _unary(self._list_topics, types.ListTopicsRequest, types.ListTopicsResponse),
            "ListTopicSubscriptions": _unary(
                self._list_topic_subscriptions,
                types.ListTopicSubscriptionsRequest,
                types.ListTopicSubscriptionsResponse,
            ),
            "DeleteTopic": _unary(self._delete_topic, types.DeleteTopicRequest, None),
            "Publish": _unary(self._publish, types.PublishRequest, types.PublishResponse),
        }

    def _create_topic(self, request: Any, _context: grpc.ServicerContext) -> Any:
        if not _TOPIC.fullmatch(request.name):
            raise _invalid(f"Invalid [topics] name: (name={request.name})")
        self.broker.create_topic(request)
        return request

    def _topic(self, name: str) -> Any:
        topic = self.broker.topics.get(name)
        if topic is None:
            raise NotFoundError(name)
        return topic

    def _list_topics(self, request: Any, _context: grpc.ServicerContext) -> Any:
        names = sorted(name for name in self.broker.topics if name.startswith(request.project + "/"))
        return types.ListTopicsResponse.pb()(topics=[self.broker.topics[name] for name in names])

    def _list_topic_subscriptions(self, request: Any, _context: grpc.ServicerContext) -> Any:
        self._topic(request.topic)
        names = [name for name, found in self.broker.subscriptions.items() if found.config.topic == request.topic]
        return types.ListTopicSubscriptionsResponse.pb()(subscriptions=names)

    def _delete_topic(self, request: Any, _context: grpc.ServicerContext) -> Any:
        self.broker.delete_topic(request.topic)
        return empty_pb2.Empty()

    def _publish(self, request: Any, _context: grpc.ServicerContext) -> Any:
        if not request.messages:
            raise _invalid("The request contains no messages.")
        if len(request.messages) > MAX_PUBLISH:
            raise _invalid(f"The request contains {len(request.messages)} messages; the limit is {MAX_PUBLISH}.")
        for message in request.messages:
            if not message.data and not message.attributes:
                raise _invalid("Some messages in the batch are empty: give data or attributes.")
        return types.PublishResponse.pb()(message_ids=self.broker.publish(request.topic, request.messages))

    # -- access policies ---------------------------------------------------------------------------------------------

    def _iam(self) -> dict[str, Any]:
        return {
            "GetIamPolicy": _unary(self._get_policy, iam_policy_pb2.GetIamPolicyRequest, policy_pb2.Policy),
            "SetIamPolicy": _unary(self._set_policy, iam_policy_pb2.SetIamPolicyRequest, policy_pb2.Policy),
            "TestIamPermissions": _unary(
                lambda r, _c: iam_policy_pb2.TestIamPermissionsResponse(permissions=r.permissions),
                iam_policy_pb2.TestIamPermissionsRequest,
                iam_policy_pb2.TestIamPermissionsResponse,
            ),
        }

    def _get_policy(self, request: Any, _context: grpc.ServicerContext) -> Any:
        if request.resource not in self.broker.topics and request.resource not in self.broker.subscriptions:
            raise NotFoundError(request.resource)
        return self.broker.policies.get(request.resource, policy_pb2.Policy(version=1))

    def _set_policy(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._get_policy(request, context)
        self.broker.policies[request.resource] = request.policy
        return request.policy

    # -- subscriber --------------------------------------------------------------------------------------------------

    def _subscriber(self) -> dict[str, Any]:
        streaming = grpc.stream_stream_rpc_method_handler(
            self._streaming_pull,
            request_deserializer=types.StreamingPullRequest.pb().FromString,
            response_serializer=types.StreamingPullResponse.pb().SerializeToString,
        )
        return {
            "CreateSubscription": _unary(self._create_subscription, types.Subscription, types.Subscription),
            "GetSubscription": _unary(
                lambda r, _c: self.broker.subscription(r.subscription).config,
                types.GetSubscriptionRequest,
                types.Subscription,
            ),
            "UpdateSubscription": _unary(
                self._update_subscription, types.UpdateSubscriptionRequest, types.Subscription
            ),
            "ListSubscriptions": _unary(
                self._list_subscriptions, types.ListSubscriptionsRequest, types.ListSubscriptionsResponse
            ),
            "DeleteSubscription": _unary(self._delete_subscription, types.DeleteSubscriptionRequest, None),
            "Pull": _unary(self._pull, types.PullRequest, types.PullResponse),
            "Acknowledge": _unary(self._acknowledge, types.AcknowledgeRequest, None),
            "ModifyAckDeadline": _unary(self._modify_ack_deadline, types.ModifyAckDeadlineRequest, None),
            "Seek": _unary(self._seek, types.SeekRequest, types.SeekResponse),
            "StreamingPull": streaming,
        }

    def _create_subscription(self, request: Any, _context: grpc.ServicerContext) -> Any:
        if not _SUBSCRIPTION.fullmatch(request.name):
            raise _invalid(f"Invalid [subscriptions] name: (name={request.name})")
        self._check(request)
        request.ack_deadline_seconds = request.ack_deadline_seconds or 10
        self.broker.create_subscription(request)
        return request

    def _check(self, config: Any) -> None:
        seconds = config.ack_deadline_seconds
        if seconds and not 10 <= seconds <= 600:
            raise _invalid(f"Invalid ack deadline given: (ack_deadline_seconds={seconds}). Give 10 to 600 seconds.")
        if config.filter:
            raise _RefusedError(grpc.StatusCode.UNIMPLEMENTED, "The sandbox has no subscription filters.")
        if config.enable_exactly_once_delivery:
            raise _RefusedError(grpc.StatusCode.UNIMPLEMENTED, "The sandbox has no exactly-once delivery.")
        if config.push_config.push_endpoint:
            raise _RefusedError(grpc.StatusCode.UNIMPLEMENTED, "The sandbox has no push delivery.")
        policy = config.dead_letter_policy
        if policy.dead_letter_topic:
            if policy.max_delivery_attempts and not 5 <= policy.max_delivery_attempts <= 100:
                raise _invalid(f"max_delivery_attempts is {policy.max_delivery_attempts}; give 5 to 100.")
            if policy.dead_letter_topic not in self.broker.topics:
                raise NotFoundError(policy.dead_letter_topic)

    def _update_subscription(self, request: Any, _context: grpc.ServicerContext) -> Any:
        subscription = self.broker.subscription(request.subscription.name)
        if not request.update_mask.paths:
            raise _invalid(
                "The update_mask in the UpdateSubscriptionRequest must be set, and must contain a non-empty paths list."
            )
        self._check(request.subscription)
        changed = types.Subscription.pb()()
        changed.CopyFrom(subscription.config)
        for path in request.update_mask.paths:
            if (
                path in {"name", "topic", "enable_message_ordering", "filter"}
                or path.split(".")[0] not in changed.DESCRIPTOR.fields_by_name
            ):
                raise _invalid(
                    f"Invalid update_mask provided in the UpdateSubscriptionRequest: {path} is not a known Subscription field."
                )
            changed.ClearField(path.split(".")[0])
        request.update_mask.MergeMessage(request.subscription, changed, True, True)
        with self.broker.changed:
            subscription.config = changed
        return changed

    def _list_subscriptions(self, request: Any, _context: grpc.ServicerContext) -> Any:
        names = sorted(name for name in self.broker.subscriptions if name.startswith(request.project + "/"))
        found = [self.broker.subscriptions[name].config for name in names]
        return types.ListSubscriptionsResponse.pb()(subscriptions=found)

    def _delete_subscription(self, request: Any, _context: grpc.ServicerContext) -> Any:
        self.broker.delete_subscription(request.subscription)
        return empty_pb2.Empty()

    def _pull(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.max_messages < 1:
            raise _invalid("You have passed a non-positive max_messages.")
        left = context.time_remaining()
        wait = MAX_PULL_SECONDS if left is None else max(0.0, min(MAX_PULL_SECONDS, left - PULL_MARGIN_SECONDS))
        if request.return_immediately:
            wait = 0.0
        alive = self._alive(context)
        received = self.broker.take(request.subscription, request.max_messages, wait, alive=alive)
        if received and not alive():
            self.broker.give_back(request.subscription, received)
            received = []
        return types.PullResponse.pb()(received_messages=received)

    def _alive(self, context: grpc.ServicerContext) -> Callable[[], bool]:
        context.add_callback(self.broker.wake)
        return lambda: bool(context.is_active()) and not self._closing.is_set()

    def _acknowledge(self, request: Any, _context: grpc.ServicerContext) -> Any:
        if not request.ack_ids:
            raise _invalid("No ack ids specified.")
        self.broker.ack(request.subscription, request.ack_ids)
        return empty_pb2.Empty()

    def _modify_ack_deadline(self, request: Any, _context: grpc.ServicerContext) -> Any:
        if not 0 <= request.ack_deadline_seconds <= 600:
            raise _invalid(f"Invalid ack deadline given: {request.ack_deadline_seconds}. Give 0 to 600 seconds.")
        self.broker.set_deadline(request.subscription, request.ack_ids, request.ack_deadline_seconds)
        return empty_pb2.Empty()

    def _seek(self, request: Any, _context: grpc.ServicerContext) -> Any:
        if request.snapshot:
            raise _RefusedError(grpc.StatusCode.UNIMPLEMENTED, "The sandbox has no snapshots.")
        self.broker.purge(request.subscription, request.time.ToNanoseconds() / 1e9)
        return types.SeekResponse.pb()()

    def _streaming_pull(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        first = next(requests, None)
        if first is None:
            return
        name = first.subscription
        if name not in self.broker.subscriptions:
            context.abort(grpc.StatusCode.NOT_FOUND, _not_found_text(name))
        if not 10 <= first.stream_ack_deadline_seconds <= 600:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "stream_ack_deadline_seconds must be 10 to 600.")
        stream = _Stream(self.broker, name, first, self._alive(context))
        reader = threading.Thread(target=stream.read, args=(itertools.chain([first], requests),), daemon=True)
        reader.start()
        try:
            yield from stream.deliveries()
        except NotFoundError:
            context.abort(grpc.StatusCode.NOT_FOUND, _not_found_text(name))


class _Stream:
    """One streaming pull: what the client sends is read in a thread of its own, deliveries go out as it can hold them."""

    def __init__(self, broker: Broker, name: str, first: Any, alive: Callable[[], bool]) -> None:
        self._broker = broker
        self._name = name
        self._deadline = first.stream_ack_deadline_seconds
        self._max_messages = first.max_outstanding_messages if first.max_outstanding_messages > 0 else 1000
        self._max_bytes = first.max_outstanding_bytes if first.max_outstanding_bytes > 0 else 0
        self._open = True
        self._context_alive = alive

    def _alive(self) -> bool:
        return self._open and self._context_alive()

    def read(self, requests: Iterator[Any]) -> None:
        """Acknowledgements and deadlines, until the client ends its side."""
        try:
            for request in requests:
                if request.stream_ack_deadline_seconds:
                    self._deadline = request.stream_ack_deadline_seconds
                if request.ack_ids:
                    self._broker.ack(self._name, request.ack_ids)
                pairs = zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=False)
                for ack_id, seconds in pairs:
                    self._broker.set_deadline(self._name, [ack_id], seconds)
        except (grpc.RpcError, NotFoundError):
            pass
        except Exception as error:  # grpc raises a bare Exception from a request iterator whose call ended
            if type(error) is not Exception:
                raise
        finally:
            self._open = False
            self._broker.wake()

    def deliveries(self) -> Iterator[Any]:
        """Responses while the stream is open.

        Raises:
            NotFoundError: the subscription is deleted.
        """
        while self._alive():
            held, held_bytes = self._broker.held_by(self._name, self)
            room = min(self._max_messages - held, 1000)
            room_bytes = self._max_bytes - held_bytes if self._max_bytes else 0
            if room <= 0 or (self._max_bytes and room_bytes <= 0):
                with self._broker.changed:
                    self._broker.changed.wait(0.5)
                continue
            received = self._broker.take(self._name, room, 5.0, self._deadline, self, self._alive, room_bytes)
            if received and not self._alive():
                self._broker.give_back(self._name, received)
                return
            if received:
                yield types.StreamingPullResponse.pb()(received_messages=received)


def _not_found_text(name: str) -> str:
    kind = "topics" if "/topics/" in name else "subscriptions"
    return f"Resource not found (resource={name.rpartition('/')[2]})." if name else f"Invalid [{kind}] name: (name=)"


def _unary(function: Callable[[Any, grpc.ServicerContext], Any], request_type: Any, response_type: Any) -> Any:
    """A handler for one unary call; what `function` raises becomes the status the service answers with."""

    def call(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return function(request, context)
        except NotFoundError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, _not_found_text(str(error.args[0])))
        except ExistsError as error:
            context.abort(
                grpc.StatusCode.ALREADY_EXISTS, f"Resource already exists in the project (resource={error.args[0]})."
            )
        except _RefusedError as error:
            context.abort(error.code, error.text)

    return grpc.unary_unary_rpc_method_handler(
        call,
        request_deserializer=_plain(request_type).FromString,
        response_serializer=_plain(response_type or empty_pb2.Empty).SerializeToString,
    )


def _plain(message_type: Any) -> Any:
    """The protobuf class itself: the wrapper that `google.pubsub_v1` puts around it costs several times the work."""
    return message_type.pb() if hasattr(message_type, "pb") else message_type
