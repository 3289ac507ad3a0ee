"""The whole chain in one process and one thread, without sockets: frame bytes in, request bytes out.

`package`: planted mispricings among the flow of many books; the clock runs from the frame that makes a
package possible until the signed request is rendered, with a slice a stage. `quiet`: the same flow without
opportunities, frames a second. Time inside is simulated, so every run writes the same logs: their CRC-32 is
the checksum.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench import harness
from bench.chain_world import CHAIN, ChainWorld
from bench.frames import OPENING_MS, Feed, make
from bench.plants import PlantedFeed, PlantFrames
from pipeline.net.edge import Submit
from pipeline.units import NS_PER_MS

SEED = 17
SPACING_MS = 40
START_NS = OPENING_MS * NS_PER_MS
SLICES = ("decode", "sequence", "book", "detect", "trade", "sign", "submit")


def run(is_smoke: bool) -> dict[str, Any]:
    """Measure; smoke has a few books and packages."""
    books, frames, events, plants, runs = (10, 600, 3, 12, 2) if is_smoke else (500, 100_000, 40, 1_600, 3)
    feed = make(SEED, books, frames)
    figures: dict[str, Any] = {"input": feed.facts, "clock_ns": harness.clock_cost_ns()}
    with harness.pinned(harness.best_cpus(1)[0]):
        figures["package"] = _package(feed, events, plants)
        for batch in (1, 32):
            figures[f"quiet_by_{batch}"] = _quiet(feed, batch, runs)
    figures["frames_per_s"] = figures["quiet_by_32"]["frames_per_s"]["median"]
    figures["checksum"] = figures["package"]["decisions_crc"]
    return harness.record("chain", "python -m bench chain", figures, is_smoke)


# ---------------------------------------------------------------------------- packages


class PackageRun:
    """Plants one after the other, background frames in between; every frame is a read of its own."""

    def __init__(self, world: ChainWorld, feed: Feed) -> None:
        self._world = world
        self._background = _routed(world, feed)
        self._next = 0
        self.slices: dict[str, list[int]] = {name: [] for name in SLICES}
        self.whole: list[int] = []
        self.by_legs: dict[int, list[int]] = {}
        self.request_bytes = 0
        self.below_fees = 0
        self.untaken = self.late = 0

    def plant(self, plant: PlantFrames, at_ns: int, between: int) -> None:
        """Play one plant: background, appear, take, vanish, answer."""
        world = self._world
        world.clock.now_ns = max(world.clock.now_ns, at_ns)
        for _ in range(between):
            _, conn, frame = self._background[self._next % len(self._background)]
            self._next += 1
            world.frame(conn, frame)
            world.turn()
        found: Submit | None = None
        for market, frame in plant.appear:
            if found is None:
                found = self._timed(world.shard_of(market), frame)
            else:
                world.frame(world.shard_of(market), frame)
                world.turn()
        world.clock.now_ns = max(world.clock.now_ns, at_ns + SPACING_MS * NS_PER_MS // 2)
        for market, frame in plant.vanish:
            world.frame(world.shard_of(market), frame)
            world.turn()
        if found is None:
            self.untaken += 1
        else:
            self.below_fees += not plant.clears_fees
            world.answer(found)
        world.step(NS_PER_MS)
        while (late := world.take_request()) is not None:
            # A book whose proof was too old when the plant came was proven by a later frame: a package, late.
            self.late += 1
            self.below_fees += not plant.clears_fees
            world.answer(late)
            world.step(NS_PER_MS)

    def _timed(self, conn: int, frame: bytes) -> Submit | None:
        """One frame through every stage; its times count when a request came out."""
        world, clock = self._world, time.perf_counter_ns
        marks = [clock()]
        world.frame(conn, frame)
        marks.append(clock())
        for name, poll in world.polls:
            poll(256)
            if name != "feed":  # its poll serves rows and requests; it is part of the sequencer's slice here
                marks.append(clock())
        request = world.take_request()
        if request is None:
            return None
        for name, begun, ended in zip(SLICES, marks[:-1], marks[1:], strict=True):
            self.slices[name].append(ended - begun)
        self.whole.append(marks[-1] - marks[0])
        legs = len(world.gateway.in_flight[request.tag].orders)
        self.by_legs.setdefault(legs, []).append(marks[-1] - marks[0])
        self.request_bytes += len(request.data)
        return request


def _package(feed: Feed, events: int, plants: int) -> dict[str, Any]:
    planted = PlantedFeed(SEED, events, OPENING_MS)
    with tempfile.TemporaryDirectory(prefix="pm-bench-") as directory:
        world = ChainWorld(Path(directory), planted.markets + feed.markets, START_NS)
        _open(world, feed)
        for market, frame in planted.opening:
            world.frame(world.shard_of(market), frame)
            world.turn()
        world.step(NS_PER_MS)
        measured = PackageRun(world, feed)
        with harness.quiet_heap():
            first_ms = OPENING_MS + 1_000
            for number, plant in enumerate(planted.plants(plants, first_ms, SPACING_MS)):
                measured.plant(plant, (first_ms + number * SPACING_MS) * NS_PER_MS, between=20)
        counters = world.counters()
        stream, decisions = world.log_checksum("stream"), world.log_checksum("decisions")
        world.close()
    if measured.below_fees or counters["frames_lost"] or counters["fallbacks"]:
        raise SystemExit(f"bench chain: no loss and no package below fees expected, was {counters}")
    whole = harness.percentiles(measured.whole)
    slices = {name: harness.percentiles(times) for name, times in measured.slices.items()}
    return {
        "plants": plants, "untaken": measured.untaken, "late": measured.late, "below_fees_taken": 0,
        "latency_ns": whole,
        "slices_ns": slices, "slices_p50_sum_over_p50": round(
            sum(one["p50"] for one in slices.values()) / max(1, whole["p50"]), 3),
        "by_orders_ns": {
            str(legs): harness.percentiles(times) for legs, times in sorted(measured.by_legs.items())},
        "plants_by_legs": {str(legs): count for legs, count in sorted(planted.legs.items())},
        "request_bytes": measured.request_bytes, "counters": counters,
        "stream_records": stream[0], "stream_crc": f"{stream[1]:08x}", "decision_records": decisions[0],
        "decisions_crc": f"{decisions[1]:08x}",
    }


# ---------------------------------------------------------------------------- quiet flow


def _quiet(feed: Feed, batch: int, runs: int) -> dict[str, Any]:
    """Play the flow as fast as it goes, a turn after `batch` frames as after one read of the socket."""
    taken, found, each = [], [], Counter[str]()
    stages: dict[str, float] = {}
    for number in range(runs + 1):
        with tempfile.TemporaryDirectory(prefix="pm-bench-") as directory:
            world = ChainWorld(Path(directory), feed.markets, START_NS)
            _open(world, feed)
            frames = _routed(world, feed)
            with harness.quiet_heap():
                if number < runs:
                    taken.append(_play(world, frames, batch))
                else:
                    each = _play_timed(world, frames, batch)
            counters = world.counters()
            found.append((counters["frames"], counters["frames_lost"], world.log_checksum("stream")))
            world.close()
    stages = {name: round(each[name] / len(feed.frames), 1) for name in ("on_frame", *CHAIN)}
    counts = harness.checked("stream", found)
    return {
        **harness.spent_figures("frame", len(feed.frames), taken),
        "ns_per_frame_by_stage": stages, "frames": counts[0], "lost": counts[1],
        "stream_records": counts[2][0], "stream_crc": f"{counts[2][1]:08x}"}


def _open(world: ChainWorld, feed: Feed) -> None:
    """Give every generated book its first snapshot."""
    for market, frame in zip(feed.markets, feed.opening, strict=False):
        world.frame(world.shard_of(market), frame)
        world.turn()
    world.step(NS_PER_MS)


def _routed(world: ChainWorld, feed: Feed) -> list[tuple[int, int, bytes]]:
    """Return (time, socket, frame) of the flow."""
    conns = {market.condition.encode(): world.shard_of(market) for market in feed.markets}
    found = []
    for at_ns, frame in zip(feed.at_ns, feed.frames, strict=True):
        start = frame.index(b'"0x') + 1
        conn = conns[frame[start : frame.index(b'"', start)]]
        found.append((START_NS + at_ns + 10 * NS_PER_MS, conn, frame))
    return found


def _play(world: ChainWorld, frames: list[tuple[int, int, bytes]], batch: int) -> harness.Watch:
    on_frame, turn, clock = world.frame, world.turn, world.clock
    with harness.Watch() as watch:
        for first in range(0, len(frames), batch):
            for at_ns, conn, frame in frames[first : first + batch]:
                clock.now_ns = at_ns
                if not on_frame(conn, frame):
                    raise SystemExit("bench chain: room for every frame expected, was none")
            while turn():
                pass
    return watch


def _play_timed(world: ChainWorld, frames: list[tuple[int, int, bytes]], batch: int) -> Counter[str]:
    """The same with a clock around every stage; its own run, since the clocks cost."""
    clock, found = time.perf_counter_ns, Counter[str]()
    for first in range(0, len(frames), batch):
        begun = clock()
        for at_ns, conn, frame in frames[first : first + batch]:
            world.clock.now_ns = at_ns
            world.frame(conn, frame)
        done = 1
        ended = clock()
        found["on_frame"] += ended - begun
        while done:
            done = 0
            for name, poll in world.polls:
                begun = ended
                done += poll(256)
                ended = clock()
                found[name] += ended - begun
    return found
