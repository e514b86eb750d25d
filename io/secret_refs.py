"""Names of secrets, resolved only where they are used: a name may be pickled and logged, a secret never."""

from __future__ import annotations

import os
import pathlib

from ..transforms.errors import DealmailError

FORMS = "env:NAME, file:PATH or gcp:projects/P/secrets/S/versions/V"


_KINDS = ("env:", "file:", "gcp:")


class SecretNotFoundError(DealmailError):
    """The named secret cannot be read. The text holds the name, never a value."""


def is_ref(text: str) -> bool:
    """Whether `text` has the form of a name, and so can be shown and kept."""
    return any(text.startswith(kind) and text != kind for kind in _KINDS)


def resolve(ref: str) -> str:
    """The secret that `ref` names: `env:NAME`, `file:PATH` (surrounding white space cut) or `gcp:projects/…/versions/…`.

    Raises:
        SecretNotFoundError: no such variable, file or version, no text in UTF-8, or `ref` has another form.
    """
    kind, _, name = ref.partition(":")
    if kind == "env":
        if name not in os.environ:
            msg = f"environment variable {name} is not set"
            raise SecretNotFoundError(msg)
        return os.environ[name]
    if kind == "file":
        try:
            return pathlib.Path(name).read_text(encoding="utf-8").strip()
        except OSError as error:
            msg = f"secret file {name}: {error.strerror}"
            raise SecretNotFoundError(msg) from None
        except UnicodeDecodeError:
            raise SecretNotFoundError(f"secret file {name}: it is no text in UTF-8") from None
    if kind == "gcp":
        from google.api_core import exceptions
        from google.auth.exceptions import GoogleAuthError
        from google.cloud import secretmanager

        try:
            answer = secretmanager.SecretManagerServiceClient().access_secret_version(name=name)
        except (exceptions.GoogleAPIError, GoogleAuthError) as error:
            msg = f"secret {name}: {type(error).__name__}"
            raise SecretNotFoundError(msg) from None
        try:
            return answer.payload.data.decode("utf-8")
        except UnicodeDecodeError:
            raise SecretNotFoundError(f"secret {name}: it is no text in UTF-8") from None
    msg = f"a secret is given where one should be named; use {FORMS}"  # it may be the secret itself: it is not shown
    raise SecretNotFoundError(msg)
