"""A long stream log out of a finished world's: the same days again and again, with new markets and orders.

Each tile moves stream time on and renames what a run names by number: rows, events, shards, orders, groups,
requests; hashes and trade ids are marked. Condition, tokens and venue times stay: the venue's SHA-1 covers
them. RESUME stays, too: each tile begins unreconciled, as the first one, so that the same orders meet their
reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.codec import runs
from pipeline.kinds import Kind
from pipeline.native.log import LogWriter
from pipeline.records import DTYPES, SLOT_BYTES
from pipeline.units import NS_PER_S
from tests.replay.rich_log import RichLog

LEFT_OUT = (Kind.LANE_UP,)  # of all tiles but the first
REPORTS = (Kind.REPORT, Kind.FILL)


def tiled_overrides(log: RichLog, tiles: int) -> dict[str, object]:
    """Return the world's settings with room for the rows of all tiles."""
    rows = _highest(_slots(log.stream), Kind.INSTRUMENT, "instrument") + 1
    rows_max = rows * tiles + 1
    return {
        **log.plan.overrides, "universe.instruments_max": rows_max, "shm.ladders_128": rows_max,
        "shm.ladders_1024": min(rows_max, 16_384), "shm.ring_slots": 4_096, "shm.log_segment_slots": 65_536,
        "shm.log_bytes_max": 1 << 34}


def write_tiles(log: RichLog, tiles: int, directory: Path, segment_slots: int) -> int:
    """Write the log `tiles` times, one after the other; return the records written."""
    directory.mkdir(parents=True)
    writer = LogWriter(directory, "stream", segment_slots, salt_epoch=1)
    stream, decided = _slots(log.stream), _slots(log.decisions)
    head = stream.view(DTYPES[Kind.TICK]).reshape(-1)
    steps = {
        "row": _highest(stream, Kind.INSTRUMENT, "instrument"),
        "event": _highest(stream, Kind.INSTRUMENT, "event"),
        "shard": _highest(stream, Kind.INSTRUMENT, "shard") + 1,
        "order": _highest(decided, Kind.INTENT, "order_no"),
        "group": _highest(decided, Kind.PACKAGE, "group_no"),
        "request": max(_highest(decided, kind, "request_no") for kind in (
            Kind.SUBSCRIBE, Kind.RESYNC, Kind.RECONCILE)),
        "time": (int(head["now_ns"][-1] - head["now_ns"][0]) // NS_PER_S + 2) * NS_PER_S}
    count = 0
    for tile in range(tiles):
        for run in runs(_moved(stream, tile, steps).tobytes()):
            assert writer.push(run)
            count += 1
    writer.close()
    return count


def _slots(data: bytes) -> Any:
    return np.frombuffer(data, np.uint8).reshape(-1, SLOT_BYTES)


def _highest(slots: Any, kind: Kind, name: str) -> int:
    records = slots.view(DTYPES[kind]).reshape(-1)
    found = records[name][records["kind"] == kind]
    return int(found.max()) if len(found) else 0


def _moved(stream: Any, tile: int, steps: Mapping[str, int]) -> Any:
    """Return the tile's slots."""
    slots = stream.copy()
    kinds = slots.view(DTYPES[Kind.TICK]).reshape(-1)["kind"].copy()
    _add(slots, kinds, None, "now_ns", tile * steps["time"])
    _add(slots, kinds, None, "recv_ns", tile * steps["time"])
    _add(slots, kinds, None, "instrument", tile * steps["row"])
    _add(slots, kinds, Kind.INSTRUMENT, "event", tile * steps["event"])
    for kind in (Kind.INSTRUMENT, Kind.GAP):
        _add(slots, kinds, kind, "shard", tile * steps["shard"], also_zero=True)
    _add(slots, kinds, Kind.REPORT, "group_no", tile * steps["group"])
    _add(slots, kinds, Kind.RECONCILED, "request_no", tile * steps["request"])
    _add(slots, kinds, Kind.RECONCILED, "begun_ns", tile * steps["time"])
    mark = np.frombuffer(tile.to_bytes(4, "little"), np.uint8)
    for kind in REPORTS:
        _add(slots, kinds, kind, "order_no", tile * steps["order"])
        _mark(slots, kinds, kind, "order_hash", mark)
    _mark(slots, kinds, Kind.FILL, "trade_id", mark)
    return slots if tile == 0 else slots[~np.isin(kinds, LEFT_OUT)]


def _add(slots: Any, kinds: Any, kind: Kind | None, name: str, amount: int, also_zero: bool = False) -> None:
    """Add to a field of one kind, or of the header, where it is not zero."""
    field = slots.view(DTYPES[kind or Kind.TICK]).reshape(-1)[name]
    chosen = np.ones(len(kinds), bool) if kind is None else kinds == kind
    if not also_zero:
        chosen &= field != 0
    field[chosen] += field.dtype.type(amount)


def _mark(slots: Any, kinds: Any, kind: Kind, name: str, mark: Any) -> None:
    """Make the names of this tile its own; a name of zeros stays none."""
    field = slots.view(DTYPES[kind]).reshape(-1)[name]
    chosen = (kinds == kind) & field.any(axis=1)
    field[np.ix_(chosen, range(len(mark)))] ^= mark
