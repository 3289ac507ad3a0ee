"""The verdict of a run as figures and as a text that a newcomer can read.

Pure: reads figures and latency histograms, writes dicts and lines of at most 96 columns.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.run.judge_faults import fault_lines
from pipeline.shm.status import LATENCIES, Latency
from pipeline.units import usd_text

STAGES = LATENCIES[:-1]
WHOLE = LATENCIES[-1]
#: Two and three legs also together: that is what the project's bar is about.
BY_LEGS = {legs: f"{WHOLE}_{legs}" for legs in ("1", "2", "3", "2-3", "many")}
GAP_SHARE_MAX = 5  # the stages' medians add up to the whole within 1/5 of it
COLUMNS = 96
PROBLEMS_SHOWN = 8
REASONS_SHOWN = 4
_NOTHING = Latency(0, 0, 0, 0, ())


class Memory(NamedTuple):
    """Memory of a process in bytes; `own` is without what is mapped: pages of log files come and go."""

    rss: int
    own: int


@dataclass(frozen=True, slots=True)
class LaneFigures:
    """One lane over the run: memory early and late; its loop's turns."""

    first: Memory
    last: Memory
    turn: Latency


def percentiles(latency: Latency) -> dict[str, int]:
    """Return p50, p99, p999 and max in ns, and the count."""
    p50, p99, p999 = latency.percentiles((0.5, 0.99, 0.999))
    return {"p50": p50, "p99": p99, "p999": p999, "max": latency.max_ns, "count": latency.count}


def latency_figures(latencies: Mapping[str, Latency]) -> dict[str, Any]:
    """Return the percentiles of each stage and of tick to order, the latter also by leg count."""
    figures: dict[str, Any] = {name: percentiles(latencies.get(name, _NOTHING)) for name in LATENCIES}
    figures[WHOLE]["by_legs"] = {
        legs: percentiles(latencies[name]) for legs, name in BY_LEGS.items()
        if name in latencies and latencies[name].count}
    return figures


def latency_gap_ns(figures: Mapping[str, Any]) -> int:
    """Return the median of the whole less the sum of the stages' medians."""
    return int(figures[WHOLE]["p50"]) - sum(int(figures[name]["p50"]) for name in STAGES)


def is_gap_large(figures: Mapping[str, Any]) -> bool:
    """Tell whether the stages' medians miss the whole's by more than 20 %."""
    return abs(latency_gap_ns(figures)) * GAP_SHARE_MAX > int(figures[WHOLE]["p50"])


def report_lines(figures: Mapping[str, Any], why_nothing: Sequence[str], is_max_speed: bool) -> list[str]:
    """Return the report: what happened, whether it adds up, money, plants, latency, what to do next."""
    lines = ["", "What happened"]
    flow = ", ".join(figures["feeds"]) or "the built-in generator"
    mode = ", dry: nothing was sent" if figures["dry"] else ""
    lines += _wrapped(
        f"{figures['seconds']:.0f} s of {flow} at speed {figures['speed']}, "
        f"topology {figures['topology']}{mode}; steal {figures['steal_ticks'] / 100:.2f} s")
    lines += _wrapped(
        f"{figures['frames']:,} frames ({figures['frames_per_s']:,.0f}/s), {figures['books']} books; "
        f"{figures['fallbacks']} by the slow decoder ({figures['fallback_ppm'] / 10_000:.3f} %), "
        f"{figures['frames_rejected']} rejected with a cause, {figures['dropped']} dropped")
    lines += _wrapped(
        f"{figures['ideas']} ideas, {figures.get('packages', 0)} packages"
        f"{_by_legs(figures.get('packages_by_legs', {}))}, "
        f"{figures['orders']} orders{_on_v2(figures)}, {figures['fills']} fills")
    if not figures["orders"]:
        lines += _wrapped("nothing traded: " + ("; ".join(why_nothing) or "no reason told"))
    lines += ["", "Does it add up"]
    lines += _agreements(figures)
    lines += ["", "Planted mispricings"]
    lines += _plants(figures, is_max_speed)
    if figures.get("faults"):
        lines += ["", *fault_lines(figures["faults"])]
    lines += ["", *latency_lines(figures["latency_ns"])]
    if figures["lanes"]:
        lines += ["", *lane_lines(figures["lanes"])]
    lines += ["", *_verdict(figures)]
    return lines


def _on_v2(figures: Mapping[str, Any]) -> str:
    """Say how many orders went to markets of the newer protocol, where the run had such books."""
    return f" ({figures.get('orders_v2', 0)} of them on v2 markets)" if figures.get("books_v2") else ""


