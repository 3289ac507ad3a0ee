"""Stages from their names: the one place that knows which parts a stage is made of.

A lane (real sockets) and the simulated world (simulated time) build the same objects here; only what
carries a machine's commands differs.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from pipeline.config.accounts import Account
from pipeline.config.load import Config
from pipeline.core.detector import Detector
from pipeline.core.trader import Trader
from pipeline.native.books import Books
from pipeline.native.framescan import Scanner, TokenTable
from pipeline.native.relay import Filter, Relay
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.native.sequence import Sequencer
from pipeline.native.sums import Tops
from pipeline.native.wslistener import ShortCut
from pipeline.net.edge import RestMachine, SocketMachine
from pipeline.records import Kind
from pipeline.run import wiring
from pipeline.run.channels import Channels, ladder_blocks
from pipeline.shm.halt import HaltPage
from pipeline.shm.status import StatusPage
from pipeline.stages import (
    account,
    archive,
    book,
    detect,
    feed,
    gateway,
    observe,
    refdata,
    sequencer,
    signer,
    trade,
)
from pipeline.stages.brake import Brake, Ceilings
from pipeline.stages.stage import Clock, Counts, Stage
from pipeline.units import NS_PER_MS
from pipeline.venues.polymarket.auth import L2Auth, Secret, load_api_file, load_key_file
from pipeline.venues.polymarket.encode import OrderRenderer, RequestRenderer
from pipeline.venues.polymarket.identity import AccountIdentity, checksum, identify
from pipeline.venues.polymarket.market_decode import MarketDecoder
from pipeline.venues.polymarket.sign import OrderSigner, owner_address

_MAX = (1 << 62) - 1
ORDERS_PER_MINUTE_SHARE = 60  # ceiling of a signer: its tier's sustained rate for a whole minute


@dataclass(slots=True)
class Built:
    """One stage, and what a driver must serve for it."""

    stage: Stage
    sockets: SocketMachine | None = None
    rest: RestMachine | None = None
    short_cut: ShortCut | None = None  # beside `sockets`: what their listeners may do natively
    orders: gateway.GatewayMachine | None = None
    orders_url: str = ""
    close: list[Callable[[], None]] = field(default_factory=list)


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

    @property
    def counts(self) -> Counts:
        """New counters over the lane's page; a stage keeps its own."""
        return Counts(self.page)

    def source_of(self, ring: str) -> int:
        """Return the number that names a ring in every record: its place in the run, 1 first."""
        return 1 + wiring.rings(self.stages).index(ring)

    def filter(self, log: str, *kinds: Kind) -> Filter:
        """Return a native filter over a log from its beginning."""
        return Filter(self.channels.log_reader(log), kinds)

    def account(self, ident: str) -> Account:
        """Return the account behind a stage's id; the config was checked to have it."""
        return self.config.accounts[ident]


def build_stage(name: str, env: Env) -> Built:
    """Return the stage of this name; raises ConfigError or EnvironmentProblem in one line."""
    kind, ident = wiring.split_name(name)
    return _BUILDERS[kind](name, ident, env)


def _feed(name: str, ident: str, env: Env) -> Built:
    ring = f"feed.{ident}"
    feeds = [stage for stage in env.stages if wiring.split_name(stage)[0] == "feed"]
    table = TokenTable()
    source = env.source_of(ring)
    settings = feed.FeedSettings(
        ws_url=env.config.venues.polymarket.market_ws_url, source=source, feed_index=feeds.index(name),
        feed_count=len(feeds), pause_ns_max=env.config.books.feed_pause_ms_max * NS_PER_MS)
    machine = feed.FeedMachine(
        settings, table, Scanner(table, source), MarketDecoder(table.get, source),
        env.channels.ring_writer(ring), env.counts, env.channels.stamps("feed"), env.clock)
    stage = feed.FeedStage(
        name, machine, env.filter(wiring.STREAM, Kind.INSTRUMENT),
        env.filter(wiring.DECISIONS, Kind.SUBSCRIBE, Kind.RESYNC), env.clock)
    return Built(stage, sockets=machine, short_cut=machine.short_cut)


def _refdata(name: str, ident: str, env: Env) -> Built:
    ring = f"refdata.{ident}"
    universe = env.config.universe
    settings = refdata.RefdataSettings(
        gamma_url=env.config.venues.polymarket.gamma_url, source=env.source_of(ring),
        rows_max=universe.instruments_max, event_slugs=tuple(universe.event_slugs),
        watch=env.config.strategies.basket.enabled)
    machine = refdata.RefdataMachine(settings, env.channels.ring_writer(ring), env.counts)
    return Built(refdata.RefdataStage(name, machine, env.clock), rest=machine)


