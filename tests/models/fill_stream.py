"""trade's facts over a log of records, and what a death in the middle leaves of them.

`Facts` folds records and decisions as recovery does and keeps the log; `crash` replaces the trader by an old
checkpoint and what the log holds after it.
"""

from __future__ import annotations

import random
from typing import Any

from pipeline.codec import unpack
from pipeline.core.checkpoint import facts_digest, restore, serialise
from pipeline.core.trader import Trader
from pipeline.kinds import Kind, OrderState, OrderType, Origin, Side
from tests.models.core_rig import T0_NS, balance, config, event, pack, report

ROWS = (1, 2, 3)


class Facts:
    """A trader that is told facts; `now_ns` goes with the caller."""

    def __init__(self, rows: tuple[int, ...] = ROWS, usd_micro: int = 10**12, **instrument: Any) -> None:
        self.trader = Trader()
        self.now_ns = T0_NS
        self.log: list[tuple[bool, bytes]] = []
        self.seq = 0
        self._checkpoint = serialise(self.trader), 0
        self.tell(config(), balance(usd_micro), *event(rows, **instrument))
        self._orders = 0

    @property
    def facts(self) -> Any:
        return self.trader.facts

    def tell(self, *slots: bytes) -> None:
        """Fold stream records at the present time."""
        for slot in slots:
            self.seq += 1
            self._take(True, self.seq.to_bytes(8, "little") + self.now_ns.to_bytes(8, "little") + slot[16:])

    def decide(self, slot: bytes) -> None:
        """Apply a decision."""
        self._take(False, slot[:8] + self.now_ns.to_bytes(8, "little") + slot[16:])

    def _take(self, is_fact: bool, slot: bytes) -> None:
        self.log.append((is_fact, slot))
        (self.trader.fold if is_fact else self.trader.apply_decision)(slot)

    def order(
        self, row: int, price_ticks: int, size_micro: int, *, outcome: int = 0, side: int = Side.BUY,
        order_type: int = OrderType.GTC, sent: bool = True, group_no: int = 0,
    ) -> Any:
        """Intend an order; its SENT report, with the hash, follows at once unless told otherwise."""
        self._orders += 1
        worst = price_ticks * size_micro // 10_000 * 11 // 10
        slot = pack(
            Kind.INTENT, order_no=self._orders, instrument=row, outcome=int(outcome), side=int(side),
            order_type=int(order_type), price_ticks=price_ticks, size_micro=size_micro,
            worst_usd_micro=worst if side == Side.BUY else 0, group_no=group_no)
        self.decide(slot)
        if sent:
            self.tell(report(self._orders, OrderState.SENT, Origin.GATEWAY))
        return unpack(slot)

    def reconcile(self, wait_ns: int = 0, **fields: int) -> None:
        """Ask for everything; a whole pass ends after `wait_ns`."""
        number = self.facts.request_no + 1
        self.decide(pack(Kind.RECONCILE, request_no=number))
        self.now_ns += wait_ns
        self.tell(pack(Kind.RECONCILED, request_no=number, **({"ok": 1} | fields)))

    def checkpoint(self) -> None:
        """Write one, as the archive does now and then."""
        self._checkpoint = serialise(self.trader), len(self.log)

    def crash(self) -> None:
        """Die; the successor has the newest checkpoint and the log behind it, and knows the same."""
        before = facts_digest(self.trader)
        data, at = self._checkpoint
        self.trader, _, _ = restore(data)
        for is_fact, slot in self.log[at:]:
            (self.trader.fold if is_fact else self.trader.apply_decision)(slot)
        assert before == facts_digest(self.trader)

    def perhaps_die(self, rng: random.Random, chance: float = 0.1) -> None:
        """Write a checkpoint, die, or go on."""
        if rng.random() < chance:
            self.checkpoint()
        if rng.random() < chance:
            self.crash()
