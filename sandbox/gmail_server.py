"""Gmail's REST API v1 over the sandbox's mailboxes: the methods a read-only sync uses."""

from __future__ import annotations

import base64
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import api_methods, payload
from .api_error import ApiError
from .clock import Clock
from .faults import Faults
from .field_mask import apply_fields
from .headers import read_headers
from .http_server import Request, Response, json_response
from .mailbox import SYSTEM_LABELS, Change, HistoryExpiredError, Mailbox, Message, UnknownMessageError
from .message_list import is_listed, label_named
from .oauth import Access, OAuthServer
from .page_tokens import (
    attachment_tokens,
    history_token,
    list_token,
    open_attachment_token,
    open_history_token,
    open_list_token,
)
from .quota import Quota
from .search_query import parse_query
from .watch import Watches

_HISTORY_TYPES = {
    "messageAdded": "messagesAdded",
    "messageDeleted": "messagesDeleted",
    "labelAdded": "labelsAdded",
    "labelRemoved": "labelsRemoved",
}
MAX_PAGE = 500


@dataclass(frozen=True)
class Options:
    """How the server answers where Gmail's own behaviour is not known: `inline_limit` in bytes of text."""

    inline_limit: int = payload.DEFAULT_INLINE_LIMIT


class GmailServer:
    """Answers `/gmail/v1/...`; `handle` may be called from any thread, and for each call inside a batch."""

    def __init__(
        self,
        mailboxes: dict[str, Mailbox],
        clock: Clock,
        oauth: OAuthServer,
        quota: Quota,
        faults: Faults,
        watches: Watches,
        options: Options | None = None,
    ) -> None:
        self._mailboxes = mailboxes
        self._clock = clock
        self._oauth = oauth
        self._quota = quota
        self._faults = faults
        self._watches = watches
        self.options = options or Options()
        self._lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.by_mailbox: Counter[tuple[str, str]] = Counter()
        self.page_generation = 0
        self._methods: dict[str, Callable[[Mailbox, Access, Request, tuple[str, ...]], Any]] = {
            "messages.get": self._get,
            "messages.list": self._list,
            "history.list": self._history,
            "getProfile": self._profile,
            "messages.attachments.get": self._attachment,
            "labels.list": self._labels,
            "labels.get": self._label,
            "threads.get": self._thread,
            "drafts.list": self._drafts,
            "watch": self._watch,
            "stop": self._stop,
        }

    def user_of(self, request: Request) -> str:
        """The address a request acts for, empty where its token is not good."""
        found = self._oauth.access(api_methods.bearer(request))
        return found.address if found else ""

    def handle(self, request: Request, *, in_batch: bool = False) -> Response:
        """One API call. A batch holds the places of its calls itself.

        Raises:
            DropConnectionError: a fault says so.
        """
        user = ""
        taken = 0
        try:
            name, user_id, arguments = api_methods.route(request)
            access = self._oauth.access(api_methods.bearer(request))
            if access is None:
                raise ApiError.unauthenticated()
            user = access.address.lower()
            with self._lock:
                self.requests[name] += 1
                self.by_mailbox[user, name] += 1
            mailbox = self._mailbox(access, user_id)
            api_methods.check_scopes(access, request, name)
            if not in_batch:
                taken = self._quota.begin(user)
                if not taken:
                    raise ApiError.concurrent()
            self._faults.strike_request(name, user)
            self._quota.charge(user, name)
            answer = self._methods[name](mailbox, access, request, arguments)
            if answer is None:
                return Response(204, b"")
            fields = request.one("fields")
            if fields:
                answer = apply_fields(answer, api_methods.mask(fields, name))
            return json_response(answer)
        except ApiError as error:
            return error.response()
        except UnknownMessageError:
            return ApiError.not_found().response()
        finally:
            if taken:
                self._quota.end(user, taken)

    # -- who ---------------------------------------------------------------------------------------------------------

    def _mailbox(self, access: Access, user_id: str) -> Mailbox:
        if not access.address:
            raise ApiError(400, "Precondition check failed.", "failedPrecondition", status="FAILED_PRECONDITION")
        if user_id != "me" and user_id.lower() != access.address.lower():
            raise ApiError(403, f"Delegation denied for {access.address}", "forbidden")
        mailbox = self._mailboxes.get(access.address.lower())
        if mailbox is None or mailbox.state == "gmail_off":
            raise ApiError(400, "Mail service not enabled", "failedPrecondition", status="FAILED_PRECONDITION")
        if mailbox.state == "domain_policy":
            raise ApiError(403, "The domain administrators have disabled Gmail apps.", "domainPolicy")
        if mailbox.state in {"suspended", "deleted"}:
            raise ApiError.unauthenticated()
        return mailbox

    # -- methods -----------------------------------------------------------------------------------------------------

    def _profile(self, mailbox: Mailbox, _access: Access, _request: Request, _arguments: tuple[str, ...]) -> Any:
        return {
            "emailAddress": mailbox.address,
            "messagesTotal": len(mailbox),
            "threadsTotal": mailbox.thread_count(),
            "historyId": str(mailbox.history_id),
        }

    def _labels(self, mailbox: Mailbox, _access: Access, _request: Request, _arguments: tuple[str, ...]) -> Any:
        system = [{"id": label, "name": label, "type": "system"} for label in SYSTEM_LABELS]
        own = [{"id": label, "name": name, "type": "user"} for label, name in mailbox.user_labels.items()]
        return {"labels": system + own}

    def _label(self, mailbox: Mailbox, access: Access, request: Request, arguments: tuple[str, ...]) -> Any:
        for label in self._labels(mailbox, access, request, arguments)["labels"]:
            if label["id"] == arguments[0]:
                return label
        raise ApiError.not_found()

    def _list(self, mailbox: Mailbox, _access: Access, request: Request, _arguments: tuple[str, ...]) -> Any:
        limit = _page_size(request)
        query = parse_query(
            request.one("q"), self._clock.now(), lambda name: label_named(mailbox, name), mailbox.address
        )
        wanted = set(request.query.get("labelIds", ()))
        include = request.one("includeSpamTrash").lower() == "true"
        context = f"{request.one('q')}\n{sorted(wanted)}\n{include}\n{self.page_generation}"
        before = open_list_token(request.one("pageToken"), context)
        found: list[Message] = []
        for message in mailbox.newest_first(before):
            if is_listed(message, query, wanted, include=include):
                found.append(message)
                if len(found) > limit:
                    break
        page = found[:limit]
        answer: dict[str, Any] = {"resultSizeEstimate": len(page) if len(found) <= limit else max(len(mailbox), 201)}
        if page:
            answer["messages"] = [{"id": message.id, "threadId": message.thread_id} for message in page]
        if len(found) > limit:
            answer["nextPageToken"] = list_token(page[-1], context)
        return answer

    def _get(self, mailbox: Mailbox, _access: Access, request: Request, arguments: tuple[str, ...]) -> Any:
        return self._message(mailbox, mailbox.get(arguments[0]), request.one("format", "full").lower(), request)

    def _message(self, mailbox: Mailbox, message: Message, form: str, request: Request) -> dict[str, Any]:
        if form not in {"full", "metadata", "raw", "minimal"}:
            raise ApiError.invalid(f"Invalid value at 'format': {form}")
        raw = message.read()
        root = payload.parse(raw) if form == "full" or message.snippet is None else None
        if message.snippet is None and root is not None:
            message.snippet = payload.snippet(root)
        with mailbox.lock:
            answer: dict[str, Any] = {
                "id": message.id,
                "threadId": message.thread_id,
                "labelIds": sorted(message.labels),
                "snippet": message.snippet,
                "sizeEstimate": message.size,
                "historyId": str(message.history_id),
                "internalDate": str(message.internal_date),
            }
        if not answer["labelIds"]:
            del answer["labelIds"]
        if form == "raw":
            answer["raw"] = base64.urlsafe_b64encode(raw).decode("ascii")
        elif form == "full" and root is not None:
            answer["payload"] = payload.resource(root, attachment_tokens(message.id), self.options.inline_limit)
        elif form == "metadata":
            wanted = {name.lower() for name in request.query.get("metadataHeaders", ())}
            headers = payload.header_list(read_headers(raw))
            mime_type = next((one["value"] for one in headers if one["name"].lower() == "content-type"), "text/plain")
            answer["payload"] = {
                "mimeType": mime_type.split(";")[0].strip().lower(),
                "headers": [one for one in headers if not wanted or one["name"].lower() in wanted],
            }
        return answer

    def _thread(self, mailbox: Mailbox, _access: Access, request: Request, arguments: tuple[str, ...]) -> Any:
        messages = [message for message in mailbox.newest_first() if message.thread_id == arguments[0]]
        if not messages:
            raise ApiError.not_found()
        form = request.one("format", "full").lower()
        return {
            "id": arguments[0],
            "historyId": str(max(message.history_id for message in messages)),
            "messages": [self._message(mailbox, message, form, request) for message in reversed(messages)],
        }

    def _drafts(self, mailbox: Mailbox, _access: Access, _request: Request, _arguments: tuple[str, ...]) -> Any:
        with mailbox.lock:
            drafts = [
                {"id": draft, "message": {"id": gmail_id, "threadId": mailbox.get(gmail_id).thread_id}}
                for draft, gmail_id in mailbox.drafts.items()
            ]
        return {"drafts": drafts, "resultSizeEstimate": len(drafts)} if drafts else {"resultSizeEstimate": 0}

    def _attachment(self, mailbox: Mailbox, _access: Access, _request: Request, arguments: tuple[str, ...]) -> Any:
        message = mailbox.get(arguments[0])
        part_id = open_attachment_token(arguments[1], message.id)
        part = payload.find_part(payload.parse(message.read()), part_id)
        if part is None:
            raise ApiError.invalid("Invalid attachment token")
        return {"size": len(part.content), "data": base64.urlsafe_b64encode(part.content).decode("ascii")}

    def _history(self, mailbox: Mailbox, _access: Access, request: Request, _arguments: tuple[str, ...]) -> Any:
        start = _start_history_id(request)
        limit = _page_size(request)
        types = request.query.get("historyTypes", [])
        unknown = [name for name in types if name not in _HISTORY_TYPES]
        if unknown:
            raise ApiError.invalid(f"Invalid value at 'history_types': {unknown[0]}")
        kinds = {_HISTORY_TYPES[name] for name in types} or set(_HISTORY_TYPES.values())
        token = request.one("pageToken")
        after, skip_empty, until = open_history_token(token, start) if token else (start, False, None)
        if not skip_empty and self._faults.hit("empty_pages", "history.list", mailbox.address):
            newest = mailbox.history_id
            return {
                "historyId": str(newest),
                "nextPageToken": history_token(start, after, newest if until is None else until, skip_empty=True),
            }
        try:
            page = mailbox.changes_after(after, limit)
        except HistoryExpiredError:
            raise ApiError.not_found() from None
        if until is None:  # as of the same moment as the records: what comes after it is no part of this answer
            until = page.history_id
        label = request.one("labelId")
        records = [
            self._record(mailbox, change)
            for change in page.changes
            if change.id <= until and change.kind in kinds and (not label or label in change.labels)
        ]
        answer: dict[str, Any] = {"historyId": str(page.history_id)}
        if records:
            answer["history"] = records
        if page.next_start is not None:
            answer["nextPageToken"] = history_token(start, page.next_start, until)
        return answer

    def _record(self, mailbox: Mailbox, change: Change) -> dict[str, Any]:
        stub: dict[str, Any] = {"id": change.message_id, "threadId": change.thread_id}
        typed = dict(stub)
        if change.labels and not self._faults.hit("bare_stubs", "history.list", mailbox.address):
            typed["labelIds"] = list(change.labels)
        entry: dict[str, Any] = {"message": typed}
        if change.delta:
            entry["labelIds"] = list(change.delta)
        return {"id": str(change.id), "messages": [stub], change.kind: [entry]}

    def _watch(self, mailbox: Mailbox, _access: Access, request: Request, _arguments: tuple[str, ...]) -> Any:
        try:
            body = request.json()
        except ValueError:
            raise ApiError(400, "Invalid JSON payload received.", "parseError") from None
        return self._watches.start(mailbox, body)

    def _stop(self, mailbox: Mailbox, _access: Access, _request: Request, _arguments: tuple[str, ...]) -> Any:
        self._watches.stop(mailbox)


def _page_size(request: Request) -> int:
    text = request.one("maxResults", "100")
    if not text.isdigit():
        raise ApiError.invalid(f"Invalid value at 'max_results': {text}")
    return min(int(text) or 100, MAX_PAGE)


def _start_history_id(request: Request) -> int:
    text = request.one("startHistoryId")
    if not text.isdigit() or int(text) == 0:
        raise ApiError.invalid("Missing/invalid parameter: startHistoryId")
    return int(text)
