"""GatherBatches: bounded by count, one key a batch, nothing lost, arrival times kept."""

import itertools

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import TimestampedValue
from hypothesis import given
from hypothesis import strategies as st

from dealmail.transforms.batches import GatherBatches, cut, cut_sized


@given(st.lists(st.integers()), st.integers(1, 20))
def test_cutting_loses_nothing_and_keeps_the_order(values, size):
    batches = list(cut(values, size))
    assert [value for batch in batches for value in batch] == values
    assert all(len(batch) == size for batch in batches[:-1])


@given(st.lists(st.integers(0, 9)), st.integers(1, 5), st.integers(0, 20))
def test_cutting_by_size_bounds_both(sizes, count, size):
    batches = list(cut_sized(((one, one) for one in sizes), count, size))
    assert [one for batch in batches for one in batch] == sizes
    assert all(len(batch) <= count and (sum(batch) <= size or len(batch) == 1) for batch in batches)
    assert all(len(one) == count or sum(one) + other[0] > size for one, other in itertools.pairwise(batches))


@pytest.mark.parametrize("linger_s", [None, 0.05])
def test_batches_are_of_one_key_and_bounded(linger_s):
    keyed = [("a", i) for i in range(7)] + [("b", 100)]
    with TestPipeline(runner="FnApiRunner") as pipeline:
        created = pipeline | beam.Create(keyed).with_output_types(tuple[str, int])
        sizes = created | GatherBatches(3, linger_s) | beam.MapTuple(lambda key, values: (key, len(list(values))))
        assert_that(sizes, equal_to([("a", 3), ("a", 3), ("a", 1), ("b", 1)]))


def test_arrival_times_survive_a_bounded_pass():
    with TestPipeline(runner="FnApiRunner") as pipeline:
        at = (
            pipeline
            | beam.Create([5, 9])
            | beam.Map(lambda second: TimestampedValue(("k", second), second))
            | beam.Map(lambda pair: pair).with_output_types(tuple[str, int])
            | GatherBatches(10, None)
            | beam.Map(lambda _, timestamp=beam.DoFn.TimestampParam: float(timestamp))
        )
        assert_that(at, equal_to([5.0]))


@pytest.mark.parametrize(("size", "linger_s"), [(0, None), (1, 0.0)])
def test_what_would_never_gather_is_refused(size, linger_s):
    with pytest.raises(ValueError, match="must be"):
        GatherBatches(size, linger_s)
