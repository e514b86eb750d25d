"""Reading many messages at once: every claim gets its own end, and one mailbox's trouble is not another's."""

from __future__ import annotations

import base64
import collections
import datetime as dt
import json
import threading
import types
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dealmail.io.claims import ClaimSettings
from dealmail.io.message_reader import GmailMessageReader, ReaderOptions, large_texts
from dealmail.io.quota import Quota, QuotaLimits
from dealmail.transforms.plain_text import read_text
from dealmail.transforms.records import ClaimedMessage, Failure, FetchedMessage


def ends(gmails: Any, claims: list[ClaimedMessage]) -> dict[str, Any]:
    return {answer.claim.gmail_id: answer for answer in gmails.reader.read(claims)}


def made_up(gmails: Any, mailbox: str, *gmail_ids: str, lane: str = "backfill") -> list[ClaimedMessage]:
    return [
        ClaimedMessage("t1", mailbox, gmail_id, "lease", gmails.address(mailbox), lane=lane) for gmail_id in gmail_ids
    ]


def faults(gmails: Any, mailbox: str, **rates: Any) -> dict[str, Any]:
    return {"methods": ["messages.get"], "mailboxes": [gmails.address(mailbox)], **rates}


def gets(gmails: Any, mailbox: str) -> int:
    return gmails.client.counters()["by_mailbox"].get(gmails.address(mailbox), {}).get("messages.get", 0)


def test_many_mailboxes_in_one_batch_with_good_and_bad_together(gmails: Any) -> None:
    alice, bob, carol = (gmails.connect(name) for name in ("alice", "bob", "carol"))
    here = [gmails.deliver(alice, f"Offer {n}") for n in range(12)]
    other = [gmails.deliver(bob, f"Offer {n}") for n in range(3)]
    third = gmails.deliver(carol)
    gmails.client.revoke(gmails.address(carol))
    claims = (
        made_up(gmails, alice, *here, "1a00000000000000", "not an id")
        + made_up(gmails, bob, *other)
        + made_up(gmails, carol, third)
    )
    found = ends(gmails, claims)
    kinds = collections.Counter(
        (type(end).__name__, getattr(end, "rule", getattr(end, "error_class", ""))) for end in found.values()
    )
    assert kinds == {
        ("FetchedMessage", ""): 15, ("Decision", "gone.not_found"): 1, ("Failure", "GmailRequestError"): 1,
        ("Failure", "ConsentRevokedError"): 1,
    } or kinds[("Decision", "gone.not_found")] == 2  # fmt: skip
    assert found[third].counts is False
    payload = json.loads(found[here[0]].payload)
    assert payload["id"] == here[0]


class Crowd:
    """A Gmail that only counts how many ask at once, by mailbox."""

    def __init__(self) -> None:
        self.lock, self.now, self.peak = threading.Lock(), collections.Counter(), collections.Counter()

    def open(self, mailbox: str) -> Any:
        return types.SimpleNamespace(get=lambda gmail_id: self.get(mailbox))

    def get(self, mailbox: str) -> bytes:
        with self.lock:
            self.now[mailbox] += 1
            self.peak[mailbox] = max(self.peak[mailbox], self.now[mailbox])
        threading.Event().wait(0.01)
        with self.lock:
            self.now[mailbox] -= 1
        return b"{}"


def test_five_side_by_side_for_one_mailbox_and_mailboxes_beside_each_other() -> None:
    crowd = Crowd()
    reader = GmailMessageReader(crowd)
    claims = [ClaimedMessage("t1", mailbox, f"{n}", "lease", "o") for mailbox in ("a", "b") for n in range(20)]
    assert len(list(reader.read(claims))) == 40
    reader.close()
    assert crowd.peak == {"a": 5, "b": 5}


@pytest.mark.parametrize("fault", ["429", "403"])
def test_quota_counts_against_no_message_and_stops_asking(gmails: Any, fault: str) -> None:
    alice = gmails.connect("alice")
    ids = [gmails.deliver(alice, f"Offer {n}") for n in range(20)]
    gmails.client.set_faults(faults(gmails, alice, **{fault: 1.0}, retry_after=9))
    found = ends(gmails, made_up(gmails, alice, *ids))
    assert {(end.error_class, end.counts, end.retry_after) for end in found.values()} == {
        ("GmailQuotaError", False, dt.timedelta(seconds=9))
    }
    assert gets(gmails, alice) <= 5


def test_an_outage_counts_only_against_the_message_that_alone_meets_it(gmails: Any) -> None:
    alice = gmails.connect("alice")
    ids = [gmails.deliver(alice, f"Offer {n}") for n in range(6)]
    gmails.client.set_faults(faults(gmails, alice, **{"500": 1.0}))
    assert {end.counts for end in ends(gmails, made_up(gmails, alice, *ids)).values()} == {False}
    gmails.client.set_faults(faults(gmails, alice, **{"500": 1.0}, count=1))
    found = ends(gmails, made_up(gmails, alice, *ids))
    assert [end.counts for end in found.values() if isinstance(end, Failure)] == [True]
    gmails.client.set_faults(faults(gmails, alice, drop=1.0))
    assert {end.error_class for end in ends(gmails, made_up(gmails, alice, *ids)).values()} == {"GmailUnavailableError"}


