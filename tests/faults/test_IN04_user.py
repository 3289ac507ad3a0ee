"""IN04 on the user channel: good JSON that tells of our orders what did not happen, beside the truth.

The local exchange is the venue; its own trades decide. Whatever is told, behind the venue's lists trade holds
what the exchange says, or nothing new is risked in that market.
"""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.kinds import Cause
from pipeline.run.halts import SupervisorHalts
from pipeline.run.venue_watch import VenueWatch
from pipeline.shm import halt
from pipeline.shm.halt import HaltPage
from pipeline.shm.status import PAGE_BYTES, StatusPage, StatusView, format_page
from pipeline.stages.reconcile import contradictions_gauge
from pipeline.stages.stage import Counts
from tests.models.account_world import DESK, ROWS, AccountWorld
from tests.models.user_mutator import Words
from tests.shared import scaled, seeds
from tests.tools.faultrows import figure

MUTANTS, SEEDS = figure("IN04", "user_mutants"), seeds(scaled(2, 20))
SHARE, SECOND = 10**6, 10**9
LIES_PER_FRAME = 4
TRUTH_LOST = 0.05  # of the true frames are never heard


class Liar:
    """Tells lies in front of each true frame, and now and then instead of it."""

    def __init__(self, world: AccountWorld, seed: int, share: float) -> None:
        tokens = [token for market in world.markets for token in market.tokens]
        self.own: list[str] = []
        self.words = Words(f"words {seed}", tokens, self.own, DESK.credentials.api_key)
        self.rng = random.Random(f"liar {seed}")
        self.told: Counter[str] = Counter()
        self.refused = self.taken = 0
        self._world, self._share = world, share
        world.tell = self.tell

    def tell(self, frame: bytes) -> list[bytes]:
        out = []
        if self.rng.random() < self._share:
            for _ in range(LIES_PER_FRAME):
                name, lie = self.words.next(frame)
                self.told[name] += 1
                out.append(lie)
        return [*out, frame] if self.rng.random() > TRUTH_LOST else out


