"""What is erased goes from every table and does not come back; the rest stays."""

from __future__ import annotations

import datetime as dt
import pathlib
from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import listings, mailboxes, schema
from dealmail.io.crm_import import search_terms
from dealmail.io.erasure import Erasing, Erasure, ErasureError
from dealmail.io.scrub import scrub
from dealmail.io.tombstones import TombstoneKey, check_key
from dealmail.io.vault import Digests, VaultError
from dealmail.transforms import decisions
from dealmail.transforms.records import Decision, MailText, Participant, SeenCopy

MAIL = (
    schema.engagement, schema.participant, schema.engagement_link, schema.engagement_copy, schema.correspondence,
)  # fmt: skip
DIGESTS = Digests((b"a key for tests, 32 bytes long..",))
PEOPLE = ["kim@gone.example", "kim@mail.gone.example", "kim@notgone.example", "lee@stays.example", "pat@googlemail.com"]


@pytest.fixture
def erasing(sales: Any) -> Erasing:
    return Erasing(sales.database, sales.clock, DIGESTS)


def fill(sales: Any, mail: Any, address: str = "alice@corp.example", team: str = "t1", user: str = "u1") -> str:
    """One mail for each of PEOPLE in the mailbox; e0003 is with Lee and Kim together."""
    box = sales.add_mailbox(address, team, user)
    for number, (claim, person) in enumerate(zip(sales.claim(box, [f"g{n}" for n in range(5)]), PEOPLE, strict=True)):
        cc = (Participant(PEOPLE[0]),) if number == 3 else ()
        sales.settlements.settle(
            [mail(claim, number, sender=Participant(person), cc=cc, context=(f"x{number}",), direction="outbound")]
        )
    return box


def left(sales: Any, team: str = "t1") -> list[str]:
    with sales.database.reading() as connection:
        e = schema.engagement.c
        return list(connection.scalars(sa.select(e.id).where(e.team_id == team).order_by(e.id)))


@pytest.mark.parametrize(
    ("what", "gone"),
    [
        ({"person": "Kim@Gone.example"}, [0, 3]), ({"domain": "gone.example"}, [0, 1, 3]), ({"person": "pat@gmail.com"}, [4]),
        ({"before": dt.datetime(2026, 2, 1, 8, 2, tzinfo=dt.UTC)}, [0, 1]), ({"domain": "corp.example"}, [0, 1, 2, 3, 4]),
        ({"person": "nobody@gone.example"}, []),
    ],
)  # fmt: skip
def test_erased_mail_goes_everywhere_and_stays_gone(
    sales: Any, mail: Any, erasing: Erasing, what: Any, gone: list[int]
) -> None:
    sales.add_team("t2")
    box = fill(sales, mail)
    fill(sales, mail, team="t2")
    others = {t.name: [row for row in sales.dump(t)[t.name] if "t2" in row] for t in MAIL}
    sales.database.transaction(lambda c: c.execute(sa.delete(schema.search_outbox)))
    before = sales.dump(*MAIL, schema.message, schema.tombstone)
    report = erasing.preview(Erasure("t1", **what))
    assert sales.dump(*MAIL, schema.message, schema.tombstone) == before

    sales.clock.advance(days=1)
    assert erasing.erase(Erasure("t1", **what)) == report
    assert (report.engagements, report.copies) == (len(gone), len(gone))
    assert left(sales) == [f"t1-e{n:04d}" for n in range(5) if n not in gone]
    rows = sales.dump(*MAIL)
    for name in rows:
        assert [n for n in gone if f"t1-e{n:04d}" in repr(rows[name])] == []
        assert [row for row in rows[name] if "t2" in row] == others[name]
    assert [row[1] for row in sales.dump(schema.search_outbox)["search_outbox"]] == [f"t1-e{n:04d}" for n in gone]
    assert "gone.example" not in repr(sales.dump(schema.tombstone, schema.message))
    again = erasing.erase(Erasure("t1", **what))
    assert (again.engagements, again.copies) == (0, 0)
    # a re-sync: another mailbox still holds all of it
    second = fill(sales, mail, "bob@corp.example", user="u2")
    assert left(sales) == [f"t1-e{n:04d}" for n in range(5) if n not in gone]
    for number in range(5):
        expected = decisions.ERASED if number in gone else "customer"
        assert [sales.ledger.explain(one, f"g{number}").rule for one in (box, second)] == [expected] * 2
    assert len(left(sales, "t2")) == 5


