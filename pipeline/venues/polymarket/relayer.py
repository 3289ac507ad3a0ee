"""Requests to the gasless relayer: batches of settlement calls, signed for the three wallet kinds.

Reads and writes nothing; execution is later work, so nothing sends them yet. A deposit wallet (type 3)
signs an EIP-712 Batch, a Safe (2) a SafeTx digest as a personal message, a proxy (1) the relay hub's own
digest. An EOA (0) sends its transactions itself. Every call is on `settle.ALLOWED` or the key is not
touched. Source: venue sheet 18; field names of the Safe and proxy bodies: polymarket-client 0.14.0
gasless module, read 2026-11-22; checked by tests/unit/test_vectors_settle.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson

from pipeline.errors import ConfigError
from pipeline.kinds import Cause
from pipeline.native.orderhash import keccak256
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.auth import Secret
from pipeline.venues.polymarket.identity import (
    AccountIdentity,
    Refusal,
    address_bytes,
    checksum,
    domain_separator,
)
from pipeline.venues.polymarket.settle import UINT256_MAX, Call, address_word, refusal_of, word
from pipeline.venues.polymarket.sign import owner_address, private_key
from pipeline.venues.polymarket.wire import SignatureType

CALLS_MAX: Final = 64  # of one batch; a plan needs a few
DEADLINE_S_MAX: Final = 2**63 - 1
GAS_MAX: Final = 2**63 - 1
_CALL_TYPE_HASH: Final = keccak256(wire.CALL_TYPE)
_BATCH_TYPE_HASH: Final = keccak256(wire.BATCH_TYPE)
_SAFE_TYPE_HASH: Final = keccak256(wire.SAFE_TYPE)
_MULTISEND_SELECTOR: Final = keccak256(b"multiSend(bytes)")[:4]
_PROXY_SELECTOR: Final = keccak256(b"proxy((uint8,address,uint256,bytes)[])")[:4]
_ZERO_ADDRESS: Final = "0x" + "00" * 20
_NO_VALUE: Final = word(0)
_DIRECT, _DELEGATE = 0, 1  # operations of a Safe
_PROXY_CALL: Final = 1  # the proxy's type code for a plain call
_SAFE_V: Final = 4  # a Safe tells a personal message from a typed digest by v + 4


class Digest(NamedTuple):
    """What is hashed: `digest` covers domain separator and struct hash, 32 bytes each."""

    domain: bytes
    struct_hash: bytes
    digest: bytes


class Request(NamedTuple):
    """A signed request: the body of `POST /submit`, the hash that was signed, and 65 bytes r, s, v."""

    body: bytes
    digest: bytes
    signature: bytes


def _typed(domain: bytes, struct_hash: bytes) -> Digest:
    return Digest(domain, struct_hash, keccak256(b"\x19\x01" + domain + struct_hash))


def _padded(data: bytes) -> bytes:
    """Return bytes as an ABI tail: their length, then they and zeros up to a whole word."""
    return word(len(data)) + data + bytes(-len(data) % 32)


def personal(digest: bytes) -> bytes:
    """Return what a wallet signs for a 32-byte message (personal_sign, EIP-191 version 0x45)."""
    return keccak256(b"\x19Ethereum Signed Message:\n32" + digest)


def batch_digest(wallet: bytes, nonce: int, deadline_s: int, calls: Sequence[Call], chain_id: int) -> Digest:
    """Return the EIP-712 digest of a deposit wallet's atomic batch."""
    name, version = wire.WALLET_DOMAIN
    hashes = b"".join(
        keccak256(_CALL_TYPE_HASH + address_word(call.target) + _NO_VALUE + keccak256(call.data))
        for call in calls)
    struct_hash = keccak256(
        _BATCH_TYPE_HASH + address_word(wallet) + word(nonce) + word(deadline_s) + keccak256(hashes))
    return _typed(domain_separator(version.decode(), chain_id, wallet, name), struct_hash)


