"""The watch: made on the first claim, renewed daily, freed once when taken, and noticed when it falls silent."""

from __future__ import annotations

import datetime as dt
from typing import Any

from dealmail.io import watch
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


def test_health_names_silence_and_expiry(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice, "poll", gmails.claims(topic=gmails.sandbox.topic))
    row = gmails.row(alice)
    assert watch.health(row, row.watch_expires_at) == "expired"
    gmails.mailboxes.set_state(alice, "live", unpushed_since=gmails.clock())
    assert watch.health(gmails.row(alice), gmails.clock() + watch.SILENT_AFTER) == "silent"
