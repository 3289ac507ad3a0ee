"""Builds an exchange with its markets, flows, planted events and account from one configuration.

Reads: `ScenarioConfig` (made from the JSON that `process` gets), recordings. Writes: nothing but what
its parts do. Sans-IO: sockets are `server`'s; a test drives `pump` with simulated time.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from eth_account import Account as EthAccount

from pipeline.errors import ConfigError
from pipeline.sim import faults, foreign, generate, planted, recording, replay
from pipeline.sim.accounts import Account, derive_credentials
from pipeline.sim.data_api import DataApi
from pipeline.sim.exchange import Exchange
from pipeline.sim.fault_plan import FaultPlan
from pipeline.sim.flow import FlowMarket
from pipeline.sim.gamma import Gamma
from pipeline.sim.market import Market
from pipeline.sim.market_channel import MarketChannel
from pipeline.sim.planting import Pace, Planting
from pipeline.sim.playback import Player, Write
from pipeline.sim.relayer import Relayer
from pipeline.sim.settings import TIERS, ExchangeSettings
from pipeline.sim.track import LazyBook, Track
from pipeline.sim.wallets import wallet_of
from pipeline.units import MICRO, NS_PER_MS, NS_PER_S

PLAYED_FRAMES_PER_S_MAX = 30_000  # no subscriber takes more; bounds what is rendered for speed max
LIVE_MARKETS_MAX = 60  # markets times speed; more generated flow than that is rendered before the run
MARKETS_MAX = 10_000  # generated ones
ACCOUNT_NAME = "demo"
POLL_DOWN_S = 0.05  # between looks at a venue that is down
Progress = Callable[[str, int, int], None]  # what, done, total


@dataclass(frozen=True, slots=True)
class ScenarioConfig:
    """What runs. Unknown keys are refused; every key has a default."""

    seed: int = 1
    feeds: tuple[str, ...] = ()  # recordings; none = the generator
    speed: float | None = 1.0  # None = max
    seconds: float = 60.0  # wall time that will be played, for rendering ahead
    markets: int = 20  # generated ones, when there are no feeds
    planted_events: int = 40
    plant_spacing_ms: int = 450
    plant_settle_ms: int = 250
    cash_usd_micro: int = 10_000_000 * MICRO
    tier: str = "Elite"
    signature_type: int = 0
    quiet_ms: int = 500  # subscribers must be this quiet before the flow starts
    render_frames_max: int = 1_500_000
    best_bid_ask: bool = True
    starts_on_request: bool = False  # the first request starts the flow as the first subscription does
    guest_cash_usd_micro: int = 0  # each wallet of an owner who is not known begins with it; 0 = no guests
    faults: str = ""  # file of what goes wrong, see `sim.faults`; "" = nothing
    life: int = 0  # one that no earlier exchange of this seed had, for a pipeline that remembers those

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> ScenarioConfig:
        """Return the configuration of a JSON object; `speed` is a number or "max"."""
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(raw) - known)
        if unknown:
            raise ConfigError(f"exchange config: keys out of {sorted(known)} expected, found {unknown}")
        values = dict(raw)
        values["feeds"] = tuple(str(path) for path in values.get("feeds", ()))
        if values.get("speed") == "max":
            values["speed"] = None
        config = cls(**values)
        config.check()
        return config

    def check(self) -> None:
        """Refuse values that cannot run."""
        if self.speed is not None and not 0 < self.speed <= 1_000:
            raise ConfigError(f'exchange config: speed in (0, 1000] or "max" expected, was {self.speed}')
        if self.tier not in TIERS:
            raise ConfigError(f"exchange config: tier out of {sorted(TIERS)} expected, was {self.tier}")
        if not 0 <= self.planted_events <= 500 or not 0 <= self.markets <= MARKETS_MAX:
            raise ConfigError(
                f"exchange config: planted_events up to 500 and markets up to {MARKETS_MAX} expected")
        if self.signature_type not in (0, 1, 2, 3):
            raise ConfigError(f"exchange config: signature_type 0 to 3 expected, was {self.signature_type}")
        if self.guest_cash_usd_micro < 0:
            cash = self.guest_cash_usd_micro
            raise ConfigError(f"exchange config: guest_cash_usd_micro of 0 or more expected, was {cash}")


@dataclass(slots=True)
class Scenario:
    """A built exchange and everything that plays on it."""

    config: ScenarioConfig
    exchange: Exchange
    channel: MarketChannel
    player: Player
    planting: Planting
    faults: FaultPlan
    private_key: bytes = field(repr=False)
    winners: dict[str, int] = field(default_factory=dict)  # event or condition -> winning index
    finished_ns: int = 0

    @property
    def account(self) -> Account:
        return self.exchange.accounts[ACCOUNT_NAME]

    def pump(self, now_ns: int) -> float:
        """Do what is due; return seconds until something else is."""
        if self.config.starts_on_request and self.exchange.requests_count:
            self.player.expect_start(now_ns)
        if self.exchange.engine.mode.is_down:
            self.player.hold(now_ns)
            wait_s = POLL_DOWN_S
        else:
            wait_s = self.player.pump(now_ns)
        due_ns = self.planting.pump(now_ns)
        return wait_s if due_ns is None else min(wait_s, max(0.0, (due_ns - now_ns) / NS_PER_S))

    def open_market(self, now_ns: int, name: str) -> Market:
        """Open one more generated market and tell of it on the market channel; return it."""
        flow = generate.GeneratedMarket(self.config.seed, name).flow(now_ns // NS_PER_MS)
        self.exchange.add_market(flow.market)
        self.player.add_late(now_ns, flow)
        self.channel.announce(now_ns, flow.market)
        return flow.market

    def stop_flow(self, now_ns: int) -> None:
        """End every source of change but the account's own orders."""
        self.player.stop()
        if self.planting.is_running:
            self.planting.stop(now_ns)

    def resolve_all(self, now_ns: int, seed: int) -> None:
        """Stop the flow and resolve every event by the seed: one winner an event, YES or NO a binary."""
        self.stop_flow(now_ns)
        draw = random.Random(f"resolve:{seed}")
        events: dict[str, list[Market]] = {}
        for market in self.exchange.engine.markets.values():
            if market.payout_micro is None:
                events.setdefault(market.event_id, []).append(market)
        for event_id, markets in events.items():
            if markets[0].outcome_count > 1:
                winner = draw.randrange(len(markets) + markets[0].has_unlisted_outcome)
                self.winners[event_id] = winner
                self.exchange.resolve_event(now_ns, event_id, winner)
                continue
            for market in markets:
                self.winners[market.condition] = winner = draw.randrange(2)
                self.exchange.resolve(now_ns, market, winner)
        self.finished_ns = now_ns


