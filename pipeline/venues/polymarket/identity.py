"""Who trades: addresses, wallet kinds, EIP-712 domains, token ids.

Reads and writes nothing; the signer, the gateway and the account stage build on it. No key here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pipeline.errors import ConfigError
from pipeline.kinds import Cause
from pipeline.native.orderhash import keccak256
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.wire import Exchange, SignatureType

ZERO32: Final = bytes(32)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_V2_RESERVED = slice(19, 27)  # bits 40 to 103, which a v2 position id keeps zero; V: SDK is_v2_position_id
_ZERO8 = bytes(8)
_PROXY_INIT_CODE_HASH = bytes.fromhex(
    "d21df8dc65880a8606f09fe0ce3df9b8869287ab0b058be05aa9e8af6330a00b")  # V: reproduces the vectors' wallets


@dataclass(frozen=True, slots=True)
class Refusal:
    """An expected "no" before anything left: why, in words, and the size that would be legal (0 = none)."""

    cause: Cause
    text: str
    nearest_size_micro: int = 0


def checksum(address: bytes) -> str:
    """Return 20 bytes as an EIP-55 address with its capital letters."""
    if len(address) != 20:
        raise ConfigError(f"polymarket.identity: an address is 20 bytes, was {len(address)}")
    text = address.hex()
    marks = keccak256(text.encode()).hex()
    return "0x" + "".join(c.upper() if mark >= "8" else c for c, mark in zip(text, marks, strict=False))


def address_bytes(text: str) -> bytes:
    """Return the 20 bytes of `0x` + 40 hex digits; mixed case must carry a right EIP-55 checksum.

    Raises ConfigError; the zero address is refused.
    """
    if not _ADDRESS.fullmatch(text):
        raise ConfigError(f"polymarket.identity: expected an address 0x + 40 hex digits, was {text[:50]!r}")
    raw = bytes.fromhex(text[2:])
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()) and checksum(raw) != text:
        raise ConfigError(f"polymarket.identity: address {text} has a wrong checksum, expected "
                          f"{checksum(raw)}; a digit was probably mistyped")
    if not any(raw):
        raise ConfigError("polymarket.identity: the zero address cannot trade")
    return raw


def token_bytes(text: str) -> bytes:
    """Return a decimal ERC-1155 id as 32 bytes, big-endian; never through a float.

    Raises ValueError for anything but 1..78 ASCII digits without a leading zero that fit 256 bits.
    """
    if not (text.isascii() and text.isdigit()) or len(text) > 78 or text[0] == "0":
        raise ValueError(f"not a token id: {text[:90]!r}")
    value = int(text)
    if value >> 256:
        raise ValueError(f"token id has more than 256 bits: {text[:90]!r}")
    return value.to_bytes(32, "big")


def is_v2_token(token: bytes) -> bool:
    """Tell whether 32 bytes are a v2 position id, from its reserved zero bits. V: SDK, venue sheet 1."""
    return token[_V2_RESERVED] == _ZERO8


def complement(token: bytes) -> bytes:
    """Return the other outcome's v2 position id."""
    return token[:31] + bytes([token[31] ^ 1])


def v2_condition(token: bytes) -> bytes:
    """Return the 31-byte condition of a v2 position id; the CLOB pads it with one zero byte."""
    return token[:31]


def exchange_of(neg_risk: bool, v2: bool) -> Exchange:
    """Return the exchange that settles such a market."""
    if v2:
        return Exchange.V3
    return Exchange.NEG_RISK_V2 if neg_risk else Exchange.CTF_V2


def domain_separator(version: str, chain_id: int, contract: bytes, name: bytes = wire.DOMAIN_NAME) -> bytes:
    """Return the EIP-712 domain separator of a contract, computed and never copied."""
    return keccak256(
        keccak256(wire.DOMAIN_TYPE) + keccak256(name) + keccak256(version.encode())
        + chain_id.to_bytes(32, "big") + bytes(12) + contract)


