"""What the matching engine takes at the moment: everything, nothing, or parts of it.

Source: venue sheet 15.2, read 2026-11-20: a restart is 425 on the order routes, then post-only for two
minutes; "trading is disabled" refuses cancels too; a cancel-only state exists. The 425's text is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.sim.errors_text import Refusal
from pipeline.units import NS_PER_S

REFUSALS_MAX = 10_000  # kept for the report


class Mode(StrEnum):
    RUNNING = "running"
    RESTARTING = "restarting"
    POST_ONLY = "post_only"
    CANCEL_ONLY = "cancel_only"
    DISABLED = "disabled"


@dataclass(slots=True)
class VenueMode:
    """The mode, since when, and until when it is announced (0 = nobody knows)."""

    mode: Mode = Mode.RUNNING
    until_ns: int = 0
    spans: list[tuple[int, Mode]] = field(default_factory=list)  # (since ns, mode), oldest first
    refusals: list[tuple[int, Mode]] = field(default_factory=list)  # of requests, the first of them

    def set(self, now_ns: int, mode: Mode, until_ns: int = 0) -> None:
        self.mode, self.until_ns = mode, until_ns
        self.spans.append((now_ns, mode))

    @property
    def is_matching(self) -> bool:
        """Whether an order may take."""
        return self.mode is Mode.RUNNING

    @property
    def is_resting(self) -> bool:
        """Whether an order may come to rest."""
        return self.mode in (Mode.RUNNING, Mode.POST_ONLY)

    @property
    def is_down(self) -> bool:
        """Whether nothing at all happens in the books."""
        return self.mode in (Mode.RESTARTING, Mode.DISABLED)

    def refuse_order(self, now_ns: int, post_only: bool) -> Refusal | None:
        """Return why an order, or a batch of which every one is `post_only`, is not taken now."""
        if self.mode is Mode.CANCEL_ONLY:
            self._note(now_ns)
            return Refusal("trading is disabled: cancel-only mode", 503)
        if self.mode is Mode.POST_ONLY and not post_only:
            self._note(now_ns)
            return Refusal(
                "post-only mode: only post-only orders and cancels are allowed",
                503,
                "post_only_mode",
                retry_after_s=self._left_s(now_ns),
            )
        return self.refuse_cancel(now_ns)

    def refuse_cancel(self, now_ns: int) -> Refusal | None:
        """Return why a cancel is not taken now."""
        if self.is_down:
            self._note(now_ns)
        if self.mode is Mode.RESTARTING:
            return Refusal("the matching engine is restarting", 425, retry_after_s=self._left_s(now_ns))
        return Refusal("trading is disabled", 503) if self.mode is Mode.DISABLED else None

    def _note(self, now_ns: int) -> None:
        if len(self.refusals) < REFUSALS_MAX:
            self.refusals.append((now_ns, self.mode))

    def _left_s(self, now_ns: int) -> int:
        """Return the whole seconds that the mode will last, rounded up; 0 = not announced."""
        return max(1, -(-(self.until_ns - now_ns) // NS_PER_S)) if self.until_ns else 0
