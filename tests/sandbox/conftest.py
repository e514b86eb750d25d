"""A sandbox inside the test process, and Google's own clients against it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build

from dealmail.sandbox.client import SandboxClient
from dealmail.sandbox.oauth import READONLY
from dealmail.sandbox.service import Sandbox, Settings

ALICE = "Alice@corp.example"
BOB = "bob@corp.example"


def _mail(subject: str = "Hello", body: str = "hi", **headers: str) -> bytes:
    fields = {"From": "Ann <ann@acme.example>", "To": ALICE, "Subject": subject}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    return ("".join(f"{name}: {value}\r\n" for name, value in fields.items()) + f"\r\n{body}\r\n").encode()


@pytest.fixture(scope="session")
def mail() -> Callable[..., bytes]:
    """A small message; `in_reply_to="<x@y>"` writes In-Reply-To."""
    return _mail


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    box = Sandbox(Settings(seed=7))
    box.add_mailbox(ALICE)
    box.add_mailbox(BOB)
    box.start()
    yield box
    box.close()


@pytest.fixture
def admin(sandbox: Sandbox) -> Iterator[SandboxClient]:
    client = SandboxClient(sandbox.base)
    yield client
    client.close()


@pytest.fixture
def credentials(sandbox: Sandbox, admin: SandboxClient) -> Callable[..., Credentials]:
    def make(address: str = ALICE, scopes: tuple[str, ...] = (READONLY,)) -> Credentials:
        client = admin.oauth_client()["web"]
        return Credentials(
            None,
            refresh_token=admin.grant(address, scopes),
            token_uri=client["token_uri"],
            client_id=client["client_id"],
            client_secret=client["client_secret"],
        )

    return make


@pytest.fixture
def gmail(sandbox: Sandbox, credentials: Callable[..., Credentials]) -> Callable[..., Any]:
    """The `users()` collection of the real client for a mailbox."""

    def make(address: str = ALICE, scopes: tuple[str, ...] = (READONLY,)) -> Any:
        options = {"api_endpoint": sandbox.base}
        return build("gmail", "v1", credentials=credentials(address, scopes), client_options=options).users()

    return make
