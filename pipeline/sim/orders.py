"""From the bytes of an order to a proven `Order`, or the venue's refusal.

Checked here, in this order: shape, owner, account state, token, wallet and signer, signature and domain,
amounts, tick, minimum, expiration. Funds, duplicates and crossing are the engine's.
Source: venue sheet 10 and 11, read 2026-11-20.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from pipeline.errors import InvariantError
from pipeline.sim import contracts
from pipeline.sim import errors_text as texts
from pipeline.sim.accounts import Account
from pipeline.sim.book import Order, OrderType
from pipeline.sim.eip712 import (
    DOMAINS,
    EXCHANGE_V3,
    NEG_RISK,
    STANDARD,
    order_digest,
    recover,
    struct_hash,
    unwrap,
    wallet_struct,
)
from pipeline.sim.errors_text import Refusal
from pipeline.sim.market import Market
from pipeline.sim.settings import ExchangeSettings
from pipeline.units import NS_PER_S, TICKS_PER_USD, decimal_to_int, int_to_decimal

SALT_MAX = (1 << 53) - 1  # the largest integer that every JSON reader keeps
AMOUNT_DIGITS_MAX = 18
SHARE_STEP = 10_000  # two decimals
MARKET_TAKER_STEP = 100  # four decimals, whatever the tick (server rule for FAK and FOK)
EOA, PROXY, SAFE, WALLET = range(4)  # signatureType

# tick step -> decimals of the collateral amount of a limit order (venue sheet 10.3)
AMOUNT_DECIMALS = {1000: 3, 100: 4, 50: 5, 25: 6, 10: 5, 1: 6}

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_WORD = re.compile(r"0x[0-9a-fA-F]{64}")
_SIGNATURE = re.compile(r"0x(?:[0-9a-fA-F]{2})+")
_V1_ONLY = ("nonce", "feeRateBps")


@dataclass(frozen=True, slots=True)
class Payload:
    """A well-formed order body; nothing in it is proven yet. `fields` are typed for hashing."""

    fields: dict[str, Any]
    signature: bytes
    expiration_s: int
    order_type: OrderType
    owner: str
    post_only: bool

    @property
    def is_buy(self) -> bool:
        return bool(self.fields["side"] == 0)


def parse(body: Any) -> Payload | Refusal:
    """Check the shape of one order body (decoded JSON)."""
    order = body.get("order") if isinstance(body, dict) else None
    if not isinstance(order, dict):
        return texts.INVALID_PAYLOAD
    if "timestamp" not in order and any(name in order for name in _V1_ONLY):
        return texts.ORDER_VERSION_MISMATCH
    post_only, defer = body.get("postOnly", False), body.get("deferExec", False)
    owner, type_text = body.get("owner"), body.get("orderType")
    if not isinstance(post_only, bool) or not isinstance(defer, bool) or not isinstance(owner, str):
        return texts.INVALID_PAYLOAD
    if type_text not in OrderType.__members__:
        return texts.INVALID_PAYLOAD
    order_type = OrderType(type_text)
    if post_only and order_type in (OrderType.FAK, OrderType.FOK):
        return texts.INVALID_PAYLOAD
    fields = _fields(order)
    expiration, signature = order.get("expiration"), order.get("signature")
    if fields is None or not _is_number_text(expiration, 12) or not _matches(signature, _SIGNATURE):
        return texts.INVALID_PAYLOAD
    return Payload(fields, bytes.fromhex(signature[2:]), int(expiration), order_type, owner, post_only)


def prove(
    now_ns: int,
    payload: Payload,
    account: Account,
    api_key: str,
    markets: Mapping[str, tuple[Market, int]],
    settings: ExchangeSettings,
) -> Order | Refusal:
    """Prove a payload that came over a connection authenticated as `account` with `api_key`."""
    fields = payload.fields
    if payload.owner != api_key:
        return texts.OWNER_NOT_KEY
    account = account.purse(fields["signatureType"], fields["maker"]) or account
    if account.banned:
        return texts.banned(account.wallet)
    if account.closed_only and payload.is_buy:
        return texts.closed_only(account.wallet)
    found = markets.get(str(fields["tokenId"]))
    if found is None:
        return texts.NO_ORDERBOOK
    market, outcome = found
    refusal = _refuse_wallet(fields, account)
    if refusal is not None:
        return refusal
    order_id, refusal = check_signature(fields, payload.signature, account.owner, market, settings.chain_id)
    if refusal is not None:
        return refusal
    price = price_of(order_id, payload, market)
    if isinstance(price, Refusal):
        return price
    if not _is_expiration_good(now_ns, payload, settings):
        return texts.INVALID_EXPIRATION
    return Order(
        order_id,
        account,
        api_key,
        market,
        outcome,
        payload.is_buy,
        payload.order_type,
        payload.post_only,
        price,
        fields["makerAmount"],
        fields["takerAmount"],
        payload.expiration_s,
        now_ns,
    )


def check_signature(
    fields: dict[str, Any], signature: bytes, owner: str, market: Market, chain_id: int
) -> tuple[str, Refusal | None]:
    """Return the order id and None if `owner` signed the order for this market's exchange.

    A signature that is good for another exchange, version or chain is a version mismatch.
    """
    struct = struct_hash(fields)
    domain = DOMAINS[exchange_of(market), chain_id]
    order_id = "0x" + order_digest(domain, struct).hex()
    wanted = owner.lower()
    if fields["signatureType"] != WALLET:
        if recover(domain, struct, signature) == wanted:
            return order_id, None
        others = (other for other in DOMAINS.values() if other != domain)
        is_other = any(recover(other, struct, signature) == wanted for other in others)
        return order_id, texts.ORDER_VERSION_MISMATCH if is_other else texts.INVALID_SIGNATURE
    parts = unwrap(signature, struct)
    if parts is None:
        return order_id, texts.INVALID_SIGNATURE
    inner, claimed = parts
    if claimed != domain:
        is_other = claimed in DOMAINS.values()
        return order_id, texts.ORDER_VERSION_MISMATCH if is_other else texts.INVALID_SIGNATURE
    nested = wallet_struct(struct, fields["signer"], chain_id)
    return order_id, None if recover(domain, nested, inner) == wanted else texts.INVALID_SIGNATURE


def require_tradable(market: Market) -> None:
    """Raise InvariantError unless orders for the market can be judged: version, tick, minimum, token ids."""
    exchange_of(market)
    if market.tick_step not in AMOUNT_DECIMALS:
        known = sorted(AMOUNT_DECIMALS)
        raise InvariantError(
            f"sim.orders: tick step of {known} expected, was {market.tick_step} ({market.slug})"
        )
    if not all(_is_number_text(token, 78) for token in market.tokens):
        raise InvariantError(f"sim.orders: decimal token ids expected, was {market.tokens} ({market.slug})")
    try:
        decimal_to_int(market.min_order_size, 6)
    except ValueError as problem:
        raise InvariantError(f"sim.orders: minimum size of {market.slug}: {problem}") from problem


def exchange_of(market: Market) -> tuple[str, str]:
    """Return (version, contract) of the exchange that settles the market (venue sheet 1 and 10.1)."""
    if market.version not in ("v1", "v2"):
        raise InvariantError(f"sim.orders: market version v1 or v2 expected, was {market.version!r}")
    if market.version == "v2":
        return EXCHANGE_V3
    return NEG_RISK if market.neg_risk else STANDARD


def refuse_allowance(order: Order, needed_micro: int) -> Refusal | None:
    """Refuse what the wallet has not let the market's exchange take; an approval of shares has no amount."""
    if not order.account.allowances:
        return None
    spender = exchange_of(order.market)[1]
    shares = contracts.POSITIONS if order.market.version == "v2" else contracts.CONDITIONAL
    allowance = order.account.allowance(contracts.COLLATERAL if order.is_buy else shares, spender)
    return texts.not_allowed(spender, allowance, order.maker_micro) if allowance < needed_micro else None


