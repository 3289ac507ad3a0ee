"""Was a package right at some moment between the frame that caused it and its arrival.

Reads the exchange's own book history, arrivals and markets; writes one `Look` per package. The arithmetic
is this file's own: shares bought up the book level by level, each level's fee floored as the venue does,
against the payout of every outcome tried one by one. Nothing of `core` is used.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.kinds import Outcome, Rule
from pipeline.run.judge_logs import Logs, Venue
from pipeline.run.judge_money import fee_usd_micro, money_usd_micro
from pipeline.run.judge_orders import Endings, Filled
from pipeline.units import NS_PER_MS, TICKS_PER_USD

DUST_MICRO = 10_000  # 0.01 share: what a filled leg may lack, the venue's own dust


class Look(enum.Enum):
    """What became of a package's profit while it was on its way."""

    RIGHT = "right"  # worst world not negative at some state of the exchange's book
    WRONG = "wrong"  # negative at every state: a false positive
    UNJUDGED = "unjudged"  # the report has no book history of a leg, and its fills prove nothing


@dataclass(frozen=True, slots=True)
class LegShares:
    """One leg of a package in the exchange's own terms."""

    condition: str
    outcome: int
    size_micro: int


@dataclass(frozen=True, slots=True)
class Judged:
    """One package: how it was, how whole it is, when it arrived."""

    package: Any
    legs: tuple[LegShares, ...]
    look: Look
    net_usd_micro: int | None  # best worst-world result over those states; None = never for sale in full
    is_whole: bool  # every leg filled
    arrival_ns: int  # 0 = no order of it reached the exchange

    @property
    def is_missed_race(self) -> bool:
        """Tell whether it was right, arrived, and found the price moved."""
        return self.look is Look.RIGHT and self.arrival_ns > 0 and not self.is_whole


class _Cursor:
    """One market's book, rolled forward through its history."""

    def __init__(self, commits: Sequence[Any]) -> None:
        self._commits = commits
        self._place = 0
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})  # asks, bids: price -> size, YES view

    def roll(self, until_ns: int) -> None:
        """Apply every commit before `until_ns`; never goes back."""
        while self._place < len(self._commits) and self._commits[self._place][0] < until_ns:
            apply(self.sides, self._commits[self._place][1])
            self._place += 1

    def ahead(self, until_ns: int) -> Iterator[Any]:
        """Yield the commits from here to before `until_ns`, without moving."""
        for place in range(self._place, len(self._commits)):
            if self._commits[place][0] >= until_ns:
                return
            yield self._commits[place]


def apply(sides: tuple[dict[int, int], dict[int, int]], changes: Sequence[Sequence[Any]]) -> None:
    """Set each (is_bid, price_ticks, size_micro); size 0 takes the level away."""
    for is_bid, price, size in changes:
        if size:
            sides[bool(is_bid)][price] = size
        else:
            sides[bool(is_bid)].pop(price, None)


def judge_packages(logs: Logs, venue: Venue, endings: Endings, filled: dict[int, Filled]) -> list[Judged]:
    """Return every package of the decision log, oldest cause first."""
    cursors = {condition: _Cursor(commits) for condition, commits in venue.report["history"].items()}
    judged = []
    for package in sorted(logs.packages, key=lambda record: (record.cause_venue_ns, record.group_no)):
        intents = logs.groups.get(package.group_no, [])
        legs = _legs(logs, venue, intents)
        arrivals = [endings.orders[intent.order_no].arrival_ns for intent in intents]
        arrival_ns = min((at_ns for at_ns in arrivals if at_ns), default=0)
        is_whole = bool(intents) and _is_whole(intents, filled)
        look, net = Look.UNJUDGED, None
        if legs and all(leg.condition in cursors for leg in legs):
            books = {leg.condition: cursors[leg.condition] for leg in legs}
            net = _best_net(logs, venue, legs, books, package.cause_venue_ns, arrival_ns or package.now_ns)
            look = Look.RIGHT if net is not None and net >= 0 else Look.WRONG
        elif legs and is_whole:
            net = _realised(logs, venue, legs, intents, filled)
            look = Look.RIGHT if net >= 0 else Look.UNJUDGED
        judged.append(Judged(package, legs, look, net, is_whole, arrival_ns))
    return judged


def _legs(logs: Logs, venue: Venue, intents: Sequence[Any]) -> tuple[LegShares, ...]:
    """Return the shares that a package's orders ask for, by token; empty when a token is unknown there."""
    shares: dict[tuple[str, int], int] = {}
    for intent in intents:
        known = venue.token_at.get(logs.token(intent.instrument, intent.outcome))
        if known is None:
            return ()
        shares[known] = shares.get(known, 0) + intent.size_micro
    return tuple(LegShares(*token, size) for token, size in shares.items())


def _is_whole(intents: Sequence[Any], filled: dict[int, Filled]) -> bool:
    """Every leg was matched but for dust: what the chain takes back later was seen and taken all the same."""
    wanted: dict[int, int] = {}
    found: dict[int, int] = {}
    for intent in intents:
        wanted[intent.leg_no] = wanted.get(intent.leg_no, 0) + intent.size_micro
        matched_micro = filled.get(intent.order_no, Filled()).matched_micro
        found[intent.leg_no] = found.get(intent.leg_no, 0) + matched_micro
    return all(found[leg] >= size - DUST_MICRO for leg, size in wanted.items())


