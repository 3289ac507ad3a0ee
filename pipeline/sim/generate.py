"""A seeded generator of binary markets, calibrated to the recordings' load statistics.

Writes: `FlowMarket`s whose events go on for ever. Calibration (measured on 2.2 M recorded frames, see
the test): 66.8 commits/s a market on average, per-second p50 36, p90 162, p99 471, half of the
inter-arrivals 0 ms, silences of seconds, one level a commit with a few batches, 3 % prints, 8-97
levels a token. Integers and `random.Random` alone decide, so a seed is a market.

Model: log intensity is a mean-reverting walk with a step a second (so seconds differ as lognormal);
inside a second commits come in clusters that share a millisecond. A hidden fair price drifts; commits
add, resize or remove levels at a distance from it, and quotes on the wrong side of it go first.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from pipeline.sim import identity
from pipeline.sim.flow import Delta, FlowEvent, FlowMarket, LevelBook
from pipeline.sim.market import DEFAULT_MIN_ORDER_SIZE, Market, Source
from pipeline.units import MICRO, NS_PER_MS, NS_PER_S, TICKS_PER_USD

RATE_MEDIAN_PER_S = 40.0
RATE_SIGMA = 1.12  # of the log intensity
RATE_MEMORY = 0.6  # correlation from one second to the next
CLUSTER_STAY = 0.48  # chance that a cluster goes on within its millisecond
SILENCE_CHANCE = 0.085  # a second that begins with a silence
SILENCE_MEAN_S = 1.3
PRINT_CHANCE = 0.03
BATCH_CHANCE = 0.03
REMOVE_CHANCE = 0.28
DRIFT_CHANCE = 0.02  # the fair price moves one step at a commit
RATE_PER_S_MAX = 4_000
#: Taker fee in ppm -> categories that have it. Source: venue sheet 14.1, read 2026-11-20.
CATEGORIES = {
    70_000: ("crypto",),
    50_000: ("sports", "economics", "culture", "weather"),
    40_000: ("politics", "finance", "mentions", "tech"),
}
ROUND_SIZES = (5, 10, 20, 25, 50, 100, 200, 250, 500, 1_000)


def size_micro(draw: random.Random) -> int:
    """Return a displayed size: a third are round numbers, the rest lognormal with cents."""
    if draw.random() < 0.33:
        return draw.choice(ROUND_SIZES) * MICRO
    cents = int(100 * math.exp(draw.gauss(math.log(80), 1.4)))
    return min(max(cents, 500), 40_000_000) * 10_000


def category_of(rate_ppm: int, name: str) -> str:
    """Return a category whose markets are created with this fee; the name chooses among several."""
    found = CATEGORIES[rate_ppm]
    return found[int.from_bytes(identity.digest("category", name)[:4], "big") % len(found)]


class GeneratedMarket:
    """One market's hidden state: fair price, depth, its book without our fills."""

    def __init__(
        self, seed: object, name: str, event_tags: tuple[str, ...] = ("generated",), version: str = "v1"
    ) -> None:
        self._draw = random.Random(f"generate:{seed}:{name}")
        draw = self._draw
        condition = identity.condition_id("generated", seed, name)
        tokens, outcomes = identity.token_ids(condition), ("Yes", "No")
        if version == "v2":  # first on the venue were the crypto windows, whose outcomes are no Yes and No
            condition, tokens = identity.v2_ids(identity.BINARY_MODULE, 0, 0, "generated", seed, name)
            outcomes = ("Up", "Down")
        step = 100 if draw.random() < 0.6 else 10
        rate_ppm = draw.choice((40_000, 50_000, 70_000))
        self.market = Market(
            condition=condition,
            tokens=tokens,
            outcomes=outcomes,
            question=f"Generated market {name}?",
            slug=f"generated-{name}",
            tick_step=step,
            min_order_size=DEFAULT_MIN_ORDER_SIZE,
            neg_risk=False,
            fee_rate_ppm=rate_ppm,
            fee_exponent=1,
            source=Source.GENERATED,
            version=version,
            event_id=identity.number("generated", seed, name),
            event_slug=f"generated-{name}",
            event_title=f"Generated market {name}",
            tags=(*event_tags, category_of(rate_ppm, name)),
        )
        self._step = step
        self._depth = max(5, min(45, int(draw.gauss(23, 10))))  # price places a side
        self._half_spread = draw.choice((1, 1, 1, 2, 3))  # steps between fair price and nearest quote
        margin = (self._depth + 4) * step
        self._fair = draw.randrange(min(margin, 4_500), max(TICKS_PER_USD - margin, 5_501), step)
        self._book = LevelBook()
        self._log_rate = draw.gauss(0.0, 1.0)

    def flow(self, opening_ms: int) -> FlowMarket:
        """Return the market with its opening book and endless events."""
        opening = []
        for is_bid in (True, False):
            for place in range(self._depth):
                price = self._price(is_bid, place)
                if price is not None and (place == 0 or self._draw.random() < 0.8):
                    delta = Delta(is_bid, price, size_micro(self._draw))
                    self._book.apply(delta)
                    opening.append(delta)
        return FlowMarket(self.market, tuple(opening), opening_ms, self._events())

    def _price(self, is_bid: bool, place: int) -> int | None:
        """Return the price `place` steps behind the nearest quote of a side, or None off the grid."""
        distance = (self._half_spread + place) * self._step
        price = self._fair - distance if is_bid else self._fair + distance
        return price if self._step <= price <= TICKS_PER_USD - self._step else None

    def _events(self) -> Iterator[FlowEvent]:
        for at_ns in self._arrivals():
            event = self._event(at_ns)
            for delta in event.deltas:
                self._book.apply(delta)
            if event.deltas:
                yield event

    def _arrivals(self) -> Iterator[int]:
        """Yield commit times, ns from the start, ms resolution."""
        draw = self._draw
        keep = math.sqrt(1 - RATE_MEMORY**2)
        second = 0
        silent_until = 0.0
        while True:
            self._log_rate = RATE_MEMORY * self._log_rate + keep * draw.gauss(0.0, 1.0)
            rate = min(RATE_MEDIAN_PER_S * math.exp(RATE_SIGMA * self._log_rate), RATE_PER_S_MAX)
            if silent_until <= second and draw.random() < SILENCE_CHANCE:
                silent_until = second + draw.expovariate(1 / SILENCE_MEAN_S)
            cluster_rate = rate * (1 - CLUSTER_STAY)
            times: list[int] = []
            at = draw.expovariate(cluster_rate)
            while at < 1.0:
                if second + at >= silent_until:
                    count = 1
                    while draw.random() < CLUSTER_STAY:
                        count += 1
                    times += [int(at * 1_000)] * count
                at += draw.expovariate(cluster_rate)
            for at_ms in times:
                yield second * NS_PER_S + at_ms * NS_PER_MS
            second += 1

    def _event(self, at_ns: int) -> FlowEvent:
        draw = self._draw
        if draw.random() < DRIFT_CHANCE:
            moved = self._fair + draw.choice((-1, 1)) * self._step
            margin = (self._half_spread + 3) * self._step
            self._fair = min(max(moved, margin), TICKS_PER_USD - margin)
        wrong = self._wrong_side()
        if wrong is not None:
            is_bid, price = wrong
            size = self._book.sizes[wrong]
            is_print = draw.random() < 0.5
            outcome = int(is_bid)  # who lifts a bid for YES buys NO
            return FlowEvent(at_ns, (Delta(is_bid, price, -size),), size if is_print else 0, outcome)
        is_bid = draw.random() < 0.5
        if draw.random() < PRINT_CHANCE:
            return self._print(at_ns, is_bid)
        if draw.random() < BATCH_CHANCE:
            prices = sorted(price for side, price in self._book.sizes if side == is_bid)
            chosen = draw.sample(prices, min(len(prices) - 1, draw.randint(2, 4))) if len(prices) > 3 else []
            if len(chosen) > 1:
                deltas = tuple(Delta(is_bid, price, -self._book.sizes[is_bid, price]) for price in chosen)
                return FlowEvent(at_ns, deltas)
        place = min(int(draw.expovariate(3.0 / self._depth)), self._depth - 1)
        price_or_none = self._price(is_bid, place)
        if price_or_none is None:
            return FlowEvent(at_ns, ())
        have = self._book.sizes.get((is_bid, price_or_none), 0)
        if not have:
            return FlowEvent(at_ns, (Delta(is_bid, price_or_none, size_micro(draw)),))
        if draw.random() < REMOVE_CHANCE and len(self._book.sizes) > 8:
            return FlowEvent(at_ns, (Delta(is_bid, price_or_none, -have),))
        return FlowEvent(at_ns, (Delta(is_bid, price_or_none, size_micro(draw) - have),))

    def _wrong_side(self) -> tuple[bool, int] | None:
        """Return a quote that the fair price has reached, or a stray one far behind the window."""
        reach = self._half_spread * self._step
        window = (self._half_spread + self._depth + 2) * self._step
        worst: tuple[int, bool, int] | None = None
        for is_bid, price in self._book.sizes:
            gap = self._fair - price if is_bid else price - self._fair
            if (gap < reach or gap > window) and (worst is None or gap < worst[0]):
                worst = (gap, is_bid, price)
        return None if worst is None else (worst[1], worst[2])

    def _print(self, at_ns: int, is_bid: bool) -> FlowEvent:
        """A taker hits the best quote of a side, in full or in part."""
        prices = [price for side, price in self._book.sizes if side == is_bid]
        if len(prices) < 2:
            return FlowEvent(at_ns, ())
        price = max(prices) if is_bid else min(prices)
        have = self._book.sizes[is_bid, price]
        size = (
            have
            if self._draw.random() < 0.3
            else max(10_000, have * self._draw.randint(1, 9) // 10 // 10_000 * 10_000)
        )
        return FlowEvent(at_ns, (Delta(is_bid, price, -min(size, have)),), min(size, have), int(is_bid))


def generate(seed: int, count: int, opening_ms: int) -> list[FlowMarket]:
    """Return `count` independent markets; the same seed gives the same flow, event by event."""
    return [
        GeneratedMarket(seed, str(place), version=identity.version_of(place)).flow(opening_ms)
        for place in range(count)
    ]
