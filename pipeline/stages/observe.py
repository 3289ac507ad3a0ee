"""observe: projections for people; may die at any time.

Reads `stream` and `decisions` through native filters; writes `summary.json` in the run directory, whole
or not at all. Nothing here feeds back into a decision.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from pipeline.codec import CODECS, kind_of
from pipeline.core.orders import ORDERS_KEPT_MAX
from pipeline.core.positions import PnlFold
from pipeline.kinds import Cause, Kind, OrderState, Rule, VenueMode
from pipeline.native.relay import Filter
from pipeline.records import SLOT_BYTES
from pipeline.stages.stage import Clock, Counts
from pipeline.units import NS_PER_MS

STREAM_KINDS = (
    Kind.FILL, Kind.REPORT, Kind.RESOLVED, Kind.HALT, Kind.INSTRUMENT, Kind.GAP, Kind.VENUE, Kind.RESUME,
    Kind.RECONCILED)
_FOR_FOLD = (int(Kind.RESUME), int(Kind.RECONCILED))  # the PnL alone needs them
DECISION_KINDS = (Kind.PACKAGE, Kind.INTENT, Kind.VERDICT, Kind.CANCEL)
WRITE_NS = 250 * NS_PER_MS
LOOKS_MAX = 8  # at old orders, for each new one

_UNANSWERED = (int(OrderState.INTENDED), int(OrderState.SENT))
_OVER = tuple(map(int, (
    OrderState.MATCHED, OrderState.CANCELED, OrderState.EXPIRED, OrderState.REJECTED, OrderState.UNSENT,
    OrderState.DRY)))


class Summary:
    """What happened so far, in numbers that `pm status` and the demo show.

    since_ns: stream time before which refusals are not counted; an earlier run's help nobody.
    orders_kept_max: orders remembered one by one; the oldest that are over are forgotten first, as in trade.
    """

    def __init__(self, since_ns: int = 0, orders_kept_max: int = ORDERS_KEPT_MAX) -> None:
        self._since_ns = since_ns
        self._kept_max = orders_kept_max
        self._order_count = self._forgotten_no = 0
        self._hashes: dict[int, bytes] = {}  # order number -> order hash
        self._package_ns = 0
        self._fold = PnlFold()
        self._states: OrderedDict[int, int] = OrderedDict()  # oldest first
        self._numbers_of: dict[bytes, int] = {}  # order hash -> order number
        self._by_state: Counter[int] = Counter()
        self._refused: Counter[str] = Counter()
        self._numbers: Counter[str] = Counter()
        self._rows: set[int] = set()
        self._closed: set[int] = set()  # rows that take no orders any more
        self._edge_usd_micro = 0
        self._halt_level = 0
        self._venues: dict[str, dict[str, Any]] = {}  # by account: what its venue takes

    def on_record(self, data: bytes, at: int) -> None:
        """Fold one record of either log."""
        kind = kind_of(data, at)
        self._fold.on_record(data, at)
        if kind == Kind.FILL:
            self._numbers["fill_records"] += 1
            return
        if kind in _FOR_FOLD:
            return
        record = CODECS[Kind(kind)].unpack(data, at)
        if kind == Kind.REPORT:
            self._on_report(record)
        elif kind == Kind.INTENT:
            if record.order_no not in self._states:
                self._set_state(record.order_no, int(OrderState.INTENDED))
        elif kind == Kind.PACKAGE:
            self._numbers["packages"] += 1
            self._package_ns = record.now_ns
            self._edge_usd_micro += record.payout_usd_micro - record.cost_usd_micro - record.fee_usd_micro
        elif kind == Kind.VERDICT:
            if record.now_ns >= self._since_ns:
                self._refused[Cause(record.cause).name.lower()] += max(1, record.count)
        elif kind == Kind.HALT:
            self._halt_level = record.level
        elif kind == Kind.VENUE:
            self._venues[str(record.account)] = {
                "mode": VenueMode(record.mode).name.lower(), "cause": Cause(record.cause).name.lower(),
                "http_status": record.http_status, "since_ns": record.now_ns, "until_ns": record.until_ns,
                "text": record.text.decode("ascii", "replace")}
        elif kind == Kind.INSTRUMENT:
            self._rows.add(record.instrument)  # each segment repeats every known row
            (self._closed.add if record.rules & Rule.CLOSED else self._closed.discard)(record.instrument)
            self._numbers["instruments"] = len(self._rows)
        else:
            self._numbers[Kind(kind).name.lower() + "s"] += 1

    def _on_report(self, record: Any) -> None:
        """Follow an order by number, else by the hash that a report with both told."""
        order_no = record.order_no or self._numbers_of.get(record.order_hash, 0)
        if not order_no or (order_no <= self._forgotten_no and order_no not in self._states):
            return  # of nobody here, or no longer
        if any(record.order_hash) and record.order_hash not in self._numbers_of:
            self._numbers_of[record.order_hash] = order_no
            self._hashes[order_no] = record.order_hash
        before = self._states.get(order_no, int(OrderState.INTENDED))
        if record.state == OrderState.CANCEL_REFUSED or (
                record.state == OrderState.UNKNOWN and before not in _UNANSWERED):
            return  # says nothing of the order; a successor doubts what an older gateway had the answer of
        self._set_state(order_no, record.state)

    def _set_state(self, order_no: int, state: int) -> None:
        before = self._states.get(order_no)
        if before is not None:
            self._by_state[before] -= 1
        else:
            self._order_count += 1
            self._make_room()
        self._states[order_no] = state
        self._by_state[state] += 1

    def _make_room(self) -> None:
        """Forget the oldest orders that are over; one that is still open becomes the youngest."""
        for _ in range(LOOKS_MAX):
            if len(self._states) < self._kept_max:
                return
            order_no, state = self._states.popitem(last=False)
            if state not in _OVER:
                self._states[order_no] = state
                continue
            self._forgotten_no = max(self._forgotten_no, order_no)
            order_hash = self._hashes.pop(order_no, b"")
            self._numbers_of.pop(order_hash, None)
            self._fold.forget(order_no, order_hash)

    def figures(self) -> dict[str, Any]:
        """Return everything as plain values; money in USD micro."""
        pnl = self._fold.pnl
        orders = {OrderState(state).name.lower(): count for state, count in self._by_state.items() if count}
        return {
            **self._numbers, "orders": self._order_count, "orders_by_state": orders,
            "fills": pnl.fill_count, "fees_usd_micro": pnl.fees_usd_micro,
            "cash_usd_micro": pnl.pnl_usd_micro,
            "packaged_edge_usd_micro": self._edge_usd_micro, "refused": dict(self._refused),
            "last_package_ns": self._package_ns,
            "halt_level": self._halt_level, "venues": self._venues, "open_rows": len(pnl.open_rows),
            "pending_rows": sum(row in self._closed for row in pnl.open_rows),
        }


class ObserveStage:
    """Folds both logs into a `Summary` and keeps it in a file, for people and tools.

    position: how far the stream was read.
    """

    def __init__(
        self, name: str, stream: Filter, decisions: Filter, path: Path, clock: Clock, counts: Counts,
        position: Callable[[], int], since_ns: int = 0,
    ) -> None:
        self.name = name
        self.summary = Summary(since_ns)
        self._put_position = counts.counter("observe_position").put
        self._count_refused = counts.counter("summaries_refused").add
        self._position = position
        self._sources = (stream, decisions)
        self._path = path
        self._clock = clock
        self._written_ns = 0
        self._is_changed = True

    def poll(self, budget: int) -> int:
        """Fold what is new and write the summary a few times a second."""
        done = 0
        for source in self._sources:
            data = source.read(budget)
            for at in range(0, len(data), SLOT_BYTES):
                self.summary.on_record(data, at)
            done += len(data) // SLOT_BYTES
        self._put_position(self._position())
        self._is_changed = self._is_changed or done > 0
        now_ns = self._clock()
        if self._is_changed and now_ns - self._written_ns >= WRITE_NS:
            self._write(now_ns)
        return done

    def _write(self, now_ns: int) -> None:
        self._written_ns = now_ns
        partial = self._path.with_suffix(".partial")
        try:
            partial.write_bytes(orjson.dumps({"now_ns": now_ns, **self.summary.figures()}))
            partial.replace(self._path)
        except OSError:  # a full disk: the file stays as it was, and our lane has other stages to run
            self._count_refused(1)
            partial.unlink(missing_ok=True)
            return
        self._is_changed = False

    def close(self) -> None:
        """Leave the last numbers behind."""
        self._write(self._clock())
