"""OR04, OR21: rate limits of the venue, and a kill switch that never waits for one. In simulated time."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.kinds import Cause, OrderState, VenueMode
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket import wire as facts
from pipeline.venues.polymarket.budgets import Bucket, Budgets, Window
from pipeline.venues.polymarket.wire import SignerRates
from tests.models.moody_venue import Arrival, MoodyVenue, Reply, Wire, reply
from tests.models.signer_rig import T0_NS
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

STORM_S, KILLS = figure("OR04", "storm_seconds"), figure("OR21", "kills")
WINDOWS = 200
ON_ITS_WAY_NS = 8 * NS_PER_MS  # there and back on the wire of this test: what left meanwhile could not know
STANDARD = facts.TIERS["standard"]


class Storm:
    """429 to everything but heartbeats until the time that the last 429 named; sometimes it names none."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.allowed_ns: dict[str, int] = {}
        self.told_ns: dict[str, int] = {}  # when the last 429 left here
        self.early: list[tuple[int, Arrival]] = []

    def mood(self, now_ns: int, arrival: Arrival) -> Reply | None:
        if arrival.kind == "heartbeat":
            return None
        kind = "cancel" if arrival.kind.startswith("cancel") else "order"
        was_on_its_way = now_ns < self.told_ns.get(kind, 0) + ON_ITS_WAY_NS
        if now_ns < self.allowed_ns.get(kind, 0) and not was_on_its_way:
            self.early.append((self.allowed_ns[kind] - now_ns, arrival))
        named_s = self.rng.choice((0, 0, 1, 2, 7, 20))
        until_ns = now_ns + named_s * NS_PER_S
        self.told_ns[kind] = now_ns
        self.allowed_ns[kind] = max(until_ns, self.allowed_ns.get(kind, 0)) if was_on_its_way else until_ns
        headers = {"retry-after": str(named_s)} if named_s and self.rng.random() < 0.7 else {}
        page = self.rng.choice((b"<html>Too Many Requests</html>", b"", b'{"error": "rate limit exceeded"}'))
        if named_s and not headers:
            page = b'{"error": "slow down", "retry_after_seconds": %d}' % named_s
        return 429, headers, page


def test_OR04_nothing_is_sent_before_the_time_that_a_429_names(
    tmp_path: Path, gate_record: Callable[..., None],
) -> None:
    """Orders and cancels have budgets of their own; each waits for its own time, whatever the body is."""
    seed = fresh_seed()
    print(f"seed {seed}")
    storm = Storm(random.Random(seed))
    # One at a time: what is on its way when the 429 comes could not know.
    wire = Wire(tmp_path, MoodyVenue(storm.mood), seed, latency_ms=(1, 4))
    next_ns = wire.now_ns
    for now_ns in wire.steps(STORM_S * NS_PER_S):
        if now_ns >= next_ns:
            next_ns += 50 * NS_PER_MS
            number, = wire.order()
            if number % 7 == 0:
                wire.cancel(number)
    assert [] == storm.early
    assert len(wire.venue.seen("order", "probe")) >= STORM_S // 31
    assert len(wire.venue.seen("cancel", "cancels")) >= STORM_S // 31
    ends = {wire.states(number)[-1] for number in range(1, wire.order_no + 1)}
    assert ends <= {(OrderState.REJECTED, Cause.RATE_LIMIT), (OrderState.UNSENT, Cause.VENUE_MODE)}, ends
    gate_record("OR04", "storm_seconds", STORM_S, seed)


