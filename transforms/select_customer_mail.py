"""SelectCustomerMail: normalized messages in, customer mail out; everything else gets its decision.

The gates, cheapest and most private first: label, window, retention, participants, blocklist, CRM, and only then content.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import apache_beam as beam
from apache_beam.pvalue import AsDict, TaggedOutput

from . import automated, decisions, step_metrics
from .addresses import identity
from .automated_evidence import Evidence, is_robot_address, is_role_address, local_part
from .clock import Clock, utc_now
from .correspondence import ADDRESS, MESSAGE_ID, Correspondence
from .crm_directory import CrmDirectory
from .engagement_id import content_digest, engagement_id, rank
from .errors import DealmailError, TransientError
from .gmail_payload import Part, read_envelope, read_root
from .google_groups import unmask
from .group_shelf import shelf_of
from .headers import decode_fields
from .mail_dates import parse_date
from .plain_text import MAX_TEXT_BYTES, read_body
from .records import CustomerMail, Decision, Direction, Failure, MailText, NormalizedMessage, Participant

PHASE: Final = "select"
DECISIONS: Final = "decisions"
FAILURES: Final = "failures"
MAX_CONTEXT: Final = 25
"""References that are looked up: the one that started the thread and the newest."""

ReadBody = Callable[[Part, int], MailText]


class Directories(Protocol):
    """What this step asks of the CRM tables: one compact directory a team, built once per CRM version and process."""

    def directory(self, team_id: str, version: int | None = None) -> CrmDirectory:
        """The directory of `team_id`, at least as new as `version` (None: as new as a short time-to-live promises)."""


def select(
    message: NormalizedMessage,
    directory: CrmDirectory,
    correspondence: Correspondence,
    *,
    now: dt.datetime,
    read: ReadBody = read_body,
    on_shadow: Callable[[str, str], None] | None = None,
) -> CustomerMail | Decision:
    """What becomes of `message`: imported with its text and links, or dropped by the first gate that speaks against it.

    `now` (aware) is for the team's retention. `on_shadow` is told the deciding and the shadow rule set's kind ("person" for
    none) where the team has a shadow rule set; that one decides nothing. The body is read only for mail that passed every gate before the last.

    Raises:
        MalformedMessageError: the body cannot be read.
        StoreUnavailableError: `correspondence` cannot be asked.
    """
    # By what a decision is found again where Gmail's search does not see the author (io/crm_import.py).
    shelf = () if message.behind is None else (shelf_of(message.behind.address),)
    message = unmask(message, directory)
    rule = early_rule(message, directory, now)
    if rule is not None:
        shelf = shelf if rule == decisions.PARTICIPANTS_INTERNAL else ()
        return Decision(message.claim, "dropped", rule, context=shelf, crm_version=directory.version)
    direction = direction_of(message, directory)
    links = directory.links(outsiders(message, directory))
    if not links:
        rule = decisions.CRM_NO_MATCH
        return Decision(message.claim, "dropped", rule, context=shelf, crm_version=directory.version)
    rule_set = automated.rule_set(directory.settings)
    root = read_root(message.payload)
    verdict = None
    body: MailText | None = None
    if direction == "inbound":
        person = message.sender is not None and directory.is_person(message.sender.address)
        evidence = Evidence.of(message, None, is_contact=person, root=root)
        verdict = automated.hard_verdict(evidence, directory.settings)
        if verdict.kind is None:
            body = read(root, MAX_TEXT_BYTES)
            evidence = evidence.opened(body)
            verdict = automated.judge(rule_set, evidence, directory.settings, automated.TEXT_FACTS)
            shadow = automated.shadow_rule_set(directory.settings)
            if shadow is not None and on_shadow is not None:
                other = automated.judge(shadow, evidence, directory.settings, automated.TEXT_FACTS)
                on_shadow(verdict.kind or "person", other.kind or "person")
        if verdict.kind is not None:
            context = () if verdict.is_hard else overturning(message, correspondence)
            if not context or not correspondence.known(message.claim.team_id, context):
                return Decision(
                    message.claim,
                    "dropped",
                    f"automated.{verdict.kind}",
                    rule_set.version,
                    verdict.score,
                    verdict.signals,
                    (*context, *shelf),
                    directory.version,
                )
    elif "SENT" not in message.labels:  # a colleague's, or a program's under an own address
        known = automated.hard_verdict(Evidence.of(message, None, root=root), directory.settings, automated.FIELD_FACTS)
        if known.kind is not None:
            rule = f"automated.{known.kind}"
            return Decision(
                message.claim, "dropped", rule, rule_set.version, None, known.signals, (), directory.version
            )
    body = body or read(root, MAX_TEXT_BYTES)
    if direction == "outbound" and is_unsubscribe_request(message, body, directory):
        context = _overturning_request(message, correspondence)
        if not context or not correspondence.known(message.claim.team_id, context):
            signals = ("unsubscribe-request",)
            rule = decisions.AUTOMATED_MARKETING
            return Decision(message.claim, "dropped", rule, rule_set.version, None, signals, context, directory.version)
    return _customer_mail(message, directory, correspondence, direction, links, body, rule_set.version, verdict)


def early_rule(message: NormalizedMessage, directory: CrmDirectory, now: dt.datetime) -> str | None:
    """The rule of the first gate before the CRM match that keeps `message` out, or None: labels, times, addresses."""
    rule = decisions.label_rule(message.labels)
    if rule is not None:
        return rule
    if is_before_window(message):
        return decisions.WINDOW_BEFORE
    keep = directory.settings.retention_days
    if keep is not None and message.sent_at < now - dt.timedelta(days=keep):
        return decisions.RETENTION
    if not outsiders(message, directory, with_internal=False):
        has_people = any(person.address for person in message.participants)
        return decisions.PARTICIPANTS_INTERNAL if has_people else decisions.PARTICIPANTS_NONE
    if directory.blocks_nobody:
        return None
    return directory.blocked((*message.participants, *_also_from(message)), directory.user_of(message.claim.owner))


def _also_from(message: NormalizedMessage) -> tuple[Participant, ...]:
    """Who is no participant but may be blocked: in Reply-To and Sender, and whom a group names that is not believed to match by."""
    return message.also_from if message.behind is None else (*message.also_from, message.behind)


def is_before_window(message: NormalizedMessage) -> bool:
    """Whether the mail was sent before the mailbox's look-back began.

    Its own date decides; but where Gmail received it later, a clock may have been wrong: then the newest Received field
    (RFC 5321 section 4.4) decides between that and old mail that was imported.
    """
    start = message.claim.window_from
    if start is None or message.sent_at >= start:
        return False
    if message.internal_date < start:
        return True
    received = _received_at(message)
    return received is None or received < start


def direction_of(message: NormalizedMessage, directory: CrmDirectory) -> Direction:
    """Outbound where somebody of the team sent it: the author is internal, or the copy carries SENT (an alias nobody listed)."""
    if "SENT" in message.labels:
        return "outbound"
    return "outbound" if message.sender is not None and directory.is_internal(message.sender.address) else "inbound"


def outsiders(
    message: NormalizedMessage, directory: CrmDirectory, *, with_internal: bool = True
) -> tuple[Participant, ...]:
    """The participants without the author of a sent copy; without the team's own people too unless `with_internal`."""
    people = message.participants
    if "SENT" in message.labels and message.sender is not None and not directory.is_internal(message.sender.address):
        people = people[1:]
    if with_internal:
        return tuple([person for person in people if person.address])
    is_internal = directory.is_internal
    return tuple([person for person in people if person.address and not is_internal(person.address)])


