"""What a fault proxy does to each message: drawn from one seed, without sockets or clocks.

A `Plan` names chances; `Dice` draws one fate a message, in order, so the same seed and the same messages give
the same faults however fast they come. `Shuffle` carries the fates that change order out; tests in simulated
time use it alone, the proxy puts it behind its sockets.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Fate(enum.Enum):
    """What becomes of one message; of one HTTP request and its answer, where that says so."""

    PASS = "pass"
    DROP = "drop"  # it never arrives; of HTTP: the venue never gets it and the line ends
    DUPLICATE = "duplicate"  # it arrives twice
    REORDER = "reorder"  # it arrives after the next one
    DELAY = "delay"  # it and all behind it wait
    TRUNCATE = "truncate"  # a part of its bytes arrives, then the line ends
    RESET = "reset"  # the line is reset instead; of HTTP: before the venue got it
    CUT = "cut"  # HTTP only: the venue carries the request out and answers, the line is reset unanswered


WEBSOCKET = (Fate.DROP, Fate.DUPLICATE, Fate.REORDER, Fate.DELAY, Fate.TRUNCATE, Fate.RESET)
HTTP = (Fate.DROP, Fate.DELAY, Fate.TRUNCATE, Fate.RESET, Fate.CUT)


@dataclass(frozen=True, slots=True)
class Plan:
    """Chances of each fate, 0..1, for websocket messages of the venue and for HTTP requests to it."""

    seed: int
    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay: float = 0.0
    truncate: float = 0.0
    reset: float = 0.0
    cut: float = 0.0
    delay_ms: tuple[int, int] = (1, 50)
    first: int = 0  # messages of each line that always pass: subscriptions, first snapshots

    def chance(self, fate: Fate) -> float:
        """Return the chance of one fate."""
        value: float = getattr(self, fate.value)
        return value

    def __post_init__(self) -> None:
        for fates in (WEBSOCKET, HTTP):
            if not 0 <= sum(self.chance(fate) for fate in fates) <= 1:
                raise ValueError(f"proxy plan: chances of {[fate.value for fate in fates]} must sum to 0..1")


class Dice:
    """The fates of one line's messages, in order; `what` keeps websocket and HTTP draws apart."""

    def __init__(self, plan: Plan, line: int, what: str) -> None:
        self._plan = plan
        self._draw = random.Random(f"proxy:{plan.seed}:{what}:{line}")
        self._fates = HTTP if what == "http" else WEBSOCKET
        self.count = 0

    def next(self) -> tuple[Fate, float]:
        """Return the next fate, and 0..1 for what it leaves open: where to cut, how long to wait."""
        chance, detail = self._draw.random(), self._draw.random()
        self.count += 1
        if self.count > self._plan.first:
            for fate in self._fates:
                chance -= self._plan.chance(fate)
                if chance < 0:
                    return fate, detail
        return Fate.PASS, detail

    def wait_s(self, detail: float) -> float:
        """Return how long a delayed message waits."""
        low, high = self._plan.delay_ms
        return (low + detail * (high - low)) / 1_000


class Shuffle(Generic[Item]):
    """Drops, doubles and swaps messages; what `feed` returns is sent in that order."""

    def __init__(self, happened: Callable[[Fate], None] = lambda fate: None) -> None:
        self._held: list[Item] = []
        self._happened = happened

    def feed(self, item: Item, fate: Fate) -> list[Item]:
        """Take one message with its fate; fates that change no order pass it."""
        if fate is not Fate.PASS:
            self._happened(fate)
        if fate is Fate.DROP:
            return []
        if fate is Fate.REORDER and not self._held:
            self._held.append(item)
            return []
        found = [item, item] if fate is Fate.DUPLICATE else [item]
        return found + self.flush()

    def flush(self) -> list[Item]:
        """Return what still waits for a next message."""
        held, self._held = self._held, []
        return held

    @property
    def is_holding(self) -> bool:
        """Tell whether a message waits for the next one."""
        return bool(self._held)
