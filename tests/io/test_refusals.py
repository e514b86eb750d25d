"""What Gmail refuses, and for how long a mailbox then pauses."""

from __future__ import annotations

import collections
import datetime as dt
import random
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from dealmail.io import schema
from dealmail.io.google_signin import store_credential
from dealmail.io.refusals import pause_after, wait_after
from dealmail.transforms.errors import GmailQuotaError, GmailUnavailableError
from dealmail.transforms.records import ClaimedMessage

MINUTES = dt.timedelta(minutes=1)


def requests(gmails: Any, mailbox: str) -> collections.Counter[str]:
    return collections.Counter(gmails.client.counters()["by_mailbox"].get(gmails.address(mailbox), {}))


@pytest.mark.parametrize("fault", ["429", "403"])
def test_quota_refusals_pause_the_mailbox_and_lose_nothing(gmails: Any, fault: str) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    new = gmails.deliver(alice)
    gmails.client.set_faults({fault: 1.0, "mailboxes": [gmails.address(alice)], "retry_after": 7})
    assert gmails.claim(alice, "push") == []
    row = gmails.row(alice)
    assert (row.state, row.not_before) == ("quota_delayed", gmails.clock() + dt.timedelta(seconds=7))
    asked = requests(gmails, alice).total()
    assert gmails.claim(alice, "push") == []
    assert requests(gmails, alice).total() == asked  # paused means not asked
    gmails.client.set_faults()
    gmails.advance(seconds=8)
    assert [due.mailbox_id for due in gmails.register.due(gmails.clock())] == [alice]
    gmails.sync(alice)
    assert gmails.outcomes(alice) == {new: "customer"}
    assert gmails.row(alice).state == "live"


