"""`pm doctor`: one line a check, with its verdict, why it matters and the exact way out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import orjson
import typer

from pipeline.config.load import load, parse_override
from pipeline.errors import UsageError
from pipeline.run.conditions import Line, Verdict, exit_code
from pipeline.run.doctor import MACHINE, TOPICS, examine

_MARKS = {Verdict.OK: "ok  ", Verdict.WARN: "warn", Verdict.FAIL: "FAIL"}


def doctor(
    topics: Sequence[str], config_files: Sequence[Path], set_: Sequence[str], cpus: str, as_json: bool,
) -> int:
    """Print the lines of the topics; return 0, or the exit code of the first failure."""
    wrong = [topic for topic in topics if topic not in TOPICS]
    if wrong:
        raise UsageError(f"doctor: topics are {', '.join(TOPICS)}, was {wrong[0]!r}")
    if cpus not in ("auto", "virtual"):
        raise UsageError(f"doctor: --cpus is auto or virtual, was {cpus!r}")
    if not config_files and set(topics) - {MACHINE}:
        raise UsageError(
            f"doctor: {' and '.join(topics)} need a configuration: --config FILE says which wallet and venue")
    config = load(config_files, dict(parse_override(text) for text in set_)) if config_files else None
    chosen = topics or (TOPICS if config is not None else (MACHINE,))
    lines = examine(config, chosen, is_virtual=cpus == "virtual")
    if as_json:
        rows = [{**asdict(line), "verdict": line.verdict.name.lower()} for line in lines]
        typer.echo(orjson.dumps({"exit_code": exit_code(lines), "lines": rows}).decode())
        return exit_code(lines)
    for text in _shown(lines):
        typer.echo(text)
    if config is None:
        typer.echo("wallet and venue: pm doctor --config FILE")
    return exit_code(lines)


def _shown(lines: Sequence[Line]) -> list[str]:
    """Return the lines as text: a heading a topic; why and the way out where something is not well."""
    shown: list[str] = []
    topic = ""
    width = max((len(line.name) for line in lines), default=0)
    for line in lines:
        if line.topic != topic:
            topic = line.topic
            shown.append(topic)
        shown.append(f"  {_MARKS[line.verdict]}  {line.name:<{width}}  {line.found}")
        if line.verdict is not Verdict.OK:
            shown.append(f"        {'':<{width}}  why: {line.why}")
            shown.append(f"        {'':<{width}}  do:  {line.fix}")
    counts = [sum(line.verdict is verdict for line in lines) for verdict in Verdict]
    shown.append(f"{counts[0]} ok, {counts[1]} warn, {counts[2]} fail")
    return shown
