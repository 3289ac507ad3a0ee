"""Do we hold what the venue says that our wallet holds? (FL09, FL08)

Pure; part of trade's facts. Once a minute the account edge lists the venue's index of the chain. It lags and
may be cut short, so it only casts suspicion, and a position that it lacks means nothing by itself. What
decides is the wallet's balance of the token, read twice, GRACE_NS apart, and both times on the same side of
all that our fills made possible, from LEAD_NS before the first reading to the second: a chain may be ahead of
what we were told, or behind it. What we hold is asked about in turn, whatever the index says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any

from pipeline.core.external import External
from pipeline.core.fills import FillIndex
from pipeline.core.orders import Orders
from pipeline.core.positions import Positions
from pipeline.kinds import OrderState, Side
from pipeline.units import NS_PER_S

LEAD_NS = 3 * NS_PER_S  # before the first reading: a balance may be behind what we were told
GRACE_NS = 8 * NS_PER_S  # between two readings: longer than a match takes to be told and listed
RETRY_NS = 3 * NS_PER_S  # an answer that did not come is asked for again
ROUND_MAX = 32  # held markets that one list has asked about, those that were not looked at for longest
SUSPECTS_MAX = 128
WAITING_MAX = 4  # balances asked for and not told
DUST_MICRO = 100_000  # the index lists no position below 0.1 share (venue sheet 13, read 2026-11-20)
ROUNDING_MICRO = 1  # the index tells binary floats

Pair = tuple[int, int]  # of YES, of NO; 1e-6 share
#: Row -> shares that may be missing (YES, NO) and that may be on top (YES, NO).
_Doubts = dict[int, list[int]]
_SURE = (0, 0, 0, 0)


@dataclass(slots=True)
class Suspect:
    """A market whose shares are being looked at."""

    low: Pair  # the fewest and the most that we may have held since `since_ns`
    high: Pair
    is_first: bool  # the venue told shares here before we ever traded or looked: they were there before
    since_ns: int  # stream time
    asked_ns: int = 0  # 0 = not yet
    outside_ns: int = 0  # when a balance was first outside of what is possible; 0 = not yet
    is_lag: bool = False  # the index differs
    told: Pair = (-1, -1)  # the first balances outside

    @property
    def is_waiting(self) -> bool:
        """Tell whether its balances were asked for since they were last told."""
        return self.asked_ns > self.outside_ns

    @property
    def due_ns(self) -> int:
        """When its balances should be asked for."""
        if self.is_waiting:
            return self.asked_ns + RETRY_NS
        return self.outside_ns + GRACE_NS if self.outside_ns else self.since_ns + LEAD_NS

    def beyond(self, told: Pair) -> Pair:
        """Return by how much each token told is outside of what is possible; not told = (-1) is 0."""
        yes, no = (
            0 if micro < 0 else min(0, micro - low) + max(0, micro - high)
            for micro, low, high in zip(told, self.low, self.high, strict=True))
        return yes, no


@dataclass(frozen=True, slots=True)
class Found:
    """A difference that two balances showed."""

    by: Pair  # told more (+) or fewer (-) shares than we can hold
    is_first: bool


class Drift:
    """Suspects, and what was found. Changed by the fold of HOLDING, RECONCILE and fills only."""

    def __init__(self, positions: Positions, external: External, fills: FillIndex, orders: Orders) -> None:
        self._positions, self._external, self._fills, self._orders = positions, external, fills, orders
        self.suspects: dict[int, Suspect] = {}
        self.differing: dict[int, Pair] = {}  # row -> by how much; until it agrees or somebody accepts it
        self.lag_count = 0  # suspicions of the index that the balance did not share
        self._listed: dict[int, list[int]] = {}  # of the list on its way: row -> shares told
        self._agreed_ns: dict[int, int] = {}  # row -> when its balance was last as it should be
        self._seen_row_max = self._next_row_max = 0  # rows up to this were listed at least once

    # -- inputs ---------------------------------------------------------------------------------------

    def on_listed(self, row: int, told: Pair) -> None:
        """Take one position of the index."""
        listed = self._listed.setdefault(row, [0, 0])
        for outcome, micro in enumerate(told):
            listed[outcome] = max(listed[outcome], micro)

    def on_list_end(self, is_whole: bool, row_max: int, now_ns: int) -> None:
        """Suspect what differs, and look at the next of what we hold. row_max: the newest row known."""
        listed, self._listed, doubts = self._listed, {}, self._doubts()
        held = [row for row in self._rows() if any(self._shares(row))]
        if is_whole:
            for row in dict.fromkeys((*held, *listed)):
                if row not in self._positions.payouts and self._is_odd(row, listed.get(row), doubts):
                    self._suspect(row, doubts, now_ns, is_lag=True)
            self._seen_row_max, self._next_row_max = self._next_row_max, row_max
        held = [row for row in held if row not in self._positions.payouts]
        self._agreed_ns = {row: self._agreed_ns.get(row, 0) for row in held}
        for row in sorted(held, key=lambda row: (self._agreed_ns[row], row))[:ROUND_MAX]:
            self._suspect(row, doubts, now_ns)
        for row in self.differing:
            self._suspect(row, doubts, now_ns)

    def on_asked(self, row: int, now_ns: int) -> None:
        """The balances of a suspect were asked for."""
        suspect = self.suspects.get(row)
        if suspect is not None:
            suspect.asked_ns = now_ns

    def on_balance(self, row: int, told: Pair, begun_ns: int, now_ns: int) -> Found | None:
        """Take both balances of a market; return what they prove to be wrong."""
        suspect = self.suspects.get(row)
        if suspect is None or row in self._positions.payouts:
            self.suspects.pop(row, None)
            return None
        if begun_ns < suspect.asked_ns:
            return None  # the answer to an older question
        self._widen(row, suspect)
        by = suspect.beyond(told)
        if suspect.outside_ns and now_ns - suspect.outside_ns >= GRACE_NS:  # what was late is told by now
            first = suspect.beyond(suspect.told)
            by = by[0] * (by[0] * first[0] > 0), by[1] * (by[1] * first[1] > 0)
        if not any(by):
            del self.suspects[row]
            self.lag_count += suspect.is_lag
            self._agreed_ns[row] = now_ns
            self.differing.pop(row, None)
            return None
        if not suspect.outside_ns:
            suspect.outside_ns, suspect.told = now_ns, told
        if now_ns - suspect.outside_ns < GRACE_NS:
            return None
        del self.suspects[row]
        is_known = self.differing.get(row) == by
        self.differing[row] = by
        return None if is_known else Found(by, suspect.is_first)

    def on_moved(self, row: int) -> None:
        """A fill changed what we hold: more is possible."""
        suspect = self.suspects.get(row)
        if suspect is not None:
            self._widen(row, suspect)

    def accept(self, rows: Iterable[int]) -> None:
        """From here on what the venue told is true: the differences are another's doing on this wallet."""
        for row in rows:
            by = self.differing.pop(row)
            if row not in self._positions.payouts:
                self._external.adjust(row, by)

    # -- reads ----------------------------------------------------------------------------------------

    def due(self, now_ns: int) -> list[int]:
        """Return the rows whose balances should be asked for now."""
        waiting = sum(1 for one in self.suspects.values() if one.is_waiting and now_ns < one.due_ns)
        due = [row for row, one in self.suspects.items() if now_ns >= one.due_ns]
        return due[:max(0, WAITING_MAX - waiting)]

    def _rows(self) -> Iterable[int]:
        return dict.fromkeys((*self._positions.rows, *self._external.positions.rows))

    def _shares(self, row: int) -> Pair:
        yes, no = self._positions.shares(row)
        other_yes, other_no = self._external.positions.shares(row)
        return yes + other_yes, no + other_no

    def _is_odd(self, row: int, listed: list[int] | None, doubts: _Doubts) -> bool:
        """Tell whether the index differs from what is possible; what it hides or rounds is no difference."""
        low, high = self._possible(row, doubts)
        for told, least, most in zip(listed or (0, 0), low, high, strict=True):
            is_hidden = not told and least < DUST_MICRO
            if not is_hidden and not least - ROUNDING_MICRO <= told <= most + ROUNDING_MICRO:
                return True
        return False

    def _doubts(self) -> _Doubts:
        """Return how many shares of each token may be missing from, or on top of, what is booked.

        What is not settled may be there or not; so may what an order in doubt would have brought or taken.
        """
        doubts: _Doubts = {}
        for booking in (*self._fills.unsettled(), *self._external.unsettled()):
            doubt = doubts.setdefault(booking.row, [0, 0, 0, 0])
            doubt[booking.outcome if booking.side == Side.BUY else 2 + booking.outcome] += booking.size_micro
        for order in self._orders.open_orders:
            if order.state == OrderState.UNKNOWN:
                doubt = doubts.setdefault(order.row, [0, 0, 0, 0])
                rest = max(0, order.size_micro - order.filled_micro)
                doubt[2 + order.outcome if order.side == Side.BUY else order.outcome] += rest
        return doubts

    def _possible(self, row: int, doubts: _Doubts) -> tuple[Pair, Pair]:
        """Return the fewest and the most shares of YES and NO that the wallet may hold now."""
        yes, no = self._shares(row)
        less_yes, less_no, more_yes, more_no = doubts.get(row, _SURE)
        return (yes - less_yes, no - less_no), (yes + more_yes, no + more_no)

    def _suspect(self, row: int, doubts: _Doubts, now_ns: int, is_lag: bool = False) -> None:
        if row in self.suspects or len(self.suspects) >= SUSPECTS_MAX:
            return
        is_first = row > self._seen_row_max and row not in self._positions.rows
        self.suspects[row] = Suspect(
            *self._possible(row, doubts), is_first=is_first, since_ns=now_ns, is_lag=is_lag)

    def _widen(self, row: int, suspect: Suspect) -> None:
        low, high = self._possible(row, self._doubts())
        suspect.low = min(suspect.low[0], low[0]), min(suspect.low[1], low[1])
        suspect.high = max(suspect.high[0], high[0]), max(suspect.high[1], high[1])

    # -- checkpoint -----------------------------------------------------------------------------------

    def state(self) -> list[Any]:
        """Return everything as JSON values, for a checkpoint."""
        return [
            [[row, *astuple(suspect)] for row, suspect in self.suspects.items()],
            [[row, *by] for row, by in self.differing.items()], self.lag_count,
            [[row, *told] for row, told in self._listed.items()], list(self._agreed_ns.items()),
            self._seen_row_max, self._next_row_max]

    def load(self, state: list[Any]) -> None:
        """Replace everything by what `state()` returned."""
        suspects, differing, self.lag_count, listed, agreed, self._seen_row_max, self._next_row_max = state
        self.suspects = {
            row: Suspect((low[0], low[1]), (high[0], high[1]), *rest) for row, low, high, *rest in suspects}
        for suspect in self.suspects.values():
            suspect.told = suspect.told[0], suspect.told[1]
        self.differing = {row: (yes, no) for row, yes, no in differing}
        self._listed = {row: [yes, no] for row, yes, no in listed}
        self._agreed_ns = dict(agreed)
