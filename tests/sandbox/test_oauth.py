from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import Request
from google.oauth2 import service_account
from google.oauth2.credentials import Credentials
from google_auth_oauthlib.flow import Flow
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError
from oauthlib.oauth2.rfc6749.errors import AccessDeniedError, InvalidGrantError

from dealmail.sandbox.client import SandboxClient
from dealmail.sandbox.oauth import READONLY
from dealmail.sandbox.service import Sandbox

ALICE = "Alice@corp.example"
BOB = "bob@corp.example"
CALLBACK = "http://localhost:1/callback"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any, **_names: Any) -> None:
        return None


def visit(url: str) -> str:
    """Where the consent page sends the browser."""
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.build_opener(_NoRedirect).open(url)
    assert error.value.code == 302
    return str(error.value.headers["Location"])


@pytest.fixture
def new_flow(admin: SandboxClient, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Flow]:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    return lambda **names: Flow.from_client_config(admin.oauth_client(), [READONLY], redirect_uri=CALLBACK, **names)


def profile(sandbox: Sandbox, credentials: Any) -> str:
    options = {"api_endpoint": sandbox.base}
    users = build("gmail", "v1", credentials=credentials, client_options=options).users()
    return str(users.getProfile(userId="me").execute()["emailAddress"])


def test_the_web_server_flow_with_pkce(sandbox: Sandbox, new_flow: Callable[..., Flow]) -> None:
    flow = new_flow()
    url, state = flow.authorization_url(login_hint=BOB)
    assert "code_challenge=" in url
    back = visit(url)
    assert urllib.parse.parse_qs(urllib.parse.urlsplit(back).query)["state"] == [state]
    second = new_flow(state=state, code_verifier=flow.code_verifier)
    second.fetch_token(authorization_response=back)
    assert second.credentials.refresh_token
    assert profile(sandbox, second.credentials) == BOB


def test_a_code_needs_its_verifier_and_works_once(new_flow: Callable[..., Flow]) -> None:
    flow = new_flow()
    url, _ = flow.authorization_url()
    back = visit(url)
    wrong = new_flow(code_verifier="x" * 64)
    with pytest.raises(InvalidGrantError):
        wrong.fetch_token(authorization_response=back)
    url, _ = flow.authorization_url()
    back = visit(url)
    flow.fetch_token(authorization_response=back)
    with pytest.raises(InvalidGrantError):
        flow.fetch_token(authorization_response=back)


def test_a_refresh_token_comes_at_the_first_consent_or_when_it_is_forced(new_flow: Callable[..., Flow]) -> None:
    given = []
    for options in ({}, {}, {"prompt": "consent"}):
        flow = new_flow()
        url, _ = flow.authorization_url(login_hint=ALICE, **options)
        flow.fetch_token(authorization_response=visit(url))
        given.append(bool(flow.credentials.refresh_token))
    assert given == [True, False, True]


def test_refusal_and_unticked_scopes(
    new_flow: Callable[..., Flow], admin: SandboxClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.call("consent", refuse=True)
    flow = new_flow()
    url, _ = flow.authorization_url()
    with pytest.raises(AccessDeniedError):
        flow.fetch_token(authorization_response=visit(url))
    admin.call("consent", untick=[READONLY])
    flow = new_flow()
    url, _ = flow.authorization_url()
    back = visit(url)
    monkeypatch.setenv("OAUTHLIB_RELAX_TOKEN_SCOPE", "1")
    flow.fetch_token(authorization_response=back)
    assert READONLY not in (flow.credentials.granted_scopes or [])


def test_the_page_asks_a_person(new_flow: Callable[..., Flow], admin: SandboxClient) -> None:
    admin.call("consent", mode="page")
    flow = new_flow()
    url, _ = flow.authorization_url()
    with urllib.request.urlopen(url) as response:
        page = response.read().decode()
    assert BOB in page
    back = visit(f"{url}&account={urllib.parse.quote(BOB)}&decision=approve")
    flow.fetch_token(authorization_response=back)
    assert "error=access_denied" in visit(f"{url}&decision=refuse")


def test_revoking_ends_refresh_and_access(
    sandbox: Sandbox, admin: SandboxClient, credentials: Callable[..., Credentials]
) -> None:
    mine = credentials()
    assert profile(sandbox, mine) == ALICE
    admin.revoke(ALICE)
    with pytest.raises(RefreshError) as error:
        profile(sandbox, mine)
    assert error.value.args[1]["error"] == "invalid_grant"
    assert not error.value.retryable
    admin.restore(ALICE)
    assert profile(sandbox, mine) == ALICE


def test_the_revoke_endpoint(sandbox: Sandbox, credentials: Callable[..., Credentials]) -> None:
    mine = credentials()
    mine.refresh(Request())
    data = urllib.parse.urlencode({"token": mine.refresh_token}).encode()
    with urllib.request.urlopen(f"{sandbox.base}/revoke", data) as response:
        assert response.status == 200
    with pytest.raises(RefreshError):
        mine.refresh(Request())
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"{sandbox.base}/revoke", data)
    assert json.loads(error.value.read())["error"] == "invalid_token"


