"""The venue's dead man's switch: it cancels all orders of a key whose heartbeats stop.

Part of gateway.<id>. Beats only while `trade` itself is alive, and says when so many were missed that nobody
knows what is still open. Source: venue sheet 12, docs /trading/manage-orders, read 2026-11-20.
"""

from __future__ import annotations

from pipeline.units import NS_PER_S
from pipeline.venues.polymarket import answers

AGAIN_NS = NS_PER_S  # after a heartbeat that was not taken
MISSES_MAX = 2


class Pulse:
    """When to beat, with which id, and whether the switch may have fired. Sans-IO."""

    def __init__(self, every_ns: int, beat_age_ns_max: int) -> None:
        self.heartbeat_id = ""
        self.is_lost = False
        self._every_ns, self._beat_age_ns_max = every_ns, beat_age_ns_max
        self._beat_ns = 0  # trade's newest
        self._due_ns = 0
        self._good_ns = 0  # when the newest that the venue took had left; 0: not armed

    def on_beat(self, now_ns: int) -> None:
        """Trade was alive at `now_ns`."""
        self._beat_ns = now_ns

    def is_due(self, now_ns: int) -> bool:
        """Tell whether to beat now."""
        is_alive = self._beat_ns > 0 and now_ns - self._beat_ns <= self._beat_age_ns_max
        return is_alive and now_ns >= self._due_ns

    def sent(self, now_ns: int) -> None:
        """Note that a heartbeat leaves."""
        self._due_ns = now_ns + self._every_ns

    def on_answer(self, now_ns: int, sent_ns: int, status: int, body: bytes, retry_after_ms: int) -> bool:
        """Take the answer to the heartbeat that left at `sent_ns`; tell whether it ends a loss.

        A 400 corrects our id: it was not taken. One that names none means a switch that fired and is armed no
        more; it is armed as it was first.
        """
        told = answers.heartbeat_answer(status, body)
        if told is not None:
            self.heartbeat_id = told
        elif status == 400:
            self.heartbeat_id = ""
        if told is not None and 200 <= status < 300:
            self._good_ns = max(self._good_ns, sent_ns)
            was_lost, self.is_lost = self.is_lost, now_ns - self._good_ns >= MISSES_MAX * self._every_ns
            return was_lost and not self.is_lost
        self._again(now_ns, retry_after_ms * 1_000_000 or (0 if told is not None else AGAIN_NS))
        return False

    def on_silence(self, now_ns: int) -> None:
        """No answer came, or it could not be sent."""
        self._again(now_ns, AGAIN_NS)

    def _again(self, now_ns: int, wait_ns: int) -> None:
        """Beat again soon, at most once a second: the venue counts from the last one that it took."""
        self._due_ns = now_ns + wait_ns if wait_ns > AGAIN_NS else max(
            now_ns + wait_ns, self._due_ns - self._every_ns + AGAIN_NS)

    def look(self, now_ns: int) -> bool:
        """Tell, once, that the switch may have fired: an armed key, and two heartbeats in a row not taken."""
        if self.is_lost or not self._good_ns or now_ns - self._good_ns < MISSES_MAX * self._every_ns:
            return False
        self.is_lost = True
        return True
