"""core.tops and core.legbook: the ladders that sizing walks are those of the newest top."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from pipeline.codec import unpack
from pipeline.core.instruments import Instrument, instrument_of
from pipeline.core.legbook import LegBook
from pipeline.core.sizing import Bounds, price_package
from pipeline.core.tops import Book
from pipeline.kinds import Rule
from pipeline.units import MICRO
from tests.models.core_rig import FULL, instrument, top
from tests.models.sizing_model import sale_usd_micro
from tests.shared import seeds

Levels = list[tuple[int, int]]
WIDE = Bounds(10**12, 10**12, 10**12, 15, 8, 1, 1)


def market(**changes: int) -> Instrument:
    return instrument_of(unpack(instrument(1, fee_rate_ppm=30_000, **changes)))


def draw(rng: random.Random, lowest: int, highest: int, *, is_bid: bool) -> Levels:
    """Return up to eight levels, best first, whole shares."""
    prices = rng.sample(range(lowest, highest), rng.randint(0, 8))
    return [(price * 100, rng.randint(1, 60)) for price in sorted(prices, reverse=is_bid)]


def by_hand(rules: Instrument, outcome: int, bids: Levels, asks: Levels) -> LegBook:
    """Return the whole ladders of the token, made without `Book`."""
    sized_bids = [(price, size * MICRO) for price, size in bids]
    sized_asks = [(price, size * MICRO) for price, size in asks]
    if outcome:
        sized_bids, sized_asks = (
            [(10_000 - price, size) for price, size in sized_asks],
            [(10_000 - price, size) for price, size in sized_bids])
    return LegBook(
        rules.row, outcome, sized_asks, sized_bids, rules.fee_rate_ppm, rules.fee_exponent, rules.tick_step,
        rules.size_micro_min, rules.usd_micro_min)


@pytest.mark.parametrize("seed", seeds(300))
def test_ladders_are_those_of_the_top(seed: int) -> None:
    """Packages and sales from a TOP equal those from ladders made by hand, for YES and for its mirror."""
    rng = random.Random(seed)
    rules, outcome = market(), rng.randint(0, 1)
    legs, whole = [], []
    for _ in range(2):
        bids, asks = draw(rng, 20, 60, is_bid=True), draw(rng, 30, 70, is_bid=False)
        book = Book(rules)
        book.take(top(1, bids, asks), 0)
        legs.append(book.leg(outcome))
        whole.append(by_hand(rules, outcome, bids, asks))
    wanted = price_package(whole, 1, WIDE)

    assert wanted == price_package(legs, 1, WIDE), f"seed {seed}"
    for shown, full in zip(legs, whole, strict=True):
        size = rng.randint(1, 200) * MICRO
        assert sale_usd_micro(full, size) == sale_usd_micro(shown, size), f"seed {seed}"


def test_a_ladder_is_of_the_newest_top_and_the_newest_rules() -> None:
    """A new top, and a changed instrument, change what `leg` returns; levels without a size end it."""
    book = Book(market())
    book.take(top(1, [(4_000, 5)], [(4_100, 7), (4_200, 9)]), 0)
    first = book.leg(0)
    assert first is book.leg(0)
    assert [(4_100, 7 * MICRO), (4_200, 9 * MICRO)] == [level for level in first.asks if level[1]]
    assert (6_000, 5 * MICRO) == book.leg(1).asks[0]
    book.take(top(1, [(3_900, 5)], [(4_300, 3)]), 0)
    assert (4_300, 3 * MICRO) == book.leg(0).asks[0]
    assert (6_100, 5 * MICRO) == book.leg(1).asks[0]
    book.follow(replace(book.instrument, tick_step=10))
    assert 10 == book.leg(0).tick_step
    with pytest.raises(IndexError, match="an outcome is 0 or 1"):
        book.leg(2)


def test_no_has_a_ladder_only_where_the_venue_mirrors() -> None:
    """Without the mirror the NO token's book is another row."""
    book = Book(market(rules=FULL & ~Rule.MIRRORED))
    book.take(top(1, [(4_000, 5)], [(4_100, 7)]), 0)
    leg = book.leg(1)
    assert ([], []) == (leg.asks, leg.bids)
