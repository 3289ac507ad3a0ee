"""Which stages share a process, and which CPU it is pinned to. Only this knows.

Reads `config/topology/<name>.toml`: a list of lanes, each with its stages in the order they are polled.
`plan` is what a start uses: the file, this machine's changes, and every check; `fold` squeezes a bigger
layout onto the CPUs that are there, for tests and for looking.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.config.lane import Lane
from pipeline.config.load import Config
from pipeline.errors import ConfigError, EnvironmentProblem

TOPOLOGY_DIR = Path(__file__).resolve().parent.parent.parent / "config" / "topology"
WAITS = ("spin", "yield", "block")
LANE_KEYS = {"name", "stages", "cpu", "wait", "nice", "realtime", "awake"}
LANES_MAX = 64
STAGES_MAX = 64
# The chain and its followers, once each.
SINGLE = ("sequencer", "book", "detect", "trade", "archive", "observe")
OPTIONAL = ("solve",)
# Stages that come once per venue, shard or account.
NAMED = {
    "feed": r"[a-z0-9_-]+\.(0|[1-9]\d*)",
    "refdata": r"[a-z0-9_-]+",
    "account": r"[a-z0-9_-]+",
    "signer": r"[a-z0-9_-]+",
    "gateway": r"[a-z0-9_-]+",
}
SOCKET_STAGES = ("feed", "refdata", "account", "gateway", "observe")


@dataclass(frozen=True, slots=True)
class LaneSpec:
    """One process: stages in polling order, the CPU it is pinned to (None: any), how it idles."""

    name: str
    stages: tuple[str, ...]
    cpu: int | None
    wait: str
    nice: int
    realtime: bool = False  # SCHED_FIFO where the kernel lets us: short work that others wait for
    awake: bool = False  # while it runs, idle CPUs poll instead of sleeping, where the kernel lets us


@dataclass(frozen=True, slots=True)
class Topology:
    """A layout as its file says, before this machine's changes."""

    name: str
    lanes: tuple[LaneSpec, ...]


def load_topology(name: str, folder: Path = TOPOLOGY_DIR) -> Topology:
    """Return the layout `name`; raises ConfigError when it is absent or contradicts itself."""
    path = folder / f"{name}.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = sorted(file.stem for file in folder.glob("*.toml"))
        raise ConfigError(
            f"topology: {name!r} is not one of {', '.join(known) or 'none'}; see {folder}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    lanes = table.get("lane")
    if set(table) != {"lane"} or not isinstance(lanes, list) or not 1 <= len(lanes) <= LANES_MAX:
        raise ConfigError(f"{path}: expected 1 to {LANES_MAX} tables [[lane]] and nothing else")
    topology = Topology(name, tuple(_lane(lane, f"{path}: lane {index}") for index, lane in enumerate(lanes)))
    check_lanes(topology.lanes, str(path))
    return topology


def plan(
    config: Config,
    *,
    cpus_present: Iterable[int] | None = None,
    virtual: bool = False,
    folder: Path = TOPOLOGY_DIR,
) -> tuple[LaneSpec, ...]:
    """Return the lanes to start: the layout, the changes of `[lane.*]`, every check done.

    cpus_present: CPUs this process may use; the kernel is asked when not given. virtual: fold onto them.
    Raises ConfigError for a contradiction, EnvironmentProblem when this machine lacks a CPU.
    """
    present = tuple(sorted(os.sched_getaffinity(0) if cpus_present is None else cpus_present))
    lanes = apply_changes(load_topology(config.topology, folder).lanes, config.lane)
    check_lanes(lanes, f"topology {config.topology}")
    check_stages(lanes, config)
    if virtual:
        return fold(lanes, present)
    check_cpus(lanes, present)
    return lanes


def apply_changes(lanes: Sequence[LaneSpec], changes: dict[str, Lane]) -> tuple[LaneSpec, ...]:
    """Return the lanes with this machine's CPU, wait and niceness; raises ConfigError for an unknown lane."""
    names = [lane.name for lane in lanes]
    for name in changes:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1, 0.5)
            hint = f"did you mean lane.{near[0]}?" if near else f"its lanes: {', '.join(names)}"
            raise ConfigError(f"lane.{name} is not in the topology; {hint}")
    return tuple(
        replace(lane, **changes[lane.name].model_dump(exclude_none=True)) if lane.name in changes else lane
        for lane in lanes
    )


