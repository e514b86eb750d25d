"""Looking at what is there: mailboxes, decisions, engagements, and one message explained."""

from __future__ import annotations

from typing import Any

import click

from ..io.database import Database
from ..transforms.decisions import RULES
from . import queries
from .context import BadInputError, Settings, with_settings
from .tables import Format, format_option, short, shown, write


def mailbox_named(database: Database, team_id: str, name: str) -> dict[str, Any]:
    """The team's mailbox of that address or id.

    Raises:
        BadInputError: there is none.
    """
    found = queries.find_mailbox(database, team_id, name)
    if found is None:
        raise BadInputError(f"team {team_id} has no mailbox {name}; `dealmail mailboxes` lists them")
    return found


@click.command()
@format_option
@with_settings
def mailboxes(settings: Settings, format_: Format) -> None:
    """List the team's mailboxes with the number of messages by outcome."""
    with settings.open_database() as database:
        write(
            queries.mailboxes(database, settings.team_id(database)),
            [
                ("mailbox", lambda row: row["mailbox"]),
                ("import", lambda row: "on" if row["import_on"] else "off"),
                ("state", lambda row: row["state"]),
                ("mail since", lambda row: short(row["window_from"])),
                *((name, lambda row, name=name: row[name]) for name in (*queries.OUTCOMES, "pending")),
            ],
            format_,
            empty="no mailboxes yet; `dealmail connect ADDRESS` adds one",
        )


@click.command()
@click.option("--mailbox", help="Only this mailbox (address or id).")
@click.option("--outcome", type=click.Choice(queries.OUTCOMES), help="Only this outcome.")
@click.option("--rule", help="Only this rule; a * at the end stands for anything: automated.*")
@format_option
@with_settings
def decisions(settings: Settings, mailbox: str | None, outcome: str | None, rule: str | None, format_: Format) -> None:
    """List every message that was looked at: mailbox, Gmail id, outcome, rule, engagement, when."""
    known = sorted(RULES)
    if rule is not None and not any(
        name == rule or (rule.endswith("*") and name.startswith(rule[:-1])) for name in known
    ):
        raise BadInputError(f"there is no rule {rule}; rules: {', '.join(known)}")
    with settings.open_database() as database:
        team_id = settings.team_id(database)
        mailbox_id = None if mailbox is None else mailbox_named(database, team_id, mailbox)["id"]
        write(
            queries.decisions(database, team_id, mailbox_id=mailbox_id, outcome=outcome, rule=rule),
            [
                ("mailbox", lambda row: row["mailbox"]),
                ("gmail id", lambda row: row["gmail_id"]),
                ("outcome", lambda row: row["outcome"]),
                ("rule", lambda row: row["rule"]),
                ("engagement", lambda row: row["engagement"]),
                ("decided", lambda row: short(row["decided_at"])),
            ],
            format_,
            empty="no message was looked at yet, or none fits",
        )


def chosen_links(database: Database, team_id: str, kind: str, name: str) -> list[tuple[str, str]]:
    """(kind, id) of every CRM record that `name` means.

    Raises:
        BadInputError: none.
    """
    found = queries.target_ids(database, team_id, kind, name)
    if not found:
        word = "deal" if kind == "opportunity" else kind
        raise BadInputError(f"team {team_id} has no {word} {name} (an id or a name of the CRM)")
    return [(kind, target) for target in found]