@pytest.mark.parametrize(
    ("what", "left"),
    [
        ({"person": "kim@gone.example"}, [["kim@notgone.example", "gone.example", "a.gone.example", "pat@gmail.com"], None, []]),
        ({"domain": "Gone.Example"}, [["kim@notgone.example", "pat@gmail.com"], None, []]),
        ({"person": "pat@gmail.com"}, [["kim@gone.example", "kim@notgone.example", "gone.example", "a.gone.example"], None, None]),
    ],
)  # fmt: skip
def test_a_search_that_waits_with_its_mailbox_forgets_who_is_erased(
    sales: Any, erasing: Erasing, what: Any, left: list[list[str] | None]
) -> None:
    sales.add_team("t2")
    box = sales.add_mailbox("alice@corp.example", "t1", "u1")
    other = sales.add_mailbox("alice@corp.example", "t2", "u1")
    wanted = [
        ["kim@gone.example", "kim@notgone.example", "gone.example", "a.gone.example", "pat@gmail.com"],
        ["lee@stays.example"], ["kim@gone.example"],
    ]  # fmt: skip

    def start(connection: sa.Connection) -> None:
        for mailbox in (box, other):
            row = mailboxes.read(connection, mailbox)
            for number, one in enumerate(wanted):
                (query,) = search_terms(one)
                kind: Any = "targeted" if number else "first_sync"
                listings.start(connection, row, kind, sales.clock(), sales.clock(), query=query)
        connection.execute(sa.update(schema.listing).values(page_token="next", listed=7))

    sales.database.transaction(start)
    with sales.database.reading() as connection:
        seen = mailboxes.read(connection, box)
    sales.mailboxes.turn_off(box, "test")
    erasing.preview(Erasure("t1", **what))
    erasing.erase(Erasure("t1", **what))
    with sales.database.reading() as connection:
        rows = {t: [dict(r) for r in connection.execute(
            sa.select(schema.listing).where(schema.listing.c.team_id == t).order_by(schema.listing.c.id)).mappings()] for t in ("t1", "t2")}  # fmt: skip
        assert mailboxes.read(connection, box).cursor_seq > seen.cursor_seq + 1
    assert [r["query"] for r in rows["t2"]] == [query for one in wanted for query in search_terms(one)]
    for row, before, after in zip(rows["t1"], wanted, left, strict=True):
        now_asked = before if after is None else after
        assert row["query"] == (next(search_terms(now_asked)) if now_asked else "")
        assert (row["finished_at"] is not None) == (not now_asked)
        assert row["page_token"] == ("next" if after is None else "")


def test_an_erased_mailbox_leaves_shared_mail_to_the_others(sales: Any, mail: Any, erasing: Erasing) -> None:
    box = fill(sales, mail)
    other = sales.add_mailbox("bob@corp.example", user="u2")
    claims = sales.claim(other, ["g0", "g1"])
    sales.settlements.settle([mail(claim, number) for number, claim in enumerate(claims)])
    (waiting,) = sales.claim(box, ["late"])
    sales.clock.advance(hours=1)
    report = erasing.preview(Erasure("t1", mailbox=box))
    assert (report.engagements, report.copies) == (3, 5)
    assert erasing.erase(Erasure("t1", user="u1")) == report
    assert left(sales) == ["t1-e0000", "t1-e0001"]
    assert {row[0] for row in sales.dump(schema.engagement_copy)["engagement_copy"]} == {other}
    assert sales.settlements.settle([mail(waiting, 9)]) == []
    # what the mailbox held stays away from it, also as a copy of what somebody else holds; new mail comes in
    old, seen, new = sales.claim(box, ["n1", "n2", "n3"])
    sales.settlements.settle(
        [
            mail(old, 3),
            SeenCopy(seen, "t1-e0001", "d", "9", "customer", "1"),
            mail(new, 4, sent_at=sales.clock() + dt.timedelta(hours=1)),
        ]
    )
    assert [sales.ledger.explain(box, one).rule for one in ("n1", "n2", "n3")] == ["erased", "erased", "customer"]


