"""What the engine makes: trades, answers to orders, the journal of arrivals, and who hears of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from pipeline.sim.book import Order
from pipeline.sim.errors_text import Refusal
from pipeline.sim.later import Later
from pipeline.sim.market import Commit, Market
from pipeline.units import TICKS_PER_USD


@dataclass(slots=True, eq=False)
class Trade:
    """One match. `price_ticks` is of the taker's token; None stands for other participants."""

    trade_id: str
    market: Market
    now_ns: int
    price_ticks: int
    size_micro: int
    outcome: int  # token that the taker named
    is_buy: bool  # the taker's side
    taker: Order | None
    maker: Order | None
    fee_micro: int  # the taker's
    status: str = "MATCHED"
    updated_ns: int = 0
    transaction_hash: str = ""
    is_named: bool = False  # its parties may know of it
    taker_usd_micro: int = 0  # what each party paid or received, without fees
    maker_usd_micro: int = 0


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of an accepted order; money without fees."""

    order: Order
    trades: tuple[Trade, ...]
    status: str  # live | matched | delayed | unmatched
    after_hold: Later[Placed | Refusal] | None = None  # a held order whose request is answered only then


@dataclass(frozen=True, slots=True)
class OrderArrival:
    """An order as it reached the engine or was refused; `error` is "" if it was accepted."""

    now_ns: int
    batch: int  # one number per POST; all orders of a POST /orders share it
    order_id: str
    account: str
    market: Market
    outcome: int
    is_buy: bool
    order_type: str
    price_ticks: int
    maker_micro: int
    taker_micro: int
    error: str
    filled: tuple[tuple[int, int], ...] = field(default=())  # (price_ticks of its token, size_micro)


class Listener(Protocol):
    """Hears everything that the engine does, in order."""

    def on_order(self, now_ns: int, order: Order, change: str) -> None:
        """`change` is PLACEMENT, UPDATE or CANCELLATION."""

    def on_trade(self, now_ns: int, trade: Trade) -> None:
        """A new trade, or one whose status changed."""

    def on_commit(self, commit: Commit) -> None:
        """A book changed on display."""


@dataclass(slots=True)
class Tally:
    """What happened, for reports."""

    orders: int = 0
    refusals: int = 0
    trades: int = 0
    failed: int = 0  # trades that were reversed
    held: int = 0  # takers that waited out a delay
    posted_only: int = 0  # other participants' orders refused because they would have taken
    clipped: int = 0  # foreign removals larger than what was left
    clipped_micro: int = 0


def last_trade_text(price_ticks: int, is_buy: bool) -> str:
    """Return the last trade price as the book hash has it: p for a sell print, 1 - p for a buy print.

    Source: venue sheet 5 (fits both captured prints; three decimals; four on the finest grid is our choice).
    """
    ticks = TICKS_PER_USD - price_ticks if is_buy else price_ticks
    return f"0.{ticks:04d}" if ticks % 10 else f"0.{ticks // 10:03d}"
