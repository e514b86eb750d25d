"""The scheduled audit: every mailbox once a period, spread out, and one that cannot be read holds up no other."""

import dataclasses
import datetime as dt

import pytest

from dealmail.pipeline.scheduled_audit import ScheduledAudit
from dealmail.transforms.errors import ConsentRevokedError


@dataclasses.dataclass
class Found:
    completeness: float = 100.0
    is_clean: bool = True


def audited(clock, mailboxes, hours, *, refused=()):
    """(hour, mailbox) of each audit in the first `hours`."""
    begun, seen = clock(), []

    def audit(mailbox):
        seen.append(((clock() - begun).total_seconds() / 3600, mailbox))
        if mailbox in refused:
            raise ConsentRevokedError("invalid_grant")
        return Found()

    chore = ScheduledAudit(lambda: mailboxes, audit, dt.timedelta(hours=24), clock)
    for _ in range(hours * 12):
        clock.advance(minutes=5)
        for _ in mailboxes:
            chore()
    return seen


def test_each_mailbox_is_audited_once_a_day_spread_over_it(clock):
    mailboxes = [f"m{i}" for i in range(40)]
    seen = audited(clock, mailboxes, 48)
    counts = {m: [at for at, mailbox in seen if mailbox == m] for m in mailboxes}
    assert all(len(times) == 2 for times in counts.values())
    assert all(23.8 < b - a < 24.2 for a, b in counts.values())
    assert max(sum(1 for at, _ in seen if hour <= at < hour + 1) for hour in range(24)) <= 8


def test_a_mailbox_that_cannot_be_read_is_tried_again_and_holds_up_no_other(clock):
    seen = audited(clock, ["m1", "m2"], 24, refused={"m1"})
    assert [m for _, m in seen].count("m2") == 1
    assert [m for _, m in seen].count("m1") > 5


def test_a_period_of_nothing_is_refused(clock):
    with pytest.raises(ValueError, match="period"):
        ScheduledAudit(list, lambda mailbox: None, dt.timedelta(0), clock)
