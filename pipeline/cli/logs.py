"""`pm logs`: what changed in a run, from the event logs of all its lanes. Looks from outside."""

from __future__ import annotations

import datetime
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import orjson
import typer

from pipeline.cli.states import one_state
from pipeline.errors import EnvironmentProblem, UsageError
from pipeline.store.eventfiles import Event, EventReader, files_by_lane
from pipeline.store.events import DIRECTORY, HEAD, LEVELS
from pipeline.units import NS_PER_S

FOLLOW_S = 0.2


def show_logs(
    directory: Path, lanes: Sequence[str], level: str, events: Sequence[str], count: int, follow: bool,
    as_json: bool,
) -> None:
    """Print the newest `count` events (0 = all), then, with `follow`, what comes until a signal.

    Raises EnvironmentProblem without an event log, UsageError for a level or lane that does not exist.
    """
    if level not in LEVELS:
        raise UsageError(f"logs: --level is one of {', '.join(LEVELS)}, was {level!r}")
    state = one_state(directory)
    known = files_by_lane(state / DIRECTORY)
    if not known:
        raise EnvironmentProblem(
            f"logs: {state / DIRECTORY} holds no event log; pm run writes one, or choose another --state DIR")
    if unknown := [lane for lane in lanes if lane not in known]:
        raise UsageError(f"logs: lane {unknown[0]!r} has no log here; those that do: {', '.join(known)}")
    levels = LEVELS[LEVELS.index(level):]
    reader = EventReader(state / DIRECTORY, tuple(lanes))

    def is_wanted(event: Event) -> bool:
        return event["level"] in levels and (not events or event["event"] in events)

    try:
        for event in deque(filter(is_wanted, reader.read()), maxlen=count or None):
            _show(event, as_json)
        if reader.unreadable_count:
            typer.echo(f"pm: {reader.unreadable_count} lines are no events and were left out", err=True)
        while follow:
            time.sleep(FOLLOW_S)
            for event in filter(is_wanted, reader.read()):
                _show(event, as_json)
    finally:
        reader.close()


def _show(event: Event, as_json: bool) -> None:
    typer.echo(orjson.dumps(event).decode() if as_json else in_words(event))


def in_words(event: Event) -> str:
    """Return a line for people: UTC time, level, lane, event, fields; nothing in it moves a terminal."""
    fields = " ".join(f"{_value(name)}={_value(value)}" for name, value in event.items() if name not in HEAD)
    head = f"{_time_text(event['ts_ns'])}  {_value(event['level']):<7}  {_value(event['lane']):<10}  "
    return f"{head}{_value(event['event'])}" + (f"  {fields}" if fields else "")


def _value(value: object) -> str:
    """Return a value as it stands when that is unmistakable, else as JSON."""
    if isinstance(value, str) and value.isprintable() and value and not set(value) & set(' "='):
        return value
    text = orjson.dumps(value).decode()
    return "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in text)


def _time_text(ns: int) -> str:
    """Return microseconds in UTC: "2026-11-21 14:03:07.123456Z"; the number itself when it is no date."""
    try:
        whole = datetime.datetime.fromtimestamp(ns // NS_PER_S, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return f"ts_ns={ns}"
    return f"{whole:%Y-%m-%d %H:%M:%S}.{ns % NS_PER_S // 1_000:06d}Z"
