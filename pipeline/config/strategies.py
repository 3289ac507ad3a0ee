"""`[strategies.<name>]`: what is looked for and how much profit it needs."""

from __future__ import annotations

from pipeline.config.section import Section, UsdPositive, setting
from pipeline.records import TOP_DEPTH


class Basket(Section):
    """Guaranteed baskets: legs whose payout is proven in every world."""

    enabled: bool = setting("", "Look for baskets.", False)
    edge_usd_micro_min: UsdPositive = setting(
        "USD",
        "Least profit of a package after fees and rounding.",
        "0.05",
        key="edge_usd_min",
        validate_default=True,
    )
    edge_ppm_min: int = setting(
        "ppm", "Least profit as a share of the package's cost.", 2_000, ge=1, le=1_000_000
    )
    levels_max: int = setting("levels", "Price levels swept per leg; one order each.", 1, ge=1, le=TOP_DEPTH)
    package_usd_micro_max: UsdPositive = setting(
        "USD",
        "Most that one package may cost, fees included.",
        "25",
        key="package_usd_max",
        validate_default=True,
    )
    cooldown_ms: int = setting(
        "ms", "Pause of an event after a package of it ended.", 250, ge=1, le=3_600_000
    )
    intent_ttl_ms: int = setting("ms", "Age at which an unsent order is dropped.", 250, ge=1, le=60_000)


class Strategies(Section):
    """Strategies by name."""

    basket: Basket = setting("", "Guaranteed baskets.", Basket())
