"""Whose clock dates the frames of a book."""

from __future__ import annotations

from tests.models.venue_model import stamped
from tests.unit.test_books import Bench


def test_frames_of_a_time_to_come_are_lies_up_to_eight_in_a_row() -> None:
    """Each of eight makes its book stale; from the ninth on it is the venue's clock, and books stand."""
    bench = Bench()
    ahead_ns = bench.now_ns + 3_600 * 10**9
    for number in range(1, 13):
        bench.market.venue_ns = ahead_ns + number * 10**6
        bench.take(stamped(bench.market.snapshot(0), recv_ns=bench.now_ns))
        found = bench.fold.books.snapshot_row(bench.market.row)
        assert found is not None
        assert (number <= 8) == found["is_stale"], number
    assert 8 == bench.fold.books.stats()["dated_ahead"]
