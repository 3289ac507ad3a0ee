"""How much may leave: the venue's own limits kept locally, so that it never has to refuse.

Place in the stream: the gateway asks for a whole batch before it is sent; times in, no clock. Three limits
hold together: requests per endpoint (10 s and 10 min, of one address), orders and cancels per signer (token
buckets of the tier), and a reserve of cancels: one for each open order and one more, so that a kill switch
never waits for a bucket (OR21). What the venue's headers say is adopted where it is less than we thought.
Source: venue sheet 16, docs /api-reference/rate-limits and /trading-rate-limits, read 2026-11-20.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

from pipeline.units import MICRO, NS_PER_S
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.wire import SignerRates

BINS = 20  # a window is counted in this many parts and one more: it is never looser than the venue's
SPANS_NS: Final = (10 * NS_PER_S, 600 * NS_PER_S)
HOLD_S_MAX: Final = 30  # our own wait after a 429 that names no time
RESET_S_MAX: Final = 60  # every bucket is full again within seconds: a longer time is no duration
_ENDLESS: Final = 1 << 40
_ORDER_PATHS: Final = (wire.PATH_ORDER, wire.PATH_ORDERS)


class Window:
    """At most `limit` in every span of `span_ns`, wherever it begins; costs memory for BINS + 1 counts."""

    def __init__(self, limit: int, span_ns: int) -> None:
        self._limit = limit
        self._bin_ns = span_ns // BINS
        self._counts = [0] * (BINS + 1)
        self._bin = 0  # number of the newest bin
        self._total = 0

    def room(self, now_ns: int) -> int:
        """Return how many may leave now; time that goes backwards frees nothing."""
        newest = now_ns // self._bin_ns
        if newest > self._bin:
            for number in range(max(self._bin + 1, newest - BINS), newest + 1):
                place = number % (BINS + 1)
                self._total -= self._counts[place]
                self._counts[place] = 0
            self._bin = newest
        return self._limit - self._total

    def take(self, now_ns: int, count: int) -> None:
        """Count what leaves."""
        self.room(now_ns)
        self._counts[self._bin % (BINS + 1)] += count
        self._total += count


class Bucket:
    """Tokens that come back at a steady rate, up to a burst."""

    def __init__(self, per_s: int, burst: int) -> None:
        self.per_s, self.burst = per_s, burst
        self._micro = burst * MICRO
        self._at_ns = 0

    def tokens(self, now_ns: int) -> int:
        """Return the whole tokens there are now; below 0 after more was taken than there was."""
        elapsed_ns = now_ns - self._at_ns
        if elapsed_ns > 0:
            # beyond a minute every bucket is full, and the product stays small
            self._micro = min(
                self.burst * MICRO, self._micro + min(elapsed_ns, 60 * NS_PER_S) * self.per_s // 1_000)
            self._at_ns = now_ns
        return self._micro // MICRO

    def take(self, count: int) -> None:
        """Take tokens; cancels may go below 0 (venue sheet 16)."""
        self._micro -= count * MICRO

    def lower(self, tokens: int) -> None:
        """Believe the venue when it says that there is less."""
        self._micro = min(self._micro, tokens * MICRO)

    def limit(self, per_s: int, burst: int) -> None:
        """Take the rate of a lower tier than the configured one."""
        self.per_s, self.burst = min(self.per_s, per_s), min(self.burst, burst)
        self._micro = min(self._micro, self.burst * MICRO)


class Budgets:
    """All limits of one signer. `open_orders` is what the cancel reserve must cover beside what is sent.

    rates None: no limit at all, for a rehearsal.
    """

    def __init__(self, rates: SignerRates | None, seed: int = 0) -> None:
        self.open_orders = 0
        self._since_cover = 0  # orders that left since `trade` told its count
        self._draw = random.Random(seed)  # noqa: S311 - spreads waits, keeps no secret
        endless = rates is None
        tier = rates or SignerRates(_ENDLESS, _ENDLESS, _ENDLESS, _ENDLESS)
        self._orders = Bucket(tier.orders_per_s, tier.orders_burst)
        self._cancels = Bucket(tier.cancels_per_s, tier.cancels_burst)
        self._windows: dict[tuple[str, str], tuple[Window, ...]] = {} if endless else {
            endpoint: tuple(
                Window(limit, span_ns) for limit, span_ns in zip(limits, SPANS_NS, strict=True) if limit)
            for endpoint, limits in wire.RATE_LIMITS.items() if endpoint[0] != "GET"}
        self._sure = 0  # orders that may leave without another look, whatever their endpoint
        self._unbooked: list[tuple[str, int]] = []  # taken from `_sure`: (path, orders)
        self._cancels_ns = 0  # no cancel leaves before
        self._orders_ns = 0  # no order leaves before: the venue says that none is left until then
        self.warnings = 0  # answers that said we come too close to a limit
        self._holds = 0

    # ------------------------------------------------------------------ orders

    def take_orders(self, now_ns: int, count: int, path: str) -> bool:
        """Take a whole batch or nothing; a comparison where there is plenty."""
        if count > self._sure:
            self.refresh(now_ns)
            if count > self._sure:
                return False
        self._sure -= count
        self._unbooked.append((path, count))
        return True

    def refresh(self, now_ns: int) -> None:
        """Book what left and look at every limit anew; called off the order path.

        What is booked late comes back late: never looser than booked at once.
        """
        reserve = self._cancels.tokens(now_ns) - 1
        self._orders.tokens(now_ns)
        for path, count in self._unbooked:
            self._orders.take(count)
            self.open_orders += count
            self._since_cover += count
            self._count("POST", path, now_ns)
        self._unbooked.clear()
        rooms = [self._room("POST", path, now_ns) for path in _ORDER_PATHS]
        self._sure = 0 if now_ns < self._orders_ns else max(
            0, min(self._orders.tokens(now_ns), reserve - self.open_orders, *rooms))

    def cover(self, now_ns: int, open_orders: int) -> None:
        """Take the number of open orders as `trade` counts them, intents on their way included.

        What left meanwhile may have been decided after the count: it is counted beside it.
        """
        self.refresh(now_ns)
        self.open_orders, self._since_cover = open_orders + self._since_cover, 0
        self.refresh(now_ns)

    # ------------------------------------------------------------------ cancels

    def cancels_room(self, now_ns: int, path: str) -> int:
        """Return how many cancels may leave now by this endpoint."""
        if now_ns < self._cancels_ns or self._room("DELETE", path, now_ns) < 1:
            return 0
        return max(0, self._cancels.tokens(now_ns))

    def take_cancels(self, now_ns: int, count: int, path: str) -> None:
        """Book a request that cancels `count` orders."""
        self._cancels.take(count)
        self._count("DELETE", path, now_ns)
        self._sure = 0  # the reserve is smaller now

    def hold_cancels(self, now_ns: int, retry_after_ms: int) -> None:
        """Send no cancel before the time that a 429 named, or else before our own wait is over."""
        step_s = min(1 << min(self._holds, 5), HOLD_S_MAX)
        wait_ns = retry_after_ms * 1_000_000 or max(
            NS_PER_S, self._draw.randint(step_s * NS_PER_S // 2, step_s * NS_PER_S))
        self._holds += 1
        self._cancels_ns = max(self._cancels_ns, now_ns + wait_ns)

    def cancels_flow(self) -> None:
        """Take that a cancel was looked at."""
        self._holds = 0

    # ------------------------------------------------------------------ the venue's own word

    def on_headers(self, now_ns: int, headers: Mapping[str, str], in_flight: int, *, is_cancel: bool) -> None:
        """Adopt `Poly-RateLimit-*` of an answer; in_flight: orders (cancels) sent and not answered yet.

        The venue counted when it looked; what is on its way to it comes off that. With nothing left orders
        wait for the reset; cancels do not: a kill must not depend on a header of which little is known.
        """
        self.warnings += bool(headers.get(wire.HEADER_WARNING))
        left = _count_of(headers.get(wire.HEADER_REMAINING, ""))
        tier = wire.TIERS.get(headers.get(wire.HEADER_TIER, "").strip().lower())
        if left is None and tier is None:
            return
        self.refresh(now_ns)
        if tier is not None:
            self._orders.limit(tier.orders_per_s, tier.orders_burst)
            self._cancels.limit(tier.cancels_per_s, tier.cancels_burst)
        if left is not None:
            (self._cancels if is_cancel else self._orders).lower(left - in_flight)
            reset_s = _count_of(headers.get(wire.HEADER_RESET, "")) or 0
            if left == 0 and not is_cancel and reset_s <= RESET_S_MAX:
                self._orders_ns = max(self._orders_ns, now_ns + reset_s * NS_PER_S)
        self._sure = 0

    # ------------------------------------------------------------------ inside

    def _room(self, method: str, path: str, now_ns: int) -> int:
        windows = self._windows.get((method, path), ())
        return min([window.room(now_ns) for window in windows], default=_ENDLESS)

    def _count(self, method: str, path: str, now_ns: int) -> None:
        for window in self._windows.get((method, path), ()):
            window.take(now_ns, 1)


def _count_of(text: str) -> int | None:
    """Return a header's plain whole number; None for anything else."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None
