"""Frame to book on one core: the scanner alone, the decoder that it replaces, scanner with books behind it.

Headline: `scan_books.frames_per_s`, frame scan and ladder in one thread, one fold a frame. Scanner and
decoder see the same frames in the same run; both must give the same records (compared before the clock
starts).
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from typing import Any

import orjson

from bench import harness
from bench.frames import Feed, instruments_of, kind_of_frame, make, packed, tokens_of
from bench.rigs import BookRig, ring
from pipeline.kinds import Flag
from pipeline.native import gauge
from pipeline.native.framescan import Result, Scanner
from pipeline.records import SLOT_BYTES
from pipeline.venues.polymarket.market_decode import MarketDecoder

FLAGS_OFFSET = 34
SEED, SOURCE, RECV_NS = 7, 3, 1_800_000_000_000_000_000  # behind all that was recorded


def run(is_smoke: bool) -> dict[str, Any]:
    """Measure; smoke is a fiftieth of the size."""
    feed = make(SEED, 20, 2_000) if is_smoke else make(SEED, 500, 100_000)
    runs = 3 if is_smoke else 7
    with harness.pinned(harness.best_cpus(1)[0]), harness.quiet_heap():
        checksum, counts = _compare(feed)
        figures: dict[str, Any] = {
            "input": feed.facts, "checksum": f"{checksum:08x}", **counts,
            "clock_ns": round(gauge.clock_ns(), 1), "scan": _scan(feed, runs), "scan_by_kind": _by_kind(feed),
            "orjson_loads_alone": _loads(feed, min(runs, 3)), "scan_from_python": _from_python(feed, runs),
            "orjson_decoder": _decoder(feed, min(runs, 3)), "scan_books": _scan_books(feed, runs, False, 1),
            "scan_books_by_32": _scan_books(feed, runs, False, 32),
            "scan_books_hash": _scan_books(feed, min(runs, 3), True, 1),
        }
    scanned, decoded = figures["scan"]["cpu_ns_per_frame"], figures["orjson_decoder"]["cpu_ns_per_frame"]
    figures["decoder_over_scanner"] = round(decoded / scanned, 1)
    figures["frames_per_s"] = figures["scan_books"]["frames_per_s"]["median"]
    figures["frames_per_cpu_s"] = figures["scan_books"]["frames_per_cpu_s"]["median"]
    return harness.record("framescan", "python -m bench framescan", figures, is_smoke)


def _compare(feed: Feed) -> tuple[int, dict[str, Any]]:
    """Prove that both decoders give the same bytes; return their CRC-32 and the scanner's counters."""
    table = tokens_of(feed.markets)
    scanner, decoder = Scanner(table, SOURCE), MarketDecoder(table.get, SOURCE)
    (writer, reader), (slow_writer, slow_reader) = ring(), ring()
    checksum, differences = 0, 0
    for number, frame in enumerate(feed.frames):
        result = scanner.scan_bytes(frame, RECV_NS + number, writer)
        data = reader.read(1 << 20)
        for run in decoder.decode(frame, RECV_NS + number).records:
            slow_writer.push(run)
        decoded = _without_flag(slow_reader.read(1 << 20))
        if result == Result.FALLBACK:
            scanner.source_seq = decoder.source_seq
            continue
        differences += decoded != data
        checksum = zlib.crc32(data, checksum)
    if differences:
        raise SystemExit(f"bench framescan: both decoders expected to agree, {differences} frames differ")
    return checksum, {
        "frames_ok": scanner.ok_count, "fallbacks": scanner.fallback_count, "unknown": scanner.unknown_count,
        "records": scanner.source_seq}


def _without_flag(data: bytes) -> bytes:
    """Return records without the one bit by which the decoder signs its work."""
    plain = bytearray(data)
    for at in range(FLAGS_OFFSET, len(plain), SLOT_BYTES):
        plain[at] &= 0xFF ^ Flag.FALLBACK
    return bytes(plain)


def _scan(feed: Feed, runs: int) -> dict[str, Any]:
    text, ends = packed(feed.frames)
    taken, digests = [], []
    times = harness.samples(len(ends))
    for number in range(runs + 1):
        scanner, (writer, reader) = Scanner(tokens_of(feed.markets), SOURCE), ring()
        is_last = number == runs  # latencies in a run of their own: the clock costs more than it measures
        done = gauge.scan_frames(scanner, text, ends, writer, reader, RECV_NS, times if is_last else None)
        digests.append((done.count, done.digest))
        if not is_last:
            taken.append(done)
    harness.checked("scan", digests)
    return harness.spent_figures("frame", len(ends), taken) | {"latency_ns": harness.percentiles(times)}


