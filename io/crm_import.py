"""Importing a CRM file: idempotent, all or nothing, and what a change sets in motion.

A new contact, lead or domain starts a targeted look back in the team's mailboxes: a search of Gmail, and of the ledger for
mail whose author Gmail's search cannot see. An unblocking has the ledger's blocked.* decisions read again. A changed
opportunity has its owner's mailboxes polled at once, which extends their window where that is due (see io/history.py).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ..transforms.crm_directory import can_be_own
from ..transforms.decisions import BLOCKED_TEAM, BLOCKED_USER
from ..transforms.domains import company_domain
from ..transforms.group_shelf import shelf_of
from . import crm_csv, listings, mailboxes, schema
from .crm_csv import CrmFileError
from .database import Database
from .key_sets import any_of
from .ledger import RESTING

_CHUNK = 1_000
MAX_TERMS = 400
"""More new addresses and domains than this: the whole window is listed instead of being searched for them."""
MAX_LISTINGS = 2_000
"""More searches than this over all mailboxes: the same."""
_QUERY_LETTERS = 1_200
SEARCHABLE = re.compile(r"[\w.+@=&'-]+", re.ASCII)
"""An address or domain that Gmail's search takes as it is."""
_TABLES = (
    schema.user, schema.user_address, schema.own_domain, schema.account, schema.account_domain, schema.contact, schema.lead,
    schema.opportunity, schema.blocked,
)  # fmt: skip

Row = dict[str, Any]
Key = tuple[str, ...]


