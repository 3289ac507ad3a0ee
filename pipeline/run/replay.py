"""`pm replay`: folds a run's stream once more and compares every decision with the logged one.

Reads `stream`, `decisions`, the manifests and, where the logs' beginnings are retired, checkpoints; writes
nothing. A restart of the core stands in the stream as RESUME: before it the old core decided up to its last
logged decision, from there nobody did, and the new one began with empty books and what both logs told. So a
log is replayed span by span, one a core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.codec import CODECS, HEADER_STRUCT, runs
from pipeline.core.checkpoint import restore, serialise
from pipeline.core.trader import Trader
from pipeline.errors import EnvironmentProblem
from pipeline.kinds import Kind
from pipeline.native.crc import checksum
from pipeline.native.log import LogReader
from pipeline.native.relay import Filter
from pipeline.native.segments import SegmentInfo, segments
from pipeline.records import SLOT_BYTES
from pipeline.run import manifest, wiring
from pipeline.run.replay_chain import BookMemory, Chain
from pipeline.store import checkpoints
from pipeline.store.refold import Refold
from pipeline.store.words import describe

READ_SLOTS = 4_096
_SEQ, _CAUSE_SEQ, _PART, _PARTS = 0, 3, 8, 9  # places in a record's header
_PART_AT, _CHECK_AT = 42, 44

OnProgress = Callable[[int, int], object]  # positions of the stream done, of all


@dataclass(frozen=True, slots=True)
class Span:
    """What one core did: from where both logs ended at its start to where they ended at the next one's."""

    stream: int
    decisions: int
    stream_end: int
    decisions_end: int


@dataclass(frozen=True, slots=True)
class Difference:
    """The first decision that is not the logged one; each record in words, none where there is none."""

    position: int  # in decisions
    cause_seq: int  # in stream
    cause: str
    expected: list[str]
    found: list[str]

    def lines(self) -> list[str]:
        """Return it for people."""
        shown = [f"first difference: decision at position {self.position}", f"  cause     {self.cause}"]
        for name, words in (("expected", self.expected), ("found", self.found)):
            first, *more = words or ["no decision"]
            shown += [f"  {name:<9} {first}", *(f"            {line}" for line in more)]
        return shown


@dataclass(slots=True)
class Replayed:
    """What a replay did. Positions count slots; `difference` None: every decision is the logged one."""

    stream_first: int = 0
    stream_end: int = 0
    records: int = 0
    decisions: int = 0  # runs compared; one run is all that one record caused
    decision_slots: int = 0
    spans: int = 0
    unlogged: int = 0  # decision runs that follow from the rest of the stream, which no core logged any more
    seconds: float = 0.0
    manifests: list[manifest.Manifest] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    difference: Difference | None = None


def find_logs(path: Path) -> Path:
    """Return the folder that holds `stream` and `decisions`; EnvironmentProblem when there is none."""
    for folder in (path, path / "logs", path / "state" / "logs"):
        if all(any((folder / log).glob("*.log")) for log in wiring.LOGS):
            return folder
    raise EnvironmentProblem(
        f"replay: {path} holds no logs stream and decisions; give a state directory or its folder logs")


