"""What `Books` promises, one case each: proofs, causes, order, limits. The random streams are in
tests/property."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pipeline import records as r
from pipeline.codec import CODECS, unpack
from pipeline.native.books import Books
from pipeline.native.ladder import Rows
from tests.models.fold import Fold, channel, split, words
from tests.models.venue_model import Market, runs_of, stamped

HASHED = r.Rule.MIRRORED | r.Rule.HASHED
WATCHED = HASHED | r.Rule.WATCH
START_NS = 1_790_000_000 * 10**9
MS = 10**6
OPEN, STALE, CROSSED = r.Flag.OPEN, r.Flag.STALE, r.Flag.CROSSED


class Bench:
    """One market and one fold, with a clock that moves by Ticks."""

    def __init__(self, rules: int = WATCHED, tick_step: int = 100, seed: int = 1, **limits: Any) -> None:
        self.market = Market(3, random.Random(seed), tick_step, rules)
        self.fold, self.now_ns = Fold(**limits), START_NS
        self.take(self.market.instrument)

    def take(self, run: bytes) -> list[tuple[Any, ...]]:
        return self.fold.fold(stamped(run, now_ns=self.now_ns))

    def all(self, runs: list[bytes]) -> list[tuple[Any, ...]]:
        return [out for run in runs for out in self.take(run)]

    def ticks(self, count: int) -> list[tuple[Any, ...]]:
        found = []
        for _ in range(count):
            self.now_ns += MS
            found += self.take(CODECS[r.Kind.TICK].pack())
        return [out for out in found if out[0] != "pass"]

    def changed(self, **fields: Any) -> bytes:
        """A right one-change frame; `fields` of the record are then replaced."""
        self.market.venue_ns += MS
        change = next(filter(None, (self.market.place(*self.market.quiet_order()) for _ in range(100))))
        record = unpack(self.market.delta([change], self.market.hashes()))
        return CODECS[r.Kind.DELTA].pack(**(record._asdict() | fields))

    @property
    def row(self) -> dict[str, Any]:
        found = self.fold.books.snapshot_row(3)
        assert found is not None
        return found


def kinds(found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [out[:3] if out[0] == "top" else out for out in found]


def test_a_watched_book_is_proven_at_its_frame() -> None:
    """Snapshot and frame of a watched row give a Top without OPEN at once, with proof and venue time."""
    bench = Bench()
    assert [("top", 3, 0)] == kinds(bench.take(bench.market.snapshot(0)))
    bench.now_ns += 5
    (top,) = bench.take(bench.changed())
    assert ("top", 3, 0, *bench.market.tops(), bench.market.venue_ns, bench.now_ns) == top


def test_other_books_are_proven_at_a_tick_in_row_order() -> None:
    """Rows without WATCH wait for a Tick; `hash_rows_max` bounds a Tick and the cursor goes round."""
    fold, rng = Fold(hash_rows_max=2), random.Random(5)
    rows = [Market(row, rng, 100, HASHED) for row in (2, 4, 6, 9, 11)]
    for market in rows:
        fold.fold(market.instrument)
        assert [("top", market.row, OPEN)] == kinds(fold.fold(market.snapshot(0)))
    proven = [
        [out[1] for out in fold.fold(CODECS[r.Kind.TICK].pack(now_ns=n)) if out[0] == "top"]
        for n in (1, 2, 3, 4)
    ]
    assert [[2, 4], [6, 9], [11], []] == proven


def test_no_batch_is_trusted_before_its_last_frame() -> None:
    """Frames of one commit are OPEN until the hash fits, although each announces the final best prices."""
    bench = Bench()
    bench.take(bench.market.snapshot(0))
    market = bench.market
    market.venue_ns += MS
    changes = [c for c in (market.place(0, p, 7_000_000 + p) for p in (100, 200, 300)) if c]
    assert [("top", 3, OPEN), ("top", 3, OPEN), ("top", 3, 0)] == kinds(
        bench.all(market.frames(changes, per_frame=1))
    )


def test_the_last_trade_price_is_found_from_change_print_or_search() -> None:
    """A new last trade price proves by the level that changed, by the print, else by search after
    batch_ns_max."""
    bench = Bench()
    market = bench.market
    bench.take(market.snapshot(0))
    market.trade = (4_440, 3)
    assert [("top", 3, OPEN)] == kinds(bench.take(bench.changed()))
    found = bench.take(CODECS[r.Kind.TRADE_PRINT].pack(instrument=3, price_ticks=10_000 - 4_440))
    assert [("top", 3, 0)] == kinds(found)
    market.trade = (5_550, 3)
    assert [("top", 3, OPEN)] == kinds(bench.take(bench.changed()))
    assert [] == bench.ticks(19)
    assert [("top", 3, 0)] == kinds(bench.ticks(1))
    assert (5_550, 3) == bench.row["last_trade"]
    market.venue_ns += MS
    level = market.best(0)
    market.trade = (level, 3)
    change = market.place(0, level, 0)
    assert change is not None
    assert [("top", 3, 0)] == kinds(bench.all(market.frames([change])))


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"price_ticks": (4_450, 5_550)}, r.Cause.OFF_GRID),
        ({"price_ticks": (0, 10_000)}, r.Cause.OFF_GRID),
        ({"price_ticks": (10_000, 0)}, r.Cause.OFF_GRID),
        ({"size_micro": (-1, -1)}, r.Cause.OFF_GRID),
        ({"size_micro": (10**15 + 1, 10**15 + 1)}, r.Cause.OFF_GRID),
        ({"side": bytes((2, 0, 0, 0, 0, 0, 0, 0))}, r.Cause.OFF_GRID),
        ({"outcome": bytes((0, 2, 0, 0, 0, 0, 0, 0))}, r.Cause.OFF_GRID),
        ({"change_count": 9}, r.Cause.OFF_GRID),
        ({"size_micro": (5, 6)}, r.Cause.MIRROR_MISMATCH),
        ({"side": bytes(8)}, r.Cause.MIRROR_MISMATCH),
    ],
)
def test_an_impossible_frame_makes_the_book_stale_and_changes_nothing(
    fields: dict[str, Any], cause: r.Cause
) -> None:
    """Off-grid, out of bounds or unmirrored: no part of the frame is applied, the cause is named, the Top is
    empty."""
    bench = Bench()
    bench.take(bench.market.snapshot(0))
    before = bench.row
    found = bench.take(bench.changed(**fields))
    assert [("stale", 3, cause), ("top", 3, STALE)] == kinds(found)
    assert ([], []) == found[1][3:5]
    assert (before["bids"], before["asks"]) == (bench.row["bids"], bench.row["asks"])
    assert [] == bench.take(bench.changed())  # stale: dropped and counted
    assert [("stale", 3, 0), ("top", 3, 0)] == kinds(bench.take(bench.market.snapshot(0)))
    stats = bench.fold.books.stats()
    assert (1, {cause.name: 1}, 1) == (stats["dropped_stale"], stats["stales_by_cause"], stats["stales"])


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"hash_yes": b"\1" * 20, "hash_no": b"\2" * 20}, r.Cause.HASH_MISMATCH),
        ({"best_bid_yes": 100, "best_bid_no": 100}, r.Cause.BBO_MISMATCH),
    ],
)
def test_a_lasting_mismatch_makes_the_book_stale(fields: dict[str, Any], cause: r.Cause) -> None:
    """A hash or best price that stays wrong for desync_ns_max of stream time ends trust; not a moment
    earlier."""
    bench = Bench()
    bench.take(bench.market.snapshot(0))
    assert [("top", 3, OPEN)] == kinds(bench.take(bench.changed(**fields)))
    assert [] == bench.ticks(249)
    assert [("stale", 3, cause), ("top", 3, STALE)] == kinds(bench.ticks(1))


def test_a_crossed_book_is_never_proven_and_then_stale() -> None:
    """One that lasts 250 ms is given up, also where no hash is announced."""
    bench = Bench(r.Rule.MIRRORED)
    bench.take(bench.market.snapshot(0))
    bench.ticks(20)
    market = bench.market
    market.venue_ns += MS
    change = market.place(1, market.best(0), 1_000_000)
    assert change is not None
    assert [("top", 3, OPEN | CROSSED)] == kinds(bench.take(market.delta([change], market.hashes())))
    assert [] == bench.ticks(249)
    assert [("stale", 3, r.Cause.CROSSED_BOOK), ("top", 3, STALE)] == kinds(bench.ticks(1))


def test_without_hashes_time_and_best_prices_prove() -> None:
    """batch_ns_max after its first frame a book whose best prices are the announced ones is proven."""
    bench = Bench(r.Rule.MIRRORED)
    assert [("top", 3, OPEN)] == kinds(bench.take(bench.market.snapshot(0)))
    assert [] == bench.ticks(19)
    assert [("top", 3, 0)] == kinds(bench.ticks(1))
    assert [("top", 3, OPEN)] == kinds(bench.take(bench.changed()))
    bench.take(CODECS[r.Kind.CONFIG].pack(batch_ns_max=5 * MS))
    assert [("top", 3, 0)] == kinds(bench.ticks(5))


def test_old_and_superseded_frames_are_dropped_and_equal_ones_applied() -> None:
    """Older than the snapshot: dropped. Same millisecond: applied. A pair no longer newest: dropped. A
    repeat: applied."""
    bench = Bench()
    old = bench.changed()
    equal = bench.changed()
    bench.take(bench.market.snapshot(0))
    assert [] == bench.take(old)
    assert [("top", 3, 0)] == kinds(bench.take(equal))
    newest = bench.changed()
    assert [("top", 3, 0), ("top", 3, 0)] == kinds(bench.all([newest, newest]))
    assert [] == bench.take(equal)
    stats = bench.fold.books.stats()
    assert (1, 1) == (stats["dropped_old"], stats["superseded"])


def test_late_frames_do_not_roll_levels_back() -> None:
    """Two frames swapped on the way: the older one changes only levels that the newer did not touch."""
    bench = Bench()
    market = bench.market
    bench.take(market.snapshot(0))
    frames = []
    for size, other in ((7_000_000, 9_000_000), (8_000_000, None)):
        market.venue_ns += MS
        changes = [market.place(0, 100, size), *([market.place(0, 200, other)] if other else [])]
        frames.append(market.delta([c for c in changes if c], market.hashes()))
    assert [("top", 3, OPEN), ("top", 3, 0)] == kinds(bench.all(frames[::-1]))
    assert {100: 8_000_000, 200: 9_000_000}.items() <= dict(bench.row["bids"]).items()


def test_the_sisters_snapshot_is_compared_at_an_equal_time() -> None:
    """Equal book: nothing changes. Different book in the same instant: mirror mismatch. A newer one:
    rebuilds."""
    bench = Bench()
    market = bench.market
    bench.take(market.snapshot(0))
    assert [("top", 3, 0)] == kinds(bench.take(market.snapshot(1)))
    market.venue_ns += MS
    market.place(0, 100, 5)
    assert [("top", 3, 0)] == kinds(bench.take(market.snapshot(1)))
    assert (100, 5) in bench.row["bids"]
    market.place(0, 200, 6)
    assert [("stale", 3, r.Cause.MIRROR_MISMATCH), ("top", 3, STALE)] == kinds(bench.take(market.snapshot(0)))


@pytest.mark.parametrize("gap", [{"shard": 0}, {"instrument": 3, "shard": 9}])
def test_a_gap_makes_books_stale_until_a_snapshot(gap: dict[str, int]) -> None:
    """The GAP alone goes down the chain; observers see STALE; the snapshot ends it."""
    bench = Bench()
    bench.take(bench.market.snapshot(0))
    run = stamped(CODECS[r.Kind.GAP].pack(cause=r.Cause.FREEZE, **gap), now_ns=bench.now_ns)
    assert [("pass", run)] == bench.fold.fold(run)
    assert (True, r.Cause.FREEZE) == (bench.row["is_stale"], bench.row["cause"])
    seen = unpack(Rows(bench.fold.rows).read(3))
    assert STALE == seen.flags
    assert [("stale", 3, 0), ("top", 3, 0)] == kinds(bench.take(bench.market.snapshot(0)))


def test_a_finer_tick_moves_the_book_and_needs_a_new_proof() -> None:
    """Levels stay; OPEN until a frame's hash has the new tick; 1 s without one is TICK_UNPROVEN."""
    bench = Bench()
    market = bench.market
    bench.take(market.snapshot(0))
    levels = bench.row["bids"]
    steps = [stamped(run, now_ns=bench.now_ns) for run in market.change_tick(10)]
    expected = [out for step in steps for out in (("pass", step), ("top", 3, OPEN))]
    assert expected == kinds(bench.all(steps))  # the core learns the tick before the Top
    assert (levels, 10, {128: 0, 1024: 1}) == (
        bench.row["bids"],
        bench.row["grid"],
        {size: used for size, (used, *_) in bench.fold.books.usage().items() if size < 16384},
    )
    assert [("top", 3, 0)] == kinds(bench.take(bench.changed()))
    bench.all(market.change_tick(100))
    assert [] == bench.take(stamped(market.instrument, flags=r.Flag.REPEAT))
    assert [] == bench.ticks(999)
    assert [("stale", 3, r.Cause.TICK_UNPROVEN), ("top", 3, STALE)] == kinds(bench.ticks(1))
    assert (10, 100) == (bench.row["grid"], bench.row["tick_step"])


