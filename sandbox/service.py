"""The whole sandbox in one object: mailboxes, sign-in, quota, faults, Gmail over HTTP and Pub/Sub over gRPC."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from google.pubsub_v1.types import pubsub as types

from .admin import Admin
from .batch import BatchServer
from .clock import Clock
from .faults import Faults, Rule
from .gmail_server import GmailServer, Options
from .http_server import HttpServer, Request, Response, json_response
from .mail_sources import read_mail
from .mailbox import Mailbox
from .oauth import OAuthServer
from .pubsub_broker import Broker, ExistsError
from .pubsub_server import PubSubServer
from .quota import Limits, Quota
from .watch import Watches


@dataclass(frozen=True)
class Settings:
    """How a sandbox starts. Ports of 0 are chosen by the system; `project` is the OAuth client's Google Cloud project."""

    port: int = 0
    pubsub_port: int = 0
    project: str = "dealmail-sandbox"
    topic: str = "gmail"
    subscription: str = "dealmail"
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    rules: tuple[Rule, ...] = ()
    options: Options = field(default_factory=Options)


class Sandbox:
    """Runs from `start` to `close`."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.clock = Clock()
        self.mailboxes: dict[str, Mailbox] = {}
        self.faults = Faults(self.settings.seed, list(self.settings.rules))
        self.quota = Quota(self.clock.now, self.settings.limits)
        self.broker = Broker(self.clock)
        self.oauth = OAuthServer(self.clock.now, self._addresses, self._state)
        self.watches = Watches(self.broker, self.clock, self.faults, self.settings.project)
        self.gmail = GmailServer(
            self.mailboxes, self.clock, self.oauth, self.quota, self.faults, self.watches, self.settings.options
        )
        self.batch = BatchServer(self.gmail, self.quota, self.faults, self.settings.seed)
        self.admin = Admin(self)
        self._http: HttpServer | None = None
        self._pubsub: PubSubServer | None = None

    @property
    def topic(self) -> str:
        """The full name of the topic that is there from the start."""
        return f"projects/{self.settings.project}/topics/{self.settings.topic}"

    @property
    def subscription(self) -> str:
        """The full name of the subscription that is there from the start."""
        return f"projects/{self.settings.project}/subscriptions/{self.settings.subscription}"

    def add_mailbox(self, address: str, path: pathlib.Path | None = None) -> Mailbox:
        """A mailbox, with the mail at `path` loaded into it.

        Raises:
            MailSourceError: no mail at `path`. ValueError: there is such a mailbox.
        """
        if address.lower() in self.mailboxes:
            msg = "a mailbox of that address is there already"
            raise ValueError(msg)
        mailbox = Mailbox(address, self.clock.now_ms, self.settings.seed, self.watches.changed)
        mailbox.load(read_mail(path, address) if path else ())
        self.mailboxes[address.lower()] = mailbox
        return mailbox

    def create_push_route(self, topic: str, subscription: str, ack_deadline_seconds: int = 10) -> None:
        """A topic and a subscription on it; those that are there stay as they are."""
        with suppress(ExistsError):
            self.broker.create_topic(types.Topic.pb()(name=topic))
        config = types.Subscription.pb()(name=subscription, topic=topic, ack_deadline_seconds=ack_deadline_seconds)
        with suppress(ExistsError):
            self.broker.create_subscription(config)

    def start(self) -> dict[str, object]:
        """Listen; returns the endpoints (see `endpoints`)."""
        self.create_push_route(self.topic, self.subscription)
        self._pubsub = PubSubServer(self.broker, self.settings.pubsub_port)
        self._http = HttpServer(self.handle, self.settings.port)
        return self.endpoints()

    def endpoints(self) -> dict[str, object]:
        """What a client needs to know, ready for JSON."""
        assert self._http is not None, "the sandbox is not started"
        assert self._pubsub is not None, "the sandbox is not started"
        base = f"http://127.0.0.1:{self._http.port}"
        return {
            "gmail": base,
            "pubsub": f"127.0.0.1:{self._pubsub.port}",
            "project": self.settings.project,
            "topic": self.topic,
            "subscription": self.subscription,
            "oauth_client": self.oauth.client_config(base),
            "mailboxes": self._addresses(),
        }

    @property
    def base(self) -> str:
        """The HTTP endpoint."""
        assert self._http, "the sandbox is not started"
        return f"http://127.0.0.1:{self._http.port}"

    def handle(self, request: Request) -> Response:
        """Any HTTP request.

        Raises:
            DropConnectionError: a fault says so.
        """
        path = request.path
        if path.startswith("/gmail/v1/"):
            return self.gmail.handle(request)
        if path in {"/batch", "/batch/gmail/v1"}:
            return self.batch.handle(request)
        if path in {"/token", "/oauth2/v4/token"}:
            said = self.faults.hit("token_answer", "token")
            if said:
                return json_response({k: v for k, v in said.says.items() if k != "code"}, int(said.says["code"]))
            if self.faults.hit("token_500", "token"):
                return json_response({"error": "internal_failure", "error_description": "Backend Error"}, 500)
            return self.oauth.token(request)
        if path in {"/revoke", "/o/oauth2/revoke"}:
            return self.oauth.revoke(request)
        if path in {"/auth", "/o/oauth2/auth", "/o/oauth2/v2/auth"}:
            return self.oauth.authorize(request)
        if path in {"/tokeninfo", "/oauth2/v3/tokeninfo"}:
            return self.oauth.token_info(request)
        if path.startswith("/sandbox/"):
            return self.admin.handle(request)
        return Response(404, b"Not Found", "text/plain")

    def close(self) -> None:
        """Stop listening; waits of faults end."""
        self.faults.stopping.set()
        if self._http:
            self._http.close()
        if self._pubsub:
            self._pubsub.close()

    def _addresses(self) -> list[str]:
        return [mailbox.address for mailbox in list(self.mailboxes.values())]

    def _state(self, address: str) -> str:
        mailbox = self.mailboxes.get(address.lower())
        return mailbox.state if mailbox is not None else "deleted"


def load_all(sandbox: Sandbox, pairs: Iterable[tuple[str, pathlib.Path | None]]) -> None:
    """Add a mailbox for each (address, path)."""
    for address, path in pairs:
        sandbox.add_mailbox(address, path)
