"""Asks the venue, the key and the state directory for the facts of `pm doctor`; changes nothing anywhere.

Places no order. Two requests are more than reads: the refresh of the venue's cache of our balance, and a
cancel of an order that cannot exist (its hash is all zeros), whose answer names the rate tier.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import orjson

from pipeline.config.accounts import Account
from pipeline.config.load import Config
from pipeline.errors import PipelineError, Unreachable
from pipeline.net.asker import Answer, Asker, NoAnswer
from pipeline.run import keywork
from pipeline.run.connect import is_taken
from pipeline.run.dryorder import recovered_signers
from pipeline.run.facts import AccountFacts, Clock, Fees, Host, Missing, VenueFacts
from pipeline.run.known_orders import unknown_of
from pipeline.run.tls import tls_context
from pipeline.units import NS_PER_S
from pipeline.venues.polymarket import health, wire
from pipeline.venues.polymarket.account import Walk, balance_path, balance_update_path, open_orders_walk
from pipeline.venues.polymarket.auth import ApiKey, L2Auth, load_api_file
from pipeline.venues.polymarket.clob_market import clob_market_path, merge_clob_market
from pipeline.venues.polymarket.clock import ClockOffset, parse_time
from pipeline.venues.polymarket.health import Rate
from pipeline.venues.polymarket.identity import Refusal
from pipeline.venues.polymarket.keys import header_pairs
from pipeline.venues.polymarket.universe import MarketInfo, parse_events, parse_markets

CLOCK_ASKS_MAX = 10
CLOCK_ERROR_NS = 60_000_000  # good enough to judge the warning at 250 ms
EVENTS_PAGE, MARKETS_SAMPLED_MAX = 20, 20
NO_ORDER = "0x" + "00" * 32

T = TypeVar("T")


def look_at_venue(config: Config) -> VenueFacts:
    """Return what the venue tells everybody; takes a few seconds for the clock."""
    return asyncio.run(_venue(config))


def look_at_account(config: Config, name: str) -> AccountFacts:
    """Return what a wallet's files, its key and the venue tell of it."""
    account, chain_id = config.accounts[name], config.venues.polymarket.chain_id
    key = _or_missing(lambda: keywork.do(account, chain_id, dry=True))
    api = _or_missing(lambda: load_api_file(Path(account.api_file)))
    if isinstance(key, Missing):
        signers: tuple[str, ...] | Missing = key
    elif key.dry_problem:
        signers = Missing(key.dry_problem, 3)
    else:
        signers = recovered_signers(key.orders, account, chain_id)
    return asyncio.run(_account(config, name, account, key, api, signers))


def _or_missing(learn: Callable[[], T]) -> T | Missing:
    try:
        return learn()
    except PipelineError as problem:
        return Missing(str(problem), problem.exit_code)


def _value(answer: Answer | NoAnswer, parse: Callable[[int, bytes], T | Refusal]) -> T | Missing:
    if isinstance(answer, NoAnswer):
        return Missing(answer.words)
    found = parse(answer.status, answer.body)
    return Missing(found.text) if isinstance(found, Refusal) else found


# ---------------------------------------------------------------------- the venue


async def _venue(config: Config) -> VenueFacts:
    venue = config.venues.polymarket
    try:
        tls = tls_context(config)
    except PipelineError as problem:
        missing = Missing(str(problem), problem.exit_code)
        host = Host("tls_ca_file", str(venue.tls_ca_file), str(problem))
        return VenueFacts((host,), missing, missing, missing, missing, missing)
    async with Asker(tls) as asker:
        hosts, clock, version, geo, universe = await asyncio.gather(
            _hosts(config, asker), _clock(asker, venue.clob_url),
            asker.ask("GET", venue.clob_url + wire.PATH_VERSION), asker.ask("GET", venue.geoblock_url),
            _universe(config, asker))
    proxied = [name for name, account in config.accounts.items() if account.proxy_url]
    place = _value(geo, health.parse_geoblock)
    if proxied:  # the verdict is about the address that asked; the orders would come from another one
        place = Missing(f"asked from this host, but orders of {proxied[0]} go through its proxy_url")
    return VenueFacts(hosts, clock, _value(version, health.parse_version), place, *universe)


