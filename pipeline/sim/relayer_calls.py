"""Contract calls as the exchange's own books can do them: approvals, split and merge, and no other.

Reads decoded calls of one wallet; writes allowances and the ledger. All calls of a transaction are judged
first against what the ones before them would leave, then done: a transaction that fails changes nothing.
Source: venue sheet 17.1 and 2.3, read 2026-11-20.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from pipeline.sim import contracts
from pipeline.sim.accounts import Account
from pipeline.sim.ledger import USD
from pipeline.sim.relayer_proof import Call

if TYPE_CHECKING:
    from pipeline.sim.exchange import Exchange
    from pipeline.sim.market import Market

_APPROVE = "approve(address,uint256)"
_APPROVE_ALL = "setApprovalForAll(address,bool)"
_SPLIT = "splitPosition(address,bytes32,bytes32,uint256[],uint256)"
_MERGE = "mergePositions(address,bytes32,bytes32,uint256[],uint256)"
_ROUTER_SPLIT = "split(bytes31,uint256)"
_ROUTER_MERGE = "merge(bytes31,uint256)"
_ARGUMENTS = {
    keccak(text=text)[:4]: (text, text[text.index("(") + 1 : -1].split(","))
    for text in (_APPROVE, _APPROVE_ALL, _SPLIT, _MERGE, _ROUTER_SPLIT, _ROUTER_MERGE)
}
_MULTISEND = keccak(text="multiSend(bytes)")[:4]
_PROXY = keccak(text="proxy((uint8,address,uint256,bytes)[])")[:4]
_PARTITION = (1, 2)  # both outcomes of a binary market
SAFE_MULTISEND = "0xA238CBeb142c10Ef7Ad8442C6D1f9E89e07e7761"

Action = Callable[[int], None]


class Malformed(Exception):
    """A field is missing or of another form; `str()` names it."""


class Reverted(Exception):
    """A call that cannot be done; `str()` says why, as the transaction's `error_msg`."""