def test_a_full_arena_is_a_stale_book_and_a_resolved_market_frees_its_block() -> None:
    """No block: ARENA_FULL, named once; the next snapshot after a market resolved finds room."""
    fold, rng = Fold(blocks=(1, 0, 0)), random.Random(2)
    one, two = (Market(row, rng, 100, WATCHED) for row in (1, 2))
    for market in (one, two):
        fold.fold(market.instrument)
    assert [("top", 1, 0)] == kinds(fold.fold(one.snapshot(0)))
    assert [("stale", 2, r.Cause.ARENA_FULL), ("top", 2, STALE)] == kinds(fold.fold(two.snapshot(0)))
    assert [] == fold.fold(two.snapshot(0))
    fold.fold(CODECS[r.Kind.RESOLVED].pack(instrument=1))
    assert [("stale", 2, 0), ("top", 2, 0)] == kinds(fold.fold(two.snapshot(0)))
    assert [] == fold.fold(one.snapshot(0))


def test_a_retired_market_frees_its_block_and_may_come_back() -> None:
    """Stale for good (SHUTDOWN) while others need its place; carried again, a snapshot makes it right."""
    fold, rng = Fold(blocks=(1, 0, 0)), random.Random(2)
    one, two = (Market(row, rng, 100, WATCHED) for row in (1, 2))
    for market in (one, two):
        fold.fold(market.instrument)
    fold.fold(one.snapshot(0))
    known = CODECS[r.Kind.INSTRUMENT].unpack(one.instrument)
    rules = int(known.rules & ~r.Rule.HASHED | r.Rule.RETIRED)
    retired = CODECS[r.Kind.INSTRUMENT].pack(**known._replace(rules=rules)._asdict())
    assert [("pass", retired), ("stale", 1, r.Cause.SHUTDOWN), ("top", 1, STALE)] == kinds(fold.fold(retired))
    assert [("top", 2, 0)] == kinds(fold.fold(two.snapshot(0)))
    assert [("pass", retired)] == kinds(fold.fold(retired))
    fold.fold(CODECS[r.Kind.RESOLVED].pack(instrument=2))
    fold.fold(one.instrument)
    assert [("stale", 1, 0), ("top", 1, 0)] == kinds(fold.fold(one.snapshot(0)))