async def _hosts(config: Config, asker: Asker) -> tuple[Host, ...]:
    venue = config.venues.polymarket

    async def rest(key: str, url: str, path: str) -> Host:
        answer = await asker.ask("GET", url + path)
        return Host(key, url, answer.words if isinstance(answer, NoAnswer) else "")

    async def socket(key: str, url: str) -> Host:
        problem = await asker.open_socket(url)
        return Host(key, url, problem.words if problem is not None else "")

    return tuple(await asyncio.gather(
        rest("clob_url", venue.clob_url, wire.PATH_TIME),
        rest("gamma_url", venue.gamma_url, "/events/keyset?limit=1"),
        socket("market_ws_url", venue.market_ws_url), socket("user_ws_url", venue.user_ws_url)))


async def _clock(asker: Asker, base: str) -> Clock | Missing:
    """Narrow the offset until it can be judged; each question waits for the venue's second to turn."""
    offset = ClockOffset()
    for _ in range(CLOCK_ASKS_MAX):
        await asyncio.sleep(offset.wait_ns(time.time_ns()) / NS_PER_S)
        answer = await asker.ask("GET", base + wire.PATH_TIME)
        if isinstance(answer, NoAnswer):
            return Missing(answer.words)
        venue_s = parse_time(answer.status, answer.body)
        if venue_s is None:
            return Missing(f"{wire.PATH_TIME} answered http {answer.status} and no unix second")
        offset.add(answer.sent_ns, answer.received_ns, venue_s)
        if offset.error_ns <= CLOCK_ERROR_NS:
            break
    return Clock(offset.offset_ns, offset.error_ns)


async def _universe(config: Config, asker: Asker) -> tuple[int | Missing, Fees | Missing]:
    """Return how many events a page of Gamma lists, and whose fee of our universe is not known."""
    base = config.venues.polymarket.gamma_url
    slugs = config.universe.event_slugs
    paths = [f"/events/slug/{slug}" for slug in slugs[:MARKETS_SAMPLED_MAX]]
    page = await asker.ask("GET", f"{base}{wire.PATH_GAMMA_EVENTS}?closed=false&limit={EVENTS_PAGE}")
    if isinstance(page, NoAnswer):
        return Missing(page.words), Missing(page.words)
    if page.status != 200:
        return Missing(f"http {page.status}"), Missing(f"http {page.status}")
    found = parse_events(page.body)
    events = len(found.events)
    if slugs:
        named = await asyncio.gather(*(asker.ask("GET", base + path) for path in paths))
        bodies = [one.body for one in named if isinstance(one, Answer) and one.status == 200]
        markets = [market for body in bodies for event in parse_events(b'{"events":[%b]}' % body).events
                   for market in event.markets]
    else:
        markets = [market for event in found.events for market in event.markets]
    if not markets and not slugs:  # markets without an event exist
        listed = await asker.ask("GET", f"{base}{wire.PATH_GAMMA_MARKETS}?closed=false&limit={EVENTS_PAGE}")
        markets = list(parse_markets(listed.body).markets) if isinstance(listed, Answer) else []
    open_ones = [market for market in markets if market.accepting][:MARKETS_SAMPLED_MAX]
    unknown = await asyncio.gather(*(_fee_unknown(config, asker, market) for market in open_ones))
    return events, Fees(len(open_ones), tuple(slug for slug in unknown if slug))


async def _fee_unknown(config: Config, asker: Asker, market: MarketInfo) -> str:
    """Return the market's slug when its fee is unknown or the order book says another one, else ""."""
    if market.fee_rate_ppm is None:
        return market.slug
    answer = await asker.ask("GET", config.venues.polymarket.clob_url + clob_market_path(market))
    if isinstance(answer, NoAnswer) or answer.status != 200:
        return market.slug
    merged = merge_clob_market(market, answer.body, 0)
    is_known = isinstance(merged, MarketInfo) and merged.fee_rate_ppm is not None
    return "" if is_known else market.slug


# ---------------------------------------------------------------------- a wallet


