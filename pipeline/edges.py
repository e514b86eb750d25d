"""The edges of a run, opened once a process: what the graph's factories hand out on a worker, and what the service asks.

A factory is a function of the JobOptions alone, so it pickles without a secret. The first call in a process opens the
database, the vault and the rest; every later one gets the same.
"""

from __future__ import annotations

import datetime as dt
import functools
import logging
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from ..io import migrate, opt_out, relink, schema, secret_refs
from ..io.audit import Audit
from ..io.chores import ChoreKind, DatabaseChores
from ..io.claim_settings import ClaimSettings
from ..io.claims import GmailClaims
from ..io.correspondence import DatabaseCorrespondence
from ..io.crm import DatabaseDirectories, crm_stamps
from ..io.database import Database
from ..io.endings import Endings, left_over
from ..io.erasure import Erasing
from ..io.gmail import GOOGLE
from ..io.google_signin import GmailAccounts, GoogleSettings
from ..io.key_choice import key_ref
from ..io.leasing import PACED
from ..io.mailboxes import Mailboxes, poll_within
from ..io.message_reader import GmailMessageReader, ReaderOptions
from ..io.outbox import Outbox
from ..io.quota import Quota, keep_limits
from ..io.register import Helping, Register
from ..io.search import SearchIndex, open_index
from ..io.settlements import DatabaseSettlements
from ..io.tombstones import TombstoneKey, check_key
from ..io.vault import Digests, Vault, read_keys
from ..transforms.errors import GmailQuotaError, GmailUnavailableError
from ..transforms.records import ClaimedMessage
from .build import Edges
from .log_levels import keep_mail_out
from .options import JobOptions

_log = logging.getLogger(__name__)

TIDY_EVERY = dt.timedelta(days=1)
END_AGAIN = dt.timedelta(minutes=10)
"""When Google is told once more that a consent has ended, where it could not be."""
PUT_OFF = dt.timedelta(minutes=30)
"""When a chore is tried again that something stood in the way of."""

_lock = threading.RLock()
_opened: dict[JobOptions, OpenEdges] = {}


_clock: Callable[[], dt.datetime] = functools.partial(dt.datetime.now, dt.UTC)


def utc_now() -> dt.datetime:
    """The time, UTC: of this machine, or as `set_clock` says."""
    return _clock()


def set_clock(now: Callable[[], dt.datetime]) -> None:
    """Have everything in this process go by `now` (UTC): for tests that move time."""
    global _clock  # noqa: PLW0603 (a process has one time)
    _clock = now


def helping(options: JobOptions) -> Helping:
    """How many mailboxes one look hands out.

    A bounded pass holds up whoever is pushed to while it runs, so it gets no more old mail than keeps its threads busy. An
    endless run looks every two seconds, and has as many workers as it needs.
    """
    if not options.is_local:
        return Helping()
    return Helping(looks=25, backfills=math.ceil(options.fetch_threads / ReaderOptions().per_mailbox))


