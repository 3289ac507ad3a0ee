"""Which wallets a key has: all addresses that the venue's factories give to one owner.

Reads and writes nothing, asks nobody: each address follows from the owner's alone (CREATE2). Whether a
contract stands there is the chain's business; `pm doctor` asks the venue for its balance.
Source: venue sheet 2.2 and 10.1, read 2026-11-20. The code of both deposit wallets is the minimal ERC-1967
proxy with arguments of the library Solady; V: it reproduces every wallet of the vectors.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from pipeline.native.orderhash import keccak256
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.identity import address_bytes, create2, proxy_wallet, safe_wallet
from pipeline.venues.polymarket.wire import SignatureType

# Creation code before and behind the address that it points to; the length of the arguments is added in.
_UUPS_HEAD: Final = 0x61003D3D8160233D3973
_UUPS_TAIL: Final = bytes.fromhex(
    "60095155f3363d3d373d3d363d7f360894a13ba1a3210667c828492db98dca3e2076"
    "cc3735a920a3ca505d382bbc545af43d6000803e6038573d6000fd5b3d6000f3")
_BEACON_HEAD: Final = 0x6100523D8160233D3973
_BEACON_TAIL: Final = bytes.fromhex(
    "60195155f3363d3d373d3d363d602036600436635c60da1b60e01b36527fa3f0ad74e5423aebfd80d3ef4346578335a9"
    "a72aeaee59ff6cb3582b35133d50545afa5036515af43d6000803e604d573d6000fd5b3d6000f3")
_LENGTH_SHIFT: Final = 56


class WalletKind(Enum):
    """What holds the money of an owner; `signature_type` is what its orders carry."""

    EOA = ("EOA", SignatureType.EOA)
    PROXY = ("proxy wallet", SignatureType.POLY_PROXY)
    SAFE = ("Safe", SignatureType.GNOSIS_SAFE)
    DEPOSIT_BEACON = ("deposit wallet (beacon)", SignatureType.DEPOSIT_WALLET)
    DEPOSIT_UUPS = ("deposit wallet (UUPS)", SignatureType.DEPOSIT_WALLET)

    @property
    def words(self) -> str:
        """The kind, for people."""
        return self.value[0]

    @property
    def signature_type(self) -> SignatureType:
        """The `signatureType` of orders from such a wallet."""
        return self.value[1]


def _deposit_wallet(owner: bytes, head: int, target: str, tail: bytes) -> bytes:
    arguments = bytes(12) + address_bytes(wire.DEPOSIT_FACTORY) + bytes(12) + owner
    code = ((head + (len(arguments) << _LENGTH_SHIFT)).to_bytes(10, "big") + address_bytes(target) + tail
            + arguments)
    return create2(wire.DEPOSIT_FACTORY, keccak256(arguments), keccak256(code))


def wallets_of(owner: bytes) -> dict[WalletKind, bytes]:
    """Return the address of each kind of wallet that this owner has or could have on Polygon."""
    return {
        WalletKind.EOA: owner,
        WalletKind.PROXY: proxy_wallet(owner),
        WalletKind.SAFE: safe_wallet(owner),
        WalletKind.DEPOSIT_BEACON: _deposit_wallet(owner, _BEACON_HEAD, wire.DEPOSIT_BEACON, _BEACON_TAIL),
        WalletKind.DEPOSIT_UUPS: _deposit_wallet(owner, _UUPS_HEAD, wire.DEPOSIT_IMPLEMENTATION, _UUPS_TAIL),
    }


def classify(owner: bytes, maker: bytes) -> WalletKind | None:
    """Return which of the owner's wallets `maker` is, None when it is none of them."""
    return next((kind for kind, address in wallets_of(owner).items() if address == maker), None)
