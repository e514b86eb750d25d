"""What a run needs of the machine it is started on, looked at before anything starts."""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile

import sqlalchemy as sa

from ..io.database import is_sqlite_file
from .options import JobOptions, OptionError


def require_tools(options: JobOptions) -> None:
    """Refuse, before anything starts, what this machine lacks for `options`.

    Raises:
        OptionError: a folder or file that cannot be written, a file that is no database, or a runner's program that is missing.
    """
    for name, url in (("database", options.database.url), ("search", options.search)):
        if url.startswith("sqlite"):
            _require_sqlite(f"--{name}={url}", sa.engine.make_url(url).database or "")
    if options.runner == "FlinkRunner" and shutil.which("java") is None:
        raise OptionError("--runner=FlinkRunner starts Beam's job server, which needs java: install a Java 17 runtime")


def _require_sqlite(option: str, name: str) -> None:
    file = pathlib.Path(name).resolve()
    if name in {"", ":memory:"}:
        raise OptionError(f"{option}: name a file; what is only in memory would be forgotten between two passes")
    if not file.parent.is_dir():
        raise OptionError(f"{option}: there is no folder {file.parent}")
    if file.is_dir():
        raise OptionError(f"{option}: {file} is a folder; name a file")
    try:
        if file.exists():
            if not is_sqlite_file(file):
                raise OptionError(f"{option}: {file} is no SQLite database")
            if not os.access(file, os.W_OK):
                raise OptionError(f"{option}: {file} cannot be written by this user")
        with tempfile.TemporaryFile(dir=file.parent):  # the journal stands beside the database
            pass
    except OSError as error:
        raise OptionError(f"{option}: cannot be used: {error.strerror}") from None