@click.command()
@click.option("--deal", help="Only mail of this opportunity (id or name).")
@click.option("--account", help="Only mail of this account (id or name).")
@click.option("--person", help="Only mail with this person (address, or id or name of a contact or lead).")
@format_option
@with_settings
def engagements(settings: Settings, deal: str | None, account: str | None, person: str | None, format_: Format) -> None:
    """List the stored mail in time order; without an option, all of the team's."""
    if sum(choice is not None for choice in (deal, account, person)) > 1:
        raise BadInputError("say one of --deal, --account, --person")
    with settings.open_database() as database:
        team_id = settings.team_id(database)
        links: list[tuple[str, str]] | None = None
        address = None
        if deal is not None:
            links = chosen_links(database, team_id, "opportunity", deal)
        elif account is not None:
            links = chosen_links(database, team_id, "account", account)
        elif person is not None:
            address = person if "@" in person else None
            links = [
                (kind, i) for kind in ("contact", "lead") for i in queries.target_ids(database, team_id, kind, person)
            ]
            if not links and address is None:
                raise BadInputError(f"team {team_id} has no contact or lead {person}; an address works, too")
        write(
            queries.engagements(database, team_id, links=links, address=address),
            [
                ("when", lambda row: short(row["timestamp"])),
                ("", lambda row: "->" if row["direction"] == "outbound" else "<-"),
                ("sender", lambda row: row["sender"]["name"] or row["sender"]["address"]),
                ("to", lambda row: ", ".join(person["name"] or person["address"] for person in row["to"][:3])),
                ("subject", lambda row: row["subject"]),
                ("held by", lambda row: ", ".join(row["mailboxes"])),
                ("deals", lambda row: ", ".join(row["opportunities"])),
            ],
            format_,
            empty="no mail is stored for that",
        )


def told(row: dict[str, Any], address: str) -> list[str]:
    """What became of one ledger row's message, in sentences."""
    said = [f"Message {row['gmail_id']} of {address} was found {short(row['found_at'])} UTC."]
    if row["state"] != "decided":
        said.append("It waits for its decision.")
        if row["error_class"]:
            until = f", the next not before {short(row['not_before'])} UTC" if row["not_before"] else ""
            said.append(f"The last try ended in {row['error_class']} in phase {row['phase']}.")
            said.append(f"{row['failures']} tries failed{until}.")
        return said
    verb = {"imported": "imported", "dropped": "not imported", "gone": "not imported", "parked": "put aside"}[
        row["outcome"]
    ]
    said.append(f"It was {verb} on {short(row['decided_at'])} UTC because {RULES.get(row['rule'], row['rule'])}.")
    facts = [f"rule {row['rule']}"]
    if row["rules_version"]:
        facts.append(f"rule set {row['rules_version']}")
    if row["score"] is not None:
        facts.append(f"score {row['score']:.2f}")
    if row["signals"]:
        facts.append(f"signals {', '.join(row['signals'])}")
    said.append(f"({'; '.join(facts)})")
    if row["outcome"] == "parked" and row["error_class"]:
        said.append(f"The last failure was {row['error_class']} in phase {row['phase']}.")
    if row["outcome"] == "dropped":
        said.append("Nothing of its content was kept.")
    return said


@click.command()
@click.argument("mailbox")
@click.argument("gmail_id")
@with_settings
def explain(settings: Settings, mailbox: str, gmail_id: str) -> None:
    """Say in words what became of one message, and why."""
    with settings.open_database() as database:
        team_id = settings.team_id(database)
        box = mailbox_named(database, team_id, mailbox)
        row = queries.decision(database, box["id"], gmail_id)
        if row is None:
            window = f" Its window starts {short(box['window_from'])} UTC." if box["window_from"] else ""
            raise BadInputError(
                f"{box['address']} has no message {gmail_id} in the ledger: it was not looked at (yet).{window}"
            )
        for sentence in told(row, box["address"]):
            click.echo(sentence)
        if row["engagement_id"]:
            for stored in queries.engagements(database, team_id, ids=[row["engagement_id"]]):
                click.echo(f"It is engagement {stored['id']}: {short(stored['timestamp'])} UTC, {stored['subject']!r}.")
                click.echo(f"Held by: {', '.join(stored['mailboxes'])}.")
                for kind, field in queries.LINK_FIELDS.items():
                    names = queries.crm_names(database, team_id, kind, stored[field])
                    if names:
                        told_names = ", ".join(f"{name} ({i})" for i, name in names.items())
                        click.echo(f"{field.capitalize()}: {shown(told_names)}.")
