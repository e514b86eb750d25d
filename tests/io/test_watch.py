"""The watch: made on the first claim, renewed daily, freed once when taken, and noticed when it falls silent."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from dealmail.io import watch
from dealmail.io.consent_flow import SignIn
from dealmail.transforms.records import DueMailbox


def live(gmails: Any) -> dict[str, Any]:
    return gmails.client.counters()["watches"]


def asked(gmails: Any, mailbox: str) -> dict[str, int]:
    found = gmails.client.counters()["by_mailbox"][gmails.address(mailbox)]
    return {name: found.get(name, 0) for name in ("watch", "stop")}


def push(gmails: Any, mailbox: str) -> list[DueMailbox]:
    return gmails.register.touched(gmails.address(mailbox), gmails.clock())


def test_made_on_the_first_claim_and_renewed_daily(gmails: Any) -> None:
    alice = gmails.connect("alice")
    claims = gmails.claims(topic=gmails.sandbox.topic)
    gmails.sync(alice, "poll", claims)
    assert gmails.address(alice) in live(gmails)
    row = gmails.row(alice)
    assert watch.health(row, gmails.clock()) == "ok"
    assert abs(row.watch_expires_at - gmails.clock() - dt.timedelta(days=7)) < dt.timedelta(minutes=1)
    gmails.sync(alice, "push", claims)
    assert asked(gmails, alice) == {"watch": 1, "stop": 0}
    gmails.advance(days=1, seconds=1)
    assert [due.mailbox_id for due in gmails.register.due(gmails.clock())] == [alice]
    gmails.sync(alice, "poll", claims)
    assert asked(gmails, alice) == {"watch": 2, "stop": 0}
    assert gmails.row(alice).watch_expires_at > row.watch_expires_at


def test_a_new_consent_has_the_watch_made_anew(gmails: Any) -> None:
    alice = gmails.connect("alice")
    claims = gmails.claims(topic=gmails.sandbox.topic)
    gmails.sync(alice, "poll", claims)
    again = SignIn(gmails.database, gmails.vault, gmails.settings, gmails.clock)
    again.grant(alice, gmails.client.grant(gmails.address(alice)), [], "alice")
    gmails.sync(alice, "poll", claims)
    assert asked(gmails, alice) == {"watch": 2, "stop": 0}


def test_without_a_topic_there_is_no_watch_and_polls_do(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    assert gmails.address(alice) not in live(gmails)
    assert watch.health(gmails.row(alice), gmails.clock()) == "off"


def test_taken_by_another_topic_is_stopped_and_watched_once(gmails: Any) -> None:
    alice = gmails.connect("alice")
    other = f"{gmails.sandbox.topic}-other"
    gmails.client.push_route(other, gmails.sandbox.subscription + "-other")
    gmails.sync(alice, "poll", gmails.claims(topic=other))
    gmails.advance(days=1, seconds=1)
    gmails.sync(alice, "poll", gmails.claims(topic=gmails.sandbox.topic))
    assert asked(gmails, alice) == {"watch": 3, "stop": 1}
    assert watch.health(gmails.row(alice), gmails.clock()) == "ok"


def test_a_refused_watch_is_shown_and_polling_goes_on(gmails: Any) -> None:
    alice = gmails.connect("alice")
    mail = gmails.deliver(alice, age=1)
    claims = gmails.claims(topic=gmails.sandbox.topic + "-missing")
    gmails.sync(alice, "poll", claims)
    row = gmails.row(alice)
    assert (watch.health(row, gmails.clock()), row.state) == ("failing", "live")
    assert row.watch_error.startswith("watch: 404")
    assert gmails.outcomes(alice) == {mail: "customer"}
    gmails.sync(alice, "push", claims)
    assert asked(gmails, alice)["watch"] == 1  # tried again in an hour, not at once
    gmails.advance(minutes=61)
    gmails.sync(alice, "poll", gmails.claims(topic=gmails.sandbox.topic))
    assert watch.health(gmails.row(alice), gmails.clock()) == "ok"


def failing(gmails: Any, mailbox: str, method: str, code: int, reason: str, **options: Any) -> None:
    says = {"code": code, "reason": reason, "message": "x"}
    only = {"methods": [method], "mailboxes": [gmails.address(mailbox)]}
    gmails.client.set_faults({"answer": 1.0, "says": says, **only, **options})


def test_a_watch_that_fails_all_day_keeps_no_mail_and_is_asked_for_less_and_less(gmails: Any) -> None:
    alice = gmails.connect("alice")
    claims = gmails.claims(topic=gmails.sandbox.topic)
    mails = [gmails.deliver(alice, age=1)]
    failing(gmails, alice, "watch", 500, "backendError")
    for _ in range(30):
        gmails.sync(alice, "poll", claims)
        gmails.advance(minutes=16)
        mails.append(gmails.deliver(alice))
    gmails.sync(alice, "poll", claims)
    assert gmails.outcomes(alice) == dict.fromkeys(mails, "customer")
    row = gmails.row(alice)
    assert (row.state, row.state_reason, watch.health(row, gmails.clock())) == ("live", "", "failing")
    assert row.watch_error.startswith("watch: 500 backendError x")
    assert 7 <= asked(gmails, alice)["watch"] <= 14  # at 0, 16, 32, 48, 64, 96, 144, 208 … minutes
    gmails.client.set_faults()
    gmails.advance(minutes=61)
    gmails.sync(alice, "poll", claims)
    assert watch.health(gmails.row(alice), gmails.clock()) == "ok"


@pytest.mark.parametrize(("code", "reason"), [(500, "backendError"), (429, "rateLimitExceeded"), (401, "authError")])
def test_a_stop_that_fails_keeps_no_mail_either(gmails: Any, code: int, reason: str) -> None:
    alice = gmails.connect("alice")
    other = f"{gmails.sandbox.topic}-other"
    gmails.client.push_route(other, gmails.sandbox.subscription + "-other")
    gmails.sync(alice, "poll", gmails.claims(topic=other))
    claims, new = gmails.claims(topic=gmails.sandbox.topic), gmails.deliver(alice)
    failing(gmails, alice, "stop", code, reason)
    gmails.advance(days=1, seconds=1)
    gmails.sync(alice, "poll", claims)
    row = gmails.row(alice)
    assert gmails.outcomes(alice) == {new: "customer"}
    assert (row.state, watch.health(row, gmails.clock())) == ("live", "failing")
    assert row.watch_renew_at - gmails.clock() == dt.timedelta(minutes=1)
    gmails.client.set_faults()
    gmails.advance(minutes=1)
    assert [due.mailbox_id for due in gmails.register.due(gmails.clock())] == [alice]
    gmails.sync(alice, "poll", claims)
    assert watch.health(gmails.row(alice), gmails.clock()) == "ok"


def test_a_watch_is_tried_again_when_gmail_says_so(gmails: Any) -> None:
    alice = gmails.connect("alice")
    claims = gmails.claims(topic=gmails.sandbox.topic)
    gmails.client.set_faults(
        {"429": 1.0, "methods": ["watch"], "mailboxes": [gmails.address(alice)], "retry_after": 1200}
    )
    gmails.sync(alice, "poll", claims)
    assert gmails.row(alice).watch_renew_at - gmails.clock() == dt.timedelta(minutes=20)


def test_a_push_waits_for_no_watch(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    claims, new = gmails.claims(topic=gmails.sandbox.topic), gmails.deliver(alice)
    assert [claim.gmail_id for claim in gmails.claim(alice, "push", claims)] == [new]
    assert asked(gmails, alice)["watch"] == 0
    gmails.advance(minutes=16)
    gmails.sync(alice, "poll", claims)
    assert asked(gmails, alice)["watch"] == 1


@pytest.mark.parametrize("by_gmail", [True, False], ids=["Gmail", "the token endpoint"])
def test_a_blocked_mailbox_whose_watch_is_due_stays_blocked_and_makes_no_loop(gmails: Any, by_gmail: bool) -> None:
    alice = gmails.connect("alice")
    claims = gmails.claims(topic=gmails.sandbox.topic)
    gmails.sync(alice, "poll", claims)
    if by_gmail:
        gmails.client.set_state(gmails.address(alice), "domain_policy")
    else:
        gmails.client.set_faults({"token_answer": 1.0, "says": {"code": 400, "error": "admin_policy_enforced"}})
        gmails.accounts.forget(alice)  # with its access token
    gmails.advance(days=1, seconds=1)
    looks = 0
    while due := gmails.register.due(gmails.clock()):
        looks += 1
        assert looks < 4
        assert [gmails.claim(one.mailbox_id, one.reason, claims) for one in due] == [[]]
    row = gmails.row(alice)
    assert (row.state, row.watch_error) == ("admin_blocked", "")
    assert gmails.register.next_due(gmails.clock()) == row.next_poll_at
    gmails.client.set_state(gmails.address(alice), "ok")
    gmails.client.set_faults()
    gmails.advance(minutes=16)
    gmails.sync(alice, "poll", claims)
    assert (gmails.row(alice).state, asked(gmails, alice)["watch"]) == ("live", 2)


def test_a_job_without_a_topic_makes_no_loop_of_a_watch_that_was_due(gmails: Any) -> None:
    alice = gmails.connect("alice")
    with_topic, without = gmails.claims(topic=gmails.sandbox.topic), gmails.claims()
    gmails.sync(alice, "poll", with_topic)
    gmails.advance(days=1, seconds=1)
    for _ in range(2):
        for due in gmails.register.due(gmails.clock()):
            gmails.settle(without.claim(due))
    assert gmails.register.next_due(gmails.clock()) == gmails.row(alice).next_poll_at
    gmails.advance(minutes=16)
    gmails.sync(alice, "poll", with_topic)
    assert asked(gmails, alice) == {"watch": 2, "stop": 0}


def test_a_silently_dead_watch_is_noticed_within_the_hour_and_renewed_hourly(gmails: Any) -> None:
    alice = gmails.connect("alice")
    claims = gmails.claims(topic=gmails.sandbox.topic)
    gmails.sync(alice, "poll", claims)
    states = []
    for _ in range(10):
        gmails.deliver(alice)
        gmails.advance(minutes=15)
        before = asked(gmails, alice)["watch"]
        gmails.sync(alice, "poll", claims)
        states.append((watch.health(gmails.row(alice), gmails.clock()), asked(gmails, alice)["watch"] - before))
    assert [health for health, _ in states] == ["ok", "ok", *["silent"] * 8]
    assert sum(renewed for _, renewed in states) == 2
    push(gmails, alice)
    assert watch.health(gmails.row(alice), gmails.clock()) == "ok"


def test_a_push_clears_the_doubt(gmails: Any) -> None:
    alice = gmails.connect("alice")
    claims = gmails.claims(topic=gmails.sandbox.topic)
    gmails.sync(alice, "poll", claims)
    gmails.deliver(alice)
    gmails.advance(minutes=15)
    gmails.sync(alice, "poll", claims)
    assert gmails.row(alice).unpushed_since == gmails.clock()
    assert [due.reason for due in push(gmails, alice)] == ["push"]
    assert gmails.row(alice).unpushed_since is None
    gmails.deliver(alice)
    gmails.advance(minutes=1)
    gmails.sync(alice, "poll", claims)
    assert gmails.row(alice).unpushed_since is None


def test_one_mail_soon_after_a_push_is_enough_to_notice_a_dead_watch_within_the_hour(gmails: Any) -> None:
    alice = gmails.connect("alice")
    claims = gmails.claims(topic=gmails.sandbox.topic)
    gmails.sync(alice, "poll", claims)
    push(gmails, alice)
    gmails.sync(alice, "push", claims)
    gmails.advance(seconds=90)
    gmails.deliver(alice)  # no push tells of it, and nothing else comes
    begun, noticed = gmails.clock(), None
    while gmails.clock() - begun < dt.timedelta(hours=2):
        gmails.advance(seconds=max(0, (gmails.row(alice).next_poll_at - gmails.clock()).total_seconds()))
        gmails.sync(alice, "poll", claims)
        if watch.health(gmails.row(alice), gmails.clock()) == "silent" and noticed is None:
            noticed = gmails.clock()
    assert noticed is not None
    assert noticed - begun <= dt.timedelta(hours=1)
    assert asked(gmails, alice)["watch"] in {2, 3}  # and it was renewed, which would have shown that it works again


def test_mail_of_a_push_whose_reading_failed_is_held_against_nobody(gmails: Any) -> None:
    alice = gmails.connect("alice")
    claims = gmails.claims(topic=gmails.sandbox.topic)
    gmails.sync(alice, "poll", claims)
    gmails.advance(minutes=5)
    new = gmails.deliver(alice)
    push(gmails, alice)
    failing(gmails, alice, "history.list", 500, "backendError")
    assert gmails.claim(alice, "push", claims) == []
    gmails.client.set_faults()
    gmails.advance(minutes=12)
    gmails.sync(alice, "poll", claims)
    assert gmails.outcomes(alice) == {new: "customer"}
    assert gmails.row(alice).unpushed_since is None


def test_health_names_silence_and_expiry(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice, "poll", gmails.claims(topic=gmails.sandbox.topic))
    row = gmails.row(alice)
    assert watch.health(row, row.watch_expires_at) == "expired"
    gmails.mailboxes.set_state(alice, "live", unpushed_since=gmails.clock())
    assert watch.health(gmails.row(alice), gmails.clock() + watch.SILENT_AFTER) == "silent"
