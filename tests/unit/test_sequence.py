"""The sequencer against its slow model: one order, exactly once, bounded lag, repeats at each segment."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipeline import records as r
from pipeline.codec import CODECS, unpack
from pipeline.errors import InvariantError
from pipeline.native.log import LogReader, LogWriter
from pipeline.native.sequence import Sequencer
from tests.models.fold import channel, split
from tests.models.sequence_model import SequenceModel, restamp
from tests.shared import scaled, seeds

MS = 10**6
SEGMENT = 64
START_NS = 1_790_000_000 * 10**9


def whole_log(directory: Path) -> list[bytes]:
    """Runs of the log, with seq and check (the log's own) cleared."""
    reader, found = LogReader(directory, "stream"), []
    while data := reader.read(64):
        found += [restamp(run, now_ns=unpack(run).now_ns) for run in split(data)]
    reader.close()
    return found


def record(rng: random.Random, source: int, number: int) -> bytes:
    """One run: now and then an instrument row, a long run, or a record that its source does not count."""
    draw = rng.random()
    head = {"source": source, "source_seq": 0 if draw > 0.95 else number, "recv_ns": number}
    if draw < 0.15:
        return CODECS[r.Kind.INSTRUMENT].pack(
            **head, instrument=rng.randrange(1, 20), tick_step=rng.choice((1, 10, 100))
        )
    if draw < 0.2:
        return CODECS[r.Kind.TICK_STEP].pack(
            **head, instrument=rng.randrange(1, 20), new_step=rng.choice((0, 1, 10, 100, 10_000))
        )
    parts = rng.choice((1, 1, 1, 2, 5, 40))
    return b"".join(
        CODECS[r.Kind.DELTA].pack(**head, part=p, parts=parts, instrument=number & 7) for p in range(parts)
    )


@pytest.mark.parametrize("seed", seeds(scaled(60, 1_000)))
def test_the_log_equals_the_models(tmp_path: Path, seed: int) -> None:
    """Any arrival order, budget, lag and restart gives exactly the model's log, each record once."""
    rng = random.Random(seed)
    feeds = rng.randrange(1, 4)
    model = SequenceModel(
        2, feeds, SEGMENT, lag_max := rng.choice((40, 10_000)), quantum := rng.choice((1, 3, 16))
    )
    channels = [channel(256) for _ in range(2 + feeds)]
    numbers = [0] * len(channels)
    clock_ns = START_NS + rng.randrange(MS)

    def start() -> tuple[LogWriter, Sequencer]:
        log = LogWriter(tmp_path, "stream", SEGMENT)
        sources = [reader for _, reader in channels]
        return log, Sequencer(
            sources[:2],
            sources[2:],
            log,
            instruments_max=20,
            stream_lag_records_max=lag_max,
            feed_quantum=quantum,
        )

    log, sequencer = start()
    for _ in range(60):
        for at, (writer, _reader) in enumerate(channels):
            for _ in range(rng.randrange(4) if rng.random() < 0.5 else 0):
                numbers[at] += 1
                run = record(rng, at + 5, numbers[at])
                sent = (
                    [run] if rng.random() > 0.1 else [run, run]
                )  # a copy, as after a crash between append and advance
                for copy in sent:
                    if writer.push(copy):
                        (model.priority + model.feeds)[at].append(copy)
        clock_ns += rng.choice((-MS, 0, 1000, MS // 2, 7 * MS))
        book_position = rng.choice((0, sequencer.position))
        budget = rng.randrange(1, 40)
        expected = model.turn(clock_ns, book_position, budget)
        assert expected == sequencer.turn(clock_ns, book_position, budget)
        if rng.random() < 0.2:
            expected_tick = model.reach(clock_ns + MS)
            assert expected_tick == sequencer.idle_tick(clock_ns + MS)
        if rng.random() < 0.05:  # restart: the state comes back from the log alone
            log.close()
            log, sequencer = start()
            reader = LogReader(tmp_path, "stream")
            sequencer.recover(reader)
            reader.close()
            model.must_repeat, model.next_feed = bool(model.rows), 0
        assert (model.position, model.now_ns) == (sequencer.position, sequencer.now_ns)
    log.close()
    found = whole_log(tmp_path)
    assert model.log == found
    times = [unpack(run).now_ns for run in found]
    assert sorted(times) == times
    counted = [(x.source, x.source_seq) for x in map(unpack, found) if x.source_seq]
    assert len(set(counted)) == len(counted)


def make(tmp_path: Path, **limits: int) -> tuple[Sequencer, list[object], LogWriter]:
    ends = [channel(256) for _ in range(2)]
    log = LogWriter(tmp_path, "stream", SEGMENT)
    sequencer = Sequencer([ends[0][1]], [ends[1][1]], log, **({"instruments_max": 20} | limits))
    return sequencer, [ends[0][0], ends[1][0]], log


def delta(source: int, number: int) -> bytes:
    return CODECS[r.Kind.DELTA].pack(source=source, source_seq=number)


def test_priority_sources_come_first(tmp_path: Path) -> None:
    """A report that arrives after a thousand market records is before them in the stream."""
    sequencer, (urgent, feed), log = make(tmp_path)
    for number in range(1, 101):
        assert feed.push(delta(1, number))
    assert urgent.push(CODECS[r.Kind.REPORT].pack(source=2, source_seq=1))
    assert 101 == sequencer.turn(START_NS, 0, 1000)
    log.close()
    assert [r.Kind.TICK, r.Kind.REPORT, r.Kind.DELTA] == [
        unpack(run).kind for run in whole_log(tmp_path)[:3]
    ]


def test_feeds_wait_for_the_book_and_reports_do_not(tmp_path: Path) -> None:
    """While `book` is behind by more than the limit, feeds stand and a report still gets through."""
    sequencer, (urgent, feed), log = make(tmp_path, stream_lag_records_max=10)
    for number in range(1, 31):
        assert feed.push(delta(1, number))
    assert 10 == sequencer.turn(START_NS, 0, 100)  # a Tick and ten records: eleven slots
    assert urgent.push(CODECS[r.Kind.REPORT].pack(source=2, source_seq=1))
    assert 1 == sequencer.turn(START_NS, 0, 100)
    assert 0 == sequencer.turn(START_NS, 0, 100)
    assert 20 == sequencer.turn(START_NS, sequencer.position + 40, 100)
    log.close()


def test_a_segment_begins_with_every_row(tmp_path: Path) -> None:
    """Each segment but the first starts with all instrument rows, flagged, before any other record."""
    sequencer, (_, feed), log = make(tmp_path)
    for number, row in enumerate((3, 1, 2), 1):
        assert feed.push(CODECS[r.Kind.INSTRUMENT].pack(instrument=row, source=1, source_seq=number))
    for number in range(100, 300):
        assert feed.push(delta(1, number)) or (
            sequencer.turn(START_NS, 10**9, 1000) and feed.push(delta(1, number))
        )
    sequencer.turn(START_NS, 10**9, 1000)
    log.close()
    reader = LogReader(tmp_path, "stream")
    by_segment: dict[int, list[object]] = {}
    while data := reader.read(1):
        found = unpack(data)
        by_segment.setdefault(found.seq // SEGMENT, []).append(found)
    assert len(by_segment) >= 3
    for records in list(by_segment.values())[1:]:
        assert [1, 2, 3] == [x.instrument for x in records[:3]]
        assert all(x.flags & r.Flag.REPEAT and x.kind == r.Kind.INSTRUMENT for x in records[:3])
        assert not any(x.flags & r.Flag.REPEAT for x in records[3:])


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (CODECS[r.Kind.DELTA].pack(source=1024, source_seq=1), "source below 1024, found 1024"),
        (CODECS[r.Kind.INSTRUMENT].pack(source=1, source_seq=2, instrument=20), "row below 20, found 20"),
    ],
)
def test_what_cannot_be_kept_stops_the_stream(tmp_path: Path, bad: bytes, words: str) -> None:
    """A source or row beyond its table is refused with its number; what came before it is logged once."""
    sequencer, (_, feed), log = make(tmp_path)
    assert feed.push(delta(1, 1))
    assert feed.push(bad)
    with pytest.raises(InvariantError, match=words):
        sequencer.turn(START_NS, 0, 10)
    with pytest.raises(InvariantError, match=words):
        sequencer.turn(START_NS, 0, 10)
    log.close()
    assert [r.Kind.TICK, r.Kind.DELTA] == [unpack(run).kind for run in whole_log(tmp_path)]


def test_rows_must_fit_in_half_a_segment(tmp_path: Path) -> None:
    """More rows than half a segment would leave no room for records after the repeats."""
    with pytest.raises(InvariantError, match="cannot begin with 33 rows"):
        make(tmp_path, instruments_max=33)
