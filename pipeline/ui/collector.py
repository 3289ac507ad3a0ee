"""The run's metrics, made anew at each scrape from what stands in shared memory and files.

Reads what ui/looks reads; gives prometheus_client its families, all of ui/families each time. A lane, a page
or a file that is gone never raises: that lane is not up, and what it would have said is left out.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

import pipeline
from pipeline.kinds import OrderState
from pipeline.records import LAYOUT_VERSION
from pipeline.shm import halt, memory
from pipeline.shm.status import TURN, Latency
from pipeline.ui import looks
from pipeline.ui.buckets import cumulative
from pipeline.ui.families import ALWAYS, BY_NAME, FAMILIES, READERS, Counted, Family, counted, zeros
from pipeline.ui.looks import LaneLook, RunFacts
from pipeline.units import MICRO, NS_PER_S

Metric = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
Value = float | Latency
#: Owners of the halt page that are always shown; the others only while they ask for a level.
OWNERS_SHOWN = ("operator", "supervisor", "trade", "web", "alert")
_ORDER_STATES = [state for state in OrderState if state != OrderState.CANCEL_REFUSED]  # of reports only
_WHOLE, _BY_LEGS = "tick_to_order", "tick_to_order_"
_LEGS_SUMMED = "2-3"  # a sum of others


class RunCollector(Collector):
    """Collects one run. observer: lane and stage under which everything stands that observe looks at."""

    def __init__(self, run: RunFacts, observer: tuple[str, str]) -> None:
        self._run = run
        self._observer = observer
        self._turn = threading.Lock()  # one look at a time, however many ask

    def describe(self) -> Iterator[Metric]:
        """Give every family without a value: for a scrape that asks by name."""
        return map(_empty, FAMILIES)

    def collect(self) -> Iterator[Metric]:
        """Look at the run and give every family; one that has nothing to say has no series."""
        with self._turn:
            sheet = _Sheet()
            self._put_run(sheet)
            lanes = [looks.look_at_lane(self._run, name) for name in self._run.lanes]
            for lane in lanes:
                self._put_lane(sheet, lane)
            self._put_supervisor(sheet)
            self._put_lag(sheet, lanes)
            self._put_rings(sheet)
            self._put_books(sheet)
            self._put_summary(sheet)
        return sheet.metrics()

    def _put_run(self, sheet: _Sheet) -> None:
        sheet.put(
            "pm_build_info", self._observer, 1, pipeline.__version__, str(LAYOUT_VERSION),
            f"{memory.build_id():016x}", platform.python_version())
        level, entries, _ = halt.effective(self._run.state_dir)
        sheet.put("pm_halt_level", self._observer, int(level))
        owners = dict.fromkeys(OWNERS_SHOWN, 0) | {entry.owner: int(entry.level) for entry in entries}
        for owner, wanted in owners.items():
            sheet.put("pm_halt_owner_level", self._observer, wanted, owner)

    def _put_lane(self, sheet: _Sheet, look: LaneLook) -> None:
        own = (look.name, "")
        sheet.put("pm_lane_up", own, int(look.is_up))
        sheet.put("pm_lane_turns_total", own, look.turns)
        sheet.put("pm_lane_start_time_seconds", own, look.since_ns / NS_PER_S)
        if process := look.process:
            sheet.put("pm_lane_cpu_seconds_total", own, process.cpu_s)
            sheet.put("pm_lane_resident_memory_bytes", own, process.resident_bytes)
            for kind, count in (("voluntary", process.voluntary), ("involuntary", process.involuntary)):
                sheet.put("pm_lane_context_switches_total", own, count, kind)
        for stage, (begun, ended) in look.polls.items():
            sheet.put("pm_stage_polls_total", (look.name, stage), ended)
            sheet.put("pm_stage_in_poll", (look.name, stage), int(begun > ended))
        stages = self._run.lanes.get(look.name, ())
        for fed in zeros({stage.partition(".")[0] for stage in stages}) if stages and look.since_ns else ():
            self._put_counter(sheet, look.name, fed, fed.label, 0)
        for name, count in look.counters.items():
            if found := counted(name):
                self._put_counter(sheet, look.name, *found, count)
        for name, latency in look.latencies.items():
            self._put_latency(sheet, look.name, name, latency)

    def _put_counter(self, sheet: _Sheet, lane: str, fed: Counted, label: str, count: int) -> None:
        labels = [label] if BY_NAME[fed.family].labels else []
        sheet.put(fed.family, (lane, self._stage_of(lane, fed.stage)), count * fed.scale, *labels)

    def _put_latency(self, sheet: _Sheet, lane: str, name: str, latency: Latency) -> None:
        at = (lane, self._stage_of(lane, "gateway"))
        legs = name.removeprefix(_BY_LEGS)
        if name == _WHOLE:
            sheet.put("pm_tick_to_order_seconds", at, latency)
        elif name == TURN:
            sheet.put("pm_lane_turn_seconds", (lane, ""), latency)
        elif legs == name:
            sheet.put("pm_step_seconds", at, latency, name)
        elif legs != _LEGS_SUMMED:
            sheet.put("pm_tick_to_order_by_legs_seconds", at, latency, legs)

    def _stage_of(self, lane: str, kind: str) -> str:
        """Return the lane's stage of this kind; the kind itself when the lane has several, they count as one.

        A kind that the lane does not have is a counter of the lane's own.
        """
        found = [stage for stage in self._run.lanes.get(lane, ()) if stage.partition(".")[0] == kind]
        return found[0] if len(found) == 1 else kind if found else ""

    def _put_supervisor(self, sheet: _Sheet) -> None:
        look = looks.look_at_lane(self._run, looks.SUPERVISOR)
        restarts = {name.removeprefix(looks.RESTARTS): count for name, count in look.counters.items()
                    if name.startswith(looks.RESTARTS)}
        for lane in self._run.lanes:
            sheet.put("pm_restarts_total", (lane, ""), restarts.get(lane, 0))
        lease_ns = looks.lease_age_ns(self._run)
        if lease_ns is not None:
            sheet.put("pm_lease_age_seconds", (looks.SUPERVISOR, ""), lease_ns / NS_PER_S)
        if look.since_ns:
            look.counters = {}
            self._put_lane(sheet, look)

    def _put_lag(self, sheet: _Sheet, lanes: Sequence[LaneLook]) -> None:
        end = max((look.counters.get("sequencer_position", 0) for look in lanes), default=0)
        for look in lanes:
            for kind in READERS:
                if (position := look.counters.get(f"{kind}_position")) is not None:
                    at = (look.name, self._stage_of(look.name, kind))
                    sheet.put("pm_stream_lag_records", at, max(0, end - position))

    def _put_rings(self, sheet: _Sheet) -> None:
        for ring, found in looks.look_at_rings(self._run).items():
            at = self._run.rings[ring]
            sheet.put("pm_ring_depth_records", at, found.depth, ring)
            sheet.put("pm_ring_capacity_records", at, found.capacity, ring)

    def _put_books(self, sheet: _Sheet) -> None:
        at = self._place_of("book")
        for state, count in (looks.count_books(self._run) or {}).items():
            sheet.put("pm_books", at, count, state)

    def _place_of(self, kind: str) -> tuple[str, str]:
        for lane, stages in self._run.lanes.items():
            for stage in stages:
                if stage.partition(".")[0] == kind:
                    return lane, stage
        return self._observer

    def _put_summary(self, sheet: _Sheet) -> None:
        summary = looks.read_summary(self._run)
        if not summary:
            return
        sheet.put("pm_observed_time_seconds", self._observer, _number(summary, "now_ns") / NS_PER_S)
        states = _table(summary, "orders_by_state")
        for state in _ORDER_STATES:
            sheet.put("pm_orders", self._observer, states.get(state.name.lower(), 0), state.name.lower())
        sheet.put("pm_fills_total", self._observer, _number(summary, "fills"))
        sheet.put("pm_fees_usd_total", self._observer, _number(summary, "fees_usd_micro") / MICRO)
        sheet.put("pm_cash_usd", self._observer, _number(summary, "cash_usd_micro") / MICRO)
        sheet.put("pm_open_markets", self._observer, _number(summary, "open_rows"))
        for cause, count in _table(summary, "refused").items():
            sheet.put("pm_refusals_total", self._place_of("trade"), count, cause)


def _number(summary: Mapping[str, Any], name: str) -> float:
    found = summary.get(name, 0)
    return found if isinstance(found, int | float) else 0


def _table(summary: Mapping[str, Any], name: str) -> dict[str, float]:
    found = summary.get(name)
    return {key: value for key, value in found.items() if isinstance(value, int | float)} if isinstance(
        found, dict) else {}


def _empty(family: Family) -> Metric:
    labels = [*ALWAYS, *family.labels]
    if family.type == "counter":
        return CounterMetricFamily(family.name, family.meaning, labels=labels)
    if family.type == "histogram":
        return HistogramMetricFamily(family.name, family.meaning, labels=labels)
    return GaugeMetricFamily(family.name, family.meaning, labels=labels)


class _Sheet:
    """Values by family and labels; a second value at the same place replaces the first."""

    def __init__(self) -> None:
        self._values: dict[str, dict[tuple[str, ...], Value]] = {family.name: {} for family in FAMILIES}

    def put(self, family: str, at: tuple[str, str], value: Value, *labels: str) -> None:
        self._values[family][(*at, *labels)] = value

    def metrics(self) -> Iterator[Metric]:
        for family in FAMILIES:
            metric = _empty(family)
            for labels, value in self._values[family.name].items():
                if isinstance(metric, HistogramMetricFamily) and isinstance(value, Latency):
                    buckets, sum_s = cumulative(value)
                    metric.add_metric(labels, buckets, sum_s)
                elif not isinstance(metric, HistogramMetricFamily) and not isinstance(value, Latency):
                    metric.add_metric(labels, value)
            yield metric
