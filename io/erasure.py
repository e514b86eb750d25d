"""Erasing: a person's, a domain's, a mailbox's or old mail goes from the database and the index, and does not come back.

Tombstones are set first, in a short transaction that no settling overlaps (both lock the team's row); then the mail goes page
by page. So whatever is settled later sees the tombstones, and an erasure that was cut off is simply run again.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..transforms import decisions
from ..transforms.correspondence import ADDRESS
from ..transforms.domains import crm_address, crm_domain
from ..transforms.errors import TerminalError
from ..transforms.settings import TeamSettings
from . import listings, removal, schema
from .correspondence import DatabaseCorrespondence
from .database import Database
from .key_sets import any_of
from .tombstones import TombstoneKey, TombstoneKind, require_key
from .vault import Digests

_PAGE = 200
_engagement = schema.engagement.c
_participant = schema.participant.c
_copy = schema.engagement_copy.c
_message = schema.message.c
_mailbox = schema.mailbox.c
_HELD = schema.engagement_copy.join(
    schema.engagement, sa.and_(_engagement.team_id == _copy.team_id, _engagement.id == _copy.engagement_id)
)


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

    def add(self, other: ErasureReport) -> None:
        """Count `other` in."""
        self.engagements += other.engagements
        self.copies += other.copies
        self.messages += other.messages


class Erasing:
    """Erases on MariaDB or SQLite; the outbox carries it to the search index."""

    def __init__(self, database: Database, now: Callable[[], dt.datetime], digests: Digests) -> None:
        self._database, self._now, self._key = database, now, TombstoneKey(digests)
        self._correspondence = DatabaseCorrespondence(database, digests)

    def preview(self, what: Erasure) -> ErasureReport:
        """What `erase` would do now; changes nothing.

        Raises:
            ErasureError: no such mailbox or user, or a time that is still to come.
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
            if what.person:
                robots = sa.select(sa.func.count()).select_from(self._robots(what).subquery())
                report.messages += connection.scalar(robots) or 0
        return report

    def erase(self, what: Erasure) -> ErasureReport:
        """Set the tombstones and remove the mail; the report counts this run's work.

        Raises:
            ErasureError: no such mailbox or user, or a time that is still to come.
            VaultError: what was erased before is known by another key.
            StoreUnavailableError: the database cannot be reached; run it again.
        """
        values = self._tombstones(what)
        since = self._database.transaction(lambda connection: self._stand(connection, what.team_id, values))
        report = ErasureReport(tombstones=len(values))
        if what.mailbox or what.user:
            for _, box in values:
                self._erase_mailbox(what.team_id, box, since[box], report)
            return report
        self._forget_searches(what)
        self._erase_engagements(what, report, decisions.ERASED)
        if what.person:
            self._erase_robots(what, report)
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

    # --- what it concerns ------------------------------------------------------------------------------------------
    def _tombstones(self, what: Erasure) -> list[tuple[TombstoneKind, str]]:
        if what.mailbox or what.user:
            return [("mailbox", box) for box in self._boxes(what)]
        if what.person:
            return [("address", crm_address(what.person))]
        if what.domain:
            return [("domain", crm_domain(what.domain))]
        assert what.before is not None
        if (
            what.before > self._now()
        ):  # its tombstone would keep out mail that nobody has written yet, and none is ever lifted
            raise ErasureError(
                f"erase before {what.before.isoformat()}: that is still to come; say a time that is past"
            )
        return [("before", what.before.astimezone(dt.UTC).isoformat())]

    def _stand(
        self, connection: sa.Connection, team_id: str, values: Sequence[tuple[TombstoneKind, str]]
    ) -> dict[str, dt.datetime]:
        """Set the tombstones; since when each stands. From now on no batch is settled that has not seen them."""
        team = schema.team.c.id
        connection.execute(sa.select(team).where(team == team_id).with_for_update())
        require_key(connection, self._key, team_id)
        since = {value: self._now() for _, value in values}
        table = schema.tombstone.c
        rows: list[dict[str, Any]] = [
            {
                "team_id": team_id,
                "kind": "key",
                "digest": self._key.digest(team_id, "key", ""),
                "created_at": self._now(),
            }
        ]
        for kind, value in values:
            digest = self._key.digest(team_id, kind, value)
            if kind == "mailbox":  # it counts up to a time, which must cover what clocks that were ahead have dated
                mine = [_copy.team_id == team_id, _copy.mailbox_id == value]
                newest = connection.scalar(sa.select(sa.func.max(_engagement.sent_at)).select_from(_HELD).where(*mine))
                mine = [table.team_id == team_id, table.kind == kind, table.digest == digest]
                before = connection.scalar(sa.select(table.created_at).where(*mine))
                since[value] = max(at for at in (since[value], newest, before) if at is not None)
            rows.append({"team_id": team_id, "kind": kind, "digest": digest, "created_at": since[value]})
        self._database.upsert(connection, schema.tombstone, rows, ["created_at"])
        return since

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
        """The ids of the engagements concerned, a page at a time."""
        after: _Place | None = None
        while page := _page(connection, what, after):
            yield [place.id for place in page]
            after = page[-1]

    def _robots(self, what: Erasure) -> sa.Select[Any]:
        """The messages that the ledger knows to be automated mail of this person's, by their context."""
        table = schema.message_context.c
        address = crm_address(what.person)
        digests = [self._correspondence.digest(what.team_id, ADDRESS, one) for one in _spellings(address)]
        return (
            sa.select(table.mailbox_id, table.gmail_id)
            .where(table.team_id == what.team_id, table.digest.in_(digests))
            .distinct()
        )

    def _forget_searches(self, what: Erasure) -> None:
        """What searches are still to ask Gmail for; a mailbox that is off keeps them for as long as it is."""
        if what.before is not None:
            return
        domain = crm_domain(what.domain) if what.domain else ""
        names = _spellings(crm_address(what.person)) if what.person else []

        def is_erased(term: str) -> bool:
            own = term.rpartition("@")[2]
            return term in names or (domain != "" and (own == domain or own.endswith(f".{domain}")))

        def work(connection: sa.Connection) -> None:
            for word in names or [domain]:
                listings.forget_terms(self._database, connection, what.team_id, word, is_erased, self._now())

        self._database.transaction(work)

    # --- removing --------------------------------------------------------------------------------------------------
    def _erase_engagements(self, what: Erasure, report: ErasureReport, rule: str) -> None:
        """Once through all of them is enough: what would join those that were passed already, the tombstones keep out."""

        def one(connection: sa.Connection) -> _Place | None:
            page = _page(connection, what, after)
            # Locked before anything is read of them: a copy that is joining one is in its transaction's hands, or waits.
            locked = sorted(removal.lock_engagements(connection, what.team_id, [place.id for place in page]))
            ids = _still_concerned(connection, what, locked)
            query = sa.select(_copy.mailbox_id, _copy.gmail_id).where(
                _copy.team_id == what.team_id, _copy.engagement_id.in_(ids)
            )
            copies = [(row.mailbox_id, row.gmail_id) for row in connection.execute(query)]
            self._clear(connection, what.team_id, copies, rule)
            done.engagements = removal.delete_engagements(self._database, connection, what.team_id, ids, self._now())
            done.copies = done.messages = len(copies)
            return page[-1] if page else None

        done, after = ErasureReport(), None
        while after := self._database.transaction(one):
            report.add(done)

    def _erase_mailbox(self, team_id: str, box: str, since: dt.datetime, report: ErasureReport) -> None:
        """The mailbox's copies of what was sent up to `since`; what comes in meanwhile stays, as a later sync would have it."""

        def one(connection: sa.Connection) -> bool:
            mine = sa.select(_copy.gmail_id).select_from(_HELD).limit(_PAGE)
            mine = mine.where(_copy.team_id == team_id, _copy.mailbox_id == box, _engagement.sent_at <= since)
            keys = [(box, gmail_id) for gmail_id in connection.scalars(mine)]
            done.copies, orphans = removal.remove_copies(self._database, connection, team_id, keys, self._now())
            done.engagements = len(orphans)
            done.messages = self._clear(connection, team_id, keys, decisions.ERASED)
            return bool(keys)

        def rest(connection: sa.Connection) -> None:
            of_box = [_message.team_id == team_id, _message.mailbox_id == box]
            is_parked = (_message.outcome == "parked", _message.rule == decisions.PARKED)  # the rule, for its index
            parked = sa.select(_message.gmail_id).where(*of_box, *is_parked)
            keys = [(box, gmail_id) for gmail_id in connection.scalars(parked)]
            done.messages = self._clear(connection, team_id, keys, decisions.ERASED)
            context = schema.message_context.c
            connection.execute(
                sa.delete(schema.message_context).where(context.team_id == team_id, context.mailbox_id == box)
            )
            # What is pending is decided when it is read: the tombstone keeps it out if it is old enough.
            connection.execute(
                sa.update(schema.message)
                .where(*of_box, _message.state == "pending")
                .values(phase=None, error_class=None)
            )

        done = ErasureReport()
        while self._database.transaction(one):
            report.add(done)
        done = ErasureReport()
        self._database.transaction(rest)
        report.add(done)

    def _erase_robots(self, what: Erasure, report: ErasureReport) -> None:
        def one(connection: sa.Connection) -> bool:
            keys = [(row.mailbox_id, row.gmail_id) for row in connection.execute(self._robots(what).limit(_PAGE))]
            done.messages = self._clear(connection, what.team_id, keys, decisions.ERASED)
            return bool(keys)

        done = ErasureReport()
        while self._database.transaction(one):
            report.add(done)

    def _clear(self, connection: sa.Connection, team_id: str, keys: Collection[removal.MessageKey], rule: str) -> int:
        """Leave of these messages' ledger rows only that they were erased; how many."""
        if not keys:
            return 0
        removal.forget_context(connection, team_id, keys)
        mine = [_message.team_id == team_id, any_of(_message.mailbox_id, _message.gmail_id, keys)]
        row = sa.update(schema.message).where(*mine).values(**cleared(rule, self._now()))
        return connection.execute(row).rowcount

    @staticmethod
    def _count(connection: sa.Connection, table: sa.Table, *conditions: Any) -> int:
        return connection.scalar(sa.select(sa.func.count()).select_from(table).where(*conditions)) or 0


