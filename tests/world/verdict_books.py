"""Books and baskets of a run: what was priced, from which book, with which exposure, and was there a profit.

Reads the logs and the ideas ring as it was observed; the truth is the exchange's own history of its books.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipeline.codec import CODECS
from pipeline.kinds import Flag, Kind, Rule
from pipeline.records import TOP_DEPTH
from pipeline.sim.market import Market
from pipeline.sim.trades import OrderArrival
from pipeline.units import NS_PER_MS, TICKS_PER_USD, cost_micro
from tests.world.verdict import Logs, records_of
from tests.world.world import World


def check_books_trusted(world: World, logs: Logs) -> list[str]:
    """No package was priced from a book that was open, stale or old when its idea was made (I7)."""
    proof_age_ns = next(iter(records_of(logs.stream, Kind.CONFIG))).proof_age_ns_max
    tops: dict[int, Any] = {}
    bad, ideas = [], {}
    for slot in world.passed:
        if slot[32] == Kind.TOP:
            record = CODECS[Kind.TOP].unpack(slot)
            tops[record.instrument] = record
            continue
        idea = CODECS[Kind.IDEA].unpack(slot)
        ideas[idea.idea_no] = idea
        for row in set(idea.leg_instrument[: idea.in_part]):
            top = tops.get(row)
            if top is None or top.flags & (Flag.OPEN | Flag.STALE | Flag.CROSSED):
                bad.append(
                    f"idea {idea.idea_no} was priced from row {row} with flags {top and Flag(top.flags)!r}"
                )
            elif idea.now_ns - top.proof_ns > proof_age_ns:
                bad.append(
                    f"idea {idea.idea_no} was priced from row {row}, "
                    f"proven {idea.now_ns - top.proof_ns} ns before"
                )
    return bad + [
        f"package {package.group_no} has no idea" for package in logs.packages if package.idea_no not in ideas
    ]


def check_exposure(world: World, logs: Logs) -> list[str]:
    """At every package: what fills cost and orders still to arrive may cost is within the limits (I1)."""
    limits = next(iter(records_of(logs.stream, Kind.CONFIG)))
    exchange = world.scenario.exchange
    arrived = {arrival.order_id: arrival.now_ns for arrival in exchange.arrivals}
    listed = list(records_of(logs.stream, Kind.INSTRUMENT))
    events: dict[int, int] = {record.instrument: record.event for record in listed}
    open_events = {record.event for record in listed if not record.rules & Rule.EXHAUSTIVE}
    bad = []
    for package in logs.packages:
        now_ns = package.now_ns
        per_row: Counter[int] = Counter()
        held: dict[int, list[int]] = {}
        for number, intent in logs.intents.items():
            if intent.now_ns > now_ns or intent.group_no > package.group_no:
                continue
            name = logs.hashes.get(number, "")
            if arrived.get(name, 0) > now_ns:
                per_row[intent.instrument] += intent.worst_usd_micro
            elif name in arrived and name in exchange.engine.orders:
                order = exchange.engine.orders[name]
                per_row[intent.instrument] += order.usd_micro + order.fee_micro
                held.setdefault(intent.instrument, [0, 0])[intent.outcome] += order.matched_micro
        for row, cost in per_row.items():
            if cost - min(held.get(row, [0, 0])) > limits.market_usd_micro_max:
                bad.append(
                    f"package {package.group_no}: row {row} may lose {cost - min(held.get(row, [0, 0]))}"
                )
        if sum(per_row.values()) > limits.day_usd_micro_max:
            bad.append(f"package {package.group_no}: {sum(per_row.values())} spent in a day")
        rows = [row for row, event in events.items() if event == package.event]
        worst = sum(per_row[row] for row in rows) - _worst_payout(held, rows, package.event in open_events)
        if worst > limits.event_usd_micro_max:
            bad.append(f"package {package.group_no}: event {package.event} may lose {worst}")
    bad += [
        f"order {intent.order_no} may cost {intent.worst_usd_micro}"
        for intent in logs.intents.values()
        if intent.worst_usd_micro > limits.order_usd_micro_max
    ]
    return bad


def _worst_payout(held: dict[int, list[int]], rows: Sequence[int], is_open: bool) -> int:
    """Return what an event's shares pay in the worst of its worlds: one row, or none if open, pays YES."""
    winners = [*rows, -1] if is_open else rows
    return min(sum(held.get(row, [0, 0])[0 if row == winner else 1] for row in rows) for winner in winners)


def check_no_false_positive(world: World, logs: Logs) -> list[str]:
    """No package is without profit at every state of the exchange's books from its cause to its arrival."""
    first_arrival: dict[int, OrderArrival] = {}
    known = {order_hash: number for number, order_hash in logs.hashes.items()}
    for arrival in world.scenario.exchange.arrivals:
        number = known.get(arrival.order_id)
        if number is not None:
            first_arrival.setdefault(logs.intents[number].group_no, arrival)
    bad = []
    for package in logs.packages:
        arrival = first_arrival.get(package.group_no)
        orders = [intent for intent in logs.intents.values() if intent.group_no == package.group_no]
        if arrival is not None and not _was_profitable(world, logs, package, orders, arrival.now_ns):
            bad.append(f"package {package.group_no} (cause at {package.cause_venue_ns}) never had a profit")
    return bad


