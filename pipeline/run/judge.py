"""Judges a finished run from its two logs and the exchange's own report, with every process dead.

Reads STATE/logs/stream, STATE/logs/decisions, the report and what the demo collected while lanes lived;
writes a `Judgement`. Exit code 7: data contradict each other (a frame lost, an order unaccounted for,
money that differs, a package that was never right). Exit code 1: too little was taken, or without a reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import IntegrityError
from pipeline.kinds import Cause, Rule
from pipeline.run.judge_books import Judged, Look, judge_packages
from pipeline.run.judge_faults import fault_rows
from pipeline.run.judge_logs import Findings, Logs, Venue, read_logs
from pipeline.run.judge_money import check_money, fill_orders
from pipeline.run.judge_orders import Endings, check_orders
from pipeline.run.judge_plants import Taking, match_plants, outage_times
from pipeline.run.judge_refold import explain
from pipeline.run.judge_report import (
    LaneFigures,
    lane_figures,
    latency_figures,
    latency_gap_ns,
    report_lines,
)
from pipeline.run.judge_resumes import check_resumes
from pipeline.shm.status import Latency
from pipeline.store.segments import whole_logs
from pipeline.units import NS_PER_MS, usd_text

EXIT_BROKEN = IntegrityError.exit_code
EXIT_SHORT = 1
#: How a frame that we were handed ends; one thrown away for lack of room ends in none of them.
ACCOUNTED = ("frames", "frames_twin", "frames_unknown_token", "frames_ignored", "frames_rejected", "pongs")


@dataclass(frozen=True)
class RunFacts:
    """What cannot be read from logs: collected while the lanes lived."""

    counters: dict[str, dict[str, int]]  # lane -> counter -> value
    latencies: dict[str, Latency]  # histogram -> all lanes merged
    seconds: float  # of trading
    topology: str
    feeds: list[str]  # recordings; none = the generator
    speed: str
    steal_ticks: int  # of the whole machine while it ran, 1/100 s each
    dry: bool
    why_nothing: list[str]
    lanes: dict[str, LaneFigures] = field(default_factory=dict)
    #: From the death of a lane until the run trades again, ns; what it lost meanwhile is counted, not wrong.
    outages: Sequence[tuple[int, int]] = ()

    def sum(self, name: str) -> int:
        """Return a counter added over the lanes."""
        return sum(counters.get(name, 0) for counters in self.counters.values())


@dataclass(frozen=True)
class Judgement:
    """The verdict: `figures` for machines, `problems` one line each, `lines()` for people."""

    figures: dict[str, Any]
    problems: list[str]
    exit_code: int
    text: list[str] = field(repr=False)

    def lines(self) -> list[str]:
        """Return the report for people."""
        return self.text


def judge(
    state_dir: Path, exchange_report: dict[str, Any], facts: RunFacts, is_max_speed: bool,
) -> Judgement:
    """Return the verdict over a run whose processes have ended.

    state_dir: holds `logs/stream` and `logs/decisions`. exchange_report: its `report.json`, read after
    its end. is_max_speed: the share of taken plants is reported, not required. A damaged log is a
    finding, not an exception.
    """
    findings = Findings()
    figures = _frame_figures(exchange_report, facts, findings)
    try:
        figures |= _judge_logs(state_dir, exchange_report, facts, is_max_speed, findings)
    except IntegrityError as error:
        findings.broken("logs", str(error))
    figures["latency_ns"] = latency_figures(facts.latencies)
    figures["latency_gap_ns"] = latency_gap_ns(figures["latency_ns"])
    problems = findings.texts()
    exit_code = EXIT_BROKEN if findings.has_broken else EXIT_SHORT if problems else 0
    figures |= {"problems": problems, "problem_counts": findings.counts, "exit_code": exit_code}
    return Judgement(figures, problems, exit_code, report_lines(figures, facts.why_nothing, is_max_speed))


def _frame_figures(report: dict[str, Any], facts: RunFacts, findings: Findings) -> dict[str, Any]:
    """Count frames on both ends of the market sockets; PONGs are frames on both."""
    rows = [row for row in report["sockets"] if row["channel"] == "market"]
    accepted = sum(row["accepted"] for row in rows)
    accounted = sum(facts.sum(name) for name in ACCOUNTED)
    frames, fallbacks = facts.sum("frames"), facts.sum("fallbacks")
    dropped, lost = accepted - accounted, facts.sum("frames_lost")
    if dropped < 0 or (dropped and not facts.outages):
        why = f"; the feed threw {lost} away after its ring stayed full" if lost else ""
        findings.broken("frames", (
            f"frames: the exchange's kernel accepted {accepted}, we folded or rejected {accounted}, "
            f"{dropped} are unaccounted for{why}"))
    return {
        "frames": frames,
        "frames_per_s": round(frames / facts.seconds, 1) if facts.seconds > 0 else 0.0,
        "dropped": dropped, "fallbacks": fallbacks,
        "fallback_ppm": fallbacks * 1_000_000 // frames if frames else 0,
        "frames_accepted": accepted, "frames_queued": sum(row["queued"] for row in rows),
        "frames_rejected": facts.sum("frames_rejected"), "frames_lost": lost,
        "frames_unknown_token": facts.sum("frames_unknown_token"),
        "frames_ignored": facts.sum("frames_ignored"), "gaps": facts.sum("gaps"), "ideas": facts.sum("ideas"),
        "market_sockets": len(rows), "seconds": round(facts.seconds, 3), "topology": facts.topology,
        "outages": len(facts.outages), "feeds": facts.feeds, "speed": facts.speed,
        "steal_ticks": facts.steal_ticks, "dry": facts.dry,
        "lanes": lane_figures(facts.lanes),
        # what stays of a run whose logs cannot be read
        "books": 0, "orders": 0, "fills": 0, "pnl_usd_micro": 0, "planted": 0, "taken": 0,
        "false_positives": 0,
        "exchange_pnl_usd_micro": sum(row["pnl_usd_micro"] for row in report["accounts"]),
    }


def _judge_logs(
    state_dir: Path, report: dict[str, Any], facts: RunFacts, is_max_speed: bool, findings: Findings,
) -> dict[str, Any]:
    """Check orders, money, packages and plants; return their figures."""
    with whole_logs(state_dir / "logs") as whole:  # a long run's first segments are in the archive
        return _judge_whole(whole.parent, report, facts, is_max_speed, findings)


def _judge_whole(
    state_dir: Path, report: dict[str, Any], facts: RunFacts, is_max_speed: bool, findings: Findings,
) -> dict[str, Any]:
    logs = read_logs(state_dir, findings)
    venue = Venue(report, logs.order_of)
    filled = fill_orders(logs, findings)
    endings = check_orders(logs, venue, filled, findings)
    check_money(logs, venue, filled, findings)
    judged = judge_packages(logs, venue, endings, filled)
    for item in judged:
        if item.look is Look.WRONG:
            findings.broken("false positives", _false_positive(item))
    check_resumes(logs, findings)
    outages = [*facts.outages, *outage_times(report)]
    taking = match_plants(logs, venue, judged, endings, filled, outages)
    unexplained = [item for item in taking.untaken if not item.reason]
    if unexplained:
        explain(state_dir, logs, unexplained)
    _check_taking(taking, facts, is_max_speed, findings)
    figures = _figures(logs, venue, endings, judged, taking)
    _check_traded(figures, facts, findings)
    return figures


def _false_positive(item: Judged) -> str:
    found = (
        "was never for sale in full" if item.net_usd_micro is None
        else f"lost at least {usd_text(-item.net_usd_micro)} USD in its worst world")
    return (
        f"package {item.package.group_no} ({len(item.legs)} legs): {found} at every state of the exchange's "
        f"book between its cause and its arrival; it told a payout of "
        f"{usd_text(item.package.payout_usd_micro)} USD")


def _check_taking(taking: Taking, facts: RunFacts, is_max_speed: bool, findings: Findings) -> None:
    """Enough was taken, and what was not has a reason; in dry mode nothing can be."""
    if facts.dry:
        return
    for item in taking.untaken:
        if not item.reason:
            plant = item.plant
            lived_ms = (plant["t_end_ns"] - plant["t_start_ns"]) // NS_PER_MS
            findings.short("plants", (
                f"plant {plant['id']} ({plant['kind']}, lived {lived_ms} ms): not taken, and nothing in the "
                "logs says why"))
    if not is_max_speed and not taking.is_enough:
        share = 100 * taking.taken / taking.required
        findings.short("taken", (
            f"taken: at least 95 % of the {taking.required} plants that live 50 ms and clear fees expected, "
            f"was {taking.taken} ({share:.1f} %); reasons: {_reasons(taking.reasons)}"))


def _check_traded(figures: dict[str, Any], facts: RunFacts, findings: Findings) -> None:
    """A run that traded nothing says why."""
    if facts.dry or (figures["orders"] and figures["fills"] and (figures["taken"] or not figures["planted"])):
        return
    vetoes = [f"vetoed by {cause}: {count}" for cause, count in figures["vetoes"].items()]
    why = "; ".join([*facts.why_nothing, *vetoes]) or "no reason told"
    findings.short("traded", (
        f"orders {figures['orders']}, fills {figures['fills']}, taken {figures['taken']}: "
        f"each above 0 expected ({why})"))


def _reasons(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in reasons.items()) or "none"


def _figures(
    logs: Logs, venue: Venue, endings: Endings, judged: Sequence[Judged], taking: Taking,
) -> dict[str, Any]:
    pnl, account = logs.fold.pnl, venue.account
    vetoes: Counter[str] = Counter()
    for verdict in logs.verdicts:
        vetoes[Cause(verdict.cause).name.lower()] += max(1, verdict.count)
    legs = Counter(item.package.leg_count for item in judged)
    states = Counter(ending.state.name.lower() for ending in endings.orders.values())
    return {
        "books": len(logs.instruments), "orders": len(logs.intents), "fills": pnl.fill_count,
        "books_v2": sum(bool(row.rules & Rule.V2) for row in logs.instruments.values()),
        "orders_v2": sum(
            bool(logs.instruments[intent.instrument].rules & Rule.V2) for intent in logs.intents.values()
            if intent.instrument in logs.instruments),
        "pnl_usd_micro": pnl.pnl_usd_micro, "exchange_pnl_usd_micro": account["pnl_usd_micro"],
        "fees_usd_micro": pnl.fees_usd_micro, "exchange_fees_usd_micro": account["fees_usd_micro"],
        "planted": taking.required, "taken": taking.taken,
        "planted_all": taking.planted_all, "taken_all": taking.taken_all, "untaken_reasons": taking.reasons,
        "untaken": [{"plant": item.plant["id"], "reason": item.reason} for item in taking.untaken],
        "false_positives": sum(item.look is Look.WRONG for item in judged),
        "missed_races": sum(item.is_missed_race for item in judged),
        "packages": len(judged), "packages_by_legs": {str(count): legs[count] for count in sorted(legs)},
        "packages_incomplete": sum(not item.is_whole for item in judged),
        "packages_unjudged": sum(item.look is Look.UNJUDGED for item in judged),
        "orders_by_state": dict(states), "orders_sent": endings.sent_count,
        "orders_refused_unseen": endings.refused_unseen_count, "vetoes": dict(vetoes.most_common()),
        "unknown_unseen": endings.unknown_unseen_count,
        "resumes": len(logs.resumes), "gateway_starts": len(logs.gateway_starts),
        "faults": fault_rows(venue.report, logs),
    }
