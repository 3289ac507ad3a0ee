"""Orders for the engine without signatures: what `pipeline.sim.orders.prove` would return."""

from __future__ import annotations

from itertools import count

from pipeline.sim.accounts import Account
from pipeline.sim.book import Order, OrderType
from pipeline.sim.market import Market

NUMBERS = count(1)


def order(
    account: Account,
    market: Market,
    is_buy: bool,
    price_ticks: int,
    size_micro: int = 0,
    order_type: str = "GTC",
    outcome: int = 0,
    budget_micro: int = 0,
    post_only: bool = False,
    expiration_s: int = 0,
    order_id: str = "",
) -> Order:
    """Return an order of `size_micro` shares, or a FAK/FOK buy that spends `budget_micro`."""
    usd_micro = budget_micro or size_micro * price_ticks // 10_000
    size_micro = size_micro or budget_micro * 10_000 // price_ticks
    maker, taker = (usd_micro, size_micro) if is_buy else (size_micro, usd_micro)
    order_id = order_id or f"0x{next(NUMBERS):064x}"
    return Order(
        order_id, account, "key", market, outcome, is_buy, OrderType(order_type), post_only, price_ticks,
        maker, taker, expiration_s, 0,
    )  # fmt: skip
