"""detect: watches baskets and says what could be bought.

Reads `tops`; writes `ideas`: every record passed on in order, and each idea right behind the record
that caused it; each idea goes to every signer as a hint, too. Prices are summed natively; only those that
bring a basket near a profit become Python objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.codec import KIND_OFFSET
from pipeline.core.detector import Detector
from pipeline.kinds import Kind
from pipeline.native.flow import Sink
from pipeline.native.relay import Relay
from pipeline.native.stamps import Stamps
from pipeline.native.sums import Tops
from pipeline.records import SLOT_BYTES
from pipeline.stages.stage import Clock, Counts, no_one_to_tell
from pipeline.units import NS_PER_MS

#: What the strategies see; of TOP only what brings a basket near a profit.
WANTED = (
    Kind.TOP, Kind.INSTRUMENT, Kind.TICK_STEP, Kind.CONFIG, Kind.FILL, Kind.REPORT, Kind.TICK, Kind.RESOLVED,
    Kind.STALE, Kind.GAP, Kind.HALT, Kind.RESUME,
)
_TOP = int(Kind.TOP)  # prices change no basket
TELL_NS = 250 * NS_PER_MS


class DetectStage:
    def __init__(
        self, name: str, detector: Detector, relay: Relay, tops: Tops, hints: Sequence[Sink], clock: Clock,
        counts: Counts, stamps: Stamps,
    ) -> None:
        self.name = name
        self.detector = detector
        self._relay = relay
        self._tops = tops
        self._hints = hints
        self._rows_version = -1
        self._clock = clock
        self._counts = counts
        self._count_idea = counts.counter("ideas").add
        self._stamps = stamps
        self._told_ns = 0
        self._ideas_count = 0
        self.signals = {"profit near": 0}
        self.tell: Callable[[], object] = no_one_to_tell

    def poll(self, budget: int) -> int:
        """Pass on up to `budget` slots, running the strategies on what they watch.

        Ends behind an idea: `trade` is next in the lane, and the rest of a burst can wait for it.
        """
        done, ideas_count = 0, self._ideas_count
        while done < budget and ideas_count == self._ideas_count:
            passed, record = self._relay.step(budget - done)
            done += passed
            if not record:
                break
            if record[KIND_OFFSET] == _TOP:
                # Whoever signs needs as long to wake as we need for the idea.
                self.signals["profit near"] += 1
                self.tell()
                near = self._tops.near
                if near is not None:
                    self._publish(self.detector.on_near(near, record), record, 0)
            else:
                self._decide(record)
        if done:
            self._put_counts()
        return done

    def _put_counts(self) -> None:
        """Put the detector's own counters on the status page, now and then: they say why nothing trades."""
        now_ns = self._clock()
        if now_ns - self._told_ns >= TELL_NS:
            self._told_ns = now_ns
            for name, count in self.detector.counts.items():
                self._counts.put(f"detect_{name}", count)

    def _decide(self, record: bytes) -> None:
        for at in range(0, len(record), SLOT_BYTES):
            self._publish(self.detector.on_record(record, at), record, at)
        if self.detector.rows_version != self._rows_version:
            self._watch_rows()

    def _publish(self, ideas: Sequence[bytes], record: bytes, at: int) -> None:
        """Put the ideas that the record at `at` caused behind it."""
        for run in ideas:
            for hint in self._hints:  # first: the signer begins while we go on
                hint.push(run)  # without room it signs when it is asked
            self._relay.append(run)
            seq = int.from_bytes(record[at : at + 8], "little")
            self._stamps.mark(seq, seq + 1, self._clock())
            self._count_idea(1)
            self._ideas_count += 1

    def _watch_rows(self) -> None:
        """When a basket was built or dropped, tell the relay which rows matter now."""
        self._rows_version = self.detector.rows_version
        self._tops.watch(self.detector.watched())

    def close(self) -> None:
        """Nothing is held here."""
