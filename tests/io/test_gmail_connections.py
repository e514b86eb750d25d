"""Connections that a server has closed in the meantime, as Google does after some minutes without a request."""

from __future__ import annotations

import datetime as dt
import http.server
import itertools
import json
import os
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


def test_a_sign_in_opens_a_closed_connection_anew_too(endpoint):
    credentials = Credentials(
        None, refresh_token="r", token_uri=f"{endpoint}/token", client_id="c", client_secret="s", scopes=[SCOPE]
    )
    gmail = Gmail(credentials, endpoint=endpoint, now=lambda: dt.datetime.now(dt.UTC))
    for _ in range(20):
        gmail.sign_in()
        assert gmail.profile().history_id == 7
        credentials.token = None


class NumberedConnections(http.server.BaseHTTPRequestHandler):
    """Keeps connections; the history id that it answers is the number of the connection."""

    protocol_version = "HTTP/1.1"
    count = itertools.count(1)

    def setup(self):
        super().setup()
        self.number = next(self.count)

    def do_GET(self):
        body = json.dumps({"emailAddress": "alice@corp.example", "historyId": str(self.number)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *unused):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_process_never_speaks_on_a_connection_of_its_parent():
    """Two processes on one connection would read each other's answers: one mailbox's messages in another's ledger."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), NumberedConnections)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    gmail = Gmail(
        Credentials("t"), endpoint=f"http://127.0.0.1:{server.server_port}", now=lambda: dt.datetime.now(dt.UTC)
    )
    of_parent = gmail.profile().history_id
    assert gmail.profile().history_id == of_parent  # it is kept
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, str(gmail.profile().history_id).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    of_child = int(os.read(reading, 20))
    os.close(reading)
    os.close(writing)
    assert of_child != of_parent
    assert gmail.profile().history_id == of_parent
    server.shutdown()
    server.server_close()
