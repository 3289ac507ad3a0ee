"""What fills do: to orders, positions, limits and the markets that they put in doubt.

Pure; part of trade's state. A fill is booked by our own record of its order, once, and taken back at most
once, exactly as it was booked. One that nobody's order explains waits, and its market takes no new risk,
until an order of ours turns out to be its own, or none can be: then it is another's on this wallet.
"""

from __future__ import annotations

from typing import Any

from pipeline.codec import CODECS
from pipeline.core.booking import own_view, told_view
from pipeline.core.drift import Drift, Found
from pipeline.core.external import External
from pipeline.core.fills import Change, FillIndex, Quarantine, is_provisional, number_key
from pipeline.core.order import NO_HASH, Order
from pipeline.core.orders import Orders
from pipeline.core.positions import Positions
from pipeline.core.reverts import Reverts
from pipeline.core.risk import RiskGate
from pipeline.kinds import Kind, Outcome, Side, TradeStatus
from pipeline.records import SLOT_BYTES
from pipeline.units import NS_PER_S

Slot = bytes | bytearray | memoryview
_FILL = CODECS[Kind.FILL]
CALM_NS = 5 * NS_PER_S  # without a fill: a balance asked for since then holds all of them


#: What may ring, and what to do about it.
ALARMS = {
    "fill_failed": "look at the chain why the settlement failed; the fill was taken back",
    "market_cools": "its matches fail too often: no new risk in it for ten minutes",
    "fill_status_unknown": "ask the venue what the word means; the fill counts as provisional",
    "fill_contradicted": "compare positions with the venue: it ended one trade in two ways, the first counts",
    "fill_beyond_limit": "ask the venue: it told a price that our order does not allow; ours was booked",
    "fill_of_stranger": "find out who trades on this wallet; the shares count as exposure, not as our PnL",
    "order_of_stranger": "find out who trades on this wallet; the order counts as exposure, it stays",
    "shares_of_stranger": "nothing, if you held them before; they count as exposure, not as our PnL",
    "shares_differ": "find out what moved them; `pm resume` books them as the venue says, apart from our PnL",
    "cash_differs": "compare the fee schedule with what was charged; deposits and withdrawals ring, too",
}


class Alarms:
    """What somebody must look at, counted by name; with the market and the words of the newest of each."""

    def __init__(self) -> None:
        self.told: dict[str, tuple[int, int, str]] = {}  # name -> how often, newest row, newest words

    def ring(self, name: str, row: int, words: str) -> None:
        """Count one more."""
        self.told[name] = self.count(name) + 1, row, words

    def count(self, name: str) -> int:
        """Return how often it rang."""
        return self.told[name][0] if name in self.told else 0

    def state(self) -> list[Any]:
        """Return the alarms as JSON values, for a checkpoint."""
        return [[name, *told] for name, told in self.told.items()]

    def load(self, state: list[Any]) -> None:
        """Replace the alarms by what `state()` returned."""
        self.told = {name: (count, row, words) for name, count, row, words in state}