@dataclasses.dataclass(slots=True)
class Change:
    """What an import did to one table, in rows."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class CrmImport:
    """What an import did, by table name; `version` is the CRM version afterwards.

    turned_off: the mailboxes whose import and credential ended, for the file that is the whole CRM does not name their users.
    idle_domains: those of the file, of accounts and own, that nobody is recognised by, for others have addresses there, too.
    """

    tables: Mapping[str, Change]
    version: int
    turned_off: tuple[str, ...] = ()
    idle_domains: tuple[str, ...] = ()

    @property
    def is_change(self) -> bool:
        """Whether anything changed at all."""
        changes = self.tables.values()
        return bool(self.turned_off) or any(change.added or change.changed or change.removed for change in changes)


def import_csv(
    database: Database, team_id: str, text: str, now: Callable[[], dt.datetime], *, team_name: str = "", replace: bool = False,
) -> CrmImport:  # fmt: skip
    """Bring the team's CRM tables to what the CSV `text` (docs/crm.md) says, in one transaction; a new team is made.

    Args:
        database: where.
        team_id: whose CRM it is.
        text: the file's content.
        now: the clock (UTC).
        team_name: a name for the team; "" keeps the one it has.
        replace: the file is the whole CRM: what it does not name is removed. Users with a mailbox stay, but where the file names
            any user at all, the import of those whom it does not name goes off.

    Raises:
        CrmFileError: the file has mistakes; nothing was changed.
        StoreUnavailableError: the database cannot be reached.
    """
    return database.transaction(
        lambda connection: _Import(database, connection, team_id, now()).run(text, team_name, replace=replace)
    )


class _Import:
    """One import within its transaction."""

    def __init__(self, database: Database, connection: sa.Connection, team_id: str, now: dt.datetime) -> None:
        self._database, self._connection, self._team_id, self._now = database, connection, team_id, now
        self._changes = {table.name: Change() for table in _TABLES}
        self._terms: set[str] = set()
        self._whole_window = False
        self._unblocked: set[str] = set()
        self._owners: set[str] = set()
        self._new_users: dict[str, str] = {}
        self._turned_off: list[str] = []
        self._wanted: dict[sa.Table, dict[str, list[tuple[int, str]]]] = defaultdict(dict)
        self._keys: dict[sa.Table, dict[Key, int]] = defaultdict(dict)
        """What the file names, with a digest of what it says of it."""
        self._problems: list[tuple[int, str]] = []
        self._misread: set[str] = set()
        """Ids and addresses of lines with mistakes: that there is no such record would be one mistake said twice."""

    def run(self, text: str, team_name: str, *, replace: bool) -> CrmImport:
        team = schema.team.c
        row = {"id": self._team_id, "name": team_name[:255] or self._team_id, "created_at": self._now}
        self._database.upsert(self._connection, schema.team, [row], ["name"] if team_name else ["id"])
        chosen = sa.select(team.crm_version).where(team.id == self._team_id).with_for_update()
        version = self._connection.execute(chosen).scalar_one()
        self._read(text, replace=replace)
        if self._problems:
            raise CrmFileError([f"line {line}, {what}" for line, what in sorted(self._problems)])
        if replace:
            self._turn_off_absent()
        done = CrmImport(self._changes, version, tuple(self._turned_off), self._idle_domains())
        if not done.is_change:
            return done
        self._connection.execute(sa.update(schema.team).where(team.id == self._team_id).values(crm_version=version + 1))
        self._hand_over()
        self._look_back()
        self._poll_owners()
        return dataclasses.replace(done, version=version + 1)

    def _idle_domains(self) -> tuple[str, ...]:
        idle = {domain for domain, _ in self._keys[schema.account_domain] if company_domain(domain) is None}
        idle.update(domain for (domain,) in self._keys[schema.own_domain] if not can_be_own(domain))
        return tuple(sorted(idle))

    def _read(self, text: str, *, replace: bool) -> None:
        deals: list[tuple[int, Row]] = []
        waiting: dict[sa.Table, dict[Key, Row]] = defaultdict(dict)
        is_whole = True
        for line in crm_csv.read_lines(text):
            self._problems += [(line.number, problem) for problem in line.problems]
            if line.problems:
                self._misread |= {line.id, *(row["address"] for _, row in line.rows if row.get("address"))}
            is_whole = not line.is_broken
            for table, row in line.rows:
                row["team_id"] = self._team_id
                self._note_references(table, row, line.number)
                if table is schema.opportunity:
                    deals.append((line.number, row))
                if line.problems or not self._is_said_once(table, row, line.number) or table is schema.opportunity:
                    continue
                key = _key(table, row)
                if table is schema.user_address and key in waiting[table]:
                    row["is_primary"] |= waiting[table][key]["is_primary"]
                waiting[table][key] = row
                if len(waiting[table]) >= _CHUNK:
                    self._merge(table, waiting.pop(table))
        for table, left in waiting.items():
            self._merge(table, left)
        if not is_whole:  # what it names cannot be told
            return
        if replace and any(self._keys.values()):  # before what the file refers to is looked for
            for table in _TABLES:
                self._remove_absent(table)
        elif replace and not self._problems:  # an export that failed, and no wish to lose every customer
            raise CrmFileError(["it names nothing, and to replace the CRM by it would remove everybody"])
        self._resolve_owners(deals)
        self._check_references()
        if self._problems:
            return
        latest = {_key(schema.opportunity, row): row for _, row in deals}
        for keys in _chunks(list(latest)):
            self._merge(schema.opportunity, {key: latest[key] for key in keys})

    def _is_said_once(self, table: sa.Table, row: Row, line: int) -> bool:
        """Whether no earlier line says otherwise of the same record; where one does, that is a mistake."""
        key = _key(table, row)
        told = hash(tuple(value for name, value in row.items() if name != "is_primary"))
        if self._keys[table].setdefault(key, told) == told:
            return True
        column = table.primary_key.columns.keys()[-1]
        self._problems.append((line, f"column {column}: an earlier line says something else of the same {table.name}"))
        return False

    def _merge(self, table: sa.Table, rows: dict[Key, Row]) -> None:
        """Insert what is new and update what differs."""
        change = self._changes[table.name]
        query = sa.select(table).where(table.c.team_id == self._team_id, _among(table, list(rows)))
        found = {_key(table, row): dict(row) for row in self._connection.execute(query).mappings()}
        changed = []
        for key, row in rows.items():
            old = found.get(key)
            if table is schema.user_address and old is not None and old["user_id"] == row["user_id"]:
                row["is_primary"] |= old["is_primary"]
            if old is not None and all(old[name] == value for name, value in row.items()):
                change.unchanged += 1
                continue
            changed.append(row)
            self._note_effects(table, old, row)
            if old is None:
                change.added += 1
            else:
                change.changed += 1
        update = [column.name for column in table.columns if not column.primary_key]
        if update:
            self._database.upsert(self._connection, table, changed, update)
        else:
            self._database.insert_new(self._connection, table, changed)

    def _remove_absent(self, table: sa.Table) -> None:
        keep = set(self._keys[table])
        mailbox = schema.mailbox.c
        if table in (schema.user, schema.user_address):
            column = mailbox.user_id if table is schema.user else mailbox.address
            keep = keep | {
                (one,) for one in self._connection.scalars(sa.select(column).where(mailbox.team_id == self._team_id))
            }
        query = sa.select(table).where(table.c.team_id == self._team_id)
        absent = [dict(row) for row in self._connection.execute(query).mappings() if _key(table, row) not in keep]
        for rows in _chunks(absent):
            keys = [_key(table, row) for row in rows]
            self._connection.execute(sa.delete(table).where(table.c.team_id == self._team_id, _among(table, keys)))
        self._changes[table.name].removed += len(absent)
        for row in absent:
            self._note_effects(table, row, None)

    def _turn_off_absent(self) -> None:
        """Whom the admin no longer lists is no longer read. A file that names no user at all has no say in that."""
        named = {user_id for (user_id,) in self._keys[schema.user]}
        if not named:
            return
        user = schema.user.c
        listed = sa.select(user.id).where(user.team_id == self._team_id, user.is_listed.is_(True))
        for ids in _chunks([one for one in self._connection.scalars(listed) if one not in named]):
            self._connection.execute(
                sa.update(schema.user).where(user.team_id == self._team_id, user.id.in_(ids)).values(is_listed=False)
            )
            self._changes["user"].changed += len(ids)
        boxes = mailboxes.Mailboxes(self._database, lambda: self._now)
        mailbox = schema.mailbox.c
        connected = mailbox.id.in_(sa.select(schema.credential.c.mailbox_id))  # which a preview reads by, import or not
        query = sa.select(mailbox.id, mailbox.user_id).where(
            mailbox.team_id == self._team_id, sa.or_(mailbox.import_on.is_(True), connected)
        )
        for found, user_id in self._connection.execute(query.order_by(mailbox.id)).all():
            if user_id not in named:
                boxes.turn_off_in(self._connection, found, "crm import", "user not in the CRM file")
                self._turned_off.append(found)

    # --- references ------------------------------------------------------------------------------------------------
    def _note_references(self, table: sa.Table, row: Row, line: int) -> None:
        targets = {"account_id": schema.account, "user_id": schema.user, "converted_contact_id": schema.contact}
        for column, target in targets.items():
            if row.get(column):
                places = self._wanted[target].setdefault(row[column], [])
                if len(places) < crm_csv.MAX_PROBLEMS:
                    places.append((line, column))

    def _check_references(self) -> None:
        for table, wanted in self._wanted.items():
            for ids in _chunks(list(wanted)):
                query = sa.select(table.c.id).where(table.c.team_id == self._team_id, table.c.id.in_(ids))
                known = self._misread.union(self._connection.scalars(query))
                for line, column in (place for one in ids if one not in known for place in wanted[one]):
                    self._problems.append((line, f"column {column}: no such {table.name}"))

    def _resolve_owners(self, deals: Sequence[tuple[int, Row]]) -> None:
        """An owner is a user's id or one of their addresses."""
        address, user = schema.user_address.c, schema.user.c
        ids: dict[str, str] = {}
        for named in _chunks(sorted({row["owner_user_id"] for _, row in deals if row["owner_user_id"]})):
            query = sa.select(user.id, user.id).where(user.team_id == self._team_id, user.id.in_(named))
            ids |= {str(row[0]): str(row[1]) for row in self._connection.execute(query)}
            query = sa.select(address.address, address.user_id).where(
                address.team_id == self._team_id, address.address.in_(named)
            )
            ids |= {str(row[0]): str(row[1]) for row in self._connection.execute(query)}
        for line, row in deals:
            owner = row["owner_user_id"]
            if owner and owner not in ids and owner not in self._misread:
                self._problems.append((line, "column owner: no such user"))
            row["owner_user_id"] = ids.get(owner)

    # --- what a change sets in motion ------------------------------------------------------------------------------
    def _note_effects(self, table: sa.Table, old: Row | None, new: Row | None) -> None:
        if table is schema.opportunity and new is not None and new["owner_user_id"]:
            self._owners.add(new["owner_user_id"])
        if table is schema.user_address and old is not None and new is not None and old["user_id"] != new["user_id"]:
            self._new_users[new["address"]] = new["user_id"]
        if table is schema.blocked and old is not None and new is None:
            self._unblocked.add(old["user_id"])
        term = _new_term(table, old, new)
        if not term or self._whole_window:
            return
        self._terms.add(term)
        if len(self._terms) > MAX_TERMS or not SEARCHABLE.fullmatch(term):
            self._whole_window = True

    def _hand_over(self) -> None:
        """A mailbox whose address is now another user's: the old user's consent does not cover it."""
        boxes = mailboxes.Mailboxes(self._database, lambda: self._now)
        mailbox = schema.mailbox.c
        for address, user_id in sorted(self._new_users.items()):
            query = sa.select(mailbox.id).where(mailbox.team_id == self._team_id, mailbox.address == address)
            for found in self._connection.scalars(query).all():
                boxes.hand_over_in(self._connection, found, user_id, "crm import")

    def _look_back(self) -> None:
        """Have the mailboxes search for mail that the CRM did not know what to do with until now.

        A mailbox that rests (its consent is gone, or its import is off) does so once it is back: over its whole window, which
        is one listing however many imports it slept through.

        Two things no search finds, and the ledger knows: what was blocked by Reply-To or Sender, and mail through a Google Group,
        whose From is the group's.
        """
        if not self._terms and not self._unblocked:
            return
        mailbox = schema.mailbox.c
        awake = sa.and_(mailbox.import_on.is_(True), mailbox.state.not_in(RESTING))
        query = sa.select(mailbox.id, sa.case((awake, 1), else_=0)).where(
            mailbox.team_id == self._team_id, mailbox.window_from.is_not(None)
        )
        found = self._connection.execute(query.order_by(mailbox.id)).all()
        queries = [""] if self._whole_window else list(search_terms(sorted(self._terms)))
        shelves = [] if self._whole_window else sorted({shelf_of(term) for term in self._terms})
        if len(found) * len(queries) > MAX_LISTINGS:
            queries = [""]
        # Whoever has asked for a page of a walk that begins anew below must not note it as that walk's next, or last, one.
        windowed = sa.and_(mailbox.team_id == self._team_id, mailbox.window_from.is_not(None))
        self._connection.execute(sa.update(schema.mailbox).where(windowed).values(cursor_seq=mailbox.cursor_seq + 1))
        for mailbox_id, is_awake in found:
            row = mailboxes.read(self._connection, mailbox_id)
            assert row.window_from is not None
            rules = [BLOCKED_TEAM] * ("" in self._unblocked) + [BLOCKED_USER] * (row.user_id in self._unblocked)
            if names := [*rules, *shelves]:
                listings.start(self._connection, row, "reopen", row.window_from, self._now, query=" ".join(names))
            for terms in queries if is_awake or not self._terms else [""]:
                listings.start(self._connection, row, "targeted", row.window_from, self._now, query=terms)

    def _poll_owners(self) -> None:
        mailbox = schema.mailbox.c
        for owners in _chunks(sorted(self._owners)):
            self._connection.execute(
                sa.update(schema.mailbox)
                .where(mailbox.team_id == self._team_id, mailbox.user_id.in_(owners))
                .values(next_poll_at=self._now)
            )


