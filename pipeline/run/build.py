"""Stages from their names: the one place that knows which parts a stage is made of.

A lane (real sockets) and the simulated world (simulated time) build the same objects here; only what
carries a machine's commands differs.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from pipeline.config.accounts import Account
from pipeline.config.load import Config
from pipeline.core.detector import Detector
from pipeline.kinds import Kind
from pipeline.native.books import Books
from pipeline.native.framescan import Scanner, TokenTable
from pipeline.native.log import LogReader
from pipeline.native.relay import Filter, Relay
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.native.sequence import Sequencer
from pipeline.native.sums import Tops
from pipeline.net.egress import proxy_of
from pipeline.run import startpoint, wiring
from pipeline.run.channels import ladder_blocks
from pipeline.run.env import Built, Env
from pipeline.run.metrics import serve_metrics
from pipeline.run.reads import read_positions
from pipeline.shm.halt import HaltPage
from pipeline.stages import (
    account,
    archive,
    book,
    detect,
    feed,
    gateway,
    gateway_stage,
    health,
    observe,
    recall,
    recorder,
    refdata,
    samples,
    sequencer,
    signer,
    trade,
)
from pipeline.stages.brake import Brake, Ceilings
from pipeline.stages.holdings import HoldingsSettings
from pipeline.stages.reconcile import contradictions_gauge
from pipeline.stages.stage import Counts
from pipeline.store import checkpoints
from pipeline.store.background import Background
from pipeline.store.upkeep import Limits
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.auth import L2Auth, Secret, load_api_file, load_key_file
from pipeline.venues.polymarket.encode import OrderRenderer, RequestRenderer
from pipeline.venues.polymarket.identity import AccountIdentity, checksum, identify
from pipeline.venues.polymarket.market_decode import MarketDecoder
from pipeline.venues.polymarket.sign import OrderSigner, order_hasher, owner_address

_MAX = (1 << 62) - 1
ORDERS_PER_MINUTE_SHARE = 60  # ceiling of a signer: its tier's sustained rate for a whole minute


def build_stage(name: str, env: Env) -> Built:
    """Return the stage of this name; raises ConfigError or EnvironmentProblem in one line."""
    kind, ident = wiring.split_name(name)
    return _BUILDERS[kind](name, ident, env)


def _feed(name: str, ident: str, env: Env) -> Built:
    ring = f"feed.{ident}"
    feeds = [stage for stage in env.stages if wiring.split_name(stage)[0] == "feed"]
    table = TokenTable()
    source = env.source_of(ring)
    venue = env.config.venues.polymarket
    settings = feed.FeedSettings(
        ws_url=venue.market_ws_url, source=source, feed_index=feeds.index(name), feed_count=len(feeds),
        sockets=venue.sockets_per_shard, rows_max=env.config.rows_end,
        pause_ns_max=env.config.books.feed_pause_ms_max * NS_PER_MS)
    writer, scanner = env.channels.ring_writer(ring), Scanner(table, source)
    scanner.source_seq = writer.position
    machine = feed.FeedMachine(
        settings, table, scanner, MarketDecoder(table.get, source, time.thread_time_ns), writer,
        env.counts, env.channels.stamps("feed"), env.clock)
    stage = feed.FeedStage(
        name, machine, env.rows(Kind.INSTRUMENT, Kind.RESUME, Kind.RESOLVED),
        env.requests(Kind.SUBSCRIBE, Kind.RESYNC), env.clock)
    if not env.is_recording:
        return Built(stage, sockets=machine, listener=machine.listener)
    raw = f"{recorder.NAME}.{ident}"
    (env.log_dir / raw).mkdir(parents=True, exist_ok=True, mode=0o700)
    frames = env.channels.log_writer(raw)
    return Built(stage, sockets=recorder.RecordingMachine(machine, frames, source, env.counts))


def _refdata(name: str, ident: str, env: Env) -> Built:
    ring = f"refdata.{ident}"
    universe, venue = env.config.universe, env.config.venues.polymarket
    writer = env.channels.ring_writer(ring)
    settings = refdata.RefdataSettings(
        gamma_url=venue.gamma_url, clob_url=venue.clob_url, source=env.source_of(ring),
        source_seq=writer.position, places_max=universe.instruments_max,
        rows_max=env.config.rows_end - 1, event_slugs=universe.event_slugs, prefer_tags=universe.prefer_tags,
        replace_percent=universe.replace_percent,
        tags=universe.tags, volume_24h_micro_min=universe.volume_24h_usd_micro_min,
        exclude_slugs=universe.exclude_slugs, assets_per_socket_max=venue.assets_per_socket_max,
        order_delay_ns=venue.order_delay_ms * NS_PER_MS, watch=env.config.strategies.basket.enabled)
    machine = refdata.RefdataMachine(settings, writer, env.counts)
    if env.config.books.samples_per_s and not env.is_recording:
        machine.sample(samples.SampleSettings(venue.clob_url, env.config.books.samples_per_s))
    stage = refdata.RefdataStage(
        name, machine, env.rows(*refdata.STREAM_KINDS), lambda: writer.unread_count, env.clock)
    return Built(stage, rest=machine)


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
    writer = env.channels.ring_writer(ring)
    number = list(env.config.accounts).index(ident)
    settings = account.AccountSettings(
        user_ws_url=venue.user_ws_url, clob_url=venue.clob_url, source=env.source_of(ring),
        source_seq=writer.position,
        since_s=startpoint.trades_since_s(env.log_dir / wiring.STREAM, number, env.start),
        account=number, signature_type=found.signature_type, is_gentle=env.is_realtime,
        is_dry=env.mode == "dry", listed_ns=venue.trade_listed_ms_max * NS_PER_MS, login=login)
    auth = L2Auth(found.address, keys.api_key, keys.secret, keys.passphrase)
    machine = account.AccountMachine(
        settings, keys.api_key, (found.maker, found.address), auth, writer, env.counts)
    machine.rest.health = health.make(ident, env.config, env.mode, auth, machine.rest.outbox, env.counts)
    machine.rest.contradictions_gauge = contradictions_gauge(ident)
    every_ns = env.config.supervision.shares_check_s * NS_PER_S
    if every_ns and env.mode != "dry":  # there nothing is bought, and the wallet may be anybody's
        machine.watch_holdings(HoldingsSettings(
            number, found.maker, found.signature_type, venue.data_url, venue.clob_url, every_ns), auth)
    requests = env.requests(Kind.INTENT, Kind.RECONCILE)
    stage = account.AccountStage(
        name, machine, env.rows(Kind.INSTRUMENT, Kind.REPORT), requests, env.clock)
    return Built(stage, sockets=machine, rest=machine.rest)


def _recent(env: Env, log: str) -> LogReader:
    """Return a reader of the newest part of a log; whoever asks closes it."""
    return LogReader(env.log_dir / log, log, startpoint.recent(env.log_dir / log))


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
    halt_page = env.halt_page()
    log = env.channels.log_writer(wiring.STREAM)
    native = Sequencer(
        [Reader(private), *(env.channels.ring_reader(ring) for ring in control)],
        [env.channels.ring_reader(ring) for ring in feeds],
        log, instruments_max=env.config.rows_end,
        stream_lag_records_max=env.config.books.stream_lag_records_max)
    logged = _recent(env, wiring.STREAM)
    native.recover(logged)
    logged.close()
    stage = sequencer.SequencerStage(
        name, native, log, halt_page, Writer(private), env.book_position, env.clock, env.counts,
        env.channels.stamps("sequencer"), env.start.resume_record())
    return Built(stage, close=[halt_page.close])


def _book(name: str, ident: str, env: Env) -> Built:
    del ident
    rows_max = env.config.rows_end
    books = Books(
        rows_max, env.channels.memory.buffer("arena"), env.channels.memory.buffer("rows"),
        ladder_blocks(env.config.shm))
    stage = book.BookStage(
        name, books, env.channels.log_reader(wiring.STREAM, env.start.stream),
        env.channels.ring_writer("tops"), env.clock, env.counts, env.channels.stamps("book"), env.log)
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
    trader = checkpoints.recovered(
        env.state_dir / "checkpoints", env.log_dir, env.start.stream, env.start.decisions)
    halt_page = env.halt_page("trade")
    stage = trade.TradeStage(
        name, trader, source, env.channels.log_writer(wiring.DECISIONS), halt_page, env.clock, env.counts,
        env.channels.stamps("trade"), env.log)
    return Built(stage, close=[halt_page.close])


def _ceilings(config: Config, found: Account) -> Ceilings:
    return Ceilings(
        order_usd_micro_max=config.risk.order_usd_micro_max, day_usd_micro_max=config.risk.day_usd_micro_max,
        minute_orders_max=wire.rates_of(found.tier, found.rates).orders_per_s * ORDERS_PER_MINUTE_SHARE)


_UNLIMITED = Ceilings(order_usd_micro_max=_MAX, day_usd_micro_max=_MAX, minute_orders_max=_MAX)
#: For rehearsals: everybody knows this key, so nobody uses it, and nothing signed with it is ever sent.
_NOBODY = Secret(bytes(31) + b"\x01")


def _nobody() -> AccountIdentity:
    owner = checksum(owner_address(_NOBODY))
    return identify(owner, owner, 0)


def _signer(name: str, ident: str, env: Env) -> Built:
    found = env.account(ident)
    halt_page = env.halt_page()
    signing = signer.Signing(
        OrderSigner(load_key_file(Path(found.key_file)), _identity(env.config, found)),
        Brake(env.state_dir / f"signer-{ident}.state", _ceilings(env.config, found)), halt_page, env.clock)
    understudy = signer.Signing(
        OrderSigner(_NOBODY, _nobody()), Brake(None, _UNLIMITED), halt_page, env.clock)
    counts = env.counts
    told = counts.counter(f"reads.decisions.{name}")  # a core that began anew moves `start`, but not us
    intents = env.channels.log_reader(wiring.DECISIONS, told.get() if env.is_restart else env.start.decisions)
    told.put(intents.position)
    stage = signer.SignerStage(
        name, signing, understudy, Filter(intents, (Kind.INTENT,)),
        env.channels.ring_reader(f"hints.{ident}"), env.rows(Kind.INSTRUMENT, Kind.TICK_STEP),
        env.channels.ring_writer(f"signed.{ident}"), env.clock, counts, env.channels.stamps("signer"),
        lambda: intents.position)
    return Built(stage, close=[halt_page.close])


def _gateway(name: str, ident: str, env: Env) -> Built:
    ring, found, url = f"report.{ident}", env.account(ident), env.config.venues.polymarket.clob_url
    keys, number = load_api_file(Path(found.api_file)), list(env.config.accounts).index(ident)
    halt_page = env.halt_page(f"gateway.{number}")
    brake = Brake(env.state_dir / f"gateway-{ident}.state", _ceilings(env.config, found))
    writer, identity = env.channels.ring_writer(ring), _identity(env.config, found)
    settings = gateway.GatewaySettings(
        source=env.source_of(ring), source_seq=writer.position, epoch=env.epoch, is_dry=env.mode == "dry",
        account=number, rates=wire.rates_of(found.tier, found.rates))
    machine = gateway.GatewayMachine(
        settings, OrderRenderer(identity, keys.api_key),
        RequestRenderer(
            urlsplit(url).netloc, L2Auth(found.address, keys.api_key, keys.secret, keys.passphrase)),
        brake, halt_page, writer, env.counts)
    remembered = recall.Recall(identity, number, order_hasher(), brake.order_no)
    logged = _recent(env, wiring.DECISIONS)
    remembered.read(Filter(logged, (Kind.INTENT,)))
    logged.close()
    stage = gateway_stage.GatewayStage(
        name, machine, _gateway_understudy(settings, halt_page),
        env.channels.ring_reader(f"signed.{ident}"), env.requests(Kind.CANCEL, Kind.BEAT),
        env.rows(Kind.INSTRUMENT, Kind.CLEAR), env.clock, remembered)
    return Built(
        stage, orders=machine, orders_url=url, proxy=proxy_of(found.proxy_url, found.proxy_file),
        close=[brake.close, halt_page.close])


def _gateway_understudy(settings: gateway.GatewaySettings, halt_page: HaltPage) -> gateway.GatewayMachine:
    """Return a machine for rehearsals: another key, another secret, a ring that nobody reads."""
    ring, api_key, who = bytearray(Ring.bytes_for(128)), "nobody", _nobody()
    Ring.format(ring, 128)
    auth = L2Auth(checksum(who.owner), api_key, _NOBODY, Secret(api_key.encode()))
    endless = replace(settings, is_dry=False, rates=None, epoch=0)
    return gateway.GatewayMachine(
        endless, OrderRenderer(who, api_key), RequestRenderer("localhost", auth), Brake(None, _UNLIMITED),
        halt_page, Writer(ring), Counts())


def _archive(name: str, ident: str, env: Env) -> Built:
    del ident
    settings, shm = env.config.archive, env.config.shm
    reads = read_positions(env.channels.memory, env.stages, env.lanes)
    stage = archive.ArchiveStage(
        name, env.state_dir, env.channels.log_reader, reads, Background("archive"), env.counts,
        env.clock, env.log, archive.ArchiveSettings(
            Limits(settings.segments_kept_min, shm.log_bytes_max, settings.copies_bytes_max),
            settings.checkpoint_records,
            settings.sync_ms * NS_PER_MS))
    return Built(stage)


def _observe(name: str, ident: str, env: Env) -> Built:
    del ident
    stream = env.channels.log_reader(wiring.STREAM, None)
    stage = observe.ObserveStage(
        name, Filter(stream, observe.STREAM_KINDS), env.whole(wiring.DECISIONS, *observe.DECISION_KINDS),
        env.run_dir / "summary.json", env.clock, env.counts, lambda: stream.position,
        env.start.since_ns)
    endpoint = serve_metrics(name, env.config.metrics.port, env.run_dir, env.log)
    return Built(stage, close=[endpoint.close] if endpoint is not None else [])


_BUILDERS: dict[str, Callable[[str, str, Env], Built]] = {
    "feed": _feed, "refdata": _refdata, "account": _account, "sequencer": _sequencer, "book": _book,
    "detect": _detect, "trade": _trade, "signer": _signer, "gateway": _gateway, "archive": _archive,
    "observe": _observe,
}
