"""OR20: the dead man's switch of the venue, when heartbeats stop, lie or come late. In simulated time."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from pipeline.kinds import Kind, OrderState, Origin, VenueMode
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.models.core_rig import Rig, balance, event, pack, report, started, tick, top
from tests.models.moody_venue import Arrival, MoodyVenue, Reply, Wire, reply
from tests.models.signer_rig import T0_NS
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

LOSSES = figure("OR20", "losses")
QUOTES_NS_MAX = 6 * NS_PER_S
SLACK_NS = 60 * NS_PER_MS  # one latency and one step of the clock
MOODS = ("silent", "refused", "lying", "late", "wedged")


def lose(directory: Path, seed: int) -> None:
    """Heartbeats fail in one of five ways for a while; orders are wished for all the time."""
    rng = random.Random(f"OR20:{seed}")
    way, begin_ns = rng.choice(MOODS), T0_NS + rng.randint(4_000, 9_000) * NS_PER_MS
    end_ns = begin_ns + rng.randint(8_000, 20_000) * NS_PER_MS
    venue = MoodyVenue()

    def mood(now_ns: int, arrival: Arrival) -> Reply | None:
        if arrival.kind != "heartbeat" or not begin_ns <= now_ns < end_ns:
            return None
        if way == "lying":  # a name is told, and not one of them is right
            return reply(400, {"error_msg": "Invalid Heartbeat ID", "heartbeat_id": f"other-{now_ns}"})
        return {"silent": (0, {}, b""), "late": (0, {}, b""), "refused": (500, {}, b"")}.get(way)

    venue.mood = mood
    wire = Wire(directory, venue, seed)
    lost_ns = found_ns = 0
    for now_ns in wire.steps(end_ns - T0_NS + 14 * NS_PER_S):
        wire.beats = not (way == "wedged" and begin_ns <= now_ns < end_ns)
        if (now_ns - T0_NS) % (200 * NS_PER_MS) == 0:
            wire.order(post_only=True)
        told = any(one.kind == Kind.VENUE and one.doubt for one in wire.told[-4:])
        lost_ns = lost_ns or (now_ns if told else 0)
    taken_ns = lost_ns if way == "wedged" else begin_ns  # one second behind its last beat, trade counts
    good = [one.now_ns for one in venue.seen("heartbeat", until_ns=taken_ns)][-1]
    assert lost_ns, (seed, way)
    assert lost_ns - good <= QUOTES_NS_MAX + SLACK_NS, (seed, way, (lost_ns - good) / NS_PER_S)
    back = [one.now_ns for one in venue.seen("heartbeat", since_ns=end_ns)]
    found_ns = back[0]
    assert not venue.seen("order", "orders", since_ns=lost_ns + SLACK_NS, until_ns=found_ns), (seed, way)
    assert venue.seen("order", since_ns=found_ns), (seed, way)
    if way == "wedged":  # it beats for nobody: one second behind the last beat of trade it is silent
        assert not venue.seen("heartbeat", since_ns=begin_ns + 1_600 * NS_PER_MS, until_ns=end_ns), seed
    assert wire.modes()[-1] == VenueMode.RUNNING
    assert 1 == sum(one.doubt for one in wire.told if one.kind == Kind.VENUE), (seed, way)


def test_OR20_two_misses_stop_quotes_and_doubt_what_is_open(
    tmp_path: Path, gate_record: Callable[..., None],
) -> None:
    """Within 6 s of the last heartbeat that was taken; nothing leaves before one is taken again."""
    seed = fresh_seed()
    print(f"seeds 0 to {LOSSES - 2}, and {seed}")
    for one in [*range(LOSSES - 1), seed]:
        lose(tmp_path, one)
    gate_record("OR20", "losses", LOSSES, seed)


def test_OR20_the_id_of_a_400_is_adopted(tmp_path: Path) -> None:
    """A gateway that comes up does not know the id of the one before it: one 400, and it beats on."""
    venue = MoodyVenue(heartbeat_id="of-an-older-gateway")
    wire = Wire(tmp_path, venue, 1)
    wire.run(10 * NS_PER_S)
    assert 3 <= venue.beats <= 4 and venue.beats + 1 == len(venue.seen("heartbeat"))
    assert [VenueMode.RUNNING] == wire.modes()


def test_OR20_trade_takes_every_open_order_as_unknown() -> None:
    """Fully reserved, asked for by name, cancelled, and no new risk until a reconcile; then as it was."""
    rig: Rig = started(*event((1, 2)))
    rig.feed(*(top(row, [], [(4_000, 50)]) for row in (1, 2)), tick(T0_NS))
    orders = rig.of(Kind.INTENT)
    for one in orders:
        rig.feed(report(one.order_no, OrderState.SENT, Origin.GATEWAY), report(one.order_no, OrderState.LIVE))
    reserved = rig.trader.facts.orders.reservations.usd_micro
    now_ns = T0_NS + 2 * NS_PER_S
    rig.feed(pack(Kind.VENUE, now_ns=now_ns, mode=int(VenueMode.DOWN), doubt=1))
    decided = rig.feed(tick(now_ns + 20 * NS_PER_MS))
    found = rig.trader.facts.orders
    assert orders and reserved and reserved == found.reservations.usd_micro
    assert {OrderState.UNKNOWN} == {one.state for one in found.open_orders}
    named = {one.order_no for one in decided if one.kind == Kind.RECONCILE and one.order_no}
    assert {one.order_no for one in orders} == named
    assert len(rig.of(Kind.CANCEL)) == len(orders)
    packages = len(rig.of(Kind.PACKAGE))
    rig.feed(pack(Kind.VENUE, now_ns=now_ns + NS_PER_S, mode=int(VenueMode.RUNNING)), balance(10**12, now_ns))
    rig.feed(*(top(row, [], [(3_000, 90)], now_ns + 2 * NS_PER_S) for row in (1, 2)))
    assert packages == len(rig.of(Kind.PACKAGE)) and not rig.trader.facts.gate.is_reconciled
