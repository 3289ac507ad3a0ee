"""Order and leg-group state machines: a fold over intents, reports, fills and reconcile passes.

    INTENDED -> SENT -> LIVE | DELAYED | MATCHED -> CANCELED | EXPIRED       REJECTED UNSENT DRY end at once
                 `--> UNKNOWN --(venue evidence only)--> any of these

An order is *closed* when its state ended and every share that the venue says matched was told as a fill;
until then its whole reservation stays (I1, I4). Reports change state only; positions change by fills.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.core.order import (
    NO_HASH,
    Group,
    Order,
    group_from,
    group_state,
    order_from,
    order_state,
    residue_change,
)
from pipeline.core.reservations import Reservations
from pipeline.kinds import Cause, OrderState, Origin, Side
from pipeline.units import NS_PER_S

UNKNOWN_FINAL_NS = 120 * NS_PER_S  # T_UNKNOWN_FINAL: absent everywhere after this, and a cancel says so: dead
ORDERS_KEPT_MAX = 65_536  # closed orders remembered for late fills

_NOTHING = (OrderState.REJECTED, OrderState.UNSENT, OrderState.DRY)  # nothing is or was open
_ENDED = (OrderState.MATCHED, OrderState.CANCELED, OrderState.EXPIRED)
_UNANSWERED = (OrderState.INTENDED, OrderState.SENT)
_PENDING = (*_UNANSWERED, OrderState.UNKNOWN, OrderState.DELAYED)
_VENUE = (Origin.HTTP, Origin.USER_CHANNEL, Origin.RECONCILE)


class Orders:
    """Every order that may matter, what they reserve, and what has to be asked or cancelled."""

    def __init__(self, on_forgotten: Callable[[int], object] = lambda order_no: None) -> None:
        """on_forgotten: hears the number of each closed order that is remembered no longer."""
        self._on_forgotten = on_forgotten
        self._orders: dict[int, Order] = {}
        self._hashes: dict[bytes, int] = {}
        self._groups: dict[int, Group] = {}
        self.busy: dict[int, int] = {}  # basket -> open group; the gate asks `basket in busy`
        self._open: dict[int, None] = {}  # order numbers, oldest first
        self._waiting: dict[int, None] = {}  # unanswered
        self._doubtful: dict[int, None] = {}  # UNKNOWN, or ended with fills missing: needs a reconcile
        self.reservations = Reservations()
        self._closed: deque[int] = deque()
        self.cancel_wanted: dict[int, int] = {}  # order number -> Cause; drained by trade
        self.stranger_count = 0  # reports of orders that we do not know
        self.refused_count = 0  # reports that are no evidence for what they claim
        self.revived_count = 0  # orders that were over and are not

    # -- what the gate and the page ask --------------------------------------------------------------

    @property
    def by_no(self) -> Mapping[int, Order]:
        """Every order still remembered; read only."""
        return self._orders

    @property
    def open_count(self) -> int:
        """Return how many orders are not closed."""
        return len(self._open)

    @property
    def oldest_ns(self) -> int:
        """Return when the oldest open order was intended; far in the future without one."""
        return self._orders[next(iter(self._open))].intended_ns if self._open else 1 << 62

    @property
    def open_orders(self) -> tuple[Order, ...]:
        """Return the orders that are not closed, oldest first."""
        return tuple([self._orders[number] for number in self._open])

    @property
    def doubtful(self) -> tuple[Order, ...]:
        """Return the orders that need a reconcile, oldest doubt first."""
        return tuple(self._orders[number] for number in self._doubtful)

    def find(self, order_no: int, order_hash: bytes) -> Order | None:
        """Return the order by its number, else by its hash; None for a stranger, or when both disagree."""
        by_hash = self._hashes.get(order_hash) if order_hash != NO_HASH else None
        if order_no and by_hash is not None and by_hash != order_no:
            return None
        number = order_no or by_hash
        return self._orders.get(number) if number else None

    # -- facts ----------------------------------------------------------------------------------------

    def open_group(self, group: Group) -> None:
        """Take a logged package: its basket is busy from here."""
        self._groups[group.group_no] = group
        self.busy[group.basket] = group.group_no

    def intend(self, order: Order) -> None:
        """Take a logged intent: everything it may cost is reserved from here."""
        number = order.order_no
        self._orders[number] = order
        order.changed_ns = order.intended_ns
        self._open[number] = None
        self._waiting[number] = None
        group = self._groups.get(order.group_no)
        if group is not None:
            group.orders.append(number)
            group.open_count += 1
        self.reservations.reserve(order)

    def asked_cancel(self, order_no: int, now_ns: int) -> None:
        """Take a logged cancel."""
        self.cancel_wanted.pop(order_no, None)
        order = self._orders.get(order_no)
        if order is not None:
            order.cancel_ns = now_ns

    def on_report(self, record: Any) -> tuple[Order | None, bool]:
        """Fold one REPORT; return its order, and whether the order's hash was learned by it."""
        order = self.find(record.order_no, record.order_hash)
        if order is None:
            self.stranger_count += 1
            return None, False
        is_learned = order.order_hash == NO_HASH != record.order_hash
        if is_learned:
            order.order_hash = record.order_hash
            self._hashes[record.order_hash] = order.order_no
        is_venue = record.origin in _VENUE
        if is_venue:
            told = record.taking_micro if order.side == Side.BUY else record.making_micro
            claim = max(record.matched_micro, told if record.state == OrderState.MATCHED else -1)
            order.claim_micro = max(order.claim_micro, claim)
        self._step(order, record, is_venue)
        return order, is_learned

    def _step(self, order: Order, record: Any, is_venue: bool) -> None:
        state, now_ns = record.state, record.now_ns
        if state == OrderState.SENT:
            order.sent_ns = order.sent_ns or now_ns
            if order.state in (OrderState.INTENDED, OrderState.UNSENT):
                self._move(order, OrderState.SENT, record)
            return
        if state in (OrderState.UNSENT, OrderState.DRY):
            never_sent = order.state == OrderState.INTENDED or (
                order.state == OrderState.UNKNOWN and not order.sent_ns)
            connect_failed = order.state == OrderState.SENT and record.origin == Origin.GATEWAY
            if not is_venue and (never_sent or connect_failed):
                self._move(order, state, record)
            elif order.state != state:
                self.refused_count += 1
            return
        if state == OrderState.UNKNOWN:
            if order.state in _UNANSWERED or (record.origin == Origin.SUPERVISOR and not order.is_closed):
                self.doubt(order, now_ns, record.cause)
            return
        if not is_venue:
            self.refused_count += 1  # only the venue knows what became of an order that left (I4)
            return
        if state == OrderState.REJECTED:
            if order.state in _PENDING:
                self._move(order, state, record)
            return
        if state == OrderState.CANCEL_REFUSED:
            order.cancel_refused_ns = now_ns
            if not order.is_closed:
                self._doubtful[order.order_no] = None
            return
        self._evidence(order, record)

    def _evidence(self, order: Order, record: Any) -> None:
        """The venue says LIVE, DELAYED, MATCHED, CANCELED or EXPIRED."""
        state, told = record.state, record.matched_micro >= 0
        is_over = order.state in (*_ENDED, *_NOTHING)
        if state == OrderState.LIVE and record.origin == Origin.RECONCILE:
            order.seen_open_ns = record.now_ns
        if state in (OrderState.LIVE, OrderState.DELAYED):
            # A late "placed" message ends nothing; but what a reconcile lists is open, and what never
            # left cannot rest at the venue.
            if is_over and not (record.origin == Origin.RECONCILE or order.state == OrderState.UNSENT):
                return
            if state == OrderState.DELAYED and order.state not in (*_PENDING, OrderState.UNSENT):
                return
            order.is_final = False
            self._move(order, state, record)
            if order.cancel_refused_ns >= order.cancel_ns > 0:
                self._doubtful[order.order_no] = None  # a cancel came before it; a reconcile must look again
        elif state == OrderState.MATCHED:
            is_done = order.is_budget or order.claim_micro >= order.size_micro
            if is_done:
                order.is_final = order.is_final or order.claim_micro >= 0
                if order.state not in (OrderState.CANCELED, OrderState.EXPIRED):
                    self._move(order, state, record)
            elif not is_over or order.state == OrderState.UNSENT:
                self._move(order, OrderState.LIVE, record)  # a part matched, the rest rests
        else:
            order.is_final = order.is_final or told
            self._move(order, state, record)
        if order.cancel_rest and order.state == OrderState.LIVE and not order.cancel_ns:
            self.cancel_wanted[order.order_no] = int(Cause.NONE)
        self.settle(order)

    def doubt(self, order: Order, now_ns: int, cause: int) -> None:
        """Nobody knows what became of it: full exposure, a reconcile and a cancel are due."""
        self._set(order, OrderState.UNKNOWN, now_ns, cause)
        self._doubtful[order.order_no] = None
        self.cancel_wanted.setdefault(order.order_no, cause or int(Cause.TIMEOUT))

    def on_fill(
        self, order: Order, sign: int, size_micro: int, usd_micro: int, fee_usd_micro: int, now_ns: int,
    ) -> None:
        """Count one fill of the order (sign 1), or take it back (-1)."""
        order.filled_micro += sign * size_micro
        order.filled_usd_micro += sign * usd_micro
        order.fee_usd_micro += sign * fee_usd_micro
        if sign < 0:
            order.voided_micro += size_micro
        matched = order.filled_micro + order.voided_micro
        is_buy = order.side == Side.BUY
        is_spent = order.is_budget and is_buy and order.filled_usd_micro >= order.budget_usd_micro
        if matched >= order.size_micro or is_spent:
            # All that it could get: nothing can rest. A budget order may still get dust at better prices.
            if order.state in (*_PENDING, OrderState.LIVE):
                self._set(order, OrderState.MATCHED, now_ns, order.cause)
            order.is_final = order.is_final or is_spent or not (order.is_budget and is_buy)
        self.settle(order)
        self.reservations.reserve(order)
        group = self._groups.get(order.group_no)
        if sign < 0 and group is not None and not group.open_count:
            self.reservations.leave(residue_change(group, self._orders))  # one leg is gone, the others stay

    def on_void(self, order: Order, size_micro: int) -> None:
        """A trade of the order failed before we heard of it: matched, and never ours."""
        order.voided_micro += size_micro
        self.settle(order)

    def on_timeouts(self, now_ns: int) -> None:
        """Unanswered orders whose time is over are UNKNOWN; called on ticks only."""
        due = [number for number in self._waiting if now_ns >= self._orders[number].timeout_ns]
        for number in due:
            self.doubt(self._orders[number], now_ns, int(Cause.TIMEOUT))

    def on_gateway_restart(self, sent_order_no: int, now_ns: int) -> None:
        """A gateway died: unanswered intents up to its last sent one are UNKNOWN, the others never left."""
        for number, order in [(number, self._orders[number]) for number in self._waiting]:
            if number <= sent_order_no or order.sent_ns:
                self.doubt(order, now_ns, int(Cause.LANE_DIED))
            else:
                self._set(order, OrderState.UNSENT, now_ns, int(Cause.LANE_DIED))
                self.settle(order)

    def on_reconciled(self, asked_ns: int, now_ns: int) -> None:
        """A whole pass asked for at `asked_ns` ended; what an order matched is asked by name: lists lag."""
        for order in self.doubtful:
            final_ns = order.intended_ns + UNKNOWN_FINAL_NS
            if order.state == OrderState.UNKNOWN:
                if asked_ns >= final_ns and order.cancel_refused_ns >= final_ns:
                    self._set(order, OrderState.CANCELED, now_ns, int(Cause.TIMEOUT))
                    order.is_final = True
            elif order.state in _ENDED:
                order.is_final = order.is_final or asked_ns >= max(order.changed_ns, final_ns)
                if order.is_final and asked_ns >= order.changed_ns:
                    self.reservations.leave_dust(order)
            elif order.seen_open_ns < asked_ns and 0 < order.cancel_refused_ns <= asked_ns > order.changed_ns:
                # Asked by name; a cancel was refused just now, so none is due.
                self._set(order, OrderState.UNKNOWN, now_ns, int(Cause.UNKNOWN_ORDER_OPEN))
            self.settle(order)

    def want_cancel_all(self, cause: int, row: int = 0) -> None:
        """Ask for the cancel of everything open (halt level 2 and above), or of one market's."""
        for order in self.open_orders:
            if row in (0, order.row) and order.state not in _ENDED and not order.cancel_ns:
                self.cancel_wanted.setdefault(order.order_no, cause)

    def want_cancel_off_grid(self, row: int, tick_step: int) -> None:
        """Ask for the cancel of a row's open orders whose price the new spacing does not allow."""
        for order in self.open_orders:
            if order.row == row and order.price_ticks % tick_step and order.state not in _ENDED \
                    and not order.cancel_ns:
                self.cancel_wanted.setdefault(order.order_no, int(Cause.OFF_GRID))

    def want_due_cancels(self, now_ns: int, retry_ns: int) -> None:
        """Ask again for cancels without an answer, and for the last word on old UNKNOWN orders."""
        for number in self._open:
            order = self._orders[number]
            if not order.cancel_ns or order.state in _ENDED or order.state == OrderState.DELAYED:
                continue
            final_ns = order.intended_ns + UNKNOWN_FINAL_NS
            is_silent = order.cancel_refused_ns < order.cancel_ns
            # Refused because it had not arrived yet; now a reconcile lists it.
            is_back = order.state == OrderState.LIVE and order.seen_open_ns > order.cancel_refused_ns
            is_final_due = order.state == OrderState.UNKNOWN and order.cancel_ns < final_ns <= now_ns
            if ((is_silent or is_back) and now_ns - order.cancel_ns >= retry_ns) or is_final_due:
                self.cancel_wanted.setdefault(number, int(Cause.TIMEOUT))

    def doubt_missing_fills(self, now_ns: int, timeout_ns: int) -> None:
        """Ended orders whose fills do not come need a reconcile."""
        for order in self.open_orders:
            if order.state in _ENDED and now_ns - order.changed_ns >= timeout_ns:
                self._doubtful[order.order_no] = None

    # -- inside ---------------------------------------------------------------------------------------

    def _move(self, order: Order, state: int, record: Any) -> None:
        self._set(order, state, record.now_ns, record.cause)
        self.settle(order)

    def _set(self, order: Order, state: int, now_ns: int, cause: int) -> None:
        """Change the state and the indexes that hang on it."""
        if order.state == OrderState.UNKNOWN != state:
            self.reservations.count_unknown(order.row, -1)
            self._doubtful.pop(order.order_no, None)
        elif state == OrderState.UNKNOWN != order.state:
            self.reservations.count_unknown(order.row, 1)
        if order.state != state:
            order.changed_ns = now_ns
        order.state, order.cause = int(state), int(cause)
        if state in _UNANSWERED:
            self._waiting[order.order_no] = None
        else:
            self._waiting.pop(order.order_no, None)
        if order.is_closed and state not in _NOTHING and not (state in _ENDED and order.is_final):
            self._revive(order)

    def settle(self, order: Order) -> None:
        """Close the order when it is over and all its fills are known."""
        told = order.filled_micro + order.voided_micro >= max(order.claim_micro, 0)
        is_over = order.state in _NOTHING or (order.state in _ENDED and order.is_final and told)
        if not is_over or order.is_closed:
            return
        order.is_closed = True
        for index in (self._open, self._waiting, self._doubtful):
            index.pop(order.order_no, None)
        self.cancel_wanted.pop(order.order_no, None)
        self.reservations.reserve(order)
        self._closed.append(order.order_no)
        group = self._groups.get(order.group_no)
        if group is not None:
            group.open_count -= 1
            if group.open_count == 0:
                self._close_group(group)
        self._prune()

    def _revive(self, order: Order) -> None:
        order.is_closed = False
        self.revived_count += 1
        self._open[order.order_no] = None
        group = self._groups.get(order.group_no)
        if group is not None:
            group.open_count += 1
            self.busy.setdefault(group.basket, group.group_no)
        self.reservations.reserve(order)

    def _close_group(self, group: Group) -> None:
        """Free the basket; shares beyond the equal part of every leg are residue, at their cost."""
        if self.busy.get(group.basket) == group.group_no:
            del self.busy[group.basket]
        self.reservations.leave(residue_change(group, self._orders))

    def _prune(self) -> None:
        """Forget the oldest closed orders beyond the limit, and groups without remembered orders."""
        while len(self._closed) > ORDERS_KEPT_MAX:
            number = self._closed.popleft()
            order = self._orders.get(number)
            if order is None or not order.is_closed:
                continue  # revived since; it comes again when it closes
            del self._orders[number]
            self._on_forgotten(number)
            self._hashes.pop(order.order_hash, None)
            group = self._groups.get(order.group_no)
            if group is not None and group.open_count == 0 and number == group.orders[-1]:
                del self._groups[order.group_no]

    def state(self) -> list[Any]:
        """Return everything as JSON values, for a checkpoint."""
        orders = [order_state(order) for order in self._orders.values()]
        groups = [group_state(group) for group in self._groups.values()]
        maps = [list(self.busy.items()), list(self.cancel_wanted.items()), self.reservations.state()]
        lists = [list(self._open), list(self._waiting), list(self._doubtful), list(self._closed)]
        counts = [self.stranger_count, self.refused_count, self.revived_count]
        return [orders, groups, maps, lists, counts]

    def load(self, state: list[Any]) -> None:
        """Replace everything by what `state()` returned."""
        orders, groups, maps, lists, counts = state
        self._orders = {order.order_no: order for order in map(order_from, orders)}
        known = [order for order in self._orders.values() if order.order_hash != NO_HASH]
        self._hashes = {order.order_hash: order.order_no for order in known}
        self._groups = {group.group_no: group for group in map(group_from, groups)}
        self.busy, self.cancel_wanted = dict(maps[0]), dict(maps[1])
        self.reservations.load(maps[2])
        self._open, self._waiting, self._doubtful = (dict.fromkeys(item) for item in lists[:3])
        self._closed = deque(lists[3])
        self.stranger_count, self.refused_count, self.revived_count = counts
