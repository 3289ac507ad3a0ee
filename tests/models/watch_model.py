"""Slow model of native.sizing.Sized: which package a basket buys now, worked out anew from the newest TOPs.

It keeps records, times and what was told, nothing that can be derived; costs are exact (`core.fees`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.codec import unpack
from pipeline.core.fees import PICO_PER_USD, unit_cost_pico
from pipeline.core.instruments import Instrument, Instruments
from pipeline.core.legbook import LegBook
from pipeline.core.proof import proven_payout
from pipeline.core.sizing import Bounds, Package, Refusal
from pipeline.core.strategies.basket import Basket
from pipeline.kinds import Cause, Flag, Outcome, Rule
from pipeline.units import NS_PER_S, TICKS_PER_USD
from tests.models.sizing_model import price_package

NEVER_NS = 1 << 62
REPEAT_NS_MAX = NS_PER_S
BATCH_ORDERS_MAX = 15
SUBSETS_MAX = 4
MISSING_PICO = 1_000 * PICO_PER_USD  # a leg that nobody sells
Levels = tuple[tuple[int, int], ...]  # (price_ticks, size_micro), best first


class RowModel:
    """One row: its rules, its newest TOP, what was said of it since and what we took from it."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.top: Any = None  # the newest TOP, unpacked
        self.flags = 0
        self.is_resolved = False
        self.touched_ns = self.touched_until_ns = 0

    def take(self, slot: bytes) -> None:
        """Take a TOP; what was said of the book before is over."""
        self.top = unpack(slot)
        self.flags = self.top.flags

    def touch(self, venue_ns: int, until_ns: int) -> None:
        """Take a fill of ours; one older than the newest changes nothing."""
        if venue_ns >= self.touched_ns:
            self.touched_ns, self.touched_until_ns = venue_ns, max(until_ns, self.touched_until_ns)

    def levels(self, *, is_ask: bool) -> Levels:
        """Return one side of the YES book as the TOP shows it."""
        if self.top is None:
            return ()
        prices, sizes = (
            (self.top.ask_ticks, self.top.ask_micro) if is_ask else (self.top.bid_ticks, self.top.bid_micro))
        return tuple(zip(map(int, prices), map(int, sizes), strict=True))

    def leg(self, outcome: int) -> LegBook:
        """Return the ladders of a token: of NO the mirrored YES book, or none where the venue does not."""
        rules = self.instrument
        asks, bids = self.levels(is_ask=True), self.levels(is_ask=False)
        if outcome == Outcome.NO:
            is_mirrored = rules.has(Rule.MIRRORED)
            asks, bids = (
                tuple((TICKS_PER_USD - price, size) for price, size in side) if is_mirrored else ()
                for side in (bids, asks))
        return LegBook(
            rules.row, outcome, asks, bids, rules.fee_rate_ppm, rules.fee_exponent, rules.tick_step,
            rules.size_micro_min, rules.usd_micro_min)

    def unit_pico(self, outcome: int) -> int:
        """Return the cost of one share at the best price, 0 when nobody sells one."""
        best = self.levels(is_ask=outcome == Outcome.YES)[:1]
        if not best or not (best[0][0] and best[0][1] > 0):
            return 0
        if outcome == Outcome.NO and not self.instrument.has(Rule.MIRRORED):
            return 0
        price_ticks = best[0][0] if outcome == Outcome.YES else TICKS_PER_USD - best[0][0]
        if not 0 < price_ticks < TICKS_PER_USD:
            return 0
        return unit_cost_pico(price_ticks, self.instrument.fee_rate_ppm, self.instrument.fee_exponent)

    def block(self, now_ns: int, proof_age_ns_max: int) -> Cause:
        """Return why no new package may use this book now, NONE when it may."""
        if self.is_resolved:
            return Cause.RESOLVED
        if self.top is None:
            return Cause.NO_SNAPSHOT
        for flag, cause in (
            (Flag.STALE, Cause.BOOK_STALE), (Flag.OPEN, Cause.BOOK_OPEN), (Flag.CROSSED, Cause.CROSSED_BOOK),
        ):
            if self.flags & flag:
                return cause
        if not self.instrument.is_tradable:
            return Cause.NOT_TRADABLE
        if not (self.top.proof_ns > 0 and now_ns - self.top.proof_ns <= proof_age_ns_max):
            return Cause.PROOF_OLD
        if self.top.venue_ns < self.touched_ns and now_ns < self.touched_until_ns:
            return Cause.DEPTH_USED
        return Cause.NONE


