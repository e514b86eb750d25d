"""Whose Gmail may be read: consent at Google, delegation by an admin, the stored credential, and taking it all back."""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from google.auth.credentials import Credentials
from google.oauth2 import credentials as oauth2_credentials
from google.oauth2 import service_account

from . import schema, secret_refs
from .database import Database
from .gmail import GOOGLE, SCOPE, Gmail
from .gmail_errors import MAILBOX_ERRORS, NotConnectedError
from .vault import Vault

Kind = Literal["oauth", "delegated"]

_OPEN_ACCOUNTS: Final = 10_000


@dataclasses.dataclass(frozen=True)
class GoogleSettings:
    """Where Google is and as whom dealmail signs in. Safe to pickle and show: it names secrets, it holds none.

    endpoint: Gmail's base URL; any other than Google's own (the sandbox) serves /token, /auth and /revoke as well.
    client_ref: secret ref of the OAuth client's JSON as the Cloud console hands it out; not needed beside the sandbox.
    timeout_s: seconds for one request.
    """

    endpoint: str = GOOGLE
    client_ref: str = ""
    timeout_s: float = 30

    def __post_init__(self) -> None:
        """Refuse what cannot be asked.

        Raises:
            ValueError: no http(s) URL, or a timeout that is not positive.
        """
        if not self.endpoint.startswith(("https://", "http://")) or self.endpoint.endswith("/"):
            raise ValueError(
                f"Gmail endpoint {self.endpoint!r}: use a URL such as {GOOGLE}, without a slash at its end"
            )
        if self.timeout_s <= 0:
            raise ValueError(f"timeout of {self.timeout_s} s: use a positive number")

    @property
    def token_uri(self) -> str:
        """The OAuth token endpoint."""
        return "https://oauth2.googleapis.com/token" if self.endpoint == GOOGLE else f"{self.endpoint}/token"

    @property
    def revoke_uri(self) -> str:
        """Where a token is revoked (RFC 7009)."""
        return "https://oauth2.googleapis.com/revoke" if self.endpoint == GOOGLE else f"{self.endpoint}/revoke"

    @property
    def auth_uri(self) -> str:
        """Where a user consents."""
        return "https://accounts.google.com/o/oauth2/v2/auth" if self.endpoint == GOOGLE else f"{self.endpoint}/auth"

    def client(self) -> tuple[str, str]:
        """The OAuth client's id and secret.

        Raises:
            SecretNotFoundError: `client_ref` cannot be read, or holds no client.
        """
        if not self.client_ref:
            if self.endpoint == GOOGLE:
                raise secret_refs.SecretNotFoundError("no OAuth client is named; name it with --oauth_client")
            return "dealmail", "dealmail"
        try:
            held = msgspec.json.decode(secret_refs.resolve(self.client_ref))
            client = held.get("installed") or held["web"]
            return str(client["client_id"]), str(client["client_secret"])
        except (msgspec.DecodeError, KeyError, AttributeError, TypeError):
            raise secret_refs.SecretNotFoundError(f"{self.client_ref} is not the JSON of an OAuth client") from None


