"""Halts for what the venue says of its clock, its version, the account, our trades and of where we are.

Reads the gauges that `stages/health.py` and `stages/reconcile.py` put on the page of an account's lane; asks
for a level by `SupervisorHalts`. A clock off by 1 s is H1, by 5 s H3 until the operator resumes; a
closed-only account, a geographic block, lists that say against the user channel and another default version
of orders are H1 (for a refused order the gateway asks H3). H1 clears itself after a time without the cause
(faults.md: halt ladder, OP01, OR09, IN04, VN04).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.kinds import Cause, HaltLevel
from pipeline.run import wiring
from pipeline.run.halts import SupervisorHalts
from pipeline.shm.status import StatusView
from pipeline.stages.health import (
    BAD,
    CLOCK_COUNT,
    CLOCK_OFFSET_US,
    GEO_GAUGE,
    VERSION_GAUGE,
    closed_only_gauge,
)
from pipeline.stages.reconcile import contradictions_gauge
from pipeline.units import NS_PER_S
from pipeline.venues.polymarket.clock import SKEW_NS_H1, SKEW_NS_H3


def accounts_of(stages: Sequence[str]) -> list[str]:
    """Return the accounts whose stages are among these."""
    return [ident for kind, ident in map(wiring.split_name, stages) if kind == "account"]


class VenueWatch:
    """`look` in each round of the guard. tell writes an event: level, name, fields."""

    def __init__(
        self, view: StatusView, idents: Sequence[str], halts: SupervisorHalts, tell: Callable[..., None],
        clear_s: int,
    ) -> None:
        """view: of a lane with account stages; idents: theirs; clear_s: see `supervision.health_clear_s`."""
        self._offset_us = view.reader_of(CLOCK_OFFSET_US)
        self._count = view.reader_of(CLOCK_COUNT)
        self._geo = view.reader_of(GEO_GAUGE)
        self._version = view.reader_of(VERSION_GAUGE)
        self._closed = {ident: view.reader_of(closed_only_gauge(ident)) for ident in idents}
        self._against = {ident: view.reader_of(contradictions_gauge(ident)) for ident in idents}
        self._halts = halts
        self._tell = tell
        self._clear_ns = clear_s * NS_PER_S
        self._bad_ns: dict[Cause, int] = {}  # when each cause was last seen

    def look(self, now_ns: int) -> None:
        """Raise or lift the halts as the gauges say. now_ns: monotonic."""
        offset_us = self._offset_us() if self._count() else 0
        skew_ns = abs(offset_us) * 1_000
        level = HaltLevel.H1 if skew_ns >= SKEW_NS_H1 else HaltLevel.H0
        level = HaltLevel.H3 if skew_ns >= SKEW_NS_H3 else level
        self._judge(
            now_ns, Cause.CLOCK_SKEW, level, f"the venue's clock is {offset_us / 1e6:+.3f} s from ours")
        closed = [ident for ident, gauge in self._closed.items() if gauge() == BAD]
        self._judge(
            now_ns, Cause.CLOSED_ONLY, HaltLevel.H1 if closed else HaltLevel.H0,
            f"account {', '.join(closed)} may only close positions, says the venue")
        self._judge(
            now_ns, Cause.GEO_BLOCKED, HaltLevel.H1 if self._geo() == BAD else HaltLevel.H0,
            "the venue does not serve this machine's country")
        against = [ident for ident, gauge in self._against.items() if gauge() > 0]
        self._judge(
            now_ns, Cause.CONTRADICTED, HaltLevel.H1 if against else HaltLevel.H0,
            f"account {', '.join(against)}: what the venue lists of our trades is not what its channel told; "
            "compare positions with the venue before you resume")
        self._judge(
            now_ns, Cause.VENUE_REJECT, HaltLevel.H1 if self._version() == BAD else HaltLevel.H0,
            "the venue's version of orders is another than this build signs")

    def _judge(self, now_ns: int, cause: Cause, level: HaltLevel, words: str) -> None:
        if level > HaltLevel.H0:
            self._bad_ns[cause] = now_ns
            if self._halts.want(cause, level, words):
                self._tell("error", "venue_halts", cause=cause.name.lower(), halt=level.name, words=words)
        elif self._halts.level_of(cause) == HaltLevel.H1 and (  # an earlier supervisor's counts from now
                now_ns - self._bad_ns.setdefault(cause, now_ns) >= self._clear_ns):
            self._halts.drop(cause)
            self._tell("info", "venue_halt_over", cause=cause.name.lower())
