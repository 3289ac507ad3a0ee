"""What must hold after a run of the world: the logs against the exchange, nothing taken from a stage's word.

Each check returns a list of complaints; empty = it held. Money is compared exactly, in integers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.checkpoint import facts_digest, restore
from pipeline.core.positions import PnlFold
from pipeline.core.trader import Trader
from pipeline.records import CODECS, HEADER_STRUCT, SLOT_BYTES, Cause, Flag, Kind, OrderState, Origin
from pipeline.sim.market import Market
from pipeline.sim.scenario import ACCOUNT_NAME
from pipeline.sim.trades import OrderArrival
from pipeline.units import NS_PER_MS, TICKS_PER_USD, cost_micro
from tests.world.world import World

TAKEN = ("frames", "frames_unknown_token", "frames_ignored", "frames_rejected", "frames_lost", "pongs")
NEVER_LEFT = (OrderState.UNSENT, OrderState.DRY)
ENDED = (
    OrderState.MATCHED, OrderState.CANCELED, OrderState.EXPIRED, OrderState.REJECTED, OrderState.UNSENT)


@dataclass(slots=True)
class Logs:
    """Both logs, whole, and what is looked up in them."""

    stream: bytes
    decisions: bytes
    conditions: dict[int, str] = field(default_factory=dict)  # row -> condition
    hashes: dict[int, str] = field(default_factory=dict)  # order number -> hash that left
    intents: dict[int, Any] = field(default_factory=dict)
    packages: list[Any] = field(default_factory=list)


def read_logs(world: World) -> Logs:
    """Return both logs with their tables."""
    logs = Logs(world.log("stream"), world.log("decisions"))
    for record in records_of(logs.stream, Kind.INSTRUMENT):
        logs.conditions[record.instrument] = "0x" + record.condition.hex()
    for record in records_of(logs.stream, Kind.REPORT):
        if record.origin == Origin.GATEWAY and record.state == OrderState.SENT:
            logs.hashes[record.order_no] = "0x" + record.order_hash.hex()
    for record in records_of(logs.decisions, Kind.INTENT):
        logs.intents[record.order_no] = record
    logs.packages = list(records_of(logs.decisions, Kind.PACKAGE))
    return logs


def records_of(log: bytes, kind: Kind) -> Iterator[Any]:
    """Yield every record of a kind, unpacked."""
    codec = CODECS[kind]
    for at in range(0, len(log), SLOT_BYTES):
        if log[at + 32] == kind:
            yield codec.unpack(log, at)


def check_money(world: World, logs: Logs) -> list[str]:
    """PnL, fees, positions from the two logs alone = the exchange's ledger, to the micro-dollar."""
    ledger = world.scenario.exchange.ledger
    fold = PnlFold()
    for log in (logs.decisions, logs.stream):
        for at in range(0, len(log), SLOT_BYTES):
            fold.on_record(log, at)
    pnl = fold.pnl
    found = {
        "pnl": (ledger.pnl(ACCOUNT_NAME), pnl.pnl_usd_micro), "fees": (ledger.fees(ACCOUNT_NAME), pnl.fees_usd_micro),
        "positions": (ledger.positions(ACCOUNT_NAME), {row: 1 for row in pnl.open_rows}),
        "mismatches": (0, pnl.mismatch_count),
        "fills": (len(world.scenario.exchange.engine.trades_of.get(ACCOUNT_NAME, [])), pnl.fill_count),
        "live cash": (ledger.pnl(ACCOUNT_NAME), world.trader.facts.positions.cash_usd_micro)}
    return [f"{name}: the exchange has {expected}, the logs {was}" for name, (expected, was) in found.items()
            if expected != was]


def check_held(world: World, logs: Logs) -> list[str]:
    """Before anything is resolved: every token's shares as trade holds them = the exchange's."""
    exchange, positions = world.scenario.exchange, world.trader.facts.positions
    expected = exchange.ledger.positions(ACCOUNT_NAME)
    held = {}
    for row, condition in logs.conditions.items():
        for outcome, token in enumerate(exchange.engine.markets[condition].tokens):
            if positions.held(row, outcome):
                held[token] = positions.held(row, outcome)
    return [] if expected == held else [f"held: the exchange has {expected}, trade {held}"]


