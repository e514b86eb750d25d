"""World and SampleMessage: what the sample is made of, each message with the decision that it must get."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Literal

Action = Literal["deliver", "import", "move", "send_draft"]
Expected = Literal["imported", "dropped"]


@dataclasses.dataclass(frozen=True, slots=True)
class SampleMessage:
    """One message of one mailbox.

    `key` is a stable name, unique in the world. `raw` is the RFC 5322 message with CRLF lines; `labels` are Gmail label
    ids; `internal_date` is aware UTC. `expected_outcome` and `expected_rule` (a name of the job's rule table) say what the
    job must decide; both are None where no listing and no history ever shows the message to the job. `category` is the kind
    of mail in the words of docs/sample.md.

    `marker` is a token that must be found nowhere after a run: it stands in the subject, the body and an address's local
    part or display name (look for it without regard to case: addresses are lower-cased by most readers). It is None where
    the mail is imported, from this mailbox or from another one that holds a copy.

    `shared_key` names the mail of which this is one mailbox's copy; a mail that one mailbox holds has its own key there. So
    the imported messages have as many different `shared_key`s as engagements must come out.

    Of an arrival, `delay` is its place in the order of arrival (from 1) and `action` what happens: *deliver* a new
    message, *import* one with an old date as a migration tool does, *move* the message `target` (a key) to `labels`, or
    *send_draft*: the draft `target` is deleted and this message appears.
    """

    mailbox: str
    key: str
    raw: bytes
    labels: tuple[str, ...]
    internal_date: dt.datetime
    expected_outcome: Expected | None
    expected_rule: str | None
    marker: str | None
    shared_key: str
    category: str
    delay: int = 0
    action: Action = "deliver"
    target: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """A sales team with its CRM (file name to CSV text), its mailboxes, their mail, and what arrives while the job runs.

    `deal_id` is an opportunity whose timeline is worth showing.
    """

    team_id: str
    team_name: str
    now: dt.datetime
    crm: dict[str, str]
    mailboxes: tuple[str, ...]
    messages: tuple[SampleMessage, ...]
    arrivals: tuple[SampleMessage, ...]
    deal_id: str

    @property
    def everything(self) -> tuple[SampleMessage, ...]:
        """All messages, those of before the first sync first."""
        return self.messages + self.arrivals

    def final(self) -> dict[str, SampleMessage]:
        """By key, what each message must have become in the end: a moved message has the expectation of its move."""
        last = {message.key: message for message in self.everything if message.action != "move"}
        for arrival in self.arrivals:
            if arrival.action == "move" and arrival.target is not None:
                last[arrival.target] = dataclasses.replace(arrival, key=arrival.target, target=None)
            elif arrival.action == "send_draft" and arrival.target is not None:
                last.pop(arrival.target)
        return last

    def engagements(self) -> dict[str, frozenset[str]]:
        """Each mail that must be an engagement in the end (its shared key), with the mailboxes that must be on it."""
        found: dict[str, set[str]] = {}
        for message in self.final().values():
            if message.expected_outcome == "imported":
                found.setdefault(message.shared_key, set()).add(message.mailbox)
        return {key: frozenset(holders) for key, holders in found.items()}
