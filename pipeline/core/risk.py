"""The risk gate: the one place where new exposure is allowed, before its first leg.

Pure; reads what trade knows and answers with a `Verdict` that names the value and the limit. Exposure is
derived from orders and positions, never counted on its own (RK04). Every test is written
`if not (value <= limit): refuse`, and a missing value refuses (RK01, RK05).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.core.external import External
from pipeline.core.fills import FillIndex, Quarantine
from pipeline.core.instruments import Instrument, Instruments
from pipeline.core.legbook import SHARE_LOT_MICRO, LegBook, rules_of
from pipeline.core.limits import BATCH_ORDERS_MAX, Limits
from pipeline.core.orders import Orders
from pipeline.core.positions import Positions
from pipeline.core.proof import proven_payout
from pipeline.core.reverts import FAILED_MAX, Reverts
from pipeline.core.selfmatch import Wanted, meeting
from pipeline.core.sizing import BUDGET_LOT_USD_MICRO
from pipeline.kinds import Cause, HaltLevel, OrderState, VenueMode
from pipeline.native.gate import SCALES, price_orders
from pipeline.units import FEE_QUANTUM_USD_MICRO, NS_PER_S, PPM, TICKS_PER_USD

DAY_NS = 86_400 * NS_PER_S
REJECTS_MAX, REJECTS_NS = 3, 10 * NS_PER_S  # orders of one market that the venue may refuse within (OR07)
_PROOFS_MAX = 4_096  # token sets whose proof is remembered
_H0, _RUNNING = int(HaltLevel.H0), int(VenueMode.RUNNING)
assert (TICKS_PER_USD, SHARE_LOT_MICRO, BUDGET_LOT_USD_MICRO, PPM, FEE_QUANTUM_USD_MICRO) == SCALES
_TAKEN = Cause.TAKEN


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a proposal may not (or, TAKEN, may) become orders."""

    cause: Cause
    value: int
    limit: int


TAKEN = Verdict(Cause.TAKEN, 0, 0)

Fields = tuple[  # the fields of `Proposal`
    int, int, int, int, int, int, int, int, int, int, int, tuple[Wanted, ...]]


class WantedOrder(NamedTuple):
    """One order of a proposal, as the idea names it; the gate takes any tuple of these fields."""

    leg_no: int
    row: int
    outcome: int
    side: int
    order_type: int
    price_ticks: int
    size_micro: int


@dataclass(slots=True)
class Proposal:
    """One idea, put together from its slots; its fields in the order of `Fields`."""

    idea_no: int
    basket: int
    event: int
    strategy: int
    leg_count: int
    size_micro: int
    payout_usd_micro: int
    cost_usd_micro: int
    fee_usd_micro: int
    partial_loss_usd_micro: int
    now_ns: int
    orders: tuple[Wanted, ...]


#: What a lot of each token pays in the worst world (None: not proven), and the other rows of their events.
Proof = tuple[int | None, tuple[int, ...]]


class Collateral:
    """Free collateral: the venue's balance carried on by our own fills and redemptions.

    While orders are open a balance may already lack what their fills will take again; then only a lower
    figure is believed. A quiet moment sets it exactly. Between two calm moments nothing but fills, their fees
    and what resolved markets paid moves it: anything else is told, and summed up apart from our PnL (FL12).
    """

    def __init__(self) -> None:
        self.is_known = False
        self.offset_usd_micro = 0  # balance minus the ledger's cash
        self.allowance_usd_micro = 0
        self.sure_usd_micro: int | None = None  # balance less what fills did, in the last calm moment
        self.redeemed_usd_micro = 0  # what the ledger was paid by resolutions until then
        self.awaited_usd_micro = 0  # of it, what the venue had not paid out then
        self.unexplained_usd_micro = 0  # that nothing here explains: fees of another schedule, deposits

    def on_balance(
        self, record: Any, cash_usd_micro: int, redeemed_usd_micro: int = 0, *, is_quiet: bool,
        is_calm: bool = False,
    ) -> int:
        """Fold one BALANCE record; return by how much it differs from what fills and fees explain, USD micro.

        is_calm: no order is open, every fill is settled, and none came for some seconds.
        """
        offset = record.collateral_usd_micro - cash_usd_micro
        if is_quiet or not self.is_known:
            self.offset_usd_micro = offset
        else:
            self.offset_usd_micro = min(self.offset_usd_micro, offset)
        self.allowance_usd_micro = record.allowance_usd_micro
        self.is_known = True
        return self._unexplained(offset + redeemed_usd_micro, redeemed_usd_micro) if is_calm else 0

    def _unexplained(self, sure_usd_micro: int, redeemed_usd_micro: int) -> int:
        """Compare two calm moments. A resolution credits the ledger; the venue pays when it is redeemed."""
        awaited = self.awaited_usd_micro + redeemed_usd_micro - self.redeemed_usd_micro
        change = 0 if self.sure_usd_micro is None else sure_usd_micro - self.sure_usd_micro
        self.sure_usd_micro, self.redeemed_usd_micro = sure_usd_micro, redeemed_usd_micro
        if 0 <= change <= awaited:
            self.awaited_usd_micro = awaited - change
            return 0
        self.awaited_usd_micro = awaited
        self.unexplained_usd_micro += change
        return change

    def free(self, cash_usd_micro: int, reserved_usd_micro: int) -> int:
        """Return what new orders may reserve, USD micro; may be negative."""
        return min(self.offset_usd_micro + cash_usd_micro, self.allowance_usd_micro) - reserved_usd_micro