def make_account(config: ScenarioConfig) -> tuple[Account, bytes]:
    """Return the demo account and its private key; both follow from the seed."""
    key = hashlib.sha256(f"exchange account {config.seed}".encode()).digest()
    owner = EthAccount.from_key(key).address
    account = Account(
        name=ACCOUNT_NAME,
        owner=owner,
        wallet=wallet_of(owner, config.signature_type),
        signature_type=config.signature_type,
        cash_micro=config.cash_usd_micro,
        credentials=derive_credentials(config.seed, owner, 0),
        tier=config.tier,
    )
    return account, key


def build(
    config: ScenarioConfig,
    now_ns: int,
    write: Write,
    backlog: Callable[[], int],
    progress: Progress = lambda what, done, total: None,
) -> Scenario:
    """Return everything, ready to pump. `write` and `backlog` are the sockets' side of the player."""
    account, key = make_account(config)
    wrong = faults.read(Path(config.faults)) if config.faults else faults.FaultsFile()
    settings = wrong.venue.applied(
        ExchangeSettings(
            life=config.life, opened_s=now_ns // NS_PER_S, guest_tier=config.tier,
            guest_cash_micro=config.guest_cash_usd_micro,
        )
    )
    exchange = Exchange(settings, [], [account], config.seed)
    channel = MarketChannel(exchange.send, exchange.timers, config.seed, config.best_bid_ask)
    exchange.attach_market_channel(channel)
    player = Player(exchange, channel, write, backlog, config.speed, config.quiet_ms * NS_PER_MS)
    events = planted.make_events(config.seed, config.planted_events)
    for market in (market for event in events for market in event.markets):
        exchange.add_market(market)
        channel.add_live(market)
    pace = Pace(settle_ms=config.plant_settle_ms, spacing_ms=config.plant_spacing_ms)
    planting = Planting(exchange, events, config.seed, pace)
    planting.open(now_ns)
    player.on_start.append(planting.start)
    _add_flows(config, exchange, player, now_ns, progress)
    exchange.attach_service("data", DataApi(exchange))
    exchange.attach_service("relayer", Relayer(exchange, config.seed))
    exchange.attach_service("gamma", Gamma(exchange.engine.markets, lambda market: _best(exchange, market)))
    plan = FaultPlan(wrong, exchange)
    player.on_start.append(plan.start)
    return Scenario(config, exchange, channel, player, planting, plan, key)


