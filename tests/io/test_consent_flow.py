"""Connecting and disconnecting, against the sandbox's consent page and token endpoint."""

from __future__ import annotations

import datetime as dt
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest
import sqlalchemy as sa
from consistency import amiss

from dealmail.io import schema
from dealmail.io.account_names import same_account
from dealmail.io.audit import Audit
from dealmail.io.consent_flow import SignIn, SignInError
from dealmail.io.crm_import import import_csv
from dealmail.io.endings import Endings, waiting
from dealmail.io.erasure import Erasing, Erasure
from dealmail.io.google_signin import missing_scopes
from dealmail.io.opt_out import forget_opted_out
from dealmail.io.quota import Quota
from dealmail.io.vault import Digests, Vault
from dealmail.transforms.errors import ConsentRevokedError

SECONDS = dt.timedelta(seconds=20)


@pytest.fixture
def sign_in(gmails: Any) -> Any:
    gmails.client.call("consent")
    yield SignIn(gmails.database, gmails.vault, gmails.settings, gmails.clock)
    gmails.client.call("consent")


def add(gmails: Any, name: str) -> str:
    address = f"{name}@{gmails.domain}"
    gmails.client.add_mailbox(address)
    return gmails.mailboxes.add("t1", "u1", address).id


def browse(url: str) -> None:
    """What the user's browser does with the page."""
    threading.Thread(target=lambda: urllib.request.urlopen(url).read(), daemon=True).start()


def actions(gmails: Any, mailbox: str) -> list[tuple[str, str]]:
    return [(entry.action, entry.detail) for entry in gmails.mailboxes.consents(mailbox)]


def stored(gmails: Any) -> list[bytes]:
    with gmails.database.reading() as connection:
        return list(connection.scalars(sa.select(schema.credential.c.ciphertext)))


def test_consent_in_a_browser_lets_the_mailbox_be_read(gmails: Any, sign_in: Any) -> None:
    alice = add(gmails, "alice")
    seen = []
    sign_in.consent(alice, "alice", lambda url: (seen.append(url), browse(url)), timeout=SECONDS)
    wanted = {"code_challenge_method=S256", "access_type=offline", "prompt=consent", "include_granted_scopes=false"}
    assert wanted <= set(seen[0].split("&"))
    assert seen[0].count("auth%2Fgmail") == seen[0].count("gmail.readonly") == 1
    assert gmails.row(alice).state == "paused"  # import is the user's own switch
    gmails.mailboxes.turn_on(alice, "alice")
    mail = gmails.deliver(alice, age=1)
    gmails.sync(alice)
    assert set(gmails.outcomes(alice)) == {mail}
    assert actions(gmails, alice) == [("granted", ""), ("import_on", "")]


def test_what_goes_wrong_on_the_page_is_said_and_logged(gmails: Any, sign_in: Any) -> None:
    alice, bob = add(gmails, "alice"), add(gmails, "bob")
    for consent, detail in (
        ({"refuse": True}, "access_denied"),
        ({"untick": ["https://www.googleapis.com/auth/gmail.readonly"]}, "scopes"),
        ({"account": gmails.address(bob)}, "another account"),
    ):
        gmails.client.call("consent", **consent)
        with pytest.raises(SignInError) as refusal:
            sign_in.consent(alice, "alice", browse, timeout=SECONDS)
        assert gmails.domain not in str(refusal.value)
        assert actions(gmails, alice)[-1] == ("refused", detail)
    with pytest.raises(SignInError, match="nobody consented"):
        sign_in.consent(alice, "alice", lambda url: None, timeout=dt.timedelta(0))
    assert stored(gmails) == []


def test_an_answer_to_another_question_does_not_end_a_consent(gmails: Any, sign_in: Any) -> None:
    alice, answers = add(gmails, "alice"), []

    def stray_pages_first(url: str) -> None:
        asked = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)
        for stray in ("", "?code=c", "?state=&code=c", "?state=other&code=c", "?state=other&error=access_denied"):
            with pytest.raises(urllib.error.HTTPError) as refusal:
                urllib.request.urlopen(asked["redirect_uri"][0] + stray)
            answers.append((refusal.value.code, "may read" in refusal.value.read().decode()))
        browse(url)

    sign_in.consent(alice, "alice", stray_pages_first, timeout=SECONDS)
    assert answers == [(404, False)] * 5
    assert actions(gmails, alice) == [("granted", "")]