def _identity(config: Config, found: Account) -> AccountIdentity:
    return identify(found.address, found.maker, found.signature_type, config.venues.polymarket.chain_id)


def _account(name: str, ident: str, env: Env) -> Built:
    ring = f"account.{ident}"
    found = env.account(ident)
    venue = env.config.venues.polymarket
    keys = load_api_file(Path(found.api_file))
    login = orjson.dumps({"auth": {
        "apiKey": keys.api_key, "secret": base64.urlsafe_b64encode(keys.secret.reveal()).decode(),
        "passphrase": keys.passphrase.reveal().decode()}, "type": "user", "markets": []})
    settings = account.AccountSettings(
        user_ws_url=venue.user_ws_url, clob_url=venue.clob_url, source=env.source_of(ring),
        account=list(env.config.accounts).index(ident), signature_type=found.signature_type, login=login)
    machine = account.AccountMachine(
        settings, keys.api_key, (found.maker, found.address),
        L2Auth(found.address, keys.api_key, keys.secret, keys.passphrase),
        env.channels.ring_writer(ring), env.counts)
    stage = account.AccountStage(
        name, machine, env.filter(wiring.STREAM, Kind.INSTRUMENT),
        env.filter(wiring.DECISIONS, Kind.RECONCILE), env.clock)
    return Built(stage, sockets=machine, rest=machine.rest)


def _sequencer(name: str, ident: str, env: Env) -> Built:
    del ident
    rings = wiring.reads(name, env.stages)
    feeds = [ring for ring in rings if ring.startswith(("feed.", "refdata."))]
    # Reports before the user channel: "sent" stands in the stream before what the venue makes of the order,
    # else that report is a stranger's and lost.
    control = [ring for ring in rings if ring not in feeds]
    control.sort(key=lambda ring: ring.startswith("account."))
    private = bytearray(Ring.bytes_for(128))
    Ring.format(private, 128)
    halt_page = HaltPage(env.state_dir)
    log = env.channels.log_writer(wiring.STREAM)
    native = Sequencer(
        [Reader(private), *(env.channels.ring_reader(ring) for ring in control)],
        [env.channels.ring_reader(ring) for ring in feeds],
        log, instruments_max=env.config.universe.instruments_max + 1,
        stream_lag_records_max=env.config.books.stream_lag_records_max)
    stage = sequencer.SequencerStage(
        name, native, log, halt_page, Writer(private), env.book_position, env.clock, env.counts,
        env.channels.stamps("sequencer"))
    return Built(stage, close=[halt_page.close])


def _book(name: str, ident: str, env: Env) -> Built:
    del ident
    rows_max = env.config.universe.instruments_max + 1
    books = Books(
        rows_max, env.channels.memory.buffer("arena"), env.channels.memory.buffer("rows"),
        ladder_blocks(env.config.shm))
    stage = book.BookStage(
        name, books, env.channels.log_reader(wiring.STREAM), env.channels.ring_writer("tops"),
        env.clock, env.counts, env.channels.stamps("book"))
    return Built(stage)


def _detect(name: str, ident: str, env: Env) -> Built:
    del ident
    ideas, *hints = [env.channels.ring_writer(ring) for ring in wiring.writes(name, env.stages)]
    tops = Tops()
    relay = Relay(env.channels.ring_reader("tops"), ideas, detect.WANTED, tops)
    stage = detect.DetectStage(
        name, Detector(), relay, tops, hints, env.clock, env.counts, env.channels.stamps("detect"))
    return Built(stage)


def _trade(name: str, ident: str, env: Env) -> Built:
    del ident
    source = Filter(env.channels.ring_reader("ideas"), trade.WANTED)
    stage = trade.TradeStage(
        name, Trader(), source, env.channels.log_writer(wiring.DECISIONS), env.clock, env.counts,
        env.channels.stamps("trade"))
    return Built(stage)


def _ceilings(config: Config, found: Account) -> Ceilings:
    return Ceilings(
        order_usd_micro_max=config.risk.order_usd_micro_max, day_usd_micro_max=config.risk.day_usd_micro_max,
        minute_orders_max=found.orders_per_s * ORDERS_PER_MINUTE_SHARE)


