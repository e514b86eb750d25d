"""Every public function of io/ and console/ that can reach rows is called by one team with whatever names another team's: no way in.

Both teams have the same mailboxes by address, the same Gmail ids, the same engagement ids, and one engagement each that only they
have. A function that is in none of the tables below fails the first test, so a new one cannot be forgotten.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import pathlib
import random
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from public_functions import reaching_rows

import dealmail.console
import dealmail.io
from dealmail.console import connecting, demo_progress, looking, queries, reading, status, window
from dealmail.console.context import BadInputError
from dealmail.io import (
    blocked_mail,
    closed_deals,
    crm,
    crm_import,
    documents,
    endings,
    google_signin,
    index_check,
    ledger_changes,
    listings,
    mailboxes,
    opt_out,
    quota,
    relink,
    removal,
    schema,
    search_plan,
    take_back,
    team_settings,
    tombstones,
)  # fmt: skip
from dealmail.io.audit import Audit
from dealmail.io.consent_flow import SignIn, SignInError
from dealmail.io.correspondence import DatabaseCorrespondence
from dealmail.io.crm import DatabaseDirectories
from dealmail.io.database import Database, DatabaseSpec
from dealmail.io.erasure import Erasing, Erasure, ErasureError
from dealmail.io.leasing import LeaseSettings, Leasing
from dealmail.io.outbox import Outbox
from dealmail.io.quota import Quota
from dealmail.io.search import IndexEntry, SearchIndex, SearchQuery, SearchSpec, open_index
from dealmail.io.tombstones import TombstoneKey
from dealmail.io.vault import Digests, Vault
from dealmail.transforms.claim_messages import NetChange
from dealmail.transforms.group_shelf import shelf_of
from dealmail.transforms.records import CustomerMail, Decision, DueMailbox, Failure, MailText, SeenCopy

TEAMS = ("t1", "t2")
DIGESTS = Digests((b"a key for tests, 32 bytes long..",))
GMAIL_IDS = ["g0", "g1", "g2", "g3"]
CRM = (
    "kind,id,name,address,domain,account_id\naccount,a1,Firm of {0},,acme.example,\ncontact,c1,Zoe of {0},zoe@acme.example,,a1\n"
    "own_domain,,,,corp.example,\nuser,u1,User of {0},alice@corp.example,,\n"
)

WHOLE = "the job's own, for all teams at once; each row and document carries its team"
PLAIN = "opens or closes, or takes a team's rows and statements from its caller"
NOT_A_TEAMS: dict[str, str] = {
    **dict.fromkeys(
        (
            "chores.DatabaseChores.do", "chores.DatabaseChores.due", "chores.DatabaseChores.hold", "chores.DatabaseChores.next_due", "crm.crm_stamps", "endings.left_over", "index_check.rebuild", "mailboxes.count", "mailboxes.poll_within", "migrate.check_schema", "migrate.current", "migrate.open_database",
            "migrate.upgrade", "outbox.Outbox.drain", "quota.keep_limits", "quota.kept_limits", "outbox.Outbox.next_due", "register.Register.due", "register.Register.next_due",
            "register.Register.touched", "relink.behind", "scrub.scrub", "tombstones.check_key", "vault.rotate",
        ),
        WHOLE,
    ),
    **dict.fromkeys(
        (
            "database.Database.close", "database.Database.connected", "database.Database.insert", "database.Database.insert_new",
            "database.Database.insert_or_bump", "database.Database.reading", "database.Database.run_outside",
            "database.Database.transaction", "database.Database.upsert", "database.Database.writing", "key_choice.key_ref",
            "message_reader.GmailMessageReader.close", "search.open_index", "google_signin.GmailAccounts.gmail", "google_signin.GmailAccounts.forget",
            "listings.restart", "listings.page_done", "listings.put_off", "listings.set_query", "search_plan.note_sample",
        ),
        PLAIN,
    ),
    "engagement_store.EngagementStore.write": "a piece of settling, called through DatabaseSettlements.settle",
    "keep_out.KeepOut.rule": "a piece of settling, called through DatabaseSettlements.settle",
    "outdated_crm.blocked_meanwhile": "a piece of settling, called through DatabaseSettlements.settle",
    "outdated_crm.relink_outdated": "a piece of settling, called through DatabaseSettlements.settle",
    "overturned.note_context": "a piece of settling, called through DatabaseSettlements.settle",
    "overturned.reopen_overturned": "a piece of settling, called through DatabaseSettlements.settle",
    "settle_ledger.write_ledger": "a piece of settling, called through DatabaseSettlements.settle",
    "settle_locks.lock_mailboxes": "a piece of settling, called through DatabaseSettlements.settle",
    "settle_locks.lock_messages": "a piece of settling, called through DatabaseSettlements.settle",
    "cheap_calls.CheapCalls.may_spend": "a piece of claiming, called through GmailClaims.claim",
    "cheap_calls.CheapCalls.spend": "a piece of claiming, called through GmailClaims.claim",
    "history.HistoryReading.read_if_due": "a piece of claiming, called through GmailClaims.claim",
    "mailboxes.must_advance": "a piece of claiming, called through GmailClaims.claim",
    "walks.Walks.walk_on": "a piece of claiming, called through GmailClaims.claim",
    "refusals.Refusals.block": "a piece of claiming, called through GmailClaims.claim",
    "refusals.Refusals.pause": "a piece of claiming, called through GmailClaims.claim",
}  # fmt: skip
INDEXES = ("search.SearchIndex", "fts.FtsIndex", "elasticsearch_index.ElasticsearchIndex")
INDEX_WIDE = ("close", "compact", "ensure", "rebuilding", "refresh")


class Two:
    """What the team `me` can do to the team `other`, in a world that both share."""

    def __init__(self, database: Database, index: SearchIndex, sales: Any, mail: Any, me: str) -> None:
        self.database, self.index, self.sales, self.mail = database, index, sales, mail
        self.me, self.other = me, "t2" if me == "t1" else "t1"
        self.now = sales.clock
        self.outbox = Outbox(database, index, now=sales.clock, chance=random.Random(1))
        self.boxes = {team: mailboxes.mailbox_id(team, "alice@corp.example") for team in TEAMS}
        self.box, self.their_box = self.boxes[me], self.boxes[self.other]
        self.row = sales.mailboxes.get(self.box)
        self.ids = ["e0", f"only-{self.other}"]
        self.keys = [(box, gmail_id) for box in self.boxes.values() for gmail_id in GMAIL_IDS]
        self.erasing = Erasing(database, sales.clock, DIGESTS)
        self.directories = DatabaseDirectories(database, 0.0)
        self.quota = Quota(database)

    def write(self, work: Callable[[sa.Connection], Any]) -> Any:
        return self.database.transaction(work)

    def claim(self) -> Any:
        (claim,) = self.sales.claim(self.box, ["n1"])
        return claim

    def settle(self, **changes: Any) -> Any:
        """Settle each kind of outcome, with what `changes` says of its claim."""
        done = []
        for make in (
            lambda c: self.mail(c, 0, engagement_id="e0", content_digest="x", rank="0"),
            lambda c: self.mail(c, 0, engagement_id=f"only-{self.other}", context=("context", "other")),
            lambda c: SeenCopy(c, f"only-{self.other}", "d", "9", "customer", "1"),
            lambda c: Decision(c, "dropped", "automated.reply", context=("context", "written")),
            lambda c: Failure(c, "fetch", "E"),
        ):
            with contextlib.suppress(ValueError):
                done.append(self.sales.settlements.settle([make(dataclasses.replace(self.claim(), **changes))]))
                self.now.advance(hours=1)
        return done

    def rows(self, team: str) -> dict[str, Any]:
        """All that belongs to the team, in both stores."""
        found: dict[str, Any] = {}
        with self.database.reading() as connection:
            for table in schema.metadata.sorted_tables:
                column = table.c.get("team_id", table.c.get("id") if table is schema.team else None)
                if column is not None:
                    query = sa.select(table).where(column == team)
                    found[table.name] = sorted(repr(tuple(row)) for row in connection.execute(query))
        self.index.refresh()
        found["index"] = list(self.index.scan(team))
        found["hits"] = sorted(hit.engagement_id for hit in self.index.search(team, SearchQuery("secret")))
        return found


def _refused(call: Callable[[], Any]) -> Any:
    with contextlib.suppress(ErasureError, SignInError):
        return call()
    return None


def _closed_deals(w: Two, connection: sa.Connection) -> Any:
    deal = schema.opportunity
    connection.execute(sa.update(deal).where(deal.c.team_id == w.me).values(is_open=False))
    return closed_deals.read(connection, [(w.me, one) for one in [*w.ids, f"only-{w.other}"]])


def _erasures(w: Two) -> list[Erasure]:
    later = w.now() + dt.timedelta(days=900)
    whats = [
        {"person": "p0@customer.example"}, {"domain": "customer.example"}, {"mailbox": w.box}, {"mailbox": w.their_box},
        {"user": "u1"}, {"before": later},
    ]  # fmt: skip
    return [Erasure(w.me, **what) for what in whats]


def _entries(w: Two) -> list[IndexEntry]:
    return [IndexEntry(w.me, one, 2**62) for one in w.ids]


def _blocking(w: Two) -> Any:
    """The directory of `me`, which has just blocked everybody at the customer's."""
    row = {"team_id": w.me, "user_id": "", "pattern": "customer.example"}
    w.write(lambda c: c.execute(sa.insert(schema.blocked), [row]))
    return w.directories.refresh(w.me)


