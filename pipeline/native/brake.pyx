# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""The last brake before an order's first byte: deadline, halt level, hard ceilings.

Place in the stream: signer and gateway ask it once an order; `stages/brake` maps the lane's file. What it
counts stands in that file at once, so that a restart forgets nothing. Writer: the lane that owns the file.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp, memcpy

from pipeline.native.records cimport CAUSE_CEILING, CAUSE_DEADLINE, CAUSE_HALT_LEVEL, CAUSE_NONE

from pipeline.errors import InvariantError
from pipeline.kinds import HaltLevel, IntentClass
from pipeline.units import NS_PER_S

cdef int64_t DAY = 86_400 * NS_PER_S
cdef int64_t MINUTE = 60 * NS_PER_S
cdef int H1 = HaltLevel.H1, H2 = HaltLevel.H2, H3 = HaltLevel.H3
cdef int NEW_RISK = IntentClass.NEW_RISK, HEDGE = IntentClass.HEDGE, CANCEL = IntentClass.CANCEL
cdef bytes MAGIC_BYTES = b"pmbrake1"

MAGIC = MAGIC_BYTES
STATE_BYTES = sizeof(BrakeState)


cdef class BrakeCore:
    """Ceilings over a mapped state of `STATE_BYTES`, which begins with `MAGIC`; new_state: begin at zero."""

    def __init__(self, unsigned char[::1] mapped not None, int64_t order_usd_micro_max,
                 int64_t day_usd_micro_max, int64_t minute_orders_max, bint new_state):
        if mapped.shape[0] < <Py_ssize_t>sizeof(BrakeState):
            raise InvariantError(
                f"native.brake: {sizeof(BrakeState)} bytes expected, were {mapped.shape[0]}")
        self.keeper = mapped
        self.state = <BrakeState*>&mapped[0]
        self.order_usd_micro_max, self.day_usd_micro_max = order_usd_micro_max, day_usd_micro_max
        self.minute_orders_max = minute_orders_max
        if new_state:
            memcpy(self.state.magic, <const char*>MAGIC_BYTES, 8)
            self.state.day = self.state.day_usd_micro = self.state.minute = self.state.minute_orders = 0
            self.state.order_no = 0
        elif memcmp(self.state.magic, <const char*>MAGIC_BYTES, 8):
            raise InvariantError("native.brake: the state does not begin with its magic; map another file")

    @property
    def order_no(self):
        """Highest number of an order that may have left; it survives a crash."""
        return self.state.order_no if self.state != NULL else 0

    def refuse(self, int64_t now_ns, int64_t deadline_ns, int intent_class, int64_t usd_micro, int level):
        """Return the Cause why this order must not go on, 0 when it may; counts it then. level: HaltLevel."""
        return self.refuse_c(now_ns, deadline_ns, intent_class, usd_micro, level)

    cdef int refuse_c(self, int64_t now_ns, int64_t deadline_ns, int intent_class, int64_t usd_micro,
                      int level) noexcept nogil:
        cdef BrakeState* state = self.state
        cdef int64_t day = now_ns // DAY, minute = now_ns // MINUTE
        cdef int cause = refuse_late(now_ns, deadline_ns, intent_class, level)
        if state == NULL:
            return CAUSE_HALT_LEVEL
        if cause != CAUSE_NONE:
            return cause
        if day != state.day:
            state.day, state.day_usd_micro = day, 0
        if minute != state.minute:
            state.minute, state.minute_orders = minute, 0
        if not (0 <= usd_micro <= self.order_usd_micro_max
                and usd_micro <= self.day_usd_micro_max - state.day_usd_micro
                and state.minute_orders < self.minute_orders_max):
            return CAUSE_CEILING
        state.day_usd_micro += usd_micro
        state.minute_orders += 1
        return CAUSE_NONE

    def commit(self, uint64_t order_no):
        """Store that this order may have left; call before its first byte."""
        self.commit_c(order_no)

    cdef void commit_c(self, uint64_t order_no) noexcept nogil:
        if self.state != NULL and order_no > self.state.order_no:
            self.state.order_no = order_no

    def restart_numbers(self):
        """Forget the highest order number: a new decision log counts from 1 again."""
        if self.state != NULL:
            self.state.order_no = 0

    def release(self):
        """Let the mapping go; afterwards everything is refused."""
        self.state = NULL
        self.keeper = None


cpdef int refuse_late(int64_t now_ns, int64_t deadline_ns, int intent_class, int level) noexcept nogil:
    """Return the Cause why an order that waited must not go on, 0 when it may; nothing is counted."""
    if not now_ns <= deadline_ns:
        return CAUSE_DEADLINE
    return CAUSE_NONE if is_allowed(level, intent_class) else CAUSE_HALT_LEVEL


cpdef bint is_allowed(int level, int intent_class) noexcept nogil:
    """Tell whether the halt ladder lets this class of order through (faults.md, halt ladder)."""
    if level >= H3:
        return intent_class == CANCEL
    if level == H2:
        return intent_class == HEDGE or intent_class == CANCEL
    if level == H1:
        return intent_class != NEW_RISK
    return True