def check_orders(world: World, logs: Logs) -> list[str]:
    """Every order of the decision log is accounted for at the exchange; none twice, none unknown (I2, I3)."""
    bad = []
    arrivals = [arrival for arrival in world.scenario.exchange.arrivals if arrival.order_id]
    accepted = Counter(arrival.order_id for arrival in arrivals if not arrival.error)
    known = {order_hash: number for number, order_hash in logs.hashes.items()}
    bad += [f"order {name} was accepted {count} times" for name, count in accepted.items() if count > 1]
    for arrival in world.scenario.exchange.arrivals:
        if not arrival.order_id:
            bad.append(f"an order was refused as not proven: {arrival.error}")
        elif arrival.order_id not in known:
            bad.append(f"order {arrival.order_id} reached the exchange and is not in the logs")
        elif logs.intents[known[arrival.order_id]].now_ns > arrival.now_ns:
            bad.append(f"order {known[arrival.order_id]} arrived before its intent was written")
    for number, intent in logs.intents.items():
        bad += _check_order(world, number, intent, logs.hashes.get(number), accepted)
    return bad


def _check_order(world: World, number: int, intent: Any, order_hash: str | None, accepted: Counter[str]) -> list[str]:
    order = world.trader.facts.orders.by_no.get(number)
    if order is None or not order.is_closed or order.state not in ENDED:
        return [f"order {number} never ended: {order}"]
    theirs = world.scenario.exchange.engine.orders.get(order_hash or "")
    if order.state in NEVER_LEFT or theirs is None:
        was_there = theirs is not None and bool(theirs.matched_micro)
        return [f"order {number} is {order.state} and the exchange has {theirs}"] if was_there else []
    bad = []
    if accepted[order_hash or ""] and order.state == OrderState.REJECTED:
        bad.append(f"order {number} was accepted and we call it rejected")
    ours = (order.filled_micro, order.filled_usd_micro, order.fee_usd_micro)
    if (theirs.matched_micro, theirs.usd_micro, theirs.fee_micro) != ours:
        bad.append(f"order {number}: the exchange filled {theirs.matched_micro, theirs.usd_micro, theirs.fee_micro}, "
                   f"we have {ours}")
    terms = (theirs.is_buy, theirs.outcome, theirs.market.condition)
    row_terms = (intent.side == 0, intent.outcome, theirs.market.condition)
    return bad if terms == row_terms else [*bad, f"order {number}: other terms at the exchange: {theirs}"]


def check_frames(world: World) -> list[str]:
    """Frames handed to the feed = frames folded, ignored, or rejected with a cause; all of it was sequenced."""
    counters, counts = world.counters(), world.network.counts
    counted = sum(counters.get(name, 0) for name in TAKEN)
    bad = []
    if counts["handed_market"] != counted:
        bad.append(f"{counts['handed_market']} market frames were handed in, {counted} are counted: {counters}")
    for name in ("frames_unknown_token", "frames_ignored", "frames_rejected", "frames_lost"):
        if counters.get(name):
            bad.append(f"{name} = {counters[name]}")
    if counters["sequencer_position"] != counters["book_position"]:
        bad.append(f"sequencer at {counters['sequencer_position']}, book at {counters['book_position']}")
    return bad


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
        for row in set(idea.leg_instrument[:idea.in_part]):
            top = tops.get(row)
            if top is None or top.flags & (Flag.OPEN | Flag.STALE | Flag.CROSSED):
                bad.append(f"idea {idea.idea_no} was priced from row {row} with flags {top and Flag(top.flags)!r}")
            elif idea.now_ns - top.proof_ns > proof_age_ns:
                bad.append(f"idea {idea.idea_no} was priced from row {row}, proven {idea.now_ns - top.proof_ns} ns before")
    return bad + [f"package {package.group_no} has no idea" for package in logs.packages if package.idea_no not in ideas]


def check_exposure(world: World, logs: Logs) -> list[str]:
    """At every package: what fills cost so far and orders still to arrive may cost is within the limits (I1)."""
    limits = next(iter(records_of(logs.stream, Kind.CONFIG)))
    exchange = world.scenario.exchange
    arrived = {arrival.order_id: arrival.now_ns for arrival in exchange.arrivals}
    events: dict[int, int] = {r.instrument: r.event for r in records_of(logs.stream, Kind.INSTRUMENT)}
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
        for row in list(per_row):
            per_row[row] -= min(held.get(row, [0, 0]))
            if per_row[row] > limits.market_usd_micro_max:
                bad.append(f"package {package.group_no}: row {row} may lose {per_row[row]}")
        if sum(per_row.values()) > limits.day_usd_micro_max:
            bad.append(f"package {package.group_no}: {sum(per_row.values())} spent in a day")
        of_event = sum(value for row, value in per_row.items() if events[row] == package.event)
        worst = of_event - _pairs_of(held, [row for row in held if events[row] == package.event])
        if worst > limits.event_usd_micro_max:
            bad.append(f"package {package.group_no}: event {package.event} may lose {worst}")
    bad += [f"order {intent.order_no} may cost {intent.worst_usd_micro}" for intent in logs.intents.values()
            if intent.worst_usd_micro > limits.order_usd_micro_max]
    return bad


