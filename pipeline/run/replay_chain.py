"""book, detect and trade in one process, over private memory: a stream in, decision runs out.

Reads a `stream` log up to a given end; writes nothing. Same records in, same records out: what the lanes of a
run decided on these records is what comes out here, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.config.shm import Shm
from pipeline.core.detector import Detector
from pipeline.core.trader import Trader
from pipeline.errors import LogCorrupt
from pipeline.native.books import Books
from pipeline.native.ladder import arena_bytes, rows_bytes
from pipeline.native.log import LogReader
from pipeline.native.relay import Filter, Relay
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.native.stamps import ENTRY_BYTES, Stamps
from pipeline.native.sums import Tops
from pipeline.records import RUN_SLOTS_MAX, SLOT_BYTES
from pipeline.run.channels import STAMP_ENTRIES, ladder_blocks
from pipeline.stages import detect, trade
from pipeline.stages.detect import DetectStage
from pipeline.stages.stage import Counts

RING_SLOTS = 16_384
BATCH = 1_024


@dataclass(frozen=True, slots=True)
class BookMemory:
    """How many rows and ladders the run had: a full arena makes books stale, so it decides, too."""

    rows_max: int
    ladders: Sequence[int] = ladder_blocks(Shm())


class Chain:
    """Books and detector begin empty; the trader knows what it was recovered with."""

    def __init__(self, trader: Trader, memory: BookMemory) -> None:
        ladders = tuple(memory.ladders)
        self.trader = trader
        self._books = Books(
            memory.rows_max, bytearray(arena_bytes(ladders)), bytearray(rows_bytes(memory.rows_max)), ladders)
        tops, ideas = bytearray(Ring.bytes_for(RING_SLOTS)), bytearray(Ring.bytes_for(RING_SLOTS))
        Ring.format(tops, RING_SLOTS)
        Ring.format(ideas, RING_SLOTS)
        self._tops_in, self._tops_out = Writer(tops), Reader(tops)
        self._ideas_in, self._ideas_out = Writer(ideas), Reader(ideas)
        watched = Tops()
        self._detect = DetectStage(
            "detect", Detector(), Relay(self._tops_out, self._ideas_in, detect.WANTED, watched), watched, (),
            lambda: 0, Counts(), Stamps(bytearray(STAMP_ENTRIES * ENTRY_BYTES)))
        self._wanted = Filter(self._ideas_out, trade.WANTED)

    @property
    def records_count(self) -> int:
        """Records of the stream that were folded so far."""
        return int(self._books.stats()["records"])

    def decide(self, stream: LogReader, end: int, on_turn: Callable[[int], object]) -> Iterator[bytes]:
        """Fold the records below `end`, the end of a record or of padding; yield each decision run in order.

        on_turn: told the position now and then. Raises LogCorrupt when the stream ends before `end`.
        """
        while True:
            left = end - stream.position
            # A budget counts records of up to 64 slots; past the last one nothing may be taken.
            done = self._books.poll(stream, self._tops_in, max(1, min(BATCH, left // RUN_SLOTS_MAX))) if (
                left > 0) else 0
            while self._detect.poll(BATCH):
                yield from self._decided()
            if done:
                on_turn(stream.position)
            elif left <= 0:
                return
            else:
                stream.check()
                raise LogCorrupt(
                    f"run.replay: stream was to be read up to {end}, it ends at {stream.position}; restore "
                    "the missing records from the archive")

    def _decided(self) -> Iterator[bytes]:
        """Yield what trade makes of what detect passed on; slot by slot, as recovery takes it."""
        while data := self._wanted.read():
            for at in range(0, len(data), SLOT_BYTES):
                yield from self.trader.on_record(data[at : at + SLOT_BYTES])

    def close(self) -> None:
        """Give the rings back."""
        for end in (self._tops_in, self._tops_out, self._ideas_in, self._ideas_out):
            end.close()
