"""OR12: an order is filled before, during or after its cancel; the venue's ledger has the last word.

Through trade in simulated time against `RacingVenue`; and once more with the local exchange, over sockets.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.kinds import OrderType
from tests.models.racing_venue import Moods, Race
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

INTERLEAVINGS = figure("OR12", "interleavings")
PACKAGES = 4  # of one run: each replaces the one before
MOODS = (
    Moods(),
    Moods(latency_ms=40, lost_messages=0.0, lost_answers=0.0, lost_cancels=0.0),  # only the order differs
    Moods(lost_messages=0.8, listed_late_ms=5_000),  # the lists lag behind the match, and are all there is
    Moods(lost_cancels=0.5, latency_ms=900, halts=1.0),
)


def test_OR12_cancels_and_fills_in_any_order(gate_record: Callable[..., None]) -> None:
    """Nothing is freed that may still be taken, nothing is replaced too early, and all ends as the ledger.

    Each order is an interleaving of its own: answers, cancels, trades, user channel and lists.
    """
    fresh, count, number = fresh_seed(), 0, 0
    print(f"seeds OR12:0, 1, ...; the last OR12:{fresh}")
    raced = dict.fromkeys(("cancelled", "partly", "filled", "cancelled in vain"), 0)
    while count < INTERLEAVINGS:
        number += 1
        is_last = INTERLEAVINGS - count <= 2 * PACKAGES
        race = Race(f"OR12:{fresh if is_last else number}", MOODS[number % len(MOODS)])
        race.run(PACKAGES)
        assert [] == race.ended(), f"seed OR12:{fresh if is_last else number}, {MOODS[number % len(MOODS)]}"
        count += len(race.truths)
        for order_no, truth in race.truths.items():
            if truth.intent.order_type != OrderType.GTC:
                continue
            is_filled = truth.matched_micro == truth.intent.size_micro
            raced["filled" if is_filled else "partly" if truth.matched_micro else "cancelled"] += 1
            raced["cancelled in vain"] += is_filled and race.orders.by_no[order_no].cancel_ns > 0
    assert min(raced.values()) >= count // 40, raced  # every kind of end, and real races
    gate_record("OR12", "interleavings", count, fresh)
