"""The state directory's housekeeping at a start: old run folders, logs that are set aside, event logs."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from pipeline.config.load import Config
from pipeline.stages import brake
from pipeline.store import events
from pipeline.store.events import EventLog

GENERATIONS_KEPT = 8
HISTORY = ("logs", "checkpoints", "archive")


def forget_old_runs(runs: Path) -> None:
    """Remove the folders of all but the newest runs."""
    numbered = sorted((int(path.name), path) for path in runs.iterdir() if path.name.isdigit())
    for _, path in numbered[:-GENERATIONS_KEPT]:
        shutil.rmtree(path)


def set_aside(state_dir: Path, generation: int) -> None:
    """Keep the logs, checkpoints and archive of the runs so far under `old/`, so that new ones begin."""
    kept = state_dir / "old" / str(generation - 1)
    for name in HISTORY:
        if (state_dir / name).exists():
            kept.mkdir(parents=True, exist_ok=True, mode=0o700)
            (state_dir / name).rename(kept / name)


def restart_numbers(state_dir: Path) -> None:
    """Let the effect lanes' stored order numbers begin anew, because the decision log does."""
    for pattern in ("gateway-*.state", "signer-*.state"):
        for path in state_dir.glob(pattern):
            brake.restart_numbers(path)


def event_log(config: Config, lane: str) -> EventLog:
    """Return the event log of a lane, or of the supervisor."""
    return EventLog(
        Path(config.state_dir).resolve() / events.DIRECTORY, lane, config.logging.level,
        config.logging.bytes_max, config.logging.files_kept)


def instance_name(name: str, state_dir: Path) -> str:
    """Return the prefix of a run's segments: its name, and what tells its state directory from all others.

    Two runs of one name (two demos) must not sweep each other's memory; one state directory has one run.
    """
    letters = "".join(letter for letter in name if letter.isalnum())
    return letters + hashlib.blake2b(os.fsencode(state_dir), digest_size=4).hexdigest()
