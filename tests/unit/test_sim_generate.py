"""The generator's statistics against those measured on the recordings, and its determinism."""

from __future__ import annotations

from itertools import islice, takewhile

import pytest

from pipeline.sim.flow import FlowMarket, LevelBook
from pipeline.sim.generate import generate
from tests.shared import scaled

SECOND = 10**9


def test_load_statistics_match_the_recordings() -> None:
    """Rates, bursts, silences and levels lie within tolerance of STATS.md (2.2 M recorded frames)."""
    seconds, seeds = 600, scaled(commit=6, gate=30)
    counts: list[int] = []
    zeros = gaps = pairs = prints = multi = 0
    bid_levels: list[int] = []
    longest: list[int] = []
    for seed in range(100, 100 + seeds):
        (flow,) = generate(seed, 1, 0)
        book = LevelBook(flow.opening)
        per_second = [0] * seconds
        last = worst = 0
        for number, event in enumerate(takewhile(lambda e: e.at_ns < seconds * SECOND, flow.events)):
            per_second[event.at_ns // SECOND] += 1
            assert event.at_ns >= last
            gap = event.at_ns - last
            zeros, pairs, gaps, worst, last = (
                zeros + (gap == 0),
                pairs + 1,
                gaps + (gap > SECOND),
                max(worst, gap),
                event.at_ns,
            )
            prints, multi = prints + bool(event.print_micro), multi + (len(event.deltas) > 1)
            for delta in event.deltas:
                book.apply(delta)
            if number % 200 == 0:
                bids = [price for is_bid, price in book.sizes if is_bid]
                asks = [price for is_bid, price in book.sizes if not is_bid]
                assert max(bids, default=0) < min(asks, default=10_000)
                assert all(price % flow.market.tick_step == 0 for _, price in book.sizes)
                bid_levels.append(len(book.sizes))
        counts += per_second
        longest.append(worst)
        assert 0 == book.clipped_micro
    counts.sort()
    at = {share: counts[int(share * len(counts))] for share in (0.5, 0.9, 0.99, 0.999)}
    print(f"mean {sum(counts) / len(counts):.1f} {at} max {counts[-1]} zero {zeros / pairs:.3f} gaps {gaps}")
    assert 66.8 * 0.8 <= sum(counts) / len(counts) <= 66.8 * 1.2
    assert 36 * 0.75 <= at[0.5] <= 36 * 1.25
    assert 162 * 0.75 <= at[0.9] <= 162 * 1.25
    assert 471 * 0.7 <= at[0.99] <= 471 * 1.4
    assert 952 * 0.6 <= at[0.999] <= 952 * 1.8
    assert 0.47 <= zeros / pairs <= 0.56
    assert 84 * seeds * seconds / 900 * 0.4 <= gaps <= 84 * seeds * seconds / 900 * 1.5
    assert 2 * SECOND <= sorted(longest)[len(longest) // 2] <= 16 * SECOND
    assert 0.015 <= prints / pairs <= 0.06
    assert 0.01 <= multi / pairs <= 0.06
    bid_levels.sort()
    assert 8 <= bid_levels[len(bid_levels) // 20]
    assert bid_levels[-1] <= 97


@pytest.mark.parametrize("seed", [1, 7])
def test_same_seed_same_flow(seed: int) -> None:
    """A seed decides every event; another seed gives other markets."""

    def first(flows: list[FlowMarket]) -> list[object]:
        return [(f.market.condition, f.opening, list(islice(f.events, 500))) for f in flows]

    once = first(generate(seed, 3, 1_000))
    assert once == first(generate(seed, 3, 1_000))
    assert once != first(generate(seed + 1, 3, 1_000))
    assert 6 == len({token for f in generate(seed, 3, 0) for token in f.market.tokens})