def _leasing(w: Two) -> Leasing:
    return Leasing(w.database, w.quota, LeaseSettings(), w.now, random.Random(1))


def _change(gmail_id: str) -> NetChange:
    """Gmail deleted it for good."""
    return NetChange(gmail_id, deleted=True)


CALLS: dict[str, Callable[[Two], Any]] = {
    "blocked_mail.preview": lambda w: blocked_mail.preview(w.database, _blocking(w)),
    "blocked_mail.purge": lambda w: blocked_mail.purge(w.database, _blocking(w), w.now),
    "correspondence.DatabaseCorrespondence.digest": lambda w: DatabaseCorrespondence(w.database, DIGESTS).digest(w.me, "address", "x"),
    "correspondence.DatabaseCorrespondence.known": lambda w: [
        one in DatabaseCorrespondence(w.database, DIGESTS).known(w.me, [one, "none"]) for one in (f"written-{w.other}",)
    ] == [False] or pytest.fail("knows whom the other team wrote to"),
    "crm.DatabaseDirectories.directory": lambda w: w.directories.directory(w.me).team_id,
    "crm.DatabaseDirectories.newest": lambda w: w.directories.newest(w.me) and None,
    "crm.DatabaseDirectories.refresh": lambda w: w.directories.refresh(w.me).team_id,
    "crm.load_directory": lambda w: crm.load_directory(w.database, w.me).team_id,
    "crm_import.import_csv": lambda w: [
        crm_import.import_csv(w.database, w.me, text, w.now, replace=replace)
        for text, replace in ((CRM.format("nobody") + "lead,l9,,z@new.example,,\n", False), ("kind,id,domain\naccount,a2,x.example\n", True))
    ],
    "closed_deals.read": lambda w: w.write(lambda c: _closed_deals(w, c)),
    "documents.all_documents": lambda w: list(documents.all_documents(w.database, w.me)),
    "documents.each_document": lambda w: w.write(lambda c: list(documents.each_document(c, [(w.me, one) for one in w.ids]))),
    "documents.read_documents": lambda w: w.write(lambda c: documents.read_documents(c, [(w.me, one) for one in w.ids])),
    "erasure.Erasing.erase": lambda w: [_refused(lambda what=what: w.erasing.erase(what)) for what in _erasures(w)],
    "erasure.Erasing.preview": lambda w: [_refused(lambda what=what: w.erasing.preview(what)) for what in _erasures(w)],
    "erasure.Erasing.retain": lambda w: (
        w.write(lambda c: c.execute(sa.update(schema.team).where(schema.team.c.id == w.me).values(settings={"retention_days": 1}))),
        w.now.advance(days=100), w.erasing.retain(w.me),
    )[2],
    "google_signin.GmailAccounts.sealed": lambda w: w.write(
        lambda c: google_signin.GmailAccounts(w.database, Vault((b"k",)), google_signin.GoogleSettings("http://127.0.0.1:9"), w.now).sealed(c, w.box)
    ),
    "google_signin.store_credential": lambda w: [
        w.write(lambda c, box=box: google_signin.store_credential(w.database, Vault((b"k",)), c, w.me, box, "oauth", {}, w.now()))
        for box in (w.box,)
    ],
    "index_check.check": lambda w: index_check.check(w.database, w.index, w.me),
    "index_check.repair": lambda w: (w.index.put(_entries(w)), index_check.repair(w.database, w.index, now=w.now, team_id=w.me))[1],
    "ledger.Ledger.add_pending": lambda w: w.write(lambda c: w.sales.ledger.add_pending(c, w.row, [*GMAIL_IDS, "n"], "live", w.now())),
    "ledger.Ledger.decide_by_label": lambda w: w.write(
        lambda c: w.sales.ledger.decide_by_label(c, w.row, dict.fromkeys([*GMAIL_IDS, "n"], "label.spam"), "live", w.now())
    ),
    "ledger.Ledger.has_claimable": lambda w: w.write(lambda c: w.sales.ledger.has_claimable(c, w.row, w.now())),
    "ledger.Ledger.in_flight": lambda w: w.write(lambda c: w.sales.ledger.in_flight(c, w.row, "live", 9, w.now())),
    "ledger.Ledger.lease": lambda w: w.write(lambda c: w.sales.ledger.lease(c, w.row, 99, w.now())),
    "ledger.Ledger.lease_suspect": lambda w: w.write(lambda c: w.sales.ledger.lease_suspect(c, w.row, w.now())),
    "ledger.Ledger.mark_deleted": lambda w: w.write(lambda c: w.sales.ledger.mark_deleted(c, w.row, GMAIL_IDS, w.now())),
    "ledger.Ledger.mark_trashed": lambda w: w.write(lambda c: w.sales.ledger.mark_trashed(c, w.row, dict.fromkeys(GMAIL_IDS, "label.trash"), w.now())),
    "ledger.Ledger.retry_parked": lambda w: [
        w.sales.ledger.retry_parked(w.me), w.sales.ledger.retry_parked(w.me, w.their_box), w.sales.ledger.retry_parked(w.me, w.their_box, "g3"),
    ],
    "leasing.Leasing.lease": lambda w: [_leasing(w).lease(w.row, live_only=live_only) for live_only in (True, False)],
    "leasing.Leasing.set_state": lambda w: w.write(lambda c: _leasing(w).set_state(c, w.row, "live", "", None)),
    "ledger_changes.apply": lambda w: w.write(
        lambda c: ledger_changes.apply(w.sales.ledger, c, w.row, [_change(one) for one in GMAIL_IDS], w.now())
    ),
    "ledger_changes.ledger_rows": lambda w: w.write(lambda c: ledger_changes.ledger_rows(c, w.box, GMAIL_IDS)),
    "ledger_changes.reopen_before_window": lambda w: w.write(lambda c: ledger_changes.reopen_before_window(c, w.row, w.now())),
    "ledger_changes.reopen_personal": lambda w: w.write(lambda c: ledger_changes.reopen_personal(c, w.row, w.now())),
    "ledger_changes.reopen_by_crm": lambda w: w.write(
        lambda c: ledger_changes.reopen_by_crm(c, w.row, ["customer", "automated.reply", shelf_of("a@b.example")], w.now())
    ),
    "ledger_changes.reopen": lambda w: w.write(lambda c: ledger_changes.reopen(c, w.row, GMAIL_IDS, "live", w.now())),
    "take_back.catch_up": lambda w: w.write(lambda c: take_back.catch_up(c, w.me, w.box)),
    "take_back.take_back_automated": lambda w: w.write(
        lambda c: take_back.take_back_automated(c, w.me, [(w.box, one) for one in GMAIL_IDS])
    ),
    "ledger_changes.set_rows": lambda w: w.write(lambda c: ledger_changes.set_rows(c, w.row, GMAIL_IDS, rule="x")),
    "listings.forget_terms": lambda w: w.write(lambda c: listings.forget_terms(w.database, c, w.me, "of", lambda term: True, w.now())),
    "listings.has_looked_back": lambda w: w.write(lambda c: listings.has_looked_back(c, w.box, w.now())),
    "listings.start": lambda w: w.write(lambda c: listings.start(c, w.row, "first_sync", w.now(), w.now(), query="of all")),
    "listings.unfinished": lambda w: w.write(lambda c: listings.unfinished(c, w.box)),
    "mailboxes.Mailboxes.add": lambda w: w.sales.mailboxes.add(w.me, "u2", "alice@corp.example"),
    "mailboxes.Mailboxes.all": lambda w: w.sales.mailboxes.all(w.me),
    "mailboxes.Mailboxes.consents": lambda w: w.sales.mailboxes.consents(w.box),
    "mailboxes.Mailboxes.get": lambda w: w.sales.mailboxes.get(w.box),
    "mailboxes.end_credential": lambda w: w.write(lambda c: mailboxes.end_credential(c, w.row, "me", w.now())),
    "mailboxes.Mailboxes.hand_over_in": lambda w: w.write(lambda c: w.sales.mailboxes.hand_over_in(c, w.box, "u2", "me")),
    "mailboxes.Mailboxes.log": lambda w: w.sales.mailboxes.log(w.box, "granted", "me"),
    "mailboxes.Mailboxes.set_state": lambda w: w.sales.mailboxes.set_state(w.box, "reconsent"),
    "mailboxes.Mailboxes.set_state_in": lambda w: w.write(lambda c: w.sales.mailboxes.set_state_in(c, w.box, "reconsent")),
    "mailboxes.Mailboxes.turn_off": lambda w: w.sales.mailboxes.turn_off(w.box, "me"),
    "mailboxes.Mailboxes.turn_off_in": lambda w: w.write(lambda c: w.sales.mailboxes.turn_off_in(c, w.box, "me")),
    "mailboxes.Mailboxes.turn_on": lambda w: (w.sales.mailboxes.turn_off(w.box, "me"), w.sales.mailboxes.turn_on(w.box, "me")),
    "mailboxes.advance": lambda w: w.write(lambda c: mailboxes.advance(c, w.row, history_id=7)),
    "mailboxes.lock": lambda w: w.write(lambda c: mailboxes.lock(w.database, c, w.box)),
    "mailboxes.log_consent": lambda w: w.write(lambda c: mailboxes.log_consent(c, w.row, "granted", "me", w.now())),
    "mailboxes.look_soon": lambda w: w.write(lambda c: mailboxes.look_soon(c, w.box, w.now())),
    "mailboxes.read": lambda w: w.write(lambda c: mailboxes.read(c, w.box)),
    "mailboxes.require_listed": lambda w: w.write(lambda c: mailboxes.require_listed(c, w.row)),
    "opt_out.forget_copies": lambda w: (w.sales.mailboxes.turn_off(w.box, "me"), opt_out.forget_copies(w.database, w.box, w.now))[1],
    "opt_out.forget_opted_out": lambda w: (w.sales.mailboxes.turn_off(w.box, "me"), opt_out.forget_opted_out(w.database, w.me, w.now))[1],
    "outbox.Outbox.backlog": lambda w: w.outbox.backlog(w.me),
    "outbox.Outbox.index": lambda w: w.outbox.index(w.me, ["e2", *w.ids]),
    "outbox.Outbox.release": lambda w: w.outbox.release(w.me),
    "quota.Quota.debit": lambda w: w.quota.debit(w.box, 5, w.now()),
    "quota.Quota.grant": lambda w: w.write(lambda c: w.quota.grant(c, w.box, 5, 3, w.now())),
    "quota.Quota.room": lambda w: w.write(lambda c: w.quota.room(c, w.box, w.now())),
    "quota.Quota.spend": lambda w: w.write(lambda c: w.quota.spend(c, w.box, 5, w.now())),
    "quota.Quota.usage": lambda w: w.write(lambda c: w.quota.usage(c, w.box, w.now())),
    "quota.Quota.take": lambda w: w.quota.take(w.box, 5, w.now()),
    "quota.spent_lately": lambda w: w.write(lambda c: quota.spent_lately(c, w.now(), [w.box])),
    "relink.relink": lambda w: (
        crm_import.import_csv(w.database, w.me, CRM.format("x").replace("a1\n", "a7\n") + "account,a7,,,other.example,\n", w.now),
        relink.relink(w.database, w.directories.refresh(w.me), w.now),
    )[1],
    "removal.bump_versions": lambda w: w.write(lambda c: removal.bump_versions(c, [(w.me, one) for one in w.ids], w.now())),
    "removal.delete_engagements": lambda w: w.write(lambda c: removal.delete_engagements(w.database, c, w.me, w.ids, w.now())),
    "removal.forget_context": lambda w: w.write(lambda c: removal.forget_context(c, w.me, w.keys)),
    "removal.lock_engagements": lambda w: w.write(lambda c: removal.lock_engagements(c, w.me, w.ids)) and None,
    "removal.put_on_outbox": lambda w: w.write(lambda c: removal.put_on_outbox(w.database, c, w.me, dict.fromkeys(w.ids, 9), w.now())),
    "removal.remove_copies": lambda w: w.write(lambda c: removal.remove_copies(w.database, c, w.me, w.keys, w.now())) and None,
    "removal.set_versions": lambda w: w.write(
        lambda c: removal.set_versions(w.database, c, w.me, dict.fromkeys(w.ids[:1], 2**62), w.now())
    ),
    "removal.touch_engagements": lambda w: w.write(lambda c: removal.touch_engagements(w.database, c, w.me, {"e0": 1}, w.now())),
    "search_plan.check": lambda w: search_plan.check(w.database, w.box),
    "search_plan.crm_searches": lambda w: w.write(lambda c: search_plan.crm_searches(c, w.me)),
    "search_plan.is_searched": lambda w: w.write(lambda c: search_plan.is_searched(c, w.box)),
    "search_plan.sampling": lambda w: w.write(lambda c: search_plan.sampling(c, w.box)),
    "search_plan.start": lambda w: w.write(lambda c: search_plan.start(c, w.row, "first_sync", w.now(), w.now())),
    "settlements.DatabaseSettlements.settle": lambda w: (
        w.settle(), w.settle(mailbox_id=w.their_box), w.settle(team_id=w.other), w.settle(mailbox_id=w.their_box, gmail_id="g0"),
    )[:2],
    "team_settings.change_setting": lambda w: team_settings.change_setting(w.database, w.me, "retention_days", 9),
    "team_settings.read_settings": lambda w: team_settings.read_settings(w.database, w.me),
    "tombstones.any_standing": lambda w: w.write(lambda c: tombstones.any_standing(c, [w.me])) and pytest.fail("the other team's"),
    "tombstones.require_key": lambda w: w.write(lambda c: tombstones.require_key(c, TombstoneKey(DIGESTS), w.me)),
    "tombstones.standing": lambda w: w.write(
        lambda c: tombstones.standing(c, [w.me], [("domain", TombstoneKey(DIGESTS).digest(t, "domain", "gone.example")) for t in TEAMS])
    ),
}  # fmt: skip
INDEX_CALLS: dict[str, Callable[[Two], Any]] = {
    "lookup": lambda w: list(w.index.lookup([(w.me, f"only-{w.other}")])),
    "put": lambda w: w.index.put(_entries(w)),
    "prepare": lambda w: w.index.prepare(_entries(w))(),
    "scan": lambda w: list(w.index.scan(w.me)),
    "search": lambda w: [
        w.index.search(w.me, SearchQuery(text, person)) for text, person in (("secret", ""), ("", "@customer.example"), (w.other, ""), ("", ""))
    ],
}  # fmt: skip


