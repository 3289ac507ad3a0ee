"""venues.polymarket.settle and convert: calldata against eth_abi, and nothing but the listed calls passes."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction

import eth_abi
import pytest

from pipeline.errors import InvariantError
from pipeline.native.orderhash import keccak256
from pipeline.venues.polymarket import settle, wire
from pipeline.venues.polymarket.convert import BIPS, Converted, converted, index_set
from pipeline.venues.polymarket.identity import Refusal, address_bytes, checksum
from pipeline.venues.polymarket.settle import UINT256_MAX, Call
from tests.shared import seeds

CONDITION = bytes(range(1, 33))
MARKET = CONDITION[:31] + b"\0"
AMOUNT = 12_345_678
Make = Callable[[random.Random], tuple[Call, str, list[object]]]


def abi(signature: str, values: list[object]) -> bytes:
    """Return calldata as an implementation of its own writes it."""
    types = signature[signature.index("(") + 1:-1]
    split = [part for part in types.split(",") if part]
    return keccak256(signature.encode())[:4] + eth_abi.encode(split, values)


def position(name: str) -> Make:
    def make(rng: random.Random) -> tuple[Call, str, list[object]]:
        condition, amount, neg_risk = rng.randbytes(32), rng.randint(1, UINT256_MAX), rng.random() < 0.5
        call = getattr(settle, name)(condition, amount, neg_risk=neg_risk)
        assert address_bytes(wire.NEG_RISK_CTF_ADAPTER if neg_risk else wire.CTF_ADAPTER) == call.target
        return call, {"split": settle.SPLIT, "merge": settle.MERGE}[name].signature, [
            wire.PUSD, bytes(32), condition, [1, 2], amount]
    return make


def v2(name: str, size: int, method: settle.Method, *, index: int = 0) -> Make:
    def make(rng: random.Random) -> tuple[Call, str, list[object]]:
        ident, amount = rng.randbytes(size), rng.randint(1, UINT256_MAX)
        more = [rng.randrange(index)] if index else []
        given = ident.ljust(32, b"\0") if rng.random() < 0.5 else ident  # the CLOB pads, Gamma does not
        call = getattr(settle, name)(given, *more, amount)
        assert address_bytes(wire.ROUTER) == call.target
        return call, method.signature, [ident, *more, amount]
    return make


def redeem(rng: random.Random) -> tuple[Call, str, list[object]]:
    condition = rng.randbytes(32)
    return (settle.redeem(condition, neg_risk=True), settle.REDEEM.signature,
            [wire.PUSD, bytes(32), condition, [1, 2]])


def convert(rng: random.Random) -> tuple[Call, str, list[object]]:
    market, indices = rng.randbytes(31) + b"\0", rng.randint(1, 2**255 - 1)
    amount = rng.randint(1, UINT256_MAX)
    return settle.convert(market, indices, amount), settle.CONVERT.signature, [market, indices, amount]


def approve(rng: random.Random) -> tuple[Call, str, list[object]]:
    token, spender = rng.choice(wire.APPROVALS)
    amount = rng.choice([0, 1, AMOUNT, UINT256_MAX])
    call = settle.approve(token, spender, amount)
    assert address_bytes(token) == call.target
    if token == wire.PUSD:
        return call, settle.APPROVE.signature, [spender, amount]
    return call, "setApprovalForAll(address,bool)", [spender, amount > 0]


MAKERS: list[Make] = [
    position("split"), position("merge"), redeem, convert, approve,
    v2("split_v2", 31, settle.SPLIT_V2), v2("merge_v2", 31, settle.MERGE_V2),
    v2("redeem_v2", 31, settle.REDEEM_V2, index=2), v2("convert_v2", 29, settle.CONVERT_V2, index=2**16),
    v2("horizontal_split", 29, settle.HORIZONTAL_SPLIT), v2("horizontal_merge", 29, settle.HORIZONTAL_MERGE)]


@pytest.mark.parametrize("seed", seeds(20))
def test_calldata_equals_another_encoder(seed):
    """Every call is what eth_abi writes for the same function and values, and the allow-list takes it."""
    rng = random.Random(seed)
    for make in MAKERS:
        call, signature, values = make(rng)
        assert abi(signature, values) == call.data
        assert settle.refusal_of(call) is None
        assert settle.words_of(call).startswith(signature.partition("(")[0] + " of ")


@pytest.mark.parametrize("seed", seeds(20))
def test_a_changed_call_is_refused_or_another_amount(seed):
    """A changed byte of target, selector, collateral, spender, array or padding is refused; none grows."""
    rng = random.Random(seed)
    for make in MAKERS:
        call, signature, _ = make(rng)
        method = settle.ALLOWED[call.target, call.data[:4]]
        fields = [part.name for part in method.words if isinstance(part, settle.Field)]
        for _ in range(40):
            data = bytearray(call.data)
            at = rng.randrange(len(data))
            data[at] ^= rng.randint(1, 255)
            changed = Call(call.target, bytes(data))
            if settle.refusal_of(changed) is None:
                word = method.words[(at - 4) // 32] if at >= 4 else None
                assert isinstance(word, settle.Field), (signature, at)
                assert word.name in fields
                assert word.name not in ("spender", "operator"), signature
        for other in (call.data + b"\0", call.data[:-1], call.data[:4], b"", call.data + bytes(32)):
            assert settle.refusal_of(Call(call.target, other)) is not None
        target = bytearray(call.target)
        target[rng.randrange(20)] ^= 1
        assert settle.refusal_of(Call(bytes(target), call.data)) is not None


@pytest.mark.parametrize("call", [
    Call(address_bytes(wire.PUSD), abi("approve(address,uint256)", ["0x" + "77" * 20, 1])),
    Call(address_bytes(wire.PUSD), abi("transfer(address,uint256)", [wire.ROUTER, 1])),
    Call(address_bytes(wire.CONDITIONAL_TOKENS),
         abi("setApprovalForAll(address,bool)", [wire.ROUTER, True])),  # v2's contract on v1's ledger
    Call(address_bytes(wire.POSITION_MANAGER),
         abi("setApprovalForAll(address,bool)", [wire.CTF_ADAPTER, True])),
    Call(address_bytes(wire.CONDITIONAL_TOKENS), settle.merge(CONDITION, 1, neg_risk=False).data),
    Call(address_bytes(wire.CTF_ADAPTER), settle.convert(MARKET, 3, 1).data),  # it has none
    Call(address_bytes(wire.CTF_ADAPTER),
         abi(settle.MERGE.signature, [wire.ROUTER, bytes(32), CONDITION, [1, 2], 1])),
    Call(address_bytes(wire.CTF_ADAPTER),
         abi(settle.MERGE.signature, [wire.PUSD, CONDITION, CONDITION, [1, 2], 1])),
    Call(address_bytes(wire.CTF_ADAPTER),
         abi(settle.MERGE.signature, [wire.PUSD, bytes(32), CONDITION, [1, 3], 1])),
    Call(address_bytes(wire.CTF_ADAPTER),
         abi(settle.MERGE.signature, [wire.PUSD, bytes(32), CONDITION, [1, 2], 0])),
    Call(address_bytes("0xd91E80cF2E7be2e162c6513ceD06f1dD0dA35296"), settle.convert(MARKET, 3, 1).data),
    Call(b"", b""),
], ids=lambda call: call.data[:4].hex() or "nothing")
def test_dangerous_calls_are_refused(call):
    """A stranger's allowance, a transfer, the wrong ledger, other collateral, the legacy adapter: all out."""
    assert isinstance(settle.refusal_of(call), Refusal)


