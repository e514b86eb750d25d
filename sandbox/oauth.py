"""Google's OAuth endpoints: consent page, token, revoke; codes with PKCE, refresh tokens, delegated service accounts.

Errors are worded as RFC 6749 section 5.2 and Google's endpoint do: `invalid_grant` for a revoked, unknown or dead token.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import urlencode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .http_server import Request, Response, json_response

READONLY = "https://www.googleapis.com/auth/gmail.readonly"
METADATA = "https://www.googleapis.com/auth/gmail.metadata"
MAILBOX_SCOPES = frozenset(
    {READONLY, METADATA, "https://www.googleapis.com/auth/gmail.modify", "https://mail.google.com/"}
)
ACCESS_SECONDS = 3599
CODE_SECONDS = 600
MAX_REFRESH_TOKENS = 100
CLIENT_ID = "100000000000-sandbox.apps.googleusercontent.com"
SERVICE_ACCOUNT = "dealmail@dealmail-sandbox.iam.gserviceaccount.com"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass
class Grant:
    """What one user gave one client. `number` orders a user's tokens by age."""

    address: str
    client_id: str
    scopes: frozenset[str]
    number: int = 0
    revoked: bool = False


@dataclass
class Access:
    """One access token; `address` is empty for a service account that acts for nobody."""

    address: str
    scopes: frozenset[str]
    expires: float
    grant: Grant | None = None


@dataclass
class _Code:
    address: str
    client_id: str
    redirect_uri: str
    scopes: frozenset[str]
    challenge: str
    challenge_method: str
    offline: bool
    force: bool
    expires: float


@dataclass
class Consent:
    """What the consent page does: `auto` approves at once (`refuse` and `untick` change that), `page` asks a person."""

    mode: str = "auto"
    refuse: bool = False
    untick: frozenset[str] = field(default_factory=frozenset)
    account: str = ""


