# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""What detect does with each price: the newest TOP of a watched row, and the sums of the baskets over it.

A sum is what one share of every leg gains at the best prices, 1e-12 USD; above zero the basket is worth a
closer look, which is Python. Reads TOP slots; writes nothing. Sums stay below 2**63: a leg is at most 1e15,
a basket at most `LEGS_MAX` legs.
"""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from pipeline.native.legs cimport FeeTerms, Leg
from pipeline.native.records cimport (
    CAUSE_BOOK_OPEN, CAUSE_BOOK_STALE, CAUSE_CROSSED_BOOK, CAUSE_DEPTH_USED, CAUSE_NONE, CAUSE_NOT_TRADABLE,
    CAUSE_NO_SNAPSHOT, CAUSE_PROOF_OLD, CAUSE_RESOLVED, FLAG_CROSSED, FLAG_OPEN, FLAG_STALE, SLOT_BYTES,
    TopSlot)

from pipeline.errors import InvariantError

cdef enum:
    TICKS = 10_000  # of one USD
    DEPTH = 8

cdef int64_t PICO = 1_000_000_000_000
cdef int64_t MISSING = 1_000 * PICO  # a leg that nobody sells: no basket is profitable with it

LEGS_MAX = 4_096
PICO_PER_USD = PICO


cdef class Sum:
    """The running sum of one basket; `Top.take` of its legs keeps it.

    tops, outcomes: what each leg buys, outcome 0 YES, 1 NO. is_subset: any k of the legs are a basket as well
    and pay k - 1, so a leg counts only where it yields something (NO tokens of exclusive outcomes); otherwise
    all legs together pay 1.
    """

    def __cinit__(self, tops, outcomes, bint is_subset):
        cdef Py_ssize_t leg_no
        self.tops, self.outcomes = tuple(tops), bytes(outcomes)
        self.legs_count = len(self.tops)
        if not 0 < self.legs_count <= LEGS_MAX or len(self.outcomes) != self.legs_count:
            raise InvariantError(
                f"native.sums: a basket has 1..{LEGS_MAX} legs with an outcome each, were "
                f"{self.legs_count} legs and {len(self.outcomes)} outcomes; check its event")
        self.gains = <int64_t*>calloc(self.legs_count, sizeof(int64_t))
        if self.gains == NULL:
            raise MemoryError
        self.is_subset = is_subset
        self.total = -PICO if is_subset else PICO
        for leg_no in range(self.legs_count):
            self.put(leg_no, (<Top?>self.tops[leg_no]).unit_c(self.outcomes[leg_no]))
        self.best = self.total

    def __dealloc__(self):
        free(self.gains)

    cdef void put(self, Py_ssize_t leg_no, int64_t unit) noexcept:
        """Take the leg's new cost."""
        cdef int64_t gain
        if self.is_subset:
            gain = PICO - unit if 0 < unit < PICO else 0
        else:
            gain = -unit if unit else -MISSING
        self.total += gain - self.gains[leg_no]
        self.gains[leg_no] = gain
        if self.total > self.best:
            self.best = self.total


@cython.final
cdef class Link:
    """One leg of a basket, as its row sees it."""

    def __init__(self, Sum of not None, Py_ssize_t leg_no):
        if not 0 <= leg_no < of.legs_count:
            raise IndexError(f"native.sums: a leg is 0..{of.legs_count - 1}, was {leg_no}")
        self.sum, self.leg_no = of, leg_no
        self.outcome = of.outcomes[leg_no]


