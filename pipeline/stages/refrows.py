"""Which row, event number and shard each market of refdata has; rows are never reused, shards are filled up.

A row is active while its market is carried: subscribed, with a book. One that is resolved, or retired for
another, keeps its number and gives its place in a shard to the next.
"""

from __future__ import annotations

from typing import Any

from pipeline.kinds import Rule


class Rows:
    """Numbers of one venue's markets. Learn what the stream holds first, then `give`."""

    def __init__(self, row_first: int, rows_max: int, shard_rows_max: int) -> None:
        """shard_rows_max: markets of one socket."""
        self.of: dict[bytes, int] = {}  # condition -> row
        self.condition: dict[int, bytes] = {}
        self.active: dict[int, int] = {}  # row -> shard
        self.learned: dict[int, Any] = {}  # row -> its INSTRUMENT, written before our start
        self.resolved: dict[int, None] = {}
        self.pinned: dict[int, None] = {}  # rows that were traded: carried until they are resolved
        self._first, self._rows_max, self._shard_rows_max = row_first, rows_max, shard_rows_max
        self._loads: dict[int, int] = {}  # shard -> active rows
        self._roomy = 0  # no shard below has room
        self._events: dict[str, int] = {}  # event id -> its number, 1 first
        self._event_last = 0

    def __len__(self) -> int:
        return len(self.condition)

    def learn(self, record: Any) -> None:
        """Take an INSTRUMENT that stands in the stream: its row is given, its event has its number."""
        condition, row = bytes(record.condition), record.instrument
        self.of[condition], self.condition[row] = max(row, self.of.get(condition, 0)), condition
        self.learned[row] = record
        self._event_last = max(self._event_last, record.event)
        self.rest(row)
        if not record.rules & Rule.RETIRED and row not in self.resolved:
            self.active[row] = record.shard
            self._loads[record.shard] = self._loads.get(record.shard, 0) + 1

    def give(self, condition: bytes) -> int:
        """Return the row of a condition, a new one when it has none; 0 = all rows of the run are given."""
        row = self.of.get(condition, 0)
        if not row and len(self.condition) < self._rows_max:
            row = self._first + len(self.condition)
            self.of[condition], self.condition[row] = row, condition
        return row

    def release(self, row: int) -> None:
        """What has other tokens now is another market: its condition gets a row anew, this one stays."""
        self.of.pop(self.condition[row], None)

    def activate(self, row: int) -> int:
        """Carry a row; return its shard: the one that it has, else the first with room."""
        if row in self.active:
            return self.active[row]
        shard = self._roomy
        while self._loads.get(shard, 0) >= self._shard_rows_max:
            shard += 1
        self._roomy = shard
        self.active[row] = shard
        self._loads[shard] = self._loads.get(shard, 0) + 1
        return shard

    def rest(self, row: int) -> None:
        """Carry a row no more."""
        shard = self.active.pop(row, None)
        if shard is not None:
            self._loads[shard] -= 1
            self._roomy = min(self._roomy, shard)

    def resolve(self, row: int) -> None:
        """A market is over for good."""
        self.resolved[row] = None
        self.rest(row)

    def event_number(self, event_id: str, row: int) -> int:
        """Return the number of a market's event: the one that the stream knows it by, else the next."""
        if not event_id:
            return 0
        known = self.learned.get(row)
        if known is not None and known.event:
            self._events.setdefault(event_id, known.event)
        if event_id not in self._events:
            self._event_last += 1
            self._events[event_id] = self._event_last
        return self._events[event_id]