_UNLIMITED = Ceilings(order_usd_micro_max=_MAX, day_usd_micro_max=_MAX, minute_orders_max=_MAX)
#: For rehearsals: everybody knows this key, so nobody uses it, and nothing signed with it is ever sent.
_NOBODY = Secret(bytes(31) + b"\x01")


def _nobody() -> AccountIdentity:
    owner = checksum(owner_address(_NOBODY))
    return identify(owner, owner, 0)


def _signer(name: str, ident: str, env: Env) -> Built:
    found = env.account(ident)
    halt_page = HaltPage(env.state_dir)
    signing = signer.Signing(
        OrderSigner(load_key_file(Path(found.key_file)), _identity(env.config, found)),
        Brake(env.state_dir / f"signer-{ident}.state", _ceilings(env.config, found)), halt_page, env.clock)
    understudy = signer.Signing(
        OrderSigner(_NOBODY, _nobody()), Brake(None, _UNLIMITED), halt_page, env.clock)
    stage = signer.SignerStage(
        name, signing, understudy, env.filter(wiring.DECISIONS, Kind.INTENT),
        env.channels.ring_reader(f"hints.{ident}"),
        env.filter(wiring.STREAM, Kind.INSTRUMENT, Kind.TICK_STEP),
        env.channels.ring_writer(f"signed.{ident}"), env.clock, env.counts, env.channels.stamps("signer"))
    return Built(stage, close=[halt_page.close])


def _gateway(name: str, ident: str, env: Env) -> Built:
    ring = f"report.{ident}"
    found = env.account(ident)
    keys = load_api_file(Path(found.api_file))
    url = env.config.venues.polymarket.clob_url
    halt_page = HaltPage(env.state_dir)
    brake = Brake(env.state_dir / f"gateway-{ident}.state", _ceilings(env.config, found))
    settings = gateway.GatewaySettings(
        source=env.source_of(ring), is_dry=env.mode == "dry", orders_per_s=found.orders_per_s,
        orders_burst=found.orders_burst)
    machine = gateway.GatewayMachine(
        settings, OrderRenderer(_identity(env.config, found), keys.api_key),
        RequestRenderer(
            urlsplit(url).netloc, L2Auth(found.address, keys.api_key, keys.secret, keys.passphrase)),
        brake, halt_page, env.channels.ring_writer(ring), env.counts)
    stage = gateway.GatewayStage(
        name, machine, _gateway_understudy(settings, halt_page),
        env.channels.ring_reader(f"signed.{ident}"), env.filter(wiring.DECISIONS, Kind.CANCEL, Kind.BEAT),
        env.filter(wiring.STREAM, Kind.INSTRUMENT), env.clock)
    return Built(stage, orders=machine, orders_url=url, close=[brake.close, halt_page.close])


def _gateway_understudy(settings: gateway.GatewaySettings, halt_page: HaltPage) -> gateway.GatewayMachine:
    """Return a machine for rehearsals: another key, another secret, a ring that nobody reads."""
    ring, api_key, who = bytearray(Ring.bytes_for(128)), "nobody", _nobody()
    Ring.format(ring, 128)
    auth = L2Auth(checksum(who.owner), api_key, _NOBODY, Secret(api_key.encode()))
    endless = replace(settings, is_dry=False, orders_per_s=_MAX, orders_burst=_MAX)
    return gateway.GatewayMachine(
        endless, OrderRenderer(who, api_key), RequestRenderer("localhost", auth), Brake(None, _UNLIMITED),
        halt_page, Writer(ring), Counts())


def _archive(name: str, ident: str, env: Env) -> Built:
    del ident
    return Built(archive.ArchiveStage(
        name, env.channels.log_reader(wiring.STREAM), env.channels.log_reader(wiring.DECISIONS),
        env.state_dir / "checkpoints", env.counts))


def _observe(name: str, ident: str, env: Env) -> Built:
    del ident
    return Built(observe.ObserveStage(
        name, env.filter(wiring.STREAM, *observe.STREAM_KINDS),
        env.filter(wiring.DECISIONS, *observe.DECISION_KINDS), env.run_dir / "summary.json", env.clock))


_BUILDERS: dict[str, Callable[[str, str, Env], Built]] = {
    "feed": _feed, "refdata": _refdata, "account": _account, "sequencer": _sequencer, "book": _book,
    "detect": _detect, "trade": _trade, "signer": _signer, "gateway": _gateway, "archive": _archive,
    "observe": _observe,
}
