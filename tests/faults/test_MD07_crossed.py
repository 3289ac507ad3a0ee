"""MD07: crossed and locked books. Between two frames of a batch they are usual; nothing trades on them."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from pipeline import records as r
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.faults.test_MD03_books import HASHED, markets
from tests.models.chain import Chain
from tests.models.venue_model import Market
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

CROSSES = figure("MD07", "crosses")
LASTING_NS, RESYNC_NS_MAX = 250 * NS_PER_MS, 500 * NS_PER_MS


def crossing(rng: random.Random, market: Market) -> list[bytes]:
    """Return the frames of a taker whose rest comes first and the levels that it took after it."""
    market.venue_ns += 10**6
    side = rng.randrange(2)
    if not market.sides[side] or not market.sides[1 - side]:
        return []
    best = market.best(1 - side)
    is_locked = rng.random() < 0.5
    step = market.tick_step if not is_locked else 0
    price = best + step if side == 0 else best - step
    if not 0 < price < 10_000:
        return []
    taken = [level for level in market.sides[1 - side] if (level <= price if side == 0 else level >= price)]
    changes = [market.place(side, price, rng.randrange(1, 900) * 10**6)]
    changes += [market.place(1 - side, level, 0) for level in taken]
    return market.frames([change for change in changes if change], per_frame=1)


@pytest.mark.parametrize("seed", [7, fresh_seed()])
def test_MD07_nothing_is_believed_while_crossed(seed: int, gate_record: Callable[..., None]) -> None:
    """One-message crosses heal with their batch; lasting ones are stale after 250 ms and asked for by 500."""
    rng = random.Random(seed)
    done = 0
    while done < CROSSES // 2:
        rows = markets(rng, 3)
        chain = Chain(rows)
        assert chain.run(20_000, until=chain.is_settled), f"seed {seed}"
        for _ in range(10):
            market = rng.choice(rows)
            frames = crossing(rng, market)
            if len(frames) < 2:
                assert chain.run(8_000, until=chain.is_settled), f"seed {seed}: {chain.counts}"
                continue
            done += 1
            is_lasting = rng.random() < 0.5
            chain.venue.tell(market, frames[:1], chain.now_ns)
            chain.step()
            book = chain.books.snapshot_row(market.row)
            assert book is not None
            assert book["is_crossed"], f"seed {seed}: the batch begins with a cross"
            assert not chain.is_believed(market.row)
            if is_lasting:  # the frames that take the levels away are lost
                begun_ns, asked = chain.now_ns, chain.counts["resyncs"]
                while chain.counts["resyncs"] == asked:
                    assert not chain.is_believed(market.row)
                    assert chain.now_ns - begun_ns <= RESYNC_NS_MAX, f"seed {seed}: {chain.counts}"
                    chain.step(5)
                assert chain.now_ns - begun_ns >= LASTING_NS - 10 * NS_PER_MS
                assert chain.counts["stale_crossed_book"] > 0
                chain.run(5_000, 100)  # one row is asked for once in 5 s
            else:
                chain.run(rng.choice((1, 40, 200)), 5)
                assert not chain.is_believed(market.row)
                chain.venue.tell(market, frames[1:], chain.now_ns)
                chain.step()
                chain.run(100, 5)
                assert chain.equals(market)
            assert chain.run(8_000, until=chain.is_settled), f"seed {seed}: {chain.counts}"
    gate_record("MD07", "crosses", done, seed)


def test_MD07_a_book_that_fails_again_is_asked_for_again() -> None:
    """Lasting crosses of a book that was right in between: each is asked for by 500 ms, three in 2 s."""
    market = Market(3, random.Random(8), 100, HASHED | r.Rule.WATCH)
    asks = [6_000, 6_500, 7_000]
    market.sides = [{1_000: 10**8}, dict.fromkeys([*asks, 9_000], 10**8)]
    chain = Chain([market])
    assert chain.run(20_000, until=chain.is_settled)
    begun_ns = chain.now_ns
    for number, ask in enumerate(asks, 1):
        market.venue_ns = chain.now_ns // NS_PER_MS * NS_PER_MS
        changes = [market.place(0, ask, 10**7), market.place(1, ask, 0)]
        chain.venue.tell(market, market.frames([one for one in changes if one], 1)[:1], chain.now_ns)
        chain.step()
        assert not chain.is_believed(market.row), "the taker's rest came, the end of what it took is lost"
        crossed_ns = chain.now_ns
        assert chain.run(1_000, 5, until=lambda: chain.counts["resyncs"] == number)  # noqa: B023
        assert chain.now_ns - crossed_ns <= RESYNC_NS_MAX
        assert chain.run(500, 5, until=chain.is_settled)
    assert chain.now_ns - begun_ns <= 2 * NS_PER_S
