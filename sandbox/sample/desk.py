"""Desk: where the sample's mail is written and posted; it knows the time, who holds which mailbox, and the markers."""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from . import cast, mime
from .mime import Mail
from .model import Action, Expected, SampleMessage

MARK = "@@MARK@@"
"""Stands in a template where the marker may come; replaced by the marker, or by nothing."""

CUSTOMER = "customer"
_GREY_DAYS = 1.5
_UNLISTED_LABELS = {"DRAFT": "label.draft", "TRASH": "label.trash", "SPAM": "label.spam", "CHAT": "label.chat"}


class Desk:
    """Writes mail in the hand of the cast and puts it into every mailbox that holds a copy, with the expected decision."""

    def __init__(self, now: dt.datetime, seed: int) -> None:
        self.now = now.astimezone(dt.UTC).replace(microsecond=0)
        self.rng = random.Random(f"sample {seed}")  # noqa: S311 -- repeatable sample data, nothing secret
        self.messages: list[SampleMessage] = []
        self.arrivals: list[SampleMessage] = []
        self._numbers: Counter[str] = Counter()
        self._marks = 0
        self._shared_ids: dict[str, str] = {}

    def at(self, days: float, mailboxes: Sequence[str] = ()) -> dt.datetime:
        """About `days` before now, in working hours, and clear of the edges of the look-back windows of `mailboxes`."""
        when = (self.now - dt.timedelta(days=days)).replace(
            hour=6 + self.rng.randrange(12), minute=self.rng.randrange(60), second=self.rng.randrange(60)
        )
        if when > self.now - dt.timedelta(minutes=50):
            when = self.now - dt.timedelta(minutes=self.rng.randrange(60, 600))
        while any(self._grey(box, when) for box in mailboxes):
            when += dt.timedelta(hours=12)
        return when

    def later(self, when: dt.datetime, mailboxes: Sequence[str], longest_days: float = 2.5) -> dt.datetime | None:
        """Some time after `when` at which an answer may be written, or None if that is not past yet."""
        first = when + dt.timedelta(minutes=self.rng.randrange(12, 240))
        then = max(first, self.at((self.now - when).total_seconds() / 86400 - self.rng.uniform(0, longest_days)))
        while any(self._grey(box, then) for box in mailboxes):
            then += dt.timedelta(hours=12)
        return then if then < self.now - dt.timedelta(minutes=45) else None

    def _edge(self, mailbox: str) -> float:
        return float(cast.LOOKBACK_DAYS[mailbox])

    def _grey(self, mailbox: str, when: dt.datetime) -> bool:
        age = (self.now - when).total_seconds() / 86400
        return mailbox in cast.LOOKBACK_DAYS and abs(age - self._edge(mailbox)) < _GREY_DAYS

    def in_window(self, mailbox: str, when: dt.datetime) -> bool:
        """Whether a first sync of `mailbox` lists a mail of `when`."""
        return when > self.now - dt.timedelta(days=self._edge(mailbox))

    def message_id(self, person: cast.Person) -> str:
        """A Message-ID as the person's mail program makes them, without angle brackets."""
        domain = person.address.rpartition("@")[2]
        token = "".join(self.rng.choices("0123456789ABCDEFGHJKLMNPQRSTUVWXYZ", k=22))
        return {
            "gmail": f"CA+{token.lower()}=@mail.{domain}",
            "outlook": f"AS8PR{token}@AS8PR07.prod.{domain}",
            "apple": f"{token[:8]}-{token[8:12]}-{token[12:16]}-{token[16:]}@{domain}",
        }.get(person.client, f"{token.lower()}@{domain}")

    def write(
        self,
        author: cast.Person,
        to: Sequence[cast.Person],
        subject: str,
        text: str,
        when: dt.datetime,
        *,
        cc: Sequence[cast.Person] = (),
        bcc: Sequence[cast.Person] = (),
        signed: bool = True,
        **changes: Any,
    ) -> Mail:
        """A mail by `author` as their program writes it, signed; `changes` are further fields of Mail."""
        if signed and author.sign:
            text = f"{text}\n\n-- \n" + "\n".join(author.sign)
        mail = Mail(
            author.box, tuple(p.box for p in to), subject, text, when, self.message_id(author), tuple(p.box for p in cc),
            tuple(p.box for p in bcc), author.client, author.zone, author.lang, author.charset, author.cte, author.shape,
        )  # fmt: skip
        return dataclasses.replace(mail, **changes)

    def holders(self, mail: Mail) -> dict[str, tuple[str, ...]]:
        """The mailboxes that hold a copy, with usual labels: the author's as sent, each recipient's in the inbox."""
        found: dict[str, tuple[str, ...]] = {}
        for _, address in (*mail.to, *mail.cc, *mail.bcc):
            box = address.replace(f"dana@{cast.OWN_ALIAS}", cast.DANA.address)
            if box in cast.MAILBOXES:
                found[box] = ("INBOX", "UNREAD") if self.rng.random() < 0.2 else ("INBOX",)
        if mail.sender[1] in cast.MAILBOXES:
            found[mail.sender[1]] = ("SENT",)
        return found

    def post(
        self, mail: Mail, name: str, category: str, rule: str = CUSTOMER, *, copies: dict[str, tuple[str, ...]] | None = None,
        labels: tuple[str, ...] | None = None, rules: dict[str, str] | None = None, delay: int = 0, action: Action = "deliver",
        target: str | None = None, internal: dt.datetime | None = None, mark: bool | None = None, local_mark: bool = False,
        envelope: str | None = None, host: str | None = None, shared: str | None = None,
    ) -> str:  # fmt: skip
        """Put `mail` into its mailboxes. `rules` has the rule of single mailboxes, where it is not `rule`. Returns its name.

        `labels` replaces the labels of all copies, `copies` the mailboxes. `local_mark` puts the marker in the sender's local
        part and not in the display name. `shared` names the mail of which these are further copies.
        """
        self._numbers[name] += 1
        full = f"{name}-{self._numbers[name]:02d}"
        holders = self.holders(mail) if copies is None else copies
        if labels is not None:
            holders = dict.fromkeys(holders, labels)
        landed = internal or mail.when
        fates: dict[str, tuple[Expected | None, str | None]] = {}
        for box, have in holders.items():
            here = next((_UNLISTED_LABELS[label] for label in have if label in _UNLISTED_LABELS), None)
            own_rule = here or (rules or {}).get(box, rule)
            unseen = delay == 0 and (here is not None or not self.in_window(box, landed))
            fates[box] = (None, None) if unseen else ("imported" if own_rule == CUSTOMER else "dropped", own_rule)
        wanted = any(outcome == "imported" for outcome, _ in fates.values())
        marker = self._marked(mail, local_mark) if (mark if mark is not None else not wanted) else self._unmarked(mail)
        raw = mime.rendered(mail, self.rng)
        for box, have in holders.items():
            lag = 1 if "SENT" in have else self.rng.randrange(2, 9)
            stamp = (internal or mail.when) + dt.timedelta(seconds=lag)
            blind = (
                f"Bcc: {', '.join(mime.address(b) for b in mail.bcc)}\r\n".encode()
                if mail.bcc and "SENT" in have
                else b""
            )
            copy = blind + raw
            if "SENT" not in have and "DRAFT" not in have and "CHAT" not in have:
                sender = mail.sender[1]
                copy = mime.received(
                    raw,
                    box,
                    sender if envelope is None else envelope,
                    host or f"out.{sender.rpartition('@')[2]}",
                    stamp,
                    self.rng,
                )
            outcome, found_rule = fates[box]
            key = f"{full}@{box.partition('.')[0]}"
            message = SampleMessage(
                box, key, copy, have, stamp, outcome, found_rule, marker, shared or full, category, delay, action, target
            )  # fmt: skip
            (self.arrivals if delay else self.messages).append(message)
        return full

    def _marked(self, mail: Mail, local: bool) -> str:
        self._marks += 1
        marker = f"ZQX{self._marks:04d}MARK"
        mail.subject = (
            mail.subject.replace(MARK, marker) if MARK in mail.subject else f"{mail.subject} {marker}".strip()
        )
        mail.text = mail.text.replace(MARK, marker) if MARK in mail.text else f"{mail.text}\n\n[{marker}]"
        mail.html = mail.html and (
            mail.html.replace(MARK, marker) if MARK in mail.html else f"<p>{marker}</p>{mail.html}"
        )
        if mail.calendar:
            mail.calendar = (mail.calendar[0], mail.calendar[1].replace(MARK, marker))
        if mail.report:
            notice, status, original = mail.report
            mail.report = (notice.replace(MARK, marker), status, original.replace(MARK, marker))
        if mail.sender_line is not None or mail.to_line is not None:
            mail.sender_line = mail.sender_line and mail.sender_line.replace(MARK, marker)
            mail.to_line = mail.to_line and mail.to_line.replace(MARK, marker)
            mail.headers = tuple((name, value.replace(MARK, marker)) for name, value in mail.headers)
        if mail.sender_line is None:
            name, address = mail.sender
            user, _, domain = address.rpartition("@")
            mail.sender = (name, f"{user}+{marker}@{domain}") if local else (f"{name} {marker}".strip(), address)
        return marker

    @staticmethod
    def _unmarked(mail: Mail) -> None:
        mail.subject, mail.text = mail.subject.replace(MARK, "").strip(), mail.text.replace(MARK, "")
        mail.html = mail.html and mail.html.replace(MARK, "")
