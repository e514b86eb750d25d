"""The demo's stores: files in its work folder, or a private MariaDB and Elasticsearch that end with it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import secrets
from collections.abc import Callable, Iterator
from typing import Any

from ..io.database import DatabaseSpec


@dataclasses.dataclass(frozen=True)
class Stores:
    """Where the job and the console find the stores, and how that is said to a person."""

    database: DatabaseSpec
    search: str
    token_key: str
    told: str

    def options(self, separator: str) -> list[str]:
        """As options: of the job ("_" between words) or of the console ("-")."""
        named = {
            "database": self.database.url, "database_password": self.database.password_ref, "search": self.search,
            "token_key": self.token_key,
        }  # fmt: skip
        return [f"--{name.replace('_', separator)}={value}" for name, value in named.items() if value]


@contextlib.contextmanager
def open_stores(kind: str, folder: pathlib.Path, say: Callable[[str], None]) -> Iterator[Stores]:
    """The stores of one run.

    Args:
        kind: embedded or servers.
        folder: the work folder.
        say: gets a line before something slow.

    Raises:
        ServerUnavailableError: a server cannot be had on this machine; the text says why.
    """
    if kind == "embedded":
        file = folder / "dealmail.db"
        yield Stores(DatabaseSpec(f"sqlite:///{file}"), "", "", f"SQLite and FTS5 in {folder}")
        return
    from ..sandbox.elasticsearch_server import ElasticsearchServer
    from ..sandbox.mariadb_server import MariaDbServer

    key = folder / "dealmail.key"
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as out:
        out.write(secrets.token_urlsafe(32) + "\n")
    with contextlib.ExitStack() as stack:
        say("starting MariaDB (the first time it is fetched, which takes a while) ...")
        mariadb = _started(stack, MariaDbServer, folder / "mariadb")
        say("starting Elasticsearch (the same) ...")
        elastic = _started(stack, ElasticsearchServer, folder / "elasticsearch")
        told = f"MariaDB in {mariadb.dir} and Elasticsearch in {elastic.dir}, both stopped with this run"
        yield Stores(DatabaseSpec(mariadb.url, mariadb.password_ref), elastic.url, f"file:{key.resolve()}", told)


def _started(stack: contextlib.ExitStack, kind: Callable[..., Any], data: pathlib.Path) -> Any:
    """A running server that ends with `stack`. Its data is kept at `data`, unless the user it runs as cannot get there."""
    data = data.resolve()
    is_reachable = os.getuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in data.parents if parent.exists())
    server = kind(data if is_reachable else None, quick=True)
    stack.callback(server.stop)
    return server.start()
