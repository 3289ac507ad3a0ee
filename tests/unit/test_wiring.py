"""run.wiring: each channel has one writer; a lane is woken by what it sleeps on, early only beside us."""

from __future__ import annotations

import pytest

from pipeline.config.topology import load_topology
from pipeline.run import wiring

LANES = {
    "core": ("feed.polymarket.0", "sequencer", "book", "detect", "trade"), "signer": ("signer.main",),
    "edge": ("gateway.main", "account.main"), "back": ("refdata.polymarket", "archive", "observe")}


@pytest.mark.parametrize("name", ["1core", "2core", "4core", "8core", "16core"])
def test_every_channel_has_one_writer_and_a_reader(name: str) -> None:
    """Rings and logs of each layout: written by exactly one stage, the supervisor's apart, and read."""
    stages = [stage for lane in load_topology(name).lanes for stage in lane.stages]
    written = [channel for stage in stages for channel in wiring.writes(stage, stages)]
    read = {channel for stage in stages for channel in wiring.reads(stage, stages)}

    assert len(written) == len(set(written))
    assert {*written, wiring.CONTROL} == read
    assert set(wiring.rings(stages)) | set(wiring.LOGS) == {*written, wiring.CONTROL}


@pytest.mark.parametrize(
    ("stage", "own", "beside", "wakes"),
    [
        ("detect", "core", {"signer", "back"}, {"signer": ["hints.main", "profit near"]}),
        ("detect", "core", set(), {}),  # on our CPU the signer would only come first
        ("trade", "core", {"signer", "edge"}, {
            "signer": ["decisions"], "edge": ["cancel decided", "package decided"]}),
        ("trade", "core", {"signer"}, {"signer": ["decisions"], "edge": ["cancel decided"]}),
        ("signer.main", "signer", {"edge"}, {"edge": ["signed.main"]}),
        ("gateway.main", "edge", set(), {"core": ["report.main"]}),
        ("book", "core", set(), {}),  # whoever reads its ring is in the same lane
        ("archive", "back", {"core"}, {}),
    ],
)
def test_a_stage_wakes_who_sleeps_on_what_it_tells(
    stage: str, own: str, beside: set[str], wakes: dict[str, list[str]],
) -> None:
    """Signals and channels wake the lanes that wait for them; what only announces work, on other CPUs."""
    assert wakes == wiring.lanes_to_wake(stage, LANES, own, beside)