def test_access_tokens_end(sandbox: Sandbox, admin: SandboxClient, credentials: Callable[..., Credentials]) -> None:
    mine = credentials()
    profile(sandbox, mine)
    first = mine.token
    sandbox.clock.advance(3600)
    assert profile(sandbox, mine) == ALICE
    assert mine.token != first
    admin.expire_access()
    assert profile(sandbox, mine) == ALICE
    request = urllib.request.Request(
        f"{sandbox.base}/gmail/v1/users/me/profile", headers={"Authorization": "Bearer no"}
    )
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request)
    assert error.value.code == 401
    assert json.loads(error.value.read())["error"]["errors"][0]["reason"] == "authError"


def test_the_hundred_and_first_refresh_token_ends_the_first(admin: SandboxClient, sandbox: Sandbox) -> None:
    client = admin.oauth_client()["web"]
    tokens = [admin.grant(ALICE) for _ in range(101)]

    def refresh(token: str) -> None:
        Credentials(
            None,
            refresh_token=token,
            token_uri=client["token_uri"],
            client_id=client["client_id"],
            client_secret=client["client_secret"],
        ).refresh(Request())

    with pytest.raises(RefreshError):
        refresh(tokens[0])
    refresh(tokens[1])


def test_a_wrong_client_is_refused(admin: SandboxClient, sandbox: Sandbox) -> None:
    client = admin.oauth_client()["web"]
    mine = Credentials(
        None,
        refresh_token=admin.grant(ALICE),
        token_uri=client["token_uri"],
        client_id=client["client_id"],
        client_secret="wrong",
    )
    with pytest.raises(RefreshError) as error:
        mine.refresh(Request())
    assert error.value.args[1]["error"] == "invalid_client"


def test_a_delegated_service_account(sandbox: Sandbox, admin: SandboxClient) -> None:
    info = admin.service_account()
    mine = service_account.Credentials.from_service_account_info(info, scopes=[READONLY])
    assert profile(sandbox, mine.with_subject(BOB)) == BOB
    with pytest.raises(RefreshError) as error:
        profile(sandbox, mine.with_subject("nobody@corp.example"))
    assert error.value.args[1] == {"error": "invalid_grant", "error_description": "Invalid email or User ID"}
    wide = service_account.Credentials.from_service_account_info(info, scopes=["https://mail.google.com/"], subject=BOB)
    with pytest.raises(RefreshError) as error:
        profile(sandbox, wide)
    assert error.value.args[1]["error"] == "unauthorized_client"
    with pytest.raises(HttpError) as bad:
        profile(sandbox, service_account.Credentials.from_service_account_info(info, scopes=[READONLY]).with_claims({}))
    assert bad.value.error_details[0]["reason"] in {"failedPrecondition"}


def test_a_forged_assertion_is_refused(admin: SandboxClient) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    info = admin.service_account() | {"private_key": key.decode()}
    mine = service_account.Credentials.from_service_account_info(info, scopes=[READONLY], subject=BOB)
    with pytest.raises(RefreshError) as error:
        mine.refresh(Request())
    assert error.value.args[1]["error_description"] == "Invalid JWT Signature."


def test_a_failing_token_endpoint_is_no_revocation(
    admin: SandboxClient, credentials: Callable[..., Credentials]
) -> None:
    mine = credentials()
    admin.set_faults({"token_500": 1, "count": 1})
    mine.refresh(Request())
    assert admin.counters()["faults"] == {"token_500": 1}
