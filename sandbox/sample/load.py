"""load and arrive: put the sample into a running sandbox, and let things happen there while a job runs."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Protocol

from .model import SampleMessage, World

_BATCH = 100


class AdminClient(Protocol):
    """What this module asks of the sandbox's client (sandbox/client.py)."""

    def call(self, action: str, **body: Any) -> dict[str, Any]:
        """One admin request."""


def gmail_id(message: SampleMessage) -> str:
    """The Gmail id that `message` has in the sandbox: 16 hex digits that grow with time, the same in every run."""
    digest = hashlib.sha256(f"{message.mailbox} {message.key}".encode()).digest()
    return f"{(_milliseconds(message) << 20) | int.from_bytes(digest[:3]) >> 4:016x}"


def load(world: World, client: AdminClient) -> dict[str, str]:
    """Create the mailboxes of `world` and fill them as if the mail had always been there.

    Returns the Gmail id of each message before the arrivals, by its key. What the client raises comes through.
    """
    for mailbox in world.mailboxes:
        client.call("mailbox", mailbox=mailbox)
        own = [m for m in world.messages if m.mailbox == mailbox]
        for start in range(0, len(own), _BATCH):
            batch = [_as_json(m) for m in own[start : start + _BATCH]]
            client.call("deliver_many", mailbox=mailbox, messages=batch, loaded=True)
    return {message.key: gmail_id(message) for message in world.messages}


def arrive(message: SampleMessage, client: AdminClient, ids: dict[str, str]) -> None:
    """Let one arrival happen; `ids` (key to Gmail id, as from `load`) is kept up to date.

    New mail gets the sandbox's own time, an import keeps its old date. Raises KeyError where the arrival's target is not in
    `ids`; what the client raises comes through.
    """
    target = ids[message.target] if message.target is not None else ""
    if message.action == "move":
        client.call("modify", mailbox=message.mailbox, id=target, add=list(message.labels), remove=["SPAM", "TRASH"])
        ids[message.key] = target
        return
    if message.action == "send_draft":
        client.call("delete", mailbox=message.mailbox, ids=[target])
    body = _as_json(message)
    if message.action != "import":
        body["internal_date"] = None
    ids[message.key] = str(client.call("deliver", mailbox=message.mailbox, **body)["id"])


def _milliseconds(message: SampleMessage) -> int:
    return int(message.internal_date.timestamp() * 1000)


def _as_json(message: SampleMessage) -> dict[str, Any]:
    return {
        "raw": base64.b64encode(message.raw).decode("ascii"),
        "labels": list(message.labels),
        "internal_date": _milliseconds(message),
        "id": gmail_id(message),
    }