def fold(lanes: Sequence[LaneSpec], cpus_present: Iterable[int]) -> tuple[LaneSpec, ...]:
    """Return the lanes squeezed onto the CPUs present, round robin; none spins.

    A lane that would spin yields where it still has a CPU to itself and blocks where it shares one: each
    yield gives a whole time slice away, and lanes that never sleep leave the others of their CPU little.
    """
    present = tuple(sorted(cpus_present))
    folded = [
        replace(lane, cpu=None if lane.cpu is None else present[lane.cpu % len(present)]) for lane in lanes]
    users = Counter(lane.cpu for lane in folded)
    return tuple(
        replace(lane, wait="yield" if users[lane.cpu] == 1 else "block") if lane.wait == "spin" else lane
        for lane in folded)


def check_lanes(lanes: Sequence[LaneSpec], where: str) -> None:
    """Check what holds on every machine; raises ConfigError."""
    for name, count in Counter(lane.name for lane in lanes).items():
        if count > 1:
            raise ConfigError(f"{where}: lane {name} stands {count} times; give each lane its own name")
    stages = Counter(stage for lane in lanes for stage in lane.stages)
    for stage, count in stages.items():
        if count > 1:
            raise ConfigError(f"{where}: stage {stage} stands {count} times; a stage runs in one lane")
        check_stage_name(stage, where)
    for stage in SINGLE:
        if stage not in stages:
            raise ConfigError(f"{where}: stage {stage} is missing; add it to a lane")
    for lane in lanes:
        if any(stage.startswith("signer.") for stage in lane.stages):
            _check_signer(lane, where)
    for lane in lanes:
        if lane.wait == "spin":
            _check_spin(lane, lanes, where)
        if lane.realtime and lane.wait != "block":
            raise ConfigError(
                f"{where}: lane {lane.name} is realtime and never sleeps (wait {lane.wait}), so nothing else "
                'would run on its CPU; set wait = "block" or realtime = false')


def check_stage_name(stage: str, where: str) -> None:
    """Raise ConfigError for a stage that does not exist."""
    if stage in SINGLE or stage in OPTIONAL:
        return
    prefix, _, rest = stage.partition(".")
    if prefix in NAMED and re.fullmatch(NAMED[prefix], rest):
        return
    known = [
        *SINGLE,
        *OPTIONAL,
        "feed.<venue>.<shard>",
        *(f"{name}.<name>" for name in NAMED if name != "feed"),
    ]
    near = difflib.get_close_matches(stage, known, 1, 0.5)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    raise ConfigError(f"{where}: stage {stage!r} is not known; {hint}")


def check_stages(lanes: Sequence[LaneSpec], config: Config) -> None:
    """Check that the stages of venues, shards and accounts are those of the configuration."""
    have = {stage for lane in lanes for stage in lane.stages if stage.partition(".")[0] in NAMED}
    want = {
        "refdata.polymarket",
        *(f"feed.polymarket.{k}" for k in range(config.venues.polymarket.feed_shards)),
    }
    names = tuple(config.accounts) or ("main",)  # a layout may be looked at before there is a wallet
    want |= {f"{prefix}.{name}" for prefix in ("account", "signer", "gateway") for name in names}
    if missing := sorted(want - have):
        raise ConfigError(
            f"topology {config.topology}: stage {missing[0]} is missing, which venues and accounts ask for; "
            "add it to a lane"
        )
    if extra := sorted(have - want):
        raise ConfigError(
            f"topology {config.topology}: stage {extra[0]} belongs to no venue, shard or account of the "
            "configuration; remove it or configure it"
        )


