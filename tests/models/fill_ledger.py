"""What trades of our orders come to: a flat list, summed up anew for every question; the truth for FL tests.

Nothing here is incremental, and nothing is shared with `core`: worlds are tried one by one, each unsettled
trade as it hurts more. Money in USD micro, sizes in 1e-6 share.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

SETTLED, FAILED, OPEN = "settled", "failed", "open"
MICRO = 1_000_000


@dataclass
class Trade:
    """One trade of one order of ours. outcome 0 = YES; what it cost, or brought, and its fee."""

    row: int
    outcome: int
    is_buy: bool
    size: int
    usd: int
    fee: int
    fate: str = OPEN

    @property
    def shares(self) -> int:
        return self.size if self.is_buy else -self.size

    @property
    def cost(self) -> int:
        return (self.usd if self.is_buy else -self.usd) + self.fee


@dataclass
class FillLedger:
    """All trades, whatever became of them."""

    trades: list[Trade] = field(default_factory=list)

    def add(self, *values: int | bool) -> Trade:
        self.trades.append(Trade(*values))
        return self.trades[-1]

    @property
    def standing(self) -> list[Trade]:
        return [trade for trade in self.trades if trade.fate != FAILED]

    @property
    def cash(self) -> int:
        return -sum(trade.cost for trade in self.standing)

    @property
    def fees(self) -> int:
        return sum(trade.fee for trade in self.standing)

    def held(self, row: int, outcome: int) -> int:
        return sum(one.shares for one in self.standing if (one.row, one.outcome) == (row, outcome))

    def settled(self, row: int, outcome: int) -> int:
        """Return what can be used: shares that nobody can take back."""
        return sum(one.shares for one in self.trades
                   if (one.row, one.outcome) == (row, outcome) and one.fate == SETTLED)

    def worst(self, rows: Iterable[int], winners: Sequence[dict[int, int]]) -> int:
        """Return the most that these markets can lose. winners: possible worlds, row -> outcome that pays."""
        wanted = set(rows)
        trades = [trade for trade in self.standing if trade.row in wanted]
        losses = [0]
        for world in winners:
            loss = 0
            for trade in trades:
                one = trade.cost - (trade.shares if world[trade.row] == trade.outcome else 0)
                loss += one if trade.fate == SETTLED else max(one, 0)
            losses.append(loss)
        return max(losses)

    def worst_row(self, row: int) -> int:
        return self.worst([row], [{row: 0}, {row: 1}])

    def worst_event(self, rows: Sequence[int]) -> int:
        """Return the same of an exclusive, exhaustive event: exactly one of its rows pays YES."""
        return self.worst(rows, [{row: int(row != winner) for row in rows} for winner in rows])

    def worst_by_trying(self, row: int) -> int:
        """Return `worst_row` by trying each way in which the unsettled trades may end."""
        trades = [trade for trade in self.standing if trade.row == row]
        losses = [0]
        for stands in itertools.product((True, False), repeat=len(trades)):
            if all(is_there or trade.fate == OPEN for is_there, trade in zip(stands, trades, strict=True)):
                kept = [trade for is_there, trade in zip(stands, trades, strict=True) if is_there]
                losses += [
                    sum(one.cost - (one.shares if one.outcome == paying else 0) for one in kept)
                    for paying in (0, 1)]
        return max(losses)
