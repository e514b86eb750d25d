"""The CRM from a CSV file: users, accounts with domains, contacts, leads, opportunities, own and blocked domains.

One file, one header row, one record a row; `kind` says what the row is, the other columns it uses are in KINDS. Importing the
same file again changes nothing.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from ..transforms.domains import crm_address, crm_domain
from ..transforms.errors import TerminalError
from . import schema
from .database import Database

KINDS: Final[dict[str, tuple[str, ...]]] = {
    "user": ("id", "name", "address"),
    "user_address": ("user_id", "address"),
    "own_domain": ("domain",),
    "account": ("id", "name", "domain"),
    "account_domain": ("account_id", "domain"),
    "contact": ("id", "name", "address", "account_id"),
    "lead": ("id", "name", "address", "company", "converted_contact_id"),
    "opportunity": ("id", "name", "account_id", "owner", "is_open", "opened_on", "closed_on"),
    "blocked": ("pattern", "user_id"),
}
"""Each kind of row with the columns it reads; others are ignored. `owner` is a user's id or address."""

NEEDED: Final[dict[str, tuple[str, ...]]] = {
    "user": ("id",), "user_address": ("user_id", "address"), "own_domain": ("domain",), "account": ("id",),
    "account_domain": ("account_id", "domain"), "contact": ("id", "address"), "lead": ("id", "address"),
    "opportunity": ("id", "account_id", "opened_on"), "blocked": ("pattern",),
}  # fmt: skip
"""Columns that may not be empty, by kind."""

_TABLES: Final = (
    schema.user, schema.user_address, schema.own_domain, schema.account, schema.account_domain, schema.contact, schema.lead,
    schema.opportunity, schema.blocked,
)  # fmt: skip
_YES, _NO = {"", "1", "true", "yes", "y", "open"}, {"0", "false", "no", "n", "closed"}
_CHUNK = 500
_SHOWN = 5

Row = dict[str, Any]
Key = tuple[Any, ...]


class CrmFileError(TerminalError):
    """The file cannot be used as it is. The text names lines and columns, never what stands there; nothing was imported."""


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What an import did to one table."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class CrmImport:
    """What an import did, by table name; `version` is the CRM version afterwards."""

    tables: Mapping[str, Change]
    version: int

    @property
    def is_change(self) -> bool:
        """Whether anything changed at all."""
        return any(change.added or change.changed or change.removed for change in self.tables.values())


def import_csv(
    database: Database,
    team_id: str,
    text: str,
    now: Callable[[], dt.datetime],
    *,
    team_name: str = "",
    replace: bool = False,
) -> CrmImport:
    """Bring the team's CRM tables to what the CSV `text` says, in one transaction; the team is made where it is new.

    Args:
        database: where.
        team_id: whose CRM it is.
        text: the file's content.
        now: the clock (UTC).
        team_name: a name for the team; "" keeps the one it has.
        replace: the file is the whole CRM: what it does not name is removed (users with a mailbox stay).

    Raises:
        CrmFileError: rows that cannot be used; the text names them.
        StoreUnavailableError: the database cannot be reached.
    """
    wanted, problems = read_rows(text)

    def work(connection: sa.Connection) -> CrmImport:
        new = {"id": team_id, "name": team_name or team_id, "created_at": now()}
        database.upsert(connection, schema.team, [new], ["name"] if team_name else ["id"])
        connection.execute(sa.select(schema.team.c.id).where(schema.team.c.id == team_id).with_for_update())
        found = {table.name: _existing(connection, table, team_id) for table in _TABLES}
        wrong = [*problems, *_resolve(wanted, found)]
        if wrong:
            more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
            raise CrmFileError("; ".join(wrong[:_SHOWN]) + more)
        made = {
            table.name: _bring(
                database, connection, table, team_id, wanted[table.name], found[table.name], replace=replace
            )
            for table in _TABLES
        }
        done = CrmImport(made, 0)
        if done.is_change:
            connection.execute(
                sa.update(schema.team)
                .where(schema.team.c.id == team_id)
                .values(crm_version=schema.team.c.crm_version + 1)
            )
        version = connection.scalar(sa.select(schema.team.c.crm_version).where(schema.team.c.id == team_id))
        return dataclasses.replace(done, version=int(version or 0))

    return database.transaction(work)


