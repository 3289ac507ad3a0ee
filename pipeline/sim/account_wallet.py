"""The wallet that the venue's factories give to an owner, for each signature type (CREATE2).

Source: venue sheet 2.2 and 10.1, read 2026-11-20; checked against every wallet of the vectors file. New
deposit wallets are beacon proxies with arguments (factory, owner), as the library Solady deploys them.
"""

from __future__ import annotations

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

PROXY_FACTORY = "aB45c5A4B0c941a2F231C04C3f49182e1A254052"
PROXY_CODE_HASH = "d21df8dc65880a8606f09fe0ce3df9b8869287ab0b058be05aa9e8af6330a00b"
SAFE_FACTORY = "aacFeEa03eb1561C4e67d661e40682Bd20E3541b"
SAFE_CODE_HASH = "2bce2127ff07fb632d16c8347c4ebf501f4841168bed00d9e6ef715ddb6fcecf"
DEPOSIT_FACTORY = "00000000000Fb5C9ADea0298D729A0CB3823Cc07"
DEPOSIT_BEACON = "7A18EDfe055488A3128f01F563e5B479D92ffc3a"
_BEACON_PROXY = (
    "60195155f3363d3d373d3d363d602036600436635c60da1b60e01b36527f"
    "a3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6c"
    "b3582b35133d50545afa5036515af43d6000803e604d573d6000fd5b3d6000f3"
)


def wallet_of(owner: str, signature_type: int) -> str:
    """Return the checksummed address that holds the money of an owner; 0: the owner's own."""
    raw = bytes.fromhex(owner[2:])
    word = raw.rjust(32, b"\0")
    if signature_type == 1:
        return _deployed(PROXY_FACTORY, keccak(raw), bytes.fromhex(PROXY_CODE_HASH))
    if signature_type == 2:
        return _deployed(SAFE_FACTORY, keccak(word), bytes.fromhex(SAFE_CODE_HASH))
    if signature_type == 3:
        arguments = bytes.fromhex(DEPOSIT_FACTORY).rjust(32, b"\0") + word
        head = f"61{0x52 + len(arguments):04x}3d8160233d3973"  # it returns code and arguments
        code = bytes.fromhex(head + DEPOSIT_BEACON + _BEACON_PROXY) + arguments
        return _deployed(DEPOSIT_FACTORY, keccak(arguments), keccak(code))
    return str(to_checksum_address(owner))


def _deployed(factory: str, salt: bytes, code_hash: bytes) -> str:
    return str(to_checksum_address(keccak(b"\xff" + bytes.fromhex(factory) + salt + code_hash)[12:]))
