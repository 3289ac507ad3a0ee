"""The venue's clock offset from whole seconds: bounds that always hold, narrow within a few questions."""

from __future__ import annotations

import random

import pytest

from pipeline.venues.polymarket.clock import ClockOffset, parse_time
from tests.shared import seeds

SECOND = 10**9
MS = 10**6


@pytest.mark.parametrize("seed", seeds(100))
def test_bounds_hold_the_truth_and_narrow(seed: int) -> None:
    """Any offset within 2 h, answers of 1 to 60 ms split anyhow: the truth is inside, to 60 ms in 8 asks."""
    rng = random.Random(seed)
    truth_ns = rng.randint(-7_200 * SECOND, 7_200 * SECOND)
    now_ns = rng.randint(10**18, 2 * 10**18)
    found = ClockOffset()
    for _ in range(8):
        now_ns += found.wait_ns(now_ns)
        there_ns, back_ns = rng.randint(0, 30 * MS), rng.randint(1, 30 * MS)
        sent_ns, read_ns = now_ns, now_ns + there_ns
        now_ns = read_ns + back_ns
        assert found.add(sent_ns, now_ns, (read_ns + truth_ns) // SECOND), f"seed {seed}"
        assert abs(found.offset_ns - truth_ns) <= found.error_ns, f"seed {seed}"
    assert found.error_ns <= 60 * MS, f"seed {seed}"


def test_a_step_is_seen_and_what_was_known_is_forgotten() -> None:
    """An answer that cannot be true beside the earlier ones begins the measurement anew."""
    found = ClockOffset()
    assert found.add(0, 10 * MS, 100)
    assert not found.add(SECOND, SECOND + 10 * MS, 3_700)
    assert 1 == found.count
    assert abs(found.offset_ns - 3_699 * SECOND) <= found.error_ns


@pytest.mark.parametrize(("status", "body", "second"), [
    (200, b"1790000000", 1_790_000_000), (200, b'"1790000000"\n', 1_790_000_000), (200, b"1.5e9", None),
    (200, b"", None), (200, b"-5", None), (200, b"9" * 13, None), (503, b"1790000000", None)])
def test_only_a_plain_second_is_one(status: int, body: bytes, second: int | None) -> None:
    """A number of digits with status 200, quoted or not; everything else is no time."""
    assert second == parse_time(status, body)
