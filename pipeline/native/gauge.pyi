from collections.abc import Buffer
from dataclasses import dataclass

from pipeline.native.books import Books
from pipeline.native.flow import Sink, Source
from pipeline.native.framescan import Scanner

@dataclass(frozen=True, slots=True)
class Taken:
    count: int
    elapsed_ns: int
    digest: int
    cpu_ns: int

def clock_ns(count: int = 1001) -> float: ...
def send(sink: Sink, count: int, batch: int, pace_ns: int = 0) -> Taken: ...
def receive(source: Source, count: int, deadline_s: float = 60.0, times: Buffer | None = None) -> Taken: ...
def append(sink: Sink, first: int, count: int, times: Buffer | None = None) -> Taken: ...
def scan_frames(
    scanner: Scanner, text: Buffer, ends: Buffer, sink: Sink, drain: Source, recv_ns: int,
    times: Buffer | None = None,
) -> Taken: ...
def scan_and_fold(
    scanner: Scanner, text: Buffer, ends: Buffer, feed: Sink, feed_end: Source, books: Books, tops: Sink,
    tops_end: Source, recv_ns: int, batch: int = 1, times: Buffer | None = None,
) -> Taken: ...
def fold_records(
    books: Books, records: Buffer, feed: Sink, feed_end: Source, tops: Sink, tops_end: Source,
    chunk_slots: int = 512, times: Buffer | None = None,
) -> Taken: ...
