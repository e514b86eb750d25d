"""A CRM file in, table rows out: reading and checking, without a database. docs/crm.md describes the file."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from ..transforms.addresses import parse_addresses
from ..transforms.blocklist import is_wildcard, normal_pattern
from ..transforms.charsets import clean_text
from ..transforms.domains import crm_address, crm_domain
from ..transforms.errors import TerminalError
from . import schema

COLUMNS = (
    "kind", "id", "name", "address", "domain", "account_id", "company", "owner", "is_open", "opened_on", "closed_on", "user_id",
    "pattern", "converted_contact_id",
)  # fmt: skip
MAX_PROBLEMS = 20
_ID = 64
_NAME = 255
_NO_DOMAIN = re.compile(r"[\s,;|<>()\"]")
"""What stands beside a domain, or between two of them, and in none."""
_TRUE = frozenset({"true", "yes", "1", "open", "y", "t"})
_FALSE = frozenset({"false", "no", "0", "closed", "n", "f"})

Row = tuple[sa.Table, dict[str, Any]]


class CrmFileError(TerminalError):
    """The file cannot be imported. Each problem names line and column, and the kind of what stands there, never the value."""

    def __init__(self, problems: list[str]) -> None:
        more = [f"… and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
        self.problems = [*problems[:MAX_PROBLEMS], *more]
        super().__init__("\n".join(["the CRM file was not imported:", *self.problems]))


_BROKEN = "a quotation mark is opened and not closed, or stands in the middle of a quoted cell"


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One line of the file: the table rows it stands for (without team_id; what could not be read is None), and its mistakes.

    `id` is its cell of that name. `is_broken`: what follows it cannot be told apart from it, so it is the last one.
    """

    number: int
    rows: Sequence[Row]
    problems: Sequence[str] = ()
    id: str = ""
    is_broken: bool = False


class _Cells(dict[str, str]):
    """A line's cells by column, and what is wrong with them."""

    problems: list[str]

    def bad(self, column: str, what: str) -> None:
        self.problems.append(f"column {column}: {what}")


def read_lines(text: str) -> Iterator[Line]:
    """Every line of `text` (a CRM file) that says something.

    Raises:
        CrmFileError: the header line is not one.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=_delimiter(text), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
    except csv.Error:
        raise CrmFileError([f"line 1: {_BROKEN}"]) from None
    unknown = [str(n + 1) for n, name in enumerate(header) if name not in COLUMNS]
    twice = [
        f"line 1: the name of column number {n + 1} stands there twice"
        for n, name in enumerate(header)
        if name in COLUMNS and name in header[:n]
    ]
    if "kind" not in header or unknown or twice:
        missing = [] if "kind" in header else ["line 1: there is no column `kind`"]
        known = f"; the columns are {', '.join(COLUMNS)}"
        raise CrmFileError(missing + [f"line 1: unknown name of column number {n}{known}" for n in unknown] + twice)
    before = reader.line_num
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield Line(before + 1, [], [_BROKEN], is_broken=True)
            return
        number, before = before + 1, reader.line_num
        if not any(cell.strip() for cell in cells) or cells[0].lstrip().startswith("#"):
            continue
        values = _Cells(zip(header, (cell.strip() for cell in cells), strict=False))
        values.problems = []
        rows = _rows(values, len(cells), len(header))
        yield Line(number, rows, values.problems, values.get("id", ""))


def _rows(values: _Cells, cells: int, columns: int) -> Sequence[Row]:
    if cells > columns:
        values.bad(str(columns + 1), f"the line has {cells} cells, the header {columns}")
    kind = values.get("kind", "").lower()
    if kind not in _KINDS:
        values.bad("kind", f"none of {', '.join(_KINDS)}")
        return []
    return _KINDS[kind](values)


def _delimiter(text: str) -> str:
    head = text.partition("\n")[0]
    return max(",;\t", key=head.count)


def _id(values: _Cells, column: str, *, needed: bool = True) -> str | None:
    value = values.get(column, "")
    if not value:
        if needed:
            values.bad(column, "empty, an id is needed")
        return None
    if len(value) > _ID:
        values.bad(column, f"an id of {len(value)} characters, the most is {_ID}")
        return None
    if not value.isprintable():
        values.bad(column, "an id with a line break or another control character in it")
        return None
    return value


def _address(values: _Cells) -> str | None:
    found = crm_address(values.get("address", ""))
    if not _is_address(found) or len(found) > schema.ADDRESS:
        values.bad(
            "address", "empty, an e-mail address is needed" if not values.get("address") else "no e-mail address"
        )
        return None
    return found


def _is_address(text: str) -> bool:
    """Whether a field of a mail can name just this normalized address: what is no such thing would match nobody."""
    return [one.address for one in parse_addresses(text)] == [text]


def _domain(values: _Cells, text: str) -> str | None:
    found = crm_domain(text)
    if "." not in found.strip(".") or len(found) > 255 or _NO_DOMAIN.search(found):
        values.bad("domain", "no domain" if text else "empty, a domain is needed")
        return None
    return found


def _day(values: _Cells, column: str) -> dt.date | None:
    value = values.get(column, "")
    if not value:
        return None
    try:
        return dt.date.fromisoformat(value[:10])
    except ValueError:
        values.bad(column, "no date of the form YYYY-MM-DD")
        return None


def _flag(values: _Cells, column: str, default: bool) -> bool:
    value = values.get(column, "").lower()
    if not value:
        return default
    if value not in _TRUE | _FALSE:
        values.bad(column, "neither true nor false")
    return value in _TRUE


def _name(values: _Cells, column: str = "name") -> str:
    """On one line and without controls: a lead's name is what a stranger typed into some form."""
    return " ".join(clean_text(values.get(column, "")).split())[:_NAME]


