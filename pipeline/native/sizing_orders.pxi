# The orders of one size, what they cost and may lose, and whether a limit or the edge forbids them; part of
# sizing.pyx, whose ranges hold here.

cdef bint _refuse(Work* work, int cause, i128 value, i128 limit) noexcept nogil:
    work.cause, work.value, work.limit = cause, value, limit
    return False


cdef inline int64_t _cost_usd_micro(const Order* order) noexcept nogil:
    return <int64_t>((<i128>order.level.price_ticks * order.size_micro + TICKS - 1) // TICKS)


cdef int64_t _lot_micro(const Work* work) noexcept nogil:
    """Return the lot at which every budget is a whole number of cents, whatever the level.

    At one price that is TICKS / gcd(price, TICKS) hundredths of a share (times ticks: 1e-6 USD; a cent is
    10,000), and lcm(T / a, T / b) = T / gcd(a, b).
    """
    cdef int64_t common = TICKS, rest
    cdef int number, place
    for number in range(work.legs_count):
        for place in range(work.legs[number].levels_count):
            rest = work.legs[number].levels[place].price_ticks
            while rest:
                common, rest = rest, common % rest
    return TICKS // common * LOT


cdef int64_t _reach_micro(const Work* work, int64_t size_micro, int64_t lot_micro) noexcept nogil:
    """Return the most of the size that every leg has in whole lots a level."""
    cdef int64_t reach = size_micro - size_micro % lot_micro, depth
    cdef int number, place
    for number in range(work.legs_count):
        depth = 0
        for place in range(work.legs[number].levels_count):
            depth += work.legs[number].levels[place].size_micro
            depth -= work.legs[number].levels[place].size_micro % lot_micro
        reach = min(reach, depth)
    return reach


cdef inline bint _is_small(const Order* order, const Walk* leg) noexcept nogil:
    return order.size_micro < leg.size_micro_min or _cost_usd_micro(order) < leg.usd_micro_min


cdef inline void _join(Order* order, const Order* behind) noexcept nogil:
    order.level = behind.level
    order.size_micro += behind.size_micro


cdef void _merge(Work* work, int first, const Walk* leg) noexcept nogil:
    """Join orders of a leg below a minimum with their neighbour, at the worse of both prices.

    Only share-targeted orders: they stop at their shares, so a worse limit costs nothing unless needed.
    """
    cdef int kept = first, place
    for place in range(first + 1, work.orders_count):
        if _is_small(&work.orders[kept], leg):
            _join(&work.orders[kept], &work.orders[place])
        else:
            kept += 1
            work.orders[kept] = work.orders[place]
    if kept > first and _is_small(&work.orders[kept], leg):
        kept -= 1
        _join(&work.orders[kept], &work.orders[kept + 1])
    work.orders_count = kept + 1


cdef bint _price(Work* work, Order* order, const Walk* leg, bint is_fak) noexcept nogil:
    """Add an order's cost and fee, and set what it reserves; False: it is below a minimum."""
    cdef int64_t paid = _cost_usd_micro(order)
    cdef i128 charged = order.size_micro * order.level.terms.part, whole = order.level.terms.whole
    if paid < leg.usd_micro_min:
        return _refuse(work, CAUSE_BELOW_MINIMUM, paid, leg.usd_micro_min)
    if not is_fak and order.size_micro < leg.size_micro_min:
        return _refuse(work, CAUSE_BELOW_MINIMUM, order.size_micro, leg.size_micro_min)
    work.cost_usd_micro += paid
    work.fee_usd_micro += <int64_t>(charged // whole) * QUANTUM
    if not is_fak:
        order.spend_usd_micro = paid + (charged + whole - 1) // whole * QUANTUM
    elif leg.exponent:  # as budget_fee_usd_micro_max of the model
        order.spend_usd_micro = paid + (<i128>paid * leg.rate_ppm + PPM - 1) // PPM
    else:
        charged, whole = <i128>paid * TICKS * leg.rate_ppm, <i128>PPM * leg.tick_step
        order.spend_usd_micro = paid + (charged + whole - 1) // whole
    return True


cdef bint _plan(Work* work, int64_t size_micro, int64_t lot_micro, bint is_fak) noexcept nogil:
    """Make and price the orders of every leg; False: a minimum or the count is broken."""
    cdef int number, place, first
    cdef int64_t rest, depth
    cdef Walk* leg
    cdef Order* order
    work.orders_count = 0
    work.cost_usd_micro = work.fee_usd_micro = 0
    for number in range(work.legs_count):
        leg, first, rest = &work.legs[number], work.orders_count, size_micro
        for place in range(leg.levels_count):
            depth = min(rest, leg.levels[place].size_micro - leg.levels[place].size_micro % lot_micro)
            if depth:
                order = &work.orders[work.orders_count]
                work.orders_count += 1
                order.leg_no, order.level, order.size_micro = number, &leg.levels[place], depth
                rest -= depth
        if rest:  # no size goes beyond a ladder; if one did, it would not be bought
            return _refuse(work, CAUSE_BELOW_EDGE, size_micro - rest, size_micro)
        if not is_fak:
            _merge(work, first, leg)
        for place in range(first, work.orders_count):
            if not _price(work, &work.orders[place], leg, is_fak):
                return False
    if work.orders_count > work.limits.package_orders_max:
        return _refuse(work, CAUSE_TOO_MANY_ORDERS, work.orders_count, work.limits.package_orders_max)
    return True


cdef int64_t _sale_usd_micro(const Walk* walk, int64_t size_micro) except -1:
    """Return what selling the size into the leg's known bids yields after fees; 0 beyond their depth."""
    cdef Leg leg = <Leg>walk.leg
    cdef int64_t price_ticks, sold, rest = size_micro, yielded = 0
    cdef i128 gained
    cdef const Terms* terms
    cdef int place
    for place in range(leg.bids_count):
        price_ticks, sold = leg.bids_at[place].price_ticks, min(leg.bids_at[place].size_micro, rest)
        if not (sold > 0 and 0 < price_ticks < TICKS):
            break
        terms = leg.fees.terms(price_ticks)
        # Proceeds rounded down, fee rounded up; a fee above the proceeds would make the share worthless.
        gained = <i128>price_ticks * sold // TICKS
        gained -= (sold * terms.part + terms.whole - 1) // terms.whole * QUANTUM
        if gained > 0:
            yielded += <int64_t>gained
        rest -= sold
        if not rest:
            break
    return yielded


cdef i128 _holding_usd_micro(const Work* work) noexcept nogil:
    """Return the loss bound of holding NO tokens of exclusive outcomes: all legs but the largest pay."""
    cdef i128 over_all = 0, largest = 0, within = 0, over
    cdef int number = 0, place
    cdef const Order* order
    for place in range(work.orders_count):
        order = &work.orders[place]
        if order.leg_no != number:
            number, within = order.leg_no, 0
        over = max(<i128>0, order.spend_usd_micro - order.size_micro)
        over_all += over
        within += order.spend_usd_micro - over
        largest = max(largest, within)
    return largest + over_all


cdef int _bound_loss(Work* work, int64_t size_micro) except -1:
    """Set the most that any partial fill may lose; see `partial_loss_usd_micro_max` of the model."""
    cdef i128 selling = 0, cheapest = 0, loss
    cdef int64_t sale = 0
    cdef int place, number = -1
    cdef Order* order
    for place in range(work.orders_count):
        order = &work.orders[place]
        if order.leg_no != number:
            number = order.leg_no
            sale = _sale_usd_micro(&work.legs[number], size_micro)
        loss = max(<i128>0, order.spend_usd_micro - <i128>sale * order.size_micro // size_micro)
        selling += loss
        cheapest = loss if place == 0 else min(cheapest, loss)
    work.loss_usd_micro = selling - cheapest  # a single order is its own cheapest: nothing is partial
    if work.is_exclusive_no:
        work.loss_usd_micro = min(work.loss_usd_micro, _holding_usd_micro(work))
    return 0


cdef int _clear(Work* work, int64_t size_micro) except -1:
    """Hold the planned orders against every limit and the edge; 0: one is broken."""
    cdef i128 spends = 0, leg_spends = 0, leg_most = 0, least
    cdef int64_t spent = work.cost_usd_micro + work.fee_usd_micro, edge
    cdef int place, number = 0
    for place in range(work.orders_count):
        if work.orders[place].leg_no != number:
            number, leg_spends = work.orders[place].leg_no, 0
        spends += work.orders[place].spend_usd_micro
        leg_spends += work.orders[place].spend_usd_micro
        leg_most = max(leg_most, leg_spends)
    if leg_most > work.limits.order_usd_micro_max:
        return _refuse(work, CAUSE_LIMIT_ORDER, leg_most, work.limits.order_usd_micro_max)
    if spends > work.limits.package_usd_micro_max:
        return _refuse(work, CAUSE_LIMIT_ORDER, spends, work.limits.package_usd_micro_max)
    _bound_loss(work, size_micro)
    if work.loss_usd_micro > work.limits.partial_loss_usd_micro_max:
        return _refuse(
            work, CAUSE_LIMIT_PARTIAL_LOSS, work.loss_usd_micro, work.limits.partial_loss_usd_micro_max)
    edge = work.sets_paid * size_micro - spent
    least = <i128>work.limits.edge_ppm_min * spent
    if edge < work.limits.edge_usd_micro_min or <i128>edge * PPM < least:
        return _refuse(
            work, CAUSE_BELOW_EDGE, edge, max(<i128>work.limits.edge_usd_micro_min, (least + PPM - 1) // PPM))
    return 1
