"""The exchange's own account of a run: ledger, orders, fills, plants, frames, book history.

Reads: a `Scenario` and the sockets' rows. Writes: one JSON object (keys in the README of the demo).
Integers throughout: prices in ticks of 0.0001 USD, sizes and money in 1e-6, times in ns.
"""

from __future__ import annotations

from typing import Any

from pipeline.sim.book import Order
from pipeline.sim.market import Market
from pipeline.sim.scenario import Scenario
from pipeline.sim.trades import OrderArrival, Trade

VERSION = 1


def report(
    scenario: Scenario, sockets: list[dict[str, Any]], now_ns: int, with_history: bool = True
) -> dict[str, Any]:
    """Return the whole report. It is final once every market is resolved (`is_final`)."""
    exchange = scenario.exchange
    engine = exchange.engine
    markets = list(engine.markets.values())
    exchange.ledger.check(markets)
    return {
        "version": VERSION,
        "now_ns": now_ns,
        "seed": scenario.config.seed,
        "is_final": all(market.payout_micro is not None for market in markets),
        "resolved_ns": scenario.finished_ns,
        "flow_started_ns": scenario.player.started_ns,
        "flow_ns": scenario.player.flow_ns,
        "flow_done": scenario.player.is_done,
        "ledger_digest": exchange.ledger.digest(),
        "accounts": [_account_row(scenario, name) for name in exchange.accounts],
        "markets": [_market_row(market) for market in markets],
        "orders": [_order_row(order) for order in engine.orders.values()],
        "arrivals": [_arrival_row(arrival) for arrival in exchange.arrivals],
        "trades": [_trade_row(trade) for trade in engine.trades.values()],
        "plants": scenario.planting.report(),
        "winners": scenario.winners,
        "faults": scenario.faults.rows(),
        "modes": [[since_ns, mode.value] for since_ns, mode in engine.mode.spans],
        "mode_refusals": [[now_ns, mode.value] for now_ns, mode in engine.mode.refusals],
        "frames_sent": dict(scenario.channel.sent),
        "sockets": sockets,
        "tally": {
            "orders": engine.tally.orders,
            "refusals": engine.tally.refusals,
            "trades": engine.tally.trades,
            "failed": engine.tally.failed,
            "held": engine.tally.held,
            "posted_only": engine.tally.posted_only,
            "clipped": engine.tally.clipped,
            "clipped_micro": engine.tally.clipped_micro,
            "live_events": scenario.player.live_events,
            "dropped_texts": exchange.dropped_frames,
            "limited": exchange.edge.refused,
            "queued": exchange.edge.delayed,
        },
        "history": _history(scenario) if with_history else {},
    }


def _account_row(scenario: Scenario, name: str) -> dict[str, Any]:
    ledger = scenario.exchange.ledger
    account = scenario.exchange.accounts[name]
    cash, pnl = ledger.balance(name, "usd"), ledger.pnl(name)
    return {
        "name": name,
        "owner": account.owner,
        "wallet": account.wallet,
        "signature_type": account.signature_type,
        "cash_usd_micro": cash,
        "deposits_usd_micro": cash - pnl,
        "pnl_usd_micro": pnl,
        "fees_usd_micro": ledger.fees(name),
        "positions": ledger.positions(name),
    }


def _market_row(market: Market) -> dict[str, Any]:
    return {
        "condition": market.condition,
        "tokens": list(market.tokens),
        "slug": market.slug,
        "version": market.version,
        "event_id": market.event_id,
        "outcome_index": market.outcome_index,
        "outcome_count": market.outcome_count,
        "source": market.source.value,
        "planted": market.planted,
        "tick_step": market.tick_step,
        "fee_rate_ppm": market.fee_rate_ppm,
        "payout_micro": None if market.payout_micro is None else list(market.payout_micro),
    }


def _order_row(order: Order) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "account": order.account.name,
        "condition": order.market.condition,
        "outcome": order.outcome,
        "is_buy": order.is_buy,
        "order_type": order.order_type.value,
        "price_ticks": order.price_ticks,
        "maker_micro": order.maker_micro,
        "taker_micro": order.taker_micro,
        "created_ns": order.created_ns,
        "status": order.status.value,
        "status_text": order.status_text,
        "matched_micro": order.matched_micro - order.void_micro,  # what stands
        "usd_micro": order.usd_micro - order.void_usd_micro,
        "fee_micro": order.fee_micro - order.void_fee_micro,
        "void_micro": order.void_micro,
        "trade_ids": order.trade_ids,
    }


def _arrival_row(arrival: OrderArrival) -> dict[str, Any]:
    return {
        "now_ns": arrival.now_ns,
        "batch": arrival.batch,
        "order_id": arrival.order_id,
        "account": arrival.account,
        "condition": arrival.market.condition,
        "outcome": arrival.outcome,
        "is_buy": arrival.is_buy,
        "order_type": arrival.order_type,
        "price_ticks": arrival.price_ticks,
        "maker_micro": arrival.maker_micro,
        "taker_micro": arrival.taker_micro,
        "error": arrival.error,
        "filled": [list(fill) for fill in arrival.filled],
    }


def _trade_row(trade: Trade) -> dict[str, Any]:
    return {
        "trade_id": trade.trade_id,
        "condition": trade.market.condition,
        "now_ns": trade.now_ns,
        "updated_ns": trade.updated_ns,
        "price_ticks": trade.price_ticks,
        "size_micro": trade.size_micro,
        "outcome": trade.outcome,
        "is_buy": trade.is_buy,
        "taker_order_id": trade.taker.order_id if trade.taker else None,
        "maker_order_id": trade.maker.order_id if trade.maker else None,
        "fee_micro": trade.fee_micro,
        "status": trade.status,
    }


def _history(scenario: Scenario) -> dict[str, list[Any]]:
    """Return every commit of the planted markets by condition: [now_ns, [[is_bid, price, size], …], no]."""
    out: dict[str, list[Any]] = {}
    for market in scenario.exchange.engine.markets.values():
        if market.planted:
            out[market.condition] = [
                [now_ns, [[one.is_bid, one.price_ticks, one.size_micro] for one in changes], number]
                for now_ns, changes, number in scenario.exchange.history(market)
            ]
    return out
