"""Bytes of market frames through the native path: scanner, sequencer, books and, where asked, detect.

The stages' own parts without lanes. A frame that neither the scanner nor the decoder behind it takes is an
error of the test.
"""

from __future__ import annotations

from typing import Any

from pipeline.codec import KIND_OFFSET, unpack
from pipeline.core.detector import Detector
from pipeline.kinds import Kind
from pipeline.native.books import Books
from pipeline.native.framescan import Result, Scanner, TokenTable
from pipeline.native.ladder import arena_bytes, rows_bytes
from pipeline.native.relay import Relay
from pipeline.native.sequence import Sequencer
from pipeline.native.stamps import ENTRY_BYTES, Stamps
from pipeline.native.sums import Tops
from pipeline.stages import detect
from pipeline.stages.stage import Counts
from pipeline.venues.polymarket.market_decode import MarketDecoder
from tests.models.fold import channel, split
from tests.models.venue_model import stamped

FEED, CONTROL, ALL = 3, 1, 1 << 20


class FrameChain:
    """`feed` hands a frame in at a time; what follows of it is done when it returns."""

    def __init__(self, rows_max: int = 16, blocks: tuple[int, int, int] = (4, 4, 1)) -> None:
        self.table = TokenTable()
        self._scanner = Scanner(self.table, FEED)
        self._decoder = MarketDecoder(self.table.get, FEED)
        self.fallbacks = 0
        self._feed_in, feed_out = channel(4_096)
        self._control_in, control_out = channel(256)
        stream_in, self._stream = channel(4_096)
        self._tops_in, self.tops = channel(4_096)
        self._sequencer = Sequencer([control_out], [feed_out], stream_in, instruments_max=rows_max)
        self.books = Books(rows_max, bytearray(arena_bytes(blocks)), bytearray(rows_bytes(rows_max)), blocks)
        self._control_seq = 0

    def control(self, slot: bytes, now_ns: int) -> None:
        """Put a record in front of the frames: an instrument, the limits."""
        self._control_seq += 1
        assert self._control_in.push(stamped(
            slot, source=CONTROL, source_seq=self._control_seq, recv_ns=now_ns))
        self.turn(now_ns)

    def feed(self, frame: bytes, now_ns: int) -> None:
        """Scan a frame and let the stages do what follows."""
        result = self._scanner.scan_bytes(frame, now_ns, self._feed_in)
        if result is Result.FALLBACK:
            self.fallbacks += 1
            self._decoder.source_seq = self._scanner.source_seq
            said = self._decoder.decode(frame, now_ns)
            self._scanner.source_seq = self._decoder.source_seq
            assert said.reject is None, (said.text, frame[:300])
            assert all(map(self._feed_in.push, said.records))
        else:
            assert result in (Result.OK, Result.IGNORED), (result, frame[:300])
        self.turn(now_ns)

    def turn(self, now_ns: int) -> None:
        """Move on what waits."""
        self._sequencer.turn(now_ns, self._stream.position, ALL)
        while self.books.poll(self._stream, self._tops_in, 64):
            pass

    def tick(self, now_ns: int) -> None:
        """Let time pass without a frame."""
        self._sequencer.idle_tick(now_ns)
        self.turn(now_ns)


class Watched(FrameChain):
    """The same with detect behind the books; `change` may alter each TOP on its way, for controls."""

    def __init__(self) -> None:
        super().__init__()
        self.ideas = 0
        self.tops_seen: list[bytes] = []
        self.clear_flags = 0  # of each TOP
        tops_in, tops_out = channel(4_096)
        ideas_in, self._ideas = channel(4_096)
        watched = Tops()
        self._detect_in = tops_in
        self.detector = Detector()
        self._detect = detect.DetectStage(
            "detect", self.detector, Relay(tops_out, ideas_in, detect.WANTED, watched), watched, (),
            lambda: 0, Counts(), Stamps(bytearray(ENTRY_BYTES * 64)))

    def turn(self, now_ns: int) -> None:
        """Move on what waits, through detect as well; count the ideas."""
        super().turn(now_ns)
        while data := self.tops.read(1_024):
            for run in split(data):
                self._pass(run)

    def _pass(self, run: bytes) -> None:
        if run[KIND_OFFSET] == Kind.TOP:
            self.tops_seen.append(run)
            if self.clear_flags:
                run = stamped(run, flags=flags_of(run) & ~self.clear_flags)
        assert self._detect_in.push(run)
        while self._detect.poll(64):
            pass
        found = self._ideas.read(1_024)
        self.ideas += sum(one[KIND_OFFSET] == Kind.IDEA for one in split(found))


def flags_of(run: bytes) -> int:
    """Return the flags of a record."""
    return int.from_bytes(run[34:36], "little")


def newest_top(data: bytes) -> Any:
    """Return (flags, bids, asks) of the last TOP in some runs, levels as (ticks, micro); None without any."""
    tops = [run for run in split(data) if run[KIND_OFFSET] == Kind.TOP]
    if not tops:
        return None
    top = unpack(tops[-1])
    return top.flags, *(
        [(price, size) for price, size in zip(prices, sizes, strict=True) if size]
        for prices, sizes in ((top.bid_ticks, top.bid_micro), (top.ask_ticks, top.ask_micro)))