@pytest.mark.parametrize("retry_after", [0, "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_retry_after_that_is_over_makes_no_loop(gmails: Any, retry_after: object) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    gmails.client.set_faults({"429": 1.0, "mailboxes": [gmails.address(alice)], "retry_after": retry_after})
    before = requests(gmails, alice)
    for attempt in range(8):
        assert gmails.claim(alice, "push" if attempt == 0 else "poll") == []
        assert [due.mailbox_id for due in gmails.register.due(gmails.clock())] == []
        wait = gmails.row(alice).not_before - gmails.clock()
        assert wait >= dt.timedelta(seconds=min(2**attempt, 64))
        gmails.advance(seconds=wait.total_seconds())
    assert (requests(gmails, alice) - before).total() == 8


@given(st.none() | st.integers(-(10**6), 10**6), st.integers(0, 1000), st.booleans())
def test_a_wait_is_as_long_as_asked_for_and_never_nothing(asked: int | None, attempt: int, quota: bool) -> None:
    kind = GmailQuotaError if quota else GmailUnavailableError
    error = kind("list: 429", retry_after=None if asked is None else dt.timedelta(seconds=asked))
    wait = wait_after(error, attempt, random.Random(1))
    assert wait >= dt.timedelta(seconds=max(1, asked or 0))
    assert wait <= dt.timedelta(seconds=max(300, asked or 0))


def test_a_refused_read_pauses_the_whole_mailbox(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    for n in range(9):
        gmails.deliver(alice, f"Offer {n}")
    claims = gmails.claims(batch=3)
    gmails.client.set_faults(
        {"429": 1.0, "methods": ["messages.get"], "mailboxes": [gmails.address(alice)], "retry_after": 20}
    )
    gmails.settle(gmails.claim(alice, "push", claims))
    assert gmails.claim(alice, "push", claims) == []
    assert gmails.row(alice).state == "quota_delayed"
    gmails.client.set_faults()
    gmails.advance(seconds=21)
    gmails.sync(alice, "work", claims)
    assert gmails.counts(alice) == {"customer": 9}
    assert gmails.row(alice).state == "live"


@pytest.mark.parametrize("fault", ["500", "503", "drop"])
def test_an_outage_is_waited_out_longer_each_time(gmails: Any, fault: str) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    new = gmails.deliver(alice)
    gmails.client.set_faults({fault: 1.0, "mailboxes": [gmails.address(alice)]})
    waits = []
    for reason in ("push", "poll", "poll", "poll"):
        assert gmails.claim(alice, reason) == []
        row = gmails.row(alice)
        assert row.state == "live"  # a mailbox is not to blame for Gmail
        waits.append((row.not_before - gmails.clock()).total_seconds())
        gmails.advance(seconds=waits[-1])
        assert [due.mailbox_id for due in gmails.register.due(gmails.clock())] == [alice]
    assert all(2**n <= wait <= 2**n + 1 for n, wait in enumerate(waits))
    gmails.client.set_faults()
    gmails.sync(alice)
    assert gmails.outcomes(alice) == {new: "customer"}
    assert gmails.row(alice).state_reason == ""


def test_the_refusals_of_a_listing_make_no_pause_of_the_mailbox_longer(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.deliver(alice, age=1)
    gmails.client.set_faults({"500": 1.0, "methods": ["messages.list"], "mailboxes": [gmails.address(alice)]})
    for _ in range(7):
        gmails.claim(alice, "work")
        gmails.advance(seconds=301)
    assert (gmails.row(alice).state_reason, gmails.row(alice).not_before) == ("GmailUnavailableError x7", None)
    new = gmails.deliver(alice)
    gmails.client.set_faults({"500": 1.0, "mailboxes": [gmails.address(alice)]})
    for attempt in range(2):
        assert gmails.claim(alice, "push") == []
        wait = gmails.row(alice).not_before - gmails.clock()
        assert dt.timedelta(seconds=2**attempt) <= wait <= dt.timedelta(seconds=2**attempt + 1)
        gmails.advance(seconds=wait.total_seconds())
    gmails.client.set_faults({"500": 1.0, "methods": ["messages.list"], "mailboxes": [gmails.address(alice)]})
    assert [claim.gmail_id for claim in gmails.claim(alice, "push")] == [new]


def test_each_account_trouble_has_its_state_and_keeps_the_cursor(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    cursor = gmails.row(alice).history_id
    address = gmails.address(alice)
    for trouble, state in (("gmail_off", "no_gmail"), ("domain_policy", "admin_blocked")):
        gmails.client.set_state(address, trouble)
        assert gmails.claim(alice, "push") == []
        assert (gmails.row(alice).state, gmails.row(alice).history_id) == (state, cursor)
        gmails.client.set_state(address, "ok")
        gmails.advance(minutes=16)
        gmails.sync(alice)
        assert gmails.row(alice).state == "live"  # the poll finds out by itself
    new = gmails.deliver(alice)
    gmails.client.revoke(address)
    assert gmails.claim(alice, "push") == []
    assert (gmails.row(alice).state, gmails.row(alice).history_id is None) == ("reconsent", False)
    assert gmails.register.due(gmails.clock() + 60 * MINUTES) == []
    gmails.grant(alice, gmails.client.grant(address))
    gmails.mailboxes.set_state(alice, "live", next_poll_at=None)
    gmails.sync(alice)
    assert gmails.outcomes(alice) == {new: "customer"}  # the gap is filled on return


def test_a_token_endpoint_that_is_down_disconnects_nobody(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.client.set_faults({"token_500": 1.0})
    assert gmails.claim(alice) == []
    assert gmails.row(alice).state == "first_sync"
    assert gmails.row(alice).state_reason.startswith("TokenRefreshError")


def test_without_a_credential_the_mailbox_waits_for_consent(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.database.transaction(lambda c: c.execute(sa.delete(schema.credential)))
    assert gmails.claim(alice) == []
    assert gmails.row(alice).state == "consent_wanted"


def test_a_secret_that_cannot_be_read_pauses_its_mailbox_alone(gmails: Any) -> None:
    alice = gmails.connect("alice")
    mail = gmails.deliver(alice, age=1)
    values = {"key_ref": "file:/nowhere/key.json", "subject": gmails.address(alice)}
    gmails.database.transaction(
        lambda c: store_credential(gmails.database, gmails.vault, c, "t1", alice, "delegated", values, gmails.clock())
    )
    assert gmails.claim(alice) == []
    assert gmails.row(alice).state_reason == "SecretNotFoundError x1"
    (end,) = gmails.reader.read([ClaimedMessage("t1", alice, mail, "lease", "owner")])
    assert (end.error_class, end.counts) == ("VaultError", False)


def test_pauses_grow_to_their_cap() -> None:
    waits = [pause_after(n, dt.timedelta(seconds=64), random.Random(1)).total_seconds() for n in range(9)]
    assert waits == sorted(waits)
    assert 1 <= waits[0] <= 2
    assert waits[-1] == 64
