"""Traps: named places on a message's way at which a job kills itself by SIGKILL, once. Armed in a child of warm_job.py.

A place is found by what the job does there: a database statement, a commit, a request to Gmail, an acknowledgement.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import signal
import sys
from collections.abc import Callable
from typing import Any, Final, Literal


@dataclasses.dataclass(frozen=True)
class Trap:
    """Strikes at the `nth` thing that fits: a statement about to run, the commit of its transaction, or the statement after that
    commit; a request to Gmail; an acknowledgement.
    """

    kind: Literal["statement", "commit", "after", "request", "acknowledge"]
    fits: str = ""
    nth: int = 1


CURSOR = r"UPDATE mailbox SET .*history_id"
FOUND = r'INSERT INTO "?message"? '
LEASED = r"UPDATE message SET .*lease_until"
STORED = r'INSERT INTO "?engagement"? '
INDEXED = r"DELETE FROM search_outbox"

TRAPS: Final[dict[str, Trap]] = {
    "before Gmail is asked what is new": Trap("request", r"GET /gmail/v1/users/me/(history|profile)"),
    "with Gmail's answer, before the cursor moves": Trap("statement", CURSOR),
    "between the cursor and the ids": Trap("statement", FOUND),
    "with the ids, before the commit": Trap("commit", FOUND),
    "between the ids and the lease": Trap("after", FOUND),
    "with the lease, before its commit": Trap("commit", LEASED),
    "between the lease and the first read": Trap("request", r"GET /gmail/v1/users/me/messages/\w+\?"),
    "in the middle of the reads": Trap("request", r"GET /gmail/v1/users/me/messages/\w+\?", 4),
    "with all read, before anything is stored": Trap("statement", STORED),
    "in the middle of storing": Trap("statement", r'INSERT INTO "?engagement_copy"? '),
    "with all stored, before the commit": Trap("commit", STORED),
    "between storing and indexing": Trap("after", STORED),
    "with the index written, before the outbox is emptied": Trap("statement", INDEXED),
    "with the outbox emptied, before its commit": Trap("commit", INDEXED),
    "after everything": Trap("after", INDEXED),
}
RECOVERY: Final[dict[str, Trap]] = {
    "between the new cursor and its listing": Trap("statement", r"INSERT INTO listing "),
    "with both, before the commit": Trap("commit", r"INSERT INTO listing "),
    "between them and the first page": Trap("after", r"INSERT INTO listing "),
    "with a page read, before it is noted": Trap("statement", r"UPDATE listing SET "),
    "between two listings": Trap("after", r"UPDATE listing SET .*finished_at"),
}
"""Places in a recovery from an expired cursor."""

ACKNOWLEDGE: Final = Trap("acknowledge")


def arm(trap: Trap, told: pathlib.Path) -> None:
    """Set the trap in this process; `told` is written as it strikes."""
    left = [trap.nth]

    def strike() -> None:
        left[0] -= 1
        if left[0] == 0:
            told.write_text("struck")
            os.kill(os.getpid(), signal.SIGKILL)

    if trap.kind == "request":
        _on_request(trap.fits, strike)
    elif trap.kind == "acknowledge":
        from dealmail.io.pubsub import PullSource

        PullSource.ack = lambda *unused: strike()  # type: ignore[method-assign]  # this process dies of it
    else:
        _on_statement(trap, strike)


def _on_request(fits: str, strike: Callable[[], None]) -> None:
    wanted = re.compile(fits.encode())

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "http.client.send" and isinstance(arguments[1], bytes) and wanted.match(arguments[1]):
            strike()

    sys.addaudithook(heard)


def _on_statement(trap: Trap, strike: Callable[[], None]) -> None:
    import sqlalchemy as sa

    wanted = re.compile(trap.fits, re.DOTALL)
    seen, committed = set[int](), set[int]()

    def statement(connection: sa.Connection, unused_cursor: Any, text: str, *unused: Any) -> None:
        if committed:
            strike()
        if wanted.match(text):
            seen.add(id(connection))
            if trap.kind == "statement":
                strike()

    def commit(connection: sa.Connection) -> None:
        if id(connection) in seen:
            seen.discard(id(connection))
            if trap.kind == "commit":
                strike()
            elif trap.kind == "after":
                committed.add(id(connection))

    sa.event.listen(sa.Engine, "before_cursor_execute", statement)
    sa.event.listen(sa.Engine, "commit", commit)
