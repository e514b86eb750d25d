"""Connecting a mailbox and taking it back: Google's consent, an admin's delegation, and the end of both.

Every step leaves a line in the append-only consent log. Nothing here turns import on: that is the user's own switch
(io/mailboxes.py), and both are needed.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import html
import http.server
import logging
import os
import threading
import urllib.parse
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, NoReturn

import oauthlib.oauth2
import requests
import sqlalchemy as sa
from google_auth_oauthlib.flow import Flow

from ..transforms.errors import DealmailError, MailboxError, TransientError
from . import mailboxes, opt_out, schema, search_plan
from .account_names import same_account
from .database import Database
from .endings import Endings, waiting
from .gmail import SCOPE, Profile
from .gmail_errors import GmailRequestError
from .google_signin import GmailAccounts, GoogleSettings, Kind, missing_scopes, store_credential
from .mailboxes import Mailboxes, MailboxRow
from .quota import Quota
from .vault import Vault

_log = logging.getLogger(__name__)

_CHUNK: Final = 500
_DONE: Final = "dealmail may read this mailbox now. You can close this window."
_NOT_DONE: Final = "Google did not give its consent. Look at the terminal."


class SignInError(DealmailError):
    """The consent did not come about; the text says why and what to do, and holds no address."""


class SignIn:
    """Connects and disconnects mailboxes."""

    def __init__(
        self, database: Database, vault: Vault, settings: GoogleSettings, now: Callable[[], dt.datetime],
        quota: Quota | None = None,
    ) -> None:  # fmt: skip
        """`quota` is debited for what is asked of Gmail; None: the database's, with the usual costs."""
        self._database = database
        self._vault = vault
        self._settings = settings
        self._now = now
        self._mailboxes = Mailboxes(database, now)
        self._accounts = GmailAccounts(database, vault, settings, now)
        self._quota = quota or Quota(database)
        self._endings = Endings(database, vault, settings, self._quota, now)

    def consent(
        self,
        mailbox_id: str,
        actor: str,
        show: Callable[[str], object],
        *,
        timeout: dt.timedelta = dt.timedelta(minutes=5),
    ) -> None:
        """Have the mailbox's user consent in a browser on this machine (RFC 8252: loopback redirect, PKCE), and keep the token.

        `show` gets the address to open. The scope is gmail.readonly alone, and earlier grants are not joined to it.

        Raises:
            SignInError: refused, not in time, another account, or not with the scope.
            UnknownMailboxError: there is no such mailbox.
            SecretNotFoundError: the OAuth client cannot be read.
        """
        mailbox = self._mailboxes.get(mailbox_id)
        self._require_listed(mailbox, actor)
        self.finish(waiting(self._database, mailbox_id=mailbox_id))  # before the new consent, which it would take along
        client_id, client_secret = self._settings.client()
        config = {
            "installed": {
                "client_id": client_id, "client_secret": client_secret,
                "auth_uri": self._settings.auth_uri, "token_uri": self._settings.token_uri,
            }
        }  # fmt: skip
        with _Callback() as callback, _plain_http_to_loopback(self._settings.endpoint):
            flow = Flow.from_client_config(config, scopes=[SCOPE], redirect_uri=callback.uri)
            url, callback.state = flow.authorization_url(
                access_type="offline", prompt="consent", include_granted_scopes="false", login_hint=mailbox.address
            )
            show(url)
            answer = callback.wait(timeout)
            if answer is None:
                self._refuse(mailbox_id, actor, "timeout", f"nobody consented within {timeout}; run the command again")
            token = self._fetch_token(flow, answer, mailbox_id, actor)
        if wrong := missing_scopes(token["scopes"]):
            undone = self._undo_found(mailbox_id, token) if SCOPE in token["scopes"] else ""
            self._refuse(
                mailbox_id, actor, f"scopes{undone}",
                f"the consent does not fit: {', '.join(wrong)}. Remove dealmail at https://myaccount.google.com/connections and "
                "consent again, with every box ticked",
            )  # fmt: skip
        if not token["refresh_token"]:
            self._refuse(mailbox_id, actor, "no refresh token", "Google sent no lasting token; run the command again")
        self.grant(mailbox_id, token["refresh_token"], token["scopes"], actor)

    def grant(self, mailbox_id: str, refresh_token: str, scopes: Sequence[str], actor: str) -> None:
        """Keep a refresh token that the user consented to, after a look at whose it is.

        Raises:
            SignInError: it is another account's, or not good, or the CRM lists the user no more.
            UnknownMailboxError: there is no such mailbox.
        """
        self._connect(mailbox_id, "oauth", {"refresh_token": refresh_token, "scopes": list(scopes)}, actor, "granted")

    def delegate(self, mailbox_id: str, key_ref: str, actor: str, listed: Collection[str]) -> None:
        """Read the mailbox by domain-wide delegation: `key_ref` names a service account's key, `listed` are the addresses that
        the admin put in scope.

        Raises:
            SignInError: not listed, another account's, or the admin has not delegated.
            UnknownMailboxError: there is no such mailbox.
            SecretNotFoundError: the key cannot be read.
        """
        mailbox = self._mailboxes.get(mailbox_id)
        if same_account(mailbox.address) not in {same_account(address) for address in listed}:
            self._refuse(mailbox_id, actor, "not listed", f"the admin did not list mailbox {mailbox_id}")
        self._require_listed(mailbox, actor)
        self._connect(mailbox_id, "delegated", {"key_ref": key_ref, "subject": mailbox.address}, actor, "delegated")

    def disconnect(self, mailbox_id: str, actor: str) -> bool:
        """Import off, at once; then the watch is stopped and the token revoked at Google and removed here (see `Endings.finish`).

        False: Google cannot be told now, or not with this key, so the job does it later, as it does where this process dies. Where the team's policy is on_opt_out =
        erase, this mailbox's copies go too; they are read again should the user ever come back.

        Raises:
            UnknownMailboxError: there is no such mailbox.
            StoreUnavailableError: the database cannot be reached.
        """
        self._mailboxes.turn_off(mailbox_id, actor)
        is_told = self.finish(waiting(self._database, mailbox_id=mailbox_id))
        opt_out.forget_copies(self._database, mailbox_id, self._now)
        return is_told

    def finish(self, ended: Sequence[int]) -> bool:
        """Tell Google of all these endings; False: of some it cannot be told now, and the job does it (see `Endings.finish`).

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
        told = [self._endings.finish(one) for one in ended]
        return all(told)

    def _fetch_token(self, flow: Flow, answer: str, mailbox_id: str, actor: str) -> dict[str, Any]:
        try:
            flow.fetch_token(authorization_response=answer, timeout=self._settings.timeout_s)
            credentials = flow.credentials
            granted = credentials.granted_scopes or credentials.scopes or ()
            return {"refresh_token": credentials.refresh_token or "", "scopes": list(granted)}
        except Warning as changed:  # oauthlib's way to say that the user ticked other boxes
            token = getattr(changed, "token", {})
            return {"refresh_token": token.get("refresh_token", ""), "scopes": list(getattr(changed, "new_scope", ()))}
        except oauthlib.oauth2.AccessDeniedError:
            self._refuse(mailbox_id, actor, "access_denied", "Google's page was answered with no")
        except oauthlib.oauth2.OAuth2Error as error:
            self._refuse(
                mailbox_id, actor, type(error).__name__, f"Google refused the sign-in ({type(error).__name__})"
            )
        except requests.RequestException as error:
            self._refuse(
                mailbox_id, actor, type(error).__name__, f"Google could not be reached ({type(error).__name__})"
            )

    def _connect(self, mailbox_id: str, kind: Kind, values: dict[str, Any], actor: str, action: str) -> None:
        mailbox = self._mailboxes.get(mailbox_id)
        self._quota.debit(mailbox_id, self._quota.limits.profile, self._now())
        try:
            profile = self._accounts.gmail(kind, values).profile()
        except MailboxError as error:
            self._refuse(mailbox_id, actor, type(error).__name__, f"Google does not let this mailbox be read ({error})")
        except (TransientError, GmailRequestError) as error:
            self._refuse(mailbox_id, actor, type(error).__name__, f"Gmail could not be asked ({error}); try again")
        if same_account(profile.address) != same_account(mailbox.address):
            if self._is_read_as(mailbox_id, profile.address):
                text = "this Google account has another address now: give its user that one in the CRM, and connect it"
                self._refuse(mailbox_id, actor, "another account", text)
            undone = self._undo(profile.address, values["refresh_token"]) if kind == "oauth" else ""
            self._refuse(
                mailbox_id, actor, f"another account{undone}",
                "another Google account consented; sign in with the mailbox's own",
            )  # fmt: skip
        try:
            self._database.transaction(
                lambda connection: self._keep(connection, mailbox_id, kind, values, actor, action, profile)
            )
        except mailboxes.NotListedError as error:  # since Google's page was opened
            undone = self._undo(profile.address, values["refresh_token"]) if kind == "oauth" else ""
            self._refuse(mailbox_id, actor, f"not listed{undone}", str(error))

    def _keep(
        self,
        connection: sa.Connection,
        mailbox_id: str,
        kind: Kind,
        values: dict[str, Any],
        actor: str,
        action: str,
        profile: Profile,
    ) -> None:
        mailbox = mailboxes.lock(self._database, connection, mailbox_id)
        mailboxes.require_listed(connection, mailbox)
        held = schema.credential.c
        if connection.scalar(sa.select(held.kind).where(held.mailbox_id == mailbox_id)) != kind:
            mailboxes.end_credential(connection, mailbox, actor, self._now())  # a delegation does not replace a grant
        store_credential(
            self._database, self._vault, connection, mailbox.team_id, mailbox_id, kind, values, self._now()
        )
        mailboxes.log_consent(connection, mailbox, action, actor, self._now())
        columns: dict[str, Any] = {
            "next_poll_at": None, "not_before": None, "watch_renew_at": None, "watch_error": "", "cursor_seq": mailbox.cursor_seq + 1,
        }  # fmt: skip
        cursor = mailbox.history_id
        if cursor is not None and profile.history_id < cursor:
            # History ids only grow: this is another account under the old address. Begin anew.
            cursor = None
            columns |= {"history_id": None, "confirmed_at": None}
        elif cursor is not None and mailbox.window_from is not None:
            # It may be another one all the same, with a longer history: what it has in the window is compared.
            search_plan.start(connection, mailbox, "repair", mailbox.window_from, self._now())
        state = ("first_sync" if cursor is None else "live") if mailbox.import_on else "paused"
        self._mailboxes.set_state_in(connection, mailbox_id, state, "", **columns)

    def _require_listed(self, mailbox: MailboxRow, actor: str) -> None:
        try:
            with self._database.reading() as connection:
                mailboxes.require_listed(connection, mailbox)
        except mailboxes.NotListedError as error:
            self._refuse(mailbox.id, actor, "not listed", str(error))

    def _is_read_as(self, mailbox_id: str, address: str) -> bool:
        """Whether the account that the mailbox is connected to is called `address` now; also where Gmail does not say at the moment."""
        self._quota.debit(mailbox_id, self._quota.limits.profile, self._now())
        try:
            return same_account(self._accounts.open(mailbox_id).profile().address) == same_account(address)
        except TransientError:
            return True  # a grant too many does less harm than taking back the one in use
        except DealmailError:
            return False

    def _undo_found(self, mailbox_id: str, token: dict[str, Any]) -> str:
        """`_undo` for a token of whichever account it is. One without gmail.readonly cannot say, and cannot read either."""
        self._quota.debit(mailbox_id, self._quota.limits.profile, self._now())
        try:
            profile = self._accounts.gmail("oauth", token).profile()
        except DealmailError as error:
            return f"; not revoked: {type(error).__name__}"
        return self._undo(profile.address, token["refresh_token"])

    def _undo(self, address: str, refresh_token: str) -> str:
        """Take back at Google what was consented to by mistake; for the log, what went wrong."""
        problem = self._endings.undo(address, refresh_token)
        return f"; not revoked: {problem}" if problem else ""

    def _refuse(self, mailbox_id: str, actor: str, detail: str, text: str) -> NoReturn:
        self._mailboxes.log(mailbox_id, "refused", actor, detail)
        raise SignInError(text)


class _Callback:
    """A server on loopback that takes the one redirect Google's page ends with: the one that shows `state`.

    Any page that the browser has open can send it something; that must not end a consent.
    """

    state: str = ""

    def __enter__(self) -> _Callback:
        got = self._got = threading.Event()
        answers: list[str] = []
        self._answers = answers
        callback = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                is_ours = bool(callback.state) and query.get("state") == [callback.state]
                fits = is_ours and ("code" in query or "error" in query)
                text = _DONE if fits and "code" in query else _NOT_DONE
                page = f"<!doctype html><meta charset=utf-8><p>{html.escape(text)}</p>".encode()
                self.send_response(200 if fits else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)
                if fits:
                    answers.append(self.path)
                    got.set()

            def log_message(self, *unused: Any) -> None:
                """The path holds the code: it must not be logged."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.uri = f"http://127.0.0.1:{self._server.server_port}/"
        return self

    def wait(self, timeout: dt.timedelta) -> str | None:
        """The redirect's address, as oauthlib wants it (https); None after `timeout`."""
        if not self._got.wait(timeout.total_seconds()):
            return None
        return self.uri.replace("http://", "https://", 1).rstrip("/") + self._answers[0]

    def __exit__(self, *unused: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def _plain_http_to_loopback(endpoint: str) -> Iterator[None]:
    """Let oauthlib ask a token endpoint without TLS, where that is on this machine (the sandbox)."""
    name, host = "OAUTHLIB_INSECURE_TRANSPORT", urllib.parse.urlsplit(endpoint).hostname
    if not endpoint.startswith("http://") or host not in {"127.0.0.1", "localhost", "::1"}:
        yield
        return
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
