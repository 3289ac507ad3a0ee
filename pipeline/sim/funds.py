"""Whether an order can be paid for, and what it would cost: balances, reservations, minimum, fees.

Source: venue sheet 10.7, 10.8 and 11.1, read 2026-11-20. Only what is settled can be spent: shares of a
match that may still fail cannot be sold, nor its proceeds be used (venue sheet 19.8).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipeline.sim import errors_text as texts
from pipeline.sim.accounts import Account
from pipeline.sim.book import Fill, Order, OrderType, token_ticks, total
from pipeline.sim.errors_text import Refusal
from pipeline.sim.fees import fees_micro
from pipeline.sim.ledger import USD, Ledger
from pipeline.sim.market import Market
from pipeline.sim.orders import refuse_allowance
from pipeline.sim.settings import ExchangeSettings, FeePer
from pipeline.units import MICRO, cost_micro

Kept = Mapping[str, Mapping[str, Order]]  # account name -> order id -> order


class Funds:
    """Reads the ledger and the orders that the engine keeps; changes nothing."""

    def __init__(self, settings: ExchangeSettings, ledger: Ledger, resting: Kept, held: Kept) -> None:
        self._settings = settings
        self._ledger = ledger
        self._resting = resting
        self._held = held

    def settled_micro(self, account: Account, asset: str) -> int:
        """Return the balance as the venue serves it: without what a failed settlement could take back."""
        unsettled = self._ledger.unsettled(account.name, asset)
        return max(0, self._ledger.balance(account.name, asset) - unsettled)

    def reserved_micro(self, account: Account, asset: str) -> int:
        """Return what the account's resting and held orders hold of "usd" or of a token."""
        reserved = 0
        held = self._held.get(account.name, {}).values()
        for order in (*self._resting.get(account.name, {}).values(), *held):
            if order.is_buy and asset == USD:
                reserved += cost_micro(order.price_ticks, order.left_micro)
            elif not order.is_buy and asset == order.market.tokens[order.outcome]:
                reserved += order.left_micro
        return reserved

    def refuse(self, order: Order, fills: Sequence[Fill], is_complete: bool) -> Refusal | None:
        """Return why an order that would match `fills` now is not taken."""
        if order.post_only and fills:
            return texts.POST_ONLY_CROSSES
        if order.is_buy and (fills or not order.may_rest) and order.maker_micro < MICRO:
            return texts.marketable_min(order.maker_micro)
        asset = order.market.tokens[order.outcome] if not order.is_buy else USD
        needed = self._needed_micro(order, fills)
        refusal = refuse_allowance(order, needed)
        if refusal is not None:
            return refusal
        balance = self.settled_micro(order.account, asset)
        reserved = self.reserved_micro(order.account, asset)
        if needed > balance - reserved:
            return texts.not_enough(balance, reserved, order.maker_micro)
        if order.order_type is OrderType.FOK and not is_complete:
            return texts.FOK_KILLED
        if order.order_type is OrderType.FAK and not fills:
            return texts.FAK_KILLED
        return None

    def fees(self, market: Market, fills: Iterable[tuple[int, int]]) -> list[int]:
        """Return the taker's fee of each (price_ticks of its token, size_micro)."""
        return fees_micro(market, fills, self._settings.fee_per is FeePer.ORDER)

    def _needed_micro(self, order: Order, fills: Sequence[Fill]) -> int:
        """Return what the order may cost: shares if selling, else money with fees on top."""
        if not order.is_buy:
            return order.maker_micro
        own = [(token_ticks(f.price_ticks, order.outcome), f.size_micro) for f in fills]
        spent = sum(cost_micro(price, size) for price, size in own)
        rest = cost_micro(order.price_ticks, order.size_micro - total(fills)) if order.may_rest else 0
        return max(order.maker_micro, spent + rest) + sum(self.fees(order.market, own))
