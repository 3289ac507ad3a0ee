"""An answer that is not there yet: made now, given once, perhaps much later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from pipeline.errors import InvariantError

T = TypeVar("T")


class Later(Generic[T]):
    """One value and the one who waits for it; both may come first."""

    def __init__(self) -> None:
        self._given: tuple[int, T] | None = None
        self._waiting: Callable[[int, T], None] | None = None

    def give(self, now_ns: int, value: T) -> None:
        """Hand the value over; a second one is a bug."""
        if self._given is not None:
            raise InvariantError(f"sim.later: one value expected, {value} came after {self._given[1]}")
        self._given = (now_ns, value)
        if self._waiting is not None:
            self._waiting(now_ns, value)

    def then(self, action: Callable[[int, T], None]) -> None:
        """Call action(now_ns, value) once the value is there."""
        self._waiting = action
        if self._given is not None:
            action(*self._given)