def _not_connected(w: Two, name: str) -> str:
    with pytest.raises(BadInputError) as refused:
        connecting.connected_mailbox(w.database, w.me, name)
    return "" if name == w.their_box else str(refused.value)  # it says the name back


CONSOLE_CALLS: dict[str, Callable[[Two], Any]] = {
    "connecting.connected_mailbox": lambda w: [_not_connected(w, name) for name in (w.their_box, "alice@corp.example")],
    "connecting.known_mailbox": lambda w: connecting.known_mailbox(w.database, w.me, "alice@corp.example"),
    "connecting.user_of": lambda w: connecting.user_of(w.database, w.me, "alice@corp.example"),
    "demo_progress.look": lambda w: demo_progress.look(w.database, w.me),
    "looking.chosen_links": lambda w: looking.chosen_links(w.database, w.me, "account", "a1"),
    "looking.mailbox_named": lambda w: [looking.mailbox_named(w.database, w.me, name) for name in (w.box, "alice@corp.example")],
    "queries.crm_names": lambda w: queries.crm_names(w.database, w.me, "account", ["a1"]),
    "queries.decision": lambda w: [queries.decision(w.database, w.box, one) for one in GMAIL_IDS],
    "queries.decisions": lambda w: [
        *queries.decisions(w.database, w.me), *queries.decisions(w.database, w.me, mailbox_id=w.their_box),
    ],
    "queries.engagement_count": lambda w: queries.engagement_count(w.database, w.me),
    "queries.engagements": lambda w: [
        *queries.engagements(w.database, w.me), *queries.engagements(w.database, w.me, ids=w.ids),
        *queries.engagements(w.database, w.me, address="p0@customer.example"),
    ],
    "queries.find_mailbox": lambda w: [queries.find_mailbox(w.database, w.me, name) for name in (w.their_box, "alice@corp.example")],
    "queries.mailboxes": lambda w: queries.mailboxes(w.database, w.me),
    "queries.outbox": lambda w: queries.outbox(w.database, w.me),
    "queries.rule_counts": lambda w: queries.rule_counts(w.database, w.me),
    "queries.target_ids": lambda w: queries.target_ids(w.database, w.me, "account", f"Firm of {w.other}"),
    "queries.user_addresses": lambda w: queries.user_addresses(w.database, w.me),
    "reading.mailbox_progress": lambda w: w.write(lambda c: reading.mailbox_progress(c, w.row, 1, 3, w.now())),
    "status.mailbox_status": lambda w: status.mailbox_status(w.database, w.me, w.now()),
    "window.window_start": lambda w: window.window_start(w.database, w.row, w.now()),
}  # fmt: skip
CONSOLE_PLAIN = {
    "connecting.forget_at_google", "connecting.open_sign_in", "context.Settings.team_id", "demo_display.Display.say", "demo_display.Display.show",
    "demo_stage.add_owners", "demo_stage.compare", "demo_stage.settle_owners", "demo_stores.Stores.options", "searching.open_outbox",
    "window.Window.messages",
}  # fmt: skip
"""They open, show, choose, or hand on the mailboxes that a call above gave them; or play the demo, which has one team."""


