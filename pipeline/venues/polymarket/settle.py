"""Calls that settle positions on chain: split, merge, redeem, convert, approvals, as target and calldata.

Reads and writes nothing: `recycle` plans with these calls, `relayer` signs batches of them. Each method is
declared once, as its signature and its words; `Method.encode` writes them and `refusal_of` reads them
again, so nothing else can be signed: another target, another selector, another spender, another collateral
or one byte more is refused. Amounts are 1e-6 of a share or of pUSD, in one integer from 1 to 2**256 - 1.
Source: venue sheet 2.2, 2.3, 17.1, read 2026-11-22; checked by tests/unit/test_vectors_settle.py.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Final, NamedTuple

from pipeline.errors import InvariantError
from pipeline.kinds import Cause
from pipeline.native.orderhash import keccak256
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.identity import ZERO32, Refusal, address_bytes, checksum

UINT256_MAX: Final = 2**256 - 1
WORD_BYTES: Final = 32
CONDITION_V2_BYTES: Final = 31  # of a v2 condition; its event has 29. Both stand on the left of their word.
EVENT_V2_BYTES: Final = 29
_SELECTOR_BYTES: Final = 4


class Call(NamedTuple):
    """One call of a wallet to a contract: 20 bytes of target, calldata. It never carries value."""

    target: bytes
    data: bytes


class Field(NamedTuple):
    """A word that the caller gives; is_legal judges all 32 bytes of it."""

    name: str
    is_legal: Callable[[bytes], bool]


def word(value: int) -> bytes:
    """Return an integer of 0..2**256-1 as an ABI word; OverflowError for any other."""
    return value.to_bytes(WORD_BYTES, "big")


def address_word(address: bytes) -> bytes:
    """Return a 20-byte address as an ABI word."""
    return bytes(12) + address


def _left_aligned(kept: int) -> Callable[[bytes], bool]:
    return lambda text: any(text[:kept]) and not any(text[kept:])


def _one_of(addresses: tuple[str, ...]) -> Callable[[bytes], bool]:
    known = frozenset(address_word(address_bytes(address)) for address in addresses)
    return known.__contains__


_AMOUNT: Final = Field("amount", any)
_CONDITION: Final = Field("condition", any)
_CONDITION_V2: Final = Field("condition", _left_aligned(CONDITION_V2_BYTES))
_EVENT_V2: Final = Field("event", _left_aligned(EVENT_V2_BYTES))
_MARKET: Final = Field("neg-risk market", _left_aligned(31))  # the question index goes into the last byte
_INDEX_SET: Final = Field("index set", any)
_INDEX: Final = Field("condition index", lambda text: not any(text[:30]))
_OUTCOME: Final = Field("outcome", lambda text: text in (word(0), word(1)))
_ANY_AMOUNT: Final = Field("amount", lambda text: True)  # 0 takes an allowance back
_BOOL: Final = Field("approved", lambda text: text in (word(0), word(1)))


class Method(NamedTuple):
    """One function of a contract: fixed words stand as bytes, the caller's as fields in their order."""

    signature: str
    words: tuple[bytes | Field, ...]

    @property
    def name(self) -> str:
        """The function's name without its types."""
        return self.signature.partition("(")[0]

    @property
    def selector(self) -> bytes:
        """The first 4 bytes of the signature's Keccak-256."""
        return keccak256(self.signature.encode())[:_SELECTOR_BYTES]

    def encode(self, *values: bytes) -> bytes:
        """Return the calldata; a word for each field. Raises InvariantError for one that is not legal."""
        given, parts = iter(values), [self.selector]
        for part in self.words:
            text = part if isinstance(part, bytes) else next(given, b"")
            if isinstance(part, Field) and not (len(text) == WORD_BYTES and part.is_legal(text)):
                raise InvariantError(f"polymarket.settle: {self.name}: a legal {part.name} expected, "
                                     f"was {text.hex() or 'none'}")
            parts.append(text)
        return b"".join(parts)

    def mismatch(self, data: bytes) -> str:
        """Return which word of the calldata is not this method's, in words; "" when all are."""
        expected = _SELECTOR_BYTES + WORD_BYTES * len(self.words)
        if len(data) != expected:
            return f"{expected} bytes expected, were {len(data)}"
        for place, part in enumerate(self.words):
            text = data[_SELECTOR_BYTES + WORD_BYTES * place:][:WORD_BYTES]
            if isinstance(part, bytes):
                if text != part:
                    return f"word {place} expected {part.hex()}, was {text.hex()}"
            elif not part.is_legal(text):
                return f"a legal {part.name} expected, was {text.hex()}"
        return ""


