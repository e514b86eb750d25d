"""The two services that a submission to Dataflow talks to, on loopback: object storage and the jobs API.

It shows what arrived: the job as JSON and every staged object. It runs nothing.
"""

from __future__ import annotations

import base64
import bz2
import hashlib
import http.server
import json
import os
import pathlib
import re
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any

import google_crc32c
from apache_beam.portability.api import beam_runner_api_pb2

BUCKET = "standin-bucket"
_BUCKET = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)(?:/o/(?P<name>.+))?")
_JOB = re.compile(r"/v1b3/projects/[^/]+/locations/[^/]+/jobs(?:/(?P<id>[^/]+))?(?P<rest>/messages|/metrics)?")


class DataflowStandin:
    """Serves while the `with` block lasts. `jobs` and `objects` hold what was submitted and staged."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.jobs: list[dict[str, Any]] = []
        self.objects: dict[str, bytes] = {}
        self.unknown: list[str] = []
        self._uploads: dict[str, tuple[str, bytearray]] = {}
        standin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, answer, headers = standin._answer(self.command, self.path, body, self.headers)
                data = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {
                    **headers,
                    "Content-Type": "application/json",
                    "Content-Length": str(len(data)),
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = _answer

            def log_message(self, *unused: Any) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> DataflowStandin:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *unused: Any) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self) -> dict[str, str]:
        """The environment in which a launcher reaches this and nothing else.

        The jobs endpoint may have no port, so it is a made-up name that this server answers for as a proxy.
        """
        token = self.folder / "credentials.json"
        made_up = dict.fromkeys(("client_id", "client_secret", "refresh_token", "token"), "standin")
        token.write_text(json.dumps({"type": "authorized_user", "expiry": "2099-01-01T00:00:00Z", **made_up}))
        return {
            **{
                k: v
                for k, v in os.environ.items()
                if "proxy" not in k.lower() and not k.startswith(("GOOGLE_", "CLOUDSDK_"))
            },
            "STORAGE_EMULATOR_HOST": self.url,
            "http_proxy": self.url,
            "no_proxy": "127.0.0.1,localhost",
            "NO_GCE_CHECK": "true",
            "CLOUDSDK_CONFIG": str(self.folder),
            "GOOGLE_APPLICATION_CREDENTIALS": str(token),
        }

    def options(self) -> list[str]:
        """Beam options that lead here. `sandbox` in the endpoint's name makes Beam speak REST to it."""
        return [
            "--dataflow_endpoint=http://dataflow-sandbox.invalid", "--project=standin-project", "--region=europe-west1",
            "--job_name=dealmail", f"--temp_location=gs://{BUCKET}/temp", f"--staging_location=gs://{BUCKET}/staging",
            "--enable_streaming_engine", "--sdk_container_image=registry.example/dealmail:1", "--sdk_location=container",
            "--experiments=disable_logging_submission_environment",
        ]  # fmt: skip

    def pipeline(self) -> Any:
        """The graph as it was staged."""
        staged = [data for name, data in self.objects.items() if name.endswith("/pipeline.pb")]
        return beam_runner_api_pb2.Pipeline.FromString(staged[-1])

    def _answer(self, verb: str, target: str, body: bytes, headers: Any) -> tuple[int, Any, dict[str, str]]:
        url = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path.startswith("/upload/"):
            ticket = str(len(self._uploads))
            self._uploads[ticket] = (query.get("name") or json.loads(body)["name"], bytearray())
            return 200, {}, {"Location": f"{self.url}/resume/{ticket}"}
        if url.path.startswith("/resume/"):
            name, data = self._uploads[url.path.rpartition("/")[2]]
            data += body
            total = headers.get("Content-Range", "").rpartition("/")[2]
            if total not in {"", "*"} and len(data) < int(total):
                return 308, {}, {"Range": f"bytes=0-{len(data) - 1}"}
            self.objects[name] = bytes(data)
            return 200, self._described(name), {}
        if found := _BUCKET.fullmatch(url.path):
            name = urllib.parse.unquote(found["name"] or "")
            if not name:
                return (
                    200,
                    {"name": BUCKET, "projectNumber": "1", "softDeletePolicy": {"retentionDurationSeconds": "0"}},
                    {},
                )
            if name in self.objects:
                return 200, self._described(name), {}
            return 404, {"error": {"code": 404, "message": "no such object"}}, {}
        if found := _JOB.fullmatch(url.path):
            if found["rest"]:
                return 200, {}, {}
            if verb == "POST":
                self.jobs.append(
                    {**json.loads(body), "id": f"job-{len(self.jobs)}", "currentState": "JOB_STATE_RUNNING"}
                )
                return 200, self.jobs[-1], {}
            return (200, self.jobs[-1], {}) if found["id"] else (200, {"jobs": self.jobs}, {})
        self.unknown.append(f"{verb} {url.path}")
        return 501, {"error": {"code": 501, "message": "not of this stand-in"}}, {}

    def _described(self, name: str) -> dict[str, str]:
        data = self.objects[name]
        checksum = base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        return {
            "bucket": BUCKET,
            "name": name,
            "generation": "1",
            "size": str(len(data)),
            "crc32c": checksum,
            "md5Hash": digest,
        }


def every_text(message: Any) -> Iterator[bytes]:
    """Every string and bytes field in `message`, at any depth, with Beam's packed pickles (base64 of bz2) opened too."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE and field.message_type.GetOptions().map_entry:
            of_messages = field.message_type.fields_by_name["value"].message_type is not None
            for key, entry in value.items():
                yield str(key).encode()
                yield from every_text(entry) if of_messages else _opened(entry)
            continue
        for one in value if field.is_repeated else [value]:
            yield from every_text(one) if field.type == field.TYPE_MESSAGE else _opened(one)


def _opened(value: Any) -> Iterator[bytes]:
    raw = value if isinstance(value, bytes) else str(value).encode()
    yield raw
    for packed in re.findall(rb"QlpoOTFB[A-Za-z0-9+/]+={0,2}", raw):
        try:
            yield bz2.decompress(base64.b64decode(packed))
        except (ValueError, OSError):
            continue  # looked like a pickle and was none
