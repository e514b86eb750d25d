"""Erasing: a person's, a domain's, a mailbox's or old mail goes from the database and the index, and does not come back.

Tombstones are set first, in a short transaction that no settling overlaps (both lock the team's row); then the mail goes page
by page. So whatever is settled later sees the tombstones, and an erasure that was cut off is simply run again.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from ..transforms import decisions
from ..transforms.domains import crm_address, crm_domain
from ..transforms.errors import TerminalError
from ..transforms.settings import TeamSettings
from . import removal, schema
from .database import Database
from .tombstones import TombstoneKey, TombstoneKind
from .vault import Digests

_PAGE = 200
_engagement = schema.engagement.c
_participant = schema.participant.c
_copy = schema.engagement_copy.c
_message = schema.message.c
_mailbox = schema.mailbox.c


class ErasureError(TerminalError):
    """Nothing was erased: the text says what is wrong with the request."""


@dataclasses.dataclass(frozen=True)
class Erasure:
    """What to erase of one team: exactly one of these.

    `person` is an address, `domain` counts with its sub-domains; both take every mail in which they take part. `mailbox` is
    a mailbox id and `user` a user's: their copies go, and what nobody else holds. `before` (UTC) takes all mail sent earlier.
    """

    team_id: str
    person: str = ""
    domain: str = ""
    mailbox: str = ""
    user: str = ""
    before: dt.datetime | None = None

    def __post_init__(self) -> None:
        """Refuse what names nothing or two things.

        Raises:
            ErasureError: see above.
        """
        given = [name for name in ("person", "domain", "mailbox", "user", "before") if getattr(self, name)]
        if len(given) != 1:
            raise ErasureError(f"erase needs exactly one of person, domain, mailbox, user and before, not {len(given)}")
        if self.person and "@" not in crm_address(self.person):
            raise ErasureError("the person to erase is no e-mail address")
        if self.domain and "." not in crm_domain(self.domain):
            raise ErasureError("the domain to erase is no domain")
        if self.before is not None and self.before.tzinfo is None:
            raise ErasureError(f"erase before {self.before}: hand in a time with its zone")


@dataclasses.dataclass(slots=True)
class ErasureReport:
    """What was erased, or would be: engagements, copies in mailboxes, and ledger rows whose details were cleared."""

    engagements: int = 0
    copies: int = 0
    messages: int = 0
    tombstones: int = 0


class Erasing:
    """Erases on MariaDB or SQLite; the outbox carries it to the search index."""

    def __init__(self, database: Database, now: Callable[[], dt.datetime], digests: Digests) -> None:
        self._database, self._now, self._key = database, now, TombstoneKey(digests)

    def preview(self, what: Erasure) -> ErasureReport:
        """What `erase` would do now; changes nothing.

        Raises:
            ErasureError: no such mailbox or user.
            StoreUnavailableError: the database cannot be reached.
        """
        report = ErasureReport(tombstones=len(self._tombstones(what)))
        if what.mailbox or what.user:
            boxes = self._boxes(what)
            mine = [_copy.team_id == what.team_id, _copy.mailbox_id.in_(boxes)]
            others = schema.engagement_copy.alias("o")
            shared = sa.exists().where(
                others.c.team_id == what.team_id,
                others.c.engagement_id == _copy.engagement_id,
                others.c.mailbox_id.not_in(boxes),
            )
            with self._database.reading(snapshot=True) as connection:
                report.copies = self._count(connection, schema.engagement_copy, *mine)
                query = sa.select(sa.func.count(sa.distinct(_copy.engagement_id))).where(*mine, ~shared)
                report.engagements = connection.scalar(query) or 0
                report.messages = self._count(
                    connection, schema.message, _message.mailbox_id.in_(boxes), *_of_team(what)
                )
            return report
        with self._database.reading(snapshot=True) as connection:
            for ids in self._pages(connection, what):
                report.engagements += len(ids)
                report.copies += self._count(
                    connection, schema.engagement_copy, _copy.team_id == what.team_id, _copy.engagement_id.in_(ids)
                )
        report.messages = report.copies
        return report

    def erase(self, what: Erasure) -> ErasureReport:
        """Set the tombstones and remove the mail; the report counts this run's work.

        Raises:
            ErasureError: no such mailbox or user.
            StoreUnavailableError: the database cannot be reached; run it again.
        """
        rows = self._tombstones(what)

        def stand(connection: sa.Connection) -> None:
            team = schema.team.c.id
            connection.execute(sa.select(team).where(team == what.team_id).with_for_update())
            self._database.upsert(connection, schema.tombstone, rows, ["created_at"])

        self._database.transaction(stand)
        report = ErasureReport(tombstones=len(rows))
        if what.mailbox or what.user:
            for box in self._boxes(what):
                self._erase_mailbox(what.team_id, box, report)
        else:
            self._erase_engagements(what, report, decisions.ERASED)
        return report

    def retain(self, team_id: str) -> ErasureReport:
        """Remove what is older than the team keeps mail (setting retention_days); nothing where it keeps all.

        Raises:
            StoreUnavailableError: the database cannot be reached; run it again.
        """
        with self._database.reading() as connection:
            settings = connection.scalar(sa.select(schema.team.c.settings).where(schema.team.c.id == team_id))
        days = TeamSettings.from_json(settings or {}).retention_days
        report = ErasureReport()
        if days is not None:
            oldest = self._now() - dt.timedelta(days=days)
            self._erase_engagements(Erasure(team_id, before=oldest), report, decisions.RETENTION)
        return report

    def scrub(self) -> None:
        """Take what was deleted out of the database's files too, as far as the server can; after the outbox is drained.

        SQLite overwrites deleted rows by itself, but its write-ahead log has to be emptied. MariaDB rebuilds the tables; its
        redo log forgets in its own time (docs/tables.md).

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
        tables = (
            schema.engagement, schema.participant, schema.engagement_link, schema.engagement_copy, schema.correspondence,
            schema.message, schema.message_context,
        )  # fmt: skip
        names = ", ".join(f"`{table.name}`" for table in tables)
        sqlite = self._database.dialect == "sqlite"
        self._database.run_outside("pragma wal_checkpoint(truncate)" if sqlite else f"optimize table {names}")

    # --- what it concerns ------------------------------------------------------------------------------------------
    def _tombstones(self, what: Erasure) -> list[dict[str, Any]]:
        wanted: list[tuple[TombstoneKind, str]] = []
        if what.person:
            wanted.append(("address", crm_address(what.person)))
        elif what.domain:
            wanted.append(("domain", crm_domain(what.domain)))
        elif what.before is not None:
            wanted.append(("before", what.before.astimezone(dt.UTC).isoformat()))
        else:
            wanted.extend(("mailbox", box) for box in self._boxes(what))
        return [
            {
                "team_id": what.team_id, "kind": kind, "digest": self._key.digest(what.team_id, kind, value),
                "created_at": self._now(),
            }
            for kind, value in wanted
        ]  # fmt: skip

    def _boxes(self, what: Erasure) -> list[str]:
        column = _mailbox.id == what.mailbox if what.mailbox else _mailbox.user_id == what.user
        query = sa.select(_mailbox.id).where(_mailbox.team_id == what.team_id, column).order_by(_mailbox.id)
        with self._database.reading() as connection:
            found = list(connection.scalars(query))
        if not found:
            raise ErasureError(
                "there is no such mailbox in this team" if what.mailbox else "that user has no mailbox in this team"
            )
        return found

    def _pages(self, connection: sa.Connection, what: Erasure) -> Iterator[list[str]]:
        """The ids of the engagements concerned, a page at a time, in order."""
        after = ""
        while ids := _page(connection, what, after):
            yield ids
            after = ids[-1]

    # --- removing --------------------------------------------------------------------------------------------------
    def _erase_engagements(self, what: Erasure, report: ErasureReport, rule: str) -> None:
        def one(connection: sa.Connection) -> tuple[int, int]:
            ids = _page(connection, what, "")
            if not ids:
                return 0, 0
            query = sa.select(_copy.mailbox_id, _copy.gmail_id).where(
                _copy.team_id == what.team_id, _copy.engagement_id.in_(ids)
            )
            copies = [(row.mailbox_id, row.gmail_id) for row in connection.execute(query)]
            connection.execute(
                sa.update(schema.message)
                .where(_message.team_id == what.team_id, _message.engagement_id.in_(ids))
                .values(**_cleared(rule, self._now()))
            )
            removal.forget_context(connection, what.team_id, copies)
            return removal.delete_engagements(self._database, connection, what.team_id, ids, self._now()), len(copies)

        while True:
            engagements, copies = self._database.transaction(one)
            if not engagements:
                return
            report.engagements += engagements
            report.copies += copies
            report.messages += copies

    def _erase_mailbox(self, team_id: str, box: str, report: ErasureReport) -> None:
        def one(connection: sa.Connection) -> tuple[int, int]:
            mine = sa.select(_copy.gmail_id).where(_copy.team_id == team_id, _copy.mailbox_id == box).limit(_PAGE)
            keys = [(box, gmail_id) for gmail_id in connection.scalars(mine)]
            removed, orphans = removal.remove_copies(self._database, connection, team_id, keys, self._now())
            return removed, len(orphans)

        while True:
            copies, engagements = self._database.transaction(one)
            if not copies:
                break
            report.copies += copies
            report.engagements += engagements

        def clear(connection: sa.Connection) -> int:
            context = schema.message_context.c
            connection.execute(
                sa.delete(schema.message_context).where(context.team_id == team_id, context.mailbox_id == box)
            )
            of_box = [_message.team_id == team_id, _message.mailbox_id == box]
            connection.execute(sa.delete(schema.message).where(*of_box, _message.state == "pending"))
            return connection.execute(
                sa.update(schema.message)
                .where(*of_box, sa.or_(_message.outcome == "imported", _message.outcome == "parked"))
                .values(**_cleared(decisions.ERASED, self._now()))
            ).rowcount

        report.messages += self._database.transaction(clear)

    @staticmethod
    def _count(connection: sa.Connection, table: sa.Table, *conditions: Any) -> int:
        return connection.scalar(sa.select(sa.func.count()).select_from(table).where(*conditions)) or 0


