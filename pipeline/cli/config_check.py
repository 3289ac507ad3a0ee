"""`pm config check`: is this configuration right, and where does each value come from? Starts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import typer

from pipeline.config.files import check_files
from pipeline.config.load import DEFAULT, Config, config_hash, leaves, load, parse_override
from pipeline.config.topology import plan
from pipeline.errors import EnvironmentProblem, UsageError
from pipeline.run.checks import check_accounts
from pipeline.units import usd_text

LIMIT_SECTIONS = ("risk.", "strategies.", "execution.")


def check(config_files: Sequence[Path], set_: Sequence[str], cpus: str, as_json: bool) -> None:
    """Print what holds; raises ConfigError, or EnvironmentProblem for a CPU that is not here."""
    if not config_files:
        raise UsageError("config check: no file; give one, such as pm config check config/paper.toml")
    if cpus not in ("auto", "virtual"):
        raise UsageError(f"config check: --cpus is auto or virtual, was {cpus!r}")
    config = load(config_files, dict(parse_override(text) for text in set_))
    facts = collect(config, is_virtual=cpus == "virtual")
    if as_json:
        typer.echo(orjson.dumps(facts).decode())
        return
    for line in _lines(facts):
        typer.echo(line)


def collect(config: Config, *, is_virtual: bool) -> dict[str, Any]:
    """Return everything that `pm config check --json` prints; values as they stand in a file."""
    lanes = plan(config, virtual=is_virtual)
    check_accounts(config)
    try:
        check_files(config)
        missing = ""
    except EnvironmentProblem as problem:  # a right configuration may be checked before its keys are made
        missing = str(problem)
    return {
        "ok": True,
        "name": config.name,
        "mode": config.mode,
        "topology": config.topology,
        "state_dir": config.state_dir,
        "config_hash": config_hash(config).hex(),
        "lanes": [
            {
                "name": lane.name,
                "cpu": lane.cpu,
                "wait": lane.wait,
                "nice": lane.nice,
                "stages": list(lane.stages),
            }
            for lane in lanes
        ],
        "values": {
            key: {"value": _plain(key, value), "origin": config.origin(key)} for key, value in leaves(config)
        },
        "not_ready": missing,
    }


def _plain(key: str, value: object) -> object:
    if "_usd_" in key.rpartition(".")[2] and isinstance(value, int):
        return usd_text(value).rstrip("0").rstrip(".")
    return list(value) if isinstance(value, tuple) else value


def _lines(facts: dict[str, Any]) -> list[str]:
    lines = [
        f"ok: {facts['name']}, mode {facts['mode']}, topology {facts['topology']}, state {facts['state_dir']}"
    ]
    for lane in facts["lanes"]:
        cpu = "any cpu" if lane["cpu"] is None else f"cpu {lane['cpu']}"
        lines.append(f"  lane {lane['name']:<8} {cpu}, {lane['wait']}: {', '.join(lane['stages'])}")
    limits = {key: entry for key, entry in facts["values"].items() if key.startswith(LIMIT_SECTIONS)}
    width = max(len(key) for key in limits)
    lines += [
        f"  {key:<{width}} {_shown(entry['value']):<12} {_origin(entry['origin'])}"
        for key, entry in limits.items()
    ]
    if facts["mode"] == "live":
        lines.append("note: pm run refuses mode live until arming exists")
    if facts["not_ready"]:
        lines.append(f"not ready to run: {facts['not_ready']}")
    return lines


def _shown(value: object) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _origin(origin: str) -> str:
    return "(default)" if origin == DEFAULT else f"from {origin}"