def test_a_key_that_does_not_know_what_was_erased_is_refused(sales: Any, erasing: Erasing) -> None:
    """After a rotation the older key looks like one that may go; without it all tombstones would be blind."""
    rotated, lost = (
        (b"a newer key, 32 bytes long......", *old) for old in ((b"a key for tests, 32 bytes long..",), ())
    )
    check_key(sales.database, TombstoneKey(Digests(lost)))  # nothing was erased yet
    erasing.erase(Erasure("t1", person="kim@gone.example"))
    check_key(sales.database, TombstoneKey(Digests(rotated)))
    before = sales.dump(schema.tombstone)
    with pytest.raises(VaultError, match="put that one back"):
        check_key(sales.database, TombstoneKey(Digests(lost)))
    with pytest.raises(VaultError, match="put that one back"):
        Erasing(sales.database, sales.clock, Digests(lost)).erase(Erasure("t1", person="lee@stays.example"))
    assert sales.dump(schema.tombstone) == before


def test_retention_removes_what_is_too_old(sales: Any, mail: Any, erasing: Erasing, clock: Any) -> None:
    sales.add_team("t2", retention_days=30)
    assert erasing.retain("t1").engagements == erasing.retain("t2").engagements == 0
    box = sales.add_mailbox("alice@corp.example", "t2")
    old, new = sales.claim(box, ["g1", "g2"])
    sales.settlements.settle([mail(old, 1, sent_at=clock() - dt.timedelta(days=29)), mail(new, 2, sent_at=clock())])
    clock.advance(days=2)
    assert erasing.retain("t2").engagements == 1
    assert left(sales, "t2") == ["t2-e0002"]
    assert [sales.ledger.explain(box, g).rule for g in ("g1", "g2")] == ["retention", "customer"]


def test_bad_requests_erase_nothing(sales: Any, erasing: Erasing) -> None:
    for wrong in ({}, {"person": "a@b.example", "domain": "b.example"}, {"person": "nobody"}, {"domain": "com"}):
        with pytest.raises(ErasureError):
            Erasure("t1", **wrong)
    sales.add_team("t2")
    box = sales.add_mailbox("alice@corp.example", "t2")
    for wrong in ({"mailbox": box}, {"user": "u1"}):
        with pytest.raises(ErasureError):
            erasing.erase(Erasure("t1", **wrong))
        with pytest.raises(ErasureError):
            erasing.preview(Erasure("t1", **wrong))
    assert sales.dump(schema.tombstone) == {"tombstone": []}


def test_an_automated_decision_about_an_erased_mail_needs_no_content(sales: Any, erasing: Erasing) -> None:
    box = sales.add_mailbox("alice@corp.example")
    (claim,) = sales.claim(box, ["g1"])
    sales.settlements.settle(
        [Decision(claim, "dropped", "automated.marketing", context=("d1",), score=3.5, signals=("a",))]
    )
    erasing.erase(Erasure("t1", mailbox=box))
    assert sales.dump(schema.message_context)["message_context"] == []


def test_no_byte_of_erased_mail_is_left_in_the_files(
    sqlite_database: Any, make_sales: Any, mail: Any, tmp_path: pathlib.Path
) -> None:
    sales = make_sales(sqlite_database)
    box = sales.add_mailbox("alice@corp.example")
    claims = sales.claim(box, [f"g{n}" for n in range(40)])
    sales.settlements.settle(
        [
            mail(
                claim,
                n,
                sender=Participant("kim@gone.example", "Kim MARKERNAME"),
                body=MailText("MARKERTEXT " * 400),
                subject="MARKERSUBJECT",
            )
            for n, claim in enumerate(claims)
        ]
    )
    sqlite_database.engine.dispose()
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert any(b"MARKERTEXT" in path.read_bytes() for path in files)
    erasing = Erasing(sqlite_database, sales.clock, DIGESTS)
    erasing.erase(Erasure("t1", person="kim@gone.example"))
    assert scrub(sqlite_database) == []
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        assert [m for m in (b"MARKER", b"kim@gone.example") if m in content] == [], path.name
