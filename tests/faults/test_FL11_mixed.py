"""FL11: somebody else trades on our wallet: seen, labelled, counted as exposure, and none of our PnL."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from pipeline.codec import unpack
from pipeline.core.positions import PnlFold
from pipeline.kinds import Cause, Kind, OrderState, Origin, TradeStatus
from pipeline.units import MICRO, NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket.user_decode import UserDecoder
from tests.models.core_rig import T0_NS, event, fill, hash_of, pack, report, started, tick, top
from tests.models.fill_ledger import FAILED, OPEN, SETTLED, FillLedger, Trade
from tests.models.fill_stream import ROWS, Facts
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

S, T = OrderState, TradeStatus
THEIRS = 1_000  # their orders are numbered from here: hashes that nobody here ever sent


def row_of(number: int, row: int, price: str, size: int, matched: int, **changes: Any) -> dict[str, Any]:
    """Return a row of `GET /data/orders` (venue sheet 13)."""
    return {
        "id": "0x" + hash_of(number).hex(), "status": "LIVE", "owner": "key", "maker_address": "0x11",
        "market": f"0x{row:064x}", "asset_id": str(10 * row), "side": "BUY", "original_size": str(size),
        "size_matched": str(matched), "price": price, "outcome": "Yes", "order_type": "GTC",
        "expiration": "0", "created_at": 1_790_000_000, "associate_trades": [], **changes}


class Mixed:
    """Our orders and theirs, one wallet; the ledgers are kept apart."""

    def __init__(self, seed: int) -> None:
        self.rng, self.world = random.Random(seed), Facts()
        self.ours, self.theirs = FillLedger(), FillLedger()
        self.resting: dict[int, tuple[int, int]] = {}  # their open orders: row, what each may still take
        self.count = 0
        self.later: list[tuple[Trade, TradeStatus, bytes]] = []  # trades whose end is not told yet
        self.decoder = UserDecoder(
            owner="key", maker_addresses=(), token_lookup={str(10 * row): (row, 0, "") for row in ROWS},
            fee_of=lambda row: (0, 1), account=0, source=1)

    def our_order(self) -> None:
        order = self.world.order(self.rng.choice(ROWS), 4_000, 6 * MICRO)
        self.fills(order, {}, self.ours)

    def their_fill(self) -> None:
        self.count += 1
        like = unpack(pack(Kind.INTENT, instrument=self.rng.choice(ROWS), price_ticks=4_000))
        self.fills(like, {"order_no": 0, "order_hash": hash_of(THEIRS + self.count)}, self.theirs)

    def fills(self, order: Any, names: dict[str, Any], ledger: FillLedger) -> None:
        for _ in range(self.rng.randint(1, 2)):
            self.count += 1
            one = ledger.add(order.instrument, 0, True, 3 * MICRO, 1_200_000, 0)
            self.world.tell(fill(order, 3 * MICRO, self.count, status=T.MATCHED, **names))
            ends = self.rng.choice((T.MATCHED, T.CONFIRMED, T.FAILED))
            self.later.append((one, ends, fill(order, 3 * MICRO, self.count, status=ends, **names)))

    def settle(self) -> None:
        """Tell how one of the trades ended; it may be known as theirs by now."""
        if self.later:
            one, ends, slot = self.later.pop(self.rng.randrange(len(self.later)))
            one.fate = {T.CONFIRMED: SETTLED, T.FAILED: FAILED}.get(ends, OPEN)
            self.world.tell(slot)

    def their_order(self) -> None:
        """They place, change or cancel an order: the user channel or a list tells it."""
        rng = self.rng
        if self.resting and rng.random() < 0.4:
            number = rng.choice(list(self.resting))
            row, _ = self.resting.pop(number)
            if rng.random() < 0.5:
                self.tell(row_of(number, row, "0.25", 40, 0, status="CANCELED"))
            return  # else nobody tells: the next list does not show it
        self.count += 1
        row, matched = rng.choice(ROWS), rng.randint(0, 20)
        self.resting[THEIRS + self.count] = row, (40 - matched) * MICRO // 4
        self.tell(row_of(THEIRS + self.count, row, "0.25", 40, matched))

    def tell(self, row: dict[str, Any]) -> None:
        found = self.decoder.decode_order_row(row, 1)
        assert found.reject is None, found.text
        self.world.tell(*found.records)

    def reconcile(self) -> None:
        """A whole pass: it lists what is open."""
        self.world.now_ns += NS_PER_S
        number = self.world.facts.request_no + 1
        self.world.decide(pack(Kind.RECONCILE, request_no=number))
        self.world.now_ns += 60 * NS_PER_MS
        for name, (row, usd) in self.resting.items():
            self.tell(row_of(name, row, "0.25", 40, 40 - usd * 4 // MICRO))
        self.world.tell(pack(Kind.RECONCILED, request_no=number, ok=1))


def test_FL11_our_pnl_is_exact_in_a_mixed_account(gate_record: Callable[..., None]) -> None:
    """Theirs beside ours, through restarts: ledger and PnL hold ours alone, exposure holds both."""
    first, count = fresh_seed(), figure("FL11", "accounts")
    print(f"seed {first}")
    for seed in range(first, first + count):
        mixed = Mixed(seed)
        for _ in range(16):
            mixed.rng.choice((mixed.our_order, mixed.their_fill, mixed.their_order, mixed.settle))()
            if mixed.rng.random() < 0.3:
                mixed.reconcile()
            mixed.world.perhaps_die(mixed.rng, 0.05)
        mixed.reconcile()
        facts, fold = mixed.world.facts, PnlFold()
        assert mixed.ours.cash == facts.positions.cash_usd_micro, seed
        assert mixed.theirs.cash == facts.external.positions.cash_usd_micro, seed
        rests = {row: sum(usd for one, usd in mixed.resting.values() if one == row) for row in ROWS}
        both = {row: mixed.theirs.worst_row(row) + rests[row] for row in ROWS}
        assert {row: usd for row, usd in both.items() if usd} == facts.external.by_row, seed
        assert sum(rests.values()) == facts.external.resting_usd_micro, seed
        assert (len(mixed.resting), 0) == (facts.external.order_count, facts.quarantine.count), seed
        assert not facts.orders.cancel_wanted and not facts.strangers_wanted, seed
        for _, slot in mixed.world.log:
            fold.on_record(slot)
        assert (mixed.ours.cash, 0) == (fold.pnl.pnl_usd_micro, fold.pnl.mismatch_count), seed
        assert len(mixed.ours.standing) == fold.pnl.fill_count, seed
        assert facts.alarms.count("order_of_stranger") or not mixed.resting, seed
        assert facts.alarms.count("fill_of_stranger") or not mixed.theirs.trades, seed
    gate_record("FL11", "accounts", count, first)


def test_FL11_their_exposure_uses_our_limits_and_their_orders_stay() -> None:
    """What they hold and bid for counts against market, event and collateral; a halt cancels ours alone."""
    for limits, cause in (
        ({"market_usd_micro_max": 40 * MICRO}, Cause.LIMIT_MARKET),
        ({"event_usd_micro_max": 60 * MICRO}, Cause.LIMIT_EVENT),
        ({"usd_micro": 60 * MICRO}, Cause.LIMIT_COLLATERAL), ({}, None),
    ):
        rig = started(*event(ROWS), **limits)
        theirs = report(
            0, S.LIVE, Origin.RECONCILE, order_hash=hash_of(THEIRS), matched_micro=0, size_micro=60 * MICRO,
            price_ticks=5_000, instrument=1)
        rig.feed(theirs, tick(T0_NS))
        assert {1: 30 * MICRO} == rig.trader.facts.external.by_row
        decided = rig.feed(*(top(row, [(2_900, 50)], [(3_000, 50)], T0_NS) for row in ROWS))
        if cause is None:
            assert Kind.PACKAGE in [one.kind for one in decided]
            halted = rig.feed(pack(Kind.HALT, level=2, cause=int(Cause.OPERATOR)))
            cancels = [one for one in halted if one.kind == Kind.CANCEL]
            assert 3 == len(cancels) and all(one.order_no for one in cancels)
        else:
            assert [cause] == [one.cause for one in decided if one.kind == Kind.VERDICT], cause
