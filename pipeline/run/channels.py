"""The memory behind the channels: rings, stamp tables, ladders, status pages, and the two logs.

The supervisor makes all segments (`make`), every lane attaches to them (`attach`); simulated runs put the
same things into private memory (`PrivateMemory`). A lane gives everything back in `close`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from pipeline.config.shm import Shm
from pipeline.native.ladder import arena_bytes, rows_bytes
from pipeline.native.log import LogReader, LogWriter
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.native.stamps import ENTRY_BYTES, Stamps
from pipeline.run import wiring
from pipeline.shm import memory
from pipeline.shm.status import PAGE_BYTES as STATUS_BYTES
from pipeline.shm.status import format_page

STAMP_ENTRIES = 65_536
LEASE_BYTES = 64  # one word: when the supervisor last looked after the run, monotonic ns
STAMPED = ("feed", "sequencer", "book", "detect", "trade", "signer")
#: By the kind of ring; room for several packages of the largest size.
SMALL_SLOTS = {wiring.CONTROL: 1_024, "hints": 128, "signed": 512}


class Memory(Protocol):
    """Named buffers of one run."""

    def buffer(self, what: str) -> memoryview:
        """Return the buffer of this name; each call gives the same one."""

    def close(self) -> None:
        """Let go of every buffer; views of them must be released before."""


class SharedMemory:
    """Segments made by the supervisor, attached untracked."""

    def __init__(self, instance: str, generation: int) -> None:
        self._instance = instance
        self._generation = generation
        self._held: dict[str, memory.Segment] = {}

    def buffer(self, what: str) -> memoryview:
        """Attach the segment at the first call; raises what `shm.memory.attach` raises."""
        if what not in self._held:
            name = memory.segment_name(self._instance, self._generation, what)
            self._held[what] = memory.attach(name)
        return self._held[what].data

    def close(self) -> None:
        """Detach; the segments stay, the supervisor unlinks them."""
        for segment in self._held.values():
            segment.close()
        self._held.clear()


class PrivateMemory:
    """The same buffers inside one process, for simulated time."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self._held = {what: memoryview(bytearray(size)) for what, size in sizes.items()}

    def buffer(self, what: str) -> memoryview:
        """Return the buffer of this name."""
        return self._held[what]

    def close(self) -> None:
        """Forget the buffers."""
        self._held.clear()


def ladder_blocks(shm: Shm) -> tuple[int, int, int]:
    """Return how many ladders of 128, 1,024 and 16,384 levels the arena holds."""
    return shm.ladders_128, shm.ladders_1024, shm.ladders_16384


def ring_slots(ring: str, shm: Shm) -> int:
    """Return a ring's capacity.

    What carries a few records a second is small, so that it is written over and over in the caches: a slot
    of memory that nobody touched for a minute costs the order path microseconds.
    """
    return min(shm.ring_slots, SMALL_SLOTS.get(wiring.split_name(ring)[0], shm.ring_slots))


def segment_sizes(stages: Iterable[str], lanes: Iterable[str], shm: Shm, rows_max: int) -> dict[str, int]:
    """Return every buffer of a run and its size in bytes."""
    listed = list(stages)
    sizes = {f"ring.{ring}": Ring.bytes_for(ring_slots(ring, shm)) for ring in wiring.rings(listed)}
    sizes |= {f"stamps.{kind}": STAMP_ENTRIES * ENTRY_BYTES for kind in STAMPED}
    sizes |= {f"status.{lane}": STATUS_BYTES for lane in lanes}
    sizes["lease"] = LEASE_BYTES
    sizes["arena"] = arena_bytes(ladder_blocks(shm))
    sizes["rows"] = rows_bytes(rows_max)
    return sizes


def format_all(
    memory_of_run: Memory, stages: Iterable[str], lanes: Iterable[str], shm: Shm, position: int = 0,
) -> None:
    """Make zeroed buffers rings and status pages; for their maker only.

    position: of each ring's first record. A source counts its records by its ring's positions, so a run
    must begin above every position of the runs before it.
    """
    for ring in wiring.rings(list(stages)):
        Ring.format(memory_of_run.buffer(f"ring.{ring}"), ring_slots(ring, shm), position)
    for lane in lanes:
        format_page(memory_of_run.buffer(f"status.{lane}"), lane)


class Channels:
    """The ends that one lane holds."""

    def __init__(self, memory_of_run: Memory, log_dir: Path, segment_slots: int, salt_epoch: int) -> None:
        self.memory = memory_of_run
        self._log_dir = log_dir
        self._segment_slots = segment_slots
        self._salt_epoch = salt_epoch
        self._ends: list[Writer | Reader | LogWriter | LogReader] = []
        self._stamps: dict[str, Stamps] = {}
        self.log_readers: list[tuple[str, LogReader]] = []  # in the order in which they were asked for
        self.written: dict[str, Writer | LogWriter] = {}  # channel -> the end that this lane writes

    def ring_writer(self, ring: str) -> Writer:
        """Return the writing end; each ring has one in the whole run."""
        end = Writer(self.memory.buffer(f"ring.{ring}"))
        self._ends.append(end)
        self.written[ring] = end
        return end

    def ring_reader(self, ring: str) -> Reader:
        """Return the gating reading end; each ring has one in the whole run."""
        end = Reader(self.memory.buffer(f"ring.{ring}"))
        self._ends.append(end)
        return end

    def log_writer(self, log: str) -> LogWriter:
        """Return the writing end; a log that exists is continued."""
        end = LogWriter(self._log_dir / log, log, self._segment_slots, salt_epoch=self._salt_epoch)
        self._ends.append(end)
        self.written[log] = end
        return end

    def log_reader(self, log: str, position: int | None) -> LogReader:
        """Return a reading end at `position`; None = at the oldest record that is there."""
        end = LogReader(self._log_dir / log, log, position)
        self._ends.append(end)
        self.log_readers.append((log, end))
        return end

    def stamps(self, kind: str) -> Stamps:
        """Return a stage's stamp table; only that stage writes it."""
        if kind not in self._stamps:
            self._stamps[kind] = Stamps(self.memory.buffer(f"stamps.{kind}"))
        return self._stamps[kind]

    def close(self) -> None:
        """Let go of every end, then of the memory."""
        for end in self._ends:
            end.close()
        self._ends.clear()
        for stamps in self._stamps.values():
            stamps.release()
        self._stamps.clear()
        self.memory.close()
