"""The last brake of an effect lane: deadline, halt level, own ceilings. Signer and gateway ask it.

Ceilings live in a mapped file of the lane, so that a restart does not forget what was already signed
today. Writer: the lane that owns the file.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import EnvironmentProblem
from pipeline.records import Cause, HaltLevel, IntentClass
from pipeline.units import NS_PER_S

_DAY_NS = 86_400 * NS_PER_S
_MINUTE_NS = 60 * NS_PER_S
# magic, day, usd of the day, minute, orders of the minute, highest order number
_STATE = struct.Struct("<8sqqqqQ")
_MAGIC = b"pmbrake1"
_PACK_STATE = _STATE.pack_into
# Looked up once: a member of an enum costs more than the comparison that it is wanted for.
_NONE, _DEADLINE, _HALT_LEVEL, _CEILING = Cause.NONE, Cause.DEADLINE, Cause.HALT_LEVEL, Cause.CEILING
_H1, _H2, _H3 = int(HaltLevel.H1), int(HaltLevel.H2), int(HaltLevel.H3)
_NEW_RISK, _HEDGE, _CANCEL = int(IntentClass.NEW_RISK), int(IntentClass.HEDGE), int(IntentClass.CANCEL)


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Hard limits of one effect lane; above config, never "unlimited"."""

    order_usd_micro_max: int
    day_usd_micro_max: int
    minute_orders_max: int


class Brake:
    """One lane's refusals; `order_no` of the highest order that may have left survives a crash.

    path: the lane's file; None for a brake that a rehearsal wears out and nobody has to remember.
    """

    __slots__ = ("_day", "_day_usd", "_day_usd_max", "_map", "_minute", "_minute_orders",
                 "_minute_orders_max", "_order_usd_max", "order_no")

    def __init__(self, path: Path | None, ceilings: Ceilings) -> None:
        self._order_usd_max = ceilings.order_usd_micro_max
        self._day_usd_max = ceilings.day_usd_micro_max
        self._minute_orders_max = ceilings.minute_orders_max
        self._map, is_new = _mapped(path) if path is not None else (mmap.mmap(-1, mmap.PAGESIZE), True)
        if is_new:
            self._day = self._day_usd = self._minute = self._minute_orders = self.order_no = 0
            self._store()
        else:
            magic, *state = _STATE.unpack_from(self._map)
            if magic != _MAGIC:
                raise EnvironmentProblem(
                    f"stages.brake: {path} is no brake file of this project (starts with {magic!r}); "
                    "move it away")
            self._day, self._day_usd, self._minute, self._minute_orders, self.order_no = state

    def refuse(
        self, now_ns: int, deadline_ns: int, intent_class: int, usd_micro: int, level: int,
    ) -> Cause:
        """Return why this order must not go on, or Cause.NONE; counts it when it may. level: HaltLevel."""
        if not now_ns <= deadline_ns:
            return _DEADLINE
        if not is_allowed(level, intent_class):
            return _HALT_LEVEL
        day, minute = now_ns // _DAY_NS, now_ns // _MINUTE_NS
        if day != self._day:
            self._day, self._day_usd = day, 0
        if minute != self._minute:
            self._minute, self._minute_orders = minute, 0
        day_usd, minute_orders = self._day_usd + usd_micro, self._minute_orders + 1
        within = (
            0 <= usd_micro <= self._order_usd_max
            and day_usd <= self._day_usd_max
            and minute_orders <= self._minute_orders_max
        )
        if not within:
            return _CEILING
        self._day_usd, self._minute_orders = day_usd, minute_orders
        return _NONE

    def commit(self, order_no: int) -> None:
        """Store that this order may have left; call before its first byte."""
        self.order_no = max(self.order_no, order_no)
        self._store()

    def _store(self) -> None:
        _PACK_STATE(
            self._map, 0, _MAGIC, self._day, self._day_usd, self._minute, self._minute_orders, self.order_no)

    def close(self) -> None:
        """Store the state and release the file."""
        self._store()
        self._map.close()


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


def is_allowed(level: int, intent_class: int) -> bool:
    """Tell whether the halt ladder lets this class of order through (faults.md, halt ladder)."""
    if level >= _H3:
        return intent_class == _CANCEL
    if level == _H2:
        return intent_class in (_HEDGE, _CANCEL)
    if level == _H1:
        return intent_class != _NEW_RISK
    return True