def safe_call(calls: Sequence[Call]) -> tuple[Call, int]:
    """Return the one call that a Safe makes, and its operation: several go through multisend (1)."""
    if len(calls) == 1:
        return calls[0], _DIRECT
    packed = b"".join(
        bytes([_DIRECT]) + call.target + _NO_VALUE + word(len(call.data)) + call.data for call in calls)
    data = _MULTISEND_SELECTOR + word(32) + _padded(packed)
    return Call(address_bytes(wire.SAFE_MULTISEND), data), _DELEGATE


def safe_digest(safe: bytes, call: Call, operation: int, nonce: int, chain_id: int) -> Digest:
    """Return the SafeTx digest; gas and refund are zero, for the relayer pays."""
    domain = keccak256(keccak256(wire.SAFE_DOMAIN_TYPE) + word(chain_id) + address_word(safe))
    struct_hash = keccak256(
        _SAFE_TYPE_HASH + address_word(call.target) + _NO_VALUE + keccak256(call.data) + word(operation)
        + word(0) * 5 + word(nonce))  # safeTxGas, baseGas, gasPrice, gasToken, refundReceiver
    return _typed(domain, struct_hash)


def proxy_data(calls: Sequence[Call]) -> bytes:
    """Return the calldata with which the proxy factory makes the calls in the owner's proxy wallet."""
    tails = [word(_PROXY_CALL) + address_word(call.target) + _NO_VALUE + word(128) + _padded(call.data)
             for call in calls]
    offsets, at = [], 32 * len(tails)
    for tail in tails:
        offsets.append(word(at))
        at += len(tail)
    return b"".join((_PROXY_SELECTOR, word(32), word(len(tails)), *offsets, *tails))


def proxy_digest(owner: bytes, data: bytes, nonce: int, gas_limit: int, relay: bytes) -> bytes:
    """Return the relay hub's digest of a proxy call; fee and gas price are zero."""
    return keccak256(
        b"rlx:" + owner + address_bytes(wire.PROXY_FACTORY) + data + word(0) * 2 + word(gas_limit)
        + word(nonce) + address_bytes(wire.RELAY_HUB) + relay)


def _calls_refusal(calls: Sequence[Call]) -> Refusal | None:
    if not 1 <= len(calls) <= CALLS_MAX:
        return Refusal(Cause.TOO_MANY_ORDERS, f"1..{CALLS_MAX} calls expected, were {len(calls)}")
    for number, call in enumerate(calls):
        refusal = refusal_of(call)
        if refusal is not None:
            return Refusal(refusal.cause, f"call {number}: {refusal.text}")
    return None


