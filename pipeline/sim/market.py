"""What the local exchange knows about a market, and what one engine commit changes in its book.

Books are kept once a condition, in the view of its first outcome (YES): a bid for NO at p is an ask
for YES at 1 - p. Prices are ticks of 0.0001 USD, sizes 1e-6 share.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

#: Documented defaults where a recording or a generator says nothing of a market.
DEFAULT_MIN_ORDER_SIZE = "5"  # shares, as text
DAY_S, DAYS_MAX = 86_400, 30  # from the exchange's opening to the end of a market that names none
DEFAULT_FEE_RATE_PPM = 50_000  # the venue's rate for "other" categories


class Source(StrEnum):
    """Where the order flow of a market comes from."""

    GENERATED = "generated"  # seeded participants of our own; part of it planted
    FOREIGN = "foreign"  # another venue's recorded flow, run through the matching engine
    RECORDED = "recorded"  # this venue's recorded frames, shown unaltered; we fill against a shadow


@dataclass(slots=True)
class Market:
    """One condition. Text fields are served as they stand here."""

    condition: str  # "0x" + 64 hex digits
    tokens: tuple[str, str]  # decimal ids; the first belongs to outcomes[0]
    outcomes: tuple[str, str]
    question: str
    slug: str
    tick_step: int  # legal price spacing, ticks of 0.0001 USD
    min_order_size: str  # shares, as text: "5"
    neg_risk: bool
    fee_rate_ppm: int  # taker fee = shares * rate * (p * (1 - p)) ** exponent
    fee_exponent: int
    source: Source
    version: str = "v1"
    event_id: str = ""
    event_slug: str = ""
    event_title: str = ""
    neg_risk_market_id: str = ""
    outcome_index: int = 0  # place in its event
    outcome_count: int = 1
    augmented: bool = False
    group_item_title: str = ""
    planted: bool = False  # its mispricings are planted by the generator and labelled so
    last_trade: str = ""  # three decimals, "" before the first trade
    accepting: bool = True
    seconds_delay: int = 0  # `sd`: takers are answered "delayed" and matched so much later
    delays_takers: bool = False  # `itode`: takers are held a moment, and answered after it
    payout_micro: tuple[int, int] | None = None  # per share of each outcome, once resolved
    tags: tuple[str, ...] = field(default=())
    starts_s: int = 0  # unix seconds; 0 = the exchange's opening decides
    ends_s: int = 0
    game_start_s: int = 0  # `gst`; 0 = no game
    clears_on_start: bool = False  # `cbos`: the book is cleared when the game starts
    volume_usd_micro: int = 0  # matched here since the start
    stale_tick_step: int = 0  # what metadata still says of a tick that has changed; 0 = the truth

    def date_from(self, opened_s: int) -> None:
        """Give a market that names no dates some around the opening of its exchange."""
        self.starts_s = self.starts_s or opened_s - DAY_S
        self.ends_s = self.ends_s or opened_s + DAYS_MAX * DAY_S

    @property
    def told_tick_step(self) -> int:
        """The price spacing that metadata shows; books, sockets and the rule for orders have the true one."""
        return self.stale_tick_step or self.tick_step

    @property
    def has_unlisted_outcome(self) -> bool:
        """Whether its event may end with none of the listed markets paying YES: a v2 event's Other."""
        return self.version == "v2" and self.outcome_count > 1


@dataclass(frozen=True, slots=True)
class LevelChange:
    """A level's new absolute size in the YES view; 0 removes it."""

    is_bid: bool
    price_ticks: int
    size_micro: int


@dataclass(frozen=True, slots=True)
class Commit:
    """Everything one engine action changed in one book, in the order it is published.

    All frames rendered from it carry the same timestamp and the hash of the book after the whole
    commit. `traded` is set when it contains a match: fresh `book` frames and a trade print follow.
    """

    market: Market
    now_ns: int
    changes: tuple[LevelChange, ...]
    traded: bool = False
    last_trade: str | None = None  # the new last trade price when `traded`
    trade_ticks: int = 0  # price of the print, in the token that the taker named
    trade_size_micro: int = 0
    taker_is_buy: bool = False
    taker_outcome: int = 0  # token of the print: 0 YES, 1 NO
