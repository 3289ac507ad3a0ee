"""Books under lost, doubled, swapped and cut streams (MD03, MD05, MD06): the venue's, or not believed.

The venue is a truthful model that speaks text; between it and the stages stand the fates of a fault plan.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from pipeline import records as r
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.models.chain import Chain
from tests.models.text_venue import TextLine, text_of
from tests.models.venue_model import Market
from tests.proxy.plan import Fate, Plan
from tests.shared import fresh_seed, seeds
from tests.tools.faultrows import figure

HASHED = r.Rule.MIRRORED | r.Rule.TRADABLE | r.Rule.HASHED
RULES = (HASHED, HASHED | r.Rule.WATCH, HASHED | r.Rule.WATCH | r.Rule.NEG_RISK, HASHED | r.Rule.V2)
RECONNECTS = figure("MD03", "reconnects")
DEEPER_NS_MAX = 10 * 10**9
COMMITS = 40  # of one seed


def markets(rng: random.Random, count: int) -> list[Market]:
    return [Market(row, rng, rng.choice((100, 100, 10)), rng.choice(RULES))
            for row in rng.sample(range(1, 40), count)]


def started(rng: random.Random, plan: Plan, count: int = 2, samples_per_s: int = 0) -> Chain:
    """Return a chain whose books all stand."""
    chain = Chain(markets(rng, count), plan, samples_per_s=samples_per_s)
    assert chain.run(20_000, until=chain.is_settled), f"seed {plan.seed}: no books"
    return chain


def delete_levels(rng: random.Random, market: Market) -> int:
    """Take away a part of a book, at times the best prices; return how many levels."""
    gone = 0
    for side in (0, 1):
        prices = sorted(market.sides[side])
        for price in rng.sample(prices, rng.randrange(0, len(prices) + 1)):
            gone += market.place(side, price, 0) is not None
    market.venue_ns += 10**6
    return gone


@pytest.mark.parametrize("seed", [3, fresh_seed()])
def test_MD03_a_reconnect_leaves_no_ghost_levels(seed: int, gate_record: Callable[..., None]) -> None:
    """1,000 reconnects with levels deleted meanwhile: stale until the snapshot, then the venue's book."""
    rng = random.Random(seed)
    chain = started(rng, Plan(seed), 3)
    rows = list(chain.venue.markets.values())
    gone = 0
    for number in range(RECONNECTS // 2):
        chain.commit(rng.choice(rows))
        if rng.random() < 0.5:
            chain.step()  # else the last frames are lost with the socket
        chain.cut()
        for market in rows:
            gone += delete_levels(rng, market)
            if rng.random() < 0.7:
                market.commit()
        chain.venue.before_snapshot = rng.sample(rows, rng.randrange(0, 3))  # deltas ahead of the snapshot
        snapshots = chain.venue.snapshot_count
        chain.step()
        while chain.venue.snapshot_count == snapshots:
            assert not any(map(chain.is_believed, chain.venue.markets)), f"seed {seed}, reconnect {number}"
            assert all(top.flags & r.Flag.STALE for top in map(shown(chain), chain.venue.markets))
            chain.step(5)
        assert chain.run(5_000, until=chain.is_settled), f"seed {seed}, reconnect {number}: {chain.counts}"
        for market in rng.sample(rows, 2):
            chain.commit(market)
        assert chain.run(2_000, until=chain.is_settled), f"seed {seed}, after reconnect {number}"
    assert RECONNECTS // 2 == chain.counters()["disconnects"]
    assert gone > RECONNECTS
    gate_record("MD03", "reconnects", RECONNECTS // 2, seed)


def shown(chain: Chain) -> Any:
    """Return a look at what observers of a row see now."""
    class Seen:
        def __init__(self, row: int) -> None:
            book = chain.books.snapshot_row(row)
            assert book is not None
            self.flags = r.Flag.STALE * book["is_stale"]

    return Seen


@pytest.mark.parametrize("seed", seeds(figure("MD05", "seeds")))
def test_MD05_a_lost_message_is_found_on_the_next_one(
    seed: int, gate_record: Callable[..., None],
) -> None:
    """1 % lost: behind the next message its market's book is the venue's or not believed; then it heals."""
    rng = random.Random(seed)
    chain = started(rng, Plan(seed, drop=0.01, first=1))  # the first snapshot is MD04
    rows = list(chain.venue.markets.values())
    wrong_ns: dict[int, int] = {}  # row -> since when its book differs behind a message that told of it
    for number in range(COMMITS):
        market = rng.choice(rows)
        market.venue_ns += 10**6  # within one millisecond a state that comes back is a copy of the old frame
        fates = chain.commit(market)
        chain.step(rng.choice((1, 1, 5, 40)))
        if any(kind != r.Kind.TRADE_PRINT and fate is Fate.PASS for kind, fate in fates):  # it bears a hash
            right = chain.equals(market)
            assert right or not chain.is_believed(market.row), f"seed {seed}, commit {number}: {chain.counts}"
            if right:
                wrong_ns.pop(market.row, None)
            else:
                wrong_ns.setdefault(market.row, chain.now_ns)
        assert all(chain.now_ns - since_ns <= DEEPER_NS_MAX for since_ns in wrong_ns.values())
    chain.venue.plan = Plan(seed)
    for line in chain.venue.lines.values():
        line.spare()
    for market in rows:  # one more message of each shows what its last one lost
        chain.venue.tell(market, one_frame(rng, market), chain.now_ns)
        chain.step()
        assert chain.equals(market) or not chain.is_believed(market.row), f"seed {seed}"
    assert chain.run(30_000, until=chain.is_settled), f"seed {seed}: {chain.counts} {chain.counters()}"
    assert 1 == chain.venue.opened_count, f"seed {seed}: a book was asked for, no socket was given up"
    gate_record("MD05", "seeds", 1)


def one_frame(rng: random.Random, market: Market) -> list[bytes]:
    """Return a commit of one change in one frame."""
    market.venue_ns += 10**6
    change = next(filter(None, (market.place(*market.quiet_order()) for _ in range(1_000))))
    return market.frames([change], per_frame=1)


@pytest.mark.parametrize("seed", seeds(figure("MD06", "seeds")))
def test_MD06_doubled_and_swapped_messages_change_nothing(
    seed: int, gate_record: Callable[..., None],
) -> None:
    """10 % doubled, 5 % swapped: each believed Top is a state that the venue had, the last one its last."""
    rng = random.Random(seed)
    chain = started(rng, Plan(seed, duplicate=0.10, reorder=0.05))
    rows = list(chain.venue.markets.values())
    states = {market.row: {state(market)} for market in rows}
    believed: list[Any] = []
    chain.on_top = lambda top: believed.append(top) if not top.flags & (
        r.Flag.OPEN | r.Flag.STALE | r.Flag.CROSSED) else None
    for _ in range(COMMITS):
        market = rng.choice(rows)
        market.venue_ns += 10**6  # two frames of one millisecond, swapped, may be the venue's going back
        chain.commit(market)
        states[market.row].add(state(market))
        chain.step(rng.choice((1, 1, 5, 40)))
    assert chain.run(30_000, until=chain.is_settled), f"seed {seed}: {chain.counts} {chain.counters()}"
    assert len(believed) > 5
    for top in believed:
        assert levels(top) in states[top.instrument], f"seed {seed}: a book that the venue never had"
    gate_record("MD06", "seeds", 1)


@pytest.mark.parametrize("seed", range(50))
def test_MD06_an_older_frame_undoes_no_newer_one(seed: int) -> None:
    """Two changes of one level, the newer frame first: the book stands, and nobody asks for it anew."""
    rng = random.Random(seed)
    chain = started(rng, Plan(seed))
    market = rng.choice(list(chain.venue.markets.values()))
    side = 0 if market.sides[0] else 1
    price = market.best(side)
    frames = []
    for size in rng.sample(range(10**6, 10**9), 2):
        market.venue_ns += 10**6
        change = market.place(side, price, size)
        assert change is not None
        frames += market.frames([change], per_frame=1)
    for frame in reversed(frames):
        chain.feed(text_of(frame, market))
    chain.run(500, 5)
    assert chain.equals(market)
    assert chain.is_settled()
    assert 0 == chain.counts["resyncs"]


def state(market: Market) -> Any:
    return tuple(map(tuple, market.tops()))


def levels(top: Any) -> Any:
    sides = ((top.bid_ticks, top.bid_micro), (top.ask_ticks, top.ask_micro))
    return tuple(tuple((p, s) for p, s in zip(*side, strict=True) if s) for side in sides)


def redated(frame: bytes, venue_ns: int) -> bytes:
    """Return a frame with another time of its own."""
    said = json.loads(frame)
    said["timestamp"] = str(venue_ns // NS_PER_MS)
    return json.dumps(said).encode()


@pytest.mark.parametrize("ahead_s", [6, 3_600, 10**6])
@pytest.mark.parametrize("is_whole", [False, True], ids=["a change", "a book"])
def test_MD06_a_time_that_has_not_come_orders_nothing(is_whole: bool, ahead_s: int) -> None:
    """A frame of a far future: its book is not believed, asked for anew, and back within 1 s."""
    rng = random.Random(ahead_s)
    chain = started(rng, Plan(0))
    market, other = chain.venue.markets.values()
    run = market.snapshot(0) if is_whole else one_frame(rng, market)[0]
    chain.feed(redated(text_of(run, market), chain.now_ns + ahead_s * NS_PER_S))
    assert not chain.is_believed(market.row)
    assert chain.is_believed(other.row)
    assert chain.run(1_000, 5, until=chain.is_settled), chain.counts
    assert 1 == chain.counts["resyncs"] == chain.counts["stale_dated_ahead"]
    chain.venue.tell(market, one_frame(rng, market), chain.now_ns)
    chain.run(50, 5)
    assert chain.is_settled(), "the next change is taken as any other"


@pytest.mark.parametrize("seed", range(5))
def test_MD06_a_time_soon_to_come_is_waited_for_no_longer(seed: int) -> None:
    """A frame of the next five seconds may be the venue's clock; was it a lie, the book is back in 12 s."""
    rng = random.Random(seed)
    chain = started(rng, Plan(seed))
    market, _ = chain.venue.markets.values()
    chain.feed(redated(text_of(one_frame(rng, market)[0], market), chain.now_ns + 4 * NS_PER_S))
    chain.run(300, 5)
    assert not chain.is_believed(market.row) or chain.equals(market)
    assert chain.run(12_000, 20, until=chain.is_settled), chain.counts
    assert chain.counts["resyncs"] <= 4, "asked for under a budget"


@pytest.mark.parametrize("seed", range(20))
def test_MD06_a_snapshot_older_than_what_was_told_is_not_believed(seed: int) -> None:
    """Two sockets; the second one's first snapshot is late, the first one dies: nothing goes back in time."""
    rng = random.Random(seed)
    chain = Chain(markets(rng, 2), Plan(seed), sockets=2, backoff_ns_min=4 * NS_PER_S)

    def slow_down(conn: int, line: TextLine) -> None:
        line.lag_ns = NS_PER_S if conn else 0

    chain.venue.on_line = slow_down
    second = 1 << 16
    assert chain.run(20_000, until=lambda: second in chain.venue.lines)
    assert chain.run(500, 5, until=chain.is_settled), "the first socket brought the books"
    chain.venue.lines[second].lag_ns += 200 * NS_PER_MS  # what is told now comes behind the snapshot
    for market in chain.venue.markets.values():
        chain.venue.tell(market, one_frame(rng, market), chain.now_ns)
    chain.run(20, 5)
    assert chain.is_settled()
    chain.cut(0)
    snapshots = chain.books.stats()["snapshots"]
    while chain.books.stats()["snapshots"] == snapshots or not chain.venue.lines[second].is_clear:
        chain.step(5)
        for market in chain.venue.markets.values():
            assert not chain.is_believed(market.row) or chain.equals(market), f"seed {seed}"
    assert chain.run(10_000, 20, until=chain.is_settled), f"seed {seed}: {chain.counts}"
