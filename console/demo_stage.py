"""What a demo is played with: the sample team, or a person's own mail with their CRM."""

from __future__ import annotations

import dataclasses
import datetime as dt
import pathlib
from collections.abc import Mapping

import sqlalchemy as sa

from ..io.database import Database
from ..io.schema import mailbox, message, own_domain, team, user, user_address
from ..sandbox.mail_sources import MailSourceError, parse_mail_option
from ..sandbox.sample.model import World
from ..sandbox.sample.world import build_world
from .context import BadInputError


@dataclasses.dataclass(frozen=True)
class Stage:
    """Whose mail is read, and against which CRM.

    `mail` maps each mailbox to its files (None: the sandbox gets it from `world`); `crm` maps file names to CSV text.
    """

    team_id: str
    title: str
    crm: Mapping[str, str]
    mail: Mapping[str, pathlib.Path | None]
    world: World | None = None


def sample_stage(now: dt.datetime) -> Stage:
    """The sample team, its last three months before `now`."""
    world = build_world(now)
    return Stage(world.team_id, world.team_name, world.crm, dict.fromkeys(world.mailboxes), world)


def own_stage(mail: str, owner: str | None, crm: str | None) -> Stage:
    """A person's own mail.

    Args:
        mail: one path (then `owner` is its mailbox's address), or ADDRESS=PATH,ADDRESS=PATH.
        owner: the address of a single mailbox.
        crm: the CRM's CSV file.

    Raises:
        BadInputError: what is missing or not there, in one line.
    """
    first = mail.partition(",")[0].partition("=")[0]
    if "=" in mail and "@" in first and not pathlib.Path(mail).exists():
        try:
            pairs = parse_mail_option(mail)
        except MailSourceError as error:
            raise BadInputError(str(error)) from None
    elif owner is None:
        raise BadInputError("whose mail is it? say OWNER=me@mycorp.example, or MAIL=me@mycorp.example=PATH")
    else:
        pairs = [(owner, pathlib.Path(mail).expanduser())]
    if crm is None:
        raise BadInputError(
            "dealmail keeps only mail of customers: name them with CRM=FILE.csv (columns in docs/crm.md)"
        )
    for address, path in pairs:
        if "@" not in address:
            raise BadInputError(f"{address} is no address")
        if path is None or not path.exists():
            raise BadInputError(f"there is no mail at {path}; give an mbox file, a Maildir or a folder of .eml files")
    try:
        text = pathlib.Path(crm).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"the CRM file {crm} cannot be read: {error.__class__.__name__}") from None
    return Stage("default", "Your mail", {pathlib.Path(crm).name: text}, {a.strip().lower(): p for a, p in pairs})


def add_owners(database: Database, stage: Stage, now: dt.datetime) -> None:
    """Make the team, and each mailbox's owner a user of it, so that the CRM file may name them as owners of deals."""
    found = {"team_id": stage.team_id}
    people = [{**found, "id": address, "name": ""} for address in stage.mail]
    addresses = [{**found, "address": a, "user_id": a, "is_primary": True} for a in stage.mail]

    def work(connection: sa.Connection) -> None:
        database.insert_new(connection, team, [{"id": stage.team_id, "name": stage.title, "created_at": now}])
        database.insert_new(connection, user, people)
        database.insert_new(connection, user_address, addresses)

    database.transaction(work)


def settle_owners(database: Database, stage: Stage) -> None:
    """After the CRM was imported: an owner whom it names is the CRM's user, and a company's domain is the team's own where
    the CRM names none.
    """
    from ..transforms.domains import company_domain

    found = {"team_id": stage.team_id}
    domains = {company_domain(address.rpartition("@")[2]) for address in stage.mail}

    def work(connection: sa.Connection) -> None:
        named = sa.select(user_address.c.user_id).where(user_address.c.team_id == stage.team_id)
        connection.execute(
            sa.delete(user).where(user.c.team_id == stage.team_id, user.c.id.in_(stage.mail), user.c.id.not_in(named))
        )
        has_domain = connection.scalar(
            sa.select(sa.func.count()).select_from(own_domain).where(own_domain.c.team_id == stage.team_id)
        )
        if not has_domain:
            rows = [{**found, "domain": domain} for domain in sorted(domain for domain in domains if domain)]
            database.insert_new(connection, own_domain, rows)
        connection.execute(sa.update(team).where(team.c.id == stage.team_id).values(crm_version=team.c.crm_version + 1))

    database.transaction(work)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How the decisions compare with what the sample expects; `differences` are lines without any content."""

    agree: int
    of: int
    differences: tuple[str, ...]


def compare(database: Database, world: World, ids: Mapping[str, str]) -> Comparison:
    """Compare every message's decision, and which messages share an engagement, with the sample's expectation.

    `ids` is the Gmail id of each message by its key.
    """
    chosen = (
        sa.select(mailbox.c.address, message.c.gmail_id, message.c.outcome, message.c.rule, message.c.engagement_id)
        .join_from(message, mailbox, mailbox.c.id == message.c.mailbox_id)
        .where(message.c.team_id == world.team_id)
    )
    with database.reading() as connection:
        found = {(row[0], row[1]): (row[2], row[3], row[4]) for row in connection.execute(chosen)}
    agree, differences = 0, []
    shared: dict[str, set[str]] = {}
    final = world.final()
    for key, expected in final.items():
        outcome, rule, engagement = found.get((expected.mailbox, ids[key]), (None, None, None))
        if (outcome, rule) == (expected.expected_outcome, expected.expected_rule):
            agree += 1
        else:
            differences.append(
                f"{expected.category} {key}: {outcome or 'no decision'} {rule or ''}, expected "
                f"{expected.expected_outcome or 'no decision'} {expected.expected_rule or ''}"
            )
        if engagement is not None:
            shared.setdefault(engagement, set()).add(expected.shared_key)
    merged = [keys for keys in shared.values() if len(keys) > 1]
    differences += [f"one engagement for {len(keys)} different mails: {', '.join(sorted(keys))}" for keys in merged]
    names = [key for keys in shared.values() for key in keys]
    differences += [
        f"mail {key} is {names.count(key)} engagements" for key in sorted(set(names)) if names.count(key) > 1
    ]
    return Comparison(agree, len(final), tuple(differences))
