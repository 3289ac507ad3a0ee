"""Records for tests of core, made by hand; and a venue that answers trade's orders in simple, exact ways."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.codec import CODECS, unpack
from pipeline.core.checkpoint import restore, serialise
from pipeline.core.detector import Detector
from pipeline.core.trader import Trader, slots_of
from pipeline.kinds import Kind, OrderState, OrderType, Origin, Rule, Side, TradeStatus
from pipeline.units import MICRO, NS_PER_MS, NS_PER_S

T0_NS = 1_790_000_000 * NS_PER_S
FULL = int(Rule.TRADABLE | Rule.NEG_RISK | Rule.EXCLUSIVE | Rule.EXHAUSTIVE | Rule.MIRRORED)


def pack(kind: Kind, **fields: Any) -> bytes:
    """Return one slot; `now_ns` defaults to the start of test time."""
    fields.setdefault("now_ns", T0_NS)
    return CODECS[kind].pack(**fields)


def config(**changes: int) -> bytes:
    """Return limits that allow ordinary packages; every value above zero."""
    values = {
        "order_usd_micro_max": 1_000 * MICRO,
        "market_usd_micro_max": 10_000 * MICRO,
        "event_usd_micro_max": 20_000 * MICRO,
        "day_usd_micro_max": 1_000_000 * MICRO,
        "open_orders_max": 100,
        "partial_loss_usd_micro_max": 1_000 * MICRO,
        "residue_usd_micro_max": 1_000 * MICRO,
        "edge_usd_micro_min": 1,
        "edge_ppm_min": 1,
        "proof_age_ns_max": 2 * NS_PER_S,
        "intent_ttl_ns": 250 * NS_PER_MS,
        "cooldown_ns": 100 * NS_PER_MS,
        "submit_timeout_ns": 3 * NS_PER_S,
        "package_usd_micro_max": 2_000 * MICRO,
        "package_orders_max": 15,
        "levels_max": 8,
        "salt_epoch": 7,
        "batch_ns_max": NS_PER_MS,
        "hash_rows_max": 8,
        "desync_ns_max": NS_PER_S,
    }
    return pack(Kind.CONFIG, **{**values, **changes})


def instrument(row: int, index: int = 0, count: int = 1, event: int = 1, **changes: Any) -> bytes:
    """Return a tradable market: one outcome of a complete neg-risk event unless changed."""
    values: dict[str, Any] = {
        "condition": row.to_bytes(32, "big"),
        "token_yes": (row * 2 + 1_000_000).to_bytes(32, "big"),
        "token_no": (row * 2 + 1_000_001).to_bytes(32, "big"),
        "rules": FULL,
        "event": event,
        "outcome_index": index,
        "outcome_count": count,
        "condition_bytes": 32,
        "tick_step": 100,
        "tick_step_finest": 100,
        "shard": 0,
        "fee_rate_ppm": 0,
        "fee_exponent": 1,
        "size_micro_min": 5 * MICRO,
        "usd_micro_min": MICRO,
        "label": f"row {row}".encode(),
    }
    return pack(Kind.INSTRUMENT, instrument=row, **{**values, **changes})


def event(rows: Sequence[int], number: int = 1, **changes: Any) -> list[bytes]:
    """Return the instruments of one event."""
    return [instrument(row, index, len(rows), number, **changes) for index, row in enumerate(rows)]


def top(
    row: int,
    bids: Iterable[tuple[int, int]],
    asks: Iterable[tuple[int, int]],
    now_ns: int = T0_NS,
    **changes: Any,
) -> bytes:
    """Return a TOP: levels as (ticks, whole shares), best first; proven now unless changed."""
    bids, asks = list(bids), list(asks)
    values: dict[str, Any] = {
        "bid_ticks": [price for price, _ in bids],
        "ask_ticks": [price for price, _ in asks],
        "bid_micro": [int(size * MICRO) for _, size in bids],
        "ask_micro": [int(size * MICRO) for _, size in asks],
        "venue_ns": now_ns,
        "proof_ns": now_ns,
        "seq": now_ns - T0_NS + 1,
    }
    return pack(Kind.TOP, instrument=row, now_ns=now_ns, **{**values, **changes})


def tick(now_ns: int) -> bytes:
    return pack(Kind.TICK, now_ns=now_ns)


def balance(usd_micro: int, now_ns: int = T0_NS) -> bytes:
    return pack(Kind.BALANCE, now_ns=now_ns, collateral_usd_micro=usd_micro, allowance_usd_micro=1 << 60)


def hash_of(order_no: int) -> bytes:
    return order_no.to_bytes(4, "big") * 8


def report(
    order_no: int, state: OrderState, origin: Origin = Origin.HTTP, now_ns: int = T0_NS, **changes: Any
) -> bytes:
    values: dict[str, Any] = {
        "order_hash": hash_of(order_no),
        "making_micro": -1,
        "taking_micro": -1,
        "matched_micro": -1,
    }
    return pack(
        Kind.REPORT,
        order_no=order_no,
        state=int(state),
        origin=int(origin),
        now_ns=now_ns,
        **{**values, **changes},
    )


def fill(
    order: Any,
    size_micro: int,
    trade: int,
    now_ns: int = T0_NS,
    status: TradeStatus = TradeStatus.MATCHED,
    **changes: Any,
) -> bytes:
    """Return a fill of an unpacked INTENT at its limit price."""
    values: dict[str, Any] = {
        "order_no": order.order_no,
        "order_hash": hash_of(order.order_no),
        "trade_id": trade.to_bytes(16, "big"),
        "venue_ns": now_ns,
        "size_micro": size_micro,
        "usd_micro": order.price_ticks * size_micro // 10_000,
        "price_ticks": order.price_ticks,
        "outcome": order.outcome,
        "side": order.side,
        "status": int(status),
        "instrument": order.instrument,
    }
    return pack(Kind.FILL, now_ns=now_ns, **{**values, **changes})


class Rig:
    """detect and trade in a row, as the chain runs them; keeps what was decided."""

    def __init__(self) -> None:
        self.detector, self.trader = Detector(), Trader()
        self.ideas: list[bytes] = []
        self.decisions: list[bytes] = []
        self.seq = 0

    def feed(self, *records: bytes) -> list[Any]:
        """Run records through both stages; return the decisions of these records, unpacked."""
        first = len(self.decisions)
        for record in records:
            self.seq += 1
            stamped = self.seq.to_bytes(8, "little") + record[8:]
            runs = self.detector.on_record(stamped)
            self._trade(stamped)
            for run in runs:
                self.ideas.append(run)
                self._trade(run)
        return [unpack(slot) for slot in self.decisions[first:]]

    def _trade(self, run: bytes) -> None:
        for decided in self.trader.on_record(run):
            self.decisions += slots_of(decided)

    def recover(self) -> None:
        """Replace trade by its checkpoint."""
        self.trader, _, _ = restore(serialise(self.trader))

    def of(self, kind: Kind) -> list[Any]:
        """Return every decision of a kind, unpacked."""
        return [unpack(slot) for slot in self.decisions if slot[32] == kind]


def started(*instruments: bytes, usd_micro: int = 100_000 * MICRO, **limits: int) -> Rig:
    """Return a rig that knows its limits, money and markets."""
    rig = Rig()
    rig.feed(config(**limits), balance(usd_micro), *instruments)
    return rig


class Venue:
    """Answers intents at random but truthfully: its own ledger is what trade must arrive at."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.cash_usd_micro = 0
        self.held: dict[tuple[int, int], int] = {}
        self._trade = 0
        self.pending: list[bytes] = []

    def take(self, intent: Any, now_ns: int) -> None:
        """Queue the reports and fills of one intent, in an order that a real venue could produce."""
        rng, fate = self.rng, self.rng.random()
        number = intent.order_no
        sent = report(number, OrderState.SENT, Origin.GATEWAY, now_ns)
        if fate < 0.1:
            self.pending += [
                report(number, OrderState.UNSENT, rng.choice([Origin.SIGNER, Origin.GATEWAY]), now_ns)
            ]
            return
        if fate < 0.2:
            self.pending += [sent, report(number, OrderState.REJECTED, Origin.HTTP, now_ns, matched_micro=0)]
            return
        whole = fate < 0.7
        size = intent.size_micro if whole else rng.randrange(0, intent.size_micro // 10_000) * 10_000
        records, left = [], size
        while left > 0:
            part = left if rng.random() < 0.6 else max(10_000, left // 20_000 * 10_000)
            part = min(part, left)
            self._trade += 1
            records += self._filled(intent, part, now_ns)
            left -= part
        if intent.order_type == OrderType.FAK:
            answer = report(number, OrderState.MATCHED, Origin.HTTP, now_ns, taking_micro=size)
            if size == 0:
                answer = report(number, OrderState.REJECTED, Origin.HTTP, now_ns, matched_micro=0)
        else:
            state = OrderState.MATCHED if whole else OrderState.LIVE
            answer = report(number, state, Origin.HTTP, now_ns, matched_micro=size, taking_micro=size)
        end = []
        if intent.order_type == OrderType.GTC and not whole:
            end = [report(number, OrderState.CANCELED, Origin.USER_CHANNEL, now_ns, matched_micro=size)]
        body = [answer, *records]
        rng.shuffle(body)
        if fate > 0.95:
            body = [report(number, OrderState.UNKNOWN, Origin.GATEWAY, now_ns), *body]
        if rng.random() < 0.15:
            body = [*body[:1], sent, *body[1:]]  # a user-channel message overtakes the gateway's report
        else:
            body = [sent, *body]
        self.pending += [*body, *end]

    def _filled(self, intent: Any, size_micro: int, now_ns: int) -> list[bytes]:
        rng, trade = self.rng, self._trade
        usd = intent.price_ticks * size_micro // 10_000
        fee = rng.randrange(0, 5) * 10
        walk = [TradeStatus.MATCHED, TradeStatus.MINED, TradeStatus.CONFIRMED]
        if rng.random() < 0.1:
            walk = [TradeStatus.MATCHED, TradeStatus.RETRYING, TradeStatus.FAILED]
        else:
            assert intent.side == Side.BUY
            key = (intent.instrument, intent.outcome)
            self.held[key] = self.held.get(key, 0) + size_micro
            self.cash_usd_micro -= usd + fee
        told = [status for status in walk for _ in range(rng.choice([1, 1, 2, 5]))]
        return [
            fill(
                intent,
                size_micro,
                trade,
                now_ns,
                status,
                fee_usd_micro=fee,
                order_no=rng.choice([0, intent.order_no]),
            )
            for status in told
        ]

    def resolve(self, row: int, is_yes: bool, now_ns: int) -> bytes:
        """Pay out a market and return its record."""
        paid = (MICRO, 0) if is_yes else (0, MICRO)
        for outcome in (0, 1):
            self.cash_usd_micro += self.held.pop((row, outcome), 0) * paid[outcome] // MICRO
        return pack(
            Kind.RESOLVED, instrument=row, now_ns=now_ns, payout_micro_yes=paid[0], payout_micro_no=paid[1]
        )
