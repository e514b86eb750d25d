"""The Gmail API for one mailbox: what dealmail asks of it, each refusal an error that says what to do.

Nothing here waits and tries again: when to come back is the ledger's business, which remembers over a crash. One
discovery-built service and one connection pool a thread, because httplib2 is not thread-safe; the token is the mailbox's.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import http.client
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import google_auth_httplib2
import httplib2
import msgspec
from google.auth import exceptions as auth_exceptions
from google.auth.credentials import Credentials
from googleapiclient import discovery
from googleapiclient.errors import HttpError

from ..transforms.errors import GmailUnavailableError, MalformedMessageError, PageTokenExpiredError
from .gmail_errors import Call, GmailRequestError, http_error, token_error

GOOGLE: Final = "https://gmail.googleapis.com"
SCOPE: Final = "https://www.googleapis.com/auth/gmail.readonly"
"""The least scope that covers watch, history, list with a query and full messages."""

PAGE: Final = 500
"""The most that messages.list and history.list hand out at once (Gmail's discovery document)."""

HISTORY_TYPES: Final = ("messageAdded", "messageDeleted", "labelAdded", "labelRemoved")


@dataclasses.dataclass(frozen=True, slots=True)
class Profile:
    """users.getProfile: the mailbox's own address as Google spells it, and its newest history id."""

    address: str
    history_id: int


@dataclasses.dataclass(frozen=True, slots=True)
class HistoryPage:
    """One page of users.history.list. `history_id` is the mailbox's newest id when the page was made."""

    records: tuple[Mapping[str, Any], ...]
    next_page_token: str
    history_id: int


@dataclasses.dataclass(frozen=True, slots=True)
class ListPage:
    """One page of users.messages.list. `estimate` is Gmail's guess at the whole result."""

    gmail_ids: tuple[str, ...]
    next_page_token: str
    estimate: int


@dataclasses.dataclass(frozen=True, slots=True)
class Watch:
    """users.watch: how long the push lasts (UTC)."""

    history_id: int
    expires_at: dt.datetime


class Gmail:
    """One mailbox's Gmail. Safe to share between threads.

    Every method raises GmailQuotaError, GmailUnavailableError, TokenRefreshError or a MailboxError where Gmail or the token
    endpoint say so (io/gmail_errors.py), beside what the method itself names.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        endpoint: str = GOOGLE,
        timeout: dt.timedelta = dt.timedelta(seconds=30),
        delegated: bool = False,
        now: Callable[[], dt.datetime],
    ) -> None:
        """Nothing is asked of Gmail yet. `endpoint` has no trailing slash; `timeout` is for one request."""
        self._credentials = credentials
        self._refreshing = threading.Lock()
        self._endpoint = endpoint
        self._timeout = timeout.total_seconds()
        self._delegated = delegated
        self._now = now

    def sign_in(self) -> None:
        """Have an access token; nothing is asked where there is a good one already."""
        _, plain = _of_this_thread(self._endpoint, self._timeout)
        self._on_kept("token", plain, lambda: self._refresh(plain))

    def profile(self) -> Profile:
        """The mailbox's own address and newest history id."""
        answer = self._json("profile", lambda users: users.getProfile(userId="me"))
        if not isinstance(answer.get("emailAddress"), str):
            raise GmailUnavailableError("profile: answer of another form")
        return Profile(answer["emailAddress"], _number(answer, "historyId"))

    def history_page(self, start: int, page_token: str = "") -> HistoryPage:
        """The records after `start`, oldest first, up to 500. A page may be empty and have a successor.

        Raises:
            HistoryExpiredError: Gmail no longer keeps history back to `start`.
        """
        answer = self._json(
            "history",
            lambda users: users.history().list(
                userId="me", startHistoryId=str(start), maxResults=PAGE, historyTypes=list(HISTORY_TYPES),
                **({"pageToken": page_token} if page_token else {}),
            ),
        )  # fmt: skip
        records = answer.get("history") or []
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise GmailUnavailableError("history: answer of another form")
        return HistoryPage(tuple(records), _token(answer), _number(answer, "historyId", start))

    def list_page(
        self, query: str, page_token: str = "", *, spam_trash: bool = False, page_size: int = PAGE
    ) -> ListPage:
        """Up to `page_size` ids that Gmail's search finds for `query`; spam and trash only where `spam_trash`.

        Raises:
            PageTokenExpiredError: start this list again without a token.
        """
        try:
            answer = self._json(
                "list",
                lambda users: users.messages().list(
                    userId="me", q=query, maxResults=page_size, includeSpamTrash=spam_trash,
                    **({"pageToken": page_token} if page_token else {}),
                ),
            )  # fmt: skip
        except PageTokenExpiredError as error:
            if page_token:
                raise
            raise GmailRequestError(
                str(error)
            ) from None  # none was sent: starting again would be refused again, at once
        try:
            ids = tuple(str(stub["id"]) for stub in answer.get("messages") or ())
        except (KeyError, TypeError):
            raise GmailUnavailableError("list: answer of another form") from None
        return ListPage(ids, _token(answer), _number(answer, "resultSizeEstimate", 0))

    def get(self, gmail_id: str) -> bytes:
        """The message in format full: JSON as Gmail sent it.

        Raises:
            MessageGoneError: Gmail does not have it (any more, or yet).
        """
        return self._bytes("get", lambda users: users.messages().get(userId="me", id=gmail_id, format="full"))

    def labels_of(self, gmail_id: str) -> tuple[str, ...]:
        """The message's label ids now.

        Raises:
            MessageGoneError: Gmail does not have it (any more, or yet).
        """
        answer = self._json("get", lambda users: users.messages().get(userId="me", id=gmail_id, format="minimal"))
        return tuple(answer.get("labelIds") or ())

    def attachment(self, gmail_id: str, attachment_id: str) -> str:
        """The base64url data of a part that messages.get handed out by id only.

        Raises:
            MessageGoneError: Gmail does not have it (any more).
            MalformedMessageError: the answer holds no data.
        """
        answer = self._json(
            "attachment",
            lambda users: users.messages().attachments().get(userId="me", messageId=gmail_id, id=attachment_id),
        )
        if not isinstance(answer.get("data"), str):
            raise MalformedMessageError("attachment: no data")
        return answer["data"]

    def watch(self, topic: str, labels: Sequence[str] = ()) -> Watch:
        """Ask for pushes to `topic` (projects/P/topics/T), for seven days; only about `labels` where given.

        Raises:
            WatchTakenError: another topic is being watched; stop that first.
            WatchRefusedError: the topic or its grant is wrong.
        """
        body: dict[str, Any] = {"topicName": topic}
        if labels:
            body |= {"labelIds": list(labels), "labelFilterBehavior": "include"}
        answer = self._json("watch", lambda users: users.watch(userId="me", body=body))
        expires_at = dt.datetime.fromtimestamp(_number(answer, "expiration") / 1000, tz=dt.UTC)
        return Watch(_number(answer, "historyId"), expires_at)

    def stop(self) -> None:
        """No more pushes for this mailbox; it may take minutes."""
        self._bytes("stop", lambda users: users.stop(userId="me"))

    def _json(self, call: Call, ask: Callable[[Any], Any]) -> dict[str, Any]:
        content = self._bytes(call, ask)
        try:
            answer = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise GmailUnavailableError(f"{call}: no JSON") from None
        if not isinstance(answer, dict):
            raise GmailUnavailableError(f"{call}: answer of another form")
        return answer

    def _bytes(self, call: Call, ask: Callable[[Any], Any]) -> bytes:
        service, plain = _of_this_thread(self._endpoint, self._timeout)
        request = ask(service.users())
        request.postproc = lambda unused_response, content: content
        try:
            content = self._on_kept(call, plain, lambda: self._execute(request, plain))
        except HttpError as error:
            raise http_error(error, call, self._now()) from None
        return content.encode() if isinstance(content, str) else content

    def _on_kept(self, name: str, plain: httplib2.Http, ask: Callable[[], Any]) -> Any:
        """What `ask` answers, which uses the connections that `plain` keeps; what goes wrong on the way is named by `name`."""
        try:
            try:
                return ask()
            except (BrokenPipeError, ConnectionAbortedError, ConnectionResetError) as error:
                if isinstance(error, http.client.RemoteDisconnected):
                    raise  # httplib2 has tried that again itself
                # A connection kept from an earlier call that the server has closed since: nothing was answered on it.
                _forget_connections(plain)
                return ask()
        except auth_exceptions.GoogleAuthError as error:
            _forget_connections(plain)
            raise token_error(error, delegated=self._delegated) from None
        except (OSError, httplib2.HttpLib2Error, http.client.HTTPException) as error:
            _forget_connections(plain)
            raise GmailUnavailableError(f"{name}: {type(error).__name__}") from None

    def _refresh(self, plain: httplib2.Http) -> None:
        with self._refreshing:
            if not self._credentials.valid:
                self._credentials.refresh(google_auth_httplib2.Request(plain))

    def _execute(self, request: Any, plain: httplib2.Http) -> Any:
        self._refresh(plain)
        return request.execute(http=google_auth_httplib2.AuthorizedHttp(self._credentials, http=plain))


_threads = threading.local()


def _forget_services() -> None:
    """In a forked child: a connection that it shared with its parent would hand each the other's answers."""
    _threads.__dict__.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_services)


