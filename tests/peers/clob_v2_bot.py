"""Flows of py-clob-client-v2 against the exchange: `python clob_v2_bot.py HOST`. Prints facts as JSON."""

from __future__ import annotations

import sys
import time
from typing import Any

from bot import KEYS, refused, run, until
from py_clob_client_v2 import ApiCreds, BookParams, ClobClient, OrderArgs, OrderType
from py_clob_client_v2.clob_types import (
    BalanceAllowanceParams,
    MarketOrderArgsV2,
    OpenOrderParams,
    OrderMarketCancelParams,
    OrderPayload,
    OrderScoringParams,
    PostOrdersV2Args,
    PricesHistoryParams,
    TradeParams,
)
from py_clob_client_v2.utilities import parse_raw_orderbook_summary

HOST, WALLETS = sys.argv[1], dict(pair.split("=") for pair in sys.argv[2:])
CHAIN = 137
client = ClobClient(HOST, CHAIN, key=KEYS["anvil3"])


def keys() -> Any:
    """Create, refuse a second one, derive the same, list."""
    made = client.create_api_key()
    twice = refused(client.create_api_key)
    derived = client.derive_api_key()
    client.set_api_creds(client.create_or_derive_api_key())
    return {
        "same": made == derived == client.creds,
        "twice": twice,
        "listed": client.get_api_keys()["apiKeys"] == [made.api_key],
        "closed_only": client.get_closed_only_mode(),
    }


def catalogue() -> Any:
    """Walk every list by its cursor, and look one market up in each way."""
    walked = {}
    lists = (client.get_markets, client.get_simplified_markets, client.get_sampling_markets,
             client.get_sampling_simplified_markets)
    for ask in lists:
        cursor, rows = "MA==", []
        while cursor != "LTE=":
            page = ask(next_cursor=cursor)
            rows += page["data"]
            cursor = page["next_cursor"]
        walked[ask.__name__] = len({row["condition_id"] for row in rows})
    market = market_of("generated")
    condition = market["condition_id"]
    return {
        "walked": walked,
        "same": client.get_market(condition)["question"] == market["question"],
        "info": [token["t"] for token in client.get_clob_market_info(condition)["t"]]
        == [token["token_id"] for token in market["tokens"]],
        "unknown": refused(lambda: client.get_market("0x" + "00" * 32)),
    }


def is_v2(row: dict[str, Any]) -> bool:
    """Whether a market's tokens are position ids, which keep these bits zero."""
    return not int(row["tokens"][0]["token_id"]) & ((1 << 64) - 1) << 40


def market_of(slug: str, tick: float = 0.01, neg_risk: bool = False, v2: bool = False) -> dict[str, Any]:
    rows = client.get_markets()["data"]
    return next(
        row for row in rows if slug in row["market_slug"] and row["neg_risk"] is neg_risk
        and row["minimum_tick_size"] == tick and is_v2(row) is v2
    )


def token_of(slug: str = "generated", **wanted: Any) -> str:
    return market_of(slug, **wanted)["tokens"][0]["token_id"]


def prices() -> Any:
    """Books prove their hash; every price route agrees with the book that stands behind it."""
    rows = [row for row in client.get_markets()["data"] if not is_v2(row)]
    tokens = [token["token_id"] for row in rows[:25] for token in row["tokens"]]
    proven = 0
    for raw in client.get_order_books([BookParams(token) for token in tokens]):
        served = raw["hash"]
        proven += served == client.get_order_book_hash(parse_raw_orderbook_summary(raw))
    token = token_of()
    single = client.get_order_book(token)
    served = single["hash"]
    pair = [BookParams(token, "BUY"), BookParams(token, "SELL")]
    return {
        "books": len(tokens),
        "proven": proven,
        "single": served == client.get_order_book_hash(parse_raw_orderbook_summary(single)),
        "best_last": float(single["bids"][-1]["price"]) > float(single["bids"][0]["price"]),
        "tick": client.get_tick_size(token),
        "neg_risk": client.get_neg_risk(token),
        "mid": client.get_midpoint(token)["mid"],
        "mids": list(client.get_midpoints(pair[:1])),
        "price": client.get_price(token, "BUY")["price"],
        "prices": client.get_prices(pair)[token],
        "spread": client.get_spread(token)["spread"],
        "spreads": list(client.get_spreads(pair[:1])),
        "last": client.get_last_trade_price(token),
        "lasts": client.get_last_trades_prices(pair[:1]),
        "server_s": abs(client.get_server_time() - time.time()) < 5,
        "version": client.get_version(),
        "token": token,
    }