def exchange_domains(chain_id: int) -> dict[Exchange, bytes]:
    """Return the domain separators of every exchange of a chain; ConfigError for an unknown chain."""
    found = {exchange: domain_separator(version, chain_id, address_bytes(contract))
             for (chain, exchange), (version, contract) in wire.EXCHANGES.items() if chain == chain_id}
    if not found:
        raise ConfigError(f"polymarket.identity: expected chain {wire.POLYGON} or {wire.AMOY}, "
                          f"was {chain_id}")
    return found


def create2(factory: str, salt: bytes, init_code_hash: bytes) -> bytes:
    """Return the address at which a factory deploys this code under this salt (EIP-1014)."""
    return keccak256(b"\xff" + address_bytes(factory) + salt + init_code_hash)[12:]


def proxy_wallet(owner: bytes) -> bytes:
    """Return the type 1 wallet of an owner (CREATE2, salt = keccak of the packed address)."""
    return create2(wire.PROXY_FACTORY, keccak256(owner), _PROXY_INIT_CODE_HASH)


def safe_wallet(owner: bytes) -> bytes:
    """Return the type 2 wallet of an owner (CREATE2, salt = keccak of the padded address)."""
    init_code_hash = bytes.fromhex(wire.SAFE_INIT_CODE_HASH[2:])
    return create2(wire.SAFE_FACTORY, keccak256(bytes(12) + owner), init_code_hash)


@dataclass(frozen=True, slots=True)
class AccountIdentity:
    """Whose orders these are. Build it with `identify`; the constructor checks the combination too.

    maker: holds the funds. signer: stands in the order (the wallet itself for type 3). owner: the EOA
    whose key signs and whose address owns the API key. builder, metadata: constant order fields.
    """

    maker: bytes
    signer: bytes
    owner: bytes
    signature_type: SignatureType
    chain_id: int
    builder: bytes = ZERO32
    metadata: bytes = ZERO32

    def __post_init__(self) -> None:
        exchange_domains(self.chain_id)
        for name in ("builder", "metadata"):
            if len(getattr(self, name)) != 32:
                raise ConfigError(f"polymarket.identity: {name} is 32 bytes, was {len(getattr(self, name))}")
        expected_signer = self.maker if self.signature_type == SignatureType.DEPOSIT_WALLET else self.owner
        if self.signer != expected_signer:
            raise ConfigError(f"polymarket.identity: signature type {self.signature_type.value} expects the "
                              f"signer {checksum(expected_signer)}, was {checksum(self.signer)}")
        expected_maker = {SignatureType.EOA: self.owner, SignatureType.POLY_PROXY: proxy_wallet(self.owner),
                          SignatureType.GNOSIS_SAFE: safe_wallet(self.owner)}.get(self.signature_type)
        if expected_maker is not None and self.maker != expected_maker:
            raise ConfigError("polymarket.identity: the funder of signature type "
                              f"{self.signature_type.value} for owner {checksum(self.owner)} is "
                              f"{checksum(expected_maker)}, was "
                              f"{checksum(self.maker)}; check funder and signature_type")
        if expected_maker is None and self.maker == self.owner:
            raise ConfigError("polymarket.identity: a deposit wallet (signature type 3) is a contract, "
                              "expected a funder other than the owner's own address")


def identify(owner: str, funder: str, signature_type: int, chain_id: int = wire.POLYGON, *,
             builder: bytes = ZERO32, metadata: bytes = ZERO32) -> AccountIdentity:
    """Return the identity for an owner EOA and the wallet that holds the funds.

    Raises ConfigError when address, kind, chain and wallet do not belong together. Whose deposit wallet it
    is, is not looked at here: `wallets.classify` tells, `pm doctor` asks it.
    """
    if signature_type not in list(SignatureType):
        raise ConfigError(f"polymarket.identity: signature_type is 0, 1, 2 or 3, was {signature_type!r}")
    kind = SignatureType(signature_type)
    owner_raw, maker = address_bytes(owner), address_bytes(funder)
    signer = maker if kind == SignatureType.DEPOSIT_WALLET else owner_raw
    return AccountIdentity(maker, signer, owner_raw, kind, chain_id, builder, metadata)
