"""tests.tools.turns: a test that needs the machine for itself has it, and is not kept waiting by a crowd."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.shared import wait_until
from tests.tools.turns import Turns


class Runner:
    """One worker with one test: it says when it runs, and ends when it is told to."""

    def __init__(self, folder: Path, is_alone: bool) -> None:
        self.runs, self._may_end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._go, args=(folder, is_alone))
        self._thread.start()

    def _go(self, folder: Path, is_alone: bool) -> None:
        turns = Turns(folder)
        with turns.take(is_alone):
            self.runs.set()
            self._may_end.wait(30)
            self.runs.clear()
        turns.close()

    def end(self) -> None:
        self._may_end.set()
        self._thread.join(30)


def test_who_wants_to_be_alone_is_next_and_alone(tmp_path: Path) -> None:
    """Two run together; a third waits for both, and one that comes later waits for it."""
    first, second = Runner(tmp_path, False), Runner(tmp_path, False)
    wait_until(lambda: first.runs.is_set() and second.runs.is_set(), 10, "two at once")
    alone = Runner(tmp_path, True)
    first.end()
    late = Runner(tmp_path, False)
    assert not alone.runs.wait(0.1)
    second.end()
    if late.runs.wait(0.1):  # it may have passed the door before
        late.end()
    wait_until(alone.runs.is_set, 10, "its turn")
    last = Runner(tmp_path, False)
    assert not last.runs.wait(0.1)
    alone.end()
    for one in (last, late):
        one.end()
    assert not last.runs.is_set()