def limit_orders() -> Any:
    """GTC, GTD, post-only and a batch rest; each way of cancelling takes exactly what it names."""
    token, other = token_of(), token_of("generated", tick=0.001)
    expires = int(time.time()) + 3_600
    gtc = post(token, 0.01, 10)
    gtd = client.create_and_post_order(
        OrderArgs(token, 0.01, 11, "BUY", expiration=expires), order_type=OrderType.GTD)
    maker = client.create_and_post_order(OrderArgs(token, 0.01, 12, "BUY"), post_only=True)
    batch = client.post_orders([
        PostOrdersV2Args(client.create_order(OrderArgs(of, 0.01, size, "BUY")), OrderType.GTC)
        for of, size in ((token, 13), (token, 14), (other, 15))
    ])
    made = [gtc, gtd, maker, *batch]
    ids = [answer["orderID"] for answer in made]
    listed = client.get_open_orders()
    filtered = client.get_open_orders(OpenOrderParams(asset_id=other))
    one = client.get_order(ids[1])
    by_id = client.cancel_order(OrderPayload(ids[0]))
    by_ids = client.cancel_orders([ids[1], ids[2], ids[0]])
    by_market = client.cancel_market_orders(OrderMarketCancelParams(asset_id=other))
    rest = client.cancel_all()
    return {
        "statuses": [answer["status"] for answer in made],
        "ids": ids,
        "listed": sorted(row["id"] for row in listed) == sorted(ids),
        "filtered": [row["id"] for row in filtered] == ids[5:],
        "one": {name: one[name] for name in ("id", "order_type", "expiration", "original_size", "status")},
        "expires": expires,
        "by_id": by_id,
        "by_ids": by_ids,
        "by_market": by_market,
        "rest": rest,
        "left": client.get_open_orders(),
    }


def post(token: str, price: float, size: float, side: str = "BUY") -> Any:
    return client.create_and_post_order(OrderArgs(token, price, size, side))


def fill(of: ClobClient, token: str, usd: float, kind: str = OrderType.FAK, is_bounded: bool = True) -> Any:
    """Buy at the market; the book moves meanwhile, so a kill is tried again."""

    def attempt() -> Any:
        price = 0.99 if is_bounded else 0
        order = MarketOrderArgsV2(token, usd, "BUY", price, order_type=kind)
        try:
            return of.create_and_post_market_order(order, order_type=kind)
        except Exception as error:
            if "filled or killed" in str(error) or "no match" in str(error):
                return None
            raise

    return until(attempt, f"a {kind} fill")


def market_orders() -> Any:
    """FOK and FAK buy, a FAK sells what they bought; the trades end CONFIRMED with their transaction."""
    token = token_of()
    answers = [fill(client, token, 5, OrderType.FOK), fill(client, token, 4, OrderType.FAK),
               fill(client, token, 3, OrderType.FOK, is_bounded=False)]
    until(lambda: are_confirmed(answers), "CONFIRMED")  # the venue sells settled shares only
    sold = until(lambda: sell(token, 5), "a sale")
    killed = refused(lambda: client.create_and_post_market_order(
        MarketOrderArgsV2(token, 100, "BUY", 0.01, order_type=OrderType.FOK), order_type=OrderType.FOK))
    empty = refused(lambda: client.create_and_post_market_order(
        MarketOrderArgsV2(token, 2, "BUY", 0.01, order_type=OrderType.FAK), order_type=OrderType.FAK))
    ids = [trade for answer in (*answers, sold) for trade in answer["tradeIDs"]]
    until(lambda: are_confirmed([sold]), "CONFIRMED")
    return {
        "orders": [answer["orderID"] for answer in (*answers, sold)],
        "statuses": [answer["status"] for answer in (*answers, sold)],
        "hashes": [bool(answer["transactionsHashes"]) for answer in (*answers, sold)],
        "trades": ids,
        "walked": sorted({row["id"] for row in client.get_trades()}) == sorted(set(ids)),
        "killed": killed,
        "empty": empty,
        "history": client.get_prices_history(PricesHistoryParams(market=token, interval="1d"))["history"],
    }


def are_confirmed(answers: list[Any]) -> bool:
    """Whether every trade of these orders is settled for good."""
    ids = [trade for answer in answers for trade in answer["tradeIDs"]]
    return all(client.get_trades(TradeParams(id=one))[0]["status"] == "CONFIRMED" for one in ids)


def sell(token: str, shares: float) -> Any:
    order = MarketOrderArgsV2(token, shares, "SELL", 0.01, order_type=OrderType.FAK)
    return client.create_and_post_market_order(order, order_type=OrderType.FAK)