NOT_FOUND = {"answer": 1.0, "says": {"code": 404, "reason": "notFound", "message": "Requested entity was not found."}}


@pytest.mark.parametrize("answers", [1, 2, 3, 4])
def test_mail_that_gmail_does_not_find_at_first_is_asked_for_again(gmails: Any, answers: int) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    new = gmails.deliver(alice)
    gmails.client.set_faults(faults(gmails, alice, **NOT_FOUND, count=answers))
    pauses = []
    for n in range(answers):
        gmails.settle(gmails.claim(alice, "push" if n == 0 else "work"))
        row = gmails.ledger.explain(alice, new)
        assert (row.state, row.failures, row.error_class) == ("pending", 0, "MessageGoneError")
        pauses.append((row.not_before - gmails.clock()).total_seconds())
        gmails.advance(seconds=pauses[-1])
    gmails.settle(gmails.claim(alice, "work"))
    assert gmails.outcomes(alice) == {new: "customer"}
    assert all(2 * 2**n <= pause <= 4 * 2**n for n, pause in enumerate(pauses))


@pytest.mark.parametrize("is_told", [True, False])
def test_mail_that_is_never_found_is_gone_within_two_minutes_and_at_once_where_history_tells(
    gmails: Any, is_told: bool
) -> None:
    alice = gmails.connect("alice")
    old = gmails.deliver(alice, age=1)
    claimed = gmails.claim(alice)
    gmails.client.delete(gmails.address(alice), old)
    gmails.settle(claimed)
    assert gmails.outcomes(alice) == {old: "gone.not_found"}  # no news: it was listed
    new = gmails.deliver(alice)
    claimed, found = gmails.claim(alice, "push"), gmails.clock()
    if is_told:
        gmails.client.delete(gmails.address(alice), new)
    gmails.client.set_faults(faults(gmails, alice, **NOT_FOUND))
    before = gets(gmails, alice)
    while claimed:
        gmails.settle(claimed)
        if not_before := gmails.ledger.explain(alice, new).not_before:
            gmails.advance(seconds=(not_before - gmails.clock()).total_seconds())
        claimed = gmails.claim(alice, "work")
    took = gmails.clock() - found
    if is_told:
        assert (gmails.outcomes(alice)[new], took < dt.timedelta(seconds=15)) == ("gone.deleted", True)
    else:
        assert (gmails.outcomes(alice)[new], took < dt.timedelta(minutes=2)) == ("gone.not_found", True)
        assert took >= dt.timedelta(minutes=1)
        assert gets(gmails, alice) - before <= 7


def test_large_text_parts_are_put_in_place_and_files_are_not(gmails: Any) -> None:
    alice = gmails.connect("alice")
    text = "Grüße aus der Ferne. " * 20_000
    file = base64.b64encode(b"x" * 50_000).decode()
    raw = (
        "Message-ID: <big@x>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        f"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
        "--b\r\nContent-Type: text/plain; name=notes.txt\r\nContent-Disposition: attachment; filename=notes.txt\r\n"
        f"Content-Transfer-Encoding: base64\r\n\r\n{file}\r\n--b--\r\n"
    ).encode()
    big = gmails.client.deliver(gmails.address(alice), raw)
    (end,) = gmails.reader.read(made_up(gmails, alice, big))
    plain, attached = json.loads(end.payload)["payload"]["parts"]
    assert base64.urlsafe_b64decode(plain["body"]["data"] + "==").decode().strip() == text.strip()
    assert "attachmentId" not in plain["body"]
    assert "data" not in attached["body"]
    requests = gmails.client.counters()["by_mailbox"][gmails.address(alice)]
    assert requests["messages.attachments.get"] == 1
    small = GmailMessageReader(gmails.accounts, ReaderOptions(text_cap=1000))
    (end,) = small.read(made_up(gmails, alice, big))
    small.close()
    assert "data" not in json.loads(end.payload)["payload"]["parts"][0]["body"]


def raw_of_large_parts(number: int, parts: int) -> bytes:
    text = "Hello from afar. " * 20_000
    inner = "".join(f"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n" for _ in range(parts))
    return (
        f"Message-ID: <large{number}@x>\r\nSubject: Large\r\nMIME-Version: 1.0\r\n"
        f"Content-Type: multipart/mixed; boundary=b\r\n\r\n{inner}--b--\r\n"
    ).encode()