class WatchModel:
    """One basket: what its newest look answered, and of which levels it told last."""

    def __init__(self, basket: Basket, rows: Mapping[int, RowModel], instruments: Instruments) -> None:
        self.basket, self.instruments = basket, instruments
        self.rows = [rows[row] for row, _ in basket.legs]
        self.told: tuple[Levels, ...] | None = None
        self.retry_ns = self.pause_ns = self.told_ns = self.wake_ns = self.venue_ns = self.legs_priced = 0
        self.is_refused = self.is_repeat = False
        self.cause, self.value, self.limit = Cause.NONE, 0, 0
        self.tried: list[list[int]] = []  # the legs of each try of the last look

    def forget(self) -> None:
        """Let the same levels be told again."""
        self.told = None

    def fill(self, now_ns: int, cooldown_ns: int) -> None:
        """Take a fill in one of the rows: what was told is due again one cooldown after it was."""
        if 0 < self.retry_ns < NEVER_NS:
            self.pause_ns = cooldown_ns
            self.retry_ns = min(self.retry_ns, max(now_ns, self.told_ns + cooldown_ns))

    def gain(self, leg_no: int) -> int:
        """Return what one share of the leg adds, 1e-12 USD."""
        unit = self.rows[leg_no].unit_pico(self.basket.legs[leg_no][1])
        if self.basket.is_subset:
            return max(0, PICO_PER_USD - unit) if unit else 0
        return -unit if unit else -MISSING_PICO

    @property
    def total(self) -> int:
        """Return what one share of every leg gains, 1e-12 USD."""
        return (-PICO_PER_USD if self.basket.is_subset else PICO_PER_USD) + sum(
            map(self.gain, range(len(self.rows))))

    def look(
        self, now_ns: int, proof_age_ns_max: int, cooldown_ns: int, bounds: Bounds,
    ) -> Package | None:
        """Return the package to buy now, None when there is none or it was told already."""
        self.wake_ns, self.is_refused, self.is_repeat, self.tried = NEVER_NS, False, False, []
        wanted = [
            leg_no for leg_no in range(len(self.rows)) if not self.basket.is_subset or self.gain(leg_no)]
        blocked = {leg_no: self.rows[leg_no].block(now_ns, proof_age_ns_max) for leg_no in wanted}
        free = [leg_no for leg_no in wanted if blocked[leg_no] == Cause.NONE]
        self.wake_ns = min([NEVER_NS, *(
            self.rows[leg_no].touched_until_ns
            for leg_no, cause in blocked.items() if cause == Cause.DEPTH_USED)])
        if self.basket.is_subset:
            rest = sum(map(self.gain, free)) - PICO_PER_USD
        else:
            rest = self.total if free == wanted else 0
        if rest <= 0:
            causes = [cause for cause in blocked.values() if cause != Cause.NONE]
            self._refuse(Refusal(causes[0] if causes else Cause.BELOW_EDGE, 0, 0))
            return None
        told = tuple(self._bought(leg_no) for leg_no in free)
        self.is_repeat = told == self.told
        if self.is_repeat and now_ns < self.retry_ns:
            self.wake_ns = min(self.wake_ns, self.retry_ns)
            return None
        pause_ns = max(cooldown_ns, min(2 * self.pause_ns, REPEAT_NS_MAX)) if self.is_repeat else cooldown_ns
        self.told, self.retry_ns = told, NEVER_NS
        found = self._sized(free, bounds)
        if isinstance(found, Refusal):
            self._refuse(found)
            return None
        self.told_ns, self.pause_ns, self.retry_ns = now_ns, pause_ns, now_ns + pause_ns
        self.wake_ns = min(self.wake_ns, self.retry_ns)
        self.cause, self.legs_priced = Cause.TAKEN, len(self.tried[-1])
        self.venue_ns = max(0, *(self.rows[leg_no].top.venue_ns for leg_no in self.tried[-1]))
        return found

    def _refuse(self, refusal: Refusal) -> None:
        self.is_refused = True
        self.cause, self.value, self.limit = refusal

    def _bought(self, leg_no: int) -> Levels:
        """Return the levels that a buyer of the leg takes: of NO, what is bid for YES."""
        return self.rows[leg_no].levels(is_ask=self.basket.legs[leg_no][1] == Outcome.YES)

    def _sized(self, free: Sequence[int], bounds: Bounds) -> Package | Refusal:
        """Return the package of these legs, or of the best of them where any subset is a basket."""
        if not self.basket.is_subset:
            return self._priced(free, 1, bounds)
        ranked = sorted(free, key=lambda leg_no: (-self.gain(leg_no), leg_no))[:BATCH_ORDERS_MAX]
        first: Refusal | None = None
        for size in range(len(ranked), len(ranked) - SUBSETS_MAX, -1):
            legs = sorted(ranked[:max(0, size)])
            if len(legs) < 2 or sum(map(self.gain, legs)) <= PICO_PER_USD:
                break
            found = self._priced(legs, len(legs) - 1, bounds)
            if isinstance(found, Package) or found.cause == Cause.NOT_PROVEN:
                return found
            first = first or found
        return first or Refusal(Cause.NOT_PROVEN, 0, 0)

    def _priced(self, legs: Sequence[int], sets_paid: int, bounds: Bounds) -> Package | Refusal:
        """Return the package of these legs, proven for the very shares that it buys."""
        self.tried.append(list(legs))
        tokens = [self.basket.legs[leg_no] for leg_no in legs]
        found = price_package(
            [self.rows[leg_no].leg(outcome) for leg_no, (_, outcome) in zip(legs, tokens, strict=True)],
            sets_paid, bounds, is_exclusive_no=self.basket.is_subset)
        if isinstance(found, Package):
            proven = proven_payout(self.instruments, [(*token, found.size_micro) for token in tokens])
            if proven != found.payout_usd_micro:
                return Refusal(Cause.NOT_PROVEN, 0, found.payout_usd_micro)
        return found
