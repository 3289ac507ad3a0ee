"""`Sized.look` against its slow model: the same package, answer and next time to look, whatever happens."""

from __future__ import annotations

import functools
import itertools
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from pipeline.core.instruments import Instruments
from pipeline.core.limits import Limits, limits_of
from pipeline.core.sizing import Order, Package
from pipeline.core.strategies.basket import BUILDERS, Basket, BasketStrategy, StrategyId, Watch
from pipeline.core.tops import Book
from pipeline.kinds import Cause, Flag, Outcome, Rule
from pipeline.native.sizing import NEVER_NS
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.models.core_rig import FULL, T0_NS, config, event, instrument, top
from tests.models.watch_model import RowModel, WatchModel
from tests.shared import scaled, seeds

SEEDS = 120
STEPS = scaled(400, 1_000)  # of each world
ONE = 10**6
DEPTH = 8
EVENT = 5
Side = list[tuple[int, float]]  # (price_ticks, shares), best first
NO, YES = int(Outcome.NO), int(Outcome.YES)
#: Answers over all seeds that the property test is worth nothing without, and how many at least.
COUNTS_MIN = {
    "package": 1_000, "package of BUY_ALL": 200, "package of SELL_ALL": 400, "package of PAIR": 200,
    "already told": 2_000, "subset shed": 50, "legs left out": 200, "repeat": 200,
    "repeat after a longer pause": 150, "repeat brought forward by a fill": 50, "wakes for a fill": 500,
    **{f"refused {name}": 20 for name in (
        "BELOW_EDGE", "NOT_PROVEN", "BOOK_OPEN", "BOOK_STALE", "CROSSED_BOOK", "PROOF_OLD", "DEPTH_USED",
        "LIMIT_PARTIAL_LOSS", "NOT_TRADABLE", "BELOW_MINIMUM", "TOO_MANY_ORDERS", "RESOLVED",
        "NO_SNAPSHOT")},
}


def draw_limits(rng: random.Random) -> Limits:
    """Return limits of which one often binds."""
    changes: dict[str, int] = {
        "cooldown_ns": rng.choice([10, 100, 100, 400, 2_000]) * NS_PER_MS,
        "proof_age_ns_max": rng.choice([400, 2_000, 10_000]) * NS_PER_MS,
        "levels_max": rng.choice([1, 2, 8, 8, 8]),
    }
    name, values = rng.choice([
        ("levels_max", [8]), ("levels_max", [8]), ("levels_max", [8]),
        ("order_usd_micro_max", [100_000, 3 * ONE, 20 * ONE]),
        ("package_usd_micro_max", [100_000, 5 * ONE, 40 * ONE]),
        ("partial_loss_usd_micro_max", [1, 50_000, ONE]),
        ("package_orders_max", [1, 2, 3, 4, 5, 6, 60]),
        ("edge_usd_micro_min", [50_000, ONE, 40 * ONE]),
        ("edge_ppm_min", [5_000, 20_000, 100_000]),
    ])
    return limits_of(config(**{**changes, name: rng.choice(values)}))


def draw_side(rng: random.Random, best: int, direction: int, step: int, largest: int) -> Side:
    """Return up to eight levels from the best price on; sometimes off the grid, without a size or none."""
    levels: Side = []
    price = best // step * step
    for _ in range(rng.choice([1, 2, 4, DEPTH]) if rng.random() < 0.97 else 0):
        if not 0 < price < 10_000:
            break
        size = rng.choice([rng.randint(1, largest), rng.random() * largest, largest])
        if rng.random() < 0.01:
            price, size = rng.choice([(price + 1, size), (price, 0), (0, 0), (10_050, size)])
        levels.append((price, size))
        price += direction * step * rng.choice([1, 1, 2, 5])
    return levels