def _by_kind(feed: Feed) -> dict[str, Any]:
    """Return ns a frame of each kind alone, generated and recorded apart."""
    groups: dict[str, list[bytes]] = defaultdict(list)
    for frame, is_recorded in zip(feed.frames, feed.is_recorded, strict=True):
        groups[("recorded_" if is_recorded else "") + kind_of_frame(frame)].append(frame)
    found = {}
    for kind, frames in sorted(groups.items()):
        repeated = frames * max(1, 2_000 // len(frames))
        text, ends = packed(repeated)
        spent = []
        for _ in range(5):
            scanner, (writer, reader) = Scanner(tokens_of(feed.markets), SOURCE), ring()
            spent.append(gauge.scan_frames(scanner, text, ends, writer, reader, RECV_NS).cpu_ns)
        found[kind] = {
            "cpu_ns_per_frame": harness.ns_each(len(repeated), int(harness.median(spent))),
            "bytes_mean": len(text) // len(repeated), "distinct": len(set(frames)), "scanned": len(repeated)}
    return found


def _from_python(feed: Feed, runs: int) -> dict[str, Any]:
    """Scan as the feed stage does: one call a frame out of Python."""
    taken = []
    for _ in range(runs):
        scanner, (writer, reader) = Scanner(tokens_of(feed.markets), SOURCE), ring()
        with harness.Watch() as watch:
            for number, frame in enumerate(feed.frames):
                while scanner.scan_bytes(frame, RECV_NS, writer) == Result.NO_ROOM:
                    reader.read(1 << 20)
                if number % 256 == 0:
                    reader.read(1 << 20)
        taken.append(watch)
    return harness.spent_figures("frame", len(feed.frames), taken)


def _loads(feed: Feed, runs: int) -> dict[str, Any]:
    """Text to Python objects and nothing else: the floor of any decoder that is built on orjson."""
    taken = []
    for _ in range(runs):
        with harness.Watch() as watch:
            for frame in feed.frames:
                orjson.loads(frame)
        taken.append(watch)
    return harness.spent_figures("frame", len(feed.frames), taken)


def _decoder(feed: Feed, runs: int) -> dict[str, Any]:
    """The same frames through the orjson decoder that serves every frame the scanner does not know."""
    taken, counts = [], []
    for _ in range(runs):
        decoder, count = MarketDecoder(tokens_of(feed.markets).get, SOURCE), 0
        with harness.Watch() as watch:
            for frame in feed.frames:
                count += len(decoder.decode(frame, RECV_NS).records)
        taken.append(watch)
        counts.append(count)
    harness.checked("decoder", counts)
    return harness.spent_figures("frame", len(feed.frames), taken)


def _scan_books(feed: Feed, runs: int, is_watched: bool, batch: int) -> dict[str, Any]:
    """Scan into a ring, fold it into the books, read every Top: one thread, a fold after `batch` frames."""
    text, ends = packed(feed.frames)
    opening, opening_ends = packed(feed.opening)
    taken, digests, stats = [], [], {}
    rows = instruments_of(feed.markets, is_watched)
    times = harness.samples(-(-len(ends) // batch))
    for number in range(runs + 1):
        scanner, rig = Scanner(tokens_of(feed.markets), SOURCE), BookRig(rows)
        ends_of = (scanner, rig.feed, rig.feed_end, rig.books, rig.tops, rig.tops_end)
        gauge.scan_and_fold(ends_of[0], opening, opening_ends, *ends_of[1:], RECV_NS)
        is_last = number == runs
        done = gauge.scan_and_fold(
            ends_of[0], text, ends, *ends_of[1:], RECV_NS, batch, times if is_last else None)
        stats = rig.books.stats()
        digests.append((done.count, done.digest, stats["tops"], stats["proofs"]))
        if not is_last:
            taken.append(done)
    harness.checked("scan and books", digests)
    return harness.spent_figures("frame", len(ends), taken) | {
        "latency_ns": harness.percentiles(times), "tops": stats["tops"], "hash_checks": stats["hash_checks"],
        "stales": stats["stales_by_cause"], "digest": f"{digests[0][1]:016x}"}