cdef class Top:
    """The newest TOP of one row, what a share costs there, and the sums that depend on it."""

    def __cinit__(self, *args):
        memset(&self.raw, 0, sizeof(TopSlot))
        self.links = []
        self.legs = [None, None]
        self.flags = FLAG_STALE

    def set_rules(self, FeeTerms fees not None, bint is_tradable, bint is_mirrored):
        """Take the row's rules. The sums keep the old costs: whoever changes the rules makes new sums."""
        self.fees, self.is_tradable, self.is_mirrored = fees, is_tradable, is_mirrored
        self.legs = [None, None]
        self.price()

    def link(self, Sum of not None):
        """Let a sum follow this row in every leg that it has here."""
        self.links += [Link(of, leg_no) for leg_no, top in enumerate(of.tops) if top is self]

    def unlink(self, Sum of not None):
        """Drop every link of a sum."""
        self.links = [one for one in self.links if (<Link>one).sum is not of]

    def take(self, const unsigned char[::1] slot not None, Py_ssize_t offset=0):
        """Store the newest TOP and carry its prices into the sums; True when one of them is above zero.

        The same slot again changes nothing.
        """
        if offset < 0 or offset + <Py_ssize_t>SLOT_BYTES > slot.shape[0]:
            raise IndexError(
                f"native.sums: expected a slot at byte {offset}, there are {slot.shape[0]} bytes")
        return self.take_slot(<const TopSlot*>&slot[offset])

    cdef bint take_slot(self, const TopSlot* slot) except -1:
        cdef uint32_t bid, ask
        cdef Link one
        self.flags = slot.flags  # whatever was said of the book since its last top is over
        if memcmp(&self.raw, slot, SLOT_BYTES) == 0:
            return self.is_near_c()
        memcpy(&self.raw, slot, SLOT_BYTES)
        self.taken_count += 1
        bid = slot.bid_ticks[0] if slot.bid_micro[0] > 0 else 0
        ask = slot.ask_ticks[0] if slot.ask_micro[0] > 0 else 0
        if bid != self.bid_ticks or ask != self.ask_ticks:
            self.bid_ticks, self.ask_ticks = bid, ask
            self.price()
            for one in self.links:
                one.sum.put(one.leg_no, self.unit_no if one.outcome else self.unit_yes)
        return self.is_near_c()

    def is_near(self):
        """Tell whether a sum of this row is above zero."""
        return self.is_near_c()

    cdef bint is_near_c(self) noexcept:
        cdef Link one
        for one in self.links:
            if one.sum.total > 0:
                return True
        return False

    def near_sums(self):
        """Return the sums of this row that are above zero."""
        cdef Link one
        return [one.sum for one in self.links if one.sum.total > 0]

    cdef int price(self) except -1:
        """Derive the costs of both tokens; NO is the mirror of the YES book where the venue mirrors."""
        self.unit_yes = self.unit_at(self.ask_ticks)
        self.unit_no = self.unit_at(TICKS - self.bid_ticks) if self.is_mirrored and self.bid_ticks else 0
        return 0

    cdef int64_t unit_at(self, uint32_t price_ticks) except -1:
        if not 0 < price_ticks < TICKS:
            return 0
        return self.fees.terms(price_ticks).unit_pico

    def unit(self, int outcome):
        """Return the cost of one share of the token with fee in 1e-12 USD; 0 = cannot be bought."""
        return self.unit_c(outcome)

    cdef int64_t unit_c(self, int outcome) noexcept:
        return self.unit_no if outcome else self.unit_yes

    def touch(self, int64_t venue_ns, int64_t until_ns):
        """Remember a fill of ours: depth shown by an older top is not used again before `until_ns`."""
        if venue_ns >= self.touched_ns:
            self.touched_ns = venue_ns
            self.touched_until_ns = max(until_ns, self.touched_until_ns)

    def is_free(self, int64_t now_ns, int64_t proof_age_ns_max):
        """Tell whether a new package may use this book now; `block` says why it may not."""
        return self.block_c(now_ns, proof_age_ns_max) == CAUSE_NONE

    def block(self, int64_t now_ns, int64_t proof_age_ns_max):
        """Return the Cause why no new package may use this book now, 0 when it may."""
        return self.block_c(now_ns, proof_age_ns_max)

    cdef int block_c(self, int64_t now_ns, int64_t proof_age_ns_max) noexcept:
        if self.is_resolved:
            return CAUSE_RESOLVED
        if not self.taken_count:
            return CAUSE_NO_SNAPSHOT
        if self.flags & FLAG_STALE:
            return CAUSE_BOOK_STALE
        if self.flags & FLAG_OPEN:
            return CAUSE_BOOK_OPEN
        if self.flags & FLAG_CROSSED:
            return CAUSE_CROSSED_BOOK
        if not self.is_tradable:
            return CAUSE_NOT_TRADABLE
        if not (self.raw.proof_ns > 0 and now_ns - self.raw.proof_ns <= proof_age_ns_max):
            return CAUSE_PROOF_OLD
        if self.raw.venue_ns < self.touched_ns and now_ns < self.touched_until_ns:
            return CAUSE_DEPTH_USED
        return CAUSE_NONE

    cdef void show(self, int outcome, char* target) noexcept:
        """Copy the levels that a buyer of the token would take: equal bytes, equal ladders."""
        if outcome:
            memcpy(target, self.raw.bid_ticks, 4 * DEPTH)
            memcpy(target + 4 * DEPTH, self.raw.bid_micro, 8 * DEPTH)
        else:
            memcpy(target, self.raw.ask_ticks, 4 * DEPTH)
            memcpy(target + 4 * DEPTH, self.raw.ask_micro, 8 * DEPTH)

    def leg(self, int outcome):
        """Return the token's ladders and rules; good until the next top.

        `make_leg(outcome)` of the subclass makes an empty one under the rules in force.
        """
        return self.leg_c(outcome)

    cdef Leg leg_c(self, int outcome):
        cdef Leg found
        if not 0 <= outcome <= 1:
            raise IndexError(f"native.sums: an outcome is 0 or 1, was {outcome}")
        found = self.legs[outcome]
        if found is None:
            found = self.legs[outcome] = self.make_leg(outcome)
        elif self.leg_taken[outcome] == self.taken_count:
            return found
        self.leg_taken[outcome] = self.taken_count
        found.show(&self.raw, self.is_mirrored)
        return found

    @property
    def now_ns(self):
        """Stream time of the newest TOP."""
        return self.raw.now_ns

    @property
    def venue_ns(self):
        """Venue time of the newest TOP."""
        return self.raw.venue_ns

    @property
    def proof_ns(self):
        """When the book was last proven, as the newest TOP says."""
        return self.raw.proof_ns


cdef class Tops:
    """Rows -> `Top`; a relay takes every TOP here and shows only those near a profit."""

    def __init__(self):
        self.rows, self.near = [], None

    def watch(self, tops):
        """Take these tops by row; all other rows pass unseen."""
        self.rows = [None] * (max(tops, default=-1) + 1)
        for row, top in tops.items():
            if not isinstance(top, Top):
                raise TypeError(f"native.sums: a Top expected for row {row}, was {type(top).__name__}")
            self.rows[row] = top

    cdef bint take_slot(self, const TopSlot* slot) except -1:
        if slot.instrument >= <uint32_t>len(self.rows):
            return False
        top = self.rows[slot.instrument]
        if top is None or not (<Top>top).take_slot(slot):
            return False
        self.near = top
        return True
