"""Listings: walks through Gmail's search that a crash may interrupt, one row each, resumed at the stored page token."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from typing import Any, Final, Literal

import sqlalchemy as sa

from ..transforms.records import Lane
from . import mailboxes, schema
from .database import Database
from .mailboxes import MailboxRow, is_over

Kind = Literal["plan", "first_sync", "extend", "recover", "targeted", "repair", "sample", "reopen"]
"""What a listing is for. `plan` asks only how much there is, so that a first sync can choose its way (io/search_plan.py). `reopen` asks
Gmail nothing: its query names the ledger's own decisions that a CRM change touches."""

_RECURRING: Final = frozenset({"extend", "recover", "targeted", "repair", "reopen"})
"""Kinds that come again and again; those of a first sync tell together how it went."""

DATE_OVERLAP_S = 60
"""Gmail does not say whether after: and before: include their second: both are widened by this."""

_TABLE = schema.listing


@dataclasses.dataclass(frozen=True, slots=True)
class Listing:
    """One row of the table `listing`; times are UTC."""

    id: int
    team_id: str
    mailbox_id: str
    kind: Kind
    query: str
    after_at: dt.datetime
    before_at: dt.datetime | None
    page_token: str
    listed: int
    estimate: int
    created_at: dt.datetime
    finished_at: dt.datetime | None
    not_before: dt.datetime | None
    refusals: int
    error_class: str

    @property
    def trouble(self) -> str:
        """Why its next page is late, as a mailbox's state reason; "" where it is not."""
        return f"{self.error_class} x{self.refusals}" if self.error_class else ""

    def is_paused(self, now: dt.datetime) -> bool:
        """Whether Gmail refused its next page a moment ago."""
        return self.not_before is not None and not is_over(self.not_before, now)

    @property
    def search(self) -> str:
        """What Gmail is asked: epoch seconds, because plain dates mean midnight in California."""
        # A sample walks the whole span; its query holds what it has drawn (io/search_plan.py).
        return search_for(self.after_at, self.before_at, "" if self.kind == "sample" else self.query)

    @property
    def lane(self) -> Lane:
        """A recovery finds what is new; everything else finds what is old."""
        return "live" if self.kind == "recover" else "backfill"


_UNTROUBLED: dict[str, Any] = {"not_before": None, "refusals": 0, "error_class": ""}

COLUMNS = [_TABLE.c[field.name] for field in dataclasses.fields(Listing)]


def has_looked_back(connection: sa.Connection, mailbox_id: str, since: dt.datetime) -> bool:
    """Whether pages of a look back for what the CRM has learned may have been read since then."""
    mine = [_TABLE.c.mailbox_id == mailbox_id, _TABLE.c.kind == "targeted"]
    recent = sa.or_(_TABLE.c.finished_at >= since, sa.and_(_TABLE.c.finished_at.is_(None), _TABLE.c.listed > 0))
    return connection.scalar(sa.select(sa.literal(1)).where(*mine, recent).limit(1)) is not None


def search_for(after_at: dt.datetime, before_at: dt.datetime | None = None, terms: str = "") -> str:
    """Gmail's search for all mail of a time span, without drafts and chats (spam and trash are left out by default).

    No time before 1970 is asked for: a CRM may date its oldest deal to the year 1, and a minus means something else to a search.
    """
    before = [f"before:{max(int(before_at.timestamp()) + DATE_OVERLAP_S, 0)}"] if before_at else []
    return " ".join(
        [
            f"after:{max(int(after_at.timestamp()) - DATE_OVERLAP_S, 0)}",
            *before,
            "-in:drafts -in:chats",
            *([terms] if terms else []),
        ]
    )


def unfinished(connection: sa.Connection, mailbox_id: str) -> list[Listing]:
    """The mailbox's open listings: recoveries first, then the oldest, samples last."""
    query = (
        sa.select(*COLUMNS)
        .where(_TABLE.c.mailbox_id == mailbox_id, _TABLE.c.finished_at.is_(None))
        .order_by(sa.case((_TABLE.c.kind == "recover", 0), (_TABLE.c.kind == "sample", 2), else_=1), _TABLE.c.id)
    )
    return [Listing(*row) for row in connection.execute(query)]


