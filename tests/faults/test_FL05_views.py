"""FL05: trades told from any side: several own orders in one, the sister token, letter case, other owners."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from pipeline.codec import unpack
from pipeline.kinds import OrderType
from pipeline.units import MICRO
from pipeline.venues.polymarket.own_orders import OwnOrders
from pipeline.venues.polymarket.user_decode import UserDecoder
from tests.models.core_rig import hash_of
from tests.models.fill_ledger import FillLedger
from tests.models.fill_stream import ROWS, Facts
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

KEY, OTHER = "0a000000-0000-4000-8000-000000000001", "0b000000-0000-4000-8000-000000000002"
WALLET, STRANGER = "0xAbCdEf" + "12" * 17, "0x" + "77" * 20
TOKENS = {str(10 * row + outcome): (row, outcome, f"0x{row:064x}") for row in ROWS for outcome in (0, 1)}


def price_text(ticks: int) -> str:
    return f"0.{ticks:04d}"


def cased(rng: random.Random, text: str) -> str:
    return "0x" + "".join(rng.choice((one.lower(), one.upper())) for one in text[2:])


class Desk:
    """Own orders of all kinds in one market after another, and trades that name them as the venue might."""

    def __init__(self, seed: int) -> None:
        self.rng, self.world, self.ledger = random.Random(seed), Facts(), FillLedger()
        self.sent: set[bytes] = set()
        self.own = OwnOrders()
        self.decoder = UserDecoder(
            owner=KEY, maker_addresses=(WALLET,), token_lookup=TOKENS, fee_of=lambda row: (0, 1), account=0,
            source=1, own=self.own)

    def order(self, row: int, outcome: int, side: int, price_ticks: int, size: int) -> Any:
        """Place one of ours; the edge knows its hash, unless it is a new one that came up behind its SENT."""
        intent = self.world.order(
            row, price_ticks, size, outcome=outcome, side=side, order_type=OrderType.GTC)
        if self.rng.random() < 0.6:
            self.sent.add(hash_of(intent.order_no))
            self.own.on_report(SimpleNamespace(order_no=intent.order_no, order_hash=hash_of(intent.order_no)))
        return intent

    def named(self, intent: Any) -> dict[str, str]:
        """Return how the venue names the owner of an order of ours: at least one of three ways is true."""
        rng = self.rng
        is_known = hash_of(intent.order_no) in self.sent
        ways = rng.choice(("hash", "key", "wallet", "all") if is_known else ("key", "wallet", "all"))
        if ways == "hash":  # a session key and its wallet: only the order's hash says that it is ours
            return {"owner": OTHER, "maker_address": STRANGER}
        if ways == "key":
            return {"owner": KEY, "maker_address": STRANGER}
        return {"owner": OTHER if ways == "wallet" else KEY, "maker_address": cased(rng, WALLET)}

    def entry(self, intent: Any, size: int) -> dict[str, Any]:
        """Return a maker entry of ours, in its own token or in the sister's, perhaps with the wrong side."""
        rng = self.rng
        outcome, side, ticks = intent.outcome, intent.side, intent.price_ticks
        if rng.random() < 0.4:
            outcome, side, ticks = 1 - outcome, 1 - side, 10_000 - ticks
        if rng.random() < 0.2:
            side = 1 - side
        if rng.random() < 0.1:
            ticks = 10_000 - ticks  # the price of the sister beside our own token
        return {
            "order_id": cased(rng, "0x" + hash_of(intent.order_no).hex()), "matched_amount": decimal(size),
            "price": price_text(ticks), "fee_rate_bps": "0", "side": ("BUY", "SELL")[side],
            "asset_id": str(10 * intent.instrument + outcome), "outcome_index": outcome, **self.named(intent)}

    def trade(self) -> None:
        """One match: some makers of ours, some of others; the taker is ours, or not."""
        rng = self.rng
        row, outcome, side = rng.choice(ROWS), rng.randint(0, 1), rng.randint(0, 1)
        limit = rng.randrange(500, 9_500, 100)
        makers, total, is_maker = [], 0, False
        for _ in range(rng.randint(1, 4)):
            size = rng.randint(1, 300) * 10_000
            total += size
            against = (1 - side, outcome) if rng.random() < 0.6 else (side, 1 - outcome)
            ticks = limit if against[1] == outcome else 10_000 - limit
            if rng.random() < 0.6:
                is_maker = True
                intent = self.order(row, against[1], against[0], ticks, size)
                makers.append(self.entry(intent, size))
                self.booked(intent, ticks, size)
            else:
                makers.append({
                    "order_id": "0x" + rng.randbytes(32).hex(), "owner": OTHER, "maker_address": STRANGER,
                    "matched_amount": decimal(size), "price": price_text(ticks), "fee_rate_bps": "0",
                    "asset_id": str(10 * row + against[1]), "side": ("BUY", "SELL")[against[0]]})
        is_taker = rng.random() < 0.5 or not is_maker
        names = {"owner": OTHER, "trade_owner": OTHER, "maker_address": STRANGER}
        taker_id, roles = "0x" + rng.randbytes(32).hex(), (None, "MAKER")
        if is_taker:
            slack = rng.choice((0, 0, 100, 400))  # it may do better than its limit
            worse = min(9_900, limit + slack) if side == 0 else max(100, limit - slack)
            intent = self.order(row, outcome, side, worse, total)
            taker_id = "0x" + hash_of(intent.order_no).hex()
            names |= self.named(intent)
            names["trade_owner"] = names["owner"]
            self.booked(intent, limit, total)
            roles = (None, "TAKER", "MAKER") if hash_of(intent.order_no) in self.sent else (None, "TAKER")
        role = rng.choice(roles)
        if is_taker and rng.random() < 0.4:  # the taker's part, too, may be told of the sister token
            outcome, side, limit = 1 - outcome, 1 - side, 10_000 - limit
        frame = {
            "event_type": "trade", "type": "TRADE", "id": str(uuid.UUID(int=rng.getrandbits(128))),
            "taker_order_id": taker_id, "market": f"0x{row:064x}", "asset_id": str(10 * row + outcome),
            "side": ("BUY", "SELL")[side], "size": decimal(total), "price": price_text(limit),
            "status": "MATCHED", "timestamp": "1790000000123", "transaction_hash": "", "maker_orders": makers,
            **names}
        if role is not None:
            frame["trader_side"] = role
        found = self.decoder.decode(json.dumps(frame).encode(), 1)
        assert found.reject is None, found.text
        self.world.tell(*found.records)

    def booked(self, intent: Any, ticks: int, size: int) -> None:
        usd = -(-ticks * size // 10_000) if intent.side == 0 else ticks * size // 10_000
        self.ledger.add(intent.instrument, intent.outcome, intent.side == 0, size, usd, 0)


def decimal(size: int) -> str:
    return f"{size // MICRO}.{size % MICRO:06d}".rstrip("0").rstrip(".")


def test_FL05_own_orders_decide_side_token_and_price(gate_record: Callable[..., None]) -> None:
    """Whatever view a trade is told from, each own order in it is booked once, as it was signed."""
    first, count, done = fresh_seed(), figure("FL05", "trades"), 0
    print(f"seed {first}")
    while done < count:
        seed = first + done
        desk = Desk(seed)
        for _ in range(25):
            desk.trade()
            done += 1
        facts, ledger = desk.world.facts, desk.ledger
        assert len(ledger.trades) == facts.fills.applied_count, seed
        assert (0, 0) == (facts.quarantine.count, facts.orders.stranger_count), seed
        for row in ROWS:
            for outcome in (0, 1):
                assert ledger.held(row, outcome) == facts.positions.held(row, outcome), (seed, row, outcome)
        assert ledger.cash == facts.positions.cash_usd_micro, seed
        assert facts.accounting.corrected_count > 0, seed
    gate_record("FL05", "trades", done, first)


def test_FL05_a_price_beyond_our_limit_is_not_ours() -> None:
    """No contract settles it: our own limit is booked, and the alarm rings."""
    desk = Desk(1)
    intent = desk.order(1, 0, 0, 3_000, 10 * MICRO)
    desk.sent.add(hash_of(intent.order_no))
    frame = {
        "event_type": "trade", "id": str(uuid.UUID(int=5)), "taker_order_id": "0x" + hash_of(1).hex(),
        "market": "0x1", "asset_id": "10", "side": "BUY", "size": "10", "price": "0.31", "status": "MATCHED",
        "timestamp": "1790000000123", "maker_orders": []}
    [slot] = desk.decoder.decode(json.dumps(frame).encode(), 1).records
    desk.world.tell(slot)
    facts = desk.world.facts
    assert (-3 * MICRO, 1) == (facts.positions.cash_usd_micro, facts.alarms.count("fill_beyond_limit"))
    assert 3_100 == unpack(slot).price_ticks and 1 == intent.order_no
