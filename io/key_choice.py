"""Which key protects tokens and keys digests: the one that is named, else the environment's, else a file beside the database."""

from __future__ import annotations

import os
import pathlib
import secrets

import sqlalchemy as sa

from . import secret_refs
from .database import DatabaseSpec

VARIABLE = "DEALMAIL_KEY"


def key_ref(named: str, database: DatabaseSpec) -> str:
    """A secret ref for the key material: `named` if given, `env:DEALMAIL_KEY` if set, else a file beside a SQLite database.

    That file is made on first use, readable by its owner only, with 32 random bytes. Two processes that make it at once
    agree on one.

    Raises:
        SecretNotFoundError: the database is no SQLite file and no key is named.
    """
    if named:
        return named
    if os.environ.get(VARIABLE):
        return f"env:{VARIABLE}"
    url = sa.engine.make_url(database.url)
    if url.drivername != "sqlite" or not url.database or url.database == ":memory:":
        msg = f"no key is named: set {VARIABLE}, or name one ({secret_refs.FORMS})"
        raise secret_refs.SecretNotFoundError(msg)
    file = pathlib.Path(f"{url.database}.key").resolve()
    if not file.exists():
        made = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            out.write(secrets.token_urlsafe(32) + "\n")
        try:
            os.link(made, file)
        except FileExistsError:
            pass  # somebody else was quicker: theirs it is
        finally:
            made.unlink()
    return f"file:{file}"
