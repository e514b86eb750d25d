"""What has ended here ends at Google too, whoever dies on the way; and nobody reads with a consent that has ended."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import endings, schema
from dealmail.io.consent_flow import SignIn, SignInError
from dealmail.io.endings import Endings
from dealmail.io.google_signin import store_credential
from dealmail.io.quota import Quota
from dealmail.io.vault import Vault, rotate
from dealmail.transforms.errors import ConsentRevokedError, DealmailError

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def sign_in(gmails: Any) -> SignIn:
    return SignIn(gmails.database, gmails.vault, gmails.settings, gmails.clock)


def watched(gmails: Any) -> tuple[str, str]:
    """A mailbox that Gmail pushes for, and its token."""
    mailbox = gmails.connect("alice")
    gmails.sync(mailbox, "poll", gmails.claims(topic=gmails.sandbox.topic))
    assert is_watched(gmails, mailbox)
    with gmails.database.reading() as connection:
        sealed = gmails.accounts.sealed(connection, mailbox)
    return mailbox, gmails.vault.open(mailbox, sealed)["refresh_token"]


def is_watched(gmails: Any, mailbox: str) -> bool:
    return gmails.address(mailbox) in gmails.client.counters()["watches"]


def works(gmails: Any, token: str) -> bool:
    try:
        gmails.accounts.gmail("oauth", {"refresh_token": token, "scopes": []}).profile()
    except ConsentRevokedError:
        return False
    return True


def held(gmails: Any) -> tuple[int, int]:
    """Credentials in use, and ended ones that Google has not been told about."""
    with gmails.database.reading() as connection:
        count = [
            connection.scalar(sa.select(sa.func.count()).select_from(table))
            for table in (schema.credential, schema.ended_credential)
        ]
    return count[0], count[1]


def chore(gmails: Any, **settings: Any) -> list[bool]:
    """What the job does of it now and then."""
    google = dataclasses.replace(gmails.settings, **settings)
    finisher = Endings(gmails.database, gmails.vault, google, Quota(gmails.database), gmails.clock, gives_up=True)
    return [finisher.finish(one) for one in endings.left_over(gmails.database, gmails.clock())]


def last(gmails: Any, mailbox: str) -> tuple[str, str, str]:
    entry = gmails.mailboxes.consents(mailbox)[-1]
    return entry.action, entry.actor, entry.detail


def test_an_off_that_was_cut_off_is_finished_by_the_job(gmails: Any) -> None:
    alice, token = watched(gmails)
    gmails.mailboxes.turn_off(alice, "alice")  # and here the process ended
    assert held(gmails) == (0, 1)
    with pytest.raises(DealmailError):
        gmails.accounts.open(alice)
    assert chore(gmails) == []  # it may be on its way still
    gmails.advance(minutes=2)
    assert chore(gmails) == [True]
    assert (is_watched(gmails, alice), works(gmails, token), held(gmails)) == (False, False, (0, 0))
    assert last(gmails, alice) == ("revoked", "alice", "")
    assert chore(gmails) == []


def test_a_mailbox_that_is_handed_over_ends_at_google_and_is_not_read_with_the_old_consent(gmails: Any) -> None:
    alice, token = watched(gmails)
    gmails.mailboxes.add("t1", "u2", gmails.address(alice))
    assert gmails.mailboxes.turn_on(alice, "u2").state == "consent_wanted"
    gmails.deliver(alice)
    assert gmails.claim(alice, "push") == gmails.claim(alice) == []
    gmails.advance(minutes=2)
    assert chore(gmails) == [True]
    assert (is_watched(gmails, alice), works(gmails, token), held(gmails)) == (False, False, (0, 0))
    assert last(gmails, alice) == ("revoked", "dealmail", "")


def test_a_connected_mailbox_that_was_never_on_ends_too(gmails: Any, sign_in: SignIn) -> None:
    address = f"alice@{gmails.domain}"
    gmails.client.add_mailbox(address)
    alice = gmails.mailboxes.add("t1", "u1", address).id
    token = gmails.client.grant(address)
    sign_in.grant(alice, token, [], "alice")
    gmails.mailboxes.add("t1", "u2", address)
    gmails.advance(minutes=2)
    assert chore(gmails) == [True]
    assert (works(gmails, token), held(gmails)) == (False, (0, 0))


@pytest.mark.parametrize("another_user", [False, True])
def test_a_consent_that_was_given_again_is_not_taken_back_with_the_old_one(
    gmails: Any, sign_in: SignIn, another_user: bool
) -> None:
    """Google revokes all grants of a user together."""
    alice, _ = watched(gmails)
    if another_user:
        gmails.mailboxes.add("t1", "u2", gmails.address(alice))
    else:
        gmails.mailboxes.turn_off(alice, "alice")
    token = gmails.client.grant(gmails.address(alice))
    sign_in.grant(alice, token, [], "u2")
    gmails.advance(minutes=2)
    gmails.mailboxes.turn_on(alice, "u2")
    assert chore(gmails) == [True]
    assert (is_watched(gmails, alice), works(gmails, token), held(gmails)) == (True, True, (1, 0))
    mail = gmails.deliver(alice)
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice) == {mail: "customer"}


def test_while_google_cannot_be_told_it_is_tried_again(gmails: Any) -> None:
    alice, token = watched(gmails)
    away = dataclasses.replace(gmails.settings, endpoint=NOWHERE)
    assert not SignIn(gmails.database, gmails.vault, away, gmails.clock).disconnect(alice, "alice")
    gmails.advance(minutes=2)
    assert chore(gmails, endpoint=NOWHERE) == [False]
    assert held(gmails) == (0, 1)
    assert chore(gmails) == [True]
    assert (is_watched(gmails, alice), works(gmails, token), held(gmails)) == (False, False, (0, 0))
    assert [entry.action for entry in gmails.mailboxes.consents(alice)] == ["import_on", "import_off", "revoked"]


def test_a_token_is_not_revoked_before_its_watch_is_stopped(gmails: Any, sign_in: SignIn) -> None:
    alice, token = watched(gmails)
    gmails.client.set_faults({"503": 1, "methods": ["stop"]})
    assert not sign_in.disconnect(alice, "alice")
    assert (is_watched(gmails, alice), works(gmails, token), held(gmails)) == (True, True, (0, 1))
    gmails.client.set_faults()
    gmails.advance(minutes=2)
    assert chore(gmails) == [True]
    assert (is_watched(gmails, alice), works(gmails, token), held(gmails)) == (False, False, (0, 0))
    assert last(gmails, alice) == ("revoked", "alice", "")


def test_a_watch_that_cannot_be_stopped_holds_up_its_tokens_end_for_an_hour_and_no_longer(
    gmails: Any, sign_in: SignIn
) -> None:
    alice, token = watched(gmails)
    gmails.client.set_faults({"503": 1, "methods": ["stop"]})
    assert not sign_in.disconnect(alice, "alice")
    gmails.advance(minutes=61)
    assert chore(gmails) == [True]
    assert (works(gmails, token), held(gmails)) == (False, (0, 0))
    assert last(gmails, alice) == ("revoked", "alice", "watch not stopped: GmailUnavailableError")


def test_without_the_key_or_the_client_of_the_job_the_end_is_left_to_it(gmails: Any) -> None:
    """A console may have been given others; what the job cannot open either is lost."""
    alice, token = watched(gmails)
    another = Vault((b"a key that never sealed it",))
    assert not SignIn(gmails.database, another, gmails.settings, gmails.clock).disconnect(alice, "alice")
    nowhere = dataclasses.replace(gmails.settings, client_ref="file:/nowhere")
    assert not SignIn(gmails.database, gmails.vault, nowhere, gmails.clock).disconnect(alice, "alice")
    assert (is_watched(gmails, alice), works(gmails, token), held(gmails)) == (True, True, (0, 1))
    gmails.advance(minutes=2)
    assert chore(gmails) == [True]
    assert (is_watched(gmails, alice), works(gmails, token), held(gmails)) == (False, False, (0, 0))


def test_two_that_finish_one_ending_log_it_once(gmails: Any) -> None:
    alice, _ = watched(gmails)
    gmails.mailboxes.turn_off(alice, "alice")
    (ending,) = endings.waiting(gmails.database, mailbox_id=alice)
    finisher = Endings(gmails.database, gmails.vault, gmails.settings, Quota(gmails.database), gmails.clock)
    tell = finisher._tell

    def both(mailbox: Any, row: Any) -> Any:
        answer = tell(mailbox, row)
        if finisher._tell is both:
            finisher._tell = tell  # type: ignore[method-assign]
            assert finisher.finish(ending)  # the other one
        return answer

    finisher._tell = both  # type: ignore[method-assign]
    assert finisher.finish(ending)
    assert [entry.action for entry in gmails.mailboxes.consents(alice)] == ["import_on", "import_off", "revoked"]


def test_a_delegation_that_replaces_a_consent_takes_it_back_and_keeps_the_watch(gmails: Any, sign_in: SignIn) -> None:
    alice, token = watched(gmails)
    row = gmails.row(alice)
    key = {"key_ref": "file:none", "subject": row.address}

    def keep(connection: sa.Connection) -> None:
        sign_in._keep(connection, alice, "delegated", key, "admin", "delegated", profile)

    profile = gmails.accounts.open(alice).profile()
    gmails.database.transaction(keep)
    gmails.advance(minutes=2)
    assert chore(gmails) == [True]
    assert (is_watched(gmails, alice), works(gmails, token), held(gmails)) == (True, False, (1, 0))


def test_what_is_asked_of_gmail_is_debited(gmails: Any, sign_in: SignIn) -> None:
    alice = gmails.connect("alice")

    def spent() -> int:
        with gmails.database.reading() as connection:
            return Quota(gmails.database).usage(connection, alice, gmails.clock()).mailbox

    sign_in.grant(alice, gmails.client.grant(gmails.address(alice)), [], "alice")
    assert spent() == 1
    sign_in.disconnect(alice, "alice")
    assert spent() == 1 + 1 + 50  # what the account is called now, and the stop


def test_ended_tokens_are_sealed_anew_with_the_others(gmails: Any) -> None:
    alice, token = watched(gmails)
    gmails.mailboxes.turn_off(alice, "alice")
    new = b"another key for tests only"
    assert rotate(gmails.database, Vault((new, b"key material for tests only"))) == 1
    gmails.vault = Vault((new,))
    gmails.advance(minutes=2)
    assert chore(gmails) == [True]
    assert not works(gmails, token)


def test_a_job_that_was_not_restarted_with_a_new_key_throws_no_token_away(gmails: Any) -> None:
    alice, token = watched(gmails)
    both = Vault((b"another key for tests only", b"key material for tests only"))
    rotate(gmails.database, both)
    gmails.mailboxes.turn_off(alice, "alice")
    gmails.advance(minutes=2)
    assert chore(gmails) == [False]
    gmails.vault = both
    assert chore(gmails) == [True]
    assert (is_watched(gmails, alice), works(gmails, token), held(gmails)) == (False, False, (0, 0))


# --- a consent given by mistake --------------------------------------------------------------------------------------
def test_a_grant_of_another_account_is_taken_back(gmails: Any, sign_in: SignIn) -> None:
    alice = gmails.connect("alice")
    address = f"bob@{gmails.domain}"
    gmails.client.add_mailbox(address)
    token = gmails.client.grant(address)
    with pytest.raises(SignInError):
        sign_in.grant(alice, token, [], "alice")
    assert not works(gmails, token)
    assert last(gmails, alice) == ("refused", "alice", "another account")


def test_a_grant_of_an_account_that_is_read_here_is_left_alone(gmails: Any, sign_in: SignIn) -> None:
    """Taking it back would take back the consent by which it is read."""
    alice, bob = gmails.connect("alice"), gmails.connect("bob")
    mistaken = gmails.client.grant(gmails.address(bob))
    with pytest.raises(SignInError):
        sign_in.grant(alice, mistaken, [], "alice")
    mail = gmails.deliver(bob, age=1)
    gmails.sync(bob)
    assert gmails.outcomes(bob) == {mail: "customer"}


def test_consenting_again_under_the_old_address_of_a_renamed_account_ends_nothing(gmails: Any, sign_in: SignIn) -> None:
    """It is refused, for the account has another name now; but that account is the one that is read here."""
    address = f"renamed@{gmails.domain}"
    gmails.client.add_mailbox(address)
    box, token = gmails.mailboxes.add("t1", "u1", f"before@{gmails.domain}").id, gmails.client.grant(address)
    gmails.grant(box, token)
    gmails.mailboxes.turn_on(box, "alice")
    with pytest.raises(SignInError):
        sign_in.grant(box, gmails.client.grant(address), [], "alice")
    assert works(gmails, token)
    assert last(gmails, box) == ("refused", "alice", "another account")


def test_one_account_written_in_two_ways_is_one(gmails: Any) -> None:
    box = gmails.mailboxes.add("t1", "u1", f"pat.{gmails.domain}@googlemail.com").id
    values = {"refresh_token": "r", "scopes": []}
    gmails.database.transaction(
        lambda c: store_credential(gmails.database, gmails.vault, c, "t1", box, "oauth", values, gmails.clock())
    )
    finisher = Endings(gmails.database, gmails.vault, gmails.settings, Quota(gmails.database), gmails.clock)
    assert finisher._uses(f"Pat.{gmails.domain}@gmail.com") == (False, True)


def test_the_end_of_an_old_address_ends_nothing_of_the_account_under_its_new_one(gmails: Any, sign_in: SignIn) -> None:
    """Google revokes all grants of an account together, and keeps one watch for it, whatever it was called before."""
    new, token = watched(gmails)
    old = gmails.mailboxes.add("t1", "u1", f"before-{gmails.address(new)}").id
    gmails.grant(old, gmails.client.grant(gmails.address(new)))
    gmails.mailboxes.turn_on(old, "alice")
    gmails.client.set_faults({"503": 1, "methods": ["getProfile"]})  # which cannot be asked for a moment
    assert not sign_in.disconnect(old, "alice")
    gmails.client.set_faults()
    assert works(gmails, token)
    assert sign_in.disconnect(old, "alice")
    assert (is_watched(gmails, new), works(gmails, token)) == (True, True)
    assert sign_in.disconnect(new, "alice")
    assert (is_watched(gmails, new), works(gmails, token), held(gmails)) == (False, False, (0, 0))
