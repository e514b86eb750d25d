"""Private MariaDB and Elasticsearch servers on loopback, fetched through the package managers a machine already has.

For trying dealmail out on its real stores and for the tests; no Docker, nothing to configure.
`python -m dealmail.sandbox.servers mariadb|elasticsearch [--data DIR]` runs one until Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Sequence

from .elasticsearch_server import ElasticsearchServer
from .mariadb_server import MariaDbServer
from .private_server import ServerUnavailableError


def keep(
    kind: str, data: pathlib.Path | None, ready: pathlib.Path | None, watch: int, quick: bool, stopped: threading.Event
) -> int:
    """Run one server until `stopped` is set or process `watch` (0: none) is gone; `ready` gets its address as JSON."""
    try:
        server = (
            MariaDbServer(data, quick=quick) if kind == "mariadb" else ElasticsearchServer(data, quick=quick)
        ).start()
        answer = {"url": server.url, "password_ref": getattr(server, "password_ref", "")}
    except ServerUnavailableError as error:
        server, answer = None, {"unavailable": str(error)}
    if ready is not None:
        new = ready.with_suffix(".new")
        new.write_text(json.dumps(answer))
        new.replace(ready)
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    if server is None:
        return 1
    try:
        while not stopped.wait(1):
            if watch and not _alive(watch):
                break
    finally:
        server.stop()
    return 0


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one server until it is told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m dealmail.sandbox.servers", description="Run a private server until Ctrl-C."
    )
    parser.add_argument("kind", choices=["mariadb", "elasticsearch"])
    parser.add_argument("--data", type=pathlib.Path, help="keep everything here (default: a temporary directory)")
    parser.add_argument(
        "--ready", type=pathlib.Path, help="write the address to this file, as JSON, once it can be used"
    )
    parser.add_argument("--watch", type=int, default=0, metavar="PID", help="stop when this process is gone")
    parser.add_argument("--quick", action="store_true", help="faster start, slower run: for tests")
    options = parser.parse_args(arguments)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *unused: stopped.set())
    return keep(options.kind, options.data, options.ready, options.watch, options.quick, stopped)


if __name__ == "__main__":
    sys.exit(main())
