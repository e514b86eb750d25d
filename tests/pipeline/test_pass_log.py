"""The service's line a minute."""

import logging

import pytest

from dealmail.pipeline.pass_log import PassLog, summary

NOTHING = "claimed 0, imported 0, dropped 0, gone 0, failed 0, indexed 0"


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "dealmail.pipeline.pass_log")
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_minute_of_passes_is_one_line(clock, lines):
    log = PassLog(clock)
    log.add({"claimed": 5, "imported.customer": 1, "dropped.crm.no_match": 3, "indexed": 1})
    assert lines() == []
    clock.advance(seconds=60)
    log.add({"claimed": 1, "failed.fetch.GmailQuotaError": 1, "drained": 2})
    assert lines() == ["2 passes: claimed 6, imported 1, dropped 3, gone 0, failed 1, indexed 3"]


def test_it_claims_nothing_that_no_step_counts():
    """Whether a failure parks a message is known only where it is settled: `dealmail status` says it."""
    assert "parked" not in summary({"claimed": 1, "failed.fetch.GmailUnavailableError": 1})


def test_what_was_said_is_not_said_again_and_silence_is_not_mentioned(clock, lines):
    log = PassLog(clock)
    log.add({"claimed": 1, "gone.not_found": 1})
    log.flush()
    clock.advance(minutes=5)
    log.add({"due_poll": 3})
    log.flush()
    assert lines() == ["1 passes: claimed 1, imported 0, dropped 0, gone 1, failed 0, indexed 0"]


def test_a_clock_that_goes_back_does_not_silence_it(clock, lines):
    log = PassLog(clock)
    clock.advance(hours=-1)
    log.add({"claimed": 1})
    assert lines() == [f"1 passes: {NOTHING.replace('claimed 0', 'claimed 1')}"]


def test_what_happened_last_is_said_without_another_pass(clock, lines):
    log = PassLog(clock)
    log.add({"claimed": 2})
    clock.advance(seconds=59)
    log.look()
    assert lines() == []
    clock.advance(seconds=1)
    log.look()
    log.look()
    assert lines() == [f"1 passes: {NOTHING.replace('claimed 0', 'claimed 2')}"]
