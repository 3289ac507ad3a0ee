"""Slow model of the sequencer: lists instead of rings and segments, the same promises.

A run is (head fields as a dict, slots). The model returns what the log must hold, PAD left out.
"""

from __future__ import annotations

import collections
from typing import Any

from pipeline import records as r
from pipeline.codec import CODECS, HEADER_STRUCT, unpack

MS = 10**6


class SequenceModel:
    def __init__(self, priority: int, feeds: int, segment_slots: int, lag_max: int, quantum: int) -> None:
        self.priority = [collections.deque[bytes]() for _ in range(priority)]
        self.feeds = [collections.deque[bytes]() for _ in range(feeds)]
        self.segment_slots, self.lag_max, self.quantum = segment_slots, lag_max, quantum
        self.first = self.end = self.now_ns = self.tick_count = self.next_feed = 0
        self.last: dict[int, int] = {}
        self.rows: dict[int, bytes] = {}
        self.log: list[bytes] = []  # runs
        self.must_repeat = False

    @property
    def position(self) -> int:
        return self.first + self.end

    def begin(self, slots: int) -> None:
        if self.end + slots > self.segment_slots:
            self.first, self.end, self.must_repeat = self.first + self.segment_slots, 0, True

    def write(self, run: bytes) -> None:
        slots = len(run) // r.SLOT_BYTES
        self.begin(slots)
        while self.must_repeat:
            self.must_repeat = False
            for row in sorted(self.rows):
                self.begin(1)
                self.log.append(restamp(self.rows[row], now_ns=self.now_ns, source_seq=0, flag=r.Flag.REPEAT))
                self.end += 1
            self.begin(slots)
        self.log.append(run)
        self.end += slots

    def reach(self, clock_ns: int) -> bool:
        now_ns = max(self.now_ns, clock_ns)
        is_new = now_ns // MS != self.now_ns // MS
        if is_new:
            self.tick_count += 1
            self.write(CODECS[r.Kind.TICK].pack(now_ns=now_ns, recv_ns=now_ns, tick_count=self.tick_count))
            self.now_ns = now_ns
        return is_new

    def take(self, queue: collections.deque[bytes], clock_ns: int) -> None:
        run = queue.popleft()
        head = unpack(run)
        if head.source_seq and head.source_seq <= self.last.get(head.source, 0):
            return
        self.reach(clock_ns)
        if head.source_seq:
            self.last[head.source] = head.source_seq
        now_ns = max(self.now_ns, clock_ns)
        self.write(restamp(run, now_ns=now_ns))
        self.now_ns = now_ns
        if head.kind == r.Kind.INSTRUMENT:
            known = self.rows.get(head.instrument)
            self.rows[head.instrument] = run
            if known is not None and unpack(known).flags & r.Flag.TICKED:
                self.tick_row(head.instrument, unpack(known).tick_step)
        elif head.kind == r.Kind.TICK_STEP and head.instrument in self.rows and 0 < head.new_step < 10_000:
            self.tick_row(head.instrument, head.new_step)

    def tick_row(self, row: int, tick_step: int) -> None:
        """The stream's own tick outlives what metadata says later."""
        fields = unpack(self.rows[row])._asdict()
        fields |= {
            "tick_step": tick_step,
            "tick_step_finest": min(tick_step, fields["tick_step_finest"]),
            "flags": fields["flags"] | r.Flag.TICKED,
        }
        self.rows[row] = CODECS[r.Kind.INSTRUMENT].pack(**fields)

    def turn(self, clock_ns: int, book_position: int, budget: int) -> int:
        handled = 0
        for queue in self.priority:
            while queue and handled < budget:
                self.take(queue, clock_ns)
                handled += 1
        idle = 0
        while handled < budget and idle < len(self.feeds):
            queue = self.feeds[self.next_feed % len(self.feeds)]
            self.next_feed = self.next_feed % len(self.feeds) + 1
            quantum = min(self.quantum, budget - handled)
            idle = idle if queue else idle + 1
            if queue:
                idle = 0
            while queue and quantum:
                if self.position - book_position > self.lag_max:
                    return handled
                self.take(queue, clock_ns)
                handled += 1
                quantum -= 1
        return handled


def restamp(run: bytes, *, now_ns: int, source_seq: int | None = None, flag: int = 0) -> bytes:
    """Return the run with its stream time set, and `part` and `parts` as a channel sets them."""
    data = bytearray(run)
    parts = len(run) // r.SLOT_BYTES
    for place in range(parts):
        at = place * r.SLOT_BYTES
        values: list[Any] = list(HEADER_STRUCT.unpack_from(data, at))
        values[0], values[1], values[8], values[9], values[10] = 0, now_ns, place, parts, 0
        values[3] = values[3] if source_seq is None else source_seq
        values[5] |= flag
        HEADER_STRUCT.pack_into(data, at, *values)
    return bytes(data)