def _agreements(figures: Mapping[str, Any]) -> list[str]:
    counts = figures["problem_counts"]
    ours, theirs = figures["pnl_usd_micro"], figures["exchange_pnl_usd_micro"]
    rows = [
        ("frames", "frames" not in counts,
         (f"{figures['frames_accepted']:,} accepted by the exchange's kernel, "
          f"{figures['dropped']} unaccounted for")),
        ("orders", not {"orders", "open orders", "duplicates"} & counts.keys(),
         (f"{figures['orders']} in our log, {figures.get('orders_sent', 0)} sent, "
          f"each looked up at the exchange{'' if 'duplicates' in counts else ', none there twice'}")),
        ("fills", "fills" not in counts,
         f"{figures['fills']} compared with the exchange's trades, fees recomputed"),
        ("money", not {"money", "resolution", "logs"} & counts.keys(),
         f"PnL {usd_text(ours)} USD by our two logs, {usd_text(theirs)} USD by the exchange's ledger"),
        ("packages", "false positives" not in counts,
         f"{figures['false_positives']} never right, {figures.get('missed_races', 0)} missed races, "
         f"{figures.get('packages_incomplete', 0)} incomplete"
         + (f", {figures['packages_unjudged']} unjudged" if figures.get("packages_unjudged") else "")),
    ]
    return [f"  {'yes' if is_good else 'NO':<4}{name:<10}{text}" for name, is_good, text in rows]


def _plants(figures: Mapping[str, Any], is_max_speed: bool) -> list[str]:
    planted, taken = figures["planted"], figures["taken"]
    share = f" = {100 * taken / planted:.1f} %" if planted else ""
    rule = "reported only, at full speed" if is_max_speed else "95 % asked"
    lines = _wrapped(
        f"{taken} taken of {planted} that live 50 ms and clear fees{share} ({rule}); "
        f"{figures.get('taken_all', 0)} of all {figures.get('planted_all', 0)}")
    reasons = list(figures.get("untaken_reasons", {}).items())
    lines += [f"  {count:>6}  {reason}"[:COLUMNS] for reason, count in reasons[:REASONS_SHOWN]]
    rest = sum(count for _, count in reasons[REASONS_SHOWN:])
    return lines + ([f"  {rest:>6}  for other reasons (see untaken_reasons in the JSON)"] if rest else [])


def latency_lines(figures: Mapping[str, Any]) -> list[str]:
    """Return the table of latencies in microseconds, and the gap when the stages do not add up."""
    lines = [f"{'Latency, us':<18}{'p50':>10}{'p99':>10}{'p99.9':>10}{'max':>12}{'count':>10}"]
    rows = [(name, figures[name]) for name in LATENCIES]
    for legs, row in figures[WHOLE]["by_legs"].items():
        rows.append((f"  of {legs} leg{'' if legs == '1' else 's'}", row))
    for name, row in rows:
        numbers = [row[key] / 1_000 for key in ("p50", "p99", "p999")]
        lines.append(f"{name:<18}" + "".join(f"{number:>10.1f}" for number in numbers)
                     + f"{row['max'] / 1_000:>12.1f}{row['count']:>10}")
    if is_gap_large(figures):
        lines.append(f"gap: the stages' medians miss the whole's by {latency_gap_ns(figures) / 1_000:.1f} us")
    return lines


def lane_figures(lanes: Mapping[str, LaneFigures]) -> dict[str, Any]:
    """Return each lane's resident memory and the percentiles of its turns."""
    return {
        name: {"rss_bytes_first": lane.first.rss, "rss_bytes_last": lane.last.rss,
               "own_bytes_first": lane.first.own, "own_bytes_last": lane.last.own,
               "turn_ns": percentiles(lane.turn)}
        for name, lane in lanes.items()}


def lane_lines(lanes: Mapping[str, Any]) -> list[str]:
    """Return the table of the lanes: memory early and late, and how long a turn of the loop takes."""
    memory = f"{'RSS early':>11}{'late':>8}{'own early':>11}{'late, MB':>10}"
    lines = [f"{'Lanes':<12}{memory}{'turn p50':>10}{'p99':>9}{'p99.9, us':>11}"]
    for name, lane in lanes.items():
        turn = lane["turn_ns"]
        lines.append(
            f"{name:<12}{lane['rss_bytes_first'] / 1e6:>11.1f}{lane['rss_bytes_last'] / 1e6:>8.1f}"
            f"{lane['own_bytes_first'] / 1e6:>11.1f}{lane['own_bytes_last'] / 1e6:>10.1f}"
            f"{turn['p50'] / 1e3:>10.1f}{turn['p99'] / 1e3:>9.1f}{turn['p999'] / 1e3:>11.1f}")
    return lines


def _verdict(figures: Mapping[str, Any]) -> list[str]:
    problems = figures["problems"]
    if not problems:
        return [
            "Verdict: all of it adds up (exit 0)", "Next: --json FILE keeps the figures, --keep DIR the logs"]
    plural = "" if len(problems) == 1 else "s"
    lines = [f"Verdict: {len(problems)} problem{plural} (exit {figures['exit_code']})"]
    for problem in problems[:PROBLEMS_SHOWN]:
        lines += _wrapped(problem, "- ")
    if len(problems) > PROBLEMS_SHOWN:
        lines.append(f"  and {len(problems) - PROBLEMS_SHOWN} more: problems in the JSON")
    return [*lines, "Next: run again with --keep DIR, then pm inspect DIR/state/logs/decisions (or stream)"]


def _by_legs(by_legs: Mapping[str, int]) -> str:
    told = ", ".join(f"{count} of {legs} legs" for legs, count in by_legs.items())
    return f" ({told})" if told else ""


def _wrapped(text: str, mark: str = "") -> list[str]:
    indent = "  " + " " * len(mark)
    return textwrap.wrap(
        text, COLUMNS, initial_indent="  " + mark, subsequent_indent=indent, break_on_hyphens=False)
