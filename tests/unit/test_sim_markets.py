"""The CLOB's lists of markets, the history of prices and the small routes beside them."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.sim.exchange import Exchange
from pipeline.sim.market import Market
from pipeline.sim.settings import ExchangeSettings
from tests.sim_guests import ask
from tests.sim_trader import NOW_NS, Trader, exchange_of, json_of, market

SHARE, SECOND = 10**6, 10**9
MARKETS = [market(number) for number in range(1, 8)]
LISTS = ["/markets", "/simplified-markets", "/sampling-markets", "/sampling-simplified-markets"]


def venue(**settings: Any) -> Exchange:
    return exchange_of([Trader()], [market(number) for number in range(1, 8)], ExchangeSettings(**settings))


@pytest.mark.parametrize("path", LISTS)
def test_cursor_walks_every_market_once(path: str) -> None:
    """From "MA==" on, following next_cursor to "LTE=" gives each market once; past the end is empty."""
    exchange, seen, cursor = venue(markets_page_max=3), [], "MA=="
    while cursor != "LTE=":
        page = ask(exchange, "clob", f"{path}?next_cursor={cursor}")
        assert page["count"] == len(page["data"]) <= 3 == page["limit"]
        seen += [row["condition_id"] for row in page["data"]]
        cursor = page["next_cursor"]
    assert [of.condition for of in MARKETS] == seen
    assert [] == ask(exchange, "clob", f"{path}?next_cursor=LTE=")["data"]
    assert ask(exchange, "clob", path)["data"] == ask(exchange, "clob", f"{path}?next_cursor=MA==")["data"]
    assert "invalid next_cursor" == ask(exchange, "clob", f"{path}?next_cursor=!", 400)["error"]


def test_market_tells_its_tokens_and_end() -> None:
    """Tokens in outcome order with price and winner; a resolved market is closed and sampled no more."""
    exchange = venue()
    of: Market = next(iter(exchange.engine.markets.values()))
    exchange.foreign_changes(NOW_NS, of, [(True, 4800, SHARE), (False, 5400, SHARE)])
    row = ask(exchange, "clob", f"/markets/{of.condition}")
    assert [(of.tokens[0], "Yes", 0.51, False), (of.tokens[1], "No", 0.49, False)] == [
        (token["token_id"], token["outcome"], token["price"], token["winner"]) for token in row["tokens"]]
    assert (False, True, 5, 0.01) == tuple(
        row[name] for name in ("closed", "accepting_orders", "minimum_order_size", "minimum_tick_size"))
    exchange.resolve(NOW_NS, of, 1)
    row = ask(exchange, "clob", f"/markets/{of.condition}")
    assert [(0.0, False), (1.0, True)] == [(token["price"], token["winner"]) for token in row["tokens"]]
    assert (True, False) == (row["closed"], row["accepting_orders"])
    assert 7 == len(ask(exchange, "clob", "/markets")["data"])
    assert 6 == len(ask(exchange, "clob", "/sampling-markets")["data"])
    assert "market not found" == ask(exchange, "clob", "/markets/0x00", 404)["error"]


def test_history_is_made_of_trades() -> None:
    """One point for each span, its last trade; NO is the mirror; the bounds are kept; nothing is invented."""
    exchange = venue()
    of: Market = next(iter(exchange.engine.markets.values()))
    path = f"/prices-history?market={of.tokens[0]}"
    assert {"history": []} == ask(exchange, "clob", f"{path}&interval=max")
    begun_s = NOW_NS // SECOND
    for after_s, ticks in ((0, 5200), (10, 5300), (60, 5500), (7_200, 6000)):
        now_ns = NOW_NS + after_s * SECOND
        exchange.foreign_changes(now_ns, of, [(False, ticks, SHARE)])
        exchange.foreign_take(now_ns, of, True, ticks, SHARE)
    late_ns = NOW_NS + 7_201 * SECOND
    rows = ask(exchange, "clob", f"{path}&interval=max", now_ns=late_ns)["history"]
    assert begun_s // 60 == (begun_s + 10) // 60  # one minute: its later trade stands for both
    assert [(10, 0.53), (60, 0.55), (7_200, 0.6)] == [(row["t"] - begun_s, row["p"]) for row in rows]
    no = f"/prices-history?market={of.tokens[1]}&interval=1h"
    assert [{"t": begun_s + 7_200, "p": 0.4}] == ask(exchange, "clob", no, now_ns=late_ns)["history"]
    bounded = f"{path}&startTs={begun_s + 60}&endTs={begun_s + 60}"
    assert [{"t": begun_s + 60, "p": 0.55}] == ask(exchange, "clob", bounded, now_ns=late_ns)["history"]
    wide = ask(exchange, "clob", f"{path}&interval=max&fidelity=1440", now_ns=late_ns)["history"]
    assert {"t": begun_s + 7_200, "p": 0.6} == wide[-1]
    assert 2 >= len(wide)


@pytest.mark.parametrize(
    "query", ["", "market=1", "market=11&interval=2w", "market=11&startTs=soon", "market=11&fidelity=x"])
def test_wrong_history_is_refused(query: str) -> None:
    """A question for the past that cannot be meant is 400, as on the venue."""
    assert "invalid filters" in ask(venue(), "clob", f"/prices-history?{query}", 400)["error"]


def test_builders_take_nothing_here() -> None:
    """A well-formed builder code has rates of 0; anything else is not found."""
    rates = {"builder_maker_fee_rate_bps": 0, "builder_taker_fee_rate_bps": 0}
    assert rates == ask(venue(), "clob", "/fees/builder-fees/0x" + "ab" * 32)
    assert ask(venue(), "clob", "/fees/builder-fees/me", 404)["error"]


def test_balance_names_every_spender() -> None:
    """COLLATERAL lists three exchanges, two adapters, the older one and the router; shares have theirs."""
    exchange, trader = venue(), Trader()
    of: Market = next(iter(exchange.engine.markets.values()))
    sizes = {}
    for kind, token in (("COLLATERAL", ""), ("CONDITIONAL", of.tokens[0]), ("CONDITIONAL-V2", of.tokens[0])):
        path = f"/balance-allowance?asset_type={kind}&token_id={token}&signature_type=0"
        row = json_of(trader.call(exchange, "GET", path))
        assert {str((1 << 256) - 1)} == set(row["allowances"].values())
        sizes[kind] = len(row["allowances"])
    assert {"COLLATERAL": 7, "CONDITIONAL": 4, "CONDITIONAL-V2": 2} == sizes


def test_small_account_routes() -> None:
    """Notifications can be dropped, nothing scores, no order is from before the migration."""
    exchange, trader = venue(), Trader()
    assert "OK" == json_of(trader.call(exchange, "DELETE", "/notifications?ids=1"))
    assert {"scoring": False} == json_of(trader.call(exchange, "GET", "/order-scoring?order_id=0x1"))
    assert {"0x1": False} == json_of(trader.call(exchange, "POST", "/orders-scoring", ["0x1"]))
    assert 400 == trader.call(exchange, "POST", "/orders-scoring", {"a": 1}).status
    page = json_of(trader.call(exchange, "GET", "/data/pre-migration-orders"))
    assert ([], "LTE=") == (page["data"], page["next_cursor"])
