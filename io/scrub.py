"""Taking what was deleted out of the database's files too, as far as its own account can; the rest is said, statement by statement.

A deleted row's bytes stay in the files until something else is written there.
"""

from __future__ import annotations

from . import schema
from .database import Database

TABLES = (
    schema.engagement, schema.participant, schema.engagement_link, schema.engagement_copy, schema.correspondence, schema.message,
    schema.message_context, schema.listing, schema.credential, schema.ended_credential,
)  # fmt: skip
"""The tables that hold, or point at, somebody's mail, and those of sealed tokens: a key that got out still opens what it once sealed."""

_FLUSH = ("FLUSH TABLES scrub_filler FOR EXPORT", "UNLOCK TABLES")
OVERWRITE = (
    "SET GLOBAL innodb_immediate_scrub_data_uncompressed = ON",
    "CREATE TABLE scrub_filler (id INT PRIMARY KEY, b CHAR(200) CHARACTER SET latin1) ENGINE=InnoDB",
    "INSERT INTO scrub_filler SELECT seq, REPEAT('x', 200) FROM seq_1_to_30000", *_FLUSH,
    "UPDATE scrub_filler SET b = REPEAT('y', 200)", *_FLUSH,
    "UPDATE scrub_filler SET b = REPEAT('z', 200)", *_FLUSH,
    "DROP TABLE scrub_filler",
    "SET GLOBAL innodb_log_file_size = @@GLOBAL.innodb_log_file_size * 2",
    "SET GLOBAL innodb_log_file_size = @@GLOBAL.innodb_log_file_size DIV 2",
)  # fmt: skip
"""What overwrites MariaDB's own files, for an account with the global rights SUPER and RELOAD, in dealmail's database, in one
connection; MariaDB 10.11 or newer.

The first statement has pages zeroed when they are freed. The filler is three times the doublewrite buffer: only pages that are
in the table already are written through it, so they are updated, and their old rows overwrite freed pages of the undo log. A
redo log of another size is a new file; the old one is deleted.
"""
BINARY_LOG = ("FLUSH BINARY LOGS", "DO SLEEP(2)", "PURGE BINARY LOGS BEFORE NOW()")
"""Where there is a binary log: once every replica has read it. A log that was closed within this very second would not be purged."""


def scrub(database: Database) -> list[str]:
    """Rewrite what holds mail, so that nothing of deleted rows is left in it. To be called once the outbox is drained.

    Returns what is left to do by hand, one statement or sentence each; empty where nothing is.

    Raises:
        StoreUnavailableError: the database cannot be reached, or (SQLite) somebody else would not let go of it for a minute.
    """
    return _sqlite(database) if database.dialect == "sqlite" else _mariadb(database)


def _sqlite(database: Database) -> list[str]:
    """Deleted cells are overwritten at once (secure_delete), but a page that was rearranged may keep an old cell's copy."""
    database.run_outside("vacuum")
    ((busy, _, _),) = database.run_outside("pragma wal_checkpoint(truncate)")
    return ["another process is reading the database, so its write-ahead log could not be emptied: try again"] * busy


def _mariadb(database: Database) -> list[str]:
    """The tables are written anew; what the server keeps of them in its own files is an administrator's to overwrite."""
    database.run_outside("optimize table " + ", ".join(f"`{table.name}`" for table in TABLES))
    ((has_binary_log,),) = database.run_outside("select @@log_bin")
    return [*OVERWRITE, *(BINARY_LOG if has_binary_log else ())]
