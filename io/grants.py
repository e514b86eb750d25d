"""What the job's own user may do in MariaDB: everything in the tables but change or remove lines of the consent log."""

from __future__ import annotations

import re
from typing import Final

from . import schema

APPEND_ONLY: Final = frozenset({schema.consent.name})
"""Tables that only grow: nobody but an administrator can take a line back."""
_USER: Final = re.compile(r"([\w.$-]{1,80})(?:@([\w.%:-]{1,255}))?")


def grants(database: str, user: str) -> list[str]:
    """The statements by which an administrator gives `user` (name or name@host) what the job needs in the schema `database`.

    The tables are made and upgraded by the administrator (`dealmail db upgrade`): the job itself needs no more than this
    (https://mariadb.com/kb/en/grant/, table privileges).

    Raises:
        ValueError: `user` is no name of a MariaDB user.
    """
    found = _USER.fullmatch(user)
    if found is None:
        raise ValueError(f"{user!r} is no user of MariaDB: give a name, or name@host")
    to = f"'{found[1]}'@'{found[2] or '%'}'"
    place = f"`{database.replace('`', '``')}`"
    growing = sorted(set(schema.metadata.tables) - APPEND_ONLY)
    return [
        f"GRANT SELECT, INSERT ON {_alone(place)}.* TO {to}",
        *(f"GRANT UPDATE, DELETE ON {place}.`{table}` TO {to}" for table in growing),
    ]


def _alone(place: str) -> str:
    """`place` where MariaDB reads a pattern: an underscore would stand for any letter, and so for other databases."""
    return re.sub(r"[\\_%]", r"\\\g<0>", place)
