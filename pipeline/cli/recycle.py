"""`pm recycle --plan`: what could be turned back into money on chain, and why the rest cannot. Sends nothing.

Reads the newest checkpoint and what both logs hold after it, read-only and beside a running pipeline; writes
words or JSON.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import typer

from pipeline.cli.states import one_state
from pipeline.core.holdings import holdings
from pipeline.core.instruments import Instrument
from pipeline.core.state import TraderState
from pipeline.errors import EnvironmentProblem, UsageError
from pipeline.kinds import Outcome
from pipeline.run.startpoint import log_end
from pipeline.store.checkpoints import recovered
from pipeline.store.segments import LOGS, live_directory
from pipeline.store.words import share_text, utc_text
from pipeline.units import usd_text
from pipeline.venues.polymarket import settle, wire
from pipeline.venues.polymarket.identity import checksum
from pipeline.venues.polymarket.recycle import Action, ActionKind, Kept, Plan, plan

NAMES_SHOWN_MAX = 4
COLUMNS = ("#", "action", "market", "shares", "frees USD", "call")
RIGHT = ("#", "shares", "frees USD")
CONTRACTS = {address.lower(): name for address, name in wire.CONTRACT_NAMES.items()}


def show_plan(directory: Path, is_plan: bool, action: str | None, count: int, as_json: bool) -> None:
    """Print the plan, as text with up to `count` actions (0 = all).

    Raises UsageError without --plan, EnvironmentProblem (exit 4) without a state.
    """
    if not is_plan:
        raise UsageError("recycle: give --plan: this version shows what could be done and sends nothing; "
                         "sending settlement to the chain is later work")
    kinds = [kind.value for kind in ActionKind]
    if action is not None and action not in kinds:
        raise UsageError(f"recycle: --action is one of {', '.join(kinds)}, was {action[:40]!r}")
    state = one_state(directory)
    facts, position = read_facts(state)
    found = plan(holdings(facts), facts.instruments, facts.questions)
    if action is not None:
        found = Plan(tuple(one for one in found.actions if one.kind.value == action), ())
    if as_json:
        typer.echo(orjson.dumps(to_dict(state, position, facts, found)).decode())
    else:
        typer.echo("\n".join(lines(state, facts, found, action, count)))


def read_facts(state: Path) -> tuple[TraderState, int]:
    """Return trade's facts at the ends of both logs, and the position in stream that they are of.

    The stream's end is read first: an order's intent stands in the log before its first fill, so every fill
    that is read then finds its order.
    """
    for log in LOGS:
        directory = live_directory(state, log)
        if not directory.is_dir() or not any(directory.glob("*.log")):
            raise EnvironmentProblem(
                f"recycle: {directory} holds no log: nothing ran in {state} yet; give --state DIR of a run")
    stream_end, decisions_end = (log_end(live_directory(state, log), log) for log in LOGS)
    trader = recovered(
        state / "checkpoints", state / "logs", stream_end, decisions_end,
        lambda path, why: typer.echo(f"recycle: {path} was not used: {why}", err=True))
    return trader.facts, stream_end


def to_dict(state: Path, position: int, facts: TraderState, found: Plan) -> dict[str, Any]:
    """Return the plan as plain values; addresses with their checksum, calldata as hex."""
    rows = facts.instruments.rows
    return {
        "state": str(state), "stream_seq": position, "as_of_ns": facts.beat_ns, "is_sent": False,
        "frees_usd_micro": found.frees_usd_micro,
        "actions": [{
            "action": one.kind.value, "rows": list(one.rows),
            "markets": [_label(rows, row) for row in one.rows],
            "size_micro": one.size_micro, "frees_usd_micro": one.frees_usd_micro,
            "cost_usd_micro": one.cost_usd_micro, "why": one.why,
            "calls": [{"target": checksum(call.target), "method": settle.words_of(call), "value": "0",
                       "data": "0x" + call.data.hex()} for call in one.calls],
            "approvals": [{"token": token, "spender": spender} for token, spender in one.approvals],
        } for one in found.actions],
        "kept": [{
            "row": one.row, "market": _label(rows, one.row), "outcome": Outcome(one.outcome).name,
            "size_micro": one.size_micro, "why": one.why} for one in found.kept],
    }


def lines(state: Path, facts: TraderState, found: Plan, action: str | None, count: int) -> list[str]:
    """Return the plan for people: the total, the table, why it is allowed, and by reason what stays."""
    rows = facts.instruments.rows
    when = f" at {utc_text(facts.beat_ns)}" if facts.beat_ns else ""
    what = f"{action} " if action else ""
    if not found.actions:
        why = "" if action else ": no settled pair, no set of NO that converts, nothing resolved that pays"
        shown = [f"nothing to {action or 'free'} in {state}{when}{why}"]
    else:
        total = len(found.actions)
        head = (f"{total} {what}action{'s' * (total != 1)} would free {usd_text(found.frees_usd_micro)} USD "
                f"in {state}{when}")
        table = _table([_cells(*entry, rows) for entry in enumerate(found.actions[:count or total], 1)])
        rest = found.actions[count:] if count else ()
        if rest:
            less = usd_text(sum(one.frees_usd_micro for one in rest))
            table.append(f"{len(rest)} more would free {less} USD: --count 0 shows them")
        shown = [head, *table, *_notes(found.actions)]
    return shown + _kept_lines(found.kept, rows)


def _cells(number: int, one: Action, rows: Mapping[int, Instrument]) -> tuple[str, ...]:
    market = _some([_label(rows, row) for row in one.rows])
    if one.kind == ActionKind.CONVERT:
        market = f"NO of {market}"
    market += _event(rows, one.rows[0])
    calls = [settle.words_of(call) for call in one.calls]
    more = f", then {len(calls) - 1} more" if len(calls) > 1 else ""
    return (str(number), one.kind.value, market, share_text(one.size_micro), usd_text(one.frees_usd_micro),
            calls[0] + more)


def _table(cells: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[place]) for row in (COLUMNS, *cells)) for place in range(len(COLUMNS))]
    return [
        "  ".join(text.rjust(width) if name in RIGHT else text.ljust(width)
                  for text, width, name in zip(row, widths, COLUMNS, strict=True)).rstrip()
        for row in (COLUMNS, *cells)]


def _notes(actions: Sequence[Action]) -> list[str]:
    """Return why it is allowed, what it costs and needs, and that nothing was sent."""
    reasons: dict[str, list[str]] = {}
    for number, one in enumerate(actions, 1):
        reasons.setdefault(one.why, []).append(str(number))
    noted = [f"why {_some(numbers)}: {why}" for why, numbers in reasons.items()]
    if cost_micro := sum(one.cost_usd_micro for one in actions):
        noted.append(f"fees take at most {usd_text(cost_micro)} USD of what the shares are worth")
    if any(one.kind == ActionKind.REDEEM for one in actions):
        noted.append("what was redeemed elsewhere already, as by the venue's AutoRedeemer, is not known here")
    pairs = dict.fromkeys(pair for one in actions for pair in one.approvals)
    needs = ", ".join(f"{_contract(token)} for {_contract(spender)}" for token, spender in pairs)
    last = ("nothing was sent: this version plans only. One after another, for a wallet has one action in "
            "flight; --json has the calldata")
    return [*noted, f"needs approval: {needs}", last]


def _kept_lines(kept: Sequence[Kept], rows: Mapping[int, Instrument]) -> list[str]:
    by_reason: dict[str, list[Kept]] = {}
    for one in kept:
        by_reason.setdefault(one.why, []).append(one)
    shown = ["not freed, and why:"] if kept else []
    for why, ones in by_reason.items():
        names = _some([
            f"{share_text(one.size_micro)} {Outcome(one.outcome).name} {_label(rows, one.row)}"
            + _event(rows, one.row) for one in sorted(ones, key=lambda one: -one.size_micro)])
        shown += [f"  {why}", f"    {names}"]
    return shown


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN_MAX
    return ", ".join(names[:NAMES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def _label(rows: Mapping[int, Instrument], row: int) -> str:
    instrument = rows.get(row)
    text = "".join(letter for letter in instrument.label if letter in _SHOWN) if instrument else ""
    return text.strip() or f"row {row}"


def _event(rows: Mapping[int, Instrument], row: int) -> str:
    instrument = rows.get(row)
    return f" (event {instrument.event})" if instrument is not None and instrument.event else ""


def _contract(address: str) -> str:
    return CONTRACTS.get(address.lower(), address)


_SHOWN = set(string.printable) - set(string.whitespace) | {" "}
