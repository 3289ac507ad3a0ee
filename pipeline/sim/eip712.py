"""EIP-712 words, digests and signature recovery, by eth-account and keccak alone.

Reads order fields; writes digests and signer addresses. All type hashes are computed once.
Source: venue sheet 10.1, read 2026-11-20; checked against every order of the vectors file.
"""

from __future__ import annotations

from typing import Any

from eth_account import Account as EthAccount
from eth_account.messages import SignableMessage
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

ORDER_TYPE = (
    b"Order(uint256 salt,address maker,address signer,uint256 tokenId,uint256 makerAmount,"
    b"uint256 takerAmount,uint8 side,uint8 signatureType,uint256 timestamp,bytes32 metadata,bytes32 builder)"
)
_ORDER_HASH = keccak(ORDER_TYPE)
_WALLET_HASH = keccak(
    b"TypedDataSign(Order contents,string name,string version,uint256 chainId,address verifyingContract,"
    b"bytes32 salt)" + ORDER_TYPE
)
_DOMAIN_HASH = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_NAME_HASH = keccak(b"Polymarket CTF Exchange")
_WALLET_NAME = keccak(b"DepositWallet") + keccak(b"1")
_ZERO = bytes(32)

# Source: venue sheet 2.2. (version text, contract)
STANDARD = ("2", "0xE111180000d2663C0091e4f400237545B87B996B")
NEG_RISK = ("2", "0xe2222d279d744050d28e00520010520000310F59")
EXCHANGE_V3 = ("3", "0xe3333700cA9d93003F00f0F71f8515005F6c00Aa")
EXCHANGES = (STANDARD, NEG_RISK, EXCHANGE_V3)
CHAINS = (137, 80002)

SIGNATURE_BYTES = 65
_WRAPPED_BYTES = SIGNATURE_BYTES + 32 + 32 + len(ORDER_TYPE) + 2


def word_int(value: int) -> bytes:
    return value.to_bytes(32, "big")


def word_address(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])


def domain_separator(exchange: tuple[str, str], chain_id: int) -> bytes:
    version, contract = exchange
    words = _NAME_HASH + keccak(text=version) + word_int(chain_id) + word_address(contract)
    return keccak(_DOMAIN_HASH + words)


DOMAINS = {(exchange, chain): domain_separator(exchange, chain) for exchange in EXCHANGES for chain in CHAINS}


def struct_hash(order: dict[str, Any]) -> bytes:
    """Return the struct hash of a payload: `side` a number, ids and amounts int, words bytes."""
    return keccak(
        _ORDER_HASH
        + word_int(order["salt"])
        + word_address(order["maker"])
        + word_address(order["signer"])
        + word_int(order["tokenId"])
        + word_int(order["makerAmount"])
        + word_int(order["takerAmount"])
        + word_int(order["side"])
        + word_int(order["signatureType"])
        + word_int(order["timestamp"])
        + order["metadata"]
        + order["builder"]
    )


def order_digest(domain: bytes, struct: bytes) -> bytes:
    """Return the EIP-712 digest, which is the order id for every signature type."""
    return keccak(b"\x19\x01" + domain + struct)


def wallet_struct(struct: bytes, wallet: str, chain_id: int) -> bytes:
    """Return the nested struct hash (ERC-7739) that the owner of a deposit wallet signs."""
    words = _WALLET_HASH + struct + _WALLET_NAME + word_int(chain_id) + word_address(wallet) + _ZERO
    return keccak(words)


def unwrap(signature: bytes, struct: bytes) -> tuple[bytes, bytes] | None:
    """Return (inner 65 bytes, domain) of a wrapped signature, or None if its trailer is not of this order."""
    inner, domain, rest = signature[:65], signature[65:97], signature[97:]
    if len(signature) != _WRAPPED_BYTES or rest != struct + ORDER_TYPE + len(ORDER_TYPE).to_bytes(2, "big"):
        return None
    return inner, domain


def recover(domain: bytes, struct: bytes, signature: str | bytes) -> str | None:
    """Return the lower-case address that signed, or None if the signature is not one."""
    if isinstance(signature, str):
        try:
            signature = bytes.fromhex(signature.removeprefix("0x"))
        except ValueError:
            return None
    if len(signature) != SIGNATURE_BYTES or signature[64] not in (27, 28):
        return None
    try:
        signer: str = EthAccount.recover_message(
            SignableMessage(b"\x01", domain, struct), signature=signature
        )
    except (BadSignature, ValidationError):
        return None
    return signer.lower()
