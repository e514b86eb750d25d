"""The end of a consent at Google: the watch is stopped and the token revoked, whenever the process that began it has died.

A credential goes out of use in the transaction that turns import off or hands the mailbox over (io/mailboxes.py); nobody reads
with it any more. It is kept, sealed, until Google has been told: at once by whoever ended it, and else by the job's chore.
"""

from __future__ import annotations

import datetime as dt
import urllib.parse
from collections.abc import Callable
from typing import Any, Final

import httplib2
import sqlalchemy as sa

from ..transforms.errors import DealmailError, TransientError
from . import mailboxes, schema
from .account_names import spellings
from .database import Database
from .google_signin import GmailAccounts, GoogleSettings, Kind
from .ledger import When, passed
from .mailboxes import FAR, MailboxRow
from .quota import Quota
from .secret_refs import SecretNotFoundError
from .vault import Vault, VaultError

GRACE: Final = dt.timedelta(minutes=1)
"""So long a credential that has just ended is left to whoever ended it."""
PATIENCE: Final = dt.timedelta(hours=1)
"""So long a token is not revoked because Gmail cannot be asked whose it is, or to stop the watch, and none is lost because its key is
not at hand; then it is all the same.
"""
_ended = schema.ended_credential.c


def waiting(database: Database, *, team_id: str | None = None, mailbox_id: str | None = None) -> list[int]:
    """What a team, or a mailbox, has to be finished, oldest first.

    Raises:
        StoreUnavailableError: the database cannot be reached.
    """
    mine = _ended.team_id == team_id if mailbox_id is None else _ended.mailbox_id == mailbox_id
    with database.reading() as connection:
        return list(connection.scalars(sa.select(_ended.id).where(mine).order_by(_ended.id)))


def left_over(database: Database, now: dt.datetime) -> list[int]:
    """What of all teams is to be finished and was not by whoever ended it.

    Raises:
        StoreUnavailableError: the database cannot be reached.
    """
    old = passed(_ended.ended_at, When(now - GRACE, now + FAR))
    with database.reading() as connection:
        return list(connection.scalars(sa.select(_ended.id).where(old).order_by(_ended.id)))


