"""From the histograms of a status page (32 buckets per power of two, ns) to those of Prometheus (seconds)."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.native.counters import bucket_index, bucket_top
from pipeline.shm.status import Latency
from pipeline.units import NS_PER_S

#: 1 us to 10 s, three a decade.
BOUNDS_NS = (*(digit * 10**power // 10 for power in range(3, 10) for digit in (10, 25, 50)), 10**10)
_LABELS = tuple(repr(bound_ns / NS_PER_S) for bound_ns in BOUNDS_NS)


def _whole_below(bound_ns: int) -> int:
    """Return how many native buckets hold nothing above the bound."""
    index = int(bucket_index(bound_ns))
    return index + 1 if bucket_top(index) <= bound_ns else index


_ENDS = tuple(_whole_below(bound_ns) for bound_ns in BOUNDS_NS)


def cumulative(latency: Latency) -> tuple[Sequence[tuple[str, int]], float]:
    """Return ((le, count of latencies up to it), ..., ("+Inf", count of all)) and the sum in seconds.

    A native bucket that a bound cuts counts as above it: a latency is at most 1/32 worse than it was, never
    better. All counts come from one look at the buckets, so they agree with each other.
    """
    found = []
    done = total = 0
    for label, end in zip(_LABELS, _ENDS, strict=True):
        total += sum(latency.buckets[done:end])
        done = end
        found.append((label, total))
    found.append(("+Inf", total + sum(latency.buckets[done:])))
    return found, latency.sum_ns / NS_PER_S