class OAuthError(Exception):
    """A refusal of the token endpoint: HTTP code, `error`, `error_description`."""

    def __init__(self, error: str, description: str, code: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.code = code


class OAuthServer:
    """Holds the tokens and answers the endpoints. `addresses` gives the mailboxes there are, `state` a mailbox's state."""

    def __init__(
        self, now: Callable[[], float], addresses: Callable[[], Iterable[str]], state: Callable[[str], str]
    ) -> None:
        self._now = now
        self._addresses = addresses
        self._state = state
        self._lock = threading.RLock()
        self._refresh: dict[str, Grant] = {}
        self._access: dict[str, Access] = {}
        self._codes: dict[str, _Code] = {}
        self._count = 0
        self.client_secret = "GOCSPX-" + secrets.token_urlsafe(21)
        self.consent = Consent()
        self.delegated_scopes: frozenset[str] | None = frozenset({READONLY})
        self._service_key: rsa.RSAPrivateKey | None = None

    # -- for the Gmail server ----------------------------------------------------------------------------------------

    def access(self, token: str) -> Access | None:
        """What an access token allows, or None where it is unknown, expired or revoked."""
        found = self._access.get(token)
        if found is None or found.expires <= self._now() or (found.grant is not None and found.grant.revoked):
            return None
        return found

    # -- for the admin -----------------------------------------------------------------------------------------------

    def grant(self, address: str, scopes: Iterable[str] = (READONLY,)) -> str:
        """A refresh token as if the user had consented."""
        with self._lock:
            return self._new_refresh(Grant(self._canonical(address), CLIENT_ID, frozenset(scopes)))

    def issue_access(self, address: str, scopes: Iterable[str] = (READONLY,)) -> str:
        """An access token for a test that needs no refresh."""
        with self._lock:
            return self._new_access(Access(self._canonical(address), frozenset(scopes), self._now() + ACCESS_SECONDS))

    def revoke_all(self, address: str, *, restore: bool = False) -> int:
        """Revoke every grant of a user (password changed, app removed), or make them good again. Returns how many."""
        wanted = address.lower()
        with self._lock:
            grants = {id(grant): grant for grant in self._refresh.values() if grant.address.lower() == wanted}
            for grant in grants.values():
                grant.revoked = not restore
            if not restore:
                self._access = {
                    token: found for token, found in self._access.items() if found.address.lower() != wanted
                }
            return len(grants)

    def expire_access(self, address: str = "") -> None:
        """Let access tokens end now, those of one user or all; refresh tokens stay good."""
        with self._lock:
            self._access = {
                token: found
                for token, found in self._access.items()
                if address and found.address.lower() != address.lower()
            }

    def client_config(self, base: str) -> dict[str, object]:
        """The client's JSON as Google's console gives it, with the sandbox's endpoints."""
        return {
            "web": {
                "client_id": CLIENT_ID,
                "project_id": "dealmail-sandbox",
                "auth_uri": f"{base}/auth",
                "token_uri": f"{base}/token",
                "auth_provider_x509_cert_url": f"{base}/oauth2/v1/certs",
                "client_secret": self.client_secret,
                "redirect_uris": ["http://localhost"],
            }
        }

    def service_account(self, base: str) -> dict[str, str]:
        """The key file of the sandbox's service account."""
        key = self._key().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": "dealmail-sandbox",
            "private_key_id": "sandbox",
            "private_key": key.decode("ascii"),
            "client_email": SERVICE_ACCOUNT,
            "client_id": "100000000000000000001",
            "auth_uri": f"{base}/auth",
            "token_uri": f"{base}/token",
        }

    # -- endpoints ---------------------------------------------------------------------------------------------------

    def token(self, request: Request) -> Response:
        """POST /token."""
        form = request.form()
        if "client_id" not in form and request.headers.get("authorization", "").startswith("Basic "):
            text = base64.b64decode(request.headers["authorization"][6:] + "==").decode("utf-8", "replace")
            form["client_id"], _, form["client_secret"] = text.partition(":")
        try:
            with self._lock:
                grants = {
                    "authorization_code": self._exchange_code,
                    "refresh_token": self._refresh_access,
                    JWT_BEARER: self._exchange_jwt,
                }
                handler = grants.get(form.get("grant_type", ""))
                if handler is None:
                    kind = form.get("grant_type", "")
                    raise OAuthError("unsupported_grant_type", f"Invalid grant_type: {kind}")  # noqa: TRY301
                return json_response(handler(form))
        except OAuthError as error:
            return json_response({"error": error.error, "error_description": error.description}, error.code)

    def revoke(self, request: Request) -> Response:
        """POST /revoke: a refresh or an access token; all that the user gave this client ends (Google's OAuth guide)."""
        token = request.form().get("token", "")
        with self._lock:
            found = self._refresh.get(token)
            if found is None and token in self._access:
                found = self._access[token].grant
            if found is None or found.revoked:
                return json_response({"error": "invalid_token", "error_description": "Token expired or revoked"}, 400)
            for grant in self._refresh.values():
                if grant.address == found.address and grant.client_id == found.client_id:
                    grant.revoked = True
            found.revoked = True
        return json_response({})

    def token_info(self, request: Request) -> Response:
        """GET /tokeninfo."""
        found = self.access(request.form().get("access_token", ""))
        if found is None:
            return json_response({"error": "invalid_token", "error_description": "Invalid Value"}, 400)
        return json_response(
            {
                "aud": CLIENT_ID,
                "scope": " ".join(sorted(found.scopes)),
                "expires_in": str(int(found.expires - self._now())),
                "email": found.address,
            }
        )

    def authorize(self, request: Request) -> Response:
        """GET /auth: the consent page. Redirects back with a code, or with `error=access_denied`."""
        form = request.form()
        redirect_uri = form.get("redirect_uri", "")
        if form.get("client_id") != CLIENT_ID or not redirect_uri.startswith(("http://", "https://")):
            return Response(400, b"Error 400: invalid_request (client_id or redirect_uri)", "text/plain")
        if form.get("response_type") != "code":
            return _redirect(redirect_uri, {"error": "unsupported_response_type", "state": form.get("state", "")})
        if self.consent.mode == "page" and "decision" not in form:
            return self._page(form)
        asked = frozenset(form.get("scope", "").split())
        unticked = frozenset(form.get("untick", "").split()) | self.consent.untick
        if form.get("decision") == "refuse" or (self.consent.refuse and "decision" not in form):
            return _redirect(redirect_uri, {"error": "access_denied", "state": form.get("state", "")})
        address = (
            form.get("account") or self.consent.account or form.get("login_hint") or next(iter(self._addresses()), "")
        )
        with self._lock:
            address = self._canonical(address)
            if not address:
                return _redirect(redirect_uri, {"error": "access_denied", "state": form.get("state", "")})
            scopes = asked - unticked
            earlier = [grant for grant in self._refresh.values() if grant.address == address and not grant.revoked]
            if form.get("include_granted_scopes") == "true":
                scopes = scopes.union(*(grant.scopes for grant in earlier))
            code = "4/0" + secrets.token_urlsafe(48)
            self._codes[code] = _Code(
                address,
                form["client_id"],
                redirect_uri,
                scopes,
                form.get("code_challenge", ""),
                form.get("code_challenge_method", "plain"),
                form.get("access_type") == "offline",
                not earlier or "consent" in form.get("prompt", "").split() or form.get("approval_prompt") == "force",
                self._now() + CODE_SECONDS,
            )
        return _redirect(
            redirect_uri, {"code": code, "scope": " ".join(sorted(scopes)), "state": form.get("state", "")}
        )

    # -- inside ------------------------------------------------------------------------------------------------------

    def _page(self, form: dict[str, str]) -> Response:
        hidden = "".join(
            f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
            for name, value in form.items()
        )
        choices = "".join(f"<option>{html.escape(address)}</option>" for address in self._addresses())
        scopes = "".join(f"<li>{html.escape(scope)}</li>" for scope in form.get("scope", "").split())
        page = (
            "<!doctype html><meta charset=utf-8><title>Sandbox sign-in</title><h1>dealmail wants to read your mail</h1>"
            f'<form action="/auth">{hidden}<p><label>Account <select name="account">{choices}</select></label></p>'
            f"<ul>{scopes}</ul><p><label>Scopes to leave out <input name=untick></label></p>"
            '<button name="decision" value="approve">Allow</button> <button name="decision" value="refuse">Cancel</button></form>'
        )
        return Response(200, page.encode(), "text/html; charset=utf-8")

    def _canonical(self, address: str) -> str:
        wanted = address.strip().lower()
        return next((known for known in self._addresses() if known.lower() == wanted), "")

    def _check_client(self, form: dict[str, str]) -> None:
        if form.get("client_id") != CLIENT_ID:
            raise OAuthError("invalid_client", "The OAuth client was not found.", 401)
        if form.get("client_secret") != self.client_secret:
            raise OAuthError("invalid_client", "The provided client secret is invalid.", 401)

    def _check_user(self, address: str) -> None:
        if not address or self._state(address) in {"suspended", "deleted"}:
            raise OAuthError("invalid_grant", "Account has been deleted")

    def _exchange_code(self, form: dict[str, str]) -> dict[str, object]:
        self._check_client(form)
        code = self._codes.pop(form.get("code", ""), None)
        if code is None or code.expires <= self._now():
            raise OAuthError("invalid_grant", "Malformed auth code.")
        if form.get("redirect_uri", "") != code.redirect_uri:
            raise OAuthError("redirect_uri_mismatch", "Bad Request")
        if code.challenge:
            verifier = form.get("code_verifier", "")
            if not verifier:
                raise OAuthError("invalid_grant", "Missing code verifier.")
            digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("utf-8")).digest()).rstrip(b"=").decode()
            if code.challenge != (digest if code.challenge_method == "S256" else verifier):
                raise OAuthError("invalid_grant", "Invalid code verifier.")
        self._check_user(code.address)
        grant = Grant(code.address, code.client_id, code.scopes)
        answer = self._access_answer(Access(code.address, code.scopes, self._now() + ACCESS_SECONDS, grant))
        if code.offline and code.force:
            answer["refresh_token"] = self._new_refresh(grant)
        return answer

    def _refresh_access(self, form: dict[str, str]) -> dict[str, object]:
        self._check_client(form)
        grant = self._refresh.get(form.get("refresh_token", ""))
        if grant is None or grant.revoked:
            raise OAuthError("invalid_grant", "Token has been expired or revoked.")
        self._check_user(grant.address)
        return self._access_answer(Access(grant.address, grant.scopes, self._now() + ACCESS_SECONDS, grant))

    def _exchange_jwt(self, form: dict[str, str]) -> dict[str, object]:
        head, _, signature = form.get("assertion", "").rpartition(".")
        try:
            claims = json.loads(_unbase64(head.split(".")[1]))
            self._key().public_key().verify(_unbase64(signature), head.encode(), padding.PKCS1v15(), hashes.SHA256())
        except (ValueError, IndexError, InvalidSignature):
            raise OAuthError("invalid_grant", "Invalid JWT Signature.") from None
        if claims.get("iss") != SERVICE_ACCOUNT:
            raise OAuthError("invalid_grant", "Invalid grant: account not found")
        if not claims.get("iat", 0) - 300 <= self._now() <= claims.get("exp", 0) + 300:
            raise OAuthError("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes).")
        scopes = frozenset(str(claims.get("scope", "")).split())
        if "sub" not in claims:
            return self._access_answer(Access("", scopes, self._now() + ACCESS_SECONDS))
        allowed = self.delegated_scopes
        if allowed is None or not scopes or not scopes <= allowed:
            text = (
                "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of "
                "the scopes requested."
            )
            raise OAuthError("unauthorized_client", text, 401)
        address = self._canonical(str(claims["sub"]))
        if not address or self._state(address) in {"suspended", "deleted"}:
            raise OAuthError("invalid_grant", "Invalid email or User ID")
        return self._access_answer(Access(address, scopes, self._now() + ACCESS_SECONDS))

    def _access_answer(self, access: Access) -> dict[str, object]:
        token = self._new_access(access)
        scope = " ".join(sorted(access.scopes))
        return {"access_token": token, "expires_in": ACCESS_SECONDS, "scope": scope, "token_type": "Bearer"}

    def _new_access(self, access: Access) -> str:
        token = "ya29.sandbox-" + secrets.token_urlsafe(40)
        self._access[token] = access
        return token

    def _new_refresh(self, grant: Grant) -> str:
        self._count += 1
        grant.number = self._count
        token = "1//sandbox-" + secrets.token_urlsafe(40)
        self._refresh[token] = grant
        live = [one for one in self._refresh.values() if one.address == grant.address and not one.revoked]
        if len(live) > MAX_REFRESH_TOKENS:
            min(live, key=lambda one: one.number).revoked = True
        return token

    def _key(self) -> rsa.RSAPrivateKey:
        with self._lock:
            if self._service_key is None:
                self._service_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            return self._service_key


def _redirect(uri: str, values: dict[str, str]) -> Response:
    query = urlencode({name: value for name, value in values.items() if value})
    return Response(302, b"", "text/plain", {"Location": f"{uri}{'&' if '?' in uri else '?'}{query}"})


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
