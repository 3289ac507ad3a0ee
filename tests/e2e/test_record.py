"""`pm record` against the local exchange over real sockets: what came is what stands in the logs.

A tap between the two ends the TLS, passes every byte on and keeps what the exchange sent; it takes websocket
frames apart by RFC 6455 alone. The recorded frames, decoded once more, give the records of the stream.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pipeline.codec import CODECS, HEADER_STRUCT, kind_of, runs, unpack
from pipeline.config.topology import load_topology
from pipeline.kinds import Kind
from pipeline.native.framescan import Scanner, TokenTable
from pipeline.native.log import LogReader, LogWriter
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.native.stamps import ENTRY_BYTES, Stamps
from pipeline.records import LAYOUT_VERSION, SLOT_BYTES
from pipeline.run import manifest
from pipeline.run.exchange import ExchangeProcess
from pipeline.run.record import recording_lanes
from pipeline.stages.feed import FeedMachine, FeedSettings
from pipeline.stages.recorder import BYTES_PER_RUN, BYTES_PER_SLOT, RecordingMachine, raw_runs, read_frames
from pipeline.stages.stage import Counts
from pipeline.venues.polymarket.market_decode import MarketDecoder
from tests.shared import ROOT, wait_until
from tests.world.refold import read_log

FRAMES_MIN = 300
PM = (sys.executable, "-m", "pipeline.cli")
RING_SLOTS = 1 << 14
TEXT, FIN = 1, 0x80


class Tap:
    """Listens with the exchange's certificate, passes every byte on; `sent` has what each socket was sent."""

    def __init__(self, exchange: ExchangeProcess) -> None:
        self.sent: list[bytearray] = []
        self.port = 0
        target = urlsplit(exchange.urls["ws_market"])
        self._target = (target.hostname or "", target.port or 0)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(exchange.directory / "server.pem", exchange.directory / "server.key")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self._serving: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        wait_until(lambda: self.port, what="the tap's port")

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        await self._end.wait()
        server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        kept = bytearray()
        self.sent.append(kept)
        try:
            await asyncio.gather(
                _pass_on(reader, up_writer, bytearray()), _pass_on(up_reader, writer, kept))
        finally:
            for one in (writer, up_writer):
                one.transport.abort()
            await asyncio.sleep(0)

    def close(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    def frames(self) -> list[list[bytes]]:
        """Return the text frames that each socket was sent, in order."""
        return [_text_frames(bytes(kept)) for kept in self.sent]


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    try:
        while data := await reader.read(1 << 16):
            kept += data
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # an end is gone; so is the other then
    finally:
        writer.close()


def _text_frames(data: bytes) -> list[bytes]:
    """Return the text frames behind the handshake; the last may be cut off."""
    head, _, _ = data.partition(b"\r\n\r\n")
    at, found = len(head) + 4, []
    while at + 2 <= len(data):
        opcode, size = data[at], data[at + 1]
        at += 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            size = int.from_bytes(data[at : at + wide], "big")
            at += wide
        if at + size > len(data):
            break
        if opcode == FIN | TEXT:
            found.append(data[at : at + size])
        at += size
    return found


class Session:
    """One recording, made once: the folder, what was printed, what the tap kept."""

    def __init__(self, directory: Path) -> None:
        self.out = directory / "recorded"
        exchange = ExchangeProcess(
            directory / "exchange", {"seed": 11, "feeds": [], "speed": 1.0, "seconds": 60.0, "markets": 8,
                                     "planted_events": 10})
        exchange.start(lambda *_: None)
        tap = Tap(exchange)
        try:
            mine = directory / "mine.toml"
            mine.write_text(
                f'name = "rec{os.getpid()}"\ntopology = "2core"\n[venues.polymarket]\n'
                f'clob_url = "{exchange.urls["clob_tls"]}"\ngamma_url = "{exchange.urls["gamma_tls"]}"\n'
                f'market_ws_url = "wss://localhost:{tap.port}/ws/market"\n'
                f'user_ws_url = "{exchange.urls["ws_user_tls"]}"\ntls_ca_file = "{exchange.ca_file}"\n')
            process = subprocess.Popen(
                [*PM, "record", "-c", str(ROOT / "config" / "demo.toml"), "-c", str(mine), "--out",
                 str(self.out), "--cpus", "virtual", "--json"],
                cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            try:
                wait_until(
                    lambda: process.poll() is not None or self._count(tap) >= FRAMES_MIN, 90,
                    "frames recorded", pause_s=0.2)
                process.send_signal(signal.SIGTERM)
                self.printed, self.errors = process.communicate(timeout=60)
            finally:
                process.kill()
            self.exit_code = process.returncode
            self.sent = tap.frames()
        finally:
            tap.close()
            exchange.stop()

    def _count(self, tap: Tap) -> int:
        return sum(len(found) for found in tap.frames())

    def log(self, name: str) -> bytes:
        return read_log(self.out / "logs" / name, name)

    def raw(self) -> list[tuple[int, int, bytes]]:
        reader = LogReader(self.out / "logs" / "raw.polymarket.0", "raw.polymarket.0", 0, verify=True)
        try:
            return read_frames(reader)
        finally:
            reader.close()


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return Session(tmp_path_factory.mktemp("record"))


def test_a_clean_stop_leaves_verified_logs(session: Session) -> None:
    """SIGTERM ends it with exit 0, the figures, and no key read: the wallet's files do not even exist."""
    assert 0 == session.exit_code, session.errors
    told = json.loads(session.printed.splitlines()[-1])
    raw = session.raw()
    assert len(raw) == told["frames"] >= FRAMES_MIN
    assert sum(len(frame) for _, _, frame in raw) == told["frame_bytes"]
    assert {"stream", "raw.polymarket.0"} == set(told["logs"])
    assert b"" == session.log("decisions")
    kinds = {kind_of(run) for run in runs(session.log("stream"))}
    assert {Kind.INSTRUMENT, Kind.SNAPSHOT, Kind.DELTA} <= kinds
    assert not kinds & {Kind.REPORT, Kind.FILL, Kind.BALANCE}
    assert [] == [path.name for path in Path("/dev/shm").iterdir() if f"-rec{os.getpid()}" in path.name]


def test_frames_are_what_the_exchange_sent(session: Session) -> None:
    """Byte for byte, socket by socket, none missing and none twice."""
    by_socket: dict[int, list[bytes]] = {}
    for _, channel, frame in session.raw():
        by_socket.setdefault(channel, []).append(frame)

    sent = [frames for frames in session.sent if frames]
    assert len(sent) == len(by_socket) > 0
    for channel, frames in by_socket.items():
        assert any(frames == one[: len(frames)] for one in sent), f"socket {channel}: {len(frames)} frames"


def test_recorded_frames_decode_to_the_stream(session: Session) -> None:
    """The raw log is enough: the decoder makes of it the market records that the stream holds."""
    stream = list(runs(session.log("stream")))
    sources = {HEADER_STRUCT.unpack_from(run)[7] for run in stream if kind_of(run) == Kind.SNAPSHOT}
    assert 1 == len(sources)
    logged = [
        run for run in stream if HEADER_STRUCT.unpack_from(run)[7] in sources and kind_of(run) != Kind.GAP]

    again = _decoded(session.raw(), stream, sources.pop(), HEADER_STRUCT.unpack_from(logged[0])[3] - 1)

    assert len(logged) <= len(again) <= len(logged) + RING_SLOTS  # what the last turn had not sequenced yet
    assert len(logged) > FRAMES_MIN
    for number, (expected, found) in enumerate(zip(logged, again, strict=False)):
        assert _plain(expected) == _plain(found), number


def _plain(run: bytes) -> bytes:
    """Return a run without what the sequencer and the log give it: place, stream time, check."""
    plain = bytearray(run)
    for at in range(0, len(plain), SLOT_BYTES):
        plain[at : at + 16] = bytes(16)
        plain[at + 44 : at + 48] = bytes(4)
    return bytes(plain)


def _decoded(
    raw: list[tuple[int, int, bytes]], stream: list[bytes], source: int, source_seq: int,
) -> list[bytes]:
    """Return the runs that a feed machine makes of the frames, every row known."""
    memory = bytearray(Ring.bytes_for(RING_SLOTS))
    Ring.format(memory, RING_SLOTS)
    writer, reader, table = Writer(memory), Reader(memory), TokenTable()
    scanner = Scanner(table, source)
    scanner.source_seq = source_seq
    machine = FeedMachine(
        FeedSettings("wss://localhost", source), table, scanner, MarketDecoder(table.get, source), writer,
        Counts(), Stamps(bytearray(1_024 * ENTRY_BYTES)), lambda: 1)
    for run in stream:
        if kind_of(run) == Kind.INSTRUMENT:
            row = CODECS[Kind.INSTRUMENT].unpack(run)
            tokens = tuple(str(int.from_bytes(token, "big")) for token in (row.token_yes, row.token_no))
            market = "0x" + row.condition.hex()
            machine.on_instrument(1, row.instrument, row.shard, (tokens[0], tokens[1]), market)
    found: list[bytes] = []
    for channel in {channel for _, channel, _ in raw}:
        machine.on_open(1, channel)
    for recv_ns, channel, frame in raw:
        assert machine.on_frame(recv_ns, channel, frame)
        while data := reader.read(4_096):
            found += [run for run in runs(data) if kind_of(run) != Kind.GAP]
    return found


def test_the_start_leaves_its_manifest(session: Session) -> None:
    """Beside the logs stands what wrote them: code, configuration, lanes with CPUs and waits, the machine."""
    (told,) = manifest.read_all(session.out / "logs")
    limits = next(unpack(run) for run in runs(session.log("stream")) if kind_of(run) == Kind.CONFIG)
    assert limits.config_hash.hex() == told["config_hash"]
    assert manifest.build_id() == told["build"]
    assert manifest.lock_hash() == told["lock_hash"] != ""
    assert ("2core", "dry", 1, 0, 0) == tuple(
        told[name] for name in ("topology", "mode", "generation", "stream_seq", "decisions_seq"))
    assert {"core": "block", "back": "block"} == {lane["name"]: lane["wait"] for lane in told["lanes"]}
    assert {lane["cpu"] for lane in told["lanes"]} <= set(told["machine"]["cpus"])
    assert LAYOUT_VERSION == told["layout_version"]
    text = (session.out / "logs" / manifest.DIRECTORY / "1.json").read_text()
    assert "secret" not in text
    assert "key" not in text


def test_inspect_reads_the_raw_log(session: Session) -> None:
    """A frame in words is the text that came."""
    done = subprocess.run(
        [*PM, "inspect", str(session.out / "logs" / "raw.polymarket.0"), "--count", "1"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert 0 == done.returncode, done.stderr
    first = session.raw()[0][2]
    assert "raw_frame" in done.stdout
    assert first[:BYTES_PER_SLOT].decode() in done.stdout


def test_only_what_records_runs() -> None:
    """No stage that decides, signs or sends stands in a recording's lanes, whatever the topology."""
    for name in ("1core", "2core", "4core", "8core", "16core"):
        stages = {stage for lane in recording_lanes(load_topology(name).lanes) for stage in lane.stages}
        assert {"feed.polymarket.0", "refdata.polymarket", "sequencer", "archive"} == stages


@pytest.mark.parametrize(
    "size", [0, 1, BYTES_PER_SLOT, BYTES_PER_SLOT + 1, BYTES_PER_RUN, BYTES_PER_RUN + 1, 40_000])
def test_a_frame_of_any_size_comes_back(tmp_path: Path, size: int) -> None:
    """Empty, one slot, one run, several runs: the same bytes, and each run by itself is told apart."""
    frames = [bytes(number % 251 for number in range(size)), b"next", b""]
    writer = LogWriter(tmp_path, "raw.x", 1_024)
    for number, frame in enumerate(frames, 1):
        for run in raw_runs(frame, 7, 3, number, 1_000 + number):
            assert writer.push(run)
    writer.close()
    reader = LogReader(tmp_path, "raw.x", 0, verify=True)

    assert [(1_000 + number, 7, frame) for number, frame in enumerate(frames, 1)] == read_frames(reader)
    reader.close()


class _Machine:
    """Refuses each frame once."""

    def __init__(self) -> None:
        self.outbox: Any = None
        self.taken: list[bytes] = []
        self._is_refusing = False

    def on_frame(self, now_ns: int, conn: int, data: bytes) -> bool:
        self._is_refusing = not self._is_refusing
        if not self._is_refusing:
            self.taken.append(data)
        return not self._is_refusing


def test_a_frame_that_finds_no_room_is_written_once(tmp_path: Path) -> None:
    """The driver hands it in again; the log has it once."""
    log, inner = LogWriter(tmp_path, "raw.x", 1_024), _Machine()
    machine = RecordingMachine(inner, log, 1, Counts())  # type: ignore[arg-type]
    for frame in (b"one", b"two"):
        assert not machine.on_frame(5, 0, frame)
        assert machine.on_frame(9, 0, frame)
    log.close()
    reader = LogReader(tmp_path, "raw.x", 0)

    assert [b"one", b"two"] == inner.taken
    assert [(5, 0, b"one"), (5, 0, b"two")] == read_frames(reader)
    assert Kind.RAW_FRAME == unpack(raw_runs(b"x", 0, 1, 1, 1)[0]).kind
    reader.close()
