"""What stages are built from, and what building one gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from picows import WSListener

from pipeline.config.accounts import Account
from pipeline.config.load import Config
from pipeline.kinds import Kind
from pipeline.native.relay import Filter
from pipeline.net.edge import RestMachine, SocketMachine
from pipeline.net.egress import Proxy
from pipeline.run import startpoint, wiring
from pipeline.run.channels import Channels
from pipeline.run.startpoint import StartPoint
from pipeline.shm.halt import HaltPage
from pipeline.shm.status import StatusPage
from pipeline.stages import gateway
from pipeline.stages.stage import Clock, Counts, Stage
from pipeline.store.events import EventLog, silent


@dataclass(slots=True)
class Built:
    """One stage, and what a driver must serve for it."""

    stage: Stage
    sockets: SocketMachine | None = None
    rest: RestMachine | None = None
    listener: Callable[..., WSListener] | None = None  # beside `sockets`: what stands before their listeners
    orders: gateway.GatewayMachine | None = None
    orders_url: str = ""
    proxy: Proxy | None = None  # of `orders`
    close: list[Callable[[], None]] = field(default_factory=list)

    @property
    def is_driven(self) -> bool:
        """Tell whether a driver calls the stage's machine between two polls, which may then write."""
        return self.sockets is not None or self.rest is not None or self.orders is not None


@dataclass(slots=True)
class Env:
    """What stages are built from."""

    config: Config
    mode: str
    stages: list[str]  # of the whole run
    channels: Channels
    page: StatusPage
    clock: Clock
    state_dir: Path
    run_dir: Path
    book_position: Callable[[], int]  # how far `book` has read `stream`, whichever lane it is in
    start: StartPoint = field(default_factory=StartPoint)  # where the core that runs now began
    epoch: int = 0  # of this lane's start; rising
    is_restart: bool = False  # the lane ran before in this run: what was asked meanwhile went unheard
    is_realtime: bool = True  # the lane runs before others on its CPU
    lease_ns_max: int = 0  # 0: nobody supervises, as in simulated time
    log: EventLog = field(default_factory=silent)  # the lane's
    lanes: Sequence[str] = ()  # of the whole run, by name

    @property
    def counts(self) -> Counts:
        """New counters over the lane's page; a stage keeps its own."""
        return Counts(self.page)

    def source_of(self, ring: str) -> int:
        """Return the number that names a ring in every record: its place in the run, 1 first."""
        return 1 + wiring.rings(self.stages).index(ring)

    @property
    def is_recording(self) -> bool:
        """Whether nobody decides in this run: then the feeds keep every frame as it came."""
        return "trade" not in self.stages

    @property
    def log_dir(self) -> Path:
        """The folder of both logs."""
        return self.state_dir / "logs"

    def rows(self, *kinds: Kind) -> Filter:
        """Return a native filter over `stream` from where all its rows are told."""
        position = startpoint.rows_start(self.log_dir / wiring.STREAM)
        return Filter(self.channels.log_reader(wiring.STREAM, position), kinds)

    def requests(self, *kinds: Kind) -> Filter:
        """Return a native filter over `decisions` from this start on."""
        position = self.start.decisions
        if self.is_restart:
            position = startpoint.log_end(self.log_dir / wiring.DECISIONS, wiring.DECISIONS)
        return Filter(self.channels.log_reader(wiring.DECISIONS, position), kinds)

    def whole(self, log: str, *kinds: Kind) -> Filter:
        """Return a native filter over all that there is of a log."""
        return Filter(self.channels.log_reader(log, None), kinds)

    def halt_page(self, owner: str | None = None) -> HaltPage:
        """Return a hold on the halt page that watches the supervisor's lease, too."""
        page = HaltPage(self.state_dir, owner)
        if self.lease_ns_max:
            page.watch_lease(self.channels.memory.buffer("lease"), self.lease_ns_max)
        return page

    def account(self, ident: str) -> Account:
        """Return the account behind a stage's id; the config was checked to have it."""
        return self.config.accounts[ident]