def test_a_snapshot_of_many_runs_counts_at_its_last() -> None:
    """Runs of two sources mixed: each book changes once, whole; one that its source gave up never does."""
    fold, rng = Fold(), random.Random(3)
    markets = [Market(row, rng, 10, WATCHED) for row in (1, 2)]
    for market in markets:
        fold.fold(market.instrument)
        for price in range(10, 4_000, 10):
            market.place(0, price, price * 1_000)
    runs = [
        [stamped(x, source=s) for x in runs_of(m.snapshot(0, levels_per_run=56))]
        for s, m in enumerate(markets)
    ]
    mixed = [run for pair in zip(*runs, strict=False) for run in pair]
    found = [
        kinds(fold.fold(run))
        for run in [runs[0][0], *mixed, *runs[0][len(runs[1]) :], *runs[1][len(runs[0]) :]]
    ]
    tops = [out for outs in found for out in outs]
    assert {("top", 1), ("top", 2)} == {out[:2] for out in tops}
    assert len(tops) == 2
    for market in markets[1:]:
        assert sorted(market.sides[0].items(), reverse=True) == fold.books.snapshot_row(market.row)["bids"]


def test_observers_see_the_newest_top_and_the_whole_ladder() -> None:
    """The shared row equals the emitted Top byte for byte, the shared ladder the book."""
    bench = Bench()
    bench.take(bench.market.snapshot(0))
    assert bench.fold.source_in.push(
        stamped(bench.changed(), now_ns=bench.now_ns, seq=77, recv_ns=bench.now_ns - 5, source_seq=6)
    )
    assert 1 == bench.fold.books.poll(bench.fold.source, bench.fold.sink, 10)
    top = bench.fold.sink_out.read(1)
    assert (77, bench.now_ns - 5, 6) == (unpack(top).seq, unpack(top).recv_ns, unpack(top).source_seq)
    rows = Rows(bench.fold.rows)
    assert top == rows.read(3)
    assert (bench.row["bids"], bench.row["asks"]) == rows.ladder(3, bench.fold.arena)
    assert rows.ladder(4, bench.fold.arena) is None


