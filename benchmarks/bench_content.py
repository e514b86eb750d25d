"""Gmail's JSON to a row, and to a decision: dealmail against the naive way, side by side in one run on one core.

    python -m benchmarks.bench_content [--rounds 3] [--messages 1200] [--corpus 5000]

Naive: json, email.utils.getaddresses, BeautifulSoup with html.parser, no caches; text/plain where there is any, as here. A row
holds addresses and names, subject, time, text with its spans, the engagement's id and the digest over all of it; "its columns
only" is what the naive way makes of them: no spans, no id, no digest. To a decision:
the header section and every gate up to the CRM, where a tenth of the mail has somebody of the CRM in it, and a row for these. What
the rules for automated mail cost beside that is shown apart: they look at a mail for about as long as it takes to read it.

Both ways take the same messages in turn, round by round; caches are emptied before each round. Process CPU time; a ratio is the
median of the rounds, with the least and the greatest. The corpus (real mail) is read where DEALMAIL_CORPORA names it.
"""

from __future__ import annotations

import argparse
import base64
import datetime as dt
import email.utils
import functools
import gc
import hashlib
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Collection, Sequence

from bs4 import BeautifulSoup

from benchmarks.modern_mail import modern_mix
from dealmail.sandbox import payload as gmail_form
from dealmail.transforms.addresses import forget_cached
from dealmail.transforms.crm_directory import CrmDirectory, CrmRows
from dealmail.transforms.domains import company_domain
from dealmail.transforms.engagement_id import content_digest, engagement_id
from dealmail.transforms.gmail_payload import read_root
from dealmail.transforms.normalize_messages import normalize
from dealmail.transforms.plain_text import read_text, read_words
from dealmail.transforms.records import (
    ClaimedMessage,
    CustomerMail,
    Decision,
    FetchedMessage,
    NormalizedMessage,
    Participant,
)
from dealmail.transforms.select_customer_mail import early_rule, outsiders, select

CLAIM = ClaimedMessage("t", "m0", "g0", "lease", "me@mycorp.example")
NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
GOALS = {"modern row": 14.0, "modern decision": 40.0, "corpus row": 5.5}
FOLDERS = ("enron-5users", "enron-spam-raw-ham", "mxhero-synth", "spamassassin", "sisimai")
MATCHING = 0.1


def naive_row(raw: bytes) -> tuple:
    """What a first version of such a job does."""
    message = json.loads(raw)
    headers: dict[str, list[str]] = {}
    for field in message["payload"].get("headers", []):
        headers.setdefault(field["name"].lower(), []).append(field["value"])
    people = {name: email.utils.getaddresses(headers.get(name, [])) for name in ("from", "to", "cc", "reply-to")}
    try:
        sent = email.utils.parsedate_to_datetime(headers.get("date", [""])[0])
    except (TypeError, ValueError):
        sent = None
    return (
        people,
        headers.get("subject", [""])[0],
        headers.get("message-id", [""])[0],
        sent,
        _naive_text(message["payload"]),
    )


def _naive_text(root: dict) -> str:
    plain, html, waiting = "", "", [root]
    while waiting:
        part = waiting.pop()
        data = part.get("body", {}).get("data")
        if data and part["mimeType"] in {"text/plain", "text/html"}:
            text = base64.urlsafe_b64decode(data + "==").decode("utf-8", "replace")
            if part["mimeType"] == "text/plain":
                plain = plain or text
            else:
                html = html or text
        waiting.extend(reversed(part.get("parts", [])))
    return plain or BeautifulSoup(html, "html.parser").get_text()


def our_row(raw: bytes) -> tuple:
    """What the job's steps make of a message that is imported, CRM and rules left out."""
    return stored(header_section(raw))


def stored(message: NormalizedMessage) -> tuple:
    """A normalized message with all that is stored of it: the text is read, id and digest are made."""
    body = read_text(message.payload)
    sender = message.sender or Participant("")
    recipients = [person.address for person in (*message.to, *message.cc)]
    subject, at = message.subject, message.sent_at
    key = engagement_id("t", message.message_id, sender.address, subject, body.text, at, recipients)
    digest = content_digest(message.message_id, at, "inbound", sender, message.to, message.cc, subject, body)
    return message, body, key, digest


def naive_columns(raw: bytes) -> tuple:
    """What the naive way makes: people, subject, Message-ID, time and text."""
    message = header_section(raw)
    return message, read_words(read_root(message.payload))


def header_section(raw: bytes) -> NormalizedMessage:
    """The header section understood, the body sealed."""
    return normalize(FetchedMessage(CLAIM, raw))


class Correspondence:
    """A team that never wrote to anybody."""

    def digest(self, team_id: str, kind: str, value: str) -> str:
        """As the database does it."""
        return hashlib.blake2b(f"{team_id}\0{kind}\0{value}".encode(), digest_size=16, key=b"k").hexdigest()

    def known(self, team_id: str, digests: Collection[str]) -> frozenset[str]:
        """Nobody."""
        return frozenset()


NOBODY = Correspondence()