class Replay:
    """One replay of the logs in a folder; `run` does it."""

    def __init__(self, logs: Path, on_progress: OnProgress = lambda _done, _all: None) -> None:
        """Raises LayoutError for logs of another layout, LogCorrupt for damaged headers."""
        self._logs = logs
        self._on_progress = on_progress
        self._infos = {log: segments(logs / log, log) for log in wiring.LOGS}
        self._firsts = {log: found[0].first for log, found in self._infos.items()}
        # The writer makes its next file ahead: one that holds nothing yet says nothing about the end.
        self._ends = {
            log: max((one.published for one in found if one.published > one.first), default=found[0].first)
            for log, found in self._infos.items()}
        self._rows_max = 2
        self._config_hashes: dict[str, None] = {}  # of the limits that the stream holds
        self.result = Replayed(stream_end=self._ends[wiring.STREAM], manifests=manifest.read_all(logs))
        self._expected = _Expected(self._infos[wiring.DECISIONS])

    def run(self) -> Replayed:
        """Replay everything that is there; stops behind the first difference."""
        result, began_s = self.result, time.monotonic()
        spans = self._spans()
        result.warnings = _warnings(result.manifests, self._config_hashes)
        trader, stream_seq, decisions_seq = self._state_at(spans)
        spans = [span for span in spans if span.stream >= stream_seq and span.decisions >= decisions_seq]
        if not spans:
            raise EnvironmentProblem(self._what_is_missing())
        result.stream_first = spans[0].stream
        stream = self._reader(wiring.STREAM, stream_seq)
        decisions = self._reader(wiring.DECISIONS, decisions_seq)
        known = Refold(trader, stream, decisions)
        try:
            for span in spans:
                known.finish(span.stream, span.decisions)
                self._replay(span, _copy_of(trader))
                result.spans += 1
                if result.difference is not None:
                    break
        finally:
            stream.close()
            decisions.close()
        result.seconds = time.monotonic() - began_s
        return result

    # ------------------------------------------------------------------ where to begin

    def _reader(self, log: str, position: int) -> LogReader:
        return LogReader(self._logs / log, log, position, verify=True)

    def _spans(self) -> list[Span]:
        """Return one span for each start that the stream still holds whole, oldest first."""
        starts: dict[int, int] = {}  # where the stream ended -> where decisions did
        if not any(self._firsts.values()):
            starts[0] = 0
        reader = self._reader(wiring.STREAM, self._firsts[wiring.STREAM])
        try:
            wanted, position = Filter(reader, (Kind.RESUME, Kind.CONFIG, Kind.INSTRUMENT)), -1
            while (data := wanted.read(READ_SLOTS)) or reader.position != position:
                position = reader.position
                for at in range(0, len(data), SLOT_BYTES):
                    row = int.from_bytes(data[at + 36 : at + 40], "little")
                    self._rows_max = max(self._rows_max, row + 1)
                    if data[at + 32] == Kind.RESUME:
                        record = CODECS[Kind.RESUME].unpack(data, at)
                        starts[record.live_seq] = record.decisions_seq
                    elif data[at + 32] == Kind.CONFIG:
                        self._config_hashes[CODECS[Kind.CONFIG].unpack(data, at).config_hash.hex()] = None
            reader.check()
        finally:
            reader.close()
        kept = [
            (stream, decided) for stream, decided in sorted(starts.items())
            if stream >= self._firsts[wiring.STREAM] and decided >= self._firsts[wiring.DECISIONS]]
        ends = [*kept[1:], (self._ends[wiring.STREAM], self._ends[wiring.DECISIONS])]
        return [Span(*start, *end) for start, end in zip(kept, ends, strict=True)]

    def _state_at(self, spans: list[Span]) -> tuple[Trader, int, int]:
        """Return what trade knew at or before the first span that can be replayed, and its positions."""
        if not any(self._firsts.values()):
            return Trader(), 0, 0
        held = []
        for path in checkpoints.files(self._logs.parent / "checkpoints"):
            trader, stream_seq, decisions_seq = restore(path.read_bytes())
            if stream_seq >= self._firsts[wiring.STREAM] and decisions_seq >= self._firsts[wiring.DECISIONS]:
                held.append((stream_seq, decisions_seq, trader))
        for span in spans:
            fitting = [one for one in held if one[0] <= span.stream and one[1] <= span.decisions]
            if fitting:
                stream_seq, decisions_seq, trader = fitting[-1]
                return trader, stream_seq, decisions_seq
        raise EnvironmentProblem(self._what_is_missing())

    def _what_is_missing(self) -> str:
        firsts = self._firsts
        return (
            f"replay: {self._logs} begins at {firsts[wiring.STREAM]} of stream and "
            f"{firsts[wiring.DECISIONS]} of decisions, and no restart behind that has a checkpoint before "
            "it; bring the older segments back from the archive")

    def _memory(self, span: Span) -> BookMemory:
        """Return rows and ladders of the run that began this span; without a manifest, the defaults."""
        told = [one for one in self.result.manifests if one["stream_seq"] <= span.stream]
        if not told:
            return BookMemory(self._rows_max)
        return BookMemory(told[-1]["books"]["rows_max"], tuple(told[-1]["books"]["ladders"]))

    # ------------------------------------------------------------------ one span

    def _replay(self, span: Span, trader: Trader) -> None:
        """Decide from the span's start until all its logged decisions were decided again, or one differs."""
        result = self.result
        end = self._end_of_data(span)
        expected = self._expected.between(self._reader(wiring.DECISIONS, span.decisions), span.decisions_end)
        stream, chain = self._reader(wiring.STREAM, span.stream), Chain(trader, self._memory(span))
        place = span.decisions
        wanted = next(expected, None)
        try:
            decided = chain.decide(
                stream, end, lambda position: self._on_progress(position, result.stream_end))
            while wanted is not None:
                run = next(decided, None)
                found = self._expected.stamped(run, place) if run is not None else None
                if found != wanted:
                    result.difference = self._difference(wanted, found, place)
                    return
                result.decisions += 1
                result.decision_slots += len(wanted) // SLOT_BYTES
                place = HEADER_STRUCT.unpack_from(wanted)[_SEQ] + len(wanted) // SLOT_BYTES
                wanted = next(expected, None)
            if span.stream_end == result.stream_end:  # before a restart nobody decides on what is left
                result.unlogged = sum(1 for _ in decided)
        finally:
            result.records += chain.records_count
            expected.close()
            stream.close()
            chain.close()

    def _end_of_data(self, span: Span) -> int:
        """Return the position behind the span's last record: padding behind it is never shown."""
        for info in reversed(self._infos[wiring.STREAM]):
            end = min(span.stream_end, info.published)
            for position in range(end - 1, max(info.first, span.stream) - 1, -1):
                reader = LogReader(self._logs / wiring.STREAM, wiring.STREAM, position)
                data = reader.read(1)
                reader.close()
                if data and HEADER_STRUCT.unpack_from(data)[_SEQ] == position:
                    return position + 1
        return span.stream

    def _difference(self, wanted: bytes, found: bytes | None, place: int) -> Difference:
        seqs = [HEADER_STRUCT.unpack_from(run)[_CAUSE_SEQ] for run in (wanted, found) if run is not None]
        cause_seq = min(seqs)
        cause = f"{cause_seq:>9} not in the stream"
        if cause_seq < self._ends[wiring.STREAM]:
            reader = self._reader(wiring.STREAM, cause_seq)
            data = reader.read(1)
            reader.close()
            cause = describe(data)
        return Difference(place, cause_seq, cause, _words(wanted), _words(found))


