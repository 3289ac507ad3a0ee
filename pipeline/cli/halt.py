"""`pm halt` and `pm resume`: the operator's word on the halt page, with or without a running pipeline."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import orjson
import typer

from pipeline.cli.states import is_state, one_state, states_in
from pipeline.errors import EnvironmentProblem, RiskRefusal, UsageError
from pipeline.kinds import HaltLevel
from pipeline.shm import halt
from pipeline.shm.halt import HaltPage
from pipeline.store.words import utc_text

OWNER = "operator"
OTHERS_S_MAX = 1.0  # a pipeline that runs lets go within a few of its rounds (<= 200 ms)
POLL_S = 0.02
FORBIDS = {
    HaltLevel.H0: "nothing is forbidden",
    HaltLevel.H1: "no new risk: hedges, reductions and cancels only",
    HaltLevel.H2: "all open orders are cancelled, only hedges go out",
    HaltLevel.H3: "only cancels go out",
    HaltLevel.H4: "the pipeline stops and does not start",
}


def level_named(text: str) -> HaltLevel:
    """Return H1..H4 from "H3", "h3" or "3". Raises UsageError."""
    found = HaltLevel.__members__.get("H" + text.strip().upper().removeprefix("H"))
    if found is None or found == HaltLevel.H0:
        raise UsageError(f"halt: --level is H1, H2, H3 or H4, was {text!r}; pm resume lifts a halt")
    return found


def set_halt(directory: Path, level_text: str, reason: str, as_json: bool) -> None:
    """Latch the operator's halt: in the directory, or in every state directory right below it."""
    level = level_named(level_text)
    if not reason.strip():
        raise UsageError("halt: the reason is empty; say why, it is kept with the halt")
    for state in states_in(directory) or [_made(directory)]:
        facts = latch(state, level, reason.strip())
        was_raised = facts["was_raised"]
        _show(facts, "halted" if was_raised else "the operator's halt is at least as strict already", as_json)


def latch(state: Path, level: HaltLevel, reason: str) -> dict[str, Any]:
    """Raise the operator's word to the level, never lower it; return what holds then, and `was_raised`."""
    page = _page(state)
    try:
        was_raised = page.raise_to(level, now_ns=time.time_ns(), reason=reason)
        return {**_facts(state, page), "was_raised": was_raised}
    finally:
        page.close()


def clear_halt(directory: Path, reason: str, as_json: bool) -> None:
    """Clear the operator's own word; RiskRefusal when another owner still holds a level."""
    if not reason.strip():
        raise UsageError("resume: the reason is empty; say why it is safe again")
    state = one_state(directory)
    if not (state / halt.FILE_NAME).exists():
        raise EnvironmentProblem(
            f"resume: {state} has no halt page, so nothing is halted there; check --state"
        )
    page = _page(state)
    try:
        page.put(HaltLevel.H0, now_ns=time.time_ns(), reason=f"resumed: {reason.strip()}")
        _await_others(page)
        facts = _facts(state, page)
    finally:
        page.close()
    _show(facts, "resumed", as_json)
    if facts["owners"]:
        first = facts["owners"][0]
        raise RiskRefusal(
            f"resume: your halt is cleared, {first['level']} still holds by {first['owner']} "
            f"({first['reason']}); its owner clears it"
        )


def _await_others(page: HaltPage) -> None:
    """Give a running pipeline time to let go of what it latched: it follows our word, and asks again."""
    deadline = time.monotonic() + OTHERS_S_MAX
    while page.level() > HaltLevel.H0 and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _made(directory: Path) -> Path:
    """Make the state directory, so that a halt can stand before the first start."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise EnvironmentProblem(
            f"halt: {directory} cannot be made ({error.strerror}); check --state"
        ) from error
    return directory


def _page(state: Path) -> HaltPage:
    if not (state / halt.FILE_NAME).exists():
        try:
            halt.create(state)
        except EnvironmentProblem:
            if not is_state(state):  # another operator was faster
                raise
    return HaltPage(state, OWNER)


def _facts(state: Path, page: HaltPage) -> dict[str, Any]:
    return {
        "state": str(state),
        "level": page.level().name,
        "owners": [
            {
                "owner": entry.owner,
                "level": entry.level.name,
                "since_ns": entry.since_ns,
                "reason": entry.reason,
            }
            for entry in page.entries()
        ],
    }


def _show(facts: dict[str, Any], what: str, as_json: bool) -> None:
    if as_json:
        typer.echo(orjson.dumps(facts).decode())
        return
    level = HaltLevel[facts["level"]]
    typer.echo(f"{what}: {facts['state']} is at {level.name}: {FORBIDS[level]}")
    for owner in facts["owners"]:
        typer.echo(
            f"  {owner['owner']} {owner['level']} since {utc_text(owner['since_ns'])}: {owner['reason']}"
        )
