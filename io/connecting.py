"""Connecting a mailbox and letting it go: consent at Google, delegation, the stored credential, and taking it all back.

Each step leaves its row in the append-only consent log. `connect` does not turn import on: that is the user's own switch
(io/mailboxes.py).
"""

from __future__ import annotations

import datetime as dt
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any, Final

import sqlalchemy as sa

from ..transforms.errors import DealmailError
from . import schema
from .database import Database
from .gmail import GOOGLE, SCOPE, Profile
from .google_signin import GmailAccounts, GoogleSettings, Kind, missing_scopes, store_credential
from .mailboxes import MailboxRow, lock, log_consent, read
from .vault import Vault

CONSENT_SECONDS: Final = 300


class ConsentRefusedError(DealmailError):
    """The consent is not what was asked for: refused, in part only, or of another account. Nothing was stored."""


def ask_consent(
    settings: GoogleSettings, address: str, *, open_browser: bool, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Have the user consent at Google in a browser on this machine; the credential's values, as `connect` takes them.

    The answer comes back to a port of 127.0.0.1, with state and PKCE (RFC 8252, RFC 7636). `tell` gets the page to open.

    Raises:
        ConsentRefusedError: refused, a scope unticked or added, no answer in time, or no refresh token.
        SecretNotFoundError: the OAuth client cannot be read.
    """
    from google_auth_oauthlib.flow import InstalledAppFlow, WSGITimeoutError
    from oauthlib.oauth2.rfc6749.errors import OAuth2Error

    client_id, client_secret = settings.client()
    client = {
        "client_id": client_id, "client_secret": client_secret, "auth_uri": settings.auth_uri, "token_uri": settings.token_uri
    }  # fmt: skip
    # oauthlib would raise where the user ticks less than was asked; what was granted is checked below, in words.
    os.environ["OAUTHLIB_RELAX_TOKEN_SCOPE"] = "1"  # noqa: S105 (a switch, no password)
    if settings.endpoint != GOOGLE and urllib.parse.urlsplit(settings.endpoint).hostname in {
        "127.0.0.1",
        "localhost",
        "::1",
    }:
        os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # a sandbox on this machine has no certificate

    class TellingFlow(InstalledAppFlow):
        def authorization_url(self, **extra: Any) -> tuple[str, str]:
            url, state = super().authorization_url(**extra)
            tell(url)
            return url, state

    flow = TellingFlow.from_client_config({"installed": client}, scopes=[SCOPE])
    try:
        got = flow.run_local_server(
            host="127.0.0.1", port=0, open_browser=open_browser, authorization_prompt_message="", timeout_seconds=CONSENT_SECONDS,
            success_message="dealmail is connected; you may close this window.", login_hint=address, prompt="consent",
        )  # fmt: skip
    except WSGITimeoutError:
        raise ConsentRefusedError(f"no answer from the sign-in page within {CONSENT_SECONDS} s") from None
    except OAuth2Error as error:
        raise ConsentRefusedError(f"the sign-in ended with {error.error}") from None
    wrong = missing_scopes(list(got.granted_scopes or got.scopes or ()))
    if wrong:
        raise ConsentRefusedError(
            f"the grant does not fit: {', '.join(wrong)}; sign in again and leave the boxes as they are"
        )
    if not got.refresh_token:
        raise ConsentRefusedError(
            "Google sent no refresh token; remove dealmail's access in the Google account and sign in again"
        )
    return {"refresh_token": got.refresh_token, "scopes": [SCOPE]}


def same_address(a: str, b: str) -> bool:
    """Whether two addresses are one Google account's: case, and googlemail.com for gmail.com, do not matter."""

    def plain(address: str) -> str:
        local, _, domain = address.strip().lower().rpartition("@")
        return (
            f"{local.replace('.', '')}@gmail.com" if domain in {"gmail.com", "googlemail.com"} else f"{local}@{domain}"
        )

    return plain(a) == plain(b)


def connect(
    database: Database, vault: Vault, accounts: GmailAccounts, mailbox: str, kind: Kind, values: dict[str, Any], *, actor: str,
    now: dt.datetime,
) -> MailboxRow:  # fmt: skip
    """Check that the credential opens the mailbox's own Gmail, and keep it.

    Where Gmail's history id lies before the stored cursor the address is another account than it was: the first sync starts
    over. A mailbox with import on is due at once.

    Args:
        database: where the mailbox is.
        vault: seals the credential.
        accounts: opens the Gmail to be checked.
        mailbox: the mailbox's id.
        kind: oauth or delegated.
        values: see `google_signin.build_credentials`.
        actor: who did it, for the consent log.
        now: the clock (UTC).

    Raises:
        ConsentRefusedError: the Gmail is another address's.
        MailboxError: Gmail refuses the credential.
        TransientError: Gmail, the token endpoint or the database cannot be reached.
    """
    profile = accounts.gmail(kind, values).profile()

    def refuse(connection: sa.Connection) -> bool:
        row = read(connection, mailbox)
        if same_address(row.address, profile.address):
            return False
        log_consent(connection, row, "refused", actor, now, "another account")
        return True

    if database.transaction(refuse):
        raise ConsentRefusedError(
            "the sign-in was for another Google account than the mailbox; sign in as that address"
        )

    def work(connection: sa.Connection) -> MailboxRow:
        row = lock(database, connection, mailbox)
        store_credential(database, vault, connection, row.team_id, mailbox, kind, values, now)
        log_consent(
            connection, row, "granted" if kind == "oauth" else "delegated", actor, now, SCOPE.rpartition("/")[2]
        )
        connection.execute(
            sa.update(schema.mailbox).where(schema.mailbox.c.id == mailbox).values(**_connected(row, profile, now))
        )
        return read(connection, mailbox)

    return database.transaction(work)


def _connected(row: MailboxRow, profile: Profile, now: dt.datetime) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "cursor_seq": row.cursor_seq + 1,
        "state_reason": "",
        "watch_error": "",
        "watch_renew_at": None,
    }
    starts_over = row.history_id is None or profile.history_id < row.history_id
    if starts_over:
        columns |= {"history_id": None, "confirmed_at": None}
    state = "paused" if not row.import_on else "first_sync" if starts_over else "live"
    if row.import_on:
        columns |= {"next_poll_at": None, "not_before": None}
    return columns | {"state": state, "state_since": now if state != row.state else row.state_since}


