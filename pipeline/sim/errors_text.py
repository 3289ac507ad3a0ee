"""Every refusal of the exchange, in the venue's words.

Source: venue sheet 11.3, read 2026-11-20; where the sheet gives only the beginning of a text ("…"), the
rest is ours and says what was expected.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.units import int_to_decimal


@dataclass(frozen=True, slots=True)
class Refusal:
    """A definitive no. `kills`: the order was known to the engine first, so its owner hears of its end."""

    text: str
    status: int = 400
    code: str = ""
    kills: bool = False


INVALID_PAYLOAD = Refusal("Invalid order payload")
ORDER_VERSION_MISMATCH = Refusal("order_version_mismatch")
INVALID_SIGNATURE = Refusal("invalid signature")
OWNER_NOT_KEY = Refusal("the order owner has to be the owner of the API KEY")
SIGNER_NOT_KEY = Refusal("the order signer address has to be the address of the API KEY")
MAKER_NOT_ALLOWED = Refusal("maker address not allowed, please use the deposit wallet flow")
POST_ONLY_CROSSES = Refusal("invalid post-only order: order crosses book")
INVALID_EXPIRATION = Refusal("invalid expiration")
NOT_READY = Refusal("the market is not yet ready to process new orders")
FOK_KILLED = Refusal("order couldn't be fully filled. FOK orders are fully filled or killed.", kills=True)
FAK_KILLED = Refusal(
    "no orders found to match with FAK order. "
    "FAK orders are partially filled or killed if no match is found.",
    kills=True,
)
COULD_NOT_INSERT = Refusal("could not insert order", 500)
UNAUTHORIZED = Refusal("Unauthorized/Invalid api key", 401)
INVALID_L1 = Refusal("Invalid L1 Request headers", 401)
NO_ORDERBOOK = Refusal("No orderbook exists for the requested token id", 404)
MARKET_NOT_FOUND = Refusal("market not found", 404)
NOT_FOUND = Refusal("not found", 404)
INVALID_HISTORY = Refusal("invalid filters: market (a token id), startTs, endTs, interval, fidelity expected")
KEY_EXISTS = Refusal("Could not create api key")
KEY_UNKNOWN = Refusal("Could not derive api key!")
TOO_MANY_KEYS = Refusal("too many api keys", 429)
TOO_MANY_RELAYED = Refusal("too many transactions", 429)
RATE_LIMITED = Refusal("Too Many Requests", 429)
BODY_TOO_LARGE = Refusal("request body too large", 413)
ALREADY_GONE = "already canceled or matched"
ORDER_UNKNOWN = "order not found"


def too_many(count: int, count_max: int) -> Refusal:
    return Refusal(f"Too many orders in payload: {count}, max allowed: {count_max}")


def banned(address: str) -> Refusal:
    return Refusal(f"address {address} banned")


def closed_only(address: str) -> Refusal:
    return Refusal(f"address {address} in closed only mode")


def breaks_tick(order_id: str, price_text: str, tick_text: str) -> Refusal:
    rule = f"Price ({price_text}) breaks minimum tick size rule: {tick_text}"
    return Refusal(f"order {order_id} is invalid. {rule}")


def below_minimum(order_id: str, size_micro: int, minimum_text: str) -> Refusal:
    size = int_to_decimal(size_micro, 6)
    return Refusal(f"order {order_id} is invalid. Size ({size}) lower than the minimum: {minimum_text}")


def duplicated(order_id: str) -> Refusal:
    return Refusal(f"order {order_id} is invalid. Duplicated.")


def marketable_min(usd_micro: int) -> Refusal:
    usd = int_to_decimal(usd_micro, 6)
    return Refusal(f"invalid amount for a marketable BUY order (${usd}), min size: $1")


def not_enough(balance_micro: int, reserved_micro: int, amount_micro: int) -> Refusal:
    held = f", sum of active orders: {reserved_micro}" if reserved_micro else ""
    return Refusal(
        "not enough balance / allowance: the balance is not enough -> "
        f"balance: {balance_micro}{held}, order amount: {amount_micro}"
    )


def not_allowed(spender: str, allowance_micro: int, amount_micro: int) -> Refusal:
    return Refusal(
        "not enough balance / allowance: the allowance is not enough -> "
        f"spender: {spender}, allowance: {allowance_micro}, order amount: {amount_micro}"
    )


def market_accuracy(is_buy: bool) -> Refusal:
    side = "buy" if is_buy else "sell"
    return Refusal(
        f"invalid amounts, the market {side} orders maker amount supports a max accuracy of 2 decimals, "
        "taker amount a max of 4 decimals"
    )


def limit_accuracy(what: str, found_micro: int, decimals: int) -> Refusal:
    rule = f"{what} amount supports a max accuracy of {decimals} decimals, was {found_micro}"
    return Refusal(f"invalid amounts, {rule}")


def limit_amount(found_micro: int, expected_micro: int, price_text: str) -> Refusal:
    return Refusal(
        f"invalid amounts, collateral at price {price_text} must be {expected_micro}, was {found_micro}"
    )
