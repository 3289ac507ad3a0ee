# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
# cython: cdivision=True
"""INTENT in, SIGNED out: amounts, brake, signature, record. Slow model: tests/models/signing_model.py.

Place in the stream: the signer stage calls it once an order, with cold caches. Signatures that were made
ahead are found only by everything that they cover. Integers change their place, products are checked: a price
is below 2**14 and a size below 2**63, so a cost in 1e-10 USD fits 128 bits.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from pipeline.native.brake cimport BrakeCore, is_allowed
from pipeline.native.haltwords cimport HaltWords
from pipeline.native.legs cimport i128
from pipeline.native.orderhash cimport OrderFields, OrderSealer
from pipeline.native.records cimport (
    CAUSE_MISSING_VALUE, CAUSE_NO_INSTRUMENT, CAUSE_NONE, IntentSlot, KIND_SIGNED, SLOT_BYTES, SignedSlot)

from pipeline.errors import InvariantError
from pipeline.kinds import IntentClass, OrderType, Side

cdef enum:
    TICKS = 10_000  # price ticks of 1 USD
    CENT = 10_000  # 0.01 share or USD in 1e-6 units
    SEALED_BYTES = 129
    AHEAD_SLOTS = 64

AHEAD_MAX = AHEAD_SLOTS  # signatures that wait to be asked for
cdef uint64_t SALT_MAX = (1 << 53) - 1  # salts are JSON numbers (venue sheet 10.1)
cdef int FOK = OrderType.FOK, FAK = OrderType.FAK, BUY = Side.BUY, SELL = Side.SELL
cdef int NEW_RISK = IntentClass.NEW_RISK

cdef struct Market:
    int64_t tick_step
    int64_t fine_micro    # smallest step of a FOK or FAK order's shares (BUY) or proceeds (SELL); 0 = no grid
    uint8_t domain[32]
    uint8_t token[2][32]
    int token_cause[2]    # why the outcome's token cannot be signed, 0 = it can

cdef struct Ahead:
    uint64_t number  # the higher, the newer; 0 = nothing is there
    OrderFields order
    uint8_t domain[32]
    uint8_t sealed[SEALED_BYTES]


cdef class _Row:
    cdef Market market


cdef bint _amounts(int order_type, int side, int64_t price, int64_t size, const Market* market,
                   int64_t* maker, int64_t* taker) noexcept nogil:
    """Compute what the order gives and wants, exactly; False: `amounts.order_amounts` refuses them."""
    cdef int64_t step = market.tick_step, fine = market.fine_micro, share_unit = CENT, usd_unit = fine
    cdef i128 product = <i128>price * size  # USD in 1e-10
    if not (fine and step <= price <= TICKS - step and price % step == 0 and size > 0):
        return False
    if order_type == FOK or order_type == FAK:
        if side == BUY:
            share_unit, usd_unit = fine, CENT
        if size % share_unit or product % (<i128>usd_unit * TICKS):
            return False
    elif size % CENT:
        return False
    maker[0] = taker[0] = size
    if side == BUY:
        maker[0] = <int64_t>(product // TICKS)
    else:
        taker[0] = <int64_t>(product // TICKS)
    return True


cdef class IntentSigner:
    """Makes SIGNED records of INTENTs with one key behind one brake. No channels, no counters.

    clock: returns ns. A subclass has `amounts_cause(order_type, side, price_ticks, size_micro, tick_step)`:
    why amounts that the price and size do not give are refused.
    """

    cdef OrderSealer sealer
    cdef readonly BrakeCore brake
    cdef HaltWords words
    cdef object clock
    cdef dict rows
    cdef Ahead ahead[AHEAD_SLOTS]
    cdef uint64_t ahead_count               # signatures made ahead so far
    cdef readonly int cause                 # of the newest record: why it holds no signature, 0 = it does
    cdef readonly bint was_ahead            # its signature was there before it was asked for
    cdef readonly uint64_t order_no, group_no, cause_seq, salt
    cdef readonly bint is_last              # of its batch

    def __init__(
        self, OrderSealer sealer not None, BrakeCore brake not None, HaltWords words not None, clock,
    ):
        self.sealer, self.brake, self.words, self.clock = sealer, brake, words, clock
        self.rows = {}
        memset(self.ahead, 0, sizeof(self.ahead))

    def set_market(self, row, bytes token_yes not None, bytes token_no not None, int yes_cause, int no_cause,
                   bytes domain not None, int64_t tick_step, int64_t fine_micro):
        """Take what signing must know of a row; a cause says why that token cannot be signed, 0 = it can."""
        cdef _Row known = _Row()
        cdef bytes part
        if tick_step < 1:
            fine_micro = 0  # no grid: nothing is divided by the step
        for part in (token_yes, token_no, domain):
            if PyBytes_GET_SIZE(part) != 32:
                raise InvariantError(f"native.signing: 32 bytes expected, were {len(part)}")
        memcpy(known.market.token[0], PyBytes_AS_STRING(token_yes), 32)
        memcpy(known.market.token[1], PyBytes_AS_STRING(token_no), 32)
        memcpy(known.market.domain, PyBytes_AS_STRING(domain), 32)
        known.market.token_cause = [yes_cause, no_cause]
        known.market.tick_step, known.market.fine_micro = tick_step, fine_micro
        self.rows[row] = known

    def make(self, bytes intents not None, Py_ssize_t offset=0):
        """Return the SIGNED record of the INTENT at `offset`; `cause` says why it holds no signature.

        The brake has stored the order number when this returns: nothing can be pushed before.
        """
        if offset < 0 or offset + <Py_ssize_t>SLOT_BYTES > PyBytes_GET_SIZE(intents):
            raise InvariantError(f"native.signing: no slot at {offset} in {len(intents)} bytes")
        cdef const IntentSlot* intent = <const IntentSlot*>(PyBytes_AS_STRING(intents) + offset)
        cdef bytes made = PyBytes_FromStringAndSize(NULL, SLOT_BYTES)
        cdef SignedSlot* signed = <SignedSlot*>PyBytes_AS_STRING(made)
        memset(signed, 0, SLOT_BYTES)
        self.order_no, self.group_no, self.salt = intent.order_no, intent.group_no, intent.salt
        self.cause_seq, self.is_last = intent.cause_seq, intent.batch_index + 1 >= intent.batch_count
        self.was_ahead = False
        self.cause = self.sign(intent, signed)
        signed.recv_ns = intent.recv_ns
        signed.source_seq = intent.cause_seq  # a field that is not used otherwise
        signed.kind, signed.parts, signed.instrument = KIND_SIGNED, 1, intent.instrument
        signed.order_no, signed.group_no = intent.order_no, intent.group_no
        signed.deadline_ns, signed.timestamp_ms = intent.deadline_ns, intent.timestamp_ms
        signed.salt, signed.expiration_s = intent.salt, intent.expiration_s
        signed.maker_amount, signed.taker_amount = intent.maker_amount, intent.taker_amount
        signed.outcome, signed.side, signed.order_type = intent.outcome, intent.side, intent.order_type
        signed.intent_class, signed.post_only = intent.intent_class, intent.post_only
        signed.account, signed.cause = intent.account, self.cause
        signed.batch_index, signed.batch_count = intent.batch_index, intent.batch_count
        self.brake.commit_c(intent.order_no)
        return made

    cdef int sign(self, const IntentSlot* intent, SignedSlot* signed) except -1:
        """Check the order and put its hashes and signature into `signed`; return why not, 0 = done."""
        cdef _Row known = self.rows.get(intent.instrument)
        cdef int64_t maker, taker
        cdef OrderFields order
        cdef Ahead* ahead
        cdef int cause
        if known is None:
            return CAUSE_NO_INSTRUMENT
        if not (_amounts(intent.order_type, intent.side, intent.price_ticks, intent.size_micro, &known.market,
                         &maker, &taker)
                and maker == intent.maker_amount and taker == intent.taker_amount):
            return self.amounts_cause(
                intent.order_type, intent.side, intent.price_ticks, intent.size_micro, known.market.tick_step)
        cause = self.brake.refuse_c(
            self.clock(), intent.deadline_ns, intent.intent_class, intent.worst_usd_micro, self.words.level())
        if cause == CAUSE_NONE:
            cause = self.order_of(
                &order, &known.market, intent.outcome, intent.side, maker, taker, intent.salt,
                intent.timestamp_ms)
        if cause != CAUSE_NONE:
            return cause
        ahead = self.find(&order, known.market.domain)
        if ahead != NULL:
            memcpy(signed.order_hash, ahead.sealed, SEALED_BYTES)  # hashes and signature are neighbours
            ahead.number, self.was_ahead = 0, True
        elif not self.sealer.seal_c(&order, known.market.domain, signed.order_hash):
            raise InvariantError("native.signing: a signature expected, libsecp256k1 made none")
        return CAUSE_NONE

    cdef int order_of(self, OrderFields* order, const Market* market, int outcome, int side, int64_t maker,
                      int64_t taker, uint64_t salt, int64_t timestamp_ms) noexcept:
        """Put together what is signed; return why it cannot be, 0 = it can."""
        if not (0 < maker and 0 < taker and salt <= SALT_MAX and 0 < timestamp_ms
                and (side == BUY or side == SELL) and 0 <= outcome <= 1):
            return CAUSE_MISSING_VALUE
        # With its padding: orders are compared whole.
        memcpy(order, &self.sealer.constant, sizeof(OrderFields))
        order.salt, order.maker_amount, order.taker_amount = salt, maker, taker
        order.side, order.timestamp_ms = side, timestamp_ms
        memcpy(order.token, market.token[outcome], 32)
        return market.token_cause[outcome]

    cdef Ahead* find(self, const OrderFields* order, const uint8_t* domain) noexcept:
        cdef int place
        for place in range(AHEAD_SLOTS):
            if (self.ahead[place].number and self.ahead[place].order.salt == order.salt
                    and memcmp(&self.ahead[place].order, order, sizeof(OrderFields)) == 0
                    and memcmp(self.ahead[place].domain, domain, 32) == 0):
                return &self.ahead[place]
        return NULL

    def sign_ahead(self, foreseen):
        """Keep the signature of an order that may be asked for; the brake looks when it is.

        foreseen: type, side, price ticks, size micro, row, outcome, salt, time in ms. The oldest one that
        nobody asked for makes room.
        """
        order_type, side, price_ticks, size_micro, row, outcome, salt, timestamp_ms = foreseen
        cdef _Row known = self.rows.get(row)
        cdef Ahead* ahead
        cdef int64_t maker, taker
        cdef OrderFields order
        if known is None or not is_allowed(self.words.level(), NEW_RISK):
            return
        if not _amounts(order_type, side, price_ticks, size_micro, &known.market, &maker, &taker):
            return
        if self.order_of(&order, &known.market, outcome, side, maker, taker, salt, timestamp_ms):
            return
        if self.find(&order, known.market.domain) != NULL:
            return
        ahead = self.room()
        ahead.number = 0
        if self.sealer.seal_c(&order, known.market.domain, ahead.sealed):
            ahead.order = order
            memcpy(ahead.domain, known.market.domain, 32)
            self.ahead_count += 1
            ahead.number = self.ahead_count

    cdef Ahead* room(self) noexcept:
        """Return an empty place, or the one of the oldest signature."""
        cdef int place, found = 0
        for place in range(AHEAD_SLOTS):
            if self.ahead[place].number < self.ahead[found].number:
                found = place
        return &self.ahead[found]

    @property
    def ahead_salts(self):
        """The salts of all signatures that wait to be asked for, oldest first."""
        cdef int place
        return [salt for _, salt in sorted(
            [(self.ahead[place].number, self.ahead[place].order.salt) for place in range(AHEAD_SLOTS)
             if self.ahead[place].number])]
