"""Exact order amounts, size steps and taker fees, in integers.

Place in the stream: the trader asks `order_amounts` for the two amounts of an intent before it is
journalled. Reads and writes nothing. Prices in ticks of 0.0001 USD, sizes 1e-6 share, money 1e-6 USD.

Two ways to an amount stand here. `limit_amounts` and `market_amounts` round as the official exact
client does (venue sheet 10.3-10.5, reproduced by all vectors): they are for tools and for proof.
`order_amounts` never rounds: an order says exactly price and size or it is refused with the nearest
size that can be said, because a rounded leg is a leg that nobody hedged.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, NamedTuple

from pipeline.errors import InvariantError
from pipeline.kinds import Cause, OrderType, Side
from pipeline.units import FEE_QUANTUM_USD_MICRO, PPM, TICKS_PER_USD
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.identity import Refusal

_CENT: Final = 10_000  # 0.01 share or USD in 1e-6 units
_AMOUNT_MAX: Final = 2**63 - 1
_TENS: Final = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
_IMMEDIATE: Final = (OrderType.FOK, OrderType.FAK)
#: Tick step -> smallest step of a FOK or FAK order's shares (BUY) or proceeds (SELL).
_FINE: Final = {step: _TENS[6 - min(wire.STRICT_TAKER_DECIMALS, decimals[2])]
                for step, decimals in wire.ROUNDING.items()}


class Amounts(NamedTuple):
    """What an order gives and wants, 1e-6 units. BUY gives USD and wants shares; SELL the other way."""

    maker_amount: int
    taker_amount: int


def check_price(price_ticks: int, tick_step: int) -> Refusal | None:
    """Return why a price cannot stand in an order of this market; None when it can."""
    if tick_step not in wire.ROUNDING:
        return Refusal(Cause.OFF_GRID, f"tick step {tick_step} is none of {sorted(wire.ROUNDING)}")
    if not tick_step <= price_ticks <= TICKS_PER_USD - tick_step:
        return Refusal(Cause.OFF_GRID,
                       f"price {price_ticks} is outside {tick_step}..{TICKS_PER_USD - tick_step}")
    if price_ticks % tick_step:
        return Refusal(Cause.OFF_GRID, f"price {price_ticks} is no multiple of the tick step {tick_step}")
    return None


def _checked(amounts: Amounts) -> Amounts | Refusal:
    if min(amounts) <= 0:
        return Refusal(Cause.BELOW_MINIMUM, f"an amount rounds to nothing: {amounts}")
    if max(amounts) > _AMOUNT_MAX:
        return Refusal(Cause.LIMIT_ORDER, f"an amount exceeds {_AMOUNT_MAX}: {amounts}")
    return amounts


def limit_amounts(side: int, price_ticks: int, size_micro: int, tick_step: int) -> Amounts | Refusal:
    """Return the amounts of a GTC or GTD order; the size is floored to 0.01 share, the rest is exact."""
    refusal = check_price(price_ticks, tick_step)
    if refusal is not None:
        return refusal
    shares = size_micro // _CENT * _CENT
    usd = price_ticks * (shares // TICKS_PER_USD)  # exact: shares is a multiple of 10,000
    return _checked(Amounts(usd, shares) if side == Side.BUY else Amounts(shares, usd))


def market_amounts(side: int, price_ticks: int, quantity_micro: int, tick_step: int,
                   strict: bool = True) -> Amounts | Refusal:
    """Return the amounts of a FOK or FAK order as the official exact client computes them.

    quantity_micro: USD to spend for BUY, shares to give for SELL; floored to 2 decimals. BUY shares are
    rounded up to 4 decimals more than the tick's amount and then down, so the encoded price may exceed
    `price_ticks`; it is refused where that reaches a whole tick step. strict: taker amount at most 4
    decimals, as the server asks (T, py-clob-client-v2 issue 99).
    """
    refusal = check_price(price_ticks, tick_step)
    if refusal is not None:
        return refusal
    decimals = wire.ROUNDING[tick_step][2]
    maker = quantity_micro // _CENT * _CENT
    if side == Side.BUY:
        # up in units of 10**-(decimals + 4), then down to the tick's amount decimals
        fine = -(-maker * TICKS_PER_USD * _TENS[decimals - 2] // price_ticks)
        taker = fine // 10_000 * _TENS[6 - decimals]
    else:
        taker = price_ticks * (maker // TICKS_PER_USD)  # exact within the tick's amount decimals
    if strict:
        unit = _TENS[6 - min(wire.STRICT_TAKER_DECIMALS, decimals)]
        taker = taker // unit * unit
    if side == Side.BUY and maker * TICKS_PER_USD >= (price_ticks + tick_step) * taker:
        return Refusal(Cause.BELOW_MINIMUM, f"{maker} USD micro are too few: rounding would pay a tick more")
    return _checked(Amounts(maker, taker))


@lru_cache(maxsize=65_536)
def size_step_micro(order_type: int, side: int, price_ticks: int, tick_step: int) -> int:
    """Return the step that a size must be a multiple of, so that both amounts are exact and legal.

    GTC, GTD: 0.01 share. FOK, FAK SELL: 0.01 share and proceeds of at most 4 decimals. FOK, FAK BUY:
    collateral of whole cents and shares of at most 4 decimals (fewer where the tick allows fewer).
    The price must stand on the grid.
    """
    if order_type not in _IMMEDIATE:
        return _CENT
    unit = _FINE[tick_step]
    if side == Side.BUY:
        share_unit, usd_unit = unit, _CENT
    else:
        share_unit, usd_unit = _CENT, unit
    # smallest k with k * share_unit * price_ticks a multiple of usd_unit * 10,000
    whole = usd_unit * TICKS_PER_USD
    return share_unit * (whole // math.gcd(whole, share_unit * price_ticks))


def order_amounts(order_type: int, side: int, price_ticks: int, size_micro: int,
                  tick_step: int) -> Amounts | Refusal:
    """Return the exact amounts of `size_micro` shares at `price_ticks`, or why they cannot be said.

    Never rounds: maker / taker is the price exactly. A refused size names the largest legal size that
    is not above it (0 = none). Venue minimums (shares, 1 USD marketable) are the caller's: they are
    values of the market.
    """
    refusal = check_price(price_ticks, tick_step)
    if refusal is not None:
        return refusal
    step = size_step_micro(order_type, side, price_ticks, tick_step)
    if size_micro <= 0 or size_micro % step:
        nearest = max(size_micro, 0) // step * step
        return Refusal(Cause.OFF_GRID if nearest else Cause.BELOW_MINIMUM,
                       f"size {size_micro} is no multiple of {step} at price {price_ticks}; "
                       f"nearest below is {nearest}", nearest)
    usd = price_ticks * size_micro // TICKS_PER_USD  # exact by the step
    return _checked(Amounts(usd, size_micro) if side == Side.BUY else Amounts(size_micro, usd))


def fine_step_micro(tick_step: int) -> int:
    """Return the smallest step of a FOK or FAK order's shares (BUY) or proceeds (SELL); 0: no such grid."""
    return _FINE.get(tick_step, 0)


