"""One status page per lane: progress, state, stages, named counters, latency histograms.

Written by its lane alone (the `asleep` word also by wakers); read by the supervisor, `pm status` and the
metrics page through `StatusView`, over a read-only mapping. Names are registered into fixed tables when a
stage is built, so a reader needs no declaration; after a restart a name finds its entry and goes on counting.

    byte 0      constant        magic, layout hash, lane name, their CRC-32C
    byte 256    writer: lane    progress, epoch, pid, state, since_ns, sent_order_no
    byte 384    sleeper and wakers: asleep (u32)
    byte 512    writer: lane    how many stages, counters and histograms are registered
    byte 1024   writer: lane    stage table: name, polls begun, polls ended
    byte 4096   writer: lane    counter table: name, value
    then        writer: lane    histograms: name, count, sum, max, negative, buckets
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pipeline.errors import InvariantError, LayoutError
from pipeline.native.counters import HISTOGRAM_BYTES, Counter, Histogram, bucket_top
from pipeline.native.crc import checksum
from pipeline.records import LAYOUT_HASH

MAGIC = b"pm-stat1"
STAGES_MAX = 32
COUNTERS_MAX = 256
HISTOGRAMS_MAX = 16
TURN = "turn"  # one turn of a lane's loop: how long a record may wait for the stages before its own
LATENCIES = ("decode", "sequence", "book", "detect", "trade", "sign", "submit", "tick_to_order")

_NAME_AT = 16
_NAME_BYTES = 32
_CHECK_AT = _NAME_AT + _NAME_BYTES
_PROGRESS, _EPOCH, _PID, _STATE, _SINCE, _SENT = 256, 264, 272, 280, 288, 296
_ASLEEP = 384
_STAGE_COUNT, _COUNTER_COUNT, _HISTOGRAM_COUNT = 512, 520, 528
_STAGES, _STAGE_BYTES = 1024, 64  # name 48, begun, ended
_COUNTERS, _COUNTER_BYTES = 4096, 64  # name 56, value
_HISTOGRAMS = _COUNTERS + COUNTERS_MAX * _COUNTER_BYTES
_HISTOGRAM_NAME_BYTES = 64
_HISTOGRAM_STRIDE = (_HISTOGRAM_NAME_BYTES + HISTOGRAM_BYTES + 63) // 64 * 64
PAGE_BYTES = _HISTOGRAMS + HISTOGRAMS_MAX * _HISTOGRAM_STRIDE
_HISTOGRAM_WORDS = struct.Struct(f"<{HISTOGRAM_BYTES // 8}Q")
_WORD = struct.Struct("<q")


class LaneState(enum.IntEnum):
    """What a lane is doing, in its own words."""

    NEW = 0
    STARTING = 1
    RUNNING = 2
    STOPPING = 3
    STOPPED = 4
    FAILED = 5


def format_page(page: memoryview, lane: str) -> None:
    """Make zeroed memory the status page of `lane`; for the segment's maker only."""
    name = lane.encode()
    if len(page) < PAGE_BYTES or len(name) > _NAME_BYTES:
        raise InvariantError(f"shm.status: {PAGE_BYTES} bytes and a name of at most {_NAME_BYTES} bytes "
                             f"expected for lane {lane!r}, the page has {len(page)} bytes")
    page[:PAGE_BYTES] = bytes(PAGE_BYTES)
    struct.pack_into("<8sQ32s", page, 0, MAGIC, LAYOUT_HASH, name)
    struct.pack_into("<I", page, _CHECK_AT, checksum(page[:_CHECK_AT]))


def _check_page(page: memoryview) -> None:
    head = struct.pack("<8sQ", MAGIC, LAYOUT_HASH)
    if len(page) < PAGE_BYTES or bytes(page[:len(head)]) != head:
        raise LayoutError(f"shm.status: a status page of this build ({PAGE_BYTES} bytes) expected, "
                          f"was {bytes(page[:8])!r} with {len(page)} bytes; stop the pipeline, start it anew")
    (check,) = struct.unpack_from("<I", page, _CHECK_AT)
    if check != checksum(page[:_CHECK_AT]):
        raise LayoutError(f"shm.status: header check 0x{checksum(page[:_CHECK_AT]):08x} expected, "
                          f"was 0x{check:08x}; stop the pipeline, start it anew")


def asleep_place(page: memoryview) -> int:
    """Return the offset of the `asleep` word in a proven page."""
    _check_page(page)
    return _ASLEEP


def _text(raw: memoryview) -> str:
    return bytes(raw).rstrip(b"\0").decode(errors="replace")


