"""Multi-outcome NegRisk events with planted mispricings: what they are, and what each is worth.

Writes: `PlantedEvent`s (markets, resting books without arbitrage) and `Plant`s drawn from the seed.
`planting` runs them. A plant is other participants' orders inside the spread: offers whose sum over
all outcomes is below 1 (buy every YES), or bids whose sum over a set is above 1 (buy NO of the set,
which pays |set| - 1). Its worth is computed here from the venue's fee rule alone, exactly.

A v2 event has one more outcome that nobody lists (its synthetic Other, venue sheet 3.4 and 17.3): offers of
every listed YES below 1 look like the first kind and pay nothing when that outcome wins. Such traps are
planted too, labelled, worth what they pay in that world.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

from pipeline.errors import InvariantError
from pipeline.sim import identity
from pipeline.sim.flow import Delta
from pipeline.sim.market import DEFAULT_MIN_ORDER_SIZE, Market, Source
from pipeline.units import FEE_QUANTUM_USD_MICRO, MICRO, NS_PER_MS, PPM, TICKS_PER_USD

OUTCOMES_MAX = 12
LEG_USD_MIN = Fraction(13, 10)  # a marketable BUY below 1 USD is refused; stay clear of it
STEPS_MAX = 400  # of the search for an edge
TRAP_CHANCE = 0.2  # of a v2 event's plants that would be ALL_YES
NET_SCALE = PPM * TICKS_PER_USD**2  # in which price and fee of a share are whole numbers


class PlantKind(StrEnum):
    ALL_YES = "buy_all_yes"
    NO_SET = "buy_no_set"
    LISTED_YES = "listed_yes"  # a trap: every YES of an event that may end with none of them


class Shape(StrEnum):
    """What kind of event it is: which decides how many legs its plants have."""

    TRIO = "trio"  # three outcomes, all two-sided: 3 legs
    DUO = "duo"  # two leaders with bids, the others show offers only: NO plants have 2 legs
    FIELD = "field"  # 4-12 outcomes, all two-sided: n legs


@dataclass(frozen=True, slots=True)
class Leg:
    """One market's part of a plant. Levels are (YES price_ticks, size_micro), best first."""

    outcome_index: int
    is_bid: bool  # side of the planted orders in the YES view
    levels: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Plant:
    """A mispricing for a time. Times are set when it runs."""

    plant_id: int
    event_id: str
    conditions: tuple[str, ...]  # by leg
    kind: PlantKind
    legs: tuple[Leg, ...]
    life_ns: int
    tick_step: int
    edge_usd_micro: int  # best total profit over all its levels, after fees
    net_per_share: Fraction  # USD at its best level, after fees not yet floored
    t_start_ns: int = 0
    t_end_ns: int = 0  # when the mispricing ended: first leg emptied, or withdrawn
    end: str = ""  # "taken" | "withdrawn" | "stopped"
    consumed_micro: list[int] = field(default_factory=list)  # by leg

    @property
    def clears_fees_by_ticks(self) -> int:
        """Whole tick steps of the market by which it clears fees; negative when it does not."""
        return int(self.net_per_share * TICKS_PER_USD // self.tick_step)


def fee_per_share(rate_ppm: int, price_ticks: int) -> Fraction:
    """Return the taker fee of one share in USD, not floored: rate * p * (1 - p)."""
    return Fraction(rate_ppm, PPM) * Fraction(price_ticks * (TICKS_PER_USD - price_ticks), TICKS_PER_USD**2)


def fee_micro(rate_ppm: int, price_ticks: int, size_micro: int) -> int:
    """Return the fee of one fill as charged: floored to whole 10 uUSD."""
    exact = rate_ppm * price_ticks * (TICKS_PER_USD - price_ticks) * size_micro  # in 1 / NET_SCALE uUSD
    return exact // (NET_SCALE * FEE_QUANTUM_USD_MICRO) * FEE_QUANTUM_USD_MICRO


def paid_ticks(leg_is_bid: bool, price_ticks: int) -> int:
    """Return what a share costs whoever takes the level: YES from an offer, NO from a bid."""
    return TICKS_PER_USD - price_ticks if leg_is_bid else price_ticks


def payout_per_share(kind: PlantKind, legs: int) -> int:
    """Return what one share of each leg pays in the worst world, USD."""
    return {PlantKind.ALL_YES: 1, PlantKind.NO_SET: legs - 1, PlantKind.LISTED_YES: 0}[kind]


def net_per_share(kind: PlantKind, best: Sequence[int], rate_ppm: int) -> Fraction:
    """Return the profit of one share of each leg at these YES prices, USD, fees not floored."""
    is_bid = kind is PlantKind.NO_SET
    payout = payout_per_share(kind, len(best))
    cost = sum(
        Fraction(paid_ticks(is_bid, price), TICKS_PER_USD) + fee_per_share(rate_ppm, price) for price in best
    )
    return Fraction(payout) - cost


def edge_usd_micro(kind: PlantKind, legs: Sequence[Leg], rate_ppm: int) -> int:
    """Return the best total over equal shares of every leg, whole fills at level prices, exact fees."""
    payout = payout_per_share(kind, len(legs))
    ends = sorted(
        {sum(size for _, size in leg.levels[: depth + 1]) for leg in legs for depth in range(len(leg.levels))}
    )
    reach = min(sum(size for _, size in leg.levels) for leg in legs)
    best: int | None = None
    for shares in (end for end in ends if end <= reach):
        total = payout * shares * TICKS_PER_USD
        for leg in legs:
            left = shares
            for price, size in leg.levels:
                take = min(left, size)
                left -= take
                total -= paid_ticks(leg.is_bid, price) * take
                total -= fee_micro(rate_ppm, price, take) * TICKS_PER_USD
        value = total // TICKS_PER_USD
        best = value if best is None else max(best, value)
    if best is None:
        raise InvariantError(f"sim.planted: expected legs with levels, found {legs}")
    return best


@dataclass(slots=True)
class PlantedEvent:
    """One event, its markets and its quiet books. `gap` is how far resting quotes stand from the middle."""

    event_id: str
    shape: Shape
    markets: tuple[Market, ...]
    middle: tuple[int, ...]  # ticks, sum 10,000
    gap: tuple[int, ...]  # ticks
    base: tuple[tuple[Delta, ...], ...]  # resting quotes by outcome
    draw: random.Random
    plants_count: int = 0

    @property
    def step(self) -> int:
        """The coarsest of its grids: one market's may change, and a plant has legs in all."""
        return max(market.tick_step for market in self.markets)

    @property
    def is_open(self) -> bool:
        """Whether an outcome that nobody lists may win."""
        return self.markets[0].has_unlisted_outcome

    @property
    def rate_ppm(self) -> int:
        return self.markets[0].fee_rate_ppm

    def bounds(self, index: int) -> tuple[int, int]:
        """Return the lowest and highest price strictly inside the outcome's resting spread."""
        bids = [delta.price_ticks for delta in self.base[index] if delta.is_bid]
        asks = [delta.price_ticks for delta in self.base[index] if not delta.is_bid]
        return max(bids, default=0) + self.step, min(asks) - self.step

    def next_plant(self, plant_id: int) -> Plant | None:
        """Draw a plant, or None when the drawn edge does not fit inside the spreads."""
        draw = self.draw
        kind = draw.choice((PlantKind.ALL_YES, PlantKind.NO_SET))
        indices = list(range(len(self.markets)))
        if self.shape is Shape.DUO:
            kind = PlantKind.NO_SET if draw.random() < 0.85 else PlantKind.ALL_YES
            if kind is PlantKind.NO_SET:
                indices = [0, 1]
        if self.is_open and kind is PlantKind.ALL_YES:
            kind = PlantKind.LISTED_YES if draw.random() < TRAP_CHANCE else PlantKind.NO_SET
            indices = indices if kind is PlantKind.LISTED_YES or self.shape is not Shape.DUO else [0, 1]
        chance = draw.random()
        wide = 20 if self.step < 100 else 3
        if chance < 0.76:
            wanted = Fraction(self.step * draw.randint(1, wide) + self.step // 2, TICKS_PER_USD)
        elif chance < 0.86:
            wanted = Fraction(self.step * draw.randint(1, 9), 10 * TICKS_PER_USD)
        else:
            wanted = -Fraction(self.step * draw.randint(2, wide + 1), 2 * TICKS_PER_USD)
        best = self._prices(kind, indices, wanted)
        if best is None:
            return None
        legs = self._legs(kind, indices, best)
        net = net_per_share(kind, best, self.rate_ppm)
        self.plants_count += 1
        edge = edge_usd_micro(kind, legs, self.rate_ppm)
        conditions = tuple(self.markets[index].condition for index in indices)
        life_ns = self._life_ns(net > 0)
        return Plant(plant_id, self.event_id, conditions, kind, legs, life_ns, self.step, edge, net)

    def _prices(self, kind: PlantKind, indices: list[int], wanted: Fraction) -> list[int] | None:
        """Return YES prices whose net edge is the wanted one to within a step, or None."""
        toward = 1 if kind is PlantKind.NO_SET else -1  # the direction that gives profit
        prices = [self.middle[index] for index in indices]
        limits = [self.bounds(index) for index in indices]
        weights = [self.gap[index] for index in indices]
        step = self.step
        low_net = (wanted * NET_SCALE).__ceil__()
        high_net = low_net + step * NET_SCALE // TICKS_PER_USD
        payout = len(prices) - 1 if toward > 0 else 1
        net = payout * NET_SCALE - sum(self._cost(toward > 0, price) for price in prices)
        for _ in range(STEPS_MAX):
            if low_net <= net < high_net:
                is_mispriced = sum(prices) < TICKS_PER_USD if toward < 0 else sum(prices) > TICKS_PER_USD
                return prices if is_mispriced else None
            move = step * (toward if net < low_net else -toward)
            room = [place for place, (low, high) in enumerate(limits) if low <= prices[place] + move <= high]
            if not room:
                return None
            place = self.draw.choices(room, [weights[place] for place in room])[0]
            net += self._cost(toward > 0, prices[place]) - self._cost(toward > 0, prices[place] + move)
            prices[place] += move
        return None

    def _cost(self, is_bid: bool, price_ticks: int) -> int:
        """Return cost and fee of one share in units of 1 / NET_SCALE USD, exactly."""
        fee = self.rate_ppm * price_ticks * (TICKS_PER_USD - price_ticks)
        return paid_ticks(is_bid, price_ticks) * (NET_SCALE // TICKS_PER_USD) + fee

    def _legs(self, kind: PlantKind, indices: list[int], best: list[int]) -> tuple[Leg, ...]:
        draw = self.draw
        is_bid = kind is PlantKind.NO_SET
        shares = min(max(int(draw.lognormvariate(4.0, 0.7)), 15), 500)
        cheapest = min(Fraction(paid_ticks(is_bid, price), TICKS_PER_USD) for price in best)
        shares = max(shares, (LEG_USD_MIN / cheapest).__ceil__())
        lot = 10 if self.step < 100 else 1
        shares = -(-shares // lot) * lot
        legs = []
        for index, price in zip(indices, best, strict=True):
            size = shares * MICRO
            if draw.random() < 0.3:
                size += draw.randint(1, shares * 50) * 10_000  # cents of a share more
            levels = [(price, size)]
            low, high = self.bounds(index)
            worse = price - self.step if is_bid else price + self.step
            if draw.random() < 0.25 and low <= worse <= high:
                levels.append((worse, draw.randint(1, 3) * shares * MICRO))
            legs.append(Leg(index, is_bid, tuple(levels)))
        return tuple(legs)

    def _life_ns(self, clears_fees: bool) -> int:
        """Return a life: median 2.5 s (0.7 s for those below fees), 8 % between 5 and 45 ms."""
        draw = self.draw
        if draw.random() < 0.08:
            return draw.randint(5, 45) * NS_PER_MS
        median_ms = 2_500 if clears_fees else 700
        return min(max(int(median_ms * draw.lognormvariate(0.0, 0.9)), 60), 20_000) * NS_PER_MS


def make_event(seed: object, place: int, shape: Shape) -> PlantedEvent:
    """Return one event; the same seed and place give the same event and the same plants."""
    draw = random.Random(f"planted:{seed}:{place}")
    count = (
        3
        if shape is Shape.TRIO
        else draw.randint(3, 6)
        if shape is Shape.DUO
        else draw.randint(4, OUTCOMES_MAX)
    )
    step = 10 if count > 5 or draw.random() < 0.4 else 100
    middle = _middle(draw, shape, count, step)
    gap = [max(3 * step, int(0.28 * ticks) // step * step) for ticks in middle]
    event_id = identity.number("planted", seed, place)
    rate_ppm = draw.choice((40_000, 40_000, 50_000, 50_000, 70_000, 0))
    markets = tuple(
        _market(seed, place, index, count, event_id, step, rate_ppm) for index in range(count)
    )
    base = tuple(
        _quiet_book(draw, middle[index], gap[index], step, shape is not Shape.DUO or index < 2)
        for index in range(count)
    )
    event = PlantedEvent(event_id, shape, markets, tuple(middle), tuple(gap), base, draw)
    _check_quiet(event)
    return event


def make_events(seed: object, count: int) -> list[PlantedEvent]:
    """Return `count` events, two thirds of shapes whose plants mostly have 2 or 3 legs."""
    cycle = (Shape.TRIO, Shape.DUO, Shape.FIELD)
    return [make_event(seed, place, cycle[place % 3]) for place in range(count)]


def _middle(draw: random.Random, shape: Shape, count: int, step: int) -> list[int]:
    """Return prices on the grid that sum to 1."""
    if shape is Shape.DUO:
        weak = [draw.randint(1, 3 if step == 100 else 12) * step for _ in range(count - 2)]
        left = TICKS_PER_USD - sum(weak)
        first = (left * draw.randint(46, 54) // 100) // step * step
        return [first, left - first, *weak]
    weights = [draw.uniform(1.0, 1.5 if shape is Shape.TRIO else 4.0) for _ in range(count)]
    floor = 5 * step
    spare = TICKS_PER_USD - floor * count
    parts = [floor + int(spare * weight / sum(weights)) // step * step for weight in weights]
    parts[0] += TICKS_PER_USD - sum(parts)
    return parts


def _market(
    seed: object,
    place: int,
    index: int,
    count: int,
    event_id: str,
    step: int,
    rate_ppm: int,
) -> Market:
    version, neg_risk_id = identity.version_of(place), ""
    if version == "v2":
        condition, tokens = identity.v2_ids(identity.NEG_RISK_MODULE, count, index, "planted", seed, place)
    else:
        condition = identity.condition_id("planted", seed, place, index)
        tokens = identity.token_ids(condition)
        neg_risk_id = identity.neg_risk_market_id("planted", seed, place)
    return Market(
        condition=condition,
        tokens=tokens,
        outcomes=("Yes", "No"),
        question=f"Planted event {place}: will outcome {index + 1} of {count} happen?",
        slug=f"planted-{place}-outcome-{index + 1}",
        tick_step=step,
        min_order_size=DEFAULT_MIN_ORDER_SIZE,
        neg_risk=True,
        fee_rate_ppm=rate_ppm,
        fee_exponent=1,
        source=Source.GENERATED,
        version=version,
        event_id=event_id,
        event_slug=f"planted-{place}",
        event_title=f"Planted event {place}",
        neg_risk_market_id=neg_risk_id,
        outcome_index=index,
        outcome_count=count,
        group_item_title=f"Outcome {index + 1}",
        planted=True,
        tags=("planted",),
    )


def _quiet_book(draw: random.Random, middle: int, gap: int, step: int, has_bids: bool) -> tuple[Delta, ...]:
    """Return resting quotes 3-10 levels deep, at least `gap` away from the middle."""
    out = []
    for is_bid in (True, False) if has_bids else (False,):
        price = middle - gap if is_bid else middle + gap
        for _ in range(draw.randint(3, 10)):
            if not step <= price <= TICKS_PER_USD - step:
                break
            out.append(Delta(is_bid, price, draw.randint(50, 2_000) * MICRO))
            price += draw.randint(1, 3) * (-step if is_bid else step)
    return tuple(out)


def _check_quiet(event: PlantedEvent) -> None:
    """Refuse an event whose resting books hold an arbitrage of either kind, even before fees."""
    asks = [min(delta.price_ticks for delta in base if not delta.is_bid) for base in event.base]
    bids = [max((delta.price_ticks for delta in base if delta.is_bid), default=0) for base in event.base]
    if sum(asks) <= TICKS_PER_USD or sum(bids) >= TICKS_PER_USD:
        raise InvariantError(f"sim.planted: event {event.event_id} must be quiet, asks {asks}, bids {bids}")