class OpenEdges:
    """Everything one process needs of the world, opened on first use and shared by its threads."""

    def __init__(self, options: JobOptions) -> None:
        """Nothing is opened yet. Whoever opens is about to work on mail, here or on a runner's worker."""
        self._options = options
        keep_mail_out()

    @functools.cached_property
    def database(self) -> Database:
        """The database, its schema checked; an embedded one is made on first use."""
        return migrate.open_database(self._options.database)

    @functools.cached_property
    def keys(self) -> tuple[bytes, ...]:
        """Key material for tokens and digests."""
        return read_keys(key_ref(self._options.token_key, self._options.database))

    @functools.cached_property
    def search_index(self) -> SearchIndex:
        """The index; the outbox makes it where it is not there yet."""
        return open_index(self._options.search_spec())

    @functools.cached_property
    def accounts(self) -> GmailAccounts:
        """Gmail, mailbox by mailbox."""
        return GmailAccounts(self.database, Vault(self.keys), self._google, utc_now)

    @functools.cached_property
    def endings(self) -> Endings:
        """What is left to do at Google for consents that have ended."""
        quota = Quota(self.database, self._options.quota)
        return Endings(self.database, Vault(self.keys), self._google, quota, utc_now, gives_up=True)

    @property
    def _google(self) -> GoogleSettings:
        return GoogleSettings(self._options.gmail_endpoint or GOOGLE, self._options.oauth_client)

    @functools.cached_property
    def register(self) -> Register:
        """Which mailboxes have something to do. Polls that were planned by a longer interval are brought forward."""
        poll_within(self.database, dt.timedelta(minutes=self._options.poll_minutes), utc_now())
        return Register(self.database, helping(self._options))

    @functools.cached_property
    def claims(self) -> GmailClaims:
        """Transaction 1. The limits by which it debits are written down for the console."""
        given = self._options
        keep_limits(self.database, given.quota)
        claiming = ClaimSettings(
            batch=given.claim_batch, lease_seconds=given.lease_seconds, topic=given.topic,
            poll_interval=dt.timedelta(minutes=given.poll_minutes), search_plan=given.search_plan,
        )  # fmt: skip
        return GmailClaims(self.database, self.accounts, Quota(self.database, given.quota), claiming, utc_now)

    @functools.cached_property
    def reader(self) -> GmailMessageReader:
        """Gmail's messages, many at once."""
        return GmailMessageReader(self.accounts, ReaderOptions(threads=self._options.fetch_threads), self.pay_for)

    def pay_for(self, claim: ClaimedMessage, count: int) -> bool:
        """Debit `count` reads more for a claimed message, where the share of its lane has room for them; whether it had."""
        quota, share = Quota(self.database, self._options.quota), ClaimSettings().share(claim.lane)
        return quota.take(claim.mailbox_id, count * quota.limits.get, utc_now(), share)

    @functools.cached_property
    def directories(self) -> DatabaseDirectories:
        """One compact CRM directory a team."""
        return DatabaseDirectories(self.database)

    @functools.cached_property
    def correspondence(self) -> DatabaseCorrespondence:
        """Whom the teams wrote to."""
        return DatabaseCorrespondence(self.database, Digests(self.keys))

    @functools.cached_property
    def settlements(self) -> DatabaseSettlements:
        """Transaction 2. With a key that does not know what was erased it would bring that back, so it is refused."""
        digests = Digests(self.keys)
        check_key(self.database, TombstoneKey(digests))
        return DatabaseSettlements(self.database, utc_now, digests)

    @functools.cached_property
    def outbox(self) -> Outbox:
        """Transaction 3."""
        return Outbox(self.database, self.search_index, now=utc_now)

    @functools.cached_property
    def audit(self) -> Audit:
        """Gmail against the ledger."""
        return Audit(self.database, self.accounts, Quota(self.database, self._options.quota), utc_now)

    @functools.cached_property
    def chores(self) -> DatabaseChores:
        """What is done now and then, beside the mail."""
        kinds = {
            "relink": ChoreKind(self._to_relink, self._relink, None, dt.timedelta(minutes=1)),
            "end": ChoreKind(self._ended, self._end, None, END_AGAIN),
            "tidy": ChoreKind(self._teams, self._tidy, TIDY_EVERY, PUT_OFF),
        }
        if self._options.audit_hours:
            period = dt.timedelta(hours=self._options.audit_hours)
            kinds["audit"] = ChoreKind(self._mailboxes_on, self._audit, period, min(PUT_OFF, period))
        return DatabaseChores(self.database, kinds, utc_now)

    def _teams(self) -> list[str]:
        return [team for team, _ in self.crm_stamps()]

    def _mailboxes_on(self) -> list[str]:
        return [mailbox.id for mailbox in Mailboxes(self.database, utc_now).all(import_on=True)]

    def _to_relink(self) -> list[str]:
        """Teams whose CRM has changed since their mail was linked, once their directory stands: nobody waits for it."""
        return [team for team in relink.behind(self.database) if self.directories.newest(team)]

    def _relink(self, team: str) -> None:
        """Bring the links of the team's stored mail to what its CRM says now."""
        if directory := self.directories.newest(team):
            relink.relink(self.database, directory, utc_now, lambda: self.chores.hold(f"relink:{team}"))

    def _ended(self) -> list[str]:
        """Consents that have ended and that Google has not been told about."""
        return [str(ending) for ending in left_over(self.database, utc_now())]

    def _end(self, ending: str) -> None:
        """Stop the watch and revoke the token.

        Raises:
            GmailUnavailableError: Google cannot be told now.
        """
        if not self.endings.finish(int(ending)):
            raise GmailUnavailableError("the end of a consent: Google cannot be told now")

    def _tidy(self, team: str) -> None:
        """Remove what the team's settings no longer keep: old mail, and copies of users who turned import off."""
        Erasing(self.database, utc_now, Digests(self.keys)).retain(team)
        opt_out.forget_opted_out(self.database, team, utc_now)

    def _audit(self, mailbox: str) -> None:
        """Compare the mailbox with Gmail, and fetch what is missing.

        Raises:
            GmailQuotaError: it did not come to its end.
        """
        found = self.audit.run(mailbox, repair=True)
        if found is None:
            return
        level = logging.INFO if found.is_clean else logging.WARNING
        mended = "" if found.is_clean else ", repaired"
        _log.log(level, "audit of mailbox %s: %.2f %% complete%s", mailbox, found.completeness, mended)
        if found.unchecked:
            raise GmailQuotaError(f"audit: {found.unchecked} kept copies are still to be looked up")

    def next_due(self, now: dt.datetime) -> dt.datetime | None:
        """When a mailbox, the outbox or a chore next has something to do (UTC); None: nothing is planned."""
        asked = (self.register, self.outbox, self.chores)
        return min((at for one in asked if (at := one.next_due(now))), default=None)

    def lacks_client(self) -> bool:
        """Whether mailboxes are on whose users consented to an OAuth client, and none is named to read them with."""
        if self._options.oauth_client:
            return False
        consented = (
            sa.select(sa.literal(1))
            .join_from(schema.credential, schema.mailbox, schema.credential.c.mailbox_id == schema.mailbox.c.id)
            .where(schema.credential.c.kind == "oauth", schema.mailbox.c.import_on.is_(True))
        )
        with self.database.reading() as connection:
            return connection.scalar(consented.limit(1)) is not None

    def pending(self) -> tuple[int, int]:
        """How many messages of mailboxes that are on wait for their decision, and how many of those for Gmail's quota."""
        message, mailbox = schema.message.c, schema.mailbox.c
        for_quota = sa.or_(mailbox.state == "quota_delayed", mailbox.state_reason == PACED)
        query = (
            sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(sa.case((for_quota, 1), else_=0)), 0))
            .join_from(schema.message, schema.mailbox, message.mailbox_id == mailbox.id)
            .where(message.state == "pending", mailbox.import_on.is_(True))
        )
        with self.database.reading() as connection:
            count, waiting = connection.execute(query).one()
        return count, int(waiting)

    def crm_stamps(self) -> Sequence[tuple[str, int]]:
        """(team id, CRM version) of every team."""
        return crm_stamps(self.database)

    def close(self) -> None:
        """Close what was opened; a later call opens anew."""
        with _lock:
            _opened.pop(self._options, None)
        for name in ("reader", "search_index", "database"):
            if name in self.__dict__:
                self.__dict__[name].close()


