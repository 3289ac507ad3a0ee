# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""Base classes of the record channels, and their Python face (copies; for tests, tools and Python stages)."""

from libc.string cimport memcpy

from pipeline.native.records cimport RUN_SLOTS_MAX, SLOT_BYTES, Slot


cdef class Source:
    """Reading end of a record channel; `Reader` of a ring and of a log derive from it."""

    cdef uint64_t available(self) noexcept nogil:
        return 0

    cdef const Slot* at(self, uint64_t index) noexcept nogil:
        return NULL

    cdef void advance(self, uint64_t count) noexcept nogil:
        pass

    def has_input(self):
        """Tell whether a slot is readable now."""
        return self.available() != 0

    def read(self, Py_ssize_t slots_max=64):
        """Return up to `slots_max` whole slots as bytes and give them back; b"" when there is none.

        A run is never split: it is returned whole even when that exceeds `slots_max`.
        """
        cdef uint64_t count = self.available(), taken = 0, index, rest
        cdef const Slot* slot
        while taken < count:
            slot = self.at(taken)
            rest = slot.parts - slot.part if slot.parts > slot.part else 1  # a reader may start inside a run
            if taken and taken + rest > <uint64_t>slots_max:
                break
            taken = min(taken + rest, count)
            if taken >= <uint64_t>slots_max:
                break
        if taken == 0:
            return b""
        out = bytearray(taken * SLOT_BYTES)
        cdef unsigned char* target = out
        for index in range(taken):
            memcpy(target + index * SLOT_BYTES, self.at(index), SLOT_BYTES)
        self.advance(taken)
        return bytes(out)


cdef class Sink:
    """Writing end of a record channel; `Writer` of a ring and of a log derive from it."""

    cdef bint begin(self, uint32_t count) noexcept nogil:
        return False

    cdef Slot* claim(self, uint32_t index) noexcept nogil:
        return NULL

    cdef void publish(self, uint32_t count) noexcept nogil:
        self.close_run(count)
        self.flush()

    cdef void close_run(self, uint32_t count) noexcept nogil:
        pass

    cdef void flush(self) noexcept nogil:
        pass

    def push(self, const unsigned char[::1] data not None):
        """Publish `data` (1..64 slots of 256 bytes) as one run; False when there is no room now."""
        cdef Py_ssize_t count = data.shape[0] // SLOT_BYTES
        cdef uint32_t index
        if count * SLOT_BYTES != data.shape[0] or count < 1 or count > RUN_SLOTS_MAX:
            raise ValueError(
                f"native.flow: a run is 1..{RUN_SLOTS_MAX} slots of {SLOT_BYTES} bytes, "
                f"was {data.shape[0]} bytes")
        if not self.begin(<uint32_t>count):
            return False
        for index in range(<uint32_t>count):
            memcpy(self.claim(index), &data[index * SLOT_BYTES], SLOT_BYTES)
        self.publish(<uint32_t>count)
        return True

    def has_room(self, uint32_t count=1):
        """Tell whether one run of `count` slots fits now."""
        return bool(self.begin(count))