def _add_flows(
    config: ScenarioConfig, exchange: Exchange, player: Player, now_ns: int, progress: Progress
) -> None:
    if not config.feeds:
        flows = generate.generate(config.seed, config.markets, now_ns // NS_PER_MS)
        if config.speed is not None and config.speed * config.markets <= LIVE_MARKETS_MAX:
            for flow in flows:
                exchange.add_market(flow.market)
                player.add_live(now_ns, flow)
            return
        _add_tracks(config, exchange, player, flows, progress)
        return
    paths = [Path(name) for name in config.feeds]
    kalshi = [path for path in paths if venue_of(path) == "kalshi"]
    for loaded in replay.load_all([path for path in paths if path not in kalshi]):
        for book in loaded.books.values():
            exchange.add_market(book.market, book)
        player.add_replay(loaded)
    if kalshi:
        seconds = None if config.speed is None else config.seconds * config.speed + 1
        _add_tracks(config, exchange, player, foreign.load(kalshi, seconds), progress)


def _add_tracks(
    config: ScenarioConfig, exchange: Exchange, player: Player, flows: list[FlowMarket], progress: Progress
) -> None:
    """Render what will be played; a market goes over to the engine when somebody trades in it."""
    until_ns = 1 << 62 if config.speed is None else int(config.seconds * config.speed * NS_PER_S)
    frames_left = min(config.render_frames_max, int(config.seconds * PLAYED_FRAMES_PER_S_MAX))
    draw = random.Random(f"tracks:{config.seed}")
    for place, flow in enumerate(flows):
        track = Track(flow)
        share = frames_left // (len(flows) - place)
        frames_left -= track.render(until_ns, share, draw, config.best_bid_ask)
        book = LazyBook(
            track,
            player.track_went_live,
            exchange.engine.changed_ns.__setitem__,
            exchange.settings.dust_micro,
        )
        exchange.add_market(flow.market, book)
        player.add_track(track)
        progress("render", place + 1, len(flows))


def venue_of(path: Path) -> str:
    """Return the venue that a recording's first line names."""
    frame = next(recording.read(path), None)
    if frame is None:
        raise ConfigError(f"recording {path}: expected at least one frame, found none")
    if frame.venue not in ("polymarket", "kalshi"):
        raise ConfigError(f"recording {path}: venue polymarket or kalshi expected, found {frame.venue}")
    return frame.venue


def _best(exchange: Exchange, market: Market) -> tuple[int | None, int | None]:
    bids, asks = exchange.levels(market, True), exchange.levels(market, False)
    return (bids[0][0] if bids else None), (asks[0][0] if asks else None)
