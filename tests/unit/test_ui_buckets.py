"""ui.buckets: counts by bound are those of the latencies themselves, to the width of a native bucket."""

from __future__ import annotations

import random

import pytest

from pipeline.native.counters import Histogram
from pipeline.shm.status import Latency
from pipeline.ui.buckets import BOUNDS_NS, cumulative
from tests.shared import seeds


def latency_of(values_ns: list[int]) -> Latency:
    histogram = Histogram()
    for value in values_ns:
        histogram.observe(value)
    words = histogram.words_now()
    return Latency(words[0], words[1], words[2], words[3], words[4:])


@pytest.mark.parametrize("seed", seeds(20))
def test_counts_are_right_to_one_native_bucket_and_never_flatter(seed: int) -> None:
    """le=b counts no latency above b, and all that are at least 1/32 below it."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    values = [int(10 ** rng.uniform(0, 11)) for _ in range(3_000)]
    values += [bound_ns + rng.randint(-1, 1) for bound_ns in BOUNDS_NS]
    buckets, sum_s = cumulative(latency_of(values))
    assert pytest.approx(sum(values) / 1e9) == sum_s
    assert ("+Inf", len(values)) == buckets[-1]
    for (label, count), bound_ns in zip(buckets, BOUNDS_NS, strict=False):
        assert bound_ns == round(float(label) * 1e9)
        assert sum(value <= bound_ns * 31 / 32 for value in values) <= count
        assert count <= sum(value <= bound_ns for value in values)
    assert sorted(count for _, count in buckets) == [count for _, count in buckets]


def test_bounds_rise_and_an_empty_histogram_is_all_zero() -> None:
    """What Prometheus asks of a histogram; nothing measured is no error."""
    assert sorted(set(BOUNDS_NS)) == list(BOUNDS_NS)
    assert (1_000, 10**10) == (BOUNDS_NS[0], BOUNDS_NS[-1])
    buckets, sum_s = cumulative(latency_of([]))
    assert ({0}, 0.0) == ({count for _, count in buckets}, sum_s)
