"""What all commands share: where the stores are, which team is meant, and how an error is said."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import getpass
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..io import secret_refs
from ..transforms.errors import DealmailError, StoreUnavailableError

if TYPE_CHECKING:  # SQLAlchemy takes a second to load, which `dealmail --help` need not wait for
    from ..io.database import Database, DatabaseSpec
    from ..io.search import SearchSpec

DEFAULT_DATABASE = "sqlite:///dealmail.db"
DEFAULT_TEAM = "default"

_C = TypeVar("_C", bound=click.Command)


class BadInputError(click.ClickException):
    """The person can put it right: exit code 2."""

    exit_code = 2


class FailedError(click.ClickException):
    """It did not work, or what was checked is not as it should be: exit code 1."""

    exit_code = 1


def one_line(text: str) -> str:
    """`text` with its line breaks made spaces."""
    return " ".join(text.split())


@dataclasses.dataclass
class Settings:
    """The common options, from the command line or the environment. Secrets are only named (see io/secret_refs)."""

    database: str = DEFAULT_DATABASE
    database_password: str = ""
    search: str = ""
    search_password: str = ""
    search_index: str = "dealmail"
    search_ca_certs: str = ""
    team: str = ""
    token_key: str = ""
    gmail_endpoint: str = ""
    oauth_client: str = ""
    typed: set[str] = dataclasses.field(default_factory=set)
    _looked_at: set[pathlib.Path] = dataclasses.field(default_factory=set, init=False, repr=False)

    def spec(self) -> DatabaseSpec:
        """Where the database is.

        Raises:
            BadInputError: a URL that is not supported.
        """
        from ..io.database import DatabaseSpec

        try:
            return DatabaseSpec(self.database, self.database_password)
        except ValueError as error:
            raise BadInputError(str(error)) from None

    @property
    def sqlite_file(self) -> pathlib.Path | None:
        """The database's file, or None where it is no SQLite file.

        Raises:
            BadInputError: there is something else under that name.
        """
        return self._sqlite_file(self.spec().url, "--database")

    def search_spec(self) -> SearchSpec:
        """Where the search index is: as given, else full text in the SQLite database's own file.

        Raises:
            BadInputError: none is given for a MariaDB database, or a URL that is not supported.
        """
        from ..io.search import SearchSpec

        if not self.search and self.sqlite_file is None:
            raise BadInputError("say --search=https://… : a MariaDB database has no full-text index of dealmail's")
        try:
            spec = SearchSpec(
                self.search or self.database,
                index=self.search_index,
                secret_ref=self.search_password,
                ca_certs=self.search_ca_certs,
            )
        except ValueError as error:
            raise BadInputError(str(error)) from None
        self._sqlite_file(spec.url, "--search")
        return spec

    def _sqlite_file(self, url: str, option: str) -> pathlib.Path | None:
        import sqlalchemy as sa

        from ..io.database import is_sqlite_file

        parsed = sa.engine.make_url(url)
        if parsed.drivername != "sqlite" or not parsed.database:
            return None
        file = pathlib.Path(parsed.database)
        try:
            if file in self._looked_at:
                return file
            # Once only, before it is open: to close a file drops all locks that this process has on it, SQLite's own among them, and
            # another process would then take the write-ahead log away.
            self._looked_at.add(file)
            if file.exists() and not is_sqlite_file(file):
                raise BadInputError(f"{file} is no SQLite database; name another with {option}")
        except OSError as error:
            raise BadInputError(f"{file}: {error.strerror}") from None
        return file

    @contextlib.contextmanager
    def open_database(self, *, create: bool = False) -> Iterator[Database]:
        """The database, with the schema of this release.

        Args:
            create: make a SQLite file that is not there yet; without it such a name is a mistake.

        Raises:
            BadInputError: there is no such file.
            SchemaError: it has no tables, or those of another release; the text names the command that mends it.
        """
        from ..io import migrate
        from ..io.database import Database

        spec, file = self.spec(), self.sqlite_file
        if create and file is not None:
            database = migrate.open_database(spec)
        elif file is not None and not file.exists():
            msg = f"there is no database {file}; `dealmail db upgrade` makes it, or name another with --database"
            raise BadInputError(msg)
        else:
            database = Database(spec)
        try:
            migrate.check_schema(database)
            yield database
        finally:
            database.close()

    def team_id(self, database: Database) -> str:
        """The team that is meant: --team, else `default`, else the only one.

        Raises:
            BadInputError: no such team, or several to choose from.
        """
        import sqlalchemy as sa

        from ..io import schema

        with database.reading() as connection:
            teams = sorted(connection.scalars(sa.select(schema.team.c.id)))
        if self.team:
            if self.team not in teams:
                raise BadInputError(f"there is no team {self.team}; teams: {', '.join(teams) or 'none yet'}")
            return self.team
        if DEFAULT_TEAM in teams:
            return DEFAULT_TEAM
        if len(teams) == 1:
            return teams[0]
        if not teams:
            raise BadInputError("there is no team yet; `dealmail crm import FILE` makes it")
        raise BadInputError(f"which team? say --team with one of: {', '.join(teams)}")


def _note(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is None or param.name is None:
        return
    settings = ctx.ensure_object(Settings)
    is_typed = ctx.get_parameter_source(param.name) is click.core.ParameterSource.COMMANDLINE
    if (
        is_typed or param.name not in settings.typed
    ):  # what is typed before the command outdoes the environment after it
        setattr(settings, param.name, value)
        settings.typed |= {param.name} if is_typed else set()


def _common_options() -> list[click.Option]:
    def option(name: str, help_: str, envvar: str | None = None) -> click.Option:
        return click.Option(
            [name], expose_value=False, callback=_note, is_eager=True, help=help_, envvar=envvar, show_envvar=True
        )

    return [
        option(
            "--database",
            f"SQLite or MariaDB, as a URL without password. [default: {DEFAULT_DATABASE}]",
            "DEALMAIL_DATABASE",
        ),
        option("--database-password", f"Name of its password: {secret_refs.FORMS}.", "DEALMAIL_DATABASE_PASSWORD"),
        option(
            "--search",
            "Search index: https://… or sqlite:///FILE. [default: full text beside the database]",
            "DEALMAIL_SEARCH",
        ),
        option("--search-password", "Name of Elasticsearch's API key or USER:PASSWORD.", "DEALMAIL_SEARCH_PASSWORD"),
        option("--search-index", "Alias of its index. [default: dealmail]", "DEALMAIL_SEARCH_INDEX"),
        option(
            "--search-ca-certs",
            "File of the certificates to trust. [default: those of the system's authorities]",
            "DEALMAIL_SEARCH_CA_CERTS",
        ),
        option("--team", "Which team. [default: `default`, or the only one]", "DEALMAIL_TEAM"),
        option(
            "--token-key",
            "Name of the key that encrypts tokens. [default: env:DEALMAIL_KEY, else a file beside the database]",
            "DEALMAIL_TOKEN_KEY",
        ),
        option(
            "--oauth-client", "Name of the OAuth client's JSON, as Google's console gives it.", "DEALMAIL_OAUTH_CLIENT"
        ),
        option(
            "--gmail-endpoint", "Another Gmail API, such as a sandbox. [default: Google's]", "DEALMAIL_GMAIL_ENDPOINT"
        ),
    ]


def add_common_options(command: _C) -> _C:
    """`command`, and all below it, with the options of Settings added once."""
    if not any(param.name == "database" for param in command.params):
        command.params.extend(_common_options())
        if isinstance(command, click.Group):
            for child in command.commands.values():
                add_common_options(child)
    return command


def this_person() -> str:
    """Who is at work, for the consent log: the name of the login, or the number where the machine knows none (in a container)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the former before Python 3.13
        return f"uid {os.getuid()}"


def with_settings(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hand the Settings in as first argument, and say dealmail's own errors in one line.

    Raises:
        FailedError: in place of a DealmailError.
        BadInputError: in place of a SecretNotFoundError.
    """

    @click.pass_context
    @functools.wraps(function)
    def wrapped(ctx: click.Context, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(ctx.ensure_object(Settings), *args, **kwargs)
        except secret_refs.SecretNotFoundError as error:
            raise BadInputError(str(error)) from error
        except StoreUnavailableError as error:
            raise FailedError(f"{error}; {_to_look_at(str(error))}") from error
        except DealmailError as error:
            raise FailedError(str(error) or type(error).__name__) from error

    return wrapped


def _to_look_at(problem: str) -> str:
    """What a person looks at first where a store cannot be used; SQLite is nothing that runs."""
    if "SQLITE_BUSY" in problem or "SQLITE_LOCKED" in problem:
        return "another process is writing to it: try again"
    if "SQLITE_" in problem:
        return "can the file and its folder be written, and is there room on the disk?"
    if "certificates" in problem:
        return "--search_ca_certs names the file"
    return "is it running?"
