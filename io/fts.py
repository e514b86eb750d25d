# ruff: noqa: S608 (statements are put together from constants and generation numbers only)
"""The search index in an SQLite file, by FTS5: the embedded twin of Elasticsearch.

It may share the file of the database or have its own, which lets both write at once. Tables carry a generation number in
their names; `search_state` says which one answers, so a rebuilt generation takes over in one transaction.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import json
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from ..transforms.errors import StoreUnavailableError
from . import search
from .database import SQLITE_BUSY, SQLITE_UNUSABLE
from .search import DONE, STALE, Hit, IndexedVersion, IndexEntry, IndexUnavailableError, Outcome, Put, SearchQuery

PAGE = 500
_HAN = "[\u2e80-\u2fdf\u3005-\u3007\u3041-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_UNSPACED = re.compile(rf"(?<={_HAN})(?=\w)|(?<=\w)(?={_HAN})")
"""Han and Hiragana: written without spaces. FTS5 would take a whole sentence for one word; Unicode's word rules (UAX #29,
which Elasticsearch follows) break before and after each letter, and so do we, with a zero-width space."""
_BREAK = "\u200b"

_TABLES = """
create table if not exists search_document_{g} (
  id integer primary key, team_id text not null, engagement_id text not null, version integer not null,
  digest text, sent_ms integer, subject text, text text, people text, document text,
  unique (team_id, engagement_id));
create table if not exists search_tag_{g} (
  team_id text not null, kind text not null, value text not null, id integer not null,
  primary key (team_id, kind, value, id)) without rowid;
create index if not exists search_tag_{g}_id on search_tag_{g} (id);
create index if not exists search_document_{g}_sent on search_document_{g} (team_id, sent_ms);
create virtual table if not exists search_fts_{g} using fts5(
  subject, text, people, content='search_document_{g}', content_rowid='id', tokenize="unicode61 remove_diacritics 0");
