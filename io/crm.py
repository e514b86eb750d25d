"""The CRM tables as the job reads them: one compact directory a team, built once per CRM version and process."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from ..transforms.crm_directory import CrmDirectory, CrmRows
from ..transforms.errors import DealmailError, StoreUnavailableError
from ..transforms.settings import TeamSettings
from . import schema
from .database import Database

_log = logging.getLogger(__name__)
_PAGE = 5_000
QUICK_BUILD_S = 0.5
"""A directory that took no longer than this to build is built anew while the caller waits; a slower one in the background."""


class UnknownTeamError(DealmailError):
    """There is no such team."""


def crm_stamps(database: Database) -> list[tuple[str, int]]:
    """Every team's id and the version of its CRM: what a worker compares its directories with."""
    with database.reading() as connection:
        query = sa.select(schema.team.c.id, schema.team.c.crm_version).order_by(schema.team.c.id)
        return [(team_id, version) for team_id, version in connection.execute(query)]


@dataclasses.dataclass(slots=True)
class _Shelf:
    """One team's directory and who is building the next one."""

    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    directory: CrmDirectory | None = None
    checked_at: float = 0.0
    build_s: float = 0.0
    refresh: threading.Thread | None = None


class DatabaseDirectories:
    """See transforms.select_customer_mail.Directories. One a process, shared by its threads."""

    def __init__(
        self, database: Database, time_to_live_s: float = 5.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Whoever gives no version is answered with a directory that was the newest at most `time_to_live_s` ago."""
        self._database = database
        self._time_to_live_s = time_to_live_s
        self._monotonic = monotonic
        self._shelves: dict[str, _Shelf] = {}
        self._lock = threading.Lock()

    def directory(self, team_id: str, version: int | None = None) -> CrmDirectory:
        """The directory of `team_id`, as new as `version`; None: as new as the time-to-live promises.

        No mail waits for a large one to be built anew: the old one answers until the new one stands. It says its version, and
        settling hands back what an outdated version kept out.

        Raises:
            UnknownTeamError: there is no such team.
            StoreUnavailableError: the database cannot be reached and there is no directory that would do.
        """
        shelf = self._shelf(team_id)
        current = shelf.directory
        if current is not None:
            if not self._is_outdated(shelf, current, version):
                return current
            if shelf.build_s > QUICK_BUILD_S:
                self._refresh_later(team_id, shelf)
                return current
        with shelf.lock:
            current = shelf.directory
            if current is None or self._is_outdated(shelf, current, version):
                self._refresh(team_id, shelf)
            assert shelf.directory is not None
            return shelf.directory

    def newest(self, team_id: str) -> CrmDirectory | None:
        """The directory of the team's CRM as it is now; None while a large one is being built in the background.

        Raises:
            UnknownTeamError: there is no such team.
            StoreUnavailableError: the database cannot be reached.
        """
        directory = self.directory(team_id, version := _version(self._database, team_id))
        return directory if directory.version >= version else None

    def refresh(self, team_id: str) -> CrmDirectory:
        """Bring the team's directory to the newest version now, however long that takes.

        Raises:
            UnknownTeamError: there is no such team.
            StoreUnavailableError: the database cannot be reached.
        """
        shelf = self._shelf(team_id)
        with shelf.lock:
            self._refresh(team_id, shelf)
            assert shelf.directory is not None
            return shelf.directory

    def _is_outdated(self, shelf: _Shelf, directory: CrmDirectory, version: int | None) -> bool:
        if version is not None:
            return directory.version < version
        return self._monotonic() - shelf.checked_at >= self._time_to_live_s

    def _shelf(self, team_id: str) -> _Shelf:
        with self._lock:
            return self._shelves.setdefault(team_id, _Shelf())

    def _refresh_later(self, team_id: str, shelf: _Shelf) -> None:
        with self._lock:
            if shelf.refresh is None or not shelf.refresh.is_alive():
                shelf.refresh = threading.Thread(target=self._try_refresh, args=(team_id, shelf), daemon=True)
                shelf.refresh.start()

    def _try_refresh(self, team_id: str, shelf: _Shelf) -> None:
        try:
            with shelf.lock:
                self._refresh(team_id, shelf)
        except (StoreUnavailableError, UnknownTeamError) as error:
            _log.warning("CRM of team %s not refreshed: %s", team_id, type(error).__name__)

    def _refresh(self, team_id: str, shelf: _Shelf) -> None:
        """Build the newest version if it is not the one at hand. The shelf's lock is held."""
        checked_at = self._monotonic()
        found = _version(self._database, team_id)
        if shelf.directory is None or shelf.directory.version < found:
            shelf.directory = load_directory(self._database, team_id)
            shelf.build_s = self._monotonic() - checked_at
            _log.info("CRM of team %s: version %d in %.2f s", team_id, shelf.directory.version, shelf.build_s)
        shelf.checked_at = checked_at


def _version(database: Database, team_id: str) -> int:
    with database.reading() as connection:
        found = connection.scalar(sa.select(schema.team.c.crm_version).where(schema.team.c.id == team_id))
    if found is None:
        msg = f"no team {team_id!r}"
        raise UnknownTeamError(msg)
    return int(found)


def load_directory(database: Database, team_id: str) -> CrmDirectory:
    """Build the team's directory from one snapshot of the tables, streaming.

    Raises:
        UnknownTeamError: there is no such team.
        StoreUnavailableError: the database cannot be reached.
    """
    with database.reading(snapshot=True) as connection:
        team = connection.execute(sa.select(schema.team).where(schema.team.c.id == team_id)).mappings().one_or_none()
        if team is None:
            msg = f"no team {team_id!r}"
            raise UnknownTeamError(msg)

        def rows(*columns: Any, where: tuple[Any, ...] = ()) -> Iterator[Any]:
            query = sa.select(*columns).where(columns[0].table.c.team_id == team_id, *where)
            yield from connection.execution_options(yield_per=_PAGE).execute(query)

        user, contact, lead = schema.user_address.c, schema.contact.c, schema.lead.c
        deal, blocked = schema.opportunity.c, schema.blocked.c
        crm = CrmRows(
            users=rows(user.user_id, user.address),
            own_domains=(domain for (domain,) in rows(schema.own_domain.c.domain)),
            account_domains=rows(schema.account_domain.c.domain, schema.account_domain.c.account_id),
            contacts=rows(contact.id, contact.address, contact.account_id),
            leads=rows(lead.id, lead.address, lead.converted_contact_id),
            opportunities=rows(
                deal.id, deal.account_id, deal.owner_user_id, deal.opened_on, where=(deal.is_open.is_(True),)
            ),
            blocked=rows(blocked.user_id, blocked.pattern),
            settings=TeamSettings.from_json(team["settings"]),
        )
        return CrmDirectory.build(team_id, team["crm_version"], crm)