def test_what_cannot_be_written_is_an_error():
    """Values that fit no word of the method never become calldata."""
    for make in (
        lambda: settle.merge(CONDITION, 0, neg_risk=False),
        lambda: settle.merge(bytes(32), 1, neg_risk=False),
        lambda: settle.merge(CONDITION[:31], 1, neg_risk=False), lambda: settle.convert(CONDITION, 1, 1),
        lambda: settle.convert(MARKET, 0, 1), lambda: settle.redeem_v2(CONDITION[:31], 2, 1),
        lambda: settle.merge_v2(CONDITION, 1), lambda: settle.merge_v2(CONDITION[:30], 1),
        lambda: settle.convert_v2(CONDITION[:29], 2**16, 1),
        lambda: settle.approve(wire.PUSD, wire.AUTO_REDEEMER), lambda: settle.approve(wire.ROUTER, wire.PUSD),
        lambda: settle.approve(wire.CONDITIONAL_TOKENS, wire.ROUTER),
    ):
        with pytest.raises(InvariantError, match=r"polymarket\.settle"):
            make()
    for amount in (-1, UINT256_MAX + 1):
        with pytest.raises(OverflowError):
            settle.merge(CONDITION, amount, neg_risk=False)


def test_seventeen_approvals():
    """The approvals are the official client's 17 pairs: 7 of pUSD without limit, 10 of shares, none twice."""
    calls = settle.approvals()
    pusd = [call for call in calls if checksum(call.target) == wire.PUSD]

    assert 17 == len(calls) == len(set(calls)) == len(set(wire.APPROVALS))
    assert 7 == len(pusd)
    assert all(call.data.endswith(b"\xff" * 32) for call in pusd)
    assert all(settle.refusal_of(call) is None for call in calls)


@pytest.mark.parametrize("seed", seeds(30))
def test_a_conversion_keeps_its_value(seed):
    """In every outcome what comes back is worth what was burnt, less the fee, and never more."""
    rng = random.Random(seed)
    for _ in range(60):
        questions = rng.randint(2, 12)
        chosen = tuple(rng.sample(range(questions), rng.randint(1, questions)))
        amount, bips = rng.randint(0, 10**12), rng.choice([0, 0, 1, 37, 100, BIPS])
        found = converted(questions, index_set(chosen), amount, bips)
        assert isinstance(found, Converted)
        losses = []
        for winner in range(questions):
            before = sum(amount for index in chosen if index != winner)
            after = found.usd_micro + (found.yes_micro if winner in found.yes_indices else 0)
            losses.append(before - after)
        assert min(losses) >= 0
        assert max(losses) == found.cost_usd_micro
        assert found.fee_micro <= Fraction(amount * bips, BIPS) < found.fee_micro + 1
        assert bips or [0] * questions == losses


def test_a_conversion_reverts_as_a_value():
    """What the contract reverts is a Refusal that says why: no questions, one, no set, a bit too high."""
    for arguments, words in (
        ((0, 1, 1, 0), "not prepared"), ((1, 1, 1, 0), "questions expected"),
        ((256, 1, 1, 0), "questions expected"), ((3, 0, 1, 0), "a set of questions"),
        ((3, 8, 1, 0), "a set of questions"), ((3, -1, 1, 0), "a set of questions"),
        ((3, 1, -1, 0), "an amount"), ((3, 1, 1, BIPS + 1), "an amount")):
        found = converted(*arguments)
        assert isinstance(found, Refusal)
        assert words in found.text
