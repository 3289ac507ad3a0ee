"""Flows of the synchronous polymarket-client under the venue's own host names: `python unified_bot.py`.

Nothing but HTTPS_PROXY and SSL_CERT_FILE leads it to the exchange. Prints facts as JSON.
"""

from __future__ import annotations

import sys
import time
from decimal import Decimal
from typing import Any

import httpx
from bot import KEYS, refused, run, until
from eth_abi.abi import encode
from eth_account import Account
from polymarket import PublicClient, RelayerApiKey, SecureClient, TransactionCall
from py_clob_client_v2 import ClobClient, OrderArgs
from py_clob_client_v2.clob_types import OrderPayload

EOA, WALLETS = sys.argv[1], dict(pair.split("=") for pair in sys.argv[2:])
KEY = KEYS["anvil5"]
COLLATERAL = "0xC011a7E12a19f7B1f670d46F03B03f3342E82DFB"
ADAPTER = "0xAdA100Db00Ca00073811820692005400218FcE1f"
EXCHANGE = "0xE111180000d2663C0091e4f400237545B87B996B"
public = PublicClient()
clients: dict[str, SecureClient] = {}
markets: list[Any] = []


def sign_in() -> Any:
    """Each wallet type signs in with one key: made by the first, derived by the others; one is default."""
    clients["0"] = SecureClient.create(private_key=KEY, wallet=EOA)
    for kind, wallet in WALLETS.items():
        clients[kind] = SecureClient.create(
            private_key=KEY, wallet=wallet, api_key=RelayerApiKey(key="any", address=EOA))
    default = SecureClient.create(private_key=KEY)
    again = SecureClient.create(private_key=KEY, wallet=EOA, credentials=default.credentials)
    return {
        "types": {kind: of.wallet_type for kind, of in clients.items()},
        "default": default.wallet,
        "keys": len({of.credentials.key for of in (*clients.values(), default, again)}),
        "listed": again.fetch_api_keys() == (again.credentials.key,),
        "closed_only": again.get_closed_only_mode(),
        "nowhere": refused(lambda: SecureClient.create(private_key=KEYS["anvil6"], wallet=WALLETS["1"])),
    }


def catalogue() -> Any:
    """Every market and event comes once through the cursors; filters and look-ups name the same objects."""
    listed = [one for page in public.list_markets(closed=False, page_size=100) for one in page.items]
    events = [one for page in public.list_events(closed=False, page_size=50) for one in page.items]
    some = listed[:3]
    token = some[0].outcomes.yes.token_id
    by = {
        "ids": public.list_markets(ids=[int(one.id) for one in some]),
        "slug": public.list_markets(slug=[one.slug for one in some]),
        "condition_ids": public.list_markets(condition_ids=[one.condition_id for one in some]),
        "clob_token_ids": public.list_markets(clob_token_ids=[one.outcomes.no.token_id for one in some]),
    }
    event = events[0]
    return {
        "markets": len({one.condition_id for one in listed}),
        "rows": len(listed),
        "events": len({one.id for one in events}),
        "of_events": sum(len(one.markets) for one in events),
        "closed": len(public.list_markets(closed=True).first_page().items),
        "filters": {
            name: sorted(one.id for one in found.first_page().items) == sorted(one.id for one in some)
            for name, found in by.items()
        },
        "same": [
            public.get_market(id=some[0].id).id, public.get_market(slug=some[0].slug).id,
            public.get_market(url=f"https://polymarket.com/market/{some[0].slug}").id,
        ] == [some[0].id] * 3,
        "same_event": public.get_event(id=event.id).id == public.get_event(slug=event.slug).id == event.id,
        "unknown": refused(lambda: public.get_market(slug="no-such-market")),
        "token": token,
    }


def plain(neg_risk: bool = False, version: str = "v1") -> Any:
    """Return a market on the 0.01 grid."""
    if not markets:
        markets.extend(one for page in public.list_markets(closed=False, page_size=100) for one in page.items)
    return next(
        one for one in markets if one.state.neg_risk is neg_risk and one.version == version
        and one.trading.minimum_tick_size == Decimal("0.01") and ("generated" in one.slug or neg_risk)
    )


