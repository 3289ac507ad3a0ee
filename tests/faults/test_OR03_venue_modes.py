"""OR03, OR06: the venue restarts, takes only post-only orders, only cancels, or nothing.

In simulated time against `MoodyVenue`. No schedule is known to the gateway: every phase has another length.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.kinds import Cause, Kind, OrderState, VenueMode
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.models.core_rig import Rig, balance, event, pack, started, tick, top
from tests.models.moody_venue import Arrival, MoodyVenue, Reply, Wire, reply
from tests.models.signer_rig import T0_NS
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

RESTARTS, CLOSURES = figure("OR03", "restarts"), figure("OR06", "closures")
WORDS = "post-only mode: only post-only orders and cancels are allowed"
POST_ONLY = {"error": WORDS, "code": "post_only_mode"}
ORDER_EVERY_NS = 150 * NS_PER_MS
LATE_NS = 60 * NS_PER_MS  # what was on its way when the answer came


class Phases:
    """425 for a while, then post-only for a while, both of a length that nobody announced beforehand."""

    def __init__(self, rng: random.Random) -> None:
        self.begin_ns = T0_NS + rng.randint(1_000, 4_000) * NS_PER_MS
        self.post_ns = self.begin_ns + rng.randint(2_000, 25_000) * NS_PER_MS
        self.end_ns = self.post_ns + rng.randint(5_000, 25_000) * NS_PER_MS
        self.names_time = rng.random() < 0.5

    def mood(self, now_ns: int, arrival: Arrival) -> Reply | None:
        if self.begin_ns <= now_ns < self.post_ns and arrival.kind != "heartbeat":
            if self.names_time:
                left_s = self._left_s(now_ns, self.post_ns)
                return reply(425, {"error": "engine restart"}, retry_after=str(left_s))
            return 425, {}, b"<html>Too Early</html>"
        if self.post_ns <= now_ns < self.end_ns and (arrival.takes or arrival.kind == "probe"):
            return reply(503, {**POST_ONLY, "retry_after_seconds": self._left_s(now_ns, self.end_ns)})
        return None

    @staticmethod
    def _left_s(now_ns: int, end_ns: int) -> int:
        return max(1, -(-(end_ns - now_ns) // NS_PER_S))


def play(directory: Path, seed: int, *, sees_emptiness_first: bool) -> None:
    """One restart under a steady wish for orders of both kinds and for cancels."""
    rng = random.Random(f"OR03:{seed}")
    phases = Phases(rng)
    venue = MoodyVenue(phases.mood, sees_emptiness_first)
    wire = Wire(directory, venue, seed)
    next_ns, resting = wire.now_ns, list[int]()
    for now_ns in wire.steps(phases.end_ns - T0_NS + 6 * NS_PER_S):
        if now_ns >= next_ns:
            next_ns += ORDER_EVERY_NS
            wire.order()
            resting += wire.order(post_only=True)
            if len(resting) > 3:
                wire.cancel(resting.pop(0))
    orders = venue.seen("order", "orders")
    posted = [one for one in orders if one.takes and phases.post_ns <= one.now_ns < phases.end_ns]
    # Where the venue looks at an empty payload before its mode, one order has to learn the phase.
    assert len(posted) <= (1 if sees_emptiness_first else 0), (seed, posted)
    known_ns = next(
        one.now_ns for one in venue.arrivals if one.now_ns >= phases.begin_ns and one.kind != "heartbeat")
    assert not [one for one in orders if known_ns + LATE_NS < one.now_ns < phases.post_ns], seed
    assert [one for one in orders if not one.takes and phases.post_ns < one.now_ns < phases.end_ns], seed
    again = [one.now_ns for one in orders if one.takes and one.now_ns >= phases.end_ns]
    assert again and again[0] <= phases.end_ns + 5 * NS_PER_S, (seed, again[:1])
    asked = venue.seen(
        "probe", "cancel", "cancels", since_ns=known_ns + LATE_NS, until_ns=phases.post_ns)
    assert len(asked) <= 2 + (phases.post_ns - known_ns) // (800 * NS_PER_MS), (seed, len(asked))
    assert wire.modes()[-1] == VenueMode.RUNNING and VenueMode.RESTARTING in wire.modes()
    assert {(OrderState.UNSENT, Cause.VENUE_MODE)} >= {
        state for number in range(1, wire.order_no) for state in wire.states(number)
        if state[0] == OrderState.UNSENT}


@pytest.mark.parametrize("sees_emptiness_first", [False, True])
def test_OR03_a_restart_ends_by_evidence_or_the_announced_time(
    tmp_path: Path, sees_emptiness_first: bool, gate_record: Callable[..., None],
) -> None:
    """No order while it restarts, only post-only ones in the phase behind it, all within 5 s after it."""
    seed, count = fresh_seed(), -(-RESTARTS // 2)
    print(f"seeds 0 to {count - 2}, and {seed}")
    for one in [*range(count - 1), seed]:
        play(tmp_path, one, sees_emptiness_first=sees_emptiness_first)
    gate_record("OR03", "restarts", count, seed)


class Closed:
    """Trading disabled (not even cancels), or cancel-only; for a while."""

    def __init__(self, rng: random.Random, *, is_disabled: bool) -> None:
        self.is_disabled = is_disabled
        self.begin_ns = T0_NS + rng.randint(500, 2_000) * NS_PER_MS
        self.end_ns = self.begin_ns + rng.randint(1_000, 40_000) * NS_PER_MS

    def mood(self, now_ns: int, arrival: Arrival) -> Reply | None:
        if not self.begin_ns <= now_ns < self.end_ns or arrival.kind == "heartbeat":
            return None
        if self.is_disabled:
            return reply(503, {"error": "trading is disabled"})
        return None if arrival.kind.startswith("cancel") else reply(503, {"error": "cancel-only mode"})


@pytest.mark.parametrize("is_disabled", [True, False])
def test_OR06_cancels_leave_within_a_second_of_the_reopening(
    tmp_path: Path, is_disabled: bool, gate_record: Callable[..., None],
) -> None:
    """No new order meanwhile; what waits to be cancelled is, within 1 s, and cancel-only takes it at once."""
    seed, count = fresh_seed(), -(-CLOSURES // 2)
    print(f"seeds 0 to {count - 2}, and {seed}")
    for one in [*range(count - 1), seed]:
        closed = Closed(random.Random(f"OR06:{one}"), is_disabled=is_disabled)
        venue = MoodyVenue(closed.mood)
        wire = Wire(tmp_path, venue, one)
        resting, wanted_ns = list(wire.order(5, post_only=True)), 0
        next_ns = wire.now_ns
        for now_ns in wire.steps(closed.end_ns - T0_NS + 4 * NS_PER_S):
            if now_ns >= next_ns:
                next_ns += ORDER_EVERY_NS
                wire.order()
            if not wanted_ns and now_ns >= closed.begin_ns + 200 * NS_PER_MS:
                wanted_ns = now_ns
                wire.cancel(*resting)
        refused_ns = closed.begin_ns + ORDER_EVERY_NS + LATE_NS
        assert not venue.seen("order", since_ns=refused_ns + LATE_NS, until_ns=closed.end_ns), one
        gone_ns = max(when.now_ns for when in venue.seen("cancel", "cancels"))
        assert not set(resting) & venue.open.keys(), one
        due_ns = (closed.end_ns if is_disabled else wanted_ns) + NS_PER_S
        assert gone_ns <= due_ns, (one, (gone_ns - due_ns) / NS_PER_S)
        for number in resting:
            assert OrderState.CANCEL_REFUSED not in [state for state, _ in wire.states(number)], one
        if is_disabled:  # a cancel that is taken says that it is back
            assert venue.seen("order", since_ns=closed.end_ns)
    gate_record("OR06", "closures", count, seed)


def core(*modes: tuple[VenueMode, int]) -> tuple[Rig, list[int]]:
    """Show a profit in each of these modes, a second apart; return what was taken in which."""
    rig, taken, now_ns = started(*event((1, 2))), list[int](), T0_NS
    for mode, doubt in modes:
        now_ns += 2 * NS_PER_S
        rig.feed(pack(Kind.VENUE, now_ns=now_ns, mode=int(mode), until_ns=now_ns + NS_PER_S, doubt=doubt))
        asked = rig.feed(tick(now_ns + NS_PER_MS))
        now_ns += 50 * NS_PER_MS
        for one in asked:
            if one.kind == Kind.RECONCILE:
                rig.feed(pack(Kind.RECONCILED, now_ns=now_ns, request_no=one.request_no, ok=1))
        rig.feed(balance(10**12, now_ns))
        decided = rig.feed(*(top(row, [], [(4_000, 50)], now_ns) for row in (1, 2)), tick(now_ns))
        taken += [int(mode)] * any(one.kind == Kind.PACKAGE for one in decided)
    return rig, taken


@pytest.mark.parametrize("mode", [one for one in VenueMode if one != VenueMode.RUNNING])
def test_OR03_trade_proposes_nothing_in_any_other_mode(mode: VenueMode) -> None:
    """The gate refuses before anything is signed, by the record in the stream; all its proposals take."""
    assert [int(VenueMode.RUNNING)] == core((mode, 0), (VenueMode.RUNNING, 0))[1]


def test_OR03_behind_a_restart_trade_asks_what_is_open_first() -> None:
    """Resting orders may not survive one: until a reconcile answered, no new risk."""
    rig = started(*event((1, 2)))
    for second, mode in ((1, VenueMode.RESTARTING), (2, VenueMode.POST_ONLY)):
        rig.feed(pack(Kind.VENUE, now_ns=T0_NS + second * NS_PER_S, mode=int(mode)))
    decided = rig.feed(tick(T0_NS + 3 * NS_PER_S))
    assert [one.kind for one in decided].count(Kind.RECONCILE) == 1
    assert not rig.trader.facts.gate.is_reconciled
