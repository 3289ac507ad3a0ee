"""The judge's own arithmetic: what legs cost in the exchange's book, and what they pay in every world."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import pytest

from pipeline.kinds import Kind, Rule
from pipeline.run.judge_books import LegShares, apply, buy_usd_micro, worst_payout
from pipeline.run.judge_logs import Findings, Venue, read_logs
from pipeline.run.judge_money import fee_usd_micro, money_usd_micro
from tests.models.judged_run import RULES, JudgedRun, condition, cost, fee

NAMES = ["0x" + condition(row).hex() for row in range(1, 7)]


def tables(tmp_path, rules=RULES):
    run = JudgedRun().end()
    for kind, fields in run.stream:
        if kind == Kind.INSTRUMENT:
            fields["rules"] = rules
    logs = read_logs(run.write(tmp_path), Findings())
    return logs, Venue(run.report, [])


@pytest.mark.parametrize("seed", range(50))
def test_fee_and_money_of_a_fill(seed):
    """Exact fractions, fee floored to 10 uUSD, cost rounded up, proceeds down."""
    draw = random.Random(seed)
    price, size, rate = draw.randint(1, 9_999), draw.randint(1, 10**10), draw.choice((0, 40_000, 70_000))

    assert fee(price, size, rate) == fee_usd_micro(price, size, rate, 1)
    assert cost(price, size) == money_usd_micro(price, size, is_buy=True)
    assert math.floor(Fraction(price, 10_000) * size) == money_usd_micro(price, size, is_buy=False)


def test_a_leg_walks_the_book(tmp_path):
    """YES from the asks upward, NO from the bids downward, each level's fee floored alone."""
    logs, _ = tables(tmp_path)
    sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
    apply(sides, [[False, 3_100, 7_000_000], [False, 3_000, 5_000_003], [True, 2_900, 4_000_000],
                  [True, 2_800, 9_000_000], [False, 2_000, 1], [False, 2_000, 0]])

    yes = buy_usd_micro(logs, sides, LegShares(NAMES[0], 0, 9_000_000))
    no = buy_usd_micro(logs, sides, LegShares(NAMES[0], 1, 5_000_000))

    def paid(*fills):
        return sum(cost(price, size) + fee(price, size) for price, size in fills)

    assert paid((3_000, 5_000_003), (3_100, 3_999_997)) == yes
    assert paid((7_100, 4_000_000), (7_200, 1_000_000)) == no
    assert None is buy_usd_micro(logs, sides, LegShares(NAMES[0], 0, 12_000_004))


@pytest.mark.parametrize("seed", range(50))
def test_worst_world_of_an_event(tmp_path_factory, seed):
    """Every winner, and nobody where the event is not exhaustive, is tried."""
    draw = random.Random(seed)
    is_exhaustive = draw.random() < 0.5
    rules = RULES if is_exhaustive else RULES & ~Rule.EXHAUSTIVE
    logs, venue = tables(tmp_path_factory.mktemp("worlds"), rules)
    rows = draw.sample(range(6), 4)
    legs = [LegShares(NAMES[row], draw.randint(0, 1), draw.randint(1, 50)) for row in rows]

    def paid(winners):
        return sum(leg.size_micro for leg in legs if (leg.condition in winners) == (leg.outcome == 0))

    one_of = [NAMES[:3] + ([] if is_exhaustive else [""]), NAMES[3:] + ([] if is_exhaustive else [""])]

    assert min(paid(pair) for pair in itertools.product(*one_of)) == worst_payout(logs, venue, legs)


def test_worst_world_of_a_lone_market(tmp_path):
    """YES, NO, or half of each when the market may be voided."""
    logs, venue = tables(tmp_path / "void", Rule.TRADABLE)
    sure, sure_venue = tables(tmp_path / "sure", Rule.TRADABLE | Rule.NEG_RISK)
    legs = [LegShares(NAMES[0], 0, 101), LegShares(NAMES[0], 1, 101)]

    assert 100 == worst_payout(logs, venue, legs)
    assert 101 == worst_payout(sure, sure_venue, legs)
    assert 0 == worst_payout(sure, sure_venue, legs[:1])
