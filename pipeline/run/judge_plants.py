"""Which planted mispricings were taken, and why the others were not.

Reads the exchange's journal of plants, the judged packages, and our verdicts; writes a `Taking`. A plant
meets a package by the markets of its legs, the token that its kind is bought with, and time: an event
carries one plant at a time, and both sides run on one host's clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.kinds import Cause, OrderState, Outcome
from pipeline.run.judge_books import Judged, short_legs
from pipeline.run.judge_logs import Logs, Venue
from pipeline.run.judge_orders import Endings, Filled
from pipeline.units import NS_PER_MS, NS_PER_S, NS_PER_US, PPM

LIFE_NS_MIN = 50 * NS_PER_MS  # of a plant that must be taken
SETTLE_NS = 250 * NS_PER_MS  # after a plant's end nothing new is planted in its event for this long
VERDICT_NS = NS_PER_S + 100 * NS_PER_MS  # repeats of a verdict are told once a second
TAKEN_SHARE_MIN_PPM = 950_000
FREEZE_SEEN_NS = 5 * NS_PER_S  # MD01: a busy socket's freeze is found so soon
RECOVERED_NS = 5 * NS_PER_S  # OR03: so soon behind a fault we trade again
HARMLESS = ("settlement", "tick")  # kinds of faults that keep nobody from taking
TOKEN_OF = {"buy_all_yes": Outcome.YES, "buy_no_set": Outcome.NO}


@dataclass(slots=True)
class Untaken:
    """A plant that had to be taken and was not; `reason` "" = nothing in the logs says why."""

    plant: dict[str, Any]
    reason: str

    @property
    def window(self) -> tuple[int, int]:
        """Stream time from its first frame to the end of its event's settle time."""
        return self.plant["t_start_ns"], (self.plant["t_end_ns"] or self.plant["t_start_ns"]) + SETTLE_NS


@dataclass(slots=True)
class Taking:
    """Counts over the journal. Required: lived at least 50 ms and cleared fees by a tick step or more."""

    planted_all: int = 0
    taken_all: int = 0
    required: int = 0
    taken: int = 0
    untaken: list[Untaken] = field(default_factory=list)

    @property
    def is_enough(self) -> bool:
        """Tell whether at least 95 % of the required plants were taken."""
        return self.taken * PPM >= self.required * TAKEN_SHARE_MIN_PPM

    @property
    def reasons(self) -> dict[str, int]:
        """Return the reasons of the untaken, most frequent first; details in brackets are left out."""
        found = Counter(item.reason.partition(" (")[0] or "unexplained" for item in self.untaken)
        return dict(found.most_common())


def is_required(plant: dict[str, Any]) -> bool:
    """A plant counts when it was meant for at least 50 ms, had them, and pays by a whole tick step.

    One that we took early lived as long as we let it; one that the end of the run cut short did not.
    """
    if plant["clears_fees_by_ticks"] < 1 or plant["life_ns"] < LIFE_NS_MIN or plant["end"] == "running":
        return False
    return bool(plant["end"] == "taken" or plant["t_end_ns"] - plant["t_start_ns"] >= LIFE_NS_MIN)


def outage_times(report: dict[str, Any]) -> list[tuple[int, int]]:
    """Return (from, until) in ns of the times when modes or planted faults kept us from taking.

    Each ends with the time that we have to recover; what is not taken later counts against us.
    """
    modes = report.get("modes", [])
    ends = [since_ns for since_ns, _ in modes[1:]] + [report["now_ns"]]
    times = [
        (since_ns, until_ns)
        for (since_ns, mode), until_ns in zip(modes, ends, strict=False) if mode != "running"]
    for fault in report.get("faults", []):
        if fault["begun_ns"] and fault["kind"] not in HARMLESS:
            until_ns = fault["ended_ns"] or report["now_ns"]
            if fault["kind"] == "freeze":  # it lasts until we see it ourselves
                until_ns = min(until_ns, fault["begun_ns"] + FREEZE_SEEN_NS)
            times.append((fault["begun_ns"], until_ns))
    return [(since_ns, until_ns + RECOVERED_NS) for since_ns, until_ns in times]


