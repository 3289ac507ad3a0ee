"""Flows of the asynchronous polymarket-client: market and user sockets under the venue's own host names.

`python unified_sockets_bot.py EOA`; only HTTPS_PROXY and SSL_CERT_FILE lead it to the exchange. Prints facts.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import Counter
from decimal import Decimal
from typing import Any

from bot import DEADLINE_S, KEYS, run
from polymarket import AsyncPublicClient, AsyncSecureClient
from polymarket.streams import MarketSpec, UserSpec

EOA = sys.argv[1]
EVENTS_MIN = 60


async def market_of(client: Any) -> Any:
    async for page in client.list_markets(closed=False, page_size=100):
        for one in page.items:
            if "generated" in one.slug and one.trading.minimum_tick_size == Decimal("0.01"):
                return one
    raise AssertionError("no generated market")


async def collect(handle: Any, found: list[Any], is_enough: Any) -> None:
    end = time.monotonic() + DEADLINE_S
    while not is_enough():
        found.append(await asyncio.wait_for(anext(handle), end - time.monotonic()))


async def follow_market() -> Any:
    """Books first, then changes that build the very book that REST serves at the same timestamp."""
    client = AsyncPublicClient()
    market = await market_of(client)
    tokens = [market.outcomes.yes.token_id, market.outcomes.no.token_id]
    handle = await client.subscribe(MarketSpec(asset_ids=tokens, custom_feature_enabled=True))
    found: list[Any] = []
    await collect(handle, found, lambda: len(found) >= EVENTS_MIN)
    agreed = 0
    for _ in range(50):  # a commit may lie between the answer and the frames; some pair is of one time
        book = await client.get_order_book(asset_id=tokens[0])
        until_ms = int(book.timestamp.timestamp() * 1_000 + 0.5)
        await collect(handle, found, lambda until_ms=until_ms: time_of(found, tokens[0]) >= until_ms)
        agreed += rebuilt(found, tokens[0], until_ms) == levels(book)
        if agreed:
            break
    await handle.close()
    facts = {
        "kinds": dict(Counter(event.type for event in found)),
        "first": [event.type for event in found[:2]],
        "agreed": agreed,
        "lost": handle.dropped,
    }
    await client.close()
    return facts


def time_of(found: list[Any], token: str) -> int:
    """Return the newest time, ms, that the events tell of a token's book."""
    times = [event.payload.timestamp for event in found if touches(event, token)]
    return int(times[-1].timestamp() * 1_000 + 0.5) if times else 0


def touches(event: Any, token: str) -> bool:
    if event.type == "book":
        return bool(event.payload.asset_id == token)
    return event.type == "price_change" and any(one.asset_id == token for one in event.payload.price_changes)


def levels(book: Any) -> dict[tuple[str, Decimal], Decimal]:
    sides = (("BUY", book.bids), ("SELL", book.asks))
    return {(side, level.price): level.size for side, rows in sides for level in rows}


def rebuilt(found: list[Any], token: str, until_ms: int) -> dict[tuple[str, Decimal], Decimal]:
    """Return the book that the events up to a time make, by price and side."""
    book: dict[tuple[str, Decimal], Decimal] = {}
    for event in found:
        if not touches(event, token) or int(event.payload.timestamp.timestamp() * 1_000 + 0.5) > until_ms:
            continue
        if event.type == "book":
            book = levels(event.payload)
            continue
        for one in event.payload.price_changes:
            if one.asset_id == token:
                book[str(one.side), one.price] = one.size
    return {place: size for place, size in book.items() if size}


def walk_of(found: list[Any], trade: str) -> list[str]:
    """Return the statuses that the events tell of a trade, in their order."""
    rows = (event.payload for event in found if event.type == "trade")
    return [str(row.status) for row in rows if row.id == trade]


async def follow_orders() -> Any:
    """Every step of our orders and trades comes once over the user socket, up to CONFIRMED."""
    client = await AsyncSecureClient.create(private_key=KEYS["anvil7"], wallet=EOA)
    market = await market_of(client)
    token = market.outcomes.yes.token_id
    handle = await client.subscribe(UserSpec())
    found: list[Any] = []
    rests = None
    while not found:  # the login has no answer: what is placed before it is taken goes untold
        rests = await client.place_limit_order(asset_id=token, price="0.01", size=10, side="BUY")
        with contextlib.suppress(TimeoutError):
            found.append(await asyncio.wait_for(anext(handle), 0.5))
        await client.cancel_order(order_id=rests.order_id)
    taken = None
    end = time.monotonic() + DEADLINE_S
    while taken is None and time.monotonic() < end:
        try:
            taken = await client.place_market_order(asset_id=token, side="BUY", amount=5, order_type="FAK")
        except Exception as error:
            if "killed" not in str(error) and "iquidity" not in str(error):
                raise
    await collect(handle, found, lambda: walk_of(found, taken.trade_ids[-1])[-1:] == ["CONFIRMED"])
    await handle.close()
    await client.close()
    return {
        "rests": rests.order_id,
        "taken": taken.order_id,
        "trades": list(taken.trade_ids),
        "orders": [
            [one.id, str(one.order_event_type), str(one.status)]
            for one in (event.payload for event in found if event.type == "order")
        ],
        "walks": {trade: walk_of(found, trade) for trade in taken.trade_ids},
        "lost": handle.dropped,
    }


def market_socket() -> Any:
    return asyncio.run(follow_market())


def user_socket() -> Any:
    return asyncio.run(follow_orders())


run([market_socket, user_socket])
