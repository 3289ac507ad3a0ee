"""The whole pipeline in one process, one seed and simulated time, against the exchange's own logic.

Every stage is built by `pipeline.run.build` over private memory and real log files; edge machines talk to
`Scenario.exchange` over `Network`. Signatures, HMACs and their checks are the real ones. The calendar moves
the clock; nothing reads the host's.
"""

from __future__ import annotations

import heapq
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from pipeline.codec import CODECS
from pipeline.config.load import Config, config_record, load
from pipeline.core.trader import Trader
from pipeline.kinds import Kind
from pipeline.native.log import LogWriter
from pipeline.native.ring import Observer
from pipeline.records import SLOT_BYTES
from pipeline.run import wiring
from pipeline.run.build import build_stage
from pipeline.run.channels import Channels, PrivateMemory, format_all, segment_sizes
from pipeline.run.env import Built, Env
from pipeline.run.startpoint import StartPoint
from pipeline.shm import halt
from pipeline.shm.status import StatusPage, StatusView
from pipeline.sim.scenario import Scenario, build
from pipeline.stages.archive import ArchiveSettings, ArchiveStage, ReadPositions
from pipeline.store.background import Inline, Worker
from pipeline.store.upkeep import Limits
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.shared import ROOT
from tests.world.manifests import write_manifest
from tests.world.network import CLOB_URL, DATA_URL, GAMMA_URL, Network, Weather
from tests.world.plan import Plan
from tests.world.refold import read_log

T0_NS = 1_790_000_000 * NS_PER_S
TIMER_NS = 2 * NS_PER_MS  # how often a lane looks at its machines' timers
IDLE_NS = 20 * NS_PER_MS  # longest sleep of a lane
LONG_IDLE_NS = 250 * NS_PER_MS  # while only time decides
CHECKPOINT_RECORDS = 500
SYNC_NS = 20 * NS_PER_S  # a real disk in simulated time: now and then
STAGES = (
    "feed.polymarket.0",
    "refdata.polymarket",
    "account.main",
    "sequencer",
    "book",
    "detect",
    "trade",
    "signer.main",
    "gateway.main",
    "archive",
    "observe",
)


