"""`[venues.<name>]`: where a venue is reached and how its feed is split."""

from __future__ import annotations

from typing import Literal

from pipeline.config.section import HttpsUrl, Section, WssUrl, setting


class Polymarket(Section):
    """Hosts and feed of Polymarket. Source of the defaults: docs.polymarket.com, read 2026-11-20."""

    clob_url: HttpsUrl = setting("URL", "REST of the order book.", "https://clob.polymarket.com")
    gamma_url: HttpsUrl = setting(
        "URL", "Metadata of markets and events.", "https://gamma-api.polymarket.com"
    )
    market_ws_url: WssUrl = setting(
        "URL", "Websocket with books and trades.", "wss://ws-subscriptions-clob.polymarket.com/ws/market"
    )
    user_ws_url: WssUrl = setting(
        "URL",
        "Websocket with our own orders and fills.",
        "wss://ws-subscriptions-clob.polymarket.com/ws/user",
    )
    geoblock_url: HttpsUrl = setting(
        "URL", "Says whether the venue serves this machine's country.", "https://polymarket.com/api/geoblock"
    )
    data_url: HttpsUrl = setting(
        "URL", "Indexed positions and approvals; for display and checks only.",
        "https://data-api.polymarket.com",
    )
    chain_id: Literal[137, 80002] = setting("", "Chain that settles: 137 Polygon, 80002 Amoy (test).", 137)
    tls_ca_file: str | None = setting(
        "path",
        "Certificate authority to trust instead of the system's; for the local exchange.",
        None,
        min_length=1,
    )
    feed_shards: int = setting("feeds", "Feed stages that share the universe.", 1, ge=1, le=16)
    sockets_per_shard: int = setting(
        "sockets", "Redundant sockets of one feed; the first copy wins.", 1, ge=1, le=2
    )
    assets_per_socket_max: int = setting(
        "tokens", "Tokens subscribed on one socket; above 200 snapshots go missing.", 200, ge=2, le=200
    )
    order_delay_ms: int = setting(
        "ms", "How long the venue holds taker orders of markets that say so; sources differ, 50 to 250.", 250,
        ge=0, le=10_000,
    )
    trade_listed_ms_max: int = setting(
        "ms", "How soon the venue's list has a trade that its channel told, unconfirmed; one that it lacks "
        "by then halts new risk (H1).", 5_000, ge=100, le=600_000,
    )
    fee_floor_per: Literal["fill", "order"] = setting(
        "", "What one flooring of the taker fee to 10 uUSD covers; unconfirmed at the venue.", "fill"
    )


class Venues(Section):
    """Venues in use; an absent table is a venue not used."""

    polymarket: Polymarket = setting("", "Polymarket.", Polymarket())
