"""core.worlds against a model that spells out every world."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from pipeline.core.worlds import BINARY, Structure, guaranteed_payout
from tests.models.payoff_model import worst_payout
from tests.shared import seeds

ONE = 1_000_000
COMPLETE = Structure(3, exclusive=True, exhaustive=True, half=False)
EXCLUSIVE = Structure(3, exclusive=True, exhaustive=False, half=False)
CASES = [
    ("every YES of a complete event", [(0, 0, ONE), (1, 0, ONE), (2, 0, ONE)], COMPLETE, ONE),
    ("every YES, but none may win", [(0, 0, ONE), (1, 0, ONE), (2, 0, ONE)], EXCLUSIVE, 0),
    ("one YES missing", [(0, 0, ONE), (1, 0, ONE)], COMPLETE, 0),
    ("NO of three", [(0, 1, ONE), (1, 1, ONE), (2, 1, ONE)], EXCLUSIVE, 2 * ONE),
    ("NO of two", [(0, 1, ONE), (2, 1, ONE)], EXCLUSIVE, ONE),
    ("one NO", [(0, 1, ONE)], COMPLETE, 0),
    ("NO of i and YES of i", [(0, 1, ONE), (0, 0, ONE)], EXCLUSIVE, ONE),
    ("NO of i, YES of the others: i wins", [(0, 1, ONE), (1, 0, ONE), (2, 0, ONE)], COMPLETE, 0),
    ("YES of i, NO of the others: two of three", [(0, 0, ONE), (1, 1, ONE), (2, 1, ONE)], COMPLETE, ONE),
    ("pair of one condition, void included", [(0, 0, ONE), (0, 1, ONE)], BINARY, ONE),
    ("uneven pair: the smaller side", [(0, 0, ONE), (0, 1, 3 * ONE)], BINARY, ONE),
    ("YES alone", [(0, 0, ONE)], BINARY, 0),
    (
        "every YES where a market may be void",
        [(0, 0, ONE), (1, 0, ONE), (2, 0, ONE)],
        Structure(3, exclusive=True, exhaustive=True, half=True),
        ONE // 2,
    ),
    ("nothing held", [], COMPLETE, 0),
]


@pytest.mark.parametrize(
    "holdings, structure, payout", [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_worlds_table(holdings: list[tuple[int, int, int]], structure: Structure, payout: int) -> None:
    """The payouts that the baskets rest on."""
    assert payout == guaranteed_payout(holdings, structure)


@pytest.mark.parametrize("seed", seeds(300))
def test_worlds_equal_brute_force(seed: int) -> None:
    """The minimum equals that over every world spelled out (half shares round down per holding)."""
    rng = random.Random(seed)
    for _ in range(10):
        count = rng.randint(1, 5)
        structure = Structure(count, rng.random() < 0.7, rng.random() < 0.5, rng.random() < 0.3)
        holdings = [
            (rng.randrange(count), rng.randint(0, 1), rng.randint(0, 20) * 2)
            for _ in range(rng.randint(0, 8))
        ]
        found = guaranteed_payout(holdings, structure)
        # An event that is not exclusive is taken as independent conditions: never above the truth.
        exhaustive = structure.exhaustive and structure.exclusive
        exact = worst_payout(holdings, count, structure.exclusive, exhaustive, structure.half)
        assert exact == Fraction(found if found is not None else -1), (holdings, structure)


@pytest.mark.parametrize("holding", [(3, 0, ONE), (-1, 0, ONE), (0, 2, ONE), (0, 0, -1)])
def test_worlds_refuse_what_does_not_fit(holding: tuple[int, int, int]) -> None:
    """Holdings outside the structure are not proven, instead of paying nothing."""
    assert guaranteed_payout([holding], COMPLETE) is None
