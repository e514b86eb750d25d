"""A CRM file in, table rows out: reading and checking, without a database. docs/crm.md describes the file."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from ..transforms.blocklist import is_wildcard, normal_pattern
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
_TRUE = frozenset({"true", "yes", "1", "open", "y", "t"})
_FALSE = frozenset({"false", "no", "0", "closed", "n", "f"})

Row = tuple[sa.Table, dict[str, Any]]


class CrmFileError(TerminalError):
    """The file cannot be imported. Each problem names line and column, and the kind of what stands there, never the value."""

    def __init__(self, problems: list[str]) -> None:
        more = [f"… and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
        super().__init__("\n".join(["the CRM file was not imported:", *problems[:MAX_PROBLEMS], *more]))
        self.problems = problems


_BROKEN = "a quotation mark is opened and not closed, or stands in the middle of a quoted cell"


class _BadValueError(Exception):
    def __init__(self, column: str, what: str) -> None:
        super().__init__(f"column {column}: {what}")


def read_rows(text: str) -> Iterator[tuple[int, list[Row]]]:
    """The line numbers of `text` (a CRM file) and the table rows each line stands for, without team_id.

    Every line is read before the end, so all problems are named together.

    Raises:
        CrmFileError: at the end, or at once where the header line is not one.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=_delimiter(text), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
    except csv.Error:
        raise CrmFileError([f"line 1: {_BROKEN}"]) from None
    unknown = [str(n + 1) for n, name in enumerate(header) if name not in COLUMNS]
    if "kind" not in header or unknown:
        missing = [] if "kind" in header else ["line 1: there is no column `kind`"]
        known = f"; the columns are {', '.join(COLUMNS)}"
        raise CrmFileError(missing + [f"line 1: unknown name of column number {n}{known}" for n in unknown])
    problems: list[str] = []
    before = reader.line_num
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error:  # what follows cannot be told apart from the broken line
            problems.append(f"line {before + 1}: {_BROKEN}")
            break
        line, before = before + 1, reader.line_num
        if not any(cell.strip() for cell in cells) or cells[0].lstrip().startswith("#"):
            continue
        try:
            yield line, _rows(header, cells)
        except _BadValueError as error:
            problems.append(f"line {line}, {error}")
    if problems:
        raise CrmFileError(problems)


def _rows(header: list[str], cells: list[str]) -> list[Row]:
    if len(cells) > len(header):
        raise _BadValueError(str(len(header) + 1), f"the line has {len(cells)} cells, the header {len(header)}")
    values = dict(zip(header, (cell.strip() for cell in cells), strict=False))
    kind = values.get("kind", "").lower()
    if kind not in _KINDS:
        raise _BadValueError("kind", f"none of {', '.join(_KINDS)}")
    return _KINDS[kind](values)


def _delimiter(text: str) -> str:
    head = text.partition("\n")[0]
    return max(",;\t", key=head.count)


def _id(values: dict[str, str], column: str, *, needed: bool = True) -> str | None:
    value = values.get(column, "")
    if not value:
        if needed:
            raise _BadValueError(column, "empty, an id is needed")
        return None
    if len(value) > _ID:
        raise _BadValueError(column, f"an id of {len(value)} characters, the most is {_ID}")
    return value


def _address(values: dict[str, str]) -> str:
    found = crm_address(values.get("address", ""))
    if "@" not in found.strip("@") or len(found) > schema.ADDRESS:
        raise _BadValueError(
            "address", "empty, an e-mail address is needed" if not values.get("address") else "no e-mail address"
        )
    return found


def _domain(values: dict[str, str]) -> str:
    found = crm_domain(values.get("domain", ""))
    if "." not in found.strip(".") or len(found) > 255 or re.search(r"[\s,;]", found):
        raise _BadValueError("domain", "empty, a domain is needed" if not values.get("domain") else "no domain")
    return found


def _day(values: dict[str, str], column: str) -> dt.date | None:
    value = values.get(column, "")
    if not value:
        return None
    try:
        return dt.date.fromisoformat(value[:10])
    except ValueError:
        raise _BadValueError(column, "no date of the form YYYY-MM-DD") from None


