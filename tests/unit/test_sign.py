"""The signer signs orders of one account on known exchanges, refuses the rest, and never shows its key."""

from __future__ import annotations

import copy
import importlib
import itertools
import pickle
import random
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from coincurve import PrivateKey
from eth_account import Account

from pipeline.errors import ConfigError, EnvironmentProblem
from pipeline.kinds import Cause
from pipeline.sim.wallets import deposit_wallet
from pipeline.venues.polymarket import identity, sign, wire
from pipeline.venues.polymarket.auth import Secret
from pipeline.venues.polymarket.identity import Refusal
from pipeline.venues.polymarket.sign import (
    OrderRequest,
    OrderSigner,
    Signed,
    order_hasher,
    owner_address,
    render_signature,
)

KEY = random.Random(20261121).randbytes(32)
OWNER = Account.from_key(KEY).address
OWNER_RAW = identity.address_bytes(OWNER)
WALLET = "0x" + "ab" * 20
V1_TOKEN = identity.token_bytes(
    "71321045679252212594626385532706912750332728571942532289631379312455583992563"
)
V2_TOKEN = identity.token_bytes("484477317811713033941648914387987281664819049935968967509762756023379034112")
FUNDERS = {0: OWNER, 1: identity.checksum(identity.proxy_wallet(OWNER_RAW)),
           2: identity.checksum(identity.safe_wallet(OWNER_RAW)), 3: deposit_wallet(OWNER)}


def signer(kind: int = 0, chain_id: int = wire.POLYGON) -> OrderSigner:
    return OrderSigner(Secret(KEY), identity.identify(OWNER, FUNDERS[kind], kind, chain_id))


def request(kind: int = 0, *, neg_risk: bool = False, v2: bool = False) -> OrderRequest:
    """Return a right request of the account, as a tool would spell it out."""
    version, contract = wire.EXCHANGES[wire.POLYGON, identity.exchange_of(neg_risk, v2)]
    account = signer(kind).account
    return OrderRequest(
        primary_type="Order", domain_name="Polymarket CTF Exchange", domain_version=version, chain_id=137,
        verifying_contract=contract, maker=identity.checksum(account.maker),
        signer=identity.checksum(account.signer), signature_type=kind, neg_risk=neg_risk, v2=v2, salt=5,
        token=V2_TOKEN if v2 else V1_TOKEN, maker_amount=5_200_000, taker_amount=10_000_000, side=0,
        timestamp_ms=1_790_000_000_000, metadata=bytes(32), builder=bytes(32))


@pytest.mark.parametrize("kind", [0, 1, 2, 3])
@pytest.mark.parametrize(("neg_risk", "v2"), [(False, False), (True, False), (False, True), (True, True)])
def test_right_requests_are_signed(kind: int, neg_risk: bool, v2: bool) -> None:
    """Every wallet kind signs on every exchange, and the owner's key recovers."""
    signed = signer(kind).sign_request(request(kind, neg_risk=neg_risk, v2=v2))

    assert isinstance(signed, Signed)
    assert (317 if kind == 3 else 65) == len(signed.wire_signature)
    assert signed.signature == signed.wire_signature[:65]
    if kind != 3:
        assert OWNER == Account._recover_hash(signed.order_hash, signature=signed.signature)


WRONG: list[tuple[str, Any]] = [
    ("primary_type", "Permit"), ("primary_type", "SafeTx"), ("primary_type", "Batch"), ("primary_type", ""),
    ("domain_name", "ClobAuthDomain"), ("domain_name", "Polymarket CTF Exchange "),
    ("domain_version", "1"), ("domain_version", "3"), ("domain_version", ""),
    ("chain_id", 1), ("chain_id", 80002), ("chain_id", 0), ("chain_id", -137),
    ("verifying_contract", wire.EXCHANGES[137, wire.Exchange.NEG_RISK_V2][1]),
    ("verifying_contract", wire.EXCHANGES[137, wire.Exchange.V3][1]), ("verifying_contract", wire.PUSD),
    ("verifying_contract", "0x" + "00" * 20), ("verifying_contract", ""),
    ("maker", WALLET), ("maker", ""), ("signer", WALLET), ("signer", "0x" + "00" * 20),
    ("signature_type", 1), ("signature_type", 3), ("signature_type", -1), ("neg_risk", True), ("v2", True),
    ("metadata", b"\1" * 32), ("builder", b"\1" * 32), ("builder", b""),
    ("token", V2_TOKEN), ("token", bytes(32)), ("token", b""), ("side", 2), ("side", -1),
    ("salt", -1), ("salt", 2**53), ("timestamp_ms", 0), ("timestamp_ms", 2**63),
    ("maker_amount", 0), ("maker_amount", 2**63), ("taker_amount", 0), ("taker_amount", -1),
]


