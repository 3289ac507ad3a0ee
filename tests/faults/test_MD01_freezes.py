"""MD01: a socket that stays open, answers PONG and tells nothing. Data prove a socket, nothing else does."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import pytest

from pipeline.kinds import Cause, Kind
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.faults.test_MD03_books import markets
from tests.models.chain import Chain
from tests.models.feed_socket import SECONDS_MAX, SHARD, Heard, Rig, Send, change, venue_of
from tests.models.venue_model import Market
from tests.proxy.plan import Plan
from tests.proxy.proxy import FaultProxy
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

FREEZES = figure("MD01", "freezes")
QUIET_HOURS = figure("MD01", "quiet_hours")
REAL = figure("MD01", "real")
BUSY_NS_MAX, QUIET_NS_MAX = 5 * NS_PER_S, 15 * NS_PER_S


class Day:
    """A chain whose markets change now and then, in simulated time."""

    def __init__(self, seed: int, gap_ms: float, **settings: int) -> None:
        self.rng = random.Random(seed)
        self.gap_ms = gap_ms
        self.chain = Chain(markets(self.rng, 3), reopen_ns=1, **settings)
        self.rows: list[Market] = list(self.chain.venue.markets.values())
        self._due_ns = 0

    def run(self, ms: float, step_ms: float = 20.0, until: Callable[[], bool] = lambda: False) -> bool:
        """Go on for so long; between two changes pass `gap_ms`, more or less."""
        chain = self.chain
        end_ns = chain.now_ns + int(ms * NS_PER_MS)
        while chain.now_ns < end_ns and not until():
            if chain.now_ns >= self._due_ns:
                market = self.rng.choice(self.rows)
                before_ns, market.venue_ns = market.venue_ns, max(market.venue_ns + 10**6, chain.now_ns)
                runs = market.commit()
                chain.venue.tell(market, runs, chain.now_ns)
                if not runs:
                    market.venue_ns = before_ns  # nothing changed: its time is that of the last change
                self._due_ns = chain.now_ns + int(self.rng.uniform(0.5, 1.5) * self.gap_ms * NS_PER_MS)
            chain.step(step_ms)
        return until()

    def stand(self) -> None:
        """Let every book stand and every socket know its usual pace."""
        wanted_ms = max(3_000.0, 24 * self.gap_ms)
        self.run(wanted_ms)
        assert self.chain.run(2_000, until=self.chain.is_settled), self.chain.counts

    def gaps(self) -> list[Cause]:
        """Return the causes of all Gaps."""
        return [Cause(record.cause) for record in self.chain.passed if record.kind == Kind.GAP]

    def is_none_believed(self) -> bool:
        """Tell whether no package could be priced from any book."""
        return not any(self.chain.is_believed(market.row) for market in self.rows)


@pytest.mark.parametrize("seed", [1, fresh_seed()])
def test_MD01_a_lone_socket_that_freezes_is_found_in_time(
    seed: int, gate_record: Callable[..., None],
) -> None:
    """Frozen with PONG alive: a Gap within 5 s (busy) or 15 s (quiet), nothing believed before new books."""
    rng = random.Random(seed)
    for trial in range(FREEZES // 2):
        is_busy = trial % 3 > 0
        day = Day(rng.randrange(1 << 30), rng.uniform(20, 300) if is_busy else rng.uniform(1_000, 4_000))
        day.stand()
        day.run(rng.uniform(0, 4_000))
        chain, told = day.chain, f"seed {seed}, trial {trial}"
        assert [] == day.gaps(), told
        for line in chain.venue.lines.values():
            line.is_frozen = True
        frozen_ns = chain.now_ns
        limit_ms = (BUSY_NS_MAX if is_busy else QUIET_NS_MAX) // NS_PER_MS
        assert day.run(limit_ms, 20, day.is_none_believed), f"{told}: {chain.counters()}"
        assert [Cause.FREEZE] == day.gaps(), told
        assert chain.now_ns - frozen_ns <= limit_ms * NS_PER_MS, told
        snapshots = chain.venue.snapshot_count
        while chain.venue.snapshot_count == snapshots:
            assert day.is_none_believed(), told
            day.run(5, 5)
        day.run(2_000)
        assert chain.run(5_000, until=chain.is_settled), f"{told}: {chain.counts}"
    gate_record("MD01", "freezes", FREEZES // 2, seed)


@pytest.mark.parametrize("gap_ms", [50, 400, 2_000])
@pytest.mark.parametrize("seed", range(3))
def test_MD01_one_of_two_sockets_may_freeze_unnoticed(seed: int, gap_ms: int) -> None:
    """While the other lives: no Gap, no stale book, every change on time; the frozen one is replaced."""
    day = Day(seed, gap_ms, sockets=2)
    day.stand()
    chain = day.chain
    assert 2 == len(chain.venue.lines), "the second socket stands"
    conn = day.rng.choice(list(chain.venue.lines))
    chain.venue.lines[conn].is_frozen = True
    stales = sum(count for name, count in chain.counts.items() if name.startswith("stale_"))
    opens = len(chain.opens)
    assert day.run(20_000, 20, lambda: len(chain.opens) > opens), "the frozen socket was replaced"
    day.run(5_000)
    assert conn == chain.opens[opens][1]
    assert [] == day.gaps()
    assert stales == sum(count for name, count in chain.counts.items() if name.startswith("stale_"))
    assert chain.run(2_000, until=chain.is_settled), chain.counts


@pytest.mark.parametrize("seed", range(3))
def test_MD01_two_sockets_that_freeze_together_are_a_gap(seed: int) -> None:
    """Nobody is left to compare with: the canary that does not answer is what tells."""
    day = Day(seed, 60, sockets=2)
    day.stand()
    for line in day.chain.venue.lines.values():
        line.is_frozen = True
    assert day.run(BUSY_NS_MAX // NS_PER_MS, 20, day.is_none_believed), day.chain.counters()
    assert Cause.FREEZE in day.gaps()
    day.run(4_000)
    assert day.chain.run(5_000, until=day.chain.is_settled)


@pytest.mark.parametrize("seed", range(3))
def test_MD01_a_socket_that_answers_and_tells_no_changes_is_frozen(seed: int) -> None:
    """The canary's snapshot shows a change, seconds old, of which the socket never told: frozen, too."""
    day = Day(seed, 60)
    day.stand()
    chain = day.chain
    (line,) = chain.venue.lines.values()
    line.is_deaf = True
    assert day.run(BUSY_NS_MAX // NS_PER_MS, 20, lambda: Cause.FREEZE in day.gaps()), chain.counters()
    day.run(1_000)
    assert chain.run(5_000, until=chain.is_settled)


@pytest.mark.parametrize("sockets", [1, 2])
def test_MD01_a_quiet_day_halts_nothing(sockets: int, gate_record: Callable[..., None]) -> None:
    """A change every few minutes for a day: the canary keeps proving the socket, no Gap, no stale book."""
    day = Day(5, 150_000, sockets=sockets)
    day.run(5_000)
    assert day.chain.run(5_000, until=day.chain.is_settled)
    before = {name: count for name, count in day.chain.counts.items() if name.startswith("stale_")}
    day.run(QUIET_HOURS * 3_600_000 / 2, 250)
    assert [] == day.gaps()
    assert before == {name: count for name, count in day.chain.counts.items() if name.startswith("stale_")}
    assert day.chain.counters()["canaries"] > 100 * QUIET_HOURS / 2
    gate_record("MD01", "quiet_hours", QUIET_HOURS // 2, 5)


def test_MD01_sockets_are_renewed_by_age_without_a_gap() -> None:
    """A planned reconnect: the next socket stands before the old one goes, alone and beside another."""
    for sockets in (1, 2):
        day = Day(9, 100, sockets=sockets, age_ns_max=60 * NS_PER_S)
        day.stand()
        day.gap_ms = 500
        day.run(300_000, 100)
        assert [] == day.gaps()
        assert 4 <= day.chain.counters()["sockets_moved"] <= 8 * sockets
        ends = [when for when, _ in day.chain.opens]
        assert len({when // NS_PER_S for when in ends[2:]}) > 3, "spread"
        assert day.chain.run(2_000, until=day.chain.is_settled)
        assert len(day.chain.venue.lines) <= sockets + 1


def test_MD01_a_socket_does_not_go_while_the_other_is_asked_for_its_canary() -> None:
    """In a quiet market both are asked in the same moment: a planned end waits, so there is no Gap."""
    day = Day(6, 16_000, sockets=2, age_ns_max=60 * NS_PER_S)
    day.run(5_000)
    assert day.chain.run(5_000, until=day.chain.is_settled)
    day.run(2_400_000, 250)
    counters = day.chain.counters()
    assert counters["sockets_moved"] >= 80 and counters["canaries"] >= 400
    assert [] == day.gaps()


def test_MD01_a_real_socket_behind_a_proxy_freezes(gate_record: Callable[..., None]) -> None:
    """Real sockets, driver and native listener; a proxy holds data back and lets PONG pass: a Gap in time."""
    heard = Heard()

    async def until(rig: Rig, is_done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS_MAX
        while not is_done():
            assert time.monotonic() < deadline, rig.view.counters()
            rig.machine.on_timer(rig.clock())
            rig.driver.pump()
            heard.records += rig.reader.read(4_096)
            await asyncio.sleep(0.002)

    async def main() -> None:
        frames = [Send(change(str(size))) for size in range(1, 40)]
        async with venue_of(frames, every_s=0.01) as port:
            with FaultProxy(("127.0.0.1", port), Plan(0)) as proxy:
                rig = Rig(f"ws://127.0.0.1:{proxy.port}/", True, 4_096, heard, freeze_busy_ns=400 * NS_PER_MS,
                          freeze_quiet_ns=800 * NS_PER_MS, dead_ns=3 * NS_PER_S, ping_ns=100 * NS_PER_MS,
                          reopen_ns=1)
                rig.machine.on_instrument(rig.clock(), 41, SHARD, ("7" * 77, "8" * 76), "0x" + "5f" * 32)
                for trial in range(REAL):
                    def count(name: str) -> int:
                        return rig.view.counters().get(name, 0)

                    frames_before = count("frames")
                    await until(rig, lambda: count("frames") > frames_before + 20)  # noqa: B023
                    proxy.freeze_data()
                    begun_s, pongs = time.monotonic(), count("pongs")
                    await until(rig, lambda: count("sockets_frozen") > trial)  # noqa: B023
                    assert time.monotonic() - begun_s < 5, trial
                    assert count("pongs") > pongs, "PONG went on"
                    await until(rig, lambda: count("gaps") > trial)  # noqa: B023
                    proxy.thaw_data()
                await rig.driver.close()

    asyncio.run(main())
    gate_record("MD01", "real", REAL)