class RiskGate:
    """Checks proposals against limits, exposure, halt level and proof."""

    def __init__(
        self, instruments: Instruments, orders: Orders, positions: Positions, fills: FillIndex,
        quarantine: Quarantine, external: External, reverts: Reverts,
    ) -> None:
        self._instruments, self._orders, self._positions = instruments, orders, positions
        self._known = instruments.rows
        self._fills, self._quarantine = fills, quarantine
        self._external, self._reverts = external, reverts
        self.limits = Limits()
        self._is_limited = False  # no limit is missing
        self.halt_level = int(HaltLevel.H0)
        self.collateral = Collateral()
        self.venue_mode = int(VenueMode.RUNNING)  # every proposal takes: none of it is post-only
        self.rejects: dict[int, list[int]] = {}  # row -> when the venue refused its newest orders
        self.is_reconciled = True  # False from a restart until the venue's truth was read
        self.day = 0  # UTC day of stream time
        self.day_spent_usd_micro = 0
        self.paid: list[int] = []  # cost of each order of the proposal checked last, fee apart
        self.worst: list[int] = []  # and the collateral to reserve for it
        self._orders_max = 0
        self._rules: dict[int, LegBook] = {}  # of the rows that were asked for, as native numbers
        self._proofs: dict[tuple[tuple[int, int], ...], Proof] = {}  # by the tokens of the legs
        self._derived_version = 0  # of the instruments that rules and proofs are of

    def limit(self, limits: Limits) -> None:
        """Take new limits; while one is missing everything is refused."""
        self.limits, self._is_limited = limits, not limits.missing
        self._orders_max = min(limits.package_orders_max, BATCH_ORDERS_MAX)

    def spend(self, usd_micro: int, now_ns: int) -> None:
        """Count what fills took today; negative when a fill is taken back."""
        day = now_ns // DAY_NS
        if day != self.day:
            self.day, self.day_spent_usd_micro = day, 0
        self.day_spent_usd_micro += usd_micro

    def check(self, proposal: Proposal) -> Verdict:
        """Return TAKEN, or the first test that the proposal fails."""
        verdict = self._ready(proposal)
        if verdict is not None:
            return verdict
        known, orders = self._known, proposal.orders
        rows: dict[int, Instrument] = {}
        for order in orders:
            row = order[1]
            instrument = known.get(row)
            if instrument is None:
                return Verdict(Cause.NO_INSTRUMENT, row, 0)
            rows[row] = instrument
        payouts, unknown = self._positions.payouts, self._orders.reservations.unknown
        unexplained, fence_ns = self._quarantine.rows, self.limits.fence_ns
        for row, instrument in rows.items():
            if row in payouts:
                return Verdict(Cause.RESOLVED, row, 0)
            if not instrument.is_tradable:
                return Verdict(Cause.NOT_TRADABLE, row, 0)
            if fence_ns and instrument.is_fenced(proposal.now_ns, fence_ns):
                return Verdict(Cause.FENCED, row, fence_ns)
            if row in unknown or row in unexplained:
                return Verdict(Cause.UNKNOWN_ORDER_OPEN, row, 0)
            if row in self._reverts.until_ns and proposal.now_ns < self._reverts.until_ns[row]:
                return Verdict(Cause.REVERTS, self._reverts.failed(row), FAILED_MAX)
            if row in self.rejects and (verdict := self._cooling(row, proposal)) is not None:
                return verdict
        return self._priced(proposal, rows) or self._meeting(proposal, rows) or TAKEN

    def _meeting(self, proposal: Proposal, rows: Mapping[int, Instrument]) -> Verdict | None:
        """No order may meet one of ours (OR22). All are buys: what may still match reserves in its row, and
        two of one package meet in a market of two legs only."""
        reserved = self._orders.reservations.by_row
        if len(rows) == proposal.leg_count and (not reserved or reserved.keys().isdisjoint(rows)):
            return None
        met = meeting(proposal.orders, self._orders.open_orders)
        return Verdict(Cause.SELF_MATCH, *met) if met is not None else None

    def _ready(self, proposal: Proposal) -> Verdict | None:
        """Is anything allowed at all, and is nothing of the numbers impossible."""
        limits = self.limits
        if not (self._is_limited and self.collateral.is_known):
            return Verdict(Cause.MISSING_VALUE, 0, 0)
        if not (self.halt_level <= _H0):
            return Verdict(Cause.HALTED, self.halt_level, _H0)
        if not (self.venue_mode <= _RUNNING):
            return Verdict(Cause.VENUE_MODE, self.venue_mode, _RUNNING)
        if not self.is_reconciled:
            return Verdict(Cause.UNKNOWN_ORDER_OPEN, 0, 0)
        if self._fills.is_full or self._quarantine.lost_count:
            return Verdict(Cause.OVERRUN, len(self._fills), 0)
        count = len(proposal.orders)
        if not (1 <= proposal.leg_count <= count and proposal.size_micro > 0 and proposal.now_ns > 0):
            return Verdict(Cause.MISSING_VALUE, proposal.leg_count, count)
        if not (count <= self._orders_max):
            return Verdict(Cause.TOO_MANY_ORDERS, count, self._orders_max)
        if proposal.basket in self._orders.busy:
            return Verdict(Cause.GROUP_BUSY, proposal.basket, 0)
        residue = self._orders.reservations.residue_usd_micro
        if not (residue <= limits.residue_usd_micro_max):
            return Verdict(Cause.RESIDUE, residue, limits.residue_usd_micro_max)
        return None

    def on_reject(self, row: int, now_ns: int) -> None:
        """Note that the venue refused an order of this market for a reason of its own."""
        self.rejects[row] = [*self.rejects.get(row, ()), now_ns][-REJECTS_MAX:]

    def _cooling(self, row: int, proposal: Proposal) -> Verdict | None:
        """A market whose orders are refused gets no more than a few tries: those on their way count, too."""
        recent = [one for one in self.rejects[row] if proposal.now_ns - one < REJECTS_NS]
        if not recent:
            return None
        tries = len(recent) + sum(order[1] == row for order in proposal.orders)
        tries += sum(
            order.row == row and order.state in (OrderState.INTENDED, OrderState.SENT)
            for order in self._orders.open_orders)
        return Verdict(Cause.COOL_DOWN, tries, REJECTS_MAX) if tries > REJECTS_MAX else None

    def _priced(self, proposal: Proposal, rows: Mapping[int, Instrument]) -> Verdict | None:
        """Would the venue take each order: side, type, grid, lot, minimum; do the legs hold equal shares?

        Then ask proof and limits with what the orders cost and reserve.
        """
        rules = self._rules
        if self._derived_version != self._instruments.version:
            self._derived_version = self._instruments.version
            rules.clear()
            self._proofs.clear()
        for row, instrument in rows.items():
            if row not in rules:
                rules[row] = rules_of(instrument)
        found = price_orders(proposal.orders, rules, proposal.leg_count, proposal.size_micro)
        if found[0]:
            return Verdict(Cause(found[0]), found[1], found[2])
        _, self.paid, self.worst, cost, fee, per_row, tokens, leg_worst = found
        proof = self._proof(tokens)
        return self._proven(proposal, proof[0], cost, fee, leg_worst) or self._within(
            proposal, rows, per_row, proof[1])

    def _proven(
        self, proposal: Proposal, lot_payout: int | None, cost: int, fee: int, leg_worst: int,
    ) -> Verdict | None:
        """Prove payout and edge anew from the orders themselves (HG03); leg_worst: of the worst leg."""
        # Payouts of whole lots are proportional: half a lot is a whole number of units.
        payout = None if lot_payout is None else lot_payout * (proposal.size_micro // SHARE_LOT_MICRO)
        if payout is None or not (proposal.payout_usd_micro <= payout):
            return Verdict(Cause.NOT_PROVEN, payout or 0, proposal.payout_usd_micro)
        edge, limits = payout - cost - fee, self.limits
        edge_min = max(limits.edge_usd_micro_min, -(-limits.edge_ppm_min * (cost + fee) // PPM))
        if not (edge >= edge_min):
            return Verdict(Cause.BELOW_EDGE, edge, edge_min)
        if not (0 <= proposal.partial_loss_usd_micro <= limits.partial_loss_usd_micro_max):
            return Verdict(
                Cause.LIMIT_PARTIAL_LOSS, proposal.partial_loss_usd_micro, limits.partial_loss_usd_micro_max)
        if not (leg_worst <= limits.order_usd_micro_max):
            return Verdict(Cause.LIMIT_ORDER, leg_worst, limits.order_usd_micro_max)
        return None

    def _proof(self, tokens: tuple[tuple[int, int], ...]) -> Proof:
        """Return what is proven of the tokens: once for each set of them and version of the instruments."""
        known = self._instruments
        if len(self._proofs) >= _PROOFS_MAX:
            self._proofs.clear()
        proof = self._proofs.get(tokens)
        if proof is None:
            rows = dict.fromkeys(row for row, _ in tokens)
            events = dict.fromkeys(self._known[row].event for row in rows)
            proof = self._proofs[tokens] = (
                proven_payout(known, [(row, outcome, SHARE_LOT_MICRO) for row, outcome in tokens]),
                tuple(row for event in events if event for row in known.event_rows(event) if row not in rows))
        return proof

    def _within(
        self, proposal: Proposal, rows: Mapping[int, Instrument], per_row: Mapping[int, int],
        others: tuple[int, ...],
    ) -> Verdict | None:
        """Does the worst case of everything open, held and proposed stay within every limit.

        per_row: what the proposal may take of each of `rows`; others: the other markets of their events.
        """
        limits, orders, positions = self.limits, self._orders, self._positions
        reservations, total = orders.reservations, sum(self.worst)
        if not (total <= limits.package_usd_micro_max):
            return Verdict(Cause.LIMIT_ORDER, total, limits.package_usd_micro_max)
        reserved, others_too, apart = reservations.by_row, self._external.by_row, 0
        for row, worst in per_row.items():
            exposure = positions.worst_loss_row(row) + reserved.get(row, 0) + others_too.get(row, 0)
            apart += exposure
            exposure += worst
            if not (exposure <= limits.market_usd_micro_max):
                return Verdict(Cause.LIMIT_MARKET, exposure, limits.market_usd_micro_max)
        # The worst loss when no market helps another: the cheap bound that mostly passes.
        if others:
            apart += positions.worst_loss_apart(others) + reservations.rows_usd_micro(others)
            if others_too:
                apart += sum([others_too.get(row, 0) for row in others])
        if not (apart + total <= limits.event_usd_micro_max):
            exposure = self.event_exposure(rows) + total
            if not (exposure <= limits.event_usd_micro_max):
                return Verdict(Cause.LIMIT_EVENT, exposure, limits.event_usd_micro_max)
        spent = self.day_spent_usd_micro if proposal.now_ns // DAY_NS == self.day else 0
        day = spent + reservations.usd_micro + total
        if not (day <= limits.day_usd_micro_max):
            return Verdict(Cause.LIMIT_DAY, day, limits.day_usd_micro_max)
        count = orders.open_count + len(proposal.orders)
        if not (count <= limits.open_orders_max):
            return Verdict(Cause.LIMIT_OPEN_ORDERS, count, limits.open_orders_max)
        cash = positions.cash_usd_micro + self._external.positions.cash_usd_micro
        free = self.collateral.free(cash, reservations.usd_micro + self._external.resting_usd_micro)
        if not (total <= free):
            return Verdict(Cause.LIMIT_COLLATERAL, total, free)
        return None

    def event_exposure(self, rows: Mapping[int, Instrument]) -> int:
        """Return the worst loss of the events of these markets, open orders included, USD micro."""
        events = dict.fromkeys(instrument.event for instrument in rows.values())
        exposure = 0
        for event in events:
            if event:
                members: tuple[int, ...] = self._instruments.event_rows(event)
                exposure += self._positions.worst_loss_event(self._instruments, event)
            else:
                members = tuple(row for row, instrument in rows.items() if not instrument.event)
                exposure += sum(self._positions.worst_loss_row(row) for row in members)
            others_too = self._external.by_row
            exposure += sum(self._orders.reservations.row(row) + others_too.get(row, 0) for row in members)
        return exposure
