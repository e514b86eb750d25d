"""A small threaded HTTP/1.1 server with keep-alive: one handler function, one thread a connection.

The standard library's `BaseHTTPRequestHandler` parses headers with the email package, which costs more than most of the
sandbox's answers; here headers are split by hand.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

MAX_BODY = 256 * 1024 * 1024
MAX_LINE = 256 * 1024

_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(slots=True)
class Request:
    """One HTTP request. `headers` has lower-case names, `query` every value of a key in order."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    def one(self, name: str, default: str = "") -> str:
        """The last value of a query parameter."""
        values = self.query.get(name)
        return values[-1] if values else default

    def form(self) -> dict[str, str]:
        """The fields of a form body, last value wins, with the query's below them."""
        fields = {key: values[-1] for key, values in self.query.items()}
        body = parse_qs(self.body.decode("utf-8", "replace"), keep_blank_values=True)
        fields.update({key: values[-1] for key, values in body.items()})
        return fields

    def json(self) -> dict[str, Any]:
        """The body as a JSON object, an empty body as an empty object.

        Raises:
            ValueError: the body is no JSON object.
        """
        if not self.body.strip():
            return {}
        value = json.loads(self.body)
        if not isinstance(value, dict):
            msg = "the body must be a JSON object"
            raise ValueError(msg)  # noqa: TRY004  # bad input from outside, not a bad argument
        return value


@dataclass(slots=True)
class Response:
    """One HTTP answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json; charset=UTF-8"
    headers: dict[str, str] = field(default_factory=dict)


class DropConnectionError(Exception):
    """A handler raises this to close the connection without an answer."""


Handler = Callable[[Request], Response]


def json_response(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`value` as a JSON answer."""
    return Response(status, json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"), headers=headers or {})


def parse_target(target: str) -> tuple[str, dict[str, list[str]]]:
    """A request target, with or without scheme and host, as path (percent signs decoded) and query."""
    parts = urlsplit(target)
    return unquote(parts.path), parse_qs(parts.query, keep_blank_values=True) if parts.query else {}


class _Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    wbufsize = 0

    def handle(self) -> None:
        try:
            while self._one_request():
                pass
        except (ConnectionError, TimeoutError, DropConnectionError):
            self._reset()

    def _reset(self) -> None:
        """Close so that the peer sees a broken connection, not a clean end."""
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            self.close_connection = True

    def _one_request(self) -> bool:
        line = self.rfile.readline(MAX_LINE)
        if not line:
            return False
        words = line.decode("latin-1").split()
        if len(words) != 3:
            self._write(Response(400, b"bad request line", "text/plain"), close=True)
            return False
        method, target, version = words
        headers: dict[str, str] = {}
        while (line := self.rfile.readline(MAX_LINE)) not in {b"\r\n", b"\n", b""}:
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            body = self._body(headers)
        except ValueError:
            self._write(Response(400, b"bad length", "text/plain"), close=True)
            return False
        path, query = parse_target(target)
        close = headers.get("connection", "").lower() == "close" or version == "HTTP/1.0"
        handler: Handler = self.server.handler  # type: ignore[attr-defined]  # set by HttpServer
        self._write(handler(Request(method, path, query, headers, body)), close=close)
        return not close

    def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            chunks = []
            while size := int(self.rfile.readline(MAX_LINE).split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline(MAX_LINE)
            while self.rfile.readline(MAX_LINE) not in {b"\r\n", b"\n", b""}:
                pass
            return b"".join(chunks)
        length = int(headers.get("content-length") or 0)
        if not 0 <= length <= MAX_BODY:
            raise ValueError(length)
        return self.rfile.read(length) if length else b""

    def _write(self, response: Response, *, close: bool) -> None:
        head = [
            f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Unknown')}",
            f"Content-Type: {response.content_type}",
            f"Content-Length: {len(response.body)}",
        ]
        head += [f"{name}: {value}" for name, value in response.headers.items()]
        if close:
            head.append("Connection: close")
        self.wfile.write("\r\n".join(head).encode("latin-1", "replace") + b"\r\n\r\n" + response.body)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 256
    handler: Handler


class HttpServer:
    """Serves `handler` on 127.0.0.1 until `close`."""

    def __init__(self, handler: Handler, port: int = 0, host: str = "127.0.0.1") -> None:
        self._server = _Server((host, port), _Connection)
        self._server.handler = handler
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="sandbox-http", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop accepting; open connections end with the process."""
        self._server.shutdown()
        self._server.server_close()