@pytest.mark.parametrize("budget", [1, 3, 64])
def test_a_slow_reader_changes_nothing(budget: int) -> None:
    """With a sink of 128 slots that is emptied late, and any budget, the output is that of an endless
    sink."""
    rng = random.Random(9)
    markets = [Market(row, rng, 100, HASHED) for row in range(1, 50)]
    stream = [m.instrument for m in markets] + [run for m in markets for run in runs_of(m.snapshot(0))]
    for number in range(300):
        market = rng.choice(markets)
        stream += [stamped(f, now_ns=START_NS + number * MS) for f in market.commit()]
        stream.append(CODECS[r.Kind.TICK].pack(now_ns=START_NS + number * MS))
    whole = Fold()
    expected = [out for run in stream for out in whole.fold(run)]
    slow, (sink, out), found = Fold(), channel(128), []
    pending = stream[::-1]
    while True:
        while pending and slow.source_in.has_room(64) and slow.source_in.push(pending[-1]):
            pending.pop()
        handled = slow.books.poll(slow.source, sink, budget)
        data = out.read(1 if handled else 64)
        found += [words(run) for run in split(data)]
        if not pending and not handled and not data:
            break
    assert expected == found
    assert whole.books.stats() == slow.books.stats()


def test_unknown_rows_are_counted_and_other_records_pass_whole() -> None:
    """A market record of no row is dropped and counted; a run of decisions passes as one run, bytes
    unchanged."""
    fold = Fold()
    assert [] == fold.fold(CODECS[r.Kind.DELTA].pack(instrument=5))
    assert [] == fold.fold(CODECS[r.Kind.DELTA].pack(instrument=5_000))
    assert 2 == fold.books.stats()["unknown"]
    run = b"".join(CODECS[r.Kind.REPORT].pack(part=p, parts=3, order_no=p, seq=8) for p in range(3))
    assert [("pass", run)] == fold.fold(run)


def test_limits_are_checked_at_start() -> None:
    """Impossible limits and short buffers are refused with what was expected."""
    with pytest.raises(Exception, match="positive limits"):
        Fold(batch_ns_max=0)
    with pytest.raises(Exception, match="expected an aligned buffer"):
        Books(8, bytearray(64), bytearray(64), (1, 1, 1))
