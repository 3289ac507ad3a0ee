"""`Books` against its slow model and against the truth of a simulated venue, on random streams with
faults."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pipeline import records as r
from pipeline.codec import CODECS, KIND_OFFSET, unpack
from tests.models.book_model import BookModel
from tests.models.fold import Fold
from tests.models.venue_model import Market, runs_of, stamped
from tests.shared import scaled, seeds

MIRRORED = r.Rule.MIRRORED | r.Rule.TRADABLE
RULES = [
    MIRRORED | r.Rule.HASHED | r.Rule.WATCH,
    MIRRORED | r.Rule.HASHED,
    MIRRORED | r.Rule.HASHED | r.Rule.NEG_RISK | r.Rule.V2,
    MIRRORED,
]
BLOCKS = (4, 3, 1)


def markets(rng: random.Random) -> list[Market]:
    found = []
    for row in rng.sample(range(1, 40), rng.randrange(1, 6)):
        found.append(
            Market(row, rng, rng.choice((100, 100, 10, 50)), rng.choice(RULES), shard=rng.randrange(2))
        )
    return found


def tick(now_ns: int) -> bytes:
    return CODECS[r.Kind.TICK].pack(now_ns=now_ns)


def faulty(rng: random.Random, frames: list[bytes], history: list[bytes]) -> list[bytes]:
    """Lose, double, delay and swap frames; replay old ones."""
    found = []
    for frame in frames:
        history.append(frame)
        if rng.random() < 0.01:
            continue
        found.append(frame)
        if rng.random() < 0.10:
            found.append(rng.choice(history[-20:]))
    for at in range(len(found) - 1):
        if rng.random() < 0.05:
            found[at], found[at + 1] = found[at + 1], found[at]
    return found


def mutant(rng: random.Random, frame: bytes) -> bytes:
    """A frame with one field of its payload overwritten."""
    data = bytearray(frame)
    record = unpack(frame)
    names = [
        field[0]
        for field in r.payload_fields(r.Kind(record.kind))
        if field[0] not in ("reserved", "reserved0")
    ]
    dtype = r.DTYPES[r.Kind(record.kind)]
    assert dtype.fields is not None
    kind, offset = dtype.fields[rng.choice(names)][:2]
    for at in range(offset, offset + kind.itemsize):
        if rng.random() < 0.5:
            data[at] = rng.randrange(256)
    return bytes(data)


def step(rng: random.Random, market: Market, history: list[bytes]) -> list[bytes]:
    """One event of a market, as runs."""
    draw = rng.random()
    if draw < 0.70:
        return faulty(rng, market.commit(), history)
    if draw < 0.76:
        return runs_of(market.snapshot(rng.randrange(2), rng.random() < 0.5, rng.choice((896, 14))))
    if draw < 0.80:
        return [market.bbo(rng.randrange(2))]
    if draw < 0.82:
        return [
            CODECS[r.Kind.GAP].pack(shard=market.shard, cause=r.Cause.DISCONNECT),
            *runs_of(market.snapshot(0)),
            *runs_of(market.snapshot(1)),
        ]
    if draw < 0.84:
        return [CODECS[r.Kind.GAP].pack(instrument=market.row, cause=r.Cause.OVERRUN)]
    if draw < 0.87:
        finer = [s for s in (50, 25, 10, 1) if s < market.tick_step and market.tick_step % s == 0]
        return faulty(rng, market.change_tick(rng.choice(finer or [market.tick_step])), history)
    if draw < 0.90:
        return [stamped(market.instrument, flags=r.Flag.REPEAT if rng.random() < 0.7 else 0)]
    if draw < 0.92:
        return [
            CODECS[r.Kind.CONFIG].pack(
                batch_ns_max=rng.choice((0, 5_000_000)),
                hash_rows_max=rng.choice((0, 1, 2)),
                desync_ns_max=rng.choice((0, 30_000_000)),
            )
        ]
    if draw < 0.95:
        lie = rng.choice((
            {}, {}, {"venue_ns": market.venue_ns - 10**6 * rng.randrange(1, 90)},
            {"venue_ns": market.venue_ns + 10**6 * rng.choice((1, 40, 9_000))},
            {"levels_mix": rng.getrandbits(64)}, {"levels_mix": 1, "hash": rng.randbytes(20)},
            {"bid_ticks": 100, "ask_ticks": rng.choice((0, 9_900))}))
        later = [tick(0)] * rng.choice((0, 0, 3))  # in all, as long as the stream may owe it
        return [market.sample(**lie), *later]
    if draw < 0.955:
        return [CODECS[r.Kind.RESOLVED].pack(instrument=market.row)]
    if draw < 0.99 and history:
        return [mutant(rng, rng.choice(history[-10:]))]
    return [
        CODECS[r.Kind.FILL].pack(instrument=market.row),
        stamped(market.snapshot(0)[:256], instrument=999),
    ]


def timed(rng: random.Random, now_ns: int, runs: list[bytes]) -> tuple[int, list[bytes]]:
    """Stamp stream time, with a Tick before the first record of each new millisecond."""
    found = []
    for run in runs:
        gap_ns = rng.choice((0, 0, 200_000, 1_000_000, 1_000_000, 25_000_000, 60_000_000))
        gap_ns = 700_000_000 if run[KIND_OFFSET] == r.Kind.TICK else gap_ns
        for _ in range(min(3, gap_ns // 10**6)):
            now_ns += max(10**6, gap_ns // 3)
            found.append(tick(now_ns))
        late_ns = rng.choice((5_000, 5_000, 5_000, 700_000_000, 3_000_000_000))  # it waited before `stream`
        found.append(stamped(run, now_ns=now_ns, recv_ns=now_ns - late_ns))
    return now_ns, found


@pytest.mark.parametrize("seed", seeds(scaled(200, 2_000)))
def test_every_output_equals_the_models(seed: int) -> None:
    """On any stream, with any fault, the native fold emits exactly what the slow model emits."""
    rng = random.Random(seed)
    rows, history = markets(rng), []
    fold, model = Fold(48, BLOCKS), BookModel(48, BLOCKS)
    now_ns = 1_790_000_000 * 10**9
    opening = [run for m in rows for run in (m.instrument, *runs_of(m.snapshot(0)))]
    for number in range(60):
        events = opening if number == 0 else step(rng, rng.choice(rows), history)
        now_ns, runs = timed(rng, now_ns, events)
        for place, run in enumerate(runs):
            expected = model.fold(run)
            assert expected == fold.fold(run), f"seed {seed}, event {number}, record {place}: {unpack(run)}"
    for market in rows:
        found, book = fold.books.snapshot_row(market.row), model.books[market.row]
        assert (book.stale, book.open, book.cause) == (found["is_stale"], found["is_open"], found["cause"])
        if not book.stale:
            assert sorted(book.sides[0].items(), reverse=True) == found["bids"]
            assert sorted(book.sides[1].items()) == found["asks"]
    assert {
        size: count - model.free[size] for size, count in zip((128, 1024, 16384), BLOCKS, strict=True)
    } == {size: use[0] for size, use in fold.books.usage().items()}


class Subscriber:
    """Resubscribes when a book goes stale, as the feed does; keeps what must hold for every Top."""

    def __init__(self, rows: list[Market], seed: int) -> None:
        self.rows, self.seed = {m.row: m for m in rows}, seed
        self.fold = Fold(48, (40, 40, 8))
        self.states: dict[int, set[Any]] = {m.row: {self.state(m)} for m in rows}
        self.wanted: list[int] = []
        self.proven = 0

    @staticmethod
    def state(market: Market) -> Any:
        return tuple(map(tuple, market.tops()))

    def take(self, run: bytes) -> None:
        for out in self.fold.fold(run):
            if out[0] == "stale" and out[2]:
                self.wanted.append(out[1])
            if out[0] == "top" and not out[2] & (r.Flag.OPEN | r.Flag.STALE):
                self.proven += 1
                assert not out[2] & r.Flag.CROSSED
                assert (tuple(out[3]), tuple(out[4])) in self.states[out[1]], (
                    f"seed {self.seed}: a state the venue never had"
                )


@pytest.mark.parametrize("seed", seeds(scaled(200, 10_000)))
def test_a_proven_book_is_a_state_of_the_venue(seed: int) -> None:
    """Lost, doubled and swapped frames never yield a proven Top that the venue did not have; resync heals
    all."""
    rng = random.Random(seed)
    rows = [Market(row, rng, rng.choice((100, 10)), rng.choice(RULES[:3])) for row in (1, 7)]
    watch = Subscriber(rows, seed)
    now_ns, history = 1_790_000_000 * 10**9, []
    for number in range(60):
        market = rng.choice(rows)
        frames = (
            faulty(rng, market.commit(), history)
            if number
            else [run for m in rows for run in (m.instrument, m.snapshot(0), m.snapshot(1))]
        )
        watch.states[market.row].add(watch.state(market))
        while watch.wanted:
            frames.append(watch.rows[watch.wanted.pop()].snapshot(0))
        now_ns, runs = timed(rng, now_ns, frames)
        for run in runs:
            watch.take(run)
    for (
        market
    ) in rows:  # the last commit may have been lost: one more frame shows it, and one resync heals it
        market.venue_ns += 10**6
        change = next(filter(None, (market.place(*market.quiet_order()) for _ in range(1_000))))
        watch.states[market.row].add(watch.state(market))
        for frame in market.frames([change]):
            watch.take(stamped(frame, now_ns=now_ns))
    for _ in range(800):
        now_ns += 10**6
        watch.take(tick(now_ns))
        while watch.wanted:
            watch.take(stamped(watch.rows[watch.wanted.pop()].snapshot(0), now_ns=now_ns))
    assert watch.proven > 0
    for market in rows:
        book = watch.fold.books.snapshot_row(market.row)
        assert (False, False) == (book["is_stale"], book["is_open"])
        assert sorted(market.sides[0].items(), reverse=True) == book["bids"]
        assert sorted(market.sides[1].items()) == book["asks"]
