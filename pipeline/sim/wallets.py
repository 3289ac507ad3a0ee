"""Addresses of the wallets that an owner can have on the venue: CREATE2 of each factory's creation code.

Source: EIP-1014; the factories' code as deployed on Polygon (venue sheet 2.2 and 10.1, read 2026-11-20);
checked against the derived wallets of the vectors file.
"""

from __future__ import annotations

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from pipeline.sim import contracts
from pipeline.sim.eip712 import word_address, word_int

EOA, PROXY, SAFE, DEPOSIT = range(4)  # signatureType
#: A client without a wallet takes this one if the relayer knows it, which it asks before it proves a key. So
#: a new owner's does not exist, then or later, as on the venue since the beacon.
BEFORE_BEACON = "deposit-uups"

_PROXY_HEAD = "3d3d606380380380913d393d73"
_PROXY_MIDDLE = "5af4602a57600080fd5b602d8060366000396000f3363d3d373d3d3d363d73"
_PROXY_TAIL = "5af43d82803e903d91602b57fd5bf352e831dd"
# Solady's ERC-1967 clones with immutable arguments: behind an implementation, behind a beacon.
_CLONE_HEAD = 0x61003D3D8160233D3973
_CLONE_MIDDLE = "60095155f3363d3d373d3d363d7f360894a13ba1a3210667c828492db98dca3e2076"
_CLONE_TAIL = "cc3735a920a3ca505d382bbc545af43d6000803e6038573d6000fd5b3d6000f3"
_BEACON_HEAD = 0x6100523D8160233D3973
_BEACON_MIDDLE = (
    "60195155f3363d3d373d3d363d602036600436635c60da"
    "1b60e01b36527fa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6c"
)
_BEACON_TAIL = "b3582b35133d50545afa5036515af43d6000803e604d573d6000fd5b3d6000f3"


def proxy_wallet(owner: str) -> str:
    """Return the owner's proxy (signature type 1)."""
    factory, target = _plain(contracts.PROXY_FACTORY), _plain(contracts.PROXY_CODE)
    code = bytes.fromhex(_PROXY_HEAD + factory + _PROXY_MIDDLE + target + _PROXY_TAIL)
    arguments = word_int(32) + word_int(0)  # empty bytes
    return _create2(contracts.PROXY_FACTORY, keccak(bytes.fromhex(_plain(owner))), keccak(code + arguments))


def safe_wallet(owner: str) -> str:
    """Return the owner's Safe (signature type 2)."""
    code_hash = bytes.fromhex(_plain(contracts.SAFE_INIT_HASH))
    return _create2(contracts.SAFE_FACTORY, keccak(word_address(owner)), code_hash)


def deposit_wallet(owner: str, is_beacon: bool = True) -> str:
    """Return the owner's deposit wallet (type 3); `is_beacon` False: the kind made before the beacon."""
    arguments = word_address(contracts.WALLET_FACTORY) + word_address(owner)
    parts = (
        (_BEACON_HEAD, contracts.WALLET_BEACON, _BEACON_MIDDLE + _BEACON_TAIL)
        if is_beacon
        else (_CLONE_HEAD, contracts.WALLET_CODE, _CLONE_MIDDLE + _CLONE_TAIL)
    )
    head, target, rest = parts
    code = (head + (len(arguments) << 56)).to_bytes(10, "big") + bytes.fromhex(_plain(target) + rest)
    return _create2(contracts.WALLET_FACTORY, keccak(arguments), keccak(code + arguments))


def wallets_of(owner: str) -> list[tuple[str, int, str]]:
    """Return (name, signature type, address) of every wallet that the owner can trade from."""
    return [
        ("eoa", EOA, str(to_checksum_address(owner))),
        ("proxy", PROXY, proxy_wallet(owner)),
        ("safe", SAFE, safe_wallet(owner)),
        ("deposit", DEPOSIT, deposit_wallet(owner)),
        (BEFORE_BEACON, DEPOSIT, deposit_wallet(owner, is_beacon=False)),
    ]


def wallet_of(owner: str, signature_type: int) -> str:
    """Return the address that the factories give to an owner today for a signature type."""
    return next(address for _, kind, address in wallets_of(owner) if kind == signature_type)


def _create2(factory: str, salt: bytes, code_hash: bytes) -> str:
    raw = keccak(b"\xff" + bytes.fromhex(_plain(factory)) + salt + code_hash)
    return str(to_checksum_address("0x" + raw[12:].hex()))


def _plain(text: str) -> str:
    return text.removeprefix("0x")
