"""Connections that a server has closed in the meantime, as Google does after some minutes without a request."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import threading

import pytest
from google.oauth2.credentials import Credentials

from dealmail.io.gmail import SCOPE, Gmail


class OneAnswer(http.server.BaseHTTPRequestHandler):
    """Promises to keep the connection, answers once, and hangs up."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = {"access_token": "t", "expires_in": 3600, "scope": SCOPE, "token_type": "Bearer"}
        profile = {"emailAddress": "alice@corp.example", "historyId": "7"}
        body = json.dumps(token if self.path == "/token" else profile).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    do_GET = do_POST = answer

    def log_message(self, *unused):
        pass


@pytest.fixture
def endpoint():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OneAnswer)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_kept_connection_that_was_closed_is_opened_anew(endpoint):
    credentials = Credentials(
        None, refresh_token="r", token_uri=f"{endpoint}/token", client_id="c", client_secret="s", scopes=[SCOPE]
    )
    gmail = Gmail(credentials, endpoint=endpoint, now=lambda: dt.datetime.now(dt.UTC))
    for _ in range(20):
        assert gmail.profile().history_id == 7
        credentials.token = None  # the next call refreshes it, by a POST on the connection of the call before