def prices() -> Any:
    """The typed reads parse, and a price agrees with the best level of its book."""
    token = plain().outcomes.yes.token_id
    book = public.get_order_book(asset_id=token)
    return {
        "book": [str(book.bids[-1].price), str(book.asks[-1].price), book.asset_id == token],
        "books": len(public.get_order_books(asset_ids=[token])),
        "mid": str(public.get_midpoint(asset_id=token)),
        "price": str(public.get_price(asset_id=token, side="BUY")),
        "spread": str(public.get_spread(asset_id=token)),
        "last": public.get_last_trade_price(asset_id=token).model_dump(mode="json"),
    }


def limit_orders() -> Any:
    """GTC, GTD and post-only rest, a batch keeps its order; cancels by id, ids, market and all."""
    of, market = clients["0"], plain()
    yes, no = market.outcomes.yes.token_id, market.outcomes.no.token_id
    expires = int(time.time()) + 900
    made = [
        of.place_limit_order(asset_id=yes, price="0.01", size=10, side="BUY"),
        of.place_limit_order(asset_id=yes, price="0.01", size=11, side="BUY", expiration=expires),
        of.place_limit_order(asset_id=yes, price="0.01", size=12, side="BUY", post_only=True),
    ]
    signed = [of.create_limit_order(asset_id=no, price="0.01", size=size, side="BUY") for size in (13, 14, 1)]
    batch = of.post_orders(signed)
    ids = [answer.order_id for answer in (*made, *batch[:2])]
    listed = [row.id for page in of.list_open_orders() for row in page.items]
    one = of.get_order(order_id=ids[1])
    by_id = of.cancel_order(order_id=ids[0])
    by_ids = of.cancel_orders(order_ids=[ids[1], ids[0]])
    by_market = of.cancel_market_orders(market=market.condition_id, asset_id=no)
    rest = of.cancel_all()
    return {
        "ids": ids,
        "statuses": [answer.status for answer in (*made, *batch[:2])],
        "refused_leg": [batch[2].ok, batch[2].code],
        "listed": sorted(listed) == sorted(ids),
        "one": [one.id, one.order_type, str(one.original_size)],
        "by_id": list(by_id.canceled),
        "by_ids": [list(by_ids.canceled), dict(by_ids.not_canceled)],
        "by_market": sorted(by_market.canceled),
        "rest": list(rest.canceled),
        "left": [row.id for page in of.list_open_orders() for row in page.items],
    }


def fill(of: SecureClient, token: str, usd: int, **bound: Any) -> Any:
    """Buy at the market; the book moves meanwhile, so a kill is tried again."""

    def attempt() -> Any:
        try:
            answer = of.place_market_order(asset_id=token, side="BUY", amount=usd, **bound)
        except Exception as error:
            if type(error).__name__ == "InsufficientLiquidityError" or "killed" in str(error):
                return None
            raise
        return answer if answer.ok else None

    return until(attempt, "a fill")


def market_orders() -> Any:
    """FAK and FOK buy and sell, with and without a bound; settlement brings a transaction for every fill."""
    of, token = clients["0"], plain().outcomes.yes.token_id
    bought = [
        fill(of, token, 5, order_type="FAK"), fill(of, token, 4, order_type="FOK", max_price="0.99"),
        fill(of, token, 3, order_type="FAK", max_spend=4),
    ]
    # settled shares only can be sold
    hashes = [len(of.wait_for_order_fill_settlement(answer)) for answer in bought]
    sold = of.place_market_order(asset_id=token, side="SELL", shares=5, min_price="0.01")
    answers = [*bought, sold]
    hashes.append(len(of.wait_for_order_fill_settlement(sold)))
    rows = [row for page in of.list_account_trades(asset_id=token) for row in page.items]
    killed = refused(lambda: of.place_market_order(
        asset_id=token, side="BUY", amount=100, max_price="0.01", order_type="FOK"))
    crossing = refused(lambda: of.place_limit_order(
        asset_id=token, price="0.99", size=10, side="BUY", post_only=True))
    return {
        "orders": [answer.order_id for answer in answers],
        "statuses": [answer.status for answer in answers],
        "trades": [list(answer.trade_ids) for answer in answers],
        "hashes": hashes,
        "rows": sorted(row.id for row in rows),
        "row_statuses": sorted({str(row.status) for row in rows}),
        "killed": killed,
        "crossing": crossing,
    }


