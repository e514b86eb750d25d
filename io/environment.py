"""Environment variables that stand for options which the job and the console have in common, so that both mean the same stores.

They name secrets (see secret_refs), as the options do, and hold none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

VARIABLES: Final[Mapping[str, str]] = {
    option: f"DEALMAIL_{option.upper()}"
    for option in (
        "database", "database_password", "search", "search_password", "search_index", "search_ca_certs", "token_key", "oauth_client",
        "gmail_endpoint",
    )
}  # fmt: skip
"""Option to variable."""


def given(environ: Mapping[str, str]) -> dict[str, str]:
    """The options that `environ` says; an empty variable says nothing."""
    return {option: environ[name] for option, name in VARIABLES.items() if environ.get(name)}


def without(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without them: for a process whose command line says everything."""
    return {name: value for name, value in environ.items() if name not in VARIABLES.values()}
