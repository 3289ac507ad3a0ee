"""Reads event logs from outside: all lanes merged by time, what is appended later, the newest error.

Follows `store/events`: `<lane>.jsonl` is written now, `<lane>.jsonl.1` was set aside before it, and so on.
A line that is no JSON (cut by a crash or a full disk) is left out and counted.
"""

from __future__ import annotations

import heapq
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

import orjson

from pipeline.store.events import SUFFIX

Event = dict[str, Any]
_FILE = re.compile(rf"(?P<lane>.+){re.escape(SUFFIX)}(?:\.(?P<number>[0-9]+))?")


def files_by_lane(directory: Path) -> dict[str, list[Path]]:
    """Return the files of each lane, oldest first; {} without a folder."""
    found: dict[str, list[tuple[int, Path]]] = {}
    with suppress(OSError):
        for path in directory.iterdir():
            if match := _FILE.fullmatch(path.name):
                found.setdefault(match["lane"], []).append((-int(match["number"] or 0), path))
    return {lane: [path for _, path in sorted(files)] for lane, files in sorted(found.items())}


class EventReader:
    """All events of some lanes. `read` gives what is there now; a later `read` gives what came since.

    Files that are set aside between two reads are read to their end first, so that no line is lost, as long
    as they are not deleted by then. Close it.
    """

    def __init__(self, directory: Path, lanes: tuple[str, ...] = ()) -> None:
        """lanes: only these; () = all, also those that come later."""
        self.unreadable_count = 0
        self._directory = directory
        self._wanted = lanes
        self._tails: dict[str, _Tail] = {}

    def read(self) -> Iterator[Event]:
        """Yield what is new, merged by time; within a lane in the order of the file."""
        streams = []
        for lane, files in files_by_lane(self._directory).items():
            if not self._wanted or lane in self._wanted:
                streams.append(self._events(self._tails.setdefault(lane, _Tail()), files))
        return heapq.merge(*streams, key=lambda event: event["ts_ns"])

    def _events(self, tail: _Tail, files: list[Path]) -> Iterator[Event]:
        for line in tail.lines(files):
            event = parse(line)
            if event is None:
                self.unreadable_count += bool(line.strip())
            else:
                yield event

    def close(self) -> None:
        """Close the files."""
        for tail in self._tails.values():
            tail.close()


def parse(line: bytes) -> Event | None:
    """Return a line's event; None for what is none."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    is_event = isinstance(event, dict) and isinstance(event.get("ts_ns"), int) and all(
        isinstance(event.get(key), str) for key in ("level", "lane", "event"))
    return event if is_event else None


def newest(directory: Path, level: str) -> Event | None:
    """Return the newest event of exactly this level, of any lane; None when there is none."""
    found = [event for files in files_by_lane(directory).values() if (event := _newest_of(files, level))]
    return max(found, key=lambda event: int(event["ts_ns"]), default=None)


def _newest_of(files: list[Path], level: str) -> Event | None:
    mark = b'"level":' + orjson.dumps(level)
    for path in reversed(files):
        data = b""
        with suppress(OSError):  # set aside or deleted since we looked
            data = path.read_bytes()
        end = len(data)
        while (at := data.rfind(mark, 0, end)) >= 0:
            first = data.rfind(b"\n", 0, at) + 1
            last = data.find(b"\n", at)
            event = parse(data[first:last if last >= 0 else len(data)])
            if event is not None and event["level"] == level:
                return event
            end = first
    return None


class _Tail:
    """How far one lane was read."""

    def __init__(self) -> None:
        self._file: BufferedReader | None = None
        self._rest = b""  # of a line that is not whole yet

    def lines(self, files: list[Path]) -> Iterator[bytes]:
        """Yield whole lines of the held file and of all that are newer; `files` is oldest first."""
        yield from self._drain()
        for path in self._newer(files):
            try:
                file = open(path, "rb")  # noqa: SIM115 - held until the lane begins another one
            except OSError:
                continue
            yield from self._drain()  # there is a newer one, so nothing comes behind this
            if self._rest:
                yield self._rest
            self.close()
            self._file = file
            yield from self._drain()

    def _newer(self, files: list[Path]) -> list[Path]:
        """Return the files behind the held one; all when none is held or it is gone."""
        if self._file is None:
            return files
        held = os.fstat(self._file.fileno())
        for index, path in enumerate(files):
            with suppress(OSError):
                if os.path.samestat(held, path.stat()):
                    return files[index + 1:]
        return files

    def _drain(self) -> Iterator[bytes]:
        if self._file is None:
            return
        while data := self._file.read(1 << 16):
            *whole, self._rest = (self._rest + data).split(b"\n")
            yield from whole

    def close(self) -> None:
        """Close the held file and forget what stood in it."""
        self._rest = b""
        if self._file is not None:
            self._file.close()
            self._file = None
