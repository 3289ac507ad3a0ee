"""The last brake of an effect lane: deadline, halt level, own ceilings. Signer and gateway ask it.

Ceilings live in a mapped file of the lane, so that a restart does not forget what was already signed
today. Writer: the lane that owns the file.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import EnvironmentProblem
from pipeline.native.brake import MAGIC, BrakeCore


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Hard limits of one effect lane; above config, never "unlimited"."""

    order_usd_micro_max: int
    day_usd_micro_max: int
    minute_orders_max: int


class Brake(BrakeCore):
    """One lane's refusals; `order_no` of the highest order that may have left survives a crash.

    path: the lane's file; None for a brake that a rehearsal wears out and nobody has to remember.
    """

    __slots__ = ("_map",)

    def __init__(self, path: Path | None, ceilings: Ceilings) -> None:
        self._map, is_new = _mapped(path) if path is not None else (mmap.mmap(-1, mmap.PAGESIZE), True)
        if not is_new and (found := self._map[: len(MAGIC)]) != MAGIC:
            raise EnvironmentProblem(
                f"stages.brake: {path} is no brake file of this project (starts with {found!r}); "
                "move it away")
        super().__init__(
            self._map, ceilings.order_usd_micro_max, ceilings.day_usd_micro_max, ceilings.minute_orders_max,
            is_new)

    def close(self) -> None:
        """Release the file; what was counted stands in it."""
        self.release()
        self._map.close()


def restart_numbers(path: Path) -> None:
    """Let a lane's stored order number begin anew with a new decision log; what it spent today stays."""
    brake = Brake(path, Ceilings(0, 0, 0))
    brake.restart_numbers()
    brake.close()


def _mapped(path: Path) -> tuple[mmap.mmap, bool]:
    """Return the lane's page of that file, made when it is missing, and whether it is new."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        is_new = os.fstat(descriptor).st_size == 0
        if is_new:
            os.posix_fallocate(descriptor, 0, mmap.PAGESIZE)
        return mmap.mmap(descriptor, mmap.PAGESIZE), is_new
    except OSError as error:
        raise EnvironmentProblem(
            f"stages.brake: cannot map {path}: {error.strerror}; free disk space or fix its owner"
        ) from error
    finally:
        os.close(descriptor)
