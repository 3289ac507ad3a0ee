"""Checkpoint files: written whole or not at all, and the newest one that fits the logs found again.

A file `<position in decisions, 20 digits>.checkpoint` in the state directory's `checkpoints` holds what
`core.checkpoint` serialises. Written by `archive`; read by whoever starts trade or archive again.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.checkpoint import restore
from pipeline.core.trader import Trader
from pipeline.errors import LayoutError, LogCorrupt
from pipeline.store.durable import write_durably
from pipeline.store.refold import recover
from pipeline.store.segments import reading

CHECKPOINTS_KEPT = 4
_SUFFIX, _PARTIAL = ".checkpoint", ".partial"
OnSkip = Callable[[Path, str], object]  # a file that cannot be used, and why


def write(directory: Path, data: bytes, decisions_seq: int, kept: int = CHECKPOINTS_KEPT) -> Path:
    """Write the checkpoint taken at `decisions_seq`, remove all but the newest `kept`; raises OSError."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / f"{decisions_seq:020d}{_SUFFIX}"
    write_durably(path, data)
    for old in files(directory)[:-kept]:
        old.unlink(missing_ok=True)
    for partial in directory.glob(f"*{_SUFFIX}{_PARTIAL}"):  # a crash left it
        partial.unlink(missing_ok=True)
    return path


def files(directory: Path) -> list[Path]:
    """Return the checkpoint files, oldest first."""
    return sorted(path for path in directory.glob(f"*{_SUFFIX}") if path.stem.isdigit())


@contextmanager
def _no_collector() -> Iterator[None]:
    """Hold the garbage collector: a million new objects, none of them garbage, took it 40 % of a load."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _nobody(_path: Path, _reason: str) -> None:
    """Nobody asked why a file was skipped."""


def load_newest(
    directory: Path, stream_end: int, decisions_end: int, on_skip: OnSkip = _nobody,
) -> tuple[Trader, int, int] | None:
    """Return the newest usable checkpoint's trader and its positions in stream and decisions.

    Usable: whole, of this layout, and not ahead of the logs' ends (the logs lost their tails with the power
    then). Others are skipped and told to `on_skip`; None when none is left: fold from the logs' beginnings.
    """
    for path in reversed(files(directory)):
        try:
            with _no_collector():
                trader, stream_seq, decisions_seq = restore(path.read_bytes())
        except (OSError, LogCorrupt, LayoutError) as problem:
            on_skip(path, str(problem))
            continue
        if stream_seq > stream_end or decisions_seq > decisions_end:
            on_skip(path, f"store.checkpoints: taken at {stream_seq} of stream and {decisions_seq} of "
                          f"decisions, the logs end at {stream_end} and {decisions_end}")
            continue
        return trader, stream_seq, decisions_seq
    return None


def recovered(
    checkpoints: Path, logs: Path, stream_end: int, decisions_end: int, on_skip: OnSkip = _nobody,
) -> Trader:
    """Return trade's state at the two ends: the newest checkpoint and what `logs` hold after it.

    logs: `<state_dir>/logs`; where they no longer reach back to where the fold begins, `archive` beside them
    does. Every record is proven on the way; raises LogCorrupt for damage,
    EnvironmentProblem when the beginning is nowhere.
    """
    trader, stream_seq, decisions_seq = (
        load_newest(checkpoints, stream_end, decisions_end, on_skip) or (Trader(), 0, 0))
    with (
        reading(logs.parent, "stream", stream_seq, verify=True) as stream,
        reading(logs.parent, "decisions", decisions_seq, verify=True) as decisions,
    ):
        recover(trader, stream, decisions, stream_end, decisions_end)
    return trader