def _spenders(token: str) -> tuple[str, ...]:
    return tuple(spender for ledger, spender in wire.APPROVALS if ledger == token)


_PUSD_WORD: Final = address_word(address_bytes(wire.PUSD))
_BOTH_OUTCOMES: Final = (word(2), word(1), word(2))  # an array of the index sets 0b01 and 0b10
_POSITION_WORDS: Final = (_PUSD_WORD, ZERO32, _CONDITION, word(0xA0), _AMOUNT, *_BOTH_OUTCOMES)

SPLIT: Final = Method("splitPosition(address,bytes32,bytes32,uint256[],uint256)", _POSITION_WORDS)
MERGE: Final = Method("mergePositions(address,bytes32,bytes32,uint256[],uint256)", _POSITION_WORDS)
REDEEM: Final = Method("redeemPositions(address,bytes32,bytes32,uint256[])",
                       (_PUSD_WORD, ZERO32, _CONDITION, word(0x80), *_BOTH_OUTCOMES))
CONVERT: Final = Method("convertPositions(bytes32,uint256,uint256)", (_MARKET, _INDEX_SET, _AMOUNT))
SPLIT_V2: Final = Method("split(bytes31,uint256)", (_CONDITION_V2, _AMOUNT))
MERGE_V2: Final = Method("merge(bytes31,uint256)", (_CONDITION_V2, _AMOUNT))
REDEEM_V2: Final = Method("redeem(bytes31,uint256,uint256)", (_CONDITION_V2, _OUTCOME, _AMOUNT))
HORIZONTAL_SPLIT: Final = Method("horizontalSplit(bytes29,uint256)", (_EVENT_V2, _AMOUNT))
HORIZONTAL_MERGE: Final = Method("horizontalMerge(bytes29,uint256)", (_EVENT_V2, _AMOUNT))
CONVERT_V2: Final = Method("convert(bytes29,uint16,uint256)", (_EVENT_V2, _INDEX, _AMOUNT))
APPROVE: Final = Method(
    "approve(address,uint256)", (Field("spender", _one_of(_spenders(wire.PUSD))), _ANY_AMOUNT))
_APPROVE_ALL: Final = {token: Method(
    "setApprovalForAll(address,bool)", (Field("operator", _one_of(_spenders(token))), _BOOL))
    for token in (wire.CONDITIONAL_TOKENS, wire.POSITION_MANAGER)}

_METHODS: Final = {
    wire.CTF_ADAPTER: (SPLIT, MERGE, REDEEM),
    wire.NEG_RISK_CTF_ADAPTER: (SPLIT, MERGE, REDEEM, CONVERT),
    wire.ROUTER: (SPLIT_V2, MERGE_V2, REDEEM_V2, HORIZONTAL_SPLIT, HORIZONTAL_MERGE, CONVERT_V2),
    wire.PUSD: (APPROVE,),
    **{token: (method,) for token, method in _APPROVE_ALL.items()},
}
#: (target, selector) -> method. Nothing else is ever signed.
ALLOWED: Final = MappingProxyType({
    (address_bytes(contract), method.selector): method
    for contract, methods in _METHODS.items() for method in methods})


def refusal_of(call: Call) -> Refusal | None:
    """Return why a call is none of ours, None when it is: target, selector and every word are on the list."""
    method = ALLOWED.get((call.target, call.data[:_SELECTOR_BYTES]))
    if method is None:
        found = f"0x{call.target.hex()}, selector 0x{call.data[:_SELECTOR_BYTES].hex()}"
        return Refusal(Cause.CEILING, f"a settlement contract and one of its methods expected, was {found}")
    wrong = method.mismatch(call.data)
    return Refusal(Cause.CEILING, f"{method.name}: {wrong}") if wrong else None


def words_of(call: Call) -> str:
    """Return an allowed call for people: method and contract, such as "merge of Router"."""
    method = ALLOWED[call.target, call.data[:_SELECTOR_BYTES]]
    return f"{method.name} of {wire.CONTRACT_NAMES[checksum(call.target)]}"


def _on(contract: str, method: Method, *values: bytes) -> Call:
    return Call(address_bytes(contract), method.encode(*values))


