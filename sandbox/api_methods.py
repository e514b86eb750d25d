"""Gmail's methods as the API names them: by which path each is called, what scopes it needs, and which fields it answers."""

from __future__ import annotations

import re
from typing import Any

from .api_error import ApiError
from .field_mask import check_fields, parse_fields
from .http_server import Request
from .oauth import MAILBOX_SCOPES, METADATA, Access

_USER_PATH = re.compile(r"/gmail/v1/users/([^/]+)(/.*)")
_ROUTES: tuple[tuple[str, re.Pattern[str], str], ...] = tuple(
    (method, re.compile(pattern), name)
    for method, pattern, name in (
        ("GET", r"/messages/([^/]+)", "messages.get"),
        ("GET", r"/messages", "messages.list"),
        ("GET", r"/history", "history.list"),
        ("GET", r"/profile", "getProfile"),
        ("GET", r"/messages/([^/]+)/attachments/([^/]+)", "messages.attachments.get"),
        ("GET", r"/labels", "labels.list"),
        ("GET", r"/labels/([^/]+)", "labels.get"),
        ("GET", r"/threads/([^/]+)", "threads.get"),
        ("GET", r"/drafts", "drafts.list"),
        ("POST", r"/watch", "watch"),
        ("POST", r"/stop", "stop"),
    )
)
_ANSWERS = {
    "messages.get": "Message", "messages.list": "ListMessagesResponse", "history.list": "ListHistoryResponse",
    "getProfile": "Profile", "messages.attachments.get": "MessagePartBody", "labels.list": "ListLabelsResponse",
    "labels.get": "Label", "threads.get": "Thread", "drafts.list": "ListDraftsResponse", "watch": "WatchResponse",
}  # fmt: skip
"""Schemas of Gmail's discovery document."""


def route(request: Request) -> tuple[str, str, tuple[str, ...]]:
    """The method that a request calls, the user it names, and the ids in its path.

    Raises:
        ApiError: there is no such method.
    """
    match = _USER_PATH.fullmatch(request.path)
    if match:
        for method, pattern, name in _ROUTES:
            if method == request.method and (found := pattern.fullmatch(match.group(2))):
                return name, match.group(1), found.groups()
    raise ApiError(404, "Not Found", "notFound")


def bearer(request: Request) -> str:
    """The access token that came with a request, or ""."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else request.one("access_token")


def check_scopes(access: Access, request: Request, name: str) -> None:
    """Refuse a call that the token's scopes do not cover.

    Raises:
        ApiError: as Gmail words it.
    """
    if not access.scopes & MAILBOX_SCOPES:
        raise ApiError(403, "Request had insufficient authentication scopes.", "insufficientPermissions")
    if METADATA not in access.scopes:
        return
    if name == "messages.list" and request.one("q"):
        raise ApiError(403, "Metadata scope does not support 'q' parameter", "forbidden")
    form = request.one("format", "full").lower()
    if name in {"messages.get", "threads.get"} and form in {"full", "raw"}:
        raise ApiError(403, f"Metadata scope doesn't allow format {form.upper()}", "forbidden")
    if name == "messages.attachments.get":
        raise ApiError(403, "Request had insufficient authentication scopes.", "insufficientPermissions")


def mask(fields: str, name: str) -> Any:
    """The parameter `fields` of a call of this method, read.

    Raises:
        ApiError: it cannot be read, or names what the answer does not have.
    """
    try:
        found = parse_fields(fields)
        check_fields(found, _ANSWERS[name])
        return found
    except ValueError:
        raise ApiError.invalid(f"Invalid field selection {fields}") from None