# --- none is forgotten -------------------------------------------------------------------------------------------------
def test_every_public_function_is_called_or_says_why_not() -> None:
    """A new one needs a line in CALLS (or GMAIL_CALLS, CONSOLE_CALLS), or in NOT_A_TEAMS with the reason."""
    named = {*CALLS, *NOT_A_TEAMS, *GMAIL_CALLS}
    named |= {f"{index}.{name}" for index in INDEXES for name in (*INDEX_CALLS, *INDEX_WIDE)}
    found = set(reaching_rows(dealmail.io))
    assert len(found) > 140
    _same(found, named)
    _same(set(reaching_rows(dealmail.console)), {*CONSOLE_CALLS, *CONSOLE_PLAIN})


def _same(found: set[str], named: set[str]) -> None:
    assert sorted(found - named) == [], "not called by any test of tenancy: say how one team would call it"
    assert sorted(named - found) == [], "named here, and no longer there"


def test_every_table_has_a_team() -> None:
    without = {t.name for t in schema.metadata.tables.values() if "team_id" not in t.c} - {"team"}
    assert without == {
        "quota_use",
        "quota_limit",
        "chore",
    }  # a mailbox's, or the Cloud project's; a mailbox's or a team's by its name


# --- calls -------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, sqlite_template: pathlib.Path, mail: Any) -> pathlib.Path:
    """Both teams with all kinds of rows, in database and index: one file, to be copied."""
    from tests.conftest import Clock
    from tests.io.conftest import Sales

    path = tmp_path_factory.mktemp("tenancy") / "t.db"
    shutil.copy(sqlite_template, path)
    with _opened(path) as (database, index):
        sales = Sales(database, Clock())
        for team in TEAMS:
            _fill(database, index, sales, mail, team)
    return path


