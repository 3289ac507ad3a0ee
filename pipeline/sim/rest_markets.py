"""CLOB lists of markets and the history of prices: routes that need no key.

Source: venue sheet 4, clients sheet 2.2, read 2026-11-20. The venue's sampling lists hold the markets with
rewards; here no market pays any, so they hold every market that accepts orders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.sim import errors_text as texts
from pipeline.sim import gamma
from pipeline.sim.http import Response, json_response, refuse
from pipeline.sim.market import Market
from pipeline.sim.paging import clob_page
from pipeline.units import MICRO, NS_PER_S, TICKS_PER_USD

if TYPE_CHECKING:
    from pipeline.sim.exchange import Exchange

NO_REWARDS = {"rates": None, "min_size": 0, "max_spread": 0}
INTERVAL_S = {"1h": 3_600, "6h": 21_600, "1d": 86_400, "1w": 604_800, "1m": 2_592_000}
POINTS_MAX = 10_000


class MarketRoutes:
    """Answers GET /markets and its like, and /prices-history."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def get(self, now_ns: int, path: str, query: dict[str, str]) -> Response | None:
        """Answer a GET; None if the path is none of these."""
        is_open_only = path.startswith("/sampling-")
        row = {"markets": self._whole, "simplified-markets": self._simple}.get(
            path.removeprefix("/sampling-").removeprefix("/")
        )
        if row is not None:
            markets = self._exchange.engine.markets.values()
            rows = (market for market in markets if market.accepting or not is_open_only)
            return clob_page(query, rows, row, self._exchange.settings.markets_page_max)
        if path.startswith("/markets/"):
            market = self._exchange.engine.markets.get(path.removeprefix("/markets/"))
            return refuse(texts.MARKET_NOT_FOUND) if market is None else json_response(self._whole(market))
        return self._history(now_ns, query) if path == "/prices-history" else None

    def _simple(self, market: Market) -> dict[str, Any]:
        is_closed = market.payout_micro is not None
        return {
            "condition_id": market.condition,
            "rewards": NO_REWARDS,
            "tokens": [self._token(market, outcome) for outcome in (0, 1)],
            "active": True,
            "closed": is_closed,
            "archived": False,
            "accepting_orders": market.accepting and not is_closed,
        }

    def _whole(self, market: Market) -> dict[str, Any]:
        described = gamma.market_object(market)
        return self._simple(market) | {
            "enable_order_book": True,
            "accepting_order_timestamp": described["acceptingOrdersTimestamp"],
            "minimum_order_size": described["orderMinSize"],
            "minimum_tick_size": market.told_tick_step / TICKS_PER_USD,
            "question_id": described["questionID"],
            "question": market.question,
            "description": "",
            "market_slug": market.slug,
            "end_date_iso": described["endDate"],
            "game_start_time": gamma.iso_text(market.game_start_s),
            "seconds_delay": market.seconds_delay,
            "fpmm": "",
            "maker_base_fee": described["makerBaseFee"],
            "taker_base_fee": described["takerBaseFee"],
            "notifications_enabled": False,
            "neg_risk": market.neg_risk,
            "neg_risk_market_id": described.get("negRiskMarketID", ""),
            "neg_risk_request_id": described.get("negRiskRequestID", ""),
            "icon": "",
            "image": "",
            "is_50_50_outcome": False,
            "tags": list(market.tags),
        }

    def _token(self, market: Market, outcome: int) -> dict[str, Any]:
        payout = market.payout_micro
        ticks = shown_ticks(self._exchange, market, outcome)
        return {
            "token_id": market.tokens[outcome],
            "outcome": market.outcomes[outcome],
            "price": ticks / TICKS_PER_USD,
            "winner": payout is not None and payout[outcome] == MICRO,
        }

    def _history(self, now_ns: int, query: dict[str, str]) -> Response:
        """Answer the last traded price of each `fidelity` minutes; the bounds are seconds, both included."""
        found = self._exchange.market_by_token.get(query.get("market", ""))
        interval, fidelity = query.get("interval", ""), query.get("fidelity", "1")
        bounds = query.get("startTs", "0"), query.get("endTs", str(now_ns // NS_PER_S))
        numbers = [int(text) for text in (*bounds, fidelity) if text.isascii() and text.isdigit()]
        if found is None or len(numbers) < 3 or interval not in ("", "max", "all", *INTERVAL_S):
            return refuse(texts.INVALID_HISTORY)
        start_s, end_s, minutes = numbers
        if interval in INTERVAL_S:
            start_s = max(start_s, now_ns // NS_PER_S - INTERVAL_S[interval])
        market, outcome = found
        step_s = max(1, minutes) * 60
        last: dict[int, tuple[int, int]] = {}
        for traded_ns, yes_ticks in self._exchange.prints(market):
            at_s = traded_ns // NS_PER_S
            if start_s <= at_s <= end_s:
                last[at_s // step_s] = (at_s, yes_ticks if outcome == 0 else TICKS_PER_USD - yes_ticks)
        points = [{"t": at_s, "p": ticks / TICKS_PER_USD} for at_s, ticks in last.values()]
        return json_response({"history": points[-POINTS_MAX:]})


def shown_ticks(exchange: Exchange, market: Market, outcome: int) -> int:
    """Return a token's price for display: what it paid, else the middle of its book, else its last trade."""
    if market.payout_micro is not None:
        return market.payout_micro[outcome] * TICKS_PER_USD // MICRO
    bids, asks = exchange.levels(market, True), exchange.levels(market, False)
    prints = exchange.prints(market)
    if bids and asks:
        yes_ticks = (bids[0][0] + asks[0][0]) // 2
    else:
        yes_ticks = prints[-1][1] if prints else TICKS_PER_USD // 2
    return yes_ticks if outcome == 0 else TICKS_PER_USD - yes_ticks
