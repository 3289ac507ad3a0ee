"""The state of trade as a fold: endings, checkpoints, recovery, all from the two logs."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.codec import HEADER_STRUCT
from pipeline.core.checkpoint import facts_digest, restore
from pipeline.core.trader import Trader
from pipeline.kinds import Kind, OrderState
from pipeline.records import SLOT_BYTES
from pipeline.store import checkpoints
from tests.world.verdict import Logs
from tests.world.world import World


def check_recovery(world: World, logs: Logs) -> list[str]:
    """The newest checkpoint and what both logs hold after it give the live trader's state, by digest."""
    live = facts_digest(world.trader)
    found = sorted(world.checkpoints.glob("*.checkpoint"))
    trader, stream_seq, decided_seq = restore(found[-1].read_bytes()) if found else (Trader(), 0, 0)
    bad = [] if found else ["no checkpoint was written"]
    for name, state, after in (
        ("checkpoint", trader, (stream_seq, decided_seq)),
        ("logs alone", Trader(), (0, 0)),
    ):
        fold_both(state, logs, *after)
        if facts_digest(state) != live:
            bad.append(
                f"{name} and the logs after {after} do not give the live state: "
                f"{_differences(state, world.trader)}"
            )
    if facts_digest(_refolded(world, logs)) != live:
        bad.append("store.checkpoints.recovered does not give the live state")
    return bad


def _refolded(world: World, logs: Logs) -> Trader:
    """Return what recovery makes of the files themselves."""
    stream_end, decisions_end = (
        HEADER_STRUCT.unpack_from(log, len(log) - SLOT_BYTES)[0] + 1 for log in (logs.stream, logs.decisions)
    )
    return checkpoints.recovered(world.checkpoints, world.logs, stream_end, decisions_end)


def check_endings(world: World, logs: Logs) -> list[str]:
    """When trade closes an order nothing follows: it holds all that the exchange ever filled (I4, OR01)."""
    engine = world.scenario.exchange.engine
    trader, bad = Trader(), list[str]()
    was_open: set[int] = set()

    def watch(now_ns: int) -> None:
        nonlocal was_open
        is_open = {order.order_no for order in trader.facts.orders.open_orders}
        for number in sorted(was_open - is_open):
            order, theirs = trader.facts.orders.by_no[number], engine.orders.get(logs.hashes.get(number, ""))
            filled = theirs.matched_micro if theirs else 0
            if filled != order.filled_micro:
                bad.append(
                    f"order {number} was closed at {now_ns} as {OrderState(order.state).name} with "
                    f"{order.filled_micro} filled; the exchange filled {filled}"
                )
        was_open = is_open

    fold_both(trader, logs, 0, 0, watch)
    return bad


def fold_both(
    trader: Trader,
    logs: Logs,
    stream_seq: int,
    decided_seq: int,
    watch: Callable[[int], None] | None = None,
) -> None:
    """Fold both logs from two positions, each decision behind the record that caused it.

    `watch` is called with the stream time behind each record that changed how many orders are open.
    """
    stream, decisions = logs.stream, logs.decisions
    decided = _place(decisions, decided_seq)
    for at in range(_place(stream, stream_seq), len(stream), SLOT_BYTES):
        seq = HEADER_STRUCT.unpack_from(stream, at)[0]
        while decided < len(decisions) and HEADER_STRUCT.unpack_from(decisions, decided)[3] < seq:
            trader.apply_decision(decisions, decided)
            decided += SLOT_BYTES
        before = trader.facts.orders.open_count
        trader.fold(stream, at)
        if watch is not None and (before != trader.facts.orders.open_count or stream[at + 32] == Kind.REPORT):
            watch(HEADER_STRUCT.unpack_from(stream, at)[1])
    for at in range(decided, len(decisions), SLOT_BYTES):
        trader.apply_decision(decisions, at)


def _place(log: bytes, seq: int) -> int:
    for at in range(0, len(log), SLOT_BYTES):
        if HEADER_STRUCT.unpack_from(log, at)[0] >= seq:
            return at
    return len(log)


def _differences(found: Trader, live: Trader) -> list[str]:
    mine, theirs = found.facts.state(), live.facts.state()
    return [
        f"{name}: {str(mine[name])[:300]} != {str(theirs[name])[:300]}"
        for name in mine
        if mine[name] != theirs[name]
    ]
