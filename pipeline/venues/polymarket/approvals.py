"""Which contract may take which token of a wallet: what trading needs, and what settlement needs.

Reads and writes nothing. A missing approval can let an order match and then fail in settlement.
Source: venue sheet 2.2 and 2.3, the official client's set without its perps contract, read 2026-11-20.
"""

from __future__ import annotations

from typing import Final

from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.wire import EXCHANGES, POLYGON, Exchange


def spenders_of(chain_id: int) -> dict[str, str]:
    """Return the spenders of collateral that orders on this chain need: each exchange's name and contract.

    The venue names its own: by these a start sees that both mean the same contracts and the same chain.
    """
    names = ("CTFExchangeV2", "NegRiskExchangeV2", "ExchangeV3")
    return {name: EXCHANGES[chain_id, exchange][1] for name, exchange in zip(names, Exchange, strict=True)}


EXCHANGE_SPENDERS: Final = spenders_of(POLYGON)
Pair = tuple[str, str]  # token and spender, in lower case
_TOKENS: Final = {
    wire.PUSD: "pUSD", wire.CONDITIONAL_TOKENS: "outcome tokens", wire.POSITION_MANAGER: "v2 positions"}
_SETTLERS: Final = {
    wire.CTF_ADAPTER: "CtfCollateralAdapter", wire.NEG_RISK_CTF_ADAPTER: "NegRiskCtfCollateralAdapter",
    wire.ROUTER: "Router", wire.AUTO_REDEEMER: "AutoRedeemer", wire.BINARY_MODULE: "BinaryModule",
    wire.NEG_RISK_MODULE: "NegRiskModule"}


def _pairs(names: dict[str, str]) -> dict[Pair, str]:
    return {(token.lower(), spender.lower()): f"{_TOKENS[token]} to {names[spender]}"
            for token, spender in wire.APPROVALS if spender in names}


#: Without these an order of some market cannot settle.
TRADING: Final = _pairs({address: name for name, address in EXCHANGE_SPENDERS.items()})
#: Without these what was bought can be sold and held, but not split, merged, converted or redeemed.
SETTLING: Final = _pairs(_SETTLERS)
assert len(TRADING) + len(SETTLING) == len(wire.APPROVALS) - 1, "the official client's pairs, perps excepted"