def counter_amount(maker_amount: int, taker_amount: int, filled_maker_micro: int) -> int:
    """Return what a partial fill of `filled_maker_micro` gives on chain: rounded down (Exchange.sol)."""
    return filled_maker_micro * taker_amount // maker_amount


def taker_fee_usd_micro(price_ticks: int, size_micro: int, rate_ppm: int, exponent: int) -> int:
    """Return the taker fee of one fill: size * rate * (p(1-p))**exponent, floored to 10 uUSD.

    Source: venue sheet 14.1 (21 of 21 settled fills of September 2026); BUY pays it on top, SELL has it
    deducted; makers pay nothing.
    """
    spread = int((price_ticks * (TICKS_PER_USD - price_ticks)) ** exponent)
    scale = int(PPM * (TICKS_PER_USD * TICKS_PER_USD) ** exponent)
    return size_micro * rate_ppm * spread // (scale * FEE_QUANTUM_USD_MICRO) * FEE_QUANTUM_USD_MICRO


def fee_adjusted_usd_micro(usd_micro: int, budget_usd_micro: int, price_ticks: int, rate_ppm: int,
                           exponent: int, builder_bps: int = 0) -> int:
    """Return the BUY collateral that leaves room for its fees inside a budget, floored to whole cents.

    collateral = min(asked, budget / (1 + rate * (p(1-p))**e / p + builder)); as polymarket-client 0.14.0.
    """
    if not 0 < price_ticks < TICKS_PER_USD:
        raise InvariantError(f"polymarket.amounts: expected a price of 1..9999 ticks, was {price_ticks}")
    scale = int(PPM * price_ticks * (TICKS_PER_USD * TICKS_PER_USD) ** exponent * 10_000)
    fee = int(rate_ppm * (price_ticks * (TICKS_PER_USD - price_ticks)) ** exponent * TICKS_PER_USD * 10_000)
    builder = builder_bps * scale // 10_000  # exact: scale is a multiple of 10,000
    afford = budget_usd_micro * scale // (scale + fee + builder)
    return min(usd_micro, afford) // _CENT * _CENT