def _fields(order: dict[str, Any]) -> dict[str, Any] | None:
    """Return the signed fields, typed, or None if one is missing or of another form."""
    salt, kind, side = order.get("salt"), order.get("signatureType"), order.get("side")
    if type(salt) is not int or not 0 <= salt <= SALT_MAX:
        return None
    if type(kind) is not int or kind not in (EOA, PROXY, SAFE, WALLET) or side not in ("BUY", "SELL"):
        return None
    if not (_matches(order.get("maker"), _ADDRESS) and _matches(order.get("signer"), _ADDRESS)):
        return None
    if not (_matches(order.get("metadata"), _WORD) and _matches(order.get("builder"), _WORD)):
        return None
    amounts = [order.get(name) for name in ("makerAmount", "takerAmount", "timestamp")]
    numbers = [int(text) for text in amounts if _is_number_text(text, AMOUNT_DIGITS_MAX)]
    if len(numbers) != len(amounts):
        return None
    token = order.get("tokenId")
    if not _is_number_text(token, 78) or int(token) >= 1 << 256:
        return None
    maker_micro, taker_micro, timestamp = numbers
    if not maker_micro or not taker_micro:
        return None
    return {
        "salt": salt,
        "maker": order["maker"],
        "signer": order["signer"],
        "tokenId": int(token),
        "makerAmount": maker_micro,
        "takerAmount": taker_micro,
        "side": int(side == "SELL"),
        "signatureType": kind,
        "timestamp": timestamp,
        "metadata": bytes.fromhex(order["metadata"][2:]),
        "builder": bytes.fromhex(order["builder"][2:]),
    }