def wallets() -> Any:
    """Proxy, Safe and deposit wallet rest and take, on a plain and on a neg-risk market, for one API key."""
    made = {}
    for kind in (1, 2, 3):
        funder = WALLETS[str(kind)]
        of = ClobClient(
            HOST, CHAIN, key=KEYS["anvil3"], creds=client.creds, signature_type=kind, funder=funder)
        rests = of.create_and_post_order(OrderArgs(token_of(), 0.01, 20 + kind, "BUY"))
        negative = of.create_and_post_order(
            OrderArgs(token_of("", neg_risk=True), 0.01, 20 + kind, "BUY"))
        before = of.get_balance_allowance(BalanceAllowanceParams("COLLATERAL"))
        taken = fill(of, token_of(), 2)
        after = of.get_balance_allowance(BalanceAllowanceParams("COLLATERAL"))
        of.update_balance_allowance(BalanceAllowanceParams("COLLATERAL"))
        made[kind] = {
            "orders": [rests["orderID"], negative["orderID"], taken["orderID"]],
            "statuses": [rests["status"], negative["status"], taken["status"]],
            "spent": int(before["balance"]) - int(after["balance"]),
            "spenders": sorted(after["allowances"]),
        }
    strange = ClobClient(
        HOST, CHAIN, key=KEYS["anvil3"], creds=client.creds, signature_type=2, funder=WALLETS["1"])
    return {"made": made, "strange": refused(
        lambda: strange.create_and_post_order(OrderArgs(token_of(), 0.01, 20, "BUY")))}


def heartbeats() -> Any:
    """A key that beats and falls silent loses its orders; a wrong id is told the right one."""
    of = ClobClient(HOST, CHAIN, key=KEYS["anvil4"])
    of.set_api_creds(of.create_or_derive_api_key(nonce=7))
    order = of.create_and_post_order(OrderArgs(token_of(), 0.01, 30, "BUY"))
    first = of.post_heartbeat("")["heartbeat_id"]
    second = of.post_heartbeat(first)["heartbeat_id"]
    wrong = refused(lambda: of.post_heartbeat(first))
    return {"order": order["orderID"], "second": second, "wrong": wrong}


def errors() -> Any:
    """Refusals keep the venue's status and words."""
    token = token_of()
    asks = client.get_order_book(token)["asks"]
    crossing = float(asks[-1]["price"])
    wrong_key = ApiCreds(client.creds.api_key, client.creds.api_secret, "0" * 64)
    liar = ClobClient(HOST, CHAIN, key=KEYS["anvil3"], creds=wrong_key)
    stranger = ClobClient(HOST, 80002, key=KEYS["anvil3"], creds=client.creds)
    order = client.create_order(OrderArgs(token, 0.01, 10, "BUY"))
    first = client.post_order(order)
    return {
        "first": first["orderID"],
        "twice": refused(lambda: client.post_order(order)),
        "cancelled": client.cancel_all()["canceled"],
        "small": refused(lambda: post(token, 0.01, 1)),
        "poor": refused(lambda: post(token, 0.01, 10_000_000)),
        "crossing": refused(lambda: client.create_and_post_order(
            OrderArgs(token, min(0.99, crossing + 0.2), 10, "BUY"), post_only=True)),
        "chain": refused(lambda: stranger.create_and_post_order(OrderArgs(token, 0.01, 10, "BUY"))),
        "key": refused(liar.get_open_orders),
        "book": refused(lambda: client.get_order_book("1")),
        "cursor": refused(lambda: client.get_markets(next_cursor="!")),
        "order": refused(lambda: client.get_order("0x" + "00" * 32)),
    }


def v2_orders() -> Any:
    """A position id is signed for ExchangeV3: it rests and takes; the same id as a token is refused."""
    token = token_of(v2=True)
    rests = client.create_and_post_order(OrderArgs(position_id=token, price=0.01, size=20, side="BUY"))
    wrong = refused(lambda: client.create_and_post_order(OrderArgs(token, 0.01, 21, "BUY")))

    def attempt() -> Any:
        order = MarketOrderArgsV2(
            position_id=token, amount=4, side="BUY", price=0.99, order_type=OrderType.FAK)
        try:
            return client.create_and_post_market_order(order, order_type=OrderType.FAK)
        except Exception as error:
            if "no orders found" in str(error):
                return None
            raise

    taken = until(attempt, "a fill of a v2 market")
    until(lambda: are_confirmed([taken]), "CONFIRMED")
    held = client.get_balance_allowance(BalanceAllowanceParams("CONDITIONAL-V2", token_id=token))
    raw = client.get_order_book(token)
    return {
        "orders": [rests["orderID"], taken["orderID"]],
        "statuses": [rests["status"], taken["status"]],
        "wrong": wrong,
        "held": int(held["balance"]),
        "version": raw["version"],
        "cancelled": client.cancel_all()["canceled"],
    }


def account() -> Any:
    """The small reads answer in the form that the client expects."""
    return {
        "notifications": client.get_notifications(),
        "dropped": client.drop_notifications(),
        "scoring": client.is_order_scoring(OrderScoringParams("0x" + "11" * 32)),
        "before_migration": client.get_pre_migration_orders(),
        "builder_key": sorted(client.create_builder_api_key()),
        "deleted": client.delete_api_key(),
        "after": refused(client.get_open_orders),
    }


run([keys, catalogue, heartbeats, prices, limit_orders, market_orders, v2_orders, wallets, errors, account])