def overturning(message: NormalizedMessage, correspondence: Correspondence) -> tuple[str, ...]:
    """The digests by which outbound mail shows that this inbound mail is wanted: its author's address, what it replies to.

    Nobody writes to a no-reply address on purpose, so such an author does not count.
    """
    return _digests(message, correspondence, message.sender)


def _overturning_request(message: NormalizedMessage, correspondence: Correspondence) -> tuple[str, ...]:
    """The digests by which other outbound mail shows that this sent mail is no request to be taken off a list."""
    return _digests(message, correspondence, message.to[0] if message.to else None)


def _digests(message: NormalizedMessage, correspondence: Correspondence, person: Participant | None) -> tuple[str, ...]:
    team = message.claim.team_id
    found = []
    if person is not None and person.address and not is_robot_address(person.address):
        found.append(correspondence.digest(team, ADDRESS, person.address))
    references = message.references
    if len(references) > MAX_CONTEXT:
        references = (references[0], *references[-(MAX_CONTEXT - 1) :])
    found += [correspondence.digest(team, MESSAGE_ID, reference) for reference in references]
    return tuple(dict.fromkeys(found))


def shown_by(message: NormalizedMessage, directory: CrmDirectory, correspondence: Correspondence) -> tuple[str, ...]:
    """The digests that an outbound mail adds: each external recipient, and every Message-ID a reply to it may name."""
    team = message.claim.team_id
    people = [
        person.address
        for person in (*message.to, *message.cc)
        if person.address and not directory.is_internal(person.address)
    ]
    found = [correspondence.digest(team, ADDRESS, address) for address in people]
    found += [correspondence.digest(team, MESSAGE_ID, one) for one in message.message_ids]
    return tuple(dict.fromkeys(found))


