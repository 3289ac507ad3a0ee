"""HG03, HG04: no package with a negative worst world, whatever the books and the metadata say."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import pytest

from pipeline.codec import unpack
from pipeline.core.legbook import LegBook
from pipeline.core.sizing import Bounds, Refusal, price_package
from pipeline.kinds import Flag, Kind, Rule
from pipeline.units import MICRO
from tests.models.core_rig import FULL, Rig, balance, config, event, instrument, top
from tests.models.payoff_model import fee_charged, worst_payout
from tests.shared import scaled, seeds

PACKAGES = scaled(260, 5_100)  # times 200 seeds: 52,000 packages checked at commit, 1.02 M at the gate
CHAIN_ROUNDS = 8  # packages a seed through the whole chain
WIDE = Bounds(10**12, 10**12, 10**12, 15, 8, 1, 1)


def ladder(rng: random.Random, price: int, step: int, levels: int) -> list[tuple[int, int]]:
    """Return ascending ask levels on the grid."""
    found = []
    for _ in range(levels):
        if price >= 10_000:
            break
        found.append((price, rng.randint(1, 900_000) * 100))
        price += step * rng.randint(1, 4)
    return found


@pytest.mark.parametrize("seed", seeds(200))
def test_HG03_no_priced_package_has_a_negative_world(seed: int) -> None:  # noqa: N802
    """Whatever the ladders, a priced package pays more than it costs whoever wins, winner by winner."""
    rng = random.Random(seed)
    packages = 0
    while packages < PACKAGES:
        count, is_no = rng.randint(2, 6), rng.random() < 0.5
        step, rate = rng.choice([1, 10, 100]), rng.choice([0, 0, 40_000, 70_000])
        sets_paid = count - 1 if is_no else 1
        fair = 10_000 * sets_paid // count
        legs = []
        for row in range(count):
            price = max(step, (fair - rng.randint(-100, 900)) // step * step)
            legs.append(
                LegBook(
                    row + 1,
                    int(is_no),
                    ladder(rng, price, step, rng.randint(1, 4)),
                    [],
                    rate,
                    1,
                    step,
                    MICRO,
                    MICRO,
                )
            )
        found = price_package(legs, sets_paid, WIDE, is_exclusive_no=is_no)
        if isinstance(found, Refusal):
            continue
        packages += 1
        shares = [0] * count
        paid = 0
        for order in found.orders:
            shares[order.leg_no] += order.size_micro
            paid += -(-order.price_ticks * order.size_micro // 10_000)
            paid += fee_whole(order.price_ticks, order.size_micro, rate)
        for winner in range(count):
            got = sum(size for leg_no, size in enumerate(shares) if (leg_no == winner) != is_no)
            assert got > paid, (winner, legs, found)


def fee_whole(price_ticks: int, size_micro: int, rate_ppm: int) -> int:
    """Return the fee of the venue sheet 14.1 in whole numbers: floored to 10 uUSD."""
    return size_micro * rate_ppm * price_ticks * (10_000 - price_ticks) // (10**6 * 10**8) // 10 * 10


def checked(decided: list[Any], members: dict[int, bytes]) -> int:
    """Check every package of these decisions over every world; return how many there were."""
    packages = 0
    orders: list[Any] = []
    for record in decided:
        if record.kind == Kind.PACKAGE:
            packages += 1
            orders = []
        if record.kind == Kind.INTENT:
            orders.append(record)
    if not packages:
        return 0
    known = {row: unpack(slot) for row, slot in members.items()}
    count = len(known)
    rules = [entry.rules for entry in known.values()]
    open_ended = any(rule & (Rule.AUGMENTED | Rule.V2) for rule in rules)
    holdings = [(known[order.instrument].outcome_index, order.outcome, order.size_micro) for order in orders]
    pays = worst_payout(
        holdings,
        count,
        all(rule & Rule.EXCLUSIVE for rule in rules),
        not open_ended and all(rule & Rule.EXHAUSTIVE for rule in rules),
        not all(rule & Rule.NEG_RISK for rule in rules),
    )
    cost = sum((Fraction(order.price_ticks * order.size_micro, 10_000) for order in orders), Fraction(0))
    fees = sum(
        fee_charged(order.price_ticks, order.size_micro, known[order.instrument].fee_rate_ppm, 1)
        for order in orders
    )
    assert pays - cost - fees > 0, (pays, cost, fees, orders)
    return packages


@pytest.mark.parametrize("seed", seeds(200))
def test_HG03_no_package_of_the_chain_has_a_negative_world(seed: int) -> None:  # noqa: N802
    """Every package pays more than it costs in every feasible world, by an independent count of worlds."""
    rng = random.Random(seed)
    packages = 0
    while packages < CHAIN_ROUNDS:
        count = rng.randint(2, 5)
        rows = list(range(1, count + 1))
        rules = FULL
        if rng.random() < 0.3:
            rules &= ~int(rng.choice([Rule.EXHAUSTIVE, Rule.EXCLUSIVE, Rule.NEG_RISK, Rule.MIRRORED]))
        step = rng.choice([1, 10, 100])
        slots = event(
            rows,
            rules=rules,
            tick_step=step,
            fee_rate_ppm=rng.choice([0, 0, 40_000, 70_000]),
            size_micro_min=MICRO,
        )
        members = dict(zip(rows, slots, strict=True))
        rig = Rig()
        rig.feed(config(), balance(10**6 * MICRO), *slots)
        fair = 10_000 // count
        for _ in range(4):
            for row in rows:
                low = max(step, fair + rng.randint(-25, 15) * 100 // step * step)
                bid = low // step * step
                ask = bid + rng.randint(1, 8) * step
                decided = rig.feed(
                    top(
                        row,
                        [
                            (bid - step * level, rng.randint(1, 9_000) / 100)
                            for level in range(4)
                            if bid > step * level
                        ],
                        [
                            (ask + step * level * rng.randint(1, 3), rng.randint(1, 9_000) / 100)
                            for level in range(4)
                            if ask + step * level * 3 < 10_000
                        ],
                        flags=int(rng.choice([0, 0, 0, Flag.OPEN])),
                    )
                )
                packages += checked(decided, members)
        if rules != FULL:
            packages += 1  # such events may never trade; they count as rounds so that the loop ends


TRAPS: list[tuple[str, list[bytes]]] = [
    ("an outcome is missing", event([1, 2, 3])[:2]),
    ("an outcome index twice", [*event([1, 2, 3])[:2], instrument(3, 1, 3)]),
    ("augmented: placeholders may win", event([1, 2, 3], rules=FULL | Rule.AUGMENTED)),
    ("protocol v2: a synthetic other may win", event([1, 2, 3], rules=FULL | Rule.V2)),
    ("not exhaustive", event([1, 2, 3], rules=FULL & ~Rule.EXHAUSTIVE)),
    ("not exclusive: by-date questions are nested", event([1, 2, 3], rules=FULL & ~Rule.EXCLUSIVE)),
    ("plain markets may be void", event([1, 2, 3], rules=FULL & ~Rule.NEG_RISK)),
    (
        "one outcome is not tradable",
        [*event([1, 2, 3])[:2], instrument(3, 2, 3, rules=FULL & ~Rule.TRADABLE)],
    ),
    ("two events", [*event([1, 2], 1)[:1], *event([3, 4], 2)[:1]]),
    ("no event", [instrument(row, row - 1, 3, 0) for row in (1, 2, 3)]),
]


@pytest.mark.parametrize("slots", [trap[1] for trap in TRAPS], ids=[trap[0] for trap in TRAPS])
@pytest.mark.parametrize("seed", range(10))
def test_HG04_false_arbitrage_is_never_bought(slots: list[bytes], seed: int) -> None:  # noqa: N802
    """100 trap events whose YES prices add up to far less than 1: 0 ideas, 0 packages, one reason given."""
    rng = random.Random(seed)
    rig = Rig()
    rng.shuffle(slots)
    rig.feed(config(), balance(10**6 * MICRO), *slots)
    for _ in range(10):
        for row in (1, 2, 3, 4):
            bid = rng.randint(1, 25) * 100
            rig.feed(top(row, [(bid, rng.randint(10, 500))], [(bid + 100, rng.randint(10, 500))]))
    assert [] == rig.ideas
    assert [] == rig.of(Kind.PACKAGE)
    assert rig.detector.why_nothing()


@pytest.mark.parametrize("rules", [FULL | Rule.AUGMENTED, FULL & ~Rule.EXHAUSTIVE, FULL | Rule.V2])
def test_selling_needs_exclusivity_only(rules: int) -> None:
    """Buying every NO stays right when somebody else may win (strategy.md 4.2)."""
    rig = Rig()
    rig.feed(config(), balance(10**6 * MICRO), *event([1, 2, 3], rules=rules))
    for row in (1, 2, 3):
        decided = rig.feed(top(row, [(4_000, 50)], [(4_100, 50)]))
    package = decided[0]
    assert (Kind.PACKAGE, 3) == (package.kind, package.leg_count)
    assert 2 * package.size_micro == package.payout_usd_micro