def test_a_metadata_scope_poisons_a_grant() -> None:
    readonly, metadata = ("https://www.googleapis.com/auth/gmail." + name for name in ("readonly", "metadata"))
    assert missing_scopes([readonly]) == []
    assert missing_scopes([readonly, metadata]) == [metadata]
    assert missing_scopes([]) == [readonly]


def test_case_89_a_consent_that_brings_gmail_metadata_along_is_refused(gmails: Any, sign_in: Any) -> None:
    alice = add(gmails, "alice")
    readonly = "https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fgmail.readonly"

    def grants_more(url: str) -> None:
        assert readonly in url
        browse(url.replace(readonly, f"{readonly}+{readonly.replace('readonly', 'metadata')}"))

    with pytest.raises(SignInError, match=r"gmail\.metadata"):
        sign_in.consent(alice, "alice", grants_more, timeout=SECONDS)
    assert actions(gmails, alice)[-1][0] == "refused"
    assert stored(gmails) == []


def test_the_admin_delegates_for_listed_users_only(gmails: Any, sign_in: Any, tmp_path: Any) -> None:
    (tmp_path / "sa.json").write_text(json.dumps(gmails.client.service_account()))
    key = f"file:{tmp_path / 'sa.json'}"
    alice, bob = add(gmails, "alice"), add(gmails, "bob")
    sign_in.delegate(alice, key, "admin", [gmails.address(alice).upper()])
    with pytest.raises(SignInError, match="did not list"):
        sign_in.delegate(bob, key, "admin", [gmails.address(alice)])
    gmails.mailboxes.turn_on(alice, "alice")
    mail = gmails.deliver(alice, age=1)
    gmails.sync(alice)
    assert set(gmails.outcomes(alice)) == {mail}
    gmails.client.call("delegation", scopes=[])
    try:
        with pytest.raises(SignInError):
            sign_in.delegate(bob, key, "admin", [gmails.address(bob)])
        assert actions(gmails, bob)[-1] == ("refused", "AdminPolicyError")
    finally:
        gmails.client.call("delegation", scopes=["https://www.googleapis.com/auth/gmail.readonly"])