def search_terms(terms: Sequence[str], operators: Sequence[str] = ("from", "to", "cc")) -> Iterator[str]:
    """Gmail searches that find all mail with any of the addresses and domains in one of these fields, a few at a time.

    Braces mean OR (support.google.com/mail/answer/7190). The CRM's gmail.com addresses stand for googlemail.com too.
    """
    parts: list[str] = []
    for term in terms:
        forms = dict.fromkeys((term, term.replace("@gmail.com", "@googlemail.com")))
        part = " ".join(f"{operator}:{form}" for operator in operators for form in forms)
        if parts and sum(map(len, parts)) + len(part) > _QUERY_LETTERS:
            yield "{" + " ".join(parts) + "}"
            parts = []
        parts.append(part)
    if parts:
        yield "{" + " ".join(parts) + "}"


def _new_term(table: sa.Table, old: Row | None, new: Row | None) -> str | None:
    """The address or domain whose mail may be decided otherwise after this change, or None."""
    if table in (schema.contact, schema.lead):
        return new["address"] if new is not None and (old is None or old["address"] != new["address"]) else None
    if table is schema.account_domain:
        return company_domain(new["domain"]) if new is not None and old is None else None
    if old is None or new is not None:
        return None
    if table is schema.user_address:
        return str(old["address"])
    return str(old["domain"]) if table is schema.own_domain and can_be_own(old["domain"]) else None


def _key(table: sa.Table, row: Any) -> Key:
    return tuple(row[column.name] for column in table.primary_key.columns if column.name != "team_id")


def _among(table: sa.Table, keys: Sequence[Key]) -> sa.ColumnElement[bool]:
    names = [column.name for column in table.primary_key.columns if column.name != "team_id"]
    if len(names) == 1:
        return table.c[names[0]].in_([key[0] for key in keys])
    former, latter = (table.c[name] for name in names)
    return any_of(latter, former, [(key[1], key[0]) for key in keys])


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
