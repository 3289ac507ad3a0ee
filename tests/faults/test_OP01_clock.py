"""OP01: our clock or the venue's is wrong, jumps or drifts: halts follow the ladder, deadlines do not move.

The account's questions and the guard's watch run in simulated time against a venue whose clock is set by the
test; the true offset is known at each moment, the halt is compared with the ladder of faults.md.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.kinds import Cause, HaltLevel
from pipeline.net.edge import Ask, Outbox
from pipeline.run.halts import SupervisorHalts
from pipeline.run.spec import anchored_clock
from pipeline.run.venue_watch import VenueWatch
from pipeline.shm import halt
from pipeline.shm.halt import HaltPage
from pipeline.shm.status import PAGE_BYTES, StatusPage, StatusView, format_page
from pipeline.stages.health import HealthSettings, VenueHealth
from pipeline.stages.stage import Counts
from pipeline.venues.polymarket.auth import L2Auth, Secret
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

SECOND, MS, HOUR = 10**9, 10**6, 3_600 * 10**9
START_NS = 1_790_000_000 * SECOND
EVERY_S, CLEAR_S = 60, 30
STEP_NS = 20 * MS
ERROR_NS = 60 * MS  # what a measurement may be off by


class World:
    """An account's questions, a venue with a clock of its own, the guard's watch; one simulated time."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.rng = rng
        self.now_ns = START_NS
        self.offset_ns = 0  # venue time minus ours, the truth
        self.version = 2  # of orders, by default
        self.asked = 0
        self._pending: list[tuple[int, int, bytes]] = []  # when an answer comes, tag, body
        memory = bytearray(PAGE_BYTES)
        format_page(memoryview(memory), "gateway")
        self.page = StatusPage(memoryview(memory))
        settings = HealthSettings("main", "https://venue.example", "", EVERY_S * SECOND)
        self.outbox = Outbox()
        auth = L2Auth("0x" + "11" * 20, "key", Secret(b"s"), Secret(b"p"))
        self.health = VenueHealth(settings, auth, self.outbox, Counts(self.page))
        halt.create(folder)
        self.halt_page = HaltPage(folder, "supervisor")
        self.halts = SupervisorHalts(self.halt_page, lambda: self.now_ns)
        self.watch = VenueWatch(
            StatusView(memoryview(memory)), ["main"], self.halts, self.tell, CLEAR_S)

    def tell(self, level: str, event: str, **fields: object) -> None:
        """Take an event as the supervisor does."""

    def run(self, duration_ns: int, drift_ppm: int = 0) -> None:
        """Let time pass; drift_ppm: how much faster the venue's clock runs than ours."""
        end_ns = self.now_ns + duration_ns
        while self.now_ns < end_ns:
            self.now_ns += STEP_NS
            self.offset_ns += STEP_NS * drift_ppm // 1_000_000
            due, self._pending = (
                [one for one in self._pending if one[0] <= self.now_ns],
                [one for one in self._pending if one[0] > self.now_ns])
            for _, tag, body in due:
                self.health.on_answer(self.now_ns, tag, 200, body)
            self.health.on_timer(self.now_ns)
            while isinstance(ask := self.outbox.take(), Ask):
                self._answer(ask)
            self.watch.look(self.now_ns)

    def _answer(self, ask: Ask) -> None:
        self.asked += 1
        read_ns = self.now_ns + self.rng.randint(1, 15) * MS
        body = b'{"closed_only":false}'
        if ask.target == "/time":
            body = str((read_ns + self.offset_ns) // SECOND).encode()
        elif ask.target == "/version":
            body = b'{"version":%d}' % self.version
        self._pending.append((read_ns + self.rng.randint(1, 15) * MS, ask.tag, body))

    def resume(self) -> None:
        """Do what `pm resume` does to the page."""
        with_operator = HaltPage(self.halt_page.path.parent, "operator")
        with_operator.put(HaltLevel.H0, now_ns=self.now_ns, reason="resumed")
        with_operator.close()
        self.halts.follow_operator()

    def close(self) -> None:
        self.halt_page.close()


def ladder(offset_ns: int) -> HaltLevel:
    """Return what faults.md asks for: H1 at 1 s, H3 at 5 s."""
    skew_ns = abs(offset_ns)
    return HaltLevel.H3 if skew_ns >= 5 * SECOND else HaltLevel.H1 if skew_ns >= SECOND else HaltLevel.H0


def test_OP01_jumps_halt_by_the_ladder(tmp_path: Path, gate_record: Callable[..., None]) -> None:
    """After each jump up to 1 h either way the halt is the ladder's in two checks, and clears as it may."""
    seed = fresh_seed()
    rng = random.Random(seed)
    count = figure("OP01", "jumps")
    edges = [sign * base for sign in (1, -1) for base in (HOUR, 5_100 * MS, 4_900 * MS, 1_100 * MS, 900 * MS)]
    for number in range(count):
        folder = tmp_path / str(number)
        folder.mkdir()
        world = World(folder, rng)
        world.run(30 * SECOND)
        assert HaltLevel.H0 == world.halts.level
        jump_ns = edges[number] if number < len(edges) else rng.randint(-7 * SECOND, 7 * SECOND)
        if abs(abs(jump_ns) - SECOND) < ERROR_NS or abs(abs(jump_ns) - 5 * SECOND) < ERROR_NS:
            jump_ns += 2 * ERROR_NS
        world.offset_ns = jump_ns
        world.run((2 * EVERY_S + 10) * SECOND)
        assert ladder(jump_ns) == world.halts.level_of(Cause.CLOCK_SKEW), f"seed {seed}, jump {jump_ns}"
        world.offset_ns = 0
        world.run((2 * EVERY_S + CLEAR_S + 10) * SECOND)
        if ladder(jump_ns) == HaltLevel.H3:  # only an operator lifts it
            assert HaltLevel.H3 == world.halts.level, f"seed {seed}, jump {jump_ns}"
            world.resume()
        assert HaltLevel.H0 == world.halts.level, f"seed {seed}, jump {jump_ns}"
        world.close()
    gate_record("OP01", "jumps", count, seed)


def test_OP01_drift_is_seen_before_it_harms(tmp_path: Path, gate_record: Callable[..., None]) -> None:
    """At 10 s an hour H1 comes within a check of the second that it means, H3 within one of five."""
    seed = fresh_seed()
    rng = random.Random(seed)
    minutes = figure("OP01", "drift_minutes")
    world = World(tmp_path, rng)
    drift_ppm = 10 * 1_000_000 // 3_600
    per_check_ns = (EVERY_S + 10) * SECOND * drift_ppm // 1_000_000 + ERROR_NS
    for _ in range(minutes):
        world.run(60 * SECOND, drift_ppm)
        lowest, highest = ladder(world.offset_ns - per_check_ns), ladder(world.offset_ns + ERROR_NS)
        assert lowest <= world.halts.level <= highest, f"seed {seed}, {world.offset_ns / SECOND} s off"
    assert HaltLevel.H3 == world.halts.level
    assert world.asked <= 12 * minutes + 24  # the clock's ten and the closed-only question a minute
    world.close()
    gate_record("OP01", "drift_minutes", minutes, seed)


def test_OP01_deadlines_do_not_follow_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's clock goes on by monotonic time, whatever is done to the wall clock after its anchor."""
    clock = anchored_clock(START_NS, time.monotonic_ns())
    before_ns = clock()
    for hours in (1, -1, 1_000):
        monkeypatch.setattr(time, "time_ns", lambda h=hours: START_NS + h * HOUR)
        now_ns = clock()
        assert 0 <= now_ns - before_ns < 60 * SECOND
        before_ns = now_ns
