"""Renders `pipeline/ui/README.md` from the metrics themselves: `python -m pipeline.ui.readme` writes it.

tests/unit/test_ui_readme.py fails when the file and the metrics differ, so every metric is described.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.ui.buckets import BOUNDS_NS
from pipeline.ui.families import ALWAYS, FAMILIES

TARGET = Path(__file__).resolve().parent / "README.md"

HEAD = """\
# Metrics

Made by `python -m pipeline.ui.readme` from `pipeline/ui/families.py`; do not edit.

A running pipeline serves Prometheus metrics at `http://127.0.0.1:PORT/metrics`. PORT is `metrics.port` of the
configuration; with 0 it is any free one, and `pm status` and `metrics.json` in the run's folder name it.
Loopback only: let an agent on the same machine scrape it, or a tunnel carry it. A port that cannot be had is
one warning in the event log (`pm logs --event metrics_not_served`); trading goes on without metrics.

```text
scrape_configs:
  - job_name: pm-pipeline
    static_configs: [{targets: ["127.0.0.1:9464"]}]
```

Every series has the labels `lane` and `stage`; `stage` is empty where a thing is the lane's as a whole. A
lane with several stages of one kind counts them together, under the kind's name. The numbers are looked up at
the moment of the scrape, in the lanes' status pages, and cost the lanes nothing. Orders, fills and money are
of `observe`'s summary, some 250 ms old at most.

What to be woken by: `pm_lane_up == 0`, `increase(pm_restarts_total[5m]) > 0`, `pm_halt_level > 0`,
`increase(pm_drops_total[5m]) > 0`, `pm_orders{state="unknown"} > 0`, `rate(pm_lane_turns_total[1m]) == 0`,
`pm_ring_depth_records / pm_ring_capacity_records > 0.5`, `time() - pm_observed_time_seconds > 30`.

| metric | type | labels | meaning |
|---|---|---|---|
"""


def render() -> str:
    """Return the text that README.md of this folder must have."""
    rows = [
        f"| `{family.name}` | {family.type} | {_labels(family.labels)} | {family.meaning} |\n"
        for family in FAMILIES
    ]
    return HEAD + "".join(rows) + _buckets()


def _labels(labels: tuple[str, ...]) -> str:
    return ", ".join(f"`{label}`" for label in (*ALWAYS, *labels))


def _buckets() -> str:
    bounds = ", ".join(_time_text(bound_ns) for bound_ns in BOUNDS_NS)
    return (
        f"\nHistograms are in seconds, with the bounds {bounds}.\n"
        "They are made of native histograms with 32 buckets per power of two: a latency in a bucket that a\n"
        "bound cuts counts as above it: what is shown is at most 1/32 worse than what was, never better.\n")


def _time_text(ns: int) -> str:
    for unit, factor in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if ns >= factor:
            return f"{ns / factor:g} {unit}"
    return f"{ns} ns"


if __name__ == "__main__":
    TARGET.write_text(render())
    print(f"wrote {TARGET}")
