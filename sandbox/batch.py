"""The batch endpoint: up to 100 calls in one multipart/mixed request, each answered for itself, in any order."""

from __future__ import annotations

import random
import re
import secrets
import threading

from .api_error import ApiError
from .faults import Faults
from .gmail_server import GmailServer
from .headers import split_head
from .http_server import Request, Response, parse_target
from .quota import Quota

MAX_CALLS = 100
# Gmail runs the calls of a batch partly beside each other; so many of them count as one request in flight.
CALLS_PER_SLOT = 10
_PHRASES = {200: "OK", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found"}


class BatchServer:
    """POST /batch and /batch/gmail/v1."""

    def __init__(self, gmail: GmailServer, quota: Quota, faults: Faults, seed: int = 0) -> None:
        self._gmail = gmail
        self._quota = quota
        self._faults = faults
        self._random = random.Random(f"batch:{seed}")  # noqa: S311  # the order of parts, no secret
        self._lock = threading.Lock()
        self.batches = 0

    def handle(self, request: Request) -> Response:
        """One batch.

        Raises:
            DropConnectionError: a fault says so.
        """
        match = re.search(r'boundary="?([^";,]+)"?', request.headers.get("content-type", ""))
        if not match:
            return ApiError(400, "Failed to parse batch request: no boundary", "badRequest").response()
        calls = _calls(request, match.group(1))
        if not calls:
            return ApiError(400, "Failed to parse batch request, error: 0 items.", "badRequest").response()
        if len(calls) > MAX_CALLS:
            text = f"The batch request contains {len(calls)} calls; the limit is {MAX_CALLS}."
            return ApiError(400, text, "badRequest").response()
        user = self._gmail.user_of(calls[0][1]).lower()
        with self._lock:
            self.batches += 1
        try:
            self._faults.strike_request("batch", user)
        except ApiError as error:
            return error.response()
        slots = -(-len(calls) // CALLS_PER_SLOT)
        taken = self._quota.begin(user, slots)
        try:
            answers = [
                (content_id, self._answer(call, user, refused=number >= taken * CALLS_PER_SLOT))
                for number, (content_id, call) in enumerate(calls)
            ]
        finally:
            self._quota.end(user, taken)
        with self._lock:
            self._random.shuffle(answers)
        return _multipart([(content_id, answer) for content_id, answer in answers if answer is not None])

    def _answer(self, call: Request, user: str, *, refused: bool) -> Response | None:
        if refused:
            return ApiError.concurrent().response()
        if self._faults.hit("part_missing", "batch", user):
            return None
        if self._faults.hit("part", "batch", user):
            return Response(200, b'{"id": "unfinis')
        return self._gmail.handle(call, in_batch=True)


def _calls(request: Request, boundary: str) -> list[tuple[str, Request]]:
    calls = []
    for piece in request.body.split(b"--" + boundary.encode("latin-1", "replace"))[1:]:
        if piece.startswith(b"--"):
            break
        head, inner = split_head(piece.lstrip(b"\r\n"))
        content_id = _fields(head).get("content-id", "")
        line, _, rest = inner.lstrip(b"\r\n").partition(b"\n")
        words = line.decode("latin-1").split()
        if len(words) < 2:
            continue
        inner_head, body = split_head(rest)
        headers = _fields(inner_head)
        headers.setdefault("authorization", request.headers.get("authorization", ""))
        path, query = parse_target(words[1])
        calls.append((content_id, Request(words[0], path, query, headers, body.strip(b"\r\n"))))
    return calls


def _fields(head: bytes) -> dict[str, str]:
    fields = {}
    for line in head.decode("latin-1").splitlines():
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    return fields


def _multipart(answers: list[tuple[str, Response]]) -> Response:
    boundary = f"batch_{secrets.token_urlsafe(24)}"
    pieces = []
    for content_id, answer in answers:
        reply_id = content_id.replace("<", "<response-", 1) if content_id else f"<response-{secrets.token_hex(8)}>"
        extra = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
        pieces.append(
            f"--{boundary}\r\nContent-Type: application/http\r\nContent-ID: {reply_id}\r\n\r\n"
            f"HTTP/1.1 {answer.status} {_PHRASES.get(answer.status, 'Error')}\r\nContent-Type: {answer.content_type}\r\n"
            f"{extra}Content-Length: {len(answer.body)}\r\n\r\n".encode("latin-1", "replace")
            + answer.body
            + b"\r\n"
        )
    body = b"".join(pieces) + f"--{boundary}--\r\n".encode()
    return Response(200, body, f"multipart/mixed; boundary={boundary}")
