"""Which channel each stage reads and writes: the picture in the architecture, as a table.

A stage's name is `<kind>` or `<kind>.<id>`; its channels follow from the kind. Whoever wants to know
what talks to what reads this file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

STREAM = "stream"
DECISIONS = "decisions"
CONTROL = "control"
CANCELS = "cancels"  # no channel of its own: the cancels in `decisions`
LOGS = (STREAM, DECISIONS)


@dataclass(frozen=True, slots=True)
class Wire:
    """One kind of stage. `{id}` stands for the id behind the stage's kind."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    woken_by: tuple[str, ...]  # channels whose writer must wake this stage; others wait <= 20 ms
    has_sockets: bool = False
    holds_wallet_key: bool = False
    is_core: bool = False  # part of the deterministic chain: restarts as one


EDGE_RINGS = ("feed.{id}", "refdata.{id}", "account.{id}", "report.{id}")

WIRES: dict[str, Wire] = {
    "feed": Wire((STREAM, DECISIONS), ("feed.{id}",), (), has_sockets=True),
    "refdata": Wire((DECISIONS,), ("refdata.{id}",), (), has_sockets=True),
    "account": Wire((STREAM, DECISIONS), ("account.{id}",), (), has_sockets=True),
    "sequencer": Wire((*EDGE_RINGS, CONTROL), (STREAM,), (*EDGE_RINGS, CONTROL), is_core=True),
    "book": Wire((STREAM,), ("tops",), (STREAM,), is_core=True),
    "detect": Wire(("tops",), ("ideas",), ("tops",), is_core=True),
    "trade": Wire(("ideas",), (DECISIONS,), ("ideas",), is_core=True),
    "signer": Wire((DECISIONS, STREAM), ("signed.{id}",), (DECISIONS,), holds_wallet_key=True),
    "gateway": Wire(
        ("signed.{id}", DECISIONS, STREAM), ("report.{id}",), ("signed.{id}", CANCELS), has_sockets=True),
    "archive": Wire((STREAM, DECISIONS), (), ()),
    "observe": Wire((STREAM, DECISIONS), (), ()),
}


def split_name(stage: str) -> tuple[str, str]:
    """Return (kind, id) of a stage's name; "feed.polymarket.0" is ("feed", "polymarket.0")."""
    kind, _, ident = stage.partition(".")
    return kind, ident


def _expand(patterns: Iterable[str], stages: Iterable[str], own: str) -> list[str]:
    """Return the channels of `patterns`; for a stage without an id, of every stage that has one."""
    channels: list[str] = []
    for pattern in patterns:
        if "{id}" not in pattern:
            channels.append(pattern)
            continue
        if split_name(own)[1]:
            channels.append(pattern.format(id=split_name(own)[1]))
            continue
        prefix = pattern.partition(".")[0]
        writer_kind = "gateway" if prefix == "report" else prefix
        channels += [
            pattern.format(id=ident) for kind, ident in map(split_name, stages) if kind == writer_kind
        ]
    return channels


def reads(stage: str, stages: Iterable[str]) -> list[str]:
    """Return the channels that `stage` reads, given all stages of the run."""
    return _expand(WIRES[split_name(stage)[0]].reads, list(stages), stage)


def writes(stage: str, stages: Iterable[str]) -> list[str]:
    """Return the channels that `stage` writes."""
    return _expand(WIRES[split_name(stage)[0]].writes, list(stages), stage)


def woken_by(stage: str, stages: Iterable[str]) -> list[str]:
    """Return the channels whose writers wake `stage`."""
    return _expand(WIRES[split_name(stage)[0]].woken_by, list(stages), stage)


def rings(stages: Iterable[str]) -> list[str]:
    """Return every ring of a run, each with exactly one writer; the supervisor writes `control`."""
    listed = list(stages)
    return [CONTROL, *(name for stage in listed for name in writes(stage, listed) if name not in LOGS)]


def lanes_to_wake(lane_stages: Iterable[str], lanes: dict[str, tuple[str, ...]], own: str) -> dict[str, list[str]]:
    """Return the other lanes that may sleep on what this lane's stages write, each with those channels."""
    everything = [stage for stages in lanes.values() for stage in stages]
    written = {channel for stage in lane_stages for channel in writes(stage, everything)}
    if DECISIONS in written:
        written.add(CANCELS)
    found = {}
    for lane, stages in lanes.items():
        wanted = {channel for stage in stages for channel in woken_by(stage, everything)}
        if lane != own and written & wanted:
            found[lane] = sorted(written & wanted)
    return found
