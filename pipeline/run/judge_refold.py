"""Folds the stream log once more through book and detect, to say why a plant never became an idea.

Same records in, same records out: what detect refused in the run it refuses here, at the same stream
time. Where the core was started again (RESUME), both begin empty here, too. Used only for plants that
neither a package nor a verdict explains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.codec import kind_of
from pipeline.config.shm import Shm
from pipeline.core.detector import Detector
from pipeline.kinds import Kind
from pipeline.native.books import Books
from pipeline.native.ladder import arena_bytes, rows_bytes
from pipeline.native.log import LogReader
from pipeline.native.relay import Filter
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.records import RUN_SLOTS_MAX, SLOT_BYTES
from pipeline.run.channels import ladder_blocks
from pipeline.run.judge_logs import Logs
from pipeline.run.judge_plants import Untaken
from pipeline.stages.detect import WANTED

RING_SLOTS = 4_096
BUDGET = 1_024
_PICO_PER_PPM = 1_000_000  # 1e-12 USD a share in a millionth of a USD a share


@dataclass(slots=True)
class _Seen:
    """What book and detect made of one plant's time."""

    item: Untaken
    is_last: bool  # only the newest look counts
    looked_ns: int = 0
    tops: int = 0
    ideas: int = 0
    best_pico: int | None = None
    causes: Counter[str] = field(default_factory=Counter)

    def begin(self, now_ns: int) -> None:
        """Go on with a record of this time; a frame's records are one look."""
        if self.is_last and now_ns != self.looked_ns:
            self.tops, self.ideas, self.best_pico = 0, 0, None
            self.causes.clear()
        self.looked_ns = now_ns

    def reason(self) -> str:
        """Return the reason in words; "" when no book of the plant's markets moved in its time."""
        if self.ideas:
            return "idea made, its verdict was a repeat not told (once a second)"
        if self.causes:
            name, count = self.causes.most_common(1)[0]
            return f"no idea: {name} ({count} looks)"
        if self.tops and self.best_pico is not None:
            return f"no idea: no profit at the best prices (best edge {self.best_pico // _PICO_PER_PPM} ppm)"
        return "no idea: its markets are in no basket" if self.tops else ""


def explain(state_dir: Path, logs: Logs, items: Sequence[Untaken], *, is_last: bool = False) -> None:
    """Give each item the reason that a second fold of the stream shows; leaves "" where it shows none.

    is_last: only what the newest look in its window found, not what was taken or went before.
    """
    seen: dict[int, list[_Seen]] = {}  # by instrument row
    watched = [_Seen(item, is_last) for item in items]
    for one in watched:
        conditions = [leg["condition"] for leg in one.item.plant["legs"]]
        for row in (row for condition in conditions for row in logs.rows_of.get(condition, ())):
            seen.setdefault(row, []).append(one)
    if seen:
        _refold(state_dir, logs, seen)
    for one in watched:
        one.item.reason = one.reason()


def _refold(state_dir: Path, logs: Logs, seen: dict[int, list[_Seen]]) -> None:
    """Run the whole stream through book and detect, looking on at the rows in `seen`."""
    starts = sorted({0, *(record.live_seq for record in logs.resumes)})
    for start, end in zip(starts, [*starts[1:], 1 << 63], strict=True):
        _refold_part(state_dir, logs, seen, start, end)


def _refold_part(state_dir: Path, logs: Logs, seen: dict[int, list[_Seen]], start: int, end: int) -> None:
    """Fold the stream's positions [start, end) with fresh books and a fresh detector."""
    rows_max = max(logs.instruments) + 1
    blocks = ladder_blocks(Shm())
    books = Books(rows_max, bytearray(arena_bytes(blocks)), bytearray(rows_bytes(rows_max)), blocks)
    memory = bytearray(Ring.bytes_for(RING_SLOTS))
    Ring.format(memory, RING_SLOTS)
    writer, reader = Writer(memory), Reader(memory)
    source = LogReader(state_dir / "logs" / "stream", "stream", start)
    wanted, detector = Filter(reader, WANTED), Detector()
    # what may be in a basket: rows of events, and conditions with two books
    listed = [(row, len(rows)) for rows in logs.rows_of.values() for row in rows]
    wanted.want_rows([row for row, count in listed if logs.instruments[row].event or count > 1], rows_max)
    try:
        while True:
            # in records of at most RUN_SLOTS_MAX slots: never past the end
            budget = min(BUDGET, max(1, (end - source.position) // RUN_SLOTS_MAX))
            done = books.poll(source, writer, budget) if source.position < end else 0
            data = wanted.read(BUDGET)
            for at in range(0, len(data), SLOT_BYTES):
                _look(detector, data, at, seen)
            if not done and not data:
                return
    finally:
        source.close()
        writer.close()
        reader.close()


def _look(detector: Detector, data: bytes, at: int, seen: dict[int, list[_Seen]]) -> None:
    """Give one record to detect; note what came of it for the plants whose time it is."""
    row = int.from_bytes(data[at + 36 : at + 40], "little")
    now_ns = int.from_bytes(data[at + 8 : at + 16], "little")
    active = [
        one for one in seen.get(row, ()) if one.item.window[0] <= now_ns <= one.item.window[1]
    ] if kind_of(data, at) == Kind.TOP else []
    if not active:
        detector.on_record(data, at)
        return
    before = detector.counts
    ideas = detector.on_record(data, at)
    totals = [watch.total for watch in detector.watches if any(leg[0] == row for leg in watch.basket.legs)]
    refused = {
        name.removeprefix("refused_"): count - before.get(name, 0)
        for name, count in detector.counts.items() if name.startswith("refused_")}
    for one in active:
        one.begin(now_ns)
        one.tops += 1
        one.ideas += len(ideas)
        one.causes.pop("book_open", None)  # a frame's rest has come: only the last record's word is one
        one.causes.update({name: count for name, count in refused.items() if count > 0})
        if totals:
            one.best_pico = max(totals) if one.best_pico is None else max(one.best_pico, *totals)
