"""One INSERT statement for many rows, in the form that both drivers send fastest.

PyMySQL makes one multi-row statement of it as long as the ON DUPLICATE clause has no parameter. Rows are handed over as
tuples: SQLAlchemy's own executemany takes dictionaries, which costs PyMySQL twice the time (measured).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import sqlalchemy as sa

Row = dict[str, Any]


class BulkInsert:
    """INSERT of the columns `names` of `table`; columns left out get their defaults. Made once, used for every batch."""

    def __init__(self, dialect: sa.Dialect, table: sa.Table, names: Sequence[str]) -> None:
        quote = dialect.identifier_preparer.quote_identifier
        defaults = [c for c in table.columns if c.name not in names and c.default is not None]
        columns = [*(table.columns[name] for name in names), *defaults]
        mark = {"qmark": "?", "format": "%s", "pyformat": "%s"}[dialect.paramstyle]
        self.text = (
            f"INSERT INTO {quote(table.name)} ({', '.join(quote(c.name) for c in columns)})"  # noqa: S608 (our own names)
            f" VALUES ({', '.join([mark] * len(columns))})"
        )
        found = [c.type.dialect_impl(dialect).bind_processor(dialect) for c in columns]
        self._processors = [(n, process) for n, process in enumerate(found[: len(names)]) if process is not None]
        self._get: Callable[[Row], Any] = operator.itemgetter(*names)
        self._is_single = len(names) == 1
        self._defaults = [
            (cast(Any, c.default).arg, process) for c, process in zip(defaults, found[len(names) :], strict=True)
        ]

    def parameters(self, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
        """The rows as the driver takes them. All have the keys of the first one."""
        return list(self._each(rows))

    def _each(self, rows: Sequence[Row]) -> Iterator[tuple[Any, ...]]:
        tail = []
        for default, process in self._defaults:
            value = default(None) if callable(default) else default
            tail.append(process(value) if process is not None else value)
        for row in rows:
            cells = [self._get(row)] if self._is_single else list(self._get(row))
            for number, process in self._processors:
                cells[number] = process(cells[number])
            yield (*cells, *tail)