class Endings:
    """Finishes at Google what has ended here."""

    def __init__(
        self, database: Database, vault: Vault, settings: GoogleSettings, quota: Quota, now: Callable[[], dt.datetime], *,
        gives_up: bool = False,
    ) -> None:  # fmt: skip
        """`quota` is debited for what is asked of Gmail.

        gives_up: whether a token that cannot be opened, or a secret that cannot be read, is lost for good. It is where the job does
        not have it, by which mailboxes are read; who else finishes may just have been given another key.
        """
        self._database = database
        self._vault = vault
        self._settings = settings
        self._quota = quota
        self._now = now
        self._gives_up = gives_up
        self._accounts = GmailAccounts(database, vault, settings, now)

    def finish(self, ending: int) -> bool:
        """Stop the watch and revoke the token; False: Google cannot be told now, do it again.

        Google keeps one watch for a mailbox and project, and revokes all that a user granted a project together. So where the
        account is still read, the watch stays, and where another consent of the account stands, the grant does: another team's,
        or one that was given again since. What could not be done for good is noted in the consent log.

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
        with self._database.reading() as connection:
            row = connection.execute(sa.select(schema.ended_credential).where(_ended.id == ending)).one_or_none()
            if row is None:
                return True
            mailbox = mailboxes.read(connection, row.mailbox_id)
        detail, is_over = self._tell(mailbox, row)

        def work(connection: sa.Connection) -> None:
            if connection.execute(sa.delete(schema.ended_credential).where(_ended.id == ending)).rowcount:
                mailboxes.log_consent(connection, mailbox, "revoked", row.actor, self._now(), "; ".join(detail))

        if is_over:
            self._database.transaction(work)
        return is_over

    def _tell(self, mailbox: MailboxRow, row: Any) -> tuple[list[str], bool]:
        """What could not be done, and whether that is for good."""
        try:
            values = self._vault.open(mailbox.id, row.ciphertext)
        except VaultError as error:
            # For a while the job may be one that was not restarted yet with a new key.
            is_lost = self._gives_up and not self._is_recent(row.ended_at)
            return [f"not revoked at Google: {type(error).__name__}"], is_lost
        addresses, silent = self._address_at_google(mailbox, row.kind, values)
        if silent is not None and self._waits_for(silent, row.ended_at):
            return [], False
        is_read, is_granted = self._uses(mailbox.address, *addresses)
        detail, is_over = [], True
        if not is_read:
            self._quota.debit(mailbox.id, self._quota.limits.stop, self._now())
            try:
                self._accounts.gmail(row.kind, values).stop()
            except DealmailError as error:
                if self._waits_for(error, row.ended_at):
                    return [], False
                detail.append(f"watch not stopped: {type(error).__name__}")
                is_over = not isinstance(error, TransientError)
        if row.kind == "oauth" and not is_granted:
            problem, is_over = revoke(self._settings, values["refresh_token"])
            detail += [f"not revoked at Google: {problem}"] if problem else []
        return detail, is_over

    def undo(self, address: str, refresh_token: str) -> str:
        """Revoke a grant that was given by mistake, unless `address` is an account whose consent is in use; what went wrong, or "".

        Raises:
            StoreUnavailableError: the database cannot be reached.
        """
        _, is_granted = self._uses(address)
        return "" if is_granted else revoke(self._settings, refresh_token)[0]

    def _waits_for(self, error: DealmailError, ended_at: dt.datetime) -> bool:
        """Whether all is left for later because of `error`: with a token that has been revoked Gmail cannot be asked any more."""
        is_passing = isinstance(error, TransientError) or (
            isinstance(error, SecretNotFoundError) and not self._gives_up
        )
        return is_passing and self._is_recent(ended_at)

    def _is_recent(self, ended_at: dt.datetime) -> bool:
        return abs(self._now() - ended_at) < PATIENCE

    def _address_at_google(
        self, mailbox: MailboxRow, kind: Kind, values: dict[str, Any]
    ) -> tuple[list[str], DealmailError | None]:
        """What the account is called now: it may have been renamed, and connected under its new address. [] and why where it cannot say."""
        self._quota.debit(mailbox.id, self._quota.limits.profile, self._now())
        try:
            return [self._accounts.gmail(kind, values).profile().address], None
        except DealmailError as error:
            return [], error

    def _uses(self, *addresses: str) -> tuple[bool, bool]:
        """Whether any mailbox reads the Google account of these addresses now, and whether one holds a consent of its user."""
        box, held = schema.mailbox.c, schema.credential.c
        query = (
            sa.select(box.import_on, held.kind)
            .join_from(schema.credential, schema.mailbox, box.id == held.mailbox_id)
            .where(box.address.in_({one for address in addresses for one in spellings(address)}))
        )
        with self._database.reading() as connection:
            found = connection.execute(query).all()
        return any(row.import_on for row in found), any(row.kind == "oauth" for row in found)


def revoke(settings: GoogleSettings, token: str) -> tuple[str, bool]:
    """Revoke a refresh token, and with it all that its user gave this project: what went wrong, or "", and whether that is final.

    A token that Google does not know (400) is as good as revoked.
    """
    plain = httplib2.Http(timeout=settings.timeout_s)
    body = urllib.parse.urlencode({"token": token})
    try:
        response, _ = plain.request(
            settings.revoke_uri, "POST", body=body, headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
    except (OSError, httplib2.HttpLib2Error) as error:
        return type(error).__name__, False
    if response.status in {200, 400}:
        return "", True
    return f"HTTP {response.status}", response.status < 500 and response.status != 429