class _Expected:
    """The logged decision runs, and what the log would have made of a run at a position."""

    def __init__(self, infos: list[SegmentInfo]) -> None:
        self._first, self._slots = infos[0].first, infos[0].slots

    @staticmethod
    def between(reader: LogReader, end: int) -> Generator[bytes, None, None]:
        """Yield the runs from the reader's position up to `end`; closes the reader."""
        try:
            while data := reader.read(READ_SLOTS):
                for run in runs(data):
                    if HEADER_STRUCT.unpack_from(run)[_SEQ] >= end:
                        return
                    yield run
            reader.check()
        finally:
            reader.close()

    def stamped(self, run: bytes, place: int) -> bytes:
        """Return the run as the log would hold it behind `place`: place, parts and checks of its slots."""
        count = len(run) // SLOT_BYTES
        room = self._slots - (place - self._first) % self._slots
        place += room if room < count else 0  # a run never crosses the end of a file
        stamped = bytearray(run)
        for index in range(count):
            at = index * SLOT_BYTES
            stamped[at : at + 8] = (place + index).to_bytes(8, "little")
            stamped[at + _PART_AT : at + _CHECK_AT] = bytes((index, count))
            stamped[at + _CHECK_AT : at + _CHECK_AT + 4] = bytes(4)
            check = checksum(bytes(stamped[at : at + SLOT_BYTES]))
            stamped[at + _CHECK_AT : at + _CHECK_AT + 4] = check.to_bytes(4, "little")
        return bytes(stamped)


def _copy_of(trader: Trader) -> Trader:
    """Return a trader that knows the same and will never change the first one."""
    return restore(serialise(trader))[0]


def _words(run: bytes | None) -> list[str]:
    return [describe(run, at) for at in range(0, len(run), SLOT_BYTES)] if run is not None else []


def _warnings(manifests: list[manifest.Manifest], config_hashes: Iterable[str]) -> list[str]:
    """Return what makes a difference likely: other code, or limits of another configuration than told."""
    if not manifests:
        return ["no manifest beside the logs: nothing tells which code and configuration wrote them"]
    found = []
    builds = dict.fromkeys(one["build"] for one in manifests)
    if list(builds) != [manifest.build_id()]:
        found.append(
            f"written by build {', '.join(builds)}, replayed by build {manifest.build_id()}: other code may "
            "decide otherwise")
    told = {one["config_hash"] for one in manifests}
    found += [
        f"the stream holds limits of configuration {strange}, which no manifest names"
        for strange in config_hashes if strange not in told]
    return found


def to_dict(result: Replayed) -> dict[str, Any]:
    """Return the result as plain values, for `--json`."""
    different = result.difference
    return {
        "stream_first": result.stream_first, "stream_end": result.stream_end, "records": result.records,
        "decisions": result.decisions, "decision_slots": result.decision_slots, "spans": result.spans,
        "unlogged": result.unlogged, "seconds": result.seconds,
        "records_per_s": result.records / result.seconds if result.seconds else 0.0,
        "is_same": different is None, "warnings": result.warnings, "manifests": result.manifests,
        "difference": None if different is None else {
            "position": different.position, "cause_seq": different.cause_seq, "cause": different.cause,
            "expected": different.expected, "found": different.found},
    }
