"""book: keeps every book and says when it is proven.

Reads `stream`; writes `tops` and the ladders in shared arrays. All of it is native (`native/books`).
"""

from __future__ import annotations

from pipeline.native.books import Books
from pipeline.native.flow import Sink
from pipeline.native.log import LogReader
from pipeline.native.stamps import Stamps
from pipeline.stages.stage import Clock, Counts


class BookStage:
    def __init__(
        self, name: str, books: Books, source: LogReader, sink: Sink, clock: Clock, counts: Counts, stamps: Stamps,
    ) -> None:
        self.name = name
        self.books = books
        self._source = source
        self._sink = sink
        self._clock = clock
        self._counts = counts
        self._stamps = stamps

    def poll(self, budget: int) -> int:
        """Apply up to `budget` slots of the stream."""
        first = self._source.position
        done = self.books.poll(self._source, self._sink, budget)
        if done:
            self._stamps.mark(first, self._source.position, self._clock())
            self._counts.put("book_position", self._source.position)
        return done

    def close(self) -> None:
        """Nothing is held here."""
