"""A mailbox's consent and switch: connect, import on and off; and trying parked messages once more."""

from __future__ import annotations

import pathlib
import webbrowser
from typing import TYPE_CHECKING

import click

from ..transforms.clock import utc_now
from . import queries
from .context import BadInputError, FailedError, Settings, this_person, with_settings
from .looking import mailbox_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..io.consent_flow import SignIn
    from ..io.database import Database
    from ..io.google_signin import GoogleSettings
    from ..io.mailboxes import MailboxRow
    from ..io.vault import Vault


def google_settings(settings: Settings, client_secret: str = "") -> GoogleSettings:
    """Where Google is, and the OAuth client in the file `client_secret`.

    Raises:
        BadInputError: an endpoint that is no URL.
    """
    from ..io.gmail import GOOGLE
    from ..io.google_signin import GoogleSettings

    client_ref = f"file:{pathlib.Path(client_secret).resolve()}" if client_secret else settings.oauth_client
    try:
        return GoogleSettings(settings.gmail_endpoint or GOOGLE, client_ref)
    except ValueError as error:
        raise BadInputError(str(error)) from None


def open_vault(settings: Settings) -> Vault:
    """The vault with the key that the settings name."""
    from ..io.key_choice import key_ref
    from ..io.vault import Vault, read_keys

    return Vault(read_keys(key_ref(settings.token_key, settings.spec())))


def open_sign_in(settings: Settings, database: Database, client_secret: str = "") -> SignIn:
    """What connects and disconnects mailboxes, as the settings say."""
    from ..io.consent_flow import SignIn
    from ..io.quota import Quota, kept_limits

    quota = Quota(database, kept_limits(database))
    return SignIn(database, open_vault(settings), google_settings(settings, client_secret), utc_now, quota)


def user_of(database: Database, team_id: str, address: str) -> str:
    """The id of the team's user with that address, as the CRM compares them.

    Raises:
        BadInputError: the CRM knows no such user.
    """
    import sqlalchemy as sa

    from ..io.schema import user_address
    from ..transforms.domains import crm_address

    with database.reading() as connection:
        found = connection.scalar(
            sa.select(user_address.c.user_id).where(
                user_address.c.team_id == team_id, user_address.c.address == crm_address(address)
            )
        )
    if found is None:
        raise BadInputError(
            f"{address} is no user of team {team_id}; add the user to the CRM file and run `dealmail crm import`"
        )
    return str(found)


def known_mailbox(database: Database, team_id: str, address: str) -> MailboxRow:
    """The mailbox of a user of the team, made known where it is new, and handed over where the CRM names another user.

    Raises:
        BadInputError: the CRM knows no such user.
    """
    from ..io.mailboxes import Mailboxes
    from ..transforms.domains import crm_address

    boxes = Mailboxes(database, utc_now)
    found = queries.find_mailbox(database, team_id, address)
    try:
        user_id = user_of(database, team_id, address)
    except BadInputError:
        if found is not None:
            return boxes.get(found["id"])
        raise
    return boxes.add(team_id, user_id, crm_address(address) if found is None else found["address"])


def connected_mailbox(database: Database, team_id: str, name: str) -> MailboxRow:
    """The mailbox of that address or id, which is connected; nothing is made known or changed.

    Raises:
        BadInputError: the CRM knows no such user, or the mailbox is not connected.
    """
    import sqlalchemy as sa

    from ..io.mailboxes import Mailboxes
    from ..io.schema import credential

    found = queries.find_mailbox(database, team_id, name)
    if found is None:
        user_of(database, team_id, name)
    else:
        with database.reading() as connection:
            query = sa.select(credential.c.mailbox_id).where(credential.c.mailbox_id == found["id"])
            if connection.scalar(query) is not None:
                return Mailboxes(database, utc_now).get(found["id"])
    raise BadInputError(f"{name} is not connected; `dealmail connect {name}` does it")


@click.command()
@click.argument("address")
@click.option(
    "--delegated", type=click.Path(dir_okay=False, exists=True), help="Key file of a service account with delegation."
)
@click.option(
    "--client-secret", type=click.Path(dir_okay=False, exists=True), help="The OAuth client's JSON, for a consent."
)
@click.option("--no-browser", is_flag=True, help="Print the sign-in page's address instead of opening it.")
@with_settings
def connect(
    settings: Settings, address: str, delegated: str | None, client_secret: str | None, no_browser: bool
) -> None:
    """Sign the mailbox ADDRESS in at Google (its user consents), or by an admin's domain-wide delegation.

    The user, or the admin's list, is the CRM's: only addresses of the team's users can be connected.
    """
    with settings.open_database() as database:
        team_id = settings.team_id(database)
        box = known_mailbox(database, team_id, address)
        sign_in = open_sign_in(settings, database, client_secret or "")
        if delegated:
            listed = queries.user_addresses(database, team_id)
            sign_in.delegate(box.id, f"file:{pathlib.Path(delegated).resolve()}", this_person(), listed)
        else:
            sign_in.consent(box.id, this_person(), lambda url: _show(url, no_browser=no_browser))
        row = known_mailbox(database, team_id, address)
    if row.import_on:
        click.echo(f"{row.address} is connected; its mail is being read.")
    else:
        click.echo(f"{row.address} is connected. `dealmail import on {row.address}` starts reading its mail.")


