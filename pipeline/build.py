"""The whole job on one page: the same graph on one machine, on Flink and on Dataflow.

The database remembers, the graph works: three short transactions (claim, settle, index) carry the job over any crash,
and everything between them may be lost or run twice. See docs/architecture.md.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from typing import NamedTuple

import apache_beam as beam

from ..transforms.claim_messages import ClaimMessages, Claims
from ..transforms.collect_decisions import CollectDecisions
from ..transforms.correspondence import Correspondence
from ..transforms.deduplicate_by_message_id import DeduplicateByMessageId
from ..transforms.fetch_messages import FetchMessages, MessageReader
from ..transforms.find_due_mailboxes import FindDueMailboxes, MailboxRegister
from ..transforms.keep_house import Chores, KeepHouse
from ..transforms.normalize_messages import NormalizeMessages
from ..transforms.select_customer_mail import Directories, SelectCustomerMail
from ..transforms.write_to_elasticsearch import OutboxDrain, WriteToElasticsearch
from ..transforms.write_to_mariadb import Settlements, WriteToMariaDb


@dataclasses.dataclass(frozen=True)
class Edges:
    """How a worker opens what lies outside the graph: picklable functions that hold no secret, only names of them.

    `now` is the clock (UTC).
    """

    register: Callable[[], MailboxRegister]
    claims: Callable[[], Claims]
    reader: Callable[[], MessageReader]
    directories: Callable[[], Directories]
    correspondence: Callable[[], Correspondence]
    settlements: Callable[[], Settlements]
    outbox: Callable[[], OutboxDrain]
    chores: Callable[[], Chores]
    now: Callable[[], dt.datetime]


MOST = 100_000
"""Of any size in GraphOptions; of seconds it is more than a day."""


@dataclasses.dataclass(frozen=True)
class GraphOptions:
    """What differs from run to run inside the graph.

    `dedup_window_s` is how long a seen Message-ID is remembered; `settle_batch` and `fetch_batch` bound a batch by
    count; `fetch_shards` is how many batches may be read from Gmail side by side, `settle_shards` how many of one team may be
    settled so; `linger_s` is how long a batch waits to fill in an endless run, None in a bounded pass.
    """

    dedup_window_s: float = 600
    fetch_batch: int = 50
    settle_batch: int = 200
    fetch_shards: int = 1
    settle_shards: int = 1
    linger_s: float | None = None

    def __post_init__(self) -> None:
        """Refuse sizes that cannot work.

        Raises:
            ValueError: a size below one, or beyond `MOST`.
        """
        for name, value in dataclasses.asdict(self).items():
            if value is not None and name != "linger_s" and not 1 <= value <= MOST:
                msg = f"{name} is {value}; use 1 to {MOST:,}"
                raise ValueError(msg)


class Outputs(NamedTuple):
    """What the graph leaves to look at: every settled outcome, and the indexed counts."""

    outcomes: beam.PCollection
    indexed: beam.PCollection


def build(
    root: beam.Pipeline,
    notifications: beam.PCollection,
    ticks: beam.PCollection,
    crm: beam.PCollection | None,
    edges: Edges,
    options: GraphOptions,
) -> Outputs:
    """Lay out the job on `root`.

    Args:
        root: the pipeline; only its options are the caller's.
        notifications: PCollection of bytes, the data of Gmail's Pub/Sub messages.
        ticks: PCollection of Tick.
        crm: PCollection of (team id, CRM version), a side input; None where the engine cannot bear one: then workers
            look for themselves every few seconds.
        edges: how workers open Gmail and the stores.
        options: sizes and windows.
    """
    due = (notifications, ticks) | "FindDueMailboxes" >> FindDueMailboxes(
        edges.register, now=edges.now, linger_s=options.linger_s
    )

    claimed = due | "ClaimMessages" >> ClaimMessages(edges.claims)

    fetched = claimed | "FetchMessages" >> FetchMessages(
        edges.reader, batch_size=options.fetch_batch, linger_s=options.linger_s, shards=options.fetch_shards
    )

    normalized = fetched.messages | "NormalizeMessages" >> NormalizeMessages()

    # Gates inside go from cheap and private to dear: most mail is dropped before its body is read.
    selected = normalized.messages | "SelectCustomerMail" >> SelectCustomerMail(
        edges.directories, edges.correspondence, crm, edges.now
    )

    # A cache: it spares the database copies that arrive close together; the engagement's key there joins the rest.
    unique = selected.mail | "DeduplicateByMessageId" >> DeduplicateByMessageId(
        dt.timedelta(seconds=options.dedup_window_s)
    )

    # Every way a message can end is settled, so no decision is ever only logged.
    outcomes = (
        unique,
        fetched.decisions,
        selected.decisions,
        fetched.failures,
        normalized.failures,
        selected.failures,
    ) | "CollectDecisions" >> CollectDecisions()

    changed = outcomes | "WriteToMariaDb" >> WriteToMariaDb(
        edges.settlements, batch_size=options.settle_batch, shards=options.settle_shards, linger_s=options.linger_s
    )

    indexed = changed | "WriteToElasticsearch" >> WriteToElasticsearch(edges.outbox, ticks)

    ticks | "KeepHouse" >> KeepHouse(edges.chores, now=edges.now, linger_s=options.linger_s)
    return Outputs(outcomes, indexed)
