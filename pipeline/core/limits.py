"""The limits and parameters that decisions use: the newest `Config` record, checked for missing values.

Reads CONFIG; writes nothing. A value of 0 means missing and refuses everything (fail closed, RK05).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from pipeline.codec import CODECS
from pipeline.core.sizing import Bounds
from pipeline.errors import InvariantError
from pipeline.kinds import Kind

BATCH_ORDERS_MAX = 15  # orders in one POST /orders (venue sheet 11.1, read 2026-11-20)
SALT_ORDER_BITS = 32  # low bits of a salt are the order number, high bits the salt epoch
SALT_EPOCH_MAX = (1 << 53 - SALT_ORDER_BITS) - 1  # salts are JSON numbers: below 2**53 (venue sheet 10.1)
ORDER_NO_MAX = (1 << SALT_ORDER_BITS) - 1

_CONFIG = CODECS[Kind.CONFIG]


@dataclass(frozen=True, slots=True)
class Limits:
    """The fields of `Config` that detect and trade use; same names, units in the names."""

    order_usd_micro_max: int = 0
    market_usd_micro_max: int = 0
    event_usd_micro_max: int = 0
    day_usd_micro_max: int = 0
    open_orders_max: int = 0
    partial_loss_usd_micro_max: int = 0
    residue_usd_micro_max: int = 0
    edge_usd_micro_min: int = 0
    edge_ppm_min: int = 0
    proof_age_ns_max: int = 0
    intent_ttl_ns: int = 0
    cooldown_ns: int = 0
    submit_timeout_ns: int = 0
    package_usd_micro_max: int = 0
    package_orders_max: int = 0
    levels_max: int = 0
    salt_epoch: int = 0
    fence_ns: int = 0  # 0 = no fence: the one value that may be

    @property
    def missing(self) -> str:
        """Return the name of the first value that is not above zero, "" when all are there."""
        for name in _NEEDED:
            if not getattr(self, name) > 0:
                return name
        return "salt_epoch" if self.salt_epoch > SALT_EPOCH_MAX else ""

    @property
    def bounds(self) -> Bounds:
        """Return what sizing needs."""
        return Bounds(
            order_usd_micro_max=self.order_usd_micro_max,
            package_usd_micro_max=self.package_usd_micro_max,
            partial_loss_usd_micro_max=self.partial_loss_usd_micro_max,
            package_orders_max=min(self.package_orders_max, BATCH_ORDERS_MAX),
            levels_max=self.levels_max,
            edge_usd_micro_min=self.edge_usd_micro_min,
            edge_ppm_min=self.edge_ppm_min,
        )


_FIELDS = tuple(field.name for field in fields(Limits))
_NEEDED = tuple(name for name in _FIELDS if name != "fence_ns")
NO_LIMITS = Limits()


def limits_of(slot: bytes | bytearray | memoryview, offset: int = 0) -> Limits:
    """Return the limits that a CONFIG record carries."""
    record: Any = _CONFIG.unpack(slot, offset)
    return Limits(**{name: getattr(record, name) for name in _FIELDS})


def salt_of(salt_epoch: int, order_no: int) -> int:
    """Return the salt of an order: unique for every (epoch, order number), below 2**53 (OR15)."""
    if not (1 <= salt_epoch <= SALT_EPOCH_MAX and 1 <= order_no <= ORDER_NO_MAX):
        raise InvariantError(
            f"core.limits: expected salt epoch 1..{SALT_EPOCH_MAX} and order number 1..{ORDER_NO_MAX}, "
            f"was {salt_epoch} and {order_no}; start a new log")
    return salt_epoch << SALT_ORDER_BITS | order_no
