"""The manifest that the supervisor writes at each start, for worlds without a supervisor.

A replay reads from it how much memory the books had: a full arena makes books stale, so it decides, too.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.config.load import Config
from pipeline.run import manifest
from pipeline.run.spec import RunSpec
from pipeline.run.startpoint import StartPoint


def write_manifest(config: Config, state_dir: Path, start: StartPoint) -> None:
    """Write the manifest of the start at `start` beside the logs of this state directory."""
    manifest.write(config, RunSpec(
        instance="world", generation=start.epoch, mode="dry", state_dir=str(state_dir), run_dir="",
        anchor_wall_ns=0, anchor_mono_ns=0, salt_epoch=1, config_files=(), overrides={}, lanes=(),
        doorbells={}, start=start))
