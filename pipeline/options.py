"""The job's options: argparse groups at the edge, one frozen and checked JobOptions inside."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import os
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import sqlalchemy as sa

from ..io import environment, secret_refs
from ..io.database import DatabaseSpec
from ..io.leasing import LeaseSettings
from ..io.quota import LARGE_TEXTS, QuotaLimits
from ..io.search import SearchSpec
from ..io.vault import KMS
from .build import GraphOptions

RUNNERS = ("DirectRunner", "FlinkRunner", "DataflowRunner", "PrismRunner", "PortableRunner")
EMBEDDED_DATABASE = "sqlite:///dealmail.db"
ENDLESS_FETCH_SHARDS = 16
"""A mailbox stays in one shard, so that what is read of it side by side stays bounded; one shard is one worker's."""
_PATHS = {
    "subscription": re.compile(
        r"projects/[a-z][-a-z0-9:.]{4,61}[a-z0-9]/subscriptions/[A-Za-z][-A-Za-z0-9._~+%]{2,254}"
    ),
    "topic": re.compile(r"projects/[a-z][-a-z0-9:.]{4,61}[a-z0-9]/topics/[A-Za-z][-A-Za-z0-9._~+%]{2,254}"),
}


_AT_MOST = {
    "poll_minutes": (1440.0, "a day"),
    "audit_hours": (8784.0, "a year"),
    "lease_seconds": (86400.0, "a day"),
    "claim_batch": (10_000, ""),
    "fetch_threads": (1_000, ""),
}
"""More than anybody means; far above, times and sizes overflow where the work is done."""

_TAKEN_OUT = "DEALMAIL_PASSWORD_IN_DATABASE_URL"
"""Where a password that was written into --database is kept."""
_SECRETS = ("database_password", "search_password", "oauth_client", "token_key")


class OptionError(ValueError):
    """An option that no run could use; the text is one line that shows it and the way out."""


