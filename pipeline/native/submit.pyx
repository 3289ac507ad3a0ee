# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""From a package's SIGNED records to the bytes of its request; slow model: tests/models/request_model.py.

Place in the stream: the gateway collects a package's orders in a `SignedBatch`, asks the brake about each,
renders them with `OrderBodies` and puts `signed_request` around them, between the last signature and the
first byte. Nothing here opens a socket, reads a clock or escapes text: every value is a number, hex or an
enum word.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from pipeline.native.brake cimport BrakeCore
from pipeline.native.namedtuple cimport record
from pipeline.native.records cimport (
    CAUSE_MISSING_VALUE, CAUSE_NO_INSTRUMENT, CAUSE_TOO_MANY_ORDERS, SLOT_BYTES, SignedSlot)

from pipeline.errors import InvariantError
from pipeline.kinds import OrderType

cdef enum:
    BATCH_MAX = 15  # orders in one request of the venue
    PIECES = 11  # constant text before, between and behind the nine values of an order
    SIDES = 2
    TYPES = 4
    NUMBER_MAX = 20  # digits of 2**64
    SIGNATURE_BYTES = 65
    HMAC_BYTES = 32
    HMAC_TEXT = 44  # its padded base64

BATCH_ORDERS_MAX = BATCH_MAX
PIECES_COUNT = PIECES
cdef const char* HEX = b"0123456789abcdef"
cdef const char* BASE64URL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
cdef tuple SIDE_WORDS = (b"BUY", b"SELL")
cdef tuple TYPE_WORDS = tuple(kind.name.encode() for kind in OrderType)  # by number


cdef const SignedSlot* _slot(bytes slots, Py_ssize_t offset) except NULL:
    if offset < 0 or offset + <Py_ssize_t>SLOT_BYTES > PyBytes_GET_SIZE(slots):
        raise InvariantError(f"native.submit: no slot at {offset} in {len(slots)} bytes")
    return <const SignedSlot*>(PyBytes_AS_STRING(slots) + offset)


cdef object _sent(object sent_type, const SignedSlot* slot):
    return record(sent_type, (
        slot.order_no, slot.group_no, (<const char*>slot.order_hash)[:32], slot.side, slot.instrument,
        slot.account))


def glance(bytes slots not None, Py_ssize_t offset):
    """Return (group_no, cause, is_last) of the SIGNED record at `offset`; is_last: of its batch."""
    cdef const SignedSlot* slot = _slot(slots, offset)
    return slot.group_no, slot.cause, slot.batch_index + 1 >= slot.batch_count


def sent_of(bytes slots not None, Py_ssize_t offset, sent_type):
    """Return what must be known of the order at `offset` once its record is gone, as a `Sent`."""
    return _sent(sent_type, _slot(slots, offset))


cdef class SignedBatch:
    """The orders of one package, 1..15, in the order of their signatures."""

    cdef SignedSlot orders[BATCH_MAX]
    cdef readonly int count

    def add(self, bytes slots not None, Py_ssize_t offset):
        """Take the SIGNED record at `offset`; InvariantError for a sixteenth."""
        if self.count >= BATCH_MAX:
            raise InvariantError(f"native.submit: at most {BATCH_MAX} orders a batch; send them first")
        self.orders[self.count] = _slot(slots, offset)[0]
        self.count += 1

    def clear(self):
        """Begin the next package."""
        self.count = 0

    @property
    def head(self):
        """(group_no, position of the cause, when its first byte was read) of the package."""
        return self.orders[0].group_no, self.orders[0].source_seq, self.orders[0].recv_ns

    @property
    def bounds(self):
        """(earliest deadline, intent class of each order as a byte, are all post-only): what may still keep
        the batch here."""
        cdef int place
        cdef bint is_post_only = True
        cdef int64_t deadline_ns = self.orders[0].deadline_ns
        cdef unsigned char classes[BATCH_MAX]
        for place in range(self.count):
            deadline_ns = min(deadline_ns, self.orders[place].deadline_ns)
            classes[place] = self.orders[place].intent_class
            is_post_only = is_post_only and self.orders[place].post_only
        return deadline_ns, (<const char*>classes)[:self.count], is_post_only

    @property
    def slots(self):
        """The records, one behind the other."""
        return (<const char*>self.orders)[:self.count * SLOT_BYTES]

    @property
    def order_no_max(self):
        """The highest order number, 0 of no orders."""
        cdef int place
        cdef uint64_t found = 0
        for place in range(self.count):
            found = max(found, self.orders[place].order_no)
        return found

    def sent(self, sent_type):
        """Return what must be known of each order once the batch is gone, as `Sent`s."""
        cdef int place
        return tuple([_sent(sent_type, &self.orders[place]) for place in range(self.count)])

    def ask(self, BrakeCore brake not None, int64_t now_ns, int level, dict overtaking, sent_type):
        """Take out every order that may not go; return (Sent, cause) of each, 0: its cancel overtook it.

        The brake counts the others. overtaking: order number -> cancel; what was found in it leaves it.
        """
        cdef int place, kept = 0, cause
        cdef int64_t usd_micro
        cdef SignedSlot* order
        cdef list refused = []
        for place in range(self.count):
            order = &self.orders[place]
            usd_micro = order.maker_amount if order.side == 0 else 0  # what a SELL gives are shares
            cause = brake.refuse_c(now_ns, order.deadline_ns, order.intent_class, usd_micro, level)
            if overtaking and overtaking.pop(order.order_no, None) is not None:
                refused.append((_sent(sent_type, order), 0))
            elif cause:
                refused.append((_sent(sent_type, order), cause))
            else:
                if kept != place:
                    self.orders[kept] = order[0]
                kept += 1
        self.count = kept
        return refused


