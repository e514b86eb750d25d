"""Counts, sizes and times come out of a run as they were put in."""

import apache_beam as beam
import pytest

from dealmail.transforms import step_metrics


class _Measure(beam.DoFn):
    def process(self, number):
        step_metrics.count("Step", "seen")
        step_metrics.observe("Step", "size", number)
        yield from step_metrics.timed_each("Step", "wait_msec", range(number))


def test_metrics_of_a_run():
    pipeline = beam.Pipeline(runner="FnApiRunner")
    pipeline | beam.Create([3, 4]) | beam.ParDo(_Measure())
    metrics = pipeline.run().metrics().query()
    counters = {m.key.metric.name: m.committed for m in metrics["counters"] if m.key.metric.namespace == "Step"}
    spread = {m.key.metric.name: m.committed for m in metrics["distributions"] if m.key.metric.namespace == "Step"}
    assert counters == {"seen": 2}
    assert (spread["size"].sum, spread["size"].count, spread["size"].max) == (7, 2, 4)
    assert spread["wait_msec"].count == 2


@pytest.fixture
def observed(monkeypatch):
    seen = []
    monkeypatch.setattr(step_metrics, "observe", lambda step, name, value: seen.append((step, name, value)))
    ticking = iter(range(100))
    monkeypatch.setattr(step_metrics.time, "monotonic", lambda: next(ticking))
    return seen


def test_a_block_that_raises_is_timed_too(observed):
    with pytest.raises(ZeroDivisionError), step_metrics.timed("Step", "msec"):
        raise ZeroDivisionError
    assert observed == [("Step", "msec", 1000)]


def test_only_waiting_counts_for_an_iterator(observed):
    for _ in step_metrics.timed_each("Step", "msec", "ab"):
        step_metrics.time.monotonic()  # a second of the reader's own
    assert observed == [("Step", "msec", 3000)]  # two items and the end