def wallets() -> Any:
    """Proxy, Safe and deposit wallet trade from their own purse, plain and neg risk; the data API agrees."""
    made, placed, market, negative = {}, {}, plain(), plain(neg_risk=True)
    for kind in WALLETS:
        of = clients[kind]
        no = negative.outcomes.no.token_id
        rests = of.place_limit_order(asset_id=no, price="0.01", size=21, side="BUY")
        before = of.get_balance_allowance(asset_type="COLLATERAL")
        placed[kind] = rests, before, fill(of, market.outcomes.yes.token_id, 3, order_type="FAK")
    for kind, (rests, before, taken) in placed.items():
        of = clients[kind]
        of.wait_for_order_fill_settlement(taken)
        after = of.get_balance_allowance(asset_type="COLLATERAL")
        held = of.get_balance_allowance(asset_type="CONDITIONAL", asset_id=market.outcomes.yes.token_id)
        position = of.list_positions().first_page().items
        trades = of.list_trades().first_page().items
        made[kind] = {
            "orders": [rests.order_id, taken.order_id],
            "statuses": [rests.status, taken.status],
            "spent": int(before.balance) - int(after.balance),
            "held": int(held.balance),
            "positions": [[row.asset_id, str(row.current_size), str(row.status)] for row in position],
            "traded": [[row.wallet, str(row.size), row.side] for row in trades],
            "value": str(of.get_portfolio_value().value),
            "approved": of.get_trading_approvals_state().is_fully_approved,
        }
        of.cancel_order(order_id=rests.order_id)
    return {"token": market.outcomes.yes.token_id, "made": made}


def v2_markets() -> Any:
    """The client itself tells v2 markets by Gamma and by the id: orders, settlement, sets by the router."""
    made, market, negative = {}, plain(version="v2"), plain(neg_risk=True, version="v2")
    token, key = market.outcomes.yes.token_id, KEYS["anvil6"]
    owner = Account.from_key(key).address
    relayer = RelayerApiKey(key="any", address=owner)
    two = {"eoa": SecureClient.create(private_key=key, wallet=owner),
           "deposit": SecureClient.create(private_key=key, api_key=relayer)}
    for kind, of in two.items():
        rests = [
            of.place_limit_order(asset_id=one, price="0.01", size=200, side="BUY")
            for one in (token, negative.outcomes.no.token_id)
        ]
        taken = fill(of, token, 3, order_type="FAK")
        of.wait_for_order_fill_settlement(taken)
        made[kind] = {
            "orders": [row.order_id for row in (*rests, taken)],
            "statuses": [row.status for row in (*rests, taken)],
            "held": int(of.get_balance_allowance(asset_type="CONDITIONAL-V2", asset_id=token).balance),
            "positions": [
                [row.asset_id, str(row.current_size)] for row in of.list_positions().first_page().items],
            "cancelled": len(of.cancel_orders(order_ids=[row.order_id for row in rests]).canceled),
        }
    two["deposit"].split_position(condition_id=market.condition_id, amount=5_000_000).wait()
    other = market.outcomes.no.token_id
    sister = two["deposit"].get_balance_allowance(asset_type="CONDITIONAL-V2", asset_id=other)
    return {"token": token, "made": made, "split": int(sister.balance)}


def merge_call(condition: str, amount: int) -> TransactionCall:
    kinds = ["address", "bytes32", "bytes32", "uint256[]", "uint256"]
    values = [COLLATERAL, bytes(32), bytes.fromhex(condition[2:]), [1, 2], amount]
    return TransactionCall(to=ADAPTER, data="0x9e7212ad" + encode(kinds, values).hex())


