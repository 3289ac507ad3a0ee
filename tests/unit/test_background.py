"""store.background: disk work beside a lane; what comes of it comes back, whatever that is."""

from __future__ import annotations

import threading

import pytest

from pipeline.store.background import Background, Broken
from tests.shared import wait_until


def test_a_lane_never_waits_for_a_job() -> None:
    """Disk work runs beside: the lane goes on while it stalls, and sees its result later."""
    gate, worker = threading.Event(), Background("test")
    worker.submit(gate.wait)
    worker.submit(lambda: 7)
    assert ([], 2) == (worker.results(), worker.waiting)
    gate.set()
    found: list[object] = []
    wait_until(lambda: found.extend(worker.results()) or len(found) == 2)
    assert ([True, 7], 0) == (found, worker.waiting)

    def fail() -> None:
        raise OSError(5, "no")

    worker.submit(fail)
    assert worker.close(5.0)
    assert [OSError] == [type(one) for one in worker.results()]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_broken_job_is_told_and_ends_the_thread() -> None:
    """Nothing of ours fails in silence because it failed in another thread."""
    worker = Background("test")
    worker.submit(lambda: 1 // 0)
    found: list[object] = []
    wait_until(lambda: found.extend(worker.results()) or found)
    assert [Broken] == [type(one) for one in found]
    assert worker.close(5.0)