def _fill(database: Database, index: SearchIndex, sales: Any, mail: Any, team: str) -> None:
    sales.add_team(team, on_opt_out="erase")
    crm_import.import_csv(database, team, CRM.format(team), sales.clock)
    box = sales.add_mailbox("alice@corp.example", team)
    c = sales.claim(box, GMAIL_IDS)
    links = DatabaseDirectories(database, 0.0).directory(team).links([])
    text = MailText(f"the secret of {team}")
    same: CustomerMail = mail(c[0], 0, 1, engagement_id="e0", body=text, subject=f"secret {team}", links=links)
    own = mail(c[1], 1, engagement_id=f"only-{team}", body=text, subject=f"secret {team}", context=(f"written-{team}",))
    sales.settlements.settle([same, own, Decision(c[2], "dropped", "automated.reply", context=("context",))])
    sales.settlements.settle([Decision(c[3], "parked", "parked")])
    Outbox(database, index, now=sales.clock).drain(100)
    sales.clock.advance(minutes=1)
    row = sales.mailboxes.get(box)
    database.transaction(lambda k: removal.touch_engagements(database, k, team, {"e0": 1}, sales.clock()))
    database.transaction(
        lambda k: listings.start(k, row, "targeted", sales.clock(), sales.clock(), query=f"from:{team}")
    )
    sales.mailboxes.log(box, "granted", f"secret of {team}")


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[tuple[Database, SearchIndex]]:
    database, index = Database(DatabaseSpec(f"sqlite:///{path}")), open_index(SearchSpec(f"sqlite:///{path}"))
    index.ensure()
    yield database, index
    index.close()
    database.close()