def _pairs_of(held: dict[int, list[int]], rows: Sequence[int]) -> int:
    """Return what an exclusive event's NO tokens pay in every world beyond pairs: all but the largest."""
    noes = sorted(held[row][1] - min(held[row]) for row in rows)
    return sum(noes[:-1])


def check_no_false_positive(world: World, logs: Logs) -> list[str]:
    """No package has a negative worst world at every state of the exchange's books from its cause to its arrival."""
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
        ((at_ns, place, condition, changes) for condition in {condition for condition, _ in legs}
         for place, (at_ns, changes) in enumerate(exchange.history(exchange.engine.markets[condition]))),
        key=lambda item: item[:2])
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
    markets: dict[str, Market], books: dict[str, dict[tuple[bool, int], int]], legs: dict[tuple[str, int], int],
) -> int:
    """Return the worst world's profit of buying every leg from these books at once; a short leg loses all."""
    is_no = next(iter(legs))[1] == 1
    size = min(legs.values())
    profit = size * (len(legs) - 1 if is_no else 1)
    for (condition, outcome), wanted in legs.items():
        left, market = wanted, markets[condition]
        side = sorted(
            (TICKS_PER_USD - price if outcome else price, shown)
            for (is_bid, price), shown in books[condition].items() if is_bid == bool(outcome) and shown)
        for price, shown in side:
            take = min(left, shown)
            left -= take
            fee = market.fee_rate_ppm * price * (TICKS_PER_USD - price) * take // (TICKS_PER_USD**2 * 1_000_000)
            profit -= cost_micro(price, take) + fee // 10 * 10
        if left:
            return -1
    return profit


def check_recovery(world: World, logs: Logs) -> list[str]:
    """The newest checkpoint and what both logs hold after it give the live trader's state, digest for digest."""
    live = facts_digest(world.trader)
    found = sorted(world.checkpoints.glob("*.checkpoint"))
    trader, stream_seq, decided_seq = restore(found[-1].read_bytes()) if found else (Trader(), 0, 0)
    bad = [] if found else ["no checkpoint was written"]
    for name, state, after in (("checkpoint", trader, (stream_seq, decided_seq)), ("logs alone", Trader(), (0, 0))):
        fold_both(state, logs, *after)
        if facts_digest(state) != live:
            bad.append(f"{name} and the logs after {after} do not give the live state: {_differences(state, world.trader)}")
    return bad


def fold_both(trader: Trader, logs: Logs, stream_seq: int, decided_seq: int) -> None:
    """Fold both logs from two positions, each decision behind the record that caused it."""
    stream, decisions = logs.stream, logs.decisions
    decided = _place(decisions, decided_seq)
    for at in range(_place(stream, stream_seq), len(stream), SLOT_BYTES):
        seq = HEADER_STRUCT.unpack_from(stream, at)[0]
        while decided < len(decisions) and HEADER_STRUCT.unpack_from(decisions, decided)[3] < seq:
            trader.apply_decision(decisions, decided)
            decided += SLOT_BYTES
        trader.fold(stream, at)
    for at in range(decided, len(decisions), SLOT_BYTES):
        trader.apply_decision(decisions, at)


def _place(log: bytes, seq: int) -> int:
    for at in range(0, len(log), SLOT_BYTES):
        if HEADER_STRUCT.unpack_from(log, at)[0] >= seq:
            return at
    return len(log)


def _differences(found: Trader, live: Trader) -> list[str]:
    mine, theirs = found.facts.state(), live.facts.state()
    return [f"{name}: {str(mine[name])[:300]} != {str(theirs[name])[:300]}" for name in mine if mine[name] != theirs[name]]


def check_reasons(world: World) -> list[str]:
    """Nothing was refused for a reason that only a bug has."""
    counts = world.trader.counts
    never = (Cause.NOT_PROVEN, Cause.OFF_GRID, Cause.NO_INSTRUMENT, Cause.BELOW_MINIMUM)
    bad = [f"refused {counts[cause]} ideas for {cause.name}" for cause in never if counts.get(cause)]
    if world.trader.facts.orders.stranger_count:
        bad.append(f"{world.trader.facts.orders.stranger_count} reports of strangers")
    return bad
