"""What goes wrong in a scenario: Gmail's calls, notifications, cursors, tokens, clocks, and people who change their minds."""

from __future__ import annotations

import time
from collections.abc import Callable

import sqlalchemy as sa

from dealmail.io import schema
from dealmail.io.crm_import import import_csv
from dealmail.io.database import Database
from dealmail.io.mailboxes import Mailboxes, mailbox_id

from . import mails
from .processes import Shared
from .world import World


class Weather:
    """The troubles of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._troubles: list[Callable[[], None]] = [
            self.expire_cursors, self.expire_cursors, self._revoke, self._revoke, self._expire_tokens, self._jump,
            self._second_job, self._second_job, self._close_gmail, self._switch_off, self._import_crm, self._extend,
        ]  # fmt: skip

    def trouble(self) -> None:
        """One of them, by chance."""
        self._world.chance.choice(self._troubles)()

    def blow(self) -> None:
        """From now on calls of Gmail fail, and notifications do what they do."""
        rate = self._world.plan.fault_rate
        share = {"429": 0.2, "403": 0.2, "500": 0.2, "503": 0.1, "timeout": 0.1, "drop": 0.2}
        common = {name: rate * part for name, part in share.items()} | {"timeout_seconds": 0.05}
        if self._world.chance.random() < 0.5:
            common["retry_after"] = self._world.chance.choice([1, 5, 30])
        parts = {"methods": ["messages.get"], "500": 0.06, "drop": 0.03, "429": 0.03}
        push = {"lost": 0.2, "double": 0.2, "delay": 0.25, "delay_seconds": self._world.chance.choice([0.05, 0.3, 1.0])}
        self._world.client.set_faults(common, parts, push, {"bare_stubs": 0.2, "empty_pages": 0.2}, {"token_500": rate})

    def expire_cursors(self) -> None:
        """Some mailboxes' history is gone, and with it the only word of the mail that has just come."""
        for address in self._world.some(6):
            self._world.events.arrive_at(address)  # nobody has time to read of it before its history is gone
            self._world.client.expire_history(address)
            self._world.expired.add(address)
            self._world.note("expired cursor")

    def _revoke(self) -> None:
        for address in self._world.some(3):
            self._world.client.revoke(address)
            self._world.note("revoked token")
        self._world.let_work(looks=1)
        if self._world.chance.random() < 0.7:
            self._world.consent_again()

    def _expire_tokens(self) -> None:
        self._world.client.expire_access()
        self._world.note("expired access tokens")

    def _jump(self) -> None:
        with self._world.moving():
            self._world.clock.add(Shared.JOB, self._world.chance.choice([-3600, -300, -40, 45, 240, 3700]))
        self._world.note("clock jump")

    def _second_job(self) -> None:
        self._world.add_job(self._world.fuse())
        self._world.note("second job")

    def _close_gmail(self) -> None:
        for address in self._world.some(2):
            self._world.client.set_state(
                address, self._world.chance.choice(["gmail_off", "domain_policy", "suspended"])
            )
            self._world.note("Gmail closed")
        self._world.let_work(looks=1)
        for address in self._world.addresses:
            self._world.client.set_state(address, "ok")

    def _switch_off(self) -> None:
        """A user turns import off, while mail of theirs is being read: nothing may be written from then on, and nothing be missing
        once it is on again.
        """
        address = self._world.chance.choice(self._world.addresses)
        box = mailbox_id(mails.TEAM, address)
        for _ in range(5):
            self._world.events.arrive_at(address)
        self._wait_for_lease(box)
        with self._world.database() as database:
            boxes = Mailboxes(database, self._world.clock.job_now)
            boxes.turn_off(box, address)
            before = self._settled_rows(database, box)
        self._world.events.happen(3)
        self._world.let_work(looks=1)
        with self._world.database() as database:
            after = self._settled_rows(database, box)
            if after != before:
                changed = sorted(before.symmetric_difference(after))
                self._world.result.verdict.wrong.append(f"{box}: written to while import is off: {changed}")
            Mailboxes(database, self._world.clock.job_now).turn_on(box, address)
        self._world.note("import off and on")

    def _wait_for_lease(self, box: str) -> None:
        """Until the job has a message of the mailbox in hand; not long, for it may be down, or lack the quota."""
        message, deadline = schema.message.c, time.monotonic() + 2
        held = sa.select(message.gmail_id).where(
            message.mailbox_id == box, message.state == "pending", message.lease.is_not(None)
        )
        with self._world.database() as database:
            while time.monotonic() < deadline:
                with database.reading() as connection:
                    if connection.execute(held.limit(1)).first():
                        return
                time.sleep(0.001)  # a real process takes the lease: no clock of ours moves it, the row alone tells

    def _settled_rows(self, database: Database, box: str) -> set[tuple[str, str, str]]:
        """Gmail id, outcome and rule of what is decided; Gmail id and engagement of what is stored."""
        message, copy = schema.message.c, schema.engagement_copy.c
        decided = sa.select(message.gmail_id, message.outcome, message.rule).where(
            message.mailbox_id == box, message.state == "decided"
        )
        copies = sa.select(copy.gmail_id, sa.literal("copy"), copy.engagement_id).where(copy.mailbox_id == box)
        with database.reading() as connection:
            return {(*row,) for query in (decided, copies) for row in connection.execute(query)}

    def _import_crm(self) -> None:
        if self._world.truth.late_domain_known:
            return
        self._world.truth.late_domain_known = True
        with self._world.database() as database:
            import_csv(database, mails.TEAM, mails.late_crm_csv(), self._world.clock.job_now)

    def _extend(self) -> None:
        number = self._world.chance.randrange(len(self._world.addresses))
        self._world.truth.extended.add(self._world.addresses[number])
        with self._world.database() as database:
            import_csv(
                database,
                mails.TEAM,
                mails.old_deal_csv(number, self._world.truth.start.date()),
                self._world.clock.job_now,
            )

    def outlast(self, method: str) -> None:
        """One call of Gmail fails for some mailboxes all the time, and no other: what arrives meanwhile must be read meanwhile.

        The call is one that the mailboxes need: their watch is due, a lost cursor has them listed, or mail has come. Without
        history.list nobody can hear of that, so the mail that must be read is what came to others, and theirs must be there in the end.
        """
        some = self._world.chance.sample(self._world.addresses, 3)
        says = {"code": 500, "reason": "backendError", "message": ""}
        self._world.client.set_faults({"answer": 1.0, "says": says, "methods": [method], "mailboxes": some})
        for address in some if method == "messages.list" else ():
            self._world.events.arrive_at(address)
            self._world.client.expire_history(address)
            self._world.expired.add(address)
        self._world.poll_all(86_400 if method == "watch" else 0)
        if method == "messages.list":
            self._wait_for_recovery(some)
        known = len(self._world.truth.items)
        others = (
            self._world.chance.sample(sorted({*self._world.addresses} - {*some}), 3) if method == "history.list" else []
        )
        for address in (*some, *others):
            self._world.events.arrive_at(address)
        self._world.let_work(looks=2, patience=60, restarts=0)
        for _ in range(2):
            self._world.poll_all()
        new = [item for item in self._world.truth.items[known:] if item.address in (others or some)]
        arrived = {(mailbox_id(mails.TEAM, item.address), item.gmail_id) for item in new}
        message = schema.message.c
        query = sa.select(message.mailbox_id, message.gmail_id, message.state, message.phase, message.error_class)
        with self._world.database() as database, database.reading() as connection:
            rows = {(row.mailbox_id, row.gmail_id): row for row in connection.execute(query)}
        waiting = [rows.get(key, key) for key in arrived if key not in rows or rows[key].state != "decided"]
        if waiting:
            self._world.result.verdict.wrong.append(
                f"{method} fails, and {len(waiting)} of {len(arrived)} mails wait: {waiting}"
            )
        self._world.note(f"lasting {method}")
        self._world.client.set_faults()
        self._world.come_to_rest()

    def _wait_for_recovery(self, addresses: list[str]) -> None:
        """Until the loss of each cursor is known: what arrives before has no history, so only the list that fails could tell of it."""
        listing, boxes = schema.listing.c, {mailbox_id(mails.TEAM, address) for address in addresses}
        open_ones = sa.select(listing.mailbox_id).where(listing.kind == "recover", listing.finished_at.is_(None))
        for _ in range(5):
            with self._world.database() as database, database.reading() as connection:
                if boxes <= set(connection.scalars(open_ones)):
                    return
            self._world.poll_all()
        self._world.result.verdict.wrong.append("a lost cursor goes unnoticed over five polls")
