"""The end of a scenario: what the audit, the oracle, the index check and Gmail's ledger of units say."""

from __future__ import annotations

from dealmail.io import index_check
from dealmail.io.audit import Audit
from dealmail.io.google_signin import GmailAccounts
from dealmail.io.mailboxes import mailbox_id
from dealmail.io.quota import Quota
from dealmail.io.search import SearchSpec, open_index
from dealmail.transforms.errors import MailboxError

from . import mails, oracle
from .processes import Shared
from .world import PROJECT_UNITS, UNITS, World


def audit(world: World, *, repair: bool) -> None:
    """What the scheduled audit does: nothing may be missing, and nothing be stale but what a lost history hid."""
    result, now = world.result, world.clock.job_now
    with world.database() as database:
        audit = Audit(database, GmailAccounts(database, world.vault, world.google, now), Quota(database), now)
        for address in world.addresses:
            try:
                found = audit.run(mailbox_id(mails.TEAM, address), repair=repair)
            except MailboxError:
                if not repair:
                    raise
                continue  # a token ended since the last look, as the service too may find; the last audit has the word
            if found is None:
                result.verdict.wrong.append(f"{address} has no window")
                continue
            result.completeness = min(result.completeness, found.completeness)
            if not repair and found.completeness < 100:
                result.verdict.wrong.append(f"{address}: missing {found.missing}, shut {found.shut}")
            result.repaired += len(found.stale)
            if found.stale and not (repair and address in world.expired):
                result.verdict.wrong.append(f"{address}: copies of {found.stale} are kept though Gmail deleted them")


def _unknown_to_truth(world: World) -> list[str]:
    """What the sandbox holds and no event has put there: then it is the sandbox, or its client, that went wrong."""
    known = {(item.address, item.gmail_id) for item in world.truth.items}
    return [
        f"{address} {message['id']} {message['labels']}, of which no event is known"
        for address, box in world.client.dump().items()
        for message in box["messages"]
        if (address, message["id"]) not in known
    ]


def judge(world: World) -> None:
    """Have the last audit, the oracle, the index and the ledger of units say what the scenario came to."""
    result = world.result
    audit(world, repair=False)
    with world.database() as database:
        verdict = oracle.compare(database, world.truth)
        index = open_index(SearchSpec(world.spec.url))
        index.ensure()
        report = index_check.check(database, index, mails.TEAM)
        index.close()
    verdict.wrong += result.verdict.wrong
    if not verdict.is_good:
        verdict.wrong += [f"Gmail has {line}" for line in _unknown_to_truth(world)]
    if not report.equal or report.waiting:
        verdict.wrong.append(
            f"the index differs: {report.differences}, {report.waiting} waiting, {report.parked} parked"
        )
    ledger = world.client.quota_ledger()
    verdict.wrong += oracle.over_quota(ledger, UNITS, PROJECT_UNITS, world.moves)
    minutes = {row["minute"] for row in ledger}
    result.minutes, result.shared_minutes = len(minutes), len(minutes & world.moves.keys())
    result.peak_mailbox = oracle.peak(ledger, UNITS, world.moves)
    result.peak_project = oracle.peak(ledger, PROJECT_UNITS, world.moves, project=True)
    result.verdict = verdict
    counters = world.client.counters()
    result.faults.update(counters["faults"])
    result.passes = int(world.clock.get(Shared.PASSES))
    result.events, result.messages = world.truth.events, len(world.truth.items)
