"""Which contract may take which token of a wallet: what trading needs, and what settlement needs.

Reads and writes nothing. A missing approval can let an order match and then fail in settlement.
Source: venue sheet 2.2 and 2.3, the official client's set without its perps contract, read 2026-11-20.
"""

from __future__ import annotations

from typing import Final

from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.wire import EXCHANGES, POLYGON, Exchange

CTF_ADAPTER: Final = "0xAdA100Db00Ca00073811820692005400218FcE1f"
NEG_RISK_ADAPTER: Final = "0xadA2005600Dec949baf300f4C6120000bDB6eAab"
ROUTER: Final = "0x12121212006e4CD160D18e3f00711DA5c3372600"
POSITION_MANAGER: Final = "0x006F54F7f9A22e0000CC2AB60031000000ae9fEF"
AUTO_REDEEMER: Final = "0xa1200000d0002264C9a1698e001292D00E1b00af"
BINARY_MODULE: Final = "0x1000008dD9001B968442c1000017eaE6E0dA00Ba"
NEG_RISK_MODULE: Final = "0x200000900045e3B6259600682756002200028933"

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
        ("v2 positions", _pairs(POSITION_MANAGER, {"ExchangeV3": _V3})),
    ) for pair, name in pairs.items()}
#: Without these what was bought can be sold and held, but not split, merged, converted or redeemed.
SETTLING: Final[dict[Pair, str]] = {
    pair: f"{token} to {name}" for token, pairs in (
        ("pUSD", _pairs(wire.PUSD, {
            "CtfCollateralAdapter": CTF_ADAPTER, "NegRiskCtfCollateralAdapter": NEG_RISK_ADAPTER,
            "Router": ROUTER})),
        ("outcome tokens", _pairs(wire.CONDITIONAL_TOKENS, {
            "CtfCollateralAdapter": CTF_ADAPTER, "NegRiskCtfCollateralAdapter": NEG_RISK_ADAPTER,
            "AutoRedeemer": AUTO_REDEEMER, "BinaryModule": BINARY_MODULE,
            "NegRiskModule": NEG_RISK_MODULE})),
        ("v2 positions", _pairs(POSITION_MANAGER, {"Router": ROUTER, "AutoRedeemer": AUTO_REDEEMER})),
    ) for pair, name in pairs.items()}
assert len(TRADING) + len(SETTLING) == 16, "the official client's 17 pairs without its perps contract"
