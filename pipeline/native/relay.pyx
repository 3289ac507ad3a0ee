# cython: language_level=3, boundscheck=False, wraparound=False
"""Native filters in front of Python stages: most records never become Python objects.

`Filter` drops what its stage does not want; `Relay` passes every record on, in order, and shows the
wanted ones: of TOP those that bring a watched basket near a profit. Reads any `Source`, writes any `Sink`.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from pipeline.native.flow cimport Sink, Source
from pipeline.native.records cimport KIND_TOP, SLOT_BYTES, Slot, TopSlot
from pipeline.native.sums cimport Tops

from pipeline.errors import InvariantError

cdef enum:
    KINDS_MAX = 128


cdef class _Wanted:
    """Which kinds of record the Python side wants."""

    cdef uint8_t kinds[KINDS_MAX]
    cdef public uint64_t passed_count

    def __cinit__(self, *args, **kwargs):
        memset(self.kinds, 0, KINDS_MAX)
        self.passed_count = 0

    cdef void _want_kinds(self, kinds) except *:
        for kind in kinds:
            if not 0 <= kind < KINDS_MAX:
                raise ValueError(f"native.relay: a kind is 0..{KINDS_MAX - 1}, was {kind}")
            self.kinds[<int>kind] = 1

    cdef inline bint _wants(self, const Slot* slot) noexcept nogil:
        return slot.kind < KINDS_MAX and self.kinds[slot.kind]


cdef bytes _copy(Source source, uint64_t first, uint64_t count):
    if count == 1:
        return (<const char*>source.at(first))[:SLOT_BYTES]
    cdef bytearray out = bytearray(count * SLOT_BYTES)
    cdef uint8_t* target = out
    cdef uint64_t index
    for index in range(count):
        memcpy(target + index * SLOT_BYTES, source.at(first + index), SLOT_BYTES)
    return bytes(out)


cdef class Filter(_Wanted):
    """Reads a source and returns only wanted records, slot by slot: a run of decisions mixes kinds."""

    cdef Source source
    cdef bytearray rows
    cdef uint8_t* rows_at
    cdef uint32_t rows_count  # 0 = every row

    def __init__(self, Source source not None, kinds):
        self.source = source
        self.rows, self.rows_at, self.rows_count = None, NULL, 0
        self._want_kinds(kinds)

    def want_rows(self, rows, uint32_t rows_max):
        """Return `TOP` records of these rows only; rows >= rows_max are refused."""
        table = bytearray(rows_max)
        for row in rows:
            table[row] = 1
        self.rows, self.rows_at, self.rows_count = table, table, rows_max

    cdef inline bint _is_wanted(self, const Slot* slot) noexcept nogil:
        if not self._wants(slot):
            return False
        if slot.kind == KIND_TOP and self.rows_count:
            return slot.instrument < self.rows_count and self.rows_at[slot.instrument]
        return True

    def read(self, uint64_t slots_max=64, uint64_t skip_max=65536):
        """Return up to `slots_max` wanted slots, passing over up to `skip_max` others; b"" for none."""
        cdef uint64_t available, index = 0, first, skipped = 0, kept = 0
        cdef list found = []
        with nogil:
            available = self.source.available()
        while index < available and kept < slots_max and skipped < skip_max:
            first = index
            with nogil:
                while index < available and skipped < skip_max and not self._is_wanted(self.source.at(index)):
                    index += 1
                    skipped += 1
            self.passed_count += index - first
            first = index
            with nogil:
                while index < available and kept < slots_max and self._is_wanted(self.source.at(index)):
                    index += 1
                    kept += 1
            if index > first:
                found.append(_copy(self.source, first, index - first))
        if index:
            self.source.advance(index)
        return b"".join(found)


cdef class Relay(_Wanted):
    """Passes a source on into a sink and stops behind each wanted run.

    Every TOP goes to `tops`, natively; it is wanted when its row is near a profit then. `step` keeps
    `room_slots` free in the sink behind a wanted run, for what the caller appends to it.
    """

    cdef Source source
    cdef Sink sink
    cdef Tops tops
    cdef uint32_t room_slots

    def __init__(
        self, Source source not None, Sink sink not None, kinds, Tops tops not None, uint32_t room_slots=64,
    ):
        self.source = source
        self.sink = sink
        self.tops = tops
        self.room_slots = room_slots
        self._want_kinds(kinds)

    def step(self, uint64_t budget=256):
        """Pass on up to `budget` slots; return (slots passed, the wanted run that ended it or b"")."""
        cdef uint64_t available = self.source.available(), passed = 0
        cdef uint32_t parts, index
        cdef const Slot* slot
        cdef bint wanted = False
        cdef bytes shown = b""
        while available and passed < budget and not wanted:
            slot = self.source.at(0)
            parts = slot.parts if slot.parts else 1
            if parts > available or not self.sink.begin(self.room_slots) or not self.sink.begin(parts):
                break
            if slot.kind == KIND_TOP:
                wanted = self.tops.take_slot(<const TopSlot*>slot)
            else:
                wanted = self._wants(slot)
            for index in range(parts):
                memcpy(self.sink.claim(index), self.source.at(index), SLOT_BYTES)
            if wanted:
                shown = _copy(self.source, 0, parts)
            self.sink.publish(parts)
            self.source.advance(parts)
            passed += parts
            available = self.source.available()
        self.passed_count += passed
        return passed, shown

    def append(self, const unsigned char[::1] run not None):
        """Publish a run behind the record that `step` just showed; there is room by contract."""
        if not self.sink.push(run):
            raise InvariantError(
                f"native.relay: no room for {run.shape[0] // SLOT_BYTES} slots behind a wanted record; "
                f"the caller appends more than its declared room of {self.room_slots} slots")