def check_cpus(lanes: Sequence[LaneSpec], present: Sequence[int]) -> None:
    """Raise EnvironmentProblem when a lane asks for what this machine does not have."""
    for lane in lanes:
        if lane.cpu is not None and lane.cpu not in present:
            raise EnvironmentProblem(
                f"lane {lane.name}: cpu {lane.cpu} does not exist here or is not ours (present: "
                f"{_ranges(present)}); set [lane.{lane.name}] cpu, take a smaller topology, or --cpus virtual"
            )
    spinning = sum(lane.wait == "spin" for lane in lanes)
    if spinning >= len(present):
        raise EnvironmentProblem(
            f"topology: {spinning} lanes spin on {len(present)} CPUs, at most {max(len(present) - 1, 0)} "
            'may; set wait = "yield" or "block" for the others'
        )


def _lane(table: Any, where: str) -> LaneSpec:
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: expected a table [[lane]]")
    for key in table:
        if key not in LANE_KEYS:
            near = difflib.get_close_matches(key, LANE_KEYS, 1, 0.5)
            raise ConfigError(
                f"{where}: {key} is not a known key; {f'did you mean {near[0]}?' if near else 'remove it'}"
            )
    name, stages, cpu = table.get("name"), table.get("stages"), table.get("cpu")
    wait, nice = table.get("wait", "block"), table.get("nice", 0)
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_-]{0,15}", name):
        raise ConfigError(f"{where}: name: expected 1 to 16 small letters, digits, - and _, was {name!r}")
    if (
        not isinstance(stages, list)
        or not 1 <= len(stages) <= STAGES_MAX
        or not all(isinstance(s, str) for s in stages)
    ):
        raise ConfigError(
            f"{where}: stages: expected a list of 1 to {STAGES_MAX} stage names, was {stages!r}"
        )
    if cpu is not None and (type(cpu) is not int or not 0 <= cpu <= 4095):
        raise ConfigError(f"{where}: cpu: expected a CPU number from 0, was {cpu!r}")
    if wait not in WAITS:
        raise ConfigError(f"{where}: wait: expected {', '.join(WAITS)}, was {wait!r}")
    if type(nice) is not int or not -20 <= nice <= 19:
        raise ConfigError(f"{where}: nice: expected -20 to 19, was {nice!r}")
    flags = {key: table.get(key, False) for key in ("realtime", "awake")}
    for key, value in flags.items():
        if type(value) is not bool:
            raise ConfigError(f"{where}: {key}: expected true or false, was {value!r}")
    return LaneSpec(name, tuple(stages), cpu, wait, nice, **flags)


def _check_signer(lane: LaneSpec, where: str) -> None:
    """The wallet key never shares a process with a socket."""
    for stage in lane.stages:
        if stage.partition(".")[0] in SOCKET_STAGES:
            raise ConfigError(
                f"{where}: lane {lane.name} holds the wallet key and {stage}, which has a socket; give the "
                "signer a lane of its own"
            )


def _check_spin(lane: LaneSpec, lanes: Sequence[LaneSpec], where: str) -> None:
    """A spinning lane owns its CPU: whoever shares it would never run."""
    if lane.cpu is None:
        raise ConfigError(
            f'{where}: lane {lane.name} spins and needs a cpu of its own; set cpu, or wait = "yield"'
        )
    for other in lanes:
        if other is not lane and other.cpu == lane.cpu:
            raise ConfigError(
                f"{where}: lane {lane.name} spins on cpu {lane.cpu}, which lane {other.name} uses as well; "
                'move one, or set wait = "yield"'
            )


def _ranges(numbers: Sequence[int]) -> str:
    """Return "0-3,8" for 0, 1, 2, 3, 8."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)
