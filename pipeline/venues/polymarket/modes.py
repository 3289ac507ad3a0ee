"""What the venue takes from us now: a state machine over answers and silence, with times in and no clock.

Place in the stream: the gateway shows it how each request ended; it says which requests may leave, when the
venue is asked again, and, on a change, what is told as a VENUE record. No schedule is built in: a mode ends
by evidence or at the time that the venue announced, else by our own backoff.
Source: venue sheet 11.3, 15.2, docs /trading/matching-engine, read 2026-11-20.
"""

from __future__ import annotations

import random
from enum import IntEnum
from typing import Final, NamedTuple

from pipeline.kinds import Cause, HaltLevel, VenueMode
from pipeline.units import NS_PER_S
from pipeline.venues.polymarket.answers import VenueCondition, VenueState

BACKOFF_S_MIN: Final = 1
BACKOFF_S_MAX: Final = 30
RESTART_S_MAX: Final = 4  # a restart ends by itself, and who learns it late misses the market
CANCEL_EVERY_NS: Final = 900_000_000  # while a cancel waits: it leaves within a second of the reopening
ASKING_NS_MAX: Final = 10 * NS_PER_S  # longer than any answer takes
ANNOUNCED_S_MAX: Final = 3_600  # a longer time than this is asked about anyway
FAILURES_MAX: Final = 3  # requests in a row without an answer, or with a 5xx: then it is down
REFUSALS_MAX: Final = 3  # 401 in a row: a first one, its re-check, and one more: then it lasts
PROBE_BODY: Final = b"[]"  # of `POST /orders`: asks for nothing, so the answer is about the venue alone


class Asked(IntEnum):
    """What a request was; evidence about one kind need not hold for another."""

    ORDER = 0
    CANCEL = 1
    PROBE = 2
    HEARTBEAT = 3


class Standing(NamedTuple):
    """A mode as it is told: until_ns 0 only while RUNNING; text holds the venue's words."""

    mode: VenueMode
    cause: Cause
    http_status: int
    until_ns: int
    text: str


class Halting(NamedTuple):
    """Why the gateway halts new risk until an operator resumes."""

    level: HaltLevel
    cause: Cause
    reason: str


#: What the venue names in words or by its status.
_NAMED: Final = {
    VenueState.RESTARTING: VenueMode.RESTARTING, VenueState.POST_ONLY: VenueMode.POST_ONLY,
    VenueState.CANCEL_ONLY: VenueMode.CANCEL_ONLY, VenueState.DISABLED: VenueMode.DOWN,
}
#: What no retry cures: a route or an account that the venue refuses, never routed around (OR09); or the
#: domain that our orders are signed for: all of them would be refused, so only cancels go on (VN04).
_REFUSED: Final = {
    VenueState.BLOCKED: (HaltLevel.H1, "the venue refuses this address (403)"),
    VenueState.CLOSED_ONLY: (HaltLevel.H1, "the venue lets this account only reduce"),
    VenueState.MISVERSIONED: (HaltLevel.H3, "the venue takes orders of another version or contract"),
}