class World:
    """An event or a pair, its books and baskets, natively and as models of both."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.now_ns, self.seq = rng, T0_NS + NS_PER_S, 0
        self.counts = Counter[str]()
        self.kind = rng.choice(["complete", "complete", "open-ended", "pair", "unbound"])
        self.mood, self.redrawn = "cheap", rng.choice([0.5, 0.4, 0.4, 0.03])
        self.instruments, self.strategy = Instruments(), BasketStrategy()
        self.set_limits()
        self.ids = list(range(1, 1 + (2 if self.kind == "pair" else rng.randint(2, 8))))
        weights = [rng.choice([1.0, 1.0, 0.3, 0.05]) * rng.uniform(0.5, 1.5) for _ in self.ids]
        self.fair = {row: 10_000 * one / sum(weights) for row, one in zip(self.ids, weights, strict=True)}
        self.mirrors = {row: rng.random() < 0.9 for row in self.ids}
        self.rates = rng.choice([0, 0, 10_000, 30_000]), rng.choice([1, 1, 2])
        self.minimums = {"size_micro_min": rng.choice([1, 5 * ONE]), "usd_micro_min": rng.choice([1, ONE])}
        for row in self.ids:
            self.instruments.apply(self.rules(row))
        self.books = {row: Book(self.instruments.rows[row]) for row in self.ids}
        self.rows = {row: RowModel(self.instruments.rows[row]) for row in self.ids}
        self.largest = {
            row: rng.choice([2, 4, 50]) if fair < 800 else rng.choice([50, 500, 500, 100_000])
            for row, fair in self.fair.items()}
        self.sides: dict[int, tuple[Side, Side]] = {}
        self.pairs: list[tuple[Watch, WatchModel]] = []
        self.rebuild()

    def rules(self, row: int) -> bytes:
        """Return an INSTRUMENT of the row; tick step, fees and whether it may be traded are drawn."""
        rng, dropped = self.rng, 0
        if rng.random() < 0.02:
            dropped |= Rule.TRADABLE
        if self.kind == "pair" or not self.mirrors[row]:
            dropped |= Rule.MIRRORED
        if self.kind == "open-ended":
            dropped |= Rule.EXHAUSTIVE
        if self.kind == "unbound":
            dropped |= Rule.EXCLUSIVE
        tokens = {} if self.kind != "pair" else {
            "condition": b"c" * 32, "token_yes": bytes([row]) * 32, "token_no": bytes([3 - row]) * 32}
        return instrument(
            row, 0 if tokens else row - 1, 1 if tokens else len(self.ids), 0 if tokens else EVENT, **tokens,
            rules=FULL & ~int(dropped), tick_step=rng.choice([1, 10, 10, 25, 100]),
            fee_rate_ppm=self.rates[0], fee_exponent=self.rates[1], **self.minimums)

    def baskets(self) -> Sequence[Basket]:
        """Return what the builders prove; of an unbound event, baskets that nothing proves."""
        if self.kind != "unbound":
            first = self.instruments.rows[self.ids[0]]
            return [basket for build in BUILDERS.values() for basket in build(self.instruments, first)]
        return [
            Basket(number, strategy, EVENT, tuple((row, outcome) for row in self.ids), outcome == NO)
            for number, strategy, outcome in ((1, StrategyId.BUY_ALL, YES), (2, StrategyId.SELL_ALL, NO))]

    def rebuild(self) -> None:
        """Replace every watch, as a changed instrument does."""
        for watch, _ in self.pairs:
            for book in watch.books:
                book.unlink(watch)
        self.pairs = []
        for basket in self.baskets():
            watch = Watch(basket, [self.books[row] for row, _ in basket.legs], self.instruments)
            for book in watch.books:
                book.link(watch)
            self.pairs.append((watch, WatchModel(basket, self.rows, self.instruments)))

    def set_limits(self) -> None:
        """Take new limits."""
        self.limits = draw_limits(self.rng)
        self.bounds = self.limits.bounds
        self.strategy.on_limits(self.limits)

    def draw_top(self, row: int, redrawn: float) -> None:
        """Show a new top of the row; `redrawn` is the chance that it has other levels than before."""
        rng, mood = self.rng, self.mood if self.rng.random() < 0.95 else "fair"
        if row not in self.sides or rng.random() < redrawn:
            ask = self.fair[row] * {"cheap": rng.uniform(0.9, 0.99), "fair": 1.01, "dear": 1.25}[mood]
            bid = self.fair[row] * {"cheap": 0.85, "fair": 0.99, "dear": rng.uniform(1.0, 1.2)}[mood]
            step, largest = self.instruments.rows[row].tick_step, self.largest[row]
            self.sides[row] = (
                draw_side(rng, int(bid), -1, step, largest), draw_side(rng, int(ask), 1, step, largest))
        flags = 0 if rng.random() < 0.98 else int(rng.choice([
            Flag.OPEN, Flag.STALE, Flag.CROSSED, Flag.OPEN | Flag.CROSSED, Flag.REPEAT]))
        self.seq += 1
        proof_ns = self.now_ns - rng.choice([0, 0, 0, 0, 0, 1_900]) * NS_PER_MS
        slot = top(
            row, *self.sides[row], self.now_ns, flags=flags, seq=self.seq,
            venue_ns=self.now_ns - rng.randint(0, 50) * NS_PER_MS,
            proof_ns=0 if rng.random() < 0.02 else proof_ns)
        self.rows[row].take(slot)
        is_near = self.books[row].take(slot)
        assert is_near == any(model.total > 0 for _, model in self.pairs if self.rows[row] in model.rows)

    def fill(self, row: int) -> None:
        """Fill an order of ours in the row: its older depth is used, what was told there is due again."""
        cooldown_ns = self.limits.cooldown_ns
        if self.rng.random() < 0.7:
            venue_ns = self.now_ns - self.rng.randint(-20, 60) * NS_PER_MS
            for each in (self.books[row], self.rows[row]):
                each.touch(venue_ns, self.now_ns + cooldown_ns)
        self.strategy.on_fill(self.books[row], self.now_ns)
        for _, model in self.pairs:
            if self.rows[row] in model.rows:
                retry_ns = model.retry_ns
                model.fill(self.now_ns, cooldown_ns)
                self.counts["repeat brought forward by a fill"] += model.retry_ns < retry_ns

    def change(self, row: int) -> None:
        """Change the row's rules; its baskets are new then."""
        found = self.instruments.apply(self.rules(row))
        if found is not None:
            self.books[row].follow(found)
            self.rows[row].instrument = found
            self.rebuild()

    def step(self) -> None:
        """Let one thing happen."""
        rng = self.rng
        row, choice = rng.choice(self.ids), rng.random()
        self.now_ns += rng.choice([0, 1, 1, 5, 20, 20, 60, 150, 600 if choice < 0.2 else 0]) * NS_PER_MS
        if choice < 0.2:  # an update of everything; sometimes of its times only
            redrawn = float(rng.random() < self.redrawn)
            self.mood = rng.choice(["cheap", "dear", "dear", "fair"]) if redrawn else self.mood
            for each in self.ids:
                self.draw_top(each, redrawn)
        elif choice < 0.5:
            self.draw_top(row, self.redrawn)
        elif choice < 0.6:
            self.fill(row)
        elif choice < 0.65:
            self.set_limits()
            for watch, model in self.pairs:
                watch.forget()
                model.forget()
        elif choice < 0.66:
            self.books[row].flags |= Flag.STALE
            self.rows[row].flags |= Flag.STALE
        elif choice < 0.67:
            self.change(row)
        elif choice < 0.6705:
            self.books[row].is_resolved = self.rows[row].is_resolved = True


