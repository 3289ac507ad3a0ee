"""How many equal shares of a basket to buy, at which prices, with which orders.

Pure: ladders in, a priced package or a refusal out. Walks all ladders together by their marginal sum
(strategy.md 6.1), rounds down to a common lot, prices every order with exact fees and checks the edge again.

The arithmetic is native/sizing.pyx; its slow model is tests/models/sizing_model.py. A watched basket asks it
from its tops (`Sized.look`), `price_package` from legs made by hand.

Orders: one FAK per price level where its collateral amount is exact (2 decimals of USD, so the budget buys
the shares and no others), else share-targeted GTC orders whose rest is cancelled (venue sheet 10.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.core.legbook import SHARE_LOT_MICRO
from pipeline.kinds import Cause
from pipeline.native.legs import Leg
from pipeline.native.sizing import SCALES, price_legs
from pipeline.units import FEE_QUANTUM_USD_MICRO, PPM, TICKS_PER_USD

BUDGET_LOT_USD_MICRO = 10_000  # FAK and FOK amounts have 2 decimals of USD
assert (TICKS_PER_USD, SHARE_LOT_MICRO, PPM, FEE_QUANTUM_USD_MICRO) == SCALES


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one package; all above zero."""

    order_usd_micro_max: int  # all orders of one leg, fees included
    package_usd_micro_max: int
    partial_loss_usd_micro_max: int
    package_orders_max: int
    levels_max: int
    edge_usd_micro_min: int
    edge_ppm_min: int


class Order(NamedTuple):
    """One order of a package: buy `size_micro` of the token at `price_ticks` or better."""

    leg_no: int
    row: int
    outcome: int
    price_ticks: int
    size_micro: int
    order_type: int


class Package(NamedTuple):
    """A priced package: equal shares of every leg."""

    size_micro: int
    payout_usd_micro: int
    cost_usd_micro: int
    fee_usd_micro: int
    partial_loss_usd_micro: int
    orders: tuple[Order, ...]

    @property
    def edge_usd_micro(self) -> int:
        return self.payout_usd_micro - self.cost_usd_micro - self.fee_usd_micro


class Refusal(NamedTuple):
    """Why there is no package."""

    cause: Cause
    value: int
    limit: int


def price_package(
    legs: Sequence[Leg], sets_paid: int, bounds: Bounds, *, is_exclusive_no: bool = False,
) -> Package | Refusal:
    """Return the largest package that clears every bound, or why there is none.

    sets_paid: USD paid per share of the whole basket, proven by the caller.
    is_exclusive_no: every leg is the NO of another outcome of one exclusive event, so all but one leg of a
    partial fill pay 1 (a tighter bound of its loss).
    """
    return price_legs(legs, sets_paid, bounds, is_exclusive_no, Order, Package, Refusal)
