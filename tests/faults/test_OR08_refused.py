"""OR08, OR09: 401 now and then or for good, 403, and accounts that may only reduce. In simulated time."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.kinds import Cause, HaltLevel, OrderState, VenueMode
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.models.moody_venue import Arrival, MoodyVenue, Reply, Wire, reply
from tests.models.signer_rig import T0_NS
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

ORDERS, BLOCKS = figure("OR08", "orders"), figure("OR09", "blocks")
UNAUTHORIZED = reply(401, {"error": "Unauthorized/Invalid api key"})


def test_OR08_one_401_in_a_hundred_halts_nothing(tmp_path: Path, gate_record: Callable[..., None]) -> None:
    """Each is checked at once by a request that asks for nothing; also where the check is refused, too."""
    seed = fresh_seed()
    print(f"seed {seed}")
    rng = random.Random(seed)
    bad = rng.sample(range(5, ORDERS // 2), ORDERS // 100)
    refused = {*bad, *(one + 1 for one in bad[:5])}  # by number of the request; some re-checks, too
    seen = [0]

    def mood(_now_ns: int, _arrival: Arrival) -> Reply | None:
        seen[0] += 1
        return UNAUTHORIZED if seen[0] in refused else None

    wire = Wire(tmp_path, MoodyVenue(mood), seed, latency_ms=(1, 5))
    left = ORDERS
    for _ in wire.steps((ORDERS + 10) * 10 * NS_PER_MS):
        if left:
            wire.order()
            left -= 1
    assert HaltLevel.H0 == wire.page.level()
    states = [wire.states(number)[-1] for number in range(1, wire.order_no + 1)]
    assert 0 < states.count((OrderState.REJECTED, Cause.VENUE_REJECT)) <= len(refused)
    late = states.count((OrderState.UNSENT, Cause.VENUE_MODE))
    pairs = sum(one + 1 in refused for one in refused)
    assert late <= pairs * 2 * NS_PER_S // (10 * NS_PER_MS)  # a pause of a second or two, behind two in a row
    assert states.count((OrderState.LIVE, Cause.NONE)) >= ORDERS - late - len(refused)
    gate_record("OR08", "orders", ORDERS, seed)


def test_OR08_a_lasting_401_halts_new_risk_within_five_seconds(tmp_path: Path) -> None:
    """One order finds out, re-checks confirm it, H1 stands with words; then nobody hammers the venue."""
    since_ns = T0_NS + NS_PER_S

    def mood(now_ns: int, _arrival: Arrival) -> Reply | None:
        return UNAUTHORIZED if now_ns >= since_ns else None

    wire = Wire(tmp_path, MoodyVenue(mood), 1)
    halted_ns = 0
    for now_ns in wire.steps(60 * NS_PER_S):
        if (now_ns - T0_NS) % (100 * NS_PER_MS) == 0:
            wire.order()
        if not halted_ns and wire.page.level():
            halted_ns = now_ns
    assert HaltLevel.H1 == wire.page.level() and halted_ns - since_ns <= 5 * NS_PER_S
    entry = wire.page.entry("gateway.0")
    assert "401" in entry.reason and "pm resume" in entry.reason
    late = wire.venue.seen("order", "probe", since_ns=halted_ns + NS_PER_S)
    assert len(late) <= 10 and not [one for one in late if one.kind == "order"]


@pytest.mark.parametrize(("status", "body"), [
    (403, b"<html>Sorry, you have been blocked</html>"),
    (403, b'{"error": "Trading restricted in your region"}'),
    (400, b'{"error": "address 0x12 in closed only mode"}'),
    (400, b'{"error": "address 0x12 is banned"}'),
])
def test_OR09_a_block_halts_and_is_never_routed_around(
    tmp_path: Path, status: int, body: bytes, gate_record: Callable[..., None],
) -> None:
    """Definitive for that order, H1 until an operator resumes, and not one more order meanwhile."""
    count = -(-BLOCKS // 4)
    for seed in range(count):
        rng = random.Random(f"OR09:{status}:{seed}")
        since_ns = T0_NS + rng.randint(0, 500) * NS_PER_MS

        def mood(now_ns: int, arrival: Arrival, since_ns: int = since_ns) -> Reply | None:
            if now_ns >= since_ns and arrival.kind in ("order", "orders", "probe"):
                return status, {}, body
            return None

        wire = Wire(tmp_path, MoodyVenue(mood), seed)
        for _ in wire.steps(1_500 * NS_PER_MS):
            wire.order(rng.randint(1, 3))
        refused_ns = wire.venue.seen("order", "orders", since_ns=since_ns)[0].now_ns
        assert HaltLevel.H1 == wire.page.level()
        assert not wire.venue.seen("order", "orders", since_ns=refused_ns + 80 * NS_PER_MS)
        assert (OrderState.UNSENT, Cause.HALT_LEVEL) == wire.states(wire.order_no)[-1]
        wire.machine.on_clear(wire.now_ns, since_ns - 1)  # of an older halt: a start reads all there were
        assert HaltLevel.H1 == wire.page.level()
        wire.machine.on_clear(wire.now_ns, wire.now_ns)
        assert HaltLevel.H0 == wire.page.level()  # the next test begins as an operator leaves it
        assert VenueMode.DOWN not in wire.modes()
    gate_record("OR09", "blocks", 4 * count)