_UNSUBSCRIBE_ADDRESS: Final = re.compile(r"(?:^|[._+-])(?:unsub(?:scribe)?|opt-?out|remove|leave)(?:$|[._+=\d-])")
_UNSUBSCRIBE: Final = re.compile(
    r"(?:unsubscribe|unsub|opt-?out)(?: me)?|remove me|unsubscribe[ :=<_-]+(?=\S*\d)\S{6,}"
)
"""Alone, or with the id that a List-Unsubscribe field may have in its subject (RFC 6068)."""
_LEAVING: Final = frozenset({"remove", "stop", "leave"})
"""Words that a person may be answered with, too."""
_BY_GMAIL: Final = "this message was automatically generated by gmail"


def is_unsubscribe_request(message: NormalizedMessage, body: MailText, directory: CrmDirectory) -> bool:
    """Whether a sent mail only asks to be taken off a list: what a click on List-Unsubscribe (RFC 2369 section 3.2) sends.

    It goes to nobody but an address for that, or says nothing but such a word. A contact or lead of the CRM gets letters.
    """
    if len(message.to) != 1 or message.cc or directory.is_person(message.to[0].address):
        return False
    address = message.to[0].address
    is_address = _UNSUBSCRIBE_ADDRESS.search(local_part(address)) is not None
    words = _LEAVING if is_address or is_role_address(address) or is_robot_address(address) else frozenset()
    subject, text = (part.strip(" \t\n.!<>").lower() for part in (message.subject, body.text[:_MAX_REQUEST]))

    def asks(said: str) -> bool:
        return said in words or _UNSUBSCRIBE.fullmatch(said) is not None

    if text in {"", subject, _BY_GMAIL}:
        return is_address or asks(subject)
    return len(body.text) < _MAX_REQUEST and asks(text)


_MAX_REQUEST: Final = 200


def _customer_mail(
    message: NormalizedMessage,
    directory: CrmDirectory,
    correspondence: Correspondence,
    direction: Direction,
    links: Sequence,
    body: MailText,
    version: str,
    verdict: automated.Verdict | None,
) -> CustomerMail:
    claim = message.claim
    sender = message.sender
    if sender is None:  # Reply-To and Sender name no participant here either
        sender = Participant(claim.owner if direction == "outbound" else "")
    recipients = [person.address for person in (*message.to, *message.cc)]
    digest = content_digest(
        message.message_id, message.sent_at, direction, sender, message.to, message.cc, message.subject, body
    )
    is_authors = "SENT" in message.labels and _is_owners(sender.address, claim.owner, directory)
    return CustomerMail(
        claim=claim,
        engagement_id=engagement_id(
            claim.team_id, message.message_id, sender.address, message.subject, body.text, message.sent_at, recipients
        ),
        message_id=message.message_id,
        sent_at=message.sent_at,
        direction=direction,
        sender=sender,
        to=message.to,
        cc=message.cc,
        subject=message.subject,
        body=body,
        links=tuple(links),
        rule=decisions.IMPORTED_CUSTOMER,
        rules_version=version,
        content_digest=digest,
        rank=rank(digest, len(body.text), is_authors_copy=is_authors, is_rewritten=message.is_from_list),
        score=None if verdict is None else verdict.score,
        signals=() if verdict is None else verdict.signals,
        context=shown_by(message, directory, correspondence) if direction == "outbound" else (),
        crm_version=directory.version,
        also_from=tuple(one.address for one in _also_from(message)),
    )