def _user(values: _Cells) -> list[Row]:
    user_id = _id(values, "id")
    rows: list[Row] = [(schema.user, {"id": user_id, "name": _name(values), "is_listed": True})]
    if values.get("address"):
        rows.append((schema.user_address, {"address": _address(values), "user_id": user_id, "is_primary": True}))
    return rows


def _user_address(values: _Cells) -> list[Row]:
    return [
        (schema.user_address, {"address": _address(values), "user_id": _id(values, "user_id"), "is_primary": False})
    ]


def _own_domain(values: _Cells) -> list[Row]:
    return [(schema.own_domain, {"domain": _domain(values, values.get("domain", ""))})]


def _account(values: _Cells) -> list[Row]:
    account_id = _id(values, "id")
    rows: list[Row] = [(schema.account, {"id": account_id, "name": _name(values)})]
    for domain in re.split(r"[\s;,|]+", values.get("domain", "")):
        if domain:
            rows.append((schema.account_domain, {"domain": _domain(values, domain), "account_id": account_id}))
    return rows


def _account_domain(values: _Cells) -> list[Row]:
    return [
        (
            schema.account_domain,
            {"domain": _domain(values, values.get("domain", "")), "account_id": _id(values, "account_id")},
        )
    ]


def _contact(values: _Cells) -> list[Row]:
    row = {
        "id": _id(values, "id"), "address": _address(values), "name": _name(values),
        "account_id": _id(values, "account_id", needed=False),
    }  # fmt: skip
    return [(schema.contact, row)]


def _lead(values: _Cells) -> list[Row]:
    row = {
        "id": _id(values, "id"), "address": _address(values), "name": _name(values), "company": _name(values, "company"),
        "converted_contact_id": _id(values, "converted_contact_id", needed=False),
    }  # fmt: skip
    return [(schema.lead, row)]


def _opportunity(values: _Cells) -> list[Row]:
    opened_on, closed_on = _day(values, "opened_on"), _day(values, "closed_on")
    if not values.get("opened_on"):
        values.bad("opened_on", "empty, a date is needed")
    row = {
        "id": _id(values, "id"), "name": _name(values), "account_id": _id(values, "account_id"),
        "owner_user_id": _owner(values), "is_open": _flag(values, "is_open", closed_on is None), "opened_on": opened_on,
        "closed_on": closed_on,
    }  # fmt: skip
    return [(schema.opportunity, row)]


def _owner(values: _Cells) -> str | None:
    """A user's id, or an address that the import looks up."""
    return _id(values, "owner", needed=False) if "@" not in values.get("owner", "") else crm_address(values["owner"])


def _blocked(values: _Cells) -> list[Row]:
    pattern = values.get("pattern", "").lower() or values.get("domain", "").lower() or values.get("address", "").lower()
    normal = normal_pattern(pattern) if pattern else ""
    if not pattern:
        values.bad("pattern", "empty, an address, a domain or a wildcard is needed")
    elif not normal and is_wildcard(pattern) and not pattern.isascii() and not re.search(r"\s", pattern):
        values.bad("pattern", "a wildcard inside an international label; write the label out, or its xn-- form")
    elif not _is_pattern(normal) or max(len(pattern), len(normal)) > schema.ADDRESS:
        values.bad("pattern", "no address, domain or wildcard")
    return [(schema.blocked, {"pattern": normal, "user_id": _id(values, "user_id", needed=False) or ""})]


def _is_pattern(normal: str) -> bool:
    if "@" in normal and not is_wildcard(normal):
        return _is_address(normal)
    return bool(normal) and not _NO_DOMAIN.search(normal)


_KINDS: dict[str, Callable[[_Cells], list[Row]]] = {
    "user": _user, "user_address": _user_address, "own_domain": _own_domain, "account": _account,
    "account_domain": _account_domain, "contact": _contact, "lead": _lead, "opportunity": _opportunity, "blocked": _blocked,
}  # fmt: skip
