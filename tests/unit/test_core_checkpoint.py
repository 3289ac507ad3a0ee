"""core.checkpoint: what was written is what continues; anything else is refused."""

from __future__ import annotations

import json

import pytest

from pipeline.core.checkpoint import facts_digest, restore, serialise
from pipeline.core.trader import Trader
from pipeline.errors import LayoutError, LogCorrupt
from pipeline.kinds import Kind, OrderState, Origin
from pipeline.units import MICRO, NS_PER_S
from tests.models.core_rig import T0_NS, event, fill, pack, report, started, tick, top


def busy() -> Trader:
    """Return a trader in the middle of everything: open and unknown orders, a stranger, a stale book."""
    rig = started(*event([1, 2, 3]))
    for row in (1, 2, 3):
        rig.feed(top(row, [(2_900, 50)], [(3_000, 50)]))
    intents = rig.of(Kind.INTENT)
    rig.feed(
        report(1, OrderState.SENT, Origin.GATEWAY),
        fill(intents[0], 20 * MICRO, 1),
        fill(intents[1], MICRO, 2, order_no=0),
        pack(Kind.STALE, instrument=3, cause=4),
        top(3, [(2_900, 50)], [(3_000, 49)]),
        top(2, [(2_900, 50)], [(3_000, 49)]),
        top(3, [(2_900, 50)], [(3_000, 48)]),
        tick(T0_NS + 5 * NS_PER_S),
    )
    assert rig.trader.facts.quarantine.count
    assert rig.trader.facts.orders.doubtful
    return rig.trader


def test_checkpoint_round_trip() -> None:
    """State and both positions survive; the bytes are canonical."""
    trader = busy()
    data = serialise(trader, 12, 34)
    again, stream_seq, decisions_seq = restore(data)
    assert (12, 34) == (stream_seq, decisions_seq)
    assert data == serialise(again, 12, 34)
    assert facts_digest(trader) == facts_digest(again)
    for order in trader.facts.orders.open_orders:
        assert order == again.facts.orders.by_no[order.order_no]
    assert trader.facts.orders.find(0, order.order_hash) is None or again.facts.orders.find(
        0, order.order_hash
    )


@pytest.mark.parametrize("place", [0, 63, 64, 65, 500, -1])
def test_a_damaged_checkpoint_is_refused(place: int) -> None:
    """One changed byte anywhere, or a cut tail: refused, never half read."""
    data = bytearray(serialise(busy()))
    data[place] ^= 1
    with pytest.raises(LogCorrupt, match="digest"):
        restore(bytes(data))
    with pytest.raises(LogCorrupt, match="digest"):
        restore(bytes(serialise(busy())[:-1]))


def test_a_checkpoint_of_another_layout_is_refused() -> None:
    """The layout hash of the records stands in every checkpoint."""
    import hashlib

    body = json.loads(serialise(busy())[65:])
    body["layout"] += 1
    text = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(LayoutError, match="layout"):
        restore(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
