"""A wallet on a chain, and three ways of hearing of it: its fills, an index that lags, and balances.

The truth is `held`, by (row, outcome). The index shows that of some seconds ago, cut to what it lists.
Everything else is trade's own code.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from pipeline.codec import unpack
from pipeline.kinds import Kind, OrderState, Origin, Side, TradeStatus
from pipeline.units import MICRO, NS_PER_MS, NS_PER_S
from tests.models.core_rig import T0_NS, event, fill, pack, report, started, tick

ROWS = (1, 2, 3, 4)
STEP_NS = 250 * NS_PER_MS
LIST_NS = 60 * NS_PER_S
HIDDEN_MICRO = 100_000  # the index lists nothing below (venue sheet 13)


class Wallet:
    """One seed: `run` lets time pass; `move` takes or brings shares without a trade."""

    def __init__(self, rng: random.Random, *, is_rough: bool = True) -> None:
        self.rng, self.is_rough = rng, is_rough
        self.rig = started(*event(ROWS))
        self.now_ns = T0_NS
        self.held: Counter[tuple[int, int]] = Counter()
        self.offered: Counter[tuple[int, int]] = Counter()
        self.past: list[tuple[int, Counter[tuple[int, int]]]] = [(0, Counter())]
        self.trading: set[int] = set(ROWS)
        self.lag_ns = rng.randint(0, 30) * NS_PER_S if is_rough else 0
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = 0
        self._listed_ns = T0_NS - rng.randrange(LIST_NS)

    @property
    def facts(self) -> Any:
        return self.rig.trader.facts

    @property
    def alarms(self) -> dict[str, Any]:
        """Return what rang about shares."""
        return {name: told for name, told in self.facts.alarms.told.items() if name.startswith("shares_")}

    def run(self, seconds: float, is_done: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass; True as soon as it is done."""
        until_ns = self.now_ns + int(seconds * NS_PER_S)
        while self.now_ns < until_ns:
            self.now_ns += STEP_NS
            while self._due and self._due[0][0] <= self.now_ns:
                self._due.pop(0)[2]()
            if self.trading and self.rng.random() < 0.1:
                self._trade()
            if self.now_ns - self._listed_ns >= LIST_NS:
                self._listed_ns += LIST_NS
                self._list()
            for asked in self.rig.feed(tick(self.now_ns)):
                if asked.kind == Kind.RECONCILE and asked.instrument:
                    self._ask(asked)
            if is_done():
                return True
        return is_done()

    def move(self, row: int, outcome: int, micro: int) -> None:
        """Shares come or go without a trade of ours."""
        self._hold((row, outcome), micro)

    def resume(self) -> None:
        """The operator goes on."""
        self.rig.feed(pack(Kind.CLEAR, now_ns=self.now_ns, resume_no=1))

    def truth(self) -> dict[tuple[int, int], int]:
        """Return what it holds, zeros left out."""
        return {token: micro for token, micro in self.held.items() if micro}

    def believed(self) -> dict[tuple[int, int], int]:
        """Return what trade takes this wallet to hold, zeros left out."""
        facts = self.facts
        ours, others = facts.positions.shares, facts.external.positions.shares
        sums = {
            (row, outcome): ours(row)[outcome] + others(row)[outcome] for row in ROWS for outcome in (0, 1)}
        return {token: micro for token, micro in sums.items() if micro}

    # -- the venue ------------------------------------------------------------------------------------

    def _later(self, wait_ns: int, action: Callable[[], None]) -> None:
        self._numbers += 1
        self._due.append((self.now_ns + wait_ns, self._numbers, action))
        self._due.sort(key=lambda one: one[:2])

    def _hold(self, token: tuple[int, int], micro: int) -> None:
        self.held[token] += micro
        self.past.append((self.now_ns, self.held.copy()))

    def _trade(self) -> None:
        """Match one order: told late, settled seconds later, or failed."""
        self._numbers += 1
        number, row = self._numbers, self.rng.choice(sorted(self.trading))
        outcome, size = self.rng.randrange(2), self.rng.randint(1, 50 * MICRO)
        token = row, outcome
        is_sale = self.held[token] - self.offered[token] >= size and self.rng.random() < 0.3
        self.offered[token] += size * is_sale  # never less afterwards: what is on offer is not sold twice
        slot = pack(
            Kind.INTENT, now_ns=self.now_ns, order_no=number, instrument=row, outcome=outcome,
            side=int(Side.SELL if is_sale else Side.BUY), price_ticks=4_000, size_micro=size,
            worst_usd_micro=size)
        self.rig.trader.apply_decision(slot)
        intent, told_ns = unpack(slot), self.rng.randint(0, 2_000) * NS_PER_MS
        self.rig.feed(report(number, OrderState.SENT, Origin.GATEWAY, now_ns=self.now_ns))

        def tell(status: TradeStatus) -> None:
            self.rig.feed(fill(intent, size, number, self.now_ns, status))
            if status == TradeStatus.MATCHED:
                self.rig.feed(report(number, OrderState.MATCHED, now_ns=self.now_ns, matched_micro=size))

        self._later(told_ns, lambda: tell(TradeStatus.MATCHED))
        end_ns = told_ns + self.rng.randint(500, 12_000) * NS_PER_MS
        if self.rng.random() < 0.2:
            self._later(end_ns, lambda: tell(TradeStatus.FAILED))
            return
        # the chain moves some seconds before or after we hear that it is final, never more than 2 s
        moved_ns = max(0, end_ns + self.rng.randint(-2_000, 2_000) * NS_PER_MS)
        self._later(moved_ns, lambda: self._hold(token, -size if is_sale else size))
        self._later(end_ns, lambda: tell(TradeStatus.CONFIRMED))

    def _list(self) -> None:
        """The index: as it was, without small positions; sometimes cut short, sometimes empty and whole."""
        shown = next(held for when_ns, held in reversed(self.past) if when_ns <= self.now_ns - self.lag_ns)
        rows = [(token, micro) for token, micro in sorted(shown.items()) if micro >= HIDDEN_MICRO]
        luck = self.rng.random() if self.is_rough else 1.0
        is_whole = luck >= 0.2
        if luck < 0.4:
            rows = rows[:self.rng.randint(0, len(rows))]  # cut short, and only half the time it says so
        for (row, outcome), micro in rows:
            self._tell(row, -1 if outcome else micro, micro if outcome else -1)
        self._tell(0, -1, -1, ok=int(is_whole))

    def _ask(self, asked: Any) -> None:
        """Answer with both balances, or not at all."""
        begun_ns, row = self.now_ns, asked.instrument
        if self.rng.random() < 0.05:
            return

        def answer() -> None:
            self._tell(row, self.held[row, 0], self.held[row, 1], begun_ns=begun_ns, is_balance=1)

        self._later(self.rng.randint(50, 1_500) * NS_PER_MS, answer)

    def _tell(self, row: int, yes_micro: int, no_micro: int, **fields: int) -> None:
        values = {"begun_ns": self.now_ns, **fields}
        self.rig.feed(pack(
            Kind.HOLDING, now_ns=self.now_ns, instrument=row, yes_micro=yes_micro, no_micro=no_micro,
            **values))
