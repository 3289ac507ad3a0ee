# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=False
"""How many equal shares of a basket to buy, in whole numbers of C; `core.sizing` says what and why.

Reads the legs (`native/legs`) and bounds that it is given; writes nothing. Slow models that it equals:
tests/models/sizing_model.py and watch_model.py. Units: prices in ticks of 0.0001 USD, sizes and money in
millionths, unit costs in 1e-12 USD a share (pico), room in 1e-18 USD.

An input outside these ranges raises InvariantError; inside them no product leaves its type. A level is at
most 2**53 and a ladder 16 levels, so a size is at most D = 2**57 millionths of a share:

    unit and worst cost of a share   <= 2e12 pico < 2**41; of 16 legs < 2**45
    room, and size * worst           limit 2**63 * 1e12 < 2**103; D * 2**45 = 2**102
    cost and fee of a size           <= D each: a share costs below 1 USD, and its fee is at most 1 USD
    size * n of n / d fee quanta     D * 6.25e20 (rate 1, exponent 2) = 9.1e37 < 2**127 = 1.7e38; d <= 1e23
    what an order reserves           its budget at exponent 0: D * 1e4 ticks * 1e6 ppm < 2**91, 2**71 divided
    all orders' reservations         256 * 2**71 = 2**79
    payout, cost, fee of a package   16 legs * D = 2**61 each
    edge_ppm_min * (cost + fee)      2**63 * 2**62 = 2**125
    size * limit, to shrink          D * 2**63 = 2**120
    sale of a leg * order's size     D * D = 2**114

i128 holds whatever may reach 2**63. Bids may have any size: they are cut to what is sold. No number that is
divided and no divisor is negative, and no divisor is 0 (worst costs, lots, steps, sizes, d and a value above
its limit), so C divides as Python does; rounding up adds the divisor less 1.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.stdint cimport INT64_MAX, int64_t, uint16_t
from libc.stdlib cimport calloc, free

from pipeline.native.legs cimport LEVELS_MAX, Leg, Level, Terms, checked, i128, outside, python_of
from pipeline.native.namedtuple cimport record
from pipeline.native.records cimport (
    CAUSE_BELOW_EDGE, CAUSE_BELOW_MINIMUM, CAUSE_DEPTH_USED, CAUSE_LIMIT_ORDER, CAUSE_LIMIT_PARTIAL_LOSS,
    CAUSE_NONE, CAUSE_NOT_PROVEN, CAUSE_TAKEN, CAUSE_TOO_MANY_ORDERS,
)
from pipeline.native.sums cimport Sum, Top

from pipeline.errors import InvariantError
from pipeline.kinds import Cause, OrderType

cdef enum:
    LEGS_MAX = 16  # a batch of the venue has 15 orders
    ORDERS_MAX = LEGS_MAX * LEVELS_MAX
    TRIES_MAX = 12  # sizes tried for one package, largest first
    TICKS = 10_000  # price ticks of 1 USD
    LOT = 10_000  # size_micro of the smallest share lot
    PPM = 1_000_000
    QUANTUM = 10  # fees are whole multiples of 10 uUSD
    ROUNDING = 20  # of fee and reservation, USD micro an order

SCALES = (TICKS, LOT, PPM, QUANTUM)  # what core.sizing holds against its own
SIZE_MICRO_MAX = 1 << 53
cdef int64_t SIZE_MAX = SIZE_MICRO_MAX
cdef int64_t PICO = 10**12  # of 1 USD; also the 1e-18 USD of 1 USD micro
cdef dict CAUSES = {int(cause): cause for cause in Cause}
cdef object GTC = int(OrderType.GTC), FAK = int(OrderType.FAK)

cdef struct Taken:  # a level that the walk reached
    int64_t price_ticks
    int64_t size_micro
    const Terms* terms

cdef struct Walk:  # one leg
    PyObject* leg       # of `Leg`, alive as long as its caller's list
    int64_t place       # of the next level in its asks
    int64_t left_micro  # of the last level
    i128 room           # what the leg may still spend
    int64_t tick_step
    int64_t size_micro_min
    int64_t usd_micro_min
    int64_t rate_ppm
    int64_t exponent
    int levels_count
    Taken levels[LEVELS_MAX]

cdef struct Order:
    int leg_no
    const Taken* level  # whose price is its limit
    int64_t size_micro
    i128 spend_usd_micro  # what it reserves

cdef struct Limits:  # core.sizing.Bounds
    int64_t order_usd_micro_max
    int64_t package_usd_micro_max
    int64_t partial_loss_usd_micro_max
    int64_t package_orders_max
    int64_t levels_max
    int64_t edge_usd_micro_min
    int64_t edge_ppm_min

cdef struct Work:
    Limits limits
    int64_t sets_paid
    bint is_exclusive_no
    int cause  # why the last try failed, with value and limit
    i128 value
    i128 limit
    int64_t cost_usd_micro
    int64_t fee_usd_micro
    i128 loss_usd_micro
    int legs_count
    int sizes_count
    int orders_count
    Walk legs[LEGS_MAX]
    int64_t sizes[ORDERS_MAX + 1]  # ascending
    Order orders[ORDERS_MAX]


cdef object newest_bounds = None
cdef Limits newest_limits  # the same as native numbers


cdef void _begin(Walk* walk, Leg leg) noexcept:
    walk.leg = <PyObject*>leg
    walk.place = walk.levels_count = 0
    walk.tick_step = leg.tick_step
    walk.size_micro_min, walk.usd_micro_min = leg.size_micro_min, leg.usd_micro_min
    walk.rate_ppm, walk.exponent = leg.fee_rate_ppm, leg.fee_exponent


cdef int _next_level(Walk* walk, int64_t levels_max) except -1:
    """Take the leg's next usable level, floored to the lot; 0 when there is none.

    A level off the market's grid, or without a size, ends the ladder.
    """
    cdef Leg leg = <Leg>walk.leg
    cdef const Level* shown
    cdef Taken* level
    while walk.place < levels_max and walk.place < leg.asks_count:
        shown = &leg.asks_at[walk.place]
        walk.place += 1
        if not (0 < shown.price_ticks < TICKS and shown.price_ticks % leg.tick_step == 0
                and shown.size_micro > 0):
            return 0
        if shown.size_micro >= LOT:
            if shown.size_micro > SIZE_MAX:
                outside("sizing", "a level's size", LOT, SIZE_MAX, shown.size_micro)
            level = &walk.levels[walk.levels_count]
            walk.levels_count += 1
            level.price_ticks = shown.price_ticks
            level.size_micro = walk.left_micro = shown.size_micro - shown.size_micro % LOT
            level.terms = leg.fees.terms(shown.price_ticks)
            return 1
    return 0


cdef int _walk(Work* work) except -1:
    """Take the levels of each leg, and the cumulative sizes at which a level ends, ascending.

    Goes on while one more share of each leg costs less than it pays and the spending bounds allow it.
    """
    cdef i128 slack = <i128>work.limits.package_orders_max * ROUNDING, room, fits
    cdef int64_t total = 0, step, units, worst
    cdef int number
    cdef bint is_short
    cdef Walk* leg
    cdef const Taken* level
    if work.legs_count == 0:
        return 0
    for number in range(work.legs_count):
        leg = &work.legs[number]
        if not _next_level(leg, work.limits.levels_max):
            return 0
        leg.room = max(<i128>0, work.limits.order_usd_micro_max - slack) * PICO
    room = max(<i128>0, work.limits.package_usd_micro_max - slack) * PICO
    while True:
        units = worst = 0
        step = INT64_MAX
        for number in range(work.legs_count):
            leg = &work.legs[number]
            level = &leg.levels[leg.levels_count - 1]
            units += level.terms.unit_pico
            worst += level.terms.worst_pico
            step = min(step, leg.left_micro)
        if units >= work.sets_paid * PICO:
            return 0
        is_short = room < <i128>step * worst
        fits = room // worst
        for number in range(work.legs_count):
            leg = &work.legs[number]
            level = &leg.levels[leg.levels_count - 1]
            if leg.room < <i128>step * level.terms.worst_pico:
                is_short = True
                if leg.room // level.terms.worst_pico < fits:
                    fits = leg.room // level.terms.worst_pico
        if is_short:  # then less than a step fits
            fits -= fits % LOT
            if fits:
                work.sizes[work.sizes_count] = total + <int64_t>fits
                work.sizes_count += 1
            return 0
        total += step
        work.sizes[work.sizes_count] = total  # each turn but the last uses up a level: at most all, and one
        work.sizes_count += 1
        room -= <i128>step * worst
        for number in range(work.legs_count):
            leg = &work.legs[number]
            leg.room -= <i128>step * leg.levels[leg.levels_count - 1].terms.worst_pico
            leg.left_micro -= step
            if leg.left_micro == 0 and not _next_level(leg, work.limits.levels_max):
                return 0


include "sizing_orders.pxi"


cdef int _fit(Work* work, int64_t size_micro, int64_t* fitted, bint* is_fak) except -1:
    """Find the package of about this size: FAK when that costs at most an eighth of the size, else GTC.

    0: there is none, for the reason why the first of both failed.
    """
    cdef int64_t lot_micro = _lot_micro(work), reach = _reach_micro(work, size_micro, lot_micro)
    cdef bint is_refused = False, is_fak_first = reach * 8 >= size_micro * 7
    cdef int turn, cause = 0
    cdef i128 value = 0, limit = 0
    for turn in range(2):
        is_fak[0] = not is_fak_first if turn else is_fak_first
        fitted[0] = reach if is_fak[0] else size_micro
        if fitted[0] == 0:
            continue
        if _plan(work, fitted[0], lot_micro if is_fak[0] else LOT, is_fak[0]) and _clear(work, fitted[0]):
            return 1
        if not is_refused:
            is_refused, cause, value, limit = True, work.cause, work.value, work.limit
    return _refuse(work, cause, value, limit)


cdef tuple _orders_of(const Work* work, object order_type, bint is_fak):
    cdef list found = []
    cdef int place
    cdef const Order* order
    cdef Leg leg
    for place in range(work.orders_count):
        order = &work.orders[place]
        leg = <Leg>work.legs[order.leg_no].leg
        found.append(record(order_type, (
            order.leg_no, leg.row, leg.outcome, order.level.price_ticks, order.size_micro,
            FAK if is_fak else GTC)))
    return tuple(found)


cdef int _read_bounds(object bounds, Limits* limits) except -1:
    """Copy the bounds; they are frozen, so the newest ones are remembered."""
    global newest_bounds, newest_limits
    if bounds is not newest_bounds:
        newest_limits = Limits(
            checked(bounds.order_usd_micro_max, 0, INT64_MAX, "sizing", "an order's limit"),
            checked(bounds.package_usd_micro_max, 0, INT64_MAX, "sizing", "a package's limit"),
            checked(bounds.partial_loss_usd_micro_max, 0, INT64_MAX, "sizing", "a limit of loss"),
            checked(bounds.package_orders_max, 0, INT64_MAX, "sizing", "a limit of orders"),
            checked(bounds.levels_max, 0, INT64_MAX, "sizing", "a limit of levels"),
            checked(bounds.edge_usd_micro_min, 0, INT64_MAX, "sizing", "a least edge"),
            checked(bounds.edge_ppm_min, 0, INT64_MAX, "sizing", "a least edge in ppm"))
        newest_bounds = bounds
    limits[0] = newest_limits
    return 0


cdef int _price_work(Work* work, int64_t* fitted, bint* is_fak) except -1:
    """Plan the largest package that clears every bound; 0: there is none, and `work` says why."""
    cdef int number, cause = CAUSE_BELOW_EDGE
    cdef int64_t size_micro, shrunk
    cdef i128 value = 0, limit = work.limits.edge_usd_micro_min
    work.sizes_count = 0
    _walk(work)
    for number in range(TRIES_MAX):
        if not work.sizes_count:
            break
        work.sizes_count -= 1
        size_micro = work.sizes[work.sizes_count]
        if _fit(work, size_micro, fitted, is_fak):
            return 1
        if work.cause in (CAUSE_LIMIT_ORDER, CAUSE_LIMIT_PARTIAL_LOSS):
            # Spending and loss grow at least in proportion to the size: the shrunk one fits but for rounding.
            # The value is above the limit, so what comes out is below the size.
            shrunk = <int64_t>(size_micro * work.limit // work.value)
            shrunk -= shrunk % LOT
            if shrunk:
                while work.sizes_count and work.sizes[work.sizes_count - 1] >= shrunk:
                    work.sizes_count -= 1
                work.sizes[work.sizes_count] = shrunk
                work.sizes_count += 1
        if cause == CAUSE_BELOW_EDGE:  # what came before was no more than a missing edge
            cause, value, limit = work.cause, work.value, work.limit
    return _refuse(work, cause, value, limit)


cdef object _package_of(
    const Work* work, int64_t fitted, bint is_fak, object package_type, object order_type,
):
    return record(package_type, (
        fitted, work.sets_paid * fitted, work.cost_usd_micro, work.fee_usd_micro,
        python_of(work.loss_usd_micro), _orders_of(work, order_type, is_fak)))


def price_legs(legs, sets_paid, bounds, bint is_exclusive_no, order_type, package_type, refusal_type):
    """Return the largest package that clears every bound, or why there is none.

    The types are the NamedTuples Order, Package and Refusal of core.sizing.
    """
    cdef Work work
    cdef tuple held = tuple(legs)
    cdef int number
    cdef int64_t fitted = 0
    cdef bint is_fak = False
    work.legs_count = <int>checked(len(held), 0, LEGS_MAX, "sizing", "a count of legs")
    work.sets_paid = checked(sets_paid, 0, LEGS_MAX, "sizing", "sets paid")
    work.is_exclusive_no = is_exclusive_no
    _read_bounds(bounds, &work.limits)
    for number in range(work.legs_count):
        _begin(&work.legs[number], <Leg?>held[number])
    if _price_work(&work, &fitted, &is_fak):
        return _package_of(&work, fitted, is_fak, package_type, order_type)
    return record(refusal_type, (CAUSES[work.cause], python_of(work.value), python_of(work.limit)))


include "sizing_watch.pxi"