class NoKey:
    """Stands for the sealer, which alone holds the key, in a refusing signer: touching it fails the test."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"the key was touched by a refused request: {name}")


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_wrong_requests_are_refused_before_signing(field: str, value: Any) -> None:
    """One wrong part of chain, domain, contract, wallet, flag or value: a refusal, key untouched (OR18)."""
    refusing = signer()
    assert not any(isinstance(held, bytes | Secret | PrivateKey) for held in vars(refusing).values())
    refusing._sealer = NoKey()  # type: ignore[assignment]
    refusal = refusing.sign_request(replace(request(), **{field: value}))

    assert isinstance(refusal, Refusal)
    assert refusal.cause in (Cause.CEILING, Cause.NOT_TRADABLE, Cause.MISSING_VALUE)
    assert refusal.text


def test_the_key_is_in_the_sealer_alone() -> None:
    """A right request needs the sealer: the test above would have seen a refused one touch the key."""
    keyless = signer()
    keyless._sealer = NoKey()  # type: ignore[assignment]

    with pytest.raises(AssertionError, match="the key was touched"):
        keyless.sign_request(request())


@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_sealed_is_signed_in_one_piece(kind: int) -> None:
    """`seal` gives order hash, struct hash and signature as `sign` does; coincurve signs the same."""
    holder, key = signer(kind), PrivateKey(KEY)
    for salt in range(50):
        order = (salt, V1_TOKEN, 1 + salt, 2_000_000, salt & 1, 1_790_000_000_000 + salt)
        signed = holder.sign(*order, neg_risk=True, v2=False)
        assert isinstance(signed, Signed)
        digest = signed.order_hash
        if kind == 3:
            digest = order_hasher().nested_digest(
                signed.struct_hash, holder.account.maker, 137, signed.domain)
        raw = key.sign_recoverable(digest, hasher=None)
        assert raw[:64] + bytes((27 + raw[64],)) == signed.signature
        assert signed.order_hash + signed.struct_hash + signed.signature == holder.seal(*order, True, False)


@pytest.mark.parametrize("missing", ["secp256k1_ecdsa_sign_recoverable",
                                     "secp256k1_ecdsa_recoverable_signature_serialize_compact"])
def test_a_coincurve_without_its_library_is_an_error_at_the_start(
    monkeypatch: pytest.MonkeyPatch, missing: str,
) -> None:
    """A signer that could not sign is never made: one line says what is missing, without the key."""
    real = importlib.import_module("coincurve._libsecp256k1")

    class Ffi:
        error, sizeof, cast = real.ffi.error, real.ffi.sizeof, real.ffi.cast

        @staticmethod
        def addressof(lib: object, name: str) -> object:
            if name == missing:
                raise AttributeError(name)
            return real.ffi.addressof(lib, name)

    sign._library.cache_clear()
    monkeypatch.setitem(sys.modules, "coincurve._libsecp256k1", SimpleNamespace(ffi=Ffi, lib=real.lib))
    with pytest.raises(EnvironmentProblem, match=missing) as caught:
        signer()

    assert KEY.hex() not in str(caught.value)
    monkeypatch.undo()
    assert isinstance(signer().sign_request(request()), Signed)


def test_a_library_that_signs_otherwise_is_an_error_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands at the addresses has to sign as coincurve's own call does."""
    monkeypatch.setattr(PrivateKey, "sign_recoverable", lambda *_, **__: bytes(65))
    sign._library.cache_clear()

    with pytest.raises(EnvironmentProblem, match="otherwise"):
        signer()


def test_every_domain_combination_but_the_right_ones_is_refused() -> None:
    """Of all version x contract x chain x flag combinations exactly four are signed."""
    contracts = sorted({contract for _, contract in wire.EXCHANGES.values()} | {wire.CONDITIONAL_TOKENS})
    refusing, signed = signer(), []
    for version, contract, chain_id, neg_risk, v2, token in itertools.product(
            ("1", "2", "3"), contracts, (1, 137, 80002), (False, True), (False, True), (V1_TOKEN, V2_TOKEN)):
        wanted = replace(request(), domain_version=version, verifying_contract=contract, chain_id=chain_id,
                         neg_risk=neg_risk, v2=v2, token=token)
        if isinstance(refusing.sign_request(wanted), Signed):
            signed.append((version, contract, neg_risk, v2))
    expected = [
        (*wire.EXCHANGES[137, identity.exchange_of(n, v)], n, v) for n in (False, True) for v in (False, True)
    ]

    assert sorted(expected) == sorted(signed)


