"""`dealmail audit`: what Gmail has against what the ledger knows, mailbox by mailbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..transforms.clock import utc_now
from .connecting import google_settings, open_vault
from .context import FailedError, Settings, with_settings
from .looking import mailbox_named
from .tables import Format, format_option, iso, write_jsonl

if TYPE_CHECKING:
    from ..io.audit import MailboxAudit

SHOWN = 10


def percent(completeness: float, digits: int) -> float:
    """`completeness` (percent) with so many digits, and 100 only where nothing at all is missing: that is what people alert on."""
    return round(completeness, digits) if completeness >= 100 else min(round(completeness, digits), 100 - 10**-digits)


def audit_row(address: str, found: MailboxAudit | None, error: str = "") -> dict[str, Any]:
    """One mailbox's audit as `--format jsonl` shows it. `found` None: it could not be audited, `error` says why."""
    if found is None:
        return {"mailbox": address, "completeness": None, "error": error}
    return {
        "mailbox": address,
        "completeness": percent(found.completeness, 3),
        "error": None,
        "at": iso(found.at),
        "in_gmail": found.in_gmail,
        "pending": found.pending,
        "missing": list(found.missing),
        "shut": list(found.shut),
        "stale": list(found.stale),
        "repaired": found.repaired,
        "unasked": found.unasked,
        "discarded": list(found.discarded),
        "unchecked": found.unchecked,
    }


@click.command()
@click.option("--mailbox", help="Only this mailbox (address or id).")
@click.option("--repair", is_flag=True, help="Hand what is missing to the job, and let go what Gmail deleted.")
@format_option
@with_settings
def audit(settings: Settings, mailbox: str | None, repair: bool, format_: Format) -> None:
    """Compare Gmail with the ledger: completeness in percent, what is missing, what should be gone.

    Exit code 1 where something is missing and was not repaired, or a mailbox could not be read.
    """
    from ..io.audit import Audit
    from ..io.google_signin import GmailAccounts
    from ..io.mailboxes import Mailboxes
    from ..io.quota import Quota, kept_limits
    from ..transforms.errors import DealmailError, StoreUnavailableError

    clean, unread, unchecked = True, 0, 0
    with settings.open_database() as database:
        team_id = settings.team_id(database)
        boxes = Mailboxes(database, utc_now).all(team_id, import_on=True)
        if mailbox is not None:
            wanted = mailbox_named(database, team_id, mailbox)["id"]
            boxes = [box for box in Mailboxes(database, utc_now).all(team_id) if box.id == wanted]
        accounts = GmailAccounts(database, open_vault(settings), google_settings(settings), utc_now)
        auditor = Audit(database, accounts, Quota(database, kept_limits(database)), utc_now)
        for box in boxes:
            found, error = None, "the first sync has not begun" if box.import_on else "import is off"
            try:
                found = auditor.run(box.id, repair=repair)
            except StoreUnavailableError:
                raise
            except DealmailError as refused:  # this mailbox cannot be read now: the others still can
                error = str(refused) or type(refused).__name__
            clean = clean and (found is None or found.is_clean or found.repaired)
            unread += found is None
            unchecked += 0 if found is None else found.unchecked
            row = audit_row(box.address, found, error)
            if format_ == "jsonl":
                write_jsonl([row])
            else:
                _print(row)
        if not boxes and format_ == "table":
            click.echo("no mailbox's import is on")
    left = [] if clean else ["not everything is as it should be; --repair hands what is missing to the job"]
    if unchecked:
        left.append(f"{unchecked} kept copies are still to be looked up in Gmail; audit again in a minute")
    if unread:
        left.append(f"{unread} of {len(boxes)} mailboxes could not be audited; `dealmail status` says what to do")
    if left:
        raise FailedError("; ".join(left))


def _print(row: dict[str, Any]) -> None:
    if row["completeness"] is None:
        click.echo(f"{row['mailbox']}  not audited: {row['error']}")
        return
    waits = f", {row['pending']} wait for their decision" if row["pending"] else ""
    unasked = f", {row['unasked']} not asked for: first sync by search" if row["unasked"] else ""
    click.echo(
        f"{row['mailbox']}  {percent(row['completeness'], 1):.1f} % of {row['in_gmail']} messages are known{waits}{unasked}"
    )
    words = {
        "missing": "not in the ledger",
        "shut": "kept out by a label they no longer have",
        "stale": "kept, but gone in Gmail",
        "discarded": "kept, but in Gmail's trash or spam, which the team's policy removes",
    }
    for name, meaning in words.items():
        ids = row[name]
        if ids:
            more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
            done = " (handed to the job)" if row["repaired"] else ""
            click.echo(f"    {len(ids)} {meaning}{done}: {', '.join(ids[:SHOWN])}{more}")
