"""Folds a finished stream log again through fresh book, detect and trade stages, batched in another way.

Writes a decision log of its own and returns its bytes. The clock it gives to the stages has nothing to do
with the first run's: stage timings never enter a record.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.config.load import load
from pipeline.core.detector import Detector
from pipeline.native.log import LogReader, LogWriter
from pipeline.run import wiring
from pipeline.run.build import build_stage
from pipeline.run.channels import Channels, PrivateMemory, format_all, segment_sizes
from pipeline.run.env import Env
from pipeline.shm import halt
from pipeline.shm.status import StatusPage
from tests.shared import ROOT

CHAIN = ("book", "detect", "trade")
BATCHES = (1, 2, 7, 64, 256)


def refold(
    logs: Path,
    directory: Path,
    overrides: Mapping[str, object],
    draw: random.Random,
    detector: Detector | None = None,
    on_batch: Callable[[], None] = lambda: None,
) -> bytes:
    """Return the decision log that `logs`/stream gives; `on_batch` runs before each poll of detect."""
    config = load((ROOT / "config" / "demo.toml",), {"state_dir": str(directory), **overrides})
    again = directory / "logs"
    (again / wiring.DECISIONS).mkdir(parents=True)
    (again / wiring.STREAM).symlink_to(logs / wiring.STREAM)
    halt.create(directory)
    slots = config.shm.log_segment_slots
    LogWriter(again / wiring.DECISIONS, wiring.DECISIONS, slots, salt_epoch=1).close()
    memory = PrivateMemory(segment_sizes(CHAIN, ["refold"], config.shm, config.rows_end))
    format_all(memory, CHAIN, ["refold"], config.shm)
    channels = Channels(memory, again, slots, 1)
    page = StatusPage(memory.buffer("status.refold"), pid=1, now_ns=0)
    env = Env(
        config=config,
        mode="dry",
        stages=list(CHAIN),
        channels=channels,
        page=page,
        clock=lambda: draw.getrandbits(40),
        state_dir=directory,
        run_dir=directory,
        book_position=lambda: 0,
    )
    stages: list[Any] = [build_stage(name, env).stage for name in CHAIN]
    if detector is not None:
        stages[1].detector = detector
    idle_turns = 0
    while idle_turns < 3:
        done = 0
        for stage in stages:
            if draw.random() < 0.3:
                continue
            if stage.name == "detect":
                on_batch()
            done += stage.poll(draw.choice(BATCHES))
        idle_turns = 0 if done or any(stage.poll(1) for stage in stages) else idle_turns + 1
    for stage in stages:
        stage.close()
    page.close()
    channels.close()
    return read_log(again / wiring.DECISIONS, wiring.DECISIONS)


def read_log(directory: Path, name: str) -> bytes:
    """Return a whole log, slot by slot."""
    reader = LogReader(directory, name)
    parts = []
    while data := reader.read(1 << 16):
        parts.append(data)
    reader.close()
    return b"".join(parts)