def _show(url: str, *, no_browser: bool) -> None:
    click.echo(f"Sign in here: {url}")
    if not no_browser:
        webbrowser.open(url)


@click.command(name="import")
@click.argument("switch", type=click.Choice(["on", "off"]))
@click.argument("address")
@with_settings
def import_(settings: Settings, switch: str, address: str) -> None:
    """Turn the import of the mailbox ADDRESS on or off.

    Off holds from the moment the command returns: nothing more is written for the mailbox; the watch is stopped and the token
    revoked.
    """
    from ..io.mailboxes import Mailboxes

    with settings.open_database() as database:
        team_id = settings.team_id(database)
        boxes = Mailboxes(database, utc_now)
        if switch == "on":
            row = boxes.turn_on(known_mailbox(database, team_id, address).id, this_person())
            click.echo(f"Import of {row.address} is on.")
            if row.state == "consent_wanted":
                click.echo(f"Now sign in at Google: `dealmail connect {row.address}`.")
            return
        google_settings(settings)  # a wrong one is told before anything is done
        box = mailbox_named(database, team_id, address)["id"]
        boxes.turn_off(box, this_person())  # by itself: off waits for no key
        _disconnect(_sign_in_or_why(settings, database), database, box)


def forget_at_google(settings: Settings, database: Database, team_id: str, turned_off: Sequence[str]) -> None:
    """For mailboxes whose import a CRM file has turned off or given to another user: what `dealmail import off` does besides."""
    from ..io.endings import waiting
    from ..io.mailboxes import Mailboxes

    boxes = Mailboxes(database, utc_now)
    for mailbox in turned_off:
        click.echo(f"{boxes.get(mailbox).address}: the file does not name its user.")
    if not turned_off and not waiting(database, team_id=team_id):
        return
    teller = _sign_in_or_why(settings, database)
    for mailbox in turned_off:
        _disconnect(teller, database, mailbox)
    if not isinstance(teller, str):
        teller.finish(waiting(database, team_id=team_id))


def _sign_in_or_why(settings: Settings, database: Database) -> SignIn | str:
    """What tells Google of ends; or, where the tokens' key is not at hand, why not: then the job does it, which has the key."""
    from ..io.secret_refs import SecretNotFoundError
    from ..io.vault import VaultError

    try:
        return open_sign_in(settings, database)
    except (SecretNotFoundError, VaultError) as error:
        return str(error)


def _disconnect(teller: SignIn | str, database: Database, mailbox: str) -> None:
    from ..io import opt_out
    from ..io.endings import waiting
    from ..io.mailboxes import Mailboxes

    boxes, why = Mailboxes(database, utc_now), ""
    if isinstance(teller, str):
        opt_out.forget_copies(database, mailbox, utc_now)
        is_told, why = not waiting(database, mailbox_id=mailbox), f" ({teller})"
    else:
        is_told = teller.disconnect(mailbox, this_person())
    click.echo(f"Import of {boxes.get(mailbox).address} is off: nothing more is read or written.")
    if not is_told:
        click.echo(
            f"Google cannot be told now or from here{why}; the job stops the watch and revokes the token as soon as it can.",
            err=True,
        )
    for last in boxes.consents(mailbox)[-1:]:
        if last.action == "revoked" and last.detail:
            told = f"Google could not be told everything ({last.detail}); the token is forgotten here all the same."
            click.echo(told, err=True)


@click.command()
@click.option("--mailbox", help="Only this mailbox (address or id).")
@click.option("--message", "gmail_id", help="Only this Gmail id; with --mailbox.")
@with_settings
def retry(settings: Settings, mailbox: str | None, gmail_id: str | None) -> None:
    """Make parked messages pending again: the running job, or the next `run_pipeline.py --once`, reads them once more."""
    from ..io.ledger import Ledger

    if gmail_id and not mailbox:
        raise BadInputError("--message needs --mailbox: a Gmail id is one only within its mailbox")
    with settings.open_database() as database:
        team_id = settings.team_id(database)
        box = None if mailbox is None else mailbox_named(database, team_id, mailbox)["id"]
        again = Ledger(database).retry_parked(team_id, box, gmail_id)
    if gmail_id and not again:
        known = f"`dealmail decisions --mailbox {mailbox} --outcome parked` lists those there are"
        raise FailedError(f"{mailbox} has no parked message {gmail_id}; {known}")
    click.echo(f"{again} parked messages will be tried again.")
