"""What can be set about the local exchange; every limit it has."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.units import NS_PER_MS, NS_PER_S


class FeePer(StrEnum):
    """What one flooring of the taker fee covers; the venue's own choice is unconfirmed."""

    MATCH = "match"
    ORDER = "order"


class SelfTrade(StrEnum):
    """What happens to an order that would match one of its own account; the venue's rule is unconfirmed."""

    MATCH = "match"
    CANCEL_RESTING = "cancel_resting"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Tier:
    """One signer tier: sustained tokens a second, and the most that a bucket holds."""

    orders_per_s: int
    orders_burst: int
    cancels_per_s: int
    cancels_burst: int


# Source: venue sheet 16, per-signer token buckets, read 2026-11-20.
TIERS: dict[str, Tier] = {
    "Standard": Tier(40, 60, 80, 120),
    "Copper": Tier(60, 90, 120, 180),
    "Bronze": Tier(80, 120, 160, 240),
    "Silver": Tier(200, 300, 400, 600),
    "Gold": Tier(400, 600, 800, 1200),
    "Platinum": Tier(450, 675, 900, 1350),
    "Diamond": Tier(525, 787, 1050, 1575),
    "Elite": Tier(600, 900, 1200, 1800),
}


@dataclass(frozen=True, slots=True)
class ExchangeSettings:
    """Times in ns unless the name says otherwise; defaults follow the venue sheet where it states one."""

    chain_id: int = 137
    opened_s: int = 1_795_132_800  # unix seconds; markets that name no dates begin and end around it
    life: int = 0  # an exchange that was started anew under the same seed: its trades have other ids
    clock_skew_s_max: int = 30  # |POLY_TIMESTAMP - now|; the venue's tolerance is unconfirmed
    fee_per: FeePer = FeePer.MATCH
    mined_after_ns: int = 400 * NS_PER_MS  # MATCHED to MINED
    confirmed_after_ns: int = 2 * NS_PER_S  # MATCHED to CONFIRMED
    settle_failed_ppm: int = 0  # of all trades: a ghost fill, FAILED instead of MINED
    settle_retried_ppm: int = 0  # of all attempts: RETRYING, then another transaction
    failed_within_ns: int = 3 * NS_PER_S  # FAILED comes up to this much after MINED would have come
    retried_after_ns: int = NS_PER_S  # RETRYING to the next attempt's end
    trade_told_after_ns: int = 0  # match to trade id, in the order's row, the lists and on the user channel
    itode_hold_ns: int = 250 * NS_PER_MS  # of a taker in an `itode` market; the venue says 50, 150 and 250 ms
    self_trade: SelfTrade = SelfTrade.MATCH
    heartbeat_silence_ns: int = 10 * NS_PER_S
    gtd_early_ns: int = 60 * NS_PER_S  # an order expires this long before its stated expiration
    gtd_life_s_min: int = 180  # stated expiration - now, at least (official client 0.14.0; 60 earlier)
    dust_micro: int = 10_000  # what is smaller than 0.01 share neither rests nor stays displayed
    batch_orders_max: int = 15
    batch_cancels_max: int = 1_000
    books_max: int = 500  # entries of one POST /books
    body_bytes_max: int = 1 << 20
    frame_bytes_max: int = 1 << 20  # of one text from a client
    unsubscribed_ns: int = 30 * NS_PER_S  # a socket that has not subscribed by then is closed; unconfirmed
    sockets_max: int = 1_024
    open_orders_max: int = 10_000  # per account
    orders_kept_max: int = 2_000_000  # all orders of a run; beyond it the exchange refuses new ones
    page_rows_max: int = 100
    markets_page_max: int = 1_000
    prints_max: int = 10_000  # trades kept per market for the history of prices
    history_max: int = 2_000_000  # commits kept per planted market
    arrivals_max: int = 1_000_000
    postings_kept_max: int = 200_000
    tiers: dict[str, Tier] = field(default_factory=lambda: dict(TIERS))
    guest_cash_micro: int = 0  # what each wallet of an unknown owner begins with; 0 = no guests
    guest_tier: str = "Elite"
    guests_max: int = 1_000  # owners
    edge_limits: bool = True  # limits per address, see `edge_limits`
    edge_queue_ns: int = NS_PER_S  # a request beyond a limit waits at most so long; unconfirmed
    keys_max: int = 10_000  # API keys of all owners, and as many builder keys
    relayed_max: int = 100_000  # transactions that the relayer keeps
