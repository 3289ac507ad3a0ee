"""The venue's own host names and which service of the exchange answers under each.

Source: venue sheet 2.1, read 2026-11-20. CLOB and Gamma share paths (`/markets/{x}`), so the name decides.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Host:
    """`service` answers requests ("" = none does); `has_sockets` if websockets are served there."""

    service: str
    has_sockets: bool = False


OFFICIAL: dict[str, Host] = {
    "clob.polymarket.com": Host("clob"),
    "gamma-api.polymarket.com": Host("gamma"),
    "data-api.polymarket.com": Host("data"),
    "relayer-v2.polymarket.com": Host("relayer"),
    "ws-subscriptions-clob.polymarket.com": Host("", has_sockets=True),
}
TLS_PORT = 443