@dataclasses.dataclass(frozen=True)
class JobOptions:
    """Everything a run needs to know, checked. Holds names of secrets, never a secret, so it may be pickled into a graph.

    Times are in the unit their name says; `search` is "" for full text beside a SQLite database, or a URL.
    """

    database: DatabaseSpec = dataclasses.field(default_factory=lambda: DatabaseSpec(EMBEDDED_DATABASE))
    search: str = ""
    search_password: str = ""
    search_index: str = "dealmail"
    search_ca_certs: str = ""
    subscription: str = ""
    topic: str = ""
    pubsub_endpoint: str = ""
    gmail_endpoint: str = ""
    oauth_client: str = ""
    token_key: str = ""
    runner: str = "DirectRunner"
    once: bool = False
    poll_minutes: float = 15.0
    audit_hours: float = 24.0
    lease_seconds: float = 120.0
    claim_batch: int = 50
    fetch_threads: int = 16
    search_plan: bool = False
    quota: QuotaLimits = dataclasses.field(default_factory=QuotaLimits)
    graph: GraphOptions = dataclasses.field(default_factory=GraphOptions)
    log_level: str = "INFO"

    def __post_init__(self) -> None:
        """Refuse what no run could use.

        Raises:
            OptionError: a value that is out of range, malformed, or does not go with another.
        """
        for name, pattern in _PATHS.items():
            value = getattr(self, name)
            if value and not pattern.fullmatch(value):
                raise OptionError(f"--{name}={value}: use projects/PROJECT/{name}s/NAME")
        for name in _SECRETS:
            ref = self.database.password_ref if name == "database_password" else getattr(self, name)
            if ref and not secret_refs.is_ref(_unwrapped(ref) if name == "token_key" else ref):
                raise OptionError(
                    f"--{name} names no secret: use {secret_refs.FORMS}"
                )  # it may be one: it is not shown
        for name in ("poll_minutes", "audit_hours", "lease_seconds"):
            if not math.isfinite(getattr(self, name)):
                raise OptionError(f"--{name}={getattr(self, name)}: use a number")
        for name in ("poll_minutes", "lease_seconds", "claim_batch", "fetch_threads"):
            if getattr(self, name) <= 0:
                raise OptionError(f"--{name}={getattr(self, name)}: must be more than 0")
        if self.audit_hours < 0:
            raise OptionError(f"--audit_hours={self.audit_hours}: use hours, or 0 for never")
        if self.poll_minutes < 0.05:  # a pass takes up to a second: polls would never be done
            raise OptionError(f"--poll_minutes={self.poll_minutes}: use 0.05 or more")
        for name, (most, is_) in _AT_MOST.items():
            if getattr(self, name) > most:
                raise OptionError(f"--{name}={getattr(self, name):g}: use {most:g} at the most" + (is_ and f" ({is_})"))
        quota = self.quota
        dearest = (1 + LARGE_TEXTS) * quota.get + quota.list + quota.history
        least = math.ceil(dearest / LeaseSettings().backfill_share)
        for name in ("mailbox_minute", "project_minute"):
            if getattr(quota, name) < least:
                raise OptionError(
                    f"--quota_{name}={getattr(quota, name)}: use {least} or more, or a mail with large texts is never read"
                )
        if self.runner not in RUNNERS:
            raise OptionError(f"--runner={self.runner}: use one of {', '.join(RUNNERS)}")
        embedded = self.database.url.startswith("sqlite")
        if not self.search and not embedded:
            raise OptionError(
                "--search is missing: a MariaDB database needs --search=https://… (or sqlite:///FILE for FTS5)"
            )
        if self.search and urllib.parse.urlsplit(self.search).scheme not in {"http", "https", "sqlite"}:
            raise OptionError(f"--search={_shown(self.search)}: use https://HOST:PORT, or sqlite:///FILE for FTS5")
        if (
            urllib.parse.urlsplit(self.search).scheme in {"http", "https"}
            and not urllib.parse.urlsplit(self.search).hostname
        ):
            raise OptionError(f"--search={_shown(self.search)}: use https://HOST:PORT, or sqlite:///FILE for FTS5")
        gmail = urllib.parse.urlsplit(self.gmail_endpoint)
        if self.gmail_endpoint and not (
            gmail.scheme in {"http", "https"} and gmail.hostname and "@" not in gmail.netloc
        ):
            raise OptionError(f"--gmail_endpoint={_shown(self.gmail_endpoint)}: use https://HOST, or http://HOST:PORT")
        if self.pubsub_endpoint and not re.fullmatch(r"[^/:]+:\d+", self.pubsub_endpoint):
            raise OptionError(f"--pubsub_endpoint={self.pubsub_endpoint}: use HOST:PORT")
        if urllib.parse.urlsplit(self.search).password:
            raise OptionError(f"--search holds a password; name it with --search_password={secret_refs.FORMS}")
        try:
            self.search_spec()
        except ValueError as error:
            raise OptionError(f"--search or --search_index: {error}") from None
        if not self.is_local:
            if embedded and self.runner != "PrismRunner":  # whose workers are this very process
                raise OptionError(
                    f"--runner={self.runner} needs a database its workers can reach: --database=mysql+pymysql://…"
                )
            if not self.subscription:
                raise OptionError(f"--runner={self.runner} needs --subscription=projects/PROJECT/subscriptions/NAME")
            if self.once:
                raise OptionError(f"--once is for the local engine; --runner={self.runner} runs without end")
            if not self.token_key:
                raise OptionError(f"--runner={self.runner} needs --token_key={secret_refs.FORMS}")

    def search_spec(self) -> SearchSpec:
        """Where the index is: as given, else full text in the database's own file."""
        return SearchSpec(
            self.search or self.database.url,
            index=self.search_index,
            secret_ref=self.search_password,
            ca_certs=self.search_ca_certs,
        )

    @property
    def is_local(self) -> bool:
        """Whether this process does the work itself."""
        return self.runner == "DirectRunner"


def _shown(url: str) -> str:
    """`url` as an error may show it: what has an @ may hold a password, wherever that was meant to stand."""
    return "…" if "@" in url else url