def trade_a_little(world: AccountWorld, own: list[str]) -> None:
    """Place some orders, let others take part of them, cancel some."""
    rng, exchange = world.rng, world.exchange
    for _ in range(rng.randrange(1, 4)):
        row, outcome, is_buy = rng.choice(ROWS), rng.randrange(2), True
        market = world.markets[row - 1]
        price, size = rng.randrange(20, 80) * 100, rng.randrange(5, 40) * SHARE
        held = world.held()[row, outcome] // SHARE * SHARE
        if held >= 5 * SHARE and rng.random() < 0.3:
            is_buy, size = False, min(size, held)
        is_bid, yes_price = is_buy == (outcome == 0), price if outcome == 0 else 10_000 - price
        kind = rng.choice(("GTC", "GTC", "FAK"))
        if kind == "FAK" or rng.random() < 0.2:  # somebody rests there
            exchange.foreign_change(world.now_ns, market, not is_bid, yes_price, rng.randrange(5, 60) * SHARE)
        own.append(world.place(row, outcome, is_buy, price, size, kind))
        world.step(SECOND // 10)
        for _ in range(rng.randrange(3)):
            exchange.foreign_take(world.now_ns, market, not is_bid, yes_price, rng.randrange(1, 20) * SHARE)
            world.step(SECOND // 10)
    left = list(exchange.engine.open.get("demo", {}).values())
    if left and rng.random() < 0.7:
        exchange.engine.cancel(world.now_ns, rng.sample(left, rng.randrange(1, len(left) + 1)))
    world.step(SECOND // 10)


@pytest.mark.parametrize("seed", SEEDS)
def test_IN04_a_lying_channel_makes_no_position(seed: int, gate_record: Callable[..., None]) -> None:
    """Behind the lists trade holds what the exchange's trades say, or that market is stopped; both happen."""
    fates, told, count, number = Counter[str](), Counter[str](), 0, 0
    while count < MUTANTS // len(SEEDS):
        number += 1
        world = AccountWorld(seed * 100_003 + number)
        liar = Liar(world, seed * 7 + number, (0.05, 0.3, 1.0)[number % 3])
        for _ in range(4):
            trade_a_little(world, liar.own)
        world.settle()
        differing = world.differing()
        for row, outcome in differing:
            assert world.is_stopped(row), (
                f"seed {seed}, world {number}: row {row} outcome {outcome} holds "
                f"{world.rig.trader.facts.positions.held(row, outcome)}, truth {world.held()[row, outcome]}; "
                f"{dict(liar.told)}")
        fates["wrong and stopped" if differing else "right"] += 1
        fates["stopped"] += any(map(world.is_stopped, ROWS))
        fates["rejected"] += world.gauges.values["user_rejects"]
        fates["contradicting"] += world.gauges.values["user_contradictions"]
        told += liar.told
        count += sum(liar.told.values())
    assert set(liar.words.ways) == set(told), f"seed {seed}: {told}"
    assert fates["right"] > number // 4, f"seed {seed}: {fates}"
    assert fates["contradicting"] > count // 20, f"seed {seed}: {fates}"
    assert fates["rejected"] > count // 5, f"seed {seed}: {fates}"
    gate_record("IN04", "user_mutants", count, seed)


def test_IN04_what_the_lists_say_against_halts(tmp_path: Path) -> None:
    """The gauge of either account is H1 with its words; it goes when the lists agree again for a while."""
    page = bytearray(PAGE_BYTES)
    format_page(memoryview(page), "account")
    counts = Counts(StatusPage(memoryview(page)))
    halt.create(tmp_path)
    now_ns, told = 10**9, []
    halts = SupervisorHalts(HaltPage(tmp_path, "supervisor"), lambda: now_ns)
    watch = VenueWatch(
        StatusView(memoryview(page)), ["main", "two"], halts,
        lambda level, event, **fields: told.append((event, fields)), clear_s=30)
    for value, seconds, expected in ((0, 1, "H0"), (2, 1, "H1"), (2, 60, "H1"), (0, 29, "H1"), (0, 30, "H0")):
        counts.put(contradictions_gauge("two"), value)
        now_ns += seconds * SECOND
        watch.look(now_ns)
        assert expected == halts.level_of(Cause.CONTRADICTED).name, (value, seconds)
    assert ["venue_halts", "venue_halt_over"] == [event for event, _ in told]
    assert "account two" in told[0][1]["words"]


def resting(size: str = "10") -> tuple[AccountWorld, list[bytes]]:
    """Let 10 of 40 shares of a resting order match; the trade's first frame is heard with another size."""
    world = AccountWorld(1)
    frames: list[bytes] = []

    def listen(frame: bytes) -> list[bytes]:
        if b'"trade"' not in frame:
            return [frame]
        frames.append(frame)
        return [altered(frame, size)] if len(frames) == 1 else [frame]

    world.tell = listen
    world.place(1, 0, True, 5_000, 40 * SHARE, "GTC")
    world.step(SECOND // 10)
    world.exchange.foreign_take(world.now_ns, world.markets[0], False, 5_000, 10 * SHARE)
    world.step(SECOND // 10)
    assert 10 * SHARE == world.held()[1, 0]
    return world, frames


def altered(frame: bytes, size: str, **lie: Any) -> bytes:
    """Return a trade's frame with another size, of the whole and of our part, and other fields."""
    told = orjson.loads(frame) | {"size": size} | lie
    told["maker_orders"] = [maker | {"matched_amount": size} for maker in told["maker_orders"]]
    return orjson.dumps(told)


def test_IN04_a_trade_does_not_grow() -> None:
    """The same trade told larger is refused; told too small first, the truth is, and the lists halt us."""
    world, frames = resting()
    world.machine.on_frame(world.now_ns, 0, altered(frames[0], "20"))
    world.step(SECOND // 10)
    assert (1, 10 * SHARE) == (
        world.gauges.values["user_contradictions"], world.rig.trader.facts.positions.held(1, 0))
    world.settle()
    assert ([], False) == (world.differing(), world.is_stopped(1))
    world, _ = resting("5")
    world.settle()
    assert 5 * SHARE == world.rig.trader.facts.positions.held(1, 0)
    assert world.is_stopped(1)


@pytest.mark.parametrize(("listed_s", "is_stopped"), [(5, True), (600, False)])
def test_IN04_a_trade_that_no_list_shows_halts(listed_s: int, is_stopped: bool) -> None:
    """A match that never was, with room for it in our order, is believed until a list should show it."""
    world, frames = resting()
    world.machine.rest.listed_ns = listed_s * SECOND
    world.machine.on_frame(world.now_ns, 0, altered(frames[0], "10", id=str(uuid.UUID(int=5))))
    world.step(SECOND // 10)
    assert 20 * SHARE == world.rig.trader.facts.positions.held(1, 0)
    world.settle()
    assert [(1, 0)] == world.differing()
    assert is_stopped == world.is_stopped(1)


def test_IN04_a_lie_ahead_of_its_order_is_found() -> None:
    """A fill that names an order before it is ours is not forgotten when it is: no list ever shows it."""
    world = AccountWorld(1)
    frames: list[bytes] = []

    def listen(frame: bytes) -> list[bytes]:
        frames.append(frame)
        return [frame]

    world.tell = listen
    world.exchange.foreign_change(world.now_ns, world.markets[0], False, 5_000, 20 * SHARE)
    world.place(1, 0, True, 5_000, 10 * SHARE, "FAK")
    world.step(SECOND // 10)
    told = next(orjson.loads(frame) for frame in frames if b'"trade"' in frame)
    order_id = world.clone_next_id()
    lie = orjson.dumps(told | {"id": str(uuid.UUID(int=5)), "taker_order_id": order_id})
    world.machine.on_frame(world.now_ns, 0, lie)
    world.step(SECOND // 10)
    assert order_id == world.place(1, 0, True, 100, 50 * SHARE, "GTC")
    world.settle()
    assert world.differing() == [] or world.is_stopped(1)
    assert world.gauges.values[contradictions_gauge("")]


@pytest.mark.parametrize("seed", seeds(scaled(4, 40)))
def test_IN04_the_truth_is_no_lie(seed: int) -> None:
    """Without a liar nothing is refused or stopped, whatever settles, fails or is sent again."""
    world = AccountWorld(seed)
    own: list[str] = []
    for _ in range(8):
        trade_a_little(world, own)
    world.settle()
    assert [] == world.differing(), f"seed {seed}"
    assert not any(map(world.is_stopped, ROWS)), f"seed {seed}"
    assert 0 == world.gauges.values["user_rejects"] == world.gauges.values["reconciles_failed"]
    assert 5 < len(world.exchange.engine.trades), f"seed {seed}"