# --- reading ---------------------------------------------------------------------------------------------------------
def read_rows(text: str) -> tuple[dict[str, dict[Key, Row]], list[str]]:
    """The rows for each table by key (without the team), and what is wrong, a line each.

    A row may hold the keys "_line" and "_owner", which `_resolve` takes out again.
    """
    wanted: dict[str, dict[Key, Row]] = {table.name: {} for table in _TABLES}
    problems: list[str] = []
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    header = [name.strip().lower() for name in reader.fieldnames or ()]
    if "kind" not in header:
        return wanted, ["line 1: there is no column `kind`"]
    reader.fieldnames = header
    try:
        for given in reader:
            line = reader.line_num
            row = {
                name: (value or "").strip()
                for name, value in given.items()
                if isinstance(name, str) and not isinstance(value, list)
            }
            kind = row["kind"].lower()
            if not any(row.values()):
                continue
            if kind not in KINDS:
                problems.append(f"line {line}: `kind` is none of {', '.join(KINDS)}")
                continue
            row = {name: row.get(name, "") for name in KINDS[kind]}
            problem = _problem(kind, row)
            if problem:
                problems.append(f"line {line}: {problem}")
                continue
            for table, made in _rows_of(kind, row):
                key = tuple(made[name] for name in _key(schema.metadata.tables[table]))
                wanted[table][key] = {**made, "_line": line}
    except csv.Error:
        problems.append(f"line {reader.line_num}: this is no CSV")
    return wanted, problems


def _problem(kind: str, row: Mapping[str, str]) -> str | None:
    for name in NEEDED[kind]:
        if not row[name]:
            return f"a {kind} needs `{name}`"
    for name in ("id", "account_id", "user_id", "converted_contact_id"):
        if len(row.get(name, "")) > schema.Key().length:  # type: ignore[attr-defined]  # a String has a length
            return f"`{name}` is longer than {schema.Key().length} characters"  # type: ignore[attr-defined]  # as above
    if kind in {"contact", "lead", "user_address"} or (kind == "user" and row["address"]):
        address = crm_address(row["address"])
        if "@" not in address or len(address) > schema.ADDRESS:
            return "`address` is no e-mail address"
    if kind in {"own_domain", "account_domain"} and "." not in crm_domain(row["domain"]):
        return "`domain` is no domain"
    if kind == "opportunity":
        if row["is_open"].lower() not in _YES | _NO:
            return "`is_open` is neither true nor false"
        for name in ("opened_on", "closed_on"):
            try:
                _day(row[name])
            except ValueError:
                return f"`{name}` is no day such as 2026-05-04"
    return None


def _rows_of(kind: str, row: Mapping[str, str]) -> Iterator[tuple[str, Row]]:
    match kind:
        case "user":
            yield "user", {"id": row["id"], "name": row["name"][:255]}
            if row["address"]:
                yield "user_address", {"address": crm_address(row["address"]), "user_id": row["id"], "is_primary": True}
        case "user_address":
            yield (
                "user_address",
                {"address": crm_address(row["address"]), "user_id": row["user_id"], "is_primary": False},
            )
        case "own_domain":
            yield "own_domain", {"domain": crm_domain(row["domain"])}
        case "account":
            yield "account", {"id": row["id"], "name": row["name"][:255]}
            for domain in row["domain"].replace(";", " ").replace(",", " ").split():
                yield "account_domain", {"domain": crm_domain(domain), "account_id": row["id"]}
        case "account_domain":
            yield "account_domain", {"domain": crm_domain(row["domain"]), "account_id": row["account_id"]}
        case "contact":
            yield "contact", {
                "id": row["id"], "address": crm_address(row["address"]), "name": row["name"][:255],
                "account_id": row["account_id"] or None,
            }  # fmt: skip
        case "lead":
            yield "lead", {
                "id": row["id"], "address": crm_address(row["address"]), "name": row["name"][:255], "company": row["company"][:255],
                "converted_contact_id": row["converted_contact_id"] or None,
            }  # fmt: skip
        case "opportunity":
            yield "opportunity", {
                "id": row["id"], "name": row["name"][:255], "account_id": row["account_id"], "owner_user_id": None,
                "is_open": row["is_open"].lower() in _YES, "opened_on": _day(row["opened_on"]), "closed_on": _day(row["closed_on"]),
                "_owner": row["owner"],
            }  # fmt: skip
        case "blocked":
            yield "blocked", {"user_id": row["user_id"], "pattern": row["pattern"].lower()[: schema.ADDRESS]}


