"""Which contract may take which token of a wallet: what trading needs, and what settlement needs.

Reads and writes nothing. A missing approval can let an order match and then fail in settlement.
Source: venue sheet 2.2 and 2.3, the official client's set without its perps contract, read 2026-11-20.
"""

from __future__ import annotations

from typing import Final

from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.wire import EXCHANGES, POLYGON, Exchange

_CTF_V2, _NEG_RISK_V2, _V3 = (EXCHANGES[POLYGON, one][1] for one in Exchange)
#: Spenders of collateral that an order needs, by the exchange that settles its market.
EXCHANGE_SPENDERS: Final = {"CTFExchangeV2": _CTF_V2, "NegRiskExchangeV2": _NEG_RISK_V2, "ExchangeV3": _V3}
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