def _of_team(what: Erasure) -> list[Any]:
    """The ledger rows of an erased mailbox that are counted: those that an erasure changes."""
    return [_message.team_id == what.team_id, sa.or_(_message.outcome == "imported", _message.outcome == "parked")]


class _Place(NamedTuple):
    """Where a page ended. Old mail is gone through in order of time, so that nothing younger is met on the way."""

    id: str
    sent_at: dt.datetime | None = None


def _page(connection: sa.Connection, what: Erasure, after: _Place | None) -> list[_Place]:
    """The engagements concerned that come next: each page goes on where the one before it ended."""
    if what.before is not None:
        query = sa.select(_engagement.id, _engagement.sent_at).where(
            _engagement.team_id == what.team_id, _engagement.sent_at < what.before
        )
        if after is not None:
            at = _engagement.sent_at
            beyond = sa.or_(at > after.sent_at, sa.and_(at == after.sent_at, _engagement.id > after.id))
            query = query.where(at >= after.sent_at, beyond)
        query = query.order_by(_engagement.sent_at, _engagement.id)
    else:
        query = sa.select(_participant.engagement_id).where(
            _participant.team_id == what.team_id, _participant.engagement_id > (after.id if after else ""), _takes_part(what)
        ).distinct().order_by(_participant.engagement_id)  # fmt: skip
    return [_Place(*row) for row in connection.execute(query.limit(_PAGE))]