def start(
    connection: sa.Connection, mailbox: MailboxRow, kind: Kind, after_at: dt.datetime, now: dt.datetime, *,
    before_at: dt.datetime | None = None, query: str = "",
) -> None:  # fmt: skip
    """Have the mailbox's mail of a time span listed. An open listing of the same kind and terms is widened and starts anew.

    Starting anew matters: its first pages were read before whatever it is that makes this listing necessary.
    """
    for listing in unfinished(connection, mailbox.id):
        if (listing.kind, listing.query) == (kind, query):
            before = None if listing.before_at is None or before_at is None else max(listing.before_at, before_at)
            _set(
                connection,
                listing.id,
                after_at=min(listing.after_at, after_at),
                before_at=before,
                page_token="",
                listed=0,
                **_UNTROUBLED,
            )
            return
    connection.execute(
        sa.insert(_TABLE).values(
            team_id=mailbox.team_id, mailbox_id=mailbox.id, kind=kind, query=query, after_at=after_at, before_at=before_at,
            created_at=now,
        )
    )  # fmt: skip


def restart(connection: sa.Connection, listing: Listing) -> None:
    """Its page token is no longer good: from the top, which is harmless."""
    _set(connection, listing.id, page_token="", listed=0, **_UNTROUBLED)


def put_off(
    connection: sa.Connection, listing: Listing, error_class: str, until: dt.datetime, *, anew: bool = False
) -> None:
    """Gmail refused its next page: this listing pauses until then, and nothing else of its mailbox. The page token stays but for `anew`."""
    top: dict[str, Any] = {"page_token": "", "listed": 0} if anew else {}
    _set(connection, listing.id, not_before=until, refusals=listing.refusals + 1, error_class=error_class, **top)


def page_done(
    connection: sa.Connection, listing: Listing, count: int, estimate: int, next_token: str, now: dt.datetime
) -> None:
    """Note a page of `count` ids; no `next_token` is the end.

    A finished listing forgets whom it searched for, and takes the place of the finished one before it: a CRM that is imported every
    night makes one a mailbox each time.
    """
    listed = listing.listed + count
    ended: dict[str, Any] = {**_UNTROUBLED} if next_token else {**_UNTROUBLED, "finished_at": now}
    if not next_token and listing.kind != "sample":  # whose query holds message ids, for search_plan.check
        ended["query"] = ""
    _set(
        connection, listing.id, page_token=next_token, listed=listed, estimate=max(listed, estimate, listing.estimate if next_token else 0),
        **ended,
    )  # fmt: skip
    if not next_token and listing.kind in _RECURRING:
        _forget_earlier(connection, listing)


def _forget_earlier(connection: sa.Connection, listing: Listing) -> None:
    mine = [_TABLE.c.mailbox_id == listing.mailbox_id, _TABLE.c.kind == listing.kind]
    connection.execute(sa.delete(_TABLE).where(*mine, _TABLE.c.finished_at.is_not(None), _TABLE.c.id != listing.id))


def set_query(connection: sa.Connection, listing_id: int, query: str) -> None:
    """Keep `query` with the listing."""
    _set(connection, listing_id, query=query)


def forget_terms(
    database: Database, connection: sa.Connection, team_id: str, word: str, is_forgotten: Callable[[str], bool], now: dt.datetime
) -> None:  # fmt: skip
    """Take the addresses and domains that `is_forgotten` knows, all of which have `word` in them, out of the team's open searches.

    A search that changes begins anew, and what is being walked by the old one is refused; one that is left empty is done.
    """
    mine = [_TABLE.c.team_id == team_id, _TABLE.c.finished_at.is_(None), _TABLE.c.kind.not_in(("sample", "reopen"))]
    query = sa.select(_TABLE.c.id, _TABLE.c.mailbox_id).where(*mine, _TABLE.c.query.contains(word, autoescape=True))
    for listing_id, mailbox_id in connection.execute(query.order_by(_TABLE.c.mailbox_id, _TABLE.c.id)).all():
        row = mailboxes.lock(database, connection, mailbox_id)
        asked = connection.scalar(sa.select(_TABLE.c.query).where(_TABLE.c.id == listing_id, *mine)) or ""
        terms = asked.strip("{}").split()
        left = [term for term in terms if not is_forgotten(term.partition(":")[2])]
        if len(left) == len(terms):
            continue
        seq = schema.mailbox.c.cursor_seq
        connection.execute(sa.update(schema.mailbox).where(schema.mailbox.c.id == row.id).values(cursor_seq=seq + 1))
        done: dict[str, Any] = {"query": f"{{{' '.join(left)}}}"} if left else {"query": "", "finished_at": now}
        _set(connection, listing_id, page_token="", listed=0, **done, **_UNTROUBLED)


def _set(connection: sa.Connection, listing_id: int, **values: Any) -> None:
    connection.execute(sa.update(_TABLE).where(_TABLE.c.id == listing_id).values(**values))