def test_a_user_whom_the_admin_leaves_out_meanwhile_is_not_connected(
    gmails: Any, sign_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just while Google is asked whose consent it is."""
    alice = add(gmails, "alice")
    token, ask = gmails.client.grant(gmails.address(alice)), sign_in._accounts.gmail
    user = {"team_id": "t1", "id": "u1", "name": "Alice"}
    gmails.database.transaction(lambda c: c.execute(sa.insert(schema.user), [user]))

    def leave_out(*who: Any) -> Any:
        others = "kind,id,name,address\nuser,u2,Bob,bob@corp.example\n"
        import_csv(gmails.database, "t1", others, gmails.clock, replace=True)
        return ask(*who)

    monkeypatch.setattr(sign_in._accounts, "gmail", leave_out)
    with pytest.raises(SignInError, match="lists the user of mailbox"):
        sign_in.grant(alice, token, [], "alice")
    assert stored(gmails) == []
    assert actions(gmails, alice) == [("refused", "not listed")]
    with pytest.raises(ConsentRevokedError):
        ask("oauth", {"refresh_token": token}).profile()


def test_off_stops_writes_in_flight_watch_and_token(gmails: Any, sign_in: Any) -> None:
    alice = gmails.connect("alice")
    gmails.deliver(alice, age=1)
    claims = gmails.claims(topic=gmails.sandbox.topic)
    claimed = gmails.claim(alice, "poll", claims)
    assert len(claimed) == 1
    assert gmails.address(alice) in gmails.client.counters()["watches"]
    ends = gmails.read(claimed)
    sign_in.disconnect(alice, "alice")
    gmails.sales.settlements.settle(ends)
    assert gmails.counts(alice) == {"pending": 1}  # nothing was written after off
    assert gmails.address(alice) not in gmails.client.counters()["watches"]
    assert stored(gmails) == []
    assert actions(gmails, alice)[-2:] == [("import_off", ""), ("revoked", "")]
    gmails.mailboxes.turn_on(alice, "alice")
    assert gmails.row(alice).state == "consent_wanted"
    gmails.sales.settlements.settle(ends)
    assert gmails.counts(alice) == {"pending": 1}  # nor after it is on again


def test_on_again_goes_on_where_it_was_and_doubles_nothing(gmails: Any, sign_in: Any) -> None:
    alice = gmails.connect("alice")
    first = gmails.deliver(alice, age=1)
    gmails.sync(alice)
    sign_in.disconnect(alice, "alice")
    meanwhile = gmails.deliver(alice)
    sign_in.consent(alice, "alice", browse, timeout=SECONDS)
    gmails.mailboxes.turn_on(alice, "alice")
    assert gmails.sync(alice) == 1
    assert gmails.outcomes(alice) == {first: "customer", meanwhile: "customer"}


def test_another_account_under_the_old_address_begins_anew(gmails: Any, sign_in: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    gmails.mailboxes.set_state(alice, "live", history_id=2**62)
    sign_in.consent(alice, "alice", browse, timeout=SECONDS)
    assert (gmails.row(alice).history_id, gmails.row(alice).state) == (None, "first_sync")


def test_tokens_are_sealed_in_the_database(gmails: Any, sign_in: Any) -> None:
    alice = add(gmails, "alice")
    token = gmails.client.grant(gmails.address(alice))
    sign_in.grant(alice, token, [], "alice")
    assert token.encode() not in b"".join(stored(gmails))
    assert Vault((b"key material for tests only",)).open(alice, stored(gmails)[0])["refresh_token"] == token


def test_accounts_compare_as_google_compares_them() -> None:
    assert same_account("Pat@GoogleMail.com") == same_account("pat@gmail.com") != same_account("p.at@corp.example")


def test_off_forgets_the_token_even_where_its_key_is_lost(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.mailboxes.turn_off(alice, "alice")
    lost, quota = Vault((b"a key that never sealed it",)), Quota(gmails.database)
    job = Endings(gmails.database, lost, gmails.settings, quota, gmails.clock, gives_up=True)
    assert [job.finish(one) for one in waiting(gmails.database, mailbox_id=alice)] == [False]  # it may come back
    gmails.advance(minutes=61)
    assert [job.finish(one) for one in waiting(gmails.database, mailbox_id=alice)] == [True]
    assert stored(gmails) == waiting(gmails.database, mailbox_id=alice) == []
    assert actions(gmails, alice)[-1] == ("revoked", "not revoked at Google: VaultError")


def test_what_an_opt_out_that_was_cut_off_has_left_is_removed_later(gmails: Any) -> None:
    alice, bob = gmails.connect("alice"), gmails.connect("bob")
    for mailbox in (alice, bob):
        gmails.deliver(mailbox, "Shared", age=1, message_id=f"shared-{gmails.domain}")
        gmails.deliver(mailbox, "Alone", age=1)
        gmails.sync(mailbox)
    gmails.mailboxes.turn_off(alice, "alice")  # and here the process ended
    assert forget_opted_out(gmails.database, "t1", gmails.clock) == 0  # the team keeps them
    gmails.database.transaction(lambda c: c.execute(sa.update(schema.team).values(settings={"on_opt_out": "erase"})))
    assert forget_opted_out(gmails.database, "t2", gmails.clock) == 0
    assert forget_opted_out(gmails.database, "t1", gmails.clock) == 2
    assert gmails.counts(alice) == {"pending": 2}
    assert gmails.counts(bob) == {"customer": 2}
    assert amiss(gmails.database) == []
    assert forget_opted_out(gmails.database, "t1", gmails.clock) == 0


def test_off_takes_the_copies_where_the_team_decided_so(gmails: Any, sign_in: Any) -> None:
    gmails.database.transaction(lambda c: c.execute(sa.update(schema.team).values(settings={"on_opt_out": "erase"})))
    alice, bob = gmails.connect("alice"), gmails.connect("bob")
    for mailbox in (alice, bob):
        gmails.deliver(mailbox, "Shared", age=1, message_id=f"shared-{gmails.domain}")
    alone = gmails.deliver(alice, "Alice alone", age=1)
    gmails.sync(alice)
    gmails.sync(bob)

    def engagements() -> int:
        with gmails.database.reading() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(schema.engagement))

    assert engagements() == 2
    sign_in.disconnect(alice, "alice")
    assert engagements() == 1  # bob still holds a copy of the shared one
    assert gmails.counts(alice) == {"pending": 2}
    assert alice not in {due.mailbox_id for due in gmails.register.due(gmails.clock() + dt.timedelta(hours=1))}
    sign_in.consent(alice, "alice", browse, timeout=SECONDS)
    gmails.mailboxes.turn_on(alice, "alice")
    gmails.sync(alice)
    assert engagements() == 2
    assert gmails.outcomes(alice)[alone] == "customer"


def test_the_consent_log_only_grows(gmails: Any, sign_in: Any) -> None:
    """Whatever happens to a mailbox, what was once written stays as it was."""
    alice = add(gmails, "alice")

    def log() -> list[Any]:
        with gmails.database.reading() as connection:
            return list(connection.execute(sa.select(schema.consent).order_by(schema.consent.c.id)).all())

    def fails() -> None:
        with pytest.raises(SignInError):
            sign_in.grant(alice, "no such token", [], "alice")

    steps = [
        lambda: sign_in.consent(alice, "alice", browse, timeout=SECONDS),
        lambda: gmails.mailboxes.turn_on(alice, "alice"),
        lambda: gmails.mailboxes.turn_on(alice, "alice"),
        fails,
        lambda: sign_in.disconnect(alice, "alice"),
        lambda: sign_in.disconnect(alice, "alice"),
        lambda: gmails.mailboxes.add("t1", "u2", gmails.address(alice)),
        lambda: sign_in.consent(alice, "bob", browse, timeout=SECONDS),
        lambda: gmails.mailboxes.turn_on(alice, "bob"),
        lambda: gmails.mailboxes.add("t1", "u3", gmails.address(alice)),
        lambda: Erasing(gmails.database, gmails.clock, Digests((b"a key for tests, 32 bytes long..",))).erase(
            Erasure("t1", mailbox=alice)
        ),
    ]
    for step in steps:
        before = log()
        gmails.advance(seconds=1)
        step()
        assert log()[: len(before)] == before
    assert [row.action for row in log()] == [
        "granted", "import_on", "refused", "import_off", "revoked", "granted", "import_on", "import_off",
    ]  # fmt: skip
    assert [row.actor for row in log()][-3:] == ["bob", "bob", "dealmail"]


@pytest.mark.parametrize("longer", [True, False])
def test_after_another_account_has_come_nothing_of_it_is_missing_and_nothing_of_the_old_one_waits(
    gmails: Any, sign_in: SignIn, longer: bool
) -> None:
    """At the sandbox they are two accounts; here both spellings are one address, so it is as if the old one had been made anew."""
    both = [f"pat.{gmails.domain}@{host}.com" for host in ("googlemail", "gmail")]
    for address in both:
        gmails.client.add_mailbox(address)
    both.sort(key=lambda address: int(gmails.client.dump(address)[address]["historyId"]), reverse=not longer)
    old, new = both
    box = gmails.mailboxes.add("t1", "u1", old).id
    sign_in.grant(box, gmails.client.grant(old), [], "pat")
    gmails.mailboxes.turn_on(box, "pat")

    def arrive(address: str, count: int) -> set[str]:
        found = set()
        for n in range(count):
            at = gmails.clock() - dt.timedelta(hours=n + 1)
            raw = (
                f"From: pat@customer.example\r\nSubject: Offer\r\nMessage-ID: <{n}.{count}.{address}>\r\n\r\nHello\r\n"
            )
            found.add(gmails.client.deliver(address, raw.encode(), ["INBOX"], int(at.timestamp() * 1000)))
        return found

    imported = arrive(old, 3)
    gmails.sync(box)
    waiting_still = arrive(old, 2)
    assert {claim.gmail_id for claim in gmails.claim(box, "push")} == waiting_still  # and here the worker died
    cursor = gmails.row(box).history_id
    theirs = arrive(new, 4)
    sign_in.grant(box, gmails.client.grant(new), [], "pat")
    assert gmails.row(box).history_id == (cursor if longer else None)
    later = arrive(new, 1)
    gmails.advance(minutes=5)
    gmails.sync(box)
    gmails.advance(minutes=5)
    gmails.sync(box)
    found = gmails.outcomes(box)
    assert {mail: found[mail] for mail in theirs | later} == dict.fromkeys(theirs | later, "customer")
    assert {mail: found[mail] for mail in waiting_still} == dict.fromkeys(waiting_still, "gone.not_found")
    audited = Audit(gmails.database, gmails.accounts, Quota(gmails.database), gmails.clock).run(box, repair=True)
    assert (audited.completeness, audited.in_gmail, set(audited.stale)) == (100.0, len(theirs | later), imported)
    found = gmails.outcomes(box)
    assert {mail: found[mail] for mail in imported} == dict.fromkeys(imported, "gone.deleted")
    assert "pending" not in found.values()
