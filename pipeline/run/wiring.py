"""Which channel each stage reads and writes: the picture in the architecture, as a table.

A stage's name is `<kind>` or `<kind>.<id>`; its channels follow from the kind. Whoever wants to know
what talks to what reads this file.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

STREAM = "stream"
DECISIONS = "decisions"
CONTROL = "control"
#: Not channels but counts that a stage keeps, for wakes that a channel would make too often or too late.
PROFIT_NEAR = "profit near"  # detect: an idea is likely, the signer had better be awake
PACKAGE_DECIDED = "package decided"  # trade: a request follows as soon as it is signed
CANCEL_DECIDED = "cancel decided"  # trade: of all decisions only this one concerns a gateway directly
LOGS = (STREAM, DECISIONS)


@dataclass(frozen=True, slots=True)
class Wire:
    """One kind of stage. `{id}` stands for the id behind the stage's kind."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    woken_by: tuple[str, ...]  # channels whose writer must wake this stage; others wait <= 200 ms
    has_sockets: bool = False
    holds_wallet_key: bool = False
    is_core: bool = False  # part of the deterministic chain: restarts as one
    signals: tuple[str, ...] = ()  # counts in its `signals` that may wake others


#: Rings whose id is that of a stage of another kind: whoever writes reports, or reads hints.
_NAMED_AFTER = {"report": "gateway", "hints": "signer"}
#: These go on from the archive: what they have not read may be deleted.
_PINS_NOTHING = ("archive", "observe")
EDGE_RINGS = ("feed.{id}", "refdata.{id}", "account.{id}", "report.{id}")

WIRES: dict[str, Wire] = {
    "feed": Wire((STREAM, DECISIONS), ("feed.{id}",), (), has_sockets=True),
    "refdata": Wire((STREAM,), ("refdata.{id}",), (), has_sockets=True),
    "account": Wire((STREAM, DECISIONS), ("account.{id}",), (), has_sockets=True),
    "sequencer": Wire((*EDGE_RINGS, CONTROL), (STREAM,), (*EDGE_RINGS, CONTROL), is_core=True),
    "book": Wire((STREAM,), ("tops",), (STREAM,), is_core=True),
    "detect": Wire(("tops",), ("ideas", "hints.{id}"), ("tops",), is_core=True, signals=(PROFIT_NEAR,)),
    "trade": Wire(
        ("ideas",), (DECISIONS,), ("ideas",), is_core=True, signals=(PACKAGE_DECIDED, CANCEL_DECIDED)),
    "signer": Wire(
        (DECISIONS, "hints.{id}", STREAM), ("signed.{id}",), (DECISIONS, "hints.{id}", PROFIT_NEAR),
        holds_wallet_key=True),
    "gateway": Wire(
        ("signed.{id}", DECISIONS, STREAM), ("report.{id}",),
        ("signed.{id}", PACKAGE_DECIDED, CANCEL_DECIDED), has_sockets=True),
    "archive": Wire((STREAM, DECISIONS), (), ()),
    "observe": Wire((STREAM, DECISIONS), (), ()),
}


def split_name(stage: str) -> tuple[str, str]:
    """Return (kind, id) of a stage's name; "feed.polymarket.0" is ("feed", "polymarket.0")."""
    kind, _, ident = stage.partition(".")
    return kind, ident


def needs(stage: str, log: str) -> bool:
    """Tell whether trading needs this stage's place in a log: what is not read yet must not be deleted."""
    kind = split_name(stage)[0]
    return log in WIRES[kind].reads and kind not in _PINS_NOTHING


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
        named_after = _NAMED_AFTER.get(prefix, prefix)
        channels += [
            pattern.format(id=ident) for kind, ident in map(split_name, stages) if kind == named_after
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


def tells(stage: str, stages: Iterable[str]) -> list[str]:
    """Return everything by which `stage` may wake others: its channels and its signals."""
    return [*writes(stage, stages), *WIRES[split_name(stage)[0]].signals]


def is_early(thing: str) -> bool:
    """Tell whether a wake by this is for work beside ours: on our own CPU it would only come first.

    What only announces work: an order that may come, or that is decided and not signed yet.
    """
    return thing in (PROFIT_NEAR, PACKAGE_DECIDED) or thing.startswith("hints.")


def lanes_to_wake(
    stage: str, lanes: dict[str, tuple[str, ...]], own: str, beside: Container[str],
) -> dict[str, list[str]]:
    """Return the lanes other than `own` that may sleep on what `stage` tells, each with those things.

    beside: the lanes on other CPUs than ours; the others are not woken early.
    """
    everything = [one for stages in lanes.values() for one in stages]
    told = set(tells(stage, everything))
    found = {}
    for lane, stages in lanes.items():
        wanted = told & {name for one in stages for name in woken_by(one, everything)}
        things = sorted(name for name in wanted if lane in beside or not is_early(name))
        if lane != own and things:
            found[lane] = things
    return found
