from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dealmail.sandbox.mailbox import HistoryExpiredError, Mailbox, NewMail, UnknownMessageError
from dealmail.sandbox.raw_mail import InMemory

RAW = b"Message-ID: <1@x>\nSubject: s\n\nb"
LABELS = ["INBOX", "SENT", "SPAM", "TRASH", "STARRED", "own"]


def new(labels: list[str], date: int = 1) -> NewMail:
    return NewMail(InMemory(RAW), frozenset(labels), date)


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("deliver"), st.sampled_from(LABELS), st.integers(0, 50)),
        st.tuples(st.just("add"), st.sampled_from(LABELS), st.integers(0, 50)),
        st.tuples(st.just("remove"), st.sampled_from(LABELS), st.integers(0, 50)),
        st.tuples(st.just("delete"), st.just(""), st.integers(0, 50)),
        st.tuples(st.just("draft"), st.just(""), st.integers(0, 50)),
        st.tuples(st.just("send"), st.just(""), st.integers(0, 50)),
    ),
    max_size=40,
)


def act(mailbox: Mailbox, name: str, label: str, number: int) -> None:
    known = [message.id for message in mailbox.newest_first()]
    drafts = sorted(mailbox.drafts)
    if name == "deliver":
        mailbox.deliver([new([label], number)])
    elif name == "draft":
        mailbox.save_draft(RAW, drafts[number % len(drafts)] if drafts and number % 2 else "")
    elif name == "send" and drafts:
        mailbox.send_draft(drafts[number % len(drafts)])
    elif known and name == "delete":
        mailbox.delete([known[number % len(known)]])
    elif known and name in {"add", "remove"}:
        mailbox.modify(known[number % len(known)], [label] * (name == "add"), [label] * (name == "remove"))


@settings(max_examples=60, deadline=None)
@given(ACTIONS, st.integers(1, 7))
def test_the_history_replayed_gives_the_mailbox(actions: list[tuple[str, str, int]], page: int) -> None:
    mailbox = Mailbox("a@x.example", lambda: 5)
    mailbox.load([new(["INBOX"]), new(["SENT"], 2)])
    replica = {message.id: set(message.labels) for message in mailbox.newest_first()}
    start: int | None = mailbox.history_id
    for name, label, number in actions:
        act(mailbox, name, label, number)
    last = 0
    while start is not None:
        answer = mailbox.changes_after(start, page)
        for change in answer.changes:
            assert change.id > last
            last = change.id
            if change.kind == "messagesDeleted":
                del replica[change.message_id]
            elif change.kind == "messagesAdded":
                replica[change.message_id] = set(change.labels)
            elif change.kind == "labelsAdded":
                replica[change.message_id] |= set(change.delta)
            else:
                replica[change.message_id] -= set(change.delta)
        start = answer.next_start
    assert replica == {message.id: message.labels for message in mailbox.newest_first()}
    assert answer.history_id >= last
    keys = [(message.internal_date, message.id) for message in mailbox.newest_first()]
    assert keys == sorted(keys, reverse=True)
    assert set(mailbox.drafts.values()) == {m.id for m in mailbox.newest_first() if "DRAFT" in m.labels}


def test_loaded_mail_lies_before_the_retained_history() -> None:
    calls: list[frozenset[str]] = []
    mailbox = Mailbox("a@x.example", lambda: 5, on_change=lambda _mailbox, labels: calls.append(labels))
    mailbox.load([new(["INBOX"])])
    assert calls == []
    assert mailbox.changes_after(mailbox.history_id, 10).changes == []
    message = next(mailbox.newest_first())
    with pytest.raises(HistoryExpiredError):
        mailbox.changes_after(message.history_id, 10)
    mailbox.modify(message.id, ["INBOX"])
    assert calls == []
    mailbox.modify(message.id, ["STARRED"])
    assert calls == [{"INBOX", "STARRED"}]


def test_one_notification_for_many() -> None:
    calls: list[frozenset[str]] = []
    mailbox = Mailbox("a@x.example", lambda: 5, on_change=lambda _mailbox, labels: calls.append(labels))
    assert len(set(mailbox.deliver([new(["INBOX"])] * 9))) == 9
    assert len(calls) == 1


def test_unknown_messages() -> None:
    mailbox = Mailbox("a@x.example", lambda: 5)
    for action in (
        lambda: mailbox.modify("x", ["INBOX"]),
        lambda: mailbox.delete(["x"]),
        lambda: mailbox.save_draft(RAW, "x"),
        lambda: mailbox.send_draft("x"),
    ):
        with pytest.raises(UnknownMessageError):
            action()


def test_dates_far_away_still_make_ids() -> None:
    mailbox = Mailbox("a@x.example", lambda: 5)
    mailbox.load([new(["INBOX"], -(10**15)), new(["INBOX"], 10**15)])
    assert all(len(message.id) == 16 for message in mailbox.newest_first())


def test_no_id_is_used_twice_even_within_a_millisecond() -> None:
    mailbox = Mailbox("a@x.example", lambda: 5)
    seen = mailbox.deliver([new(["INBOX"])])
    mailbox.delete(seen)
    for _ in range(3):
        draft, gmail_id = mailbox.save_draft(RAW)
        seen += [gmail_id, mailbox.save_draft(RAW, draft)[1], mailbox.send_draft(draft)]
    assert len(set(seen)) == len(seen)