def _was_profitable(world: World, logs: Logs, package: Any, orders: Sequence[Any], until_ns: int) -> bool:
    exchange = world.scenario.exchange
    legs: dict[tuple[str, int], int] = {}  # (condition, outcome) -> shares
    for order in orders:
        key = (logs.conditions[order.instrument], order.outcome)
        legs[key] = legs.get(key, 0) + order.size_micro
    commits = sorted(
        (
            (at_ns, number, condition, changes)
            for condition in {condition for condition, _ in legs}
            for at_ns, changes, number in exchange.history(exchange.engine.markets[condition])
        ),
        key=lambda item: item[:2],
    )
    books: dict[str, dict[tuple[bool, int], int]] = {condition: {} for condition, _ in legs}
    cause_ms = package.cause_venue_ns // NS_PER_MS
    for at, (at_ns, _, condition, changes) in enumerate(commits):
        if at_ns > until_ns:
            break
        for change in changes:
            books[condition][change.is_bid, change.price_ticks] = change.size_micro
        is_last_before = at + 1 == len(commits) or commits[at + 1][0] // NS_PER_MS >= cause_ms
        if is_last_before and _profit(exchange.engine.markets, books, legs) >= 0:
            return True
    return False


def _profit(
    markets: dict[str, Market],
    books: dict[str, dict[tuple[bool, int], int]],
    legs: dict[tuple[str, int], int],
) -> int:
    """Return the worst world's profit of buying every leg from these books at once; a short leg loses all."""
    is_no = next(iter(legs))[1] == 1
    size = min(legs.values())
    profit = size * (len(legs) - 1 if is_no else 1)
    for (condition, outcome), wanted in legs.items():
        left, market = wanted, markets[condition]
        side = sorted(
            (TICKS_PER_USD - price if outcome else price, shown)
            for (is_bid, price), shown in books[condition].items()
            if is_bid == bool(outcome) and shown
        )
        for price, shown in side:
            take = min(left, shown)
            left -= take
            fee = (
                market.fee_rate_ppm * price * (TICKS_PER_USD - price) * take // (TICKS_PER_USD**2 * 1_000_000)
            )
            profit -= cost_micro(price, take) + fee // 10 * 10
        if left:
            return -1
    return profit


def check_tops(world: World, logs: Logs) -> list[str]:
    """Every Top that is not OPEN or STALE is the exchange's own book at that venue time (planted markets)."""
    exchange = world.scenario.exchange
    states = {
        row: _states(exchange.history(exchange.engine.markets[condition]))
        for row, condition in logs.conditions.items()
        if exchange.engine.markets[condition].planted
    }
    bad, seen = [], 0
    for slot in world.passed:
        if slot[32] != Kind.TOP:
            continue
        top = CODECS[Kind.TOP].unpack(slot)
        if top.instrument not in states or top.flags & (Flag.OPEN | Flag.STALE):
            continue
        seen += 1
        shown = _levels(top.bid_ticks, top.bid_micro), _levels(top.ask_ticks, top.ask_micro)
        if shown not in _at(states[top.instrument], top.venue_ns // NS_PER_MS):
            bad.append(f"row {top.instrument} at {top.venue_ns}: the exchange never showed {shown} then")
    return bad if seen > 100 else [*bad, f"only {seen} tops of planted markets were proven"]


State = tuple[int, Any]  # millisecond, (bids, asks)


def _states(history: Sequence[tuple[int, Sequence[Any], int]]) -> list[State]:
    """Return the best eight levels a side after every commit."""
    book: dict[tuple[bool, int], int] = {}
    states: list[State] = []
    for at_ns, changes, _ in history:
        for change in changes:
            book[change.is_bid, change.price_ticks] = change.size_micro
        bids = sorted(
            ((price, size) for (is_bid, price), size in book.items() if is_bid and size), reverse=True
        )
        asks = sorted((price, size) for (is_bid, price), size in book.items() if not is_bid and size)
        states.append((at_ns // NS_PER_MS, (tuple(bids[:TOP_DEPTH]), tuple(asks[:TOP_DEPTH]))))
    return states


def _at(states: list[State], at_ms: int) -> list[Any]:
    """Return what was shown in this millisecond, or last before it when nothing changed in it."""
    now = [shown for ms, shown in states if ms == at_ms]
    return now or [shown for ms, shown in states if ms < at_ms][-1:]


def _levels(ticks: Sequence[int], micro: Sequence[int]) -> tuple[tuple[int, int], ...]:
    return tuple((price, size) for price, size in zip(ticks, micro, strict=True) if size)
