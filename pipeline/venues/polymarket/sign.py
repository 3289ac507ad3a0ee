"""Signs orders, and nothing but orders, on the exchanges of one chain.

Place in the stream: the signer stage turns an INTENT and its INSTRUMENT into SIGNED with this; the
gateway calls `render_signature` for the constant rest of a deposit wallet's signature. No network.

Everything but salt, token, amounts, side and time is fixed when the signer is made: account, chain,
domain separators, type hashes. Signatures are RFC 6979 deterministic, so signing twice gives the same
bytes and the order hash is the venue's order id before anything is sent.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

import coincurve

from pipeline.errors import ConfigError, EnvironmentProblem
from pipeline.kinds import Cause
from pipeline.native.orderhash import OrderHasher, OrderSealer, keccak256
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.auth import Secret
from pipeline.venues.polymarket.identity import (
    ZERO32,
    AccountIdentity,
    Refusal,
    address_bytes,
    exchange_domains,
    exchange_of,
    is_v2_token,
)
from pipeline.venues.polymarket.wallets import classify
from pipeline.venues.polymarket.wire import Exchange, SignatureType

__all__ = ["AccountIdentity", "OrderRequest", "OrderSigner", "Signed", "order_hasher", "owner_address",
           "render_signature"]

_AMOUNT_MAX: Final = 2**63 - 1  # what a record holds
_RECOVERABLE_BYTES: Final = 65  # libsecp256k1's own form of a recoverable signature
_PROBE_KEY: Final = bytes(31) + b"\x01"  # everybody knows this key, so nobody uses it
_PROBE: Final = (7, b"\xab" * 32, 1, 2, 0, 1)  # an order of nobody, on the domain of nobody
_SIGNATURE_TAIL: Final = wire.ORDER_TYPE + len(wire.ORDER_TYPE).to_bytes(2, "big")


def order_hasher() -> OrderHasher:
    """Return a hasher of Polymarket's order type; one per process is enough."""
    return OrderHasher(wire.ORDER_TYPE, wire.NESTED_TYPE, *wire.WALLET_DOMAIN)


def private_key(key: Secret) -> coincurve.PrivateKey:
    """Return the key ready to sign; ConfigError when the 32 bytes are no secp256k1 key."""
    try:
        return coincurve.PrivateKey(key.reveal())
    except ValueError:
        # `from None`: the library's message or frame must not carry the key
        raise ConfigError("polymarket.sign: the wallet key is not a secp256k1 private key") from None


def _unknown_library(error: Exception) -> EnvironmentProblem:
    return EnvironmentProblem(
        "polymarket.sign: this coincurve does not say where its libsecp256k1 is; expected version 21, found "
        f"{type(error).__name__}: {error}")


@cache
def _library() -> tuple[int, int, int, object]:
    """Return addresses of coincurve's context and of the two functions that sign, and what keeps them alive.

    EnvironmentProblem when this coincurve does not tell them, or when what is there signs another way.
    """
    try:
        library = importlib.import_module("coincurve._libsecp256k1")
        ffi, lib, context = library.ffi, library.lib, coincurve.context.GLOBAL_CONTEXT
    except (ImportError, AttributeError) as error:
        raise _unknown_library(error) from error
    try:
        if ffi.sizeof("secp256k1_ecdsa_recoverable_signature") != _RECOVERABLE_BYTES:
            raise ValueError("a recoverable signature of another size")
        found = tuple(int(ffi.cast("uintptr_t", pointer)) for pointer in (
            context.ctx, ffi.addressof(lib, "secp256k1_ecdsa_sign_recoverable"),
            ffi.addressof(lib, "secp256k1_ecdsa_recoverable_signature_serialize_compact")))
    except (ffi.error, AttributeError, TypeError, ValueError) as error:
        raise _unknown_library(error) from error
    pointers = (found[0], found[1], found[2], (library, ffi, lib, context))
    nobody = OrderSealer(order_hasher(), _PROBE_KEY, bytes(20), bytes(20), 0, bytes(32), bytes(32), 0, False,
                         pointers)
    sealed = nobody.seal(*_PROBE, bytes(32))
    raw = coincurve.PrivateKey(_PROBE_KEY).sign_recoverable(sealed[:32], hasher=None)
    if sealed[64:] != raw[:64] + bytes((27 + raw[64],)):
        raise EnvironmentProblem("polymarket.sign: libsecp256k1 signs otherwise than coincurve does; "
                                 "expected coincurve 21")
    return pointers


