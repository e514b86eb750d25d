"""Claims while somebody else acts on the same mailbox: its user connects anew or turns import off, Gmail moves on, workers race."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from dealmail.io import schema
from dealmail.io.claims import GmailClaims
from dealmail.io.consent_flow import SignIn
from dealmail.io.crm_import import import_csv
from dealmail.io.ledger import SUSPECT_LEASES
from dealmail.io.quota import QuotaLimits
from dealmail.transforms.records import DueMailbox


class Busy:
    """Accounts whose Gmail is real; after each of its calls of a kind (before it, where that fails) something else happens."""

    def __init__(self, gmails: Any, call: str, then: Callable[[], object]) -> None:
        self._accounts, self._call, self._then = gmails.accounts, call, then
        self.sealed = gmails.accounts.sealed

    def open(self, mailbox: str) -> Any:
        gmail, call, then = self._accounts.open(mailbox), self._call, self._then

        class Seen:
            def __getattr__(self, name: str) -> Any:
                method = getattr(gmail, name)
                if name != call:
                    return method

                def called(*arguments: Any, **options: Any) -> Any:
                    try:
                        return method(*arguments, **options)
                    finally:
                        then()

                return called

        return Seen()


def busy_claims(gmails: Any, call: str, then: Callable[[], object], **settings: Any) -> GmailClaims:
    claims = gmails.claims(**settings)
    claims._accounts = Busy(gmails, call, then)
    return claims


def sign_in(gmails: Any) -> SignIn:
    return SignIn(gmails.database, gmails.vault, gmails.settings, gmails.clock)


def test_an_old_tokens_refusal_does_not_end_a_consent_given_meanwhile(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    gmails.client.revoke(gmails.address(alice))
    given = []

    def consent() -> None:
        if not given:
            given.append(sign_in(gmails).grant(alice, gmails.client.grant(gmails.address(alice)), [], "alice"))

    new = gmails.deliver(alice)
    claimed = gmails.claim(alice, "push", busy_claims(gmails, "history_page", consent))
    assert [claim.gmail_id for claim in claimed] == [new]
    assert gmails.row(alice).state == "live"


def test_a_refusal_counts_though_its_own_claim_moved_the_cursor(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    gmails.client.expire_history(gmails.address(alice))
    claims = busy_claims(gmails, "profile", lambda: gmails.client.revoke(gmails.address(alice)))
    assert gmails.claim(alice, "push", claims) == []
    assert gmails.row(alice).expired_cursors == 1
    assert gmails.row(alice).state == "reconsent"


def test_a_push_that_loses_every_race_is_looked_at_again_at_once(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)

    def other() -> None:
        moved = sa.update(schema.mailbox).where(schema.mailbox.c.id == alice)
        moved = moved.values(cursor_seq=schema.mailbox.c.cursor_seq + 1)
        gmails.database.transaction(lambda c: c.execute(moved))

    new = gmails.deliver(alice)
    assert gmails.claim(alice, "push", busy_claims(gmails, "history_page", other)) == []
    assert [due.mailbox_id for due in gmails.register.due(gmails.clock())] == [alice]
    assert [claim.gmail_id for claim in gmails.claim(alice, "poll")] == [new]


def test_a_watch_that_was_made_after_import_off_is_stopped(gmails: Any) -> None:
    alice = gmails.connect("alice")
    off = lambda: gmails.mailboxes.turn_off(alice, "alice")  # noqa: E731
    assert gmails.claim(alice, "poll", busy_claims(gmails, "watch", off, topic=gmails.sandbox.topic)) == []
    assert gmails.address(alice) not in gmails.client.counters()["watches"]
    assert gmails.row(alice).watch_expires_at is None


def test_records_made_while_an_answer_is_paged_are_not_passed_over(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    made = []

    def arrive() -> None:
        if not made:
            made.append(gmails.deliver(alice))

    gmails.client.set_faults({"empty_pages": 1.0})
    gmails.claim(alice, "push", busy_claims(gmails, "history_page", arrive))
    gmails.client.set_faults()
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice) == {made[0]: "customer"}


def test_another_account_with_a_longer_history_is_compared_with_the_window(gmails: Any) -> None:
    """Google gives dealmail no account id: under the same address only the mail itself can tell."""
    alice = gmails.connect("alice")
    theirs = gmails.deliver(alice, "the new account's", age=2)
    gmails.sync(alice)
    gmails.database.transaction(lambda c: c.execute(sa.delete(schema.message)))  # the old account never had it
    sign_in(gmails).grant(alice, gmails.client.grant(gmails.address(alice)), [], "alice")
    gmails.sync(alice)
    assert gmails.outcomes(alice) == {theirs: "customer"}


@pytest.mark.parametrize("place", ["TRASH", "SPAM"])
def test_what_lay_in_the_trash_when_the_crm_learned_of_its_sender_is_judged_when_it_comes_back(
    gmails: Any, place: str
) -> None:
    alice = gmails.connect("alice")
    mail = gmails.deliver(alice, age=1)
    gmails.sync(alice)
    unknown = sa.update(schema.message).values(outcome="dropped", rule="crm.no_match", engagement_id=None)
    gmails.database.transaction(lambda c: c.execute(unknown))
    gmails.client.modify(gmails.address(alice), mail, [place], ["INBOX"])
    gmails.sync(alice, "push")
    known = "kind,id,name,domain\naccount,a1,Acme,customer.example\n"
    import_csv(
        gmails.database, "t1", known, gmails.clock
    )  # looks back in Gmail's lists, which show no trash and no spam
    gmails.sync(alice)
    gmails.client.modify(gmails.address(alice), mail, ["INBOX"], [place])
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice) == {mail: "customer"}


# --- old mail, live mail, and other mailboxes ------------------------------------------------------------------------
def test_a_push_leases_live_mail_and_leaves_old_mail_to_its_turn(gmails: Any) -> None:
    alice = gmails.connect("alice")
    for n in range(8):
        gmails.deliver(alice, f"Offer {n}", age=n / 2 + 0.5)
    claims = gmails.claims(batch=3)
    gmails.settle(gmails.claim(alice, "poll", claims))
    live = gmails.deliver(alice)
    assert [claim.gmail_id for claim in gmails.claim(alice, "push", claims)] == [live]
    assert len(gmails.claim(alice, "work", claims)) == 3


def test_few_of_a_mailboxs_old_messages_are_under_way_at_once(gmails: Any) -> None:
    alice = gmails.connect("alice")
    for n in range(12):
        gmails.deliver(alice, f"Offer {n}", age=n / 2 + 0.5)
    claims = gmails.claims(batch=3)
    under_way = []
    for _ in range(4):
        under_way += gmails.claim(alice, "work" if under_way else "poll", claims)
        gmails.advance(seconds=4)
    assert len(under_way) == 6
    live = gmails.deliver(alice)
    assert [claim.gmail_id for claim in gmails.claim(alice, "push", claims)] == [live]  # live mail passes them
    gmails.settle(under_way[:3])
    assert len(gmails.claim(alice, "work", claims)) == 3
    gmails.advance(seconds=121)  # what a lost worker held is free again
    assert len(gmails.claim(alice, "work", claims)) == 3


def test_the_projects_units_are_shared_out_evenly(gmails: Any) -> None:
    """Twelve first syncs want far more than the project's minute has; they always ask in the same order."""
    boxes = [gmails.connect(f"user{n}") for n in range(12)]
    for box in boxes:
        gmails.fill(box, 300)
    claims = gmails.claims(QuotaLimits(project_minute=3_000), batch=20)
    read = dict.fromkeys(boxes, 0)
    for _ in range(100):
        for due in sorted(gmails.register.due(gmails.clock()), key=lambda one: boxes.index(one.mailbox_id)):
            claimed = claims.claim(due)
            read[due.mailbox_id] += len(claimed)
            done = sa.update(schema.message).where(schema.message.c.gmail_id.in_([c.gmail_id for c in claimed]))
            done = done.where(schema.message.c.mailbox_id == due.mailbox_id)
            done = done.values(state="decided", outcome="dropped", rule="crm.no_match", lease=None, lease_until=None)
            gmails.database.transaction(lambda c, done=done: c.execute(done))
        gmails.advance(seconds=3)
    total = sum(read.values())
    jain = total**2 / (len(read) * sum(n**2 for n in read.values()))
    print(f"\nmessages of each mailbox in 5 minutes: {sorted(read.values())}, fairness {jain:.3f}")  # noqa: T201
    assert 0.6 * 5 * 3_000 * 0.8 / 20 < total <= 6 * 3_000 / 20
    assert min(read.values()) > 0.5 * total / len(read)
    assert jain > 0.95