class World:
    """One run. `trade`, then `settle`, then look."""

    sync_ns = SYNC_NS
    checkpoint_records = CHECKPOINT_RECORDS
    limits = Limits(1 << 20, 1 << 44, 1 << 44)  # verdicts read both logs whole
    worker: Callable[[], Worker] = Inline

    def __init__(self, plan: Plan, directory: Path) -> None:
        self.plan = plan
        self.now_ns = T0_NS
        self.directory = directory
        self._draw = random.Random(f"world:run:{plan.seed}")
        self._calendar: list[tuple[int, int, Callable[[], None]]] = []
        self._planned = 0
        self._timed_ns = self._turned_ns = 0
        self.idle_ns = IDLE_NS
        self._pumped_ns = 0
        self.scenario: Scenario = build(
            plan.scenario,
            self.now_ns,
            lambda *item: self.network.write(*item),  # noqa: PLW0108 - the network is made below
            lambda: 0,
        )
        self.network = Network(
            self.scenario.exchange, plan.weather, random.Random(f"world:net:{plan.seed}"), self.clock, self.at
        )
        self.config = self._make_config()
        self._build()
        self.passed: list[bytes] = []  # every record of the `ideas` ring, in order, when `keeps` is set
        self.keeps: tuple[int, ...] = (Kind.TOP, Kind.IDEA)

    def clock(self) -> int:
        return self.now_ns

    def at(self, when_ns: int, action: Callable[[], None]) -> None:
        """Put an action into the calendar."""
        self._planned += 1
        heapq.heappush(self._calendar, (when_ns, self._planned, action))

    # -- building --------------------------------------------------------------------------------

    def _make_config(self) -> Config:
        account = self.scenario.account
        credentials = account.credentials
        assert credentials is not None
        keys = {
            "api_key": credentials.api_key,
            "secret": credentials.secret,
            "passphrase": credentials.passphrase,
        }
        key_file = _private(self.directory / "key.hex", self.scenario.private_key.hex().encode())
        api_file = _private(self.directory / "api.json", orjson.dumps(keys))
        return load(
            (ROOT / "config" / "demo.toml",),
            {
                "state_dir": str(self.directory / "state"),
                "venues.polymarket.clob_url": CLOB_URL,
                "venues.polymarket.gamma_url": GAMMA_URL,
                "venues.polymarket.data_url": DATA_URL,
                "venues.polymarket.market_ws_url": "wss://localhost:1443/ws/market",
                "venues.polymarket.user_ws_url": "wss://localhost:1443/ws/user",
                "accounts.main.address": account.owner,
                "accounts.main.maker": account.wallet,
                "accounts.main.signature_type": account.signature_type,
                "accounts.main.key_file": str(key_file),
                "accounts.main.api_file": str(api_file),
                **self.plan.overrides,
            },
        )

    def _build(self) -> None:
        state_dir = self.directory / "state"
        for folder in (state_dir / "logs" / wiring.STREAM, state_dir / "logs" / wiring.DECISIONS):
            folder.mkdir(parents=True)
        halt.create(state_dir)
        shm, rows_max = self.config.shm, self.config.rows_end
        self.memory = PrivateMemory(segment_sizes(STAGES, ["world"], shm, rows_max))
        format_all(self.memory, STAGES, ["world"], shm)
        for log in wiring.LOGS:
            LogWriter(state_dir / "logs" / log, log, shm.log_segment_slots, salt_epoch=1).close()
        write_manifest(self.config, state_dir, StartPoint())
        self.channels = Channels(self.memory, state_dir / "logs", shm.log_segment_slots, 1)
        self.page = StatusPage(self.memory.buffer("status.world"), pid=1, now_ns=self.now_ns)
        self._view = StatusView(self.memory.buffer("status.world"))
        self.env = Env(
            config=self.config,
            mode="local",
            stages=list(STAGES),
            channels=self.channels,
            page=self.page,
            clock=self.clock,
            state_dir=state_dir,
            run_dir=self.directory,
            book_position=lambda: self.built["book"].stage._source.position,
        )  # type: ignore[attr-defined]
        self._ideas = Observer(self.memory.buffer("ring.ideas"))
        self.built: dict[str, Built] = {name: self._stage(name) for name in STAGES}
        self.machines = [
            machine
            for built in self.built.values()
            for machine in (built.sockets, built.rest, built.orders)
            if machine is not None
        ]
        self._introduce()

    def _stage(self, name: str) -> Built:
        if name != "archive":
            return build_stage(name, self.env)
        return Built(
            ArchiveStage(  # as the builder does, with checkpoints that a short run reaches
                name,
                self.directory / "state",
                self.channels.log_reader,
                ReadPositions({}, ()),
                self.worker(),
                self.env.counts,
                self.clock,
                self.env.log,
                ArchiveSettings(self.limits, self.checkpoint_records, self.sync_ns),
            )
        )

    @property
    def logs(self) -> Path:
        return self.directory / "state" / "logs"

    @property
    def checkpoints(self) -> Path:
        return self.directory / "state" / "checkpoints"

    def _introduce(self) -> None:
        """Tell the stream what holds, as the supervisor does."""
        self.control = self.channels.ring_writer(wiring.CONTROL)
        records = [
            (Kind.CONFIG, config_record(self.config, 1)),
            (Kind.LANE_UP, {"lane": 0, "epoch": 1, "stage_name": b"world"}),
        ]
        for number, (kind, fields) in enumerate(records, 1):
            assert self.control.push(
                CODECS[kind].pack(source=1, source_seq=number, recv_ns=self.now_ns, **fields)
            )

    # -- the loop --------------------------------------------------------------------------------

    def run(self, until_ns: int, is_done: Callable[[], bool] = lambda: False) -> bool:
        """Go on until `is_done` or the time; return whether it was done."""
        exchange = self.scenario.exchange
        while self.now_ns < until_ns:
            due_ns = [until_ns, self._turned_ns + self.idle_ns, self._pumped_ns]
            if self._calendar:
                due_ns.append(self._calendar[0][0])
            timer_ns = exchange.next_timer_ns()
            if timer_ns is not None:
                due_ns.append(timer_ns)
            self.now_ns = max(self.now_ns, min(due_ns))
            exchange.on_timer(self.now_ns)
            while self._calendar and self._calendar[0][0] <= self.now_ns:
                heapq.heappop(self._calendar)[2]()
            if self.now_ns >= self._pumped_ns:
                wait_s = self.scenario.pump(self.now_ns)
                self._pumped_ns = self.now_ns + max(100_000, int(wait_s * NS_PER_S))
            self.network.collect()
            if self.network.wakes or self.now_ns - self._turned_ns >= self.idle_ns:
                self.network.wakes = False
                self._turn()
                if is_done():
                    return True
        return is_done()

    def _turn(self) -> None:
        """Let every lane work, in one of the ways in which lanes may be scheduled."""
        self._turned_ns = self.now_ns
        if self.now_ns - self._timed_ns >= TIMER_NS:
            self._timed_ns = self.now_ns
            for machine in self.machines:
                machine.on_timer(self.now_ns)
        draw, is_lazy = self._draw, self.plan.is_lazy
        while True:
            done = 0
            for name, built in self.built.items():
                if is_lazy and draw.random() < 0.4:
                    continue
                budget = draw.choice((1, 7, 64, 256)) if is_lazy else 256
                if name == "detect":
                    # The observer may be 64 slots less than a whole ring behind; keep it well within that.
                    done += built.stage.poll(min(budget, self.config.shm.ring_slots // 4))
                    self._keep_ideas()
                else:
                    done += built.stage.poll(budget)
            for machine in self.machines:
                done += self.network.pump(machine)
            if is_lazy:
                self.network.wakes = self.network.wakes or done > 0
                break
            if not done:
                break
        self.network.collect()
        if is_lazy and self.network.wakes:
            self.network.wakes = False
            self.at(self.now_ns + draw.randint(5, 200) * 1_000, self._wake)

    def _wake(self) -> None:
        self.network.wakes = True

    def _keep_ideas(self) -> None:
        while True:
            data, lost = self._ideas.read(64)
            assert not lost, f"seed {self.plan.seed}: the observer of the ideas ring was lapped"
            if not data:
                return
            for at in range(0, len(data), SLOT_BYTES):
                if data[at + 32] in self.keeps:
                    self.passed.append(data[at : at + SLOT_BYTES])

    # -- the phases ------------------------------------------------------------------------------

    def trade(self, orders_min: int, frames_min: int, seconds_max: float = 40.0) -> None:
        """Trade until there are enough orders and frames."""
        if self.plan.weather.cut_ms:
            self._plan_cut()
        if self.plan.changes_tick:
            self.at(self.now_ns + self._draw.randint(500, 1_500) * NS_PER_MS, self._change_tick)
        self.run(
            self.now_ns + int(seconds_max * NS_PER_S),
            lambda: (
                self.trader.facts.order_no >= orders_min
                and self.network.counts["handed_market"] >= frames_min
            ),
        )

    def settle(self) -> None:
        """Stop the flow, let every order end, then resolve and let the last frame arrive."""
        self.network.weather = Weather(
            self.network.weather.wire_us, repeat=self.network.weather.repeat, held=self.network.weather.held
        )
        self.scenario.stop_flow(self.now_ns)
        self.run(self.now_ns + 3 * NS_PER_S)  # every trade is confirmed, every socket is back
        self.idle_ns = LONG_IDLE_NS
        self.run(self.now_ns + 200 * NS_PER_S, lambda: self.is_quiet)
        self.idle_ns = IDLE_NS

    def resolve(self) -> None:
        """Resolve every market by the seed and let the stages finish what they have."""
        self.scenario.resolve_all(self.now_ns, self.plan.seed)
        self.run(self.now_ns + 3 * NS_PER_S)
        while sum(built.stage.poll(32) for built in self.built.values()):
            self._keep_ideas()

    @property
    def is_quiet(self) -> bool:
        """Whether no order is open and nothing of ours is on the way."""
        return not self.trader.facts.orders.open_count and not self.network.in_flight

    def _plan_cut(self) -> None:
        wait_ms = 1 + int(self._draw.expovariate(1 / self.plan.weather.cut_ms))
        self.at(self.now_ns + wait_ms * NS_PER_MS, self._cut)

    def _cut(self) -> None:
        if self.network.weather.cut_ms:
            self.network.cut_one()
            self._plan_cut()

    def _change_tick(self) -> None:
        """A planted market's tick gets finer; not the first one of its event, which plants follow."""
        coarse = [
            market
            for event in self.scenario.planting.events
            for market in event.markets[1:]
            if market.tick_step == 100
        ]
        if coarse:
            self.network.counts["tick_changes"] += 1
            self.scenario.channel.change_tick(self._draw.choice(coarse), 10, self.now_ns)

    # -- looking ---------------------------------------------------------------------------------

    @property
    def trader(self) -> Trader:
        stage: Any = self.built["trade"].stage
        trader: Trader = stage.trader
        return trader

    def counters(self) -> dict[str, int]:
        return self._view.counters()

    def log(self, name: str) -> bytes:
        """Return a whole log, slot by slot."""
        return read_log(self.logs / name, name)

    def close(self) -> None:
        for built in self.built.values():
            built.stage.close()
            for close in built.close:
                close()
        self._ideas.close()
        self._view.close()
        self.page.close()
        self.channels.close()


def _private(path: Path, data: bytes) -> Path:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    return path
