"""Lane layouts: the shipped ones, this machine's changes, folding, and each refusal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import LaneSpec, fold, load, load_topology, plan
from pipeline.errors import ConfigError, EnvironmentProblem, PipelineError

CHAIN = ("feed.polymarket.0", "sequencer", "book", "detect", "trade")
EVERY_STAGE = {
    *CHAIN,
    "signer.main",
    "gateway.main",
    "account.main",
    "refdata.polymarket",
    "archive",
    "observe",
}
GOOD = """
[[lane]]
name = "core"
stages = ["feed.polymarket.0", "sequencer", "book", "detect", "trade"]
cpu = 0
wait = "block"
[[lane]]
name = "signer"
stages = ["signer.main"]
cpu = 1
[[lane]]
name = "rest"
stages = ["gateway.main", "account.main", "refdata.polymarket", "archive", "observe"]
cpu = 1
nice = 19
"""


@pytest.mark.parametrize(
    ("name", "cpus"),
    [
        ("1core", {0}),
        ("2core", {0, 1}),
        ("4core", {0, 1, 2, 3}),
        ("8core", set(range(8))),
        ("16core", set(range(11))),  # the rest is free for the kernel and for more feeds and wallets
    ],
)
def test_shipped_layouts_run_every_stage_once(name: str, cpus: set[int]) -> None:
    """Each shipped layout has all stages of one venue and one wallet, on the CPUs its name promises."""
    lanes = plan(load(overrides={"topology": name}), cpus_present=cpus)
    assert EVERY_STAGE == {stage for lane in lanes for stage in lane.stages}
    assert cpus == {lane.cpu for lane in lanes}
    assert "signer.main" in {lane.stages[0] for lane in lanes if len(lane.stages) == 1}


@pytest.mark.parametrize("name", ["8core", "16core"])
def test_big_layouts_never_sleep_on_the_path(name: str) -> None:
    """Every stage of the chain, signer and gateway: a lane of its own that spins on a CPU of its own."""
    lanes = load_topology(name).lanes
    path = [lane for lane in lanes if lane.stages[0] in {*CHAIN, "signer.main", "gateway.main"}]
    assert 7 == len(path)
    for lane in path:
        assert (1, "spin", 1) == (len(lane.stages), lane.wait, sum(x.cpu == lane.cpu for x in lanes)), lane
    folded = plan(load(overrides={"topology": name}), cpus_present=(0, 1), virtual=True)
    assert {"block"} == {lane.wait for lane in folded}


def test_two_core_layout_is_the_declared_one() -> None:
    """CPU 0 carries the chain in one lane, in stream order, and the gateway; CPU 1 all the others."""
    lanes = load_topology("2core").lanes
    assert LaneSpec("core", CHAIN, 0, "block", 0, awake=True) == lanes[0]
    others = [
        ("signer", 1, 0, True), ("gateway", 0, 0, True), ("account", 1, 0, False), ("back", 1, 19, False)]
    assert others == [(lane.name, lane.cpu, lane.nice, lane.realtime) for lane in lanes[1:]]


def test_changes_of_this_machine_apply_to_their_lane_alone() -> None:
    """`[lane.gateway] cpu = 1` moves that lane and keeps everything else."""
    config = load(overrides={"lane.gateway.cpu": 1, "lane.gateway.nice": 5})
    before, after = load_topology("2core").lanes, plan(config, cpus_present=(0, 1))
    moved = [replace(lane, cpu=1, nice=5) if lane.name == "gateway" else lane for lane in before]
    assert moved == list(after)


BAD_FILES = [
    ("", "expected 1 to 64 tables [[lane]] and nothing else"),
    ("cpus = 2\n" + GOOD, "expected 1 to 64 tables [[lane]] and nothing else"),
    ("lane = [1]", "lane 0: expected a table"),
    (GOOD.replace("nice = 19", "niec = 19"), "lane 2: niec is not a known key; did you mean nice?"),
    (GOOD.replace('name = "rest"', 'name = "core"'), "lane core stands 2 times"),
    (GOOD.replace('name = "rest"', 'name = "The Rest"'), "lane 2: name: expected 1 to 16 small letters"),
    (GOOD.replace('"observe"]', '"observe", "book"]'), "stage book stands 2 times"),
    (GOOD.replace('"observe"]', '"obsrve"]'), "stage 'obsrve' is not known; did you mean observe?"),
    (GOOD.replace("feed.polymarket.0", "feed.polymarket.x"), "stage 'feed.polymarket.x' is not known"),
    (GOOD.replace('"feed.polymarket.0", "sequencer",', '"feed.polymarket.0",'), "stage sequencer is missing"),
    (GOOD.replace('["signer.main"]', "[]"), "lane 1: stages: expected a list of 1 to 64 stage names"),
    (
        GOOD.replace('["signer.main"]', '"signer.main"'),
        "lane 1: stages: expected a list of 1 to 64 stage names",
    ),
    (GOOD.replace("cpu = 0", 'cpu = "0"'), "lane 0: cpu: expected a CPU number from 0, was '0'"),
    (GOOD.replace("cpu = 0", "awake = 1"), "lane 0: awake: expected true or false, was 1"),
    (GOOD.replace("cpu = 0", 'realtime = "yes"'), "lane 0: realtime: expected true or false, was 'yes'"),
    (GOOD.replace("cpu = 0", "cpu = true"), "lane 0: cpu: expected a CPU number from 0, was True"),
    (GOOD.replace('"block"', '"sleep"'), "lane 0: wait: expected spin, yield, block, was 'sleep'"),
    (GOOD.replace("nice = 19", "nice = 20"), "lane 2: nice: expected -20 to 19, was 20"),
    (
        GOOD.replace('["signer.main"]', '["signer.main", "solve"]')
        .replace('"gateway.main", ', "")
        .replace('"solve"]', '"gateway.main"]'),
        "lane signer holds the wallet key and gateway.main, which has a socket",
    ),
    (
        GOOD.replace('["signer.main"]', '["signer.main", "observe"]').replace(
            ', "observe"]\ncpu = 1\nnice', "]\ncpu = 1\nnice"
        ),
        "lane signer holds the wallet key and observe, which has a socket",
    ),
    (
        GOOD.replace("cpu = 0\n", "").replace('"block"', '"spin"'),
        "lane core spins and needs a cpu of its own",
    ),
    (
        GOOD.replace('"block"', '"spin"').replace("cpu = 1", "cpu = 0", 1),
        "lane core spins on cpu 0, which lane signer uses",
    ),
    ("[[lane]\n", "not valid TOML"),
]


@pytest.mark.parametrize(("text", "expected"), BAD_FILES, ids=range(len(BAD_FILES)))
def test_each_bad_layout_is_one_clear_line(tmp_path: Path, text: str, expected: str) -> None:
    """A wrong layout file is refused with one line that names the file."""
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ConfigError) as refusal:
        load_topology("mine", tmp_path)
    assert expected in str(refusal.value)
    assert str(tmp_path / "mine.toml") in str(refusal.value)
    assert "\n" not in str(refusal.value)


BAD_PLANS = [
    ({"topology": "3core"}, (0, 1), "topology: '3core' is not one of 16core, 1core, 2core, 4core, 8core"),
    ({"lane.cor.cpu": 0}, (0, 1), "lane.cor is not in the topology; did you mean lane.core?"),
    ({}, (0,), "lane signer: cpu 1 does not exist here or is not ours (present: 0)"),
    (
        {"lane.core.cpu": 9},
        (0, 1, 2, 3, 5),
        "lane core: cpu 9 does not exist here or is not ours (present: 0-3,5)",
    ),
    ({"topology": "4core"}, (0, 1), "lane detect: cpu 2 does not exist here or is not ours (present: 0-1)"),
    (
        {"lane.signer.wait": "spin", "lane.signer.realtime": False},
        (0, 1),
        "lane signer spins on cpu 1, which lane account uses as well",
    ),
    (
        {"topology": "1core", "lane.core.wait": "spin"},
        (0,),
        "lane core spins on cpu 0, which lane signer uses",
    ),
    (
        {
            "lane.signer.wait": "spin",
            "lane.signer.cpu": 2,
            "lane.signer.realtime": False,
        },
        (0, 2),
        "lane account: cpu 1 does not exist",
    ),
    ({"lane.gateway.wait": "yield"}, (0, 1), "lane gateway is realtime and never sleeps"),
    ({"venues.polymarket.feed_shards": 2}, (0, 1), "stage feed.polymarket.1 is missing"),
    (
        {
            f"accounts.other.{key}": value
            for key, value in (
                ("address", "0x" + "1" * 40),
                ("maker", "0x" + "1" * 40),
                ("key_file", "k"),
                ("api_file", "a"),
            )
        },
        (0, 1),
        "stage account.other is missing",
    ),
]


@pytest.mark.parametrize(("overrides", "present", "expected"), BAD_PLANS, ids=range(len(BAD_PLANS)))
def test_each_impossible_plan_is_one_clear_line(overrides, present, expected: str) -> None:
    """What this machine or this configuration cannot run is refused before anything starts."""
    with pytest.raises(PipelineError) as refusal:
        plan(load(overrides=overrides), cpus_present=present)
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)
    is_machine = "exist" in str(refusal.value)
    assert is_machine is isinstance(refusal.value, EnvironmentProblem)


def test_as_many_spinning_lanes_as_cpus_are_refused() -> None:
    """One CPU must stay free of spinning, or nothing else ever runs."""
    overrides = {
        "lane.core.wait": "spin",
        "lane.signer.wait": "spin",
        "lane.signer.realtime": False,
        "lane.signer.cpu": 1,
        "lane.gateway.wait": "spin",
        "lane.gateway.realtime": False,
        "lane.gateway.cpu": 2,
        "lane.account.wait": "spin",
        "lane.account.cpu": 4,
        "lane.back.wait": "spin",
        "lane.back.cpu": 3,
    }
    with pytest.raises(EnvironmentProblem, match="5 lanes spin on 5 CPUs, at most 4 may"):
        plan(load(overrides=overrides), cpus_present=range(5))
    assert 5 == sum(lane.wait == "spin" for lane in plan(load(overrides=overrides), cpus_present=range(6)))


@pytest.mark.parametrize("present", [(0,), (0, 1), (3, 5), (0, 1, 2, 3)])
def test_folding_uses_only_what_is_there_and_never_spins(present: tuple[int, ...]) -> None:
    """`--cpus virtual` keeps lanes, stages and order, uses every CPU, spins nowhere."""
    config = load(overrides={"topology": "4core", "lane.book.wait": "spin"})
    folded = plan(config, cpus_present=present, virtual=True)
    original = load_topology("4core").lanes
    assert [(lane.name, lane.stages, lane.nice) for lane in original] == [
        (x.name, x.stages, x.nice) for x in folded
    ]
    assert set(present) == {lane.cpu for lane in folded}
    assert ("yield" if len(present) == 4 else "block") == next(x.wait for x in folded if x.name == "book")
    assert "spin" not in {lane.wait for lane in folded}


def test_folding_leaves_unpinned_lanes_unpinned() -> None:
    """A lane without a CPU stays free to move."""
    assert (LaneSpec("x", ("book",), None, "block", 0),) == fold(
        [LaneSpec("x", ("book",), None, "block", 0)], (4,)
    )