def _left(value: bytes, size: int) -> bytes:
    """Return a bytesN value in its word; a longer one must end in zeros, as the CLOB pads conditions."""
    if len(value) not in (size, WORD_BYTES) or any(value[size:]):
        raise InvariantError(f"polymarket.settle: {size} bytes expected, were {value.hex()}")
    return value[:size].ljust(WORD_BYTES, b"\0")


def _adapter(neg_risk: bool) -> str:
    return wire.NEG_RISK_CTF_ADAPTER if neg_risk else wire.CTF_ADAPTER


def split(condition: bytes, amount_micro: int, *, neg_risk: bool) -> Call:
    """Return the call that turns pUSD into as many YES and NO of a v1 condition (32 bytes)."""
    return _on(_adapter(neg_risk), SPLIT, condition, word(amount_micro))


def merge(condition: bytes, amount_micro: int, *, neg_risk: bool) -> Call:
    """Return the call that turns as many YES and NO of a v1 condition into pUSD."""
    return _on(_adapter(neg_risk), MERGE, condition, word(amount_micro))


def redeem(condition: bytes, *, neg_risk: bool) -> Call:
    """Return the call that redeems the whole balance of both tokens of a resolved v1 condition."""
    return _on(_adapter(neg_risk), REDEEM, condition)


def convert(market: bytes, index_set: int, amount_micro: int) -> Call:
    """Return the call that turns NO of the questions in index_set into pUSD and YES of all others.

    market: the neg-risk market id, 32 bytes, the last one zero. Bit i of index_set is question i; what it
    gives is `convert.converted`.
    """
    return _on(wire.NEG_RISK_CTF_ADAPTER, CONVERT, market, word(index_set), word(amount_micro))


def split_v2(condition: bytes, amount_micro: int) -> Call:
    """Return the call that turns pUSD into YES and NO of a v2 condition (31 bytes, or those padded)."""
    return _on(wire.ROUTER, SPLIT_V2, _left(condition, CONDITION_V2_BYTES), word(amount_micro))


def merge_v2(condition: bytes, amount_micro: int) -> Call:
    """Return the call that turns as many YES and NO of a v2 condition into pUSD."""
    return _on(wire.ROUTER, MERGE_V2, _left(condition, CONDITION_V2_BYTES), word(amount_micro))


def redeem_v2(condition: bytes, outcome: int, amount_micro: int) -> Call:
    """Return the call that redeems shares of one outcome (0 YES, 1 NO) of a resolved v2 condition."""
    return _on(wire.ROUTER, REDEEM_V2, _left(condition, CONDITION_V2_BYTES), word(outcome),
               word(amount_micro))


def convert_v2(event: bytes, condition_index: int, amount_micro: int) -> Call:
    """Return the call that turns NO of one condition into YES of all others, the synthetic Other included.

    event: 29 bytes. It frees nothing itself: merges with NO of the others do.
    """
    return _on(wire.ROUTER, CONVERT_V2, _left(event, EVENT_V2_BYTES), word(condition_index),
               word(amount_micro))


def horizontal_split(event: bytes, amount_micro: int) -> Call:
    """Return the call that turns pUSD into YES of every condition of a v2 event, Other included."""
    return _on(wire.ROUTER, HORIZONTAL_SPLIT, _left(event, EVENT_V2_BYTES), word(amount_micro))


def horizontal_merge(event: bytes, amount_micro: int) -> Call:
    """Return the call that turns YES of every condition of a v2 event, Other included, into pUSD."""
    return _on(wire.ROUTER, HORIZONTAL_MERGE, _left(event, EVENT_V2_BYTES), word(amount_micro))


def approve(token: str, spender: str, amount_micro: int = UINT256_MAX) -> Call:
    """Return the approval of one pair of `wire.APPROVALS`; amount 0 takes it back.

    pUSD: an allowance of amount_micro. A ledger of shares knows yes and no only: any amount is yes. Raises
    InvariantError for another pair.
    """
    who = address_word(address_bytes(spender))
    if token == wire.PUSD:
        return _on(token, APPROVE, who, word(amount_micro))
    if token not in _APPROVE_ALL:
        raise InvariantError(f"polymarket.settle: a token of wire.APPROVALS expected, was {token[:50]!r}")
    return _on(token, _APPROVE_ALL[token], who, word(int(amount_micro > 0)))


def approvals() -> tuple[Call, ...]:
    """Return the calls that approve all 17 pairs of the official client, pUSD first."""
    return tuple(approve(token, spender) for token, spender in wire.APPROVALS)
