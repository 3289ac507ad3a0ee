"""sequencer: gives every input one place in one total order.

Reads all edge rings and the halt page; writes the `stream` log. Control, report and account rings are
drained first on every turn. The merge loop is native (`native/sequence`); this stage brings the clock.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.codec import CODECS
from pipeline.errors import InvariantError
from pipeline.kinds import Cause, HaltLevel, Kind
from pipeline.native.flow import Sink
from pipeline.native.log import LogWriter
from pipeline.native.sequence import Sequencer
from pipeline.native.stamps import Stamps
from pipeline.shm.halt import Halt, HaltPage, owner_index
from pipeline.stages.stage import Clock, Counts
from pipeline.units import NS_PER_MS

IDLE_TICK_NS = 20 * NS_PER_MS  # with no record, time still moves this often


class SequencerStage:
    """`halt_sink` is a private ring among the sequencer's priority sources."""

    def __init__(
        self, name: str, native: Sequencer, log: LogWriter, halt_page: HaltPage, halt_sink: Sink,
        book_position: Callable[[], int], clock: Clock, counts: Counts, stamps: Stamps,
        resume: bytes = b"",
    ) -> None:
        """resume: the RESUME record of this start; it stands before everything else."""
        self.name = name
        self._native = native
        self._log = log
        self._halt_page = halt_page
        self._halt_sink = halt_sink
        self._halt_level: HaltLevel | None = None
        self._book_position = book_position
        self._clock = clock
        self._counts = counts
        self._stamps = stamps
        self._ticked_ns = 0
        if resume and not halt_sink.push(resume):
            raise InvariantError("stages.sequencer: no room for the RESUME record in an empty ring")

    def poll(self, budget: int) -> int:
        """Merge up to `budget` slots; stamp a `Halt` when the page changed."""
        now_ns = self._clock()
        self._watch_halt()
        first = self._native.position
        done = self._native.turn(now_ns, self._book_position(), budget)
        if done:
            self._ticked_ns = now_ns
            self._stamps.mark(first, self._native.position, self._clock())
            self._counts.put("sequencer_position", self._native.position)
            return done
        if now_ns - self._ticked_ns >= IDLE_TICK_NS:
            self._ticked_ns = now_ns
            ticked = int(self._native.idle_tick(now_ns))
            self._counts.put("sequencer_position", self._native.position)
            return ticked
        self._log.prepare_next()
        return 0

    def _watch_halt(self) -> None:
        level = self._halt_page.level()
        if level == self._halt_level:
            return
        entries = self._halt_page.entries()
        top = entries[0] if entries else None
        if self._halt_page.words.is_lease_lost():
            top = Halt("supervisor", level, Cause.LEASE_LOST, 0, "the supervisor does not renew its lease")
        record = CODECS[Kind.HALT].pack(
            level=int(level), owner=owner_index(top.owner) if top else 0, cause=top.cause if top else 0,
            reason=top.reason.encode()[:64] if top else b"")
        if self._halt_sink.push(record):
            self._halt_level = level
            self._counts.put("halt_level", int(level))

    def close(self) -> None:
        """Nothing is held here."""
