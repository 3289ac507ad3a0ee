"""Slow models of the channels: a list of runs and two positions; no memory, no atomics, nothing shared."""

from __future__ import annotations

from collections import deque

RUN_SLOTS_MAX = 64


class RingModel:
    """What a ring of `slots` slots must do; records are any objects."""

    def __init__(self, slots: int, position: int = 0) -> None:
        self.slots = slots
        self.tail = self.head = self.seen = position
        self.waiting: deque[tuple[object, int, int]] = deque()  # record, part, parts
        self.history: dict[int, tuple[object, int, int]] = {}

    def push(self, records: list[object]) -> bool:
        """Take one run or refuse it whole."""
        if self.tail + len(records) - self.head > self.slots:
            return False
        for part, record in enumerate(records):
            self.history[self.tail] = (record, part, len(records))
            self.waiting.append(self.history[self.tail])
            self.tail += 1
        return True

    def read(self, slots_max: int) -> list[tuple[object, int, int]]:
        """Give whole runs, at least one when there is one, up to `slots_max` slots.

        A reader looks for more only when it has taken all that it saw (the cached tail).
        """
        if self.seen == self.head:
            self.seen = self.tail
        out: list[tuple[object, int, int]] = []
        while self.head + len(out) < self.seen:
            parts = self.waiting[0][2]
            if out and len(out) + parts > slots_max:
                break
            out += [self.waiting.popleft() for _ in range(parts)]
            if len(out) >= slots_max:
                break
        self.head += len(out)
        return out


class ObserverModel:
    """What an observer of a RingModel must return between two writes."""

    def __init__(self, ring: RingModel) -> None:
        self.ring = ring
        self.position = ring.tail
        self.skipping = False

    def read(self, slots_max: int) -> tuple[list[tuple[object, int, int]], int]:
        """Give (slots, how many were overtaken); after a loss the first slot is the start of a run."""
        ring, lost = self.ring, 0
        oldest = ring.tail - (ring.slots - RUN_SLOTS_MAX)
        if self.position < oldest:
            lost = oldest - self.position
            self.position, self.skipping = oldest, True
        out = []
        for position in range(self.position, min(ring.tail, self.position + slots_max)):
            slot = ring.history[position]
            if self.skipping and slot[1] != 0:
                lost += 1
            else:
                self.skipping = False
                out.append(slot)
            self.position = position + 1
        return out, lost


class LogModel:
    """What a log must hold: runs that never cross a segment's end; positions count the PAD before it too."""

    def __init__(self, segment_slots: int, position: int = 0) -> None:
        self.segment_slots = segment_slots
        self.origin = position
        self.position = position
        self.records: list[tuple[int, object, int, int]] = []  # position, record, part, parts

    def push(self, records: list[object]) -> None:
        """Append one run."""
        room = self.segment_slots - (self.position - self.origin) % self.segment_slots
        if room < len(records):
            self.position += room
        for part, record in enumerate(records):
            self.records.append((self.position, record, part, len(records)))
            self.position += 1
