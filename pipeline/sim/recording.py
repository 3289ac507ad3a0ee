"""Reads recordings (`*.jsonl.zst`): one frame per line with receive time, venue and channel.

Writes: `RecordedFrame`s in file order. The text of a frame is never altered. A file that ends inside
a frame, a line that is not JSON or lacks a key is an `IntegrityError` (exit 7) that names file and line.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import zstandard

from pipeline.errors import ConfigError, EnvironmentProblem, IntegrityError
from pipeline.units import NS_PER_MS

LINE_BYTES_MAX = 16 * 1024 * 1024
GAP_MS_MAX = 200  # frames without a receive time follow their venue timestamps, gaps cut to this


class RecordedFrame(NamedTuple):
    """One line of a recording. `t_ns` is None where the source had no receive time."""

    t_ns: int | None
    venue: str
    channel: str
    raw: str
    line: int  # counts from 1


def read(path: Path) -> Iterator[RecordedFrame]:
    """Yield the frames of a recording in file order."""
    try:
        handle = path.open("rb")
    except OSError as error:
        raise EnvironmentProblem(
            f"recording {path}: cannot be read ({error.strerror}); check --feed"
        ) from error
    with handle, zstandard.ZstdDecompressor().stream_reader(handle) as stream:
        lines = io.BufferedReader(stream, 1 << 20)
        number = 0
        try:
            for text in iter(lambda: lines.readline(LINE_BYTES_MAX), b""):
                number += 1
                yield _frame(path, number, text)
        except zstandard.ZstdError as error:
            raise IntegrityError(
                f"recording {path}: expected zstandard, found {error} after line {number}; fetch it again"
            ) from error
        if handle.read(1) == b"" and not _is_complete(path):
            raise IntegrityError(
                f"recording {path}: the file ends inside a block after line {number}; fetch it again"
            )


def _frame(path: Path, number: int, text: bytes) -> RecordedFrame:
    try:
        item = orjson.loads(text)
        t_ns, venue, channel, raw = item["t_ns"], item["venue"], item["channel"], item["raw"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"recording {path} line {number}: expected a JSON object with t_ns, venue, channel, raw, "
            f"found {text[:60]!r}; the file is truncated or of another format"
        ) from error
    if not isinstance(raw, str) or not (t_ns is None or isinstance(t_ns, int)):
        raise IntegrityError(f"recording {path} line {number}: raw must be text and t_ns an integer or null")
    return RecordedFrame(t_ns, str(venue), str(channel), raw, number)


def _is_complete(path: Path) -> bool:
    """Return False when the last zstandard frame is cut (the stream reader ends silently then)."""
    data = path.read_bytes()
    decoder = zstandard.ZstdDecompressor().decompressobj()
    view = memoryview(data)
    for start in range(0, len(view), 1 << 16):
        decoder.decompress(view[start : start + (1 << 16)])
        if decoder.eof:
            rest = decoder.unused_data
            consumed = min(len(view), start + (1 << 16)) - len(rest)
            return consumed == len(view) or _tail_is_complete(bytes(view[consumed:]))
    return False


def _tail_is_complete(data: bytes) -> bool:
    while data:
        decoder = zstandard.ZstdDecompressor().decompressobj()
        decoder.decompress(data)
        if not decoder.eof:
            return False
        data = decoder.unused_data
    return True


def side_metadata(path: Path) -> list[dict[str, Any]]:
    """Return the Gamma market objects of `FILE.meta.json`, or [] without such a file."""
    side = path.with_name(path.name + ".meta.json")
    if not side.exists():
        return []
    try:
        items = orjson.loads(side.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{side}: expected a JSON list of Gamma market objects, found {error}") from error
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ConfigError(f"{side}: expected a JSON list of Gamma market objects, found another shape")
    return items


def objects(raw: str) -> list[dict[str, Any]]:
    """Return the objects of one frame: an object, an array, or nothing for PONG and other text."""
    try:
        item = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return []
    items = item if isinstance(item, list) else [item]
    return [entry for entry in items if isinstance(entry, dict)]


def offsets_ns(frames: list[RecordedFrame]) -> list[int]:
    """Return each frame's time since the first, never decreasing.

    From receive times; frames without one follow the venue's timestamps, each gap cut to 200 ms.
    """
    out: list[int] = []
    now = 0
    last_t: int | None = None
    last_venue_ms: int | None = None
    for frame in frames:
        if frame.t_ns is not None:
            if last_t is not None:
                now += max(0, frame.t_ns - last_t)
            last_t = frame.t_ns
        else:
            stamps = [
                item["timestamp"] for item in objects(frame.raw) if isinstance(item.get("timestamp"), str)
            ]
            venue_ms = max((int(stamp) for stamp in stamps if stamp.isdigit()), default=None)
            if venue_ms is not None:
                if last_venue_ms is not None:
                    now += min(max(0, venue_ms - last_venue_ms), GAP_MS_MAX) * NS_PER_MS
                last_venue_ms = venue_ms
        out.append(now)
    return out
