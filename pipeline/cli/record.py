"""`pm record`: record a venue's market data; what it prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson

from pipeline.run.record import record


def record_feed(
    config_files: Sequence[Path], out: Path, seconds: int | None, cpus: str, as_json: bool,
) -> int:
    """Record, then say what stands in the folder; return 0: what is not whole raises."""
    found = record(config_files, out, seconds, cpus)
    logs = found.directory / "logs"
    if as_json:
        facts = {
            "directory": str(found.directory), "frames": found.frames, "frame_bytes": found.frame_bytes,
            "records": found.records, "logs": {name: one.position for name, one in found.logs.items()}}
        print(orjson.dumps(facts).decode())
        return 0
    print(f"{found.frames:,} frames of {found.frame_bytes:,} bytes, {found.records:,} records of stream")
    for name, one in found.logs.items():
        print(f"  {logs / name}: {one.position:,} slots, each proven; pm inspect {logs / name}")
    return 0