def _of_team(what: Erasure) -> list[Any]:
    """The ledger rows of an erased mailbox that are counted: those that an erasure changes."""
    return [_message.team_id == what.team_id, sa.or_(_message.outcome == "imported", _message.outcome == "parked")]


def _page(connection: sa.Connection, what: Erasure, after: str) -> list[str]:
    query = sa.select(_engagement.id).where(_engagement.team_id == what.team_id, _engagement.id > after)
    if what.before is not None:
        query = query.where(_engagement.sent_at < what.before)
    else:
        query = query.where(
            sa.exists().where(
                _participant.team_id == what.team_id, _participant.engagement_id == _engagement.id, _takes_part(what)
            )
        )
    return list(connection.scalars(query.order_by(_engagement.id).limit(_PAGE)))


def _takes_part(what: Erasure) -> sa.ColumnElement[bool]:
    if what.person:
        address = crm_address(what.person)
        return _participant.address.in_([address, address.replace("@gmail.com", "@googlemail.com")])
    domain = crm_domain(what.domain)
    at = _participant.address.endswith(f"@{domain}", autoescape=True)
    return sa.or_(at, _participant.address.endswith(f".{domain}", autoescape=True))


def _cleared(rule: str, now: dt.datetime) -> dict[str, Any]:
    """A ledger row that says only that the message was erased."""
    return {
        "state": "decided", "outcome": "dropped", "rule": rule, "engagement_id": None, "score": None, "signals": None, "phase": None,
        "error_class": None, "lease": None, "lease_until": None, "not_before": None, "decided_at": now,
    }  # fmt: skip