def _unwrapped(ref: str) -> str:
    return ref.partition(":")[2].partition(":")[2] if ref.startswith(KMS) else ref


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionError(f"{message}; see --help")


def make_parser() -> argparse.ArgumentParser:
    """The options in groups, as `--help` shows them. Runner options of Beam itself are passed on."""
    parser = _OneLineParser(
        prog="run_pipeline.py",
        description="dealmail's job: keeps customer mail beside the deal. Without options: SQLite and FTS5 in this folder, "
        "Google's Gmail, polling only, until Ctrl-C.",
        epilog="Options of Beam's Flink and Dataflow runners (--region, --flink_master, ...) are passed on to them. "
        f"A secret is only ever named: {secret_refs.FORMS}. What is not typed is taken from the environment, as by `dealmail`: "
        f"{', '.join(environment.VARIABLES.values())}.",
        allow_abbrev=False,
    )
    defaults = JobOptions()
    add = parser.add_argument_group("stores").add_argument
    add(
        "--database",
        default=EMBEDDED_DATABASE,
        help=f"sqlite:///FILE or mysql+pymysql://USER@HOST/NAME (default: DEALMAIL_DATABASE, else {EMBEDDED_DATABASE})",
    )
    add("--database_password", default="", metavar="SECRET", help="name of the database's password")
    add(
        "--search",
        default="",
        help="https://HOST:PORT of Elasticsearch, or sqlite:///FILE (default: DEALMAIL_SEARCH, else FTS5 beside the database)",
    )
    add("--search_password", default="", metavar="SECRET", help="name of Elasticsearch's API key or USER:PASSWORD")
    add("--search_index", default=defaults.search_index, help=f"alias of the index (default: {defaults.search_index})")
    add(
        "--search_ca_certs",
        default="",
        metavar="FILE",
        help="certificates to trust, on each machine that works (default: those of the system's authorities)",
    )
    add = parser.add_argument_group("Gmail and sign-in").add_argument
    add("--gmail_endpoint", default="", help="another Gmail API, such as the sandbox (default: Google's)")
    add(
        "--oauth_client",
        default="",
        metavar="SECRET",
        help="name of the OAuth client's JSON, for tokens of consented mailboxes",
    )
    add("--token_key", default="", metavar="SECRET", help="name of the key that encrypts tokens (default: env:DEALMAIL_KEY, "
        "else a file beside the SQLite database); kms:KEY:SECRET where Cloud KMS wrapped it")  # fmt: skip
    add(
        "--poll_minutes",
        type=float,
        default=15.0,
        help="how often each mailbox is polled, push or not (default: %(default)s)",
    )
    add(
        "--audit_hours",
        type=float,
        default=24.0,
        help="how often each mailbox is audited and repaired; 0: never (default: %(default)s)",
    )
    add(
        "--search_plan",
        action="store_true",
        help="let a first sync ask Gmail's search for the CRM's people where that is cheaper",
    )
    add = parser.add_argument_group("push notifications").add_argument
    add(
        "--subscription",
        default="",
        help="projects/P/subscriptions/S that Gmail's notifications arrive on (default: poll only)",
    )
    add("--topic", default="", help="projects/P/topics/T that mailboxes are watched to (default: no watch is made)")
    add(
        "--pubsub_endpoint", default="", metavar="HOST:PORT", help="another Pub/Sub, such as the sandbox or an emulator"
    )
    add = parser.add_argument_group("engine").add_argument
    add(
        "--runner",
        default="DirectRunner",
        choices=RUNNERS,
        help="DirectRunner: this process, in bounded passes (default)",
    )
    add("--once", action="store_true", help="work until nothing is due, then stop: one pass from cron")
    add("--lease_seconds", type=float, default=120.0, help="how long a claimed message may take (default: %(default)s)")
    add("--claim_batch", type=int, default=50, help="messages a mailbox may claim at once (default: %(default)s)")
    add("--fetch_threads", type=int, default=16, help="messages read from Gmail side by side (default: %(default)s)")
    add(
        "--fetch_batch",
        type=int,
        default=defaults.graph.fetch_batch,
        help="messages a fetch batch (default: %(default)s)",
    )
    add(
        "--settle_batch",
        type=int,
        default=defaults.graph.settle_batch,
        help="messages a transaction (default: %(default)s)",
    )
    add(
        "--fetch_shards",
        type=int,
        default=None,
        help=f"batches read from Gmail side by side, on as many workers (default: 1, {ENDLESS_FETCH_SHARDS} on other engines)",
    )
    add(
        "--settle_shards",
        type=int,
        default=defaults.graph.settle_shards,
        help="settling batches of a team side by side (default: %(default)s)",
    )
    add("--dedup_window_s", type=float, default=defaults.graph.dedup_window_s,
        help="how long a seen Message-ID is remembered before the database has to tell (default: %(default)s)")  # fmt: skip
    add("--log_level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"), help="(default: %(default)s)")
    add = parser.add_argument_group("Gmail's quota (defaults: projects new from May 2026)").add_argument
    for field in dataclasses.fields(QuotaLimits):
        unit = field.name.rpartition("_")[2]
        what = f"units a {unit}" if unit in {"minute", "day"} else f"units of {field.name}"
        add(f"--quota_{field.name}", type=int, default=field.default, help=f"{what} (default: %(default)s)")
    return parser


