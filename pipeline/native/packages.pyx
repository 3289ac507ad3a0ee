# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""Renders and reads IDEA runs, renders PACKAGE + INTENT runs; slow model: `tests/models/packages_model.py`.

Place in the stream: `detect` and `trade` call these once an idea or decision, with cold caches, where every
executed line of Python costs three times its hot price. Nothing is decided here and no product is formed:
integers change their place only, each through a checked conversion (OverflowError), so nothing can wrap.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from pipeline.native.records cimport (
    IdeaSlot, IntentSlot, KIND_IDEA, KIND_INTENT, KIND_PACKAGE, PackageSlot, RUN_SLOTS_MAX, SLOT_BYTES, Slot,
)

cdef enum:
    LEGS_MAX = 6  # orders in one IDEA slot
    GTC = 0
    NEW_RISK = 0
    NS_PER_MS = 1000000


def idea_run(idea, uint64_t idea_no, const unsigned char[::1] cause not None, Py_ssize_t offset=0):
    """Return the IDEA run of a `core.strategies.interface.Idea`: six orders a slot, each repeats the head.

    cause: holds the record that caused it at `offset`. `leg_side` stays 0: BUY.
    """
    if offset < 0 or offset + <Py_ssize_t>SLOT_BYTES > cause.shape[0]:
        raise ValueError(f"native.packages: no slot at {offset} in {cause.shape[0]} bytes")
    cdef const Slot* causing = <const Slot*>&cause[offset]
    basket, event, strategy, leg_count, venue_ns, package = idea
    size, payout, cost, fee, loss, orders = package
    cdef Py_ssize_t count = len(orders), parts = (len(orders) + LEGS_MAX - 1) // LEGS_MAX, part, leg, shown
    if not 1 <= count <= RUN_SLOTS_MAX:
        raise ValueError(f"native.packages: 1..{RUN_SLOTS_MAX} orders expected, were {count}")
    cdef bytes run = PyBytes_FromStringAndSize(NULL, parts * SLOT_BYTES)
    cdef char* start = PyBytes_AS_STRING(run)
    cdef IdeaSlot* slot
    memset(start, 0, parts * SLOT_BYTES)
    for part in range(parts):
        slot = <IdeaSlot*>(start + part * SLOT_BYTES)
        shown = min(count - part * LEGS_MAX, <Py_ssize_t>LEGS_MAX)
        slot.seq, slot.now_ns, slot.recv_ns = causing.seq, causing.now_ns, causing.recv_ns
        slot.kind = KIND_IDEA
        slot.source_seq = venue_ns if venue_ns > 0 else 0
        slot.part, slot.parts = <uint8_t>part, <uint8_t>parts
        slot.idea_no, slot.basket, slot.event, slot.strategy = idea_no, basket, event, strategy
        slot.payout_usd_micro, slot.cost_usd_micro, slot.fee_usd_micro = payout, cost, fee
        slot.size_micro, slot.partial_loss_usd_micro = size, loss
        slot.leg_count, slot.order_count, slot.in_part = leg_count, <uint8_t>count, <uint8_t>shown
        for leg in range(shown):
            leg_no, row, outcome, price_ticks, size_micro, order_type = orders[part * LEGS_MAX + leg]
            slot.leg_no[leg], slot.leg_instrument[leg], slot.leg_outcome[leg] = leg_no, row, outcome
            slot.leg_price_ticks[leg], slot.leg_size_micro[leg] = price_ticks, size_micro
            slot.leg_type[leg] = order_type
    return run


