"""A slow chain: adapters, Router and both ledgers as the venue sheet tells them, in exact fractions.

Shares no code with `venues/polymarket/settle`: it reads calldata with eth_abi and knows functions by their
signatures. A call that the contracts would revert raises `Revert`. Source: venue sheet 2.2, 3.4, 17.1, 17.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import eth_abi
from eth_utils import function_signature_to_4byte_selector as selector_of

PUSD = "0xc011a7e12a19f7b1f670d46f03b03f3342e82dfb"
CTF_ADAPTER = bytes.fromhex("ada100db00ca00073811820692005400218fce1f")
NEG_RISK_ADAPTER = bytes.fromhex("ada2005600dec949baf300f4c6120000bdb6eaab")
ROUTER = bytes.fromhex("12121212006e4cd160d18e3f00711da5c3372600")
BIPS = 10_000
Worth = Mapping[bytes, tuple[Fraction, Fraction]]  # condition -> what YES and NO pay


class Revert(Exception):
    """The contract would not do it."""


@dataclass(frozen=True)
class Market:
    """One condition; group: neg-risk market id (v1) or 29-byte event (v2), index: its place there."""

    condition: bytes
    is_v2: bool
    neg_risk: bool
    group: bytes = b""
    index: int = 0


@dataclass
class Chain:
    """Balances of one wallet in 1e-6: (condition, outcome) -> shares; a v2 event -> YES of its Other."""

    markets: list[Market]
    fee_bips: int = 0
    usd: int = 0
    shares: dict[tuple[bytes, int], int] = field(default_factory=dict)
    others: dict[bytes, int] = field(default_factory=dict)
    payouts: dict[bytes, tuple[Fraction, Fraction]] = field(default_factory=dict)

    def worth(self, pays: Worth, other_pays: Iterable[bytes] = ()) -> Fraction:
        """Return what everything is worth when the conditions pay so; other_pays: events whose Other wins."""
        total = Fraction(self.usd)
        for (condition, outcome), shares in self.shares.items():
            total += shares * (self.payouts.get(condition) or pays[condition])[outcome]
        return total + sum(self.others.get(event, 0) for event in other_pays)

    def move(self, condition: bytes, outcome: int, change: int) -> None:
        left = self.shares.get((condition, outcome), 0) + change
        if left < 0:
            raise Revert(f"{condition.hex()[:8]} outcome {outcome}: {-left} shares are missing")
        self.shares[condition, outcome] = left

    def apply(self, target: bytes, data: bytes) -> None:
        """Do one call, or raise Revert."""
        for contract, signature, method in self._methods():
            if contract == target and selector_of(signature) == data[:4]:
                types = signature[signature.index("(") + 1:-1].split(",")
                method(contract, *eth_abi.decode(types, data[4:]))
                return
        raise Revert(f"no such function: {target.hex()} {data[:4].hex()}")

    def _methods(self) -> list[tuple[bytes, str, Callable[..., None]]]:
        both = "(address,bytes32,bytes32,uint256[],uint256)"
        ctf: list[tuple[bytes, str, Callable[..., None]]] = []
        for adapter in (CTF_ADAPTER, NEG_RISK_ADAPTER):
            ctf += [(adapter, f"splitPosition{both}", lambda *a: self._pair(1, *a)),
                    (adapter, f"mergePositions{both}", lambda *a: self._pair(-1, *a)),
                    (adapter, "redeemPositions(address,bytes32,bytes32,uint256[])", self._redeem)]
        return [
            *ctf,
            (NEG_RISK_ADAPTER, "convertPositions(bytes32,uint256,uint256)", self._convert),
            (ROUTER, "split(bytes31,uint256)", lambda _, c, a: self._pair_v2(1, c, a)),
            (ROUTER, "merge(bytes31,uint256)", lambda _, c, a: self._pair_v2(-1, c, a)),
            (ROUTER, "redeem(bytes31,uint256,uint256)", self._redeem_v2),
            (ROUTER, "convert(bytes29,uint16,uint256)", self._convert_v2)]

    def _market(self, condition: bytes, is_v2: bool) -> Market:
        for market in self.markets:
            if market.condition == condition and market.is_v2 == is_v2:
                return market
        raise Revert(f"no such condition: {condition.hex()}")

    def _group(self, group: bytes) -> dict[int, Market]:
        found = {market.index: market for market in self.markets if market.group == group}
        if len(found) < 2:
            raise Revert("not prepared")
        return found

    def _pair(self, sign: int, adapter: bytes, collateral: str, parent: bytes, condition: bytes,
              partition: tuple[int, ...], amount: int) -> None:
        market = self._market(condition, is_v2=False)
        if (collateral, parent, partition) != (PUSD, bytes(32), (1, 2)) or amount <= 0:
            raise Revert("bad arguments")
        if market.neg_risk != (adapter == NEG_RISK_ADAPTER):
            raise Revert("another adapter's condition")
        self._both(sign, condition, amount)

    def _pair_v2(self, sign: int, condition: bytes, amount: int) -> None:
        self._both(sign, self._market(condition + b"\0", is_v2=True).condition, amount)

    def _both(self, sign: int, condition: bytes, amount: int) -> None:
        for outcome in (0, 1):
            self.move(condition, outcome, sign * amount)
        self.usd -= sign * amount

    def _redeem(self, adapter: bytes, collateral: str, parent: bytes, condition: bytes,
                sets: tuple[int, ...]) -> None:
        market = self._market(condition, is_v2=False)
        if (collateral, parent, sets) != (PUSD, bytes(32), (1, 2)) or condition not in self.payouts:
            raise Revert("not resolved")
        if market.neg_risk != (adapter == NEG_RISK_ADAPTER):
            raise Revert("another adapter's condition")
        for outcome in (0, 1):
            self._pay(condition, outcome, self.shares.get((condition, outcome), 0))

    def _redeem_v2(self, _: bytes, condition: bytes, outcome: int, amount: int) -> None:
        condition = self._market(condition + b"\0", is_v2=True).condition
        if condition not in self.payouts:
            raise Revert("not resolved")
        self._pay(condition, outcome, amount)

    def _pay(self, condition: bytes, outcome: int, amount: int) -> None:
        self.move(condition, outcome, -amount)
        self.usd += int(amount * self.payouts[condition][outcome])

    def _convert(self, _: bytes, group: bytes, indices: int, amount: int) -> None:
        questions = self._group(group)
        if not 0 < indices < 2 ** len(questions):
            raise Revert("bad index set")
        out = amount - amount * self.fee_bips // BIPS
        burnt = [index for index in questions if indices >> index & 1]
        for index, market in questions.items():
            if index in burnt:
                self.move(market.condition, 1, -amount)
            else:
                self.move(market.condition, 0, out)
        self.usd += (len(burnt) - 1) * out

    def _convert_v2(self, _: bytes, group: bytes, index: int, amount: int) -> None:
        conditions = self._group(group)
        self.move(conditions[index].condition, 1, -amount)
        for other, market in conditions.items():
            if other != index:
                self.move(market.condition, 0, amount)
        self.others[group] = self.others.get(group, 0) + amount
