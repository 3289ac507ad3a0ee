"""How far the venue's clock is from ours, from answers that tell whole seconds.

Pure: `GET /time` is asked by others. Each answer bounds the offset by one second; asked when the venue's
second is about to turn, the next one halves what is left, down to the time that an answer takes.
Source: venue sheet 4 ("unix seconds, plain integer") and 9.2, read 2026-11-20. Limits: fault row OP01.
"""

from __future__ import annotations

from typing import Final

from pipeline.units import NS_PER_MS, NS_PER_S

SKEW_NS_WARN: Final = 250 * NS_PER_MS
SKEW_NS_H1: Final = NS_PER_S
SKEW_NS_H3: Final = 5 * NS_PER_S
_DIGITS_MAX: Final = 12


class ClockOffset:
    """Bounds of venue time minus our time, in ns; `add` narrows them."""

    def __init__(self) -> None:
        self._low_ns = self._high_ns = 0
        self._answer_ns = 0  # how long the newest answer took
        self.count = 0  # answers that the bounds rest on

    @property
    def offset_ns(self) -> int:
        """Venue time minus ours: the middle of what is possible."""
        return (self._low_ns + self._high_ns) // 2

    @property
    def error_ns(self) -> int:
        """How far the true offset can be from `offset_ns`."""
        return (self._high_ns - self._low_ns + 1) // 2

    def add(self, sent_ns: int, received_ns: int, venue_s: int) -> bool:
        """Take one answer; False when it contradicts those before: a clock stepped, they are forgotten.

        sent_ns, received_ns: our time around it. The venue read its clock in between, and cut the fraction.
        """
        low_ns = venue_s * NS_PER_S - received_ns
        high_ns = (venue_s + 1) * NS_PER_S - sent_ns
        self._answer_ns = max(0, received_ns - sent_ns)
        fits = not self.count or (low_ns <= self._high_ns and high_ns >= self._low_ns)
        if fits and self.count:
            low_ns, high_ns = max(low_ns, self._low_ns), min(high_ns, self._high_ns)
        self._low_ns, self._high_ns = low_ns, high_ns
        self.count = self.count + 1 if fits else 1
        return fits

    def wait_ns(self, now_ns: int) -> int:
        """Return how long to wait before the next question, so that it halves the bounds; below 1 s."""
        if not self.count:
            return 0
        arrives_ns = now_ns + self._answer_ns // 2 + self.offset_ns
        return -arrives_ns % NS_PER_S


def parse_time(http_status: int, body: bytes) -> int | None:
    """Return the unix second of an answer to `GET /time`; None when it is none."""
    text = body.strip().strip(b'"')
    if http_status != 200 or not text.isdigit() or len(text) > _DIGITS_MAX:
        return None
    return int(text)