def _of_this_thread(endpoint: str, timeout: float) -> tuple[Any, httplib2.Http]:
    services: dict[tuple[str, float], tuple[Any, httplib2.Http]] = _threads.__dict__.setdefault("services", {})
    if (endpoint, timeout) not in services:
        logging.getLogger("googleapiclient.http").setLevel(logging.ERROR)  # its warnings quote answers
        plain = httplib2.Http(timeout=timeout)
        plain.follow_redirects = False
        service = discovery.build(
            "gmail", "v1", http=plain, client_options={"api_endpoint": endpoint}, static_discovery=True, cache_discovery=False,
        )  # fmt: skip
        services[endpoint, timeout] = (service, plain)
    return services[endpoint, timeout]


def _forget_connections(plain: httplib2.Http) -> None:
    for connection in plain.connections.values():
        connection.close()
    plain.connections.clear()


def _token(answer: Mapping[str, Any]) -> str:
    token = answer.get("nextPageToken") or ""
    if not isinstance(token, str):
        raise GmailUnavailableError("nextPageToken is no text")
    return token


def _number(answer: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """A uint64 that Google writes as a string, and at times as a number."""
    value = answer.get(key, default)
    if isinstance(value, int) or (isinstance(value, str) and value.isascii() and value.isdigit()):
        return int(value)
    raise GmailUnavailableError(f"{key} is no number")
