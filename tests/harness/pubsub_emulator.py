"""Google's own Pub/Sub emulator for tests: one at hand (DEALMAIL_TEST_PUBSUB, HOST:PORT), or the one that came with gcloud.

No package registry has it but Google's own, so it is not fetched: Debian package google-cloud-cli-pubsub-emulator, or
`gcloud components install pubsub-emulator`.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

from dealmail.sandbox.elasticsearch_server import java_home
from dealmail.sandbox.private_server import ServerUnavailableError, free_port

FOLDERS = ("/usr/lib/google-cloud-sdk", "/usr/share/google-cloud-sdk", "/opt/google-cloud-sdk", "~/google-cloud-sdk")


def emulator_jar() -> pathlib.Path:
    """The emulator's jar.

    Raises:
        ServerUnavailableError: no Google Cloud SDK here, or one without the emulator.
    """
    gcloud = shutil.which("gcloud")
    roots = [pathlib.Path(gcloud).resolve().parents[1]] if gcloud else []
    roots += [pathlib.Path(folder).expanduser() for folder in FOLDERS]
    for root in roots:
        for jar in sorted(root.glob("platform/pubsub-emulator/lib/cloud-pubsub-emulator-*.jar")):
            return jar
    raise ServerUnavailableError(
        "Google's Pub/Sub emulator: DEALMAIL_TEST_PUBSUB=HOST:PORT, or the package google-cloud-cli-pubsub-emulator"
    )


@contextlib.contextmanager
def running_emulator(folder: pathlib.Path) -> Iterator[str]:
    """HOST:PORT while the block lasts.

    Raises:
        ServerUnavailableError: no emulator or no Java.
    """
    if given := os.environ.get("DEALMAIL_TEST_PUBSUB"):
        yield given
        return
    jar, java, port = emulator_jar(), java_home() / "bin" / "java", free_port()
    with (folder / "emulator.log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", str(java), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar", str(jar),
             "--host=127.0.0.1", f"--port={port}"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, f"no emulator: {(folder / 'emulator.log').read_text()[-1000:]}"
            assert time.monotonic() < end, "the emulator does not listen"
            time.sleep(0.05)  # a JVM starts in real time, and is up when it takes a connection
        yield f"127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
