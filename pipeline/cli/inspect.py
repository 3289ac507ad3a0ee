"""`pm inspect LOG`: records in words, or as JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import typer

from pipeline.errors import UsageError
from pipeline.kinds import Kind
from pipeline.native.log import LogReader
from pipeline.native.relay import Filter
from pipeline.records import SLOT_BYTES
from pipeline.store.segments import reading
from pipeline.store.words import describe, fields


def kinds_named(names: tuple[str, ...]) -> list[Kind]:
    """Return the kinds of these names; all when none is given. Raises UsageError."""
    if not names:
        return list(Kind)
    unknown = [name for name in names if name.upper() not in Kind.__members__]
    if unknown:
        known = ", ".join(kind.name.lower() for kind in Kind)
        raise UsageError(f"inspect: kind {unknown[0]!r} is not known; expected one of {known}")
    return [Kind[name.upper()] for name in names]


@contextmanager
def open_log(directory: Path, first: int = 0) -> Iterator[LogReader]:
    """Lend a reader, over the archive's copies where `first` is older than the live segments.

    A missing log is a usage error with the fix.
    """
    if not directory.is_dir() or not any(directory.glob("*.log")):
        raise UsageError(
            f"inspect: {directory} holds no log segments (*.log); give a log's directory, "
            "such as state/logs/decisions"
        )
    directory = directory.resolve()
    if directory.parent.name != "logs":  # somebody's copy: nothing stands beside it
        reader = LogReader(str(directory), directory.name, first)
        try:
            yield reader
        finally:
            reader.close()
        return
    with reading(directory.parent.parent, directory.name, first) as reader:
        yield reader


def inspect_log(directory: Path, first: int, count: int, kinds: tuple[str, ...], as_json: bool) -> None:
    """Print up to `count` records from `first` on."""
    shown = 0
    with open_log(directory, first) as reader:
        wanted = Filter(reader, kinds_named(kinds))
        while data := wanted.read(256):
            for at in range(0, len(data), SLOT_BYTES):
                if count and shown >= count:
                    return
                typer.echo(orjson.dumps(fields(data, at)).decode() if as_json else describe(data, at))
                shown += 1