cdef char* _put(char* at, bytes text) noexcept:
    memcpy(at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    return at + PyBytes_GET_SIZE(text)


cdef char* _put_number(char* at, uint64_t value) noexcept:
    cdef char digits[NUMBER_MAX]
    cdef int count = 0
    while True:
        digits[count] = <char>(48 + value % 10)
        value //= 10
        count += 1
        if not value:
            break
    while count:
        count -= 1
        at[0] = digits[count]
        at += 1
    return at


cdef char* _put_hex(char* at, const uint8_t* data, Py_ssize_t count) noexcept:
    cdef Py_ssize_t place
    for place in range(count):
        at[0], at[1] = HEX[data[place] >> 4], HEX[data[place] & 15]
        at += 2
    return at


cdef class OrderBodies:
    """Renders the orders of one account as the JSON that the venue takes.

    pieces: the constant text of an order, around its nine values: expiration, maker amount, salt, side,
    signature, taker amount, time, token, type; then what ends an order, and what ends one that is post-only.
    tail: what follows the struct hash of a contract wallet's signature, b"": the account is a plain key.
    """

    cdef tuple pieces
    cdef bytes tail
    cdef dict rows  # row -> (YES token as text, NO token, domain separator of its exchange)
    cdef Py_ssize_t order_bytes  # room for the constant text and the numbers of an order

    def __init__(self, pieces, bytes tail not None):
        self.pieces, self.tail, self.rows = tuple(pieces), tail, {}
        if len(self.pieces) != PIECES or not all([isinstance(piece, bytes) for piece in self.pieces]):
            raise InvariantError(f"native.submit: {PIECES} pieces of bytes expected, were {len(self.pieces)}")
        self.order_bytes = sum([len(piece) for piece in self.pieces]) + 6 * NUMBER_MAX + 128

    def set_row(self, row, bytes token_yes not None, bytes token_no not None, bytes domain not None):
        """Take a row's token ids as text and the separator of its exchange."""
        if len(domain) != 32:
            raise InvariantError(f"native.submit: a separator of 32 bytes expected, were {len(domain)}")
        self.rows[row] = (token_yes, token_no, domain)

    def render(self, bytes slots not None):
        """Return the body of `POST /order` for one SIGNED slot, of `POST /orders` for 2..15; a Cause if none.

        All orders or none: a row that is not known, or another count, renders nothing.
        """
        cdef Py_ssize_t count = PyBytes_GET_SIZE(slots) // SLOT_BYTES, place, room = 2
        cdef const SignedSlot* order
        cdef list rows = []
        if not 1 <= count <= BATCH_MAX:
            return CAUSE_TOO_MANY_ORDERS
        for place in range(count):
            order = _slot(slots, place * SLOT_BYTES)
            row = self.rows.get(order.instrument)
            if row is None:
                return CAUSE_NO_INSTRUMENT
            if (order.outcome > 1 or order.side >= SIDES or order.order_type >= TYPES
                    or order.expiration_s < 0 or order.maker_amount < 0 or order.taker_amount < 0
                    or order.timestamp_ms < 0):
                return CAUSE_MISSING_VALUE
            rows.append(row)
            room += self.order_bytes + 2 * (SIGNATURE_BYTES + 64 + len(self.tail)) + len(row[order.outcome])
        cdef bytes body = PyBytes_FromStringAndSize(NULL, room)
        cdef char* start = PyBytes_AS_STRING(body)
        cdef char* at = start
        for place in range(count):
            if count > 1:
                at[0] = b"," if place else b"["
                at += 1
            at = self.put(at, _slot(slots, place * SLOT_BYTES), <tuple>rows[place])
        if count > 1:
            at[0] = b"]"
            at += 1
        return PyBytes_FromStringAndSize(start, at - start)

    cdef char* put(self, char* at, const SignedSlot* order, tuple row) except NULL:
        cdef tuple pieces = self.pieces
        at = _put_number(_put(at, <bytes>pieces[0]), <uint64_t>order.expiration_s)
        at = _put_number(_put(at, <bytes>pieces[1]), <uint64_t>order.maker_amount)
        at = _put_number(_put(at, <bytes>pieces[2]), order.salt)
        at = _put(_put(at, <bytes>pieces[3]), <bytes>SIDE_WORDS[order.side])
        at = _put_hex(_put(at, <bytes>pieces[4]), order.signature, SIGNATURE_BYTES)
        if self.tail:
            at = _put_hex(at, <const uint8_t*>PyBytes_AS_STRING(<bytes>row[2]), 32)
            at = _put_hex(at, order.struct_hash, 32)
            at = _put_hex(at, <const uint8_t*>PyBytes_AS_STRING(self.tail), len(self.tail))
        at = _put_number(_put(at, <bytes>pieces[5]), <uint64_t>order.taker_amount)
        at = _put_number(_put(at, <bytes>pieces[6]), <uint64_t>order.timestamp_ms)
        at = _put(_put(at, <bytes>pieces[7]), <bytes>row[order.outcome])
        at = _put(_put(at, <bytes>pieces[8]), <bytes>TYPE_WORDS[order.order_type])
        return _put(at, <bytes>pieces[10 if order.post_only else 9])


cdef char* _put_base64url(char* at, const uint8_t* data) noexcept:
    """Put the padded text of 32 bytes."""
    cdef int place
    cdef uint64_t word
    for place in range(0, 30, 3):
        word = data[place] << 16 | data[place + 1] << 8 | data[place + 2]
        at[0], at[1] = BASE64URL[word >> 18], BASE64URL[word >> 12 & 63]
        at[2], at[3] = BASE64URL[word >> 6 & 63], BASE64URL[word & 63]
        at += 4
    word = data[30] << 16 | data[31] << 8
    at[0], at[1] = BASE64URL[word >> 18], BASE64URL[word >> 12 & 63]
    at[2], at[3] = BASE64URL[word >> 6 & 63], b"="
    return at + 4


cdef bytes _digest(object inner, object outer, bytes signed, bytes body):
    """Return the HMAC of `signed` and `body` together; uses the two states up."""
    inner.update(signed)
    inner.update(body)
    outer.update(inner.digest())
    cdef bytes digest = outer.digest()
    if PyBytes_GET_SIZE(digest) != HMAC_BYTES:
        raise InvariantError(f"native.submit: a digest of {HMAC_BYTES} bytes expected, were {len(digest)}")
    return digest


def hmac_text(inner, outer, bytes signed not None, bytes body not None):
    """Return the padded base64url of an HMAC over `signed` and `body` together, 44 characters.

    inner, outer: copies of the two hash states after the key (RFC 2104), used up.
    """
    cdef bytes digest = _digest(inner, outer, signed, body)
    cdef bytes found = PyBytes_FromStringAndSize(NULL, HMAC_TEXT)
    _put_base64url(PyBytes_AS_STRING(found), <const uint8_t*>PyBytes_AS_STRING(digest))
    return found


def signed_request(bytes head not None, bytes before not None, bytes between not None, bytes behind not None,
                   bytes target not None, uint64_t timestamp_s, inner, outer, bytes body not None):
    """Return a whole request: head, HMAC between `before` and `between`, time, `behind`, length, body.

    target: METHOD and path, which the HMAC covers between time and body. inner, outer: as for `hmac_text`.
    """
    cdef char number[NUMBER_MAX]
    cdef Py_ssize_t digits = _put_number(number, timestamp_s) - number
    cdef bytes digest = _digest(inner, outer, number[:digits] + target, body)
    cdef Py_ssize_t room = len(head) + len(before) + len(between) + len(behind) + len(body)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, room + HMAC_TEXT + 2 * NUMBER_MAX + 4)
    cdef char* start = PyBytes_AS_STRING(made)
    cdef char* at = _put(_put(start, head), before)
    at = _put(_put_base64url(at, <const uint8_t*>PyBytes_AS_STRING(digest)), between)
    at = _put(_put_number(at, timestamp_s), behind)
    at = _put_number(at, len(body))
    memcpy(at, b"\r\n\r\n", 4)
    at = _put(at + 4, body)
    return made[:at - start]
