"""book: keeps every book and says when it is proven.

Reads `stream`; writes `tops` and the ladders in shared arrays. All of it is native (`native/books`).
"""

from __future__ import annotations

from pipeline.native.books import Books
from pipeline.native.flow import Sink
from pipeline.native.log import LogReader
from pipeline.native.stamps import Stamps
from pipeline.stages.stage import Clock, Counts
from pipeline.store.events import EventLog
from pipeline.units import NS_PER_MS

TELL_NS = 250 * NS_PER_MS


class BookStage:
    """Runs the native books over the stream, and tells how far it has read."""

    def __init__(
        self, name: str, books: Books, source: LogReader, sink: Sink, clock: Clock, counts: Counts,
        stamps: Stamps, log: EventLog,
    ) -> None:
        self.name = name
        self.books = books
        self._source = source
        self._sink = sink
        self._clock = clock
        self._counts = counts
        self._stamps = stamps
        self._log = log
        self._is_advisory = 0
        self._told_ns = 0

    def poll(self, budget: int) -> int:
        """Apply up to `budget` slots of the stream."""
        first = self._source.position
        done = self.books.poll(self._source, self._sink, budget)
        if done:
            self._stamps.mark(first, self._source.position, self._clock())
            self._counts.put("book_position", self._source.position)
            self._tell()
        return done

    def _tell(self) -> None:
        """Put the books' own counters on the status page, now and then."""
        now_ns = self._clock()
        if now_ns - self._told_ns < TELL_NS:
            return
        self._told_ns = now_ns
        for name, count in self.books.stats().items():
            if name == "is_advisory" and count != self._is_advisory:
                self._is_advisory = count
                if count:
                    self._log.error(
                        "hash_rule_doubted", do="ask the venue whether its book hash changed",
                        what="too many books differ from the venue's hash; best prices and time prove")
                else:
                    self._log.warning("hash_rule_trusted", what="64 hashes in a row agreed")
            if name == "stales_by_cause":
                for cause, stales in count.items():
                    self._counts.put(f"book_stale_{cause.lower()}", stales)
            else:
                self._counts.put(f"book_{name}", count)

    def close(self) -> None:
        """Nothing is held here."""