def read_idea(bytes run not None, Py_ssize_t offset, Py_ssize_t parts):
    """Return (fields of a Proposal, (seq, now_ns, recv_ns) of the last slot, its source_seq).

    run: holds `parts` slots of one idea from `offset` on. The last field is the tuple of its orders, each
    (leg_no, row, outcome, side, type, price_ticks, size_micro).
    """
    if not (offset >= 0 and 1 <= parts <= RUN_SLOTS_MAX
            and offset + parts * SLOT_BYTES <= PyBytes_GET_SIZE(run)):
        raise ValueError(
            f"native.packages: {parts} slots at {offset} are not in {PyBytes_GET_SIZE(run)} bytes")
    cdef const char* start = PyBytes_AS_STRING(run) + offset
    cdef const IdeaSlot* head = <const IdeaSlot*>start
    cdef const IdeaSlot* slot = head
    cdef list orders = []
    cdef Py_ssize_t part, leg, count
    for part in range(parts):
        slot = <const IdeaSlot*>(start + part * SLOT_BYTES)
        count = min(<Py_ssize_t>slot.in_part, <Py_ssize_t>LEGS_MAX)
        for leg in range(count):
            orders.append((
                slot.leg_no[leg], slot.leg_instrument[leg], slot.leg_outcome[leg], slot.leg_side[leg],
                slot.leg_type[leg], slot.leg_price_ticks[leg], slot.leg_size_micro[leg]))
    return (
        head.idea_no, head.basket, head.event, head.strategy, head.leg_count, head.size_micro,
        head.payout_usd_micro, head.cost_usd_micro, head.fee_usd_micro, head.partial_loss_usd_micro,
        head.now_ns, tuple(orders),
    ), (slot.seq, slot.now_ns, slot.recv_ns), slot.source_seq


def package_run(tuple causing not None, venue_ns, tuple fields not None, list paid not None,
                list worst not None, uint64_t group_no, uint64_t order_no, uint64_t salt,
                int64_t deadline_ns):
    """Return the run of a taken idea: its PACKAGE, then one INTENT for each of its orders.

    causing, fields: as `read_idea` returns them; venue_ns: its source_seq; paid, worst: USD micro of each
    order. order_no and salt are of the first intent; those of the others follow, and the caller has seen
    that they fit.
    """
    cdef tuple orders = <tuple?>fields[11]
    cdef Py_ssize_t count = len(orders), place
    if not (len(causing) == 3 and 1 <= count < RUN_SLOTS_MAX and len(paid) == count == len(worst)):
        raise ValueError(f"native.packages: {count} orders, {len(paid)} costs, {len(worst)} reservations")
    cdef uint64_t seq = causing[0]
    cdef int64_t now_ns = causing[1], recv_ns = causing[2]
    cdef int64_t timestamp_ms = now_ns // NS_PER_MS  # rounds down, as Python does
    cdef uint8_t leg_count = fields[4]
    cdef bytes run = PyBytes_FromStringAndSize(NULL, (count + 1) * SLOT_BYTES)
    cdef char* start = PyBytes_AS_STRING(run)
    memset(start, 0, (count + 1) * SLOT_BYTES)
    cdef PackageSlot* package = <PackageSlot*>start
    package.now_ns, package.recv_ns, package.source_seq = now_ns, recv_ns, seq
    package.kind, package.parts = KIND_PACKAGE, <uint8_t>(count + 1)
    package.group_no = group_no
    package.idea_no, package.basket, package.event = fields[0], fields[1], fields[2]
    package.strategy, package.leg_count, package.order_count = fields[3], leg_count, <uint8_t>count
    package.size_micro, package.payout_usd_micro = fields[5], fields[6]
    package.cost_usd_micro, package.fee_usd_micro = fields[7], fields[8]
    package.cause_seq, package.cause_venue_ns = seq, venue_ns
    cdef IntentSlot* intent
    cdef tuple order
    for place in range(count):
        order = <tuple?>orders[place]
        if len(order) != 7:
            raise ValueError("native.packages: an order has seven fields")
        intent = <IntentSlot*>(start + (place + 1) * SLOT_BYTES)
        intent.now_ns, intent.recv_ns, intent.source_seq, intent.kind = now_ns, recv_ns, seq, KIND_INTENT
        intent.part, intent.parts = <uint8_t>(place + 1), <uint8_t>(count + 1)
        intent.order_no, intent.group_no = order_no + <uint64_t>place, group_no
        intent.cause_seq, intent.deadline_ns, intent.timestamp_ms = seq, deadline_ns, timestamp_ms
        intent.salt = salt + <uint64_t>place
        intent.leg_no, intent.instrument, intent.outcome = order[0], order[1], order[2]
        intent.side, intent.order_type, intent.price_ticks = order[3], order[4], order[5]
        intent.size_micro = order[6]
        intent.maker_amount, intent.taker_amount = paid[place], intent.size_micro
        intent.worst_usd_micro = worst[place]
        intent.leg_count, intent.batch_index, intent.batch_count = leg_count, <uint8_t>place, <uint8_t>count
        intent.intent_class, intent.cancel_rest = NEW_RISK, intent.order_type == GTC
    return run