class RelayerSigner:
    """Signs batches of allowed calls for one wallet; everything else is refused before the key is touched."""

    def __init__(self, key: Secret, account: AccountIdentity) -> None:
        if account.chain_id != wire.POLYGON:
            raise ConfigError(f"polymarket.relayer: settlement contracts are known on chain {wire.POLYGON} "
                              f"only, was {account.chain_id}")
        found = owner_address(key)
        if found != account.owner:
            raise ConfigError(f"polymarket.relayer: the wallet key belongs to {checksum(found)}, expected "
                              f"the owner {checksum(account.owner)}; check key file and account")
        self.account = account
        self._key = private_key(key)

    def __repr__(self) -> str:
        return f"RelayerSigner(wallet={checksum(self.account.maker)})"

    def __reduce__(self) -> str:
        raise TypeError("polymarket.relayer: a signer holds a key and is never pickled or copied")

    def wallet(self, calls: Sequence[Call], nonce: int, deadline_s: int) -> Request | Refusal:
        """Return a deposit wallet's request; its calls happen all or none. deadline_s: a unix second."""
        refusal = self._refusal(SignatureType.DEPOSIT_WALLET, calls, nonce)
        if refusal is None and not 0 < deadline_s <= DEADLINE_S_MAX:
            refusal = Refusal(Cause.DEADLINE, f"a deadline in unix seconds expected, was {deadline_s}")
        if refusal is not None:
            return refusal
        digest = batch_digest(self.account.maker, nonce, deadline_s, calls, self.account.chain_id).digest
        signature = self._sign(digest)
        wanted = {
            "depositWallet": checksum(self.account.maker), "deadline": str(deadline_s),
            "calls": [{"target": checksum(call.target), "value": "0", "data": "0x" + call.data.hex()}
                      for call in calls]}
        return self._request("WALLET", wire.DEPOSIT_FACTORY, nonce, digest, signature,
                             {"depositWalletParams": wanted})

    def safe(self, calls: Sequence[Call], nonce: int) -> Request | Refusal:
        """Return a Safe's request; several calls go through multisend and happen all or none."""
        refusal = self._refusal(SignatureType.GNOSIS_SAFE, calls, nonce)
        if refusal is not None:
            return refusal
        call, operation = safe_call(calls)
        digest = safe_digest(self.account.maker, call, operation, nonce, self.account.chain_id).digest
        plain = self._sign(personal(digest))
        signature = plain[:64] + bytes([plain[64] + _SAFE_V])
        return self._request("SAFE", checksum(call.target), nonce, digest, signature, {
            "proxyWallet": checksum(self.account.maker), "data": "0x" + call.data.hex(),
            "signatureParams": {
                "baseGas": "0", "gasPrice": "0", "gasToken": _ZERO_ADDRESS, "operation": str(operation),
                "refundReceiver": _ZERO_ADDRESS, "safeTxnGas": "0"}})

    def proxy(self, calls: Sequence[Call], nonce: int, gas_limit: int, relay: bytes) -> Request | Refusal:
        """Return a proxy wallet's request. relay: 20 bytes, as `/relay-payload` names it with the nonce."""
        refusal = self._refusal(SignatureType.POLY_PROXY, calls, nonce)
        if refusal is None and not (0 < gas_limit <= GAS_MAX and len(relay) == 20):
            refusal = Refusal(Cause.MISSING_VALUE, f"a gas limit and a relay of 20 bytes expected, were "
                                                   f"{gas_limit} and {relay.hex()}")
        if refusal is not None:
            return refusal
        data = proxy_data(calls)
        digest = proxy_digest(self.account.owner, data, nonce, gas_limit, relay)
        return self._request("PROXY", wire.PROXY_FACTORY, nonce, digest, self._sign(personal(digest)), {
            "proxyWallet": checksum(self.account.maker), "data": "0x" + data.hex(),
            "signatureParams": {
                "gasLimit": str(gas_limit), "gasPrice": "0", "relay": checksum(relay),
                "relayHub": wire.RELAY_HUB, "relayerFee": "0"}})

    def _refusal(self, kind: SignatureType, calls: Sequence[Call], nonce: int) -> Refusal | None:
        if self.account.signature_type != kind:
            return Refusal(Cause.CEILING, f"a wallet of signature type {kind.value} expected, was "
                                          f"{self.account.signature_type.value}")
        if not 0 <= nonce <= UINT256_MAX:
            return Refusal(Cause.MISSING_VALUE, f"a nonce expected, was {nonce}")
        return _calls_refusal(calls)

    def _sign(self, digest: bytes) -> bytes:
        raw = self._key.sign_recoverable(digest, hasher=None)
        return raw[:64] + bytes((27 + raw[64],))

    def _request(self, kind: str, target: str, nonce: int, digest: bytes, signature: bytes,
                 rest: dict[str, Any]) -> Request:
        body = {"type": kind, "from": checksum(self.account.owner), "to": target, "nonce": str(nonce),
                "signature": "0x" + signature.hex(), "metadata": "", **rest}
        return Request(orjson.dumps(body), digest, signature)
