"""A slow order book and cash account, in exact fractions: the truth that the exchange is compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

DUST = Fraction(1, 100)


@dataclass
class Standing:
    """One queue entry; sizes in shares, price of YES in USD; owner None = other participants."""

    number: int
    is_bid: bool
    price: Fraction
    size: Fraction
    order: str | None


class SlowBook:
    """Keeps one flat list and sorts it for every question."""

    def __init__(self) -> None:
        self.standing: list[Standing] = []
        self.count = 0

    def add(self, is_bid: bool, price: Fraction, size: Fraction, order: str | None) -> None:
        self.count += 1
        self.standing.append(Standing(self.count, is_bid, price, size, order))

    def side(self, is_bid: bool) -> list[Standing]:
        sign = -1 if is_bid else 1
        return sorted(
            (s for s in self.standing if s.is_bid == is_bid), key=lambda s: (sign * s.price, s.number)
        )

    def levels(self, is_bid: bool) -> list[tuple[Fraction, Fraction]]:
        sums: dict[Fraction, Fraction] = {}
        for entry in self.side(is_bid):
            sums[entry.price] = sums.get(entry.price, Fraction(0)) + entry.size
        return list(sums.items())

    def matches(
        self, is_bid: bool, limit: Fraction, outcome: int, size: Fraction | None, budget: Fraction | None
    ) -> list[tuple[Fraction, Fraction, str | None]]:
        """Return (YES price, shares, order) of what a taker would match, nothing changed.

        A budget buys, of each run of neighbours of one owner at one price, the whole micro-shares it can
        pay, each run paid up to the next micro-USD.
        """
        runs: list[list[Standing]] = []
        for entry in self.side(not is_bid):
            if entry.price > limit if is_bid else entry.price < limit:
                continue
            last = runs[-1][-1] if runs else None
            if last and last.price == entry.price and last.order is None and entry.order is None:
                runs[-1].append(entry)
            else:
                runs.append([entry])
        found = []
        for run in runs:
            offered, price = sum((e.size for e in run), Fraction(0)), run[0].price
            own = price if outcome == 0 else 1 - price
            if size is not None:
                taken = min(offered, size)
                size -= taken
            else:
                assert budget is not None
                taken = min(offered, floor_micro(budget / own))
                budget -= ceil_micro(taken * own)
            if taken > 0:
                found.append((price, taken, run[0].order))
        return found

    def remove_matched(self, is_bid: bool, matches: list[tuple[Fraction, Fraction, str | None]]) -> None:
        for price, size, order in matches:
            left = size
            for entry in self.side(not is_bid):
                if entry.price == price and entry.order == order and left > 0:
                    step = min(left, entry.size)
                    entry.size -= step
                    left -= step
                    if step and entry.size < DUST:
                        self.standing.remove(entry)
            assert left == 0

    def remove_others(self, is_bid: bool, price: Fraction, size: Fraction) -> Fraction:
        """Remove other participants' size, newest first; return how much there was to remove."""
        left = size
        for entry in reversed(self.side(is_bid)):
            if entry.price == price and entry.order is None and left > 0:
                step = min(left, entry.size)
                entry.size -= step
                left -= step
                if entry.size == 0:
                    self.standing.remove(entry)
        return size - left

    def remove_order(self, order: str) -> None:
        self.standing = [entry for entry in self.standing if entry.order != order]


def floor_micro(value: Fraction) -> Fraction:
    return Fraction(math.floor(value * 10**6), 10**6)


def ceil_micro(value: Fraction) -> Fraction:
    return Fraction(math.ceil(value * 10**6), 10**6)


def fee(rate: Fraction, price: Fraction, size: Fraction) -> Fraction:
    """Return the taker fee of one match in USD, floored to five decimals (venue sheet 14.1)."""
    return Fraction(math.floor(size * rate * price * (1 - price) * 10**5), 10**5)
