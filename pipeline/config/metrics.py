"""`[metrics]`: the counters' endpoint."""

from __future__ import annotations

from pipeline.config.section import Section, setting


class Metrics(Section):
    """Served on loopback only."""

    port: int = setting(
        "port", "TCP port of the metrics; 0 takes any free one and prints it.", 0, ge=0, le=65_535
    )
