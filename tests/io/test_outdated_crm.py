"""What a CRM that has changed since kept out, or let in, is read again."""

from __future__ import annotations

import dataclasses
from typing import Any

import sqlalchemy as sa

from dealmail.io import crm_import, schema
from dealmail.io.outdated_crm import OUTDATED_LEASES
from dealmail.transforms import decisions
from dealmail.transforms.records import Decision, SeenCopy


def test_a_seen_copy_judged_by_an_outdated_crm_is_read_again(sales: Any, mail: Any, clock: Any) -> None:
    """It does not say who is in it, and its own user may have blocked one of them since."""
    first, second = sales.add_mailbox("alice@corp.example"), sales.add_mailbox("bob@corp.example")
    (claim,), (copy,) = sales.claim(first, ["g1"]), sales.claim(second, ["g1"])
    sales.settlements.settle([mail(claim, 1)])
    sales.database.transaction(lambda c: c.execute(sa.update(schema.team).values(crm_version=5)))
    seen = SeenCopy(copy, "t1-e0001", "d1-0", "0000-1", "customer", "1")
    sales.settlements.settle([dataclasses.replace(seen, crm_version=4)])
    assert sales.ledger.explain(second, "g1").state == "pending"
    clock.advance(seconds=3)
    (again,) = sales.claim(second, ["g1"])
    sales.settlements.settle([dataclasses.replace(seen, claim=again, crm_version=5)])
    assert sales.ledger.explain(second, "g1").outcome == "imported"


def test_what_an_outdated_crm_kept_out_is_read_again(sales: Any, mail: Any, clock: Any) -> None:
    box = sales.add_mailbox("alice@corp.example")
    sales.database.transaction(lambda c: c.execute(sa.update(schema.team).values(crm_version=5, relinked_version=5)))
    old, new, other, kept = sales.claim(box, ["g1", "g2", "g3", "g4"])
    sales.settlements.settle(
        [
            Decision(old, "dropped", decisions.CRM_NO_MATCH, crm_version=4), Decision(new, "dropped", decisions.CRM_NO_MATCH, crm_version=5),
            Decision(other, "dropped", decisions.LABEL_SPAM, crm_version=4), mail(kept, 1, crm_version=4),
        ]
    )  # fmt: skip
    states = [sales.ledger.explain(box, g).state for g in ("g1", "g2", "g3", "g4")]
    assert states == ["pending", "decided", "decided", "decided"]
    with sales.database.reading() as connection:
        assert connection.scalar(sa.select(schema.team.c.relinked_version)) == 4
    for _ in range(OUTDATED_LEASES):
        assert sales.ledger.explain(box, "g1").state == "pending"
        clock.advance(minutes=11)
        (claim,) = sales.claim(box, ["g1"])
        sales.settlements.settle([Decision(claim, "dropped", decisions.CRM_NO_MATCH, crm_version=4)])
    assert sales.ledger.explain(box, "g1").rule == decisions.CRM_NO_MATCH


def test_what_a_new_block_keeps_out_by_reply_to_is_not_stored(sales: Any, mail: Any, clock: Any) -> None:
    """It was judged by the directory of before the import; who stands in From, To and Cc is nobody on the list."""
    (claim,) = sales.claim(sales.add_mailbox("alice@corp.example"), ["g1"])
    crm_import.import_csv(sales.database, "t1", "kind,pattern\nblocked,helpdesk.example\n", clock)
    sales.settlements.settle([mail(claim, 1, also_from=("x@sub.helpdesk.example",), crm_version=0)])
    assert sales.ledger.explain(claim.mailbox_id, "g1").state == "pending"
    assert sales.dump(schema.engagement) == {"engagement": []}