def _realised(
    logs: Logs, venue: Venue, legs: Sequence[LegShares], intents: Sequence[Any],
    filled: dict[int, Filled],
) -> int:
    """Return the worst-world result of a whole package at the prices it was really filled at."""
    fills = [filled[intent.order_no] for intent in intents]
    paid = sum(fill.usd_micro + fill.fee_usd_micro + fill.void_usd_micro for fill in fills)
    return worst_payout(logs, venue, legs) - paid


def _best_net(
    logs: Logs, venue: Venue, legs: Sequence[LegShares], books: dict[str, _Cursor], cause_ns: int,
    arrival_ns: int,
) -> int | None:
    """Return the best worst-world result over the states from the cause's frame to before the arrival.

    Frames carry milliseconds, so every commit of the cause's millisecond counts as its cause. A package
    that arrives within that millisecond is judged by the commits before it. Commits of one time count in the
    exchange's own order, by their numbers: that is how its frames tell them.
    """
    payout = worst_payout(logs, venue, legs)
    start_ns = cause_ns // NS_PER_MS * NS_PER_MS
    for book in books.values():
        book.roll(start_ns)
    sides = {condition: (dict(book.sides[0]), dict(book.sides[1])) for condition, book in books.items()}
    coming = sorted(
        (commit[0], commit[2], condition, commit[1])
        for condition, book in books.items() for commit in book.ahead(arrival_ns))
    nets = []
    if not coming or coming[0][0] >= start_ns + NS_PER_MS:
        nets.append(_net(logs, sides, legs, payout))  # the cause is a picture of an older book
    for _, _, condition, changes in coming:
        apply(sides[condition], changes)
        nets.append(_net(logs, sides, legs, payout))
    return max((net for net in nets if net is not None), default=None)


def _net(logs: Logs, sides: dict[str, Any], legs: Sequence[LegShares], payout: int) -> int | None:
    """Return payout - cost - fees of the legs at this state; None when the depth is not there."""
    total = payout
    for leg in legs:
        cost = buy_usd_micro(logs, sides[leg.condition], leg)
        if cost is None:
            return None
        total -= cost
    return total


def buy_usd_micro(logs: Logs, sides: tuple[dict[int, int], dict[int, int]], leg: LegShares) -> int | None:
    """Return what the leg's shares cost with fees, best level first; a NO comes from the YES bids."""
    market = logs.instruments[logs.rows_of[leg.condition][0]]
    is_yes = leg.outcome == Outcome.YES
    levels = sorted(sides[0].items()) if is_yes else sorted(sides[1].items(), reverse=True)
    left, total = leg.size_micro, 0
    for yes_price, size in levels:
        if not left:
            break
        price, take = (yes_price if is_yes else TICKS_PER_USD - yes_price), min(left, size)
        left -= take
        total += money_usd_micro(price, take, is_buy=True)
        total += fee_usd_micro(price, take, market.fee_rate_ppm, market.fee_exponent)
    return None if left else total


def worst_payout(logs: Logs, venue: Venue, legs: Sequence[LegShares]) -> int:
    """Return what the legs pay in their worst world, by trying every world of every event."""
    groups: dict[str, list[LegShares]] = {}
    for leg in legs:
        market = venue.markets[leg.condition]
        is_exclusive = market["outcome_count"] > 1 and logs.has_rule(leg.condition, Rule.EXCLUSIVE)
        groups.setdefault(f"event {market['event_id']}" if is_exclusive else leg.condition, []).append(leg)
    return sum(_worst_of_group(logs, venue, group) for group in groups.values())


def _worst_of_group(logs: Logs, venue: Venue, legs: Sequence[LegShares]) -> int:
    """One event with at most one winner, or one market that pays YES, NO or, when it may be voided, half."""
    first = legs[0].condition
    members = [row["condition"] for row in venue.event_markets(first)]
    if len(members) > 1 and logs.has_rule(first, Rule.EXCLUSIVE):
        winners = [*members] if logs.has_rule(first, Rule.EXHAUSTIVE) else [*members, ""]
        return min(_paid(legs, winner) for winner in winners)
    worlds = [_paid(legs, first), _paid(legs, "")]
    if not logs.has_rule(first, Rule.NEG_RISK):
        worlds.append(sum(leg.size_micro // 2 for leg in legs))
    return min(worlds)


def _paid(legs: Sequence[LegShares], winner: str) -> int:
    return sum(
        leg.size_micro for leg in legs if (leg.condition == winner) == (leg.outcome == Outcome.YES))


def short_legs(judged: Judged, logs: Logs, filled: dict[int, Filled]) -> list[int]:
    """Return the order numbers of a package that were not filled but for dust."""
    return [
        intent.order_no for intent in logs.groups.get(judged.package.group_no, ())
        if filled.get(intent.order_no, Filled()).matched_micro < intent.size_micro - DUST_MICRO]