def parse(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> tuple[JobOptions, list[str]]:
    """`argv` as checked options, and what is left for Beam's runner; what is not typed is taken from `environ`.

    A password written into --database is taken out of it into this process's environment, for a local run only: other
    runners keep their command line for everybody to read.

    Raises:
        OptionError: an option is unknown or cannot be used.
        SystemExit: --help.
    """
    parser = make_parser()
    parser.set_defaults(**environment.given(environ))
    given, rest = parser.parse_known_args(list(argv))
    if rest and given.runner == "DirectRunner":
        name = rest[0].partition("=")[0]  # what it says may be a secret
        raise OptionError(f"unknown option {name}{did_you_mean(name, parser)}; see --help")
    try:
        quota = QuotaLimits(**{f.name: getattr(given, f"quota_{f.name}") for f in dataclasses.fields(QuotaLimits)})
        graph = _graph(given)
        database = _database(given.database, given.database_password, given.runner)
    except ValueError as error:
        raise OptionError(str(error)) from None
    plain: dict[str, Any] = {
        f.name: getattr(given, f.name)
        for f in dataclasses.fields(JobOptions)
        if f.name not in {"database", "quota", "graph"}
    }
    options = JobOptions(database=database, quota=quota, graph=graph, **plain)
    return options, rest


def did_you_mean(option: str, parser: argparse.ArgumentParser) -> str:
    """`, did you mean --…?` where `option` is nearly one that `parser` knows, else nothing."""
    name = option.partition("=")[0].replace("-", "_").replace("__", "--", 1)
    close = difflib.get_close_matches(name, parser._option_string_actions, n=1, cutoff=0.75)
    return f", did you mean {close[0]}?" if close else ""


def _graph(given: argparse.Namespace) -> GraphOptions:
    few = 1 if given.runner == "DirectRunner" else ENDLESS_FETCH_SHARDS
    return GraphOptions(
        dedup_window_s=given.dedup_window_s,
        fetch_batch=given.fetch_batch,
        settle_batch=given.settle_batch,
        fetch_shards=few if given.fetch_shards is None else given.fetch_shards,
        settle_shards=given.settle_shards,
    )


def _database(url: str, password_ref: str, runner: str) -> DatabaseSpec:
    try:
        parsed = sa.engine.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise OptionError(f"--database={_shown(url)}: use sqlite:///FILE or mysql+pymysql://USER@HOST/NAME") from None
    if parsed.password is None:
        return DatabaseSpec(url, password_ref)
    if runner != "DirectRunner":
        raise OptionError(
            f"--database holds a password, which {runner} would show; name it: --database_password={secret_refs.FORMS}"
        )
    os.environ[_TAKEN_OUT] = str(parsed.password)
    return DatabaseSpec(parsed._replace(password=None).render_as_string(hide_password=False), f"env:{_TAKEN_OUT}")
