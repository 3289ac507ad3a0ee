"""`pm cancel-all`: a halt H2 that stays, and the proof that no order is open, or what is left.

Writes the operator's word on the halt page; the running pipeline does the cancelling. Reads what its lanes
count until that proves it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import typer

from pipeline.cli.halt import latch
from pipeline.cli.states import one_state
from pipeline.cli.status import collect
from pipeline.errors import EnvironmentProblem, RiskRefusal, UsageError, VenueError
from pipeline.kinds import HaltLevel

#: States in which an order may still trade; UNKNOWN leaves only on the venue's own evidence.
OPEN_STATES = ("intended", "sent", "live", "delayed", "unknown")
LOOK_S = 0.1
HOLD_S = 0.5  # nothing open for so long: a single look could fall between two of trade's


@dataclass(frozen=True, slots=True)
class Left:
    """What one look found."""

    is_running: bool
    is_whole: bool  # every lane runs: what they count is of now
    level: HaltLevel
    is_halt_seen: bool  # trade has folded the halt: nothing new is decided
    by_state: dict[str, int]  # of the summary, for people
    open_orders: int | None  # trade's own count; None when it never counted

    @property
    def count(self) -> int:
        """Orders that may still trade: trade's own count, else the summary's."""
        return sum(self.by_state.values()) if self.open_orders is None else self.open_orders

    @property
    def words(self) -> str:
        """Return such as "3 orders (live 2, unknown 1)"."""
        states = ", ".join(f"{name} {count}" for name, count in self.by_state.items())
        return f"{self.count} order{'s' * (self.count != 1)}" + (f" ({states})" if states else "")


def left_of(facts: Mapping[str, Any]) -> Left:
    """Return what `pm status` knows about open orders. facts: as `status.collect` returns them."""
    states, counters = facts["summary"].get("orders_by_state", {}), facts["counters"]
    return Left(
        is_running=facts["is_running"],
        is_whole=all(lane["is"] == "running" for lane in facts["lanes"]),
        level=HaltLevel[facts["halt"]["level"]],
        is_halt_seen=counters.get("trade_halt_level", 0) >= HaltLevel.H2,
        by_state={name: states[name] for name in OPEN_STATES if states.get(name)},
        open_orders=counters.get("open_orders"),
    )


def cancel_all(
    directory: Path, reason: str, seconds: float, as_json: bool,
    look: Callable[[Path], Mapping[str, Any]] = collect,
) -> int:
    """Latch H2, wait until nothing is open; return 0. Raises PipelineError with what is left.

    look: what is known of the state directory, see `status.collect`. Exit 4 when nothing runs that could
    cancel, 5 when the venue leaves orders open or their end unknown, 6 when a halt H4 keeps it from running.
    """
    if not reason.strip():
        raise UsageError("cancel-all: the reason is empty; say why, it is kept with the halt")
    state = one_state(directory)
    latch(state, HaltLevel.H2, reason.strip())
    deadline_s = time.monotonic() + seconds
    clear_since_s = -1.0
    while True:
        left = left_of(look(state))
        now_s = time.monotonic()
        if not left.is_running:
            return _nothing_runs(state, left, as_json)
        is_clear = left.is_whole and left.is_halt_seen and not left.count
        clear_since_s = (clear_since_s if clear_since_s >= 0 else now_s) if is_clear else -1.0
        if is_clear and now_s - clear_since_s >= HOLD_S:
            return _say(state, left, as_json, "no order is open")
        if now_s > deadline_s:
            raise _late(state, left, seconds)
        time.sleep(LOOK_S)


def _nothing_runs(state: Path, left: Left, as_json: bool) -> int:
    if not left.count:
        return _say(state, left, as_json, "nothing runs, and the last run left no order open")
    if left.level >= HaltLevel.H4:
        raise RiskRefusal(
            f"cancel-all: {state} is halted {left.level.name}, so nothing runs there; the last run left "
            f"{left.words} open: pm resume, start it, and pm cancel-all again, or cancel at the venue"
        )
    raise EnvironmentProblem(
        f"cancel-all: halt H2 stands, but nothing runs in {state} that could cancel; the last run left "
        f"{left.words} open: start it (it cancels under the halt), or cancel at the venue"
    )


def _late(state: Path, left: Left, seconds: float) -> VenueError | EnvironmentProblem:
    if not left.is_halt_seen:
        return EnvironmentProblem(
            f"cancel-all: halt H2 stands, but trade in {state} did not take it up within {seconds:g} s; "
            "see pm status"
        )
    if not left.count:
        return EnvironmentProblem(
            f"cancel-all: no order is open in {state}, but not for long or not all lanes run; see pm status, "
            "run it again")
    return VenueError(
        f"cancel-all: halt H2 stands; after {seconds:g} s still open in {state}: {left.words}; "
        "see pm status, look at the venue, and run it again"
    )


def _say(state: Path, left: Left, as_json: bool, what: str) -> int:
    if as_json:
        facts = {"state": str(state), "level": left.level.name, "open_orders": left.count,
                 "is_running": left.is_running}
        typer.echo(orjson.dumps(facts).decode())
    else:
        typer.echo(f"cancel-all: {what} in {state}; halted {left.level.name} until pm resume")
    return 0