def open_edges(options: JobOptions) -> OpenEdges:
    """The edges of this process for `options`."""
    with _lock:
        if options not in _opened:
            logging.getLogger("dealmail").setLevel(
                options.log_level
            )  # a worker's log is at INFO, whatever was asked for
            _opened[options] = OpenEdges(options)
        return _opened[options]


def _edge(options: JobOptions, name: str) -> object:
    with _lock:  # two threads must not open one edge twice
        return getattr(open_edges(options), name)


def factories(options: JobOptions) -> Edges:
    """What build() hands to the steps."""

    def opening(name: str) -> Callable[[], Any]:
        return functools.partial(_edge, options, name)

    return Edges(
        register=opening("register"),
        claims=opening("claims"),
        reader=opening("reader"),
        directories=opening("directories"),
        correspondence=opening("correspondence"),
        settlements=opening("settlements"),
        outbox=opening("outbox"),
        chores=opening("chores"),
        now=utc_now,  # the service's clock: another one here, and a mailbox due by the one would never be due by the other
    )


def read_crm_stamps(options: JobOptions) -> Sequence[tuple[str, int]]:
    """(team id, CRM version) of every team, on a worker."""
    return open_edges(options).crm_stamps()


def check(options: JobOptions) -> None:
    """Open what can be refused at once, before anything starts: the database and its schema, the keys, the OAuth client.

    Raises:
        SchemaError: the database has another schema; the text names the command that mends it.
        StoreUnavailableError: the database cannot be reached.
        SecretNotFoundError: a named secret cannot be read.
        VaultError: the key is too short, or not the one by which erased mail is known.
    """
    opened = open_edges(options)
    if options.search_password:
        secret_refs.resolve(options.search_password)
    if options.oauth_client:
        GoogleSettings(options.gmail_endpoint or GOOGLE, options.oauth_client).client()
    _ = opened.settlements  # with the database and the keys
    with opened.database.reading() as connection:
        connection.execute(sa.text("select 1"))