"""
_DROP = "drop table if exists search_fts_{g}; drop table if exists search_tag_{g}; drop table if exists search_document_{g};"
_WEIGHTS = "3.0, 1.0, 2.0"
_FTS = "subject, text, people"


class FtsIndex:
    """A `SearchIndex` in an SQLite file. A deleted engagement leaves its version behind, so that a late write stays out."""

    def __init__(self, spec: search.SearchSpec) -> None:
        """Nothing is opened yet."""
        self._spec = spec
        self._path = sa.engine.make_url(spec.url).database or ""
        if not self._path or self._path == ":memory:":
            raise ValueError(f"search {spec.url}: name a file, as in sqlite:///search.db")
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._generation: int | None = None  # set: this object fills one that does not answer yet

    # --- connections ---------------------------------------------------------------------------------------------------
    def _connection(self) -> sqlite3.Connection:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, timeout=60, isolation_level=None, check_same_thread=False)
            connection.row_factory = sqlite3.Row
            connection.execute("pragma journal_mode=wal")
            connection.execute("pragma synchronous=normal")
            connection.execute("pragma secure_delete=on")
            connection.execute("pragma temp_store=memory")  # see io/database.py
            self._local.connection = connection
            self._open.append(connection)
        return connection

    @contextlib.contextmanager
    def _transaction(self, begin: str = "begin immediate") -> Iterator[sqlite3.Connection]:
        try:
            connection = self._connection()
            connection.execute(begin)
            try:
                yield connection
                connection.execute("commit")
            except BaseException:  # also Ctrl-C: nothing is half written; raised again below
                if connection.in_transaction:
                    connection.execute("rollback")
                raise
        except sqlite3.OperationalError as error:
            raise _translated(error) from None

    def _now(self, connection: sqlite3.Connection) -> int:
        """The generation this object reads and writes."""
        if self._generation is not None:
            return self._generation
        return connection.execute("select generation from search_state where answers").fetchone()[0]

    def close(self) -> None:
        """Close this object's connections."""
        for connection in self._open:
            connection.close()
        self._open.clear()
        self._local = threading.local()

    # --- writing -------------------------------------------------------------------------------------------------------
    def ensure(self) -> None:
        """Make the tables where they are missing.

        Raises:
            StoreUnavailableError: the file cannot be opened or written, or this Python's SQLite has no FTS5.
        """
        with self._transaction() as connection:
            connection.execute(
                "create table if not exists search_state (generation integer primary key, answers integer not null)"
            )
            if connection.execute("select count(*) from search_state where answers").fetchone()[0] == 0:
                self._make(connection, 1, answers=True)

    @staticmethod
    def _make(connection: sqlite3.Connection, generation: int, *, answers: bool) -> None:
        for statement in _TABLES.format(g=generation).split(";\n"):
            connection.execute(statement)
        if sqlite3.sqlite_version_info >= (
            3,
            42,
        ):  # older ones forget deleted words only when segments merge: see compact
            connection.execute(
                f"insert into search_fts_{generation}(search_fts_{generation}, rank) values ('secure-delete', 1)"
            )
        connection.execute("insert or replace into search_state values (?, ?)", (generation, answers))

    def put(self, entries: Sequence[IndexEntry]) -> list[Outcome]:
        """Write entries in one transaction: all of them or, with IndexUnavailableError, none."""
        try:
            with self._transaction() as connection:
                current = self._now(connection)
                outcomes = [self._put(connection, current, entry) for entry in entries]
                others = "select generation from search_state where generation <> ? and ?"
                for (filling,) in connection.execute(others, (current, self._generation is None)).fetchall():
                    for entry in entries:  # what takes this generation's place must not lack it, nor bring it back
                        self._put(connection, filling, entry)
                return outcomes
        except StoreUnavailableError as error:
            raise IndexUnavailableError(str(error), [None] * len(entries)) from None

    def prepare(self, entries: Iterable[IndexEntry]) -> Put:
        """As `put`, which has nothing to do before."""
        return functools.partial(self.put, list(entries))

    @staticmethod
    def _put(connection: sqlite3.Connection, g: int, entry: IndexEntry) -> Outcome:
        key = (entry.team_id, entry.engagement_id)
        old = connection.execute(
            f"select id, version, {_FTS} from search_document_{g} where team_id = ? and engagement_id = ?",
            key,
        ).fetchone()
        if old is not None and old["version"] > entry.version:
            return STALE
        if old is not None:
            if old["subject"] is not None:
                connection.execute(
                    f"insert into search_fts_{g}(search_fts_{g}, rowid, {_FTS}) values ('delete', ?, ?, ?, ?)",
                    (old["id"], old["subject"], old["text"], old["people"]),
                )
            connection.execute(f"delete from search_tag_{g} where id = ?", (old["id"],))
        made = entry.document
        row: tuple[Any, ...] = (None, None, None, None, None, None)
        if made is not None:
            sent = int(dt.datetime.fromisoformat(made["sent_at"]).timestamp() * 1000)
            words = tuple(_spaced(made[field]) for field in ("subject", "text", "people"))
            shown = {name: value for name, value in made.items() if name not in {"text", "people"}}
            row = (made["digest"], sent, *words, json.dumps(shown, separators=(",", ":")))
        rowid = connection.execute(
            f"insert into search_document_{g} (team_id, engagement_id, version, digest, sent_ms, {_FTS}, document)"
            " values (?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (team_id, engagement_id) do update set version = excluded.version,"
            " digest = excluded.digest, sent_ms = excluded.sent_ms, subject = excluded.subject, text = excluded.text,"
            " people = excluded.people, document = excluded.document returning id",
            (*key, entry.version, *row),
        ).fetchone()[0]
        if made is not None:
            connection.execute(f"insert into search_fts_{g}(rowid, {_FTS}) values (?, ?, ?, ?)", (rowid, *words))
            tags = [("address", v) for v in made["addresses"]] + [("domain", v) for v in made["domains"]]
            tags += [("opportunity", v) for v in made["opportunity_ids"]]
            connection.executemany(
                f"insert into search_tag_{g} values (?, ?, ?, ?)",
                [(entry.team_id, kind, value, rowid) for kind, value in tags],
            )
        return DONE

    def refresh(self) -> None:
        """Nothing to do: what is committed is visible."""

    # --- reading -------------------------------------------------------------------------------------------------------
    def search(self, team_id: str, query: SearchQuery) -> list[Hit]:
        """What this team's mail holds: best first where text is asked for, else newest first."""
        found_terms = search.terms(query.text)
        match = [f"{_phrase(term.text)}{' *' if term.prefix else ''}" for term in found_terms]
        who = search.person(query.person)
        where, values = ["d.team_id = ?", "d.document is not null"], [team_id]
        tags = [("opportunity", query.deal)] if query.deal else []
        if who is not None:
            tags += [("address", who.address)] if who.address else [("domain", who.domain)] if who.domain else []
            match += [f"people : {_phrase(word)}" for word in who.words]
        with self._transaction("begin") as connection:
            g = self._now(connection)
            for tag in tags:
                where.append(f"d.id in (select id from search_tag_{g} where team_id = ? and kind = ? and value = ?)")
                values += [team_id, *tag]
            for time, test in ((query.after, ">="), (query.before, "<")):
                if time is not None:
                    where.append(f"d.sent_ms {test} ?")
                    values.append(int(time.timestamp() * 1000))  # type: ignore[arg-type]  # SQLite takes any
            tables, shown, order = f"search_document_{g} d", "0.0, null, null", "d.sent_ms desc, d.engagement_id"
            if match:
                tables = f"search_fts_{g} f join search_document_{g} d on d.id = f.rowid"
                where.insert(0, f"search_fts_{g} match ?")
                values.insert(0, " AND ".join(f"({part})" for part in match))
                shown = (
                    f"-bm25(search_fts_{g}, {_WEIGHTS}), highlight(search_fts_{g}, 0, ?, ?),"
                    f" snippet(search_fts_{g}, 1, ?, ?, '…', 32)"
                )
                values = [search.MARK_START, search.MARK_END] * 2 + values
                if found_terms:
                    order = f"bm25(search_fts_{g}, {_WEIGHTS}), {order}"
            rows = connection.execute(
                f"select d.document, {shown} from {tables} where {' and '.join(where)} order by {order} limit ?",
                (*values, query.limit),
            ).fetchall()
        if not found_terms:  # by person or deal alone: nothing in the text was asked for
            return [search.hit(json.loads(row[0]), 0.0, ()) for row in rows]
        return [
            search.hit(json.loads(doc), score, (("subject", _unspaced(subject)), ("text", _unspaced(text))))
            for doc, score, subject, text in rows
        ]

    def scan(self, team_id: str | None = None) -> Iterator[IndexedVersion]:
        """All engagements (of one team) in order of (team_id, engagement_id), a page at a time."""
        after = (team_id or "", "")
        only = "" if team_id is None else "and team_id = ?"
        given = () if team_id is None else (team_id,)
        while True:
            with self._transaction("begin") as connection:
                rows = connection.execute(
                    f"select team_id, engagement_id, version, digest from search_document_{self._now(connection)}"
                    f" where (team_id, engagement_id) > (?, ?) {only} and document is not null"
                    " order by team_id, engagement_id limit ?",
                    (*after, *given, PAGE),
                ).fetchall()
            for row in rows:
                yield IndexedVersion(*row)
            if len(rows) < PAGE:
                return
            after = (rows[-1][0], rows[-1][1])

    def lookup(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], IndexedVersion]:
        """What the index holds this moment of these (team_id, engagement_id)."""
        found = {}
        with self._transaction("begin") as connection:
            g = self._now(connection)
            for key in keys:
                row = connection.execute(
                    f"select team_id, engagement_id, version, digest from search_document_{g}"
                    " where team_id = ? and engagement_id = ? and document is not null",
                    key,
                ).fetchone()
                if row is not None:
                    found[key] = IndexedVersion(*row)
        return found

    # --- upkeep --------------------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def rebuilding(self) -> Iterator[FtsIndex]:
        """A fresh generation to fill, which takes over when the block ends without error; the old one is dropped then."""
        with self._transaction() as connection:
            for (left,) in connection.execute("select generation from search_state where not answers").fetchall():
                self._drop(connection, left)  # of a rebuild that did not end
            generation = connection.execute("select max(generation) + 1 from search_state").fetchone()[0]
            self._make(connection, generation, answers=False)
        fresh = FtsIndex(self._spec)
        fresh._generation = generation
        try:
            yield fresh
            with self._transaction() as connection:
                old = self._now(connection)
                connection.execute("update search_state set answers = (generation = ?)", (generation,))
                self._drop(connection, old)
        except BaseException:  # also Ctrl-C: no half-filled index stays; raised again below
            with self._transaction() as connection:
                self._drop(connection, generation)
            raise
        finally:
            fresh.close()

    @staticmethod
    def _drop(connection: sqlite3.Connection, generation: int) -> None:
        for statement in _DROP.format(g=generation).split("; "):
            connection.execute(statement)
        connection.execute("delete from search_state where generation = ?", (generation,))

    def compact(self) -> None:
        """Merge all segments, so that no deleted word is left in one, write the file anew and empty the write-ahead log.

        Deleted cells are overwritten at once (secure_delete), but a page that was rearranged may keep an old cell's copy.

        Raises:
            StoreUnavailableError: somebody else would not let go of the file for a minute; or it cannot be written.
        """
        with self._transaction() as connection:  # what is being filled, or was left behind, gets deletes too
            for (g,) in connection.execute("select generation from search_state").fetchall():
                connection.execute(f"insert into search_fts_{g}(search_fts_{g}) values ('optimize')")
        try:
            self._connection().execute("pragma temp_store=file")  # the whole file is copied
            try:
                self._connection().execute("vacuum")
            finally:
                self._connection().execute("pragma temp_store=memory")
            busy, _, _ = self._connection().execute("pragma wal_checkpoint(truncate)").fetchone()
        except sqlite3.OperationalError as error:
            raise _translated(error) from None
        if busy:
            raise StoreUnavailableError("search file: another process reads it, so its log could not be emptied")


def _phrase(text: str) -> str:
    """An FTS5 string (sqlite.org/fts5.html section 3.1): quotes doubled; no other character means anything inside."""
    return '"' + _spaced(text).replace('"', '""').replace("\0", " ") + '"'


def _spaced(text: str) -> str:
    return text if text.isascii() else _UNSPACED.sub(_BREAK, text)


def _unspaced(text: str) -> str:
    """Without the breaks we put in; breaks of the mail's own between other letters stay."""
    marks = f"[{search.MARK_START}{search.MARK_END}]*"
    return re.sub(f"(?<={_HAN})({marks}){_BREAK}|{_BREAK}({marks})(?={_HAN})", r"\1\2", text)


def _translated(error: sqlite3.OperationalError) -> Exception:
    """The error for callers: unavailable where the file is locked, full or failing, else what it is."""
    if (error.sqlite_errorcode & 0xFF) in SQLITE_BUSY | SQLITE_UNUSABLE:
        return StoreUnavailableError(f"search file: {error.sqlite_errorname}")
    return error