def answer_of(watch: Watch | WatchModel, package: Package | None) -> str:
    """Return what a look leaves behind, written out so that types count as well.

    Value and limit are those of the newest refusal: no part of the answer where there is none.
    """
    told = (watch.value, watch.limit) if watch.is_refused else ()
    return repr((
        package, watch.cause, watch.is_refused, *told, watch.wake_ns, watch.retry_ns, watch.told_ns,
        watch.pause_ns, watch.legs_priced, watch.venue_ns))


def compare(watch: Watch, model: WatchModel, now_ns: int, limits: Limits, where: str) -> Package | None:
    """Look natively and slowly; return the package that both found."""
    bounds = limits.bounds
    assert model.total == watch.total, where
    wanted = model.look(now_ns, limits.proof_age_ns_max, limits.cooldown_ns, bounds)
    found = watch.look(now_ns, limits.proof_age_ns_max, limits.cooldown_ns, bounds, Package, Order)
    assert (type(wanted), repr(wanted)) == (type(found), repr(found)), where
    assert answer_of(model, wanted) == answer_of(watch, found), where
    return found


def count_of(model: WatchModel, package: Package | None, limits: Limits) -> Counter[str]:
    """Return the names of what the newest look was an example of."""
    if package is None:
        return Counter([f"refused {model.cause.name}" if model.is_refused else "already told"])
    found = ["package", f"package of {model.basket.strategy.name}"]
    found += ["subset shed"] if len(model.tried) > 1 else []
    found += ["legs left out"] if model.legs_priced < len(model.rows) else []
    found += ["repeat"] if model.is_repeat else []
    if model.is_repeat and model.pause_ns > limits.cooldown_ns:
        found += ["repeat after a longer pause"]
    return Counter(found)


