"""What tests share: where the recordings are, the tier in force, seeds.

A skip names its category first: `needs_shared` skips with "recordings: ...", a test that needs a real server
skips with "servers: ...". tests/conftest.py counts both, and treats a skip as a failure when the recordings'
folder stands beside the project.
"""

from __future__ import annotations

import io
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
TIERS = ("commit", "gate", "soak")

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="recordings: ../shared is not there; put the recordings beside the project")


def recording(path: str | Path) -> Iterator[dict[str, Any]]:
    """Yield each line of a recording as a dict: t_ns (int or None), venue, channel, raw (the frame's text).

    path: relative to `../shared/feeds`, or absolute; one JSON object a line, zstd-compressed.
    """
    reader = zstandard.ZstdDecompressor()
    with (SHARED / "feeds" / path).open("rb") as source, reader.stream_reader(source) as plain:
        for line in io.TextIOWrapper(plain, encoding="utf-8"):
            if line.strip():
                yield orjson.loads(line)


def tier() -> str:
    """Return the tier in force: commit (default), gate or soak; set by PM_TIER or `./pm test --tier`."""
    value = os.environ.get("PM_TIER") or "commit"
    if value not in TIERS:
        raise pytest.UsageError(f"PM_TIER is one of {', '.join(TIERS)}, was {value!r}")
    return value


def scaled(commit: int, gate: int, soak: int | None = None) -> int:
    """Return the count of the tier in force; soak is the gate's count unless given."""
    return {"commit": commit, "gate": gate, "soak": gate if soak is None else soak}[tier()]


def fresh_seed() -> int:
    """Return this session's one new seed; PM_FRESH_SEED repeats an old session's. Printed in the header."""
    # Kept in the environment so that worker processes collect the same tests.
    return int(os.environ.setdefault("PM_FRESH_SEED", str(random.SystemRandom().randrange(1_000_000, 2**31))))


def seeds(count: int) -> list[int]:
    """Return `count` seeds for parametrize: 0, 1, 2, ... and, as the last, this session's fresh one."""
    return [*range(count - 1), fresh_seed()]


def wait_until(
    condition: Callable[[], object], seconds: float = 10.0, what: str = "the condition",
    pause_s: float = 0.001,
) -> None:
    """Poll until `condition()` is true; fails the test after `seconds`. This, never a sleep."""
    pause = threading.Event()
    deadline_s = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline_s:
            pytest.fail(f"{what} was not true within {seconds} s")
        pause.wait(pause_s)
