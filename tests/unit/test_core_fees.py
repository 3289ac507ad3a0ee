"""core.fees against the venue's published figures and exact fractions."""

from __future__ import annotations

import json
import math
import random
from fractions import Fraction

import pytest

from pipeline.core.fees import PICO_PER_USD, fee_table, taker_fee_usd_micro, unit_cost_pico
from pipeline.errors import InvariantError
from pipeline.kinds import OrderType
from pipeline.units import decimal_to_int
from tests.models.fees_model import (
    budget_fee_usd_micro_max,
    taker_fee_usd_micro_max,
    worst_buy_usd_micro,
)
from tests.models.payoff_model import fee_charged, fee_exact
from tests.shared import SHARED, needs_shared, seeds


@needs_shared
def test_fees_equal_the_published_table() -> None:
    """Every fee of the venue sheet's vectors is reproduced to the micro-dollar."""
    cases = json.loads((SHARED / "venues" / "polymarket-vectors.json").read_text())["fees"]
    assert len(cases) >= 16
    for case in cases:
        price, shares = decimal_to_int(case["price"], 4), decimal_to_int(case["shares"], 6)
        rate = decimal_to_int(case["rate"], 6)
        assert case["fee_usd_micro"] == taker_fee_usd_micro(price, shares, rate, case["exponent"]), case


@pytest.mark.parametrize(
    "price, shares, rate_ppm, fee",
    [
        (5_000, 100, 70_000, 1_750_000),
        (3_000, 100, 70_000, 1_470_000),
        (8_000, 250, 40_000, 1_600_000),
        (5_000, 100, 0, 0),
        (9_900, 100, 70_000, 69_300),
    ],
)
def test_fees_equal_the_examples_of_the_docs(price: int, shares: int, rate_ppm: int, fee: int) -> None:
    """The worked examples of the fee page hold (venue sheet 14.1)."""
    assert fee == taker_fee_usd_micro(price, shares * 1_000_000, rate_ppm, 1)


@pytest.mark.parametrize("seed", seeds(200))
def test_fees_are_exact_and_bounds_hold(seed: int) -> None:
    """Fees equal exact fractions floored to 10 uUSD; every bound is a bound, and within one quantum."""
    rng = random.Random(seed)
    for _ in range(20):
        price, size = rng.randint(1, 9_999), rng.randint(1, 10**10)
        rate, exponent = rng.randint(0, 200_000), rng.randint(0, 2)
        exact = fee_exact(price, size, rate, exponent)
        fee = taker_fee_usd_micro(price, size, rate, exponent)
        assert fee_charged(price, size, rate, exponent) == fee
        most = taker_fee_usd_micro_max(price, size, rate, exponent)
        assert exact <= most < exact + 10
        assert most % 10 == 0
        unit = Fraction(unit_cost_pico(price, rate, exponent), PICO_PER_USD)
        owed = Fraction(price, 10_000) + exact / size
        assert owed <= unit < owed + Fraction(1, PICO_PER_USD)


@pytest.mark.parametrize("seed", seeds(200))
def test_reservations_cover_any_better_price(seed: int) -> None:
    """What is reserved for a BUY covers cost and fee at every price from one tick to its limit."""
    rng = random.Random(seed)
    step = rng.choice([1, 10, 25, 50, 100])
    price = rng.randint(1, 9_999 // step) * step
    size, rate, exponent = rng.randint(1, 10**6) * 10_000, rng.randint(0, 200_000), rng.randint(0, 2)
    budget = worst_buy_usd_micro(OrderType.FAK, price, size, step, rate, exponent)
    shares = worst_buy_usd_micro(OrderType.GTC, price, size, step, rate, exponent)
    spend = Fraction(price * size, 10_000)
    for better in {step, price, *(rng.randint(1, price // step) * step for _ in range(20))}:
        bought = spend / Fraction(better, 10_000)
        per_share = (
            Fraction(rate, 1_000_000)
            * (Fraction(better, 10_000) * (1 - Fraction(better, 10_000))) ** exponent
        )
        assert spend + bought * per_share <= budget
        assert Fraction(better * size, 10_000) + size * per_share <= shares


def test_fees_refuse_impossible_metadata() -> None:
    """A rate above 1 or a huge exponent is an error, never a number."""
    for arguments in (
        (5_000, 1, 1_000_001, 1),
        (5_000, 1, -1, 1),
        (5_000, 1, 1, 3),
        (10_001, 1, 1, 1),
        (1, -1, 1, 1),
    ):
        with pytest.raises(InvariantError, match="expected"):
            taker_fee_usd_micro(*arguments)
    with pytest.raises(InvariantError, match="tick step"):
        budget_fee_usd_micro_max(1, 0, 1, 1)


@pytest.mark.parametrize("rate_ppm, exponent", [(0, 0), (0, 1), (30_000, 1), (70_000, 2), (999_999, 2)])
def test_fee_tables_hold_exact_terms(rate_ppm: int, exponent: int) -> None:
    """Filled ahead or on demand: unit cost, worst unit cost and fee fraction equal exact fractions."""
    table = fee_table(rate_ppm, exponent)
    table.fill(100)
    assert all(table.at[price] is not None for price in range(100, 10_000, 100))
    for price in (1, 37, 100, 2_500, 5_000, 9_900, 9_999):
        unit, worst, part, whole = table.at[price] or table.add(price)
        fee = fee_exact(price, PICO_PER_USD, rate_ppm, exponent)
        assert Fraction(part, whole) * 10 == fee_exact(price, 1, rate_ppm, exponent)
        assert price * 10**8 + math.ceil(fee) == unit
        budget = price * 10**8
        assert max(unit, budget + math.ceil(Fraction(budget * rate_ppm, 10**6))) == worst
    assert table is fee_table(rate_ppm, exponent)