def keeps_out(two: Two, call: Callable[[Two], Any]) -> None:
    before = two.rows(two.other)
    assert len(before["message"]) >= 4
    assert before["hits"]
    answer = repr(call(two))
    after = two.rows(two.other)
    assert {name: (before[name], after[name]) for name in before if before[name] != after[name]} == {}
    for theirs in (f"'{two.other}'", two.their_box, f"only-{two.other}", f"secret {two.other}", f"of {two.other}"):
        assert theirs not in answer.replace(f"engagement_id='only-{two.other}'", ""), theirs


@pytest.mark.parametrize("me", TEAMS)
@pytest.mark.parametrize("name", [*CALLS, *CONSOLE_CALLS])
def test_no_way_across(template: pathlib.Path, tmp_path: pathlib.Path, make_two: Any, name: str, me: str) -> None:
    shutil.copy(template, tmp_path / "t.db")
    with _opened(tmp_path / "t.db") as (database, index):
        keeps_out(make_two(database, index, me), (CALLS | CONSOLE_CALLS)[name])


@pytest.fixture
def make_two(clock: Any, mail: Any) -> Callable[..., Two]:
    from tests.io.conftest import Sales

    def make(database: Database, index: SearchIndex, me: str) -> Two:
        clock.advance(minutes=5)
        return Two(database, index, Sales(database, clock), mail, me)

    return make


