"""`dealmail preview`: what would become of the mail of a mailbox's window, without storing anything of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ..transforms.clock import utc_now
from .connecting import connected_mailbox, google_settings, open_vault
from .context import Settings, with_settings
from .tables import Format, format_option, iso, short, shown, write_jsonl

if TYPE_CHECKING:
    from ..transforms.correspondence import Correspondence, DigestKind
    from ..transforms.crm_directory import CrmDirectory
    from ..transforms.errors import DealmailError
    from ..transforms.records import CustomerMail, NormalizedMessage
    from .window import Window

SENDERS = 3


class Learning:
    """A Correspondence that also knows what this look has shown so far, in memory only."""

    def __init__(self, stored: Correspondence) -> None:
        self._stored = stored
        self.shown: set[str] = set()

    def digest(self, team_id: str, kind: DigestKind, value: str) -> str:
        """As the stored one."""
        return self._stored.digest(team_id, kind, value)

    def known(self, team_id: str, digests: Collection[str]) -> frozenset[str]:
        """What is stored, and what was shown."""
        return self._stored.known(team_id, digests) | (frozenset(digests) & self.shown)


@dataclasses.dataclass
class Findings:
    """Counts by (outcome, rule), sample senders of each, and the mail that would be imported (newest first)."""

    rules: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)
    senders: dict[tuple[str, str], Counter[str]] = dataclasses.field(default_factory=lambda: defaultdict(Counter))
    imported: list[CustomerMail] = dataclasses.field(default_factory=list)


def look_at(
    messages: Iterable[NormalizedMessage],
    directory: CrmDirectory,
    learning: Learning,
    now: dt.datetime,
    found: Findings | None = None,
    keep_out: Callable[[CustomerMail], str | None] = lambda unused_mail: None,
) -> Findings:
    """Decide on every message as the job would. `found` holds what was found, even where `messages` come to a bad end.

    `keep_out` names the rule by which settling would not store a customer's mail, if any.

    Automated mail that a later-read mail of the team's own overturns is counted as imported, as the job would end up with.
    """
    from ..transforms.decisions import IMPORTED_CUSTOMER, PARKED
    from ..transforms.errors import MalformedMessageError
    from ..transforms.google_groups import unmask
    from ..transforms.records import CustomerMail
    from ..transforms.select_customer_mail import select

    found = Findings() if found is None else found
    doubtful: list[tuple[str, str, tuple[str, ...]]] = []

    def count(outcome: str, rule: str, sender: str) -> None:
        found.rules[outcome, rule] += 1
        found.senders[outcome, rule][sender] += 1

    try:
        for message in (unmask(one, directory) for one in messages):
            sender = message.sender.address if message.sender else "(nobody)"
            try:
                made = select(message, directory, learning, now=now)
            except MalformedMessageError:
                count("parked", PARKED, sender)
                continue
            if isinstance(made, CustomerMail) and (rule := keep_out(made)) is not None:
                count("dropped", rule, sender)
            elif isinstance(made, CustomerMail):
                learning.shown |= set(made.context)
                found.imported.append(
                    dataclasses.replace(made, body=msgspec.structs.replace(made.body, text="", spans=()))
                )
                count("imported", made.rule, sender)
            elif made.context:
                doubtful.append((made.rule, sender, made.context))
            else:
                count(made.outcome, made.rule, sender)
    finally:
        for rule, sender, context in doubtful:
            is_answered = bool(learning.shown.intersection(context))
            count("imported" if is_answered else "dropped", IMPORTED_CUSTOMER if is_answered else rule, sender)
    return found


def look_while_it_lasts(
    window: Window,
    directory: CrmDirectory,
    learning: Learning,
    now: dt.datetime,
    keep_out: Callable[[CustomerMail], str | None] = lambda unused_mail: None,
) -> tuple[Findings, DealmailError | KeyboardInterrupt | None]:
    """What is found in `window`, and what ended the look before its time, if anything did."""
    from ..transforms.errors import DealmailError

    found = Findings()
    try:
        look_at(window.messages(), directory, learning, now, found, keep_out)
    except (DealmailError, KeyboardInterrupt) as stopped:
        return found, stopped
    return found, None


def finding_rows(found: Findings) -> list[dict[str, Any]]:
    """One row a rule, most first; the fields of docs/console.md."""
    return [
        {
            "outcome": outcome,
            "rule": rule,
            "messages": number,
            "senders": [sender for sender, _ in found.senders[outcome, rule].most_common(SENDERS)],
        }
        for (outcome, rule), number in sorted(found.rules.items(), key=lambda item: (-item[1], item[0]))
    ]


@click.command()
@click.argument("mailbox")
@click.option(
    "--limit", type=click.IntRange(1), default=200, show_default=True, help="Messages to look at, newest first."
)
@click.option("--all", "whole", is_flag=True, help="Look at the whole window, however many messages it has.")
@format_option
@with_settings
def preview(settings: Settings, mailbox: str, limit: int, whole: bool, format_: Format) -> None:
    """Decide on the mail of MAILBOX's look-back window, and show what would be imported and why not the rest.

    The mailbox must be connected; import may be off. Nothing is stored but the Gmail quota that was used: at most half of it,
    about 150 messages a minute. Ctrl-C ends the look and shows what was found until then.
    """
    from ..io.correspondence import DatabaseCorrespondence
    from ..io.crm import load_directory
    from ..io.google_signin import GmailAccounts
    from ..io.keep_out import KeepOut
    from ..io.key_choice import key_ref
    from ..io.tombstones import TombstoneKey
    from ..io.vault import Digests, read_keys
    from .window import Window

    with settings.open_database() as database:
        team_id = settings.team_id(database)
        box = connected_mailbox(database, team_id, mailbox)
        accounts = GmailAccounts(database, open_vault(settings), google_settings(settings), utc_now)
        digests = Digests(read_keys(key_ref(settings.token_key, settings.spec())))
        window = Window(database, accounts, box, None if whole else limit)
        learning = Learning(DatabaseCorrespondence(database, digests))
        directory, key = load_directory(database, team_id), TombstoneKey(digests)

        def keep_out(mail: CustomerMail) -> str | None:
            with database.reading() as connection:
                return KeepOut(connection, key, [mail], {}, utc_now()).rule(mail, mail.sent_at)

        found, stopped = look_while_it_lasts(window, directory, learning, utc_now(), keep_out)
    if stopped is None or window.counts.seen:
        if format_ == "jsonl":
            write_jsonl(finding_rows(found))
        else:
            print_findings(box.address, window, found)
    if stopped is not None:
        if window.counts.seen:
            click.echo(how_far(window), err=True)
        raise stopped


def how_far(window: Window) -> str:
    """One line about a look that ended before its time."""
    counts = window.counts
    reached = f", back to {short(iso(counts.oldest))} UTC" if counts.oldest else ""
    return f"ended early: {counts.seen} of about {counts.listed} messages were looked at{reached}"


def print_findings(address: str, window: Window, found: Findings) -> None:
    """What `look_at` found in a mailbox's window, for people."""
    from ..transforms.decisions import RULES

    counts = window.counts
    click.echo(f"{address}: the window starts {short(iso(window.start))} UTC and has about {counts.listed} messages.")
    click.echo(f"{counts.read} were looked at, newest first; nothing of them was stored.")
    for row in finding_rows(found):
        click.echo(f"{row['messages']:6}  {row['outcome']}  {row['rule']}: {RULES.get(row['rule'], '')}")
        click.echo(f"        for example from {', '.join(row['senders'])}")
    for error, number in sorted(counts.unread.items()):
        click.echo(f"{number:6}  could not be read now ({error})")
    if found.imported:
        click.echo("These would be imported:")
        for mail in sorted(found.imported, key=lambda mail: mail.sent_at, reverse=True)[:10]:
            to = f"{len(mail.links)} CRM records"
            click.echo(
                shown(
                    f"  {short(iso(mail.sent_at))}  {mail.sender.name or mail.sender.address}: {mail.subject}  ({to})"
                )
            )
        if len(found.imported) > 10:
            click.echo(f"  and {len(found.imported) - 10} more")
