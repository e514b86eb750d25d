"""A team's settings in the database: read, and changed one at a time so that a running job takes the change up."""

from __future__ import annotations

import dataclasses
from typing import Any

import sqlalchemy as sa

from ..transforms.errors import TerminalError
from ..transforms.settings import TeamSettings
from . import schema
from .crm import UnknownTeamError
from .database import Database

NAMES = tuple(field.name for field in dataclasses.fields(TeamSettings))
_team = schema.team.c


class SettingError(TerminalError):
    """A setting's name or value cannot be: the text shows it, and what can."""


def read_settings(database: Database, team_id: str) -> TeamSettings:
    """The team's settings.

    Raises:
        SettingError: what is stored there cannot be; the text shows it.
        UnknownTeamError: there is no such team.
        StoreUnavailableError: the database cannot be reached.
    """
    with database.reading() as connection:
        return _parsed(_stored(connection, team_id))


def change_setting(database: Database, team_id: str, name: str, value: Any = None) -> bool:
    """Give one setting `value` (as JSON has it), or its default where it is None; whether that changed anything.

    The CRM version moves along, which is how every worker learns that its directory, with the settings in it, is outdated. No link
    of stored mail depends on a setting, so what was linked by the last version counts as linked by the new one.

    Raises:
        SettingError: there is no such setting, or the value cannot be; nothing was changed.
        UnknownTeamError: there is no such team.
        StoreUnavailableError: the database cannot be reached.
    """

    def work(connection: sa.Connection) -> bool:
        before = _stored(connection, team_id, lock=True)
        after = {key: one for key, one in before.items() if key != name}
        if value is not None or name not in {*NAMES, *before}:  # a name that is none may be taken away where it stands
            _parsed({name: value})
        if value is not None:
            after[name] = value
        after = _parsed(after).to_json()
        if after == before:
            return False
        is_linked = _team.relinked_version == _team.crm_version
        connection.execute(  # MariaDB sets from left to right: the version that is compared comes last
            sa.update(schema.team)
            .where(_team.id == team_id)
            .ordered_values(
                (_team.settings, after),
                (_team.relinked_version, sa.case((is_linked, _team.crm_version + 1), else_=_team.relinked_version)),
                (_team.crm_version, _team.crm_version + 1),
            )
        )
        return True

    return database.transaction(work)


def _stored(connection: sa.Connection, team_id: str, *, lock: bool = False) -> dict[str, Any]:
    query = sa.select(_team.settings).where(_team.id == team_id)
    found = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if found is None:
        raise UnknownTeamError(f"no team {team_id!r}")
    return dict(found.settings or {})


def _parsed(values: dict[str, Any]) -> TeamSettings:
    try:
        return TeamSettings.from_json(values)
    except ValueError as error:
        raise SettingError(str(error)) from None