def test_old_minutes_are_forgotten(gmails: Any) -> None:
    alice = gmails.connect("alice")
    for _ in range(3):
        gmails.sync(alice)
        gmails.advance(minutes=70)
    with gmails.database.reading() as connection:
        used = connection.execute(sa.select(schema.quota_use.c.scope)).scalars().all()
    assert sorted(used) == sorted([alice, "project", "day"])


def test_a_days_units_are_shared_too_and_live_mail_has_the_last_of_them(gmails: Any) -> None:
    alice = gmails.connect("alice")
    gmails.advance(seconds=86_400 - gmails.clock().timestamp() % 86_400 + 60)
    for n in range(40):
        gmails.deliver(alice, f"Offer {n}", age=n / 10 + 0.5)
    claims = gmails.claims(QuotaLimits(project_day=400))
    read = len(gmails.claim(alice, "poll", claims))
    for _ in range(5):
        gmails.advance(minutes=10)
        read += len(gmails.claim(alice, "work", claims))
    assert read == (400 * 0.8 - 6) // 20
    live = gmails.deliver(alice)
    assert [claim.gmail_id for claim in gmails.claim(alice, "push", claims)] == [live]
    gmails.advance(days=1)
    assert len(gmails.claim(alice, "work", claims)) > 5


def test_messages_that_lost_leases_are_read_again_all_the_same(gmails: Any) -> None:
    alice = gmails.connect("alice")
    ids = {gmails.deliver(alice, f"Offer {n}", age=n + 1) for n in range(4)}
    for _ in range(SUSPECT_LEASES):
        assert len(gmails.claims().claim(DueMailbox("t1", alice, "poll"))) == 4
        gmails.advance(seconds=121)
    assert len(gmails.claim(alice, "work")) == 1  # from here on one by one
    gmails.advance(seconds=121)
    gmails.sync(alice, "work")
    assert gmails.outcomes(alice) == dict.fromkeys(ids, "customer")


@pytest.mark.parametrize("jump", [-3700, 3700])
def test_a_clock_that_jumps_loses_nothing_and_the_poll_goes_on(gmails: Any, jump: int) -> None:
    alice = gmails.connect("alice")
    gmails.sync(alice)
    gmails.clock.at += dt.timedelta(seconds=jump)  # the job's clock alone
    new = gmails.deliver(alice)
    assert [due.mailbox_id for due in gmails.register.due(gmails.clock())] == [alice]
    gmails.sync(alice)
    assert gmails.outcomes(alice) == {new: "customer"}


def test_what_the_spam_policy_takes_away_is_written_down_as_spam(gmails: Any) -> None:
    removing = sa.update(schema.team).values(settings={"on_spam": "remove"})
    gmails.database.transaction(lambda connection: connection.execute(removing))
    alice = gmails.connect("alice")
    mail = gmails.deliver(alice, age=1)
    gmails.sync(alice)
    gmails.client.modify(gmails.address(alice), mail, ["SPAM"], ["INBOX"])
    gmails.sync(alice, "push")
    assert gmails.outcomes(alice) == {mail: "label.spam"}