def test_signing_twice_gives_the_same_bytes() -> None:
    """Signatures are RFC 6979: a repeated intent is the same order, never a second one."""
    one, other = signer(3), signer(3)
    first = one.sign(9, V1_TOKEN, 1_000_000, 2_000_000, 1, 1_790_000_000_000, neg_risk=True, v2=False)

    assert first == other.sign(
        9, V1_TOKEN, 1_000_000, 2_000_000, 1, 1_790_000_000_000, neg_risk=True, v2=False
    )
    assert isinstance(first, Signed)
    assert first.wire_signature == render_signature(3, first.signature, first.domain, first.struct_hash)


@pytest.mark.parametrize("bad", [bytes(32), b"\xff" * 32, b"\1" * 31, b"\1" * 33, b""])
def test_a_bad_key_is_a_config_error_that_does_not_show_it(bad: bytes) -> None:
    """Zero, the group order and above, and other lengths are refused without printing the key."""
    with pytest.raises(ConfigError) as caught:
        OrderSigner(Secret(bad), signer().account)

    assert caught.value.__cause__ is None
    assert not bad or bad.hex() not in str(caught.value)


def test_a_wallet_of_somebody_else_is_refused() -> None:
    """A deposit wallet that the venue did not make for this key has no signer, whatever the config says."""
    for wallet in (WALLET, deposit_wallet(Account.from_key(b"\7" * 32).address)):
        with pytest.raises(ConfigError, match="no wallet that the venue makes"):
            OrderSigner(Secret(KEY), identity.identify(OWNER, wallet, 3))
    for is_beacon in (True, False):
        OrderSigner(Secret(KEY), identity.identify(OWNER, deposit_wallet(OWNER, is_beacon), 3))


def test_a_key_of_another_owner_is_refused() -> None:
    """A signer whose key does not belong to the account cannot be made."""
    with pytest.raises(ConfigError, match="expected the owner"):
        OrderSigner(Secret(b"\7" * 32), signer().account)


@pytest.mark.parametrize(("owner", "funder", "kind", "chain_id"), [
    (OWNER, WALLET, 0, 137), (OWNER, OWNER, 1, 137), (OWNER, FUNDERS[1], 2, 137), (OWNER, FUNDERS[2], 1, 137),
    (OWNER, OWNER, 3, 137), (OWNER, OWNER, 4, 137), (OWNER, OWNER, -1, 137), (OWNER, OWNER, 0, 1),
    (OWNER, OWNER, 0, 0), (OWNER[:-1], OWNER, 0, 137), ("0x" + "00" * 20, OWNER, 0, 137),
    (OWNER.replace("0x", ""), OWNER, 0, 137), (OWNER.swapcase().replace("0X", "0x"), OWNER, 0, 137),
])
def test_impossible_accounts_are_refused(owner: str, funder: str, kind: int, chain_id: int) -> None:
    """Owner, funder, wallet kind and chain must belong together, or there is no account."""
    with pytest.raises(ConfigError):
        identity.identify(owner, funder, kind, chain_id)


def test_a_signer_does_not_leak_its_key() -> None:
    """repr shows the maker only; pickle and copy are refused."""
    holder = signer()

    assert OWNER_RAW == owner_address(Secret(KEY))
    assert KEY.hex() not in repr(holder)
    assert KEY.hex() not in repr(holder._sealer)
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        for one in (holder, holder._sealer):
            with pytest.raises(TypeError):
                leak(one)


def test_both_chains_have_three_exchanges() -> None:
    """The allow-list that a start-up check compares holds each exchange once, with its own separator."""
    for chain_id in (wire.POLYGON, wire.AMOY):
        found = signer(chain_id=chain_id).exchanges()
        assert set(wire.Exchange) == set(found)
        assert 3 == len({domain for _, domain in found.values()})


@pytest.mark.parametrize(
    "text", ["", "0", "01", "-1", "1.0", "1e5", "0x10", "٣", " 1", "1 ", "9" * 79, str(2**256)]
)
def test_token_ids_are_plain_decimals(text: str) -> None:
    """An id that is not exactly a decimal of at most 256 bits is refused (MD15)."""
    with pytest.raises(ValueError, match="token id"):
        identity.token_bytes(text)


@pytest.mark.parametrize("seed", range(10))
def test_token_ids_round_trip(seed: int) -> None:
    """Ids keep every digit through 32 bytes and back."""
    rng = random.Random(seed)
    for _ in range(500):
        value = rng.getrandbits(rng.randrange(1, 257)) or 1
        assert str(value) == str(int.from_bytes(identity.token_bytes(str(value)), "big"))
