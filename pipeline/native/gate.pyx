# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=False
"""What a proposal's orders cost, charge and reserve, and whether the venue would take each of them.

Place in the stream: the risk gate asks once a proposal, with cold caches; it alone decides. Slow model:
tests/models/gate_model.py. Sizes are at most 2**57 (larger ones are refused), so a cost is at most 2**57 and
a size times a fee fraction below 2**127; a reservation is at most 2**71 (a budget at exponent 0), the sum of
all orders far below 2**127.
"""

from libc.stdint cimport int64_t

from pipeline.native.legs cimport Leg, Terms, i128, python_of, saturated
from pipeline.native.records cimport (
    CAUSE_BELOW_MINIMUM, CAUSE_LIMIT_ORDER, CAUSE_NONE, CAUSE_NOT_PROVEN, CAUSE_OFF_GRID)

from pipeline.errors import InvariantError
from pipeline.kinds import OrderType, Side

cdef enum:
    TICKS = 10_000  # price ticks of 1 USD
    LOT = 10_000  # size_micro of the smallest share lot
    CENT = 10_000  # FAK and FOK amounts have 2 decimals of USD
    PPM = 1_000_000
    QUANTUM = 10  # fees are whole multiples of 10 uUSD
    LEGS_MAX = 256  # leg_count is one byte of a record

SCALES = (TICKS, LOT, CENT, PPM, QUANTUM)  # what core.risk holds against its own
SIZE_MICRO_MAX = 1 << 57
cdef int64_t SIZE_MAX = SIZE_MICRO_MAX
cdef int BUY = Side.BUY, FAK = OrderType.FAK, GTC = OrderType.GTC

cdef struct LegSum:
    bint is_known
    int64_t row
    int64_t outcome
    i128 shares
    i128 worst


cdef i128 _worst(const Terms* terms, Leg rules, int64_t paid, int64_t size, bint is_fak) noexcept:
    """Return the most that the order takes from the collateral, as the models' `worst_buy_usd_micro`."""
    cdef i128 charged = size * terms.part
    if not is_fak:
        return paid + (charged + terms.whole - 1) // terms.whole * QUANTUM
    if rules.fee_exponent:
        return paid + (<i128>paid * rules.fee_rate_ppm + PPM - 1) // PPM
    charged = <i128>paid * TICKS * rules.fee_rate_ppm
    return paid + (charged + <i128>PPM * rules.tick_step - 1) // (<i128>PPM * rules.tick_step)


cdef tuple _illegal(Leg leg, int64_t side, int64_t order_type, int64_t price, int64_t size, int64_t* paid):
    """Return (cause, value, limit) of what the venue would not take; None and its cost when it would."""
    cdef bint is_fak = order_type == FAK
    if not (side == BUY and (is_fak or order_type == GTC)):
        return CAUSE_NOT_PROVEN, side, order_type
    if not (0 < price < TICKS and price % leg.tick_step == 0):
        return CAUSE_OFF_GRID, price, leg.tick_step
    if not (size > 0 and size % LOT == 0):
        return CAUSE_OFF_GRID, size, LOT
    if size > SIZE_MAX:
        return CAUSE_LIMIT_ORDER, size, SIZE_MAX
    paid[0] = <int64_t>((<i128>price * size + TICKS - 1) // TICKS)
    if is_fak and paid[0] % CENT:
        return CAUSE_OFF_GRID, paid[0], CENT
    if not paid[0] >= leg.usd_micro_min:
        return CAUSE_BELOW_MINIMUM, paid[0], leg.usd_micro_min
    if not (is_fak or size >= leg.size_micro_min):
        return CAUSE_BELOW_MINIMUM, size, leg.size_micro_min
    return None


def price_orders(tuple orders not None, dict rules not None, int leg_count, size_micro):
    """Return (0, paid, worst, cost, fee, worst by row, tokens, worst of a leg), or (cause, value, limit).

    orders: (leg_no, row, outcome, side, type, price_ticks, size_micro) each. rules: row -> Leg of every row.
    paid, worst: lists of USD micro by order. tokens: (row, outcome) of each leg, in order of appearance.
    Refused is what the venue would not take, and legs that do not hold `size_micro` shares each; a number
    beyond 64 bits counts as the largest of them.
    """
    cdef LegSum sums[LEGS_MAX]
    cdef Leg leg
    cdef const Terms* terms
    cdef LegSum* found
    cdef tuple illegal
    cdef list all_paid = [], all_worst = [], tokens = []
    cdef dict per_row = {}
    cdef int64_t leg_no, row, outcome, side, order_type, price, size, paid = 0, wrong_leg = 0
    cdef i128 cost = 0, fee = 0, leg_worst = 0, worst, least
    cdef bint is_fak, is_wrong = False
    cdef int number, equal = 0
    cdef int64_t wanted_shares = saturated(size_micro)
    if not 1 <= leg_count < LEGS_MAX:
        raise InvariantError(f"native.gate: 1..{LEGS_MAX - 1} legs expected, were {leg_count}")
    for number in range(leg_count):
        sums[number] = LegSum(False, 0, 0, 0, 0)
    for order in orders:
        leg = rules[order[1]]
        leg_no, row, outcome = saturated(order[0]), saturated(order[1]), saturated(order[2])
        side, order_type = saturated(order[3]), saturated(order[4])
        price, size = saturated(order[5]), saturated(order[6])
        is_fak = order_type == FAK
        illegal = _illegal(leg, side, order_type, price, size, &paid)
        if illegal is not None:
            return illegal
        terms = leg.fees.terms(price)
        worst = _worst(terms, leg, paid, size, is_fak)
        cost += paid
        fee += <i128>(size * terms.part // terms.whole) * QUANTUM
        all_paid.append(paid)
        reserved = python_of(worst)
        all_worst.append(reserved)
        per_row[row] = per_row.get(row, 0) + reserved
        if 0 <= leg_no < leg_count:
            found = &sums[leg_no]
            if not found.is_known:
                found.is_known, found.row, found.outcome = True, row, outcome
                tokens.append((row, outcome))
            if found.row == row and found.outcome == outcome:
                found.shares += size
                found.worst += worst
                continue
        if not is_wrong:
            is_wrong, wrong_leg = True, leg_no
    if is_wrong:  # told behind what is illegal
        return CAUSE_NOT_PROVEN, wrong_leg, leg_count
    least = sums[0].shares
    for number in range(leg_count):
        equal += sums[number].shares == wanted_shares
        least = min(least, sums[number].shares)
        leg_worst = max(leg_worst, sums[number].worst)
    if equal < leg_count:
        return CAUSE_NOT_PROVEN, python_of(least), size_micro
    return (
        CAUSE_NONE, all_paid, all_worst, python_of(cost), python_of(fee), per_row, tuple(tokens),
        python_of(leg_worst))
