"""What planted faults met: for each, the first word of it in our own stream, and when we traded again.

Reads the exchange's list of faults (its clock and ours are one machine's) and the stream; writes a row each
for the report. Judges nothing by itself: that no order is doubled and no money lost through a fault is what
`judge_orders` and `judge_money` prove of the whole run, so a fault needs no allowance there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pipeline.kinds import Cause, OrderState, TradeStatus, VenueMode
from pipeline.run.judge_logs import Logs
from pipeline.units import NS_PER_S


@dataclass(frozen=True, slots=True)
class Sign:
    """How a kind of fault shows in our stream; `at_ns` returns the times of all such records."""

    words: str
    at_ns: Callable[[Logs], Iterable[int]]


def _reports(logs: Logs, state: OrderState, cause: Cause = Cause.NONE) -> Iterable[int]:
    return (
        report.now_ns for reports in logs.reports.values() for report in reports
        if report.state == state and cause in (Cause.NONE, report.cause))


def _fills(logs: Logs, status: TradeStatus) -> Iterable[int]:
    """Each trade of an order once: the same word may come by socket and by reconcile."""
    first: dict[tuple[bytes, bytes], int] = {}
    for fill in logs.fills:
        if fill.status == status:
            first.setdefault((bytes(fill.trade_id), bytes(fill.order_hash)), fill.now_ns)
    return first.values()


GAP = Sign("gaps told", lambda logs: (gap.now_ns for gap in logs.gaps))
MODE = Sign("modes learnt", lambda logs: (
    venue.now_ns for venue in logs.modes if venue.mode != VenueMode.RUNNING))
#: By kind of fault; one that is not named leaves orders in doubt.
SIGNS = {
    "settlement": Sign("fills voided", lambda logs: _fills(logs, TradeStatus.FAILED)),
    "rate_limit": Sign("orders refused", lambda logs: _reports(logs, OrderState.REJECTED, Cause.RATE_LIMIT)),
    "tick": Sign("tick steps taken over", lambda logs: (step.now_ns for step in logs.tick_steps)),
    "freeze": Sign("gaps told", lambda logs: (gap.now_ns for gap in logs.gaps if gap.cause == Cause.FREEZE)),
    "restart": MODE, "mode": MODE,
    **dict.fromkeys(("drop", "delay", "duplicate", "reorder", "truncate"), GAP),
}
DOUBTED = Sign("orders in doubt", lambda logs: _reports(logs, OrderState.UNKNOWN))


def fault_rows(report: dict[str, Any], logs: Logs) -> list[dict[str, Any]]:
    """Return a row for each fault that hit something, in the order of their beginnings.

    Times in ns, counted from the fault's first hit, -1 = never; `signs` counts until the next fault begins,
    or as long as this one runs.
    """
    sent_ns = sorted(_reports(logs, OrderState.SENT))
    hit = sorted(
        (row for row in report.get("faults", []) if row.get("count")), key=lambda row: row["begun_ns"])
    return [_row(row, _until_ns(hit, place, report), logs, sent_ns) for place, row in enumerate(hit)]


def _until_ns(hit: list[dict[str, Any]], place: int, report: dict[str, Any]) -> int:
    following = hit[place + 1]["begun_ns"] if place + 1 < len(hit) else report["now_ns"]
    return int(max(following, hit[place]["ended_ns"] or report["now_ns"]))


def _row(fault: dict[str, Any], until_ns: int, logs: Logs, sent_ns: list[int]) -> dict[str, Any]:
    sign = SIGNS.get(fault["kind"], DOUBTED)
    first_ns = fault["notes"][0][0] if fault["notes"] else fault["begun_ns"]
    signs = sorted(ns for ns in sign.at_ns(logs) if first_ns <= ns < until_ns)
    seen_ns = signs[0] if signs else first_ns
    place = bisect_left(sent_ns, seen_ns)
    return {
        "name": fault["name"], "kind": fault["kind"], "hits": fault["count"], "words": sign.words,
        "signs": len(signs), "seen_ns": signs[0] - first_ns if signs else -1,
        "traded_ns": sent_ns[place] - first_ns if place < len(sent_ns) else -1}


def fault_lines(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Return the table of the faults for people; times count from the first hit."""
    heads = f"{'our log says':<28}{'first after':>13}{'next order, s':>16}"
    lines = [f"{'Faults planted':<18}{'hits':>6}  {heads}"]
    for row in rows:
        says = f"{row['signs']} {row['words']}"
        lines.append(
            f"{row['name'][:17]:<18}{row['hits']:>6}  {says:<28}{_seconds(row['seen_ns']):>13}"
            f"{_seconds(row['traded_ns']):>16}")
    return lines


def _seconds(ns: int) -> str:
    return f"{ns / NS_PER_S:.2f}" if ns >= 0 else "never"
