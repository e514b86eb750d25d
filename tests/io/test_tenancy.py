"""No public function reads or writes across teams: two teams with the same mail, each call made for one of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dealmail.io import crm_import, relink, schema
from dealmail.io.correspondence import DatabaseCorrespondence
from dealmail.io.crm import DatabaseDirectories
from dealmail.io.database import Database
from dealmail.io.erasure import Erasing, Erasure
from dealmail.io.vault import Digests
from dealmail.transforms import decisions
from dealmail.transforms.records import Decision, Failure, Participant, SeenCopy

TEAMS = ("t1", "t2")
DIGESTS = Digests((b"a key for tests, 32 bytes long..",))
CRM = "kind,id,address,domain,account_id\naccount,a1,,acme.example,\ncontact,c1,zoe@acme.example,,a1\nown_domain,,,corp.example,\n"


class World:
    """Both teams have the same mailboxes by address, the same Gmail ids and the same mail."""

    def __init__(self, database: Database, sales: Any, mail: Any) -> None:
        self.database, self.sales, self.mail = database, sales, mail
        self.directories = DatabaseDirectories(database, 0.0)
        self.erasing = Erasing(database, sales.clock, DIGESTS)
        self.serial = 100
        self.boxes = {}
        for team in TEAMS:
            crm_import.import_csv(database, team, CRM, sales.clock)
            self.boxes[team] = sales.add_mailbox("alice@corp.example", team)
            claims = sales.claim(self.boxes[team], [f"g{n}" for n in range(4)])
            links = self.directories.directory(team).links([Participant("zoe@acme.example")])
            sales.settlements.settle(
                [
                    mail(claims[0], 0, links=links, context=("x",)), mail(claims[1], 1, links=links),
                    Decision(claims[2], "dropped", "automated.reply", context=("y",)), Decision(claims[3], "parked", "parked"),
                ]
            )  # fmt: skip

    def rows(self, team: str) -> dict[str, list[str]]:
        """Every row of the team, in every table that has a team."""
        found = {}
        with self.database.reading() as connection:
            for table in schema.metadata.sorted_tables:
                column = table.c.get("team_id", table.c.get("id") if table is schema.team else None)
                if column is not None:
                    query = sa.select(table).where(column == team)
                    found[table.name] = sorted(repr(tuple(row)) for row in connection.execute(query))
        return found

    def claim(self, team: str, count: int = 1) -> list[Any]:
        self.serial += count
        return self.sales.claim(self.boxes[team], [f"n{self.serial - n}" for n in range(count)])

    def act(self, name: str, team: str) -> Any:
        """Call one public function for `team`; what it answers must not name the other one."""
        sales, box = self.sales, self.boxes[team]
        row = sales.mailboxes.get(box)
        inside = self.database.transaction
        other = self.boxes["t2" if team == "t1" else "t1"]
        actions = {
            "settle": lambda: sales.settlements.settle(
                [self.mail(self.claim(team)[0], 0, 0, context=("y",), direction="outbound")]
            ),
            "settle seen": lambda: sales.settlements.settle(
                [SeenCopy(self.claim(team)[0], f"{team}-e0000", "d", "9", "customer", "1")]
            ),
            "settle foreign engagement": lambda: sales.settlements.settle(
                [SeenCopy(self.claim(team)[0], "t1-e0000" if team == "t2" else "t2-e0000", "d", "9", "customer", "1")]
            ),
            "settle foreign mailbox": lambda: sales.settlements.settle(
                [
                    dataclasses.replace(
                        Failure(self.claim(team)[0], "p", "E"),
                        claim=dataclasses.replace(self.claim(team)[0], mailbox_id=other),
                    )
                ]
            ),
            "settle decision": lambda: sales.settlements.settle(
                [Decision(self.claim(team)[0], "dropped", decisions.CRM_NO_MATCH)]
            ),
            "delete": lambda: inside(
                lambda c: sales.ledger.mark_deleted(c, row, ["g0", "g1", "g2", "g3"], sales.clock())
            ),
            "trash": lambda: inside(
                lambda c: sales.ledger.mark_trashed(c, row, {"g0": "label.trash", "g1": "label.spam"}, sales.clock())
            ),
            "retry": lambda: sales.ledger.retry_parked(team),
            "retry foreign mailbox": lambda: sales.ledger.retry_parked(team, other),
            "off": lambda: sales.mailboxes.turn_off(box, "x"),
            "on": lambda: sales.mailboxes.turn_on(box, "x"),
            "state": lambda: sales.mailboxes.set_state(box, "live", window_from=sales.clock()),
            "all": lambda: sales.mailboxes.all(team),
            "import": lambda: crm_import.import_csv(
                self.database, team, CRM + f"lead,l{self.serial},z{self.serial}@new.example,,\n", sales.clock
            ),
            "replace": lambda: crm_import.import_csv(
                self.database, team, "kind,id,domain\naccount,a2,other.example\n", sales.clock, replace=True
            ),
            "relink": lambda: relink.relink(self.database, self.directories.refresh(team), sales.clock),
            "directory": lambda: self.directories.directory(team).team_id,
            "known": lambda: DatabaseCorrespondence(self.database, DIGESTS).known(team, ["x", "y"]) and None,
            "erase person": lambda: self.erasing.erase(Erasure(team, person="p0@customer.example")),
            "erase domain": lambda: self.erasing.erase(Erasure(team, domain="customer.example")),
            "erase mailbox": lambda: self.erasing.erase(Erasure(team, mailbox=box)),
            "erase user": lambda: self.erasing.erase(Erasure(team, user="u1")),
            "erase before": lambda: self.erasing.erase(Erasure(team, before=sales.clock())),
            "retain": lambda: self.erasing.retain(team),
        }
        return actions[name]() if name else sorted(actions)


NAMES = (
    "settle", "settle seen", "settle foreign engagement", "settle foreign mailbox", "settle decision", "delete", "trash",
    "retry", "retry foreign mailbox", "off", "on", "state", "all", "import",
    "replace", "relink", "directory", "known", "erase person", "erase domain", "erase mailbox", "erase user", "erase before", "retain",
)  # fmt: skip


def check(world: World, steps: list[tuple[str, str]]) -> None:
    assert world.act("", "t1") == sorted(NAMES)
    for name, team in steps:
        if name.startswith("settle") and not world.sales.mailboxes.get(world.boxes[team]).import_on:
            continue
        other = "t2" if team == "t1" else "t1"
        before = world.rows(other)
        answer = world.act(name, team)
        assert world.rows(other) == before, name
        assert f"'{other}'" not in repr(answer), name
        assert world.boxes[other] not in repr(answer), name


def test_every_function_by_itself(sales: Any, mail: Any) -> None:
    sales.add_team("t2")
    check(World(sales.database, sales, mail), [(name, team) for team in TEAMS for name in NAMES])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(TEAMS)), min_size=3, max_size=10))
def test_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Any, make_sales: Any, mail: Any, steps: Any
) -> None:
    import shutil

    from dealmail.io.database import DatabaseSpec

    path = tmp_path_factory.mktemp("tenancy") / "t.db"
    shutil.copy(sqlite_template, path)
    database = Database(DatabaseSpec(f"sqlite:///{path}"))
    sales = make_sales(database)
    sales.add_team("t2")
    check(World(database, sales, mail), steps)
    database.close()