def let_go(
    database: Database, accounts: GmailAccounts, settings: GoogleSettings, vault: Vault, mailbox: str, *, actor: str, now: dt.datetime,
) -> Sequence[str]:  # fmt: skip
    """Stop the watch and revoke the token of a mailbox whose import is off; what could not be done, in words, or nothing.

    A token is forgotten here even where Google could not be told. An admin's delegation stays: it is not this user's.

    Raises:
        StoreUnavailableError: the database cannot be reached.
    """
    table = schema.credential
    with database.reading() as connection:
        row = connection.execute(
            sa.select(table.c.kind, table.c.ciphertext).where(table.c.mailbox_id == mailbox)
        ).one_or_none()
    if row is None:
        return []
    failed = []
    try:
        accounts.open(mailbox).stop()
    except DealmailError as error:
        failed.append(f"the watch was not stopped ({type(error).__name__}); it ends by itself within seven days")
    if row.kind != "oauth":
        return failed
    try:
        revoke(settings, str(vault.open(mailbox, row.ciphertext)["refresh_token"]))
    except DealmailError as error:
        failed.append(
            f"the token was not revoked at Google ({error}); remove dealmail in the Google account's settings"
        )

    def work(connection: sa.Connection) -> None:
        connection.execute(sa.delete(table).where(table.c.mailbox_id == mailbox))
        log_consent(connection, read(connection, mailbox), "revoked", actor, now)

    database.transaction(work)
    return failed


class RevocationError(DealmailError):
    """Google did not take the token back."""


def revoke(settings: GoogleSettings, token: str) -> None:
    """Tell Google to take a token back (RFC 7009). A token that is dead already is well.

    Raises:
        RevocationError: Google could not be reached, or answered otherwise.
    """
    body = urllib.parse.urlencode({"token": token}).encode()
    request = urllib.request.Request(settings.revoke_uri, data=body, method="POST")  # noqa: S310 (GoogleSettings checks the scheme)
    try:
        urllib.request.urlopen(request, timeout=settings.timeout_s).close()  # noqa: S310 (as above)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 400:
            raise RevocationError(f"HTTP {error.code}") from None
    except OSError as error:
        raise RevocationError(type(error).__name__) from None