def owner_address(key: Secret) -> bytes:
    """Return the 20-byte address of a wallet key."""
    return keccak256(private_key(key).public_key.format(compressed=False)[1:])[12:]


def render_signature(signature_type: int, signature: bytes, domain: bytes, struct_hash: bytes) -> bytes:
    """Return what stands on the wire: the 65 bytes, or for a deposit wallet the 317 of ERC-7739.

    signature: r, s, v. domain: separator of the exchange. struct_hash: of the order, not of the wrapper.
    """
    tail = signature_tail(signature_type)
    return signature + domain + struct_hash + tail if tail else signature


def signature_tail(signature_type: int) -> bytes:
    """Return what follows the struct hash of a deposit wallet's signature, b"" for a plain key's."""
    return _SIGNATURE_TAIL if signature_type == SignatureType.DEPOSIT_WALLET else b""


class Signed(NamedTuple):
    """A signed order; `signature` is r, s, v (27 or 28) in 65 bytes, `domain` the exchange's separator."""

    order_hash: bytes
    struct_hash: bytes
    signature: bytes
    domain: bytes
    signature_type: int

    @property
    def wire_signature(self) -> bytes:
        """The signature as it is posted: 65 bytes, or 317 for a deposit wallet."""
        return render_signature(self.signature_type, self.signature, self.domain, self.struct_hash)


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A signing request spelt out in full, as a config, a tool or venue metadata names it.

    Nothing in it is trusted: `OrderSigner.check` compares every part with the allow-list.
    """

    primary_type: str
    domain_name: str
    domain_version: str
    chain_id: int
    verifying_contract: str
    maker: str
    signer: str
    signature_type: int
    neg_risk: bool
    v2: bool
    salt: int
    token: bytes
    maker_amount: int
    taker_amount: int
    side: int
    timestamp_ms: int
    metadata: bytes
    builder: bytes


def token_cause(token: bytes, v2: bool) -> Cause:
    """Return why a market's token cannot be signed for, NONE when it can; `v2` must agree with its form."""
    if len(token) != 32 or token == ZERO32:
        return Cause.MISSING_VALUE
    return Cause.NONE if is_v2_token(token) == v2 else Cause.NOT_TRADABLE