class _Private:
    """Requests signed with the API key of one account."""

    def __init__(self, asker: Asker, base: str, address: str, key: ApiKey) -> None:
        self._asker = asker
        self._base = base
        self._auth = L2Auth(address, key.api_key, key.secret, key.passphrase)

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer | NoAnswer:
        """Send one; the signature covers the path without its query."""
        block = self._auth.headers(method, path.partition("?")[0], body, time.time_ns() // NS_PER_S)
        headers = header_pairs(block)
        if body:
            headers = (*headers, ("Content-Type", "application/json"))
        return await self._asker.ask(method, self._base + path, headers, body)


async def _account(
    config: Config, name: str, account: Account, key: keywork.KeyWork | Missing, api: ApiKey | Missing,
    signers: tuple[str, ...] | Missing,
) -> AccountFacts:
    venue = config.venues.polymarket
    asked: dict[str, object] = {}
    try:
        tls = tls_context(config)
    except PipelineError as problem:
        api = Missing(str(problem), problem.exit_code)
        tls = None
    if isinstance(api, Missing):
        asked = dict.fromkeys(_ASKED, api)
    else:
        async with Asker(tls) as asker:
            private = _Private(asker, venue.clob_url, account.address, api)
            taken = await _taken(asker, venue.clob_url, account.address, api)
            if taken is True:
                asked = await _ask_private(config, account, private)
            else:
                why = taken if isinstance(taken, Missing) else Missing("the venue does not take the API key")
                asked = dict.fromkeys(_ASKED, why)
            approvals = await asker.ask("GET", f"{venue.data_url}{wire.PATH_APPROVALS}?user={account.maker}")
            asked |= {"api_key": taken, "approvals": _value(approvals, health.parse_approvals)}
    rates = wire.rates_of(account.tier, account.rates)
    return AccountFacts(
        name=name, address=account.address, maker=account.maker, signature_type=account.signature_type,
        chain_id=venue.chain_id, orders_per_s=rates.orders_per_s, key_file=account.key_file,
        api_file=account.api_file, key=key, dry_signers=signers, **asked)  # type: ignore[arg-type]


_ASKED = (
    "api_key", "closed_only", "money", "refreshed", "approvals", "rate", "open_orders", "foreign_orders")


async def _taken(asker: Asker, base: str, address: str, key: ApiKey) -> bool | Missing:
    try:
        return await is_taken(asker, base, address, key)
    except Unreachable as problem:
        return Missing(str(problem))


async def _ask_private(config: Config, account: Account, private: _Private) -> dict[str, object]:
    refreshed = await private.ask("GET", balance_update_path(account.signature_type))
    money, closed, cancel, orders = await asyncio.gather(
        private.ask("GET", balance_path(account.signature_type)), private.ask("GET", wire.PATH_CLOSED_ONLY),
        private.ask("DELETE", wire.PATH_ORDER, orjson.dumps({"orderID": NO_ORDER})), _open_orders(private))
    if isinstance(refreshed, NoAnswer):
        is_fresh: bool | Missing = Missing(refreshed.words)
    else:
        is_fresh = True if refreshed.status == 200 else Missing(f"http {refreshed.status}")
    foreign = orders if isinstance(orders, Missing) else _or_missing(
        lambda: unknown_of(Path(config.state_dir), orders))
    return {
        "closed_only": _value(closed, health.parse_closed_only), "money": _value(money, health.parse_money),
        "refreshed": is_fresh, "rate": _rate(cancel), "foreign_orders": foreign,
        "open_orders": orders if isinstance(orders, Missing) else len(orders)}


def _rate(answer: Answer | NoAnswer) -> Rate | Missing:
    if isinstance(answer, NoAnswer):
        return Missing(answer.words)
    return health.parse_rate(answer.headers) or Missing(
        f"the answer to a cancel (http {answer.status}) has no rate headers")


async def _open_orders(private: _Private) -> tuple[str, ...] | Missing:
    """Return the ids of all open orders; a listing cut short is no evidence (FL08)."""
    walk: Walk = open_orders_walk()
    ids: list[str] = []
    while walk.path is not None:
        answer = await private.ask("GET", walk.path)
        if isinstance(answer, NoAnswer):
            return Missing(answer.words)
        walk.on_answer(answer.status, answer.body)
        ids += _ids(walk.take())
    return Missing(walk.refusal.text) if walk.refusal is not None else tuple(ids)


def _ids(rows: Iterable[dict[str, object]]) -> list[str]:
    return [str(row.get("id", "")) for row in rows]

