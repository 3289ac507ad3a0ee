"""FL07: fills a hair over or under what was ordered: every micro-share is kept, what is left out is named."""

from __future__ import annotations

import random
from collections.abc import Callable

from pipeline.codec import unpack
from pipeline.core.reservations import DUST_MICRO
from pipeline.core.state import TraderState
from pipeline.kinds import Kind, OrderState, Origin, TradeStatus
from pipeline.units import MICRO, NS_PER_S
from tests.models.core_rig import T0_NS, config, event, fill, hash_of, pack, report, tick
from tests.models.fill_ledger import FillLedger
from tests.models.fill_stream import ROWS
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

S = OrderState
HAIRS = (0, 0, 1, 2, 7, 999, 1_000)  # 1e-6 share; 1 a fill is lost on the chain (venue sheet 10.5)


def test_FL07_every_micro_share_is_kept(gate_record: Callable[..., None]) -> None:
    """Odd sizes, sums a hair beside the order's: positions and cash exact, orders end, dust is counted."""
    seed, count, done, number, dust = fresh_seed(), figure("FL07", "fills"), 0, 0, 0
    print(f"seed {seed}")
    rng, state, ledger = random.Random(seed), TraderState(), FillLedger()
    for slot in (config(), *event(ROWS)):
        state.fold(slot)
    while done < count:
        number += 1
        row, ticks, size = rng.choice(ROWS), rng.randrange(100, 9_900), rng.randint(100, 2_000) * 10_000
        now_ns = T0_NS + number * NS_PER_S
        intent = pack(
            Kind.INTENT, order_no=number, instrument=row, price_ticks=ticks, size_micro=size,
            worst_usd_micro=2 * size, now_ns=now_ns)
        state.apply_decision(intent)
        state.fold(report(number, S.SENT, Origin.GATEWAY, now_ns))
        hair = rng.choice(HAIRS) * rng.choice((1, -1))
        left, parts = size + hair, rng.randint(1, 5)
        sizes = [rng.randint(1, left // 5) for _ in range(parts - 1)]
        for part in (*sizes, left - sum(sizes)):
            done += 1
            usd = -(-ticks * part // 10_000)
            ledger.add(row, 0, True, part, usd, 0).fate = "settled"
            order = state.orders.by_no[number]
            state.fold(fill(unpack(intent), part, done, now_ns, TradeStatus.CONFIRMED, usd_micro=usd))
        state.fold(report(number, S.MATCHED, Origin.USER_CHANNEL, now_ns, matched_micro=size))
        missing = max(0, size - order.filled_micro)
        assert order.is_closed == (missing == 0), (seed, number)
        if missing:
            assert order.reserved_usd_micro > 0, (seed, number)
            reconcile(state, number, now_ns + NS_PER_S)
            dust += missing
        assert order.is_closed and 0 == order.reserved_usd_micro, (seed, number)
        assert size + hair == order.filled_micro, (seed, number)
        assert dust == state.orders.reservations.dust_micro, (seed, number)
    assert dust > 0
    assert 0 == state.orders.reservations.usd_micro == state.orders.open_count
    assert ledger.cash == state.positions.cash_usd_micro, seed
    for row in ROWS:
        assert ledger.held(row, 0) == state.positions.held(row, 0), (seed, row)
    gate_record("FL07", "fills", done, seed)


def reconcile(state: TraderState, number: int, now_ns: int) -> None:
    state.fold(tick(now_ns))
    state.apply_decision(pack(Kind.RECONCILE, request_no=number, now_ns=now_ns))
    state.fold(pack(Kind.RECONCILED, request_no=number, ok=1, now_ns=now_ns))


def test_FL07_more_than_dust_is_never_written_off() -> None:
    """An order that claims more than the rule allows stays open, reserved and asked for, however often."""
    for missing, is_dust in ((1, True), (DUST_MICRO, True), (DUST_MICRO + 1, False), (MICRO, False)):
        state = TraderState()
        for slot in (config(), *event(ROWS)):
            state.fold(slot)
        intent = pack(Kind.INTENT, order_no=1, instrument=1, price_ticks=5_000, size_micro=5 * MICRO,
                      worst_usd_micro=3 * MICRO)
        state.apply_decision(intent)
        state.fold(report(1, S.CANCELED, Origin.USER_CHANNEL, order_hash=hash_of(1), matched_micro=4 * MICRO))
        state.fold(fill(unpack(intent), 4 * MICRO - missing, 1))
        for turn in range(1, 4):
            reconcile(state, turn, T0_NS + turn * NS_PER_S)
        assert is_dust == state.orders.by_no[1].is_closed, missing
        assert (missing if is_dust else 0) == state.orders.reservations.dust_micro
        assert is_dust == (state.orders.reservations.usd_micro == 0)
        assert 4 * MICRO - missing == state.positions.held(1, 0)