@pytest.mark.parametrize("limit", [1, 7, 250])
def test_OR04_a_window_is_never_looser_than_any_window_of_the_venue(limit: int) -> None:
    """Against a list of all times: in no span of 10 s leaves more; under pressure 8/10 of it do."""
    seed = fresh_seed()
    rng = random.Random(f"{seed}:{limit}")
    window, times, now_ns, span_ns = Window(limit, 10 * NS_PER_S), deque[int](), T0_NS, 10 * NS_PER_S
    left_count = 0
    for _ in range(40 * limit + 2_000):
        now_ns += rng.randint(0, 12 * NS_PER_S // limit // 10)
        while times and now_ns - times[0] >= span_ns:
            times.popleft()
        if window.room(now_ns) >= 1:
            window.take(now_ns, 1)
            times.append(now_ns)
            left_count += 1
        assert len(times) <= limit, f"seed {seed}: {len(times)} within 10 s"
    asked_count = limit * (now_ns - T0_NS) // span_ns
    assert left_count * 10 >= asked_count * 8, f"seed {seed}: only {left_count} of {asked_count}"


def test_OR04_the_whole_batch_or_nothing_and_never_more_than_the_bucket() -> None:
    """Against exact fractions of a token; batches of 1 to 15 at random times, with a reserve for cancels."""
    seed = fresh_seed()
    rng, now_ns, rates = random.Random(seed), T0_NS, SignerRates(40, 60, 10_000, 1_000_000)
    budgets, tokens, taken_ns = Budgets(rates), 60 * NS_PER_S, T0_NS
    for _ in range(5_000):
        now_ns += rng.choice((0, 1_000, 5 * NS_PER_MS, 300 * NS_PER_MS))
        if rng.random() < 0.3:
            budgets.refresh(now_ns)
        tokens, taken_ns = min(60 * NS_PER_S, tokens + 40 * (now_ns - taken_ns)), now_ns
        count = rng.randint(1, 15)
        if budgets.take_orders(now_ns, count, facts.PATH_ORDERS):
            tokens -= count * NS_PER_S
            assert tokens >= 0, f"seed {seed}: the venue's bucket is {tokens / NS_PER_S:.3f}"


def test_OR04_what_the_venue_says_is_left_is_believed() -> None:
    """Less than we thought is adopted, minus what is on its way; more is not; a lower tier counts."""
    budgets = Budgets(facts.TIERS["elite"])
    budgets.on_headers(T0_NS, {"poly-ratelimit-remaining": "20"}, 5, is_cancel=False)
    assert not budgets.take_orders(T0_NS, 16, facts.PATH_ORDERS)
    assert budgets.take_orders(T0_NS, 15, facts.PATH_ORDERS)
    budgets.on_headers(T0_NS, {"poly-ratelimit-remaining": "900"}, 0, is_cancel=False)
    assert not budgets.take_orders(T0_NS, 1, facts.PATH_ORDER)
    budgets.on_headers(T0_NS, {"poly-ratelimit-tier": "Standard"}, 0, is_cancel=False)
    later_ns = T0_NS + NS_PER_S
    taken = sum(budgets.take_orders(later_ns, 1, facts.PATH_ORDER) for _ in range(100))
    assert STANDARD.orders_per_s == taken
    for text in ("", "x", "-1", "1e3", "٣"):
        budgets.on_headers(later_ns, {"poly-ratelimit-remaining": text}, 0, is_cancel=True)


def test_OR04_with_nothing_left_orders_wait_for_the_reset() -> None:
    """Until that time no order leaves; cancels do, and a reset that is no duration is not believed."""
    budgets = Budgets(facts.TIERS["elite"])
    nothing = {"poly-ratelimit-remaining": "0"}
    budgets.on_headers(T0_NS, nothing | {"poly-ratelimit-reset": "3"}, 0, is_cancel=False)
    assert not budgets.take_orders(T0_NS + 3 * NS_PER_S - 1, 1, facts.PATH_ORDER)
    assert budgets.cancels_room(T0_NS, facts.PATH_ORDER)
    assert budgets.take_orders(T0_NS + 3 * NS_PER_S, 1, facts.PATH_ORDER)
    assert 0 == budgets.warnings
    for reset in ("1790000100", "x", ""):
        headers = nothing | {"poly-ratelimit-reset": reset, "poly-ratelimit-warning": "slow"}
        budgets.on_headers(T0_NS + 4 * NS_PER_S, headers, 0, is_cancel=False)
    assert budgets.take_orders(T0_NS + 5 * NS_PER_S, 1, facts.PATH_ORDER)
    assert 3 == budgets.warnings
    budgets.on_headers(T0_NS + 5 * NS_PER_S, nothing | {"poly-ratelimit-reset": "9"}, 0, is_cancel=True)
    assert budgets.cancels_room(T0_NS + 6 * NS_PER_S, facts.PATH_ORDER)


def kill(directory: Path, seed: int) -> None:
    """Open orders up to the reserve under full pressure; then cancel all against the venue's own bucket."""
    rng = random.Random(f"OR21:{seed}")
    venue_bucket = Bucket(STANDARD.cancels_per_s, STANDARD.cancels_burst)
    refused: list[Arrival] = []

    def mood(now_ns: int, arrival: Arrival) -> Reply | None:
        if not arrival.kind.startswith("cancel"):
            return None
        if venue_bucket.tokens(now_ns) < arrival.count:
            refused.append(arrival)
            return reply(429, {"error": "rate limit exceeded"}, retry_after="1")
        venue_bucket.take(arrival.count)
        return None

    wire = Wire(directory, MoodyVenue(mood), seed, STANDARD._replace(orders_per_s=200, orders_burst=300))
    resting: list[int] = []
    asked: set[int] = set()  # nobody cancels an order twice, and no reserve is there for it
    for _ in wire.steps(rng.randint(1_500, 2_500) * NS_PER_MS):
        resting += wire.order(rng.randint(1, 6), post_only=True)
        left = [number for number in wire.venue.open if number not in asked]
        if len(left) > 90 and rng.random() < 0.05:  # cancels drain the bucket, orders come again
            chosen = rng.sample(left, rng.randint(1, 60))
            asked.update(chosen)
            wire.cancel(*chosen)
        wire.open_orders = len(wire.venue.open)
    wire.run(100 * NS_PER_MS)  # nothing new: what is open now is all there is
    begun_ns = wire.now_ns
    wire.cancel(*wire.venue.open)
    while wire.venue.open and wire.now_ns < begun_ns + 3 * NS_PER_S:
        wire.run(10 * NS_PER_MS)
    assert not wire.venue.open and wire.now_ns - begun_ns <= NS_PER_S, (seed, wire.now_ns - begun_ns)
    assert [] == refused, seed
    assert any(wire.states(number)[-1] == (OrderState.UNSENT, Cause.RATE_LIMIT) for number in resting), seed
    assert [VenueMode.RUNNING] == wire.modes()


def test_OR21_a_kill_never_waits_for_the_cancel_bucket(
    tmp_path: Path, gate_record: Callable[..., None],
) -> None:
    """New orders stop where a cancel of everything open would not fit any more: it always fits."""
    seed = fresh_seed()
    print(f"seeds 0 to {KILLS - 2}, and {seed}")
    for one in [*range(KILLS - 1), seed]:
        kill(tmp_path, one)
    gate_record("OR21", "kills", KILLS, seed)