@dataclass(frozen=True, slots=True)
class StageMarks:
    """`begun` and `ended` polls of a stage: a wedged one has begun one more than it ended."""

    begun: Counter
    ended: Counter


class StatusPage:
    """The lane's own end. Every registered object bumps shared memory directly, from C or Python.

    Register at start only; after the tables are full InvariantError says which limit to raise.
    """

    def __init__(self, page: memoryview, *, epoch: int = 0, pid: int = 0, now_ns: int = 0) -> None:
        _check_page(page)
        self._page = page
        self.lane = _text(page[_NAME_AT:_NAME_AT + _NAME_BYTES])
        self._held: list[Counter | Histogram] = []
        self.progress = self._hold(Counter(page, _PROGRESS))  # bumped once per turn of the lane's loop
        self._state = self._hold(Counter(page, _STATE))
        self.sent_order_no = self._hold(Counter(page, _SENT))
        for offset, value in ((_EPOCH, epoch), (_PID, pid), (_SINCE, now_ns), (_STATE, LaneState.STARTING)):
            _WORD.pack_into(page, offset, value)
        self.asleep = (page, _ASLEEP)

    def _hold(self, counter: Counter) -> Counter:
        self._held.append(counter)
        return counter

    def _entry(self, what: str, count_at: int, limit: int, place: tuple[int, int, int], name: str) -> int:
        """Return the offset of the entry with this name, made when it is new; the count is stored last."""
        first, stride, name_bytes = place
        raw = name.encode()
        if not 0 < len(raw) <= name_bytes:
            raise InvariantError(f"shm.status: a {what} name of 1..{name_bytes} bytes expected, was {name!r}")
        count: int = _WORD.unpack_from(self._page, count_at)[0]
        for index in range(count):
            offset = first + index * stride
            if bytes(self._page[offset:offset + name_bytes]).rstrip(b"\0") == raw:
                return offset
        if count >= limit:
            raise InvariantError(f"shm.status: lane {self.lane} may have {limit} {what}s, {name!r} is one "
                                 "more; raise the limit in shm/status.py")
        offset = first + count * stride
        self._page[offset:offset + name_bytes] = raw.ljust(name_bytes, b"\0")
        _WORD.pack_into(self._page, count_at, count + 1)
        return offset

    def counter(self, name: str) -> Counter:
        """Return the counter `name`, registered when it is new."""
        place = (_COUNTERS, _COUNTER_BYTES, _COUNTER_BYTES - 8)
        offset = self._entry("counter", _COUNTER_COUNT, COUNTERS_MAX, place, name)
        return self._hold(Counter(self._page, offset + _COUNTER_BYTES - 8))

    def histogram(self, name: str) -> Histogram:
        """Return the latency histogram `name` (ns), registered when it is new; see LATENCIES."""
        place = (_HISTOGRAMS, _HISTOGRAM_STRIDE, _HISTOGRAM_NAME_BYTES)
        offset = self._entry("histogram", _HISTOGRAM_COUNT, HISTOGRAMS_MAX, place, name)
        found = Histogram(self._page, offset + _HISTOGRAM_NAME_BYTES)
        self._held.append(found)
        return found

    def stage(self, name: str) -> StageMarks:
        """Return the marks of stage `name`, registered when it is new."""
        place = (_STAGES, _STAGE_BYTES, _STAGE_BYTES - 16)
        offset = self._entry("stage", _STAGE_COUNT, STAGES_MAX, place, name)
        begun = self._hold(Counter(self._page, offset + _STAGE_BYTES - 16))
        ended = self._hold(Counter(self._page, offset + _STAGE_BYTES - 8))
        ended.put(begun.get())  # a restarted lane is not inside a poll
        return StageMarks(begun, ended)

    def set_state(self, state: LaneState) -> None:
        """Say what the lane is doing."""
        self._state.put(int(state))

    def close(self) -> None:
        """Let the page go; registered objects count on in memory of their own."""
        for held in self._held:
            held.close()
        self._held.clear()
        self.asleep = (memoryview(b""), 0)
        self._page = memoryview(b"")