class GmailAccounts:
    """Opens the Gmail of any mailbox that has a stored credential. Safe to share between threads."""

    def __init__(
        self, database: Database, vault: Vault, settings: GoogleSettings, now: Callable[[], dt.datetime]
    ) -> None:
        self._database = database
        self._vault = vault
        self._settings = settings
        self._now = now
        self._lock = threading.Lock()
        self._open: dict[str, tuple[bytes, Gmail]] = {}

    def open(self, mailbox_id: str) -> Gmail:
        """The mailbox's Gmail, with the credential that is stored now; access tokens are kept in memory while it stands.

        Raises:
            NotConnectedError: no credential is stored.
            VaultError: it cannot be opened with the keys at hand.
            SecretNotFoundError: the OAuth client or the service account's key cannot be read.
            StoreUnavailableError: the database cannot be reached.
        """
        table = schema.credential
        with self._database.reading() as connection:
            row = connection.execute(
                sa.select(table.c.kind, table.c.ciphertext).where(table.c.mailbox_id == mailbox_id)
            ).one_or_none()
        if row is None:
            raise NotConnectedError("no credential")
        with self._lock:
            known = self._open.get(mailbox_id)
        if known and known[0] == row.ciphertext:
            return known[1]
        gmail = self.gmail(row.kind, self._vault.open(mailbox_id, row.ciphertext))
        with self._lock:
            if len(self._open) >= _OPEN_ACCOUNTS:
                self._open.clear()
            self._open[mailbox_id] = (row.ciphertext, gmail)
        return gmail

    def forget(self, mailbox_id: str) -> None:
        """Build its credentials anew the next time, from the OAuth client as it is then."""
        with self._lock:
            self._open.pop(mailbox_id, None)

    def sealed(self, connection: sa.Connection, mailbox_id: str) -> bytes | None:
        """The mailbox's credential as it is stored now: another one is another consent. None: there is none."""
        found = connection.scalar(
            sa.select(schema.credential.c.ciphertext).where(schema.credential.c.mailbox_id == mailbox_id)
        )
        return None if found is None else bytes(found)

    def gmail(self, kind: Kind, values: dict[str, Any]) -> Gmail:
        """A Gmail for a credential that need not be stored: `values` as `store_credential` takes them."""
        return Gmail(
            build_credentials(self._settings, kind, values), endpoint=self._settings.endpoint,
            timeout=dt.timedelta(seconds=self._settings.timeout_s), delegated=kind == "delegated", now=self._now,
        )  # fmt: skip


def build_credentials(settings: GoogleSettings, kind: Kind, values: dict[str, Any]) -> Credentials:
    """What google-auth signs requests with.

    `values` of "oauth": refresh_token, scopes. Of "delegated": key_ref (secret ref of a service account's JSON), subject (the
    user's address). The scope is named in both: left out, the client would ask for every Gmail scope there is.

    Raises:
        SecretNotFoundError: the OAuth client or the key cannot be read.
    """
    if kind == "oauth":
        client_id, client_secret = settings.client()
        return oauth2_credentials.Credentials(
            token=None, refresh_token=values["refresh_token"], token_uri=settings.token_uri, client_id=client_id,
            client_secret=client_secret, scopes=[SCOPE],
        )  # fmt: skip
    try:
        info = msgspec.json.decode(secret_refs.resolve(values["key_ref"]))
        if settings.endpoint != GOOGLE:
            info["token_uri"] = settings.token_uri
        return service_account.Credentials.from_service_account_info(info, scopes=[SCOPE]).with_subject(
            values["subject"]
        )
    except (msgspec.DecodeError, ValueError, TypeError):
        raise secret_refs.SecretNotFoundError(
            f"{values['key_ref']} is not the JSON of a service account's key"
        ) from None


def store_credential(
    database: Database, vault: Vault, connection: sa.Connection, team_id: str, mailbox_id: str, kind: Kind, values: dict[str, Any],
    now: dt.datetime,
) -> None:  # fmt: skip
    """Keep a credential, sealed, in place of any older one.

    What was refused under the older one, or is still being read with it, is read anew: its refusal must not speak against this.
    """
    row = {
        "mailbox_id": mailbox_id, "team_id": team_id, "kind": kind, "ciphertext": vault.seal(mailbox_id, values), "updated_at": now,
    }  # fmt: skip
    database.upsert(connection, schema.credential, [row], ["kind", "ciphertext", "updated_at"])
    message = schema.message.c
    connection.execute(
        sa.update(schema.message)
        .where(
            message.mailbox_id == mailbox_id, message.team_id == team_id, message.state == "pending",
            sa.or_(message.lease.is_not(None), message.error_class.in_(sorted(MAILBOX_ERRORS))),
        )
        .values(lease=None, lease_until=None, not_before=None, phase=None, error_class=None)
    )  # fmt: skip


def missing_scopes(granted: Sequence[str]) -> list[str]:
    """What speaks against a grant: gmail.readonly is missing (users can untick it), or gmail.metadata came along.

    A token that carries gmail.metadata is refused searches and full messages even beside gmail.readonly.
    """
    wrong = [] if SCOPE in granted else [SCOPE]
    return wrong + [scope for scope in granted if scope.endswith("/gmail.metadata")]
