"""How an order, a trade and a book look in the venue's JSON; shared by REST and the user channel."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from pipeline.sim.accounts import Account
from pipeline.sim.book import Order
from pipeline.sim.market import Market
from pipeline.sim.trades import Trade
from pipeline.units import NS_PER_MS, NS_PER_S, TICKS_PER_USD, int_to_decimal

OTHER_OWNER = "00000000-0000-4000-8000-000000000000"  # API key shown for other participants
OTHER_ADDRESS = "0x00000000000000000000000000000000000000fe"


def price_text(price_ticks: int) -> str:
    return int_to_decimal(price_ticks, 4)


def size_text(size_micro: int) -> str:
    return int_to_decimal(size_micro, 6)


def side_text(is_buy: bool) -> str:
    return "BUY" if is_buy else "SELL"


def tick_text(market: Market) -> str:
    return int_to_decimal(market.tick_step, 4)


def order_row(order: Order) -> dict[str, Any]:
    """Return the row of GET /data/orders; `created_at` is in seconds."""
    return {
        "id": order.order_id,
        "status": order.status_text,
        "owner": order.api_key,
        "maker_address": order.account.wallet,
        "market": order.market.condition,
        "asset_id": order.market.tokens[order.outcome],
        "side": side_text(order.is_buy),
        "original_size": size_text(order.size_micro),
        "size_matched": size_text(order.matched_micro),
        "price": price_text(order.price_ticks),
        "outcome": order.market.outcomes[order.outcome],
        "order_type": order.order_type.value,
        "expiration": str(order.expiration_s),
        "created_at": order.created_ns // NS_PER_S,
        "associate_trades": list(order.trade_ids),
    }


def trade_row(trade: Trade, viewer: Account, api_key: str) -> dict[str, Any]:
    """Return the trade for `viewer`: top level is the taker's, its maker fill is in `maker_orders`."""
    is_taker = trade.taker is not None and trade.taker.account is viewer
    return {
        "id": trade.trade_id,
        "taker_order_id": trade.taker.order_id if trade.taker else _other_order(trade),
        "market": trade.market.condition,
        "asset_id": trade.market.tokens[trade.outcome],
        "side": side_text(trade.is_buy),
        "outcome": trade.market.outcomes[trade.outcome],
        "size": size_text(trade.size_micro),
        "price": price_text(trade.price_ticks),
        "fee_rate_bps": "0",  # the charged fee follows from `fd`, not from here (venue sheet 19.29)
        "status": trade.status,
        "match_time": str(trade.now_ns // NS_PER_S),
        "last_update": str(trade.updated_ns // NS_PER_S),
        "owner": api_key,
        "maker_address": viewer.wallet,
        "transaction_hash": trade.transaction_hash,
        "bucket_index": 0,
        "trader_side": "TAKER" if is_taker else "MAKER",
        "maker_orders": [_maker_row(trade)],
    }


def _maker_row(trade: Trade) -> dict[str, Any]:
    """Other participants always buy: the complement when the taker bought (mint), its token when it sold."""
    maker = trade.maker
    outcome = maker.outcome if maker else trade.outcome ^ trade.is_buy
    is_buy = maker.is_buy if maker else True
    price = trade.price_ticks if outcome == trade.outcome else TICKS_PER_USD - trade.price_ticks
    return {
        "order_id": maker.order_id if maker else _other_order(trade),
        "owner": maker.api_key if maker else OTHER_OWNER,
        "maker_address": maker.account.wallet if maker else OTHER_ADDRESS,
        "matched_amount": size_text(trade.size_micro),
        "price": price_text(price),
        "fee_rate_bps": "0",
        "asset_id": trade.market.tokens[outcome],
        "side": side_text(is_buy),
        "outcome": trade.market.outcomes[outcome],
        "outcome_index": outcome,
    }


def _other_order(trade: Trade) -> str:
    return "0x" + hashlib.sha256(f"other:{trade.trade_id}".encode()).hexdigest()


def book_object(
    market: Market, outcome: int, bids: list[tuple[int, int]], asks: list[tuple[int, int]], timestamp_ns: int
) -> dict[str, Any]:
    """Return the REST book of one token, hash included; levels are of the YES view, best first.

    Best level last in both arrays; the key order is that of the hash (venue sheet 4 and 5, 2026-11-20).
    """
    if outcome == 1:
        bids, asks = ([(TICKS_PER_USD - p, s) for p, s in side] for side in (asks, bids))
    book: dict[str, Any] = {
        "market": market.condition,
        "asset_id": market.tokens[outcome],
        "timestamp": str(timestamp_ns // NS_PER_MS),
        "hash": "",
        "bids": [{"price": price_text(p), "size": size_text(s)} for p, s in reversed(bids)],
        "asks": [{"price": price_text(p), "size": size_text(s)} for p, s in reversed(asks)],
        "min_order_size": market.min_order_size,
        "tick_size": tick_text(market),
        "neg_risk": market.neg_risk,
        "last_trade_price": market.last_trade,
    }
    if market.version == "v2":
        book["version"] = "v2"
    book["hash"] = hashlib.sha1(orjson.dumps(book), usedforsecurity=False).hexdigest()
    return book
