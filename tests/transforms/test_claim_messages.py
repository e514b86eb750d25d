"""Netting of Gmail's history, what the ledger does about it, and the step that leases."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st

from dealmail.transforms.claim_messages import (
    ClaimMessages,
    LedgerRow,
    NetChange,
    decide_change,
    decide_listed,
    net_changes,
)  # fmt: skip
from dealmail.transforms.decisions import LABEL_RULES, label_rule
from dealmail.transforms.records import ClaimedMessage, DueMailbox
from dealmail.transforms.settings import TeamSettings

KEEP = TeamSettings()
PENDING, IMPORTED = LedgerRow(), LedgerRow("imported", "customer")
SPAM, NO_MATCH = LedgerRow("dropped", "label.spam"), LedgerRow("dropped", "crm.no_match")
KEYS = {"added": "messagesAdded", "deleted": "messagesDeleted", "label": "labelsAdded", "unlabel": "labelsRemoved"}


def record(
    kind: str, gmail_id: str = "m", delta: list[str] | None = None, state: list[str] | None = None, number: int = 1
) -> dict[str, Any]:
    message: dict[str, Any] = {"id": gmail_id, "threadId": "t"}
    if state is not None:
        message["labelIds"] = state
    entry: dict[str, Any] = {"message": message}
    if delta is not None:
        entry["labelIds"] = delta
    return {"id": str(number), "messages": [message], KEYS[kind]: [entry]}


@pytest.mark.parametrize(
    ("records", "row", "action", "rule"),
    [
        ([record("added", state=["INBOX"])], None, "insert", None),
        ([record("added")], None, "insert", None),
        ([record("added", state=["SPAM"])], None, "insert_dropped", "label.spam"),
        ([record("added", state=["DRAFT"]), record("deleted")], None, "nothing", None),
        ([record("added"), record("label", delta=["SPAM"])], None, "insert_dropped", "label.spam"),
        ([record("added", state=["SPAM"]), record("unlabel", delta=["SPAM"])], None, "insert", None),
        ([record("label", delta=["STARRED"])], None, "nothing", None),
        ([record("unlabel", delta=["SPAM"])], None, "insert", None),
        ([record("label", delta=["INBOX"])], None, "insert", None),
        ([record("label", delta=["INBOX"], state=["INBOX", "TRASH"])], None, "nothing", None),
        ([record("deleted")], PENDING, "gone", None),
        ([record("label", delta=["TRASH"])], PENDING, "drop", "label.trash"),
        ([record("unlabel", delta=["SPAM"])], PENDING, "reread", None),
        ([record("label", delta=["STARRED"])], PENDING, "nothing", None),
        ([record("unlabel", delta=["SPAM"])], SPAM, "reopen", None),
        ([record("unlabel", delta=["SPAM"]), record("label", delta=["TRASH"])], SPAM, "nothing", None),
        ([record("unlabel", delta=["SPAM"], state=["INBOX"])], SPAM, "reopen", None),
        ([record("label", delta=["SENT"])], LedgerRow("dropped", "label.draft"), "reopen", None),
        ([record("added", state=["DRAFT"]), record("label", delta=["SENT"])], None, "insert", None),
        (
            [record("added", state=["DRAFT"]), record("label", delta=["SENT"])],
            LedgerRow("dropped", "label.draft"),
            "reopen",
            None,
        ),
        (
            [record("added", state=["DRAFT"]), record("label", delta=["SENT"], state=["DRAFT", "SENT"])],
            None,
            "insert_dropped",
            "label.draft",
        ),
        ([record("added", state=["SPAM"]), record("label", delta=["INBOX"])], PENDING, "reread", None),
        ([record("label", delta=["TRASH"]), record("label", delta=["INBOX"])], PENDING, "reread", None),
        ([record("label", delta=["INBOX"]), record("label", delta=["TRASH"])], PENDING, "drop", "label.trash"),
        ([record("label", delta=["INBOX"])], LedgerRow("gone", "gone.not_found"), "reopen", None),
        ([record("added")], LedgerRow("gone", "gone.not_found"), "reopen", None),
        ([record("added")], LedgerRow("gone", "gone.deleted"), "nothing", None),
        ([record("label", delta=["STARRED"])], SPAM, "nothing", None),
        ([record("unlabel", delta=["SPAM"])], NO_MATCH, "reopen", None),
        ([record("unlabel", delta=["SPAM"])], LedgerRow("dropped", "automated.marketing"), "reopen", None),
        ([record("unlabel", delta=["SPAM"])], LedgerRow("dropped", "automated.bounce"), "nothing", None),
        ([record("unlabel", delta=["SPAM"]), record("label", delta=["TRASH"])], NO_MATCH, "shut", "label.trash"),
        ([record("label", delta=["INBOX"])], NO_MATCH, "nothing", None),
        ([record("label", delta=["TRASH"])], NO_MATCH, "shut", "label.trash"),
        ([record("label", delta=["TRASH"]), record("unlabel", delta=["TRASH"])], NO_MATCH, "reopen", None),
        ([record("label", delta=["SPAM"])], LedgerRow("dropped", "automated.marketing"), "shut", "label.spam"),
        ([record("label", delta=["SPAM"])], LedgerRow("dropped", "automated.bounce"), "nothing", None),
        ([record("deleted")], NO_MATCH, "nothing", None),
        ([record("deleted")], IMPORTED, "gone", None),
        ([record("label", delta=["TRASH"])], IMPORTED, "nothing", None),
        ([record("deleted")], LedgerRow("parked", "parked"), "gone", None),
        ([record("added")], IMPORTED, "nothing", None),
        ([record("added")], PENDING, "insert", None),
    ],
)
def test_what_a_stretch_of_history_comes_to(
    records: list[Any], row: LedgerRow | None, action: str, rule: str | None
) -> None:
    (change,) = net_changes(records)
    assert decide_change(change, row, KEEP) == (action, rule)


def test_policies_for_trash_spam_and_deletion() -> None:
    trashed, spammed, deleted = (
        NetChange("m", labels=frozenset({"TRASH"})),
        NetChange("m", labels=frozenset({"SPAM"})),
        NetChange("m", deleted=True),
    )
    assert decide_change(trashed, IMPORTED, TeamSettings(on_trash="remove")) == ("remove", "label.trash")
    assert decide_change(spammed, IMPORTED, TeamSettings(on_spam="remove")) == ("remove", "label.spam")
    assert decide_change(spammed, IMPORTED, TeamSettings(on_trash="remove")) == ("nothing", None)
    assert decide_change(deleted, IMPORTED, TeamSettings(on_delete="keep")) == ("nothing", None)


def test_a_look_back_for_new_contacts_opens_what_a_score_had_dropped_too() -> None:
    rules = ("automated.marketing", "automated.transactional", "automated.bounce", "automated.calendar", "retention")
    rows = [LedgerRow("dropped", rule) for rule in rules]
    opened = ["reopen", "reopen", "nothing", "nothing", "nothing"]
    assert [decide_listed(row, crm_changed=True) for row in rows] == opened
    assert [decide_listed(row) for row in rows] == ["nothing"] * 5


def test_a_listing_inserts_opens_and_leaves_alone() -> None:
    rows = (
        None,
        PENDING,
        IMPORTED,
        NO_MATCH,
        SPAM,
        LedgerRow("gone", "gone.not_found"),
        LedgerRow("gone", "gone.deleted"),
    )
    assert [decide_listed(row) for row in rows] == [
        "insert",
        "nothing",
        "nothing",
        "nothing",
        "reopen",
        "reopen",
        "nothing",
    ]


LABELS = st.sets(st.sampled_from(["INBOX", "SENT", "STARRED", *LABEL_RULES]))


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), LABELS.filter(bool)), max_size=8), LABELS)
def test_netting_ends_at_the_labels_the_message_has(moves: list[tuple[bool, set[str]]], first: set[str]) -> None:
    """Told the first state, the deltas lead to the last one, or where it was let in, to a look; told every state, the same."""
    is_plain = True
    labels, deltas, states = set(first), [record("added", state=sorted(first))], [record("added", state=sorted(first))]
    for is_added, delta in moves:
        labels = labels | delta if is_added else labels - delta
        let_in = is_added and not delta.isdisjoint({"INBOX", "SENT"}) and not label_rule(tuple(delta))
        is_plain = is_plain and not (let_in and label_rule(tuple(labels)))
        kind = "label" if is_added else "unlabel"
        deltas.append(record(kind, delta=sorted(delta)))
        states.append(record(kind, delta=sorted(delta), state=sorted(labels)))
    for records in (deltas, states):
        (change,) = net_changes(records)
        if change.labels is None:
            assert records is deltas
            assert not is_plain
            continue
        assert change.labels == labels
        assert change.rule == label_rule(tuple(labels))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(KEYS)), st.sampled_from("abc"), LABELS), max_size=20))
def test_each_message_comes_once_and_deletion_is_final(moves: list[tuple[str, str, set[str]]]) -> None:
    changes = net_changes([record(kind, gmail_id, delta=sorted(delta)) for kind, gmail_id, delta in moves])
    assert [change.gmail_id for change in changes] == list(dict.fromkeys(gmail_id for _, gmail_id, _ in moves))
    for change in changes:
        kinds = {kind for kind, gmail_id, _ in moves if gmail_id == change.gmail_id}
        assert (change.added, change.deleted) == ("added" in kinds, "deleted" in kinds)


JSON = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["message", "id", "labelIds"]), inner),
)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(list(KEYS.values())), JSON)))
def test_records_of_another_form_are_passed_over(records: list[Any]) -> None:
    assert all(change.gmail_id for change in net_changes(records))


class Claims:
    """Two ids for each mailbox of one team; none for a mailbox that cannot be read."""

    def claim(self, due: DueMailbox) -> list[ClaimedMessage]:
        if due.mailbox_id == "blocked":
            return []
        return [ClaimedMessage(due.team_id, due.mailbox_id, gmail_id, "l", "o") for gmail_id in ("1", "2")]


def test_the_step_leases_for_every_due_mailbox() -> None:
    due = [DueMailbox("t", "a", "push"), DueMailbox("t", "blocked", "poll"), DueMailbox("t", "b", "work")]
    with TestPipeline() as root:
        claimed = root | beam.Create(due) | ClaimMessages(Claims)
        pairs = claimed | beam.Map(lambda claim: (claim.mailbox_id, claim.gmail_id))
        assert_that(pairs, equal_to([("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")]))
