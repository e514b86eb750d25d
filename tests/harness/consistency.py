"""The exact oracle of the fault tests: does a database agree with itself, and its search index with it?"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from dealmail.io import index_check, schema
from dealmail.io.database import Database
from dealmail.io.search import SearchIndex

_m, _e, _c, _o = schema.message.c, schema.engagement.c, schema.engagement_copy.c, schema.search_outbox.c


def amiss(database: Database) -> list[str]:
    """What does not add up between ledger, engagements, copies and outbox, a line each; [] where all is well."""
    with database.reading(snapshot=True) as connection:

        def rows(*columns: Any, where: Any = None) -> list[Any]:
            query = sa.select(*columns) if where is None else sa.select(*columns).where(where)
            return [tuple(row) for row in connection.execute(query)]

        imported = rows(_m.team_id, _m.mailbox_id, _m.gmail_id, _m.engagement_id, where=_m.outcome == "imported")
        copies = rows(_c.team_id, _c.mailbox_id, _c.gmail_id, _c.engagement_id)
        versions = {(team, one): version for team, one, version in rows(_e.team_id, _e.id, _e.version)}
        outbox = rows(_o.team_id, _o.engagement_id, _o.version, _o.is_delete)
        children = {
            table.name: set(rows(table.c.team_id, table.c.engagement_id))
            for table in (schema.participant, schema.engagement_link, schema.correspondence)
        }
        other = rows(_m.mailbox_id, _m.gmail_id, where=sa.and_(_m.engagement_id.is_not(None), _m.outcome != "imported"))
    held = {(team, engagement) for team, *_, engagement in copies}
    found = [f"imported without a copy: {key}" for key in sorted(set(imported) - set(copies))]
    found += [f"a copy that the ledger does not know: {key}" for key in sorted(set(copies) - set(imported))]
    found += [f"a copy of no engagement: {key}" for key in sorted(held - versions.keys())]
    found += [f"an engagement that nobody holds: {key}" for key in sorted(versions.keys() - held)]
    found += [f"an engagement without people: {key}" for key in sorted(versions.keys() - children["participant"])]
    for name, keys in children.items():
        found += [f"{name} of no engagement: {key}" for key in sorted(keys - versions.keys())]
    found += [f"not imported, with an engagement: {key}" for key in sorted(other)]
    for team, engagement, version, is_delete in outbox:
        if is_delete == ((team, engagement) in versions):
            found.append(f"the outbox has it the other way: {(team, engagement, is_delete)}")
        elif not is_delete and version != versions[team, engagement]:
            found.append(f"the outbox has version {version} of {(team, engagement)}, not {versions[team, engagement]}")
    return found


def pending(database: Database) -> int:
    """Messages without a decision."""
    with database.reading() as connection:
        return connection.scalar(sa.select(sa.func.count()).where(_m.state == "pending")) or 0


def disagreement(database: Database, index: SearchIndex) -> list[str]:
    """What differs between the stores once the outbox is drained: nothing may wait either."""
    report = index_check.check(database, index)
    return [] if report.equal and not report.waiting and report.engagements == report.indexed else [repr(report)]