def crm_of(messages: Sequence[bytes], share: float) -> CrmDirectory:
    """A CRM whose accounts take part in about `share` of the messages."""
    by_domain: dict[str, set[int]] = {}
    for number, raw in enumerate(messages):
        for person in header_section(raw).participants:
            by_domain.setdefault(company_domain(person.domain) or "", set()).add(number)
    chosen: list[str] = []
    matching: set[int] = set()
    for domain, numbers in sorted(by_domain.items(), key=lambda item: (len(item[1]), item[0])):
        if domain and domain != "mycorp.example" and len(matching | numbers) <= len(messages) * share:
            matching |= numbers
            chosen.append(domain)
    rows = CrmRows(
        users=[("u", CLAIM.owner)], own_domains=["mycorp.example"],
        account_domains=[(domain, f"a{number}") for number, domain in enumerate(chosen)],
    )  # fmt: skip
    return CrmDirectory.build("t", 1, rows)


def gates(raw: bytes, directory: CrmDirectory) -> tuple | None:
    """The gates of SelectCustomerMail up to the CRM, and the row where the mail passes them all."""
    message = header_section(raw)
    if early_rule(message, directory, NOW) is not None or not directory.links(outsiders(message, directory)):
        return None
    return stored(message)


def gates_and_rules(raw: bytes, directory: CrmDirectory) -> CustomerMail | Decision:
    """All of SelectCustomerMail."""
    return select(header_section(raw), directory, NOBODY, now=NOW)


def corpus(limit: int) -> list[bytes]:
    """About `limit` real mails, evenly taken, as Gmail would answer them; empty where there is no corpus."""
    folder = pathlib.Path(os.environ.get("DEALMAIL_CORPORA", ""))
    files = sorted(path for name in FOLDERS for path in (folder / name).rglob("*") if path.is_file())
    step = max(1, len(files) // limit) if files else 1
    messages = []
    for number, path in enumerate(files[::step]):
        root = gmail_form.parse(path.read_bytes())
        document = {
            "id": f"{number:x}", "labelIds": ["INBOX"], "internalDate": "1790000000000",
            "payload": gmail_form.resource(root, lambda part_id: part_id, 1 << 30),
        }  # fmt: skip
        messages.append(json.dumps(document).encode())
    return messages


def cpu_seconds(work: Callable[[bytes], object], messages: Sequence[bytes]) -> float:
    """Process CPU time of one round, for each message."""
    forget_cached()
    gc.collect()
    gc.freeze()  # what the imports left behind is no part of either way
    start = time.process_time()
    for raw in messages:
        work(raw)
    return (time.process_time() - start) / len(messages)


def report(label: str, messages: Sequence[bytes], rounds: int) -> dict[str, float]:
    """Measure and print one mix; the ratio of each way to the naive one."""
    ordered = sorted(map(len, messages))
    print(
        f"{label}: {len(messages)} messages, mean {sum(ordered) / len(ordered) / 1000:.1f} kB, "
        f"p90 {ordered[int(len(ordered) * 0.9)] / 1000:.1f} kB"
    )
    some = messages[::5]  # the rules take long
    directory = crm_of(messages, MATCHING)
    matching = sum(gates(raw, directory) is not None for raw in messages)
    decision = f"decision, {matching / len(messages):.0%} match"
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        tenth, again = (
            crm_of(messages, MATCHING),
            crm_of(messages, MATCHING),
        )  # a directory remembers whom it was asked for
        ways: dict[str, tuple[Callable[[bytes], object], Sequence[bytes]]] = {
            "naive row": (naive_row, messages),
            "row": (our_row, messages),
            "  its columns only": (naive_columns, messages),
            "header section only": (header_section, messages),
            decision: (functools.partial(gates, directory=tenth), messages),
            "  with the rules": (functools.partial(gates_and_rules, directory=again), some),
        }
        for name, (way, taken) in ways.items():
            seconds.setdefault(name, []).append(cpu_seconds(way, taken))
    ratios = {}
    for name, times in seconds.items():
        each = [naive / mine for naive, mine in zip(seconds["naive row"], times, strict=True)]
        ratios[name] = statistics.median(each)
        best = min(times)
        print(
            f"  {name:24} {best * 1e6:9.1f} us  {1 / best:9.0f} msg/s  {ratios[name]:6.1f} x  ({min(each):.1f} to {max(each):.1f})"
        )
    mix = label.split(maxsplit=1)[0]
    return {
        f"{mix} row": ratios["row"],
        f"{mix} decision": next(ratios[one] for one in ratios if one.startswith("decision")),
    }


def main() -> int:
    """Print all ratios; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=1_200)
    parser.add_argument("--corpus", type=int, default=5_000)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    results = report("modern mix", modern_mix(options.messages), options.rounds)
    real = corpus(options.corpus)
    if real:
        results |= report("corpus", real, options.rounds)
    else:
        print("corpus: not measured, DEALMAIL_CORPORA does not name it")
    missed = False
    for name, goal in GOALS.items():
        if name in results:
            missed = missed or results[name] < goal
            print(
                f"{name:16} {results[name]:6.1f} x  goal {goal:4.1f} x  {'missed' if results[name] < goal else 'reached'}"
            )
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