@pytest.mark.parametrize("me", TEAMS)
@pytest.mark.parametrize("name", INDEX_CALLS)
def test_no_way_across_in_the_index(
    sqlite_database: Database, search_index: SearchIndex, clock: Any, mail: Any, name: str, me: str
) -> None:
    from tests.io.conftest import Sales

    sales = Sales(sqlite_database, clock)
    for team in TEAMS:
        _fill(sqlite_database, search_index, sales, mail, team)
    keeps_out(Two(sqlite_database, search_index, sales, mail, me), INDEX_CALLS[name])


# --- calls that ask Gmail ----------------------------------------------------------------------------------------------
GMAIL_CALLS: dict[str, Callable[[Any, str, str], Any]] = {
    "audit.Audit.run": lambda g, me, box: Audit(g.database, g.accounts, Quota(g.database), g.clock).run(box, repair=True),
    "claims.GmailClaims.claim": lambda g, me, box: g.claims().claim(DueMailbox(me, box, "poll")),
    "consent_flow.SignIn.consent": lambda g, me, box: _refused(
        lambda: _sign_in(g).consent(box, "me", lambda url: None, timeout=dt.timedelta(seconds=0.1))
    ),
    "consent_flow.SignIn.delegate": lambda g, me, box: _refused(lambda: _sign_in(g).delegate(box, "file:none", "me", [])),
    "endings.Endings.finish": lambda g, me, box: (g.mailboxes.turn_off(box, "me"), [_endings(g).finish(one) for one in endings.waiting(g.database, team_id=me)]),
    "endings.Endings.undo": lambda g, me, box: _endings(g).undo(g.address(box), "no such token"),
    "endings.waiting": lambda g, me, box: (
        g.mailboxes.turn_off(box, "me"), endings.waiting(g.database, team_id=me), endings.waiting(g.database, mailbox_id=box)
    ),
    "consent_flow.SignIn.disconnect": lambda g, me, box: _sign_in(g).disconnect(box, "me"),
    "consent_flow.SignIn.finish": lambda g, me, box: _sign_in(g).finish(endings.waiting(g.database, mailbox_id=box)),
    "consent_flow.SignIn.grant": lambda g, me, box: _refused(
        lambda: _sign_in(g).grant(box, g.client.grant(g.address(box)), ["https://www.googleapis.com/auth/gmail.readonly"], "me")
    ),
    "google_signin.GmailAccounts.open": lambda g, me, box: bool(g.accounts.open(box).profile()),
    "message_reader.GmailMessageReader.read": lambda g, me, box: list(
        g.reader.read(g.claims().claim(DueMailbox(me, box, "poll")))
    ),
}  # fmt: skip


