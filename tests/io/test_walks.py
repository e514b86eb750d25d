"""Walks through Gmail's search: the whole window, once, whatever becomes of page tokens."""

from __future__ import annotations

from typing import Any

from dealmail.io import listings


def open_listings(gmails: Any, mailbox: str) -> list[str]:
    with gmails.database.reading() as connection:
        return [listing.kind for listing in listings.unfinished(connection, mailbox)]


def test_first_sync_takes_the_window_and_nothing_older(gmails: Any) -> None:
    alice = gmails.connect("alice")
    inside = [gmails.deliver(alice, f"Offer {n}", age=n) for n in range(1, 6)]
    old = gmails.deliver(alice, "Old", age=9)
    for label in ("SPAM", "TRASH", "DRAFT", "CHAT"):
        gmails.deliver(alice, label, labels=(label,), age=1)
    assert gmails.sync(alice) == 5
    assert set(gmails.outcomes(alice)) == set(inside)
    assert old not in gmails.outcomes(alice)
    assert gmails.row(alice).state == "live"


def test_an_expired_page_token_starts_the_listing_again_and_doubles_nothing(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.fill(alice, 600)
    gmails.claim(alice)
    assert open_listings(gmails, alice) == ["first_sync"]
    gmails.client.call("expire_pages")
    for _ in range(3):
        gmails.claim(alice, "work")
        gmails.advance(seconds=4)  # nobody settles what is leased: two batches under way are enough
    assert open_listings(gmails, alice) == []
    assert len(gmails.outcomes(alice)) == 600


def test_a_page_token_that_is_refused_in_unknown_words_starts_the_listing_again(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.fill(alice, 600)
    gmails.claim(alice)
    says = {"code": 400, "reason": "invalidArgument", "message": "Request contains an invalid argument."}
    gmails.client.set_faults(
        {"answer": 1.0, "says": says, "methods": ["messages.list"], "mailboxes": [gmails.address(alice)]}
    )
    gmails.claim(alice, "work")
    gmails.client.set_faults()
    for _ in range(2):
        gmails.advance(seconds=4)
        gmails.claim(alice, "work")
    assert open_listings(gmails, alice) == []
    assert len(gmails.outcomes(alice)) == 600
    asked = gmails.client.counters()["by_mailbox"][gmails.address(alice)]["messages.list"]
    assert asked == 4  # two pages, and both once more


# --- deltas ----------------------------------------------------------------------------------------------------------