class Executor:
    """Runs transactions of wallets on the exchange's books."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def run(self, now_ns: int, account: Account, calls: list[Call]) -> str:
        """Do every call, or none; return "" or why not."""
        free: dict[str, int] = {}  # what the calls so far leave of each asset
        allowed = dict(account.allowances)
        try:
            actions = [self._plan(account, call, free, allowed) for call in calls]
        except Reverted as why:
            return str(why)
        for action in actions:
            action(now_ns)
        account.allowances = allowed
        return ""

    def _plan(
        self, account: Account, call: Call, free: dict[str, int], allowed: dict[tuple[str, str], int]
    ) -> Action:
        name, values = _decoded(call)
        target = call.target.lower()
        if name == _APPROVE and target == contracts.COLLATERAL.lower():
            allowed[target, str(values[0]).lower()] = int(values[1])
            return lambda now_ns: None
        if name == _APPROVE_ALL and target in (contracts.CONDITIONAL.lower(), contracts.POSITIONS.lower()):
            allowed[target, str(values[0]).lower()] = contracts.UNLIMITED if values[1] else 0
            return lambda now_ns: None
        if name in (_SPLIT, _MERGE):
            market = self._market_of_adapter(target, values)
            return self._plan_set(account, market, call.target, int(values[4]), name == _SPLIT, free, allowed)
        if name in (_ROUTER_SPLIT, _ROUTER_MERGE) and target == contracts.ROUTER.lower():
            market = self._open_market("0x" + values[0].hex() + "00", "v2")
            is_split = name == _ROUTER_SPLIT
            return self._plan_set(account, market, call.target, int(values[1]), is_split, free, allowed)
        raise Reverted(
            f"no chain stands behind the local exchange: call {call.data[:4].hex()} to {call.target} "
            "is none of approve, setApprovalForAll, splitPosition, mergePositions of the venue's contracts, "
            "and split and merge of its router"
        )

    def _open_market(self, condition: str, version: str) -> Market:
        market = self._exchange.engine.markets.get(condition)
        if market is None or market.version != version or market.payout_micro is not None:
            raise Reverted(f"condition {condition} expected open and of version {version}")
        return market

    def _market_of_adapter(self, target: str, values: tuple[Any, ...]) -> Market:
        """Return the v1 market of a split or merge through the adapters."""
        collateral, parent, condition, partition, _ = values
        market = self._open_market("0x" + condition.hex(), "v1")
        adapter = contracts.NEG_RISK_ADAPTER if market.neg_risk else contracts.ADAPTER
        if target != adapter.lower():
            raise Reverted(f"adapter {adapter} expected for {market.slug}, was {target}")
        if collateral != contracts.COLLATERAL.lower() or any(parent) or tuple(partition) != _PARTITION:
            raise Reverted("the collateral, no parent and the partition [1, 2] expected")
        return market

    def _plan_set(
        self, account: Account, market: Market, spender: str, size: int, is_split: bool,
        free: dict[str, int], allowed: dict[tuple[str, str], int],
    ) -> Action:
        shares = contracts.CONDITIONAL if market.version == "v1" else contracts.POSITIONS
        token = contracts.COLLATERAL if is_split else shares
        if allowed.get((token.lower(), spender.lower()), contracts.UNLIMITED) < (size if is_split else 1):
            raise Reverted(f"{token} is not approved for {spender}")
        for asset, change in _changes(market, size if is_split else -size):
            left = free.get(asset)
            if left is None:
                held = self._exchange.ledger.balance(account.name, asset)
                left = held - self._exchange.engine.funds.reserved_micro(account, asset)
            free[asset] = left + change
            if free[asset] < 0:
                raise Reverted(f"{asset} of {account.wallet}: {-change} free expected, was {left}")
        sets = size if is_split else -size
        return lambda now_ns: self._exchange.ledger.split(now_ns, account.name, market, sets)


def _changes(market: Market, size_micro: int) -> list[tuple[str, int]]:
    return [(USD, -size_micro), *((token, size_micro) for token in market.tokens)]


def _decoded(call: Call) -> tuple[str, tuple[Any, ...]]:
    """Return a known call's signature and arguments; ("", ()) for any other."""
    name, kinds = _ARGUMENTS.get(call.data[:4], ("", []))
    if not name or call.value:
        return "", ()
    try:
        return name, decode(kinds, call.data[4:])
    except (DecodingError, OverflowError) as error:
        raise Reverted(f"arguments of {name} expected in its ABI, found {error}") from error


def unpack_safe(call: Call, operation: int) -> list[Call]:
    """Return the calls of a Safe transaction: one, or those inside a delegated multisend."""
    if operation == 0:
        return [call]
    if operation != 1 or call.target.lower() != SAFE_MULTISEND.lower() or call.data[:4] != _MULTISEND:
        raise Malformed("operation: 0, or 1 with multiSend of the venue's multisend contract expected")
    packed = _inner(["bytes"], call)[0]
    calls: list[Call] = []
    while packed:
        size = int.from_bytes(packed[53:85], "big")
        if len(packed) < 85 + size or packed[0]:
            raise Malformed("data: whole plain calls expected inside multiSend")
        target, value = "0x" + packed[1:21].hex(), int.from_bytes(packed[21:53], "big")
        calls.append(Call(target, value, packed[85 : 85 + size]))
        packed = packed[85 + size :]
    return calls


def unpack_proxy(call: Call) -> list[Call]:
    """Return the calls inside a call to the proxy factory."""
    if call.target.lower() != contracts.PROXY_FACTORY.lower() or call.data[:4] != _PROXY:
        raise Malformed("to and data: proxy(...) of the proxy factory expected")
    rows = _inner(["(uint8,address,uint256,bytes)[]"], call)[0]
    if any(kind != 1 for kind, *_ in rows):
        raise Malformed("data: plain calls expected inside proxy")
    return [Call(target, value, data) for _, target, value, data in rows]


def _inner(kinds: list[str], call: Call) -> tuple[Any, ...]:
    try:
        return decode(kinds, call.data[4:])
    except (DecodingError, OverflowError) as error:
        raise Malformed(f"data: {kinds[0]} in its ABI expected, found {error}") from error