def _day(text: str) -> dt.date | None:
    return dt.date.fromisoformat(text[:10]) if text else None


# --- writing ---------------------------------------------------------------------------------------------------------
def _key(table: sa.Table) -> list[str]:
    return [column.name for column in table.primary_key.columns if column.name != "team_id"]


def _existing(connection: sa.Connection, table: sa.Table, team_id: str) -> dict[Key, Row]:
    names = _key(table)
    rows = (
        connection.execution_options(yield_per=5000)
        .execute(sa.select(table).where(table.c.team_id == team_id))
        .mappings()
    )
    return {tuple(row[name] for name in names): {name: row[name] for name in row if name != "team_id"} for row in rows}


def _resolve(wanted: Mapping[str, dict[Key, Row]], found: Mapping[str, dict[Key, Row]]) -> Iterable[str]:
    """Replace owners by user ids, and name every row that points at a record that is neither in the file nor known."""
    users = {key[0] for table in (wanted, found) for key in table["user"]}
    accounts = {key[0] for table in (wanted, found) for key in table["account"]}
    contacts = {key[0] for table in (wanted, found) for key in table["contact"]}
    by_address = {key[0]: row["user_id"] for table in (found, wanted) for key, row in table["user_address"].items()}
    lines = {table: {key: row.pop("_line") for key, row in rows.items()} for table, rows in wanted.items()}
    for key, row in wanted["opportunity"].items():
        owner = row.pop("_owner")
        row["owner_user_id"] = owner if owner in users else by_address.get(crm_address(owner)) if owner else None
        if owner and row["owner_user_id"] is None:
            yield f"line {lines['opportunity'][key]}: `owner` is no user"
    pointing: Sequence[tuple[str, str, set[Any]]] = (
        ("user_address", "user_id", users),
        ("blocked", "user_id", users | {""}),
        ("account_domain", "account_id", accounts),
        ("contact", "account_id", accounts | {None}),
        ("opportunity", "account_id", accounts),
        ("lead", "converted_contact_id", contacts | {None}),
    )
    for table, column, known in pointing:
        for key, row in wanted[table].items():
            if row[column] not in known:
                yield f"line {lines[table][key]}: `{column}` names nothing that is known"


def _bring(
    database: Database, connection: sa.Connection, table: sa.Table, team_id: str, wanted: Mapping[Key, Row],
    found: Mapping[Key, Row], *, replace: bool,
) -> Change:  # fmt: skip
    new = [row for key, row in wanted.items() if key not in found]
    other = [row for key, row in wanted.items() if key in found and found[key] != row]
    columns = [column.name for column in table.columns if not column.primary_key] or [_key(table)[0]]
    for rows in _chunks([{"team_id": team_id, **row} for row in (*new, *other)]):
        database.upsert(connection, table, rows, columns)
    gone = [key for key in found if key not in wanted] if replace else []
    if table is schema.user and gone:
        kept = set(connection.scalars(sa.select(schema.mailbox.c.user_id).where(schema.mailbox.c.team_id == team_id)))
        gone = [key for key in gone if key[0] not in kept]
    if table is schema.user_address and gone:
        kept = set(connection.scalars(sa.select(schema.mailbox.c.address).where(schema.mailbox.c.team_id == team_id)))
        gone = [key for key in gone if key[0] not in kept]
    for keys in _chunks(gone):
        which = sa.tuple_(*(table.c[name] for name in _key(table))).in_(keys)
        connection.execute(sa.delete(table).where(table.c.team_id == team_id, which))
    return Change(len(new), len(other), len(gone), len(wanted) - len(new) - len(other))


def _chunks(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]