def _is_owners(author: str, owner: str, directory: CrmDirectory) -> bool:
    """Whether the author of a copy that carries SENT is the mailbox's owner, perhaps under an alias, and nobody else of the team."""
    user = directory.user_of(author)
    if user is not None:
        return user == directory.user_of(owner)
    return identity(author) == identity(owner) or not directory.is_internal(author)


def _received_at(message: NormalizedMessage) -> dt.datetime | None:
    """The time of the newest Received field (UTC), or None."""
    headers = decode_fields(read_envelope(message.payload).payload.headers or ())
    newest = next((value for name, value in headers if name == "received"), "")
    return parse_date(newest.rpartition(";")[2])


class Selected(NamedTuple):
    """What SelectCustomerMail gives out."""

    mail: beam.PCollection[CustomerMail]
    decisions: beam.PCollection[Decision]
    failures: beam.PCollection[Failure]


class _Select(beam.DoFn):
    def __init__(
        self, directories: Callable[[], Directories], correspondence: Callable[[], Correspondence], now: Clock
    ) -> None:
        self._open_directories, self._open_correspondence, self._now = directories, correspondence, now

    def setup(self) -> None:
        """Ask for the edges once per worker; they are shared by the threads of a process."""
        self._directories = self._open_directories()
        self._correspondence = self._open_correspondence()

    def process(
        self, element: NormalizedMessage, stamps: Mapping[str, int] | None = None
    ) -> Iterator[CustomerMail | TaggedOutput]:
        """One message in; one mail, decision or failure out."""
        team = element.claim.team_id
        try:
            directory = self._directories.directory(team, (stamps or {}).get(team))
            result = select(element, directory, self._correspondence, now=self._now(), on_shadow=_count_shadow)
        except DealmailError as error:
            counts = not isinstance(error, TransientError)
            yield TaggedOutput(FAILURES, Failure(element.claim, PHASE, type(error).__name__, counts))
            return
        if isinstance(result, Decision):
            yield TaggedOutput(DECISIONS, result)
        else:
            yield result


def _count_shadow(decided: str, shadow: str) -> None:
    step_metrics.count("SelectCustomerMail", f"shadow.{decided}.{shadow}")


class SelectCustomerMail(beam.PTransform):
    """PCollection of NormalizedMessage in; `Selected` out.

    `directories` and `correspondence` are picklable factories that a worker calls once. `stamps` is a PCollection of
    (team id, CRM version), taken as a side input; None where the engine cannot bear side inputs: then the directories keep
    themselves fresh. `now` answers the time (aware), for retention.
    """

    def __init__(
        self,
        directories: Callable[[], Directories],
        correspondence: Callable[[], Correspondence],
        stamps: beam.PCollection[tuple[str, int]] | None = None,
        now: Clock = utc_now,
    ) -> None:
        super().__init__()
        self._do_fn = _Select(directories, correspondence, now)
        self._stamps = stamps

    def expand(self, pcoll: beam.PCollection[NormalizedMessage]) -> Selected:
        """Wire `select`."""
        side = () if self._stamps is None else (AsDict(self._stamps),)
        outputs = pcoll | "Select" >> beam.ParDo(self._do_fn, *side).with_outputs(DECISIONS, FAILURES, main="mail")
        return Selected(outputs.mail, outputs[DECISIONS], outputs[FAILURES])