def relayed() -> Any:
    """What each wallet signs reaches the relayer: approvals and sets are played, a transfer is not."""
    facts, market = {}, plain()
    for kind in WALLETS:
        of = clients[kind]
        of.approve_erc20(token_address=COLLATERAL, spender_address=EXCHANGE, amount=1).wait()
        missing = of.get_trading_approvals_state().missing.erc20
        # The client mends a missing allowance by itself: refused, read, approved by the relayer, sent again.
        order = of.place_limit_order(asset_id=market.outcomes.yes.token_id, price="0.01", size=40, side="BUY")
        split = of.split_position(condition_id=market.condition_id, amount=5_000_000).wait()
        held = of.get_balance_allowance(asset_type="CONDITIONAL", asset_id=market.outcomes.no.token_id)
        # merge_positions reads balances from the chain first, which nobody serves here; its call is this one.
        calls = [merge_call(market.condition_id, 1_500_000), merge_call(market.condition_id, 500_000)]
        merged = of.execute_transaction(calls=calls).wait()
        too_much = refused(lambda of=of: of.execute_transaction(
            calls=[merge_call(market.condition_id, 1), merge_call(market.condition_id, 10**12)]).wait())
        after = of.get_balance_allowance(asset_type="CONDITIONAL", asset_id=market.outcomes.no.token_id)
        transfer = refused(lambda of=of: of.transfer_erc20(
            token_address=COLLATERAL, recipient_address=EOA, amount=1).wait())
        facts[kind] = {
            "missing": [row.spender for row in missing],
            "order": order.order_id,
            "mended": of.get_trading_approvals_state().is_fully_approved,
            "hashes": [len(split.transaction_hash), len(merged.transaction_hash)],
            "held": [int(held.balance), int(after.balance)],
            "too_much": too_much,
            "transfer": transfer,
        }
        of.cancel_all()
    return facts


def errors() -> Any:
    """Each refusal becomes the client's own exception with the venue's words."""
    of, token = clients["0"], plain().outcomes.yes.token_id
    first = of.send_order_heartbeat()
    wrong = refused(lambda: of.send_order_heartbeat(heartbeat_id="not the one"))
    return {
        "small": refused(lambda: of.place_limit_order(asset_id=token, price="0.5", size=1, side="BUY")),
        "poor": refused(lambda: of.place_limit_order(asset_id=token, price="0.5", size=10**5, side="BUY")),
        "grid": refused(lambda: of.place_limit_order(asset_id=token, price="0.015", size=10, side="BUY")),
        "book": refused(lambda: of.get_order_book(asset_id="1")),
        "heartbeat": [first.heartbeat_id, wrong],
        "builder": str(of.get_builder_fee_rates("0x" + "11" * 32)),
        "notifications": len(of.get_notifications()),
        "scoring": of.get_order_scoring(order_id="0x" + "11" * 32),
    }


def other_client() -> Any:
    """py-clob-client-v2 meets the exchange by the venue's name, too, and has the owner's same key."""
    of = ClobClient("https://clob.polymarket.com", 137, key=KEY)
    of.set_api_creds(of.create_or_derive_api_key())
    order = of.create_and_post_order(OrderArgs(plain().outcomes.yes.token_id, 0.01, 50, "BUY"))
    return {
        "same": of.creds.api_key == clients["0"].credentials.key,
        "order": order["orderID"],
        "seen": clients["0"].get_order(order_id=order["orderID"]).id,
        "cancelled": of.cancel_order(OrderPayload(order["orderID"]))["canceled"],
    }


def refused_hosts() -> Any:
    """A name that the exchange does not serve is refused by the proxy, and nothing leaves the machine."""
    return refused(lambda: httpx.get("https://example.com/", timeout=5))


run([sign_in, catalogue, prices, limit_orders, market_orders, wallets, relayed, v2_markets, errors,
     other_client, refused_hosts])
