"""Positions, cash and fees: a fold over trades and resolutions in exact integers.

`Positions` is the ledger that trade keeps; `PnlFold` makes the same ledger from log records alone, so that
PnL can be proven without trusting the running process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipeline.codec import CODECS, KIND_OFFSET
from pipeline.core.booking import own_view, told_view
from pipeline.core.fills import Booking, Change, FillIndex, number_key
from pipeline.core.instruments import Instruments
from pipeline.core.worlds import guaranteed_payout
from pipeline.errors import InvariantError
from pipeline.kinds import Kind, Outcome, Side
from pipeline.records import SLOT_BYTES
from pipeline.units import MICRO


class Positions:
    """What we hold and what it cost. Cash starts at 0 and is PnL once everything is redeemed."""

    def __init__(self) -> None:
        self.cash_usd_micro = 0
        self.fees_usd_micro = 0
        self.redeemed_usd_micro = 0
        self._held: dict[int, list[int]] = {}  # row -> [YES, NO], 1e-6 share
        self._spent: dict[int, int] = {}  # row -> net USD micro paid, fees included
        self._at_stake: dict[int, list[int]] = {}  # row -> [YES, NO]: see `hold`; rows at 0 are not here
        self.payouts: dict[int, tuple[int, int]] = {}  # resolved rows, USD micro a share; changed here only
        self._redeemed: dict[int, int] = {}  # row -> USD micro paid out by the resolution

    def held(self, row: int, outcome: int) -> int:
        """Return the 1e-6 shares held of a token; 0 once it was redeemed."""
        if row in self.payouts:
            return 0
        return self._held.get(row, _FLAT)[outcome]

    @property
    def rows(self) -> tuple[int, ...]:
        """Every row that was ever traded, oldest first."""
        return tuple(self._held)

    def shares(self, row: int) -> tuple[int, int]:
        """Return the 1e-6 shares of YES and NO that were booked, also of a resolved market."""
        yes, no = self._held.get(row, _FLAT)
        return yes, no

    @property
    def open_rows(self) -> tuple[int, ...]:
        """Rows with shares that no resolution paid out yet."""
        return tuple(row for row, held in self._held.items() if any(held) and row not in self.payouts)

    def trade(
        self, row: int, outcome: int, side: int, size_micro: int, usd_micro: int, fee_usd_micro: int,
        sign: int = 1,
    ) -> None:
        """Book one fill (sign 1) or take it back (sign -1)."""
        if not (outcome in (Outcome.YES, Outcome.NO) and side in (Side.BUY, Side.SELL) and sign in (1, -1)):
            raise InvariantError(f"core.positions: no such token or side: {outcome}, {side}, sign {sign}")
        bought = sign if side == Side.BUY else -sign
        held = self._held.setdefault(row, [0, 0])
        held[outcome] += bought * size_micro
        paid = bought * usd_micro + sign * fee_usd_micro
        self.cash_usd_micro -= paid
        self.fees_usd_micro += sign * fee_usd_micro
        self._spent[row] = self._spent.get(row, 0) + paid
        if row in self.payouts:
            self._redeem(row)

    def book(self, booking: Booking, sign: int, *, provisional: bool = False) -> None:
        """Book one trade, or take it back (sign -1); what is provisional is held, too."""
        self.trade(*booking[:6], sign)
        if provisional:
            self.hold(booking)

    def hold(self, booking: Booking, sign: int = 1) -> None:
        """A booked trade may still fail: count it in the worse of both worlds (sign -1: it no longer may).

        Where the bought token pays, a trade that fails takes the gain away: the shares are worth no more than
        they cost. Where it pays nothing, the failure would help, and does not count. Of a sale it is the
        proceeds that are in doubt, where the sold token pays nothing.
        """
        _, _, side, size_micro, usd_micro, fee_usd_micro = booking[:6]
        if side == Side.BUY:
            outcome, stake = booking.outcome, size_micro - usd_micro - fee_usd_micro
        else:
            outcome, stake = 1 - booking.outcome, usd_micro - fee_usd_micro
        if stake <= 0:
            return
        held = self._at_stake.setdefault(booking.row, [0, 0])
        held[outcome] += sign * stake
        if not any(held):
            del self._at_stake[booking.row]

    def resolve(self, row: int, payout_micro_yes: int, payout_micro_no: int) -> bool:
        """Pay out a market; True when this is news. A payout that changes is refused."""
        payout = (payout_micro_yes, payout_micro_no)
        known = self.payouts.get(row)
        if known is not None:
            if known != payout:
                raise InvariantError(
                    f"core.positions: row {row} was resolved to {known}, found {payout}; stop and reconcile")
            return False
        if not (min(payout) >= 0 and sum(payout) <= MICRO):
            raise InvariantError(
                f"core.positions: expected payouts >= 0, together at most {MICRO}, was {payout} (row {row})")
        self.payouts[row] = payout
        self._redeem(row)
        return True

    def _redeem(self, row: int) -> None:
        """Bring the row's redemption to what its shares pay, each token rounded down."""
        held, payout = self._held.get(row, _FLAT), self.payouts[row]
        due = sum(shares * paid // MICRO for shares, paid in zip(held, payout, strict=True))
        change = due - self._redeemed.get(row, 0)
        self._redeemed[row] = due
        self.redeemed_usd_micro += change
        self.cash_usd_micro += change

    def worst_loss_row(self, row: int) -> int:
        """Return the most that the market's shares can lose, USD micro, >= 0: spent less pairs.

        Each trade that is not settled counts as it hurts more: booked, or failed.
        """
        paid = self._spent.get(row)
        if paid is None or row in self.payouts:
            return 0
        yes, no = self._held.get(row, _FLAT)
        at_stake = self._at_stake.get(row)
        if at_stake is not None:
            yes, no = yes - at_stake[0], no - at_stake[1]
        loss = paid - (yes if yes < no else no)
        return loss if loss > 0 else 0

    def worst_loss_apart(self, rows: Iterable[int]) -> int:
        """Return the sum of `worst_loss_row`: a bound of what the markets can lose together, USD micro."""
        spent = self._spent  # rows that were never traded cannot lose
        return sum([self.worst_loss_row(row) for row in rows if row in spent]) if spent else 0

    def worst_loss_event(self, instruments: Instruments, event: int) -> int:
        """Return the most that an event's shares can lose in any feasible world, USD micro, >= 0.

        Uses the event's proven structure, else the sum of its markets. A sold token that we do not hold costs
        its full payout; each trade that is not settled counts as it hurts more, booked or failed.
        """
        rows = instruments.event_rows(event)
        apart = self.worst_loss_apart(rows)
        structure = instruments.structure(event)
        if structure is None or apart == 0 or any(row in self.payouts for row in rows):
            return apart
        spent = short = 0
        holdings = []
        for row in rows:
            spent += self._spent.get(row, 0)
            at_stake = self._at_stake.get(row, _FLAT)
            for outcome, booked in enumerate(self._held.get(row, _FLAT)):
                shares = booked - at_stake[outcome]
                short += max(0, -shares)
                holdings.append((instruments.rows[row].outcome_index, outcome, max(0, shares)))
        return max(0, spent + short - (guaranteed_payout(holdings, structure) or 0))

    def state(self) -> list[Any]:
        """Return the ledger as JSON values, for a checkpoint."""
        return [
            self.cash_usd_micro, self.fees_usd_micro, self.redeemed_usd_micro,
            [[row, *held] for row, held in self._held.items()], list(self._spent.items()),
            [[row, *payout] for row, payout in self.payouts.items()], list(self._redeemed.items()),
            [[row, *stake] for row, stake in self._at_stake.items()]]

    def load(self, state: list[Any]) -> None:
        """Replace the ledger by what `state()` returned."""
        self.cash_usd_micro, self.fees_usd_micro, self.redeemed_usd_micro = state[:3]
        held, spent, payouts, redeemed, at_stake = state[3:]
        self._held = {row: [yes, no] for row, yes, no in held}
        self._spent = dict(spent)
        self.payouts = {row: (yes, no) for row, yes, no in payouts}
        self._redeemed = dict(redeemed)
        self._at_stake = {row: [yes, no] for row, yes, no in at_stake}


_FLAT = [0, 0]
WAITING_MAX = 4_096  # orders that nobody here intended (yet) whose fills wait in a PnlFold
_FOLDED = (Kind.FILL, Kind.RESOLVED, Kind.INTENT, Kind.REPORT, Kind.RESUME, Kind.RECONCILED)


@dataclass(frozen=True, slots=True)
class Pnl:
    """What two logs say about money. Exact; USD micro."""

    pnl_usd_micro: int  # cash after redemption
    fees_usd_micro: int
    redeemed_usd_micro: int
    fill_count: int  # trades applied and not reversed
    open_rows: tuple[int, ...]  # rows with shares and no resolution: then the PnL is not final
    mismatch_count: int  # fills told with another market, token or side than their intent's


class PnlFold:
    """Folds log records into a PnL of our own orders; feed records in log order, other kinds are ignored.

    INTENT says what an order is, REPORT which hash it has: a fill waits for both, unless it names its order
    by number or comes while a start takes over the trades of earlier runs (RESUME, RECONCILED).
    """

    def __init__(self) -> None:
        self.positions = Positions()
        self._fills = FillIndex()
        self._intents: dict[int, tuple[int, int, int, int]] = {}
        self._numbers: dict[bytes, int] = {}  # order hash -> order number
        self._waiting: OrderedDict[bytes, list[bytes]] = OrderedDict()  # order hash -> FILL slots
        self._is_adopting = False
        self._mismatches = 0

    def on_record(self, slot: bytes | bytearray | memoryview, offset: int = 0) -> None:
        """Fold one record: FILL, RESOLVED, INTENT, REPORT, RESUME, RECONCILED."""
        kind = slot[offset + KIND_OFFSET]
        if kind not in _FOLDED:
            return
        record = CODECS[Kind(kind)].unpack(slot, offset)
        if kind == Kind.FILL:
            self._on_fill(record, slot, offset)
        elif kind == Kind.RESOLVED:
            self.positions.resolve(record.instrument, record.payout_micro_yes, record.payout_micro_no)
        elif kind == Kind.INTENT:
            self._intents[record.order_no] = (
                record.instrument, record.outcome, record.side, record.price_ticks)
            for name in [name for name in self._waiting if self._numbers.get(name) == record.order_no]:
                self._release(name)
        elif kind == Kind.RESUME:
            self._is_adopting = bool(record.from_venue)
        elif kind == Kind.RECONCILED:
            self._is_adopting = self._is_adopting and not (record.ok and record.request_no)
        elif record.order_no and any(record.order_hash):
            name = bytes(record.order_hash)
            self._numbers[name] = record.order_no
            if name in self._waiting and record.order_no in self._intents:
                self._release(name)

    def _on_fill(self, record: Any, slot: bytes | bytearray | memoryview, offset: int) -> None:
        name = bytes(record.order_hash)
        order_no = record.order_no or self._numbers.get(name, 0)
        terms = self._intents.get(order_no)
        if terms is None and not (record.order_no or self._is_adopting or self._fills.knows(name)):
            self._waiting.setdefault(name, []).append(bytes(slot[offset:offset + SLOT_BYTES]))
            if len(self._waiting) > WAITING_MAX:
                self._waiting.popitem(last=False)
            return
        view = None if terms is None else own_view(*terms, record)
        booking = told_view(record) if view is None else view.booking
        key = number_key(order_no) if order_no else name
        change, booked = self._fills.apply(key, record.trade_id, record.status, booking)
        if change in (Change.BOOK, Change.REVERSE):
            self.positions.book(booked, change)
            self._mismatches += view is not None and change == Change.BOOK and (
                view.is_corrected or record.instrument != booked.row)

    def _release(self, name: bytes) -> None:
        for slot in self._waiting.pop(name):
            self._on_fill(CODECS[Kind.FILL].unpack(slot), slot, 0)

    def forget(self, order_no: int, order_hash: bytes) -> None:
        """Forget an order that is over; a trade of it that is told once more would count as a new one."""
        self._intents.pop(order_no, None)
        self._numbers.pop(order_hash, None)
        self._fills.forget(number_key(order_no))
        self._fills.forget(order_hash)

    @property
    def pnl(self) -> Pnl:
        """Return the PnL of everything folded so far."""
        ledger = self.positions
        return Pnl(
            ledger.cash_usd_micro, ledger.fees_usd_micro, ledger.redeemed_usd_micro,
            self._fills.applied_count, ledger.open_rows, self._mismatches)


def fold_pnl(records: Iterable[bytes | bytearray | memoryview]) -> Pnl:
    """Return the PnL of log records, one slot each, each log in its order, interleaved at will."""
    fold = PnlFold()
    for record in records:
        fold.on_record(record)
    return fold.pnl