def _refuse_wallet(fields: dict[str, Any], account: Account) -> Refusal | None:
    """The maker holds the funds; types 0 to 2 name the owner as signer, type 3 the wallet itself."""
    if fields["maker"].lower() != account.wallet.lower() or fields["signatureType"] != account.signature_type:
        return texts.MAKER_NOT_ALLOWED
    signer = account.wallet if account.signature_type == WALLET else account.owner
    return None if fields["signer"].lower() == signer.lower() else texts.SIGNER_NOT_KEY


def price_of(order_id: str, payload: Payload, market: Market) -> int | Refusal:
    """Return the limit in ticks if the two amounts encode a legal price."""
    maker_micro: int = payload.fields["makerAmount"]
    taker_micro: int = payload.fields["takerAmount"]
    if payload.order_type in (OrderType.GTC, OrderType.GTD):
        size_micro = taker_micro if payload.is_buy else maker_micro
        price = _limit_price(order_id, size_micro, maker_micro + taker_micro - size_micro, market)
        if not isinstance(price, Refusal) and size_micro < decimal_to_int(market.min_order_size, 6):
            return texts.below_minimum(order_id, size_micro, market.min_order_size)
        return price
    if maker_micro % SHARE_STEP or taker_micro % MARKET_TAKER_STEP:
        return texts.market_accuracy(payload.is_buy)
    return _market_price(order_id, maker_micro, taker_micro, payload.is_buy, market)


def _market_price(
    order_id: str, maker_micro: int, taker_micro: int, is_buy: bool, market: Market
) -> int | Refusal:
    """A market order encodes a grid price up to the rounding of its taker amount, mostly down.

    So the grid price is the one below (BUY) or above (SELL) the quotient; where the client's rounding
    went up, the next one. Whether the venue is as exact is unconfirmed; both official clients pass.
    """
    step = market.tick_step
    unit = 10 ** (6 - min(4, AMOUNT_DECIMALS[step]))
    usd_micro, size_micro = (maker_micro, taker_micro) if is_buy else (taker_micro, maker_micro)
    below = usd_micro * TICKS_PER_USD // (size_micro * step) * step
    above = -(-usd_micro * TICKS_PER_USD // (size_micro * step)) * step
    for price in (below, above) if is_buy else (above, below):
        if not step <= price <= TICKS_PER_USD - step:
            continue
        exact = maker_micro * TICKS_PER_USD // price if is_buy else maker_micro * price // TICKS_PER_USD
        if abs(exact - taker_micro) < unit:
            return price
    return texts.breaks_tick(order_id, _ratio_text(usd_micro, size_micro), int_to_decimal(step, 4))


def _limit_price(order_id: str, size_micro: int, usd_micro: int, market: Market) -> int | Refusal:
    """A limit order must encode a grid price exactly: collateral = size * price."""
    step = market.tick_step
    decimals = AMOUNT_DECIMALS[step]
    if size_micro % SHARE_STEP:
        return texts.limit_accuracy("share", size_micro, 2)
    if usd_micro % 10 ** (6 - decimals):
        return texts.limit_accuracy("collateral", usd_micro, decimals)
    steps = (2 * usd_micro * TICKS_PER_USD + size_micro * step) // (2 * size_micro * step)  # nearest
    price = steps * step
    expected_micro = size_micro * price // TICKS_PER_USD  # exact: the size has two decimals
    is_legal = step <= price <= TICKS_PER_USD - step
    if is_legal and usd_micro == expected_micro:
        return price
    tolerance = size_micro * step // (100 * TICKS_PER_USD)  # a hundredth of a tick: a rounding, not a price
    if is_legal and abs(usd_micro - expected_micro) <= tolerance:
        return texts.limit_amount(usd_micro, expected_micro, int_to_decimal(price, 4))
    return texts.breaks_tick(order_id, _ratio_text(usd_micro, size_micro), int_to_decimal(step, 4))


def _is_expiration_good(now_ns: int, payload: Payload, settings: ExchangeSettings) -> bool:
    if payload.order_type is not OrderType.GTD:
        return payload.expiration_s == 0
    return payload.expiration_s >= now_ns // NS_PER_S + settings.gtd_life_s_min


def _ratio_text(above: int, below: int) -> str:
    """Return above / below with up to six decimals, rounded down, for a message."""
    return int_to_decimal(above * 10**6 // below, 6)


def _matches(value: Any, pattern: re.Pattern[str]) -> TypeGuard[str]:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_number_text(value: Any, digits_max: int) -> TypeGuard[str]:
    return isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= digits_max
