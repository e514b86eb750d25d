"""What tests and the demo use to act on a running sandbox: one small method for each admin endpoint."""

from __future__ import annotations

import base64
import http.client
import json
import threading
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit


class SandboxRequestError(Exception):
    """The sandbox refused an admin request; the text says why."""


class SandboxClient:
    """Talks to the admin endpoints at `base` (`http://127.0.0.1:PORT`). May be used from any thread; keeps one connection."""

    def __init__(self, base: str) -> None:
        self.base = base.rstrip("/")
        parts = urlsplit(self.base)
        self._lock = threading.Lock()
        self._connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=60)

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            self._connection.close()

    def call(self, action: str, **body: Any) -> dict[str, Any]:
        """POST /sandbox/`action`.

        Raises:
            SandboxRequestError: it was refused. OSError: nobody listens.
        """
        data = json.dumps(body).encode()
        with self._lock:
            try:
                answer, status = self._post(action, data)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self._connection.close()
                answer, status = self._post(action, data)
        value: dict[str, Any] = json.loads(answer)
        if status != 200:
            raise SandboxRequestError(value.get("error", str(status)))
        return value

    def _post(self, action: str, data: bytes) -> tuple[bytes, int]:
        self._connection.request("POST", f"/sandbox/{action}", data, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        return response.read(), response.status

    # -- mail --------------------------------------------------------------------------------------------------------

    def add_mailbox(self, mailbox: str) -> None:
        """A new, empty mailbox."""
        self.call("mailbox", mailbox=mailbox)

    def deliver(
        self, mailbox: str, raw: bytes, labels: Sequence[str] = ("INBOX", "UNREAD"), internal_date: int | None = None
    ) -> str:
        """Mail arrives (or is sent: labels `["SENT"]`); `internal_date` in ms since 1970, now if None. Returns the Gmail id."""
        return str(self.call("deliver", mailbox=mailbox, **_mail(raw, labels, internal_date))["id"])

    def deliver_many(
        self, mailbox: str, mails: Iterable[tuple[bytes, Sequence[str], int | None]], *, loaded: bool = False
    ) -> list[str]:
        """Many at once, each (raw, labels, internal date); one notification. `loaded`: without history or notification, and
        without ids in the answer.
        """
        messages = [_mail(*mail) for mail in mails]
        return list(self.call("deliver_many", mailbox=mailbox, messages=messages, loaded=loaded).get("ids", ()))

    def modify(self, mailbox: str, gmail_id: str, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
        """Add and remove labels."""
        self.call("modify", mailbox=mailbox, id=gmail_id, add=list(add), remove=list(remove))

    def trash(self, mailbox: str, gmail_id: str) -> None:
        """Move to the trash."""
        self.call("trash", mailbox=mailbox, id=gmail_id)

    def delete(self, mailbox: str, *gmail_ids: str) -> None:
        """Remove for good."""
        self.call("delete", mailbox=mailbox, ids=list(gmail_ids))

    def save_draft(self, mailbox: str, raw: bytes, draft_id: str = "") -> tuple[str, str]:
        """Save a draft; returns (draft id, message id), the second is new each time."""
        answer = self.call("draft_save", mailbox=mailbox, raw=_encode(raw), draft_id=draft_id)
        return answer["draft_id"], answer["id"]

    def send_draft(self, mailbox: str, draft_id: str, labels: Sequence[str] = ()) -> str:
        """Send a draft; returns the id of the message labelled SENT."""
        return str(self.call("draft_send", mailbox=mailbox, draft_id=draft_id, labels=list(labels))["id"])

    def expire_history(self, mailbox: str) -> None:
        """Every history cursor handed out until now is answered 404."""
        self.call("expire_history", mailbox=mailbox)

    # -- sign-in -----------------------------------------------------------------------------------------------------

    def grant(self, mailbox: str, scopes: Sequence[str] | None = None) -> str:
        """A refresh token as if the user had consented (read-only scope if none is named)."""
        return str(self.call("grant", mailbox=mailbox, **({"scopes": list(scopes)} if scopes else {}))["refresh_token"])

    def access_token(self, mailbox: str, scopes: Sequence[str] | None = None) -> str:
        """An access token."""
        return str(
            self.call("access_token", mailbox=mailbox, **({"scopes": list(scopes)} if scopes else {}))["access_token"]
        )

    def oauth_client(self) -> dict[str, Any]:
        """The OAuth client's JSON, as Google's console gives it."""
        return dict(self.endpoints()["oauth_client"])

    def service_account(self) -> dict[str, Any]:
        """The key file of a service account with domain-wide delegation."""
        return self.call("service_account")

    def revoke(self, mailbox: str) -> None:
        """The user takes every grant back: `invalid_grant` from now on."""
        self.call("revoke", mailbox=mailbox)

    def restore(self, mailbox: str) -> None:
        """Revoked grants are good again."""
        self.call("restore", mailbox=mailbox)

    def expire_access(self, mailbox: str = "") -> None:
        """Access tokens end now (of one mailbox, or all)."""
        self.call("expire_access", mailbox=mailbox)

    def set_state(self, mailbox: str, state: str) -> None:
        """`ok`, `gmail_off`, `domain_policy`, `suspended` or `deleted`."""
        self.call("state", mailbox=mailbox, state=state)

    # -- weather -----------------------------------------------------------------------------------------------------

    def set_faults(self, *rules: dict[str, Any], add: bool = False) -> None:
        """Faults from now on, see docs/sandbox.md; none: all off."""
        self.call("faults", rules=list(rules), add=add)

    def set_limits(self, **limits: int) -> None:
        """Quota limits: user, project, burst, concurrent; 0 is none."""
        self.call("limits", **limits)

    def advance(self, seconds: float) -> None:
        """Move the sandbox's clock: quota minutes, token ends, watches, ack deadlines."""
        self.call("advance", seconds=seconds)

    def push_route(self, topic: str, subscription: str, ack_deadline_seconds: int = 10) -> None:
        """A topic and a subscription on it."""
        self.call("push_route", topic=topic, subscription=subscription, ack_deadline_seconds=ack_deadline_seconds)

    def notify(self, mailbox: str, history_id: int) -> None:
        """Publish a made-up notification on the sandbox's own topic."""
        self.call("notify", mailbox=mailbox, history_id=history_id)

    # -- what happened -----------------------------------------------------------------------------------------------

    def endpoints(self) -> dict[str, Any]:
        """The endpoints, as in the ready file."""
        return self.call("endpoints")

    def quota_ledger(self) -> list[dict[str, Any]]:
        """Units by minute and user; the user "" is the project."""
        return list(self.call("quota")["ledger"])

    def counters(self) -> dict[str, Any]:
        """Requests by method, faults, notifications, Pub/Sub."""
        return self.call("counters")

    def dump(self, mailbox: str | None = None) -> dict[str, Any]:
        """By address: `historyId`, `drafts`, and `messages` with id, threadId, labels (by name) and internalDate."""
        return dict(self.call("dump", **({"mailbox": mailbox} if mailbox else {}))["mailboxes"])

    def raw(self, mailbox: str, gmail_id: str) -> bytes:
        """A message's bytes."""
        return base64.b64decode(self.call("raw", mailbox=mailbox, id=gmail_id)["raw"])


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _mail(raw: bytes, labels: Sequence[str], internal_date: int | None) -> dict[str, Any]:
    return {"raw": _encode(raw), "labels": list(labels), "internal_date": internal_date}
