"""MD01, two sockets: what comes first is taken and its copy dropped, whatever order the copies come in.

The truth is what one machine makes of one whole socket: record for record, where both keep the order.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from pipeline import records as r
from pipeline.codec import runs, unpack
from pipeline.kinds import Cause
from pipeline.native.framescan import Scanner, TokenTable
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.native.stamps import ENTRY_BYTES, Stamps
from pipeline.records import SLOT_BYTES
from pipeline.shm.status import PAGE_BYTES, StatusPage, StatusView, format_page
from pipeline.stages.feed import FeedMachine, FeedSettings
from pipeline.stages.stage import Counts
from pipeline.units import NS_PER_MS
from pipeline.venues.polymarket.market_decode import MarketDecoder
from tests.faults.test_MD03_books import markets
from tests.models.chain import T0_NS, Chain
from tests.models.text_venue import shuffled, text_of
from tests.models.venue_model import Market, runs_of
from tests.shared import fresh_seed, seeds
from tests.tools.faultrows import figure

STREAMS = figure("MD01", "streams")
CONNS = (0, 1 << 16)
_HEAD = len(r.HEADER)
SLOTS = 8_192


class Ears:
    """A feed machine that hears one shard on one or two sockets; on one, nothing can be a copy."""

    def __init__(self, rows: list[Market], slots: int = SLOTS, conns: tuple[int, ...] = CONNS) -> None:
        self.conns = conns
        page = memoryview(bytearray(PAGE_BYTES))
        format_page(page, "feed")
        self.view = StatusView(page)
        ring = bytearray(Ring.bytes_for(slots))
        Ring.format(ring, slots)
        self.reader = Reader(ring)
        table = TokenTable()
        self.machine = FeedMachine(
            FeedSettings(ws_url="ws://x", source=3, sockets=2), table, Scanner(table, 3),
            MarketDecoder(table.get, 3), Writer(ring), Counts(StatusPage(page)),
            Stamps(bytearray(ENTRY_BYTES)), lambda: T0_NS)
        for market in rows:
            self.machine.on_instrument(
                T0_NS, market.row, 0, tuple(market.ids["tokens"]), market.ids["market"])
        for conn in conns:
            self.machine.on_open(T0_NS, conn)

    def hear(self, conn: int, frame: bytes) -> None:
        """Hand a frame in, after which nothing waits."""
        assert self.machine.on_frame(T0_NS, conn, frame)

    def stand(self, rows: list[Market]) -> None:
        """Answer what all sockets asked for."""
        for conn in self.conns:
            self.answer(conn, rows)
        self.told()

    def answer(self, conn: int, rows: list[Market]) -> None:
        """Bring a socket the snapshots of some markets."""
        for market in rows:
            for outcome in (0, 1):
                self.hear(conn, text_of(market.snapshot(outcome), market))

    def told(self) -> list[tuple[Any, ...]]:
        """Return what all runs so far say, without what depends on the way that they came."""
        return [said(run) for run in runs(self.reader.read(1 << 20))]


def said(run: bytes) -> tuple[Any, ...]:
    """Return a run's kind and content; changes in one order, for the venue's varies."""
    slots = [unpack(run, at) for at in range(0, len(run), SLOT_BYTES)]
    head = slots[0]
    if head.kind == r.Kind.DELTA:
        changes = sorted(
            (slot.price_ticks[at], slot.size_micro[at], slot.side[at], slot.outcome[at])
            for slot in slots for at in range(slot.change_count))
        return head.kind, head.instrument, head.venue_ns, head.hash_yes, head.hash_no, tuple(changes)
    return head.kind, head.instrument, *(tuple(map(str, slot[_HEAD:])) for slot in slots)


def story(rng: random.Random, rows: list[Market], commits: int) -> list[bytes]:
    """Return the frames of some commits; at times one is genuinely said twice, or its state comes back."""
    frames: list[bytes] = []
    for _ in range(commits):
        market = rng.choice(rows)
        if rng.random() < 0.7:
            market.venue_ns += NS_PER_MS  # else one more commit in the same millisecond
        if rng.random() < 0.1:
            made = [market.snapshot(outcome) for outcome in (0, 1)]
        else:
            made = market.commit()
        texts = [text_of(run, market) for joined in made for run in runs_of(joined)]
        frames += texts
        if texts and rng.random() < 0.2:
            frames += texts[-1:]  # a repeat on the wire itself
    return frames


def slow(frame: bytes) -> bytes:
    """Spell a frame so that only the slow decoder reads it."""
    said = json.loads(frame)
    return json.dumps(said | {"extra": {"nested": [{"deep": [1]}]}}).encode()


@pytest.mark.parametrize("seed", [4, fresh_seed()])
def test_MD01_two_sockets_in_order_tell_what_one_tells(
    seed: int, gate_record: Callable[..., None],
) -> None:
    """Any interleaving, changes in any order, either decoder: record for record the stream of one socket."""
    rng = random.Random(seed)
    for number in range(STREAMS // 2):
        rows = markets(rng, 3)
        one, two = Ears(rows, conns=CONNS[:1]), Ears(rows)
        one.stand(rows)
        two.stand(rows)
        frames = story(rng, rows, 60)
        for frame in frames:
            one.hear(CONNS[0], frame)
        left = {conn: list(frames) for conn in CONNS}
        draws = {conn: random.Random(rng.random()) for conn in CONNS}
        slows = rng.choice((0.0, 0.3, 1.0))
        lag_max = rng.choice((1, 5, 100))  # how far one may be ahead of the other
        while any(left.values()):
            ahead = len(left[CONNS[1]]) - len(left[CONNS[0]])
            conn = rng.choice(CONNS) if abs(ahead) < lag_max else CONNS[ahead > 0]
            if not left[conn]:
                continue
            frame = shuffled(left[conn].pop(0), draws[conn])
            two.hear(conn, slow(frame) if rng.random() < slows and b"price_changes" in frame else frame)
        assert one.told() == two.told(), f"seed {seed}, stream {number}"
    gate_record("MD01", "streams", STREAMS // 2, seed)


@pytest.mark.parametrize("standing", range(4))
def test_MD01_a_socket_that_goes_is_a_gap_of_what_the_other_lacks(standing: int) -> None:
    """The other one has brought the books of some rows since it subscribed: these are covered, no others."""
    rows = markets(random.Random(1), 3)
    ears = Ears(rows)
    ears.answer(CONNS[0], rows)
    ears.answer(CONNS[1], rows[:standing])
    ears.told()
    ears.machine.on_close(T0_NS, CONNS[0], Cause.DISCONNECT)
    gaps = [told[1] for told in ears.told() if told[0] == r.Kind.GAP]
    assert [market.row for market in rows[standing:]] == gaps if standing else [0] == gaps


@pytest.mark.parametrize("seed", range(5))
def test_MD01_what_no_room_was_found_for_is_nobodys_twin(seed: int) -> None:
    """A frame that waited for room, or was given up with its socket, comes through by its copy, once."""
    rng = random.Random(seed)
    rows = markets(rng, 2)
    one, two = Ears(rows), Ears(rows, slots=128)
    one.stand(rows)
    two.stand(rows)
    frames = story(rng, rows, 40)
    for frame in frames:
        one.hear(CONNS[0], frame)
    told: list[tuple[Any, ...]] = []
    for frame in frames:
        if not two.machine.on_frame(T0_NS, CONNS[0], frame):
            if rng.random() < 0.5:  # the socket dies with the frame that waits
                two.machine.on_close(T0_NS, CONNS[0], Cause.DISCONNECT)
                two.machine.on_open(T0_NS, CONNS[0])
                told += two.told()
            else:
                told += two.told()
                two.hear(CONNS[0], frame)
        while not two.machine.on_frame(T0_NS, CONNS[1], frame):
            told += two.told()
    told += two.told()
    assert [slot for slot in one.told() if slot[0] != r.Kind.SNAPSHOT] == [
        slot for slot in told if slot[0] not in (r.Kind.SNAPSHOT, r.Kind.GAP)]


@pytest.mark.parametrize("seed", seeds(10))
def test_MD01_two_sockets_in_disorder_end_in_the_venues_book(seed: int) -> None:
    """Lags that change, cuts, changes in any order: each believed book is one that the venue had.

    At the end it is the venue's.
    """
    rng = random.Random(seed)
    rows = markets(rng, 2)
    chain = Chain(rows, sockets=2, stagger_ns=NS_PER_MS, reopen_ns=1)
    lines = chain.venue.lines

    def spoil(conn: int, line: object) -> None:
        del conn
        line.shuffles = random.Random(rng.random())  # type: ignore[attr-defined]

    chain.venue.on_line = spoil
    assert chain.run(20_000, until=lambda: chain.is_settled() and len(lines) == 2)
    chain.run(100)
    states = {market.row: {state(market)} for market in rows}
    believed: list[tuple[int, object]] = []

    def on_top(top: object) -> None:
        if not top.flags & (r.Flag.OPEN | r.Flag.STALE | r.Flag.CROSSED):  # type: ignore[attr-defined]
            believed.append((top.instrument, levels(top)))  # type: ignore[attr-defined]

    chain.on_top = on_top
    for _ in range(150):
        if lines and rng.random() < 0.1:
            rng.choice(list(lines.values())).lag_ns = rng.choice((0, 0, 3, 30, 300)) * NS_PER_MS
        if lines and rng.random() < 0.03:
            chain.cut(rng.choice(list(lines)))
        market = rng.choice(rows)
        market.venue_ns += NS_PER_MS
        chain.commit(market)
        states[market.row].add(state(market))
        chain.step(rng.choice((1, 1, 5, 40)))
    assert chain.run(10_000, until=chain.is_settled), f"seed {seed}: {chain.counts}"
    assert len(believed) > 50
    for row, shown in believed:
        assert shown in states[row], f"seed {seed}: a book that the venue never had"


def state(market: Market) -> object:
    return tuple(map(tuple, market.tops()))


def levels(top: object) -> object:
    sides = ((top.bid_ticks, top.bid_micro), (top.ask_ticks, top.ask_micro))  # type: ignore[attr-defined]
    return tuple(tuple((p, s) for p, s in zip(*side, strict=True) if s) for side in sides)


def test_MD01_the_answer_to_our_question_is_never_a_twin() -> None:
    """A snapshot asked for on one socket passes even when the other brought the very same before."""
    rng = random.Random(1)
    rows = markets(rng, 1)
    ears = Ears(rows)
    snapshot = text_of(rows[0].snapshot(0), rows[0])
    for conn in CONNS:
        ears.hear(conn, snapshot)
    assert 2 == sum(slot[0] == r.Kind.SNAPSHOT for slot in ears.told())
    ears.hear(CONNS[0], snapshot)
    ears.hear(CONNS[1], snapshot)
    assert 1 == sum(slot[0] == r.Kind.SNAPSHOT for slot in ears.told()), "said by itself: once"
    for turn in range(4):
        ears.machine.on_resync(T0_NS + turn * 10**10, rows[0].row)
        ears.hear(CONNS[(turn + 1) % 2], snapshot)
        assert any(slot[0] == r.Kind.SNAPSHOT for slot in ears.told()), f"question {turn}"
