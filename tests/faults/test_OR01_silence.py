"""OR01: the request left and no answer came; the order may be live, late, filled or nowhere.

Through trade in simulated time against `RacingVenue`, whose ledger has the last word.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.models.racing_venue import Moods, Race
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

TRIALS = figure("OR01", "trials")
EVENTS, ORDERS_PER_RUN = 10, 60
MOODS = Moods(
    lost_answers=0.9, never=0.2, late_ms=60_000, events=EVENTS, tick_ms=100, offer_ms=2_000, halts=0.1)


def test_OR01_an_order_without_an_answer_is_followed_to_its_end(gate_record: Callable[..., None]) -> None:
    """Taken and cut, up to 60 s late, or never there: fully reserved, never sent again, ended by evidence.

    What never arrives is given up when T_UNKNOWN_FINAL is over and a cancel finds nothing: not before.
    """
    fresh, lost, number = fresh_seed(), 0, 0
    print(f"seeds OR01:0, 1, ...; the last OR01:{fresh}")
    ends = dict.fromkeys(("never", "gone"), 0)
    while lost < TRIALS:
        number += 1
        seed = fresh if TRIALS - lost <= ORDERS_PER_RUN // 2 else number
        race = Race(f"OR01:{seed}", MOODS)
        race.run(3 * EVENTS)
        assert [] == race.ended(), f"seed OR01:{seed}"
        for order_no, truth in race.truths.items():
            ends[truth.state] += truth.is_lost
            lost += truth.is_lost
            if truth.state == "never":
                order = race.orders.by_no[order_no]
                assert order.changed_ns - order.intended_ns >= 120 * 10**9, f"seed OR01:{seed}: {order}"
        # One order of each number: what is not answered is asked for, never sent again.
        assert sorted(race.submitted) == sorted(race.truths), f"seed OR01:{seed}"
    assert min(ends.values()) >= lost // 10, ends
    gate_record("OR01", "trials", lost, fresh)