def _flag(values: dict[str, str], column: str, default: bool) -> bool:
    value = values.get(column, "").lower()
    if not value:
        return default
    if value not in _TRUE | _FALSE:
        raise _BadValueError(column, "neither true nor false")
    return value in _TRUE


def _name(values: dict[str, str], column: str = "name") -> str:
    return values.get(column, "").replace("\0", "")[:_NAME]


def _user(values: dict[str, str]) -> list[Row]:
    user_id = _id(values, "id")
    rows: list[Row] = [(schema.user, {"id": user_id, "name": _name(values), "is_listed": True})]
    if values.get("address"):
        rows.append((schema.user_address, {"address": _address(values), "user_id": user_id, "is_primary": True}))
    return rows


def _user_address(values: dict[str, str]) -> list[Row]:
    return [
        (schema.user_address, {"address": _address(values), "user_id": _id(values, "user_id"), "is_primary": False})
    ]


def _own_domain(values: dict[str, str]) -> list[Row]:
    return [(schema.own_domain, {"domain": _domain(values)})]


def _account(values: dict[str, str]) -> list[Row]:
    account_id = _id(values, "id")
    rows: list[Row] = [(schema.account, {"id": account_id, "name": _name(values)})]
    for domain in re.split(r"[\s;,|]+", values.get("domain", "")):
        if domain:
            rows.append((schema.account_domain, {"domain": _domain({"domain": domain}), "account_id": account_id}))
    return rows


def _account_domain(values: dict[str, str]) -> list[Row]:
    return [(schema.account_domain, {"domain": _domain(values), "account_id": _id(values, "account_id")})]


def _contact(values: dict[str, str]) -> list[Row]:
    row = {
        "id": _id(values, "id"), "address": _address(values), "name": _name(values),
        "account_id": _id(values, "account_id", needed=False),
    }  # fmt: skip
    return [(schema.contact, row)]


def _lead(values: dict[str, str]) -> list[Row]:
    row = {
        "id": _id(values, "id"), "address": _address(values), "name": _name(values), "company": _name(values, "company"),
        "converted_contact_id": _id(values, "converted_contact_id", needed=False),
    }  # fmt: skip
    return [(schema.lead, row)]


def _opportunity(values: dict[str, str]) -> list[Row]:
    opened_on, closed_on = _day(values, "opened_on"), _day(values, "closed_on")
    if opened_on is None:
        raise _BadValueError("opened_on", "empty, a date is needed")
    row = {
        "id": _id(values, "id"), "name": _name(values), "account_id": _id(values, "account_id"),
        "owner_user_id": _owner(values), "is_open": _flag(values, "is_open", closed_on is None), "opened_on": opened_on,
        "closed_on": closed_on,
    }  # fmt: skip
    return [(schema.opportunity, row)]


def _owner(values: dict[str, str]) -> str | None:
    """A user's id, or an address that the import looks up."""
    return _id(values, "owner", needed=False) if "@" not in values.get("owner", "") else crm_address(values["owner"])


def _blocked(values: dict[str, str]) -> list[Row]:
    pattern = values.get("pattern", "").lower() or values.get("domain", "").lower() or values.get("address", "").lower()
    if not pattern:
        raise _BadValueError("pattern", "empty, an address, a domain or a wildcard is needed")
    if len(pattern) > schema.ADDRESS or re.search(r"\s", pattern):
        raise _BadValueError("pattern", "no address, domain or wildcard")
    normal = normal_pattern(pattern)
    if not normal and is_wildcard(pattern) and not pattern.isascii():
        raise _BadValueError(
            "pattern", "a wildcard inside an international label; write the label out, or its xn-- form"
        )
    if not normal or len(normal) > schema.ADDRESS:
        raise _BadValueError("pattern", "no address, domain or wildcard")
    return [(schema.blocked, {"pattern": normal, "user_id": _id(values, "user_id", needed=False) or ""})]


_KINDS: dict[str, Callable[[dict[str, str]], list[Row]]] = {
    "user": _user, "user_address": _user_address, "own_domain": _own_domain, "account": _account,
    "account_domain": _account_domain, "contact": _contact, "lead": _lead, "opportunity": _opportunity, "blocked": _blocked,
}  # fmt: skip