@functools.cache
def played(seed: int) -> Counter[str]:
    """Play a seed's world, hold both against each other after every step; return what was seen."""
    rng = random.Random(seed)
    world = World(rng)
    counts = world.counts
    for step in range(STEPS):
        world.step()
        for watch, model in world.pairs:
            if model.total > 0 or rng.random() < 0.1:
                where = f"seed {seed}, step {step}, {world.kind}, {model.basket}"
                package = compare(watch, model, world.now_ns, world.limits, where)
                counts.update(count_of(model, package, world.limits))
                counts["wakes for a fill"] += model.wake_ns < min(NEVER_NS, model.retry_ns)
    return counts


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_looks_equal_the_slow_model(seed: int) -> None:
    """Any tops, fills, limits and rules: the same packages and refusals, told and repeated at one time."""
    assert played(seed), f"seed {seed}"


def test_the_seeds_reach_every_answer() -> None:
    """Packages, repeats, shed subsets and each refusal happen often enough to be tested by the seeds."""
    counts = sum((played(seed) for seed in seeds(SEEDS)), Counter[str]())
    assert {} == {name: counts[name] for name, least in COUNTS_MIN.items() if counts[name] < least}


class Asked(Watch):
    """A watch that remembers for which legs it was asked to prove a payout."""

    def __init__(self, basket: Basket, books: Sequence[Book], instruments: Instruments) -> None:
        super().__init__(basket, books, instruments)
        self.asked: list[tuple[int, ...]] = []
        self.is_proven = True

    def prove(self, legs: Sequence[int]) -> int | None:
        """Return what is proven, if anything may be."""
        self.asked.append(tuple(legs))
        return super().prove(legs) if self.is_proven else None


def sell_all_of(bids: Sequence[int]) -> tuple[Asked, WatchModel]:
    """Return the sell-all basket of a complete event whose rows have one bid each, of equal size."""
    instruments, ids = Instruments(), range(1, len(bids) + 1)
    for slot in event(ids, tick_step=10):
        instruments.apply(slot)
    books = {row: Book(instruments.rows[row]) for row in ids}
    rows = {row: RowModel(instruments.rows[row]) for row in ids}
    basket = BUILDERS["sell_all"](instruments, instruments.rows[1])[0]
    watch, model = Asked(basket, list(books.values()), instruments), WatchModel(basket, rows, instruments)
    for row, bid in zip(ids, bids, strict=True):
        books[row].link(watch)
        for each in (books[row], rows[row]):
            each.take(top(row, [(bid, 100)], []))
    return watch, model


