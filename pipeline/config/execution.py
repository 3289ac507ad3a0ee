"""`[execution]`: how orders leave."""

from __future__ import annotations

from pipeline.config.section import Section, setting


class Execution(Section):
    """Submission."""

    submit_timeout_ms: int = setting(
        "ms", "Wait for the venue's answer; then the order is UNKNOWN.", 3_000, ge=10, le=120_000
    )
    package_orders_max: int = setting(
        "orders", "Orders of one package; the venue takes 15 in a batch.", 15, ge=1, le=15
    )