class VenueModes:
    """One account's view of the venue. `mode` is what may leave now; `halting` waits to be carried out."""

    def __init__(self, seed: int) -> None:
        """seed: of the jitter; lanes that start together must not ask together."""
        self.mode = VenueMode.RUNNING
        self.halting: Halting | None = None
        self._draw = random.Random(seed)  # noqa: S311 - spreads waits, keeps no secret
        self._standing = Standing(VenueMode.RUNNING, Cause.NONE, 0, 0, "")
        self._since_ns = 0  # answers to what was sent before are older than the mode
        self._ask_ns = 0  # the venue is probed then; 0 = there is no need to
        self._asked_ns = 0  # when it was asked last, in a mode that takes no cancels
        self._announced_ns = 0  # the venue named this time: nothing is asked before
        self._attempts = 0  # times it was asked in vain
        self._failures = 0
        self._refusals = 0
        self._is_pulse_lost = False
        self._is_untold = True  # whoever listens may hold what an earlier gateway told

    @property
    def standing(self) -> Standing:
        """Return the mode with its reason, as it is told."""
        return self._standing

    def take_untold(self) -> bool:
        """Tell whether the standing changed since the last call."""
        is_untold, self._is_untold = self._is_untold, False
        return is_untold

    def allows(self, asked: Asked, *, is_post_only: bool = False) -> bool:
        """Tell whether such a request may leave now; heartbeats always may, probes when they are due."""
        if asked == Asked.ORDER:
            return self.mode == VenueMode.RUNNING or (is_post_only and self.mode == VenueMode.POST_ONLY)
        return asked != Asked.CANCEL or self.mode <= VenueMode.CANCEL_ONLY

    def is_due(self, now_ns: int, *, cancel_waits: bool = False) -> bool:
        """Tell whether the venue should be asked now: by a cancel that waits, else by a probe."""
        if not self._ask_ns:
            return False
        if now_ns < self._announced_ns:
            return False
        return now_ns >= self._ask_ns or (cancel_waits and now_ns - self._asked_ns >= CANCEL_EVERY_NS)

    def asking(self, now_ns: int) -> None:
        """Note that a request is on its way for this; its end is told like any other's."""
        self._asked_ns = now_ns
        self._ask_ns = now_ns + ASKING_NS_MAX

    # ------------------------------------------------------------------ evidence

    def on_answer(
        self, now_ns: int, sent_ns: int, asked: Asked, status: int, found: VenueCondition, *,
        is_post_only: bool = False,
    ) -> None:
        """Take an answer. sent_ns: when its request left; one from before the mode says nothing of it."""
        if found.state in _REFUSED:
            level, words = _REFUSED[found.state]
            if self.halting is None or self.halting.level < level:
                self.halting = Halting(
                    level, Cause.VENUE_REJECT,
                    f"gateway: {words}; settle it, then pm resume: {found.text or status}")
        if sent_ns < self._since_ns:
            return
        named = _NAMED.get(found.state)
        if named is not None:
            self._failures = self._refusals = 0
            self._enter(now_ns, named, Cause.VENUE_ERROR, status, found.retry_after_ms, found.text)
        elif found.state == VenueState.RATE_LIMITED:
            self._on_rate_limit(now_ns, asked, status, found)
        elif found.state == VenueState.FAILING:
            self._on_failed(now_ns, asked, Cause.VENUE_ERROR, status, found.text)
        elif found.state == VenueState.UNAUTHORIZED:
            self._on_unauthorized(now_ns, status, found)
        else:
            self._on_good(now_ns, asked, is_post_only)

    def on_silence(self, now_ns: int, sent_ns: int, asked: Asked, cause: Cause) -> None:
        """Take that a request had no answer: it timed out, its connection broke, or none could be made."""
        if sent_ns >= self._since_ns:
            self._on_failed(now_ns, asked, cause, 0, "")

    def pulse_lost(self, now_ns: int) -> None:
        """Our heartbeats are not taken: what was open may be cancelled, and nothing new is risked."""
        self._is_pulse_lost = True
        self._enter(now_ns, VenueMode.DOWN, Cause.TIMEOUT, 0, 0, "our heartbeats are not taken")

    def pulse_found(self, now_ns: int) -> None:
        """They are taken again: a probe learns the rest."""
        self._is_pulse_lost = False
        self._ask_ns = now_ns

    def _on_good(self, now_ns: int, asked: Asked, is_post_only: bool) -> None:
        """The venue looked at a request: what it was tells how much that proves."""
        self._failures = self._refusals = 0
        is_for_orders = asked == Asked.PROBE or (asked == Asked.ORDER and not is_post_only)
        if self.mode == VenueMode.RUNNING:
            self._ask_ns = self._attempts = 0
        elif is_for_orders and not self._is_pulse_lost:
            self._attempts = 0
            self._set(now_ns, Standing(VenueMode.RUNNING, Cause.NONE, 0, 0, ""))
        elif is_for_orders:
            self._ask_ns = now_ns + self._backoff_ns(BACKOFF_S_MAX)
        elif self.mode > VenueMode.CANCEL_ONLY and (
                asked == Asked.CANCEL or self._standing.cause != Cause.VENUE_ERROR):
            self._ask_ns = min(self._ask_ns, now_ns)  # it is back; whether it takes orders, a probe learns

    def _on_rate_limit(self, now_ns: int, asked: Asked, status: int, found: VenueCondition) -> None:
        """Too many orders: only cancels, which have a budget of their own, until it says so."""
        if asked in (Asked.ORDER, Asked.PROBE):
            mode = max(self.mode, VenueMode.CANCEL_ONLY)
            cause = self._standing.cause if mode > VenueMode.CANCEL_ONLY else Cause.RATE_LIMIT
            self._enter(now_ns, mode, cause, status, found.retry_after_ms, found.text)

    def _on_failed(self, now_ns: int, asked: Asked, cause: Cause, status: int, text: str) -> None:
        self._failures += 1
        is_probe_lost = self.mode != VenueMode.RUNNING and asked in (Asked.PROBE, Asked.CANCEL)
        if self._failures >= FAILURES_MAX:
            self._enter(now_ns, VenueMode.DOWN, cause, status, 0, text)
        elif is_probe_lost:
            self._enter(now_ns, self.mode, cause, status, 0, text)

    def _on_unauthorized(self, now_ns: int, status: int, found: VenueCondition) -> None:
        """A first 401 is checked at once; a second holds orders back; when it lasts, new risk is halted."""
        self._refusals += 1
        if self._refusals == 1:
            self._ask_ns = self._ask_ns or now_ns
            return
        self._enter(now_ns, max(self.mode, VenueMode.CANCEL_ONLY), Cause.VENUE_REJECT, status, 0, found.text)
        if self._refusals == REFUSALS_MAX and self.halting is None:
            self.halting = Halting(
                HaltLevel.H1, Cause.VENUE_REJECT,
                f"gateway: our API key is refused (401); check api_file, then pm resume: {found.text}")

    # ------------------------------------------------------------------ changes

    def _enter(
        self, now_ns: int, mode: VenueMode, cause: Cause, status: int, retry_after_ms: int, text: str,
    ) -> None:
        """Take a mode until the announced time, else until the backoff is over."""
        wait_ns = min(retry_after_ms, 1_000 * ANNOUNCED_S_MAX) * 1_000_000
        if wait_ns:
            self._announced_ns = max(self._announced_ns, now_ns + wait_ns)
        most_s = RESTART_S_MAX if mode == VenueMode.RESTARTING else BACKOFF_S_MAX
        wait_ns = wait_ns or self._backoff_ns(most_s)
        self._attempts += 1
        self._ask_ns = max(now_ns + wait_ns, self._announced_ns)
        self._set(now_ns, Standing(mode, cause, status, self._ask_ns, text))

    def _backoff_ns(self, most_s: int) -> int:
        """Return 1..most_s, doubled with each try, spread over its upper half."""
        step_s = min(BACKOFF_S_MIN << min(self._attempts, 5), most_s)
        return max(BACKOFF_S_MIN * NS_PER_S, self._draw.randint(step_s * NS_PER_S // 2, step_s * NS_PER_S))

    def _set(self, now_ns: int, standing: Standing) -> None:
        if standing.mode != self.mode:
            self._since_ns = now_ns
        if standing.mode == VenueMode.RUNNING:
            self._ask_ns = self._announced_ns = 0
        self.mode, self._standing, self._is_untold = standing.mode, standing, True