class Accounting:
    """Owns the index of fills, the quarantine, what is another's, and the alarms; changes the others."""

    def __init__(
        self, fills: FillIndex, quarantine: Quarantine, external: External, reverts: Reverts, drift: Drift,
        positions: Positions, orders: Orders, gate: RiskGate,
    ) -> None:
        self._drift = drift
        self.fills, self.quarantine, self.external, self.reverts = fills, quarantine, external, reverts
        self.alarms = Alarms()
        self.corrected_count = 0  # fills told from the view of the sister token, or with the side inverted
        self.moved_ns = 0  # when a fill was last booked or taken back
        self._positions, self._orders, self._gate = positions, orders, gate

    def on_fill(self, slot: Slot, offset: int, *, is_adopting: bool) -> bool:
        """Take one FILL; False when it is nobody's and cannot be kept: the caller halts.

        is_adopting: trades of orders that nobody here knows are of our own earlier runs.
        """
        record = _FILL.unpack(slot, offset)
        order = self._orders.find(record.order_no, record.order_hash)
        if order is not None:
            self.book(order, record)
        elif is_adopting or self.fills.knows(bytes(record.order_hash)):
            self._adopt(record)
        elif self.external.knows(bytes(record.order_hash)):
            self.external.book(slot, offset)
            self._moved(record.instrument, record.now_ns)
        else:
            copied = bytes(slot[offset:offset + SLOT_BYTES])
            return self.quarantine.keep(
                bytes(record.order_hash), record.instrument, copied, record.now_ns)
        return True

    def on_learned(self, order: Order) -> None:
        """The hash of an order of ours is known now: fills that came before it are its own."""
        self.external.is_ours(order.order_hash)
        for held in self.quarantine.release(order.order_hash):
            self.book(order, _FILL.unpack(held))

    def book(self, order: Order, record: Any) -> None:
        """Apply a fill of a known order: side, token and price from our own record of it (FL05)."""
        view = own_view(order.row, order.outcome, order.side, order.price_ticks, record)
        before = self.fills.conflict_count
        change, booking = self.fills.apply(
            number_key(order.order_no), record.trade_id, record.status, view.booking, record.now_ns)
        self._judge(order, record, conflicts=self.fills.conflict_count - before)
        if change == Change.VOID:
            self._orders.on_void(order, booking.size_micro)
            self.reverts.on_fill(order.row)
            self._on_failed(order.row, record)
        elif change == Change.SETTLE:
            self._positions.hold(booking, -1)
        elif change in (Change.BOOK, Change.REVERSE):
            if change == Change.BOOK:
                self.corrected_count += view.is_corrected
                if view.is_beyond:
                    self.alarms.ring("fill_beyond_limit", order.row, _name(record))
                self.reverts.on_fill(order.row)
                self._positions.book(booking, 1, provisional=is_provisional(record.status))
            else:
                self._positions.book(booking, -1)
                self._positions.hold(booking, -1)
                self._on_failed(order.row, record)
            if order.side == Side.BUY:
                self._gate.spend(change * (booking.usd_micro + booking.fee_usd_micro), record.now_ns)
            self._orders.on_fill(
                order, change, booking.size_micro, booking.usd_micro, booking.fee_usd_micro, record.now_ns)
            self._moved(booking.row, record.now_ns)

    def _moved(self, row: int, now_ns: int) -> None:
        self.moved_ns = now_ns
        self._drift.on_moved(row)

    def _judge(self, order: Order, record: Any, conflicts: int) -> None:
        """Ring for what no venue should say."""
        if record.status == TradeStatus.UNKNOWN:
            words = bytes(record.text).decode("ascii", "replace")
            self.alarms.ring("fill_status_unknown", order.row, f"{words} of {_name(record)}")
        if conflicts:
            self.alarms.ring("fill_contradicted", order.row, _name(record))

    def _on_failed(self, row: int, record: Any) -> None:
        """A match of ours failed on the chain: say so, and leave the market alone if that is usual there."""
        self.alarms.ring("fill_failed", row, _name(record))
        if self.reverts.on_failed(row, record.now_ns):
            self.alarms.ring("market_cools", row, f"{self.reverts.failed(row)} matches failed")

    def _adopt(self, record: Any) -> None:
        """Book a trade of a run whose logs are not ours: side and token as the venue tells them."""
        change, booking = self.fills.apply(
            bytes(record.order_hash), record.trade_id, record.status, told_view(record), record.now_ns)
        if change in (Change.BOOK, Change.REVERSE):
            self._positions.book(
                booking, change, provisional=change == Change.BOOK and is_provisional(record.status))
            self._moved(booking.row, record.now_ns)
        if change in (Change.REVERSE, Change.SETTLE):
            self._positions.hold(booking, -1)

    def on_forgotten(self, order_no: int) -> None:
        """Nobody finds the order any more: what was booked for it stays."""
        for booking in self.fills.forget(number_key(order_no)):
            self._positions.hold(booking, -1)

    def on_reconciled(self, asked_ns: int) -> None:
        """A whole pass was asked for at `asked_ns`: what came before it and is nobody's is another's (FL06).

        The venue tells an order's hash to the gateway before its first byte leaves, so none of ours is meant
        unless one of ours has no hash yet.
        """
        if any(order.order_hash == NO_HASH for order in self._orders.open_orders):
            return
        for order_hash, row in self.external.on_reconciled(asked_ns):
            self.alarms.ring("order_of_stranger", row, f"order 0x{order_hash.hex()}")
        for order_hash in self.quarantine.older_than(asked_ns):
            for held in self.quarantine.release(order_hash):
                self.external.book(held)
                record = _FILL.unpack(held)
                self.alarms.ring("fill_of_stranger", record.instrument, _name(record))
                self._moved(record.instrument, record.now_ns)

    def on_balance(self, record: Any) -> None:
        """Take one BALANCE: free collateral, and in a calm moment whether our fills explain it (FL12)."""
        is_quiet = not self._orders.open_count
        is_calm = is_quiet and not self.unsettled_count and record.now_ns - self.moved_ns >= CALM_NS
        redeemed = self._positions.redeemed_usd_micro + self.external.positions.redeemed_usd_micro
        differs = self._gate.collateral.on_balance(
            record, self.cash_usd_micro, redeemed, is_quiet=is_quiet, is_calm=is_calm)
        if differs:
            self.alarms.ring("cash_differs", 0, f"by {differs} USD micro from what fills and fees explain")

    def on_holding(self, record: Any, row_max: int) -> Found | None:
        """Take one HOLDING while nothing else is open to doubt; return a difference that it proves (FL09).

        row_max: the newest row known. Shares that were there before we first looked are another's.
        """
        row, told = record.instrument, (record.yes_micro, record.no_micro)
        if not row:
            self._drift.on_list_end(bool(record.ok), row_max, record.now_ns)
        elif not record.is_balance:
            self._drift.on_listed(row, told)
        elif row not in self.quarantine.rows:
            found = self._drift.on_balance(row, told, record.begun_ns, record.now_ns)
            if found is not None:
                name = "shares_of_stranger" if found.is_first else "shares_differ"
                self.alarms.ring(name, row, _shares(found.by))
                if found.is_first:
                    self._drift.accept([row])
            return found
        return None

    @property
    def cash_usd_micro(self) -> int:
        """Return what all fills on this wallet did to its collateral, another's too."""
        return self._positions.cash_usd_micro + self.external.positions.cash_usd_micro

    @property
    def unsettled_count(self) -> int:
        """Return how many trades of ours may still be taken back."""
        return self.fills.unsettled_count

    def state(self) -> list[Any]:
        """Return what is not of the shared parts as JSON values, for a checkpoint."""
        return [self.alarms.state(), self.corrected_count, self.moved_ns]

    def load(self, state: list[Any]) -> None:
        """Replace what `state()` returned."""
        alarms, self.corrected_count, self.moved_ns = state
        self.alarms.load(alarms)


def _shares(by: tuple[int, int]) -> str:
    told = [f"{micro:+} micro {outcome.name}" for outcome, micro in zip(Outcome, by, strict=True) if micro]
    return f"the wallet holds {' and '.join(told)} against what our fills explain"


def _name(record: Any) -> str:
    return f"trade {bytes(record.trade_id).hex()} of order 0x{bytes(record.order_hash).hex()}"