class OrderSigner:
    """Signs orders of one account with one key; everything else is refused before the key is touched."""

    def __init__(self, key: Secret, account: AccountIdentity) -> None:
        self.account = account
        self._domains = exchange_domains(account.chain_id)
        self._by_flags = {(neg_risk, v2): self._domains[exchange_of(neg_risk, v2)]
                          for neg_risk in (False, True) for v2 in (False, True)}
        found = owner_address(key)
        if found != account.owner:
            raise ConfigError(f"polymarket.sign: the wallet key belongs to 0x{found.hex()}, expected the "
                              f"owner 0x{account.owner.hex()}; check the key file and the account's owner")
        kind = classify(account.owner, account.maker)
        is_own = kind is not None and kind.signature_type == account.signature_type
        if account.chain_id == wire.POLYGON and not is_own:
            raise ConfigError(f"polymarket.sign: 0x{account.maker.hex()} is no wallet that the venue makes "
                              f"for 0x{account.owner.hex()} with signature type "
                              f"{int(account.signature_type)}; pm connect lists those, check maker")
        # the only hold on the key: whoever takes it away has a signer that can sign nothing
        self._sealer = OrderSealer(
            order_hasher(), key.reveal(), account.maker, account.signer, int(account.signature_type),
            account.metadata, account.builder, account.chain_id,
            account.signature_type == SignatureType.DEPOSIT_WALLET, _library())

    def __repr__(self) -> str:
        return f"OrderSigner(maker=0x{self.account.maker.hex()})"

    def __reduce__(self) -> str:
        raise TypeError("polymarket.sign: a signer holds a key and is never pickled or copied")

    def sign(self, salt: int, token: bytes, maker_amount: int, taker_amount: int, side: int,
             timestamp_ms: int, *, neg_risk: bool, v2: bool) -> Signed | Refusal:
        """Return the signed order, or why it is none; arguments as for `seal`."""
        sealed = self.seal(salt, token, maker_amount, taker_amount, side, timestamp_ms, neg_risk, v2)
        if isinstance(sealed, Refusal):
            return sealed
        return Signed(sealed[:32], sealed[32:64], sealed[64:], self._by_flags[neg_risk, v2],
                      self.account.signature_type)

    def seal(self, salt: int, token: bytes, maker_amount: int, taker_amount: int, side: int,
             timestamp_ms: int, neg_risk: bool, v2: bool) -> bytes | Refusal:
        """Return order hash, struct hash and signature in one, as a SIGNED record holds them, or why not.

        token: 32 bytes. Amounts in 1e-6 units, 1..2**63-1. side: 0 BUY, 1 SELL. neg_risk, v2: of the
        market; they choose the exchange, and v2 must agree with the form of the token id.
        """
        if not (0 < maker_amount <= _AMOUNT_MAX and 0 < taker_amount <= _AMOUNT_MAX):
            return Refusal(Cause.MISSING_VALUE,
                           f"amounts expected in 1..2**63-1, were {maker_amount}, {taker_amount}")
        if not (0 <= salt <= wire.SALT_MAX and 0 < timestamp_ms <= _AMOUNT_MAX):
            return Refusal(Cause.MISSING_VALUE,
                           f"salt expected in 0..2**53-1 and a time, were {salt}, {timestamp_ms}")
        if side not in (0, 1):
            return Refusal(Cause.MISSING_VALUE, f"side 0 or 1 expected, was {side}")
        cause = token_cause(token, v2)
        if cause != Cause.NONE:
            return Refusal(
                cause, f"a token id of a {'v2' if v2 else 'v1'} market expected, was {token.hex()}")
        return self._sealer.seal(
            salt, token, maker_amount, taker_amount, side, timestamp_ms, self._by_flags[neg_risk, v2])

    @property
    def sealer(self) -> OrderSealer:
        """What signs, for native callers that make its checks themselves."""
        return self._sealer

    def domain(self, neg_risk: bool, v2: bool) -> bytes:
        """Return the domain separator of the exchange that such a market trades on."""
        return self._by_flags[neg_risk, v2]

    def check(self, request: OrderRequest) -> Refusal | None:
        """Return why the request is not an order of this account on a known exchange; None when it is."""
        account = self.account
        if request.primary_type != "Order":
            return Refusal(Cause.CEILING, f"only the type Order is signed, was {request.primary_type[:40]!r}")
        if request.chain_id != account.chain_id:
            return Refusal(Cause.CEILING, f"chain {account.chain_id} expected, was {request.chain_id}")
        version, contract = wire.EXCHANGES[account.chain_id, exchange_of(request.neg_risk, request.v2)]
        if (request.domain_name.encode(), request.domain_version) != (wire.DOMAIN_NAME, version):
            found = f"{request.domain_name[:40]!r} version {request.domain_version[:10]!r}"
            return Refusal(Cause.CEILING, f"domain {wire.DOMAIN_NAME.decode()!r} version {version!r} "
                                          f"expected, was {found}")
        if request.verifying_contract.lower() != contract.lower():
            return Refusal(Cause.CEILING, f"exchange {contract} expected for neg_risk={request.neg_risk} "
                                          f"v2={request.v2}, was {request.verifying_contract[:50]!r}")
        if request.signature_type != account.signature_type:
            return Refusal(Cause.CEILING, f"signature type {account.signature_type.value} expected, "
                                          f"was {request.signature_type}")
        for name, text, expected in (("maker", request.maker, account.maker),
                                     ("signer", request.signer, account.signer)):
            if text.lower() != "0x" + expected.hex():
                return Refusal(Cause.CEILING, f"{name} 0x{expected.hex()} expected, was {text[:50]!r}")
        if request.metadata != account.metadata or request.builder != account.builder:
            return Refusal(Cause.CEILING, "metadata and builder of the account expected, were others")
        return None

    def sign_request(self, request: OrderRequest) -> Signed | Refusal:
        """Check every part of the request against the allow-list, then sign it."""
        refusal = self.check(request)
        if refusal is not None:
            return refusal
        return self.sign(request.salt, request.token, request.maker_amount, request.taker_amount,
                         request.side, request.timestamp_ms, neg_risk=request.neg_risk, v2=request.v2)

    def exchanges(self) -> dict[Exchange, tuple[bytes, bytes]]:
        """Return exchange -> (contract, domain separator), for start-up comparison with the venue."""
        return {exchange: (address_bytes(wire.EXCHANGES[self.account.chain_id, exchange][1]), domain)
                for exchange, domain in self._domains.items()}
