"""`[risk]`: limits that no strategy can pass. None of the money limits can be switched off."""

from __future__ import annotations

from itertools import pairwise
from typing import Self

from pydantic import model_validator

from pipeline.config.section import Section, UsdPositive, setting
from pipeline.units import usd_text


class Risk(Section):
    """Money limits count the worst case: everything open or unknown as filled."""

    order_usd_micro_max: UsdPositive = setting(
        "USD", "One order.", "10", key="order_usd_max", validate_default=True
    )
    market_usd_micro_max: UsdPositive = setting(
        "USD", "All exposure in one market.", "25", key="market_usd_max", validate_default=True
    )
    event_usd_micro_max: UsdPositive = setting(
        "USD", "All exposure in one event.", "50", key="event_usd_max", validate_default=True
    )
    day_usd_micro_max: UsdPositive = setting(
        "USD", "All that may be spent in one UTC day.", "100", key="day_usd_max", validate_default=True
    )
    open_orders_max: int = setting("orders", "Orders open or unknown at once.", 20, ge=1, le=10_000)
    partial_loss_usd_micro_max: UsdPositive = setting(
        "USD",
        "Worst loss of a package if only some legs fill.",
        "10",
        key="partial_loss_usd_max",
        validate_default=True,
    )
    residue_usd_micro_max: UsdPositive = setting(
        "USD",
        "Worth of left-over shares that no package covers.",
        "10",
        key="residue_usd_max",
        validate_default=True,
    )
    proof_age_ms_max: int = setting(
        "ms", "Age of the last proof that a book is right; older is not traded on.", 2_000, ge=1, le=600_000
    )

    fence_ms: int = setting(
        "ms",
        "No new order, and none left open, so long before a market's scheduled end, and so long before and "
        "behind the start of its game, when the venue may clear the book; 0 = no such fence.",
        30_000, ge=0, le=86_400_000,
    )

    @model_validator(mode="after")
    def limits_nest(self) -> Self:
        """A smaller scope never allows more than the scope around it."""
        for inner, outer in pairwise(("order", "market", "event", "day")):
            value, limit = getattr(self, f"{inner}_usd_micro_max"), getattr(self, f"{outer}_usd_micro_max")
            if value > limit:
                raise ValueError(
                    f"{inner}_usd_max must be at most {outer}_usd_max ({usd_text(limit)}), "
                    f"was {usd_text(value)}"
                )
        return self
