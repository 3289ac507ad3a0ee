"""native.sums: every basket's running sum is the exact sum of its legs' costs, whatever tops come."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from pipeline.codec import kind_of
from pipeline.core.fees import fee_table
from pipeline.errors import InvariantError
from pipeline.kinds import Flag, Kind
from pipeline.native.relay import Relay
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.native.sums import LEGS_MAX, Link, Sum, Top, Tops
from pipeline.records import SLOT_BYTES
from tests.models.core_rig import T0_NS, pack, tick, top
from tests.shared import seeds

PICO = 10**12
ROWS = 6
Best = tuple[int, int]  # best bid and ask in ticks, 0 = none


def cost_pico(price_ticks: int, rate_ppm: int) -> int:
    """Return price + fee of one share, rounded up to 1e-12 USD, from fractions (venue sheet 14.1)."""
    price = Fraction(price_ticks, 10_000)
    whole = (price + Fraction(rate_ppm, 10**6) * price * (1 - price)) * PICO
    return -(-whole.numerator // whole.denominator)


def gain_pico(best: Best, outcome: int, rate_ppm: int, *, is_mirrored: bool, is_subset: bool) -> int:
    """Return what one share of a leg adds to its basket, from the best prices alone."""
    bid, ask = best
    price = ask if outcome == 0 else (10_000 - bid if bid and is_mirrored else 0)
    unit = cost_pico(price, rate_ppm) if 0 < price < 10_000 else 0
    if is_subset:
        return max(0, PICO - unit) if unit else 0
    return -unit if unit else -1_000 * PICO


def draw_top(rng: random.Random, row: int, now_ns: int) -> tuple[bytes, Best]:
    """Return a TOP, some without a side, some with a level of no size, and its best prices."""
    bid, ask = (rng.choice([0, rng.randint(1, 9_999)]) for _ in range(2))
    sizes = rng.choice([0, 5]), rng.choice([0, 5, 5, 5])
    slot = top(row, [(bid, sizes[0])], [(ask, sizes[1])], now_ns, flags=rng.choice([0, int(Flag.OPEN)]))
    return slot, (bid if sizes[0] else 0, ask if sizes[1] else 0)


class World:
    """Rows with rules, and baskets over them; what each sum must be, worked out anew."""

    def __init__(self, rng: random.Random) -> None:
        self.rates = {row: rng.choice([0, 30_000, 70_000]) for row in range(ROWS)}
        self.mirrors = {row: rng.random() < 0.8 for row in range(ROWS)}
        self.best: dict[int, Best] = dict.fromkeys(range(ROWS), (0, 0))
        self.tops = {row: Top() for row in range(ROWS)}
        for row, found in self.tops.items():
            found.set_rules(fee_table(self.rates[row], 1), True, self.mirrors[row])
        self.baskets: list[tuple[Sum, list[tuple[int, int]]]] = []

    def add(self, rng: random.Random) -> None:
        """Watch another basket of the rows as they stand now."""
        legs = [(row, rng.randint(0, 1)) for row in rng.sample(range(ROWS), rng.randint(2, ROWS))]
        made = Sum([self.tops[row] for row, _ in legs], [outcome for _, outcome in legs], rng.random() < 0.5)
        for row, _ in legs:
            self.tops[row].link(made)
        self.baskets.append((made, legs))

    def drop(self, rng: random.Random) -> None:
        """Stop watching a basket."""
        made, legs = self.baskets.pop(rng.randrange(len(self.baskets)))
        for row, _ in legs:
            self.tops[row].unlink(made)

    def total(self, made: Sum, legs: list[tuple[int, int]]) -> int:
        """Return the sum of a basket, leg by leg."""
        return (-PICO if made.is_subset else PICO) + sum(
            gain_pico(
                self.best[row], outcome, self.rates[row], is_mirrored=self.mirrors[row],
                is_subset=made.is_subset)
            for row, outcome in legs)

    def is_near(self, row: int) -> bool:
        """Tell whether a basket of the row is above zero."""
        return any(
            self.total(made, legs) > 0 for made, legs in self.baskets if row in [leg[0] for leg in legs])


@pytest.mark.parametrize("seed", seeds(60))
def test_sums_equal_the_sum_of_their_legs(seed: int) -> None:
    """After every top each sum, and the answer whether the row is near a profit, are exact."""
    rng = random.Random(seed)
    world = World(rng)
    highest: dict[Sum, int] = {}
    for step in range(200):
        if step % 25 == 0:
            world.add(rng)
        if step % 60 == 59:
            world.drop(rng)
        row = rng.randrange(ROWS)
        slot, world.best[row] = draw_top(rng, row, T0_NS + step)
        assert world.is_near(row) == world.tops[row].take(slot), f"seed {seed}"
        for made, legs in world.baskets:
            assert world.total(made, legs) == made.total, f"seed {seed}"
            highest[made] = max(highest.get(made, made.total), made.total)
            assert highest[made] <= made.best, f"seed {seed}"


@pytest.mark.parametrize("seed", seeds(20))
def test_a_relay_passes_everything_on_and_shows_what_is_near_a_profit(seed: int) -> None:
    """All records come out in order; shown are wanted kinds and the tops of rows near a profit, no others."""
    rng = random.Random(seed)
    world, tops, memory = World(rng), Tops(), [bytearray(Ring.bytes_for(128)) for _ in range(2)]
    for one in memory:
        Ring.format(one, 128)
    writer, relay_in, relay_out, reader = (
        Writer(memory[0]), Reader(memory[0]), Writer(memory[1]), Reader(memory[1]))
    relay = Relay(relay_in, relay_out, [Kind.TICK], tops)
    for _ in range(12):
        world.add(rng)
    unwatched = 3
    tops.watch({row: found for row, found in world.tops.items() if row != unwatched})
    shown, wanted, sent, passed = [], [], [], []
    for step in range(300):
        row = rng.randrange(ROWS + 2)
        choice = rng.random()
        slot = tick(T0_NS + step) if choice < 0.1 else pack(Kind.HALT, now_ns=T0_NS + step)
        is_wanted = choice < 0.1
        if choice < 0.8 and choice >= 0.1:
            slot, best = draw_top(rng, row, T0_NS + step)
            if row < ROWS and row != unwatched:
                world.best[row] = best
                is_wanted = world.is_near(row)
        assert writer.push(slot)
        sent.append(slot[8:32])
        wanted += [slot] if is_wanted else []
        while (done := relay.step(64))[0]:
            shown += [done[1]] if done[1] else []
        data = reader.read(64)
        passed += [data[at + 8 : at + 32] for at in range(0, len(data), SLOT_BYTES)]
    assert sent == passed, f"seed {seed}"
    assert [one[8:] for one in wanted] == [one[8:] for one in shown], f"seed {seed}"
    assert {Kind.TOP, Kind.TICK} == {kind_of(one) for one in wanted}, f"seed {seed}"
    for end in (writer, relay_in, relay_out, reader):
        end.close()


def test_impossible_baskets_and_slots_are_refused() -> None:
    """Sums outside their proven range, legs that are none and cut slots never reach the arithmetic."""
    found = Top()
    found.set_rules(fee_table(0, 1), True, True)
    for count, outcomes in ((0, 0), (LEGS_MAX + 1, LEGS_MAX + 1), (2, 1)):
        with pytest.raises(InvariantError, match="legs"):
            Sum([found] * count, [0] * outcomes, False)
    with pytest.raises(TypeError):
        Sum([object()], [0], False)  # type: ignore[list-item]
    made = Sum([found] * LEGS_MAX, [0] * LEGS_MAX, False)
    assert PICO - LEGS_MAX * 1_000 * PICO == made.total
    for leg_no in (-1, LEGS_MAX):
        with pytest.raises(IndexError):
            Link(made, leg_no)
    for offset in (-1, 1):
        with pytest.raises(IndexError, match="slot"):
            found.take(tick(T0_NS), offset)
    with pytest.raises(TypeError, match="a Top expected"):
        Tops().watch({1: made})  # type: ignore[dict-item]
