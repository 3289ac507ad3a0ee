# A basket that prices itself while its sum is above zero; part of sizing.pyx. Slow model:
# tests/models/watch_model.py.

cdef enum:
    BATCH_ORDERS_MAX = 15  # orders in one request of the venue: legs of one package
    SUBSETS_MAX = 4  # subsets of a sell-all basket that are priced, best outcomes first
    PROOFS_MAX = 64  # subsets of one basket whose proof is remembered
    SHOWN_BYTES = 96  # of one leg: eight prices and eight sizes

cdef int64_t NEVER = 1 << 62
cdef int64_t REPEAT_MAX = 1_000_000_000
NEVER_NS = NEVER
#: An unchanged opportunity is told again at least this often: verdicts change unseen.
REPEAT_NS_MAX = REPEAT_MAX
LIMITS = (BATCH_ORDERS_MAX, NEVER)  # what core.strategies.basket holds against its own


cdef class Sized(Sum):
    """A sum that finds the package to buy, and remembers what it told of which levels.

    A subclass has `prove(legs)`: what one lot of each of these legs pays in the worst world, None when that
    is not proven. A changed instrument makes a new one, so each proof is of the structure in force.
    """

    cdef public int64_t retry_ns      # when the same levels may be told again
    cdef public int64_t pause_ns      # how long after it the levels of the last idea are not repeated
    cdef readonly int64_t told_ns     # the last idea
    cdef readonly int64_t wake_ns     # when the last look wants to look again, NEVER_NS: a top will bring it
    cdef readonly int64_t venue_ns    # newest venue time among the books of the last package
    cdef readonly int legs_priced     # of the last package
    cdef readonly bint is_refused     # the last look found a profit that may not or does not pay
    cdef readonly object cause, value, limit  # the last answer
    cdef bytes seen                   # the levels that it is about
    cdef dict proofs
    cdef uint16_t* chosen

    def __cinit__(self, tops, outcomes, bint is_subset):
        self.chosen = <uint16_t*>calloc(self.legs_count, sizeof(uint16_t))
        if self.chosen == NULL:
            raise MemoryError
        self.seen, self.proofs = b"", {}
        self.cause, self.value, self.limit = CAUSES[CAUSE_NONE], 0, 0

    def __dealloc__(self):
        free(self.chosen)

    def forget(self):
        """Let the same levels be told again: limits have changed."""
        self.seen = b""

    def look(
        self, int64_t now_ns, int64_t proof_age_ns_max, int64_t cooldown_ns, bounds, package_type, order_type,
    ):
        """Return the package to buy now, None when there is none or it was told already.

        Leaves `wake_ns`, and `is_refused` with cause, value and limit. Reads time from its argument only.
        """
        cdef int count = 0, cause = CAUSE_NONE, found, leg_no
        cdef int64_t rest = self.total, pause_ns = cooldown_ns
        cdef bytes shown
        cdef Top top
        self.wake_ns, self.is_refused = NEVER, False
        for leg_no in range(self.legs_count):
            if self.is_subset and not self.gains[leg_no]:
                continue
            top = <Top>self.tops[leg_no]
            found = top.block_c(now_ns, proof_age_ns_max)
            if found == CAUSE_NONE:
                self.chosen[count] = leg_no
                count += 1
            elif cause == CAUSE_NONE:
                cause = found  # the first is told
            if found == CAUSE_DEPTH_USED:
                self.wake_ns = min(self.wake_ns, top.touched_until_ns)  # look again when the fill is old
        if cause != CAUSE_NONE:
            rest = self.gain_of(self.chosen, count) - PICO if self.is_subset else 0
        if rest <= 0:
            return self.refuse(cause, 0, 0)
        shown = self.shown(count)
        if shown == self.seen:
            if now_ns < self.retry_ns:
                self.wake_ns = min(self.wake_ns, self.retry_ns)
                return None
            # Told, and still there: tell it again after twice the time, unless an order ends before.
            pause_ns = max(pause_ns, min(2 * self.pause_ns, REPEAT_MAX))
        self.seen, self.retry_ns = shown, NEVER
        package = self.sized(count, bounds, package_type, order_type)
        if package is not None:
            self.told_ns, self.pause_ns, self.retry_ns = now_ns, pause_ns, now_ns + pause_ns
            self.wake_ns = min(self.wake_ns, self.retry_ns)
            self.cause, self.is_refused = CAUSES[CAUSE_TAKEN], False  # what a larger subset broke is past
        return package

    cdef object refuse(self, int cause, object value, object limit):
        """Remember why there is no package; the answer is always None."""
        self.is_refused = True
        self.cause = CAUSES[cause if cause != CAUSE_NONE else CAUSE_BELOW_EDGE]
        self.value, self.limit = value, limit
        return None

    cdef int64_t gain_of(self, const uint16_t* legs, int count) noexcept:
        cdef int64_t found = 0
        cdef int place
        for place in range(count):
            found += self.gains[legs[place]]
        return found

    cdef bytes shown(self, int count):
        """Return the levels that a buyer of the chosen legs would take: equal bytes, equal ladders."""
        cdef bytes found = PyBytes_FromStringAndSize(NULL, count * SHOWN_BYTES)
        cdef char* target = PyBytes_AS_STRING(found)
        cdef int place
        for place in range(count):
            (<Top>self.tops[self.chosen[place]]).show(
                self.outcomes[self.chosen[place]], target + place * SHOWN_BYTES)
        return found

    cdef object sized(self, int count, object bounds, object package_type, object order_type):
        """Return the package of the chosen legs; a subset basket sheds its weakest legs until one fits."""
        cdef uint16_t legs[BATCH_ORDERS_MAX]
        cdef int number, size, ranked = min(count, <int>BATCH_ORDERS_MAX)
        cdef object found, first = None
        if not self.is_subset:
            return self.priced(self.chosen, count, 1, bounds, package_type, order_type)
        for number in range(SUBSETS_MAX):
            size = self.pick(legs, ranked - number, count)
            if not (size > 1 and self.gain_of(legs, size) > PICO):
                break
            found = self.priced(legs, size, size - 1, bounds, package_type, order_type)
            if found is not None or self.cause == CAUSE_NOT_PROVEN:
                return found
            if number == 0:
                first = (self.cause, self.value, self.limit)
        if first is None:
            return self.refuse(CAUSE_NOT_PROVEN, 0, 0)
        return self.refuse(first[0], first[1], first[2])

    cdef int pick(self, uint16_t* legs, int size, int count) noexcept:
        """Put the `size` chosen legs that gain most into `legs`, in order of the basket; return how many.

        Of equal gains the first leg comes first.
        """
        cdef int place, kept, found, last = -1
        cdef int64_t gain, last_gain = 0
        for kept in range(size):
            found = -1
            for place in range(count):
                gain = self.gains[self.chosen[place]]
                if last >= 0 and not (gain < last_gain or (gain == last_gain and place > last)):
                    continue  # picked already
                if found < 0 or gain > self.gains[self.chosen[found]]:
                    found = place
            last, last_gain = found, self.gains[self.chosen[found]]
            place = kept
            while place and legs[place - 1] > self.chosen[found]:
                legs[place] = legs[place - 1]
                place -= 1
            legs[place] = self.chosen[found]
        return max(size, 0)

    cdef object priced(
        self, const uint16_t* legs, int count, int sets_paid, object bounds, object package_type,
        object order_type,
    ):
        """Return the package of these legs once its payout is proven."""
        cdef Work work
        cdef int64_t fitted = 0, venue_ns = 0
        cdef bint is_fak = False
        cdef int place
        cdef Top top
        cdef object payout, proven
        if count > LEGS_MAX:
            outside("sizing", "a count of legs", 0, LEGS_MAX, count)
        work.legs_count, work.sets_paid, work.is_exclusive_no = count, sets_paid, self.is_subset
        _read_bounds(bounds, &work.limits)
        for place in range(count):
            top = <Top>self.tops[legs[place]]
            _begin(&work.legs[place], top.leg_c(self.outcomes[legs[place]]))  # the top keeps the leg
            venue_ns = max(venue_ns, top.raw.venue_ns)
        if not _price_work(&work, &fitted, &is_fak):
            return self.refuse(work.cause, python_of(work.value), python_of(work.limit))
        # Payouts of even sizes are proportional, and every size is a whole number of lots.
        proven, payout = self.proof(legs, count), sets_paid * fitted
        if proven is None or fitted // LOT * proven != payout:
            return self.refuse(CAUSE_NOT_PROVEN, 0, payout)
        self.legs_priced, self.venue_ns = count, venue_ns
        return _package_of(&work, fitted, is_fak, package_type, order_type)

    cdef object proof(self, const uint16_t* legs, int count):
        """Return what one lot of each of these legs is proven to pay: asked once for each set of them."""
        cdef bytes key = (<const char*>legs)[:count * sizeof(uint16_t)]
        cdef int place
        if key not in self.proofs:
            if len(self.proofs) >= PROOFS_MAX:
                self.proofs.clear()
            self.proofs[key] = self.prove([legs[place] for place in range(count)])
        return self.proofs[key]
