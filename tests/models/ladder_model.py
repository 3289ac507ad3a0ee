"""Slow model of a price ladder: a dict a side, sorted when asked."""

from __future__ import annotations

import math


class LadderModel:
    def __init__(self, tick_step: int) -> None:
        self.grid = math.gcd(10_000, tick_step)
        self.sides: list[dict[int, int]] = [{}, {}]

    def set(self, side: int, price: int, size: int) -> None:
        self.sides[side][price] = size
        if not size:
            del self.sides[side][price]

    def levels(self, side: int) -> list[tuple[int, int]]:
        return sorted(self.sides[side].items(), reverse=side == 0)

    def top(self, side: int) -> list[tuple[int, int]]:
        return (self.levels(side) + [(0, 0)] * 8)[:8]

    def best(self, side: int) -> int:
        return self.top(side)[0][0]
