"""Records to books on one core: ns a record with 1, 500 and 5,000 books, with and without the venue's hash.

Input are the scanner's own records of generated frames (for one book the recorded ones too), made before the
clock starts. Reading the Tops is outside the clock. Memory is what the books occupy in shared memory.
"""

from __future__ import annotations

from typing import Any

from bench import harness
from bench.frames import Feed, instruments_of, make, tokens_of
from bench.rigs import BookRig, ring
from pipeline.native import gauge
from pipeline.native.framescan import Result, Scanner

SIZES, SMOKE_SIZES = ((1, 20_000), (500, 100_000), (5_000, 100_000)), ((1, 1_000), (5, 1_000), (20, 2_000))
SEED, SOURCE, RECV_NS = 11, 3, 1_790_000_000_000_000_000


def run(is_smoke: bool) -> dict[str, Any]:
    """Measure; smoke has 1, 5 and 20 books and few frames."""
    sizes = SMOKE_SIZES if is_smoke else SIZES
    runs = 3 if is_smoke else 5
    figures: dict[str, Any] = {"clock_ns": round(gauge.clock_ns(), 1)}
    with harness.pinned(harness.best_cpus(1)[0]), harness.quiet_heap():
        for books, frames in sizes:
            feed = make(SEED, books, frames, with_recorded=books > 1)
            opening, records = _records(feed, feed.opening), _records(feed, feed.frames)
            figures[f"books_{books}"] = {
                "input": feed.facts, "records": len(records) // 256,
                "plain": _fold(feed, opening, records, runs, is_watched=False),
                "hash": _fold(feed, opening, records, 3, is_watched=True),
                "memory": _memory(feed),
            }
    return harness.record("book", "python -m bench book", figures, is_smoke)


def _records(feed: Feed, frames: list[bytes]) -> bytes:
    """Return the records of the frames, as the scanner publishes them."""
    scanner, (writer, reader) = Scanner(tokens_of(feed.markets), SOURCE), ring()
    found = []
    for number, frame in enumerate(frames):
        if scanner.scan_bytes(frame, RECV_NS + number, writer) != Result.OK:
            raise SystemExit(f"bench book: every frame expected to be hot, found {frame[:120]!r}")
        found.append(reader.read(1 << 20))
    return b"".join(found)


def _fold(feed: Feed, opening: bytes, records: bytes, runs: int, is_watched: bool) -> dict[str, Any]:
    taken, digests, stats, count = [], [], {}, 0
    rows = instruments_of(feed.markets, is_watched)
    times = harness.samples(len(records) // 256)
    for number in range(runs + 1):
        rig = BookRig(rows)
        ends = (rig.feed, rig.feed_end, rig.tops, rig.tops_end)
        gauge.fold_records(rig.books, opening, *ends)
        done = gauge.fold_records(rig.books, records, *ends, times=times if number == runs else None)
        stats, count = rig.books.stats(), done.count
        digests.append((done.count, done.digest, stats["tops"], stats["proofs"]))
        if number < runs:
            taken.append(done)
    harness.checked("books", digests)
    return {
        **harness.spent_figures("record", count, taken),
        "latency_ns": harness.percentiles(times[:count]), "tops": stats["tops"], "proofs": stats["proofs"],
        "hash_checks": stats["hash_checks"], "stales": stats["stales_by_cause"],
        "digest": f"{digests[0][1]:016x}",
    }


def _memory(feed: Feed) -> dict[str, Any]:
    rig = BookRig(instruments_of(feed.markets, is_watched=False))
    each = sum(rig.bytes_used.values()) // len(feed.markets)
    return {"blocks": list(rig.blocks), **rig.bytes_used, "bytes_per_book": each}
