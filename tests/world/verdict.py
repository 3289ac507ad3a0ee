"""What must hold after a run of the world: the logs against the exchange, nothing taken from a stage's word.

Each check returns a list of complaints; empty = it held. Money is compared exactly, in integers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.codec import CODECS
from pipeline.core.positions import PnlFold
from pipeline.kinds import Cause, Kind, OrderState, Origin
from pipeline.records import SLOT_BYTES
from pipeline.sim.scenario import ACCOUNT_NAME
from tests.world.world import World

TAKEN = ("frames", "frames_unknown_token", "frames_ignored", "frames_rejected", "frames_lost", "pongs")
NEVER_LEFT = (OrderState.UNSENT, OrderState.DRY)
ENDED = (OrderState.MATCHED, OrderState.CANCELED, OrderState.EXPIRED, OrderState.REJECTED, OrderState.UNSENT)


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
        "pnl": (ledger.pnl(ACCOUNT_NAME), pnl.pnl_usd_micro),
        "fees": (ledger.fees(ACCOUNT_NAME), pnl.fees_usd_micro),
        "positions": (ledger.positions(ACCOUNT_NAME), dict.fromkeys(pnl.open_rows, 1)),
        "mismatches": (0, pnl.mismatch_count),
        "fills": (len(world.scenario.exchange.engine.trades_of.get(ACCOUNT_NAME, [])), pnl.fill_count),
        "live cash": (ledger.pnl(ACCOUNT_NAME), world.trader.facts.positions.cash_usd_micro),
    }
    return [
        f"{name}: the exchange has {expected}, the logs {was}"
        for name, (expected, was) in found.items()
        if expected != was
    ]


def check_held(world: World, logs: Logs) -> list[str]:
    """Before anything is resolved: every token's shares as trade holds them = the exchange's, undoubted."""
    exchange, facts = world.scenario.exchange, world.trader.facts
    positions = facts.positions
    expected = exchange.ledger.positions(ACCOUNT_NAME)
    held = {}
    for row, condition in logs.conditions.items():
        for outcome, token in enumerate(exchange.engine.markets[condition].tokens):
            if positions.held(row, outcome):
                held[token] = positions.held(row, outcome)
    found = [] if expected == held else [f"held: the exchange has {expected}, trade {held}"]
    rang = [f"held: {name}: {told}" for name, told in facts.alarms.told.items() if name.startswith("shares_")]
    return found + rang


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


def _check_order(
    world: World, number: int, intent: Any, order_hash: str | None, accepted: Counter[str]
) -> list[str]:
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
        bad.append(
            f"order {number}: the exchange filled "
            f"{theirs.matched_micro, theirs.usd_micro, theirs.fee_micro}, we have {ours}"
        )
    terms = (theirs.is_buy, theirs.outcome, theirs.market.condition)
    row_terms = (intent.side == 0, intent.outcome, theirs.market.condition)
    return bad if terms == row_terms else [*bad, f"order {number}: other terms at the exchange: {theirs}"]


def check_frames(world: World) -> list[str]:
    """Frames handed to the feed = frames folded, ignored, or rejected with a cause; all is sequenced."""
    counters, counts = world.counters(), world.network.counts
    counted = sum(counters.get(name, 0) for name in TAKEN)
    bad = []
    if counts["handed_market"] != counted:
        bad.append(
            f"{counts['handed_market']} market frames were handed in, {counted} are counted: {counters}"
        )
    for name in ("frames_unknown_token", "frames_ignored", "frames_rejected", "frames_lost"):
        if counters.get(name):
            bad.append(f"{name} = {counters[name]}")
    if counters["sequencer_position"] != counters["book_position"]:
        bad.append(f"sequencer at {counters['sequencer_position']}, book at {counters['book_position']}")
    return bad


def check_reasons(world: World) -> list[str]:
    """Nothing was refused for a reason that only a bug has."""
    counts = world.trader.counts
    never = (Cause.NOT_PROVEN, Cause.OFF_GRID, Cause.NO_INSTRUMENT, Cause.BELOW_MINIMUM)
    bad = [f"refused {counts[cause]} ideas for {cause.name}" for cause in never if counts.get(cause)]
    if world.trader.facts.orders.stranger_count:
        bad.append(f"{world.trader.facts.orders.stranger_count} reports of strangers")
    return bad
