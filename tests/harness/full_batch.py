"""A settling batch that touches every table, and the rows by which two runs of it are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dealmail.io import schema
from dealmail.transforms import decisions
from dealmail.transforms.records import Decision, Failure, SeenCopy

TABLES = (
    schema.message, schema.message_context, schema.correspondence, schema.engagement, schema.participant, schema.engagement_link,
    schema.engagement_copy, schema.search_outbox,
)  # fmt: skip


def full_batch(sales: Any, mail: Callable[..., Any]) -> list[Any]:
    """A batch that touches every table: new, better, worse and seen copies, decisions, failures, an overturned decision."""
    first, second = sales.add_mailbox("alice@corp.example"), sales.add_mailbox("bob@corp.example")
    claims = sales.claim(first, [f"g{n}" for n in range(4)])
    sales.settlements.settle([mail(claims[0], 0, 3), mail(claims[1], 1, 1), mail(claims[2], 2, 1)])
    sales.settlements.settle([Decision(claims[3], "dropped", "automated.reply", context=("d1",))])
    c = sales.claim(second, [f"g{n}" for n in range(8)])
    return [
        mail(c[0], 0, 2), mail(c[1], 1, 2), SeenCopy(c[2], "t1-e0002", "d2-1", "0001-2", "customer", "1"),
        SeenCopy(c[3], "t1-e0099", "x", "0", "customer", "1"), mail(c[4], 4, context=("d1", "d2"), direction="outbound"),
        Decision(c[5], "dropped", decisions.CRM_NO_MATCH), Decision(c[6], "dropped", "automated.marketing", context=("d7",)),
        Failure(c[7], "fetch", "GmailUnavailableError", counts=False),
    ]  # fmt: skip


def result_rows(sales: Any) -> dict[str, Any]:
    """All rows but for leases and times of waiting."""
    return sales.dump(*TABLES, without=("lease", "not_before", "enqueued_at"))