@pytest.mark.parametrize("seed", seeds(40))
def test_of_many_legs_the_best_fifteen_are_bought_and_of_equal_ones_the_first(seed: int) -> None:
    """A batch has fifteen orders: what gains least is left out, and among equals what stands last."""
    rng = random.Random(seed)
    bids = rng.choices(rng.sample(range(1_000, 1_500, 10), rng.randint(1, 3)), k=rng.randint(15, 20))
    watch, model = sell_all_of(bids)
    count = rng.randint(12, 15)
    limits = limits_of(config(package_orders_max=count))
    package = compare(watch, model, T0_NS, limits, f"seed {seed}")
    best = sorted(range(1, len(bids) + 1), key=lambda row: (-bids[row - 1], row))[:count]
    assert package is not None, f"seed {seed}"
    assert sorted(best) == [order.row for order in package.orders], f"seed {seed}"
    assert (count, 15 - count + 1) == (watch.legs_priced, len(model.tried)), f"seed {seed}"


def test_repeats_double_their_pause_up_to_a_second() -> None:
    """The same levels are told after 100, 200, 400, 800 ms, then each second; after a fill from 100 ms on."""
    watch, model = sell_all_of([6_000] * 3)
    limits, strategy = limits_of(config(proof_age_ns_max=60 * NS_PER_S)), BasketStrategy()
    strategy.on_limits(limits)
    told_ms = []
    for now_ms in range(0, 5_000, 50):
        if now_ms == 4_000:
            strategy.on_fill(watch.books[0], T0_NS + now_ms * NS_PER_MS)
            model.fill(T0_NS + now_ms * NS_PER_MS, limits.cooldown_ns)
        if compare(watch, model, T0_NS + now_ms * NS_PER_MS, limits, f"{now_ms} ms"):
            told_ms.append(now_ms)
    assert [0, 100, 300, 700, 1_500, 2_500, 3_500, 4_000, 4_200, 4_600] == told_ms


def test_only_four_subsets_are_tried() -> None:
    """A package of eleven legs would fit, but it is the fifth subset: the first one's refusal stands."""
    watch, model = sell_all_of([1_200] * 17)
    assert compare(watch, model, T0_NS, limits_of(config(package_orders_max=11)), "eleven") is None
    assert (Cause.TOO_MANY_ORDERS, 15, 11, True) == (watch.cause, watch.value, watch.limit, watch.is_refused)


@pytest.mark.parametrize("is_proven", [True, False])
@pytest.mark.parametrize("count, asked_max", [(6, 1), (7, 2)])
def test_a_proof_is_asked_for_once(count: int, asked_max: int, is_proven: bool) -> None:
    """57 sets of legs are proven once each, whatever was the answer; of 120 sets some are forgotten again."""
    watch, model = sell_all_of([6_000] * count)
    watch.is_proven, limits = is_proven, limits_of(config())
    sets = [legs for size in range(2, count + 1) for legs in itertools.combinations(range(count), size)]
    for legs in [*sets, *sets]:
        for leg_no, (book, row) in enumerate(zip(watch.books, model.rows, strict=True)):
            book.flags = row.flags = 0 if leg_no in legs else int(Flag.STALE)
        watch.forget()
        model.forget()
        if is_proven:
            package = compare(watch, model, T0_NS, limits, f"legs {legs}")
            assert package is not None
            assert [leg_no + 1 for leg_no in legs] == [order.row for order in package.orders]
        else:
            assert watch.look(T0_NS, 1, 1, limits.bounds, Package, Order) is None
            assert (Cause.NOT_PROVEN, True) == (watch.cause, watch.is_refused)
    asked = Counter(watch.asked)
    assert set(sets) == set(asked)
    assert asked_max == max(asked.values())


def test_a_package_is_no_refusal() -> None:
    """When a larger subset was refused and a smaller one is bought, the look did not end in a refusal."""
    watch, _ = sell_all_of([6_000] * 4)
    limits = limits_of(config(package_orders_max=3))
    assert watch.look(T0_NS, 1, 1, limits.bounds, Package, Order) is not None
    assert not watch.is_refused
