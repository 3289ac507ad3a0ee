"""OR17: every conversion between text, ticks, shares and USD is exact, or rounds against us."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from fractions import Fraction

import pytest

from pipeline.kinds import OrderType, Side
from pipeline.native.numparse import parse
from pipeline.units import (
    MICRO,
    TICKS_PER_USD,
    cost_micro,
    decimal_to_int,
    int_to_decimal,
    proceeds_micro,
    usd_text,
)
from pipeline.venues.polymarket.amounts import market_amounts, order_amounts
from pipeline.venues.polymarket.identity import Refusal
from tests.models.amount_grid import DECIMALS, PRICES
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

CONVERSIONS = figure("OR17", "conversions")
PER_ROUND = 9


def texts(rng: random.Random) -> tuple[int, int]:
    """Text of a price and of a size to integers and back, by every reader; return the integers."""
    price, size = rng.randrange(1, TICKS_PER_USD), rng.randrange(1, 10 ** rng.randrange(4, 16))
    for value, digits in ((price, 4), (size, 6)):
        text = int_to_decimal(value, digits)
        assert Fraction(value, 10**digits) == Fraction(text)
        padded = (text if "." in text else text + ".0").ljust(len(text) + rng.randrange(3), "0")
        assert value == decimal_to_int(text, digits) == decimal_to_int(padded[:18], digits)
        assert value == parse(text.encode(), digits)
    assert Fraction(size, MICRO) == Fraction(usd_text(size))
    return price, size


def money(price: int, size: int) -> None:
    """What shares cost and bring: the exact product, rounded up and down."""
    exact = Fraction(price, TICKS_PER_USD) * size
    assert math.ceil(exact) == cost_micro(price, size)
    assert math.floor(exact) == proceeds_micro(price, size)


def orders(rng: random.Random, size: int) -> None:
    """An order says dollars where dollars are meant: of a BUY it gives them, of a SELL it wants them."""
    step, price = rng.choice(PRICES)
    side, order_type = rng.choice(list(Side)), rng.choice(list(OrderType))
    shares = size // 10**8 * 10**8 + 10**8  # whole hundreds: can be said at every price
    found = order_amounts(order_type, side, price, shares, step)
    assert not isinstance(found, Refusal)
    usd, said = found if side is Side.BUY else found[::-1]
    assert shares == said
    assert Fraction(usd, shares) == Fraction(price, TICKS_PER_USD)
    asked = size // 10_000 * 10_000
    made = market_amounts(side, price, size, step)
    if isinstance(made, Refusal):
        assert asked < 10**6 or price < 200
    elif side is Side.BUY:  # the quantity is USD: it is spent to the cent, for shares at this price
        assert asked == made.maker_amount
        assert abs(Fraction(made.maker_amount * TICKS_PER_USD, price) - made.taker_amount) <= 10 ** (
            6 - min(4, DECIMALS[step]))
    else:  # the quantity is shares
        assert asked == made.maker_amount
        lost = Fraction(asked * price, TICKS_PER_USD) - made.taker_amount
        assert 0 <= lost < 10 ** (6 - min(4, DECIMALS[step]))


@pytest.mark.parametrize("seed", [0, fresh_seed()])
def test_OR17_random_conversions(seed: int, gate_record: Callable[..., None]) -> None:
    """A million conversions of text, ticks, shares and USD against exact rationals."""
    rng, rounds = random.Random(seed), -(-CONVERSIONS // 2 // PER_ROUND)
    for number in range(rounds):
        try:
            price, size = texts(rng)
            money(price, size)
            orders(rng, size)
        except AssertionError as error:
            error.add_note(f"seed {seed}, round {number}")
            raise
    gate_record("OR17", "conversions", rounds * PER_ROUND, seed)


@pytest.mark.parametrize(("price", "usd_micro", "shares_micro"), [
    (5_200, 10 * MICRO, 19_230_700), (5_000, 10 * MICRO, 20 * MICRO), (100, 1 * MICRO, 100 * MICRO)])
def test_OR17_a_market_buy_names_dollars(price: int, usd_micro: int, shares_micro: int) -> None:
    """10 USD at 0.52 buy 19.2307 shares: a BUY gives dollars, a SELL of the same number gives shares."""
    assert (usd_micro, shares_micro) == market_amounts(Side.BUY, price, usd_micro, 100)
    assert (usd_micro, price * usd_micro // 10_000) == market_amounts(Side.SELL, price, usd_micro, 100)
