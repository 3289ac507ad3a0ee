"""FL04: RETRYING, MINED, words that nobody knows: no end, only CONFIRMED and FAILED are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from pipeline.codec import unpack
from pipeline.core.accounting import Accounting
from pipeline.core.state import TraderState
from pipeline.kinds import Kind, TradeStatus
from pipeline.units import MICRO
from pipeline.venues.polymarket.user_decode import UserDecoder
from tests.models.core_rig import config, event, fill, pack
from tests.models.fill_stream import Facts
from tests.shared import fresh_seed, tier
from tests.tools.faultrows import figure

T = TradeStatus
LENGTH_MAX = 6
EVERY = 20  # the commit tier takes each walk of up to 4 words, and one in so many of the others
COST = 3 * MICRO // 10 * 2  # of the trade below: 2 shares at 0.30


def walks(offset: int) -> Iterator[tuple[TradeStatus, ...]]:
    """Yield walks of 1 to 6 statuses, in tier gate all of them."""
    place = offset
    for length in range(1, LENGTH_MAX + 1):
        for walk in itertools.product(T, repeat=length):
            place += 1
            if length <= 4 or tier() != "commit" or place % EVERY == 0:
                yield walk


def test_FL04_every_walk_ends_right(gate_record: Callable[..., None]) -> None:
    """The first CONFIRMED or FAILED decides for ever; until then it counts in both worlds."""
    offset, count = fresh_seed() % EVERY, 0
    print(f"offset {offset}")
    state = TraderState()
    for slot in (config(), *event((1, 2))):
        state.fold(slot)
    intent = pack(Kind.INTENT, instrument=1, price_ticks=3_000, size_micro=2 * MICRO, worst_usd_micro=MICRO)
    slots = [bytearray(fill(unpack(intent), 2 * MICRO, 7, status=one, order_no=0)) for one in T]
    for walk in walks(offset):
        count += 1
        number = count.to_bytes(4, "big") * 8
        state.apply_decision(intent[:48] + count.to_bytes(8, "little") + intent[56:])
        order = state.orders.by_no[count]
        order.order_hash = number
        state.orders._hashes[number] = count
        cash, losses = state.positions.cash_usd_micro, state.positions.worst_loss_row(1)
        for slot in slots:
            slot[56:88] = number  # the hash
        for status in walk:
            state.fold(slots[status])
        ends = next((one for one in walk if one in (T.CONFIRMED, T.FAILED)), None)
        booked = 0 if ends == T.FAILED else COST
        assert cash - booked == state.positions.cash_usd_micro, walk
        assert (0 if booked == 0 else 2 * MICRO) == order.filled_micro, walk
        assert (ends is None) == bool(state.fills.unsettled_count), walk
        assert losses + booked == state.positions.worst_loss_row(1), walk
        if ends is None:  # so that the next walk begins clean
            state.fold(slots[T.FAILED])
    assert count >= figure("FL04", "walks")
    gate_record("FL04", "walks", count)


def test_FL04_a_word_that_nobody_knows_is_kept_and_rings() -> None:
    """As the venue wrote it, in the record; provisional; the alarm names it; its end still counts."""
    token, condition = "77", "0x" + "11" * 32
    decoder = UserDecoder(
        owner="key", maker_addresses=("0x" + "22" * 20,), token_lookup={token: (1, 0, condition)},
        fee_of=lambda row: (0, 1), account=0, source=1)
    row = {
        "id": "0a0b0c0d-0000-4000-8000-000000000001", "taker_order_id": "0x" + "33" * 32, "market": condition,
        "asset_id": token, "side": "BUY", "size": "2", "price": "0.3", "match_time": "1790000000",
        "owner": "key", "trade_owner": "key", "maker_address": "0x" + "22" * 20, "trader_side": "TAKER",
        "maker_orders": []}
    world = Facts()
    world.order(1, 3_000, 2 * MICRO)
    ends = {
        "TRADE_STATUS_REORGANISED": T.UNKNOWN, "half-mined, é" + "x" * 40: T.UNKNOWN, "MATCHED": T.MATCHED,
        "TRADE_STATUS_CONFIRMED": T.CONFIRMED}
    for rang, (word, expected) in enumerate(ends.items(), 1):
        [slot] = decoder.decode_trade_row(row | {"status": word}, 1).records
        found = unpack(slot)
        assert expected == found.status
        kept = word.removeprefix("TRADE_STATUS_").encode()[:32] if expected == T.UNKNOWN else b""
        assert kept == found.text.ljust(len(kept), b"\0") and 2 * MICRO == found.size_micro
        world.tell(slot[:48] + (1).to_bytes(8, "little") + bytes(32) + slot[88:])
        facts = world.facts
        assert min(rang, 2) == facts.alarms.count("fill_status_unknown"), word
        assert (2 * MICRO, expected != T.CONFIRMED) == (
            facts.positions.held(1, 0), bool(facts.fills.unsettled_count))
    assert "half-mined" in facts.alarms.told["fill_status_unknown"][2]
    assert 2 == decoder.unknown_status_count


def test_FL04_two_ends_of_one_trade_ring() -> None:
    """CONFIRMED and FAILED of one trade: the first counts, the second is the venue's contradiction."""
    for walk in ((T.CONFIRMED, T.FAILED), (T.FAILED, T.CONFIRMED)):
        world = Facts()
        order = world.order(1, 3_000, 2 * MICRO)
        world.tell(*(fill(order, 2 * MICRO, 1, status=one) for one in walk))
        facts = world.facts
        assert isinstance(facts.accounting, Accounting)
        assert 1 == facts.alarms.count("fill_contradicted") == facts.fills.conflict_count
        assert (2 * MICRO if walk[0] == T.CONFIRMED else 0) == facts.positions.held(1, 0)
