"""run.judge_orders: how long an order that nobody at the exchange ever saw may stay UNKNOWN."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.kinds import OrderState, Origin
from pipeline.run.judge_orders import _never_came
from pipeline.units import NS_PER_S

FINAL_S = 120  # T_UNKNOWN_FINAL
REFUSED = SimpleNamespace(
    state=OrderState.CANCEL_REFUSED, origin=Origin.HTTP, now_ns=(FINAL_S + 1) * NS_PER_S)
PASS = SimpleNamespace(now_ns=(FINAL_S + 2) * NS_PER_S)


@pytest.mark.parametrize(("ended_s", "reports", "passes", "is_excused"), [
    (FINAL_S - 1, [], [], True),
    (FINAL_S + 4, [], [], True),  # the venue's last word is on its way
    (FINAL_S + 6, [], [], False),
    (FINAL_S + 6, [REFUSED], [], False),
    (FINAL_S + 6, [], [PASS], False),
    (FINAL_S + 6, [REFUSED], [PASS], True),
])
def test_an_order_that_never_came_needs_the_last_word_in_time(
    ended_s: int, reports: list[Any], passes: list[Any], is_excused: bool,
) -> None:
    """Open until 120 s and the 5 s of the last word; behind that, a refused cancel and a whole pass."""
    logs: Any = SimpleNamespace(hash_of={7: "0x07"}, reconciled=passes)
    venue: Any = SimpleNamespace(orders={}, arrivals={}, report={"now_ns": ended_s * NS_PER_S})
    intent = SimpleNamespace(order_no=7, now_ns=0)
    assert is_excused == _never_came(logs, venue, intent, reports)
    venue.arrivals["0x07"] = [object()]
    assert not _never_came(logs, venue, intent, reports)