def test_of_many_large_parts_the_first_four_are_read(gmails: Any) -> None:
    alice, paid = gmails.connect("alice"), []
    big = gmails.client.deliver(gmails.address(alice), raw_of_large_parts(0, 6))
    reader = GmailMessageReader(gmails.accounts, more=lambda claim, count: not paid.append((claim.mailbox_id, count)))
    (end,) = reader.read(made_up(gmails, alice, big))
    reader.close()
    assert paid == [(alice, 4)]
    read = ["data" in part["body"] for part in json.loads(end.payload)["payload"]["parts"]]
    assert read == [True] * 4 + [False] * 2
    assert "parts.cut" in read_text(end.payload).flags


def test_large_texts_are_paid_for_by_messages_that_are_given_up_where_the_quota_has_no_room(gmails: Any) -> None:
    alice = gmails.connect("alice")
    big = gmails.client.deliver(gmails.address(alice), raw_of_large_parts(0, 2))
    small = [gmails.deliver(alice, f"Offer {n}") for n in range(4)]
    reader = GmailMessageReader(gmails.accounts, ReaderOptions(per_mailbox=1), more=lambda claim, count: False)
    found = {end.claim.gmail_id: end for end in reader.read(made_up(gmails, alice, big, *small))}
    assert [type(found[gmail_id]).__name__ for gmail_id in (big, *small)] == ["FetchedMessage"] * 3 + ["Failure"] * 2
    assert {(end.error_class, end.counts) for end in found.values() if isinstance(end, Failure)} == {
        ("NoRoomError", False)
    }
    calls = gmails.client.counters()["by_mailbox"][gmails.address(alice)]
    assert (calls["messages.get"], calls["messages.attachments.get"]) == (3, 2)
    (end,) = reader.read(made_up(gmails, alice, big))  # nobody to give way
    reader.close()
    assert (end.error_class, end.counts) == ("NoRoomError", False)
    assert gmails.client.counters()["by_mailbox"][gmails.address(alice)]["messages.attachments.get"] == 2


def test_live_mail_does_not_wait_for_the_large_texts_of_old_mail(gmails: Any) -> None:
    alice = gmails.connect("alice")
    for n in range(6):
        at = gmails.clock() - dt.timedelta(hours=n + 1)
        gmails.client.deliver(gmails.address(alice), raw_of_large_parts(n, 1), ["INBOX"], int(at.timestamp() * 1000))
    gmails.reader = GmailMessageReader(gmails.accounts, more=lambda claim, count: claim.lane == "live")
    ends = gmails.settle(gmails.claim(alice))
    assert {type(end).__name__ for end in ends} == {"CustomerMail", "Failure"}  # some gave way to others
    live = gmails.client.deliver(gmails.address(alice), raw_of_large_parts(9, 1))
    gmails.settle(gmails.claim(alice, "push"))
    assert gmails.outcomes(alice)[live] == "customer"
    assert gmails.row(alice).state == "first_sync"


@pytest.mark.parametrize(("minute", "parts"), [(300, 3), (330, 4), (225, 4), (134, 4)])
def test_a_window_full_of_large_texts_keeps_to_the_quota_and_comes_to_an_end(
    gmails: Any, minute: int, parts: int
) -> None:
    alice, limits = gmails.connect("alice"), QuotaLimits(mailbox_minute=minute)
    gmails.client.set_limits(user=0, project=0, concurrent=0)
    for n in range(8):
        at = gmails.clock() - dt.timedelta(hours=n + 1)
        gmails.client.deliver(
            gmails.address(alice), raw_of_large_parts(n, parts), ["INBOX"], int(at.timestamp() * 1000)
        )
    quota, claims = Quota(gmails.database, limits), gmails.claims(limits)
    gmails.reader = GmailMessageReader(
        gmails.accounts,
        more=lambda claim, n: quota.take(
            claim.mailbox_id, n * limits.get, gmails.clock(), ClaimSettings().share(claim.lane)
        ),
    )
    costs = {"getProfile": 1, "messages.list": 5, "history.list": 2, "messages.get": 20, "messages.attachments.get": 20}
    spent: list[int] = []
    while gmails.counts(alice) != {"customer": 8}:
        gmails.settle(gmails.claim(alice, "work" if spent else "poll", claims))
        calls = gmails.client.counters()["by_mailbox"][gmails.address(alice)]
        spent.append(sum(cost * calls.get(call, 0) for call, cost in costs.items()))
        assert spent[-1] - (spent[-13] if len(spent) > 12 else 0) <= minute
        assert len(spent) < 12 * 20
        gmails.advance(seconds=5)


def test_reads_again_after_it_was_closed(gmails: Any) -> None:
    alice = gmails.connect("alice")
    claims = made_up(gmails, alice, gmails.deliver(alice))
    for _ in range(2):
        assert [type(end) for end in gmails.reader.read(claims)] == [FetchedMessage]
        gmails.reader.close()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["parts", "body", "mimeType", "attachmentId", "data"]), inner)
    ),
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["parts", "body", "mimeType", "filename"]), JSON))
def test_parts_of_any_form_do_no_harm(part: dict[str, Any]) -> None:
    assert all(isinstance(body["attachmentId"], str) for body in large_texts(part))
