"""Who may run now, among worker processes: a test that needs the machine for itself waits for all others.

Two empty files in a folder that all workers of a session share. Everybody passes the door on the way into the
room; who wants to be alone holds the door until the room is empty, so that a crowd cannot keep it waiting.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


class Turns:
    """One worker's view of the folder's two locks; the kernel takes a dead worker's away."""

    def __init__(self, folder: Path) -> None:
        self._door: TextIO = (folder / "door").open("w")
        self._room: TextIO = (folder / "room").open("w")

    @contextmanager
    def take(self, is_alone: bool) -> Iterator[None]:
        """Wait for the turn and hold it: with whoever else runs, or with nobody."""
        fcntl.flock(self._door, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._room, fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH)
        finally:
            fcntl.flock(self._door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._room, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let both files go."""
        self._door.close()
        self._room.close()
