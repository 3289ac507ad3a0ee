"""Why an event did not trade: was there anything to take, by the exchange's own journal and a second fold.

Reads the exchange's report and both logs after the run; the second fold is the judge's (`run/judge_refold`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.run.judge_logs import Findings, Logs, read_logs
from pipeline.run.judge_plants import SETTLE_NS, Untaken, is_required, verdicts_by_event, veto_of
from pipeline.run.judge_refold import explain
from pipeline.units import NS_PER_MS

SEEN_NS_MIN = 1_500 * NS_PER_MS  # a plant must have stood this long: a stall halts for health_clear_s
#: What the second fold says of a plant that nobody can take, or that somebody took first.
NOTHING_TO_TAKE = tuple(
    f"no idea: {why}" for why in ("below_minimum", "no profit", "below_edge", "depth_used", "proof_old"))


def missed_reasons(
    state: Path, report: dict[str, Any], items: Sequence[tuple[int, int, int]],
) -> list[str]:
    """Return, for each (event row, from ns, until ns), why it should have traded; "" when it could not."""
    logs = read_logs(state, Findings())
    events = {
        condition: logs.instruments[rows[0]].event for condition, rows in logs.rows_of.items()}
    asked: list[list[Untaken]] = []
    for event, from_ns, until_ns in items:
        own = [
            plant for plant in report["plants"]
            if events.get(plant["legs"][0]["condition"]) == event and is_required(plant)
            and min(plant["t_end_ns"], until_ns) - max(plant["t_start_ns"], from_ns) >= SEEN_NS_MIN]
        asked.append([  # each cut to the time that is asked about
            Untaken({**plant, "t_start_ns": max(plant["t_start_ns"], from_ns),
                     "t_end_ns": min(plant["t_end_ns"], until_ns) - SETTLE_NS}, "") for plant in own])
    explain(state, logs, [one for own in asked for one in own])  # one fold of the stream serves all
    _look_back(state, logs, report, [one for own in asked for one in own if not one.reason])
    verdicts = verdicts_by_event(logs)
    return [
        "; ".join(
            f"plant {one.plant['id']}: {one.reason or 'unseen'} {veto_of(one.plant, logs, verdicts)}"
            for one in own
            if not one.reason.startswith(NOTHING_TO_TAKE))
        for own in asked]


def _look_back(state: Path, logs: Logs, report: dict[str, Any], still: list[Untaken]) -> None:
    """Where no book moved in the time asked about, the last look before it tells what stands there."""
    plants = {plant["id"]: plant for plant in report["plants"]}
    whole = [
        Untaken({**one.plant, "t_start_ns": plants[one.plant["id"]]["t_start_ns"]}, "") for one in still]
    explain(state, logs, whole, is_last=True)
    for one, before in zip(still, whole, strict=True):
        one.reason = before.reason