def _sign_in(gmails: Any) -> SignIn:
    return SignIn(gmails.database, gmails.vault, gmails.settings, gmails.clock)


def _endings(gmails: Any) -> endings.Endings:
    return endings.Endings(gmails.database, gmails.vault, gmails.settings, Quota(gmails.database), gmails.clock)


@pytest.mark.parametrize("name", GMAIL_CALLS)
def test_no_way_across_by_way_of_gmail(gmails: Any, name: str) -> None:
    """Two teams read one Gmail account, each with a consent of its own."""
    gmails.sales.add_team("t2")
    boxes = {"t1": gmails.connect("alice")}
    address = gmails.address(boxes["t1"])
    boxes["t2"] = gmails.mailboxes.add("t2", "u1", address).id
    gmails.database.transaction(
        lambda c: google_signin.store_credential(
            gmails.database, gmails.vault, c, "t2", boxes["t2"], "oauth",
            {"refresh_token": gmails.client.grant(address), "scopes": []}, gmails.clock(),
        )
    )  # fmt: skip
    gmails.mailboxes.turn_on(boxes["t2"], "a test")
    gmails.deliver(boxes["t1"], "secret", age=1)
    for box in boxes.values():
        gmails.sync(box)
    gmails.deliver(boxes["t1"], "another")
    gmails.advance(minutes=20)

    def rows() -> dict[str, Any]:
        tables = [t for t in schema.metadata.tables.values() if "team_id" in t.c and t is not schema.mailbox]
        return {name: [row for row in found if "t2" in row] for name, found in gmails.sales.dump(*tables).items()}

    before = rows()
    assert before["message"]
    answer = repr(GMAIL_CALLS[name](gmails, "t1", boxes["t1"]))
    assert rows() == before
    assert gmails.row(boxes["t2"]).import_on
    assert boxes["t2"] not in answer
    assert "'t2'" not in answer
