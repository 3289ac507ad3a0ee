# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""What sizing reads: the fee terms of every price of a schedule, and one token's ladders with its rules.

Place in the stream: `sums` shows a leg the newest TOP, `sizing` walks it. Whatever could make a product leave
its type is refused here, when it comes in, so that the walk need not look. Units: prices in ticks of 0.0001
USD, sizes and money in millionths, unit costs in 1e-12 USD a share (pico).
"""

from cpython.long cimport PyLong_AsLongLongAndOverflow
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t
from libc.stdlib cimport calloc, free

from pipeline.native.records cimport TopSlot

from pipeline.errors import InvariantError

cdef enum:
    TICKS = 10_000  # price ticks of 1 USD
    DEPTH = 8  # levels of a TOP
    PPM = 1_000_000
    EXPONENT_MAX = 2

cdef int64_t PICO_MAX = 2 * 10**12
cdef int64_t MASK = (1 << 62) - 1
cdef object PART_MAX = 625 * 10**18  # at rate 1 and exponent 2: 10**6 * 25_000_000**2
cdef object WHOLE_MAX = 10**23  # 10**6 * 10 * (10**8)**2

SCALES = (TICKS, PPM, EXPONENT_MAX)  # what core.fees holds against its own


cdef int outside(str where, str name, object low, object high, object value) except -1:
    raise InvariantError(f"native.{where}: expected {name} of {low}..{high}, was {value}")


cdef int64_t checked(object value, int64_t low, int64_t high, str where, str name) except -1:
    cdef int overflow = 0
    cdef int64_t found = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow or not low <= found <= high:
        outside(where, name, low, high, value)
    return found


cdef int64_t saturated(object value) except? -1:
    cdef int overflow = 0
    cdef int64_t found = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow:
        return INT64_MAX if overflow > 0 else INT64_MIN
    return found


cdef int _read_wide(object value, object low, object high, i128* target) except -1:
    """Copy a number of low..high; both may be above 2**63."""
    if not low <= value <= high:
        outside("legs", "a fee term", low, high, value)
    target[0] = <i128><int64_t>(value >> 62) << 62 | <int64_t>(value & MASK)
    return 0


cdef object python_of(i128 value):
    if INT64_MIN <= value <= INT64_MAX:
        return <int64_t>value
    return (<object><int64_t>(value >> 62) << 62) + <int64_t>(value & MASK)  # shifts round down, as Python's


cdef class FeeTerms:
    """Everything about each price of one fee schedule, filled in once a price.

    A subclass has `add(price_ticks)`, which computes a price and calls `put`.
    """

    def __cinit__(self, *args):
        self.at_price = <Terms*>calloc(TICKS + 1, sizeof(Terms))
        if self.at_price == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.at_price)

    def put(self, price_ticks, unit_pico, worst_pico, part, whole):
        """Keep the terms of a price; InvariantError for what no schedule has."""
        cdef Terms found
        cdef int64_t place = checked(price_ticks, 0, TICKS, "legs", "a price")
        found.unit_pico = checked(unit_pico, 0, PICO_MAX, "legs", "a unit cost")
        found.worst_pico = checked(worst_pico, found.unit_pico, PICO_MAX, "legs", "a worst unit cost")
        _read_wide(part, 0, PART_MAX, &found.part)
        _read_wide(whole, 1, WHOLE_MAX, &found.whole)
        self.at_price[place] = found

    cdef const Terms* terms(self, int64_t price_ticks) except NULL:
        """Return the terms of a price of 1..9,999 ticks."""
        if self.at_price[price_ticks].unit_pico == 0:
            self.add(price_ticks)
            if self.at_price[price_ticks].unit_pico == 0:
                raise InvariantError(f"native.legs: `add` put no unit cost for {price_ticks} ticks")
        return &self.at_price[price_ticks]


cdef class Leg:
    """One token to buy: its ladders, best level first (own view: NO levels for a NO token), and its rules.

    asks, bids: up to 16 levels (price_ticks, size_micro); a level without a size ends a ladder.
    """

    def __init__(self, row, outcome, asks, bids, FeeTerms fees not None, fee_rate_ppm, fee_exponent,
                 tick_step, size_micro_min, usd_micro_min):
        self.row = checked(row, 0, INT64_MAX, "legs", "a row")
        self.outcome = checked(outcome, 0, 1, "legs", "an outcome")
        self.fees = fees
        self.fee_rate_ppm = checked(fee_rate_ppm, 0, PPM, "legs", "a fee rate")
        self.fee_exponent = checked(fee_exponent, 0, EXPONENT_MAX, "legs", "a fee exponent")
        self.tick_step = checked(tick_step, 1, INT64_MAX, "legs", "a tick step")
        self.size_micro_min = checked(size_micro_min, 0, INT64_MAX, "legs", "a least size")
        self.usd_micro_min = checked(usd_micro_min, 0, INT64_MAX, "legs", "a least cost")
        self.asks_count = _fill(self.asks_at, asks)
        self.bids_count = _fill(self.bids_at, bids)

    cdef void show(self, const TopSlot* slot, bint is_mirrored) noexcept:
        """Take the ladders of a TOP of the YES book.

        A NO token is its mirror where the venue mirrors; elsewhere its book is another row: no levels.
        """
        cdef int place
        if self.outcome == 0:
            self.asks_count = self.bids_count = DEPTH
            for place in range(DEPTH):
                self.asks_at[place] = Level(slot.ask_ticks[place], slot.ask_micro[place])
                self.bids_at[place] = Level(slot.bid_ticks[place], slot.bid_micro[place])
        elif is_mirrored:
            self.asks_count = self.bids_count = DEPTH
            for place in range(DEPTH):
                self.asks_at[place] = Level(TICKS - <int64_t>slot.bid_ticks[place], slot.bid_micro[place])
                self.bids_at[place] = Level(TICKS - <int64_t>slot.ask_ticks[place], slot.ask_micro[place])
        else:
            self.asks_count = self.bids_count = 0

    @property
    def asks(self):
        """What is offered, (price_ticks, size_micro) best first."""
        return _levels(self.asks_at, self.asks_count)

    @property
    def bids(self):
        """What is bid for, (price_ticks, size_micro) best first."""
        return _levels(self.bids_at, self.bids_count)


cdef int _fill(Level* side, object levels) except -1:
    cdef int place
    checked(len(levels), 0, LEVELS_MAX, "legs", "a count of levels")
    for place, (price, size) in enumerate(levels):
        side[place].price_ticks, side[place].size_micro = saturated(price), saturated(size)
    return len(levels)


cdef list _levels(const Level* side, int count):
    cdef int place
    return [(side[place].price_ticks, side[place].size_micro) for place in range(count)]
