"""Slow models of payoffs and losses: every world spelled out, exact fractions, nothing shared with core."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction

Holding = tuple[int, int, int]  # (outcome index, 0 YES / 1 NO, 1e-6 share)
HALF = Fraction(1, 2)


def worlds(count: int, exclusive: bool, exhaustive: bool, half: bool) -> Iterator[tuple[Fraction, ...]]:
    """Yield what YES of each condition pays, in every world that can happen."""
    if exclusive:
        winners: list[int | None] = list(range(count))
        if not exhaustive:
            winners.append(None)
        bases = [[Fraction(int(index == winner)) for index in range(count)] for winner in winners]
    else:
        bases = [[Fraction(bit) for bit in bits] for bits in itertools.product((0, 1), repeat=count)]
    for base in bases:
        if not half:
            yield tuple(base)
            continue
        for voided in itertools.product((False, True), repeat=count):
            yield tuple(HALF if void else paid for void, paid in zip(voided, base, strict=True))


def worst_payout(
    holdings: Sequence[Holding],
    count: int,
    exclusive: bool,
    exhaustive: bool,
    half: bool,
) -> Fraction:
    """Return the least that the holdings pay, in USD micro."""
    return min(
        sum(
            (size * (yes[index] if outcome == 0 else 1 - yes[index]) for index, outcome, size in holdings),
            Fraction(0),
        )
        for yes in worlds(count, exclusive, exhaustive, half)
    )


def fee_exact(price_ticks: int, size_micro: int, rate_ppm: int, exponent: int) -> Fraction:
    """Return the unrounded taker fee in USD micro."""
    price = Fraction(price_ticks, 10_000)
    return size_micro * Fraction(rate_ppm, 1_000_000) * (price * (1 - price)) ** exponent


def fee_charged(price_ticks: int, size_micro: int, rate_ppm: int, exponent: int) -> int:
    """Return the fee floored to 10 uUSD."""
    exact = fee_exact(price_ticks, size_micro, rate_ppm, exponent)
    return exact.numerator // exact.denominator // 10 * 10


def sale(bids: Sequence[tuple[int, int]], size: Fraction, rate_ppm: int, exponent: int) -> Fraction:
    """Return what selling into the bids yields after unrounded fees."""
    got, rest = Fraction(0), size
    for price, depth in bids:
        sold = min(rest, Fraction(depth))
        worth = sold * Fraction(price, 10_000)
        fee = (
            sold
            * Fraction(rate_ppm, 1_000_000)
            * (Fraction(price, 10_000) * (1 - Fraction(price, 10_000))) ** exponent
        )
        got += max(Fraction(0), worth - fee)
        rest -= sold
    return got