@dataclass(frozen=True, slots=True)
class Latency:
    """A histogram as it was read: ns; relative error of a percentile at most 1/32, never too low."""

    count: int
    sum_ns: int
    max_ns: int
    negative: int
    buckets: tuple[int, ...]

    def percentiles(self, shares: Sequence[float]) -> list[int]:
        """Return for each share (0..1) the smallest known value that is not below that part; 0 when empty."""
        total = sum(self.buckets)  # not `count`: the lane may bump between our two looks
        wanted = [max(1, -int(-share * total // 1)) for share in shares]
        found: list[int] = []
        for rank in wanted:
            seen = 0
            for index, bucket in enumerate(self.buckets):
                seen += bucket
                if seen >= rank:
                    found.append(min(bucket_top(index), self.max_ns))
                    break
            else:
                found.append(0)
        return found

    def merged(self, others: Iterable[Latency]) -> Latency:
        """Return this one and the others as one."""
        merged = self
        for other in others:
            merged = Latency(
                merged.count + other.count, merged.sum_ns + other.sum_ns, max(merged.max_ns, other.max_ns),
                merged.negative + other.negative,
                tuple(a + b for a, b in zip(merged.buckets, other.buckets, strict=True)))
        return merged


class StatusView:
    """A reader's end, over a read-only page if need be. Each call reads the page anew."""

    def __init__(self, page: memoryview) -> None:
        _check_page(page)
        self._page = page
        self.lane = _text(page[_NAME_AT:_NAME_AT + _NAME_BYTES])

    def _word(self, offset: int) -> int:
        value: int = _WORD.unpack_from(self._page, offset)[0]
        return value

    def _names(self, count_at: int, limit: int, place: tuple[int, int, int]) -> list[tuple[str, int]]:
        first, stride, name_bytes = place
        count = min(max(self._word(count_at), 0), limit)
        return [(_text(self._page[offset:offset + name_bytes]), offset)
                for offset in range(first, first + count * stride, stride)]

    @property
    def progress(self) -> int:
        """Turns of the lane's loop."""
        return self._word(_PROGRESS)

    @property
    def epoch(self) -> int:
        """Epoch of the lane: one more after each restart."""
        return self._word(_EPOCH)

    @property
    def pid(self) -> int:
        """Process id of the lane; 0 = never attached."""
        return self._word(_PID)

    @property
    def state(self) -> LaneState:
        """What the lane says it is doing; FAILED when the word makes no sense."""
        value = self._word(_STATE)
        return LaneState(value) if 0 <= value <= max(LaneState) else LaneState.FAILED

    @property
    def since_ns(self) -> int:
        """When the lane attached."""
        return self._word(_SINCE)

    @property
    def sent_order_no(self) -> int:
        """Highest intent whose bytes may have left; gateways only."""
        return self._word(_SENT)

    @property
    def is_asleep(self) -> bool:
        """Whether the lane sleeps or is about to."""
        return bool(struct.unpack_from("<I", self._page, _ASLEEP)[0])

    def stages(self) -> dict[str, tuple[int, int]]:
        """Return (polls begun, polls ended) by stage."""
        place = (_STAGES, _STAGE_BYTES, _STAGE_BYTES - 16)
        return {name: (self._word(offset + _STAGE_BYTES - 16), self._word(offset + _STAGE_BYTES - 8))
                for name, offset in self._names(_STAGE_COUNT, STAGES_MAX, place)}

    def counters(self) -> dict[str, int]:
        """Return every counter by name."""
        place = (_COUNTERS, _COUNTER_BYTES, _COUNTER_BYTES - 8)
        return {name: self._word(offset + _COUNTER_BYTES - 8)
                for name, offset in self._names(_COUNTER_COUNT, COUNTERS_MAX, place)}

    def reader_of(self, name: str) -> Callable[[], int]:
        """Return a function that reads one counter: 0 until its lane registered it, cheap from then on."""
        place = (_COUNTERS, _COUNTER_BYTES, _COUNTER_BYTES - 8)
        found: list[int] = []

        def read() -> int:
            if not found:
                for known, offset in self._names(_COUNTER_COUNT, COUNTERS_MAX, place):
                    if known == name:
                        found.append(offset + _COUNTER_BYTES - 8)
            return self._word(found[0]) if found else 0

        return read

    def latencies(self) -> dict[str, Latency]:
        """Return every histogram by name."""
        place = (_HISTOGRAMS, _HISTOGRAM_STRIDE, _HISTOGRAM_NAME_BYTES)
        found = {}
        for name, offset in self._names(_HISTOGRAM_COUNT, HISTOGRAMS_MAX, place):
            words = _HISTOGRAM_WORDS.unpack_from(self._page, offset + _HISTOGRAM_NAME_BYTES)
            found[name] = Latency(words[0], words[1], words[2], words[3], words[4:])
        return found

    def close(self) -> None:
        """Let the page go."""
        self._page = memoryview(b"")
