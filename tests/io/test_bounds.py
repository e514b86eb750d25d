"""Text at and over each column's limit: stored whole up to it, cut and flagged above, never refused; on both databases alike."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import engagement_rows, schema
from dealmail.transforms.records import Failure, MailText, Participant

SIGNS = {"ascii": "a", "two bytes": "ß", "four bytes": "😀", "decomposed": "e\u0301"}
ROOM = {  # field to its limit, and whether it counts characters or UTF-8 bytes
    "subject": (engagement_rows.MAX_SUBJECT_BYTES, "bytes"), "message_id": (engagement_rows.MAX_MESSAGE_ID_BYTES, "bytes"),
    "text": (schema.MAX_TEXT_BYTES, "bytes"), "sender_name": (engagement_rows.MAX_NAME, "characters"),
    "sender_address": (schema.ADDRESS, "characters"), "to_name": (engagement_rows.MAX_NAME, "characters"),
    "to_address": (schema.ADDRESS, "characters"), "cc_name": (engagement_rows.MAX_NAME, "characters"),
    "cc_address": (schema.ADDRESS, "characters"),
}  # fmt: skip


def changes(field: str, value: str) -> dict[str, Any]:
    """What of a CustomerMail has `value` in `field`."""
    person = Participant("x@y.example", "X")
    if field == "text":
        return {"body": MailText(value)}
    role, _, part = field.partition("_")
    if role not in {"sender", "to", "cc"}:
        return {field: value}
    person = Participant(value, "X") if part == "address" else Participant("x@y.example", value)
    return {role: person if role == "sender" else (Participant("first@y.example", "F"), person)}


@pytest.mark.parametrize("sign", SIGNS)
def test_each_text_fits_its_column_or_is_cut_with_the_flag(sales: Any, mail: Any, sign: str) -> None:
    box = sales.add_mailbox("alice@corp.example")
    claims = iter(sales.claim(box, [f"g{n:02d}" for n in range(2 * len(ROOM))]))
    mails, expected = [], {}
    for number, (field, (limit, unit)) in enumerate(ROOM.items()):
        size = len(SIGNS[sign]) if unit == "characters" else len(SIGNS[sign].encode())
        full = SIGNS[sign] * (limit // size) + "z" * (limit % size)
        for over in (False, True):
            one = mail(next(claims), 2 * number + over, **changes(field, full + "zz" * over))
            mails.append(one)
            expected[one.engagement_id] = (field, full, over)
    sales.settlements.settle(mails)
    with sales.database.reading() as connection:
        stored = {row.id: row._mapping for row in connection.execute(sa.select(schema.engagement))}
        people = {
            (row.engagement_id, row.role): row._mapping  # the last of a role: the one that is meant
            for row in connection.execute(sa.select(schema.participant).order_by(schema.participant.c.position))
        }
    assert set(stored) == set(expected)
    for name, (field, full, over) in expected.items():
        role, _, part = field.partition("_")
        found = people[name, role][part] if role in {"to", "cc"} else stored[name][field]
        assert (found, bool(stored[name]["truncated"])) == (full, over), (field, over)
        if role == "sender":
            assert people[name, "from"][part] == full


def test_a_failures_own_words_are_cut(sales: Any) -> None:
    box = sales.add_mailbox("alice@corp.example")
    (claim,) = sales.claim(box, ["g1"])
    sales.settlements.settle([Failure(claim, "p" * 100, "E" * 200)])
    with sales.database.reading() as connection:
        row = connection.execute(sa.select(schema.message)).one()
    assert (row.phase, row.error_class) == ("p" * 32, "E" * 64)


def test_states_of_a_mailbox_are_cut(sales: Any) -> None:
    box = sales.add_mailbox("alice@corp.example")
    sales.mailboxes.set_state(box, "live", "r" * 999)
    sales.mailboxes.log(box, "granted", "a" * 999, "d" * 999)
    assert sales.mailboxes.get(box).state_reason == "r" * 255
    last = sales.mailboxes.consents(box)[-1]
    assert (last.actor, last.detail) == ("a" * 320, "d" * 255)


def test_every_rule_and_state_fits_its_column() -> None:
    from dealmail.transforms import decisions

    rules = [value for name, value in vars(decisions).items() if name.isupper() and isinstance(value, str)]
    assert rules
    assert max(map(len, rules)) <= schema.message.c.rule.type.length  # type: ignore[attr-defined]  # a String
    assert max(map(len, decisions.MAILBOX_STATES)) <= schema.mailbox.c.state.type.length  # type: ignore[attr-defined]  # the same