def _still_concerned(connection: sa.Connection, what: Erasure, ids: Sequence[str]) -> list[str]:
    """Those of the engagements that are concerned, now that they are locked."""
    if what.before is not None:
        query = sa.select(_engagement.id).where(
            _engagement.team_id == what.team_id, _engagement.id.in_(ids), _engagement.sent_at < what.before
        )
    else:
        mine = (_participant.team_id == what.team_id, _participant.engagement_id.in_(ids))
        query = sa.select(_participant.engagement_id).where(*mine, _takes_part(what)).distinct()
    return sorted(connection.scalars(query))


def _spellings(address: str) -> list[str]:
    """How stored mail may write an address that `crm_address` has normalized."""
    return sorted({address, address.replace("@gmail.com", "@googlemail.com")})


def _takes_part(what: Erasure) -> sa.ColumnElement[bool]:
    if what.person:
        return _participant.address.in_(_spellings(crm_address(what.person)))
    domain = crm_domain(what.domain)
    at = _participant.address.endswith(f"@{domain}", autoescape=True)
    return sa.or_(at, _participant.address.endswith(f".{domain}", autoescape=True))


def cleared(rule: str, now: dt.datetime) -> dict[str, Any]:
    """A ledger row that says only that the message was erased."""
    return {
        "state": "decided", "outcome": "dropped", "rule": rule, "engagement_id": None, "score": None, "signals": None, "phase": None,
        "error_class": None, "lease": None, "lease_until": None, "not_before": None, "decided_at": now,
    }  # fmt: skip
