"""run.demo: when a demo has traded enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.run.demo import FULL_SPEED_S_MIN, DemoOptions, is_flow_over

RECORDING = (Path("one.jsonl.zst"),)
MAX: dict[str, Any] = {"feeds": RECORDING, "speed": "max", "seconds": 60}


@pytest.mark.parametrize(
    ("options", "ran_s", "is_flow_done", "expected"),
    [
        ({"seconds": 60}, 59.9, True, False),
        ({"seconds": 60}, 60.1, False, True),
        ({"feeds": RECORDING, "speed": "10", "seconds": 60}, 30.0, True, False),
        ({"speed": "max", "seconds": 60}, 30.0, True, False),  # generated flow has no end
        (MAX, 30.0, False, False),
        (MAX, 90.0, False, False),  # every frame of a long recording is played
        (MAX, FULL_SPEED_S_MIN - 0.1, True, False),  # a short recording: the planted event needs wall time
        (MAX, FULL_SPEED_S_MIN + 0.1, True, True),
        ({**MAX, "seconds": 2}, 2.1, True, True),
    ],
)
def test_a_demo_ends_with_its_time_or_its_recording(
    options: dict[str, Any], ran_s: float, is_flow_done: bool, expected: bool
) -> None:
    """Timed runs end by the clock; a recording at full speed by its last frame, after a few seconds."""
    assert expected == is_flow_over(DemoOptions(**options), ran_s, is_flow_done)
