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


def _pairs(token: str, spenders: dict[str, str]) -> dict[Pair, str]:
    return {(token.lower(), address.lower()): name for name, address in spenders.items()}


#: Without these an order of some market cannot settle.
TRADING: Final[dict[Pair, str]] = {
    pair: f"{token} to {name}" for token, pairs in (
        ("pUSD", _pairs(wire.PUSD, EXCHANGE_SPENDERS)),
        ("outcome tokens", _pairs(wire.CONDITIONAL_TOKENS, {
            name: address for name, address in EXCHANGE_SPENDERS.items() if name != "ExchangeV3"})),
        ("v2 positions", _pairs(wire.POSITION_MANAGER, {"ExchangeV3": _V3})),
    ) for pair, name in pairs.items()}
#: Without these what was bought can be sold and held, but not split, merged, converted or redeemed.
SETTLING: Final[dict[Pair, str]] = {
    pair: f"{token} to {name}" for token, pairs in (
        ("pUSD", _pairs(wire.PUSD, {
            "CtfCollateralAdapter": wire.CTF_ADAPTER, "NegRiskCtfCollateralAdapter": wire.NEG_RISK_CTF_ADAPTER,
            "Router": wire.ROUTER})),
        ("outcome tokens", _pairs(wire.CONDITIONAL_TOKENS, {
            "CtfCollateralAdapter": wire.CTF_ADAPTER, "NegRiskCtfCollateralAdapter": wire.NEG_RISK_CTF_ADAPTER,
            "AutoRedeemer": wire.AUTO_REDEEMER, "BinaryModule": wire.BINARY_MODULE,
            "NegRiskModule": wire.NEG_RISK_MODULE})),
        ("v2 positions", _pairs(wire.POSITION_MANAGER, {"Router": wire.ROUTER, "AutoRedeemer": wire.AUTO_REDEEMER})),
    ) for pair, name in pairs.items()}
assert len(TRADING) + len(SETTLING) == len(wire.APPROVALS) - 1, "the official client's pairs, perps excepted"