def match_plants(
    logs: Logs, venue: Venue, judged: Sequence[Judged], endings: Endings, filled: dict[int, Filled],
    outages: Sequence[tuple[int, int]] = (),
) -> Taking:
    """Return what was taken, and for each required plant that was not the reason our log gives.

    outages: (from, until) in ns; a plant that lived in one of them, even in part, need not be taken.
    """
    taking = Taking()
    packages = _by_plant(venue, judged)
    verdicts = verdicts_by_event(logs)
    for plant in venue.report["plants"]:
        own = packages.get(plant["id"], [])
        is_taken, counts = any(item.is_whole for item in own), is_required(plant)
        counts = counts and not any(
            plant["t_start_ns"] <= until_ns and plant["t_end_ns"] >= from_ns for from_ns, until_ns in outages)
        taking.planted_all += 1
        taking.taken_all += is_taken
        taking.required += counts
        taking.taken += counts and is_taken
        if counts and not is_taken:
            reason = _of_packages(plant, own, logs, endings, filled) or veto_of(plant, logs, verdicts)
            taking.untaken.append(Untaken(plant, reason))
    return taking


def _by_plant(venue: Venue, judged: Sequence[Judged]) -> dict[int, list[Judged]]:
    """Return each plant's packages: same markets, right token, caused after it was planted."""
    plants_of: dict[str, list[dict[str, Any]]] = {}
    for plant in sorted(venue.report["plants"], key=lambda row: row["t_start_ns"]):
        plants_of.setdefault(plant["event_id"], []).append(plant)
    starts = {
        event: [plant["t_start_ns"] // NS_PER_MS for plant in plants] for event, plants in plants_of.items()}
    found: dict[int, list[Judged]] = {}
    for item in judged:
        if not item.legs:
            continue
        event = venue.markets[item.legs[0].condition]["event_id"]
        place = bisect_right(starts.get(event, []), item.package.cause_venue_ns // NS_PER_MS) - 1
        if place < 0:
            continue
        plant = plants_of[event][place]
        conditions = {leg["condition"] for leg in plant["legs"]}
        token = TOKEN_OF.get(plant["kind"])
        if all(leg.condition in conditions and leg.outcome == token for leg in item.legs):
            found.setdefault(plant["id"], []).append(item)
    return found


def _of_packages(
    plant: dict[str, Any], own: Sequence[Judged], logs: Logs, endings: Endings, filled: dict[int, Filled],
) -> str:
    """Return why packages did not take the plant; "" when there was none."""
    for item in own:
        for order_no in short_legs(item, logs, filled):
            ending = endings.orders[order_no]
            name = f"(package {item.package.group_no}, {logs.name(order_no)})"
            if ending.state in (OrderState.UNSENT, OrderState.DRY):
                return f"not sent: {Cause(ending.cause).name.lower()} {name}"
            late_ns = ending.arrival_ns - plant["t_end_ns"]
            if plant["end"] != "taken" and ending.arrival_ns and late_ns >= 0:
                late_us = late_ns // NS_PER_US
                return (
                    f"missed race: withdrawn before arrival ({late_us} us, package {item.package.group_no})")
            if ending.error or ending.state == OrderState.REJECTED:
                return f"refused: {ending.error or ending.text or 'no reason told'} {name}"
            return f"filled in part {name}"
    return ""


def verdicts_by_event(logs: Logs) -> dict[int, list[Any]]:
    """Return trade's verdicts by event row, in log order."""
    found: dict[int, list[Any]] = {}
    for verdict in logs.verdicts:
        found.setdefault(verdict.event, []).append(verdict)
    return found


def veto_of(plant: dict[str, Any], logs: Logs, verdicts: dict[int, list[Any]]) -> str:
    """Return the most frequent veto of the plant's event while it lived; "" when there was none."""
    start_ns, end_ns = plant["t_start_ns"], plant["t_end_ns"] + VERDICT_NS
    causes: Counter[int] = Counter()
    for event in logs.events_of(leg["condition"] for leg in plant["legs"]):
        for verdict in verdicts.get(event, ()):
            if start_ns <= verdict.now_ns <= end_ns:
                causes[verdict.cause] += max(1, verdict.count)
    if not causes:
        return ""
    cause = Cause(causes.most_common(1)[0][0])
    if cause == Cause.GROUP_BUSY:
        return "busy: a package of this basket was open"
    return f"vetoed: {cause.name.lower()}"
