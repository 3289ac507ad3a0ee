"""Who signed a dry order, found out by another implementation than the one that signed it.

The order is written out as EIP-712 typed data and its signer recovered with eth-account: neither our hasher
nor our signer has a part in the answer. Source: venue sheet 10.1, read 2026-11-20.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.config.accounts import Account
from pipeline.run.keywork import (
    DRY_MAKER_AMOUNT,
    DRY_SALT,
    DRY_TAKER_AMOUNT,
    DRY_TIME_MS,
    DRY_TOKEN_V1,
    DRY_TOKEN_V2,
    DryOrder,
)
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.identity import exchange_of
from pipeline.venues.polymarket.wire import SignatureType

_ZERO = bytes(32)


def _fields(type_text: bytes) -> list[dict[str, str]]:
    """Return the members of a type text such as `Order(uint256 salt,…)`."""
    inner = type_text.decode().partition("(")[2].partition(")")[0]
    parts = (part.partition(" ") for part in inner.split(","))
    return [{"type": kind, "name": name} for kind, _, name in parts]


def recovered_signers(orders: Sequence[DryOrder], account: Account, chain_id: int) -> tuple[str, ...]:
    """Return the checksummed address that signed each order, "" for a signature that is none."""
    return tuple(_recovered(order, account, chain_id) for order in orders)


def _recovered(order: DryOrder, account: Account, chain_id: int) -> str:
    from eth_account import Account as EthAccount
    from eth_account.messages import encode_typed_data
    from eth_keys.exceptions import BadSignature, ValidationError

    version, contract = wire.EXCHANGES[chain_id, exchange_of(order.neg_risk, order.v2)]
    domain = {"name": wire.DOMAIN_NAME.decode(), "version": version, "chainId": chain_id,
              "verifyingContract": contract}
    is_wallet = account.signature_type == SignatureType.DEPOSIT_WALLET
    message: dict[str, Any] = {
        "salt": DRY_SALT, "maker": account.maker, "signer": account.maker if is_wallet else account.address,
        "tokenId": int.from_bytes(DRY_TOKEN_V2 if order.v2 else DRY_TOKEN_V1, "big"),
        "makerAmount": DRY_MAKER_AMOUNT, "takerAmount": DRY_TAKER_AMOUNT, "side": 0,
        "signatureType": account.signature_type, "timestamp": DRY_TIME_MS, "metadata": _ZERO,
        "builder": _ZERO}
    types = {"EIP712Domain": _fields(wire.DOMAIN_TYPE), "Order": _fields(wire.ORDER_TYPE)}
    primary = "Order"
    if is_wallet:
        name, wallet_version = wire.WALLET_DOMAIN
        types["TypedDataSign"] = _fields(wire.NESTED_TYPE)
        primary, message = "TypedDataSign", {
            "contents": message, "name": name.decode(), "version": wallet_version.decode(),
            "chainId": chain_id, "verifyingContract": account.maker, "salt": _ZERO}
    signable = encode_typed_data(
        full_message={"types": types, "primaryType": primary, "domain": domain, "message": message})
    try:
        return str(EthAccount.recover_message(signable, signature=bytes.fromhex(order.signature)))
    except (BadSignature, ValidationError, ValueError):
        return ""
